"""The daemon's benchmarks come to their end with all their figures. How fast it is, is nothing that a test could say.

Called as: daemon_figures_test.py TABLE BENCH [ARGUMENT...], the paths of scripts/bench_table.py and of bench_daemon.py with its
arguments. bench_daemon.py itself fails unless every cell was delivered exactly once.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TABLE, *BENCH = sys.argv[1:]
SHORT = ["--cells", "20000", "--few", "2000", "--workers", "1,2", "--seconds", "0.1", "--repeat", "1", "--idle", "0.5",
         "--store-time", "0.01"]
RATES = [f"leased and delivered, {workers}, {batch}" for batch in ("batches of 64", "one at a time")
         for workers in ("2 workers", "1 worker")]
OTHERS = ["idle, with nothing", "idle, with a sweep waiting and jobs in the queue", "submitted", "memory after its submission",
          "memory after a recovery", "status", "status while all workers deliver", "orchctl status --json, the whole program",
          "recovery after SIGKILL, 20,000 cells", "recovery after SIGKILL, 2,000 cells", "durable changes, a cell a commit",
          "durable changes, 1,000 cells a commit", "Slurm calls, while nothing changes",
          "Slurm calls, while every look shows a change"]


class Figures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "figures.json"
            done = subprocess.run([sys.executable, *BENCH, *SHORT, "--out", out], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            cls.figures = {row["figure"]: row for row in json.loads(out.read_text())["figures"]}
            cls.table = subprocess.run([sys.executable, TABLE, out], capture_output=True, text=True, check=True).stdout

    def test_all_are_there_with_a_value(self):
        for name in (*RATES, *OTHERS):
            self.assertIn(name, self.figures)
            self.assertGreaterEqual(self.figures[name]["value"], 0, name)
        for name in RATES:
            self.assertGreater(self.figures[name]["value"], 0, name)

    def test_an_aim_is_met_on_its_side_alone(self):
        for row in self.figures.values():
            if "aim" in row:
                self.assertEqual(row["met"], row["value"] < row["aim"] if row["below"] else row["value"] >= row["aim"], row)

    def test_each_is_a_row_of_the_table(self):
        lines = self.table.splitlines()
        self.assertEqual(len(lines), 2 + len(self.figures))
        for line, name in zip(lines[2:], self.figures):
            self.assertTrue(line.startswith(f"| {name} | "), line)

    def test_slurm_is_asked_less_while_nothing_changes(self):
        quiet, changing = (self.figures[f"Slurm calls, while {when}"]["value"]
                           for when in ("nothing changes", "every look shows a change"))
        # A look every 300 s, and every 120 s, each up to a tenth shorter.
        self.assertTrue(12 <= quiet <= 14, quiet)
        self.assertTrue(30 <= changing <= 34, changing)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
