"""A sweep from its submission to its results: on programs that succeed, fail, hang, lie, and on people who change their mind."""

import json
import pathlib
import shutil
import signal

from daemon import ROOT, DaemonTest, eventually, main, number_of


class Sweep(DaemonTest):
    def test_runs_every_cell_once_and_keeps_what_it_measured(self):
        tasks = [f"t{i}" for i in range(12)]
        answer = self.daemon.submit(self.matrix("first", tasks))
        self.assertEqual((answer["cells"], answer["reused"], answer["rejected"]), (12, 0, 0))
        ended = self.daemon.wait(answer["sweep"])
        self.assertEqual(ended["state"], "done")
        self.assertEqual(ended["cells"], {"total": 12, "waiting": 0, "running": 0, "done": 12, "failed": 0, "rejected": 0, "cancelled": 0})
        results = self.daemon.results(answer["sweep"])
        self.assertEqual([r["task"] for r in results], tasks)
        for result in results:
            number = number_of(result["task"])
            self.assertEqual(result["metrics"], {"half": {"value": number / 2, "stderr": 0.25},
                                                 "number": {"value": number, "stderr": None}})
            self.assertEqual((result["state"], result["attempts"], len(result["key"])), ("done", 1, 64))
        self.assertCountEqual(self.runs(), tasks)

    def test_of_the_same_matrix_runs_nothing_again_unless_asked_to(self):
        matrix = self.matrix("twice", ["a", "b"])
        self.daemon.wait(self.daemon.submit(matrix)["sweep"])
        again = self.daemon.submit(matrix)
        self.assertEqual((again["sweep"], again["reused"]), ("s2", 2))
        self.assertEqual(self.daemon.wait("s2")["state"], "done")
        self.assertEqual(self.daemon.results("s1")[0]["metrics"], self.daemon.results("s2")[0]["metrics"])
        self.assertEqual(len(self.runs()), 2)
        fresh = self.daemon.submit(matrix, fresh=True)
        self.assertEqual(fresh["reused"], 0)
        self.daemon.wait("s3")
        self.assertCountEqual(self.runs(), ["a", "b", "a", "b"])

    def test_shows_the_curve_that_a_program_writes_while_it_runs_and_afterwards(self):
        self.addCleanup((self.folder / "go").touch)
        sweep = self.daemon.submit(self.matrix("curve", ["a", "b"], "curve=3", "wait=go"))["sweep"]
        (key, other) = [cell["key"] for cell in self.daemon.get(f"/v1/sweeps/{sweep}/cells")]
        points = [{"step": 1, "steps": 3, "loss": 1.0}, {"step": 2, "steps": 3, "loss": 0.5}, {"step": 3, "steps": 3, "loss": 1 / 3}]
        curve = eventually("a curve", lambda: (lambda it: it if it["points"] else None)(self.daemon.get(f"/v1/cells/{key}/curve")))
        self.assertEqual((curve["points"], curve["read"], curve["thinned"], curve["whole"]), (points, 3, False, True))
        self.assertEqual((curve["key"], curve["task"], curve["state"]), (key, "a", "running"))
        (self.folder / "go").touch()
        self.daemon.wait(sweep)
        done = self.daemon.get(f"/v1/cells/{key}/curve")
        self.assertEqual((done["state"], done["points"], done["file"]), ("done", points, curve["file"]))
        self.assertEqual(self.daemon.get(f"/v1/cells/{key[:8]}/curve?most=2")["points"], [points[0], points[2]])
        # An attempt that nobody accepted is not shown in place of the one that was.
        accepted = pathlib.Path(done["file"]).parent
        late = accepted.with_name(accepted.name.split("-")[0] + "-999999")
        late.mkdir()
        (late / "curve.jsonl").write_text('{"step": 7}\n')
        self.assertEqual(self.daemon.get(f"/v1/cells/{key}/curve")["file"], done["file"])
        # Files go, what was measured stays.
        pathlib.Path(self.daemon.get(f"/v1/cells/{other}/curve")["file"]).unlink()
        gone = self.daemon.get(f"/v1/cells/{other}/curve")
        self.assertEqual((gone["file"], gone["points"], gone["state"]), (None, [], "done"))
        self.assertEqual([row["kind"] for row in self.daemon.results(sweep)], ["command", "command"])

    def test_submitted_twice_under_one_key_is_one_sweep(self):
        body = {"matrix": self.matrix("once", ["a"]), "file": "x.yaml"}
        first = self.daemon.call("POST", "/v1/sweeps", body, {"Idempotency-Key": "k1"})
        second = self.daemon.call("POST", "/v1/sweeps", body, {"Idempotency-Key": "k1"})
        self.assertEqual(first[1]["sweep"], second[1]["sweep"])
        self.assertEqual(len(self.daemon.get("/v1/status")["sweeps"]), 1)

    def test_fails_with_the_last_words_of_the_program_and_can_be_retried(self):
        sweep = self.daemon.submit(self.matrix("bad", ["a"], "fail=no such data set"))["sweep"]
        ended = self.daemon.wait(sweep)
        self.assertEqual((ended["state"], ended["cells"]["failed"]), ("failed", 1))
        result = self.daemon.results(sweep)[0]
        self.assertEqual(result["state"], "failed")
        self.assertIn("the reason is no such data set", result["reason"])
        tried = len(self.runs())
        self.assertEqual(self.daemon.call("POST", f"/v1/sweeps/{sweep}/retry", {})[1]["cells"], 1)
        self.daemon.wait(sweep)
        self.assertGreater(len(self.runs()), tried)
        (noted,) = [e["text"] for e in self.daemon.get("/v1/events") if e["kind"] == "sweep.retried"]
        self.assertIn(" tries 1 cell of bad again", noted)

    def test_goes_by_a_new_policy_at_once_and_the_journal_says_what_it_changed(self):
        text = (ROOT / "policies" / "default.yaml").read_text()
        stricter = text.replace("per_user: {}", "per_user: {jobs: 3}")
        self.assertNotEqual(text, stricter)
        status, said = self.daemon.call("PUT", "/v1/policy", {"file": "stricter.yaml", "text": stricter})
        self.assertEqual((status, said["changes"], said["lowered"]),
                         (200, [{"key": "limits.per_user.jobs", "from": None, "to": 3}], []))
        (noted,) = [e["text"] for e in self.daemon.get("/v1/events") if e["kind"] == "policy.set" and "3" in e["text"]]
        self.assertIn("limits.per_user.jobs - → 3", noted)
        self.assertEqual(self.daemon.get("/v1/policy")["text"], stricter)

    def test_takes_no_lie_for_a_result(self):
        for name, text in {"text": "not JSON", "list": "[1]", "nothing": "{}", "infinite": '{"a": 1e999}', "word": '{"a": "b"}'}.items():
            with self.subTest(name):
                sweep = self.daemon.submit(self.matrix(name, [name], "raw=" + text.replace("{", "{{").replace("}", "}}")))["sweep"]
                self.assertEqual(self.daemon.wait(sweep)["state"], "failed")
                self.assertIn("the result", self.daemon.results(sweep)[0]["reason"])

    def test_stops_a_cell_at_its_time(self):
        sweep = self.daemon.submit(self.matrix("slow", ["a"], "wait=never", time="1s"))["sweep"]
        self.assertEqual(self.daemon.wait(sweep)["state"], "failed")
        self.assertIn("ran for more than", self.daemon.results(sweep)[0]["reason"])

    def test_cancelled_leaves_no_program_running(self):
        sweep = self.daemon.submit(self.matrix("long", ["a"], "wait=never"))["sweep"]
        eventually("a start", lambda: self.runs())
        self.assertEqual(self.daemon.call("POST", f"/v1/sweeps/{sweep}/cancel", {})[0], 200)
        self.assertEqual(self.daemon.wait(sweep)["state"], "cancelled")
        eventually("the job's end", lambda: all(j["state"] == "ended" for j in self.daemon.get("/v1/jobs")), 120)

    def test_held_waits_until_it_is_released(self):
        (self.folder / "go").touch()
        self.daemon.call("POST", "/v1/models/m/hold", {})
        sweep = self.daemon.submit(self.matrix("held", ["a"], "wait=go"))["sweep"]
        cell = self.daemon.get(f"/v1/sweeps/{sweep}/cells")[0]
        self.assertIn("held", self.daemon.get(f"/v1/cells/{cell['key']}")["why"])
        self.assertEqual(self.daemon.get("/v1/jobs"), [])
        self.daemon.call("POST", "/v1/models/m/release", {})
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")

    def test_of_a_cancelled_job_runs_its_cells_in_another(self):
        sweep = self.daemon.submit(self.matrix("moved", ["a"], "wait=go"))["sweep"]
        eventually("a start", lambda: self.runs())
        self.assertEqual(self.daemon.call("POST", "/v1/jobs/j1/cancel")[0], 200)
        (self.folder / "go").touch()
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")

    def test_learns_how_long_its_cells_take_and_remembers_it(self):
        def matrix(name, seeds):
            whole = json.loads(self.matrix(name, ["a"], "sleep=0.3", "wait=go-{seed}", time="10m"))
            return json.dumps(whole | {"settings": {"seed": seeds}})

        def check(sweep, left):
            cells = [c for c in self.daemon.get(f"/v1/sweeps/{sweep}/cells") if c["state"] != "done"]
            self.assertEqual(len(cells), left)
            for cell in cells:
                self.assertEqual(cell["expected_from"], "the median of 4 runs of the same work")
                self.assertTrue(0.3 <= cell["expected_s"] < 60, cell)
                explained = self.daemon.get(f"/v1/cells/{cell['key']}")
                self.assertEqual((explained["expected_s"], explained["bound_s"]), (cell["expected_s"], 600))
            return cells[0]["expected_s"]

        for seed in range(4):
            (self.folder / f"go-{seed}").touch()
        first = self.daemon.submit(matrix("first", [0, 1, 2, 3, 8, 9]))["sweep"]
        cell = self.daemon.get(f"/v1/sweeps/{first}/cells")[0]
        if cell["state"] != "done":
            self.assertEqual((cell["expected_s"], cell["expected_from"]), (300, "half of the time declared"))
        eventually("four results and two that run",
                   lambda: [self.daemon.sweep(first)["cells"][what] for what in ("done", "running")] == [4, 2])
        learned = check(first, 2)
        self.assertAlmostEqual(self.daemon.sweep(first)["eta_s"], learned)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(check(first, 2), learned)
        self.assertAlmostEqual(self.daemon.sweep(first)["eta_s"], learned)
        second = self.daemon.submit(matrix("second", [20, 21, 22]))["sweep"]
        self.assertEqual(check(second, 3), learned)
        for seed in (8, 9, 20, 21, 22):
            (self.folder / f"go-{seed}").touch()
        self.assertEqual([self.daemon.wait(sweep)["state"] for sweep in (first, second)], ["done", "done"])

    def test_says_what_is_wrong_with_a_matrix(self):
        status, body = self.daemon.call("POST", "/v1/sweeps", {"matrix": "name: x\nkind: comand\n", "file": "mine.yaml"})
        self.assertEqual(status, 422)
        problems = {(p["file"], p["line"]): p["what"] for p in body["error"]["problems"]}
        self.assertIn("did you mean 'command'", problems["mine.yaml", 2])

    def test_shows_the_log_of_a_cell(self):
        sweep = self.daemon.submit(self.matrix("logged", ["a"]))["sweep"]
        self.daemon.wait(sweep)
        key = self.daemon.results(sweep)[0]["key"]
        log = self.daemon.get(f"/v1/logs/{key[:10]}")
        self.assertEqual((log["text"], log["offset"], log["more"]), ("measured a\n", 0, False))
        self.assertEqual(self.daemon.get(f"/v1/logs/{key[:10]}?offset=9&most=1")["text"], "a")

    def test_says_why_there_is_no_log(self):
        def no_log(of):
            status, body = self.daemon.call("GET", f"/v1/logs/{of}")
            self.assertEqual(status, 404, body)
            return body["error"]["what"]

        self.daemon.wait(self.daemon.submit(self.matrix("logged", ["a"]))["sweep"])
        eventually("the job's end", lambda: self.daemon.get("/v1/jobs")[0]["state"] == "ended")
        job = self.daemon.get("/v1/jobs")[0]
        self.daemon.kill(signal.SIGTERM)
        self.daemon.start()
        self.assertEqual(self.daemon.get("/v1/logs/c0")["text"], "measured a\n", "its job ended before this start")
        (self.daemon.state / "jobs" / job["name"] / "cells").rename(self.folder / "cells")
        self.assertIn(f"c0 ran in job {job['name']}, and the files of that are not there any more", no_log("c0"))
        shutil.rmtree(self.daemon.state / "jobs" / job["name"])
        self.assertIn("not there any more: they were removed", no_log("c0"))
        self.assertIn(f"the files of job {job['name']} are not there any more", no_log("j1"))
        self.daemon.call("POST", "/v1/models/m/hold", {})
        sweep = self.daemon.submit(self.matrix("held", ["b"]))["sweep"]
        self.assertIn("nothing of c1 has run yet", no_log("c1"))
        self.daemon.call("POST", f"/v1/sweeps/{sweep}/cancel", {})

    def test_streams_events_from_where_the_listener_left(self):
        self.daemon.wait(self.daemon.submit(self.matrix("seen", ["a"]))["sweep"])
        events = self.daemon.get("/v1/events")
        kinds = [event["kind"] for event in events]
        self.assertEqual([k for k in kinds if k in ("sweep.submitted", "job.claimed", "sweep.ended")],
                         ["sweep.submitted", "job.claimed", "sweep.ended"])
        later = self.daemon.get(f"/v1/events?after={events[1]['number']}")
        self.assertEqual(later[:len(events) - 2], events[2:], "and what came meanwhile")


class SweepOverFiles(Sweep):
    """The same with no route from workers to the daemon: messages are files in the jobs' directories."""

    OPTIONS = ("--link", "files")


if __name__ == "__main__":
    main()
