"""What scripts/record-train-losses runs: TRL's trainers, over a model that says what it is told.

No trainer is subclassed and none of TRL's formulas is written here again. Each trainer is made with a tiny model that is
never asked; its training_step() gets another in that one's place, which answers with the log-probabilities of the case,
as a model with TRL's fused head does. So losses and gradients are those of a training, divided by accumulation steps as
TRL and transformers do it. GRPO's completions and rewards come in by its own doors, a rollout_func (whose env_mask says
which tokens count) and a reward function. Two things are done to GRPO from outside: _prepare_inputs(), which would
shuffle the completions, hands on what it gets, and the log-probabilities at the time of writing (old) are put into the
batch, as TRL does when it trains on completions of an earlier model.

Temperatures are of the small models of tests/model/data/families, asked through TRL's fused head, which divides logits
by them; what is written down of a gradient says in_double.py.

All is computed in float64, but for the way back through that head, which TRL sums in float32. Log-probabilities are multiples of 1/256 and rewards of 1/8, which float holds exactly.
"""

import json
import os
import pathlib
import random
import sys
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # rollout_func

import datasets
import tokenizers
import torch
import transformers
import trl
from trl.trainer.utils import add_fused_lm_head, split_tensor_dict

import in_double

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/train/data/objectives.json"
TOKEN, PAD = 3, 0


class Told(torch.nn.Module):
    """Answers with the log-probabilities that it was given, row by row, wherever there is a label. Rows may be asked in parts."""

    def __init__(self, rows):
        super().__init__()
        self.values = [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in rows]
        self.next = 0

    def forward(self, labels, **asked):
        mask = labels[:, 1:] != -100
        rows = self.values[self.next : self.next + len(mask)]
        self.next += len(mask)
        assert asked["fused_lm_head"] and mask.sum(dim=1).tolist() == [len(row) for row in rows]
        none = torch.zeros(mask.shape, dtype=torch.float64)
        return trl.trainer.utils.FusedCausalLMOutput(
            log_probs=none.masked_scatter(mask, torch.cat(rows)),
            entropy=none,
            mean_logits=none,
            is_top1=mask,
            label_mask=mask,
        )

    def derivatives(self):
        return [value.grad.tolist() for value in self.values]


class Numbers:
    """Random numbers of one case."""

    def __init__(self, name):
        self.source = random.Random(name)

    def logprobs(self, count):
        return [self.rounded(-self.source.expovariate(0.7)) for _ in range(count)]

    def near(self, logprobs, distance):
        """Others, of which some are the same."""
        return [self.rounded(value + self.source.choice((0, 1, 1, 1)) * self.source.gauss(0, distance)) for value in logprobs]

    @staticmethod
    def rounded(value):
        return min(round(value * 256), -1) / 256


def padded(rows, value, left=False):
    longest = max(map(len, rows))
    return torch.tensor([[value] * (longest - len(row)) * left + row + [value] * (longest - len(row)) * (not left) for row in rows])


def setting_up(folder, **more):
    return {
        "output_dir": str(folder),
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        **more,
    }


def tiny_model(folder):
    words = {"<pad>": PAD, "<bos>": 1, "<eos>": 2, "word": TOKEN}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="word"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, pad_token_id=PAD
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder), tokenizer


def step(trainer, told, inputs, items=None):
    """One part of an accumulated batch: its loss. Derivatives stay with the model."""
    trainer.model.train()
    return trainer.training_step(told, inputs, items).item()


def rows_of(numbers, lengths):
    """Prompts of random lengths before completions of these: token ids and the mask of the completions."""
    prompts = [numbers.source.randint(1, 3) for _ in lengths]
    ids = [[TOKEN] * (before + length) for before, length in zip(prompts, lengths)]
    masks = [[0] * before + [1] * length for before, length in zip(prompts, lengths)]
    ids, masks = padded(ids, PAD), padded(masks, 0)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}, masks


def digits(values):
    """Of derivatives, which our code rounds to float."""
    return [float(f"{value:.10g}") for value in values]


def metrics_of(trainer, names):
    made = {name: trainer._metrics["train"][name] for name in names}
    assert all(len(values) == 1 for values in made.values())
    return {name: values[0] for name, values in made.items()}


def record_likelihood(folder, path, tokenizer):
    cases = []
    for name, parts in (("one", [[5]]), ("several", [[1, 7, 4]]), ("parts", [[3, 6], [9, 2]]), ("none", [[0, 0]])):
        numbers = Numbers("likelihood/" + name)
        trainer = trl.SFTTrainer(
            path,
            args=trl.SFTConfig(**setting_up(folder)),
            train_dataset=datasets.Dataset.from_dict({"text": ["word word"]}),
            processing_class=tokenizer,
        )
        batches = []
        for lengths in parts:
            inputs, masks = rows_of(numbers, lengths)
            batches.append({**inputs, "labels": inputs["input_ids"].masked_fill(masks == 0, -100)})
        batches, items = trainer.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
        trainer.current_gradient_accumulation_steps = len(batches)
        loss, completions = 0.0, []
        for lengths, inputs in zip(parts, batches):
            told = Told([numbers.logprobs(length) for length in lengths])
            loss += step(trainer, told, inputs, items)
            completions += [
                {"logprobs": row.tolist(), "derivatives": digits(by)} for row, by in zip(told.values, told.derivatives())
            ]
        cases.append({"name": name, "tokens": int(items), "completions": completions, "loss": loss})
    return cases


PREFERENCES = [
    ("sigmoid", 0.1, 0.0),
    ("sigmoid", 0.5, 0.0),
    ("sigmoid", 5.0, 0.0),
    ("robust", 0.1, 0.1),
    ("robust", 0.7, 0.4),
    ("robust", 0.3, 0.0),
    ("hinge", 0.1, 0.0),
    ("hinge", 0.5, 0.0),
    ("hinge", 2.0, 0.0),
    ("ipo", 0.1, 0.0),
    ("ipo", 0.5, 0.0),
    ("ipo", 2.0, 0.0),
]
DPO_METRICS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


def record_preferences(folder, path, tokenizer):
    cases = []
    for loss_type, beta, smoothing in PREFERENCES:
        trainer = trl.DPOTrainer(
            path,
            args=trl.DPOConfig(**setting_up(folder, loss_type=[loss_type], beta=beta, label_smoothing=smoothing)),
            train_dataset=datasets.Dataset.from_dict({"prompt": ["word"], "chosen": ["word"], "rejected": ["word word"]}),
            processing_class=tokenizer,
        )
        # Chosen completions' lengths, then rejected ones', of each part.
        for parts in ([[4, 1, 0, 7, 2, 5, 5, 3]], [[6, 2, 3, 9], [1, 8, 5, 5]]):
            name = f"{loss_type}/{beta}/{smoothing}/{len(parts)}"
            numbers = Numbers("preference/" + name)
            trainer._metrics["train"].clear()
            trainer.current_gradient_accumulation_steps = len(parts)
            loss, pairs = 0.0, []
            for lengths in parts:
                inputs, masks = rows_of(numbers, lengths)
                logprobs = [numbers.logprobs(length) for length in lengths]
                reference = [numbers.near(row, 0.5) for row in logprobs]
                told, trainer.ref_model = Told(logprobs), Told(reference)
                loss += step(trainer, told, {**inputs, "completion_mask": masks})
                sides = [
                    {"logprobs": row, "reference": other, "derivatives": digits(by)}
                    for row, other, by in zip(logprobs, reference, told.derivatives())
                ]
                half = len(sides) // 2
                pairs += [{"chosen": chosen, "rejected": rejected} for chosen, rejected in zip(sides[:half], sides[half:])]
            case = {"name": name, "loss_type": loss_type, "beta": beta, "label_smoothing": smoothing, "pairs": pairs, "loss": loss}
            if len(parts) == 1:
                case["metrics"] = metrics_of(trainer, DPO_METRICS)
            cases.append(case)
    return cases


AGGREGATIONS = ("grpo", "bnpo", "dr_grpo", "dapo")
LIKE = {
    "beta": 0.04,
    "epsilon_low": 0.2,
    "epsilon_high": 0.2,
    "corrected": False,
    "scaled": True,  # or "batch"
    "delta": None,
    "generation": 1,  # times the steps: how many of these make a generation
    "steps": 1,
    "old": True,
    "masked": False,
}
REWARDS = [1.0, 0.0, 0.0, 0.25, 3.0, -2.0, 0.5, 0.125]
# Each: its name, how it differs from LIKE, and the rewards of its completions.
SITUATIONS = [
    ("first", {"old": False}, REWARDS),
    ("first_corrected", {"old": False, "corrected": True}, REWARDS),
    ("plain", {"beta": 0.0}, REWARDS),
    ("near", {}, REWARDS),
    ("corrected", {"corrected": True}, REWARDS),
    ("unscaled", {"scaled": False, "beta": 0.5}, REWARDS),
    ("asymmetric", {"epsilon_low": 0.1, "epsilon_high": 0.28, "beta": 0.001}, REWARDS),
    ("narrow", {"epsilon_low": 0.01, "epsilon_high": 0.01, "beta": 0.0}, REWARDS),
    ("equal", {}, [0.125, 0.125, 0.125, 0.125, 1.0, 0.0, 1.0, 0.0]),
    ("masked", {"masked": True}, REWARDS),
    ("steps", {"steps": 2, "masked": True}, REWARDS),
    ("more_steps", {"steps": 4, "scaled": False, "epsilon_high": 0.28, "corrected": True}, REWARDS),
    ("two_sided", {"delta": 1.5, "beta": 0.0}, REWARDS),
    ("two_sided_corrected", {"delta": 1.3, "corrected": True}, REWARDS),
    ("of_batch", {"scaled": "batch"}, REWARDS),
    ("several", {"generation": 2, "masked": True}, REWARDS),
    ("several_steps", {"generation": 2, "steps": 2, "scaled": "batch", "epsilon_high": 0.28}, REWARDS),
]
GROUP = 4
MOST_TOKENS = 9
GRPO_METRICS = ("kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "reward", "reward_std")


def record_group(name, aggregation, how, rewards, folder, path, tokenizer):
    numbers = Numbers("group/" + name)
    lengths = [numbers.source.randint(1, MOST_TOKENS) for _ in rewards]
    logprobs = [numbers.logprobs(length) for length in lengths]
    reference = [numbers.near(row, 0.5) for row in logprobs]
    old = [numbers.near(row, 0.3) for row in logprobs]
    masks = [[1] * length for length in lengths]
    if how["masked"]:
        masks = [[numbers.source.choice((0, 1, 1)) for _ in row] for row in masks]
        masks[2] = [0] * lengths[2]

    def rollout(prompts, trainer):
        made = {"prompt_ids": [[TOKEN]] * len(prompts), "completion_ids": [[TOKEN] * length for length in lengths], "logprobs": None}
        return {**made, "env_mask": masks} if how["masked"] else made

    # `steps` are those that are added before the optimiser steps; a generation of two has as many again for its second.
    steps, generation = how["steps"], how["generation"]
    parts = steps * generation
    trainer = trl.GRPOTrainer(
        path,
        reward_funcs=lambda completions, **_: rewards,
        args=trl.GRPOConfig(
            **setting_up(
                folder,
                loss_type=aggregation,
                beta=how["beta"],
                epsilon=how["epsilon_low"],
                epsilon_high=how["epsilon_high"],
                delta=how["delta"],
                use_bias_correction_kl=how["corrected"],
                scale_rewards=how["scaled"],
                max_completion_length=MOST_TOKENS,
                num_generations=GROUP,
                per_device_train_batch_size=len(rewards) // parts,
                gradient_accumulation_steps=steps,
                steps_per_generation=parts,
            )
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": ["word"]}),
        processing_class=tokenizer,
        rollout_func=rollout,
    )
    trainer.model.train()
    trainer.ref_model = Told(reference)
    batch = trainer._generate_and_score_completions([{"prompt": "word"}] * len(rewards))
    advantages = batch["advantages"].tolist()
    if how["old"]:
        batch["old_per_token_logps"] = padded(old, 0.0).double()
    trainer._prepare_inputs = lambda inputs: inputs
    trainer.current_gradient_accumulation_steps = steps
    losses, derivatives, part = [0.0] * generation, [], len(rewards) // parts
    for i, inputs in enumerate(split_tensor_dict(batch, parts)):
        told = Told(logprobs[i * part : (i + 1) * part])
        losses[i // steps] += step(trainer, told, inputs)
        derivatives += told.derivatives()

    completions = []
    for i, mask in enumerate(masks):
        assert all(by == 0 for by, counts in zip(derivatives[i], mask) if not counts)

        def seen(row):
            return [value for value, counts in zip(row, mask) if counts]

        completion = {"logprobs": seen(logprobs[i])}
        if how["old"]:
            completion["old"] = seen(old[i])
        if how["beta"]:
            completion["reference"] = seen(reference[i])
        completions.append({**completion, "derivatives": digits(seen(derivatives[i]))})
    case = {"name": name, "aggregation": aggregation}
    case |= {key: how[key] for key in ("beta", "epsilon_low", "epsilon_high", "corrected", "scaled", "steps")}
    case |= {key: how[key] for key in ("delta", "generation") if how[key] != LIKE[key]}
    case |= {"max_completion_tokens": MOST_TOKENS, "group": GROUP, "rewards": rewards, "advantages": advantages}
    case |= {"completions": completions, "loss": losses[0] if generation == 1 else losses}
    if parts == 1:
        case["metrics"] = metrics_of(trainer, [metric for metric in GRPO_METRICS if how["beta"] or metric != "kl"])
    return case


def record_groups(folder, path, tokenizer):
    return [
        record_group(f"{aggregation}/{situation}", aggregation, LIKE | how, rewards, folder, path, tokenizer)
        for aggregation in AGGREGATIONS
        for situation, how, rewards in SITUATIONS
    ]


# Families of tests/model/data/families: plain, with capped logits, and with the embedding as head.
COOLED = [("llama3", 0.6), ("gemma2", 0.6), ("gemma2", 1.7), ("qwen3", 1.3)]


def record_temperatures():
    """Log-probabilities and gradients at a temperature, by TRL's own head, of the texts of the families' gradients.json."""
    cases = []
    for name, temperature in COOLED:
        with in_double.readable(name) as folder:
            model = in_double.load(name, folder)
            stored = in_double.read_tensors(folder)
        tensors = [tensor for tensor in model.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
        places = in_double.Places(tensors, model.save_pretrained)
        places.of = dict(sorted(in_double.named_as_stored(places.of, model, stored).items()))
        places.hold_against(stored)
        add_fused_lm_head(model, temperature=temperature)
        loss, texts = 0.0, []
        for sequence in in_double.sequences_of(name, in_double.MODELS[name]["config"]):
            ids = torch.tensor([sequence["ids"]])
            with in_double.InDouble():
                found = model(ids, labels=ids, fused_lm_head=True).log_probs[0]
                loss = loss - (torch.tensor(sequence["coefficients"][1:], dtype=torch.float64) * found).sum()
            texts.append({**sequence, "logprobs": [in_double.rounded(value) for value in found.detach()]})
        loss.backward()
        gradient = places.flat(lambda tensor: tensor.grad)
        measures = {key: in_double.measures(key, gradient[at]) for key, at in places.of.items()}
        cases.append({"name": name, "temperature": temperature, "loss": loss.item(), "texts": texts, "tensors": measures})
    return cases


def main():
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # TRL takes rewards into tensors of the default type
    with tempfile.TemporaryDirectory(prefix="record-train-losses-") as temporary:
        folder = pathlib.Path(temporary)
        path, tokenizer = tiny_model(folder / "model")
        sections = {
            "likelihood": record_likelihood(folder, path, tokenizer),
            "dpo": record_preferences(folder, path, tokenizer),
            "grpo": record_groups(folder, path, tokenizer),
        }
    torch.set_default_dtype(torch.float32)  # in_double.py turns it
    sections["temperature"] = record_temperatures()
    versions = {"trl": trl.__version__, "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    lines = [f'"versions": {json.dumps(versions)}']
    for name, cases in sections.items():
        texts = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
        lines.append(f'"{name}": [\n{texts}\n]')
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    counts = ", ".join(f"{len(cases)} of {name}" for name, cases in sections.items())
    print(f"{OUT.name}: {OUT.stat().st_size // 1024} KiB, cases: {counts}", file=sys.stderr)


if __name__ == "__main__":
    main()
