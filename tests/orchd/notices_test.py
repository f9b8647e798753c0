"""Whom the daemon tells that a sweep ended: once each, by a command and by a webhook, through restarts and crashes."""

import http.server
import json
import signal
import threading

from daemon import DaemonTest, eventually, main

# Told by a command: a file for each message, and a line for each run.
PAGE = """#!/bin/sh
cat >"$0.$$.new" && mv "$0.$$.new" "$0.$$.json"
"""


class Hook(http.server.ThreadingHTTPServer):
    """A webhook on loopback, which keeps what it is sent."""

    def __init__(self):
        hook = self
        self.messages = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.messages.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.shutdown()
        self.server_close()


class Notices(DaemonTest):
    def tell(self, *targets):
        file = self.daemon.state / "notify.yaml"
        file.write_text(json.dumps({"notify": targets}))
        file.chmod(0o600)

    def page(self, name="page"):
        file = self.folder / name
        file.write_text(PAGE)
        file.chmod(0o755)
        return str(file)

    def pages(self, name="page"):
        return [json.loads(file.read_text()) for file in self.folder.glob(name + ".*.json")]

    def journal(self, kind):
        return [event for event in self.daemon.get("/v1/events") if event["kind"] == kind]

    def test_tell_everybody_who_asked_once(self):
        hook = Hook()
        self.addCleanup(hook.end)
        self.tell({"command": [self.page()]}, {"on": ["sweep_ended"], "webhook": f"http://127.0.0.1:{hook.server_port}/T0?key=1"},
                  {"on": ["alert"], "command": [self.page("other")]})
        sweep = self.daemon.submit(self.matrix("nightly", ["a", "b"]))["sweep"]
        self.daemon.wait(sweep)
        told = eventually("the journal's word on it", lambda: self.journal("notice.told"))
        self.assertEqual(len(told), 1)
        self.assertEqual(told[0]["sweep"], sweep)
        self.assertEqual([(m["kind"], m["sweep"], m["text"]) for m in self.pages()],
                         [("sweep_ended", sweep, "nightly: 2 of 2 cells are done")])
        self.assertEqual([(path, kind, m["text"]) for path, kind, m in hook.messages],
                         [("/T0?key=1", "application/json", "nightly: 2 of 2 cells are done")])
        self.assertEqual(self.pages("other"), [])
        # A restart tells nobody again; a sweep that ends again does.
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait(self.daemon.submit(self.matrix("second", ["c"]))["sweep"])
        eventually("the second word", lambda: len(self.journal("notice.told")) == 2)
        self.assertEqual(sorted(m["text"] for m in self.pages()),
                         ["nightly: 2 of 2 cells are done", "second: 1 of 1 cells are done"])

    def test_say_in_the_journal_who_could_not_be_told(self):
        self.tell({"command": [str(self.folder / "missing")]}, {"command": [self.page()]})
        self.daemon.wait(self.daemon.submit(self.matrix("nightly", ["a"]))["sweep"])
        failed = eventually("the journal's word on it", lambda: self.journal("notice.failed"))
        self.assertIn("missing' was not found", failed[0]["text"])
        self.assertEqual(len(self.pages()), 1)

    def test_are_not_told_twice_when_the_daemon_is_killed_while_it_tells(self):
        gate = self.folder / "gate"
        script = self.folder / "slow"
        script.write_text(f"#!/bin/sh\necho x >>{self.folder}/begun\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n")
        script.chmod(0o755)
        self.tell({"command": [str(script)]})
        self.daemon.wait(self.daemon.submit(self.matrix("nightly", ["a"]))["sweep"])
        eventually("the beginning", lambda: (self.folder / "begun").exists())
        self.daemon.kill()
        gate.touch()
        self.daemon.start()
        unclear = eventually("the journal's word on it", lambda: self.journal("notice.unclear"))
        self.assertIn("nightly: 1 of 1 cells are done", unclear[0]["text"])
        self.assertEqual((self.folder / "begun").read_text(), "x\n")

    def test_that_wait_behind_one_when_the_daemon_ends_are_told_after_its_next_start(self):
        gate = self.folder / "gate"
        script = self.folder / "slow"
        script.write_text(f"#!/bin/sh\necho x >>{self.folder}/begun\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n")
        script.chmod(0o755)
        self.tell({"command": [str(script)]})
        for name in ("first", "second"):
            self.daemon.wait(self.daemon.submit(self.matrix(name, [name]))["sweep"])
        eventually("the beginning", lambda: (self.folder / "begun").exists())
        self.daemon.process.send_signal(signal.SIGTERM)
        gate.touch()
        self.assertEqual(self.daemon.process.wait(timeout=30), 0)
        self.daemon.log.close()
        self.daemon.start()
        eventually("both words", lambda: len(self.journal("notice.told")) == 2)
        self.assertEqual((self.folder / "begun").read_text(), "x\nx\n")
        self.assertEqual(self.journal("notice.unclear"), [])

    def test_of_a_webhook_are_not_sent_from_a_file_that_others_may_read(self):
        self.tell({"webhook": "http://127.0.0.1:9/SECRET"})
        (self.daemon.state / "notify.yaml").chmod(0o640)
        self.daemon.wait(self.daemon.submit(self.matrix("nightly", ["a"]))["sweep"])
        failed = eventually("the journal's word on it", lambda: self.journal("notice.failed"))
        self.assertIn("others may read it: chmod 600", failed[0]["text"])
        self.assertNotIn("SECRET", (self.folder / "orchd.log").read_text())

    def test_with_a_bad_file_are_not_sent_and_no_daemon_starts_with_one(self):
        (self.daemon.state / "notify.yaml").write_text("notify: [{mial: a@b}]")
        self.daemon.wait(self.daemon.submit(self.matrix("nightly", ["a"]))["sweep"])
        failed = eventually("the journal's word on it", lambda: self.journal("notice.failed"))
        self.assertIn("notify.yaml, which says whom to tell, has a mistake", failed[0]["text"])
        self.assertNotIn("a@b", failed[0]["text"], "what stands in the file may be a secret")
        self.daemon.kill(signal.SIGTERM)
        with self.assertRaisesRegex(AssertionError, "which says whom to tell, has a mistake"):
            self.daemon.start()
        (self.daemon.state / "notify.yaml").unlink()
        self.daemon.start()


if __name__ == "__main__":
    main()
