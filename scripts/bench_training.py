#!/usr/bin/env python3
"""bench_training.py ORCH_BENCH_WORKER ORCH_WORKER ROOT [OPTION...]: what training costs on this machine's processors.

A model of random weights is made below build, and removed at the end. LoRA on all linear layers is trained on texts of
random words: of one length and of mixed ones, in bf16 and fp32, with layers computed once and again. Of each: tokens a second, the share
of the best product of matrices, and memory. With --python, PEFT with transformers does the same beside it, in the same run: the same
rows, batch, rank, number format and threads; every step has all rows, and both must have the same loss at first. Then: what a checkpoint
costs, and memory as texts and rank grow, beside what is planned for it. Every run is a process of its own, the two sides take turns. The
figures go to --out as JSON, which bench_table.py prints.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BYTES = {"fp32": 4, "bf16": 2}
NEVER = 1_000_000  # steps between checkpoints
# Of the first step, whose adapter changes nothing yet.
LOSS_BOUND = {"fp32": 1e-3, "bf16": 2e-2}


def say(text):
    print(f"bench_training: {text}", file=sys.stderr, flush=True)


def linears(config):
    """(inputs, outputs) of a layer's linear layers, in the order of TARGETS."""
    hidden, inner, wide = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return [(hidden, wide), (hidden, keys), (hidden, keys), (wide, hidden), (hidden, inner), (hidden, inner), (inner, hidden)]


def parameters(config):
    """Of a Llama with tied embeddings."""
    hidden = config["hidden_size"]
    layer = sum(a * b for a, b in linears(config)) + 2 * hidden
    return config["num_hidden_layers"] * layer + config["vocab_size"] * hidden + hidden


def operations(config, lengths, rank):
    """Of a step over whole texts all of whose tokens but the first are trained on: what LoRA needs, each product once. What is computed
    again is not counted, nor what would go back through the first layer's q, k and v to embeddings that stay as they are."""
    layers, hidden, tokens = config["num_hidden_layers"], config["hidden_size"], sum(lengths)
    frozen = sum(a * b for a, b in linears(config))
    first = linears(config)[:3]
    low = rank * sum(a + b for a, b in linears(config))
    products = 2 * tokens * (2 * layers * frozen - sum(a * b for a, b in first))
    # Forward, the gradients of A and B, and back through both.
    adapters = 2 * tokens * (3 * layers * low - rank * sum(a for a, _ in first))
    pairs = sum(n * (n + 1) // 2 for n in lengths)
    attention = (4 + 8) * layers * config["num_attention_heads"] * config["head_dim"] * pairs
    head = 2 * 2 * config["vocab_size"] * hidden * sum(n - 1 for n in lengths)
    return products + adapters + attention + head


def size_of(text):
    """Bytes of `487 MiB`, as the log has them."""
    number, unit = text.split()
    return float(number.replace(",", "")) * 1024 ** {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}[unit]


def planned_of(log):
    """What the log says that weights, what is trained, and a pass take."""
    size = r"([\d.,]+ (?:[KMGT]i)?B)"
    weights = re.search(rf"weights take {size} .*moments {size}", log)
    passes = re.search(rf"at once: they take {size}", log)
    return {"weights": size_of(weights[1]), "trained": size_of(weights[2]), "pass": size_of(passes[1])}


def step_seconds(seconds):
    """Of a run: the first step finds cold caches."""
    return statistics.median(seconds[1:] or seconds)


def spread(values, form="{:.2f}"):
    return f"{form.format(min(values))} to {form.format(max(values))}"


class Figures:
    def __init__(self):
        self.rows = []

    def add(self, figure, value, unit, aim=None, note="", below=False):
        row = {"figure": figure, "value": value, "unit": unit}
        if aim is not None:
            row |= {"aim": aim, "below": below, "met": value < aim if below else value >= aim}
        if note:
            row["note"] = note
        self.rows.append(row)
        say(f"{figure}: {value:.4g} {unit}")


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.model = folder / options.shape
        self.random = random.Random(7)

    def run(self, *words):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"bench_training: {words[0]} {words[1]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def make_model(self):
        """With a word for each token, so that a text has as many tokens as it should have."""
        self.run(self.options.bench, "make", self.model, self.options.shape)
        self.config = json.loads((self.model / "config.json").read_text())
        end = self.config["eos_token_id"]
        words = {f"w{token}": token for token in range(self.config["vocab_size"]) if token != end} | {"</s>": end}
        special = {"id": end, "content": "</s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        (self.model / "tokenizer.json").write_text(json.dumps(
            {"version": "1.0", "added_tokens": [special], "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
             "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": words, "unk_token": "</s>"}}))
        (self.model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}))
        self.end = end

    def texts(self, lengths):
        """Token ids; each ends as our trainer ends it."""
        return [[self.random.randrange(self.end) for _ in range(length - 1)] + [self.end] for length in lengths]

    def products(self):
        """FLOP/s by number format."""
        return json.loads(self.run(self.options.bench, "products", "--threads", self.options.threads,
                                   *(["--quick"] if self.options.quick else [])))

    def ours(self, rows, dtype, rank, steps, again=False, every=NEVER):
        data, out = self.folder / "rows.jsonl", self.folder / "out"
        # The first token is the prompt: all others are trained on.
        data.write_text("".join(json.dumps({"prompt": f"w{row[0]}", "completion": "".join(f" w{token}" for token in row[1:-1])}) + "\n"
                                for row in rows))
        settings = {"rank": rank, "alpha": 2 * rank, "batch_size": len(rows), "steps": steps, "held_out": 0, "ema_decay": 0,
                    "schedule": "constant", "learning_rate": 2e-4, "sequence": max(map(len, rows)), "checkpoint_every": every,
                    "checkpointing": str(again).lower()}
        told = json.loads(self.run(self.options.worker, "train", self.model, data, "--out", out, "--dtype", dtype, "--threads",
                                   self.options.threads, *(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))))
        curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
        tokens = sum(map(len, rows))
        if any(line["tokens"] != tokens for line in curve):
            raise SystemExit(f"bench_training: {self.options.worker} learnt from {curve[0]['tokens']} tokens a step, and not from {tokens}")
        log = (out / "log").read_text()
        shutil.rmtree(out)
        return {"losses": [line["loss"] for line in curve], "seconds": [line["tokens"] / line["tokens_per_second"] for line in curve],
                "peak_bytes": told["figures"]["memory"], "whole_seconds": told["figures"]["seconds"], "planned": planned_of(log)}

    def theirs(self, rows, dtype, rank, steps, again):
        told = {"model": str(self.model), "rows": rows, "dtype": dtype, "rank": rank, "alpha": 2 * rank, "targets": TARGETS, "steps": steps,
                "again": again, "rate": 2e-4, "threads": self.options.threads, "autocast": dtype == "bf16"}
        file = self.folder / "told.json"
        file.write_text(json.dumps(told))
        seen = json.loads(self.run(self.options.python, self.options.root / "scripts" / "bench_peft.py", file).strip().splitlines()[-1])
        if seen["weight_bytes"] != self.weight_bytes(dtype):
            raise SystemExit(f"bench_training: the weights are {seen['weight_bytes']} bytes there, and {self.weight_bytes(dtype)} here")
        return seen

    def weight_bytes(self, dtype):
        return parameters(self.config) * BYTES[dtype]

    def compare(self, figures, name, lengths, dtype, again):
        rows, rank, steps = self.texts(lengths), self.options.rank, self.options.steps
        needed = operations(self.config, lengths, rank)
        speeds, shares, ratios, own, other = [], [], [], None, None
        before = self.products()[dtype]
        for _ in range(self.options.repeat):
            own = self.ours(rows, dtype, rank, steps, again)
            after = self.products()[dtype]
            seconds = step_seconds(own["seconds"])
            speeds.append(sum(lengths) / seconds)
            shares.append(100 * needed / seconds / max(before, after))
            if self.options.python:
                other = self.theirs(rows, dtype, rank, steps, again)
                if abs(own["losses"][0] - other["losses"][0]) > LOSS_BOUND[dtype]:
                    raise SystemExit(f"bench_training: {name}: the first loss is {own['losses'][0]} here and {other['losses'][0]} there")
                ratios.append(step_seconds(other["seconds"]) / seconds)
                after = self.products()[dtype]
            before = after
        figures.add(name, statistics.median(speeds), "tokens/s",
                    note=f"{len(lengths)} texts of {min(lengths)} to {max(lengths)} tokens a step, {sum(lengths):,} in all" if len(set(lengths)) > 1
                    else f"{len(lengths)} texts of {lengths[0]} tokens a step")
        figures.add(f"{name}, share of the best product", statistics.median(shares), "%", None if again else 50,
                    f"{spread(shares, '{:.0f}')} %; {needed / 1e9:,.0f} GFLOP a step" + (", what is computed again not counted" if again else ""))
        beyond = own["peak_bytes"] - self.weight_bytes(dtype)
        figures.add(f"{name}, memory beyond the weights", beyond / 1e6, "MB", note=f"{own['peak_bytes'] / 1e6:,.0f} MB of the process at most")
        if not ratios:
            return step_seconds(own["seconds"])
        waste = len(lengths) * max(lengths)
        figures.add(f"{name}, beside PEFT", statistics.median(ratios), "×", 2, f"{spread(ratios)}; {other['versions']}"
                    + (f"; padded there to {waste:,} tokens" if waste != sum(lengths) else ""))
        # Theirs without what Python and its libraries had before they read the model; of ours nothing is taken off.
        there = other["peak_bytes"] - other["before_bytes"] - self.weight_bytes(dtype)
        figures.add(f"{name}, memory beyond the weights, beside PEFT", beyond / there, "×", 0.5,
                    f"{there / 1e6:,.0f} MB there, and {other['before_bytes'] / 1e6:,.0f} MB before the model was read", below=True)
        return step_seconds(own["seconds"])

    def checkpoints(self, figures, step):
        """`step`: seconds of a step of the first case."""
        rows, count = self.texts([self.options.short]), self.options.checkpoints
        each, without = [], []
        for _ in range(self.options.repeat):
            bare = self.ours(rows, "bf16", self.options.rank, count)["whole_seconds"]
            kept = self.ours(rows, "bf16", self.options.rank, count, every=1)["whole_seconds"]
            # Both keep the last step's.
            each.append((kept - bare) / (count - 1))
            without.append(bare)
        cost = statistics.median(each)
        figures.add("a checkpoint", 1000 * cost, "ms", note=f"{spread([1000 * one for one in each], '{:.1f}')} ms; with one after every step of "
                    f"{self.options.short} tokens, {count} steps take {100 * cost * (count - 1) / statistics.median(without):.0f} % longer")
        figures.add("a checkpoint after every 50 steps", 100 * cost / (50 * step), "%", 1, f"of steps of {step:.2f} s", below=True)

    def growth(self, figures):
        for rank in self.options.ranks:
            for length in self.options.lengths:
                seen = self.ours(self.texts([length]), "bf16", rank, 1)
                planned = seen["planned"]["trained"] + seen["planned"]["pass"]
                beyond = seen["peak_bytes"] - self.weight_bytes("bf16")
                figures.add(f"memory beyond the weights, {length:,} tokens at once, rank {rank}", beyond / 1e6, "MB",
                            note=f"planned: {seen['planned']['pass'] / 1e6:,.0f} MB of a pass, {seen['planned']['trained'] / 1e6:,.0f} MB of what is "
                            f"trained; {100 * beyond / planned:.0f} % of both, with copies of what is trained and the program")


def measure(figures, bench):
    options = bench.options
    bench.make_model()
    if not options.python:
        say("without --python nothing is held beside PEFT")
    step = None
    for dtype in ("bf16", "fp32"):
        for name, lengths, again in ((f"{dtype}, texts of one length", options.equal, False),
                                     (f"{dtype}, texts of mixed lengths", options.mixed, False),
                                     (f"{dtype}, texts of one length, layers computed again", options.equal, True)):
            took = bench.compare(figures, name, lengths, dtype, again)
            step = step or took
    bench.checkpoints(figures, step)
    bench.growth(figures)


def numbers(text):
    return [int(word) for word in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=pathlib.Path, metavar="ORCH_BENCH_WORKER")
    parser.add_argument("worker", type=pathlib.Path, metavar="ORCH_WORKER")
    parser.add_argument("root", type=pathlib.Path, metavar="ROOT")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the figures, as JSON")
    parser.add_argument("--python", type=pathlib.Path, help="one with torch, transformers and PEFT; without, that part is left out")
    parser.add_argument("--models", type=pathlib.Path, help="in which folder another is made for a while (build)")
    parser.add_argument("--shape", default="pupil", help="of the model")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--equal", type=numbers, default=[512] * 4, help="tokens of the texts of one length")
    parser.add_argument("--mixed", type=numbers, default=[17, 53, 96, 147, 212, 298, 429, 710],
                        help="tokens of texts of mixed lengths (the middles of the eighths of an exponential distribution of mean 256)")
    parser.add_argument("--steps", type=int, default=4, help="of a run; the first does not count")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--short", type=int, default=256, help="tokens of a step that a checkpoint follows")
    parser.add_argument("--checkpoints", type=int, default=40, help="of them in a run")
    parser.add_argument("--lengths", type=numbers, default=[256, 512, 1024, 2048, 4096], help="tokens of a text, of which memory is shown")
    parser.add_argument("--ranks", type=numbers, default=[8, 64], help="of which memory is shown")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="measure the machine only to see that it runs")
    options = parser.parse_args()
    options.root = options.root.resolve()
    folder = options.models or options.root / "build"
    folder.mkdir(parents=True, exist_ok=True)
    if options.steps < 2 or options.checkpoints < 2:
        parser.error("--steps and --checkpoints are at least 2")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends, and what was made goes
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="bench-training-", dir=folder) as made:
        measure(figures, Bench(options, pathlib.Path(made)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"figures": figures.rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
