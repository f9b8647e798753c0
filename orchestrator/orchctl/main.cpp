// orchctl: the command line. This file says what can be typed, finds the data, and runs the command that was named;
// what the commands do is in the file of each. CLI11 is included here alone, because it takes long to compile.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/command.h"
#include "orchctl/load.h"

namespace orch::orchctl {

int bad_input(Session& session, const Diagnostics& diagnostics) {
  diagnostics.print(session.err);
  return kBadInput;
}

int bad_input(Session& session, const std::string& what) {
  session.err << "orchctl: " << what << "\n";
  return kBadInput;
}

void print_json(Session& session, const nlohmann::ordered_json& value) {
  session.out << value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

namespace {

/// The command that was named, with its arguments: set while parsing, run afterwards.
using Chosen = std::function<int()>;

/// A command with the options that every command has. `example` stands at the end of its --help.
CLI::App* add(CLI::App& app, Session& session, const std::string& name, const std::string& help,
              const std::string& example) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", session.json, "print JSON and nothing else (orchctl schema output describes it)");
  command->add_option("--color", session.color, "auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_option("--catalog", session.catalogs, "a site's own catalog file or folder; may be given several times")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  command->footer("Example:\n  " + example + "\n");
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

void add_plan_files(CLI::App* command, PlanFiles& files) {
  command->add_option("-c,--cluster", files.cluster, "a cluster file, or the name of one that ships (h100x8, …)")
      ->type_name("C");
  command->add_option("--on", files.on, "which cluster, when the file describes several")->type_name("NAME");
  command->add_option("--history", files.history, "a file of measured durations and outcomes")->type_name("H");
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
  command->add_flag("--cells", arguments->cells, "list every accepted cell with its score");
  command->add_option("--script", arguments->script, "print the sbatch script of this job")->type_name("JOB");
  command->add_option("--templates", arguments->templates, "a folder of templates that win over those that ship")
      ->type_name("FOLDER");
  on(command, chosen, session, plan, arguments);
}

void add_validate(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "validate", "check matrix, policy, catalog, cluster and history files",
                          "orchctl validate examples/nightly-core.yaml policies/default.yaml");
  auto arguments = std::make_shared<ValidateArguments>();
  command->add_option("files", arguments->files, "the files")->required()->type_name("FILE");
  command->add_option("--kind", arguments->kind, "what the files are, if they do not show it")
      ->check(CLI::IsMember({"auto", "matrix", "policy", "catalog", "cluster", "history"}))
      ->type_name("KIND");
  on(command, chosen, session, validate, arguments);
}

void add_explain(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "explain", "say why: a model's size, a job's place, a cell's score",
                          "orchctl explain llama2_70b --gpus 6\n"
                          "  orchctl explain examples/nightly-core.yaml j1\n"
                          "  orchctl explain examples/nightly-core.yaml falcon_40b/mmlu");
  auto arguments = std::make_shared<ExplainArguments>();
  command->add_option("what", arguments->what, "a model of the catalog, or a matrix file")
      ->required()
      ->type_name("MODEL|MATRIX");
  command->add_option("part", arguments->part, "of a matrix: a job, the beginning of a cell's key, or MODEL/TASK")
      ->type_name("JOB|KEY|MODEL/TASK");
  add_policy_option(command, arguments->files);
  add_plan_files(command, arguments->files);
  command->add_option("--dtype", arguments->dtype, "of the weights")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16", "fp8", "int8", "int4"}))
      ->type_name("DTYPE");
  command->add_option("--kv-dtype", arguments->kv_dtype, "of the KV cache")
      ->check(CLI::IsMember({"bf16", "fp16", "fp8"}))
      ->type_name("DTYPE");
  command->add_option("--tokens", arguments->tokens, "of the longest sequence (4,096)")
      ->check(CLI::Range(1, 10'000'000))
      ->type_name("N");
  command->add_option("--gpus", arguments->gpus, "on exactly so many GPUs")->check(CLI::Range(1, 4096))->type_name("N");
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
  CLI::App* command = app.add_subcommand("policy", "check, show and compare policies");
  command->require_subcommand(1);
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
  diff->add_option("-m,--matrix", arguments->files.matrix, "plan this matrix with both")->type_name("M");
  add_plan_files(diff, arguments->files);
  on(diff, chosen, session, policy_diff, arguments);
}

void add_cluster(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("cluster", "describe the cluster that jobs run on");
  command->require_subcommand(1);
  CLI::App* detect = add(*command, session, "detect", "draft a cluster file from what sinfo and scontrol say",
                         "orchctl cluster detect --output site.yaml");
  auto output = std::make_shared<std::string>();
  detect->add_option("-o,--output", *output, "write the draft here, to a file that does not exist yet")
      ->type_name("FILE");
  on(detect, chosen, session, cluster_detect, output);
}

void add_schema(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = add(app, session, "schema", "print the JSON Schema of a kind of file, or list them",
                          "orchctl schema matrix > matrix.schema.json");
  auto kind = std::make_shared<std::string>();
  command->add_option("kind", *kind, "matrix, policy, catalog, cluster, history or output; nothing lists them")
      ->type_name("KIND");
  on(command, chosen, session, schema, kind);
}

/// Every command by its words (`policy diff`), the program itself by none.
void collect(const CLI::App& app, const std::string& path, std::map<std::string, Words>& found) {
  Words words;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) words.options.push_back("--" + name);
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.commands.push_back(command->get_name());
    collect(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), found);
  }
  std::ranges::sort(words.options);
  found[path] = std::move(words);
}

void add_completion(CLI::App& app, Session& session, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("completion", "print a completion script for bash or zsh");
  command->footer("Example:\n  source <(orchctl completion bash)\n");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
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

/// A word that is no command, with the nearest that is: CLI11 would only say that it was not expected.
std::optional<std::string> unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return std::nullopt;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  if (std::ranges::find(known, argv[1]) != known.end()) return std::nullopt;
  return "no command " + quote(argv[1]) + hint_sentence(argv[1], known) + " The commands are " + join(known, ", ") +
         ".";
}

int run(int argc, char** argv) {
  Session session{std::cout, std::cerr, {}, false, "auto", {}, {}};
  CLI::App app{"Plans evaluations and fine-tuning of large models on Slurm clusters.", "orchctl"};
  app.set_version_flag("--version", std::string("orchctl ") + ORCH_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 well, 1 failed, 2 bad usage or a bad file.\n"
      "Environment: ORCH_CATALOG, ORCH_POLICY, ORCH_CLUSTER, ORCH_DATA_DIR, NO_COLOR.\n\n"
      "Example:\n  orchctl plan examples/nightly-core.yaml\n");
  Chosen chosen;
  add_plan(app, session, chosen);
  add_validate(app, session, chosen);
  add_explain(app, session, chosen);
  add_catalog(app, session, chosen);
  add_policy(app, session, chosen);
  add_cluster(app, session, chosen);
  add_schema(app, session, chosen);
  add_completion(app, session, chosen);

  if (const auto unknown = unknown_command(app, argc, argv)) return bad_input(session, *unknown);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? kWell : kBadInput;
  }
  session.style.color = use_color(session.color);
  std::error_code ignored;
  const auto data = find_data(std::filesystem::read_symlink("/proc/self/exe", ignored));
  if (!data)
    return bad_input(session,
                     "the catalog that ships with the program was not found; set ORCH_DATA_DIR to the folder that "
                     "holds catalog/, policies/ and templates/");
  session.data = *data;
  const int code = chosen();
  session.out.flush();
  if (!session.out) {
    session.err << "orchctl: the output could not be written to its end\n";
    return kFailed;
  }
  return code;
}

}  // namespace
}  // namespace orch::orchctl

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return orch::orchctl::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "orchctl: out of memory\n";
  } catch (const std::exception& error) {
    std::cerr << "orchctl: a fault of the program itself: " << error.what() << "\n";
  }
  return orch::orchctl::kFailed;
}
