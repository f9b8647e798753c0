"""orch-worker train, as a person calls it: killed, stopped, damaged, out of room, over ranks, and asked wrongly.

Called as: train_test.py ORCH_WORKER ROOT MPIRUN, the last an empty word where there is no MPI. What is expected of a run that was
disturbed is what one that was not has written; of its loss, what `orch-worker score` says of the adapter."""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

WORKER, ROOT, MPIRUN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
MODEL = DATA / "models" / "tinystories-656k"
QUESTIONS = DATA / "tasks" / "commonsense" / "openbookqa.json"

# Open MPI keeps some of its memory to the end: that is not ours to mend.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "HF_", "SLURM_"))} | {
    "ASAN_OPTIONS": "detect_leaks=0", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm": "isolated", "OMPI_MCA_ras": "^slurm"}

SMALL = {"rank": 4, "learning_rate": 0.005, "batch_size": 4}
# The run that is disturbed in all ways.
LONG = SMALL | {"sequence": 256, "batch_size": 2, "steps": 40, "checkpoint_every": 3, "evaluate_every": 10, "held_out": 4, "dropout": 0.1, "seed": 7}


def words_of(data, out, settings, words=(), ranks=1):
    launcher = [MPIRUN, "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return [*launcher, str(WORKER), "train", str(MODEL), str(data), "--out", str(out), "--threads", "1", "--dtype", "fp32", *map(str, words), *sets]


def train(data, out, settings, *words, ranks=1, **how):
    return subprocess.run(words_of(data, out, settings, words, ranks), capture_output=True, text=True, env=ENVIRONMENT, timeout=250, **how)


def answer(*words, **how):
    done = train(*words, **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def curve(folder):
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def losses(folder):
    """All of the curve that is no time and no memory."""
    passing = {"seconds", "tokens_per_second", "memory"}
    return [{name: value for name, value in line.items() if name not in passing} for line in curve(folder)]


def adapter(folder):
    return {file.name: file.read_bytes() for file in (folder / "adapter").iterdir()}


def checkpoints(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*") if path.name[5:].isdigit())


def write_lines(file, rows):
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


class Running:
    """A training that goes on while the test looks at its folder. It ends with the test."""

    def __init__(self, *words, **how):
        self.out = words[1]
        self.before = self.curve_file()
        self.process = subprocess.Popen(words_of(*words, **how), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def curve_file(self):
        try:
            return os.stat(self.out / "curve.jsonl").st_ino
        except FileNotFoundError:
            return None

    def lines(self):
        """How many lines this attempt's curve has: it is another file than that of the one before."""
        if self.curve_file() in (None, self.before):
            return -1
        return (self.out / "curve.jsonl").read_text().count("\n")

    def is_writing(self):
        try:
            return any(name.endswith(".new") for name in os.listdir(self.out / "checkpoints"))
        except FileNotFoundError:
            return False

    def until(self, event):
        """Whether it came before the training ended."""
        limit = time.monotonic() + 200
        while not event():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < limit, "the training goes neither on nor to its end"
            time.sleep(0.001)
        return True

    def send(self, which):
        self.process.send_signal(which)

    def end(self):
        out, _ = self.process.communicate(timeout=200)
        return self.process.returncode, out


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


@unittest.skipUnless(MODEL.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{MODEL} is not here")
class Disturbed(InFolder):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.place.cleanup)
        cls.quiet = pathlib.Path(cls.place.name) / "quiet"
        cls.answer = answer(QUESTIONS, cls.quiet, LONG)
        # One that was stopped on its way, for those that go on from it.
        cls.halfway = pathlib.Path(cls.place.name) / "halfway"
        with Running(QUESTIONS, cls.halfway, LONG) as running:
            assert running.until(lambda: running.lines() > 11)
            running.send(signal.SIGTERM)
            cls.stopped = running.end()

    def assert_undisturbed(self, folder):
        self.assertEqual(losses(folder), losses(self.quiet))
        self.assertEqual(adapter(folder), adapter(self.quiet))

    def test_it_learns(self):
        lines = curve(self.quiet)
        self.assertEqual([line["step"] for line in lines], list(range(41)))
        self.assertEqual([line["step"] for line in lines if "held_out" in line], [0, 10, 20, 30, 40])
        self.assertLess(lines[40]["held_out"]["loss"], 0.2 * lines[0]["held_out"]["loss"])
        self.assertEqual((self.answer["stopped"], self.answer["step"], self.answer["steps"]), (False, 40, 40))
        self.assertEqual(self.answer["adapter"], str(self.quiet / "adapter"))
        self.assertEqual(self.answer["figures"]["tokens"], sum(line.get("tokens", 0) for line in lines))
        # The two newest, and the best of those that were evaluated: steps 10 and 20 are between checkpoints.
        self.assertEqual(checkpoints(self.quiet), [30, 39, 40])

    def test_one_that_is_killed_ten_times_ends_as_one_that_is_not(self):
        out, chance = self.folder / "out", random.Random(11)
        kills = 0
        # After so many lines of the curve; of every other one while a checkpoint is being written, if it is seen.
        for lines in sorted(chance.sample(range(1, 30), 10)):
            with Running(QUESTIONS, out, LONG) as running:
                writes = chance.random() < 0.5
                came = running.until(lambda: running.lines() >= lines and (not writes or running.is_writing() or running.lines() >= lines + 3))
                self.assertTrue(came, "it had ended before it was killed")
                running.send(signal.SIGKILL)
                self.assertEqual(running.end()[0], -signal.SIGKILL)
                kills += 1
        self.assertEqual(kills, 10)
        answer(QUESTIONS, out, LONG)
        self.assert_undisturbed(out)
        self.assertGreaterEqual((out / "log").read_text().count("goes on from step"), 5)

    def test_a_signal_makes_a_checkpoint_and_it_goes_on(self):
        out, settings = self.folder / "out", LONG | {"checkpoint_every": 1000}
        with Running(QUESTIONS, out, settings) as running:
            self.assertTrue(running.until(lambda: running.lines() > 4))
            running.send(signal.SIGUSR1)
            self.assertTrue(running.until(lambda: checkpoints(out)))
            code, _ = running.end()
        self.assertEqual(code, 0)
        self.assert_undisturbed(out)
        self.assertEqual(len(checkpoints(out)), 2)
        self.assertEqual(checkpoints(out)[1], 40)

    def test_a_signal_ends_it_and_it_goes_on_when_it_is_called_again(self):
        code, out = self.stopped
        self.assertEqual(code, 3)
        told = json.loads(out)
        self.assertEqual((told["stopped"], told["steps"], told["folder"]), (True, 40, str(self.halfway)))
        self.assertNotIn("adapter", told)
        self.assertFalse((self.halfway / "adapter").exists())
        self.assertEqual(checkpoints(self.halfway)[-1], told["step"])
        out = self.copy()
        with Running(QUESTIONS, out, LONG) as running:
            self.assertTrue(running.until(lambda: running.lines() > told["step"] + 2))
            running.send(signal.SIGINT)
            code, second = running.end()
        self.assertEqual((code, json.loads(second)["stopped"]), (3, True))
        self.assertGreater(json.loads(second)["step"], told["step"])
        self.assertEqual(answer(QUESTIONS, out, LONG)["metrics"], self.answer["metrics"])
        self.assert_undisturbed(out)
        self.assertEqual(answer(QUESTIONS, out, LONG)["metrics"], self.answer["metrics"])  # of one that is over, too
        self.assert_undisturbed(out)

    def copy(self):
        return pathlib.Path(shutil.copytree(self.halfway, self.folder / "out"))

    def test_a_damaged_checkpoint_is_passed_over(self):
        def flip(folder):
            file = folder / "state.safetensors"
            numbers = bytearray(file.read_bytes())
            numbers[len(numbers) // 2] ^= 1
            file.write_bytes(numbers)

        def cut(folder):
            os.truncate(folder / "state.json", (folder / "state.json").stat().st_size // 2)

        newest, other = [self.halfway / "checkpoints" / f"step-{step:013}" for step in sorted(checkpoints(self.halfway), reverse=True)[:2]]
        for damage, said in ((flip, "state.safetensors"), (cut, "state.json")):
            with self.subTest(damage=damage.__name__):
                out = self.copy()
                damage(out / "checkpoints" / newest.name)
                done = train(QUESTIONS, out, LONG)
                self.assertEqual(done.returncode, 0, done.stderr)
                log = (out / "log").read_text()
                self.assertRegex(log, rf"{newest.name} is passed over: [^\n]*{said}[^\n]*\n")
                self.assertIn(f"goes on from step {int(other.name[5:])}, ", log)
                self.assert_undisturbed(out)
                shutil.rmtree(out)

    def test_a_disk_that_is_full_takes_nothing_away(self):
        out = self.copy()
        before = checkpoints(out)[-1]
        state = out / "checkpoints" / f"step-{before:013}" / "state.safetensors"
        whole = state.read_bytes()

        def no_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 4096, len(whole) - 4096))

        done = train(QUESTIONS, out, LONG, preexec_fn=no_room)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertRegex(done.stderr, r"orch-worker: [^\n]*checkpoints/step-\d{13}[^\n]*File too large")
        self.assertEqual(state.read_bytes(), whole)
        self.assertEqual(checkpoints(out)[-1], before)
        answer(QUESTIONS, out, LONG)
        self.assert_undisturbed(out)

    def test_a_second_one_in_a_folder_leaves_the_first_alone(self):
        out = self.folder / "out"
        with Running(QUESTIONS, out, LONG) as running:
            self.assertTrue(running.until(lambda: running.lines() > 4))
            running.send(signal.SIGSTOP)  # so that it cannot have ended meanwhile
            done = train(QUESTIONS, out, LONG)
            running.send(signal.SIGCONT)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"the checkpoints in {out}/checkpoints are being written by ", done.stderr)
            self.assertEqual(running.end()[0], 0)
        self.assert_undisturbed(out)

    def test_a_folder_of_another_training_is_not_gone_on_with(self):
        out, log = self.copy(), (self.halfway / "log").read_text()
        for changed, said in (({"learning_rate": 0.001}, "learning_rate was 0.005, and is 0.001"), ({"rank": 8}, "rank was 4, and is 8"),
                              ({"steps": 50}, "steps was 40, and is 50"), ({"targets": "q_proj"}, 'targets was [], and is ["q_proj"]')):
            with self.subTest(changed=changed):
                # Settings are compared in the order of their names: alpha follows rank, and would come first.
                done = train(QUESTIONS, out, LONG | {"alpha": 8} | changed)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(f"is of another training: {said}; give this one a folder of its own", done.stderr)
        less = write_lines(self.folder / "less.jsonl", json.loads(QUESTIONS.read_text())[:100])
        done = train(less, out, LONG)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is of another training: data was ", done.stderr)
        done = train(QUESTIONS, out, LONG, "--dtype", "bf16")
        self.assertIn('is of another training: dtype was "fp32", and is "bf16"', done.stderr)
        # What changes no number may change.
        self.assertEqual(checkpoints(out), checkpoints(self.halfway))
        self.assertTrue((out / "log").read_text().startswith(log))
        answer(QUESTIONS, out, LONG | {"checkpoint_every": 7, "keep_checkpoints": 1})
        self.assert_undisturbed(out)


def sums(count):
    """Rows of a small thing to learn: texts that end where a token does, so that score cuts them as a training does."""
    rows = []
    for i in range(count):
        one, two = 1 + i % 7, 1 + i % 5
        rows.append({"prompt": f"Lily had {one} balls. Tom gave her {two} more;", "completion": f" She had {one + two} balls."})
    return rows


@unittest.skipUnless(MODEL.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{MODEL} is not here")
class Trained(InFolder):
    def setUp(self):
        super().setUp()
        self.rows = sums(40)
        self.data = write_lines(self.folder / "sums.jsonl", self.rows)

    def score(self, held_out, model, *words):
        """The mean of -log p over what is trained on of the rows that are held out, as `orch-worker score` has it."""
        count = len(self.rows)
        rows = [row for i, row in enumerate(self.rows) if (i + 1) * held_out // count != i * held_out // count]
        self.assertEqual(len(rows), held_out)
        # This tokenizer sees the token that ends a text only behind a blank, which belongs to it.
        pairs = [[row["prompt"], row["completion"] + " <|end_story|>"] for row in rows]
        done = subprocess.run([str(WORKER), "score", str(model), *map(str, words)], input=json.dumps(pairs), capture_output=True, text=True,
                              env=ENVIRONMENT, check=True)
        scores = json.loads(done.stdout)
        return -sum(each["logprob"] for each in scores) / sum(each["tokens"] for each in scores)

    def test_the_held_out_loss_is_what_score_says_of_the_adapter(self):
        out = self.folder / "out"
        got = answer(self.data, out, SMALL | {"sequence": 64, "steps": 12, "held_out": 7})
        self.assertNotIn("a token covers the prompt's end", (out / "log").read_text())
        before, loss = self.score(7, MODEL), self.score(7, MODEL, "--adapter", out / "adapter")
        self.assertAlmostEqual(got["metrics"]["held_out_loss"], loss, delta=1e-3)
        self.assertAlmostEqual(curve(out)[0]["held_out"]["loss"], before, delta=1e-3)
        self.assertLess(loss, before - 1)

    def test_all_weights(self):
        settings = {"full": True, "learning_rate": 0.001, "batch_size": 4, "sequence": 64, "steps": 12, "held_out": 7, "checkpoint_every": 5}
        quiet, out = self.folder / "quiet", self.folder / "out"
        got = answer(self.data, quiet, settings)
        self.assertEqual(got["model"], str(quiet / "model"))
        before, loss = self.score(7, MODEL), self.score(7, quiet / "model")
        self.assertAlmostEqual(got["metrics"]["held_out_loss"], loss, delta=1e-3)
        self.assertLess(loss, before - 1)
        with Running(self.data, out, settings) as running:
            self.assertTrue(running.until(lambda: running.lines() > 6))
            running.send(signal.SIGKILL)
        answer(self.data, out, settings)
        model = lambda folder: {file.name: file.read_bytes() for file in (folder / "model").iterdir()}
        self.assertEqual(model(out), model(quiet))
        self.assertEqual(losses(out), losses(quiet))
        self.assertEqual(answer(self.data, out, settings)["metrics"], got["metrics"])  # of one that is over, too
        self.assertEqual(model(out), model(quiet))
        pairs = write_lines(self.folder / "pairs.jsonl", [{"prompt": "a", "chosen": " b", "rejected": " c"}] * 4)
        done = train(pairs, self.folder / "pulled", settings, "--rows", "preference")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("where all weights are trained there is none; train an adapter", done.stderr)

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_losses_are_the_same_on_other_ranks(self):
        settings = SMALL | {"sequence": 64, "steps": 12, "held_out": 4, "evaluate_every": 4, "checkpoint_every": 4}
        one = self.folder / "one"
        answer(self.data, one, settings)
        def compare(folder):
            wanted, got = losses(one), losses(folder)
            self.assertEqual([line["step"] for line in got], [line["step"] for line in wanted])
            for line, other in zip(got, wanted):
                if line["step"] > 0:
                    self.assertAlmostEqual(line["loss"], other["loss"], delta=1e-4)
                    self.assertEqual(line["tokens"], other["tokens"])
                self.assertEqual("held_out" in line, "held_out" in other)
                if "held_out" in line:
                    self.assertAlmostEqual(line["held_out"]["loss"], other["held_out"]["loss"], delta=1e-4)
        for layout in ("--tp", "--dp"):
            with self.subTest(layout=layout):
                out = self.folder / layout.strip("-")
                got = answer(self.data, out, settings, layout, 2, ranks=2)
                self.assertEqual(got["step"], 12)
                compare(out)
                # Begun on one rank: its checkpoint of step 4 is what the two go on from.
                moved = self.folder / f"moved-{out.name}"
                shutil.copytree(one, moved)
                for step in checkpoints(moved):
                    if step > 4:
                        shutil.rmtree(moved / "checkpoints" / f"step-{step:013}")
                answer(self.data, moved, settings, layout, 2, ranks=2)
                log = (moved / "log").read_text()
                self.assertIn("goes on from step 4, ", log)
                self.assertIn("passes are cut otherwise than before the interruption, for other ranks", log)
                compare(moved)

    def test_texts(self):
        texts = write_lines(self.folder / "texts.jsonl", [{"text": row["prompt"] + row["completion"]} for row in self.rows])
        got = answer(texts, self.folder / "out", SMALL | {"sequence": 48, "steps": 8, "held_out": 4}, "--rows", "text")
        lines = curve(self.folder / "out")
        self.assertLess(lines[-1]["loss"], lines[1]["loss"])
        self.assertEqual(got["figures"]["rows"], 40)

    def test_preferences(self):
        pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": " a big dog."} for row in self.rows]
        data = write_lines(self.folder / "pairs.jsonl", pairs)
        for loss, more in (("sigmoid", {}), ("robust", {"label_smoothing": 0.1}), ("hinge", {}), ("ipo", {"beta": 0.3})):
            with self.subTest(loss=loss):
                out = self.folder / loss
                got = answer(data, out, SMALL | {"sequence": 64, "steps": 6, "held_out": 4, "loss": loss} | more, "--rows", "preference")
                lines = curve(out)
                # Before the first step both models are the same: no margin, and the loss of a margin of 0.
                self.assertEqual(lines[0]["held_out"]["margin"], 0)
                self.assertAlmostEqual(lines[1]["loss"], {"sigmoid": 0.6931472, "robust": 0.6931472, "hinge": 1, "ipo": (1 / (2 * 0.3)) ** 2}[loss], places=5)
                self.assertGreater(lines[-1]["margin"], 0)
                for line in lines[1:]:
                    self.assertAlmostEqual(line["margin"], line["reward_chosen"] - line["reward_rejected"], places=5)
                self.assertGreater(got["metrics"]["margin"], 0)

    def prompts(self):
        return write_lines(self.folder / "prompts.jsonl", [{"prompt": row["prompt"], "answer": row["completion"].split()[2]} for row in self.rows[:20]])

    WRITING = {"rank": 4, "learning_rate": 0.005, "sequence": 64, "batch_size": 2, "group_size": 4, "max_tokens": 6, "steps": 3, "held_out": 2}

    def assert_rewarded(self, out, least, most):
        lines = curve(out)
        self.assertEqual([line["step"] for line in lines], [0, 1, 2, 3])
        for line in lines:
            figures = line if line["step"] > 0 else line["held_out"]
            self.assertTrue(least <= figures["reward"] <= most, line)
            self.assertTrue(0 < figures["length"] <= 6, line)
            self.assertTrue(0 <= figures["ended"] <= 1, line)

    def test_prompts_by_rules(self):
        reward = self.folder / "reward.yaml"
        reward.write_text("rules:\n  - {kind: equals, weight: 1, take: last_number, field: answer}\n  - {kind: length, weight: 0.5, most: 0, slack: 12}\n")
        got = answer(self.prompts(), self.folder / "out", self.WRITING, "--rows", "prompt", "--reward", reward)
        # Of 1 to 6 tokens: 0.5 × (1 - 6/12) at least, and all of it with the right answer at most.
        self.assert_rewarded(self.folder / "out", 0.25, 1.5)
        self.assertIn("reward", got["metrics"])

    def test_prompts_by_a_program(self):
        script, seen = self.folder / "reward.py", self.folder / "seen.jsonl"
        script.write_text("import json, sys\nfor line in sys.stdin:\n  it = json.loads(line)\n"
                          f"  open({str(seen)!r}, 'a').write(line)\n  print(json.dumps({{'reward': it['tokens']}}))\n")
        reward = self.folder / "reward.yaml"
        reward.write_text(f"command: [{sys.executable}, {script}]\nlimit: 1min\n")
        answer(self.prompts(), self.folder / "out", self.WRITING, "--rows", "prompt", "--reward", reward)
        lines = curve(self.folder / "out")
        for line in lines[1:]:
            # The token that ends a completion is of its length, and is not told to the program.
            self.assertAlmostEqual(line["reward"], line["length"] - line["ended"], places=6)
        completions = [json.loads(line) for line in seen.read_text().splitlines()]
        # Of three steps 2 × 4 each; of what is held out 2 × 4, before, after the last step, and of the result.
        self.assertEqual(len(completions), 3 * 8 + 3 * 8)
        self.assertEqual({len(each["row"]["answer"]) > 0 for each in completions}, {True})
        self.assertTrue(all(each["prompt"].endswith("more;") for each in completions), completions[0])
        script.write_text("import sys\nsys.exit('no gold here')\n")
        done = train(self.prompts(), self.folder / "failed", self.WRITING, "--rows", "prompt", "--reward", reward)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no gold here", done.stderr)

    def test_a_reward_that_fails_takes_nothing_away_of_what_was_learnt(self):
        asked, broken, script = self.folder / "asked", self.folder / "broken", self.folder / "reward.py"
        asked.write_text("")
        broken.write_text("")
        script.write_text("import pathlib, sys\nfor line in sys.stdin:\n"
                          f"  asked, broken = pathlib.Path({str(asked)!r}), pathlib.Path({str(broken)!r})\n"
                          "  asked.write_text(asked.read_text() + 'x')\n"
                          # 8 of what is held out, then 8 of each step: it fails in the third.
                          "  if broken.exists() and len(asked.read_text()) > 8 + 2 * 8: sys.exit('no gold here')\n"
                          "  print(len(line) % 7, flush=True)\n")
        reward = self.folder / "reward.yaml"
        reward.write_text(f"command: [{sys.executable}, {script}]\nlimit: 1min\n")
        words = (self.prompts(), self.folder / "out", self.WRITING, "--rows", "prompt", "--reward", reward)
        done = train(*words)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no gold here", done.stderr)
        self.assertEqual(checkpoints(self.folder / "out"), [2])
        broken.unlink()
        done = train(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("goes on from step 2", done.stderr)
        undisturbed = (words[0], self.folder / "undisturbed", *words[2:])
        answer(*undisturbed)
        self.assertEqual(adapter(self.folder / "out"), adapter(self.folder / "undisturbed"))

    def test_rewards_that_few_steps_have_are_learnt_from(self):
        """Of ten prompts one is rewarded, now and then; the others only pull back, with gradients that are some thousand times as small."""
        prompts = write_lines(self.folder / "rare.jsonl", [{"prompt": f"{word} {letter}", "right": list("abcdefghijklm") if letter == "j" else ["0"]}
                                                           for word in ("Tom said", "She went", "The dog", "One day") for letter in "abcdefghij"])
        reward = self.folder / "reward.yaml"
        reward.write_text("rules: [{kind: equals, weight: 1, pattern: '[a-z]', which: first, field: right}]\n")
        rare = {"max_tokens": 6, "group_size": 6, "batch_size": 1, "steps": 80, "sequence": 64, "held_out": 0, "learning_rate": 5e-4, "beta": 0.04,
                "schedule": "constant", "group_by_length": False, "rank": 4}
        answer(prompts, self.folder / "out", rare, "--rows", "prompt", "--reward", reward)
        lines = curve(self.folder / "out")
        norms = [line["norm"] for line in lines]
        self.assertGreater(max(norms[32:]), 30 * sorted(norms[:32])[16], "what is rewarded stands out")
        self.assertEqual([line["note"] for line in lines if "note" in line], [])
        self.assertEqual([line["step"] for line in lines], list(range(1, 81)), "none was gone back from")

    # What is written at once is for 4 prompts, and six steps learn from it.
    SEVERAL = WRITING | {"steps": 18, "steps_per_generation": 2, "iterations": 3, "temperature": 0.8, "top_p": 0.95, "top_k": 200, "epsilon": 0.02,
                         "epsilon_high": 0.03, "dropout": 0.1, "evaluate_every": 100, "checkpoint_every": 1}

    def counted(self, seen):
        """A reward by a program that is deterministic, and writes down what it is asked."""
        script = self.folder / "reward.py"
        script.write_text("import json, sys\nfor line in sys.stdin:\n  it = json.loads(line)\n"
                          f"  open({str(seen)!r}, 'a').write(line)\n  print(json.dumps({{'reward': it['completion'].count('e') + 0.1 * it['tokens']}}))\n")
        reward = self.folder / "reward.yaml"
        reward.write_text(f"command: [{sys.executable}, {script}]\nlimit: 1min\n")
        return ("--rows", "prompt", "--reward", reward)

    def test_several_steps_learn_from_what_was_written_once(self):
        seen = self.folder / "seen.jsonl"
        words = self.counted(seen)
        data, quiet = self.prompts(), self.folder / "quiet"
        answer(data, quiet, self.SEVERAL, *words)
        self.assertIn("completions are written for 4 prompts at once, and 6 steps learn from them: 2 parts, 3 times", (quiet / "log").read_text())
        # Three times 4 prompts with 4 completions each; of what is held out 2 × 4, before, after the last step, and of the result.
        asked = seen.read_text().count("\n")
        self.assertEqual(asked, 3 * 16 + 3 * 8)
        lines = curve(quiet)[1:]
        for first in range(0, 18, 6):
            for i in range(first, first + 4):
                self.assertEqual(lines[i]["reward"], lines[i + 2]["reward"], "the same half of what was written")
        self.assertGreater(sum(line["clipped"] for line in lines), 0)

        # Killed after any step, it goes on with what was written before: a checkpoint may lie between two that learn from the same.
        out, between = self.folder / "out", 0
        for lines in (3, 6, 8, 12, 17):
            with Running(data, out, self.SEVERAL, words) as running:
                self.assertTrue(running.until(lambda: running.lines() >= lines), "it had ended before it was killed")
                running.send(signal.SIGKILL)
                self.assertEqual(running.end()[0], -signal.SIGKILL)
            between += checkpoints(out)[-1] % 6 != 0
        self.assertGreater(between, 0)
        answer(data, out, self.SEVERAL, *words)
        self.assertEqual(losses(out), losses(quiet))
        self.assertEqual(adapter(out), adapter(quiet))

        # So it does when it is told to end, which it does behind the step that it is at.
        out = self.folder / "stopped"
        settings = self.SEVERAL | {"checkpoint_every": 1000}
        with Running(data, out, settings, words) as running:
            self.assertTrue(running.until(lambda: running.lines() >= 4))
            running.send(signal.SIGTERM)
            self.assertEqual(running.end()[0], 3)
        answer(data, out, settings, *words)
        self.assertEqual(losses(out), losses(quiet))
        self.assertEqual(adapter(out), adapter(quiet))

    def test_several_steps_learn_the_same_over_ranks(self):
        if not MPIRUN:
            self.skipTest("there is no mpirun")
        words = self.counted(self.folder / "seen.jsonl")
        data, alone = self.prompts(), self.folder / "alone"
        settings = self.SEVERAL | {"learning_rate": 0.0005, "dropout": 0}
        answer(data, alone, settings, *words)
        for layout in (("--dp", 2), ("--tp", 2)):
            out = self.folder / layout[0].strip("-")
            answer(data, out, settings, *words, *layout, ranks=2)
            for line, other in zip(curve(out)[1:], curve(alone)[1:]):
                self.assertAlmostEqual(line["loss"], other["loss"], places=3)
                self.assertAlmostEqual(line["reward"], other["reward"], places=6)


@unittest.skipUnless(MODEL.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{MODEL} is not here")
class Wrong(InFolder):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "out"

    def test_all_bad_rows_are_reported_before_anything_is_trained(self):
        well = {"text": {"text": "a story"}, "instruction": {"prompt": "a", "completion": "b"},
                "preference": {"prompt": "a", "chosen": "b", "rejected": "c"}, "prompt": {"prompt": "a"}}
        bad = {"text": [{"text": 5}, {"tetx": "a"}, "nothing", {"text": ""}, '{"text": "a", "text": "b"}'],
               "instruction": [{"prompt": "a"}, {"instruction": "a", "output": ""}, [], {"messages": [{"role": "user", "content": "a"}]}],
               "preference": [{"prompt": "a", "chosen": "b"}, {"prompt": "a", "chosen": "b", "rejected": "b"}, {"prompt": "a", "chosen": "b", "rejected": 7}],
               "prompt": [{"prompt": ""}, {"promt": "a"}, {"prompt": [{"role": "assistant", "content": "a"}]}]}
        reward = self.folder / "reward.yaml"
        reward.write_text("rules: [{kind: ended, weight: 1}]\n")
        for kind, rows in bad.items():
            with self.subTest(kind=kind):
                lines = [well[kind]]
                for row in rows:
                    lines += [row, well[kind]]
                data = write_lines(self.folder / f"{kind}.jsonl", lines)
                words = ("--reward", reward) if kind == "prompt" else ()
                done = train(data, self.out, {"sequence": 64, "max_tokens": 8}, "--rows", kind, *words)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                told = [line for line in done.stderr.splitlines() if f"{data}:" in line and " note: " not in line]
                self.assertEqual(len(told), len(rows), done.stderr)
                for i, line in enumerate(told):
                    self.assertRegex(line, rf"^(orch-worker: )?{data}:{2 * i + 2}:\d+: ")
                self.assertFalse((self.out / "checkpoints").exists())

    def test_all_rows_that_the_rules_cannot_reward_are_reported_before_anything_is_trained(self):
        data = write_lines(self.folder / "prompts.jsonl", [{"prompt": "a", "answer": "4"}, {"prompt": "a"}, {"prompt": "a", "answer": "5"},
                                                           {"prompt": "a", "answer": {}}, {"prompt": "a", "anwser": "1"}])
        reward = self.folder / "reward.yaml"
        reward.write_text("rules:\n  - {name: right, kind: equals, weight: 1, field: answer}\n")
        done = train(data, self.out, {"sequence": 64, "max_tokens": 8}, "--rows", "prompt", "--reward", reward)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        for line in (2, 4, 5):
            self.assertIn(f"{data}:{line}:1: {reward}:2:5: the rule 'right': ", done.stderr)
        for line in (1, 3):
            self.assertNotIn(f"{data}:{line}:", done.stderr)
        self.assertFalse((self.out / "checkpoints").exists())

    def test_rows_that_only_a_chat_template_could_write_are_all_reported(self):
        talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        data = write_lines(self.folder / "talks.jsonl", [talk, {"prompt": "a", "completion": "b"}, {"prompt": "a"}, talk])
        done = train(data, self.out, {"sequence": 64})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        for line in (1, 4):
            self.assertIn(f"{data}:{line}:1: messages are written by a chat template, and the model has none", done.stderr)
        self.assertEqual(done.stderr.count(f"{data}:3:1: "), 1, "with what is wrong in itself")
        self.assertFalse((self.out / "checkpoints").exists())

    def test_a_chat_template_that_is_broken_is_an_error_where_one_could_be_used(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }")
        data = write_lines(self.folder / "instructions.jsonl", [{"instruction": "a", "output": "b"}] * 4)
        out = ("--out", self.out, "--set", "sequence=64", "--set", "steps=1")
        done = subprocess.run([str(WORKER), "train", model, data, *out], capture_output=True, text=True, env=ENVIRONMENT, timeout=250, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn("chat_template.jinja:1:", done.stderr)
        texts = write_lines(self.folder / "texts.jsonl", [{"text": "a story of a dog and a cat"}] * 4)
        done = subprocess.run([str(WORKER), "train", model, texts, *out, "--rows", "text"], capture_output=True, text=True, env=ENVIRONMENT, timeout=250, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_cannot_be_done_is_said(self):
        data = write_lines(self.folder / "data.jsonl", sums(8))
        pairs = write_lines(self.folder / "pairs.jsonl", [{"prompt": "a", "chosen": " b", "rejected": " c"}] * 4)
        prompts = write_lines(self.folder / "prompts.jsonl", [{"prompt": "a"}] * 4)
        empty = write_lines(self.folder / "empty.jsonl", [])
        reward, broken, file = self.folder / "reward.yaml", self.folder / "broken.yaml", self.folder / "file"
        reward.write_text("rules: [{kind: ended, weight: 1}]\n")
        broken.write_text("rules: [{kind: endde, weight: 1}]\nlimit: 5min\n")
        file.write_text("")
        out = ("--out", self.out)
        of_prompts = ("--rows", "prompt", "--reward", reward)
        for words, code, said in (
                ((), 2, "a model is missing"),
                ((MODEL,), 2, "a data set is missing"),
                ((MODEL, data), 2, "--out FOLDER is missing"),
                ((MODEL, data, "more", *out), 2, "'more' is one word too many"),
                ((MODEL, data, *out, "--pp", 2), 2, "'--pp' is no option"),
                ((MODEL, data, *out, "--rows", "rows"), 2, "'rows' is no value of --rows"),
                ((MODEL, data, *out, "--dtype", "int8"), 2, "'int8' is no value of --dtype"),
                ((MODEL, data, *out, "--dp", 0), 2, "'0' is no value of --dp"),
                ((MODEL, data, *out, "--set", "ranks=4"), 2, "no setting of a training is called 'ranks'; did you mean 'rank'?"),
                ((MODEL, data, *out, "--set", "learning_rat=4"), 2, "no setting of a training is called 'learning_rat'; did you mean 'learning_rate'?"),
                ((MODEL, data, *out, "--set", "rank"), 2, "'rank' is no NAME=VALUE, such as rank=16 or learning_rate=2e-4"),
                ((MODEL, data, *out, "--set", "rank=0"), 2, "rank must be a whole number from 1 to 65536, not '0'"),
                ((MODEL, data, *out, "--set", "rank=4.5"), 2, "rank must be a whole number from 1 to 65536, not '4.5'"),
                ((MODEL, data, *out, "--set", "rank=four"), 2, "rank must be a whole number from 1 to 65536, not '\"four\"'"),
                ((MODEL, data, *out, "--set", "rank="), 2, "rank must be a whole number from 1 to 65536, not '\"\"'"),
                ((MODEL, data, *out, "--set", "learning_rate=nan"), 2, "learning_rate must be a number from 1e-12 to 10"),
                ((MODEL, data, *out, "--set", "schedule=cosin"), 2, "schedule must be cosine, linear, constant or plateau"),
                ((MODEL, data, *out, "--set", "rank=4", "--set", "rank=5"), 2, "rank is set twice"),
                ((MODEL, pairs, *out, "--rows", "preference", "--set", "loss=robust"), 2, "loss robust needs label_smoothing"),
                ((MODEL, data, *out, "--set", "top_p=0"), 2, "top_p must be a number from 1e-6 to 1, not '0'"),
                ((MODEL, data, *out, "--set", "iterations=0"), 2, "iterations must be a whole number from 1 to 1024, not '0'"),
                ((MODEL, data, *out, "--set", "scale_rewards=groups"), 2, "scale_rewards must be group, batch or none"),
                ((MODEL, prompts, *out, *of_prompts, "--set", "temperature=0"), 1, "temperature must be above 0 where completions are compared"),
                ((MODEL, prompts, *out, *of_prompts, "--set", "delta=1.1"), 1, "grpo: delta is 1.1, expected 0, or a number above 1 + epsilon_high"),
                ((MODEL, self.folder / "none.jsonl", *out), 1, f"{self.folder}/none.jsonl: there is no such file"),
                ((MODEL, self.folder, *out), 1, f"{self.folder}: is not a regular file"),
                ((MODEL, empty, *out), 1, f"{empty}: has no rows"),
                ((MODEL, data, *out, "--set", "sequence=8"), 1, "nothing is left to learn from: 8 rows had nothing to be trained on within the longest sample, 8 tokens"),
                ((MODEL, pairs, *out), 1, f"{pairs}:4:1: no field 'completion'"),
                ((MODEL, data, *out, "--set", "targets=p_proj"), 1, "p_proj"),
                ((MODEL, data, *out, "--set", "full=true", "--set", "dropout=0.1"), 1, "dropout is of an adapter's inputs, and where all weights are trained there is none"),
                ((MODEL, data, "--out", file), 1, f"cannot make the folder {file}"),
                ((self.folder / "none", data, *out), 1, f"there is no folder {self.folder}/none"),
                ((self.folder, data, *out), 1, "config.json"),
                ((MODEL, data, *out, "--tp", 2), 1, "--tp 2 × --dp 1 are 2 ranks, and 1 was started (mpirun -n 2"),
                ((MODEL, data, *out, "--tp", 2, "--dp", 2), 1, "--tp 2 × --dp 2 are 4 ranks, and 1 was started (mpirun -n 4"),
                ((MODEL, prompts, *out, "--rows", "prompt"), 1, "prompts are trained on by a reward, and none is given"),
                ((MODEL, prompts, *out, "--rows", "prompt", "--reward", self.folder / "none.yaml"), 1, "none.yaml: no such file"),
                ((MODEL, prompts, *out, "--rows", "prompt", "--reward", broken), 1, f"{broken}:1:16: "),
                ((MODEL, prompts, *out, "--rows", "prompt", "--reward", broken), 1, f"{broken}:2:1: "),
                ((MODEL, prompts, *out, *of_prompts, "--set", "sequence=64", "--set", "max_tokens=64"), 1, "completions of 64 tokens leave no room for a prompt"),
        ):
            with self.subTest(words=words):
                # More than the model's context holds is said, too, before what went wrong.
                done = subprocess.run([str(WORKER), "train", *map(str, words)] + (["--set", "max_tokens=8"] if "max_tokens=64" not in words and len(words) > 2 else []),
                                      capture_output=True, text=True, env=ENVIRONMENT, timeout=250, check=False)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertIn(said, done.stderr)
                self.assertEqual(done.stderr.count("orch-worker: "), 1, done.stderr)
                self.assertFalse((self.out / "checkpoints").exists())

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_what_cannot_be_done_ends_all_ranks(self):
        data = write_lines(self.folder / "data.jsonl", sums(8))
        for layout, ranks, said in ((("--tp", 3), 3, "cannot be cut over 3 ranks"), (("--dp", 3), 2, "--tp 1 × --dp 3 are 3 ranks, and 2 were started")):
            with self.subTest(layout=layout):
                done = train(data, self.out, SMALL | {"sequence": 64}, *layout, ranks=ranks)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(said, done.stderr)
        bad = write_lines(self.folder / "bad.jsonl", [{"prompt": "a"}, {"completion": "a"}])
        done = train(bad, self.out, SMALL | {"sequence": 64}, "--dp", 2, ranks=2)
        self.assertNotEqual(done.returncode, 0)
        for line in (1, 2):
            self.assertIn(f"{bad}:{line}:1: ", done.stderr)

    def test_help(self):
        done = subprocess.run([str(WORKER), "train", "--help"], capture_output=True, text=True, env=ENVIRONMENT, check=True)
        self.assertTrue(done.stdout.startswith("orch-worker train MODEL DATA --out FOLDER"), done.stdout)
        for name in ("--rows", "--reward", "learning_rate", "checkpoint_every"):
            self.assertIn(name, done.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
