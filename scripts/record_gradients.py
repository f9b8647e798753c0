"""What scripts/record-gradients runs: the gradients that torch finds for the small models of tests/model/data/families.

Each folder gets a gradients.json: two texts, what each of their tokens counts, the loss, and for every tensor of the
checkpoint by its stored name and layout what in_double.py says is written down of a gradient. Tied weights are one stored
tensor, with the sum. Of fp8 tensors it is the gradient with respect to the matrix multiplied out, and their scales have
none. What chooses experts without a part in their weights (DeepSeek's e_score_correction_bias) has 0.
"""

import sys

import torch
import transformers

from in_double import (
    FOLDER,
    MODELS,
    Places,
    attention_of,
    gradients_of,
    has_fp8,
    hold_against_reference,
    in_double,
    load,
    log_probabilities,
    logits_of,
    named_as_stored,
    read_tensors,
    readable,
    rounded,
    sequences_of,
    versions,
    write,
)


def record(name):
    with readable(name) as folder:
        model = load(name, folder)
        stored = read_tensors(folder)
    tensors = [tensor for tensor in model.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
    places = Places(tensors, model.save_pretrained)
    places.of = dict(sorted(named_as_stored(places.of, model, stored).items()))
    places.hold_against(stored)
    hold_against_reference(model, name)
    sequences = sequences_of(name, MODELS[name]["config"])
    loss, entries, worst = gradients_of(model, places, sequences)
    with in_double(), torch.no_grad():
        for sequence in sequences:
            found = log_probabilities(logits_of(model, sequence["ids"]), sequence["ids"])
            sequence["log_probabilities"] = [rounded(value) for value in found]
    head = {"model": name, **versions(), "attention": attention_of(name), "loss": rounded(loss)}
    if has_fp8(name):
        head["fp8"] = "multiplied out"
    path = FOLDER / name / "gradients.json"
    write(path, head, sequences=sequences, tensors=entries)
    norms = [entry["norm"] for entry in entries.values()]
    print(
        f"{name}: {path.stat().st_size / 1024:.1f} KiB, loss {loss:.3f}, {len(entries)} tensors, norms {min(norms):.2g} to "
        f"{max(norms):.2g}, finite differences within {worst:.1e}",
        flush=True,
    )


def main():
    names = sys.argv[1:] or list(MODELS)
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        sys.exit(f"record-gradients: no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    for name in names:
        record(name)


if __name__ == "__main__":
    main()
