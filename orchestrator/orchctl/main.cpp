// orchctl: the command line. This file says what can be typed, finds the data, and runs the command that was named;
// what the commands do is in the file of each. CLI11 is included here alone, because it takes long to compile.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>

#include "base/text.h"
#include "base/units.h"
#include "orchctl/command.h"
#include "orchctl/load.h"

namespace orch::orchctl {

namespace {

/// The command that was named, with its arguments: set while parsing, run afterwards.
using Chosen = std::function<int()>;

/// A whole number in digits alone: CLI11 itself would read 010 as 8, and call `abc` out of range.
CLI::Validator whole(std::int64_t least, std::int64_t most) {
  return CLI::Validator(
      [least, most](std::string& text) {
        std::int64_t value = 0;
        const char* const end = text.data() + text.size();
        const auto [stopped, error] = std::from_chars(text.data(), end, value);
        if (error != std::errc() || stopped != end || value < least || value > most)
          return quote(text) + " is not a whole number from " + grouped(least) + " to " + grouped(most);
        text = std::to_string(value);
        return std::string();
      },
      "");
}

/// Of an option that is kept: `none` and `default` take it back.
CLI::Validator seconds_or_default(std::int64_t most) {
  return CLI::Validator(
      [most](std::string& text) {
        if (text == "none" || text == "default") return std::string();
        if (CLI::Range(1.0, static_cast<double>(most))(text).empty()) return std::string();
        return quote(text) + " is not a number from 1 to " + grouped(most);
      },
      "");
}

CLI::Validator one_of(const std::vector<std::string>& known) {
  return CLI::Validator(
      [known](std::string& text) {
        if (std::ranges::find(known, text) != known.end()) return std::string();
        return quote(text) + " is none of " + join(known, ", ") + hint(text, known);
      },
      "{" + join(known, ",") + "}");
}

/// A command with the options that every command has. `example` stands at the end of its --help.
CLI::App* add(CLI::App& app, Session& session, const std::string& name, const std::string& help,
              const std::string& example) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", session.json, "print JSON and nothing else (orchctl schema output describes it)");
  command->add_option("--color", session.color, "auto (on a terminal), always or never")
      ->check(one_of({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_option("--catalog", session.catalogs, "a site's own catalog file or folder; may be given several times")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  command->footer("Example:\n  " + example + "\n");
  return command;
}

void add_state_option(CLI::App* command, Session& session) {
  command->add_option("--state", session.state, "the daemon's state directory ($ORCH_STATE, ~/.local/state/orch)")
      ->type_name("DIR");
}

/// A command that asks the daemon.
CLI::App* add_asking(CLI::App& app, Session& session, const std::string& name, const std::string& help,
                     const std::string& example) {
  CLI::App* command = add(app, session, name, help, example);
  add_state_option(command, session);
  return command;
}

/// Makes `run(arguments)` what happens when `command` is named.
template <class Arguments>
void on(CLI::App* command, Chosen& chosen, Session& session, int (*run)(Session&, const Arguments&),
        std::shared_ptr<Arguments> arguments) {
  command->callback([&chosen, &session, run, arguments] {
    chosen = [&session, run, arguments] { return run(session, *arguments); };
  });
}

std::vector<CLI::Option*> add_plan_files(CLI::App* command, PlanFiles& files) {
  return {
      command->add_option("-c,--cluster", files.cluster, "a cluster file, or the name of one that ships (h100x8, …)")
          ->type_name("C"),
      command->add_option("--on", files.on, "which cluster, when the file describes several")->type_name("NAME"),
      command->add_option("--history", files.history, "a file of measured durations and outcomes")->type_name("H")};
}

void add_policy_option(CLI::App* command, PlanFiles& files) {
  command
      ->add_option("-p,--policy", files.policy,
                   "a policy file, or the name of one that ships (default, tournament, fastest)")
      ->type_name("P");
}

void add_plan(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "plan", "show which jobs a matrix would become; nothing is submitted",
                          "orchctl plan examples/nightly-core.yaml --policy fastest\n"
                          "  orchctl plan examples/nightly-core.yaml --script j1");
  auto arguments = std::make_shared<PlanArguments>();
  command->add_option("matrix", arguments->files.matrix, "the matrix file")->required()->type_name("MATRIX");
  add_policy_option(command, arguments->files);
  add_plan_files(command, arguments->files);
  CLI::Option* cells = command->add_flag("--cells", arguments->cells, "list every accepted cell with its score");
  CLI::Option* script =
      command->add_option("--script", arguments->script, "print the sbatch script of this job")->type_name("JOB");
  script->excludes(cells);
  command->add_option("--templates", arguments->templates, "a folder of templates that win over those that ship")
      ->needs(script)
      ->type_name("FOLDER");
  on(command, chosen, session, plan, arguments);
}

void add_validate(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "validate", "check matrix, policy, catalog, cluster and history files",
                          "orchctl validate examples/nightly-core.yaml policies/default.yaml");
  auto arguments = std::make_shared<ValidateArguments>();
  command->add_option("file", arguments->files, "one file or more")->required()->type_name("FILE");
  command->add_option("--kind", arguments->kind, "what the files are, if they do not show it")
      ->check(one_of({"auto", "matrix", "policy", "catalog", "cluster", "history", "notify", "ceilings"}))
      ->type_name("KIND");
  on(command, chosen, session, validate, arguments);
}

void add_explain(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command =
      add(app, session, "explain", "say why: a model's size, a job's place, a cell's score, what a sweep waits for",
          "orchctl explain llama2_70b --gpus 6\n"
          "  orchctl explain examples/nightly-core.yaml j1\n"
          "  orchctl explain examples/nightly-core.yaml falcon_40b/mmlu\n"
          "  orchctl explain s3");
  add_state_option(command, session);
  auto arguments = std::make_shared<ExplainArguments>();
  command
      ->add_option("what", arguments->what,
                   "a model of the catalog, a matrix file, or what the daemon knows: a sweep (s3), a job (j12), a cell "
                   "(6 digits of its key or more, c345)")
      ->required()
      ->type_name("MODEL|MATRIX|ID");
  command->add_option("part", arguments->part, "of a matrix: a job, the beginning of a cell's key, or MODEL/TASK")
      ->type_name("JOB|KEY|MODEL/TASK");
  add_policy_option(command, arguments->files);
  add_plan_files(command, arguments->files);
  command->add_option("--dtype", arguments->dtype, "of the weights")
      ->check(one_of({"fp32", "bf16", "fp16", "fp8", "int8", "int4"}))
      ->type_name("DTYPE");
  command->add_option("--kv-dtype", arguments->kv_dtype, "of the KV cache")
      ->check(one_of({"bf16", "fp16", "fp8"}))
      ->type_name("DTYPE");
  command->add_option("--tokens", arguments->tokens, "of the longest sequence (4,096)")
      ->transform(whole(1, 10'000'000))
      ->type_name("N");
  command->add_option("--gpus", arguments->gpus, "on exactly so many GPUs")->transform(whole(1, 4096))->type_name("N");
  on(command, chosen, session, explain, arguments);
}

void add_catalog(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* of_models = add(app, session, "models", "list the models of the catalog, or show one",
                            "orchctl models --family llama\n  orchctl models deepseek_v3");
  auto filter = std::make_shared<CatalogFilter>();
  of_models->add_option("name", filter->name, "one model, or a pattern such as 'qwen*'")->type_name("NAME");
  of_models->add_option("--family", filter->family, "only this family")->type_name("F");
  of_models->add_option("--category", filter->category, "only this category")->type_name("C");
  on(of_models, chosen, session, models, filter);

  CLI::App* of_tasks = add(app, session, "tasks", "list the tasks of the catalog, or show one",
                           "orchctl tasks --group mathematical_reasoning\n  orchctl tasks gsm8k");
  of_tasks->add_option("name", filter->name, "one task, or a pattern such as 'm*'")->type_name("NAME");
  of_tasks->add_option("--group", filter->group, "only this group")->type_name("G");
  of_tasks->add_option("--kind", filter->kind, "only this kind")->type_name("K");
  of_tasks->add_option("--category", filter->category, "only this category")->type_name("C");
  on(of_tasks, chosen, session, tasks, filter);

  const auto add_list = [&](const std::string& name, const std::string& help, int (*run)(Session&)) {
    add(app, session, name, help, "orchctl " + name + " --json")->callback([&chosen, &session, run] {
      chosen = [&session, run] { return run(session); };
    });
  };
  add_list("profiles", "list the shapes that a job may have", profiles);
  add_list("categories", "list the categories of models and tasks", categories);
  add_list("gpus", "list the GPUs that are known", gpus);
}

void add_policy(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("policy", "check, show, compare and set policies");
  command->require_subcommand(1);
  command->footer("Example:\n  orchctl policy check my-policy.yaml\n  orchctl policy set my-policy.yaml\n");
  auto named = std::make_shared<std::string>();
  CLI::App* check = add(*command, session, "check", "check a policy file", "orchctl policy check my-policy.yaml");
  check->add_option("policy", *named, "a file, or the name of one that ships")->required()->type_name("P");
  on(check, chosen, session, policy_check, named);

  CLI::App* show = add(*command, session, "show", "print all numbers of a policy", "orchctl policy show tournament");
  show->add_option("policy", *named, "a file, or the name of one that ships; default if absent")->type_name("P");
  on(show, chosen, session, policy_show, named);

  CLI::App* diff = add(*command, session, "diff", "show what a change of policy would do",
                       "orchctl policy diff default tournament --matrix examples/nightly-core.yaml");
  auto arguments = std::make_shared<DiffArguments>();
  diff->add_option("a", arguments->a, "the policy as it is")->required()->type_name("A");
  diff->add_option("b", arguments->b, "the policy as it would be")->required()->type_name("B");
  CLI::Option* matrix =
      diff->add_option("-m,--matrix", arguments->files.matrix, "plan this matrix with both")->type_name("M");
  for (CLI::Option* option : add_plan_files(diff, arguments->files)) option->needs(matrix);
  on(diff, chosen, session, policy_diff, arguments);

  CLI::App* set = add_asking(*command, session, "set", "make this the policy of the running daemon",
                             "orchctl policy set my-policy.yaml");
  set->add_option("policy", *named, "a file, or the name of one that ships")->required()->type_name("P");
  on(set, chosen, session, policy_set, named);
}

void add_notify(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("notify", "whom the daemon tells what happens: list, test");
  command->require_subcommand(1);
  command->footer("Example:\n  orchctl notify test\n");
  const auto add_one = [&](const char* name, const char* help, bool test) {
    auto arguments = std::make_shared<NotifyArguments>();
    arguments->test = test;
    CLI::App* one = add_asking(*command, session, name, help, std::string("orchctl notify ") + name);
    on(one, chosen, session, notify_targets, arguments);
  };
  add_one("list", "say whom notify.yaml of the state directory names", false);
  add_one("test", "tell each of them something, and say whether it worked", true);
}

void add_cluster(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("cluster", "describe the cluster that jobs run on");
  command->require_subcommand(1);
  command->footer("Example:\n  orchctl cluster detect --output site.yaml\n");
  CLI::App* detect = add(*command, session, "detect", "draft a cluster file from what sinfo and scontrol say",
                         "orchctl cluster detect --output site.yaml");
  auto output = std::make_shared<std::string>();
  detect->add_option("-o,--output", *output, "write the draft here, to a file that does not exist yet")
      ->type_name("FILE");
  on(detect, chosen, session, cluster_detect, output);
}

void add_cache(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("cache", "the models in the hub's cache: list, fetch, verify, prune, stage");
  command->require_subcommand(1);
  command->footer("Example:\n  orchctl cache list\n");
  const auto add_one = [&](const std::string& name, const std::string& help, const std::string& example,
                           int (*run)(Session&, const CacheArguments&)) {
    CLI::App* one = add(*command, session, name, help, example);
    auto arguments = std::make_shared<CacheArguments>();
    one->add_option("--cache", arguments->cache, "the folder ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub)")
        ->type_name("DIR");
    on(one, chosen, session, run, arguments);
    return std::pair(one, arguments);
  };
  const auto add_models = [](CLI::App* one, const std::shared_ptr<CacheArguments>& arguments) {
    one->add_option("--revision", arguments->revision, "a branch, a tag or a commit; else the catalog's, else main")
        ->type_name("R");
    return one->add_option("model", arguments->models, "a name or a pattern of the catalog, or org/name")
        ->type_name("MODEL");
  };
  const auto add_budget = [&](CLI::App* one, const std::shared_ptr<CacheArguments>& arguments) {
    one->add_option("--budget", arguments->budget, "bytes that the cache may have: 500G, 2TB ($ORCH_CACHE_BUDGET)")
        ->type_name("SIZE");
    one->add_flag("--force", arguments->force, "do not ask the daemon which models its jobs use");
    add_state_option(one, session);
  };
  add_one("list", "list what is there, and whether it is whole", "orchctl cache list", cache_list);
  const auto [fetch, fetch_arguments] = add_one("fetch", "download models with hf, after making room for them",
                                                "orchctl cache fetch llama31_8b 'qwen25_*' --budget 2TB", cache_fetch);
  add_models(fetch, fetch_arguments)->required();
  add_budget(fetch, fetch_arguments);
  const auto [verify, verify_arguments] =
      add_one("verify", "read every byte, and compare it with the digest in its name",
              "orchctl cache verify llama31_8b", cache_verify);
  add_models(verify, verify_arguments);
  verify->add_flag("--remove-damaged", verify_arguments->remove_damaged, "so that the next fetch brings them anew");
  const auto [prune, prune_arguments] =
      add_one("prune", "remove the least recently used models that no job uses",
              "orchctl cache prune --budget 500G --dry-run\n  orchctl cache prune --older-than 30d", cache_prune);
  add_budget(prune, prune_arguments);
  prune->add_option("--older-than", prune_arguments->older_than, "whatever was not used for so long: 30d")
      ->type_name("TIME");
  prune->add_option("--keep", prune_arguments->models, "a model to keep; may be given several times")
      ->expected(1)
      ->take_all()
      ->type_name("MODEL");
  prune->add_flag("--dry-run", prune_arguments->dry_run, "say what would go; remove nothing");
  const auto [stage, stage_arguments] = add_one("stage", "copy a model to a disk of this node, and print where it is",
                                                "orchctl cache stage llama31_8b --to \"$TMPDIR\"", cache_stage);
  add_models(stage, stage_arguments)->required()->expected(1);
  stage->add_option("--to", stage_arguments->to, "the folder")->required()->type_name("DIR");
}

void add_schema(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "schema", "print the JSON Schema of a kind of file, or list them",
                          "orchctl schema matrix > matrix.schema.json");
  auto kind = std::make_shared<std::string>();
  command
      ->add_option("kind", *kind,
                   "matrix, policy, catalog, cluster, history, notify, ceilings or output; nothing lists them")
      ->type_name("KIND");
  on(command, chosen, session, schema, kind);
}

/// A command of one word after its name, and nothing else.
void add_of_one(CLI::App& app, Session& session, Chosen& chosen, const std::string& name, const std::string& help,
                const std::string& example, const std::string& word, const std::string& what,
                int (*run)(Session&, const std::string&)) {
  CLI::App* command = add_asking(app, session, name, help, example);
  auto given = std::make_shared<std::string>();
  command->add_option("what", *given, what)->required()->type_name(word);
  on(command, chosen, session, run, given);
}

void add_up(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command =
      add(app, session, "up", "start the daemon, and return once it answers",
          "orchctl up\n  orchctl up --cluster my-site.yaml --policy tournament\n  orchctl up --install");
  add_state_option(command, session);
  auto arguments = std::make_shared<UpArguments>();
  command
      ->add_option("-c,--cluster", arguments->cluster,
                   "slurm, local, a cluster file or the name of one that ships; else as at its last start, else Slurm "
                   "where sinfo answers, else this machine")
      ->type_name("C");
  command->add_option("--on", arguments->on, "which cluster, when the file describes several")->type_name("NAME");
  command->add_option("--gpus", arguments->gpus, "GPU slots that a local cluster pretends to have")
      ->check(whole(1, 64))
      ->type_name("N");
  command
      ->add_option("-p,--policy", arguments->policy,
                   "a policy file, or the name of one that ships; else the one set last")
      ->type_name("P");
  const auto add_kept = [&](const std::string& name, const char* what, const char* type) {
    return command->add_option("--" + name, arguments->kept[name], what)->type_name(type)->expected(1);
  };
  add_kept("database", "a folder on a local disk for the database (the state directory)", "DIR");
  add_kept("data", "a folder that compute nodes see, with the questions of tasks (STATE/data)", "DIR");
  add_kept("jobs", "a folder that compute nodes see, for the jobs' directories (STATE/jobs)", "DIR");
  add_kept("templates", "a folder of job templates that win over those that ship", "DIR");
  add_kept("listen", "ADDRESS:PORT for TLS; with Slurm every address and any free port; none: no port", "A:P");
  add_kept("address", "a name or address under which other hosts reach this one", "HOST")->take_all();
  add_kept("link", "how workers reach the daemon: http, or files where they have no route", "WAY")
      ->check(one_of({"http", "files", "default"}));
  add_kept("worker", "path of orch-worker on the compute nodes", "PATH");
  add_kept("look-every", "seconds between two looks at Slurm's queue (120)", "S")->check(seconds_or_default(3600));
  add_kept("tidy-every", "seconds between two looks for files older than the policy keeps (3600)", "S")
      ->check(seconds_or_default(86400));
  add_kept("socket-mode", "mode of the socket, octal (0600); 0660 for a shared account", "MODE");
  add_kept("read-group", "a Unix group whose members may read", "GROUP");
  add_kept("submit-group", "a Unix group whose members may submit", "GROUP");
  add_kept("admin-group", "a Unix group whose members may do everything", "GROUP");
  command->footer(
      "What is given is kept in the state directory for the next start. `none` or `default` in place of a value goes\n"
      "back to the default (of --listen only `default` does); --gpus goes back with --cluster local.\n\n" +
      command->get_footer());
  command->add_flag("--install", arguments->install,
                    "write a systemd user unit, or without systemd an @reboot line of the crontab, that starts it");
  on(command, chosen, session, up, arguments);

  command = add(app, session, "down", "end the daemon; jobs that run go on", "orchctl down");
  add_state_option(command, session);
  command->callback([&chosen, &session] { chosen = [&session] { return down(session); }; });

  command = add(app, session, "doctor", "say what is wrong with this machine for orch; changes nothing",
                "orchctl doctor\n  orchctl doctor --job");
  add_state_option(command, session);
  auto doctors = std::make_shared<DoctorArguments>();
  command->add_flag("--job", doctors->job,
                    "run two short Slurm jobs, to look from a compute node: the way to the daemon, the GPUs' driver");
  on(command, chosen, session, doctor, doctors);
}

void add_submit(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add_asking(app, session, "submit-matrix", "hand a matrix to the daemon",
                                 "orchctl submit-matrix examples/nightly-core.yaml --wait\n"
                                 "  orchctl submit-matrix examples/nightly-core.yaml --dry-run");
  auto arguments = std::make_shared<SubmitArguments>();
  command->add_option("matrix", arguments->files.matrix, "the matrix file")->required()->type_name("MATRIX");
  command->add_option("--name", arguments->name, "of the sweep, in place of the matrix's")->type_name("NAME");
  command->add_flag("--fresh", arguments->fresh, "measure again what was measured before");
  command->add_flag("--wait", arguments->wait,
                    "until the sweep has ended: progress, then the results; exit code 3 if cells failed");
  command->add_flag("--dry-run", arguments->dry_run,
                    "show what would become of it, on the daemon's cluster and by its policy; submit nothing");
  add_policy_option(command, arguments->files);
  command->add_option("-c,--cluster", arguments->files.cluster, "of a dry run: another cluster than the daemon's")
      ->type_name("C");
  on(command, chosen, session, submit_matrix, arguments);
}

void add_looks(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* of_status = add_asking(app, session, "status", "show the daemon, its sweeps and its jobs",
                                   "orchctl status\n  orchctl status s3 --watch");
  auto status_arguments = std::make_shared<StatusArguments>();
  of_status->add_option("sweep", status_arguments->sweep, "only this one: s3, or its name")->type_name("SWEEP");
  of_status->add_flag("-w,--watch", status_arguments->watch,
                      "paint it anew every two seconds; of a sweep, until it has ended");
  on(of_status, chosen, session, status, status_arguments);

  add_asking(app, session, "jobs", "list the jobs", "orchctl jobs --json")->callback([&chosen, &session] {
    chosen = [&session] { return jobs(session); };
  });

  CLI::App* of_cells = add_asking(app, session, "cells", "list the cells of a sweep", "orchctl cells s3 --only failed");
  auto cells_arguments = std::make_shared<CellsArguments>();
  of_cells->add_option("sweep", cells_arguments->sweep, "s3, or its name")->required()->type_name("SWEEP");
  of_cells->add_option("--only", cells_arguments->only, "those in this state")
      ->check(one_of({"blocked", "waiting", "running", "done", "failed", "cancelled"}))
      ->type_name("STATE");
  on(of_cells, chosen, session, cells, cells_arguments);

  CLI::App* of_results = add_asking(app, session, "results", "show what a sweep has measured",
                                    "orchctl results s3\n  orchctl results nightly-core --format csv > nightly.csv\n"
                                    "  orchctl results s3 --curves --format html --output curves.html");
  auto results_arguments = std::make_shared<ResultsArguments>();
  of_results->add_option("sweep", results_arguments->sweep, "s3, or its name: then the newest")->type_name("SWEEP");
  of_results->add_flag("--curves", results_arguments->curves,
                       "how its trainings went, step by step; also while they run");
  of_results->add_option("--curve", results_arguments->curve, "the same of one cell: the beginning of its key, or c345")
      ->type_name("CELL");
  of_results
      ->add_option("-f,--format", results_arguments->format,
                   "table, csv (a line a metric, RFC 4180), json or md (Markdown); of curves table, csv (a line a step "
                   "and figure), json, svg or html")
      ->check(one_of({"table", "csv", "json", "md", "svg", "html"}))
      ->type_name("FORMAT");
  of_results->add_option("-o,--output", results_arguments->output, "write it to this file, in place of what it holds")
      ->type_name("FILE");
  on(of_results, chosen, session, results, results_arguments);

  CLI::App* of_diff = add_asking(app, session, "diff", "compare the results of two sweeps, cell by cell",
                                 "orchctl diff s3 s4 --fail-on-regression");
  auto diff_arguments = std::make_shared<SweepDiffArguments>();
  of_diff->add_option("a", diff_arguments->a, "the sweep before")->required()->type_name("A");
  of_diff->add_option("b", diff_arguments->b, "the sweep after")->required()->type_name("B");
  of_diff
      ->add_option("--errors", diff_arguments->errors,
                   "so many standard errors of a difference are taken to be chance, 0 to 100 (default 2)")
      ->type_name("N");
  of_diff->add_flag("--fail-on-regression", diff_arguments->fail_on_regression, "exit code 1 if something got worse");
  of_diff->footer(
      "Cells are matched by model, task and settings. A difference counts when it is larger than twice the\n"
      "standard error of it, 2 * sqrt(a^2 + b^2), or as often as --errors says; a metric without a standard error is\n"
      "taken to be exact. More is better, except for metrics whose name holds loss, ppl, perplexity, error, bits_per,\n"
      "brier or edit_distance, or a word such as wer, ter, mse, nll.\n\n" +
      of_diff->get_footer());
  on(of_diff, chosen, session, sweep_diff, diff_arguments);
}

void add_histories(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* of_logs = add_asking(app, session, "logs", "print the log of a job or a cell", "orchctl logs j12 --follow");
  auto logs_arguments = std::make_shared<LogsArguments>();
  of_logs->add_option("id", logs_arguments->id, "a job (j12), or a cell (the beginning of its key, c345)")
      ->required()
      ->type_name("ID");
  of_logs->add_flag("-f,--follow", logs_arguments->follow, "go on until nothing more will come");
  on(of_logs, chosen, session, logs, logs_arguments);

  CLI::App* of_events =
      add_asking(app, session, "events", "list what happened", "orchctl events --after 1200 --follow");
  auto events_arguments = std::make_shared<EventsArguments>();
  of_events->add_option("--after", events_arguments->after, "only those after this number")
      ->transform(whole(0, std::numeric_limits<std::int64_t>::max()))
      ->type_name("N");
  of_events->add_flag("-f,--follow", events_arguments->follow,
                      "and what is still to come; with --json one object a line");
  on(of_events, chosen, session, events, events_arguments);
}

void add_hold(CLI::App& app, Session& session, Chosen& chosen, bool hold_it) {
  const std::string name = hold_it ? "hold" : "release";
  CLI::App* command = add_asking(
      app, session, name, hold_it ? "let no more cells of a sweep or a model begin" : "let a held sweep or model go on",
      "orchctl " + name + " s3\n  orchctl " + name + " --model llama2_70b");
  auto arguments = std::make_shared<HoldArguments>();
  arguments->hold = hold_it;
  command->add_option("sweep", arguments->sweep, "s3, or its name")->type_name("SWEEP");
  command->add_option("--model", arguments->model, "this model, of every sweep")->type_name("M");
  on(command, chosen, session, hold, arguments);
}

void add_orders(CLI::App& app, Session& session, Chosen& chosen) {
  add_of_one(app, session, chosen, "cancel", "give up a sweep or a job; what is done stays", "orchctl cancel s3",
             "SWEEP|JOB", "s3, its name, or j12", cancel);
  add_of_one(app, session, chosen, "retry", "try again what failed or was cancelled of a sweep", "orchctl retry s3",
             "SWEEP", "s3, or its name", retry);
  add_hold(app, session, chosen, true);
  add_hold(app, session, chosen, false);
  add_of_one(app, session, chosen, "backup", "copy the daemon's store while it runs",
             "orchctl backup orch-before-upgrade.db", "FILE", "a file that does not exist yet, on the daemon's host",
             backup);

  CLI::App* of_restore = add_asking(app, session, "restore", "make a backup the store of a daemon that has none",
                                    "orchctl restore orch-before-upgrade.db");
  auto restore_arguments = std::make_shared<RestoreArguments>();
  of_restore->add_option("file", restore_arguments->file, "what orchctl backup wrote")->required()->type_name("FILE");
  of_restore
      ->add_option("--database", restore_arguments->database,
                   "the folder on a local disk that orchctl up gets by this option (the state directory)")
      ->type_name("DIR");
  on(of_restore, chosen, session, restore, restore_arguments);
}

std::vector<std::string> options_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

/// Every command by its words (`policy diff`), the program itself by none.
void collect(const CLI::App& app, const std::string& path, std::map<std::string, Words>& found) {
  found[path] = {commands_of(app), options_of(app)};
  for (const std::string& name : commands_of(app))
    collect(*app.get_subcommand(name), path.empty() ? name : path + " " + name, found);
}

void add_completion(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("completion", "print a completion script for bash or zsh");
  command->footer("Example:\n  source <(orchctl completion bash)\n");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash or zsh")->required()->check(one_of({"bash", "zsh"}));
  command->callback([&session, &chosen, &app, shell] {
    chosen = [&session, &app, shell] {
      std::map<std::string, Words> found;
      collect(app, "", found);
      return completion(session, found, *shell);
    };
  });
}

bool use_color(const std::string& when) {
  if (when != "auto") return when == "always";
  const char* term = std::getenv("TERM");
  const char* none = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && !(none && *none) && term && std::string_view(term) != "dumb";
}

/// Columns of the terminal that is printed to; 0 for anything else, which takes lines of any length.
std::size_t terminal_width() {
  if (isatty(STDOUT_FILENO) != 1) return 0;
  const std::string given = std::getenv("COLUMNS") ? std::getenv("COLUMNS") : "";
  std::size_t columns = 0;
  if (std::from_chars(given.data(), given.data() + given.size(), columns).ec == std::errc()) return columns;
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/// What CLI11 would take or tell badly: an empty word, a command that is missing or does not exist.
std::optional<std::string> wrong_words(const CLI::App& app, int argc, char** argv) {
  // It could be taken for "not given", and the plan be another than was asked for.
  for (int i = 1; i < argc; ++i)
    if (!*argv[i]) return "argument " + std::to_string(i) + " is empty: a variable that is not set?";
  const CLI::App* at = &app;
  std::string path;
  for (int i = 1;; ++i) {
    const std::vector<std::string> known = commands_of(*at);
    if (known.empty() || (i < argc && argv[i][0] == '-')) return std::nullopt;
    const std::string all = (known.size() == 1 ? "The only one is " : "The commands are ") + join(known, ", ") + ".";
    if (i >= argc) return (path.empty() ? "say" : quote(trim(path)) + " needs") + std::string(" a command. ") + all;
    if (std::ranges::find(known, argv[i]) == known.end())
      return "no command " + quote(path + argv[i]) + hint_sentence(argv[i], known) + " " + all;
    at = at->get_subcommand(argv[i]);
    path += at->get_name() + " ";
  }
}

/// What CLI11 found wrong, under the name of the command, and where to read more.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  std::string path = "orchctl";
  for (auto named = app.get_subcommands(); !named.empty(); named = command->get_subcommands()) {
    command = named.front();
    path += " " + command->get_name();
  }
  std::string what = shown(error.what(), 400);
  const std::size_t colon = what.find(": ");
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) && colon != std::string::npos)
    what = what.substr(0, colon) + (what.ends_with("missing") ? " needs a value" : " may be given only once");
  if (dynamic_cast<const CLI::RequiredError*>(&error) && !commands_of(*command).empty())
    what = "a command comes first: " + join(commands_of(*command), ", ");
  const std::vector<std::string> left = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) && !left.empty()) {
    const auto option = std::ranges::find_if(left, [](const std::string& word) { return word.starts_with("-"); });
    if (option == left.end())
      what = quote(left.front()) + " is one argument too many";
    else
      what = "no option " + quote(*option) + hint(*option, options_of(*command));
  }
  return path + ": " + what + " (" + path + " --help says more)";
}

void add_commands(CLI::App& app, Session& session, Chosen& chosen) {
  add_plan(app, session, chosen);
  add_validate(app, session, chosen);
  add_explain(app, session, chosen);
  add_up(app, session, chosen);
  add_submit(app, session, chosen);
  add_looks(app, session, chosen);
  add_histories(app, session, chosen);
  add_orders(app, session, chosen);
  add_catalog(app, session, chosen);
  add_policy(app, session, chosen);
  add_cluster(app, session, chosen);
  add_notify(app, session, chosen);
  add_cache(app, session, chosen);
  add_schema(app, session, chosen);
  add_completion(app, session, chosen);
}

/// Parses, and runs what was named. `--help` and `--version` are run by CLI11 itself.
int parse_and_run(Session& session, int argc, char** argv) {
  CLI::App app{"Plans evaluations and fine-tuning of large models on Slurm clusters.", "orchctl"};
  app.set_version_flag("--version", std::string("orchctl ") + ORCH_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 well, 1 failed, 2 bad usage or a bad file, 3 a sweep ended with failed cells, 4 no daemon.\n"
      "Environment: ORCH_STATE, ORCH_CATALOG, ORCH_POLICY, ORCH_CLUSTER, ORCH_DATA_DIR, ORCH_CACHE_BUDGET, "
      "NO_COLOR.\n\n"
      "Example:\n  orchctl plan examples/nightly-core.yaml\n");
  Chosen chosen;
  add_commands(app, session, chosen);
  if (const auto wrong = wrong_words(app, argc, argv)) return bad_input(session, *wrong);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error, session.out, session.err);
    session.err << usage_error(app, error) << "\n";
    return kBadInput;
  }
  session.style = {use_color(session.color), terminal_width()};
  std::error_code ignored;
  const auto data = find_data(std::filesystem::read_symlink("/proc/self/exe", ignored));
  if (!data) {
    const char* given = std::getenv("ORCH_DATA_DIR");
    return bad_input(session, given && *given
                                  ? "ORCH_DATA_DIR is " + quote(given) + ", which holds no catalog/"
                                  : std::string("the catalog that ships with the program was not found; set "
                                                "ORCH_DATA_DIR to the folder that holds catalog/, policies/ and "
                                                "templates/"));
  }
  session.data = *data;
  return chosen();
}

int run(int argc, char** argv) {
  Session session{std::cout, std::cerr, {}, false, "auto", {}, {}, {}};
  const int code = parse_and_run(session, argc, argv);
  session.out.flush();
  if (session.out) return code;
  session.err << "orchctl: the output could not be written to its end\n";
  return kFailed;
}

}  // namespace
}  // namespace orch::orchctl

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // Whoever closes the pipe (`| head -1`) has read enough: end at once and in silence, even if the parent ignores it.
  std::signal(SIGPIPE, SIG_DFL);
  try {
    return orch::orchctl::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "orchctl: out of memory\n";
  } catch (const std::exception& error) {
    std::cerr << "orchctl: a fault of the program itself: " << error.what() << "\n";
  }
  return orch::orchctl::kFailed;
}
