#!/usr/bin/env python3
"""bench_worker.py ORCH_BENCH_WORKER ORCH_WORKER ROOT [OPTION...]: what one worker does on this machine's processors.

Models of random weights are made below build/bench-models (2.5 GB), and removed at the end. Then: how fast a model is loaded beside
plain reading of its file; tokens a second of one text that is written, beside what is read from memory at most; of a prompt, beside the
best product of matrices; MMLU's questions with five examples with and without the tree of shared beginnings; eight tasks in one process
beside a process each. With --python, transformers and lm-evaluation-harness do the same beside it, in the same run. The figures go to
--out as JSON, which bench_table.py prints.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else pathlib.Path()
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bench", type=pathlib.Path, metavar="ORCH_BENCH_WORKER")
parser.add_argument("worker", type=pathlib.Path, metavar="ORCH_WORKER")
parser.add_argument("root", type=pathlib.Path, metavar="ROOT")
parser.add_argument("--out", type=pathlib.Path, required=True, help="the figures, as JSON")
parser.add_argument("--python", type=pathlib.Path, help="one with torch, transformers and lm_eval")
parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data", help="tasks and tokenizers that others made")
parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "bench-models", help="where the models are made")
parser.add_argument("--keep", action="store_true", help="leave the models there")
parser.add_argument("--large", default="1b", help="the shape whose speed is measured")
parser.add_argument("--small", default="100m", help="the shape that is asked questions")
parser.add_argument("--prefill", default="512,2048", help="tokens of the prompts")
parser.add_argument("--decode", type=int, default=64, help="tokens that are written")
parser.add_argument("--limit", type=int, default=200, help="questions of MMLU")
parser.add_argument("--few", type=int, default=4, help="questions of each of the eight tasks")
parser.add_argument("--repeat", type=int, default=3, help="runs of each kind; the best counts")
parser.add_argument("--quick", action="store_true", help="measure the machine only to see that it runs")
parser.add_argument("--buffer", type=int, default=1024, help="MiB that are read for the bandwidth")
OPTIONS = parser.parse_args()

# Of different lengths, as they come in the file.
SUBJECTS = ("abstract_algebra", "anatomy", "business_ethics", "computer_security", "high_school_physics", "marketing", "philosophy", "virology")


def say(text):
    print(f"bench_worker: {text}", file=sys.stderr, flush=True)


class Figures:
    def __init__(self):
        self.rows = []

    def add(self, figure, value, unit, aim=None, note=""):
        row = {"figure": figure, "value": value, "unit": unit}
        if aim is not None:
            row |= {"aim": aim, "below": False, "met": value >= aim}
        if note:
            row["note"] = note
        self.rows.append(row)
        say(f"{figure}: {value:.4g} {unit}")


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench_worker: {words[0]} {words[1]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip().startswith("{\"") else json.loads(done.stdout)


def theirs(what, *words):
    """What transformers or the harness measured of the same, or nothing."""
    if not OPTIONS.python:
        return None
    return run(OPTIONS.python, ROOT / "scripts" / "bench_transformers.py", what, *words)


def load(figures, model):
    seen = run(OPTIONS.bench, "load", model, "--repeat", OPTIONS.repeat)
    size = seen["bytes"] / 1e9
    for name, where in (("cached", "from the page cache"), ("disk", "from the disk")):
        reading, loading = seen[f"read_{name}_s"], seen[f"load_{name}_s"]
        figures.add(f"load {where}", size / loading, "GB/s", note=f"{loading:.2f} s for {size:.2f} GB; plain reading into new memory {reading:.2f} s")
        figures.add(f"load {where}, share of plain reading", 100 * reading / loading, "%", 80)
    figures.add("memory of a load at most", seen["peak_bytes"] / seen["bytes"], "× the file",
                note="pages of the file that stand in the page cache are counted in")
    return seen


def add_beside(figures, name, own, other, aim, note=""):
    """How many times as fast as theirs."""
    if other:
        figures.add(name, own / other, "×", aim, note)


def speed(figures, model, loaded):
    seen = run(OPTIONS.bench, "speed", model, "--prefill", OPTIONS.prefill, "--decode", OPTIONS.decode, "--repeat", OPTIONS.repeat,
               "--buffer", OPTIONS.buffer, *(["--quick"] if OPTIONS.quick else []))
    other = theirs("speed", model, OPTIONS.prefill, OPTIONS.decode, OPTIONS.repeat)
    decode, reads = seen["decode_tokens_s"], seen["read_bytes_s"]
    figures.add("decode of one text", decode, "tokens/s", note=f"bf16, {seen['weight_bytes'] / 1e9:.2f} GB of weights a token")
    shares = sorted(100 * share for share in seen["decode_shares"])
    figures.add("decode, share of the read bandwidth", statistics.median(shares), "%", 80,
                f"{shares[0]:.0f} to {shares[-1]:.0f} % of what was read just before or after; {reads / 1e9:.1f} GB/s at most")
    for row in seen["prefill"]:
        name = f"prefill of {row['tokens']:,} tokens"
        figures.add(name, row["tokens_s"], "tokens/s", note=f"{row['flop_s'] / 1e9:.0f} GFLOP/s")
        figures.add(f"{name}, share of the best product", 100 * row["flop_s"] / seen["product_flop_s"], "%", 60,
                    f"{seen['product_flop_s'] / 1e9:.0f} GFLOP/s in bf16, the best of our own and oneDNN")
    figures.add("memory at most", seen["peak_bytes"] / 1e9, "GB", note="with what the ceilings were measured with")
    if other:
        add_beside(figures, "decode, beside transformers", decode, other["decode_tokens_s"], 1,
                   f"{other['decode_tokens_s']:.2f} tokens/s there; {other['versions']}")
        for row, there in zip(seen["prefill"], other["prefill"]):
            add_beside(figures, f"prefill of {row['tokens']:,} tokens, beside transformers", row["tokens_s"], there, 1,
                       f"{there:.0f} tokens/s there")
        add_beside(figures, "load from the page cache, beside transformers", 1 / loaded["load_cached_s"], 1 / other["load_s"], None,
                   f"{other['load_s']:.2f} s there")


def lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def questions(folder):
    """MMLU's own files as our tasks read them."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "import-data", "--from", OPTIONS.data / "tasks", "--to", folder / "all", "mmlu"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench_worker: {done.stderr}")
    test, dev = lines(folder / "all/mmlu/test.jsonl"), lines(folder / "all/mmlu/dev.jsonl")
    # As many of each subject as goes, one subject after another, as in the whole file.
    each = max(1, OPTIONS.limit // len(SUBJECTS))
    some = [row for subject in SUBJECTS for row in [row for row in test if row["subject"] == subject][:each]]
    write_lines(folder / "some/mmlu/test.jsonl", some)
    write_lines(folder / "some/mmlu/dev.jsonl", dev)
    text = (ROOT / "db/tasks/mmlu.yaml").read_text()
    tasks = []
    for subject in SUBJECTS:
        write_lines(folder / f"some/{subject}/test.jsonl", [row for row in test if row["subject"] == subject][:OPTIONS.few])
        task = folder / f"mmlu_{subject}.yaml"
        task.write_text(text.replace("task: mmlu\n", f"task: mmlu_{subject}\n").replace("data: mmlu/", f"data: {subject}/"))
        tasks.append(task)
    return folder / "some", len(some), tasks


def evaluation(figures, model, data, count):
    def ask(runs, *more):
        asked = [run(OPTIONS.bench, "ask", model, "mmlu", "--data", data, "--limit", count, *more) for _ in range(runs)]
        return min(asked, key=lambda seen: seen["seconds"])
    tree, alone = ask(OPTIONS.repeat), ask(1, "--alone")
    if tree["tasks"][0]["score"] != alone["tasks"][0]["score"]:
        raise SystemExit("bench_worker: the tree changes MMLU's score")
    rate = {}
    for name, seen in (("with the tree", tree), ("each text by itself", alone)):
        task = seen["tasks"][0]
        rate[name] = task["samples"] / task["ask_s"]
        figures.add(f"MMLU, 5 examples, {name}", rate[name], "questions/s",
                    note=f"{task['samples']} questions of {len(SUBJECTS)} subjects, {task['tokens'] / task['samples']:.0f} tokens computed for each")
    figures.add("MMLU, what the tree gives", rate["with the tree"] / rate["each text by itself"], "×", 5)
    other = theirs("mmlu", model, data, count)
    if other:
        whole = tree["seconds"]
        figures.add("MMLU, a whole evaluation, beside lm-eval with transformers", other["seconds"] / whole, "×", 2,
                    f"{whole:.1f} s here, {other['seconds']:.1f} s there, the load included; {other['versions']}")


def many(figures, model, data, tasks):
    asked = ("--data", data, "--limit", OPTIONS.few, "--shots", 0)
    run(OPTIONS.bench, "load", model, "--repeat", 1)  # from the page cache from here on
    begun = time.monotonic()
    together = run(OPTIONS.bench, "ask", model, *tasks, *asked)
    one = time.monotonic() - begun
    begun = time.monotonic()
    for task, kept in zip(tasks, together["tasks"]):
        seen = run(OPTIONS.worker, "eval", model, task, *asked, "--dtype", "bf16")
        if seen["metrics"]["acc"]["value"] != kept["score"]:
            raise SystemExit(f"bench_worker: {task.stem} has another score in a process of its own")
    each = time.monotonic() - begun
    figures.add(f"{len(tasks)} tasks in one job, beside a process each", each / one, "×",
                note=f"{one:.1f} s and {each:.1f} s, {OPTIONS.few} questions a task without examples; a load takes {together['load_s']:.1f} s")
    figures.add("between two tasks", 1000 * statistics.median(task["seconds"] - task["ask_s"] for task in together["tasks"]), "ms",
                note="from one task's end to the first question of the next: its file and its data are read")


def main():
    figures = Figures()
    tokenizer = OPTIONS.data / "tokenizers" / "gpt2"
    if not tokenizer.is_dir():
        raise SystemExit(f"bench_worker: no {tokenizer}; --data says where the tasks and tokenizers are that others made")
    try:
        large, small = OPTIONS.models / OPTIONS.large, OPTIONS.models / OPTIONS.small
        for model in {large, small}:
            run(OPTIONS.bench, "make", model, model.name, "--tokenizer", tokenizer)
        speed(figures, large, load(figures, large))
        data, count, tasks = questions(OPTIONS.models / "data")
        evaluation(figures, small, data, count)
        many(figures, large, data, tasks)
    finally:
        if not OPTIONS.keep:
            shutil.rmtree(OPTIONS.models, ignore_errors=True)
    OPTIONS.out.write_text(json.dumps({"figures": figures.rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
