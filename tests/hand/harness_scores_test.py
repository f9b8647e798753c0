"""Our engine against lm-evaluation-harness over `transformers`, question by question, on a trained model and real questions.

Called as: harness_scores_test.py ORCH_WORKER ROOT MPIRUN, the last an empty word where there is no MPI. What is expected was recorded by
scripts/record-harness-scores, in tests/eval/data/harness_scores. With ORCH_SHOW_AGREEMENT set it also says how near the numbers were."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

WORKER, ROOT, MPIRUN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA", ROOT.parent / "shared" / "data")).resolve()
RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "tests/eval/data/harness_scores").glob("*.json"))}
OWN_TASKS = ROOT / "tests/eval/data/harness"
# In fp32 both sides round; a sum over the tokens of a long answer is still as near as this.
MOST_APART = 1e-3

# Open MPI keeps some of its memory to the end: that is not ours to mend.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "HF_", "SLURM_"))} | {
    "ASAN_OPTIONS": "detect_leaks=0", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm": "isolated", "OMPI_MCA_ras": "^slurm"}


def lines(path):
    return path.read_text().split("\n")[:-1]


@unittest.skipUnless(DATA.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{DATA} is not here")
class HarnessScores(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        tasks = sorted({recorded["run"]["task"] for recorded in RECORDED.values() if recorded["data"]})
        subprocess.run([sys.executable, "-B", ROOT / "scripts/import-data", "--from", DATA / "tasks", "--to", cls.folder / "whole", *tasks],
                       check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)

    def questions_of(self, name):
        """The folder of a run's questions: those that were recorded, or those that lie beside a task's file."""
        if not RECORDED[name]["data"]:
            return OWN_TASKS
        folder = self.folder / name
        for file, made in RECORDED[name]["data"].items():
            whole = lines(self.folder / "whole" / made["from"])
            text = "".join(line + "\n" for first, last in made["rows"] for line in whole[first:last]).encode()
            self.assertEqual(hashlib.sha256(text).hexdigest(), made["sha256"], f"{file} is made of other data than was recorded")
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(text)
        return folder

    def evaluated(self, name, ranks=1):
        """What orch-worker eval says of a run, and of each of its samples."""
        run, model = RECORDED[name]["run"], DATA / "models" / RECORDED[name]["model"]["name"]
        self.assertEqual(hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(), RECORDED[name]["model"]["sha256"])
        log = self.folder / f"{name}.{ranks}.jsonl"
        task = run["task"] if RECORDED[name]["data"] else OWN_TASKS / f"{run['task']}.yaml"
        words = [WORKER, "eval", model, task, "--data", self.questions_of(name), "--shots", run["shots"], "--samples", log, "--tp", ranks]
        words += ["--max-new", run["max_new_tokens"]] if run["max_new_tokens"] else []
        launcher = [MPIRUN, "--oversubscribe", "-n", ranks] if ranks > 1 else []
        done = subprocess.run(list(map(str, launcher + words)), capture_output=True, text=True, env=ENVIRONMENT, timeout=250)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), [json.loads(line) for line in lines(log)]

    def check_choices(self, sample, recorded):
        """Returns how far the log-likelihoods are apart."""
        ours = [answer["logprob"] for answer in sample["answers"]]
        theirs = [logprob for logprob, _ in recorded["choices"]]
        self.assertEqual(len(ours), len(theirs))
        apart = max(abs(one - other) for one, other in zip(ours, theirs))
        self.assertLessEqual(apart, MOST_APART)
        self.assertEqual([answer["greedy"] for answer in sample["answers"]], [greedy for _, greedy in recorded["choices"]])
        self.assertEqual(ours.index(max(ours)), theirs.index(max(theirs)))
        return apart

    def check_text(self, sample, recorded):
        """Returns whether the whole text was to be the same."""
        (answer,) = sample["answers"]
        if recorded["sure"] is not None:
            # From here on two tokens were as good as each other.
            sure = recorded["sure"]
            self.assertEqual(answer["text"][:sure], recorded["text"][:sure])
            return answer["text"] == recorded["text"]
        self.assertEqual(answer["text"], recorded["text"])
        return True

    def check_run(self, name, ranks=1):
        recorded = RECORDED[name]
        got, samples = self.evaluated(name, ranks)
        self.assertEqual(sorted(got["metrics"]), sorted(recorded["metrics"]))
        self.assertEqual([sample["sample"] for sample in samples], list(range(len(recorded["samples"]))))
        apart, whole = [], 0
        for sample, theirs in zip(samples, recorded["samples"]):
            with self.subTest(run=name, ranks=ranks, sample=sample["sample"]):
                if "choices" in theirs:
                    apart.append(self.check_choices(sample, theirs))
                    whole += 1
                elif self.check_text(sample, theirs):
                    whole += 1
                    if "extracted" in theirs:
                        self.assertEqual(sample["extracted"], [[text] for text in theirs["extracted"].values()])
                else:
                    continue
                self.assertEqual(dict(zip(got["metrics"], sample["scores"])), theirs["scores"])
        if whole == len(samples):
            for metric, theirs in recorded["metrics"].items():
                ours = got["metrics"][metric]
                self.assertAlmostEqual(ours["value"], theirs["value"], places=12)
                self.assertAlmostEqual(ours["stderr"], theirs["stderr"], places=12)
                self.assertEqual(set(ours.get("groups", {})), set(theirs.get("groups", {})))
                for group, (value, error) in theirs.get("groups", {}).items():
                    self.assertAlmostEqual(ours["groups"][group]["value"], value, places=12)
                    self.assertAlmostEqual(ours["groups"][group]["stderr"], error, places=12)
        if os.environ.get("ORCH_SHOW_AGREEMENT"):
            print(name, ranks, f"{whole} of {len(samples)} whole", f"apart by {max(apart):.1e}" if apart else "", got["seconds"], got["metrics"])

    def test_each_question_has_the_answer_and_the_score_that_the_harness_gives_it(self):
        for name in RECORDED:
            self.check_run(name)

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_two_ranks_give_the_same(self):
        for name in ("mmlu-0", "arc_challenge-0", "gsm8k-0"):
            self.check_run(name, ranks=2)

    def test_what_was_recorded_is_what_is_said_of_it(self):
        # docs/results/harness.md: these tasks, with prompts that fit and with such as are cut at the model's context.
        self.assertEqual({recorded["run"]["task"] for recorded in RECORDED.values()},
                         {"mmlu", "arc_challenge", "gsm8k", "bbh", "humaneval", "heroes", "heroes_begun", "heroes_chosen"})
        for name, recorded in RECORDED.items():
            with self.subTest(run=name):
                self.assertEqual(recorded["versions"]["lm_eval"], "0.4.13")
                self.assertGreaterEqual(len(recorded["samples"]), 20)
        self.assertGreater(sum(recorded["prompts"]["cut"] for recorded in RECORDED.values()), 100)
        self.assertGreater(sum(len(recorded["samples"]) - recorded["prompts"]["cut"] for recorded in RECORDED.values()), 100)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
