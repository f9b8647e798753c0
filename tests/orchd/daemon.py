"""Starts daemons for the tests in this folder, and speaks their API. Called as: NAME_test.py ORCHD ORCH_WORKER ROOT."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ORCHD = pathlib.Path(sys.argv[1]).resolve()
WORKER = pathlib.Path(sys.argv[2]).resolve()
ROOT = pathlib.Path(sys.argv[3]).resolve()

ENDED = ("done", "failed", "cancelled")

# What a cell runs: `PROGRAM OUT JSON-OF-METRICS [WHAT…]`, with a line in `runs` for every start.
PROGRAM = r"""
import json, os, pathlib, sys, time
out, text, *rest = sys.argv[1:]
here = pathlib.Path(__file__).parent
with open(here / "runs", "a") as log:
    log.write(text + "\n")
for what in rest:
    name, _, value = what.partition("=")
    if name == "sleep": time.sleep(float(value))
    elif name == "wait":
        while not (here / value).exists(): time.sleep(0.02)
    elif name == "fail":
        print("the reason is", value)
        sys.exit(3)
    elif name == "kill": os.kill(os.getpid(), int(value))
    elif name == "curve":
        lines = [json.dumps({"step": step, "steps": int(value), "loss": 1 / step}) for step in range(1, int(value) + 1)]
        (pathlib.Path(out).parent / "curve.jsonl").write_text("\n".join(lines) + "\n{\"step\": 9")
    elif name == "environment": text = json.dumps({"length": len(os.environ.get(value, ""))})
    elif name == "raw":
        pathlib.Path(out).write_text(value)
        sys.exit(0)
number = sum(map(ord, text))
json.dump({"number": number, "half": {"value": number / 2, "stderr": 0.25}}, open(out, "w"))
print("measured", text)
"""


def number_of(text):
    return sum(map(ord, text))


def eventually(what, predicate, seconds=60):
    """Asks until `predicate` gives something true: events of other processes can be waited for in no other way here."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in {seconds} s {what} did not come about")
        time.sleep(0.03)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("orchd", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Daemon:
    """One state directory, whose daemon may be ended and started again."""

    CLUSTER = ("--cluster", "local")
    VARIABLES = {}  # of its environment, beside those that every program has

    def __init__(self, folder, *options):
        self.state = pathlib.Path(folder) / "state"
        self.options = options
        self.process = None

    def start(self, *options):
        (self.state / "endpoint.json").unlink(missing_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "SLURM_"))} | self.VARIABLES
        self.log = open(self.state.parent / "orchd.log", "ab")
        self.process = subprocess.Popen(
            [ORCHD, "--state", self.state, *self.CLUSTER, "--worker", WORKER, *self.options, *options],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=ROOT)
        eventually("the daemon's start", lambda: (self.state / "endpoint.json").exists() or self.process.poll() is not None)
        if self.process.poll() is not None:
            self.log.close()
            raise AssertionError((self.state.parent / "orchd.log").read_text())
        return self

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        self.log.close()
        return code

    @property
    def endpoint(self):
        return json.loads((self.state / "endpoint.json").read_text())

    def call(self, method, path, body=None, headers=None, connection=None):
        connection = connection or UnixConnection(self.endpoint["socket"])
        try:
            text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, body=text, headers=headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if content else None

    def get(self, path):
        status, body = self.call("GET", path)
        assert status == 200, (path, status, body)
        return body

    def submit(self, matrix, **more):
        status, body = self.call("POST", "/v1/sweeps", {"matrix": matrix, "file": "test.yaml", **more})
        assert status == 201, (status, body)
        return body

    def sweep(self, sweep):
        return self.get(f"/v1/status?sweep={sweep}")["sweeps"][0]

    def wait(self, sweep, seconds=60):
        return eventually(f"the end of {sweep}", lambda: (lambda it: it if it["state"] in ENDED else None)(self.sweep(sweep)),
                          seconds)

    def results(self, sweep):
        return self.get(f"/v1/sweeps/{sweep}/results")


class DaemonTest(unittest.TestCase):
    DAEMON = Daemon
    OPTIONS = ()

    def setUp(self):
        # Short, because a socket's path may have 107 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="orchd-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        (self.folder / "program.py").write_text(PROGRAM)
        self.daemon = self.DAEMON(self.folder, *self.OPTIONS)
        self.addCleanup(self.end)
        self.daemon.start()

    def end(self):
        if self.has_failed():
            sys.stderr.write(self.about())
        if self.daemon.process.poll() is not None:
            self.daemon.start()
        try:
            for sweep in self.daemon.get("/v1/status")["sweeps"]:
                if sweep["state"] not in ENDED:
                    self.daemon.call("POST", f"/v1/sweeps/{sweep['id']}/cancel", {})
            # What jobs there are end with their cancellation; the daemon is ended by its id.
            for job in self.daemon.get("/v1/jobs"):
                if job["state"] not in ("ended", "ending"):
                    self.daemon.call("POST", f"/v1/jobs/{job['id']}/cancel")
            eventually("the end of all jobs", lambda: all(j["state"] == "ended" for j in self.daemon.get("/v1/jobs")))
            self.settle()
            # A worker's last words are read before it is gone; without a daemon it would wait for one to come back.
            eventually("the end of what jobs started", lambda: not self.left_behind())
        finally:
            code = self.daemon.kill(signal.SIGTERM)
        self.assertEqual(code, 0)

    def has_failed(self):
        # Python 3.11 keeps what went wrong with the result, earlier ones with the outcome.
        outcome = self._outcome
        found = [*getattr(outcome, "errors", []), *outcome.result.failures, *outcome.result.errors]
        return any(test is self and error for test, error in found)

    def about(self):
        """What a person wants to see of a test that failed."""
        parts = ["--- the daemon's log\n", (self.daemon.state.parent / "orchd.log").read_text()[-3000:]]
        if self.daemon.process.poll() is None:
            for path in ("/v1/status", "/v1/jobs"):
                try:
                    said = json.dumps(self.daemon.get(path))[-6000:]
                except (OSError, AssertionError) as error:  # the rest is wanted all the more
                    said = repr(error)
                parts.append(f"--- {path}\n{said}\n")
        return "".join(parts)

    def left_behind(self):
        """Programs, the daemon apart, that were started with a path of this test's folder."""
        mine = str(self.folder).encode()
        found = []
        for line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = line.read_bytes()
            except OSError:
                continue  # it has just ended
            if mine in words and int(line.parent.name) != self.daemon.process.pid:
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def settle(self):
        """What else has to be over before the daemon is ended."""

    def matrix(self, name, tasks, *what, **command):
        """A matrix of one model and some tasks; every cell measures its task's name."""
        words = ["python3", str(self.folder / "program.py"), "{out}", "{task}", *what]
        lines = {"gpus": 0, "time": "1m", **command}
        return json.dumps({"name": name, "kind": "command", "models": ["m"], "tasks": tasks, "command": {"run": words, **lines}})

    def runs(self):
        path = self.folder / "runs"
        return path.read_text().split("\n")[:-1] if path.exists() else []


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=1)
