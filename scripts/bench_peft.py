"""What PEFT with transformers does of the same training on this machine, for scripts/bench_training.py, with the Python that has them.

    bench_peft.py TOLD    TOLD: a JSON object of what is trained how, as told_of() there makes it

A plain loop: every step has the same rows, padded to the longest of them, as data collators do it. Prints one JSON object.
"""
import json
import os
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

VERSIONS = f"PEFT {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def memory(name):
    """Bytes of this process, as /proc has them: VmRSS now, VmHWM at its fullest."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def padded(rows):
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, :len(row)] = torch.tensor(row)
        mask[at, :len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def main(told):
    torch.set_num_threads(told["threads"])
    torch.manual_seed(0)
    before = memory("VmRSS")
    model = transformers.AutoModelForCausalLM.from_pretrained(told["model"], dtype=DTYPES[told["dtype"]])
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    model = peft.get_peft_model(model, peft.LoraConfig(r=told["rank"], lora_alpha=told["alpha"], target_modules=told["targets"],
                                                       lora_dropout=0.0, task_type="CAUSAL_LM"))
    model.config.use_cache = False
    if told["again"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=told["rate"], weight_decay=0.0)
    batch = padded(told["rows"])
    losses, seconds = [], []
    for _ in range(told["steps"]):
        begun = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16, enabled=told["autocast"]):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.monotonic() - begun)
    return {"losses": losses, "seconds": seconds, "before_bytes": before, "weight_bytes": weights, "peak_bytes": memory("VmHWM"),
            "trained": sum(each.numel() for each in trained), "versions": VERSIONS}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(main(json.load(file))))
