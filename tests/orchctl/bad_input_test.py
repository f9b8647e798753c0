"""Wrong files of every kind: each problem with its place, all at once, exit 2, nothing on standard output, and never a crash."""

import pathlib
import re
import tempfile
import unittest

from program import ROOT, main, orchctl

PLACE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): ")


class BadInput(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def refused(self, content, *expected, command=("validate",), name="bad.yaml", placed=True):
        """`expected`: (line, column, a piece of the message), for each error in order."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        ended = orchctl(*command, path)
        self.assertEqual(ended.code, 2, ended)
        self.assertEqual(ended.out, "", ended)
        found = []
        for line in ended.err.splitlines():
            match = PLACE.match(line)
            if match and match["file"] == str(path):
                found.append((int(match["line"]), int(match["column"]), line))
        if placed:
            self.assertEqual([(f[0], f[1]) for f in found], [(e[0], e[1]) for e in expected], ended.err)
            for (_, _, line), (_, _, piece) in zip(found, expected):
                self.assertIn(piece, line)
        else:
            for piece in expected:
                self.assertIn(piece, ended.err)
        return ended

    def test_an_unknown_key(self):
        self.refused("name: m\nmodles: [tinyllama_1b]\nmodels: [tinyllama_1b]\ntasks: [mmlu]\n", (2, 1, "did you mean 'models'"))

    def test_a_wrong_type(self):
        self.refused("name: m\nmodels: [tinyllama_1b]\ntasks: [mmlu]\nsettings: {shots: many}\n", (4, 19, "'shots'"))

    def test_an_unknown_model_and_an_unknown_task_are_told_together(self):
        ended = self.refused("name: m\nmodels: [qwen25_72]\ntasks: [mmlu, gsm8]\nsettings: {shots: -1}\n",
                             (2, 10, "'qwen25_72b'"), (3, 15, "'gsm8k'"), (4, 19, "shots"))
        self.assertIn("3 errors", ended.err)

    def test_an_empty_axis(self):
        self.refused("name: m\nmodels: [tinyllama_1b]\ntasks: [mmlu]\nsettings: {seed: []}\n", (4, 18, "empty"))

    def test_settings_of_a_category(self):
        text = "categories:\n  MINE:\n    models: [tinyllama_1b]\n    tasks: [mmlu]\n    settings: {shots: many}\n"
        self.refused(text, (5, 23, "'shots'"))
        # A catalog beside the one that ships is checked for every command.
        self.refused(text, (5, 23, "'shots'"), command=("models", "--catalog"))

    def test_a_cell_asked_for_twice(self):
        ended = self.refused("name: m\nmodels: [tinyllama_1b]\ntasks: [{name: mmlu, shots: 5}, {name: mmlu, shots: [5, 0]}]\n",
                             "twice", placed=False)
        self.assertRegex(ended.err, r"bad\.yaml:\d+:\d+: ")

    def test_weights_that_are_not_numbers_negative_or_do_not_sum_to_1(self):
        text = (ROOT / "policies/default.yaml").read_text()
        at = next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith("  task_weight:"))
        for value, piece in ((".nan", "task_weight"), ("-0.35", "task_weight"), ("heavy", "task_weight")):
            ended = self.refused(re.sub(r"(?m)^  task_weight: .*$", f"  task_weight: {value}", text), piece, placed=False)
            self.assertRegex(ended.err, rf"bad\.yaml:{at}:16: ")
        ended = self.refused(re.sub(r"(?m)^  task_weight: .*$", "  task_weight: 0.36", text), "1.01", placed=False)
        self.assertRegex(ended.err, r"bad\.yaml:\d+:\d+: ")

    def test_a_file_of_200_mb(self):
        path = self.folder / "large.yaml"
        with open(path, "wb") as out:
            out.truncate(200 * 1000 * 1000)
        ended = orchctl("validate", path, timeout=20)
        self.assertEqual((ended.code, ended.out), (2, ""))
        self.assertIn("larger than", ended.err)

    def test_an_alias_bomb(self):
        bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))
        path = self.folder / "bomb.yaml"
        path.write_text(bomb)
        ended = orchctl("validate", path, timeout=20)
        self.assertEqual((ended.code, ended.out), (2, ""))
        self.assertIn("alias bomb", ended.err)

    def test_bytes_that_are_not_utf8(self):
        self.refused(b"name: m\nmodels: [\xff\xfe]\n", (2, 10, "UTF-8"))

    def test_a_folder_a_missing_file_and_a_device(self):
        for path, piece in ((self.folder, "folder"), (self.folder / "nothing.yaml", "no such file"), ("/dev/zero", "not a regular file")):
            for command in ("validate", "plan"):
                ended = orchctl(command, path, timeout=20)
                self.assertEqual((ended.code, ended.out), (2, ""), ended)
                self.assertIn(piece, ended.err)

    def test_a_file_that_cannot_be_read_to_its_end(self):
        ended = orchctl("validate", "/proc/self/mem", timeout=20)  # nothing is mapped at 0: reading it is an error
        self.assertEqual((ended.code, ended.out), (2, ""), ended)
        self.assertIn("read", ended.err)

    def test_text_that_is_not_yaml(self):
        self.refused("name: [m\n", "not YAML", placed=False)
        self.refused("", "empty", placed=False)
        self.refused("just a text\n", (1, 1, "map"))
        self.refused("[" * 5000, "deep", placed=False)

    def test_control_characters_never_reach_the_terminal(self):
        ended = self.refused("name: m\nmodels: [\"\\e[2Jx\"]\ntasks: [mmlu]\n", (2, 10, "\\x1b[2Jx"))
        self.assertNotIn("\x1b", ended.err)

    def test_a_cycle_names_itself(self):
        ended = self.refused("name: m\nmodels: [tinyllama_1b]\nstages:\n  one: {kind: eval, tasks: [mmlu], after: [two]}\n"
                             "  two: {kind: eval, tasks: [boolq], after: [one]}\n", "one → two → one", placed=False)
        self.assertRegex(ended.err, r"bad\.yaml:[45]:\d+: ")

    def test_bad_catalog_and_cluster_files(self):
        self.refused("models:\n  mine: {hf_id: a/b, family: x, params: -3B, license: mit, engines: [native]}\n", "params", placed=False)
        self.refused("profiles:\n  p: {nodes: 0, gpus_per_node: 8}\n", "nodes", placed=False)
        self.refused("cluster: {name: c, partitions: {p: {gpu: h1000, nodes: 1}}}\n", "h1000", placed=False)
        self.refused("gpus:\n  g: {memory: 1e999, bandwidth: x}\n", "memory", placed=False)

    def test_bad_files_given_to_plan_are_all_told_at_once(self):
        matrix = self.folder / "m.yaml"
        matrix.write_text("name: m\nmodels: [nobody]\ntasks: [mmlu]\n")
        policy = self.folder / "p.yaml"
        policy.write_text("name: p\nweights: {task_weight: 2}\n")
        cluster = self.folder / "c.yaml"
        cluster.write_text("cluster: {name: c, nodes: 3}\n")
        ended = orchctl("plan", matrix, "--policy", policy, "--cluster", cluster, "--json")
        self.assertEqual((ended.code, ended.out), (2, ""), ended)
        for name in ("m.yaml:2:10: ", "p.yaml:", "c.yaml:"):
            self.assertIn(name, ended.err)

    def test_a_million_cells_too_many_are_counted_not_made(self):
        axes = ", ".join(f"{name}: [{', '.join(map(str, range(1, 101)))}]" for name in ("seed", "limit", "max_tokens", "shots"))
        ended = self.refused(f"name: m\nmodels: ['*']\ntasks: [mmlu]\nsettings: {{{axes}}}\n", "cells", placed=False)
        self.assertRegex(ended.err, r"bad\.yaml:\d+:\d+: ")


if __name__ == "__main__":
    main()
