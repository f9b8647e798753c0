// From matrices to what is asked of the daemon, on real matrices, catalogs and clusters.
#include "control/asking.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "control/same_work.h"
#include "inputs/inputs.h"
#include "planner/script.h"
#include "support/source_dir.h"

namespace orch::control {
namespace {

using testing::SizeIs;

struct World {
  explicit World(const std::string& matrix, const std::string& cluster = "h100x8") {
    const std::filesystem::path root = test::source_dir();
    const inputs::Sources sources{{root / "db/catalog", root / "policies", root / "templates", root / "docs/schemas",
                                   root / "examples", root / "db/tasks"},
                                  {}};
    Diagnostics diagnostics;
    planned.catalog = inputs::load_catalog(sources, diagnostics);
    planned.policy = *inputs::load_policy(sources, "default", diagnostics);
    planned.cluster = *inputs::load_cluster(sources, cluster, "", planned.catalog, diagnostics);
    const auto yaml = parse_yaml(matrix, "m.yaml", diagnostics);
    EXPECT_TRUE(yaml && inputs::plan_matrix(planned, *yaml, "m.yaml", diagnostics));
    std::ostringstream problems;
    diagnostics.print(problems);
    EXPECT_TRUE(diagnostics.ok()) << problems.str();
  }
  Asked ask(Asking asking = {}) {
    auto asked = ask_for(planned.plan, planned.expansion, *planned.site, std::move(asking));
    EXPECT_TRUE(asked.ok());
    return *asked;
  }
  inputs::Planned planned;
};

const char* const kCommands = R"(
name: mine
kind: command
models: [a, b]
tasks: [x]
settings: {seed: [0, 1]}
command: {run: [eval, "{model}", "{out}"], gpus: 0.5, time: 10m, memory: 4G, cpus: 2}
)";

TEST(Asking, TakesACommandsNeedsAsTheyAreDeclared) {
  const event::SubmitSweep sweep = World(kCommands).ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(4));
  ASSERT_THAT(sweep.needs, SizeIs(1)) << "cells of equal need share one";
  const Need& need = sweep.needs[0];
  EXPECT_DOUBLE_EQ(need.resources.gpus, 0.5);
  EXPECT_EQ(need.resources.cpus, 2);
  EXPECT_EQ(need.resources.memory, std::int64_t{4} << 30);
  EXPECT_TRUE(need.loads.empty());
  EXPECT_EQ(sweep.cells[0].bound, 600) << "the time that is said, and nothing on top";
  EXPECT_EQ(sweep.cells[0].model, "a");
  const auto settings = nlohmann::json::parse(sweep.cells[1].settings);
  EXPECT_EQ(settings["seed"], 1);
  EXPECT_EQ(to_hex(sha256(sweep.cells[0].content)), to_hex(sweep.cells[0].key)) << "the key is of the content";
}

/// The work of the first cell of kCommands with one text in place of another.
Work first_work(const std::string& from, const std::string& to, const std::string& matrix = kCommands) {
  std::string changed = matrix;
  const auto at = changed.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  changed.replace(at, from.size(), to);
  return World(changed).ask().sweep.cells.at(0).work;
}

TEST(SameWork, IsThatOfOtherSeedsAndOfNothingElse) {
  const event::SubmitSweep sweep = World(kCommands).ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(4));  // two models with two seeds each
  EXPECT_NE(sweep.cells[0].work, kNoWork);
  EXPECT_EQ(sweep.cells[0].work, sweep.cells[1].work);
  EXPECT_EQ(sweep.cells[2].work, sweep.cells[3].work);
  EXPECT_NE(sweep.cells[0].work, sweep.cells[2].work) << "another model";
  for (const event::AskedCell& cell : sweep.cells) EXPECT_LT(static_cast<std::uint64_t>(cell.work), 1ull << 63);
  EXPECT_EQ(sweep.cells[0].basis, planner::Basis::kDeclared);

  const Work work = sweep.cells[0].work;
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"seed: [0, 1]", "seed: [7]"},
                                                                                 {"10m", "2h"},
                                                                                 {"4G", "8G"},
                                                                                 {"name: mine", "name: yours"},
                                                                                 {"models: [a, b]", "models: [a]"}})
    EXPECT_EQ(first_work(from, to), work) << to;
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"[eval,", "[other,"},
                                                        {"tasks: [x]", "tasks: [y]"},
                                                        {"gpus: 0.5", "gpus: 1"},
                                                        {"cpus: 2", "cpus: 4"},
                                                        {"[eval, \"{model}\"", "[eval, \"{model}\", again"},
                                                        {"memory: 4G", "env: {A: b}"}})
    EXPECT_NE(first_work(from, to), work) << to;
}

TEST(SameWork, OfTheHarnessIsAnotherWithAnotherLimit) {
  const std::string matrix =
      "name: n\nmodels: [tinyllama_1b]\ntasks: [mmlu]\nsettings: {engine: lm-eval, limit: 10, seed: [1, 2]}\n";
  const event::SubmitSweep sweep = World(matrix).ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(2));
  EXPECT_EQ(sweep.cells[0].work, sweep.cells[1].work);
  EXPECT_EQ(sweep.cells[0].basis, planner::Basis::kRoofline);
  EXPECT_NE(first_work("limit: 10", "limit: 20", matrix), sweep.cells[0].work);
  EXPECT_NE(first_work("mmlu", "hellaswag", matrix), sweep.cells[0].work);
}

TEST(Asking, GivesTheHarnessTimeToStart) {
  const std::string matrix = "name: n\nmodels: [tinyllama_1b]\ntasks: [mmlu]\nsettings: {engine: lm-eval}\n";
  World world(matrix);
  const event::SubmitSweep sweep = world.ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(1));
  EXPECT_GE(sweep.cells[0].bound, world.planned.plan.bounds[0] + 300);
  EXPECT_LT(sweep.cells[0].expected, sweep.cells[0].bound);
}

TEST(Asking, LeavesOutWhatNoWorkerCouldRunAndSaysWhy) {
  const auto rejected = [](const std::string& settings) {
    const Asked asked = World("name: n\nmodels: [tinyllama_1b]\ntasks: [mmlu]\nsettings: {" + settings + "}\n").ask();
    EXPECT_THAT(asked.sweep.cells, SizeIs(0));
    EXPECT_THAT(asked.rejected, SizeIs(1));
    EXPECT_EQ(asked.rejected.at(0).rule, "engine");
    EXPECT_EQ(asked.rejected.at(0).count, 1);
    EXPECT_EQ(asked.sweep.rejected_cells, 1);
    return asked.rejected.at(0).reason;
  };
  EXPECT_EQ(
      rejected("engine: native, dtype: int4"),
      "the native engine of this version computes in fp32, bf16 or fp16 with weights of the same or in int8, not in "
      "bf16 with weights in int4; say `engine: lm-eval` or give a command");
  EXPECT_EQ(rejected("engine: native, dtype: bf16, kv_dtype: int8"),
            "the native engine of this version keeps its cache in fp32, bf16, fp16 or fp8, not in int8; say `engine: "
            "lm-eval` "
            "or give a command");
}

TEST(Asking, GivesTheNativeEngineWholeGpusThatItLoadsOnce) {
  World world("name: n\nmodels: [tinyllama_1b]\ntasks: [mmlu, arc_challenge]\nsettings: {engine: native}\n");
  const event::SubmitSweep sweep = world.ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(2));
  for (const event::AskedCell& cell : sweep.cells) {
    const Need& need = sweep.needs.at(cell.need);
    EXPECT_EQ(need.resources.gpus, 1) << "a small model could share a GPU: this engine fills it";
    EXPECT_FALSE(need.loads.empty());
    EXPECT_GE(cell.bound, 300) << "how fast it is was only supposed";
  }
}

TEST(Asking, CutsLongCellsOfTheNativeEngineIntoChunks) {
  const auto asked = [](const std::string& settings) {
    return World("name: n\nmodels: [llama31_70b]\ntasks: [mmlu]\nsettings: {engine: native" + settings + "}\n")
        .ask()
        .sweep.cells.at(0);
  };
  EXPECT_GE(asked("").chunks, 14) << "14,042 questions, a thousand in each at most";
  EXPECT_EQ(asked(", limit: 1999").chunks, 1);
  EXPECT_EQ(asked(", limit: 100").chunks, 1) << "two chunks would have fewer than 64 samples";
}

TEST(Asking, CutsAModelAsTheSettingsSay) {
  const event::SubmitSweep sweep = World(
                                       "name: n\nmodels: [tinyllama_1b]\ntasks: [mmlu]\n"
                                       "settings: {engine: native, tensor: 2, pipeline: 2}\n")
                                       .ask()
                                       .sweep;
  ASSERT_THAT(sweep.needs, SizeIs(1));
  EXPECT_EQ(sweep.needs[0].resources.gpus, 4);
  const auto values = nlohmann::json::parse(sweep.needs[0].script_values);
  EXPECT_EQ(values["job"]["layout"], nlohmann::json({{"tp", 2}, {"pp", 2}, {"dp", 1}}));
}

constexpr const char* kTuning = R"(
name: tune-and-compare
models: [tinyllama_1b]
settings: {engine: native}
stages:
  base:  {tasks: [gsm8k]}
  tune:  {kind: train, tasks: [sft_instruct], settings: {rank: [8, 16]FULL}}
  tuned: {adapter: tune, tasks: [gsm8k]}
)";

std::string tuning(const std::string& more) {
  std::string text = kTuning;
  return text.replace(text.find("FULL"), 4, more);
}

TEST(Asking, TakesATrainingAsOneChunkThatIsGoneOnWith) {
  const event::SubmitSweep sweep = World(tuning("")).ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(5)) << "one evaluation, two trainings, an evaluation of each";
  std::set<std::string> evaluations;
  std::size_t trainings = 0, of_adapters = 0;
  for (const event::AskedCell& cell : sweep.cells) {
    const Need& need = sweep.needs.at(cell.need);
    const bool trains = nlohmann::json::parse(cell.content).at("kind") == "train";
    EXPECT_EQ(need.trains, trains);
    EXPECT_FALSE(need.loads.empty());
    if (!trains) {
      evaluations.insert(need.loads);
      of_adapters += cell.depends.has_value();
      continue;
    }
    ++trainings;
    EXPECT_EQ(cell.chunks, 1);
    EXPECT_GE(cell.bound, 300);
    EXPECT_EQ(need.resources.gpus, 1) << "no part of one";
    EXPECT_EQ(evaluations.count(need.loads), 0U);
  }
  EXPECT_EQ(trainings, 2U);
  EXPECT_EQ(of_adapters, 2U);
  EXPECT_THAT(evaluations, SizeIs(1)) << "one model in memory serves all adapters";
}

TEST(Asking, AllWeightsThatWereTrainedAreLoadedForThemselves) {
  std::string matrix = tuning(", full: true");
  matrix.replace(matrix.find("rank: [8, 16]"), 13, "learning_rate: [1e-5, 2e-5]");
  const event::SubmitSweep sweep = World(matrix).ask().sweep;
  ASSERT_THAT(sweep.cells, SizeIs(5));
  std::set<std::string> evaluations;
  for (const event::AskedCell& cell : sweep.cells)
    if (!sweep.needs.at(cell.need).trains) evaluations.insert(sweep.needs.at(cell.need).loads);
  EXPECT_THAT(evaluations, SizeIs(3));
}

TEST(Asking, CopiesOfATrainingStayTogether) {
  const std::string matrix =
      "name: n\nkind: train\nmodels: [tinyllama_1b]\ntasks: [sft_instruct]\nsettings: {engine: native}\n";
  World world(matrix);
  ASSERT_THAT(world.planned.plan.sizings, SizeIs(1));
  // As a policy that prefers speed would place it.
  planner::Placement& place = world.planned.plan.sizings[0].chosen;
  place.layout = {1, 1, 4};
  place.gpus = 4;
  const event::SubmitSweep sweep = world.ask().sweep;
  EXPECT_EQ(sweep.needs.at(0).resources.gpus, 4);
  EXPECT_EQ(nlohmann::json::parse(sweep.needs[0].script_values)["job"]["layout"]["dp"], 4);
}

TEST(Asking, RanksOfTrainingsAreWhatANodeHolds) {
  // Without stages no second node helps: what the tables would give is lowered to what eight GPUs hold.
  World world("name: n\nkind: train\nmodels: [llama31_70b]\ntasks: [sft_instruct]\nsettings: {engine: native}\n");
  const Asked asked = world.ask();
  ASSERT_THAT(asked.sweep.cells, SizeIs(1)) << asked.sweep.rejected;
  EXPECT_LE(asked.sweep.needs.at(0).resources.gpus, 8);
}

TEST(Asking, TakesTrainingsThatAreLongerThanAnyJob) {
  World world(
      "name: n\nkind: train\nmodels: [llama31_70b]\ntasks: [sft_instruct]\nsettings: {engine: native, epochs: 1000}\n");
  const Asked asked = world.ask();
  const event::SubmitSweep& sweep = asked.sweep;
  ASSERT_THAT(sweep.cells, SizeIs(1)) << sweep.rejected;
  const Need& need = sweep.needs.at(0);
  EXPECT_GT(sweep.cells[0].expected, need.most);
  ASSERT_THAT(world.planned.plan.jobs, SizeIs(1));
  EXPECT_LE(static_cast<double>(world.planned.plan.jobs[0].time_limit), need.most);
}

TEST(Asking, LeavesOutTrainingsThatTheNativeEngineCannotDo) {
  const auto rejected = [](const std::string& settings) {
    const Asked asked = World(
                            "name: n\nkind: train\nmodels: [tinyllama_1b]\ntasks: [sft_instruct]\nsettings: {engine: "
                            "native, " +
                            settings + "}\n")
                            .ask();
    EXPECT_THAT(asked.sweep.cells, SizeIs(0));
    return asked.rejected.at(0).reason;
  };
  EXPECT_EQ(
      rejected("compute_dtype: fp8"),
      "the native engine of this version computes in fp32, bf16 or fp16 with weights of the same or in int8, not in "
      "fp8 with weights in bf16; a command can");
  EXPECT_THAT(rejected("dtype: fp32, compute_dtype: bf16, full: true"), testing::HasSubstr("weights in fp32"));
  const std::string int8 =
      "name: n\nkind: train\nmodels: [tinyllama_1b]\ntasks: [sft_instruct]\nsettings: {engine: native, dtype: int8}\n";
  EXPECT_THAT(World(int8).ask().sweep.cells, SizeIs(1)) << "an adapter on weights in 8 bits";
}

TEST(Asking, JobsOfOneEnvironmentTakeEachOthersCells) {
  const auto environment = [](const std::string& more) {
    return World(kCommands + more).ask().sweep.needs.at(0).environment;
  };
  const std::string usual = environment("");
  EXPECT_EQ(usual, environment(""));
  EXPECT_NE(usual, environment("submit: {account: other}\n"));
  EXPECT_NE(usual, environment("submit: {environment: {A: b}}\n"));
}

TEST(Asking, ScriptValuesMakeAScriptOfAnyShape) {
  const Need need = World(kCommands).ask().sweep.needs.at(0);
  auto values = nlohmann::ordered_json::parse(need.script_values);
  planner::reshape(values, {"orch-abc-7", 1, 4, 10, 9 << 20, 5400});
  const auto& resources = values["resources"];
  EXPECT_EQ(values["job"]["name"], "orch-abc-7");
  EXPECT_EQ(resources["gpus_text"], "gpu:h100:4");
  EXPECT_EQ(resources["gpus_per_node"], 4);
  EXPECT_EQ(resources["ntasks_per_node"], 1) << "one process starts the programs";
  EXPECT_EQ(resources["cpus_per_task"], 10);
  EXPECT_EQ(resources["memory"], "9M");
  EXPECT_EQ(resources["time"], "01:30:00");
}

}  // namespace
}  // namespace orch::control
