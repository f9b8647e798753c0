#!/usr/bin/env python3
"""Stands in for sbatch, squeue, sacct, scontrol and scancel: links of these names on the PATH lead here.

FAKE_SLURM names a folder. `scenario.json` in it says what each command answers, in the order of its calls; the last
answer stays. An answer has any of: out, err (text), code (exit code), hang (true: it never ends, after it has printed
`out`), kill (a signal by which it ends itself). `calls` in the folder gets a line of JSON for each call: its arguments,
and those variables of its environment that matter.
"""
import fcntl
import json
import os
import pathlib
import signal
import sys

folder = pathlib.Path(os.environ["FAKE_SLURM"])
command = pathlib.Path(sys.argv[0]).name
with open(folder / "calls", "a+") as log:
    fcntl.flock(log, fcntl.LOCK_EX)
    log.seek(0)
    before = sum(json.loads(line)["argv"][0] == command for line in log)
    seen = {name: value for name, value in os.environ.items() if name.startswith(("SLURM", "SBATCH", "ORCH", "LC_", "LANGUAGE"))}
    log.write(json.dumps({"argv": [command] + sys.argv[1:], "environment": seen}) + "\n")
answers = json.loads((folder / "scenario.json").read_text()).get(command, [{"err": f"{command}: not in the scenario\n", "code": 1}])
answer = answers[min(before, len(answers) - 1)]
sys.stdout.write(answer.get("out", ""))
sys.stdout.flush()
sys.stderr.write(answer.get("err", ""))
sys.stderr.flush()
if "kill" in answer:
    os.kill(os.getpid(), answer["kill"])
if answer.get("hang"):
    signal.pause()
sys.exit(answer.get("code", 0))
