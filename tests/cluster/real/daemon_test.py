"""The daemon on a real Slurm: jobs that srun starts over PMIx, and what Slurm and its people do to them."""

import collections
import json
import pathlib
import random
import time

from slurm_daemon import SlurmDaemonTest, cluster, eventually, has_accounting, main, nodes_of, queue, run, write_cluster


class OnSlurm(SlurmDaemonTest):
    LINK = "http"
    PARTITIONS = ("main",)

    def setUp(self):
        path = pathlib.Path("/tmp") / f"orch-cluster-{id(self)}.yaml"
        self.addCleanup(path.unlink, missing_ok=True)
        self.OPTIONS = (*self.OPTIONS, "--cluster", str(write_cluster(path, self.PARTITIONS)), "--link", self.LINK)
        super().setUp()

    def submit(self, name, tasks, *what, **command):
        return self.daemon.submit(self.matrix(name, tasks, *what, **command))["sweep"]

    def started(self, count=1, seconds=60):
        return eventually(f"{count} starts", lambda: len(self.runs()) >= count and self.runs(), seconds)

    def go(self):
        (self.folder / "go").touch()

    def finish(self, sweep, tasks, seconds=120):
        self.assertEqual(self.daemon.wait(sweep, seconds)["state"], "done")
        return self.assert_results(sweep, tasks)

    def assert_nothing_failed(self):
        """What happened to a job is no fault of the cells that ran in it."""
        self.assertEqual([e["text"] for e in self.daemon.get("/v1/events") if e["kind"] == "cell.attempt_failed"], [])


class Sweeps(OnSlurm):
    def test_run_every_cell_once(self):
        tasks = [f"t{i}" for i in range(60)]
        sweep = self.submit("many", tasks, time="5s")
        results = self.finish(sweep, tasks)
        self.assertEqual({r["attempts"] for r in results}, {1})
        self.assertCountEqual([line["cell"] for line in self.runs()], tasks)
        eventually("the end of the jobs", lambda: len(self.jobs("ended")) == len(self.jobs()))
        for job in self.jobs():
            self.assertEqual(self.end_of(job), "done", job)
        self.check_logs()

    def check_logs(self):
        """A job's log is in its directory, by its name and number, and srun and PMIx had nothing to complain of."""
        folders = list((self.daemon.state / "jobs").iterdir())
        self.assertEqual(len(folders), len(self.jobs()))
        for folder in folders:
            log = folder / f"{folder.name}-{(folder / 'claim').read_text().strip()}.out"
            for line in log.read_text().splitlines():
                self.assertTrue(line.startswith(("orch:", "orch-worker:")), line)

    def test_give_cells_gpus_of_their_own(self):
        # Two of one GPU, four of half of one, side by side in one job or in several.
        whole = self.submit("whole", ["w1", "w2"], "sleep=3", gpus=1, time="30s")
        parts = self.submit("parts", ["p1", "p2", "p3", "p4"], "sleep=3", gpus=0.5, time="30s")
        self.finish(whole, ["w1", "w2"])
        self.finish(parts, ["p1", "p2", "p3", "p4"])
        ends = {line["cell"]: line["at"] for line in self.runs("end")}
        starts = self.runs()
        share = {"w": 1, "p": 0.5}
        for line in starts:
            gpus = line["gpus"].split(",")
            self.assertEqual(len(gpus), 1, line)
            # All that runs on the same GPU of the same node at the time of this start.
            there = [s for s in starts if (s["nodes"], s["job"], s["gpus"]) == (line["nodes"], line["job"], line["gpus"])
                     and s["at"] <= line["at"] < ends[s["cell"]]]
            self.assertLessEqual(sum(share[s["cell"][0]] for s in there), 1, there)
        at_once = max(sum(s["at"] <= line["at"] < ends[s["cell"]] for s in starts) for line in starts)
        self.assertGreater(at_once, 1, "nothing ran side by side")

    def test_of_two_nodes_run_once_and_know_their_nodes(self):
        sweep = self.submit("wide", ["a"], gpus=8, nodes=2, time="30s")
        self.finish(sweep, ["a"])
        (start,) = self.runs()
        self.assertEqual(len(nodes_of(start["nodes"])), 2, start)
        (job,) = self.jobs()
        self.assertEqual(sorted(job["nodes"]), sorted(nodes_of(start["nodes"])))
        eventually("the job's end", lambda: self.jobs("ended"))
        self.check_logs()

    def test_of_a_job_that_somebody_cancels_go_on_in_another(self):
        sweep = self.submit("cancelled", ["a", "b"], "wait=go")
        first = self.started()[0]["job"]
        run("scancel", first)
        eventually("a start in another job", lambda: {line["job"] for line in self.runs()} - {first}, 90)
        self.go()
        self.finish(sweep, ["a", "b"])
        self.assert_nothing_failed()

    def test_of_a_job_that_is_requeued_run_in_its_next_copy_or_another(self):
        sweep = self.submit("requeued", ["a"], "wait=go")
        first = self.started()[0]
        run("scontrol", "requeue", first["job"])
        eventually("another start", lambda: len(self.runs()) == 2, 90)
        self.go()
        self.finish(sweep, ["a"])
        self.assert_nothing_failed()

    def test_give_way_to_a_higher_partition(self):
        sweep = self.submit("low", ["a"], "wait=go", gpus=8)
        first = self.started()[0]
        # More than the other nodes have: the job is in the way.
        urgent = run("sbatch", "--parsable", "--partition=urgent", "--nodes=4", "--gres=gpu:8", "--time=5",
                     "--output=/dev/null", "--wrap=sleep 4").strip()
        eventually("the end of the urgent job", lambda: not run("squeue", "-h", "-j", urgent, "-t", "PD,R,CG", check=False), 60)
        eventually("another start", lambda: len(self.runs()) == 2, 90)
        self.go()
        self.finish(sweep, ["a"])
        self.assert_nothing_failed()
        self.assertEqual(len(self.runs("end")), 1)

    def test_of_a_job_whose_time_is_cut_go_on_in_another(self):
        sweep = self.submit("cut", ["a"], "wait=go", time="10m")
        first = self.started()[0]["job"]
        # The policy's signal is due at once, and the limit in a minute: the worker drains, and gives the cell back.
        run("scontrol", "update", f"jobid={first}", "TimeLimit=1")
        eventually("the draining of the job", lambda: self.jobs("draining", "ended"), 90)
        eventually("a start in another job", lambda: {line["job"] for line in self.runs()} - {first}, 150)
        self.go()
        self.finish(sweep, ["a"])
        self.assert_nothing_failed()
        self.assertEqual([self.end_of(job) for job in self.jobs() if job["slurm_job_id"] == first], ["drained"])

    def test_of_a_worker_that_stands_still_go_on_in_another(self):
        sweep = self.submit("still", ["a"], "wait=go", time="10m")
        first = self.started()[0]["job"]
        (job,) = self.jobs("running")
        pids = run("pgrep", "-f", f"/orch-{self.daemon.instance}-{job['id'][1:]}/orch-worker").split()
        run("kill", "-STOP", *pids)
        # It hears no signal until Slurm wakes it at the limit, to end it.
        run("scontrol", "update", f"jobid={first}", "TimeLimit=1")
        eventually("another start", lambda: len(self.runs()) == 2, 200)
        self.go()
        self.finish(sweep, ["a"])
        self.assert_nothing_failed()
        self.assertEqual(self.end_of(job), "drained")

    def test_of_a_node_that_goes_down_are_done_on_others(self):
        sweep = self.submit("down", ["a"], "wait=go")
        first = self.started()[0]
        cluster("node", first["nodes"], "down")
        # Slurm finds out when the node has not answered for SlurmdTimeout, or when we say so.
        run("scontrol", "update", f"nodename={first['nodes']}", "state=down", "reason=test")
        again = eventually("another start", lambda: len(self.runs()) == 2 and self.runs()[1], 120)
        self.assertNotEqual(again["nodes"], first["nodes"])
        self.go()
        self.finish(sweep, ["a"])

    def test_of_a_node_that_slurm_lost_count_once_though_they_run_twice(self):
        # Its slurmd is gone, and the worker goes on: Slurm requeues the job, and two copies of it work.
        sweep = self.submit("lost", ["a"], "wait=go")
        first = self.started()[0]
        cluster("node", first["nodes"], "lost")
        run("scontrol", "update", f"nodename={first['nodes']}", "state=down", "reason=test")
        again = eventually("another start", lambda: len(self.runs()) == 2 and self.runs()[1], 120)
        self.assertNotEqual(again["nodes"], first["nodes"])
        self.go()
        (result,) = self.finish(sweep, ["a"])
        self.assertEqual(result["metrics"]["number"]["value"], ord("a"))

    def test_go_on_while_the_controller_is_away(self):
        tasks = [f"t{i}" for i in range(12)]
        sweep = self.submit("away", tasks, "sleep=0.5", time="5s")
        self.started()
        cluster("ctld", "down")
        try:
            eventually("some results", lambda: self.daemon.sweep(sweep)["cells"]["done"] >= 6)
            # A start finds that its jobs are in Slurm, though Slurm does not answer.
            self.daemon.kill()
            self.daemon.start()
            later = self.submit("later", ["a"])
        finally:
            cluster("ctld", "up")
        self.finish(sweep, tasks)
        self.finish(later, ["a"], 180)

    def test_go_on_while_accounting_is_away(self):
        if not has_accounting():
            self.skipTest("this Slurm has no accounting")
        sweep = self.submit("unaccounted", ["a"], "wait=go")
        first = self.started()[0]["job"]
        cluster("dbd", "down")
        try:
            run("scancel", first)
            eventually("another start", lambda: len(self.runs()) == 2, 120)
            self.go()
            self.finish(sweep, ["a"])
        finally:
            cluster("dbd", "up")


class Mistakes(OnSlurm):
    """What Slurm refuses for ever is told in its words, at once, and concerns only those who asked for it."""

    PARTITIONS = ("main", "ghost")  # of which Slurm has the first

    def submit_with(self, name, task, **submit):
        return self.daemon.submit(json.dumps({**json.loads(self.matrix(name, [task])), "submit": submit}))["sweep"]

    def refused(self, words, **submit):
        wrong = self.submit_with("wrong", "a", **{"partition": "main", **submit})
        right = self.submit_with("right", "b", partition="main")
        self.finish(right, ["b"])
        cell = self.daemon.get(f"/v1/sweeps/{wrong}/cells")[0]
        why = eventually("the reason", lambda: self.daemon.get(f"/v1/cells/{cell['key']}")["why"], 20)
        self.assertIn(words, str(why))
        tries = [job for job in self.jobs() if job["name"] and words in job["reason"]]
        self.assertEqual(len(tries), 1, "it was tried once")
        self.assertEqual(self.runs()[0]["cell"], "b")
        self.assertEqual(len(self.runs()), 1)

    def test_of_a_partition_that_is_not_there(self):
        self.refused("Invalid partition name specified", partition="ghost")

    def test_of_an_account_that_is_not_there(self):
        if not has_accounting():
            self.skipTest("without accounting Slurm takes any account")
        self.refused("Invalid account or account/partition combination", account="nope")

    def test_of_a_qos_that_is_not_there(self):
        if not has_accounting():
            self.skipTest("without accounting Slurm takes any QOS")
        self.refused("Invalid qos specification", qos="nope")


class Submissions(OnSlurm):
    def test_that_a_crash_cuts_off_are_neither_lost_nor_run_twice(self):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}", flush=True)
        moments = random.Random(seed)
        # Each is a job of its own: no two share a need.
        sweeps = {f"c{i}": self.submit(f"sweep{i}", [f"c{i}"], "sleep=1", cpus=i + 1) for i in range(8)}
        for _ in range(8):
            time.sleep(moments.uniform(0, 0.4))
            self.daemon.kill()
            self.daemon.start()
        for cell, sweep in sweeps.items():
            # A job that Slurm never saw is given up after five minutes, and another is submitted.
            self.finish(sweep, [cell], 420)
        # Copies of a submission would have found the claim of the first.
        started = collections.Counter((line["job"], line["restarts"], line["cell"]) for line in self.runs())
        self.assertEqual(set(started.values()), {1}, started)
        self.assertCountEqual([line["cell"] for line in self.runs()], list(sweeps))
        names = [fields[0] for fields in queue("%j", "%T", instance=self.daemon.instance)]
        self.assertEqual(len(names), len(set(names)), "no job is in Slurm twice")


class SweepsOverFiles(OnSlurm):
    """With no route from the nodes to the daemon."""

    LINK = "files"

    def test_run_every_cell_once(self):
        tasks = [f"t{i}" for i in range(30)]
        sweep = self.submit("many", tasks, time="5s")
        self.finish(sweep, tasks)
        self.assertCountEqual([line["cell"] for line in self.runs()], tasks)


class Detected(SlurmDaemonTest):
    """With what sinfo says, and nothing else."""

    OPTIONS = (*SlurmDaemonTest.OPTIONS, "--cluster", "slurm")

    def test_cluster_runs_sweeps(self):
        sweep = self.daemon.submit(self.matrix("detected", ["a", "b"], gpus=1))["sweep"]
        self.assertEqual(self.daemon.wait(sweep)["state"], "done")
        self.assert_results(sweep, ["a", "b"])
        self.assertTrue(self.daemon.get("/v1/daemon")["cluster"].startswith("slurm "))


if __name__ == "__main__":
    main()
