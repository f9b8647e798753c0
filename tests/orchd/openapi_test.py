"""The API as docs/openapi.yaml describes it, held against the daemon: every route and answer, and whatever else may come over the wire.

The generated requests are drawn from ORCH_FUZZ_SEED, which is printed; ORCH_FUZZ_REQUESTS says how many an operation gets."""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import unittest
import urllib.parse

import jsonschema
import yaml

import daemon as harness
from daemon import ROOT, Daemon, DaemonTest, eventually, main

SEED = int(os.environ.get("ORCH_FUZZ_SEED", "20261121"))
REQUESTS = int(os.environ.get("ORCH_FUZZ_REQUESTS", "120"))
METHODS = ("get", "put", "post", "delete", "patch")

DOCUMENT = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
SHOWN = json.loads((ROOT / "docs/schemas/output.json").read_text())["$defs"]


def follow(node):
    """The node that a reference leads to; its own members beside the reference are kept."""
    while isinstance(node, dict) and "$ref" in node:
        at = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = {**at, **{k: v for k, v in node.items() if k != "$ref"}}
    return node


class Operation:
    def __init__(self, path, method):
        self.path, self.method = path, method.upper()
        self.about = DOCUMENT["paths"][path][method]
        parameters = DOCUMENT["paths"][path].get("parameters", []) + self.about.get("parameters", [])
        self.parameters = [follow(p) for p in parameters]
        self.body = self.about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        self.is_worker = self.about.get("security") == [{"jobToken": []}]

    def __repr__(self):
        return f"{self.method} {self.path}"

    def documented(self):
        return {int(status) for status in self.about["responses"] if status != "default"}

    def schema(self, status):
        responses = self.about["responses"]
        content = follow(responses.get(str(status), responses["default"]))["content"]
        return content["application/json"]["schema"]


OPERATIONS = [Operation(path, method) for path, about in DOCUMENT["paths"].items() for method in METHODS if method in about]
CHECKERS = {}


def checker(schema):
    key = json.dumps(schema, sort_keys=True)
    if key not in CHECKERS:
        CHECKERS[key] = jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    return CHECKERS[key]


def complaint(operation, status, body):
    """What is wrong with an answer's body; nothing: nothing is."""
    for error in checker(operation.schema(status)).iter_errors(body):
        return f"{operation} {status}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
    if status >= 400 and body["error"]["status"] != status:
        return f"{operation}: the body says {body['error']['status']}, the status line {status}"


class Document(unittest.TestCase):
    def test_is_sound(self):
        self.assertEqual(DOCUMENT["openapi"], "3.1.0")
        for name, schema in DOCUMENT["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema)

        def visit(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    follow(node)
                node = list(node.values())
            for each in node if isinstance(node, list) else ():
                visit(each)

        visit(DOCUMENT)
        ids = [operation.about["operationId"] for operation in OPERATIONS]
        self.assertEqual(len(ids), len(set(ids)))
        for operation in OPERATIONS:
            named = set(re.findall(r"\{(\w+)\}", operation.path))
            self.assertEqual(named, {p["name"] for p in operation.parameters if p["in"] == "path"}, operation)
            self.assertIn("default", operation.about["responses"], operation)
            self.assertIn(401, operation.documented(), operation)

    def test_has_the_routes_of_the_source_and_no_others(self):
        source = (ROOT / "orchestrator/api/routes.cpp").read_text()
        added = re.findall(r'add\((?:router, )?"([A-Z]+)", "([^"]+)"', source)
        self.assertGreater(len(added), 10)
        shapes = [(method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$")) for method, path in added]
        documented = [(o.method, o.path) for o in OPERATIONS]
        for method, path in documented:
            self.assertTrue(any(m == method and shape.match(path) for m, shape in shapes), f"{method} {path} is not in routes.cpp")
        for (method, path), (_, shape) in zip(added, shapes):
            self.assertTrue(any(m == method and shape.match(p) for m, p in documented), f"{method} {path} is not in openapi.yaml")

    def test_names_the_states_that_the_commands_print(self):
        schemas = DOCUMENT["components"]["schemas"]
        for name, shown in (("SweepState", SHOWN["sweep"]["properties"]["state"]),
                            ("CellState", SHOWN["cell_state"]),
                            ("JobState", SHOWN["running_job"]["properties"]["state"]),
                            ("JobEnd", SHOWN["explain_running_job"]["properties"]["end"])):
            self.assertEqual(schemas[name]["enum"], shown["enum"], name)
        for name, shown in (("Sweep", SHOWN["sweep"]), ("Job", SHOWN["running_job"]), ("Event", SHOWN["event"]),
                            ("Result", SHOWN["results"]["items"]), ("CellRow", SHOWN["cells"]["items"]),
                            ("Cell", SHOWN["explain_running_cell"])):
            self.assertEqual(sorted(schemas[name]["required"]), sorted(shown["required"]), name)


class Answers:
    """Reads answers from a socket that stays open."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def more(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise EOFError
        self.rest += piece

    def one(self, is_head=False):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        status = int(line.split(" ")[1])
        size = 0 if is_head or status == 204 else int(headers.get("content-length", 0))
        while len(self.rest) < size:
            self.more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return status, headers, body


class ApiDaemon(Daemon):
    # A sanitizer keeps what was freed for a while, which is no growth.
    VARIABLES = {"ASAN_OPTIONS": ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=8")))}


class ApiTest(DaemonTest):
    DAEMON = ApiDaemon
    OPTIONS = ("--listen", "127.0.0.1:0", "--address", "127.0.0.1")

    def plain_socket(self, seconds=60):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        sock.connect(self.daemon.endpoint["socket"])
        return sock

    def tcp_socket(self, seconds=60):
        return socket.create_connection(("127.0.0.1", self.daemon.endpoint["port"]), timeout=seconds)

    def tls_socket(self, seconds=60):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the fingerprint is compared instead
        sock = context.wrap_socket(self.tcp_socket(seconds))
        shown = hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest()
        self.assertEqual(shown, self.daemon.endpoint["certificate"])
        return sock

    def ask(self, method, path, body=None, headers=(), tls=False):
        """Status, headers, and the body as it came."""
        sock = self.tls_socket() if tls else self.plain_socket()
        with sock:
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            lines = [f"{method} {path} HTTP/1.1", "Host: orchd", "Connection: close", f"Content-Length: {len(data)}", *headers]
            sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            return Answers(sock).one(method == "HEAD")

    def check(self, operation_id, status, parts=None, query="", body=None, **how):
        """Asks, and holds the answer against the document."""
        operation = next(o for o in OPERATIONS if o.about["operationId"] == operation_id)
        path = re.sub(r"\{(\w+)\}", lambda found: urllib.parse.quote(parts[found[1]], safe=""), operation.path) + query
        got, headers, content = self.ask(operation.method, path, body, **how)
        self.assertEqual(got, status, (operation, content[:500]))
        self.assertIn(status, operation.documented(), operation)
        self.assertEqual(headers["content-type"], "application/json", operation)
        answer = json.loads(content)
        self.assertIsNone(complaint(operation, status, answer))
        return answer


class Routes(ApiTest):
    def test_are_those_of_the_document_with_those_methods(self):
        def path_of(path):
            return re.sub(r"\{\w+\}", "x", path)

        # Over TLS without a token nothing is done: what is there says 401.
        for operation in OPERATIONS:
            with self.subTest(str(operation)):
                self.check(operation.about["operationId"], 401, {p["name"]: "x" for p in operation.parameters}, tls=True)
        for path, about in DOCUMENT["paths"].items():
            there = {method.upper() for method in METHODS if method in about}
            allowed = there | {"OPTIONS"} | ({"HEAD"} if "GET" in there else set())
            status, headers, _ = self.ask("OPTIONS", path_of(path))
            self.assertEqual((status, set(headers["allow"].split(", "))), (204, allowed), path)
            for method in {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE", "BREW"} - allowed:
                status, headers, content = self.ask(method, path_of(path))
                self.assertEqual((status, set(headers["allow"].split(", "))), (405, allowed), (method, path))
                if method != "HEAD":
                    self.assertIsNone(complaint(OPERATIONS[0], 405, json.loads(content)))
        for path in ("/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1//status", "/V1/status", "/v1/sweeps/x", "/v1/sweeps/x/cells/y",
                     "/v1/models/x", "/v1/cells", "/v1/logs", "/v1/jobs/x/claim/y", "/v1/%73tatus/x", "/v1/sweeps%2Fx/cells"):
            status, _, content = self.ask("GET", path)
            self.assertEqual(status, 404, path)
            self.assertIsNone(complaint(OPERATIONS[0], 404, json.loads(content)))
        for path in ("/v1/sweeps/x/delete", "/v1/models/x/cancel", "/v1/jobs/x/kill", "/v1/jobs/x/Claim"):
            self.assertEqual(self.ask("POST", path, {})[0], 404, path)

    def test_answer_as_the_document_says(self):
        self.addCleanup((self.folder / "go").touch)
        token = (self.daemon.state / "user.token").read_text()
        words = self.check("submit", 201, body={"matrix": self.matrix("good", ["a", "b"]), "file": "good.yaml"})
        good = words["sweep"]
        bad = self.daemon.submit(self.matrix("bad", ["c"], "fail=it"), name="named")["sweep"]
        waits = self.daemon.submit(self.matrix("waits", ["d"], "wait=go"))["sweep"]
        self.daemon.wait(good), self.daemon.wait(bad)
        eventually("the third sweep's start", lambda: self.daemon.sweep(waits)["cells"]["running"] == 1)
        again = self.check("submit", 201, body={"matrix": self.matrix("good", ["a", "b"]), "file": "g", "name": "", "catalogs": []})
        self.assertEqual(again["reused"], 2)

        self.assertEqual(len(self.check("status", 200)["sweeps"]), 4)
        self.assertEqual([s["id"] for s in self.check("status", 200, query="?sweep=named", tls=True,
                                                      headers=[f"Authorization: Bearer {token}"])["sweeps"]], [bad])
        for sweep in (good, bad, waits, "named"):
            self.check("results", 200, {"sweep": sweep})
            for cell in self.check("cells", 200, {"sweep": sweep}):
                self.check("cell", 200, {"cell": cell["key"]})
                self.assertEqual(self.check("curve", 200, {"cell": cell["key"]})["points"], [])
                self.assertTrue(self.check("log", 200, {"id": cell["cell"]})["file"])
        for state in DOCUMENT["components"]["schemas"]["CellState"]["enum"]:
            self.check("cells", 200, {"sweep": good}, f"?state={state}")
        jobs = self.check("jobs", 200)
        self.assertIn("running", {job["state"] for job in jobs})
        for job in jobs:
            for name in (job["id"], job["name"], job["slurm_job_id"]):
                self.assertEqual(self.check("job", 200, {"job": name})["id"], job["id"])
            self.check("log", 200, {"id": job["id"]}, "?offset=-10&most=5")
        events = self.check("events", 200)
        self.assertEqual(self.check("events", 200, query=f"?after={events[3]['number']}&most=2"), events[4:6])
        policy = self.check("policy", 200)
        self.check("setPolicy", 200, body={"file": "policy.yaml", "text": (ROOT / "policies/default.yaml").read_text()})
        self.assertTrue(policy["name"])
        self.check("backup", 200, body={"file": str(self.folder / "copy.db")})
        self.check("backup", 409, body={"file": str(self.folder / "copy.db")})
        self.check("holdModel", 200, {"model": "m"})
        self.assertEqual(self.check("daemon", 200)["held_models"], ["m"])
        self.check("releaseModel", 200, {"model": "m"})
        self.check("releaseModel", 409, {"model": "m"})
        for change in ("holdSweep", "releaseSweep", "retrySweep"):
            self.check(change, 200, {"sweep": waits})
        self.check("retrySweep", 200, {"sweep": bad})

        # What is refused.
        for name in ("results", "cells", "holdSweep", "releaseSweep", "cancelSweep", "retrySweep"):
            self.check(name, 404, {"sweep": "s99"})
        self.check("status", 404, query="?sweep=s99")
        self.check("cell", 404, {"cell": "000000"}), self.check("curve", 404, {"cell": "c99"})
        self.check("job", 404, {"job": "j99"}), self.check("log", 404, {"id": "c99"})
        self.check("cancelJob", 404, {"job": "j99"})
        self.check("cells", 400, {"sweep": good}, "?state=finished")
        for query in ("?after=x", "?most=x", "?after=1e3", "?after=99999999999999999999"):
            self.check("events", 400, query=query)
        self.check("curve", 400, {"cell": "c0"}, "?most=many")
        for query in ("?offset=x", "?most=", "?offset=1.5"):
            self.check("log", 400, {"id": "c0"}, query)
        for name in ("holdSweep", "releaseSweep", "cancelSweep"):
            self.check(name, 409, {"sweep": good})
        self.check("submit", 422, body={"matrix": "kind: command\nmodls: [a]\n", "file": "typo.yaml"})
        self.check("submit", 422, body={"matrix": "", "file": ""})
        self.check("setPolicy", 422, body={"text": "weights: 3", "file": "p"})
        for name in ("submit", "setPolicy", "backup"):
            for body in (b"", b"{", b"[]", b"{}", b'{"file": 3}', b'{"file": "/x", "no": 1}', b"\xff"):
                self.check(name, 400, body=body)
        self.check("backup", 400, body={"file": "relative"})
        self.check("submit", 413, body={"matrix": "#" * ((8 << 20) + 1), "file": ""})

        # A worker's calls, by somebody who has its token.
        running = next(job for job in jobs if job["state"] == "running")
        secret = (self.daemon.state / "jobs" / running["name"] / "token").read_text()
        of = {"job": running["name"]}
        as_worker = {"headers": [f"Authorization: Bearer {secret}"]}
        claim = {"protocol": 1, "cluster_id": running["slurm_job_id"], "restarts": 0, "copy": "mine", "nodes": ["n"]}
        self.check("claim", 401, of, body=claim)
        self.check("claim", 401, {"job": "orch-x-1"}, body=claim, **as_worker)
        self.check("claim", 409, of, body={**claim, "protocol": 99}, **as_worker)
        epoch = self.check("claim", 200, of, body=claim, **as_worker)["epoch"]
        self.check("heartbeat", 410, of, body={"epoch": epoch - 1, "held": []}, **as_worker)
        self.check("heartbeat", 200, of, body={"epoch": epoch, "held": [{"cell": 77, "chunk": 0, "running": True, "done": 3, "all": 9}]}, **as_worker)
        ask = {"epoch": epoch, "time_left": 3000, "most": 4, "loaded": ["m"], "held": []}
        leased = self.check("lease", 200, of, body=ask, **as_worker)["leased"]
        self.assertEqual(len(leased), 1)
        # What it tells of a training is shown, and of anything else nothing is.
        held = {"cell": leased[0]["cell"], "chunk": 0, "running": True, "done": 3, "all": 9}
        live = {"step": 3, "steps": 9, "loss": 1.5, "reward": None, "held_out": {"loss": 2.5}, "note": "skipped: NaN"}
        for said, shown in ((json.dumps(live), live), ("[1, 2", None), ('{"loss": 1}', None), ('{"step": 1, "x": "' + "x" * 3000 + '"}', None),
                            ('{"step": 4, "loss": {"a": "<b>"}, "Bad": 1}', {"step": 4}), ("", None)):
            self.check("heartbeat", 200, of, body={"epoch": epoch, "held": [{**held, "live": said}]}, **as_worker)
            self.assertEqual([row["live"] for row in self.check("status", 200)["trainings"]], [shown] if shown else [])
            self.assertEqual(self.check("cell", 200, {"cell": f"c{held['cell']}"})["live"], shown)
        item = {"cell": leased[0]["cell"], "chunk": 0, "ticket": leased[0]["ticket"], "generation": 1, "what": "done",
                "metrics": '{"n": {"value": 1.5, "stderr": null}}', "figures": "", "cause": "", "reason": "", "seconds": 2, "gpu_seconds": 0}
        self.assertEqual(self.check("deliver", 200, of, body={"epoch": epoch, "items": [item]}, **as_worker), {"accepted": 1})
        for name in ("claim", "lease", "heartbeat", "deliver", "exit"):
            self.check(name, 400, of, body=b"{}", **as_worker)
        self.check("exit", 200, of, body={"epoch": epoch, "end": "done", "reason": ""}, **as_worker)
        (self.folder / "go").touch()
        eventually("the job's end", lambda: self.check("job", 200, of)["state"] == "ended")
        self.daemon.wait(bad)
        for name, body in (("claim", claim), ("lease", ask), ("heartbeat", {"epoch": epoch, "held": []}), ("deliver", {"epoch": epoch, "items": []})):
            self.check(name, 410, of, body=body, **as_worker)
        self.check("exit", 200, of, body={"epoch": epoch, "end": "nan", "reason": "again"}, **as_worker)
        self.assertEqual(self.check("job", 200, of)["end"], "done")
        self.check("cancelJob", 409, of)

    @unittest.skipIf(os.getuid() != 0, "another account is tried as root only")
    def test_answer_an_account_without_a_role_as_the_document_says(self):
        os.chmod(self.folder, 0o755), os.chmod(self.daemon.state, 0o755), os.chmod(self.daemon.endpoint["socket"], 0o666)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgid(65534), os.setuid(65534)
                for operation in OPERATIONS:
                    if not operation.is_worker:
                        self.check(operation.about["operationId"], 403, {p["name"]: "x" for p in operation.parameters})
                code = 0
            except BaseException as error:
                sys.stderr.write(f"{error}\n")
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_stream_events_with_their_numbers(self):
        with self.plain_socket() as sock:
            sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            sweep = self.daemon.submit(self.matrix("seen", ["a"]))["sweep"]
            text = b""
            while b"event: sweep.done" not in text and b"sweep.ended" not in text:
                piece = sock.recv(65536)
                self.assertTrue(piece, text[-500:])
                text += piece
        self.assertIn(b"Content-Type: text/event-stream", text)
        events = re.findall(r"id: (\d+)\nevent: ([\w.]+)\ndata: (.*)\n\n", text.decode())
        operation = next(o for o in OPERATIONS if o.about["operationId"] == "events")
        listed = self.daemon.get("/v1/events")
        for number, kind, data in events:
            event = json.loads(data)
            self.assertEqual((str(event["number"]), event["kind"]), (number, kind))
            self.assertIsNone(complaint(operation, 200, [event]))
            self.assertIn(event, listed)
        self.assertIn(sweep, {json.loads(data)["sweep"] for _, _, data in events})


class Start(ApiTest):
    def test_that_fails_late_says_why_and_ends(self):
        # By then the threads of the daemon run already, and ask each other.
        self.daemon.kill(signal.SIGTERM)
        key = self.daemon.state / "key.pem"
        sound = key.read_bytes()
        key.write_bytes(b"damaged")
        for _ in range(3):
            with self.assertRaisesRegex(AssertionError, "key.pem: no private key in PEM form"):
                self.daemon.start()
            self.assertEqual(self.daemon.process.returncode, 1)
        key.write_bytes(sound)
        self.daemon.start()


# Generated requests.

TEXTS = ("", " ", "x", "S1", "j0", "c0", "..", "../../etc/passwd", "a/b", "%", "%2", "%zz", "\x00", "\x7f", "\r\nX: y", "‮", "\U0001f600", "é" * 100,
         "'; DROP TABLE cells; --", "$(touch /tmp/x)", "{{ job }}", "{out}", "null", "-1", "1e999", "0x10", "99999999999999999999", "s" + "9" * 40,
         "0" * 64, "f" * 6, "kind: command", "a: &a [*a, *a]", "- " * 500, "x" * 5000)
NUMBERS = (0, 1, -1, 2, 1.5, -0.5, 1e308, -1e308, 5e-324, 2**31 - 1, 2**31, -2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, -2**63, 2**64 - 1,
           2**64, -2**64, 10**40)
GARBAGE = (b"", b" ", b"{", b"}", b"nul", b'"', b"{]", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"epoch": 1e999, "held": []}', b'{"file": NaN}', b"[" * 100_000,
           b'{"a":' * 20_000, b'{"file": "\xc3\x28", "text": ""}', b'{"file": "\\ud800", "text": "\\udc00"}', b'{"file": "a", "file": "b"}',
           b"[" * 5000 + b"]" * 5000, b"0" * 100_000, b'{"a": "' + b"x" * 200_000 + b'"}', b"{}" * 2)


def is_sound(path):
    """Whether its escapes are some, and of UTF-8 without NUL."""
    if re.search(r"%(?![0-9a-fA-F]{2})", path):
        return False
    try:
        return "\0" not in urllib.parse.unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False


class Generator:
    def __init__(self, seed, known):
        self.random, self.known = random.Random(seed), known

    def wild(self, depth=0):
        kind = self.random.randrange(8)
        if kind == 0:
            return self.random.choice((None, True, False))
        if kind <= 2:
            return self.random.choice(NUMBERS)
        if kind <= 4 or depth > 3:
            return self.random.choice(TEXTS)
        if kind == 5:
            return [self.wild(depth + 1) for _ in range(self.random.randrange(4))]
        if kind == 6:
            return {self.random.choice(TEXTS): self.wild(depth + 1) for _ in range(self.random.randrange(4))}
        return [0] * self.random.choice((10, 1000, 20_000))

    def valid(self, schema, name=""):
        schema = follow(schema)
        if name in self.known and self.random.random() < 0.8:
            return self.random.choice(self.known[name])
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if schema["type"] == "object":
            return {key: self.valid(each, key) for key, each in schema["properties"].items()
                    if key in schema["required"] or self.random.random() < 0.5}
        if schema["type"] == "array":
            return [self.valid(schema["items"]) for _ in range(self.random.randrange(3))]
        if schema["type"] == "integer":
            least, most = schema.get("minimum", -2**62), schema.get("maximum", 2**62)
            return self.random.choice((least, most, self.random.randint(least, most), max(least, 1), max(least, 0)))
        if schema["type"] == "number":
            return self.random.choice((0, 1, 0.25, -3.5, 1e9, 1e308, -1e308))
        return self.random.random() < 0.5 if schema["type"] == "boolean" else self.random.choice(TEXTS)

    def broken(self, value):
        """The value with one thing of it changed."""
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            value, key = dict(value), self.random.choice(list(value))
            what = self.random.randrange(4)
            if what == 0:
                del value[key]
            elif what == 1:
                value[self.random.choice(("more", "", key.upper()))] = self.wild()
            else:
                value[key] = self.broken(value[key])
            return value
        if isinstance(value, list) and value and self.random.random() < 0.6:
            return [self.broken(value[0]), *value[1:]]
        return self.wild()

    def segment(self, parameter):
        known = self.known.get(parameter["name"], ())
        if known and self.random.random() < 0.6:
            return urllib.parse.quote(str(self.random.choice(known)), safe="")
        raw = self.random.choice((None, None, None, "%00", "%ff", "%2e%2e%2f", "%", "%4", "%gg", "..", "a%2Fb", "%E2%80%AE", ""))
        return urllib.parse.quote(self.random.choice(TEXTS), safe="") if raw is None else raw

    def target(self, operation):
        path = re.sub(r"\{(\w+)\}", lambda found: self.segment(next(p for p in operation.parameters if p["name"] == found[1])), operation.path)
        pairs = []
        for parameter in operation.parameters:
            if parameter["in"] == "query" and self.random.random() < 0.6:
                value = self.valid(parameter["schema"], parameter["name"]) if self.random.random() < 0.5 else self.wild()
                pairs += [parameter["name"] + "=" + urllib.parse.quote(str(value)[:3000])] * self.random.choice((1, 1, 1, 2))
        if self.random.random() < 0.1:
            pairs.append(self.random.choice(("x", "=", "&&", "%zz=1", "a=%ff", "a=b=c", "sweep=" + "y" * 3000)))
        return path + ("?" + "&".join(pairs) if pairs else "")

    def headers(self, token):
        headers = [f"Authorization: Bearer {token}"] if token else []
        if self.random.random() < 0.15:
            headers += self.random.choice((
                ["Authorization: Basic x"], ["Host: other"], ["Content-Type: text/plain"], ["Content-Type: a", "Content-Type: b"],
                ["Idempotency-Key: k1"], ["Idempotency-Key: k1", "Idempotency-Key: k2"], ["Accept: text/event-stream"], ["Accept: a", "Accept: b"],
                ["Last-Event-ID: 3"], ["Last-Event-ID: x"], ["X: " + "y" * 9000], ["X: " + "y" * 20_000], ["Expect: tea"], ["Content-Length: 7"],
                ["Transfer-Encoding: gzip"], ["Upgrade: h2c", "Connection: Upgrade"], [f"X{i}: y" for i in range(100)], ["X: \x01"], [": y"], ["X y"]))
        return headers

    def body(self, operation):
        """Bytes, and whether the document allows them; None: it does not say."""
        if operation.body is None:
            return self.random.choice((b"", b"", b"{}", b"[1]", b"\xff" * 100)), None
        if self.random.random() < 0.2:
            return self.random.choice(GARBAGE), False
        value = self.valid(operation.body)
        if self.random.random() < 0.6:
            value = self.broken(value)
        if operation.about["operationId"] == "claim" and isinstance(value, dict) and value.get("restarts") not in (None, 0):
            # After a later start the test could not claim the job any more.
            if isinstance(value["restarts"], int) and 0 < value["restarts"] < 2**31:
                value["restarts"] = 0
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        return text, checker(operation.body).is_valid(value)


class Fuzz(ApiTest):
    """Its jobs have a worker that does nothing, so that the test can speak for them, until the file `real` is there."""

    def setUp(self):
        # Printed whether it fails or not: the request that failed comes again with it.
        print(f"openapi: ORCH_FUZZ_SEED={SEED} ORCH_FUZZ_REQUESTS={REQUESTS}", flush=True)
        self.own = pathlib.Path(tempfile.mkdtemp(prefix="orchd-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.own, ignore_errors=True)
        worker = self.own / "worker.sh"
        worker.write_text(f'#!/bin/bash\nhere="$(dirname "$(readlink -f "$0")")"\n[[ -e "$here/real" ]] && exec "{harness.WORKER}" "$@"\n'
                          'until [[ -e "$here/real" ]]; do sleep 0.1; done\n')
        worker.chmod(0o755)
        self.addCleanup(setattr, harness, "WORKER", harness.WORKER)
        harness.WORKER = worker
        self.addCleanup((self.own / "real").touch)
        super().setUp()

    def resources(self):
        status = pathlib.Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024, len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def one(self, operation, generator, token):
        """Sends one request, and says what is wrong with the answer."""
        body, allowed = generator.body(operation)
        headers = generator.headers(token)
        target = generator.target(operation)
        request = "\r\n".join([f"{operation.method} {target} HTTP/1.1", "Host: orchd", f"Content-Length: {len(body)}", *headers]).encode() + b"\r\n\r\n" + body
        shown = request[:600]
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = Answers(self.plain_socket())
            try:
                self.connection.sock.sendall(request)
                status, answered, content = self.connection.one()
                break
            except (EOFError, ConnectionError):
                # The one before it was answered with an end.
                self.connection.sock.close()
                self.connection = None
                if attempt == 2:
                    return f"no answer to {shown}"
        if answered.get("connection") == "close":
            self.connection.sock.close()
            self.connection = None
        if answered.get("content-type") == "text/event-stream":
            return None
        known = operation.documented() | {400, 404, 413, 417, 431}
        if any(line.startswith("Transfer-Encoding") for line in headers):
            known |= {501}
        if status not in known:
            return f"{status} {content[:300]} to {shown}"
        if "\r\n" in target or answered.get("content-type") != "application/json":
            return f"{answered} to {shown}"
        path = target.partition("?")[0]
        is_operation = re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", operation.path), path) is not None
        wrong = complaint(operation if is_operation else OPERATIONS[0], status, json.loads(content))
        if wrong:
            return f"{wrong} to {shown}"
        # With nothing else wrong, the body alone decides whether the request is understood.
        alone = len(headers) == (1 if token else 0) and is_operation and is_sound(target) and "?" not in target
        if alone and allowed is not None and status not in (401, 404, 413) and allowed == (status == 400):
            return f"{status} {content[:300]} to a body that the document {'allows' if allowed else 'forbids'}: {shown}"
        self.seen[(operation.about["operationId"], status)] = self.seen.get((operation.about["operationId"], status), 0) + 1
        return None

    def test_of_every_operation_is_answered_and_leaves_nothing_behind(self):
        done = self.daemon.submit(self.matrix("done", ["a"]))["sweep"]
        job = eventually("a job", lambda: next((j for j in self.daemon.get("/v1/jobs") if j["slurm_job_id"]), None))
        token = (self.daemon.state / "jobs" / job["name"] / "token").read_text()
        claim = {"protocol": 1, "cluster_id": job["slurm_job_id"], "restarts": 0, "copy": "first", "nodes": ["n"]}
        cell = self.daemon.get(f"/v1/sweeps/{done}/cells")[0]
        matrices = [self.matrix("done", ["a"]), "kind: command", "models: [a]\n" * 30, "a: &a [1]\nb: [*a, *a]", "\t", "{}"]
        policy = (ROOT / "policies/default.yaml").read_text()
        known = {
            "sweep": ["victim", "victim", "s0", "s99"], "job": [job["name"]], "cell": [cell["key"], cell["key"][:8], "c0", "c1"],
            "id": ["c0", job["id"], job["name"]], "model": ["m", "other"], "state": ["done", "waiting", "ended"],
            "matrix": matrices, "text": [policy, "name: x", "{}", "weights: [1"], "file": ["f.yaml"], "name": ["", "again"], "catalogs": [[]],
            "cluster_id": [job["slurm_job_id"]], "protocol": [1, 0], "restarts": [0], "copy": ["first"], "nodes": [["n"]],
            "chunk": [0], "generation": [1], "ticket": [1, 2], "most": [1, 64], "time_left": [1000, 0, -5],
            "what": ["done", "failed", "returned"], "cause": ["unknown", "timeout", "gpu_memory"], "offset": [0, -5, 10**9],
            "metrics": ['{"n": {"value": 1, "stderr": 0.5}}', "{}", '{"n": 1}', "[]", '{"n": {"value": 1e308}, "m": {"value": "x"}}', '{"a": ' * 9000]}
        # It would end the daemon, the sweep's only job, or write wherever the body says.
        left_out = {"stop", "cancelJob", "exit", "backup"}
        operations = [o for o in OPERATIONS if o.about["operationId"] not in left_out]
        self.connection, self.seen = None, {}

        def all_of_them(round_number):
            for number, operation in enumerate(operations):
                # Each finds a job that is this worker's, and a sweep that waits.
                status, claimed = self.daemon.call("POST", f"/v1/jobs/{job['name']}/claim", claim, {"Authorization": f"Bearer {token}"})
                self.assertEqual(status, 200, claimed)
                self.daemon.submit(self.matrix("victim", ["v"]), fresh=True)
                of = {**known, "job": known["job"] if operation.is_worker else known["id"][1:], "epoch": [claimed["epoch"]]}
                generator = Generator(f"{SEED}/{round_number}/{number}", of)
                for i in range(REQUESTS):
                    wrong = self.one(operation, generator, token if operation.is_worker else "")
                    self.assertIsNone(wrong, f"request {i} of {operation}, round {round_number}")
            if self.connection:
                self.connection.sock.close()
                self.connection = None

        all_of_them(0)
        eventually("the end of connections", lambda: self.resources()[1] < 200)
        first = self.resources()
        all_of_them(1)
        eventually("the end of connections", lambda: self.resources()[1] <= first[1] + 4, 20)
        second = self.resources()
        # What was submitted and noted stays; so little that a leak of the larger bodies would show.
        self.assertLess(second[0] - first[0], 24, f"MiB more after as many requests again: {first} → {second}")

        # Every way of an operation was gone.
        for operation in operations:
            statuses = {status for name, status in self.seen if name == operation.about["operationId"]}
            self.assertTrue(statuses & {200, 201}, (operation, statuses))
        self.assertIsNone(self.daemon.process.poll())
        for name in ("s1", "victim"):
            self.check("results", 200, {"sweep": name}), self.check("cells", 200, {"sweep": name})
        # The last words of the job, and then real work.
        worker = Generator(f"{SEED}/exit", known)
        leave = next(o for o in OPERATIONS if o.about["operationId"] == "exit")
        for i in range(REQUESTS):
            self.assertIsNone(self.one(leave, worker, token), f"request {i} of {leave}")
        copies = next(o for o in OPERATIONS if o.about["operationId"] == "backup")
        writes = Generator(f"{SEED}/backup", {**known, "file": [str(self.folder / "a.db"), "relative", "", "a\0"]})
        for i in range(REQUESTS):
            self.assertIsNone(self.one(copies, writes, ""), f"request {i} of {copies}")
        if self.connection:
            self.connection.sock.close()
        (self.own / "real").touch()
        self.daemon.call("PUT", "/v1/policy", {"file": "p", "text": policy})
        for model in self.daemon.get("/v1/daemon")["held_models"]:
            self.daemon.call("POST", f"/v1/models/{urllib.parse.quote(model, safe='')}/release")
        after = self.daemon.submit(self.matrix("after", ["x", "y"]))["sweep"]
        self.assertEqual(self.daemon.wait(after)["state"], "done")


class Hostile(ApiTest):
    """Peers that say half a word, too much, or nothing, while others are served."""

    def setUp(self):
        super().setUp()
        self.opened = []
        self.addCleanup(lambda: [sock.close() for sock in self.opened])
        for name in ("plain_socket", "tcp_socket", "tls_socket"):
            setattr(self, name, self.kept(getattr(self, name)))

    def kept(self, make):
        def made(*arguments):
            self.opened.append(make(*arguments))
            return self.opened[-1]

        return made

    def served(self, socks):
        for _ in range(3):
            for sock in socks:
                begin = time.monotonic()
                sock.sendall(b"GET /v1/policy HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % self.token)
                self.assertEqual(Answers(sock).one()[0], 200)
                self.assertLess(time.monotonic() - begin, 5)

    def test_peers_do_not_keep_the_daemon_from_the_others(self):
        self.token = (self.daemon.state / "user.token").read_bytes()
        good = [self.plain_socket(), self.tls_socket()]
        self.served(good)
        began = time.monotonic()
        slow = []
        for make in (self.plain_socket, self.tls_socket):
            for words in (b"", b"GET /v1/st", b"POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nConte", b"GET /v1/status HTTP/1.1\r\n" + b"X: y\r\n" * 100):
                for _ in range(10):
                    slow.append(make())
                    slow[-1].sendall(words)
        silent = [self.tcp_socket() for _ in range(40)]
        for sock in silent[:20]:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # the beginning of a TLS client's first word
        for sock in silent[20:25]:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.served(good)

        for make in (self.plain_socket, self.tls_socket):
            # A body of 64 MiB is refused before it is sent, and one that grows to it before it is whole.
            with make() as sock:
                sock.sendall(b"POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n")
                self.assertEqual(Answers(sock).one()[0], 413)
            with make() as sock:
                sock.sendall(b"POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                answer = Answers(sock)
                try:
                    for _ in range(1024):
                        sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                except (ConnectionError, ssl.SSLError):
                    pass
                try:
                    self.assertEqual(answer.one()[0], 413)
                except (ConnectionError, ssl.SSLError):
                    pass  # it was still sending when the daemon hung up
            # Of pipelined requests the sound ones are answered, the first that is none ends it.
            with make() as sock:
                sound = b"GET /v1/policy HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % self.token
                sock.sendall(sound * 5 + b"\x00\xff garbage \r\n\r\n" + sound * 5)
                answers = Answers(sock)
                self.assertEqual([answers.one()[0] for _ in range(6)], [200] * 5 + [400])
                with self.assertRaises((EOFError, ConnectionError)):
                    answers.one()
        self.served(good)

        # Half of a request is waited for 10 s, and no longer.
        for sock in slow + silent:
            sock.settimeout(max(0.1, began + 20 - time.monotonic()))
            answers = Answers(sock)
            try:
                status, _, _ = answers.one()
                self.assertEqual(status, 408)
                answers.more()
                self.fail("the connection stays open")
            except (EOFError, ConnectionError, ssl.SSLError):
                pass
            sock.close()
        self.served(good)
        for sock in good:
            sock.close()

    def test_bodies_of_nobody_take_bounded_memory(self):
        def memory():
            status = pathlib.Path(f"/proc/{self.daemon.process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

        self.token = (self.daemon.state / "user.token").read_bytes()
        here, before, refused, most = self.plain_socket(), memory(), 0, 0
        piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        for _ in range(14):  # 210 MiB, where 128 are taken at once
            sock = self.tls_socket()
            try:
                sock.sendall(b"POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(15):
                    sock.sendall(piece)
                sock.settimeout(0.3)
                refused += Answers(sock).one()[0] == 503
            except TimeoutError:
                pass  # it waits for the rest
            except (ConnectionError, EOFError, ssl.SSLError):
                refused += 1
            most = max(most, memory() - before)
            self.served([here])
        self.assertGreaterEqual(refused, 5)
        self.assertLess(most, 320, "MiB")  # a text that grows has room to spare
        for sock in self.opened[1:]:
            sock.close()
        # What they held counts no longer.
        with self.plain_socket() as sock:
            sock.sendall(b"POST /v1/sweeps HTTP/1.1\r\nHost: x\r\nContent-Length: 15000000\r\n\r\n" + b" " * 15_000_000)
            self.assertEqual(Answers(sock).one()[0], 400)
        self.served([here])

    def test_600_connections_at_once_are_more_than_it_takes_and_are_survived(self):
        self.token = (self.daemon.state / "user.token").read_bytes()
        files = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
        # From elsewhere, without a word: whoever is on the daemon's host is still let in.
        crowd = [self.tcp_socket() for _ in range(600)]
        here = self.plain_socket()
        self.served([here])
        # On its host: those above the limit are told so.
        crowd += [self.plain_socket() for _ in range(600)]
        unheard = set(crowd[600:])
        for sock in unheard:
            sock.setblocking(False)

        def refused():
            for sock in list(unheard):
                try:
                    if sock.recv(100).startswith(b"HTTP/1.1 503"):
                        unheard.remove(sock)
                except BlockingIOError:
                    pass
            return 600 - len(unheard)

        eventually("the refusals of those above the limit", lambda: refused() >= 88)
        self.served([here])
        for sock in crowd:
            sock.close()
        eventually("the end of the crowd", lambda: len(os.listdir(f"/proc/{self.daemon.process.pid}/fd")) <= files + 4)
        with self.tls_socket() as there:
            self.served([here, there])
        here.close()
        sweep = self.daemon.submit(self.matrix("after", ["a"]))["sweep"]
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")


if __name__ == "__main__":
    main()
