"""What is killed at random moments: the daemon, workers. Every cell is measured, and none again once it was delivered."""

import os
import random
import signal
import time
from collections import Counter

from daemon import DaemonTest, eventually, main, number_of

SEED = int(os.environ.get("ORCH_TEST_SEED", random.SystemRandom().randrange(10**6)))


def workers_of(folder):
    """Processes that are orch-worker with a job of this folder."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"orch-worker") for word in words[:1]) and any(str(folder).encode() in word for word in words):
            found.append(int(entry))
    return found


class Crash(DaemonTest):
    def setUp(self):
        print(f"ORCH_TEST_SEED={SEED}", flush=True)
        self.random = random.Random(SEED)
        super().setUp()

    def done(self, sweep):
        return {r["task"] for r in self.daemon.results(sweep) if r["state"] == "done"}

    def finish(self, sweep, tasks, seconds=120):
        ended = self.daemon.wait(sweep, seconds)
        results = self.daemon.results(sweep)
        self.assertEqual((ended["state"], ended["cells"]["done"]), ("done", len(tasks)), [r["reason"] for r in results if r["reason"]])
        self.assertEqual({r["task"]: r["metrics"]["number"]["value"] for r in results}, {t: number_of(t) for t in tasks})

    def test_of_the_daemon_costs_no_result_and_runs_nothing_twice(self):
        tasks = [f"t{i}" for i in range(60)]
        sweep = self.daemon.submit(self.matrix("killed", tasks, "sleep=0.15"))["sweep"]
        for _ in range(8):
            time.sleep(self.random.uniform(0, 0.8))
            self.daemon.kill()
            time.sleep(self.random.uniform(0, 0.4))
            self.daemon.start()
        self.finish(sweep, tasks)
        self.assertEqual(Counter(self.runs()), Counter(tasks))

    def test_of_the_daemon_as_it_submits_leaves_no_job_behind(self):
        for i in range(8):
            self.daemon.submit(self.matrix(f"sweep{i}", [f"a{i}"]))
            time.sleep(self.random.uniform(0, 0.1))
            self.daemon.kill()
            self.daemon.start()
        for i in range(8):
            self.finish(f"s{i + 1}", [f"a{i}"])
        self.assertEqual(Counter(self.runs()), Counter(f"a{i}" for i in range(8)))

    def test_of_workers_runs_again_only_what_was_not_delivered(self):
        tasks = [f"t{i}" for i in range(40)]
        sweep = self.daemon.submit(self.matrix("workers", tasks, "sleep=0.1"))["sweep"]
        settled = {}
        for _ in range(4):
            eventually("a worker", lambda: workers_of(self.folder))
            time.sleep(self.random.uniform(0.3, 1))
            for pid in workers_of(self.folder):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            runs = Counter(self.runs())
            settled.update({task: runs[task] for task in self.done(sweep) if task not in settled})
        self.finish(sweep, tasks)
        runs = Counter(self.runs())
        self.assertEqual({task: runs[task] for task in settled}, settled)

    def test_of_the_disk_is_told_to_who_starts_the_daemon(self):
        self.daemon.wait(self.daemon.submit(self.matrix("kept", ["a"]))["sweep"])
        self.daemon.kill(signal.SIGTERM)
        database = self.daemon.state / "orch.db"
        sound = database.read_bytes()
        self.assertEqual(database.stat().st_mode & 0o777, 0o600)
        database.write_bytes(sound[:100] + b"\xff" * (len(sound) - 100))
        with self.assertRaisesRegex(AssertionError, "orch.db"):
            self.daemon.start()
        self.assertEqual(self.daemon.process.returncode, 1)
        database.write_bytes(sound)
        self.daemon.start()
        self.assertEqual(self.daemon.results("s1")[0]["metrics"]["number"]["value"], number_of("a"))


if __name__ == "__main__":
    main()
