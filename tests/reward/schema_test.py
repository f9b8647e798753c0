"""schema_test.py CHECK: docs/schemas/reward.json takes and refuses what the reader of reward files does."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = sys.argv.pop(1)
SCHEMA = json.loads((ROOT / "docs/schemas/reward.json").read_text())

EQUALS = {"kind": "equals", "field": "a"}
GOOD = [{"kind": "contains", "text": "a"}, {"kind": "contains", "text": 5, "ignore_case": True}, {"kind": "lacks", "text": "a", "name": "a.b-c"},
        {"kind": "matches", "pattern": "a+"}, {"kind": "matches", "pattern": "a+", "whole": False}, EQUALS, EQUALS | {"take": "all", "math": True},
        EQUALS | {"take": "boxed", "math": True}, EQUALS | {"take": "last_number"}, EQUALS | {"take": "last_number", "tolerance": 0.5},
        EQUALS | {"take": "last_number", "numeric": True}, EQUALS | {"pattern": "(.)", "which": "first", "field_pattern": "b"},
        EQUALS | {"numeric": True, "tolerance": 0}, EQUALS | {"ignore_case": True, "ignore_whitespace": True, "ignore_punctuation": False},
        EQUALS | {"numeric": False, "math": False, "ignore_case": True}, {"kind": "length", "least": 1}, {"kind": "length", "most": 0, "slack": 3},
        {"kind": "length", "least": 5, "most": "2k", "unit": "characters"}, {"kind": "ended"}, {"kind": "json"}, {"kind": "json", "keys": []},
        {"kind": "json", "keys": "a"}, {"kind": "json", "keys": ["a", "b"]}, {"kind": "repeats"}, {"kind": "repeats", "words": 20}]
BAD = [{}, {"kind": "end"}, {"kind": ["ended"]}, {"kind": "ended", "weight": 1e7}, {"kind": "ended", "weight": "1 kg"}, {"kind": "ended", "name": "a b"}, {"kind": "ended", "text": "a"},
       {"kind": "contains"}, {"kind": "contains", "text": ""}, {"kind": "contains", "text": ["a"]}, {"kind": "lacks", "text": "a", "ignore_case": "yes"},
       {"kind": "matches"}, {"kind": "matches", "pattern": "a", "full": True}, {"kind": "matches", "pattern": "a" * 10001}, {"kind": "equals"},
       {"kind": "equals", "field": ""}, EQUALS | {"take": "first"}, EQUALS | {"take": "all", "pattern": "a"}, EQUALS | {"which": "last"},
       EQUALS | {"numeric": True, "math": True}, EQUALS | {"take": "last_number", "math": True}, EQUALS | {"math": True, "ignore_case": True},
       EQUALS | {"numeric": True, "ignore_whitespace": True}, EQUALS | {"take": "last_number", "ignore_punctuation": True}, EQUALS | {"tolerance": 0.1},
       EQUALS | {"numeric": True, "tolerance": 2}, {"kind": "length"}, {"kind": "length", "slack": 3}, {"kind": "length", "least": -1},
       {"kind": "length", "most": 1.5}, {"kind": "length", "most": 1, "unit": "words"}, {"kind": "json", "keys": {}}, {"kind": "json", "keys": ["a"] * 101},
       {"kind": "repeats", "words": 0}, {"kind": "repeats", "words": 21}, {"kind": "repeats", "words": "3"}]
ONE = [{"kind": "ended", "weight": 1}]
FILES = [(True, {"rules": ONE}), (True, {"rules": ONE, "clamp": {"least": -1, "most": 1}}), (True, {"rules": ONE, "clamp": {"most": 1e9}}), (False, {}),
         (False, {"rules": []}), (False, {"rules": {}}), (False, {"rules": [7]}), (False, {"rules": [{"kind": "ended"}]}), (False, {"rules": ONE * 101}),
         (False, {"rules": ONE, "clamp": {}}), (False, {"rules": ONE, "clamp": {"most": 2e9}}), (False, {"rules": ONE, "clamp": {"max": 1}}),
         (False, {"rules": ONE, "weights": 1}),
         (True, {"command": ["python3", "/shared/reward.py", 5, True]}), (True, {"command": "/shared/reward"}), (True, {"command": ["a"], "limit": "5min"}),
         (True, {"command": ["a"], "limit": "90s"}), (False, {"command": []}), (False, {"command": ""}), (False, {"command": ["", "a"]}),
         (False, {"command": {"run": "a"}}), (False, {"command": [["a"]]}), (False, {"command": ["a"], "limit": 90}),
         (False, {"command": ["a"], "limit": "soon"}), (False, {"command": ["a"], "limits": "5min"}), (False, {"command": ["a"], "rules": ONE}),
         (False, {"command": ["a"], "clamp": {"most": 1}}), (False, {"rules": ONE, "limit": "5min"}), (False, {"limit": "5min"})]


class Schema(unittest.TestCase):
    def test_takes_and_refuses_what_the_reader_does(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        files = FILES + [(well, {"rules": [{"weight": 1} | rule]}) for well, rules in ((True, GOOD), (False, BAD)) for rule in rules]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "r.yaml"
            for well, value in files:
                with self.subTest(value=value):
                    path.write_text(json.dumps(value))
                    ended = subprocess.run([CHECK, path], capture_output=True, text=True, check=False)
                    self.assertEqual(ended.returncode, 0 if well else 1, ended.stderr)
                    self.assertEqual(not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(value)), well)


if __name__ == "__main__":
    unittest.main()
