"""Every command as its users type it: exit codes, what stands on which stream, JSON that is nothing but JSON."""

import fcntl
import hashlib
import json
import math
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

from program import ORCHCTL, ROOT, main, orchctl

COMMANDS = [
    ["plan"], ["validate"], ["explain"], ["models"], ["tasks"], ["profiles"], ["categories"], ["gpus"],
    ["policy", "check"], ["policy", "show"], ["policy", "diff"], ["cluster", "detect"], ["schema"], ["completion"],
]
# These are for the daemon.
ASKING = [
    ["submit-matrix"], ["status"], ["jobs"], ["cells"], ["results"], ["diff"], ["logs"], ["events"], ["cancel"], ["retry"],
    ["hold"], ["release"], ["backup"], ["policy", "set"],
]

SMALL = """\
name: small
models: [llama2_70b, tinyllama_1b]
tasks: [mmlu, {name: gsm8k, shots: 5}]
settings: {seed: [0, 1]}
"""

TUNE = """\
name: tune
models: [tinyllama_1b]
stages:
  tune: {kind: train, tasks: [sft_instruct]}
  tuned: {kind: eval, adapter: tune, tasks: [arc_challenge]}
  base: {kind: eval, tasks: [arc_challenge]}
"""


class WithFiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def well(self, *arguments, **more):
        ended = orchctl(*arguments, **more)
        self.assertEqual(ended.code, 0, ended)
        return ended


class Help(WithFiles):
    def test_every_command_explains_itself_with_an_example(self):
        for command in COMMANDS + ASKING:
            ended = self.well(*command, "--help")
            self.assertIn("Example", ended.out, command)
            self.assertIn("orchctl " + " ".join(command), ended.out, command)
            self.assertEqual(ended.err, "", command)

    def test_a_group_of_commands_has_an_example_of_its_own(self):
        for group in ("policy", "cluster", "notify", "cache"):
            self.assertIn("Example:\n  orchctl " + group + " ", self.well(group, "--help").out)

    def test_the_examples_of_the_help_work(self):
        for command in COMMANDS + ASKING:
            if command in (["completion"], ["cluster", "detect"]):
                continue  # a shell's own syntax; needs a Slurm
            text = self.well(*command, "--help").out.split("Example:")[1]
            lines = [line.split("#")[0].split(" > ")[0].strip() for line in text.splitlines() if line.strip().startswith("orchctl")]
            self.assertTrue(lines, command)
            for line in lines:
                words = line.split()[1:]
                if "my-policy.yaml" in words:
                    words = [str(ROOT / "policies/default.yaml") if w == "my-policy.yaml" else w for w in words]
                asks = (command in ASKING and "--dry-run" not in words) or words == ["explain", "s3"]
                self.asks(*words) if asks else self.well(*words)

    def asks(self, *words):
        """The words are understood, and there is no daemon to ask."""
        with tempfile.TemporaryDirectory() as folder:
            ended = orchctl(*words, env={"ORCH_STATE": folder})
        self.assertEqual(ended.code, 4, ended)
        self.assertIn("no daemon runs", ended.err)

    def test_version(self):
        self.assertRegex(self.well("--version").out, r"^orchctl \d+\.\d+\.\d+\n$")


class Usage(WithFiles):
    def test_bad_usage_ends_with_2_and_prints_nothing_on_standard_output(self):
        for arguments in ([], ["plan"], ["plna", "x"], ["plan", "--nonsense", "x"], ["models", "--color", "green"],
                          ["explain"], ["explain", "llama2_70b", "--dtype", "fp9"], ["explain", "llama2_70b", "--gpus", "0"],
                          ["policy"], ["policy", "chek"], ["schema", "matrx"], ["completion", "fish"], ["plan", ""], ["--json"],
                          ["plan", "examples/all.yaml", "--policy", ""], ["plan", "examples/all.yaml", "--policy"],
                          ["plan", "examples/all.yaml", "extra"], ["plan", "examples/all.yaml", "-p", "default", "-p", "fastest"],
                          ["plan", "examples/all.yaml", "--cells", "--script", "j1"],
                          ["plan", "examples/all.yaml", "--templates", "templates"],
                          ["policy", "diff", "default", "fastest", "--cluster", "laptop"],
                          ["explain", "llama2_70b", "--history", "h.yaml"]):
            ended = orchctl(*arguments)
            self.assertEqual(ended.code, 2, (arguments, ended))
            self.assertEqual(ended.out, "", arguments)
            self.assertNotEqual(ended.err, "", arguments)

    def test_the_nearest_command_option_or_value_is_suggested(self):
        for arguments, near in ((["plna", "x"], "plan"), (["policy", "chek"], "check"), (["plan", "x", "--polcy", "fastest"], "--policy"),
                                (["explain", "llama2_70b", "--dtype", "BF16"], "bf16")):
            self.assertIn(f"did you mean '{near}'", orchctl(*arguments).err)

    def test_what_is_wrong_is_said_under_the_name_of_the_command(self):
        for arguments, said in ((["plan"], "orchctl plan: matrix is required"), (["policy", "diff", "default"], "orchctl policy diff: b is"),
                                (["plan", "x", "y"], "orchctl plan: 'y' is one argument too many"), (["--json"], "a command comes first"),
                                (["plan", "x", "--policy"], "orchctl plan: --policy needs a value"), (["policy"], "'policy' needs a command"),
                                (["plan", "x", "-p", "a", "-p", "b"], "--policy may be given only once"),
                                (["plan", "x", "-p", ""], "argument 4 is empty")):
            self.assertIn(said, orchctl(*arguments).err)

    def test_a_wrong_variable_is_named(self):
        for variable, arguments in (("ORCH_POLICY", ["policy", "show"]), ("ORCH_CLUSTER", ["explain", "llama2_70b"]), ("ORCH_DATA_DIR", ["models"])):
            ended = orchctl(*arguments, env={variable: "nobody"})
            self.assertEqual((ended.code, ended.out), (2, ""), ended)
            self.assertIn(variable, ended.err)
            self.assertIn("nobody", ended.err)
        # What is said on the command line wins, and is what is wrong.
        self.assertNotIn("ORCH_POLICY", orchctl("policy", "show", "nobody", env={"ORCH_POLICY": "default"}).err)

    def test_errors_leave_standard_output_to_json(self):
        for arguments in (["plan", "none.yaml"], ["plan", ROOT], ["validate", "none.yaml", "--catalog", "none.yaml"], ["models", "nobody"],
                          ["explain", "nobody"], ["explain", "llama2_70b", "--gpus", "7"], ["policy", "show", "nobody"],
                          ["policy", "diff", "default", "nobody"], ["schema", "nobody"], ["gpus", "--catalog", "none.yaml"],
                          ["plan", "examples/all.yaml", "--script", "j0"], ["plan", "examples/all.yaml", "--on", "nowhere"]):
            ended = orchctl(*arguments, "--json")
            self.assertEqual((ended.code, ended.out), (2, ""), (arguments, ended))
            self.assertNotEqual(ended.err, "", arguments)

    def test_a_filter_that_can_match_nothing_is_an_error(self):
        for arguments, near in ((["models", "--family", "lama"], "llama"), (["models", "llama2_70"], "llama2_70b"),
                                (["tasks", "--group", "maths"], "math"), (["tasks", "gsm8"], "gsm8k")):
            ended = orchctl(*arguments)
            self.assertEqual(ended.code, 2, ended)
            self.assertIn(near, ended.err)


class Streams(WithFiles):
    def test_a_pipe_that_closes_early_ends_the_program_in_silence(self):
        # More than a pipe holds. A parent that ignores SIGPIPE, as some runners do, makes no difference.
        for before in ("", "trap '' PIPE; "):
            command = f"{before}'{ORCHCTL}' plan examples/all.yaml --cells --json | head -c 1"
            done = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.stdout, done.stderr), (f"{{{128 + signal.SIGPIPE}\n", ""), before)

    def test_output_that_cannot_be_written_is_a_failure(self):
        for arguments in (["models"], ["models", "--json"], ["--help"], ["plan", "--help"], ["--version"], ["completion", "bash"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([ORCHCTL, *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b"could not be written", done.stderr)

    def on_a_terminal(self, columns, *arguments, **env):
        """What the program prints when it stands on a terminal of so many columns."""
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR") and not k.startswith("ORCH_")}
        done = subprocess.Popen([ORCHCTL, *map(str, arguments)], cwd=ROOT, stdout=its, env={**environment, "TERM": "xterm", **env})
        os.close(its)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:  # EIO: the other side is closed
            pass
        os.close(ours)
        self.assertEqual(done.wait(timeout=60), 0)
        return text.decode()

    def test_a_terminal_gets_colour_unless_it_or_its_user_does_not_want_it(self):
        self.assertIn("\x1b[1m", self.on_a_terminal(200, "gpus"))
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", self.on_a_terminal(200, "gpus", **env))
        self.assertNotIn("\x1b", self.on_a_terminal(200, "gpus", "--color", "never"))

    def test_long_reasons_are_wrapped_to_the_terminal(self):
        long = max(len(line) for line in self.well("categories").out.splitlines())
        self.assertGreater(long, 80)
        for text in (self.on_a_terminal(80, "categories", NO_COLOR="1"), self.on_a_terminal(200, "categories", NO_COLOR="1", COLUMNS="80")):
            self.assertLessEqual(max(len(line) for line in text.splitlines()), 80, text)
            self.assertEqual(text.split(), self.well("categories").out.split(), "nothing is lost")


class Lists(WithFiles):
    def test_models_have_what_programs_rely_on(self):
        models = self.well("models", "--json").json
        self.assertGreaterEqual(len(models), 61)
        for model in models:
            self.assertLessEqual({"name", "hf_id", "family", "params", "gated", "categories", "source"}, model.keys())
            self.assertRegex(model["source"], r"\.yaml:\d+:\d+$")
        self.assertEqual(len({m["name"] for m in models}), len(models))

    def test_tasks_and_profiles_are_lists_of_named_objects(self):
        for command in ("tasks", "profiles", "categories", "gpus"):
            entries = self.well(command, "--json").json
            self.assertTrue(entries)
            self.assertTrue(all(entry["name"] for entry in entries))

    def test_a_sites_own_entry_wins_and_says_where_it_stands(self):
        mine = self.file("site.yaml", "tasks:\n  gsm8k: {kind: exact_match, group: mathematical_reasoning, type: eval_math,\n"
                         "    hf_id: me/gsm8k, metric: exact_match, shots: 3, samples: 7, prompt_tokens: 90, shot_tokens: 120,\n"
                         "    output_tokens: 100, max_output_tokens: 256}\n")
        task = self.well("tasks", "gsm8k", "--json", "--catalog", mine).json[0]
        self.assertEqual(task["shots"], 3)
        self.assertEqual(task["source"], f"{mine}:2:3")
        by_environment = self.well("tasks", "gsm8k", "--json", env={"ORCH_CATALOG": str(mine)}).json[0]
        self.assertEqual(by_environment, task)

    def test_colour_is_only_used_when_asked_for(self):
        self.assertNotIn("\x1b", self.well("models").out)
        self.assertIn("\x1b[1m", self.well("models", "--color", "always").out)


class Plans(WithFiles):
    def plan(self, text=SMALL, *arguments):
        return self.well("plan", self.file("m.yaml", text), "--json", *arguments)

    def test_the_json_holds_what_was_promised(self):
        ended = self.plan(SMALL, "--cells")
        self.assertEqual(ended.err, "")
        plan = ended.json
        self.assertLessEqual({"cells", "rejected", "jobs", "gpu_hours", "makespan_s", "model_loads", "naive", "cell_list"}, plan.keys())
        self.assertLessEqual({"jobs", "model_loads", "gpu_hours", "makespan_s"}, plan["naive"].keys())
        self.assertEqual(plan["cells"], 2 * 2 * 2)
        self.assertEqual(plan["naive"]["jobs"], 8)
        self.assertEqual(sum(job["cells"] for job in plan["jobs"]), plan["cells"])
        for job in plan["jobs"]:
            self.assertLessEqual({"id", "profile", "model", "nodes", "gpus", "layout", "cells", "memory", "time_limit_s", "template"},
                                 job.keys())
            layout = job["layout"]
            self.assertEqual(job["gpus"], layout["tp"] * layout["pp"] * layout["dp"], job)
            self.assertLessEqual(job["memory"]["utilisation"], 0.9)
            self.assertEqual(job["time_limit_s"] % 60, 0)
        for cell in plan["cell_list"]:
            self.assertLessEqual({"key", "kind", "model", "task", "settings", "score"}, cell.keys())
            terms = cell["score"]["terms"]
            self.assertEqual(list(terms), ["task_weight", "model_performance", "success_rate", "time_efficiency",
                                           "size_efficiency", "hardware_bonus"])
            self.assertTrue(math.isclose(sum(terms.values()), cell["score"]["total"], rel_tol=1e-12), cell)
            self.assertRegex(cell["key"], r"^[0-9a-f]{64}$")
        totals = [cell["score"]["total"] for cell in plan["cell_list"]]
        self.assertEqual(totals, sorted(totals, reverse=True))

    def test_without_cells_there_is_no_list_of_them(self):
        self.assertNotIn("cell_list", self.plan().json)

    def test_the_same_files_give_the_same_bytes(self):
        self.assertEqual(self.plan(SMALL, "--cells").out, self.plan(SMALL, "--cells").out)

    def test_the_last_lines_compare_with_one_job_per_cell(self):
        lines = self.well("plan", self.file("m.yaml", SMALL)).out.strip().splitlines()
        self.assertIn("one job per cell", lines[-2])
        self.assertIn("this plan", lines[-1])
        numbers = [int(word.replace(",", "")) for word in re.findall(r"\s([\d,]+)(?=\s)", lines[-2])[:2]]
        self.assertEqual(numbers, [8, 8])

    def test_what_waits_is_set_apart_from_the_totals(self):
        text = (ROOT / "policies/default.yaml").read_text()
        whole = self.plan().json
        self.assertEqual((whole["waiting_jobs"], whole["waiting_gpu_hours"]), (0, 0))
        self.assertNotIn("wait", self.well("plan", self.folder / "m.yaml").out)
        smallest = min(job["gpu_hours"] for job in whole["jobs"])
        for budget, some in ((smallest * 1.01, True), (smallest / 2, False)):
            policy = self.file("p.yaml", re.sub(r"(?m)^  per_sweep: .*$", f"  per_sweep: {{gpu_hours: {budget:.9f}}}", text))
            plan = self.plan(SMALL, "--policy", policy).json
            waiting = {row["job"] for row in plan["waiting"]}
            self.assertTrue(waiting)
            self.assertEqual(plan["waiting_jobs"], len(waiting))
            rows = {job["id"]: job for job in plan["jobs"]}
            self.assertTrue(math.isclose(plan["waiting_gpu_hours"], sum(rows[name]["gpu_hours"] for name in waiting)))
            self.assertTrue(math.isclose(plan["gpu_hours"], sum(job["gpu_hours"] for job in plan["jobs"])), "those that wait included")
            ends = [job["start_s"] + job["expected_s"] for job in plan["jobs"] if job["id"] not in waiting]
            self.assertEqual(bool(ends), some)
            self.assertTrue(math.isclose(plan["makespan_s"], max(ends, default=0)))
            said = self.well("plan", self.folder / "m.yaml", "--policy", policy).out
            self.assertRegex(said, rf"Of {len(rows)} jobs and \S+ GPU-hours, {len(waiting)} jobs? and \S+ GPU-hours wait")
            self.assertIn("the makespan of this plan is that of the other" if some else "this plan has no makespan", said)

    def test_what_is_rejected_is_one_row_a_reason(self):
        plan = self.plan("name: m\nmodels: ['falcon*', tinyllama_1b]\ntasks: ['*mmmu', docvqa, mmlu]\n").json
        reasons = [(row["rule"], row["reason"]) for row in plan["rejected"]]
        self.assertEqual(len(set(reasons)), len(reasons))
        vision = next(row for row in plan["rejected"] if row["rule"] == "vision")
        falcons = {m["name"] for m in self.well("models", "falcon*", "--json").json}
        seeing = {t["name"] for t in self.well("tasks", "*mmmu", "--json").json} | {"docvqa"}
        self.assertEqual((set(vision["models"]), set(vision["tasks"])), (falcons | {"tinyllama_1b"}, seeing))
        self.assertEqual(vision["count"], (len(falcons) + 1) * len(seeing))
        self.assertEqual((vision["model"], vision["task"]), ("*", "*"))
        # Text and JSON are the same rows.
        table = self.well("plan", self.folder / "m.yaml").out.split("\nRejected\n")[1].split("\n\n")[0]
        self.assertEqual(len(table.splitlines()) - 1, len(plan["rejected"]))

    def test_few_jobs_load_each_model_once(self):
        plan = self.plan().json
        self.assertLess(len(plan["jobs"]), plan["naive"]["jobs"])
        self.assertLess(plan["model_loads"], plan["naive"]["model_loads"])
        self.assertLess(plan["gpu_hours"], plan["naive"]["gpu_hours"])

    def test_an_adapters_evaluation_comes_after_its_training(self):
        plan = self.plan(TUNE, "--cells").json
        self.assertEqual(plan["cells"], 3)
        train = next(c for c in plan["cell_list"] if c["kind"] == "train")
        tuned = next(c for c in plan["cell_list"] if c["stage"] == "tuned")
        base = next(c for c in plan["cell_list"] if c["stage"] == "base")
        self.assertEqual(tuned["adapter"], train["key"])
        self.assertNotIn("adapter", base)
        self.assertNotEqual(tuned["key"], base["key"])
        jobs = {job["id"]: job for job in plan["jobs"]}
        if tuned["job"] != train["job"]:
            self.assertIn(train["job"], jobs[tuned["job"]]["after"])
            self.assertGreaterEqual(jobs[tuned["job"]]["start_s"], jobs[train["job"]]["start_s"])

    def test_a_script_is_a_script(self):
        path = self.file("m.yaml", SMALL)
        for job in self.plan().json["jobs"]:
            script = self.well("plan", path, "--script", job["id"]).out
            self.assertTrue(script.startswith("#!/bin/bash\n"), script[:200])
            checked = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True)
            self.assertEqual((checked.returncode, checked.stderr), (0, b""))
            self.assertIn(f"#SBATCH --nodes={job['nodes']}\n", script)

    def test_a_job_that_is_not_in_the_plan_is_refused(self):
        ended = orchctl("plan", self.file("m.yaml", SMALL), "--script", "j99")
        self.assertEqual((ended.code, ended.out), (2, ""))
        self.assertIn("'j99'", ended.err)

    def test_a_policy_may_be_named_or_be_a_file(self):
        path = self.file("m.yaml", SMALL)
        named = self.well("plan", path, "--json", "--policy", "tournament").json
        by_path = self.well("plan", path, "--json", "--policy", ROOT / "policies/tournament.yaml").json
        self.assertEqual(named, by_path)
        self.assertEqual(named["cells"], 0, "the seed's criteria accept no evaluation")
        self.assertTrue(all(row["rule"] == "acceptance.task_type" for row in named["rejected"]), named["rejected"])

    def test_everything_that_ships_plans(self):
        for example in sorted((ROOT / "examples").glob("*.yaml")):
            plan = self.well("plan", example, "--json").json
            self.assertGreater(plan["cells"], 0, example)
            self.assertEqual(sum(job["cells"] for job in plan["jobs"]), plan["cells"])

    def test_all_models_on_all_data_sets_become_few_jobs(self):
        plan = self.well("plan", "examples/all.yaml", "--json").json
        self.assertGreater(plan["cells"], 1000)
        self.assertLess(len(plan["jobs"]), plan["naive"]["jobs"] / 5)


class Explains(WithFiles):
    def test_six_gpus_for_64_heads_are_two_by_three(self):
        ended = self.well("explain", "llama2_70b", "--gpus", "6", "--json").json
        chosen = ended["sizing"]["chosen"]
        self.assertEqual((chosen["layout"]["tp"], chosen["layout"]["pp"]), (2, 3))
        self.assertTrue(any("tp 6" in line and "64" in line for line in ended["sizing"]["refused"]), ended["sizing"]["refused"])

    def test_llama_2_70bs_cache_is_1_25_gib_per_4096_tokens(self):
        ended = self.well("explain", "llama2_70b")
        self.assertIn("1.25 GiB for 4,096", ended.out)

    def test_deepseek_v3_takes_two_nodes(self):
        chosen = self.well("explain", "deepseek_v3", "--json").json["sizing"]["chosen"]
        self.assertEqual((chosen["nodes"], chosen["gpus"]), (2, 16))

    def test_a_job_and_a_cell_say_why(self):
        path = self.file("m.yaml", SMALL)
        plan = self.well("plan", path, "--json", "--cells").json
        job = self.well("explain", path, plan["jobs"][0]["id"], "--json").json
        self.assertTrue(job["sizing"]["reasons"])
        cell = plan["cell_list"][0]
        explained = self.well("explain", path, cell["key"][:16], "--json").json
        self.assertEqual(explained["key"], cell["key"])
        content = json.dumps(explained["content"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.assertEqual(hashlib.sha256(content.encode()).hexdigest(), cell["key"])
        self.assertEqual([term["weighted"] for term in explained["terms"]], list(cell["score"]["terms"].values()))

    def test_a_number_of_gpus_that_no_profile_has_is_refused_with_those_that_are(self):
        numbers = sorted({profile["gpus"] for profile in self.well("profiles", "--json").json})
        for odd in (7, 3, 4096):
            self.assertNotIn(odd, numbers)
            ended = orchctl("explain", "llama2_70b", "--gpus", odd)
            self.assertEqual((ended.code, ended.out), (2, ""), ended)
            self.assertIn(f"no profile has {odd:,} GPUs; those of the catalog have {', '.join(map(str, numbers))} ", ended.err)
        # What runs in a program of its own takes any part of a profile's GPUs.
        self.assertEqual(self.well("explain", "evo2_7b", "--gpus", "7", "--json").json["sizing"]["chosen"]["gpus"], 7)

    def test_a_number_is_digits_in_range(self):
        for text in ("0", "-1", "4097", "99999999999999999999", "seven", "1.5", "1e3", "0x10", "1,000"):
            ended = orchctl("explain", "llama2_70b", "--gpus", text)
            self.assertEqual((ended.code, ended.out), (2, ""), ended)
            self.assertIn(f"'{text}' is not a whole number from 1 to 4,096", ended.err)
        eight = self.well("explain", "llama2_70b", "--gpus", "08", "--json").json  # no octal number
        self.assertEqual(eight["sizing"]["chosen"]["gpus"], 8)

    def test_a_rejected_pair_says_its_rule(self):
        path = self.file("m.yaml", "name: m\nmodels: ['falcon*']\ntasks: ['*mmmu', mmlu]\n")
        self.assertIn("falcon_40b/mmmu was rejected by vision", self.well("explain", path, "falcon_40b/mmmu").out)

    def test_a_pair_that_the_matrix_does_not_pick_was_not_rejected(self):
        # The policy rejects every evaluation; that says nothing of cells which do not exist.
        path = self.file("m.yaml", SMALL)
        self.assertIn("acceptance", self.well("explain", path, "llama2_70b/mmlu", "-p", "tournament").out)
        for pair, said in (("falcon_40b/mmlu", "makes no cell"), ("llama2_70b/boolq", "makes no cell"),
                           ("falcon_40/mmlu", "did you mean 'falcon_40b'"), ("falcon_40b/mmlu_", "did you mean 'mmlu'")):
            ended = orchctl("explain", path, pair, "-p", "tournament")
            self.assertEqual((ended.code, ended.out), (2, ""), ended)
            self.assertIn(said, ended.err)

    def test_what_is_not_there_is_refused(self):
        path = self.file("m.yaml", SMALL)
        for arguments in (["explain", "lama2_70b"], ["explain", path, "j77"], ["explain", path],
                          ["explain", path, "j1", "--gpus", "2"], ["explain", "llama2_70b", "j1"]):
            self.assertEqual(orchctl(*arguments).code, 2, arguments)


class Policies(WithFiles):
    def test_show_prints_every_number(self):
        shown = self.well("policy", "show", "tournament", "--json").json
        self.assertEqual(shown["weights"]["task_weight"], 0.35)
        copy = self.file("copy.yaml", json.dumps(shown))
        self.assertEqual(self.well("policy", "diff", "tournament", copy, "--json").json["changes"], [])

    def test_diff_says_what_would_change(self):
        text = (ROOT / "policies/default.yaml").read_text()
        mine = self.file("mine.yaml", re.sub(r"(?m)^(  llama:\s*)0\.95", r"\g<1>0.10", text))
        matrix = self.file("m.yaml", "name: m\nmodels: [llama2_70b, qwen25_72b]\ntasks: [mmlu]\n")
        diff = self.well("policy", "diff", "default", mine, "--matrix", matrix, "--json").json
        self.assertEqual(diff["changes"], [{"key": "families.llama", "from": 0.95, "to": 0.1}])
        ranks = {mover["model"]: (mover["from"], mover["to"]) for mover in diff["ranking"]}
        self.assertEqual(ranks, {"llama2_70b": (1, 2), "qwen25_72b": (2, 1)})

    def test_diff_has_numbers_for_programs_and_durations_for_people(self):
        changes = {row["key"]: row for row in self.well("policy", "diff", "default", "tournament", "--json").json["changes"]}
        self.assertEqual((changes["acceptance.max_duration"]["from"], changes["acceptance.max_duration"]["to"]), (None, "72000s"))
        self.assertEqual(changes["acceptance.min_score"]["to"], 0.45)
        self.assertIn("llama", changes["acceptance.families"]["to"])
        table = self.well("policy", "diff", "default", "tournament").out
        self.assertRegex(table, r"(?m)^  acceptance\.max_duration +- +20 h$")  # 72,000 s
        self.assertNotIn("72000s", table + self.well("policy", "show", "tournament").out)

    def test_diff_with_the_tournament_shows_the_rejections(self):
        matrix = self.file("m.yaml", SMALL)
        diff = self.well("policy", "diff", "default", "tournament", "--matrix", matrix, "--json").json
        self.assertEqual((diff["a"]["cells"], diff["b"]["cells"]), (8, 0))
        self.assertEqual(sum(row["count"] for row in diff["newly_rejected"]), 8)
        self.assertEqual(diff["b"]["gpu_hours"], 0)


class Validation(WithFiles):
    def test_everything_that_ships_is_well(self):
        files = [*ROOT.glob("examples/*.yaml"), *ROOT.glob("policies/*.yaml"), *ROOT.glob("policies/clusters/*.yaml"),
                 *ROOT.glob("db/catalog/*.yaml")]
        kinds = {entry["file"]: entry["kind"] for entry in self.well("validate", "--json", *files).json}
        self.assertEqual(len(kinds), len(files))
        for path, kind in kinds.items():
            expected = {"examples": "matrix", "policies": "policy", "clusters": "cluster", "catalog": "catalog"}
            self.assertEqual(kind, expected[pathlib.Path(path).parent.name], path)

    def test_a_history_is_used(self):
        history = self.file("h.yaml", "measurements:\n  - {model: tinyllama_1b, task: mmlu, profile: gpu_1, seconds_per_unit: [1, 1, 1, 1]}\n")
        self.well("validate", history)
        matrix = self.file("m.yaml", "name: m\nmodels: [tinyllama_1b]\ntasks: [mmlu]\n")
        plan = self.well("plan", matrix, "--json", "--history", history).json
        # 14,042 questions at one second each, by the measurements; and the time to load.
        self.assertGreaterEqual(plan["jobs"][0]["expected_s"], 14042)
        self.assertLess(plan["jobs"][0]["expected_s"], 14042 * 1.1)


if __name__ == "__main__":
    main()
