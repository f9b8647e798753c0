"""Runs orchctl for the tests in this folder. Called as: NAME_test.py ORCHCTL ROOT."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

ORCHCTL = pathlib.Path(sys.argv[1]).resolve()
ROOT = pathlib.Path(sys.argv[2]).resolve()


class Ended:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout.decode("utf-8", "replace")
        self.err = done.stderr.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"


def orchctl(*arguments, cwd=ROOT, env=None, timeout=120):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    environment.update(env or {})
    return Ended(subprocess.run([ORCHCTL, *map(str, arguments)], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=timeout))


def main():
    unittest.main(argv=sys.argv[:1], verbosity=1)
