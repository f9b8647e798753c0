#!/usr/bin/env python3
"""Stands in for a Slurm whose queue takes every job and never lets one end: links of its commands' names lead here.

BENCH_SLURM names a folder. `jobs` in it has a line `ID NAME` for each job that was submitted, `calls` a line with the
command's name for each call: that is how the calls are counted.
"""
import fcntl
import os
import pathlib
import sys

folder = pathlib.Path(os.environ["BENCH_SLURM"])
command = pathlib.Path(sys.argv[0]).name
words = sys.argv[1:]


def said(option):
    return next((word.split("=", 1)[1] for word in words if word.startswith(option + "=")), "")


with open(folder / "calls", "a+") as calls:
    calls.write(command + "\n")
    calls.seek(0)
    number = sum(1 for _ in calls)  # of this call: no id is given out twice
with open(folder / "jobs", "a+") as jobs:
    fcntl.flock(jobs, fcntl.LOCK_EX)
    jobs.seek(0)
    known = [line.split() for line in jobs]
    if command == "sbatch":
        jobs.write(f"{number} {said('--job-name')}\n")
        print(number)
    elif command == "squeue":
        for number, name in known:
            print(f"orch|{number}|RUNNING|bench|{name}|None")
    elif command == "scancel":
        jobs.seek(0)
        jobs.truncate()
        jobs.writelines(f"{number} {name}\n" for number, name in known if name != said("--name"))
    elif command == "sinfo":
        print("bench*")
    elif command == "scontrol":
        print("slurm 22.05.8")
