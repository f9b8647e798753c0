"""Trainings of the native engine as the daemon hands them out: from a matrix and a data set to what a worker is asked. The worker here is a few
lines that say what they were asked and make nothing but folders.

Called as: training_test.py ORCHD ORCH_WORKER ROOT."""

import json
import pathlib
import shutil
import sys
import tempfile

import daemon
from daemon import ROOT, Daemon, DaemonTest, eventually, main

SMALL = ROOT / "examples" / "small"

# Gives a training back the first time, and has an adapter the second; evaluates nothing.
WORKER = r"""
import http.client, json, os, pathlib, socket, sys
if int(os.environ.get("OMPI_COMM_WORLD_RANK", "0")) > 0: sys.exit(0)
job = json.loads(pathlib.Path(sys.argv[sys.argv.index("--job") + 1]).read_text())
folder = pathlib.Path(sys.argv[sys.argv.index("--job") + 1]).parent
token = (folder / "token").read_text().strip()
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(json.loads(pathlib.Path(job["endpoint"]).read_text())["socket"])
def say(verb, message):
    connection = Connection("orchd", timeout=60)
    connection.request("POST", f"/v1/jobs/{job['job']}/{verb}", body=json.dumps(message), headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200: sys.exit(f"{verb}: {answer.status} {content}")
    return json.loads(content)
epoch = say("claim", {"protocol": 1, "cluster_id": os.environ["SLURM_JOB_ID"], "restarts": 0, "copy": "c", "nodes": ["n"]})["epoch"]
while True:
    given = say("lease", {"epoch": epoch, "time_left": 3600, "most": 1, "loaded": [], "held": []})
    if given["nothing_left"] or given["drain"]: break
    for leased in given["leased"]:
        with open(pathlib.Path(__file__).resolve().parent / "leases", "a") as log:
            log.write(json.dumps({**leased, "job": job["job"]}) + "\n")
        ask = leased.get("ask") or {}
        item = {"cell": leased["cell"], "chunk": leased["chunk"], "ticket": leased["ticket"], "generation": leased["generation"],
                "metrics": "", "figures": "", "cause": "", "reason": "", "seconds": 1, "gpu_seconds": 1}
        if ask.get("rows") and not ask["before"]:
            item["what"] = "returned"
        elif ask.get("rows"):
            (folder / leased["folder"] / "adapter").mkdir(parents=True)
            item.update(what="done", metrics=json.dumps({"loss": {"value": 1.5, "stderr": None}}), figures=json.dumps({"seconds": 40}))
        else:
            item.update(what="failed", cause="bad_input", reason="this worker evaluates nothing")
        say("deliver", {"epoch": epoch, "items": [item]})
say("exit", {"epoch": epoch, "end": "done", "reason": ""})
"""

MATRIX = {
    "name": "tune-and-compare", "models": ["constant"], "settings": {"dtype": "fp32"},
    "stages": {
        "base": {"tasks": ["recall"]},
        "tune": {"kind": "train", "tasks": ["sft_instruct"], "settings": {"rank": 8, "micro_batch": 1}},
        "tuned": {"adapter": "tune", "tasks": ["recall"]}}}
ROWS = [{"instruction": f"Say {n}.", "output": str(n)} for n in range(40)]


class TrainingDaemon(Daemon):
    CLUSTER = ("--cluster", "local", "--gpus", "4")


class Training(DaemonTest):
    DAEMON = TrainingDaemon

    def setUp(self):
        self.beside = pathlib.Path(tempfile.mkdtemp(prefix="orchw-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.beside, ignore_errors=True)
        worker = self.beside / "worker"
        worker.write_text(f"#!{sys.executable}\n{WORKER}")
        worker.chmod(0o755)
        daemon.WORKER = worker
        super().setUp()
        self.data = self.daemon.state / "data"
        self.data.mkdir(exist_ok=True)
        for name in ("recall.jsonl", "recall.yaml"):
            shutil.copy(SMALL / name, self.data)
        self.rows(ROWS)

    def rows(self, rows):
        (self.data / "sft_instruct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def ask(self, matrix=None):
        catalog = (SMALL / "catalog.yaml").read_text().replace("ROOT", str(self.folder / "models"))
        return self.daemon.call("POST", "/v1/sweeps", {"matrix": json.dumps(matrix or MATRIX), "file": "test.yaml",
                                                       "catalogs": [{"file": "small.yaml", "text": catalog}]})

    def submit(self):
        status, body = self.ask()
        self.assertEqual(status, 201, body)
        return body["sweep"]

    def leases(self):
        log = self.beside / "leases"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def test_goes_on_where_it_was_given_back_and_its_adapter_is_evaluated(self):
        sweep = self.submit()
        self.assertEqual(self.daemon.wait(sweep)["state"], "failed", "its evaluations are failed by the worker")
        trainings = [lease for lease in self.leases() if lease["ask"]["rows"]]
        self.assertEqual(len(trainings), 2)
        first, second = (lease["ask"] for lease in trainings)
        self.assertEqual(first["rows"], "instruction")
        self.assertEqual(first["data"], str(self.data / "sft_instruct.jsonl"))
        self.assertRegex(first["digest"], "^sha256:[0-9a-f]{64}$")
        settings = json.loads(first["settings"])
        self.assertEqual((settings["rank"], settings["micro_batch"], settings["epochs"]), (8, 1, 1))
        self.assertEqual((first["copies"], first["pipeline"], first["chunks"], first["adapter"]), (1, 1, 1, ""))
        self.assertEqual(first["before"], [])
        folders = [f"{lease['job']}/{lease['folder']}" for lease in trainings]
        self.assertEqual(second["before"], folders[:1])
        self.assertEqual(trainings[1]["attempt"], 1, "what is given back is no failure")

        evaluations = {lease["ask"]["adapter"]: lease["ask"] for lease in self.leases() if not lease["ask"]["rows"]}
        self.assertEqual(set(evaluations), {"", folders[1]})
        self.assertEqual(evaluations[""]["loads"], evaluations[folders[1]]["loads"], "one model in memory serves both")
        self.assertNotEqual(evaluations[""]["loads"], first["loads"])
        for ask in evaluations.values():
            self.assertEqual(ask["data"], str(self.data), "the folder of questions")
        trained = next(row for row in self.daemon.results(sweep) if row["task"] == "sft_instruct")
        self.assertEqual(trained["metrics"]["loss"]["value"], 1.5)
        self.assertEqual(trained["state"], "done")

    def test_the_adapter_of_a_training_that_is_done_is_found_after_a_restart_too(self):
        self.daemon.wait(self.submit())
        self.daemon.kill()
        self.daemon.start()
        again = {**MATRIX, "name": "again", "settings": {"dtype": "fp32", "seed": 0},
                 "stages": {**MATRIX["stages"], "tuned": {"adapter": "tune", "tasks": ["recall"], "settings": {"limit": 3}}}}
        status, body = self.ask(again)
        self.assertEqual(status, 201, body)
        self.daemon.wait(body["sweep"])
        trained = [f"{lease['job']}/{lease['folder']}" for lease in self.leases() if lease["ask"]["rows"]]
        self.assertEqual(len(trained), 2, "what is done is not done again")
        last = [lease["ask"] for lease in self.leases() if lease["ask"]["limit"] == 3]
        self.assertEqual([ask["adapter"] for ask in last], [trained[1]])

    def test_other_rows_are_another_training(self):
        first = self.submit()
        self.rows(ROWS[:20])
        second = self.submit()
        keys = [{row["key"] for row in self.daemon.results(sweep) if row["task"] == "sft_instruct"} for sweep in (first, second)]
        self.assertEqual([len(each) for each in keys], [1, 1])
        self.assertNotEqual(*keys)
        self.rows(ROWS)
        self.assertEqual({row["key"] for row in self.daemon.results(self.submit()) if row["task"] == "sft_instruct"}, keys[0])

    def test_bad_rows_are_refused_with_file_and_line_before_anything_starts(self):
        self.rows([*ROWS[:2], {"instruction": "and no output"}, ROWS[3], {"output": 7}])
        status, body = self.ask()
        self.assertEqual(status, 422, body)
        said = json.dumps(body)
        for line in (3, 5):
            self.assertRegex(said, rf"sft_instruct\.jsonl\D{{1,20}}{line}\b")
        self.assertNotRegex(said, r"sft_instruct\.jsonl\D{1,20}[124]\b")
        self.assertEqual(self.daemon.get("/v1/jobs"), [])

    def test_data_that_is_not_there_is_said(self):
        (self.data / "sft_instruct.jsonl").unlink()
        status, body = self.ask({"name": "m", "kind": "train", "models": ["constant"], "tasks": ["sft_instruct"]})
        self.assertEqual(status, 422, body)
        self.assertIn(f"the data of task 'sft_instruct' is not there: {self.data}/sft_instruct.jsonl, ", json.dumps(body))


if __name__ == "__main__":
    main()
