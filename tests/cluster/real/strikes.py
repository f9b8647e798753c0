"""What befalls jobs on a real Slurm while they work: for tests that see what becomes of their cells."""

import contextlib
import os
import pathlib
import re
import signal

from slurm_daemon import SlurmDaemon, SlurmDaemonTest, cluster, eventually, run


def number_of_cell(folder):
    """Of an attempt's folder, `cells/CELL-TICKET`."""
    return folder.name.partition("-")[0]


def variables(pid):
    lines = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.partition("=")[::2] for line in lines)


def ranks(slurm_job):
    """The processes of a job, by rank: of each the first, which has made the helper that starts programs."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().split(b"\0")[0].endswith(b"/orch-worker"):
                of = variables(folder.name)
                if of.get("SLURM_JOB_ID") == slurm_job and "SLURM_PROCID" in of:
                    pid, number = int(folder.name), int(of["SLURM_PROCID"])
                    found[number] = min(pid, found.get(number, pid))
    return found


def is_pending(pid, which):
    """Whether the signal waits for the process, which is held still."""
    pending = re.search(r"^ShdPnd:\s*(\w+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
    return bool(int(pending, 16) & 1 << which - 1)


@contextlib.contextmanager
def held_still(slurm_job):
    """Nothing goes on in the job meanwhile, so that what is seen of it is true until it is struck."""
    held = ranks(slurm_job).values()

    def signal_all(which):
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    signal_all(signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(signal.SIGCONT)


class NativeDaemon(SlurmDaemon):
    # Open MPI keeps some of its memory to the end: that is not ours to mend.
    VARIABLES = SlurmDaemon.VARIABLES | {"ASAN_OPTIONS": "detect_leaks=0"}


class StruckTest(SlurmDaemonTest):
    """A deed is a generator: what is done while the job is held still; then what must be whole again before anything else is struck;
    at last what came of it."""

    DAEMON = NativeDaemon

    def state_of(self, job):
        return self.daemon.get(f"/v1/jobs/{job['id']}")["state"]

    def ended(self, job, *ends):
        eventually(f"the end of {job['id']}", lambda: self.state_of(job) == "ended", 90)
        it = self.daemon.get(f"/v1/jobs/{job['id']}")
        self.assertIn(it["end"], ends, it)
        return it

    def noted(self, kind, cell, text):
        """What the journal says of the cell, by which `orchctl events` and `explain` go."""
        notes = [note["text"] for note in self.daemon.get("/v1/events") if note["cell"] == cell and re.fullmatch(kind, note["kind"])]
        self.assertTrue(any(re.search(text, note) for note in notes), (kind, cell, text, notes))

    def end_node(self, job, cell):
        node = job["nodes"][-1]
        cluster("node", node, "down")
        run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        yield
        # Either comes first: the last word of a worker that lost a peer, or Slurm, which puts the job back into its queue.
        eventually(f"the end of {job['id']}, or its return to the queue", lambda: self.state_of(job) in ("ended", "queued"), 90)
        has_ended = self.state_of(job) == "ended"
        cluster("node", node, "up")
        # It may be up by itself already, as Slurm sees that it answers.
        run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        eventually("the return of the node", lambda: not run("sinfo", "-h", "-n", node, "-t", "down,drain", "-o", "%N"), 60)
        yield
        if has_ended:
            self.ended(job, "lost_peer", "node_failure")
            self.noted("cell.attempt_failed", cell, "^(lost_peer|node_failure): ")

    def cancel_job(self, job, cell):
        run("scancel", job["slurm_job_id"])
        yield
        yield
        self.ended(job, "drained", "cancelled")

    def requeue_job(self, job, cell):
        """As a preemption does."""
        run("scontrol", "requeue", job["slurm_job_id"])
        yield
        yield

    def end_time(self, job, cell):
        """Its time limit is the next full minute: Slurm warns it before. It is held still until then, so that what it is at is not over."""
        ran = run("squeue", "-h", "-j", job["slurm_job_id"], "-o", "%M").strip().split(":")
        run("scontrol", "update", f"jobid={job['slurm_job_id']}", f"timelimit={int(ran[-2]) + 1}")
        worker = ranks(job["slurm_job_id"])[0]
        eventually("Slurm's warning", lambda: is_pending(worker, signal.SIGUSR1), 90)
        yield
        yield
        self.ended(job, "drained", "timeout")
