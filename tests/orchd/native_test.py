"""Cells of the native engine, from a matrix to exact scores: models that the project makes itself, whose scores are known
(examples/small/README.md), on this machine as a cluster of four GPUs that are pretended.

Called as: native_test.py ORCHD ORCH_WORKER ROOT MPIRUN, the last an empty word where there is no MPI."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import unittest

MPIRUN = sys.argv.pop(4)

from daemon import ROOT, Daemon, DaemonTest, eventually, main  # it reads the arguments that are left

SMALL = ROOT / "examples" / "small"
MODELS, TASKS = ("induction", "copier", "constant"), ("recall", "repeat", "echo")


def known_scores():
    """The table of README.md: (model, task) → score."""
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", (SMALL / "README.md").read_text(), re.M)
    return {(model, task): float(score) for model, *scores in rows for task, score in zip(TASKS, scores)}


class NativeDaemon(Daemon):
    CLUSTER = ("--cluster", "local", "--gpus", "4")
    # Open MPI keeps some of its memory to the end: that is not ours to mend. When a rank dies it gives the others so many
    # seconds, twice, whether they are there or not.
    VARIABLES = {"ASAN_OPTIONS": "detect_leaks=0", "OMPI_MCA_odls_base_sigkill_timeout": "2", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Native(DaemonTest):
    DAEMON = NativeDaemon

    def setUp(self):
        super().setUp()
        subprocess.run([sys.executable, "-B", ROOT / "scripts" / "make-small-models", "--to", self.folder / "models"], check=True,
                       capture_output=True)
        self.catalog = (SMALL / "catalog.yaml").read_text().replace("ROOT", str(self.folder / "models"))
        self.data = self.daemon.state / "data"
        self.data.mkdir(exist_ok=True)
        for file in SMALL.glob("*.jsonl"):
            shutil.copy(file, self.data)
        for task in TASKS:
            shutil.copy(SMALL / f"{task}.yaml", self.data)

    def ask(self, name, models=MODELS, tasks=TASKS, **settings):
        matrix = {"name": name, "models": list(models), "tasks": list(tasks), "settings": {"dtype": "fp32", **settings}}
        return self.daemon.call("POST", "/v1/sweeps", {"matrix": json.dumps(matrix), "file": "test.yaml",
                                                       "catalogs": [{"file": "small.yaml", "text": self.catalog}]})

    def submit(self, *arguments, **settings):
        status, body = self.ask(*arguments, **settings)
        self.assertEqual(status, 201, body)
        return body["sweep"]

    def scores(self, sweep):
        return {(row["model"], row["task"]): next(iter(row["metrics"].values()))["value"] for row in self.daemon.results(sweep)}

    def many(self, count):
        """Questions like recall's, so many; the share of them that the constant model gets right."""
        drawn = random.Random(7)
        lines = []
        for _ in range(count):
            animals, colours = drawn.sample(["dog", "cat", "fish", "horse"], 4), drawn.sample(["red", "blue", "green", "gold"], 4)
            asked = drawn.randrange(4)
            text = " ".join([word for pair in zip(animals, colours) for word in pair] + [animals[asked]])
            lines.append({"text": text, "answer": colours[asked]})
        (self.data / "recall.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return sum(line["answer"] == "red" for line in lines) / count

    def logged(self):
        """Samples that are in the logs of all attempts."""
        return sum(len(log.read_bytes().splitlines()) - 1 for log in (self.daemon.state / "jobs").glob("*/cells/*/samples.jsonl"))

    def workers(self):
        """The processes of running jobs, by rank: of each the first, which has made the helper that starts programs."""
        found = {}
        for folder in sorted(pathlib.Path("/proc").glob("[0-9]*"), key=lambda each: -int(each.name)):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                variables = dict(line.partition(b"=")[::2] for line in (folder / "environ").read_bytes().split(b"\0"))
            except OSError:
                continue  # it has just ended
            if words[0].endswith(b"orch-worker") and any(str(self.folder).encode() in word for word in words):
                found[int(variables.get(b"OMPI_COMM_WORLD_RANK", b"0"))] = int(folder.name)
        return found

    def gpus(self):
        """Of the job that did the work."""
        return next(job["gpus"] for job in self.daemon.get("/v1/jobs") if job["cells_done"])

    def test_scores_are_those_that_follow_from_the_weights(self):
        sweep = self.submit("small")
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")
        self.assertEqual(self.scores(sweep), known_scores())
        self.assertEqual(len(known_scores()), 9)
        for row in self.daemon.results(sweep):
            figures = row["figures"]
            self.assertEqual(figures["samples"], 20)
            self.assertEqual(figures["asked"], 20)
            self.assertGreater(figures["tokens"], 20)
            self.assertGreaterEqual(figures["tokens_without_sharing"], figures["tokens"])
            self.assertEqual(figures["tokens_written"] > 0, row["task"] == "echo")
            self.assertGreater(figures["memory"], 1 << 20)
            self.assertGreater(figures["tokens_per_second"], 0)
        self.assertEqual(len(self.daemon.get("/v1/jobs")), 1, "three small models have one job")

    @unittest.skipUnless(MPIRUN, "built without MPI")
    def test_four_ranks_and_two_stages_give_the_same_scores(self):
        tensor = self.submit("tensor", tensor=4)
        self.assertEqual(self.daemon.wait(tensor)["state"], "done")
        self.assertEqual(self.scores(tensor), known_scores())
        self.assertEqual(self.gpus(), 4)
        stages = self.submit("stages", tensor=2, pipeline=2, seed=1)
        self.assertEqual(self.daemon.wait(stages)["state"], "done")
        self.assertEqual(self.scores(stages), known_scores())

    def add_mixtral(self):
        """A model of random weights, as an architecture with experts; how many layers, experts, and experts a token it has."""
        models = self.folder / "models"
        shutil.copytree(ROOT / "tests" / "model" / "data" / "families" / "mixtral", models / "mixtral")
        for file in (models / "constant").glob("*token*"):
            shutil.copy(file, models / "mixtral")
        config = json.loads((models / "mixtral" / "config.json").read_text())
        layers, experts, active = (config[name] for name in ("num_hidden_layers", "num_local_experts", "num_experts_per_tok"))
        self.catalog = self.catalog.replace("tasks:", f"""  mixtral:
    hf_id: {models}/mixtral
    family: mixtral
    params: 177_000
    context: {config["max_position_embeddings"]}
    dtype: fp32
    license: apache-2.0
    engines: [native]
    decoder: {{layers: {layers}, hidden: {config["hidden_size"]}, heads: {config["num_attention_heads"]}, kv_heads: {config["num_key_value_heads"]}, head_dim: 8, ffn: 0, vocab: 96,
              experts: {{count: {experts}, active: {active}, ffn: {config["intermediate_size"]}}}}}
tasks:""")
        return layers, experts, active

    def test_cells_in_other_number_formats_are_not_answered_by_the_model_before_them(self):
        self.add_mixtral()
        sweep = self.submit("formats", models=["mixtral"], tasks=["repeat"], dtype=["fp32", "int8"], kv_dtype=["fp32", "fp8"])
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")
        answers = {"".join(log.read_text().splitlines()[1:]) for log in (self.daemon.state / "jobs").glob("*/cells/*/samples.jsonl")}
        self.assertEqual(len(answers), 4, "likelihoods that differ with the format")

    def test_experts_are_counted_by_layer(self):
        layers, experts, active = self.add_mixtral()
        sweep = self.submit("experts", models=["mixtral"], tasks=["repeat"])
        self.assertEqual(self.daemon.wait(sweep)["state"], "done", self.daemon.results(sweep))
        row = self.daemon.results(sweep)[0]
        found = row["figures"]["experts"]
        self.assertEqual([layer["layer"] for layer in found], list(range(layers)))
        for layer in self.daemon.get(f"/v1/cells/{row['key']}")["figures"]["experts"]:
            self.assertEqual(layer["experts"], experts)
            self.assertEqual(sum(layer["chosen"]), row["figures"]["tokens"] * active)
            self.assertEqual(layer["unused"], layer["chosen"].count(0))
            self.assertEqual(layer["busiest"], max(layer["chosen"]) / sum(layer["chosen"]))
        self.assertNotIn("chosen", found[0])

    def test_a_task_without_data_is_refused_before_anything_starts(self):
        (self.data / "echo.jsonl").unlink()
        status, body = self.ask("small", tasks=["echo"])
        self.assertEqual(status, 422, body)
        self.assertRegex(json.dumps(body), r"the data of task 'echo' is not there: .*/data/echo.jsonl")
        self.assertEqual(self.daemon.get("/v1/jobs"), [])

    def test_data_that_changed_is_another_cell(self):
        first = self.submit("first", models=["constant"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(first)["state"], "done")
        lines = (self.data / "recall.jsonl").read_text().splitlines(keepends=True)
        (self.data / "recall.jsonl").write_text("".join(lines[:10]))
        second = self.submit("second", models=["constant"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(second)["state"], "done")
        self.assertEqual(self.daemon.results(second)[0]["figures"]["samples"], 10)
        self.assertNotEqual(self.daemon.results(first)[0]["key"], self.daemon.results(second)[0]["key"])

    def test_weights_that_changed_are_another_cell(self):
        first = self.submit("first", models=["copier"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(first)["state"], "done")
        shutil.copy(self.folder / "models" / "constant" / "model.safetensors", self.folder / "models" / "copier")
        second = self.submit("second", models=["copier"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(second)["state"], "done")
        self.assertEqual(self.scores(first)["copier", "recall"], known_scores()["copier", "recall"])
        self.assertEqual(self.scores(second)["copier", "recall"], known_scores()["constant", "recall"])

    def test_a_model_that_is_not_whole_fails_with_what_it_lacks(self):
        (self.folder / "models" / "copier" / "model.safetensors").unlink()
        sweep = self.submit("small", models=["copier"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(sweep)["state"], "failed")
        self.assertIn("safetensors", self.daemon.results(sweep)[0]["reason"])

    def test_a_training_of_layers_that_the_model_does_not_have_fails_at_once(self):
        settings = {"targets": "q_proj,p_proj", "steps": 2, "sequence": 32, "dtype": "fp32"}
        matrix = {"name": "typo", "kind": "train", "models": ["copier"], "tasks": ["learn_pets"], "settings": settings}
        status, body = self.daemon.call("POST", "/v1/sweeps", {"matrix": json.dumps(matrix), "file": "test.yaml",
                                                               "catalogs": [{"file": "small.yaml", "text": self.catalog}]})
        self.assertEqual(status, 201, body)
        self.assertEqual(self.daemon.wait(body["sweep"])["state"], "failed")
        row = self.daemon.results(body["sweep"])[0]
        self.assertEqual(row["reason"], "the model has no linear layer 'p_proj'")
        failures = self.daemon.get(f"/v1/cells/{row['key']}")["failures"]
        self.assertEqual([(each["cause"], each["remedy"]) for each in failures], [("bad_input", "give_up")], "no memory would help")

    def test_a_long_cell_is_cut_and_put_together_exactly(self):
        red = self.many(3500)
        sweep = self.submit("long", models=["constant", "induction"], tasks=["recall"])
        self.assertEqual(self.daemon.wait(sweep, 120)["state"], "done")
        for row in self.daemon.results(sweep):
            metric = row["metrics"]["acc"]
            share = red if row["model"] == "constant" else 1
            self.assertEqual(metric["value"], share)
            self.assertEqual(metric["samples"], 3500)
            # Of zeros and ones: the sample's standard deviation over the root of its size.
            self.assertAlmostEqual(metric["stderr"], (share * (1 - share) / 3499) ** 0.5, places=12)
            self.assertEqual(row["figures"]["asked"], 3500)
        cell = self.daemon.get(f"/v1/cells/{self.daemon.results(sweep)[0]['key']}")
        self.assertEqual(cell["chunks"], 3)

    def test_what_a_killed_worker_has_logged_is_not_asked_again(self):
        red = self.many(30_000)
        sweep = self.submit("killed", models=["constant"], tasks=["recall"])
        eventually("some samples", lambda: self.logged() > 50)
        for pid in self.workers().values():
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.daemon.wait(sweep, 120)["state"], "done")
        row = self.daemon.results(sweep)[0]
        self.assertEqual(row["metrics"]["acc"]["value"], red)
        self.assertEqual(row["metrics"]["acc"]["samples"], 30_000)
        self.assertEqual(row["figures"]["samples"], 30_000)
        self.assertGreater(len([job for job in self.daemon.get("/v1/jobs") if job["started"]]), 1, "no worker was killed")
        # What the killed one had logged was gone on with: no sample was asked twice.
        self.assertEqual(self.logged(), 30_000 + row["figures"]["samples"] - row["figures"]["asked"])

    @unittest.skipUnless(MPIRUN, "built without MPI")
    def test_a_rank_that_dies_is_named_and_its_cell_is_done_by_another_job(self):
        red = self.many(30_000)
        sweep = self.submit("lost", models=["constant"], tasks=["recall"], tensor=4)
        eventually("some samples", lambda: self.logged() > 50)
        lost = self.workers()[2]
        os.kill(lost, signal.SIGKILL)
        first = self.daemon.get("/v1/jobs")[0]["id"]
        ended = eventually("the end of its job", lambda: next(
            (job for job in self.daemon.get("/v1/jobs") if job["id"] == first and job["state"] == "ended"), None), 90)
        self.assertRegex(ended["reason"], rf"rank 2 \(process {lost} on \S+\) is gone")
        self.assertEqual(self.daemon.wait(sweep, 120)["state"], "done")
        self.assertEqual(self.daemon.results(sweep)[0]["metrics"]["acc"]["value"], red)


if __name__ == "__main__":
    main()
