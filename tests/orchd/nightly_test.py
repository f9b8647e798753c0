"""scripts/nightly: what changed is run, nothing is said of a good night, everything a person needs of a bad one.

Called as: nightly_test.py ORCHD ORCH_WORKER ROOT ORCHCTL.
"""

import json
import pathlib
import signal
import subprocess
import sys

ORCHCTL = pathlib.Path(sys.argv.pop(4)).resolve()

from daemon import ROOT, DaemonTest, eventually, main  # it reads the arguments that are left

# Measures what scores.json says of its task: a metric, or words to fail with. `runs` has a line for every start.
EVALUATION = r"""
import json, pathlib, sys, time
out, task = sys.argv[1:]
here = pathlib.Path(__file__).parent
with open(here / "runs", "a") as log:
    log.write(task + "\n")
while (here / "wait").exists(): time.sleep(0.02)
score = json.loads((here / "scores.json").read_text())[task]
if isinstance(score, str):
    print(score)
    sys.exit(3)
json.dump({"acc": score}, open(out, "w"))
"""


class Nightly(DaemonTest):
    def setUp(self):
        super().setUp()
        (self.folder / "evaluation.py").write_text(EVALUATION)
        self.file = self.folder / "night.yaml"
        self.ask_for("a", "b", "c")
        self.measure(a=0.5, b=0.7, c=0.9)

    def ask_for(self, *tasks):
        words = ["python3", str(self.folder / "evaluation.py"), "{out}", "{task}"]
        self.file.write_text(json.dumps({"name": "night", "kind": "command", "models": ["m"], "tasks": list(tasks),
                                         "command": {"run": words, "gpus": 0, "time": "1m"}}))

    def measure(self, **scores):
        """Numbers have a standard error of 0.01."""
        old = self.folder / "scores.json"
        now = json.loads(old.read_text()) if old.exists() else {}
        now.update({task: each if isinstance(each, str) else {"value": each, "stderr": 0.01} for task, each in scores.items()})
        old.write_text(json.dumps(now))

    def command(self, *arguments):
        return [ROOT / "scripts" / "nightly", self.file, "--state", self.daemon.state, "--orchctl", ORCHCTL, *arguments]

    def night(self, *arguments):
        """The exit code, and both streams."""
        ended = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        return ended.returncode, ended.stdout, ended.stderr

    def test_runs_what_changed_and_says_when_nothing_did(self):
        self.assertEqual(self.night(), (0, "", ""))
        self.assertCountEqual(self.runs(), ["a", "b", "c"])
        code, out, err = self.night()
        self.assertEqual((code, err), (0, ""))
        self.assertIn("s2 night: nothing changed, all of its 3 cells were measured before", out)
        self.assertEqual(len(self.runs()), 3)
        self.ask_for("a", "b", "c", "d")
        self.measure(d=0.1)
        self.assertEqual(self.night(), (0, "", ""))
        self.assertEqual(self.runs()[3:], ["d"])

    def test_names_the_scores_that_fell_by_more_than_chance_and_no_other(self):
        self.assertEqual(self.night(), (0, "", ""))
        # The difference of two numbers with an error of 0.01 has one of 0.0141: 0.02 is within two of them, 0.1 is not.
        self.measure(a=0.48, b=0.6, c=0.99)
        code, out, err = self.night("--fresh")
        self.assertEqual((code, out), (5, ""))
        self.assertCountEqual(self.runs(), 2 * ["a", "b", "c"])
        self.assertIn("1 of 3 scores are worse than in s1, by more than 2 standard errors", err)
        self.assertIn("m × b with", err)
        self.assertIn("acc was 0.7 ± 0.01, is 0.6 ± 0.01 (-0.1)", err)
        self.assertNotIn("m × a", err)
        self.assertNotIn("m × c", err)
        with self.subTest("what is known from last night is not said again"):
            self.assertEqual(self.night("--fresh"), (0, "", ""))
        with self.subTest("more errors may be chance"):
            self.measure(b=0.5)
            self.assertEqual(self.night("--fresh", "--errors", "8"), (0, "", ""))

    def test_says_why_cells_failed_and_compares_with_the_last_whole_night(self):
        self.assertEqual(self.night(), (0, "", ""))
        self.measure(b="no room on the disk", c=0.8)
        code, out, err = self.night("--fresh")
        self.assertEqual((code, out), (3, ""))
        self.assertIn("s2 night is failed, of 3 cells", err)
        self.assertIn("\n1 of its cells is not measured:\n", err)
        self.assertRegex(err, r"m × b with .*: failed \(\d+ tries\): exit code 3.*no room on the disk")
        self.assertIn("m × c", err, "what fell is said beside what failed")
        self.measure(b=0.6)
        code, out, err = self.night("--fresh")
        self.assertEqual(code, 5)
        self.assertIn("worse than in s1", err)
        self.assertIn("m × b", err, "the night that lost it was not compared with")

    def test_lets_no_second_run_of_the_matrix_in(self):
        (self.folder / "wait").touch()
        first = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (first.kill(), first.wait()))
        self.addCleanup((self.folder / "wait").unlink, True)
        eventually("a start", self.runs)
        code, out, err = self.night()
        self.assertEqual((code, out), (6, ""))
        self.assertIn("another run of", err)
        (self.folder / "wait").unlink()
        self.assertEqual(first.communicate(timeout=60), ("", ""))
        self.assertEqual(first.returncode, 0)
        self.assertEqual(len(self.daemon.get("/v1/status")["sweeps"]), 1)

    def test_starts_the_daemon(self):
        self.assertEqual(self.daemon.kill(signal.SIGTERM), 0)
        self.assertEqual(self.night(), (0, "", ""))
        self.assertEqual(len(self.runs()), 3)
        ended = subprocess.run([ORCHCTL, "down", "--state", self.daemon.state], capture_output=True, text=True, timeout=90)
        self.assertEqual(ended.returncode, 0, ended)
        self.daemon.start()

    def test_says_that_a_matrix_is_bad_and_where(self):
        self.file.write_text("name: night\nmodles: [a]\n")
        code, out, err = self.night()
        self.assertEqual((code, out), (2, ""))
        self.assertIn("night.yaml:2:1", err)

    def test_says_that_no_daemon_can_be_had(self):
        program = self.folder / "orchctl"
        program.write_text("#!/bin/sh\necho 'the state directory is on fire' >&2\nexit 1\n")
        program.chmod(0o755)
        code, out, err = self.night("--orchctl", program)
        self.assertEqual((code, out), (4, ""))
        self.assertIn("on fire", err)

    def test_of_which_no_cell_can_run_is_no_good_night(self):
        self.file.write_text("name: night\nmodels: [llama31_8b]\ntasks: [humaneval]\nsettings: {engine: lm-eval}\n")
        code, out, err = self.night()
        self.assertEqual((code, out), (2, ""))
        self.assertIn("no cell of this matrix can run here", err)
        self.assertIn("run_unsafe_code: true", err)

    def test_whose_last_sweep_is_gone_is_loud_once(self):
        self.assertEqual(self.night(), (0, "", ""))
        [memory] = (self.daemon.state / "nightly").glob("*.json")
        memory.write_text(json.dumps({"sweep": "s77"}))
        code, out, err = self.night("--fresh")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("cannot be compared with the last night, s77", err)
        self.assertEqual(self.night("--fresh"), (0, "", ""))


if __name__ == "__main__":
    main()
