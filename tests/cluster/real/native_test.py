"""A matrix of models and real tasks, on the native engine over two nodes of a real Slurm: undisturbed, then while ranks, a node,
jobs and the daemon are killed. The scores are the same to the digit, and so is what was logged of every sample.

Called as: native_test.py ORCHD ORCH_WORKER ROOT, with SLURM_CONF and ORCH_TEST_CLUSTER of two nodes set. The models: one that
others have trained, cut into 2 tensor ranks × 2 stages over both nodes; one of four stages over both nodes; a mixture of experts, of
which there are copies that share the work. The tasks are published ones ($ORCH_TEST_DATA, or ../shared/data beside the tree)."""

import collections
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import unittest

import small_checkpoints
from slurm_daemon import ROOT, eventually, main, run, write_cluster
from strikes import StruckTest, held_still, number_of_cell, ranks, variables

DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA") or ROOT.parent / "shared" / "data")
TRAINED = DATA / "models" / "tinystories-656k"

# Three whose answers are scored by their likelihood, three that are generated. Of the first the limit is the model's; a long one is cut into chunks.
TASKS = [
    {"name": "mmlu", "shots": 0},
    {"name": "arc_challenge", "shots": 3, "limit": 100},
    {"name": "winogrande", "shots": 3, "limit": 60},
    {"name": "gsm8k", "shots": 1, "limit": 40, "max_tokens": 40},
    {"name": "bbh", "shots": 0, "limit": 16, "max_tokens": 40},
    {"name": "humaneval", "limit": 16, "max_tokens": 40},
]
TENSOR, STAGES, COPIES = "tinystories", "small_qwen3", "small_mixtral"
MODELS = [{"name": TENSOR, "tensor": 2, "pipeline": 2, "limit": 60}, {"name": STAGES, "pipeline": 4, "limit": 200},
          {"name": COPIES, "tensor": 1, "limit": 2000}]

CATALOG = """\
models:
  tinystories:
    hf_id: TRAINED
    family: llama
    params: 656_000
    context: 512
    dtype: fp32
    license: apache-2.0
    engines: [native]
    decoder: {layers: 2, hidden: 128, heads: 8, kv_heads: 4, head_dim: 16, ffn: 384, vocab: 2048, tied: true}
  small_qwen3:
    hf_id: MADE/qwen3
    family: qwen
    params: 385_728
    context: 512
    dtype: fp32
    license: apache-2.0
    engines: [native]
    decoder: {layers: 4, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, ffn: 96, vocab: 2048, qk_norm: true}
  small_mixtral:
    hf_id: MADE/mixtral
    family: mistral
    params: 435_008
    context: 512
    dtype: fp32
    license: apache-2.0
    engines: [native]
    decoder: {layers: 2, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, ffn: 0, vocab: 2048, experts: {count: 4, active: 2, ffn: 96}}
profiles:
  pair_of_nodes:
    nodes: 2
    gpus_per_node: 2
    cpus_per_gpu: 4
    memory: 8G
    time_limit: 1h
    template: multi_node.sbatch
gpus:
  one_core: {memory: 8GiB, bandwidth: 1GB/s, flops: {fp32: 1G}, link: 1GB/s, slurm_names: [h100]}
"""

# Short jobs, and copies of a model side by side: work of minutes is cut as otherwise work of hours is.
POLICY = {"time_least": "1min", "backfill": "1min", "piece_least": "10s", "load_worth": "0.5", "idle_load_worth": "0.5", "drain_signal": "20s"}


def winogrande():
    """The questions as LLM-Adapters rewords them, put back."""
    for row in json.loads((DATA / "tasks" / "commonsense" / "winogrande.json").read_text()):
        found = re.match(r"Please choose .* the given sentence: (.*_.*)\n\nOption1: (.*) Option2: (.*) Answer format: ", row["instruction"])
        sentence, first, second = found.groups()
        yield {"sentence": sentence, "option1": first, "option2": second, "answer": row["answer"][-1]}


def write_rows(file, rows):
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(folder):
    """The questions of all tasks. Of two only those to be asked were at hand: the last ones serve as worked examples."""
    wanted = [task["name"] for task in TASKS if task["name"] != "winogrande"]
    run(sys.executable, "-B", ROOT / "scripts" / "import-data", "--from", DATA / "tasks", "--to", folder, *wanted)
    rows = list(winogrande())
    write_rows(folder / "winogrande" / "validation.jsonl", rows[:-200])
    write_rows(folder / "winogrande" / "train.jsonl", rows[-200:])
    rows = [json.loads(line) for line in (folder / "arc_challenge" / "test.jsonl").read_text().splitlines()]
    write_rows(folder / "arc_challenge" / "test.jsonl", rows[:-200])
    write_rows(folder / "arc_challenge" / "train.jsonl", rows[-200:])


@unittest.skipUnless(TRAINED.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{TRAINED} is not here")
class Native(StruckTest):
    def setUp(self):
        held = tempfile.TemporaryDirectory(prefix="orch-native-", dir="/tmp")
        self.addCleanup(held.cleanup)
        made = pathlib.Path(held.name)
        for family in small_checkpoints.CONFIGS:
            small_checkpoints.make(family, made / family, TRAINED)
        write_data(made / "data")
        (made / "catalog.yaml").write_text(CATALOG.replace("TRAINED", str(TRAINED)).replace("MADE", str(made)))
        # Nodes of two GPUs: what needs four lies over both. Jobs have whole nodes, and so one runs at a time.
        site = write_cluster(made / "cluster.yaml", nodes=2, gpus=2, gpu="one_core", exclusive="true")
        policy = (ROOT / "policies" / "default.yaml").read_text()
        for name, value in POLICY.items():
            policy = re.sub(rf"^(\s*{name}): \S+", rf"\1: {value}", policy, flags=re.M)
        (made / "policy.yaml").write_text(policy)
        self.OPTIONS = (*self.OPTIONS, "--cluster", str(site), "--catalog", str(made / "catalog.yaml"), "--data", str(made / "data"),
                        "--policy", str(made / "policy.yaml"))
        super().setUp()

    def submit_all(self):
        matrix = {"name": "real", "models": MODELS, "tasks": TASKS, "settings": {"dtype": "fp32"}}
        answer = self.daemon.submit(json.dumps(matrix))
        self.assertEqual((answer["cells"], answer["rejected"]), (len(MODELS) * len(TASKS), 0), answer)
        cells = self.daemon.get(f"/v1/sweeps/{answer['sweep']}/cells")
        self.cells = {cell["cell"].removeprefix("c"): (cell["model"], cell["task"]) for cell in cells}
        return answer["sweep"]

    def attempts(self):
        """What each attempt of each chunk has logged: its folder → (model, task) and the lines of its samples."""
        return {log.parent: (self.cells[number_of_cell(log.parent)], log.read_text().splitlines()[1:])
                for log in self.daemon.state.glob("jobs/*/cells/*/samples.jsonl")}

    def measured(self, sweep):
        """(model, task) → what the sweep's result says, and the line of each of its samples."""
        samples = collections.defaultdict(dict)
        for folder, (cell, lines) in self.attempts().items():
            numbers = [json.loads(line)["sample"] for line in lines]
            self.assertEqual(len(set(numbers)), len(numbers), f"{folder} has a sample twice")
            for number, line in zip(numbers, lines):
                self.assertEqual(samples[cell].setdefault(number, line), line, f"another attempt of {cell} says otherwise of a sample")
        found = {}
        for row in self.daemon.results(sweep):
            cell = row["model"], row["task"]
            self.assertEqual(row["state"], "done", row)
            self.assertEqual(len(samples[cell]), row["figures"]["samples"], row)
            self.assertEqual({metric["samples"] for metric in row["metrics"].values()}, {row["figures"]["samples"]})
            found[cell] = row["metrics"], samples[cell]
        self.assertEqual(len(found), len(MODELS) * len(TASKS))
        return found

    def strike(self, strikes):
        """Waits until of a cell that is to be struck some samples, but not all of a chunk, are logged, and does it then.
        `strikes`: for each model what is to be done, and in which task (none: in any); one is taken out."""
        while True:
            folder = eventually(f"a running chunk for {strikes}", lambda: self.in_the_middle(strikes), 120)
            job = next(job for job in self.daemon.get("/v1/jobs") if job["name"] == folder.parent.parent.name)
            model, task = cell = self.cells[number_of_cell(folder)]
            with held_still(job["slurm_job_id"]):
                if not self.is_in_the_middle(folder):
                    continue  # it was quicker
                how, _ = strikes[model].pop(0)
                if not strikes[model]:
                    del strikes[model]
                print(f"{how.__name__}: {job['id']}, at {len(self.attempts()[folder][1])} samples of {model} / {task}", flush=True)
                deed = how(job, "c" + number_of_cell(folder))
                next(deed)
            next(deed)
            return how.__name__, cell, folder, deed

    def in_the_middle(self, strikes):
        """The folder of an attempt whose turn it is."""
        running = {job["name"] for job in self.jobs("running")}
        for folder, ((model, task), _) in self.attempts().items():
            its_turn = model in strikes and strikes[model][0][1] in (None, task)
            if its_turn and folder.parent.parent.name in running and self.is_in_the_middle(folder):
                return folder
        return None

    def is_in_the_middle(self, folder):
        """Of a chunk: whether some of its samples are logged, and some are not."""
        cell, lines = self.attempts()[folder]
        return bool(lines) and len(lines) < self.longest[cell]

    # What is done while the job is held still; then what must be whole again before anything else is struck; at last what
    # came of it. Nobody waits for that in between: by then the other models' cells would be done.

    def kill_rank(self, job, cell):
        killed = ranks(job["slurm_job_id"])[3]
        self.assertEqual(variables(killed)["SLURMD_NODENAME"], "gpu2")
        os.kill(killed, signal.SIGKILL)
        yield
        yield
        self.assertRegex(self.ended(job, "lost_peer")["reason"], rf"rank 3 \(process {killed} on \S+\) is gone")
        self.noted("cell.attempt_failed", cell, "^lost_peer: .*rank 3")

    def kill_daemon(self, job, cell):
        self.daemon.kill()
        yield
        self.daemon.start()
        yield
        self.assertEqual(self.ended(job, "done")["restarts"], 0, "its worker was to go on without a daemon")

    def kill_daemon_and_worker(self, job, cell):
        self.daemon.kill()
        os.kill(ranks(job["slurm_job_id"])[0], signal.SIGKILL)
        yield
        self.daemon.start()
        yield
        self.ended(job, "unknown")
        self.noted("cell.(suspect|attempt_failed)", cell, "")

    def test_scores_are_the_same_to_the_digit_whatever_is_killed(self):
        sweep = self.submit_all()
        self.assertEqual(self.daemon.wait(sweep, 200)["state"], "done")
        expected = self.measured(sweep)
        self.assertEqual({row["attempts"] for row in self.daemon.results(sweep)}, {1})
        places = {job["id"]: (job["gpus"], len(job["nodes"])) for job in self.jobs() if job["cells_done"]}
        self.assertEqual(set(places.values()), {(4, 2), (2, 1)}, "over both nodes, and two copies side by side")
        self.longest = {cell: max(len(lines) for of, lines in self.attempts().values() if of == cell) for cell in expected}
        self.assertLess(self.longest[COPIES, "mmlu"], len(expected[COPIES, "mmlu"][1]), "it was cut into chunks")
        self.end()

        (self.folder / "again").mkdir()
        self.daemon = self.DAEMON(self.folder / "again", *self.OPTIONS)
        self.daemon.start()
        sweep = self.submit_all()
        strikes = {TENSOR: [(self.kill_rank, "gsm8k")], STAGES: [(self.end_node, "arc_challenge"), (self.kill_daemon, None)],
                   COPIES: [(self.cancel_job, None), (self.kill_daemon_and_worker, "mmlu")]}
        struck = []
        while strikes:
            struck.append(self.strike(strikes))
        for *_, deed in struck:
            next(deed, None)
        self.assertEqual(self.daemon.wait(sweep, 200)["state"], "done")
        self.assertEqual(self.measured(sweep), expected)
        figures = {(row["model"], row["task"]): row["figures"] for row in self.daemon.results(sweep)}
        for how, cell, folder, _ in struck:
            if how in ("kill_rank", "end_node", "kill_daemon_and_worker"):
                self.assertTrue(self.is_in_the_middle(folder), f"{how}: {folder} was ended in the middle")
                self.assertLess(figures[cell]["asked"], figures[cell]["samples"], f"{how}: {cell} was gone on with")


if __name__ == "__main__":
    main()
