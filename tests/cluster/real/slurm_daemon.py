"""Daemons on the real Slurm that `scripts/test-cluster` has started. Called as: NAME_test.py ORCHD ORCH_WORKER ROOT, with
SLURM_CONF and ORCH_TEST_CLUSTER set."""

import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(sys.argv[3]).resolve()
sys.path.insert(0, str(ROOT / "tests" / "orchd"))

from daemon import ENDED, Daemon, DaemonTest, eventually, main, number_of  # noqa: E402

# What a cell runs: `PROGRAM OUT TEXT [WHAT…]`, with a line of JSON in `runs` for its start and one for its end.
PROGRAM = r"""
import json, os, pathlib, sys, time
out, text, *rest = sys.argv[1:]
here = pathlib.Path(__file__).parent
def note(what):
    about = {"what": what, "cell": text, "at": time.time(), "job": os.environ.get("SLURM_JOB_ID"),
             "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0")), "nodes": os.environ.get("SLURM_JOB_NODELIST"),
             "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": os.environ.get("OMP_NUM_THREADS")}
    fd = os.open(here / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, (json.dumps(about) + "\n").encode())
    os.close(fd)
note("start")
for what in rest:
    name, _, value = what.partition("=")
    if name == "sleep": time.sleep(float(value))
    elif name == "wait":
        while not (here / value).exists(): time.sleep(0.05)
json.dump({"number": sum(map(ord, text))}, open(out, "w"))
note("end")
"""

# `urgent` has the same nodes: left out, so that tests say where their jobs go.
PARTITION = """\
    {name}:
      gpu: {gpu}
      nodes: {nodes}
      gpus_per_node: {gpus}
      cpus_per_node: 64
      memory_per_node: 1000GiB
      max_time: 1h
      shares_gpus: true
      exclusive: {exclusive}
"""


def write_cluster(path, partitions=("main",), nodes=4, gpus=8, gpu="h100_80gb", exclusive="false"):
    parts = "".join(PARTITION.format(name=name, nodes=nodes, gpus=gpus, gpu=gpu, exclusive=exclusive) for name in partitions)
    path.write_text("cluster:\n  name: orchtest\n  partitions:\n" + parts)
    return path


def run(*words, check=True, timeout=60):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def cluster(*words):
    run(ROOT / "scripts" / "test-cluster", *words)


def queue(*fields, instance):
    """Of the instance's jobs that Slurm has: a list for each of them."""
    lines = run("squeue", "--noheader", "--all", "--format=" + "|".join(("%j", *fields))).splitlines()
    return [line.split("|")[1:] for line in lines if line.startswith(f"orch-{instance}-")]


def has_accounting():
    return "accounting_storage/slurmdbd" in pathlib.Path(os.environ["SLURM_CONF"]).read_text()


def nodes_of(expression):
    return run("scontrol", "show", "hostnames", expression).split()


class SlurmDaemon(Daemon):
    CLUSTER = ()
    # Open MPI takes nodes of one machine for one node: no shared memory between them.
    VARIABLES = {"SLURM_CONF": os.environ["SLURM_CONF"], "OMPI_MCA_btl": "self,tcp"}

    @property
    def instance(self):
        return self.endpoint["instance"]


class SlurmDaemonTest(DaemonTest):
    DAEMON = SlurmDaemon
    OPTIONS = ("--listen", "127.0.0.1:0", "--address", "127.0.0.1", "--look-every", "2")

    def setUp(self):
        all_up()
        super().setUp()
        (self.folder / "program.py").write_text(PROGRAM)

    def about(self):
        return super().about() + "--- squeue and sinfo\n" + run("squeue", "--all", check=False) + run("sinfo", "-N", "-l", check=False)

    def settle(self):
        instance = self.daemon.instance
        try:
            eventually("the end of every job in Slurm", lambda: not queue("%i", instance=instance), 60)
        except AssertionError:
            left = run("squeue", "--all")
            run("scancel", "--user=" + str(os.getuid()))
            self.fail("Slurm still had jobs of this daemon:\n" + left)

    def runs(self, what="start"):
        path = self.folder / "runs"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["what"] == what]

    def end_of(self, job):
        return self.daemon.get(f"/v1/jobs/{job['id']}")["end"]

    def jobs(self, *states):
        return [job for job in self.daemon.get("/v1/jobs") if not states or job["state"] in states]

    def assert_results(self, sweep, cells):
        """Every cell has its one result, and it is the one that its program measured."""
        results = self.daemon.results(sweep)
        self.assertEqual([r["task"] for r in results], cells)
        for result in results:
            self.assertEqual((result["state"], result["metrics"]["number"]["value"]), ("done", number_of(result["task"])))
        return results


def all_up():
    """What an earlier case took away is back, and every node idle."""
    cluster("ctld", "up")
    if has_accounting():
        cluster("dbd", "up")
    folder = pathlib.Path(os.environ["ORCH_TEST_CLUSTER"])
    nodes = sorted(path.name.removeprefix("spool.") for path in folder.glob("spool.*"))
    for node in nodes:
        cluster("node", node, "up")

    def idle():
        lines = set(run("sinfo", "--noheader", "-N", "--partition=main", "--format=%N %t", check=False).splitlines())
        for line in lines:
            if line.split()[1].startswith(("down", "drain")):
                run("scontrol", "update", f"nodename={line.split()[0]}", "state=resume", check=False)
        return lines == {f"{node} idle" for node in nodes}

    eventually("idle nodes", idle, 90)
    return nodes
