"""What scripts/check-adapter runs: an adapter that our program wrote, read and computed with by PEFT."""

import argparse
import contextlib
import json
import pathlib
import re
import sys
import warnings

import torch
import transformers
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM

from in_double import InDouble, in_double, read_tensors
from peft_names import without_conversion


def read_model(base, adapter, dtype):
    # Falcon's own attention adds the bias of ALiBi twice.
    attention = "sdpa" if AutoConfig.from_pretrained(base).model_type == "falcon" else "eager"
    with InDouble() if dtype == torch.float64 else contextlib.nullcontext():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=attention)
    file = read_tensors(adapter)
    if not file:
        sys.exit(f"check-adapter: {adapter} has no safetensors")
    # Only linear layers of single experts have to be made what transformers 5 has of them.
    plain = not any(re.search(r"\.experts\.[0-9]+\.", name) for name in file)
    with without_conversion(plain):
        model = PeftModel.from_pretrained(model, adapter).eval()
    read = get_peft_model_state_dict(model, save_embedding_layers=False)
    if plain and set(read) != set(file):
        sys.exit(
            "check-adapter: the adapter does not fit its configuration or the model\n"
            f"  in the file and read by nothing: {', '.join(sorted(set(file) - set(read))) or 'none'}\n"
            f"  adapted and not in the file: {', '.join(sorted(set(read) - set(file))) or 'none'}"
        )
    return model


def main():
    parser = argparse.ArgumentParser(prog="check-adapter")
    parser.add_argument("base", type=pathlib.Path)
    parser.add_argument("adapter", type=pathlib.Path)
    parser.add_argument("logits", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")

    whole = options.dtype == "float64"
    ours = json.loads(options.logits.read_text())
    if len(ours["ids"]) != len(ours["logits"]):
        sys.exit(f"check-adapter: {options.logits} has {len(ours['ids'])} texts, and logits of {len(ours['logits'])}")
    most, tokens = 0.0, 0
    model = read_model(options.base, options.adapter, getattr(torch, options.dtype))
    for number, (ids, rows) in enumerate(zip(ours["ids"], ours["logits"])):
        if len(ids) != len(rows):
            sys.exit(f"check-adapter: text {number} has {len(ids)} tokens, and {len(rows)} rows of logits")
        got = torch.tensor(rows, dtype=torch.float64)
        with in_double() if whole else contextlib.nullcontext(), torch.no_grad():
            wanted = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
        if got.shape != wanted.shape:
            sys.exit(f"check-adapter: rows of {got.shape[1]} logits, and a vocabulary of {wanted.shape[1]}")
        size = wanted.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
        apart = ((got - wanted).abs() / size).amax(dim=1)
        apart = torch.where(apart.isnan(), torch.inf, apart)
        at = int(apart.argmax())
        print(f"text {number}: {len(ids)} tokens, the largest difference is {apart[at].item():.2e}, at token {at}")
        most, tokens = max(most, apart[at].item()), tokens + len(ids)
    agree = most <= options.tolerance
    verdict = "within" if agree else "above"
    print(f"{tokens} tokens: the largest difference is {most:.2e}, {verdict} {options.tolerance:.1e} ({options.dtype})")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
