#!/usr/bin/env python3
"""bench_daemon.py ORCHD ORCH_WORKER ROOT ORCHCTL LOAD STORE PACE [OPTION...]: what the daemon costs.

It starts ORCHD in a folder of its own beside a Slurm that takes every job and starts none (tests/bench/fake_slurm.py), submits
a matrix of commands, and lets LOAD (orch_load_daemon) play the workers of the jobs. Every cell is delivered in the end, and
the database says at last whether each was once. STORE and PACE are orch_bench_store and orch_bench_pace. The figures go to
--out as JSON, which bench_table.py prints.

With --slurm it measures submissions to the Slurm that SLURM_CONF names, and nothing else.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

if len(sys.argv) < 8:
    print(__doc__.strip())
    sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
ROOT = pathlib.Path(sys.argv[3]).resolve()
ORCHCTL, LOAD, STORE, PACE = (str(pathlib.Path(word).resolve()) for word in sys.argv[4:8])
sys.path.insert(0, str(ROOT / "tests" / "orchd"))

from daemon import Daemon, eventually  # noqa: E402

parser = argparse.ArgumentParser(usage=__doc__.strip())
parser.add_argument("--out", type=pathlib.Path, required=True, help="the figures, as JSON")
parser.add_argument("--cells", type=int, default=1_000_000, help="of the large sweep")
parser.add_argument("--few", type=int, default=100_000, help="of the small sweep, for recovery alone")
parser.add_argument("--workers", default="1,8,64", help="how many play at once, in turn")
parser.add_argument("--seconds", type=float, default=5, help="of a run of the workers")
parser.add_argument("--repeat", type=int, default=3, help="runs of each kind; the best counts")
parser.add_argument("--idle", type=float, default=60, help="seconds for which an idle daemon's processor time is watched")
parser.add_argument("--add-to", type=pathlib.Path, help="with --slurm: figures to which these are added")
parser.add_argument("--store-time", type=float, default=0.5, help="seconds of each of STORE's benchmarks")
parser.add_argument("--submissions", type=int, default=40, help="with --slurm: how many jobs")
parser.add_argument("--slurm", action="store_true")
OPTIONS = parser.parse_args(sys.argv[8:])
WORKERS = [int(word) for word in OPTIONS.workers.split(",")]

CLUSTER = """\
cluster:
  name: bench
  partitions:
    {partition}:
      gpu: h100_80gb
      nodes: {nodes}
      gpus_per_node: 8
      cpus_per_node: 64
      memory_per_node: 1000GiB
{more}"""


def say(text):
    print(f"bench_daemon: {text}", file=sys.stderr, flush=True)


class Figures:
    def __init__(self):
        self.rows = []

    def add(self, figure, value, unit, aim=None, less=True, note=""):
        """`less`: the aim is to stay below it; else to reach it."""
        row = {"figure": figure, "value": value, "unit": unit}
        if aim is not None:
            row |= {"aim": aim, "below": less, "met": value < aim if less else value >= aim}
        if note:
            row["note"] = note
        self.rows.append(row)
        say(f"{figure}: {value:.4g} {unit}")


def matrix_of(cells):
    """Of so many cells, of a second each: models × tasks × seeds."""
    models = tasks = 1
    while cells % (models * 10) == 0 and models < 100:
        models *= 10
    while cells % (models * tasks * 10) == 0 and tasks < 100:
        tasks *= 10
    return json.dumps({
        "name": "bench", "kind": "command", "models": [f"model_{i:03}" for i in range(models)],
        "tasks": [f"task_{i:03}" for i in range(tasks)], "settings": {"seed": list(range(cells // (models * tasks)))},
        "command": {"run": ["measure", "--model", "{model}", "--task", "{task}", "--seed", "{seed}", "--out", "{out}"],
                    "gpus": 0, "time": "1s"}})


def processor_time(pid):
    """Seconds that all threads of a process have had: its clock, see clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid, name):
    """`VmRSS` now, or `VmHWM` at most, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no {name}")


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench_daemon: {words[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


class Bench:
    """One daemon with its state, its cluster and the workers that are played."""

    def __init__(self, folder, cells):
        self.folder = folder
        self.cells = cells
        self.slurm = folder / "slurm"
        self.slurm.mkdir(parents=True)
        for command in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo"):
            (self.slurm / command).symlink_to(ROOT / "tests" / "bench" / "fake_slurm.py")
        (folder / "cluster.yaml").write_text(CLUSTER.format(partition="bench", nodes=100, more=""))
        # Shorter jobs than by default, so that there are enough of them for all workers: each has eight cells at once.
        length = max(180, min(900, cells // 8 // (max(WORKERS) + 2)))
        policy = (ROOT / "policies" / "default.yaml").read_text()
        for line, shorter in {"backfill: 4h ": f"backfill: {length}s ", "time_least: 10min ": "time_least: 3min "}.items():
            if line not in policy:
                raise SystemExit(f"bench_daemon: policies/default.yaml does not say {line!r} any more")
            policy = policy.replace(line, shorter)
        (folder / "policy.yaml").write_text(policy)
        self.daemon = Daemon(folder, "--cluster", str(folder / "cluster.yaml"), "--policy", str(folder / "policy.yaml"),
                             "--listen", "127.0.0.1:0", "--address", "127.0.0.1")
        self.daemon.CLUSTER = ()
        # This very Python for the stand-in, not a wrapper that looks for one.
        path = f"{self.slurm}:{pathlib.Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
        self.daemon.VARIABLES = {"BENCH_SLURM": str(self.slurm), "PATH": path}

    @property
    def pid(self):
        return self.daemon.process.pid

    def submit(self):
        began = time.monotonic()
        self.daemon.submit(matrix_of(self.cells))
        return time.monotonic() - began

    def jobs(self, count):
        """Names and ids of so many jobs that the cluster has."""
        def enough():
            jobs = [job for job in self.daemon.get("/v1/jobs") if job["slurm_job_id"] and job["state"] != "ended"]
            return jobs if len(jobs) >= count else None
        return [(job["name"], job["slurm_job_id"]) for job in eventually(f"{count} jobs", enough, 300)[:count]]

    def start_load(self, workers, batch, seconds=None):
        words = [LOAD, self.daemon.state / "endpoint.json", self.daemon.state / "jobs", "--workers", workers, "--batch", batch]
        words += ["--seconds", seconds] if seconds else []
        load = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        load.stdin.write("".join(f"{name} {number}\n" for name, number in self.jobs(workers)))
        load.stdin.close()
        load.stdin = None
        return load

    def load(self, workers, batch, seconds=None):
        before = processor_time(self.pid)
        load = self.start_load(workers, batch, seconds)
        out, problems = load.communicate()
        if load.returncode != 0:
            raise SystemExit(f"bench_daemon: {problems}")
        seen = json.loads(out)
        if not seen["leased"]:
            raise SystemExit("bench_daemon: no cell is left to deliver; it takes more --cells, or less --seconds")
        seen["daemon_us_per_cell"] = (processor_time(self.pid) - before) / seen["leased"] * 1e6
        seen["load_us_per_cell"] = seen["processor_seconds"] / seen["leased"] * 1e6
        return seen

    def status_seconds(self, times=101):
        """Of so many calls, each with a connection of its own."""
        taken = []
        for _ in range(times):
            began = time.monotonic()
            self.daemon.get("/v1/status")
            taken.append(time.monotonic() - began)
        return taken

    def orchctl_seconds(self, times=11):
        taken = []
        for _ in range(times):
            began = time.monotonic()
            run(ORCHCTL, "status", "--json", "--state", self.daemon.state)
            taken.append(time.monotonic() - began)
        return taken

    def recovery_seconds(self, workers):
        """Killed while workers deliver; from the start of the program to its first answer."""
        load = self.start_load(workers, 64)
        time.sleep(min(1, OPTIONS.seconds / 2))
        self.daemon.kill(signal.SIGKILL)
        load.communicate()  # it finds nobody any more
        began = time.monotonic()
        self.daemon.start()
        self.daemon.get("/v1/status")
        return time.monotonic() - began

    def idle_share(self):
        """The part of one processor that the daemon takes while nobody asks it anything."""
        time.sleep(min(5, OPTIONS.idle))  # what the step before has left to do
        began, before = time.monotonic(), processor_time(self.pid)
        time.sleep(OPTIONS.idle)
        return (processor_time(self.pid) - before) / (time.monotonic() - began)

    def slurm_calls(self):
        calls = (self.slurm / "calls").read_text().split()
        return {name: calls.count(name) for name in sorted(set(calls))}

    def check(self):
        """Every cell has exactly one result, and it is its own."""
        with contextlib.closing(sqlite3.connect(f"file:{self.daemon.state}/orch.db?mode=ro", uri=True)) as store:
            results, cells, alien = store.execute(
                "SELECT count(*), count(DISTINCT cell), sum(json_extract(metrics, '$.cell.value') <> cell) FROM results").fetchone()
            done = store.execute("SELECT count(*) FROM cells WHERE state = 3").fetchone()[0]
        expected = self.cells
        if (results, cells, alien, done) != (expected, expected, 0, expected):
            raise SystemExit(f"bench_daemon: of {expected} cells {done} are done; {results} results of {cells} cells, "
                             f"{alien} of them of another cell")

    def end(self):
        process = self.daemon.process
        if process and process.poll() is None:
            self.daemon.kill(signal.SIGTERM)


def best_of(runs):
    return max(runs, key=lambda seen: seen["cells_per_s"])


def run_of(bench, workers, batch):
    """Several runs, none so long that they together use up more than a fifth of the sweep, however fast the daemon is: the
    kills that come later want cells too."""
    seconds, runs = min(1, OPTIONS.seconds), []
    for _ in range(OPTIONS.repeat):
        runs.append(bench.load(workers, batch, seconds))
        share = bench.cells / len(WORKERS) * 0.6 / OPTIONS.repeat
        seconds = min(OPTIONS.seconds, share / max(1, runs[-1]["cells_per_s"]))
    return best_of(runs)


def throughput(bench, figures):
    for batch in (64, 1):
        for workers in sorted(WORKERS, reverse=True):
            seen = run_of(bench, workers, batch)
            name = f"{workers} worker{'s' if workers > 1 else ''}, " + (f"batches of {batch}" if batch > 1 else "one at a time")
            note = (f"medians: lease {seen['lease_ms']['median']:.2g} ms, deliver {seen['deliver_ms']['median']:.2g} ms; processor "
                    f"time a cell: daemon {seen['daemon_us_per_cell']:.0f} µs, workers {seen['load_us_per_cell']:.0f} µs")
            figures.add(f"leased and delivered, {name}", seen["cells_per_s"], "cells/s", 20_000 if batch > 1 else None, False, note)


def add_status(figures, name, times):
    slowest = max(times) * 1000
    figures.add(name, statistics.median(times) * 1000, "ms", 50, note=f"the median; the slowest of {len(times)}: {slowest:.1f} ms")


def add_recovery(figures, bench, workers, aim):
    times = [bench.recovery_seconds(workers) for _ in range(OPTIONS.repeat)]
    figures.add(f"recovery after SIGKILL, {bench.cells:,} cells", min(times), "s", aim,
                note=f"the best; the slowest of {len(times)}: {max(times):.2f} s")


def large(folder, figures):
    bench = Bench(folder, OPTIONS.cells)
    million = OPTIONS.cells / 1e6
    try:
        bench.daemon.start()
        figures.add("idle, with nothing", bench.idle_share() * 100, "% of a core", 0.1)
        empty = memory(bench.pid, "VmRSS")
        figures.add("submitted", OPTIONS.cells / bench.submit(), "cells/s", note="from the matrix to the answer, on disk")
        bench.jobs(max(WORKERS))
        submitted, peak = memory(bench.pid, "VmRSS"), memory(bench.pid, "VmHWM")
        throughput(bench, figures)
        figures.add("memory after its submission", (submitted - empty) / million / 1e6, "MB per million cells", 500,
                    note=f"{peak / million / 1e6:.0f} MB at most, while it is submitted")
        times = bench.status_seconds()
        add_status(figures, "status", times)
        load = bench.start_load(max(WORKERS), 64, OPTIONS.seconds)
        times = bench.status_seconds(21)
        load.communicate()
        add_status(figures, "status while all workers deliver", times)
        add_status(figures, "orchctl status --json, the whole program", bench.orchctl_seconds())
        add_recovery(figures, bench, max(WORKERS), 15)
        figures.add("memory after a recovery", (memory(bench.pid, "VmRSS") - empty) / million / 1e6, "MB per million cells", 500)
        figures.add("idle, with a sweep waiting and jobs in the queue", bench.idle_share() * 100, "% of a core", 0.1)
        calls = bench.slurm_calls()
        bench.load(max(WORKERS), 64)
        bench.end()
        bench.check()
        return calls
    finally:
        bench.end()


def few(folder, figures):
    bench = Bench(folder, OPTIONS.few)
    try:
        bench.daemon.start()
        bench.submit()
        # Few cells make few jobs.
        add_recovery(figures, bench, 1, 2)
    finally:
        bench.end()


def store(figures):
    words = ["--benchmark_filter=Commit", f"--benchmark_min_time={OPTIONS.store_time}", "--benchmark_format=json"]
    for row in json.loads(run(STORE, *words))["benchmarks"]:
        group = int(row["name"].split("/")[1])
        name = f"{group:,} cells a commit" if group > 1 else "a cell a commit"
        figures.add(f"durable changes, {name}", row["rows/s"], "rows/s", 50_000 if group > 1 else None, False)


def pace(figures, calls):
    looks = json.loads(run(PACE))
    said = ", ".join(f"{count} {name}" for name, count in calls.items())
    figures.add("Slurm calls, while every look shows a change", looks["changing"], "an hour", 40,
                note="by the pace's rules in simulated time")
    figures.add("Slurm calls, while nothing changes", looks["quiet"], "an hour", 40,
                note=f"the same; calls that this benchmark's large sweep made: {said}")


def submissions(folder, figures):
    """On a real Slurm: jobs that are held, so that none starts."""
    count = OPTIONS.submissions
    script = folder / "job.sh"
    script.write_text("#!/bin/sh\n")
    began = time.monotonic()
    for _ in range(count):
        run("sbatch", "--parsable", "--hold", "--output=/dev/null", script)
    figures.add("sbatch alone, one after another", count / (time.monotonic() - began), "submissions/s")
    run("scancel", "--me", "--state=PENDING")
    (folder / "cluster.yaml").write_text(CLUSTER.format(
        partition="main", nodes=4, more="      max_time: 1h\n      submit: {sbatch: [--hold]}\n"))
    daemon = Daemon(folder, "--cluster", str(folder / "cluster.yaml"))
    daemon.CLUSTER = ()
    daemon.VARIABLES = {"SLURM_CONF": os.environ["SLURM_CONF"]}
    daemon.start()
    try:
        began = time.monotonic()
        for i in range(count):
            # Environments differ, so that each has a job of its own.
            own = {"name": f"bench{i}", "models": [f"model_{i}"], "submit": {"environment": {"LANE": str(i)}}}
            daemon.submit(json.dumps(json.loads(matrix_of(1)) | own))
        eventually(f"{count} jobs in Slurm", lambda: sum(bool(job["slurm_job_id"]) for job in daemon.get("/v1/jobs")) >= count, 300)
        figures.add("submissions by the daemon", count / (time.monotonic() - began), "submissions/s",
                    note="at its own pace: 10 at once, then one a second")
    finally:
        daemon.kill(signal.SIGTERM)
        run("scancel", "--me")


def main():
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures = Figures()
    # Short, because a socket's path may have 107 bytes.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="orchd-bench-", dir="/tmp"))
    try:
        if OPTIONS.slurm:
            if OPTIONS.add_to:
                figures.rows = json.loads(OPTIONS.add_to.read_text())["figures"]
            submissions(folder, figures)
        else:
            calls = large(folder / "l", figures)
            few(folder / "f", figures)
            store(figures)
            pace(figures, calls)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    OPTIONS.out.write_text(json.dumps({"figures": figures.rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
