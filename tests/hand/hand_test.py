"""orch-worker tokenize, generate, score, eval, inspect and merge, as a person calls them, alone and under mpirun.

Called as: hand_test.py ORCH_WORKER ROOT MPIRUN, the last an empty word where there is no MPI. The numbers that are expected
are those of a reference in float64 that was written for the model (../shared/data/models)."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

WORKER, ROOT, MPIRUN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
DATA = pathlib.Path(os.environ.get("ORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
MODEL = DATA / "models" / "tinystories-656k"

# Open MPI keeps some of its memory to the end: that is not ours to mend.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "HF_", "SLURM_"))} | {
    "ASAN_OPTIONS": "detect_leaks=0", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm": "isolated", "OMPI_MCA_ras": "^slurm"}


def worker(*words, stdin="", ranks=1, environment=None):
    launcher = [MPIRUN, "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    return subprocess.run([*launcher, str(WORKER), *map(str, words)], input=stdin, capture_output=True, text=True,
                          env=ENVIRONMENT | (environment or {}), timeout=250)


def answer(*words, **how):
    done = worker(*words, **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@unittest.skipUnless(MODEL.exists() or os.environ.get("ORCH_NEED_TEST_DATA"), f"{MODEL} is not here")
class TinyStories(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reference = json.loads((MODEL / "reference.json").read_text())
        cls.layouts = [(1, 1)] + ([(2, 1), (1, 2), (4, 2)] if MPIRUN else [])

    def test_tokenize(self):
        texts = [pair["context"] for pair in self.reference["pairs"]]
        with_special = [pair["context_ids"] for pair in self.reference["pairs"]]
        self.assertEqual(answer("tokenize", MODEL, stdin=json.dumps(texts)), with_special)
        self.assertEqual(answer("tokenize", MODEL, "--no-special", stdin=json.dumps(texts)), [ids[1:] for ids in with_special])
        self.assertEqual(answer("tokenize", MODEL, stdin="[]"), [])

    def write_large_adapter(self, folder, rank, value):
        """On all queries and down projections, of numbers that repeat; `value` 0: one that changes nothing."""
        config = json.loads((MODEL / "config.json").read_text())
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        tensors, data = {}, b""
        for layer in range(config["num_hidden_layers"]):
            for path, inputs, outputs in [("self_attn.q_proj", hidden, hidden), ("mlp.down_proj", inner, hidden)]:
                for which, shape, size in [("A", [rank, inputs], 0.2), ("B", [outputs, rank], value)]:
                    count = shape[0] * shape[1]
                    numbers = struct.pack(f"<{count}f", *[size * ((i * 7 + layer) % 11 - 5) / 5 for i in range(count)])
                    tensors[f"base_model.model.model.layers.{layer}.{path}.lora_{which}.weight"] = {
                        "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
                    data += numbers
        header = json.dumps(tensors).encode()
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 8}))

    def test_adapter(self):
        pairs = json.dumps([[each["context"], each["continuation"]] for each in self.reference["pairs"]][:4])
        plain = answer("score", MODEL, stdin=pairs)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.write_large_adapter(folder / "nothing", 4, 0)
            self.write_large_adapter(folder / "something", 4, 0.05)
            self.assertEqual(answer("score", MODEL, "--adapter", folder / "nothing", stdin=pairs), plain)
            changed = answer("score", MODEL, "--adapter", folder / "something", stdin=pairs)
            self.assertNotEqual(changed, plain)
            for tensor, pipeline in self.layouts[1:]:
                over = answer("score", MODEL, "--adapter", folder / "something", "--tp", tensor, "--pp", pipeline, stdin=pairs,
                              ranks=tensor * pipeline)
                for got, wanted in zip(over, changed):
                    self.assertAlmostEqual(got["logprob"], wanted["logprob"], delta=1e-4 * wanted["tokens"])
            done = worker("score", MODEL, "--adapter", folder / "none", stdin=pairs)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"adapter {folder / 'none'}: cannot read", done.stderr)
            (folder / "something" / "adapter_config.json").write_text('{"peft_type": "LORA", "use_dora": true}')
            done = worker("score", MODEL, "--adapter", folder / "something", stdin=pairs)
            self.assertEqual((done.returncode, "use_dora" in done.stderr), (1, True), done.stderr)

    def test_generate(self):
        prompts = [each["prompt"] for each in self.reference["prompts"]]
        most = len(self.reference["prompts"][0]["greedy_ids"])
        for tensor, pipeline in self.layouts:
            with self.subTest(tensor=tensor, pipeline=pipeline):
                got = answer("generate", MODEL, f"--max-new={most}", "--tp", tensor, "--pp", pipeline, stdin=json.dumps(prompts),
                             ranks=tensor * pipeline)
                wanted = [{"prompt": each["prompt"], "ids": each["greedy_ids"], "text": each["greedy_text"]}
                          for each in self.reference["prompts"]]
                self.assertEqual(got, wanted)

    def test_generate_ends_before_a_stop(self):
        prompt = self.reference["prompts"][0]
        got = answer("generate", MODEL, "--max-new=48", "--stop", "Spot", "--stop", "her dog", stdin=json.dumps([prompt["prompt"]]))
        self.assertEqual(got[0]["text"], prompt["greedy_text"].split("her dog")[0])
        self.assertLess(len(got[0]["ids"]), 48)
        self.assertEqual(got[0]["ids"], prompt["greedy_ids"][:len(got[0]["ids"])])

    def test_generate_draws_the_same_from_the_same_seed(self):
        prompts = [each["prompt"] for each in self.reference["prompts"]]
        options = ("--temperature", "1", "--top-p", "0.9", "--top-k", "50", "--max-new", "20")
        one = answer("generate", MODEL, *options, "--seed", "7", stdin=json.dumps(prompts))
        self.assertEqual(answer("generate", MODEL, *options, "--seed", "7", stdin=json.dumps(prompts)), one)
        self.assertNotEqual(answer("generate", MODEL, *options, "--seed", "8", stdin=json.dumps(prompts)), one)
        twice = answer("generate", MODEL, *options, stdin=json.dumps(prompts[:1] * 2))
        self.assertNotEqual(twice[0]["ids"], twice[1]["ids"])

    def test_score(self):
        pairs = self.reference["pairs"]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([[pair["context"], pair["continuation"]] for pair in pairs], file)
            file.flush()
            for tensor, pipeline in self.layouts:
                with self.subTest(tensor=tensor, pipeline=pipeline):
                    got = answer("score", MODEL, file.name, "--tp", tensor, "--pp", pipeline, ranks=tensor * pipeline)
                    self.assertEqual(len(got), len(pairs))
                    for each, pair in zip(got, pairs):
                        self.assertAlmostEqual(each["logprob"], pair["logprob"], delta=1e-3)
                        self.assertEqual((each["is_greedy"], each["tokens"]), (pair["is_greedy"], len(pair["continuation_ids"])))

    def rounded_model(self, folder):
        """A copy of the model whose linear layers went through int8 and back: 255 steps a row."""
        single = lambda number: struct.unpack("<f", struct.pack("<f", number))[0]
        bytes_ = (MODEL / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", bytes_[:8])[0]
        header, data = json.loads(bytes_[8:8 + size]), bytearray(bytes_[8 + size:])
        for name, tensor in header.items():
            if "_proj" not in name:
                continue
            self.assertEqual(tensor["dtype"], "F32")
            rows, cols = tensor["shape"]
            for row in range(rows):
                at = tensor["data_offsets"][0] + row * cols * 4
                numbers = struct.unpack_from(f"<{cols}f", data, at)
                step = single(max(map(abs, numbers)) / 127)
                struct.pack_into(f"<{cols}f", data, at, *(round(single(number / step)) * step for number in numbers))
        (folder / "model.safetensors").write_bytes(bytes_[:8 + size] + data)
        for file in MODEL.iterdir():
            if file.name.endswith(".json"):
                shutil.copy(file, folder)
        return folder

    def test_int8_weights_are_255_steps_of_a_row(self):
        pairs = json.dumps([[pair["context"], pair["continuation"]] for pair in self.reference["pairs"]])
        with tempfile.TemporaryDirectory() as folder:
            wanted = answer("score", self.rounded_model(pathlib.Path(folder)), stdin=pairs)
        self.assertNotEqual(answer("score", MODEL, stdin=pairs), wanted)
        for tensor in (1, 2) if MPIRUN else (1,):
            got = answer("score", MODEL, "--weights", "int8", "--tp", tensor, stdin=pairs, ranks=tensor)
            for each, other in zip(got, wanted):
                self.assertAlmostEqual(each["logprob"], other["logprob"], delta=1e-3)

    def test_spaces_before_a_continuation_may_stand_on_either_side(self):
        context, continuation = "The sun was shining and the sky was", "blue"
        one, other = answer("score", MODEL, stdin=json.dumps([[context + " ", continuation], [context, " " + continuation]]))
        self.assertEqual(one, other)

    def test_a_begin_token_that_a_text_has_is_not_put_there_again(self):
        # As chat templates write it; so does lm-evaluation-harness.
        context, continuation = "The sun was shining and the sky was", " blue"
        tokens = json.loads((MODEL / "tokenizer.json").read_text())["added_tokens"]
        begin = next(token["content"] for token in tokens if token["id"] == self.reference["prompts"][0]["ids"][0])
        pairs, prompts = json.dumps([[begin + context, continuation]]), json.dumps([begin + context])
        with tempfile.TemporaryDirectory() as folder:
            # The same tokenizer, but one that puts nothing before a text.
            bare = pathlib.Path(folder) / "bare"
            shutil.copytree(MODEL, bare)
            tokenizer = json.loads((bare / "tokenizer.json").read_text())
            tokenizer["post_processor"] = None
            (bare / "tokenizer.json").write_text(json.dumps(tokenizer))
            config = json.loads((bare / "tokenizer_config.json").read_text()) | {"add_bos_token": False}
            (bare / "tokenizer_config.json").write_text(json.dumps(config))
            twice, = answer("tokenize", MODEL, stdin=prompts)
            once, = answer("tokenize", bare, stdin=prompts)
            self.assertEqual(twice, once[:1] + once)
            self.assertEqual(answer("score", MODEL, stdin=pairs), answer("score", bare, stdin=pairs))
            self.assertEqual(answer("generate", MODEL, stdin=prompts)[0]["ids"], answer("generate", bare, stdin=prompts)[0]["ids"])

    def test_score_of_what_stands_at_a_texts_beginning(self):
        # Behind the begin token: as many tokens as the text has without it, and spaces count where they stand.
        prompt = self.reference["prompts"][0]
        got = answer("score", MODEL, stdin=json.dumps([["", prompt["prompt"]], ["  ", prompt["prompt"]], ["", "  " + prompt["prompt"]]]))
        self.assertEqual(got[0]["tokens"], len(prompt["ids"]) - 1)
        self.assertEqual(got[1], got[2])
        self.assertNotEqual(got[0], got[1])

    def write_tasks(self, folder):
        """A task of choices and one of written answers, made of the reference: the scores are known from it."""
        folder = pathlib.Path(folder)
        pairs = [pair for pair in self.reference["pairs"] if pair["context"] == "Tom saw a big dog. He was"]
        self.assertEqual(len(pairs), 2)
        (folder / "data").mkdir()
        choices = [pair["continuation"].removeprefix(" ") for pair in pairs]
        # The same question with each answer called right: one of them is what the model holds for likelier.
        rows = [{"text": pairs[0]["context"], "choices": choices, "right": right} for right in (0, 1, 1)]
        (folder / "data" / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "choices.yaml").write_text("task: choices\nkind: choice\ndata: choices.jsonl\nprompt: text\nchoices: choices\n"
                                             "target: right\nmetrics: [acc]\n")
        rows = [{"text": each["prompt"], "answer": each["greedy_text"].split(".")[0]} for each in self.reference["prompts"]]
        rows[0]["answer"] = "something else"
        (folder / "data" / "stories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "stories.yaml").write_text(
            "task: stories\nkind: generate\ndata: stories.jsonl\nprompt: text\ntarget: answer\ngeneration:\n  stop: ['.']\n"
            "  max_new_tokens: 48\nextract:\n  whole: [take_first]\nmetrics: [exact_match]\n")
        likelier = max(range(2), key=lambda i: pairs[i]["logprob"])
        return (1 + likelier) / 3, (len(rows) - 1) / len(rows)

    def test_eval(self):
        with tempfile.TemporaryDirectory() as folder:
            of_choices, of_stories = self.write_tasks(folder)
            for tensor, pipeline in self.layouts:
                with self.subTest(tensor=tensor, pipeline=pipeline):
                    how = ("--data", f"{folder}/data", "--tp", tensor, "--pp", pipeline)
                    got = answer("eval", MODEL, f"{folder}/choices.yaml", *how, "--samples", f"{folder}/samples.jsonl", ranks=tensor * pipeline)
                    self.assertAlmostEqual(got["metrics"]["acc"]["value"], of_choices)
                    self.assertEqual((got["samples"], got["metrics"]["acc"]["samples"]), (3, 3))
                    self.assertLess(got["tokens"], got["tokens_without_sharing"])
                    samples = [json.loads(line) for line in pathlib.Path(f"{folder}/samples.jsonl").read_text().splitlines()]
                    self.assertEqual([sample["sample"] for sample in samples], [0, 1, 2])
                    got = answer("eval", MODEL, f"{folder}/stories.yaml", *how, ranks=tensor * pipeline)
                    self.assertAlmostEqual(got["metrics"]["exact_match,whole"]["value"], of_stories)
                    got = answer("eval", MODEL, f"{folder}/stories.yaml", *how, "--limit", "1", ranks=tensor * pipeline)
                    self.assertEqual((got["samples"], got["metrics"]["exact_match,whole"]["value"]), (1, 0))
                    answer("eval", MODEL, f"{folder}/stories.yaml", *how, "--max-new", "2", "--samples", f"{folder}/samples.jsonl",
                           ranks=tensor * pipeline)
                    samples = [json.loads(line) for line in pathlib.Path(f"{folder}/samples.jsonl").read_text().splitlines()]
                    self.assertEqual(max(sample["answers"][0]["tokens"] for sample in samples), 2)

    def test_a_model_that_memory_has_no_room_for_is_not_read(self):
        # Some terabytes, whose weights lie in a file of holes.
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for file in MODEL.iterdir():
                if file.name.endswith(".json"):
                    shutil.copy(file, folder)
            hidden, inner, layers, vocab = 16384, 65536, 200, 2048
            config = json.loads((MODEL / "config.json").read_text())
            config.update(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=128, num_key_value_heads=128)
            config.pop("head_dim", None)
            (folder / "config.json").write_text(json.dumps(config))
            shapes = {"lm_head.weight": [vocab, hidden], "model.norm.weight": [hidden]}
            for layer in range(layers):
                for name, shape in {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
                                    **{f"self_attn.{part}_proj": [hidden, hidden] for part in "qkvo"}, "mlp.gate_proj": [inner, hidden],
                                    "mlp.up_proj": [inner, hidden], "mlp.down_proj": [hidden, inner]}.items():
                    shapes[f"model.layers.{layer}.{name}.weight"] = shape
            header, at = {}, 0
            for name, shape in shapes.items():
                size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
                at += size
            text = json.dumps(header).encode()
            with open(folder / "model.safetensors", "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                file.truncate(8 + len(text) + at)
            done = worker("score", folder, stdin='[["a", "b"]]')
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"takes 3\.\d+ TiB of memory on each rank \(3\.\d+ TiB of weights\), and [0-9.]+ .iB are left there")

    def test_inspect(self):
        got = answer("inspect", MODEL)
        config = json.loads((MODEL / "config.json").read_text())
        with open(MODEL / "model.safetensors", "rb") as weights:
            header = json.loads(weights.read(struct.unpack("<Q", weights.read(8))[0]))
        count = vectors = rows = linear = 0
        for name, tensor in header.items():
            size = 1
            for n in tensor.get("shape", [0]):
                size *= n
            if name == "__metadata__":
                continue
            count += size
            vectors += size if len(tensor["shape"]) == 1 else 0
            if "_proj" in name:
                linear, rows = linear + size, rows + tensor["shape"][0]
        self.assertEqual(got["parameters"], count)
        self.assertEqual((got["family"], got["layers"], got["vocab"]), ("llama", config["num_hidden_layers"], config["vocab_size"]))
        # Norms and the frequencies of the rotation stay in fp32; int8 has an fp32 scale for each row of a linear layer.
        kept = 4 * (vectors + config["hidden_size"] // config["num_attention_heads"] // 2)
        self.assertEqual(got["weight_bytes"], {
            "fp32": 4 * (count - vectors) + kept, "bf16": 2 * (count - vectors) + kept,
            "fp16": 2 * (count - vectors) + kept, "int8": 2 * (count - vectors - linear) + linear + 4 * rows + kept})
        numbers = 2 * config["num_hidden_layers"] * config["num_key_value_heads"]
        dim = config["hidden_size"] // config["num_attention_heads"]
        self.assertEqual(got["kv_bytes_per_token"], {
            "fp32": 4 * numbers * dim, "bf16": 2 * numbers * dim, "fp16": 2 * numbers * dim, "fp8": numbers * (dim + 4)})
        layouts = [(each["tp"], each["pp"]) for each in got["layouts"]]
        self.assertEqual(layouts, [(tp, pp) for tp in (1, 2, 4, 8) for pp in (1, 2)])

    def write_adapter(self, folder, factor):
        """Of rank 1: each output of the first layer's down_proj gets `factor` × its first input more."""
        config = json.loads((MODEL / "config.json").read_text())
        inputs, outputs = config["intermediate_size"], config["hidden_size"]
        a, b = [1.0] + [0.0] * (inputs - 1), [float(factor)] * outputs
        module = "base_model.model.model.layers.0.mlp.down_proj"
        header = {f"{module}.lora_A.weight": {"dtype": "F32", "shape": [1, inputs], "data_offsets": [0, 4 * inputs]},
                  f"{module}.lora_B.weight": {"dtype": "F32", "shape": [outputs, 1], "data_offsets": [4 * inputs, 4 * (inputs + outputs)]}}
        text = json.dumps(header).encode()
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(
            struct.pack("<Q", len(text)) + text + struct.pack(f"<{inputs + outputs}f", *a, *b))
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2}))
        return folder

    def test_merge(self):
        pairs = json.dumps([[pair["context"], pair["continuation"]] for pair in self.reference["pairs"]])
        scores = lambda model: [each["logprob"] for each in answer("score", model, stdin=pairs)]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            there = answer("merge", MODEL, self.write_adapter(folder / "there", 0.25), "--out", folder / "merged")
            self.assertEqual((there["folder"], there["changed"]), (str(folder / "merged"), 1))
            self.assertIn("tokenizer.json", there["copied"])
            back = answer("merge", folder / "merged", self.write_adapter(folder / "back", -0.25), "--out", folder / "again", "--dtype", "fp32")
            self.assertEqual(back["tensors"], there["tensors"])
            self.assertEqual(sorted(path.name for path in folder.iterdir()), ["again", "back", "merged", "there"])
            before, merged, again = scores(MODEL), scores(folder / "merged"), scores(folder / "again")
            self.assertGreater(max(abs(one - other) for one, other in zip(before, merged)), 0.01)
            for one, other in zip(before, again):
                self.assertAlmostEqual(one, other, delta=1e-3)
            done = worker("merge", MODEL, folder / "there", "--out", folder / "merged")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("merged is there already; a merged model is written to a new folder", done.stderr)
            if MPIRUN:
                done = worker("merge", MODEL, folder / "there", "--out", folder / "two", ranks=2)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("merge runs alone, and 2 ranks were started", done.stderr)
                self.assertFalse((folder / "two").exists())

    def test_what_cannot_be_done_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder) / "broken"
            shutil.copytree(MODEL, broken)
            os.truncate(broken / "model.safetensors", 100000)
            empty = pathlib.Path(folder) / "empty"
            empty.mkdir()
            nowhere = {"HF_HUB_CACHE": folder}
            for words, stdin, code, said in (
                    (("score", MODEL), "{}", 1, "standard input must be a JSON list of [context, continuation]"),
                    (("score", MODEL), '[["a"]]', 1, "standard input must be a JSON list of [context, continuation]"),
                    (("generate", MODEL), "[1]", 1, "standard input must be a JSON list of strings"),
                    (("generate", MODEL), "", 1, "standard input must be a JSON list of strings"),
                    (("generate", MODEL, "/nowhere.json"), "", 1, "cannot read /nowhere.json: No such file or directory"),
                    (("generate", MODEL, "--max-new", "0"), "[]", 2, "'0' is no value of --max-new"),
                    (("generate", MODEL, "--temperature", "nan"), "[]", 2, "'nan' is no value of --temperature"),
                    (("generate", MODEL, "--max-new"), "[]", 2, "--max-new needs N"),
                    (("score", MODEL, "--stop", "x"), "[]", 2, "'--stop' is no option"),
                    (("score",), "[]", 2, "a model is missing"),
                    (("score", MODEL, "a", "b"), "[]", 2, "'b' is one word too many"),
                    (("score", MODEL, "--tp", "2"), "[]", 1, "--tp 2 × --pp 1 are 2 ranks, and one was started (mpirun -n 2"),
                    (("score", broken), "[]", 1, "model.safetensors"),
                    (("score", empty), "[]", 1, "config.json"),
                    (("eval", MODEL, "mmlu"), "", 2, "--data FOLDER is missing"),
                    (("eval", MODEL), "", 2, "a task is missing"),
                    (("merge", MODEL), "", 2, "an adapter is missing"),
                    (("merge", MODEL, "adapter"), "", 2, "--out FOLDER is missing"),
                    (("merge", MODEL, "adapter", "--out", "out", "--dtype", "int8"), "", 2, "'int8' is no value of --dtype"),
                    (("merge", MODEL, empty, "--out", empty / "out"), "", 1, f"cannot read {empty}/adapter_config.json"),
                    (("merge", MODEL, empty, "--out", broken), "", 1, f"{broken} is there already; a merged model is written to a new"),
                    (("eval", MODEL, "mmllu", "--data", folder), "", 1, "there is no file and no task 'mmllu'; did you mean 'mmlu'?"),
                    (("eval", MODEL, "mmlu", "--data", folder), "", 1, f"the data of task 'mmlu' is not there: {folder}/mmlu/test.jsonl"),
                    (("inspect", MODEL / "config.json"), "", 1, "is a file; a model is a folder"),
                    (("inspect", "llama2_7"), "", 1, "there is no folder and no model 'llama2_7'; did you mean 'llama2_7b'?"),
                    (("inspect", "llama2_7b"), "", 1, f"at main is not in {folder}"),
                    (("inspect", "no/model"), "", 1, f"model no/model at main is not in {folder}"),
            ):
                with self.subTest(words=words, stdin=stdin):
                    done = worker(*words, stdin=stdin, environment=nowhere)
                    self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                    self.assertIn(said, done.stderr)
                    self.assertEqual(done.stderr.count("\n"), 1)

    def test_all_that_is_wrong_with_a_task_is_said(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("task: t\nkind: chioce\ndata: d.jsonl\nprompt: p\nmetric: [acc]\n")
            file.flush()
            done = worker("eval", MODEL, file.name, "--data", "/tmp")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"{file.name}:2:7: ", done.stderr)
        self.assertIn(f"{file.name}:5:1: ", done.stderr)

    @unittest.skipUnless(MPIRUN, "no MPI")
    def test_what_cannot_be_done_ends_all_ranks(self):
        done = worker("score", MODEL, "--tp", "3", ranks=3, stdin="[]")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot be cut over 3 ranks: it has 8 heads", done.stderr)
        done = worker("generate", MODEL, "--tp", "2", ranks=2, stdin="no JSON")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("standard input must be a JSON list of strings", done.stderr)

    def test_a_model_of_the_hubs_cache(self):
        with tempfile.TemporaryDirectory() as folder:
            repo = pathlib.Path(folder) / "models--some--stories"
            commit = "0123456789abcdef0123456789abcdef01234567"
            shutil.copytree(MODEL, repo / "snapshots" / commit)
            (repo / "refs").mkdir()
            (repo / "refs" / "main").write_text(commit)
            for name in ("some/stories", "some/stories@main", f"some/stories@{commit}"):
                got = answer("inspect", name, environment={"HF_HUB_CACHE": folder})
                self.assertEqual(got["folder"], str(repo / "snapshots" / commit))

    def test_help(self):
        for command in ("tokenize", "generate", "score", "eval", "inspect", "merge"):
            done = worker(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertTrue(done.stdout.startswith(f"orch-worker {command} MODEL"), done.stdout)
        self.assertIn("orch-worker score MODEL", worker("--help").stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
