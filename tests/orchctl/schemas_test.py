"""schemas_test.py ORCHCTL ROOT: the JSON Schemas of docs/schemas against the files that ship and against what orchctl prints.

Every YAML file that ships is valid under the schema of its kind, files with a fault are not, and every command's --json output
is valid under its definition in output.json.
"""

import copy
import json
import os
import pathlib
import re
import tempfile
import unittest

import jsonschema
import yaml
from program import ROOT, main, orchctl

SCHEMAS = ROOT / "docs" / "schemas"


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, which orchctl reads: `no` and `12:30:00` are texts."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
]:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first) + [""])
Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", "")))


def schema_of(kind):
    return json.loads((SCHEMAS / f"{kind}.json").read_text())


def validator(schema):
    cls = jsonschema.validators.validator_for(schema)
    cls.check_schema(schema)
    return cls(schema)


def faults(schema, value):
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in validator(schema).iter_errors(value)]


def output_schema(command):
    whole = schema_of("output")
    return {"$schema": whole["$schema"], "$ref": f"#/$defs/{command}", "$defs": whole["$defs"]}


def load(path):
    return yaml.load(path.read_text(), Core)


def shipped():
    yield from ((path, "catalog") for path in sorted((ROOT / "db" / "catalog").glob("*.yaml")))
    yield from ((path, "policy") for path in sorted((ROOT / "policies").glob("*.yaml")))
    yield from ((path, "cluster") for path in sorted((ROOT / "policies" / "clusters").glob("*.yaml")))
    yield from ((path, "matrix") for path in sorted((ROOT / "examples").glob("*.yaml")))


MATRIX = """\
name: schemas
models: [llama2_70b, tinyllama*, falcon_7b]
tasks: [mmlu, mmmu]
"""

OWN = """\
name: own
kind: command
models: [house]
tasks: [contracts]
settings: {seed: [0, 1]}
command: {run: [p, "{model}", "{task}", "{seed}", "{out}"], gpus: 0, cpus: 2, memory: 4G, time: 10m}
"""


class Schemas(unittest.TestCase):
    def test_are_schemas_themselves(self):
        names = {path.stem for path in SCHEMAS.glob("*.json")}
        self.assertEqual(names, {"matrix", "policy", "catalog", "cluster", "history", "notify", "ceilings", "output", "reward", "task"})
        for name in names:
            validator(schema_of(name))

    def test_accept_every_file_that_ships_and_so_does_orchctl(self):
        files = list(shipped())
        self.assertGreaterEqual(len([1 for _, kind in files if kind == "cluster"]), 3)
        for path, kind in files:
            with self.subTest(file=path.name):
                self.assertEqual(faults(schema_of(kind), load(path)), [])
                ended = orchctl("validate", "--json", path)
                self.assertEqual(ended.code, 0, ended)
                self.assertEqual(ended.json[0]["kind"], kind)

    def test_accept_a_history_that_orchctl_accepts(self):
        history = {
            "measurements": [{"model": "llama2_70b", "task": "mmlu", "profile": "large_single", "seconds_per_unit": [0.021, 0.022]}],
            "outcomes": [{"family": "llama", "type": "eval_knowledge", "succeeded": 40, "failed": 1}],
        }
        self.assertEqual(faults(schema_of("history"), history), [])
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "history.yaml"
            file.write_text(json.dumps(history))
            ended = orchctl("validate", file)
            self.assertEqual(ended.code, 0, ended)

    def test_accept_and_refuse_the_ceilings_that_orchctl_does(self):
        for well, ceilings in ((True, {}), (True, {"time_zone": "Europe/Stockholm", "per_user": {"gpu_hours": 10, "per": "week"}}),
                               (True, {"per_sweep": {"jobs": 3}, "idle_timeout": "5min"}), (False, {"per_user": {"jobs": 0}}),
                               (False, {"per_team": {}}), (False, {"idle_timeout": "x"})):
            self.assertEqual(faults(schema_of("ceilings"), {"ceilings": ceilings}) == [], well, ceilings)
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "ceilings.yaml"
                file.write_text(json.dumps({"ceilings": ceilings}))
                self.assertEqual(orchctl("validate", file).code, 0 if well else 2, ceilings)

    def test_accept_and_refuse_the_notifications_that_orchctl_does(self):
        for well, targets in ((True, [{"on": "alert", "mail": "mara@example.org"}, {"command": ["/bin/page"]}]),
                              (True, [{"on": ["budget", "sweep_ended"], "webhook": "https://chat.example.org/T0"}]),
                              (False, [{"on": "alert"}]), (False, [{"mail": "a@b", "command": ["x"]}]),
                              (False, [{"on": "alerts", "mail": "a@b"}]), (False, [{"webhook": "file:///x"}])):
            self.assertEqual(faults(schema_of("notify"), {"notify": targets}) == [], well, targets)
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "notify.yaml"
                file.write_text(json.dumps({"notify": targets}))
                self.assertEqual(orchctl("validate", file).code, 0 if well else 2, targets)

    def test_of_the_harness_accept_and_refuse_what_orchctl_does(self):
        good = ["{}", "{run: [/venv/bin/lm_eval], include_path: /t, arguments: [--log_samples, 5], env: {A: 1}}",
                "{model_args: {trust_remote_code: true, a: b}}"]
        bad = ["[]", "{run: p}", "{run: []}", "{include_path: t}", "{model_args: {dtype: x}}", "{model_args: {a: 'b,c'}}",
               "{model_args: [a]}", "{env: {1A: b}}", "{other: 1}"]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "harness.yaml"
            for text in good + bad:
                with self.subTest(text):
                    file.write_text(f"name: h\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {{engine: lm-eval}}\nlm_eval: {text}\n")
                    self.assertEqual(faults(schema_of("matrix"), load(file)) == [], text in good)
                    self.assertEqual(orchctl("validate", file).code, 0 if text in good else 2)

    def test_refuse_what_orchctl_refuses(self):
        """Each fault is put into a file that ships; both must see it."""

        def at(document, *path):
            for key in path:
                document = document[key]
            return document

        cluster = ROOT / "policies" / "clusters" / "h100x8.yaml"
        part = ("cluster", "partitions", "h100quadflex")
        gpus = ROOT / "db" / "catalog" / "gpus.yaml"
        cases = [
            (cluster, "cluster", lambda d: at(d, *part).update(nodse=4)),
            (cluster, "cluster", lambda d: at(d, *part).update(nodes=0)),
            (cluster, "cluster", lambda d: at(d, *part).update(gpus_per_node="many")),
            (cluster, "cluster", lambda d: at(d, *part).pop("gpu")),
            (cluster, "cluster", lambda d: at(d, *part).update(exclusive="yes")),
            (cluster, "cluster", lambda d: at(d, "cluster").update(request="please")),
            (cluster, "cluster", lambda d: at(d, "cluster").update(submit={"sbatch": ["-p x"]})),
            (cluster, "cluster", lambda d: at(d, "cluster").update(submit={"conda": "a", "container": "b"})),
            (cluster, "cluster", lambda d: at(d, "cluster").update(submit={"environment": {"1X": "b"}})),
            (cluster, "cluster", lambda d: at(d, "cluster").update(partitions={})),
            (gpus, "catalog", lambda d: at(d, "gpus", "l40s").pop("memory")),
            (gpus, "catalog", lambda d: at(d, "gpus", "l40s").update(flops={"fp8": "1T"})),
            (gpus, "catalog", lambda d: at(d, "gpus", "l40s").update(watts=-1)),
            (gpus, "catalog", lambda d: d.update(gpu={})),
        ]
        with tempfile.TemporaryDirectory() as folder:
            for number, (path, kind, spoil) in enumerate(cases):
                with self.subTest(case=number):
                    document = copy.deepcopy(load(path))
                    spoil(document)
                    self.assertNotEqual(faults(schema_of(kind), document), [])
                    file = pathlib.Path(folder) / f"{number}.yaml"
                    file.write_text(yaml.safe_dump(document))
                    ended = orchctl("validate", "--kind", kind, "--json", file)
                    self.assertEqual(ended.code, 2, ended)
                    self.assertFalse(ended.json[0]["ok"])


class Output(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.matrix = self.folder / "matrix.yaml"
        self.matrix.write_text(MATRIX)

    def check(self, command, *arguments, code=0, env=None):
        ended = orchctl(*arguments, "--json", env=env)
        self.assertEqual(ended.code, code, ended)
        self.assertEqual(faults(output_schema(command), ended.json), [], ended.out[:3000])
        # The document as a whole knows it too.
        self.assertTrue(validator(schema_of("output")).is_valid(ended.json))
        return ended.json

    def test_of_lists(self):
        for command in ("models", "tasks", "profiles", "categories", "gpus"):
            with self.subTest(command=command):
                self.assertGreater(len(self.check(command, command)), 0)
        self.assertIn("output", self.check("schemas", "schema"))

    def test_of_plans(self):
        plan = self.check("plan", "plan", self.matrix)
        self.assertNotIn("cell_list", plan)
        self.assertGreater(len(plan["jobs"]), 0)
        # mmmu shows images, and none of the models sees.
        self.assertGreater(len(plan["rejected"]), 0)
        cells = self.check("plan", "plan", self.matrix, "--cells")["cell_list"]
        self.assertEqual(len(cells), plan["cells"])
        script = self.check("script", "plan", self.matrix, "--script", plan["jobs"][0]["id"])
        self.assertTrue(script["script"].startswith("#!"))
        for example in sorted((ROOT / "examples").glob("*.yaml")):
            with self.subTest(example=example.name):
                self.check("plan", "plan", example, "--cells")

    def test_of_explanations(self):
        for model in ("llama2_70b", "deepseek_v3", "falcon_180b"):
            self.check("explain_model", "explain", model)
        plan = self.check("plan", "plan", self.matrix, "--cells")
        self.check("explain_job", "explain", self.matrix, plan["jobs"][0]["id"])
        self.check("explain_cell", "explain", self.matrix, plan["cell_list"][0]["key"])
        self.check("explain_cell", "explain", self.matrix, "llama2_70b/mmlu")
        self.check("explain_cell", "explain", self.matrix, "llama2_70b/mmmu")

    def test_of_commands_without_a_gpu_and_of_names_of_their_own(self):
        matrix = self.folder / "own.yaml"
        matrix.write_text(OWN)
        plan = self.check("plan", "plan", matrix, "--cells")
        self.assertEqual({job["gpus"] for job in plan["jobs"]}, {0})
        self.assertEqual(self.check("explain_job", "explain", matrix, plan["jobs"][0]["id"])["gpus"], 0)
        cell = self.check("explain_cell", "explain", matrix, plan["cell_list"][0]["key"])
        self.assertEqual(cell["own_names"], ["model", "task"])
        self.check("script", "plan", matrix, "--script", plan["jobs"][0]["id"])

    def test_of_validation(self):
        bad = self.folder / "bad.yaml"
        bad.write_text("models: [llama2_70]\ntasks: [mmlu]\nfoo: 1\n")
        self.assertTrue(self.check("validate", "validate", self.matrix)[0]["ok"])
        verdicts = self.check("validate", "validate", self.matrix, bad, self.folder / "none.yaml", code=2)
        self.assertEqual([verdict["ok"] for verdict in verdicts], [True, False, False])

    def test_of_policies(self):
        for name in ("default", "tournament"):
            self.check("policy_check", "policy", "check", name)
            shown = self.check("policy_show", "policy", "show", name)
            self.assertEqual(faults(schema_of("policy"), shown), [])
        bad = self.folder / "policy.yaml"
        bad.write_text("name: bad\nweights: {task_weight: 2}\n")
        self.check("policy_check", "policy", "check", bad, code=2)
        self.assertGreater(len(self.check("policy_diff", "policy", "diff", "default", "tournament")["changes"]), 0)
        self.check("policy_diff", "policy", "diff", "default", "tournament", "--matrix", self.matrix)

    def test_of_cluster_detection(self):
        answers = {"sinfo": "4|96|1031519|7-00:00:00|1-infinite|NO|up|gpu:h100:8|h100quadflex", "scontrol": "ClusterName = alpha"}
        for name, answer in answers.items():
            program = self.folder / name
            program.write_text(f"#!/bin/sh\necho '{answer}'\n")
            program.chmod(0o755)
        found = self.check("cluster_detect", "cluster", "detect", env={"PATH": f"{self.folder}:{os.environ['PATH']}"})
        self.assertEqual(faults(schema_of("cluster"), yaml.load(found["draft"], Core)), [])


if __name__ == "__main__":
    main()
