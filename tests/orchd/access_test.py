"""Who may do what: over the socket by account, over TLS by token, workers for their own job alone."""

import hashlib
import json
import os
import ssl
import sys
import traceback
import http.client
import unittest

from daemon import DaemonTest, eventually, main


class Access(DaemonTest):
    OPTIONS = ("--listen", "127.0.0.1:0", "--address", "127.0.0.1")

    def tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the fingerprint is looked at below, as clients do
        connection = http.client.HTTPSConnection("127.0.0.1", self.daemon.endpoint["port"], context=context, timeout=30)
        connection.connect()
        shown = hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest()
        self.assertEqual(shown, self.daemon.endpoint["certificate"])
        return connection

    def over_tls(self, method, path, token=None, body=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.daemon.call(method, path, body, headers, self.tls())

    def test_over_tls_takes_the_users_token(self):
        token = (self.daemon.state / "user.token").read_text()
        self.assertRegex(token, "^[0-9a-f]{64}$")
        self.assertEqual(self.over_tls("GET", "/v1/status", token)[0], 200)
        for wrong in (None, "", token[:-1], token[:-1] + "x", "0" * 64):
            status, body = self.over_tls("GET", "/v1/status", wrong)
            self.assertEqual(status, 401, wrong)
            self.assertNotIn(token, json.dumps(body))

    def test_a_jobs_token_speaks_for_that_job_and_for_nothing_else(self):
        sweep = self.daemon.submit(self.matrix("two", ["a"], "wait=go"))["sweep"]
        eventually("a start", lambda: self.runs())
        job = self.daemon.get("/v1/jobs")[0]
        folder = self.daemon.state / "jobs" / job["name"]
        token = (folder / "token").read_text()
        for path in ("/v1/status", "/v1/jobs", "/v1/events"):
            self.assertEqual(self.over_tls("GET", path, token)[0], 401, path)
        self.assertEqual(self.over_tls("POST", f"/v1/sweeps/{sweep}/cancel", token, {})[0], 401)
        other = job["name"][:-1] + "2"
        self.assertEqual(self.over_tls("POST", f"/v1/jobs/{other}/lease", token, {})[0], 401)
        self.assertEqual(self.over_tls("POST", f"/v1/jobs/{job['name']}/heartbeat", token, {"epoch": 1, "held": []})[0], 200)
        # The socket's owner is an admin, and no worker.
        self.assertEqual(self.daemon.call("POST", f"/v1/jobs/{job['name']}/heartbeat", {"epoch": 1, "held": []})[0], 401)
        (self.folder / "go").touch()
        self.daemon.wait(sweep)
        eventually("the job's end", lambda: self.daemon.get("/v1/jobs")[0]["state"] == "ended")
        # Once it is ended, the token leads to nothing.
        for verb, message in (("lease", {"epoch": 1, "time_left": 100, "most": 1, "loaded": [], "held": []}),
                              ("deliver", {"epoch": 1, "items": []})):
            self.assertEqual(self.over_tls("POST", f"/v1/jobs/{job['name']}/{verb}", token, message)[0], 410, verb)

    def test_secrets_are_in_files_of_the_owner_and_nowhere_else(self):
        sweep = self.daemon.submit(self.matrix("secret", ["a"], "environment=ORCH_TOKEN"))["sweep"]
        self.daemon.wait(sweep)
        job = self.daemon.get("/v1/jobs")[0]
        folder = self.daemon.state / "jobs" / job["name"]
        token = (folder / "token").read_text()
        for path in (self.daemon.state / "secret", self.daemon.state / "user.token", folder / "token", self.daemon.state / "key.pem"):
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        secrets = [token, (self.daemon.state / "secret").read_text(), (self.daemon.state / "user.token").read_text()]
        self.daemon.call("GET", "/v1/events")
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name not in ("token", "secret", "user.token"):
                content = path.read_bytes()
                for secret in secrets:
                    self.assertNotIn(secret.encode(), content, path)

    @unittest.skipIf(os.getuid() != 0, "another account is tried as root only")
    def test_another_account_has_no_role(self):
        # The state directory keeps others out already; opened up, the socket's mode and the roles still do.
        os.chmod(self.folder, 0o755), os.chmod(self.daemon.state, 0o755)
        os.chmod(self.daemon.endpoint["socket"], 0o666)
        nobody = 65534
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(nobody), os.setuid(nobody)
                status, body = self.daemon.call("GET", "/v1/status")
                os.write(writes, json.dumps([status, body]).encode())
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as pipe:
            status, body = json.load(pipe)
        os.waitpid(child, 0)
        self.assertEqual(status, 403)
        self.assertIn("has the role none", body["error"]["what"])

    def test_a_newer_copy_ends_the_older(self):
        self.daemon.submit(self.matrix("fenced", ["a"], "wait=go"))
        eventually("a start", lambda: self.runs())
        job = self.daemon.get("/v1/jobs")[0]
        token = (self.daemon.state / "jobs" / job["name"] / "token").read_text()
        claim = {"protocol": 1, "cluster_id": job["slurm_job_id"], "restarts": 1, "copy": "another", "nodes": ["n"]}
        status, body = self.over_tls("POST", f"/v1/jobs/{job['name']}/claim", token, claim)
        self.assertEqual((status, body["epoch"]), (200, 2))
        lease = {"epoch": 1, "time_left": 1000, "most": 1, "loaded": [], "held": []}
        self.assertEqual(self.over_tls("POST", f"/v1/jobs/{job['name']}/lease", token, lease)[0], 410)
        # Slurm ids that are not this job's are refused.
        self.assertEqual(self.over_tls("POST", f"/v1/jobs/{job['name']}/claim", token, {**claim, "cluster_id": "999"})[0], 410)
        (self.folder / "go").touch()


if __name__ == "__main__":
    main()
