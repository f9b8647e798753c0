"""The models that scripts/make-small-models writes down, on the tasks of examples/small, as a person calls orch-worker.

Called as: small_models_test.py ORCH_WORKER ROOT MPIRUN, the last an empty word where there is no MPI. What is expected is the table of
examples/small/README.md, and what the models' rules, written here once more over words, say of each question."""

import collections
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

WORKER, ROOT, MPIRUN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
SMALL = ROOT / "examples" / "small"
MODELS, TASKS = ("induction", "copier", "constant"), ("recall", "repeat", "echo")
MOST_WRITTEN = 6  # of echo.yaml
LEAST_MARGIN = 4.0  # README.md: a model's word is at least so many logits above every other

# Open MPI keeps some of its memory to the end: that is not ours to mend.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "HF_", "SLURM_"))} | {
    "ASAN_OPTIONS": "detect_leaks=0", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm": "isolated", "OMPI_MCA_ras": "^slurm"}


def make(*words, environment=None):
    return subprocess.run([sys.executable, "-B", str(ROOT / "scripts" / "make-small-models"), *map(str, words)], capture_output=True,
                          text=True, env=ENVIRONMENT | (environment or {}), timeout=60)


def answer(*words, stdin="", ranks=1):
    launcher = [MPIRUN, "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launcher, str(WORKER), *map(str, words)], input=stdin, capture_output=True, text=True, env=ENVIRONMENT,
                          timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def questions(task):
    return [json.loads(line) for line in (SMALL / f"{task}.jsonl").read_text().splitlines()]


def words_of(text):
    return re.findall(r"\w+|\.", text)


def next_word(model, words):
    """What the model says by its rule."""
    if model == "constant":
        return "red"
    if model == "copier":
        return words[-2] if len(words) > 1 else "</s>"
    followers = collections.Counter(after for before, after in zip(words, words[1:]) if before == words[-1]).most_common(2)
    assert len(followers) < 2 or followers[0][1] > followers[1][1], f"two words followed as often: {words}"
    return followers[0][0] if followers else "</s>"


def written(model, text):
    """What the model writes up to a full stop, by its rule: its words, and all that it said, the full stop too."""
    said = []
    while len(said) < MOST_WRITTEN and "." not in said:
        said.append(next_word(model, words_of(text) + said))
    return [word for word in said if word != "."], said


def table():
    """{(model, task): score} of README.md."""
    lines = (SMALL / "README.md").read_text().splitlines()
    tasks = next([cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line.startswith("| | "))
    scores = {}
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 1 + len(tasks) and cells[0] in MODELS:
            scores |= {(cells[0], task): float(score) for task, score in zip(tasks, cells[1:])}
    return scores


class SmallModels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        done = make("--to", cls.folder / "models")
        assert done.returncode == 0, done.stderr
        cls.table = table()

    def score(self, model, task, *options, ranks=1):
        got = answer("eval", self.folder / "models" / model, SMALL / f"{task}.yaml", "--data", SMALL, *options, ranks=ranks)
        self.assertEqual(got["samples"], len(questions(task)))
        (mean,) = got["metrics"].values()
        return mean["value"]

    def test_two_makings_are_the_same_bytes(self):
        done = make("--to", self.folder / "again", environment={"PYTHONHASHSEED": "7"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        first = digests(self.folder / "models")
        self.assertEqual(digests(self.folder / "again"), first)
        self.assertEqual(set(first), {f"{model}/{file}" for model in MODELS for file in
                                      ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")})
        for file in first:
            self.assertLess((self.folder / "models" / file).stat().st_size, 1_000_000)

    def test_what_cannot_be_made_is_said(self):
        (self.folder / "file").touch()
        for words, code, said in ((("--to",), 2, "--to needs a folder"), (("x",), 2, "no argument 'x'"),
                                  (("--to", self.folder / "file"), 1, "cannot write")):
            done = make(*words)
            self.assertEqual((done.returncode, done.stdout), (code, ""))
            self.assertIn(said, done.stderr)

    def test_the_table_follows_from_the_rules(self):
        self.assertEqual(set(self.table), {(model, task) for model in MODELS for task in TASKS})
        for (model, task), expected in self.table.items():
            rows = questions(task)
            if task == "echo":
                right = sum(written(model, row["text"])[0] == words_of(row["answer"]) for row in rows)
            else:
                right = sum(next_word(model, words_of(row["text"])) == row["answer"] for row in rows)
            self.assertEqual(right / len(rows), expected, (model, task))

    def test_each_score_alone(self):
        for (model, task), expected in self.table.items():
            for dtype in ("fp32", "bf16"):
                with self.subTest(model=model, task=task, dtype=dtype):
                    self.assertEqual(self.score(model, task, "--dtype", dtype), expected)

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_scores_over_several_ranks(self):
        for model, task in zip(MODELS, ("repeat", "echo", "recall")):
            for tensor, pipeline in ((4, 1), (1, 2)):
                for dtype in ("fp32", "bf16"):
                    with self.subTest(model=model, task=task, tensor=tensor, pipeline=pipeline, dtype=dtype):
                        got = self.score(model, task, "--dtype", dtype, "--tp", tensor, "--pp", pipeline, ranks=tensor * pipeline)
                        self.assertEqual(got, self.table[model, task])

    def test_no_word_comes_near_the_one_that_is_said(self):
        # Differences of log-likelihoods of single words after one context are differences of logits.
        vocabulary = list(json.loads((self.folder / "models" / "copier" / "tokenizer.json").read_text())["model"]["vocab"])
        for model in MODELS:
            asked = []  # each a context and what is said after it
            for task in TASKS:
                for row in questions(task):
                    said = written(model, row["text"])[1] if task == "echo" else [next_word(model, words_of(row["text"]))]
                    asked += [(" ".join([row["text"], *said[:i]]), word) for i, word in enumerate(said)]
            pairs = json.dumps([[context, f" {word}"] for context, _ in asked for word in vocabulary])
            for dtype in ("fp32", "bf16"):
                scored = answer("score", self.folder / "models" / model, "--dtype", dtype, stdin=pairs)
                self.assertEqual({each["tokens"] for each in scored}, {1})
                for i, (context, word) in enumerate(asked):
                    of_word = {other: each["logprob"] for other, each in zip(vocabulary, scored[i * len(vocabulary):])}
                    margin = of_word.pop(word) - max(of_word.values())
                    self.assertGreaterEqual(margin, LEAST_MARGIN, (model, dtype, context, word))

    def test_a_model_that_has_nothing_to_say_ends_the_text(self):
        for model, texts in (("induction", ["", "red", "red blue", "red nobody"]), ("copier", ["", "red"])):
            got = answer("generate", self.folder / "models" / model, stdin=json.dumps(texts))
            self.assertEqual([each["text"] for each in got], [""] * len(texts))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
