"""The completion scripts, in the shells they are for."""

import shutil
import subprocess
import unittest

from program import ORCHCTL, main, orchctl


def bash_completes(words, current):
    script = orchctl("completion", "bash").out + """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _orchctl; printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", "orchctl", *words, current], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


class Bash(unittest.TestCase):
    def test_commands_are_completed(self):
        self.assertEqual(bash_completes([], "pl"), {"plan"})
        self.assertLessEqual({"plan", "validate", "explain", "models", "tasks", "profiles", "policy", "schema"}, bash_completes([], ""))

    def test_commands_below_a_command_are_completed(self):
        self.assertEqual(bash_completes(["policy"], ""), {"check", "show", "diff", "set"})

    def test_options_are_those_of_the_command(self):
        self.assertLessEqual({"--policy", "--cluster", "--json", "--cells", "--script"}, bash_completes(["plan", "m.yaml"], "--"))
        self.assertIn("--matrix", bash_completes(["policy", "diff", "a", "b"], "--m"))
        self.assertNotIn("--matrix", bash_completes(["models"], "--"))

    def test_the_script_is_clean(self):
        checked = subprocess.run(["shellcheck", "-s", "bash", "-e", "SC2154,SC2034", "-"], input=orchctl("completion", "bash").out, text=True,
                                 capture_output=True)
        self.assertEqual(checked.returncode, 0, checked.stdout)


class Zsh(unittest.TestCase):
    def complete(self, words, current):
        script = """
compdef() { : }
compadd() { shift; print -l -- "$@" }
_files() { print FILES }
""" + orchctl("completion", "zsh").out + """
words=("$@"); CURRENT=$#; _orchctl
"""
        done = subprocess.run(["zsh", "-f", "-c", script, "zsh", "orchctl", *words, current], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return set(done.stdout.split())

    def test_commands_options_and_files_are_completed(self):
        self.assertIsNotNone(shutil.which("zsh"))
        self.assertIn("plan", self.complete([], ""))
        self.assertEqual(self.complete(["policy"], ""), {"check", "show", "diff", "set"})
        self.assertIn("--script", self.complete(["plan", "m.yaml"], "--"))
        self.assertEqual(self.complete(["plan"], ""), {"FILES"})


if __name__ == "__main__":
    main()
