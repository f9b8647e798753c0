"""A backup brought back, on the same host and as on another: restore_test.py ORCHD ORCH_WORKER ROOT ORCHCTL."""

import json
import pathlib
import subprocess
import sys

ORCHCTL = pathlib.Path(sys.argv.pop(4)).resolve()

from daemon import Daemon, DaemonTest, eventually, main  # it reads the arguments that are left


class Restore(DaemonTest):
    def orchctl(self, *words, state=None):
        return subprocess.run([ORCHCTL, *words, "--state", state or self.folder / "other"], capture_output=True, text=True, timeout=60)

    def backup(self):
        self.assertEqual(self.orchctl("backup", self.folder / "copy.db", state=self.daemon.state).returncode, 0)
        return self.folder / "copy.db"

    def test_brings_what_was_measured_and_runs_the_rest_again(self):
        self.addCleanup((self.folder / "go").touch)
        done = self.daemon.submit(self.matrix("done", ["a", "b"]))["sweep"]
        self.daemon.wait(done)
        waits = self.daemon.submit(self.matrix("waits", ["c"], "wait=go"))["sweep"]
        eventually("its start", lambda: self.daemon.sweep(waits)["cells"]["running"])
        copy, results = self.backup(), self.daemon.results(done)

        ended = self.orchctl("restore", copy)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("as another instance", ended.stdout)
        self.assertEqual((self.folder / "other").stat().st_mode & 0o777, 0o700)
        left = json.loads(self.orchctl("status", "--json").stdout)
        self.assertEqual([s["state"] for s in left["sweeps"]], ["done", "running"])
        self.assertNotEqual(left["daemon"]["instance"], self.daemon.endpoint["instance"])

        other = Daemon(self.folder)
        other.state = self.folder / "other"
        other.start()
        try:
            self.assertEqual(other.results(done), results)
            # What ran for the other instance is nobody's here: it is run by a job of this one.
            eventually("its start there", lambda: other.sweep(waits)["cells"]["running"])
            eventually("its second start", lambda: self.runs().count("c") == 2)
            (self.folder / "go").touch()
            self.assertEqual(other.wait(waits)["state"], "done")
            eventually("the end of its jobs", lambda: all(j["state"] == "ended" for j in other.get("/v1/jobs")))
        finally:
            other.kill()

    def test_puts_nothing_in_place_of_what_is_there(self):
        copy = self.backup()
        ended = self.orchctl("restore", copy, state=self.daemon.state)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("a daemon runs", ended.stderr)
        self.daemon.call("POST", "/v1/daemon/stop")
        self.daemon.process.wait(30)
        ended = self.orchctl("restore", copy, state=self.daemon.state)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("orch.db is there already", ended.stderr)
        # A daemon whose database is in a folder of its own: it is looked for there.
        local = self.folder / "local"
        ended = self.orchctl("restore", copy, "--database", local)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        # As it is told to start, it finds what was brought back.
        self.assertTrue(ended.stdout.endswith(f"orchctl up --state {self.folder / 'other'} --database {local}\n"), ended.stdout)
        ended = self.orchctl("restore", copy, "--database", local)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(str(local / "orch.db"), ended.stderr)
        self.assertFalse((self.folder / "other" / "orch.db").exists())
        self.daemon.start()
        self.assertEqual(self.daemon.get("/v1/status")["sweeps"], [])

    def test_takes_only_what_a_backup_is(self):
        for name, content in (("empty", b""), ("text", b"no database\n" * 100)):
            path = self.folder / name
            path.write_bytes(content)
            ended = self.orchctl("restore", path)
            self.assertEqual(ended.returncode, 1, name)
            self.assertFalse((self.folder / "other" / "orch.db").exists())
        for name in ("none", "."):
            self.assertEqual(self.orchctl("restore", self.folder / name).returncode, 2)
        self.assertEqual(self.orchctl("restore").returncode, 2)
        ended = self.orchctl("restore", self.backup(), "--json")
        self.assertEqual(json.loads(ended.stdout), {"file": str(self.folder / "other" / "orch.db"),
                                                    "bytes": (self.folder / "other" / "orch.db").stat().st_size})


if __name__ == "__main__":
    main()
