"""A daemon's API on a Unix socket, with answers that the test gives: what the commands send is looked at, and what they
make of the answers."""

import http.server
import json
import os
import pathlib
import socket
import socketserver
import threading

STATUS = {
    "daemon": {"state": "up", "since": "2026-11-21T17:00:00Z", "version": "0.1.0", "host": "here", "instance": "abcdefgh",
               "cluster": "local", "policy": "default"},
    "sweeps": [], "jobs": [], "trainings": [],
}


def sweep(state, done=0, failed=0, running=0, number=1):
    total = 4
    return {"id": f"s{number}", "name": "core", "user": "mara", "state": state, "submitted": "2026-11-21T17:00:00Z",
            "ended": None if state in ("running", "held") else "2026-11-21T17:30:00Z",
            "cells": {"total": total, "waiting": total - done - failed - running, "running": running, "done": done,
                      "failed": failed, "rejected": 0, "cancelled": 0},
            "gpu_hours": 1.5, "eta_s": 60.0 if running else None}


def status(*sweeps):
    return dict(STATUS, sweeps=list(sweeps))


def result(model, task, metrics, state="done", sweep="s1", settings=None):
    return {"key": "ab" * 32, "sweep": sweep, "kind": "eval", "model": model, "task": task, "adapter": None, "settings": settings or {},
            "metrics": metrics, "state": state, "attempts": 1, "gpu_seconds": 30.5, "seconds": 15.0, "score": 0.5,
            "reason": "" if state == "done" else "exit code 1"}


def error(status, what, problems=None):
    body = {"status": status, "what": what}
    if problems is not None:
        body["problems"] = problems
    return status, {"error": body}


class Sent:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers = method, target, headers
        self.body = json.loads(body) if body else None

    def __repr__(self):
        return f"{self.method} {self.target} {self.body}"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class FakeDaemon:
    """`answers`: by `METHOD /target`, or without the query. Each a body, (status, body), or a list of these, one a call, of
    which the last stays; a text is sent as an event stream; "hang up" closes the connection."""

    def __init__(self, directory, answers):
        self.directory = pathlib.Path(directory)
        self.answers = dict(answers)
        self.sent = []
        self.directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                fake.sent.append(Sent(self.command, self.path, self.headers, self.rfile.read(length)))
                answer = fake.find(self.command, self.path)
                if answer == "hang up":
                    self.close_connection = True
                    return
                if isinstance(answer, str):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.write(answer.encode())
                    self.close_connection = True
                    return
                code, body = answer if isinstance(answer, tuple) else (200, answer)
                text = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = answer

        self.socket = self.directory / "socket"
        self.server = Server(str(self.socket), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        write_endpoint(self.directory, socket=str(self.socket))
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.socket)
        self.thread.join()

    def find(self, method, target):
        for key in (f"{method} {target}", f"{method} {target.split('?')[0]}"):
            if key not in self.answers:
                continue
            answer = self.answers[key]
            if isinstance(answer, Each):
                return answer.next()
            return answer
        return error(404, f"no answer to {method} {target}")


class Each:
    """One answer a call; the last stays."""

    def __init__(self, *answers):
        self.left = list(answers)

    def next(self):
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def write_endpoint(directory, **changes):
    endpoint = {"protocol": 1, "version": "0.1.0", "instance": "abcdefgh", "host": socket.gethostname(), "pid": os.getpid(),
                "socket": str(directory / "socket"), "addresses": [], "port": 0, "certificate": ""}
    endpoint.update(changes)
    (directory / "endpoint.json").write_text(json.dumps(endpoint))
