"""Six trainings and twelve evaluations of what they make, on the native engine over two nodes of a real Slurm: undisturbed, then while jobs
are preempted, run out of time, are cancelled, and a node is lost in the middle. The adapters are the same, byte for byte, and so are the scores.

Called as: training_test.py ORCHD ORCH_WORKER ROOT, with SLURM_CONF and ORCH_TEST_CLUSTER of two nodes set. The models: one that
others have trained, cut over the two ranks of a node, and one that is drawn. The data and the tasks are published ones
($ORCH_TEST_DATA, or ../shared/data beside the tree)."""

import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

import small_checkpoints
from slurm_daemon import ROOT, eventually, main, run, write_cluster
from strikes import StruckTest, held_still, number_of_cell

DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA") or ROOT.parent / "shared" / "data")
TRAINED = DATA / "models" / "tinystories-656k"

STEPS, EVERY = 160, 10
MATRIX = {
    "name": "tune", "models": [{"name": "tinystories", "tensor": 2}, {"name": "small_qwen3", "tensor": 1}], "settings": {"dtype": "fp32"},
    "stages": {
        "tune": {"kind": "train", "tasks": ["obqa"], "settings": {
            "seed": [0, 1, 2], "rank": 8, "alpha": 16, "dropout": 0.1, "learning_rate": 0.004, "clip": 1, "batch_size": 4, "accumulation": 1,
            "steps": STEPS, "sequence": 256, "held_out": 20, "evaluate_every": 40, "checkpoint_every": EVERY}},
        "tuned": {"adapter": "tune", "tasks": [{"name": "mmlu", "shots": 0, "limit": 20}, {"name": "bbh", "shots": 0, "limit": 8, "max_tokens": 20}]}}}

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
tasks:
  obqa: {kind: train, type: instruct_text, rows: instruction, hf_id: local/obqa, metric: loss, samples: 400, prompt_tokens: 180, output_tokens: 10}
gpus:
  one_core: {memory: 8GiB, bandwidth: 1GB/s, flops: {fp32: 20G}, link: 1GB/s, slurm_names: [h100]}
"""


@unittest.skipUnless(TRAINED.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{TRAINED} is not here")
class Training(StruckTest):
    def setUp(self):
        held = tempfile.TemporaryDirectory(prefix="orch-training-", dir="/tmp")
        self.addCleanup(held.cleanup)
        made = pathlib.Path(held.name)
        small_checkpoints.make("qwen3", made / "qwen3", TRAINED)
        run(sys.executable, "-B", ROOT / "scripts" / "import-data", "--from", DATA / "tasks", "--to", made / "data", "mmlu", "bbh")
        rows = json.loads((DATA / "tasks" / "commonsense" / "openbookqa.json").read_text())[:400]
        (made / "data" / "obqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (made / "catalog.yaml").write_text(CATALOG.replace("TRAINED", str(TRAINED)).replace("MADE", str(made)))
        site = write_cluster(made / "cluster.yaml", nodes=2, gpus=2, gpu="one_core", exclusive="true")
        policy = re.sub(r"^(\s*drain_signal): \S+", r"\1: 20s", (ROOT / "policies" / "default.yaml").read_text(), flags=re.M)
        (made / "policy.yaml").write_text(policy)
        self.OPTIONS = (*self.OPTIONS, "--cluster", str(site), "--catalog", str(made / "catalog.yaml"), "--data", str(made / "data"),
                        "--policy", str(made / "policy.yaml"))
        super().setUp()

    def submit_all(self):
        answer = self.daemon.submit(json.dumps(MATRIX))
        self.assertEqual((answer["cells"], answer["rejected"]), (18, 0), answer)
        return answer["sweep"]

    def steps(self):
        """Of each attempt at a training: its folder → the last step that it has told of."""
        last = {}
        for curve in self.daemon.state.glob("jobs/*/cells/*/curve.jsonl"):
            lines = curve.read_text().split("\n")[:-1]
            last[curve.parent] = json.loads(lines[-1])["step"] if lines else 0
        return last

    def made(self, sweep):
        """What each training made, and what was scored on top of it; by model and seed, and by task."""
        rows = self.daemon.results(sweep)
        self.assertEqual({row["state"] for row in rows}, {"done"}, rows)
        cells = {cell["key"]: cell["cell"].removeprefix("c") for cell in self.daemon.get(f"/v1/sweeps/{sweep}/cells")}
        trained, scores, of_key = {}, {}, {}
        for row in rows:
            if row["kind"] != "train":
                continue
            name = of_key[row["key"]] = row["model"], row["settings"]["seed"]
            adapters = [folder / "adapter" / "adapter_model.safetensors"
                        for folder in self.daemon.state.glob(f"jobs/*/cells/{cells[row['key']]}-*") if (folder / "adapter").exists()]
            self.assertEqual(len(adapters), 1, "one attempt came to the end")
            trained[name] = adapters[0].read_bytes(), row["metrics"]
        for row in rows:
            if row["kind"] == "eval":
                scores[(*of_key[row["adapter"]], row["task"])] = row["metrics"]
        self.assertEqual((len(trained), len(scores)), (6, 12))
        self.assertEqual(len({adapter for adapter, _ in trained.values()}), 6, "each seed is another training")
        return trained, scores

    def strike(self, how):
        """Waits until a training that nobody has struck yet is in the middle, and does it then."""
        def in_the_middle():
            running = {job["name"]: job for job in self.jobs("running")}
            for folder, step in self.steps().items():
                job = running.get(folder.parent.parent.name)
                if job and job["name"] not in self.struck_jobs.values() and number_of_cell(folder) not in self.struck and 2 * EVERY < step < STEPS - 40:
                    return folder, job
            return None

        folder, job = eventually(f"a training for {how.__name__}", in_the_middle, 200)
        with held_still(job["slurm_job_id"]):
            step = self.steps()[folder]
            print(f"{how.__name__}: {job['id']} on {job['nodes']}, at step {step} of cell {number_of_cell(folder)}", flush=True)
            self.assertLess(step, STEPS)
            self.struck.add(number_of_cell(folder))
            self.struck_jobs[how.__name__] = job["name"]
            deed = how(job, "c" + number_of_cell(folder))
            next(deed)
        next(deed)
        return deed

    def test_adapters_are_the_same_byte_for_byte_whatever_befalls_their_jobs(self):
        sweep = self.submit_all()
        self.assertEqual(self.daemon.wait(sweep, 300)["state"], "done")
        expected = self.made(sweep)
        self.assertEqual({row["attempts"] for row in self.daemon.results(sweep)}, {1})
        self.end()

        (self.folder / "again").mkdir()
        self.daemon = self.DAEMON(self.folder / "again", *self.OPTIONS)
        self.daemon.start()
        self.struck, self.struck_jobs = set(), {}
        sweep = self.submit_all()
        deeds = [self.strike(how) for how in (self.end_time, self.end_node, self.requeue_job, self.cancel_job)]
        for deed in deeds:
            next(deed, None)
        self.assertEqual(self.daemon.wait(sweep, 300)["state"], "done")
        self.assertEqual(self.made(sweep), expected)
        for how, job in self.struck_jobs.items():
            ended = {folder: step for folder, step in self.steps().items()
                     if folder.parent.parent.name == job and not (folder / "adapter").exists() and step >= EVERY}
            self.assertTrue(ended, f"{how}: {job} ended no training in the middle")
            for folder, step in ended.items():
                last = max(self.daemon.state.glob(f"jobs/*/cells/{number_of_cell(folder)}-*"), key=lambda each: int(each.name.partition("-")[2]))
                gone_on = [int(step) for step in re.findall(r"goes on from step (\d+)", (last / "log").read_text())]
                self.assertTrue(gone_on and gone_on[-1] > step - 2 * EVERY, f"{how}: {folder} was at {step}, and went on from {gone_on}")


if __name__ == "__main__":
    main()
