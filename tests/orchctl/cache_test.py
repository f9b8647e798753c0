"""cache_test.py ORCHCTL ROOT STORE_MAKER: orchctl cache, with a fake `hf` on the PATH that writes the hub's cache layout and
records how it was called."""

import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import time
import unittest

from fake_daemon import FakeDaemon, error, status, sweep
from program import ORCHCTL, ROOT, main, orchctl
from schemas_test import faults, output_schema

STORE_MAKER = pathlib.Path(sys.argv[3]).resolve()
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWx0123456789"
COMMIT = "c0ffee" + "0" * 34

# Called as hf itself is; what it does is told by FAKE_HF. Its record is what the tests look at.
FAKE = f"#!{sys.executable}\n" + '''
import hashlib, json, os, pathlib, struct, sys, time
do = os.environ.get("FAKE_HF", "well")
with open(os.environ["FAKE_HF_RECORD"], "a") as record:
    token = os.environ.get("HF_TOKEN")
    record.write(json.dumps({"argv": sys.argv, "cache": os.environ.get("HF_HUB_CACHE"), "stdin": sys.stdin.read(),
                             "bars": os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"),
                             "token": hashlib.sha256(token.encode()).hexdigest() if token else None}) + "\\n")
print("called with token", os.environ.get("HF_TOKEN"), flush=True)
assert sys.argv[1] == "download" and sys.argv[3] == "--revision"
repo, revision = sys.argv[2], sys.argv[4]
if do == "gated":
    sys.exit("Error: Access denied. Model '%s' requires approval." % repo)
if do == "not_found":
    sys.exit("Error: Model '%s' not found.\\nIf the repo is private, make sure you are authenticated" % repo)
if do == "offline":
    sys.exit("Error: Local entry not found. [Errno 111] Connection refused")
folder = pathlib.Path(os.environ["HF_HUB_CACHE"]) / ("models--" + repo.replace("/", "--"))
commit = "c0ffee" + "0" * 34
snapshot = folder / "snapshots" / commit
for path in (folder / "blobs", folder / "refs", snapshot):
    path.mkdir(parents=True, exist_ok=True)
(folder / "refs" / revision).write_text(commit)
def tensors(size, fill):
    head = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + fill * size
shards = ["model-0000%d-of-00003.safetensors" % n for n in (1, 2, 3)]
files = {"model.safetensors.index.json": json.dumps({"metadata": {"total_size": 3000},
         "weight_map": {"w%d" % i: shard for i, shard in enumerate(shards)}}).encode()}
files.update({shard: tensors(1000, shard[10:11].encode()) for shard in shards})
for number, (name, data) in enumerate(files.items()):
    large = name.endswith(".safetensors")
    etag = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(b"blob %d\\0" % len(data) + data).hexdigest()
    blob, link = folder / "blobs" / etag, snapshot / name
    if do == "midway" and number == 2:
        (folder / "blobs" / (etag + ".incomplete")).write_bytes(data[:500])
        sys.exit("requests.exceptions.ConnectionError: Connection reset by peer")
    if blob.exists():
        continue
    partial = folder / "blobs" / (etag + ".incomplete")
    if partial.exists():
        print("resuming from", partial.stat().st_size, flush=True)
        partial.unlink()
    blob.write_bytes(data)
    if do == "forgetful" and number == 3:
        continue
    link.symlink_to("../../blobs/" + etag)
    print("fetched", name, flush=True)
print(snapshot)
'''


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.cache = self.folder / "hub"
        self.state = self.folder / "state"
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.record = self.folder / "record"
        self.place("hf")

    def place(self, name):
        program = self.bin / name
        program.write_text(FAKE)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def environment(self, do="well", **more):
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "FAKE_HF": do, "FAKE_HF_RECORD": str(self.record), "HF_TOKEN": TOKEN,
                "HF_HUB_CACHE": str(self.cache), "HOME": str(self.folder / "home"), "ORCH_STATE": str(self.state), "TZ": "UTC0",
                **more}

    def run_cache(self, *arguments, do="well", **more):
        ended = orchctl("cache", *arguments, env=self.environment(do, **more))
        self.assertNotIn(TOKEN, ended.out + ended.err)
        return ended

    def calls(self):
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []

    def repo(self, name):
        return self.cache / ("models--" + name.replace("/", "--"))

    def age(self, name, days):
        then = time.time() - 86400 * days
        for path in [*(self.repo(name) / "blobs").iterdir(), *(self.repo(name) / "snapshots").iterdir(),
                     *(self.repo(name) / ".orch" / "last_used").glob("*")]:
            os.utime(path, (then, then))

    def is_valid(self, command, value):
        self.assertEqual(faults(output_schema(command), value), [])


class Fetch(Case):
    def test_hf_gets_the_model_as_arguments_and_the_token_in_its_environment_alone(self):
        ended = self.run_cache("fetch", "org/model", "--revision", "v1")
        self.assertEqual(ended.code, 0, ended)
        (call,) = self.calls()
        self.assertEqual(call["argv"][1:], ["download", "org/model", "--revision", "v1"])
        self.assertEqual(call["token"], hashlib.sha256(TOKEN.encode()).hexdigest())
        self.assertEqual((call["cache"], call["stdin"], call["bars"]), (str(self.cache), "", "1"))
        self.assertIn("called with token (token)", ended.err)
        self.assertIn(str(self.repo("org/model") / "snapshots" / COMMIT), ended.out)
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(TOKEN.encode(), path.read_bytes(), path)

    def test_a_name_of_the_catalog_is_fetched_from_where_the_catalog_says(self):
        ended = self.run_cache("fetch", "tinyllama*", "--json")
        self.assertEqual(ended.code, 0, ended)
        self.is_valid("cache_fetch", ended.json)
        catalog = orchctl("models", "tinyllama*", "--json").json
        self.assertEqual([one["id"] for one in ended.json], [model["hf_id"] for model in catalog])
        self.assertEqual([call["argv"][2] for call in self.calls()], [model["hf_id"] for model in catalog])

    def test_what_is_there_already_is_unchanged(self):
        self.assertEqual(self.run_cache("fetch", "org/m", "--json").json[0]["state"], "fetched")
        self.assertEqual(self.run_cache("fetch", "org/m", "--json").json[0]["state"], "unchanged")

    def test_a_broken_off_download_is_not_whole_and_the_next_one_goes_on(self):
        ended = self.run_cache("fetch", "org/m", do="midway")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("the hub cannot be reached from here", ended.err)
        (repo,) = self.run_cache("list", "--json").json["repositories"]
        self.assertEqual((repo["revisions"][0]["whole"], repo["partial_bytes"]), (False, 500))
        self.assertIn("2 of 3 files", repo["revisions"][0]["lacks"][0])
        ended = self.run_cache("fetch", "org/m")
        self.assertEqual(ended.code, 0, ended)
        self.assertIn("resuming from 500", ended.err)
        self.assertNotIn("fetched model-00001", ended.err)
        self.assertTrue(self.run_cache("list", "--json").json["repositories"][0]["revisions"][0]["whole"])

    def test_a_gated_model_is_told_with_the_address_of_its_licence(self):
        ended = self.run_cache("fetch", "org/m", do="gated")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("org/m is gated", ended.err)
        self.assertIn("https://huggingface.co/org/m", ended.err)
        self.assertNotIn("no token was found", ended.err)
        ended = self.run_cache("fetch", "org/m", "--json", do="gated", HF_TOKEN="")
        self.is_valid("cache_fetch", ended.json)
        self.assertEqual(ended.json[0]["failure"], "gated")
        self.assertIn("no token was found", ended.json[0]["what"])

    def test_other_failures_are_told_apart_and_the_other_models_still_come(self):
        for do in ("not_found", "offline"):
            ended = self.run_cache("fetch", "org/m", "--json", do=do)
            self.assertEqual((ended.code, ended.json[0]["failure"]), (1, {"offline": "network"}.get(do, do)), ended)
        self.assertEqual(self.run_cache("fetch", "org/a", "org/b", do="gated", HF_HUB_CACHE=str(self.cache)).code, 1)
        self.assertEqual([call["argv"][2] for call in self.calls()][-2:], ["org/a", "org/b"])

    def test_a_download_that_says_well_and_left_a_shard_out_has_failed(self):
        ended = self.run_cache("fetch", "org/m", "--json", do="forgetful")
        self.assertEqual((ended.code, ended.json[0]["failure"]), (1, "not_whole"), ended)

    def test_the_older_program_is_used_where_there_is_no_hf(self):
        (self.bin / "hf").rename(self.bin / "huggingface-cli")
        self.assertEqual(self.run_cache("fetch", "org/m", PATH=str(self.bin)).code, 0)
        (self.bin / "huggingface-cli").unlink()
        ended = self.run_cache("fetch", "org/m", PATH=str(self.bin))
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("neither hf nor huggingface-cli is on the PATH", ended.err)

    def test_names_that_are_none_are_bad_input(self):
        for name in ("../../etc", "-x/y", "org/..", "a/b/c", "org/na me", "llama2_70", "$(id)/x", "https://huggingface.co/a/b"):
            ended = self.run_cache("fetch", "--", name)
            self.assertEqual(ended.code, 2, (name, ended))
        self.assertEqual(self.run_cache("fetch", "org/m", "--revision", "../x").code, 2)
        self.assertEqual(self.run_cache("fetch", "org/m", "--budget", "much").code, 2)
        self.assertEqual(self.run_cache("fetch", "org/m", ORCH_CACHE_BUDGET="much").code, 2)
        self.assertEqual(self.calls(), [])

    def test_room_is_made_before_or_nothing_is_fetched(self):
        self.assertEqual(self.run_cache("fetch", "org/old", "org/new").code, 0)
        self.age("org/old", 9)
        each = self.run_cache("list", "--json").json["bytes"] // 2
        # TinyLlama's 1.1B parameters do not fit in 10,000 bytes, whatever goes.
        ended = self.run_cache("fetch", "tinyllama_1b", "--budget", "10000", "--json")
        self.assertEqual((ended.code, ended.json[0]["failure"]), (1, "budget"), ended)
        self.assertEqual(len(self.calls()), 2)
        self.assertTrue(self.repo("org/old").exists())
        # A budget that the two already exceed: of an unknown model only that is known.
        ended = self.run_cache("fetch", "org/third", "--budget", str(each + each // 2), "--json")
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual([removal["id"] for removal in ended.json[0]["removed"]], ["org/old"])
        self.assertGreater(ended.json[0]["over_budget_bytes"], 0)
        self.assertTrue(self.repo("org/new").exists())


class Prune(Case):
    def setUp(self):
        super().setUp()
        self.assertEqual(self.run_cache("fetch", "tinyllama_1b", "org/new").code, 0)
        self.tiny = orchctl("models", "tinyllama_1b", "--json").json[0]["hf_id"]
        self.age(self.tiny, 40)

    def with_daemon(self, answers, *arguments):
        with FakeDaemon(self.state, answers):
            return self.run_cache(*arguments)

    def test_the_least_recently_used_go_and_a_dry_run_only_says_so(self):
        dry = self.run_cache("prune", "--older-than", "30d", "--dry-run", "--json")
        self.is_valid("cache_prune", dry.json)
        self.assertEqual([removal["id"] for removal in dry.json["removed"]], [self.tiny])
        self.assertTrue(self.repo(self.tiny).exists())
        done = self.run_cache("prune", "--older-than", "30d", "--json")
        self.assertEqual(done.json["removed"], dry.json["removed"])
        self.assertFalse(self.repo(self.tiny).exists())
        self.assertTrue(self.repo("org/new").exists())

    def test_what_jobs_use_stays_and_an_impossible_budget_fails(self):
        job = {"id": "j1", "model": "tinyllama_1b", "state": "queued"}
        ended = self.with_daemon({"GET /v1/status": dict(status(), jobs=[job])}, "prune", "--budget", "0", "--json")
        self.assertEqual(ended.code, 1, ended)
        self.assertEqual([removal["id"] for removal in ended.json["removed"]], ["org/new"])
        self.assertEqual([kept["id"] for kept in ended.json["kept"]], [self.tiny])
        self.assertGreater(ended.json["over_budget_bytes"], 0)

    def test_what_cells_wait_for_stays_too(self):
        cells = [{"key": "ab" * 32, "model": "tinyllama_1b", "state": "waiting"}]
        answers = {"GET /v1/status": dict(status(sweep("running", done=1)), jobs=[]),
                   "GET /v1/sweeps/s1/cells?state=blocked": [], "GET /v1/sweeps/s1/cells?state=running": [],
                   "GET /v1/sweeps/s1/cells?state=waiting": cells}
        ended = self.with_daemon(answers, "prune", "--older-than", "30d", "--json")
        self.assertEqual((ended.code, ended.json["removed"]), (0, []), ended)

    def test_an_ended_job_holds_nothing(self):
        job = {"id": "j1", "model": "tinyllama_1b", "state": "ended"}
        ended = self.with_daemon({"GET /v1/status": dict(status(), jobs=[job])}, "prune", "--older-than", "30d", "--json")
        self.assertEqual(len(ended.json["removed"]), 1, ended)

    def test_nothing_goes_while_what_is_in_use_is_not_known(self):
        unknown = {"id": "j1", "model": "house", "state": "running"}
        for answers in ({"GET /v1/status": error(500, "broken")}, {"GET /v1/status": dict(status(), jobs=[unknown])}):
            ended = self.with_daemon(answers, "prune", "--older-than", "30d")
            self.assertEqual(ended.code, 1, ended)
            self.assertIn("nothing was removed, because what is in use is not known", ended.err)
            self.assertTrue(self.repo(self.tiny).exists())
        ended = self.with_daemon(answers, "prune", "--older-than", "30d", "--force", "--keep", "tinyllama_1b", "--json")
        self.assertEqual((ended.code, ended.json["removed"]), (0, []), ended)
        ended = self.with_daemon(answers, "prune", "--older-than", "30d", "--force", "--json")
        self.assertEqual(len(ended.json["removed"]), 1, ended)

    def test_while_the_daemon_is_down_its_store_says_what_is_in_use(self):
        # Its sweep waits for the model `a`, whatever that is: only the store can have told.
        subprocess.run([STORE_MAKER, self.state], check=True)
        ended = self.run_cache("prune", "--older-than", "30d")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("jobs use 'a', which the catalog does not know", ended.err)
        self.assertTrue(self.repo(self.tiny).exists())
        (self.state / "orch.db").write_bytes(b"no store")
        ended = self.run_cache("prune", "--older-than", "30d")
        self.assertEqual(ended.code, 1, ended)
        self.assertTrue(self.repo(self.tiny).exists())

    def test_without_a_reason_only_leftovers_go(self):
        self.assertEqual(self.run_cache("prune", "--json").json["removed"], [])
        self.assertEqual(self.run_cache("prune", "--older-than", "soon").code, 2)


class Others(Case):
    def test_list_is_a_table_or_json(self):
        empty = self.run_cache("list", "--json")
        self.assertEqual((empty.code, empty.json["repositories"]), (0, []), empty)
        self.run_cache("fetch", "tinyllama_1b")
        listed = self.run_cache("list", "--json")
        self.is_valid("cache_list", listed.json)
        self.assertEqual(listed.json["repositories"][0]["names"][0], "tinyllama_1b")
        shown = self.run_cache("list").out
        self.assertIn("main c0ffee00", shown)
        self.assertIn("whole", shown)

    def test_the_folder_is_found_as_the_hubs_programs_find_it(self):
        for variables, folder in (({"HF_HUB_CACHE": "/a"}, "/a"), ({"HF_HUB_CACHE": "", "HF_HOME": "/b"}, "/b/hub"),
                                  ({"HF_HUB_CACHE": "", "HF_HOME": "", "XDG_CACHE_HOME": "", "HUGGINGFACE_HUB_CACHE": ""},
                                   str(self.folder / "home" / ".cache" / "huggingface" / "hub"))):
            self.assertEqual(self.run_cache("list", "--json", **variables).json["cache"], folder)
        self.assertEqual(self.run_cache("list", "--json", "--cache", "/c").json["cache"], "/c")

    def test_verify_finds_damage_and_the_next_fetch_mends_it(self):
        self.run_cache("fetch", "org/m")
        well = self.run_cache("verify", "--json")
        self.is_valid("cache_verify", well.json)
        self.assertEqual((well.code, well.json[0]["right"], well.json[0]["well"]), (0, 4, True), well)
        shard = (self.repo("org/m") / "snapshots" / COMMIT / "model-00002-of-00003.safetensors").resolve()
        shard.write_bytes(shard.read_bytes()[:-1] + b"!")
        ended = self.run_cache("verify", "org/m")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("'model-00002-of-00003.safetensors' is damaged", ended.out)
        ended = self.run_cache("verify", "org/m", "--remove-damaged", "--json")
        self.assertEqual((ended.code, ended.json[0]["damaged"]), (1, ["model-00002-of-00003.safetensors"]), ended)
        self.assertFalse(shard.exists())
        (self.repo("org/m") / "snapshots" / COMMIT / "model-00002-of-00003.safetensors").unlink()
        self.assertEqual(self.run_cache("fetch", "org/m").code, 0)
        self.assertEqual(self.run_cache("verify", "org/m").code, 0)

    def test_verify_of_a_model_that_is_not_there_fails(self):
        ended = self.run_cache("verify", "org/none")
        self.assertEqual(ended.code, 1, ended)
        self.assertIn("org/none at main is not in the cache", ended.err)

    def test_stage_prints_a_path_that_a_script_can_use(self):
        self.run_cache("fetch", "org/m")
        to = self.folder / "node local"
        ended = self.run_cache("stage", "org/m", "--to", to)
        self.assertEqual((ended.code, ended.out), (0, f"{to}/org--m/{COMMIT}\n"), ended)
        self.assertFalse((to / "org--m" / COMMIT / "model-00001-of-00003.safetensors").is_symlink())
        again = self.run_cache("stage", "org/m", "--to", to, "--json")
        self.is_valid("cache_stage", again.json)
        self.assertFalse(again.json["copied"])
        self.assertEqual(self.run_cache("stage", "org/none", "--to", to).code, 1)
        self.assertEqual(self.run_cache("stage", "llama2_*", "--to", to).code, 2)

    def test_many_processes_stage_one_copy(self):
        self.run_cache("fetch", "org/m")
        command = [ORCHCTL, "cache", "stage", "org/m", "--to", self.folder / "local", "--json"]
        environment = dict(os.environ, **self.environment())
        running = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                   for _ in range(6)]
        ended = [json.loads(process.communicate()[0]) for process in running]
        self.assertEqual(sum(one["copied"] for one in ended), 1)


if __name__ == "__main__":
    main()
