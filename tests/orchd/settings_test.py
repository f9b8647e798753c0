"""What a start keeps for the next one, and for whom the state directory is: settings_test.py ORCHD ORCH_WORKER ROOT ORCHCTL."""

import grp
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

ORCHCTL = pathlib.Path(sys.argv.pop(4)).resolve()

from daemon import ORCHD, ROOT, WORKER, PROGRAM, UnixConnection, eventually, main  # it reads the arguments that are left

NOBODY = 65534


def as_account(gid, act):
    """What `act` gives in a process of an account without rights, in this group alone; the name of its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(NOBODY)
            result = act()
        except Exception as error:
            result = type(error).__name__
        os.write(writer, json.dumps(result, default=str).encode()[:1000])
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return json.load(told)


class Case(unittest.TestCase):
    def setUp(self):
        # Short, because a socket's path may have 107 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="orchs-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.state = self.folder / "state"
        self.addCleanup(self.down)

    def orchctl(self, *words, path=None, **more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORCH_", "SLURM_"))}
        if path is not None:
            environment["PATH"] = str(path)
        return subprocess.run([ORCHCTL, *map(str, words), "--state", self.state], capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, env=environment, cwd=self.folder, **more)

    def up(self, *options, **more):
        ended = self.orchctl("up", *options, **more)
        self.assertEqual(ended.returncode, 0, ended)
        return ended

    def down(self):
        if (self.state / "endpoint.json").exists():
            self.orchctl("down")

    def again(self, *options):
        """Ended, and started with these options alone."""
        self.assertEqual(self.orchctl("down").returncode, 0)
        return self.up(*options)

    @property
    def endpoint(self):
        return json.loads((self.state / "endpoint.json").read_text())

    @property
    def kept(self):
        return json.loads((self.state / "orchd.json").read_text())

    def call(self, method, path, body=None):
        connection = UnixConnection(self.endpoint["socket"])
        connection.request(method, path, body=None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content


class Kept(Case):
    def options(self):
        templates = self.folder / "templates"
        shutil.copytree(ROOT / "templates", templates)
        for template in templates.glob("*.sbatch"):
            if not template.name.startswith("_"):
                template.write_text(template.read_text() + "\n# of our own\n")
        (self.folder / "site.yaml").write_text("gpus: {}\n")
        shutil.copy(WORKER, self.folder / "our-worker")
        return ("--cluster", "local", "--gpus", 3, "--database", "db", "--jobs", "jobs", "--templates", "templates", "--catalog",
                "site.yaml", "--worker", "our-worker", "--listen", "127.0.0.1:0", "--address", "127.0.0.1", "--address", "localhost",
                "--look-every", 7, "--tidy-every", 9, "--socket-mode", "0640", "--read-group", grp.getgrgid(os.getgid()).gr_name)

    def test_is_every_option_of_the_last_start(self):
        self.up(*self.options())
        kept = self.kept
        group = grp.getgrgid(os.getgid()).gr_name
        self.assertEqual(kept, {"cluster": "local", "on": "", "gpus": 3, "database": str(self.folder / "db"), "jobs": str(self.folder / "jobs"),
                                "templates": str(self.folder / "templates"), "catalog": [str(self.folder / "site.yaml")],
                                "worker": str(self.folder / "our-worker"), "listen": "127.0.0.1:0", "address": ["127.0.0.1", "localhost"],
                                "look-every": "7", "tidy-every": "9", "socket-mode": "0640", "read-group": group})
        self.again()
        self.assertEqual(self.kept, kept)
        # And they hold: where the socket is and for whom, the port, the jobs' directories, their script and worker.
        self.assertEqual(self.endpoint["socket"], str(self.folder / "db" / "orchd.sock"))
        self.assertEqual(stat.S_IMODE(os.stat(self.endpoint["socket"]).st_mode), 0o640)
        self.assertGreater(self.endpoint["port"], 0)
        self.assertEqual(self.endpoint["addresses"], ["127.0.0.1", "localhost"])
        self.assertFalse((self.state / "orch.db").exists())
        self.assertIn("3 GPU slots", self.call("GET", "/v1/daemon")[1]["cluster"])
        (self.folder / "program.py").write_text(PROGRAM)
        matrix = {"name": "m", "kind": "command", "models": ["m"], "tasks": ["a"],
                  "command": {"run": ["python3", str(self.folder / "program.py"), "{out}", "{task}"], "gpus": 0, "time": "1m"}}
        self.assertEqual(self.call("POST", "/v1/sweeps", {"matrix": json.dumps(matrix), "file": "m.yaml"})[0], 201)
        eventually("its end", lambda: self.call("GET", "/v1/status?sweep=s1")[1]["sweeps"][0]["state"] == "done")
        (job,) = (self.folder / "jobs").iterdir()
        self.assertIn("# of our own", (job / "job.sh").read_text())
        self.assertEqual(os.readlink(job / "orch-worker"), str(self.folder / "our-worker"))

    def test_is_replaced_by_what_is_given_again_and_goes_back_to_the_default(self):
        self.up("--cluster", "local", "--database", "db", "--listen", "127.0.0.1:0", "--address", "127.0.0.1", "--link", "files")
        self.again("--database", "other", "--address", "localhost")
        self.assertEqual(self.endpoint["socket"], str(self.folder / "other" / "orchd.sock"))
        self.assertEqual(self.endpoint["addresses"], ["localhost"])
        self.again("--listen", "none")
        self.assertEqual((self.endpoint["port"], self.kept["listen"]), (0, "none"))
        self.again("--socket-mode", "0660", "--look-every", "60", "--tidy-every", "60")
        self.assertEqual((self.kept["socket-mode"], self.kept["look-every"]), ("0660", "60"))
        self.again("--socket-mode", "default", "--look-every", "none", "--tidy-every", "default")
        self.again("--listen", "default", "--database", "none", "--address", "none", "--link", "default")
        self.assertEqual(self.kept, {"cluster": "local", "on": "", "gpus": 0})
        self.assertEqual(self.endpoint["socket"], str(self.state / "orchd.sock"))

    def test_is_not_what_a_start_was_given_that_failed(self):
        self.up("--cluster", "local")
        self.orchctl("down")
        ended = self.orchctl("up", "--read-group", "no-such-group", "--jobs", "elsewhere")
        self.assertEqual(ended.returncode, 1, ended)
        self.assertIn("there is no Unix group 'no-such-group'", ended.stderr)
        self.up()
        self.assertEqual(self.kept, {"cluster": "local", "on": "", "gpus": 0})

    def test_other_options_for_a_daemon_that_runs_are_refused_and_the_same_are_not(self):
        given = ("--cluster", "local", "--gpus", 2, "--database", "db", "--listen", "none")
        self.up(*given)
        pid = self.endpoint["pid"]
        self.assertIn("runs already", self.up(*given).stdout)
        self.assertIn("runs already", self.up("--jobs", "none", "--policy", "default").stdout)
        for options, names in ((("--database", "other"), "--database takes"), (("--gpus", 4, "--listen", "127.0.0.1:0"), "--gpus, --listen take"),
                               (("--cluster", "slurm"), "--cluster takes"), (("--cluster", "h100x8"), "--cluster takes"),
                               (("--policy", "fastest"), "--policy takes"), (("--database", "none"), "--database takes")):
            ended = self.orchctl("up", *options)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn(names + " effect at a start only: orchctl down, then orchctl up", ended.stderr)
        self.assertEqual((self.endpoint["pid"], self.kept["database"]), (pid, str(self.folder / "db")))

    def test_that_is_damaged_is_told(self):
        self.up("--cluster", "local")
        self.orchctl("down")
        good = self.kept
        for text in ("", "{", "[]", json.dumps({**good, "cluster": "cloud"}), json.dumps({**good, "database": 7}),
                     json.dumps({**good, "database": "relative"}), json.dumps({**good, "address": "one"}), json.dumps({**good, "link": "pigeon"}),
                     json.dumps({**good, "socket-mode": "0999"}), json.dumps({**good, "look-every": "soon"}), json.dumps({**good, "gpus": -1})):
            (self.state / "orchd.json").write_text(text)
            ended = self.orchctl("up")
            self.assertEqual(ended.returncode, 1, (text, ended))
            self.assertIn("orchd.json is damaged", ended.stderr)
        # What a newer version keeps beside it is no damage.
        (self.state / "orchd.json").write_text(json.dumps({**good, "colour": "blue"}))
        self.up()

    def test_a_mode_under_which_nobody_could_connect_is_refused(self):
        for mode in ("0060", "rw", "07777", "8"):
            ended = self.orchctl("up", "--cluster", "local", "--socket-mode", mode)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn("is no mode of a socket", ended.stderr)


class Where(Case):
    """Slurm is pretended: only what `sinfo` on the PATH says counts before the first start."""

    def sinfo(self, text):
        (self.folder / "bin").mkdir()
        if text is not None:
            (self.folder / "bin" / "sinfo").write_text(text)
            (self.folder / "bin" / "sinfo").chmod(0o755)
        return self.folder / "bin"

    def test_slurm_that_does_not_answer_is_no_reason_to_run_jobs_here(self):
        path = self.sinfo("#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2\nexit 1\n")
        for options in ((), ("--cluster", "h100x8")):
            ended = self.orchctl("up", *options, path=path)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn("Unable to contact slurm controller", ended.stderr)
            self.assertIn("say --cluster local", ended.stderr)
        (found,) = [each for each in json.loads(self.orchctl("doctor", "--json", path=path).stdout) if each["check"] == "Slurm"]
        self.assertEqual(found["state"], "warning")
        self.assertIn("Unable to contact slurm controller", found["what"])
        self.up("--cluster", "local", path=path)
        self.orchctl("down")
        # From now on that is known.
        self.up("--cluster", "h100x8", path=path)
        self.assertEqual(self.kept["cluster"], "local")

    def test_without_slurm_this_machine_plays_the_cluster_of_a_file(self):
        self.up("--cluster", "h100x8", path=self.sinfo(None))
        self.assertEqual(self.kept["cluster"], "local")


class Shared(Case):
    SECRETS = ("orch.db", "orch.lock", "secret", "user.token", "key.pem", "orchd.json", "orchd.log", "cluster.yaml")

    def mode(self, name=""):
        return stat.S_IMODE(os.stat(self.state / name).st_mode)

    def test_without_a_socket_for_others_the_state_directory_is_the_accounts_own(self):
        self.state.mkdir(mode=0o755)
        self.up("--cluster", "local")
        self.assertEqual(self.mode(), 0o700)

    @unittest.skipIf(os.getuid() != 0, "another account is tried as root only")
    def test_a_group_reaches_the_socket_and_nothing_else(self):
        group = next(g for g in grp.getgrall() if g.gr_gid not in (0, NOBODY))
        os.chmod(self.folder, 0o755)
        self.state.mkdir()
        os.chown(self.state, -1, group.gr_gid)
        self.state.chmod(0o2750)
        self.up("--cluster", "local", "--socket-mode", "0660", "--read-group", group.gr_name, "--listen", "127.0.0.1:0", "--address", "127.0.0.1")

        def ask(method, path):
            connection = UnixConnection(self.endpoint["socket"])
            connection.request(method, path)
            return connection.getresponse().status

        for again in range(2):
            self.assertEqual(self.mode(), 0o2750)
            self.assertEqual(self.mode("orchd.sock"), 0o660)
            self.assertEqual(as_account(group.gr_gid, lambda: ask("GET", "/v1/status")), 200)
            self.assertEqual(as_account(group.gr_gid, lambda: ask("POST", "/v1/daemon/stop")), 403)
            self.assertEqual(as_account(NOBODY, lambda: ask("GET", "/v1/status")), "PermissionError")
            for name in self.SECRETS:
                self.assertEqual(self.mode(name) & 0o077, 0, name)
                self.assertEqual(as_account(group.gr_gid, (self.state / name).read_bytes), "PermissionError", name)
            for name in ("jobs", "local"):
                self.assertEqual(as_account(group.gr_gid, lambda: os.listdir(self.state / name)), "PermissionError", name)
            if not again:
                self.again()
        warned = json.loads(self.orchctl("doctor", "--json").stdout)
        self.assertEqual([f["state"] for f in warned if f["check"] == "state directory"], ["ok"])
        self.again("--socket-mode", "0600")
        self.assertEqual(self.mode() & 0o777, 0o700)


class Doctor(Case):
    def database(self):
        findings = json.loads(self.orchctl("doctor", "--json").stdout)
        (found,) = [f for f in findings if f["check"] == "database"]
        return found

    def test_reads_the_database_whether_a_daemon_runs_or_not(self):
        self.up("--cluster", "local")
        self.assertEqual(self.database()["state"], "ok")
        self.orchctl("down")
        self.assertEqual(self.database()["state"], "ok")
        file = self.state / "orch.db"
        sound = file.read_bytes()
        self.assertEqual(file.stat().st_size, len(sound))
        # The last pages: what a start reads first is as it was.
        file.write_bytes(sound[:-8192] + b"\xff" * 8192)
        found = self.database()
        self.assertEqual(found["state"], "problem", found)
        self.assertIn("orchctl restore", found["advice"])
        file.write_bytes(b"no database" * 1000)
        self.assertEqual(self.database()["state"], "problem")
        file.write_bytes(sound)
        self.assertEqual(self.database()["state"], "ok")


class Certificates(Case):
    def test_of_which_a_file_is_missing_are_made_anew_and_found_again(self):
        self.up("--cluster", "local", "--listen", "127.0.0.1:0", "--address", "127.0.0.1")
        before = self.endpoint["certificate"]
        self.orchctl("down")
        (self.state / "key.pem").unlink()
        self.up()
        self.assertNotEqual(self.endpoint["certificate"], before)
        self.assertIn("key.pem was missing: certificate and key were made anew", (self.state / "orchd.log").read_text())


if __name__ == "__main__":
    main()
