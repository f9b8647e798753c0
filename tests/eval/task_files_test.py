"""task_files_test.py ASK: docs/schemas/task.json and docs/tasks.md against what reads task files.

The schema takes every file that ships, and takes and refuses what the reader does. The page's own example is followed to the letter, and
its table has every task as it is.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASK = sys.argv.pop(1)
PAGE = (ROOT / "docs/tasks.md").read_text()
SCHEMA = json.loads((ROOT / "docs/schemas/task.json").read_text())

GENERATE = {"task": "t", "kind": "generate", "data": "t.jsonl", "prompt": "q", "target": "a", "generation": {}, "metrics": ["m"]}
CHOICE = {"task": "t", "kind": "choice", "data": "t.jsonl", "prompt": "q", "choices": ["a"], "target": 0, "metrics": ["acc"]}
CONTEXTS = {"task": "t", "kind": "contexts", "data": "t.jsonl", "choices": "c", "right": "r", "target": "a", "metrics": "acc"}
GOOD = [GENERATE, CHOICE, CONTEXTS, CHOICE | {"labels": "l", "metrics": ["mc2", "acc_bytes"]}, CHOICE | {"shots": {"count": 2, "from": "a/b.jsonl", "prompt": "x"}},
        CHOICE | {"group_by": "g", "description": {"a": "b"}}, GENERATE | {"scorer": {"exact_match": {"ignore": ["a"], "ignore_case": True}}},
        GENERATE | {"extract": {"a": ["strip", {"regex": "a", "which": -1, "otherwise": ""}, {"take_first": 2}]}},
        GENERATE | {"generation": {"stop": "x", "temperature": 0.5, "repeats": 3}, "metrics": ["m", "pass_at_2"]}]
BAD = [CHOICE | {"promt": 1}, CHOICE | {"kind": "choose"}, CHOICE | {"data": "/a"}, CHOICE | {"data": "a/../b"}, CHOICE | {"metrics": ["f1"]}, CHOICE | {"choices": []},
       CHOICE | {"generation": {}}, CHOICE | {"right": 0}, CHOICE | {"shots": {"count": 1}}, CHOICE | {"shots": {"count": 101, "from": "a"}},
       CHOICE | {"shots": {"count": 1, "from": "a", "examples": [{}]}}, CHOICE | {"shots": {"order": "random"}}, CONTEXTS | {"prompt": "x"}, GENERATE | {"labels": "l"},
       GENERATE | {"extract": {}}, GENERATE | {"extract": {"a": ["stripe"]}}, GENERATE | {"extract": {"a": [{"which": 1}]}}, GENERATE | {"extract": {"a b": []}},
       GENERATE | {"generation": {"stop": [""]}}, GENERATE | {"generation": {"temperature": 9}}, GENERATE | {"scorer": {"code": {}}}, GENERATE | {"metrics": []},
       *({key: value for key, value in GENERATE.items() if key != missing} for missing in GENERATE)]


def ask(*arguments):
    return subprocess.run([ASK, *map(str, arguments)], capture_output=True, text=True, check=False)


def fits(value):
    return not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(value))


class TaskFiles(unittest.TestCase):
    def test_that_ship_fit_the_schema(self):
        files = sorted((ROOT / "db/tasks").glob("*.yaml"))
        self.assertEqual(len(files), 22)
        for path in files:
            self.assertEqual([error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(path.read_text()))], [], path)

    def test_are_taken_and_refused_by_the_schema_as_by_the_reader(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "t.yaml"
            for well, values in ((True, GOOD), (False, BAD)):
                for value in values:
                    with self.subTest(value=value):
                        path.write_text(json.dumps(value))
                        ended = ask(path)
                        self.assertEqual(ended.returncode == 0, well, ended.stderr)
                        self.assertEqual(fits(value), well)

    def test_of_the_page_ask_what_it_says(self):
        with tempfile.TemporaryDirectory() as folder:
            files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.S)
            self.assertEqual(len(files), 2)
            for name, text in files:
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            ended = ask(f"{folder}/capitals.yaml", f"{folder}/data")
            self.assertEqual(ended.returncode, 0, ended.stderr)
            said = re.search(r"<!-- asked -->\n```json\n(.*?)```", PAGE, re.S).group(1)
            self.assertEqual([json.loads(line) for line in ended.stdout.splitlines()], [json.loads(line) for line in said.splitlines()])

    def test_are_in_the_page_s_table_as_they_are(self):
        rows = re.findall(r"^\| (\w+) \| (choice|contexts|generate) \| (\d+) \| (\w+) \| (\w+)(?: \*)? \|$", PAGE, re.M)
        self.assertEqual(len(rows), 22)
        for name, kind, shots, metric, status in rows:
            task = yaml.safe_load((ROOT / f"db/tasks/{name}.yaml").read_text())
            self.assertEqual((kind, int(shots), metric, status), (task["kind"], task.get("shots", {}).get("count", 0), task["metrics"][0], task["status"]), name)

    def test_of_the_page_have_all_keys_of_the_schema(self):
        table = PAGE[PAGE.index("## The file") : PAGE.index("## Files of lm-evaluation-harness")]
        for key in SCHEMA["properties"]:
            self.assertIn(f"`{key}`", table)


if __name__ == "__main__":
    unittest.main()
