"""daemon_test.py ORCHCTL ROOT STORE_MAKER: the commands that ask the daemon, against a fake one and with none."""

import csv
import io
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from fake_daemon import Each, FakeDaemon, error, result, status, sweep, write_endpoint
from program import ORCHCTL, ROOT, main, orchctl
from schemas_test import faults, output_schema, schema_of, validator

STORE_MAKER = pathlib.Path(sys.argv[3]).resolve()
UTC = {"TZ": "UTC0"}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.state = self.folder / "state"

    def run_with(self, answers, *arguments, env=None):
        with FakeDaemon(self.state, answers) as self.fake:
            return orchctl(*arguments, "--state", self.state, env=dict(UTC, **(env or {})))

    def matrix(self):
        file = self.folder / "matrix.yaml"
        file.write_text("name: core\nmodels: [llama2_70b]\ntasks: [mmlu]\n")
        return file


class Looking(Case):
    def test_status_is_the_daemons_json(self):
        answer = status(sweep("running", done=1, running=2))
        ended = self.run_with({"GET /v1/status": answer}, "status", "--json")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual(ended.json, answer)

    def test_status_of_one_sweep_asks_for_it_with_its_name_encoded(self):
        ended = self.run_with({"GET /v1/status": status(sweep("done", done=4))}, "status", "a b&c")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual(self.fake.sent[0].target, "/v1/status?sweep=a%20b%26c")
        self.assertIn("The daemon is up since 2026-11-21 17:00 on here", ended.out)
        self.assertIn("s1     core  done", ended.out)

    def test_an_unknown_sweep_is_bad_input_in_the_daemons_words(self):
        ended = self.run_with({"GET /v1/status": error(404, "no sweep 's9'; the newest is s3")}, "status", "s9")
        self.assertEqual(ended.code, 2, ended)
        self.assertEqual(ended.err, "orchctl: no sweep 's9'; the newest is s3\n")

    def test_other_refusals_fail(self):
        for code in (403, 409, 500):
            ended = self.run_with({"GET /v1/status": error(code, "not so")}, "status")
            self.assertEqual((ended.code, ended.err), (1, "orchctl: not so\n"), ended)

    def test_watching_a_sweep_ends_with_it_and_says_how(self):
        for state, code in (("done", 0), ("failed", 3), ("cancelled", 1)):
            ended = self.run_with({"GET /v1/status": status(sweep(state, done=4))}, "status", "s1", "--watch")
            self.assertEqual(ended.code, code, ended)
        self.assertEqual(self.run_with({}, "status", "--watch", "--json").code, 2)

    def test_cells_are_chosen_by_their_state(self):
        cells = [{"key": "ab" * 32, "cell": "c0", "model": "a", "task": "x", "state": "failed", "score": 0.5, "attempts": 2,
                  "reason": "exit code 1", "job": None}]
        ended = self.run_with({"GET /v1/sweeps/s1/cells?state=failed": cells}, "cells", "s1", "--only", "failed")
        self.assertEqual(ended.code, 0, ended)
        self.assertIn("abababababab  a      x     failed", ended.out)
        ended = self.run_with({"GET /v1/sweeps/s1/cells": cells}, "cells", "s1", "--json")
        self.assertEqual(ended.json, cells)
        ended = orchctl("cells", "s1", "--state", "failed", cwd=self.folder)
        self.assertEqual(ended.code, 2, ended)
        self.assertIn("--only failed", ended.err)

    def test_results_come_in_four_formats(self):
        rows = [result("a", "x", {"acc": {"value": 0.5, "stderr": 0.01}}), result("b", "x", {}, "failed")]
        answers = {"GET /v1/sweeps/core/results": rows}
        self.assertEqual(self.run_with(answers, "results", "core", "--json").json, rows)
        self.assertEqual(self.run_with(answers, "results", "core", "--format", "json").json, rows)
        self.assertEqual(self.run_with(answers, "results", "core").out,
                         "  model              x\n  a      0.500 ± 0.010\n  b             failed\n")
        self.assertEqual(self.run_with(answers, "results", "core", "--format", "md").out,
                         "| model | x |\n| --- | ---: |\n| a | 0.500 ± 0.010 |\n| b | failed |\n")
        lines = list(csv.DictReader(io.StringIO(self.run_with(answers, "results", "core", "-f", "csv").out)))
        self.assertEqual([(line["model"], line["metric"], line["value"], line["state"]) for line in lines],
                         [("a", "acc", "0.5", "done"), ("b", "", "", "failed")])

    def test_curves_of_a_sweep_are_those_of_its_cells_that_train(self):
        def curve(key, rate):
            return {"key": key, "cell": "c1", "model": "<m>", "task": "t", "state": "done", "settings": {"rate": rate}, "file": "/f",
                    "read": 2, "thinned": False, "whole": True,
                    "points": [{"step": 1, "steps": 2, "loss": 2, "rate": rate}, {"step": 2, "steps": 2, "loss": 1, "held_out": {"loss": 3}}]}

        first, second = "cd" * 32, "ef" * 32
        rows = [dict(result("m", "x", {}), kind="eval"), dict(result("m", "t", {}), kind="train", key=first),
                dict(result("m", "t", {}), kind="train", key=second)]
        answers = {"GET /v1/sweeps/core/results": rows, f"GET /v1/cells/{first}/curve": curve(first, 0.5),
                   f"GET /v1/cells/{second}/curve": curve(second, 0.25)}
        ended = self.run_with(answers, "results", "core", "--curves", "--json")
        self.assertEqual(ended.json, [curve(first, 0.5), curve(second, 0.25)])
        self.assertEqual(faults(output_schema("curves"), ended.json), [])
        self.assertEqual(self.run_with(answers, "results", "core", "--curves").out,
                         "  cell          model  task  rate  state    step  loss  held-out loss  rate  norm  tokens/s  memory\n"
                         "  cdcdcdcdcdcd  <m>    t     0.5   done   2 of 2     1              3   0.5\n"
                         "  efefefefefef  <m>    t     0.25  done   2 of 2     1              3  0.25\n")
        ended = self.run_with(answers, "results", "--curve", first, "-f", "csv")
        lines = [(line["key"], line["step"], line["figure"], line["value"]) for line in csv.DictReader(io.StringIO(ended.out))]
        self.assertEqual(lines, [(first, "1", "loss", "2"), (first, "1", "rate", "0.5"), (first, "2", "loss", "1"),
                                 (first, "2", "held_out_loss", "3")])

        # A drawing is XML that another reader takes, and so is what stands in the page.
        file = self.folder / "curves.svg"
        file.write_text("an older drawing")
        ended = self.run_with(answers, "results", "core", "--curves", "--format", "svg", "--output", file)
        self.assertEqual((ended.code, ended.out, ended.err), (0, "", ""))
        svg = "{http://www.w3.org/2000/svg}"
        drawn = xml.etree.ElementTree.fromstring(file.read_text())
        texts = [text.text for text in drawn.iter(f"{svg}text")]
        for text in ("Trainings of core", "loss", "learning rate", "cdcdcdcdcdcd  <m>/t  rate=0.5"):
            self.assertIn(text, texts)
        self.assertEqual({each.tag for each in drawn.iter()},
                         {svg + name for name in ("svg", "title", "rect", "text", "line", "polyline", "circle")})
        page = self.run_with(answers, "results", "core", "--curves", "-f", "html").out
        self.assertIn("<td>&lt;m&gt;</td>", page)
        xml.etree.ElementTree.fromstring(page.replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', ""))

        self.assertEqual(self.run_with({"GET /v1/sweeps/core/results": rows[:1]}, "results", "core", "--curves").err,
                         "orchctl: no cell of the sweep core trains\n")
        for change, what in (({"points": []}, "has no curve: it does not train"), ({"whole": False}, "its last steps are missing")):
            ended = self.run_with({f"GET /v1/cells/{first}/curve": {**curve(first, 1), **change}}, "results", "--curve", first)
            self.assertEqual(ended.code, 0, ended)
            self.assertTrue(ended.err.startswith("orchctl: cell cdcdcdcdcdcd has "), ended)
            self.assertIn(what, ended.err)
        for arguments, what in ((("results",), "which sweep?"), (("results", "core", "--curve", first), "--curve names the one cell"),
                                (("results", "core", "-f", "svg"), "svg is for curves"),
                                (("results", "core", "--curves", "-f", "md"), "not as md"),
                                (("results", "core", "-o", self.folder / "none" / "x"), "cannot write")):
            ended = self.run_with(answers, *arguments)
            self.assertEqual((ended.code, ended.out), (2, ""), arguments)
            self.assertIn(what, ended.err)

    def test_status_shows_the_trainings_that_run(self):
        answer = dict(status(), trainings=[{"cell": "c1", "key": "ab" * 32, "model": "m", "task": "t", "job": "j1",
                                            "live": {"step": 3, "steps": 9, "loss": 1.5}}])
        self.assertEqual(faults(output_schema("status"), answer), [])
        ended = self.run_with({"GET /v1/status": answer}, "status")
        self.assertIn("  abababababab  m      t     j1   3 of 9   1.5", ended.out)

    def test_diff_fails_on_a_regression_only_when_told_to(self):
        def of(value, name):
            return [result("a", "x", {"acc": {"value": value, "stderr": 0.01}}, sweep=name)]

        answers = {"GET /v1/sweeps/old/results": of(0.5, "s1"), "GET /v1/sweeps/new/results": of(0.4, "s2")}
        worse = self.run_with(answers, "diff", "old", "new", "--json")
        self.assertEqual(worse.code, 0, worse)
        self.assertEqual((worse.json["a"], worse.json["b"], worse.json["regression"]), ("s1", "s2", 1))
        self.assertEqual(self.run_with(answers, "diff", "old", "new", "--fail-on-regression").code, 1)
        self.assertEqual(self.run_with(answers, "diff", "new", "old", "--fail-on-regression").code, 0)
        # 0.1 is 7.07 times the error of the difference of two numbers with 0.01 each.
        for errors, code in (("7", 1), ("7.2", 0)):
            self.assertEqual(self.run_with(answers, "diff", "old", "new", "--fail-on-regression", "--errors", errors).code, code)
        for errors in ("-1", "many", "101", "nan"):
            self.assertEqual(self.run_with(answers, "diff", "old", "new", "--errors", errors).code, 2, errors)

    def test_explain_tells_ids_from_models_and_files(self):
        cell = {"key": "ab" * 32, "cell": "c0", "model": "a", "task": "x", "state": "waiting", "why": "it is the next",
                "score": 1}
        ended = self.run_with({"GET /v1/cells/ababab": cell}, "explain", "ababab")
        self.assertEqual(ended.code, 0, ended)
        self.assertIn("cell abababababab (a/x) is waiting: it is the next.\n", ended.out)
        job = {"id": "j7", "state": "queued", "reason": "PENDING"}
        self.assertIn("job j7 is queued: PENDING\n", self.run_with({"GET /v1/jobs/j7": job}, "explain", "j7").out)
        answers = {"GET /v1/status": status(sweep("failed", done=3, failed=1)),
                   "GET /v1/sweeps/s1/cells": [{"key": "cd" * 32, "state": "failed", "reason": "exit code 1"}]}
        ended = self.run_with(answers, "explain", "s1")
        self.assertIn("sweep s1 core is failed: 3 of 4 cells done, 1 failed.\n", ended.out)
        self.assertIn("cdcdcdcdcdcd  exit code 1", ended.out)
        answers["GET /v1/sweeps/s1/cells"].append({"key": "ab" * 32, "state": "waiting", "reason": ""})
        answers["GET /v1/cells/" + "ab" * 32] = {**cell, "model": "", "task": "", "why": "the budget is used up"}
        answers["GET /v1/sweeps/s1/cells"].append({"key": "ef" * 32, "state": "waiting", "reason": ""})
        self.assertIn("2  waiting  abababababab  the budget is used up", self.run_with(answers, "explain", "s1").out)
        ended = self.run_with(answers, "explain", "ab" * 32)
        self.assertIn("cell abababababab is waiting: the budget is used up.\n", ended.out)
        self.assertIn("memory", orchctl("explain", "llama2_70b").out)
        self.assertEqual(self.run_with(answers, "explain", "s1", "j1").code, 2)
        for no_id in ("core", "z" * 300):  # the second is too long for a file's name
            ended = self.run_with(answers, "explain", no_id)
            self.assertEqual(ended.code, 2, ended)
            self.assertIn("a sweep is named by its id", ended.err)

    def test_a_number_is_a_slurm_job_before_it_is_a_key(self):
        job = {"id": "j7", "state": "running", "slurm_job_id": "123456"}
        self.assertIn("job j7", self.run_with({"GET /v1/jobs/123456": job}, "explain", "123456").out)
        cell = {"key": "123456" + "0" * 58, "state": "done", "why": "it is done", "model": "a", "task": "x"}
        answers = {"GET /v1/jobs/123456": error(404, "no job '123456'"), "GET /v1/cells/123456": cell}
        self.assertIn("cell 123456000000", self.run_with(answers, "explain", "123456").out)


class Histories(Case):
    def test_events_are_read_to_their_end(self):
        def event(number):
            return {"number": number, "at": "2026-11-21T17:00:05Z", "kind": "job.ended", "sweep": None, "cell": None,
                    "job": "j1", "text": f"text {number}"}

        answers = {"GET /v1/events?after=5&most=1000": [event(n) for n in range(6, 1006)],
                   "GET /v1/events?after=1005&most=1000": [event(1006)]}
        ended = self.run_with(answers, "events", "--after", "5", "--json")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual([e["number"] for e in ended.json], list(range(6, 1007)))
        ended = self.run_with({"GET /v1/events": [event(1)]}, "events")
        self.assertEqual(ended.out, "2026-11-21 17:00:05  job.ended  j1  text 1\n")

    def test_following_goes_on_after_the_last_event_when_the_stream_breaks(self):
        def sse(number):
            data = {"number": number, "at": "2026-11-21T17:00:05Z", "kind": "k", "text": f"text {number}"}
            return f"id: {number}\nevent: k\ndata: {json.dumps(data)}\n\n"

        answers = {"GET /v1/events?after=0": sse(1) + sse(2), "GET /v1/events?after=2": sse(3),
                   "GET /v1/events?after=3": error(409, "enough")}
        ended = self.run_with(answers, "events", "--follow", "--json")
        self.assertEqual([json.loads(line)["number"] for line in ended.out.splitlines()], [1, 2, 3], ended)
        self.assertEqual((ended.code, ended.err), (1, "orchctl: enough\n"))
        self.assertEqual(self.fake.sent[0].headers["Accept"], "text/event-stream")

    def test_a_log_is_read_piece_by_piece(self):
        def piece(offset, text, more, over=False):
            return {"file": "/log", "offset": offset, "size": 6, "text": text, "more": more, "over": over}

        answers = {"GET /v1/logs/j1?offset=0&most=1048576": piece(0, "abc", True),
                   "GET /v1/logs/j1?offset=3&most=1048576": piece(3, "déf"[:2], False)}
        self.assertEqual(self.run_with(answers, "logs", "j1").out, "abcdé")
        whole = self.run_with(answers, "logs", "j1", "--json").json
        self.assertEqual((whole["offset"], whole["text"]), (0, "abcdé"))

    def test_following_a_log_ends_when_nothing_more_comes(self):
        def piece(offset, text, over):
            return {"file": "/log", "offset": offset, "size": 9, "text": text, "more": False, "over": over}

        answers = {"GET /v1/logs/c1?offset=0&most=1048576": piece(0, "one ", False),
                   "GET /v1/logs/c1?offset=4&most=1048576": Each(piece(4, "", False), piece(4, "two", True))}
        ended = self.run_with(answers, "logs", "c1", "--follow")
        self.assertEqual((ended.code, ended.out), (0, "one two"), ended)


class Orders(Case):
    def test_go_to_what_they_name(self):
        cases = [
            (("cancel", "s1"), "/v1/sweeps/s1/cancel", {"sweep": "s1", "cells": 3}, "sweep s1 is cancelled, 3 cells with it; what is done stays\n"),
            (("cancel", "j7"), "/v1/jobs/j7/cancel", {"job": "j7"}, "job j7 is being cancelled; its cells go back to the queue\n"),
            (("retry", "core"), "/v1/sweeps/core/retry", {"sweep": "s3", "cells": 1}, "sweep s3: 1 cell is tried again\n"),
            (("retry", "core"), "/v1/sweeps/core/retry", {"sweep": "s3", "cells": 0}, "sweep s3: nothing failed, so nothing is tried again\n"),
            (("hold", "s1"), "/v1/sweeps/s1/hold", {"sweep": "s1", "cells": 3}, "sweep s1 is held: its cells wait, what runs goes on\n"),
            (("release", "s1"), "/v1/sweeps/s1/release", {"sweep": "s1", "cells": 3}, "sweep s1 is released\n"),
            (("hold", "--model", "a/b"), "/v1/models/a%2Fb/hold", {"model": "a/b", "held": True, "cells": 2},
             "model a/b is held: its 2 cells that are not over wait, what runs goes on\n"),
            (("hold", "--model", "nosuch"), "/v1/models/nosuch/hold", {"model": "nosuch", "held": True, "cells": 0},
             "model nosuch is held; no sweep has a cell of it that is not over\n"),
            (("release", "--model", "m"), "/v1/models/m/release", {"model": "m", "held": False, "cells": 1}, "model m is released\n"),
        ]
        for arguments, target, answer, said in cases:
            with self.subTest(arguments=arguments):
                ended = self.run_with({f"POST {target}": answer}, *arguments)
                self.assertEqual((ended.code, ended.out), (0, said), ended)
                self.assertEqual(self.run_with({f"POST {target}": answer}, *arguments, "--json").json, answer)

    def test_hold_takes_a_sweep_or_a_model(self):
        self.assertEqual(self.run_with({}, "hold").code, 2)
        self.assertEqual(self.run_with({}, "release", "s1", "--model", "m").code, 2)
        self.assertEqual(self.fake.sent, [])

    def test_backup_names_the_file_by_its_whole_path(self):
        with FakeDaemon(self.state, {"POST /v1/backup": {"file": "/x", "bytes": 2097152}}) as fake:
            ended = orchctl("backup", "b.db", "--state", self.state, cwd=self.folder)
        self.assertEqual((ended.code, ended.out), (0, "/x: 2 MiB\n"), ended)
        self.assertEqual(fake.sent[0].body, {"file": str(self.folder.resolve() / "b.db")})

    def test_policy_set_checks_the_file_and_sends_its_text(self):
        text = (ROOT / "policies" / "default.yaml").read_text().replace("name: default", "name: mine")
        file = self.folder / "policy.yaml"
        file.write_text(text)
        ended = self.run_with({"PUT /v1/policy": {"name": "mine", "changes": []}}, "policy", "set", file)
        self.assertEqual((ended.code, ended.out), (0, "The daemon goes by the policy 'mine' from now on.\n"), ended)
        self.assertEqual(self.fake.sent[0].body, {"file": str(file), "text": text})
        file.write_text("weigths: {}\n" + text)
        ended = self.run_with({}, "policy", "set", file)
        self.assertEqual(ended.code, 2, ended)
        self.assertIn(f"{file}:1:1: ", ended.err)
        self.assertEqual(self.fake.sent, [])


SUBMITTED = {"sweep": "s1", "name": "core", "cells": 4, "reused": 1, "rejected": 2, "notes": ["a note"]}


class Submitting(Case):
    def test_sends_the_matrix_and_the_sites_catalogs(self):
        folder = self.folder / "catalogs"
        folder.mkdir()
        (folder / "b.yaml").write_text("models: {}\n")
        (folder / ".hidden.yaml").write_text("no: 1\n")
        other = self.folder / "other.yaml"
        other.write_text("tasks: {}\n")
        matrix = self.matrix()
        ended = self.run_with({"POST /v1/sweeps": (201, SUBMITTED)}, "submit-matrix", matrix, "--name", "n", "--fresh",
                              "--catalog", other, "--json", env={"ORCH_CATALOG": str(folder)})
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual(ended.json, SUBMITTED)
        (sent,) = self.fake.sent
        self.assertEqual(sent.body, {"matrix": matrix.read_text(), "file": str(matrix), "name": "n", "fresh": True,
                                     "catalogs": [{"file": str(folder / "b.yaml"), "text": "models: {}\n"},
                                                  {"file": str(other), "text": "tasks: {}\n"}]})
        self.assertRegex(sent.headers["Idempotency-Key"], "^[0-9a-f]{32}$")

    def test_says_what_became_of_it(self):
        ended = self.run_with({"POST /v1/sweeps": (201, SUBMITTED)}, "submit-matrix", self.matrix())
        self.assertEqual(ended.code, 0, ended)
        self.assertIn("s1 core: 4 cells, 1 done already, 2 rejected", ended.out)
        self.assertIn("a note", ended.err)

    def test_problems_have_their_places(self):
        problems = [{"file": "m.yaml", "line": 3, "column": 10, "what": "no model 'x'"}]
        ended = self.run_with({"POST /v1/sweeps": error(422, "the file has problems", problems)}, "submit-matrix", self.matrix())
        self.assertEqual((ended.code, ended.err), (2, "m.yaml:3:10: no model 'x'\n"), ended)

    def test_a_lost_answer_is_asked_for_again_under_the_same_key(self):
        ended = self.run_with({"POST /v1/sweeps": Each("hang up", (201, SUBMITTED))}, "submit-matrix", self.matrix(), "--json")
        self.assertEqual(ended.code, 0, ended)
        first, second = self.fake.sent
        self.assertEqual(first.headers["Idempotency-Key"], second.headers["Idempotency-Key"])

    def test_waiting_ends_with_the_table_and_the_sweeps_own_exit_code(self):
        rows = [result("a", "x", {"acc": {"value": 0.5, "stderr": None}})]
        for state, code in (("done", 0), ("failed", 3), ("cancelled", 1)):
            with self.subTest(state=state):
                answers = {"POST /v1/sweeps": (201, SUBMITTED),
                           "GET /v1/status": Each(status(sweep("running", done=1, running=2)), status(sweep(state, done=3, failed=1))),
                           "GET /v1/sweeps/s1/results": rows}
                ended = self.run_with(answers, "submit-matrix", self.matrix(), "--wait")
                self.assertEqual(ended.code, code, ended)
                self.assertIn("s1: 25 %, 1 of 4 cells done, 2 running, about 1 min left\n", ended.err)
                self.assertIn("  model    x\n  a      0.5\n", ended.out)
                self.assertIn(f"s1 is {state}: 3 of 4 cells done, 1 failed, 1.5 GPU-hours.\n", ended.out)

    def test_waiting_outlives_a_daemon_that_is_away(self):
        answers = {"POST /v1/sweeps": (201, SUBMITTED),
                   "GET /v1/status": Each("hang up", error(503, "busy"), status(sweep("done", done=4)))}
        ended = self.run_with(answers, "submit-matrix", self.matrix(), "--wait", "--json")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual((ended.json["sweep"], ended.json["state"], ended.json["ended"]["cells"]["done"]), ("s1", "done", 4))

    def test_progress_on_a_terminal_is_one_line_that_changes(self):
        answers = {"POST /v1/sweeps": (201, SUBMITTED),
                   "GET /v1/status": Each(status(sweep("running", done=1, running=2)), status(sweep("running", done=2, running=2)),
                                          status(sweep("done", done=4))),
                   "GET /v1/sweeps/s1/results": []}
        with FakeDaemon(self.state, answers):
            reader, writer = pty.openpty()
            environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
            done = subprocess.run([ORCHCTL, "submit-matrix", str(self.matrix()), "--wait", "--state", str(self.state)],
                                  stdout=subprocess.PIPE, stderr=writer, stdin=subprocess.DEVNULL, env=environment, timeout=60)
            os.close(writer)
            shown = os.read(reader, 100000).decode()
            os.close(reader)
        self.assertEqual(done.returncode, 0)
        self.assertIn("\r\x1b[Ks1: 25 %, 1 of 4 cells done", shown)
        self.assertIn("\r\x1b[Ks1: 50 %, 2 of 4 cells done", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"), repr(shown))

    def test_control_c_ends_the_wait_and_not_the_sweep(self):
        answers = {"POST /v1/sweeps": (201, SUBMITTED), "GET /v1/status": status(sweep("running", done=1, running=2))}
        with FakeDaemon(self.state, answers) as fake:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
            with subprocess.Popen([ORCHCTL, "submit-matrix", str(self.matrix()), "--wait", "--state", str(self.state)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True) as waiting:
                self.assertIn("1 of 4 cells done", next(line for line in waiting.stderr if line != "a note\n"))
                waiting.send_signal(signal.SIGINT)
                err = waiting.communicate(timeout=60)[1]
        self.assertEqual(waiting.returncode, 130, err)
        self.assertTrue(err.endswith("orchctl: sweep s1 goes on without this (orchctl status s1; orchctl cancel s1 ends it)\n"), err)
        self.assertNotIn("cancel", " ".join(sent.target for sent in fake.sent))

    def test_a_dry_run_plans_by_the_daemons_policy_and_cluster_and_submits_nothing(self):
        self.state.mkdir()
        (self.state / "cluster.yaml").write_text((ROOT / "policies" / "clusters" / "h100x8.yaml").read_text().replace("name: ", "name: my-"))
        policy = (ROOT / "policies" / "default.yaml").read_text().replace("name: default", "name: live")
        ended = self.run_with({"GET /v1/policy": {"name": "live", "text": policy}}, "submit-matrix", self.matrix(), "--dry-run", "--json")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual(ended.json["policy"], "live")
        self.assertTrue(ended.json["cluster"].startswith("my-"), ended.json["cluster"])
        self.assertEqual([sent.method for sent in self.fake.sent], ["GET"])

    def test_a_dry_run_needs_no_daemon(self):
        ended = orchctl("submit-matrix", self.matrix(), "--dry-run", "--json", "--state", self.state)
        self.assertEqual((ended.code, ended.json["policy"]), (0, "default"), ended)

    def test_refuses_what_makes_no_sense(self):
        self.assertEqual(orchctl("submit-matrix", self.matrix(), "--dry-run", "--wait").code, 2)
        self.assertEqual(orchctl("submit-matrix", self.matrix(), "--policy", "fastest").code, 2)
        ended = self.run_with({}, "submit-matrix", self.folder / "none.yaml")
        self.assertEqual(ended.code, 2, ended)
        self.assertEqual(self.fake.sent, [])


ASKING = [("status",), ("jobs",), ("cells", "s1"), ("results", "s1"), ("diff", "s1", "s2"), ("explain", "s1"), ("explain", "j1"),
          ("explain", "c1"), ("logs", "j1"), ("events",), ("events", "--follow"), ("cancel", "s1"), ("retry", "s1"),
          ("hold", "s1"), ("release", "--model", "m"), ("backup", "b.db"), ("policy", "set", "default")]


class Nobody(Case):
    def test_is_exit_4_and_says_what_to_do(self):
        for arguments in ASKING:
            with self.subTest(arguments=arguments):
                ended = orchctl(*arguments, "--state", self.state)
                self.assertEqual(ended.code, 4, ended)
                self.assertIn(f"no daemon runs with the state directory {self.state}; start it with: orchctl up", ended.err)
                self.assertEqual(ended.out, "")
        self.assertEqual(orchctl("submit-matrix", self.matrix(), "--state", self.state).code, 4)

    def test_behind_a_stale_endpoint_is_the_same(self):
        self.state.mkdir()
        write_endpoint(self.state)
        for arguments in ASKING:
            with self.subTest(arguments=arguments):
                ended = orchctl(*arguments, "--state", self.state)
                self.assertEqual(ended.code, 4, ended)
                self.assertIn("start it with: orchctl up", ended.err)

    def test_on_another_host_that_serves_there_alone_is_told(self):
        self.state.mkdir()
        write_endpoint(self.state, host="elsewhere")
        ended = orchctl("events", "--state", self.state)
        self.assertEqual(ended.code, 4, ended)
        self.assertIn("the daemon runs on elsewhere and serves on that host alone", ended.err)

    def test_the_state_directory_is_the_options_before_the_environments_before_the_usual(self):
        def asked(*arguments, **env):
            return orchctl("events", *arguments, env=env).err

        self.assertIn("/from/option;", asked("--state", "/from/option", ORCH_STATE="/from/environment"))
        self.assertIn("/from/environment;", asked(ORCH_STATE="/from/environment"))
        self.assertIn("/some/home/.local/state/orch;", asked(HOME="/some/home"))

    def test_an_answer_that_is_no_json_fails(self):
        ended = self.run_with({"GET /v1/status": "data: x\n\n"}, "status")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("not JSON", ended.err)


class Down(Case):
    """With no daemon, what only looks reads the store. The store is made by a program that commits a small history: sweep s1
    `core` of three cells, of which the first is done (acc 0.5), the second failed (no such file), the third waits."""

    def setUp(self):
        super().setUp()
        subprocess.run([STORE_MAKER, self.state], check=True)

    def look(self, *arguments):
        ended = orchctl(*arguments, "--state", self.state, env=UTC)
        self.assertEqual(ended.code, 0, ended)
        return ended

    def test_status_says_so(self):
        shown = self.look("status", "--json").json
        self.assertEqual((shown["daemon"]["state"], shown["daemon"]["since"]), ("down", None))
        self.assertEqual(shown["sweeps"][0]["cells"], {"total": 3, "waiting": 1, "running": 0, "done": 1, "failed": 1,
                                                      "rejected": 0, "cancelled": 0})
        self.assertTrue(self.look("status", "core").out.startswith("The daemon is down; this is what its store holds."))

    def test_results_cells_jobs_and_diff_are_read_from_it(self):
        results = self.look("results", "core", "--json")
        self.assertEqual([(r["task"], r["state"], r["reason"]) for r in results.json],
                         [("x", "done", ""), ("y", "failed", "no such file"), ("z", "waiting", "")])
        self.assertEqual(results.json[0]["metrics"], {"acc": {"value": 0.5, "stderr": 0.01}})
        self.assertIn("no daemon runs; this was read from its store", results.err)
        self.assertEqual([c["task"] for c in self.look("cells", "s1", "--only", "failed", "--json").json], ["y"])
        self.assertEqual(self.look("jobs", "--json").json[0]["id"], "j1")
        self.assertEqual(self.look("diff", "s1", "core", "--json").json["same"], 1)

    def test_explanations_are_read_from_it(self):
        key = self.look("results", "s1", "--json").json[1]["key"]
        cell = self.look("explain", key[:8], "--json").json
        self.assertEqual((cell["state"], cell["why"]), ("failed", "it failed after 1 attempt: no such file"))
        self.assertEqual(self.look("explain", "j1", "--json").json["sweep"], "s1")
        self.assertEqual(self.look("explain", "s1", "--json").json["reasons"][0]["reason"], "no such file")

    def test_all_that_is_printed_is_as_the_schema_says(self):
        for name, arguments in (("status", ("status",)), ("jobs", ("jobs",)), ("cells", ("cells", "s1")), ("results", ("results", "s1")),
                                ("sweep_diff", ("diff", "s1", "s1")), ("explain_sweep", ("explain", "s1")),
                                ("explain_running_job", ("explain", "j1")), ("explain_running_cell", ("explain", "c0")),
                                ("explain_running_cell", ("explain", "c1")), ("explain_running_cell", ("explain", "c2"))):
            with self.subTest(arguments=arguments):
                shown = self.look(*arguments, "--json").json
                self.assertEqual(faults(output_schema(name), shown), [])
                self.assertTrue(validator(schema_of("output")).is_valid(shown))

    def test_a_stale_endpoint_is_no_hindrance(self):
        write_endpoint(self.state)
        self.assertEqual(self.look("status", "--json").json["daemon"]["state"], "down")

    def test_the_store_may_lie_beside_the_socket(self):
        elsewhere = self.folder / "local-disk"
        self.state.rename(elsewhere)
        self.state.mkdir()
        write_endpoint(self.state, socket=str(elsewhere / "orchd.sock"))
        self.assertEqual(self.look("status", "--json").json["sweeps"][0]["name"], "core")

    def test_what_is_not_there_is_bad_input(self):
        for arguments, what in ((("results", "s9"), "no sweep 's9'; the newest is s1"),
                                (("status", "cor"), "no sweep 'cor'; did you mean 'core'?"),
                                (("explain", "j9"), "no job 'j9'; the newest is j1")):
            ended = orchctl(*arguments, "--state", self.state)
            self.assertEqual(ended.code, 2, ended)
            self.assertIn(what, ended.err)

    def test_curves_are_files_that_it_does_not_have(self):
        ended = orchctl("results", "--curve", "c0", "--state", self.state)
        self.assertEqual(ended.code, 4, ended)
        self.assertIn("curves are files that the daemon reads; start it with: orchctl up", ended.err)

    def test_orders_are_not_taken(self):
        self.assertEqual(orchctl("cancel", "s1", "--state", self.state).code, 4)
        self.assertEqual(orchctl("events", "--state", self.state).code, 4)

    def test_a_store_that_cannot_be_read_is_told(self):
        (self.state / "orch.db").write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)
        ended = orchctl("status", "--state", self.state)
        self.assertEqual(ended.code, 4, ended)
        self.assertIn("its store cannot be read either", ended.err)


if __name__ == "__main__":
    main()
