"""The crash test: a sweep of short cells on a real Slurm, during which daemon, workers, a node and slurmctld die.

Called as: crash_test.py ORCHD ORCH_WORKER ROOT [--cells N] [--daemon-kills N] [--worker-kills N] [--seed N], with SLURM_CONF
and ORCH_TEST_CLUSTER set (scripts/test-cluster run). At the end every cell has exactly one result, Slurm has no job, and no
cell was started again after its result was delivered. A seed chooses the moments, each a number of cells that are done, so
that the same seed chooses the same on any machine.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import sys
import time

from slurm_daemon import ENDED, SlurmDaemonTest, cluster, eventually, main, run, write_cluster

parser = argparse.ArgumentParser()
for name, most in {"cells": 2000, "daemon-kills": 20, "worker-kills": 20}.items():
    parser.add_argument(f"--{name}", type=int, default=most)
parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
OPTIONS = parser.parse_args(sys.argv[4:])
del sys.argv[4:]

LANES = 4  # sweeps whose environments differ, so that they need jobs of their own


def workers(state):
    """Ids of what runs as orch-worker for jobs of this state directory: the worker, and its helper that starts programs."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].startswith(os.fsencode(state / "jobs")) and words[0].endswith(b"/orch-worker"):
                    found.append(int(entry.name))
    return sorted(found)


class Crash(SlurmDaemonTest):
    def setUp(self):
        path = pathlib.Path("/tmp") / f"orch-cluster-{os.getpid()}.yaml"
        self.addCleanup(path.unlink, missing_ok=True)
        self.OPTIONS = (*self.OPTIONS, "--cluster", str(write_cluster(path)))
        super().setUp()

    def test_every_cell_has_one_result(self):
        print(f"seed {OPTIONS.seed}", flush=True)
        began = time.monotonic()
        self.random = random.Random(OPTIONS.seed)
        self.sweeps = {}
        for lane in range(LANES):
            tasks = [f"c{i}" for i in range(lane, OPTIONS.cells, LANES)]
            matrix = json.loads(self.matrix(f"lane{lane}", tasks, time="10s", gpus=1))
            matrix["submit"] = {"environment": {"LANE": str(lane)}}
            self.sweeps[self.daemon.submit(json.dumps(matrix))["sweep"]] = tasks
        self.done = collections.Counter()
        for moment, what in self.moments():
            self.work_until(moment)
            self.done[what.__name__] += what()
        self.work_until(OPTIONS.cells)
        seconds = time.monotonic() - began
        for sweep, tasks in self.sweeps.items():
            self.assertEqual(self.daemon.wait(sweep, 120)["state"], "done")
            self.assert_results(sweep, tasks)
        again = self.assert_once()
        # Moments that came when the last cell was done already found nobody; most did not.
        self.assertGreaterEqual(2 * self.done["kill_worker"], OPTIONS.worker_kills)
        print(f"{OPTIONS.cells} cells in {seconds:.0f} s, {self.done['kill_daemon']} daemons and {self.done['kill_worker']} workers "
              f"killed, a node down and up, slurmctld restarted: each has one result, {again} were begun more than once, none "
              f"after its delivery", flush=True)

    def moments(self):
        moments = [(self.random.randrange(OPTIONS.cells * 95 // 100), what)
                   for what, times in ((self.kill_daemon, OPTIONS.daemon_kills), (self.kill_worker, OPTIONS.worker_kills),
                                       (self.restart_controller, 1)) for _ in range(times)]
        down = self.random.randrange(OPTIONS.cells // 10, OPTIONS.cells // 2)
        moments += [(down, self.node_down), (down + OPTIONS.cells // 4, self.node_up)]
        return sorted(moments, key=lambda moment: moment[0])

    def cells_done(self):
        return sum(sweep["cells"]["done"] for sweep in self.daemon.get("/v1/status")["sweeps"])

    def is_over(self):
        return all(sweep["state"] in ENDED for sweep in self.daemon.get("/v1/status")["sweeps"])

    def work_until(self, cells):
        # A worker that dies takes what it held with it until Slurm says so; without results for so long something hangs.
        best, since = -1, time.monotonic()
        while (now := self.cells_done()) < cells:
            if now > best:
                best, since = now, time.monotonic()
            if time.monotonic() > since + 150:
                self.fail(f"no cell was done in 150 s: {self.daemon.get('/v1/status')}")
            time.sleep(0.05)

    def kill_daemon(self):
        self.daemon.kill()
        time.sleep(self.random.uniform(0, 1))
        self.daemon.start()
        return 1

    def kill_worker(self):
        # Between two moments the last cells may have been done: then no worker comes any more.
        all_done = object()
        there = eventually("a worker", lambda: workers(self.daemon.state) or (all_done if self.is_over() else None), 120)
        if there is all_done:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(there), signal.SIGKILL)
            return 1
        return self.kill_worker()

    def node_down(self):
        busy = run("squeue", "--noheader", "--states=R", "--format=%N").split() or ["gpu1"]
        self.node = self.random.choice(sorted(busy))
        cluster("node", self.node, "down")
        return 1

    def node_up(self):
        cluster("node", self.node, "up")
        return 1

    def restart_controller(self):
        cluster("ctld", "restart")
        return 1

    def assert_once(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.daemon.state}/orch.db?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT names.name, results.at, count(*) FROM results JOIN cells ON cells.id = results.cell "
                                 "JOIN names ON names.id = cells.task GROUP BY cells.id").fetchall()
        self.assertEqual(len(rows), OPTIONS.cells)
        self.assertEqual({count for _, _, count in rows}, {1})
        delivered = {name: at / 1000 for name, at, _ in rows}
        starts = self.runs()
        for start in starts:
            self.assertLessEqual(start["at"], delivered[start["cell"]], f"{start} was begun after its delivery")
        return sum(times > 1 for times in collections.Counter(start["cell"] for start in starts).values())


if __name__ == "__main__":
    main()
