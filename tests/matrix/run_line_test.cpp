// What a worker runs, made of what the store keeps: the same as what the matrix itself says.
#include "matrix/run_line.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "matrix/command.h"
#include "matrix/harness_catalog.h"
#include "matrix/own_names.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::AllOf, ::testing::Contains, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty,
    ::testing::Not, ::testing::Pair, ::testing::SizeIs, ::testing::StartsWith;

namespace {

const Catalog kCatalog = orch::test::harness_catalog();
const std::filesystem::path kOut = "/jobs/7/cell 3/result.json";
const RunSlot kSlot{1, "/adapters/a b"};

struct Made {
  Catalog catalog;
  Expansion expansion;
};

Made make(const std::string& text, const Catalog& catalog = kCatalog) {
  Diagnostics diagnostics;
  Made made;
  const auto matrix = orch::test::read(text, catalog, diagnostics);
  if (matrix) {
    made.catalog = with_own_names(*matrix, catalog);
    ExpandOptions options;
    options.keep_content = true;
    if (auto expansion = expand(*matrix, made.catalog, options, diagnostics)) made.expansion = std::move(*expansion);
  }
  for (const Problem& problem : diagnostics.errors()) ADD_FAILURE() << problem.what << "\n" << text;
  return made;
}

/// What a store keeps of the cell is handed in as it is kept.
Result<RunLine> line_of(const Made& made, std::uint32_t index, const RunSlot& slot = kSlot) {
  const Cell& cell = made.expansion.cells[index];
  return run_line(made.expansion.content.at(index), to_json(made.expansion.settings[cell.settings]).dump(),
                  cell.model == kNone ? "" : made.catalog.models[cell.model].name,
                  cell.task == kNone ? "" : made.catalog.tasks[cell.task].name, kOut, slot);
}

RunLine the_line(const std::string& text, const RunSlot& slot = kSlot) {
  const Made made = make(text);
  EXPECT_THAT(made.expansion.cells, SizeIs(1)) << text;
  if (made.expansion.cells.empty()) return {};
  const auto line = line_of(made, 0, slot);
  EXPECT_TRUE(line) << line.error().what;
  return line ? *line : RunLine{};
}

/// Every cell of a command runs what the matrix says; how many there were.
std::size_t expect_as_the_matrix_says(const Made& made, const std::string& text) {
  std::size_t commands = 0;
  for (std::uint32_t i = 0; i < made.expansion.cells.size(); ++i) {
    const Cell& cell = made.expansion.cells[i];
    const Settings& settings = made.expansion.settings[cell.settings];
    const auto line = line_of(made, i);
    const bool command = cell.kind == CellKind::kCommand || settings.text("engine") == "command";
    if (!command) continue;
    ++commands;
    const Stage& stage = made.expansion.stages[cell.stage];
    auto values = placeholder_values(cell, made.expansion, made.catalog);
    values["out"] = kOut.string();
    values["output"] = "/jobs/7/cell 3";
    if (cell.depends != kNone) values["adapter"] = kSlot.adapter.string();
    const auto words = fill_command(stage.command, values);
    const auto env = fill_env(stage.env, values);
    EXPECT_TRUE(words && env && line) << text;
    if (!words || !env || !line) return commands;
    EXPECT_EQ(line->engine, "command");
    EXPECT_EQ(line->run, *words) << text;
    EXPECT_EQ(line->environment, *env) << text;
    EXPECT_EQ(line->gpus, settings.number("gpus").value_or(1)) << text;
    EXPECT_EQ(line->nodes, settings.integer("nodes").value_or(1)) << text;
    EXPECT_EQ(line->cpus, settings.integer("cpus").value_or(0)) << text;
    EXPECT_EQ(line->memory, settings.integer("memory").value_or(0)) << text;
  }
  return commands;
}

/// Matrices of commands with texts that would be dangerous if anything were taken apart twice.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}

  std::size_t below(std::size_t most) { return engine_() % most; }
  const std::string& one_of(const std::vector<std::string>& words) { return words[below(words.size())]; }

  std::string matrix() {
    static const std::vector<std::string> kModels = {"a", "b {seed}", "ü 模型", "llama31_8b", "flux_dev", "-x=$(id)"};
    static const std::vector<std::string> kTasks = {"x", "mmlu", "y}", "\\n'"};
    static const std::vector<std::string> kValues = {
        "0",       "1",  "-3",         "0.1",  "2.50",   "1e300",  "true",  "9007199254740991",
        "{model}", "}}", "\"q\\\"q\"", "ü x ", "'null'", "'1.10'", "$HOME", "a,b",
        "1e-7",    "no", "100000000",  "-0.0", "'1'",    "'true'"};
    const bool eval = below(4) == 0;
    std::string text = eval ? "name: r\nmodels: [llama31_8b]\ntasks: [mmlu, gsm8k]\n" : "name: r\nkind: command\n";
    const bool models = eval || below(3) > 0, tasks = eval || below(3) > 0;
    if (!eval && models) text += "models: [" + two(kModels) + "]\n";
    if (!eval && tasks) text += "tasks: [" + two(kTasks) + "]\n";
    std::vector<std::string> names = {"seed", "settings.seed", "out", "output"};
    text += eval ? "settings: {engine: command, shots: [0, 5], chat_template: [false, true], seed: 9"
                 : "settings: {seed: [0, 4]";
    if (eval)
      names.insert(names.end(), {"shots", "settings.dtype", "engine", "temperature", "kv_dtype", "hf_id",
                                 "chat_template", "prefix"});
    for (const char* own : {"p", "q_2", "steps"}) {
      if (eval || below(2)) continue;
      text += std::string(", ") + own + ": " + yaml(one_of(kValues));
      names.insert(names.end(), {own, std::string("settings.") + own});
      told_.push_back(own);
    }
    text += "}\n";
    if (models) names.push_back("model");
    if (tasks) names.push_back("task");
    std::vector<std::string> beside;
    if (!eval)
      for (const char* each : {"gpus: 0", "gpus: 0.5", "gpus: 2", "cpus: 3", "memory: 4G", "time: 90min"})
        if (below(4) == 0 && std::ranges::none_of(beside, [&](const std::string& other) {
              return other.substr(0, 3) == std::string(each).substr(0, 3);
            }))
          beside.emplace_back(each);
    text += "command: {run: [prog";
    for (std::size_t words = below(6); words > 0; --words) text += ", " + argument(names);
    for (const std::string& own : told_) text += ", '{" + own + "}'";
    told_.clear();
    text += "]";
    for (const std::string& each : beside) text += ", " + each;
    if (below(2)) text += ", env: {A_1: " + argument(names) + ", _b: " + argument(names) + ", C: }";
    return text + "}\n";
  }

 private:
  static std::string yaml(const std::string& value) {
    return value.find_first_of("{}$, ") == std::string::npos ? value : "'" + value + "'";
  }
  static std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

  std::string two(const std::vector<std::string>& words) {
    const std::size_t at = below(words.size());
    return quoted(words[at]) + ", " + quoted(words[(at + 1 + below(words.size() - 1)) % words.size()]);
  }

  std::string argument(const std::vector<std::string>& names) {
    static const std::vector<std::string> kPlain = {"", "--x=", "{{", "}}", " a b ", "ü", "$(id)", "\\", "'"};
    std::string text;
    for (std::size_t parts = below(5); parts > 0; --parts)
      text += below(2) ? one_of(kPlain) : "{" + one_of(names) + "}";
    return quoted(text);
  }

  std::mt19937 engine_;
  std::vector<std::string> told_;
};

const std::string kEval = "name: m\nmodels: [old_fp32]\n";

}  // namespace

// --- Commands ---

TEST(RunLine, OfTheExampleIsWhatItsMatrixSays) {
  Diagnostics diagnostics;
  const std::array sources = {orch::test::source_dir() / "db/catalog"};
  const Catalog shipped = load_catalog(sources, diagnostics);
  const auto root = load_yaml(orch::test::source_dir() / "examples/command.yaml", diagnostics);
  ASSERT_TRUE(root && diagnostics.ok());
  const auto matrix = read_matrix(*root, "command.yaml", shipped, diagnostics);
  ASSERT_TRUE(matrix);
  Made made;
  made.catalog = with_own_names(*matrix, shipped);
  ExpandOptions options;
  options.keep_content = true;
  made.expansion = *expand(*matrix, made.catalog, options, diagnostics);
  // 3 seeds of genomes, 1 of pictures, 2 models × 2 tasks × 2 styles × 2 seeds of my-evals.
  EXPECT_EQ(expect_as_the_matrix_says(made, "examples/command.yaml"), 3u + 1 + 16);
}

TEST(RunLine, IsWhatTheMatrixSaysWhateverItHolds) {
  std::size_t cells = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const std::string text = random.matrix();
    cells += expect_as_the_matrix_says(make(text), text);
    if (HasFailure()) return;
  }
  EXPECT_GT(cells, 500u);
}

TEST(RunLine, OfACommandIsWrittenByHand) {
  const RunLine line = the_line(
      "name: m\nkind: command\nmodels: [a]\ntasks: [mmlu]\nsettings: {lr: 1.50, style: '{seed}'}\n"
      "command: {run: [p, '{model}/{task}', '{lr}', '{style}', '{{{seed}}}', '{out}', '{output}'],\n"
      "  gpus: 0.25, cpus: 3, memory: 4G, env: {A: 'x{seed}'}}\n");
  EXPECT_EQ(line.engine, "command");
  EXPECT_THAT(line.run,
              ElementsAre("p", "a/mmlu", "1.5", "{seed}", "{0}", "/jobs/7/cell 3/result.json", "/jobs/7/cell 3"));
  EXPECT_THAT(line.environment, ElementsAre(Pair("A", "x0")));
  EXPECT_EQ(line.gpus, 0.25);
  EXPECT_EQ(line.nodes, 1);
  EXPECT_EQ(line.cpus, 3);
  EXPECT_EQ(line.memory, std::int64_t{4} << 30);
}

TEST(RunLine, KnowsTheIdOfAModelOfTheCatalog) {
  EXPECT_THAT(the_line("name: m\nkind: command\nmodels: [flux_dev]\ncommand: {run: [p, '{hf_id}'], gpus: 0}\n").run,
              ElementsAre("p", "org/flux_dev"));
}

TEST(RunLine, OfAnEvaluationHasTheGpusOfItsSlot) {
  const std::string text =
      "name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {engine: command}\ncommand: [p, '{shots}']\n";
  EXPECT_EQ(the_line(text, {4, {}}).gpus, 4);
  EXPECT_THAT(the_line(text).run, ElementsAre("p", "5"));
  EXPECT_EQ(the_line("name: m\nkind: command\ncommand: {run: [p], gpus: 2}\n", {4, {}}).gpus, 2)
      << "a command has the GPUs that it says";
}

TEST(RunLine, TellsOfSettingsThatAreOff) {
  // Off or left out is one cell with one key, so the program is told the same.
  const std::string text =
      "name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\ncommand: [p, '{chat_template}', '={prefix}']\n";
  for (const char* said : {"", ", chat_template: false", ", chat_template: false, prefix: ''"})
    EXPECT_THAT(the_line(text + "settings: {engine: command" + said + "}\n").run, ElementsAre("p", "false", "="));
  EXPECT_THAT(the_line(text + "settings: {engine: command, chat_template: true, prefix: x}\n").run,
              ElementsAre("p", "true", "=x"));
  EXPECT_THAT(the_line("name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings: {engine: command}\n"
                       "command: [p, '{full}', '{warmup}', '{stages}', '{clip}', '{schedule}']\n")
                  .run,
              ElementsAre("p", "false", "0", "1", "0", "cosine"));
}

TEST(RunLine, IsNeverAskedForWhatACellDoesNotHave) {
  const auto problems = [](const std::string& text) { return orch::test::problems(text, kCatalog); };
  const std::string eval = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: command}\n";
  EXPECT_THAT(problems(eval + "command: [p, '{limit}']\n"),
              ElementsAre("5:10: {limit} stands for nothing in cells of 'llama31_8b' × 'gsm8k': nothing says 'limit' "
                          "for them"));
  EXPECT_THAT(problems(eval + "command: [p, '{max_tokens}', '{shots}', '{settings.compute_dtype}']\n"), IsEmpty());
  EXPECT_THAT(problems("name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings: {engine: command}\n"
                       "command: [p, '{rank}', '{epochs}']\n"),
              ElementsAre(HasSubstr("{rank} stands for nothing in cells of 'llama31_8b' × 'sft'")))
      << "no table completes the training here";
}

TEST(RunLine, NamesTheFolderOfTheAdapter) {
  const Made made = make(R"(
name: m
models: [llama31_8b]
stages:
  tune: {kind: train, tasks: [sft]}
  tuned: {adapter: tune, tasks: [mmlu], settings: {engine: command}, command: [p, "{adapter}", "--in={adapter}/x"]}
)");
  ASSERT_THAT(made.expansion.cells, SizeIs(2));
  const auto line = line_of(made, 1);
  ASSERT_TRUE(line);
  EXPECT_THAT(line->run, ElementsAre("p", "/adapters/a b", "--in=/adapters/a b/x"));
  const auto unknown = line_of(made, 1, {});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().what, HasSubstr("nothing for {adapter}"));
}

TEST(RunLine, OfTheNativeEngineIsWhatItIsAsked) {
  const RunLine line = the_line(
      "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: native, dtype: fp16, shots: 2, limit: 40, "
      "max_tokens: 99, temperature: 0.5, context: 2048, chat_template: true, prefix: Be brief., seed: 7}\n");
  EXPECT_EQ(line.engine, "native");
  EXPECT_THAT(line.run, IsEmpty());
  ASSERT_TRUE(line.ask);
  const Model& model = *kCatalog.models.find("llama31_8b");
  EXPECT_EQ(line.ask->model, model.hf_id);
  EXPECT_EQ(line.ask->revision, model.revision);
  EXPECT_EQ(line.ask->dtype, "fp16");
  EXPECT_EQ(line.ask->cache_dtype, "fp16") << "as the computation";
  EXPECT_EQ(line.ask->shots, 2);
  EXPECT_EQ(line.ask->limit, 40);
  EXPECT_EQ(line.ask->max_tokens, 99);
  EXPECT_EQ(line.ask->temperature, 0.5);
  EXPECT_EQ(line.ask->context, 2048);
  EXPECT_TRUE(line.ask->chat);
  EXPECT_EQ(line.ask->prefix, "Be brief.");
  EXPECT_EQ(line.ask->seed, 7U);
  EXPECT_EQ(line.ask->digest, "") << "nobody looked at the task's data";
}

TEST(RunLine, OfTheNativeEngineNamesTheCommitThatTheCellIsOf) {
  Catalog catalog = kCatalog;
  const std::string matrix = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: native, dtype: int8}\n";
  const Digest before = make(matrix, catalog).expansion.cells.at(0).key;
  catalog.models[*catalog.models.index_of("llama31_8b")].resolved = "0e9e39f249a16976918f6564b8830bc894c89659";
  const Made made = make(matrix, catalog);
  EXPECT_EQ(line_of(made, 0)->ask->revision, "0e9e39f249a16976918f6564b8830bc894c89659");
  EXPECT_NE(made.expansion.cells.at(0).key, before);
  EXPECT_EQ(line_of(made, 0)->ask->weights, "int8");
  EXPECT_EQ(line_of(made, 0)->ask->dtype, "bf16");
}

TEST(RunLine, OfTheNativeEngineNamesTheDataThatTheCellIsOf) {
  Catalog catalog = kCatalog;
  const std::string matrix = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: native}\n";
  const Digest before = make(matrix, catalog).expansion.cells.at(0).key;
  catalog.tasks[*catalog.tasks.index_of("gsm8k")].digest = "abc";
  const Made made = make(matrix, catalog);
  EXPECT_EQ(line_of(made, 0)->ask->digest, "abc");
  EXPECT_NE(made.expansion.cells.at(0).key, before);
}

TEST(RunLine, OfATrainingIsWhatItLearnsFromAndHow) {
  Catalog catalog = kCatalog;
  const std::string matrix =
      "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\nsettings: {engine: native, rank: 8, data: mine, "
      "micro_batch: 2, seed: 3}\n";
  const Digest before = make(matrix, catalog).expansion.cells.at(0).key;
  Task& task = catalog.tasks[*catalog.tasks.index_of("sft")];
  task.files[{"mine", ""}] = {"sha256:abc", "", 12};
  task.files[{"", ""}] = {"sha256:def", "", 12};
  const Made made = make(matrix, catalog);
  const RunLine line = *line_of(made, 0);
  ASSERT_TRUE(line.ask);
  EXPECT_EQ(line.ask->rows, "instruction");
  EXPECT_EQ(line.ask->digest, "sha256:abc");
  EXPECT_EQ(line.ask->data, "mine") << "where it is only the place knows";
  EXPECT_EQ(line.data_id, task.hf_id);
  EXPECT_EQ(line.ask->seed, 3U);
  const auto settings = nlohmann::json::parse(line.ask->settings);
  EXPECT_EQ(settings.at("rank"), 8);
  EXPECT_EQ(settings.at("micro_batch"), 2) << "not in the key, and the worker is told all the same";
  EXPECT_NE(made.expansion.cells.at(0).key, before);
  task.files[{"mine", ""}].data = "sha256:abd";
  EXPECT_NE(make(matrix, catalog).expansion.cells.at(0).key, made.expansion.cells.at(0).key);
}

TEST(RunLine, OfAnAdapterThatIsNowhereIsAnErrorAndNotTheModelAsItIs) {
  const Made made = make(
      "name: m\nmodels: [llama31_8b]\nsettings: {engine: native}\nstages:\n  tune: {kind: train, tasks: [sft]}\n"
      "  tuned: {adapter: tune, tasks: [gsm8k]}\n");
  ASSERT_EQ(made.expansion.cells.size(), 2U);
  EXPECT_FALSE(line_of(made, 1, RunSlot{}));
  EXPECT_TRUE(line_of(made, 1, {1, "/jobs/a/cells/0-1/adapter"}));
}

TEST(RunLine, OfWhatIsNoCellIsAnErrorAndNoCrash) {
  const std::string content =
      R"({"command":["p","{seed}"],"engine":{"name":"command","numerics":1},"kind":"command","settings":{"seed":0}})";
  ASSERT_TRUE(run_line(content, R"({"seed":0})", "", "", kOut));
  for (std::size_t length = 0; length < content.size(); ++length)
    EXPECT_FALSE(run_line(content.substr(0, length), R"({"seed":0})", "", "", kOut));
  for (const char* settings : {"", "[]", "0", "{", "null", "{}"})
    EXPECT_FALSE(run_line(content, settings, "", "", kOut));
  for (const char* wrong :
       {R"({})", R"({"engine":"command"})", R"({"engine":{"name":1}})", R"({"engine":{"name":"other"}})",
        R"({"engine":{"name":"command"}})", R"({"engine":{"name":"command"},"command":[]})",
        R"({"engine":{"name":"command"},"command":[1]})", R"({"engine":{"name":"command"},"command":"p"})",
        R"({"engine":{"name":"command"},"command":["{"]})", R"({"engine":{"name":"command"},"command":["p"],"env":[]})",
        R"({"engine":{"name":"command"},"command":["p"],"env":{"A":1}})", R"({"engine":{"name":"lm-eval"}})",
        R"({"engine":{"name":"lm-eval","task":"t"}})",
        R"({"engine":{"name":"lm-eval","task":"t"},"task":{"kind":"code"},"model":{"name":"a"}})",
        R"({"engine":{"name":"lm-eval","task":"t"},"task":{"kind":"code"},"model":{"hf_id":"a"}})"}) {
    const auto line = run_line(wrong, "{}", "m", "t", kOut);
    ASSERT_FALSE(line) << wrong;
    EXPECT_THAT(line.error().what, Not(IsEmpty()));
  }
}

// --- lm-evaluation-harness ---

TEST(HarnessLine, IsWrittenByHand) {
  const RunLine line = the_line(kEval + "tasks: [gsm8k]\nsettings: {seed: 7}\n");
  EXPECT_EQ(line.engine, "lm-eval");
  EXPECT_THAT(
      line.run,
      ElementsAre("lm_eval", "--model", "hf", "--model_args", "pretrained=org/old_fp32,revision=main,dtype=bfloat16",
                  "--tasks", "gsm8k_cot", "--batch_size", "auto", "--output_path", "/jobs/7/cell 3", "--seed", "7",
                  "--num_fewshot", "5", "--gen_kwargs", "do_sample=False,temperature=0,max_gen_toks=512"));
  EXPECT_THAT(line.environment, IsEmpty());
}

TEST(HarnessLine, SaysWhatTheSettingsSay) {
  const auto run = [](const std::string& settings) {
    return the_line(kEval + "tasks: [gsm8k]\nsettings: {" + settings + "}\n").run;
  };
  const auto after = [](const std::vector<std::string>& words, const std::string& option) {
    const auto at = std::ranges::find(words, option);
    return at == words.end() || at + 1 == words.end() ? "" : *(at + 1);
  };
  EXPECT_EQ(after(run("batch: 16"), "--batch_size"), "16");
  EXPECT_EQ(after(run("shots: 0"), "--num_fewshot"), "0");
  EXPECT_EQ(after(run("limit: 2k"), "--limit"), "2000");
  EXPECT_EQ(after(run("temperature: 0.7, max_tokens: 64"), "--gen_kwargs"),
            "do_sample=True,temperature=0.7,max_gen_toks=64");
  EXPECT_EQ(after(run("seed: 4294967295"), "--seed"), "4294967295");
  EXPECT_EQ(after(run("seed: 4294967298"), "--seed"), "4294967298,2,4294967298,4294967298")
      << "NumPy's seeds have 32 bits";
  EXPECT_THAT(after(run("dtype: fp16"), "--model_args"), HasSubstr(",dtype=float16"));
  EXPECT_THAT(after(run("dtype: fp32"), "--model_args"), HasSubstr(",dtype=float32"));
  EXPECT_THAT(after(run("context: 2048"), "--model_args"), HasSubstr(",max_length=2048"));
  EXPECT_THAT(run("prefix: '--be brief'"), Contains("--system_instruction=--be brief"));
  EXPECT_THAT(run("chat_template: true"), AllOf(Contains("--apply_chat_template"), Contains("--fewshot_as_multiturn")));
  for (const char* option : {"--limit", "--apply_chat_template", "--log_samples", "--confirm_run_unsafe_code"})
    EXPECT_THAT(run("seed: 0"), Not(Contains(option)));
}

TEST(HarnessLine, GeneratesNothingWhereChoicesAreWeighed) {
  EXPECT_THAT(the_line(kEval + "tasks: [mmlu]\n").run, Not(Contains("--gen_kwargs")));
}

TEST(HarnessLine, OfCodeAllowsItToBeRunWhereTheMatrixDoes) {
  const RunLine line = the_line(kEval + "tasks: [mbpp]\nsettings: {run_unsafe_code: true}\n");
  EXPECT_THAT(line.run, Contains("--confirm_run_unsafe_code"));
  EXPECT_THAT(line.environment, ElementsAre(Pair("HF_ALLOW_CODE_EVAL", "1")));
  const RunLine other = the_line(kEval + "tasks: [gsm8k]\nsettings: {run_unsafe_code: true}\n");
  EXPECT_THAT(other.run, Not(Contains("--confirm_run_unsafe_code"))) << "nothing else is to run code";
  EXPECT_THAT(other.environment, IsEmpty());
  // As a store of an older version may hold the cell: nobody allowed it.
  const Made made = make(kEval + "tasks: [mbpp]\nsettings: {run_unsafe_code: true}\n");
  const auto old = run_line(made.expansion.content.at(0), R"({"dtype":"bf16"})", "old_fp32", "mbpp", kOut, kSlot);
  ASSERT_TRUE(old);
  EXPECT_THAT(old->run, Not(Contains("--confirm_run_unsafe_code")));
  EXPECT_THAT(old->environment, IsEmpty());
}

TEST(HarnessLine, IsRunAsTheMatrixSays) {
  const RunLine line = the_line(kEval + R"(tasks: [mmlu]
settings: {shots: 2}
lm_eval:
  run: [/venv/bin/python, -m, lm_eval]
  include_path: /my/tasks of mine
  model_args: {trust_remote_code: true, attn_implementation: eager, max_batch: 8}
  arguments: [--log_samples, --device, cpu, '{"a": 1}']
  env: {HF_HUB_OFFLINE: 1, EMPTY: }
)");
  EXPECT_THAT(line.run, ElementsAre("/venv/bin/python", "-m", "lm_eval", "--model", "hf", "--model_args",
                                    "pretrained=org/old_fp32,revision=main,dtype=bfloat16,attn_implementation=eager,"
                                    "max_batch=8,trust_remote_code=True",
                                    "--tasks", "mmlu", "--batch_size", "auto", "--output_path", "/jobs/7/cell 3",
                                    "--include_path", "/my/tasks of mine", "--seed", "0", "--num_fewshot", "2",
                                    "--log_samples", "--device", "cpu", R"({"a": 1})"));
  EXPECT_THAT(line.environment, ElementsAre(Pair("EMPTY", ""), Pair("HF_HUB_OFFLINE", "1")));
}

TEST(HarnessLine, IsRunAsItsOwnStageSays) {
  const Made made = make(R"(
name: m
models: [old_fp32]
tasks: [mmlu]
lm_eval: {arguments: [--log_samples], env: {A: b}}
stages:
  one: {}
  two: {lm_eval: {include_path: /t}}
)");
  ASSERT_THAT(made.expansion.cells, SizeIs(2)) << "they measure different things";
  const auto one = line_of(made, 0), two = line_of(made, 1);
  ASSERT_TRUE(one && two);
  EXPECT_THAT(one->run, AllOf(Contains("--log_samples"), Not(Contains("--include_path"))));
  EXPECT_THAT(two->run, AllOf(Not(Contains("--log_samples")), Contains("--include_path")));
  EXPECT_THAT(two->environment, IsEmpty());
}

TEST(HarnessLine, ThatIsStoredInAnotherFormIsAnErrorAndNoCrash) {
  const Made made = make(kEval + "tasks: [mmlu]\nlm_eval: {run: [p], arguments: [q], env: {A: b}}\n");
  const auto with = [&](const char* part, const char* value) {
    nlohmann::json content = nlohmann::json::parse(made.expansion.content.at(0));
    (std::string(part) == "env" ? content : content["engine"])[part] = nlohmann::json::parse(value);
    return run_line(content.dump(), R"({"dtype":"bf16"})", "m", "t", kOut, kSlot).ok();
  };
  EXPECT_TRUE(with("run", R"(["p"])"));
  for (const char* wrong : {"[]", "[1]", "\"p\"", "{}"}) EXPECT_FALSE(with("run", wrong)) << wrong;
  for (const char* wrong : {"[1]", "\"q\"", "{}"}) EXPECT_FALSE(with("arguments", wrong)) << wrong;
  for (const char* wrong : {"[]", "{\"A\": 1}"}) EXPECT_FALSE(with("env", wrong)) << wrong;
}

TEST(HarnessLine, OfImagesTakesTheModelThatSees) {
  EXPECT_THAT(the_line("name: m\nmodels: [internvl2_76b]\ntasks: [docvqa]\n").run, Contains("hf-multimodal"));
}

TEST(HarnessLine, UsesAllGpusOfItsSlot) {
  const std::string text = kEval + "tasks: [mmlu]\n";
  EXPECT_THAT(the_line(text, {4, {}}).run[4], HasSubstr(",parallelize=True"));
  EXPECT_EQ(the_line(text, {4, {}}).gpus, 4);
  EXPECT_THAT(the_line(text, {1, {}}).run[4], Not(HasSubstr("parallelize")));
}

TEST(HarnessLine, LoadsTheAdapter) {
  const Made made = make(R"(
name: m
models: [llama31_8b]
stages:
  tune: {kind: train, tasks: [sft]}
  tuned: {adapter: tune, tasks: [mmlu], settings: {engine: lm-eval}}
)");
  ASSERT_THAT(made.expansion.cells, SizeIs(2));
  const auto line = line_of(made, 1);
  ASSERT_TRUE(line);
  EXPECT_THAT(line->run[4], HasSubstr(",peft=/adapters/a b"));
  EXPECT_FALSE(line_of(made, 1, {}));
  const auto comma = line_of(made, 1, {1, "/a,trust_remote_code=True"});
  ASSERT_FALSE(comma);
  EXPECT_THAT(comma.error().what, HasSubstr("adapter's folder"));
}

// --- The harness's tasks in the expansion ---

namespace {

std::vector<std::string> rejections(const std::string& text) {
  std::vector<std::string> rows;
  for (const Rejection& row : make(text).expansion.rejected)
    rows.push_back(row.model + " " + row.task + " " + row.rule + " " + std::to_string(row.count) + ": " + row.reason);
  return rows;
}

}  // namespace

TEST(HarnessTasks, OfTheCatalogAreANameOrAMap) {
  const auto read = [](const std::string& lm_eval, const std::string& kind = "kind: exact_match, output_tokens: 9") {
    Diagnostics diagnostics;
    const auto root =
        parse_yaml("{" + kind + ", hf_id: a/b, metric: acc, samples: 5, prompt_tokens: 9, lm_eval: " + lm_eval + "}",
                   "t.yaml", diagnostics);
    const Task task = read_task("t", *root, "t.yaml", diagnostics);
    std::string text;
    for (const Problem& problem : diagnostics.errors()) text += problem.what + ";";
    if (!task.lm_eval || !text.empty()) return text;
    return task.lm_eval->name + (task.lm_eval->most_shots ? " " + std::to_string(*task.lm_eval->most_shots) : "");
  };
  EXPECT_EQ(read("gsm8k"), "gsm8k");
  EXPECT_EQ(read("{task: gsm8k}"), "gsm8k");
  EXPECT_EQ(read("{task: gsm8k, most_shots: 0}"), "gsm8k 0");
  EXPECT_THAT(read("{most_shots: 3}"), HasSubstr("'task'"));
  EXPECT_THAT(read("{task: gsm8k, shots: 3}"), HasSubstr("'shots'"));
  EXPECT_THAT(read("{task: gsm8k, most_shots: -1}"), HasSubstr("'most_shots'"));
  EXPECT_THAT(read("[gsm8k]"), HasSubstr("must be the name of a task of lm-evaluation-harness"));
  EXPECT_THAT(read("'gsm8k,trust=1'"), HasSubstr("must be the name"));
  EXPECT_THAT(read("gsm8k", "kind: train, type: dpo"), HasSubstr("goes only with a kind of evaluation"));
}

TEST(HarnessTasks, ThatShipAreThoseOfTheHarness) {
  Diagnostics diagnostics;
  const std::array sources = {orch::test::source_dir() / "db/catalog"};
  const Catalog shipped = load_catalog(sources, diagnostics);
  std::vector<std::string> names;
  for (const Task& task : shipped.tasks.all())
    if (task.lm_eval)
      names.push_back(task.name + " " + task.lm_eval->name +
                      (task.lm_eval->most_shots ? " " + std::to_string(*task.lm_eval->most_shots) : ""));
  // From the task files of lm-eval 0.4.13: those that are `num_fewshot: 0` or list their own examples have only those.
  EXPECT_THAT(names, ElementsAre("mmlu mmlu 5", "arc_challenge arc_challenge", "hellaswag hellaswag",
                                 "truthfulqa_mc truthfulqa_mc2 0", "winogrande winogrande", "piqa piqa", "boolq boolq",
                                 "gsm8k gsm8k", "math minerva_math 4", "bbh bbh_cot_fewshot 3",
                                 "gpqa gpqa_main_zeroshot 0", "humaneval humaneval 0", "mbpp mbpp 3", "mmmu mmmu_val"));
}

TEST(HarnessTasks, AreNeededForItsEngine) {
  EXPECT_THAT(
      rejections(kEval + "tasks: [bfcl, mmlu]\n"),
      ElementsAre("* bfcl engine 1: the catalog names no task of lm-evaluation-harness for it (key 'lm_eval')"));
  const Made other = make("name: m\nmodels: [llama31_8b]\ntasks: [bfcl]\nsettings: {engine: [native, lm-eval]}\n");
  EXPECT_THAT(other.expansion.cells, SizeIs(1)) << "other engines do not need one";
}

TEST(HarnessTasks, OfCodeNeedConsent) {
  const std::string reason =
      "* mbpp code 1: scoring it runs the programs that the model writes, as your account, and nothing of ours "
      "confines them; the setting `run_unsafe_code: true` allows it";
  EXPECT_THAT(rejections(kEval + "tasks: [mbpp, mmlu]\n"), ElementsAre(reason));
  EXPECT_THAT(rejections(kEval + "tasks: [mbpp]\nsettings: {run_unsafe_code: false}\n"), ElementsAre(reason));
  EXPECT_THAT(make(kEval + "tasks: [mbpp]\nsettings: {seed: [0, 1]}\n").expansion.notes,
              Contains(StartsWith("* / mbpp: rejected: scoring it runs")).Times(1))
      << "notes are what is said of a submission";
  EXPECT_THAT(rejections(kEval + "tasks: [{name: mbpp, run_unsafe_code: true}, mmlu]\n"), IsEmpty());
  const std::string engines = "name: m\nmodels: [llama31_8b]\ntasks: [mbpp]\ncommand: [p]\n";
  EXPECT_THAT(rejections(engines + "settings: {engine: [native, command]}\n"), IsEmpty())
      << "what others do with code is their own affair";
}

TEST(HarnessTasks, AreContentOfItsCellsAlone) {
  const std::string text = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: [native, lm-eval]}\n";
  const Made with = make(text);
  ASSERT_THAT(with.expansion.cells, SizeIs(2));
  EXPECT_THAT(with.expansion.content.at(0), HasSubstr(R"("engine":{"name":"native","numerics":1},)"));
  EXPECT_THAT(with.expansion.content.at(1),
              HasSubstr(R"("engine":{"name":"lm-eval","numerics":1,"task":"gsm8k_cot"},)"));
  Catalog renamed = kCatalog;
  Task task = *renamed.tasks.find("gsm8k");
  task.lm_eval->name = "gsm8k";
  renamed.tasks.put(task);
  const Made other = make(text, renamed);
  EXPECT_EQ(with.expansion.cells[0].key, other.expansion.cells[0].key);
  EXPECT_NE(with.expansion.cells[1].key, other.expansion.cells[1].key) << "another task measures something else";
}

TEST(HarnessTasks, HaveOnlySoManyWorkedExamples) {
  EXPECT_THAT(rejections(kEval + "tasks: [mbpp]\nsettings: {shots: [0, 3, 4], run_unsafe_code: true}\n"),
              ElementsAre("* mbpp engine 1: 'mbpp' of lm-evaluation-harness has at most 3 worked examples, and 4 are "
                          "asked for"));
  EXPECT_THAT(rejections("name: m\nmodels: [internvl2_76b]\ntasks: [docvqa]\nsettings: {shots: 2}\n"),
              ElementsAre(HasSubstr("'docvqa_val' of lm-evaluation-harness has no worked examples, and 2 are asked")));
  // The limit is the harness's: the same task on another engine has as many as are asked for.
  const Made both = make(
      "name: m\nmodels: [llama31_8b]\ntasks: [mbpp]\n"
      "settings: {engine: [native, lm-eval], shots: [3, 4], run_unsafe_code: true}\n");
  EXPECT_THAT(both.expansion.cells, SizeIs(3));
}

TEST(HarnessTasks, AreNotRunInFormatsThatTheHarnessWouldTakeInSilence) {
  const auto reasons = [](const std::string& settings) {
    return rejections("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {engine: lm-eval, " + settings + "}\n");
  };
  EXPECT_THAT(reasons("dtype: [bf16, int8]"),
              ElementsAre("llama31_8b * engine 1: the engine lm-eval does not quantise weights to int8"));
  EXPECT_THAT(reasons("compute_dtype: [bf16, fp32]"),
              ElementsAre(HasSubstr("computes in the format of the weights, bf16, not in fp32")));
  EXPECT_THAT(reasons("dtype: [bf16, fp16], compute_dtype: [bf16, fp16]"), SizeIs(2)) << "each with the other";
  EXPECT_THAT(reasons("kv_dtype: [bf16, fp8]"), ElementsAre(HasSubstr("keeps its cache in the format of computation")));
  EXPECT_THAT(reasons("dtype: fp16"), IsEmpty());
  EXPECT_THAT(rejections("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\nsettings: {engine: native, kv_dtype: fp8, "
                         "dtype: int8}\n"),
              IsEmpty());
}
