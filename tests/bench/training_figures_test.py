"""The benchmark of training comes to its end with all its figures, and counts what it divides by rightly. How fast training is, is nothing
that a test could say.

Called as: training_figures_test.py TABLE BENCH [ARGUMENT...], the paths of scripts/bench_table.py and of scripts/bench_training.py with its
arguments. With ORCH_TRANSFORMERS_PYTHON, a Python that has PEFT, the other side is measured too; bench_training.py itself fails where its
first loss is another than ours.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TABLE, *BENCH = sys.argv[1:]
PYTHON = os.environ.get("ORCH_TRANSFORMERS_PYTHON")
SHORT = ["--shape", "tiny", "--quick", "--equal", "24,24", "--mixed", "8,24", "--rank", "2", "--steps", "2", "--repeat", "1", "--short", "16",
         "--checkpoints", "2", "--lengths", "16,64", "--ranks", "2,4", "--threads", "1", *(["--python", PYTHON] if PYTHON else [])]
CASES = [f"{dtype}, {lengths}" for dtype in ("bf16", "fp32")
         for lengths in ("texts of one length", "texts of mixed lengths", "texts of one length, layers computed again")]
OF_CASE = ["", ", share of the best product", ", memory beyond the weights",
           *([", beside PEFT", ", memory beyond the weights, beside PEFT"] if PYTHON else [])]
NAMES = [case + each for case in CASES for each in OF_CASE] + ["a checkpoint", "a checkpoint after every 50 steps"] + [
    f"memory beyond the weights, {length} tokens at once, rank {rank}" for rank in (2, 4) for length in (16, 64)]

spec = importlib.util.spec_from_file_location("bench_training", BENCH[0])
bench_training = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench_training)

# One layer: q and o of 4 × 4 numbers, k and v of 4 × 2, gate, up and down of 4 × 8, norms of 4.
SMALL = {"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2,
         "vocab_size": 10}


class Figures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            out, models = pathlib.Path(folder) / "figures.json", pathlib.Path(folder) / "models"
            done = subprocess.run([sys.executable, *BENCH, *SHORT, "--models", models, "--out", out], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            cls.figures = json.loads(out.read_text())["figures"]
            cls.table = subprocess.run([sys.executable, TABLE, out], capture_output=True, text=True, check=True).stdout.splitlines()
            cls.left = list(models.iterdir())
            cls.said = done.stderr

    def test_are_all_there(self):
        self.assertEqual([row["figure"] for row in self.figures], NAMES)
        for row in self.figures:
            if not row["figure"].startswith("a checkpoint"):  # the difference of two runs
                self.assertGreater(row["value"], 0, row)

    def test_are_rows_of_the_table(self):
        self.assertEqual(len(self.table), 2 + len(self.figures))
        for line, row in zip(self.table[2:], self.figures):
            self.assertTrue(line.startswith(f"| {row['figure']} | "), line)

    def test_leave_nothing_behind(self):
        self.assertEqual(self.left, [])

    @unittest.skipIf(PYTHON, "the other side is there")
    def test_say_what_is_left_out(self):
        self.assertIn("without --python nothing is held beside PEFT", self.said)


class Arithmetic(unittest.TestCase):
    def test_counts_parameters_once(self):
        # 16 + 8 + 8 + 16 + 32 + 32 + 32, two norms, the embedding of 10 words, which is the head too, and the last norm.
        self.assertEqual(bench_training.parameters(SMALL), 144 + 8 + 40 + 4)
        # As published: Llama-3.2-1B has 1,235,814,400.
        self.assertEqual(bench_training.parameters({"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
                                                    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256}), 1235814400)

    def test_counts_each_product_that_a_step_needs(self):
        # Three tokens, rank 1. Products: 144 numbers forth, and back without q, k and v of the first layer, 32.
        products = 2 * 3 * (144 + 112)
        # A and B have 8 + 6 + 6 + 8 + 12 + 12 + 12 = 64 numbers: forth, their gradients, and back without the A of q, k and v, 12.
        adapters = 2 * 3 * (64 + 64 + 52)
        # Tokens see 1 + 2 + 3: two products forth and four back, of two heads of 2.
        attention = (2 + 4) * 2 * 6 * 4
        # Two tokens are trained on: forth and back.
        head = 2 * 2 * 2 * 40
        self.assertEqual(bench_training.operations(SMALL, [3], 1), products + adapters + attention + head)

    def test_counts_texts_by_themselves(self):
        both = bench_training.operations(SMALL, [3, 5], 2)
        self.assertEqual(both, bench_training.operations(SMALL, [3], 2) + bench_training.operations(SMALL, [5], 2))

    def test_counts_each_layer_but_goes_back_through_all_but_the_first(self):
        two = bench_training.operations(SMALL | {"num_hidden_layers": 2}, [3], 1) - bench_training.operations(SMALL, [3], 1)
        self.assertEqual(two, 2 * 3 * (144 + 144) + 2 * 3 * 3 * 64 + (2 + 4) * 2 * 6 * 4)

    def test_reads_sizes_as_the_log_has_them(self):
        log = ("weights take 191 MiB of each rank, what is trained with its gradients and moments 44.5 MiB\n"
               "2,048 tokens at once: they take 1,023 KiB of the 22.3 GiB that are left\n")
        self.assertEqual(bench_training.planned_of(log), {"weights": 191 * 2**20, "trained": 44.5 * 2**20, "pass": 1023 * 2**10})
        self.assertEqual(bench_training.size_of("512 B"), 512)

    def test_passes_over_the_first_step(self):
        self.assertEqual(bench_training.step_seconds([9, 2, 4, 3]), 3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
