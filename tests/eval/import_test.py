"""import_test.py: scripts/import-data on files of every published form.

Debian has no pyarrow, and nothing is downloaded here: what parquet files hold comes from a stand-in with pyarrow's interface. That
files of pyarrow's own are read as they were written is what scripts/check-parquet shows.
"""

import gzip
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = ROOT / "tests/eval/data/rows"
DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA") or ROOT.parent / "shared/data")
TASKS = sorted(path.stem for path in (ROOT / "db/tasks").glob("*.yaml"))


def run(*arguments, **environment):
    return subprocess.run([sys.executable, ROOT / "scripts/import-data", *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | environment, check=False)


def lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


class Import(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = pathlib.Path(held.name)
        self.to = self.folder / "to"

    def imported(self, task, source, **environment):
        ended = run("--from", source, "--to", self.to, task, **environment)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return {path.stem: lines(path) for path in (self.to / task).glob("*.jsonl")}

    def test_knows_every_task_that_ships_and_no_other(self):
        self.assertEqual(sorted(line.split(":")[0] for line in run("--list").stdout.splitlines()), TASKS)

    def test_writes_a_manifest_of_counts_and_checksums(self):
        self.imported("piqa", ROWS)
        manifest = json.loads((self.to / "piqa/manifest.json").read_text())
        self.assertEqual(manifest["dataset"], "ybisk/piqa")
        for name, entry in manifest["files"].items():
            data = (self.to / "piqa" / name).read_bytes()
            self.assertEqual(entry, {"rows": data.count(b"\n"), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        self.assertEqual(set(manifest["files"]), {"train.jsonl", "validation.jsonl"})

    def test_takes_the_one_configuration_that_a_task_asks(self):
        self.assertEqual({split: len(rows) for split, rows in self.imported("arc_challenge", ROWS).items()}, {"train": 27, "test": 3})
        self.assertNotIn("An easy one?", (self.to / "arc_challenge/train.jsonl").read_text())

    def test_finds_a_data_set_in_the_cache_of_the_hub(self):
        snapshot = self.folder / "hub/datasets--openai--gsm8k/snapshots/abc/main"
        snapshot.mkdir(parents=True)
        (snapshot / "test-00000-of-00001.jsonl").write_text('{"question": "q", "answer": "#### 1"}\n')
        ended = run("--to", self.to, "gsm8k", HF_HUB_CACHE=str(self.folder / "hub"))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(lines(self.to / "gsm8k/test.jsonl"), [{"question": "q", "answer": "#### 1"}])

    def test_reads_csv_with_quotes_and_newlines(self):
        for split in ("dev", "test"):
            folder = self.folder / "mmlu" / split
            folder.mkdir(parents=True)
            (folder / f"anatomy_{split}.csv").write_text('"Which, of\n""these""?",a,b,"c, d",e,C\n')
        rows = self.imported("mmlu", self.folder)
        self.assertEqual(rows["test"], [{"subject": "anatomy", "question": 'Which, of\n"these"?', "choices": ["a", "b", "c, d", "e"], "answer": 2}])

    def test_reads_packed_files_and_those_that_hold_one_list(self):
        (self.folder / "humaneval").mkdir()
        row = {"task_id": "h/0", "prompt": "p", "entry_point": "f", "canonical_solution": "s", "test": "t"}
        with gzip.open(self.folder / "humaneval/HumanEval.jsonl.gz", "wt") as file:
            file.write(json.dumps(row) + "\n")
        self.assertEqual(self.imported("humaneval", self.folder), {"test": [row]})
        (self.folder / "bbh").mkdir()
        (self.folder / "bbh/snarks.json").write_text(json.dumps({"canary": "c", "examples": [{"input": "i", "target": "(A)"}]}))
        self.assertEqual(self.imported("bbh", self.folder), {"test": [{"subtask": "snarks", "input": "i", "target": "(A)"}]})

    def test_joins_questions_and_answers_of_function_calls(self):
        folder = self.folder / "bfcl/possible_answer"
        folder.mkdir(parents=True)
        (folder / "BFCL_v3_simple.json").write_text('{"id": "simple_0", "ground_truth": [{"f": {"a": [1]}}]}\n')
        (folder.parent / "BFCL_v3_simple.json").write_text('{"id": "simple_0", "question": [[{"role": "user", "content": "q"}]], "function": [{"name": "f"}]}\n')
        rows = self.imported("bfcl", self.folder)["test"]
        self.assertEqual([(row["category"], row["ground_truth"]) for row in rows], [("simple", [{"f": {"a": [1]}}])])

    def test_takes_the_newest_edition_of_a_data_set_that_has_several(self):
        folder = self.folder / "bigcodebench/data"
        folder.mkdir(parents=True)
        for version in ("v0.1.2", "v0.1.10", "v0.1.9"):
            row = {"task_id": version, "complete_prompt": "p", "canonical_solution": "s", "test": "t", "entry_point": "f", "libs": "[]", "more": 1}
            (folder / f"{version}-00000-of-00001.jsonl").write_text(json.dumps(row) + "\n")
        self.assertEqual([row["task_id"] for row in self.imported("bigcodebench", self.folder)["test"]], ["v0.1.10"])

    def test_shuffles_choices_the_same_way_every_time(self):
        folder = self.folder / "gpqa"
        folder.mkdir()
        head = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
        (folder / "gpqa_main.csv").write_text(head + "".join(f"q{i},right,a,b,c\n" for i in range(20)))
        rows = self.imported("gpqa", self.folder)["train"]
        self.assertEqual(rows, self.imported("gpqa", self.folder)["train"])
        self.assertGreater(len({row["answer"] for row in rows}), 2)
        for row in rows:
            self.assertEqual(row[f"choice{'ABCD'.index(row['answer'][1]) + 1}"], "right")

    def test_says_what_is_not_there_and_what_is_gated(self):
        ended = run("--from", self.folder, "--to", self.to, "gpqa")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("hf download --repo-type dataset Idavidrein/gpqa", ended.stderr)
        self.assertIn("it is gated", ended.stderr)
        self.assertNotIn("gated", run("--from", self.folder, "--to", self.to, "piqa").stderr)

    def test_says_which_file_is_broken_and_writes_nothing(self):
        (self.folder / "gsm8k").mkdir()
        (self.folder / "gsm8k/test.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question"\n')
        ended = run("--from", self.folder, "--to", self.to, "gsm8k")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("gsm8k/test.jsonl:2 is no JSON", ended.stderr)
        self.assertFalse((self.to / "gsm8k").exists())
        (self.folder / "gsm8k/test.jsonl").write_text('{"question": "q"}\n')
        self.assertIn("a row of test has no 'answer'", run("--from", self.folder, "--to", self.to, "gsm8k").stderr)

    def test_refuses_what_it_does_not_know(self):
        for arguments in (["gsm9k"], ["--from"], ["--from", str(self.folder / "none")]):
            self.assertEqual(run(*arguments).returncode, 2, arguments)

    def test_counts_the_shared_data_as_its_publishers_do(self):
        if not (DATA / "README.md").exists():
            if os.environ.get("ORCH_NEED_TEST_DATA"):
                self.fail(f"no test data at {DATA}")
            self.skipTest(f"no test data at {DATA}")
        for task, counts in (("mmlu", {"dev": 285, "test": 14079}), ("gsm8k", {"train": 7473, "test": 1319}), ("humaneval", {"test": 164}),
                             ("arc_challenge", {"test": 1172})):
            self.assertEqual({split: len(rows) for split, rows in self.imported(task, DATA / "tasks").items()}, counts)
        self.assertEqual(len({row["subtask"] for row in self.imported("bbh", DATA / "tasks")["test"]}), 18)

    def python(self, name, module):
        """A Python whose pyarrow.parquet is `module`."""
        package = self.folder / name / "pyarrow"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "parquet.py").write_text(module)
        program = self.folder / name / "python"
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{self.folder / name}" exec "{sys.executable}" "$@"\n')
        program.chmod(0o755)
        return program

    def without_pyarrow(self):
        """The environment of a Python that has none, whatever is installed."""
        return {"PYTHONPATH": str(self.python("none", 'raise ImportError("none here")').parent)}

    def test_asks_a_python_with_pyarrow_for_the_rows_of_parquet_files_and_puts_pictures_into_files(self):
        # Each of these files is a list of batches of rows.
        stand_in = self.python("some", """
import ast, pathlib
class Batch:
    def __init__(self, rows): self.rows = rows
    def to_pylist(self): return self.rows
class ParquetFile:
    def __init__(self, path): self.batches = ast.literal_eval(pathlib.Path(path).read_text())
    def iter_batches(self): return map(Batch, self.batches)
""")
        (self.folder / "chartqa/data").mkdir(parents=True)
        for part, batches in enumerate(([["é?", b"\x89PNGx"], ["2?", b"\xff\xd8y"]], [["3?", b"\x89PNGx"]])):
            rows = [[{"type": "human", "question": question, "answer": "3", "image": {"bytes": picture, "path": None}, "more": 1}]
                    for question, picture in batches]
            (self.folder / f"chartqa/data/test-0000{part}-of-00002.parquet").write_text(repr(rows))
        rows = self.imported("chartqa", self.folder, ORCH_PYARROW_PYTHON=str(stand_in), **self.without_pyarrow())["test"]
        self.assertEqual([row["question"] for row in rows], ["é?", "2?", "3?"])
        self.assertEqual(list(rows[0]), ["type", "question", "answer", "image"])
        pictures = [self.to / "chartqa" / row["image"] for row in rows]
        self.assertEqual([path.read_bytes() for path in pictures], [b"\x89PNGx", b"\xff\xd8y", b"\x89PNGx"])
        self.assertEqual([path.suffix for path in pictures], [".png", ".jpg", ".png"])
        self.assertEqual(pictures[0], pictures[2])  # the same picture lies there once

    def test_says_that_the_python_it_was_told_of_has_no_pyarrow(self):
        (self.folder / "chartqa").mkdir()
        (self.folder / "chartqa/test.parquet").write_bytes(b"PAR1")
        ended = run("--from", self.folder, "--to", self.to, "chartqa", **self.without_pyarrow() | {"ORCH_PYARROW_PYTHON": sys.executable})
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"chartqa: {sys.executable} has no pyarrow", ended.stderr)


if __name__ == "__main__":
    unittest.main()
