"""The worker's and the ops' benchmarks come to their end with all their figures. How fast they are, is nothing that a test could say.

Called as: worker_figures_test.py TABLE KERNELS BENCH [ARGUMENT...], the paths of scripts/bench_table.py, of orch_bench_kernels and of
scripts/bench_worker.py with its arguments. bench_worker.py itself fails where the tree of shared beginnings, or a process of its own,
changes a score.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TABLE, KERNELS, *BENCH = sys.argv[1:]
ROOT = pathlib.Path(BENCH[3])
DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
SHORT = ["--large", "tiny", "--small", "tiny", "--prefill", "32", "--decode", "4", "--limit", "8", "--few", "1", "--repeat", "1", "--buffer", "8", "--quick"]
NAMES = ["load from the page cache", "load from the page cache, share of plain reading", "load from the disk",
         "load from the disk, share of plain reading", "memory of a load at most", "decode of one text",
         "decode, share of the read bandwidth", "prefill of 32 tokens", "prefill of 32 tokens, share of the best product", "memory at most",
         "MMLU, 5 examples, with the tree", "MMLU, 5 examples, each text by itself", "MMLU, what the tree gives",
         "8 tasks in one job, beside a process each", "between two tasks"]


def table_of(file):
    return subprocess.run([sys.executable, TABLE, file], capture_output=True, text=True, check=True).stdout.splitlines()


@unittest.skipUnless(DATA.exists() or "ORCH_NEED_TEST_DATA" in os.environ, f"no test data at {DATA}")
class Worker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            out, models = pathlib.Path(folder) / "figures.json", pathlib.Path(folder) / "models"
            done = subprocess.run([sys.executable, *BENCH, *SHORT, "--data", DATA, "--models", models, "--out", out], capture_output=True, text=True,
                                  check=False)
            assert done.returncode == 0, done.stderr
            cls.figures = json.loads(out.read_text())["figures"]
            cls.table = table_of(out)
            cls.left = models.exists()

    def test_has_all_its_figures(self):
        self.assertEqual([row["figure"] for row in self.figures], NAMES)
        for row in self.figures:
            self.assertGreater(row["value"], 0, row)

    def test_each_is_a_row_of_the_table(self):
        self.assertEqual(len(self.table), 2 + len(self.figures))
        for line, row in zip(self.table[2:], self.figures):
            self.assertTrue(line.startswith(f"| {row['figure']} | "), line)

    def test_leaves_no_models(self):
        self.assertFalse(self.left)

    def test_computes_less_where_beginnings_are_shared(self):
        notes = {row["figure"]: row.get("note", "") for row in self.figures}
        tree, alone = (int(notes[f"MMLU, 5 examples, {how}"].rsplit(", ", 1)[1].split()[0]) for how in ("with the tree", "each text by itself"))
        self.assertGreater(alone, 4 * tree)


class Ops(unittest.TestCase):
    def test_have_figures_and_each_is_a_row_of_a_table(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "figures.json"
            done = subprocess.run([KERNELS, "--quick", "--benchmark_min_time=0.001", f"--benchmark_out={out}", "--benchmark_out_format=json",
                                   "--benchmark_filter=AddNorm_bf16|Rotary|decode_at|Linear_bf16_bf16_bf16_1x2048x3072|1x2048x16384"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            runs = json.loads(out.read_text())["benchmarks"]
            lines = table_of(out)
            for run in runs:
                name = run["name"].split("/")[0]
                if not name.startswith("Product_"):
                    self.assertEqual(sum(line.startswith(f"| {name} | ") for line in lines), 1, name)
            for wanted in ("| 1x2048x16384, fp32 | ", "| 1x2048x16384, bf16 | "):
                self.assertEqual(sum(line.startswith(wanted) for line in lines), 1, wanted)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
