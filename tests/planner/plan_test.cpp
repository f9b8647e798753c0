#include "planner/plan.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>

#include "base/units.h"
#include "base/yaml.h"
#include "planner/training.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::planner;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

namespace {

const std::filesystem::path kSource = orch::test::source_dir();

const Catalog& shipped_catalog() {
  static const Catalog kCatalog = [] {
    Diagnostics diagnostics;
    return load_catalog(std::vector{kSource / "db" / "catalog"}, diagnostics);
  }();
  return kCatalog;
}

policy::Policy shipped_policy(const std::string& name) {
  Diagnostics diagnostics;
  const auto root = load_yaml(kSource / "policies" / (name + ".yaml"), diagnostics);
  auto policy = root ? policy::read_policy(*root, name, diagnostics) : std::nullopt;
  EXPECT_TRUE(policy.has_value());
  return policy.value_or(policy::Policy{});
}

/// Four nodes of eight H100, as in seed 000.
Cluster h100_nodes(int nodes = 4) {
  Cluster cluster;
  cluster.name = "test";
  Partition partition;
  partition.name = "h100quadflex";
  partition.gpu = "h100_80gb";
  partition.nodes = nodes;
  partition.gpus_per_node = 8;
  partition.cpus_per_node = 64;
  partition.memory_per_node = 1024 * kGiB;
  partition.max_time = 7 * 86400;
  cluster.partitions.push_back(partition);
  return cluster;
}

/// All that a plan is made from.
struct Rig {
  Catalog catalog = shipped_catalog();
  Cluster cluster = h100_nodes();
  policy::Policy policy = shipped_policy("default");
  History history;
  matrix::Expansion expansion;

  explicit Rig(const std::string& text) {
    Diagnostics diagnostics;
    const auto root = parse_yaml(text, "m.yaml", diagnostics);
    const auto read = root ? matrix::read_matrix(*root, "m.yaml", catalog, diagnostics) : std::nullopt;
    matrix::ExpandOptions options;
    options.train_defaults = [this](const Model& model, const Task& task, matrix::Settings& settings) {
      return complete_training(model, task, settings, site());
    };
    auto expanded = read ? matrix::expand(*read, catalog, options, diagnostics) : std::nullopt;
    for (const Problem& problem : diagnostics.errors()) ADD_FAILURE() << problem.what;
    if (expanded) expansion = std::move(*expanded);
  }

  Site site() const { return Site{catalog, cluster, policy, {}}; }
  Plan plan() const { return make_plan(expansion, site(), history); }
};

const char* const kEverything = "name: all\nmodels: all\ntasks: [{kind: eval}]\n";
const char* const kFew =
    "name: few\nmodels: [qwen25_72b, llama31_8b]\ntasks: [mmlu, gsm8k, humaneval]\nsettings: {seed: [0, 1]}\n";
const char* const kTuned = R"(
name: tuned
models: [llama31_8b]
stages:
  tune: {kind: train, tasks: [grpo_math], settings: {reward: rules}}
  tuned: {adapter: tune, tasks: [mmlu, gsm8k]}
)";

/// Everything that a plan decided, as text.
std::string written(const Plan& plan) {
  std::string text;
  for (const Job& job : plan.jobs) {
    text += job.id + " " + std::to_string(job.sizing) + " " + to_string(job.layout) + " " + std::to_string(job.gpus) +
            " " + std::to_string(job.seconds) + " " + std::to_string(job.time_limit) + " " + std::to_string(job.start) +
            "\n";
    for (std::uint32_t cell : job.cells) text += std::to_string(cell) + ",";
    for (std::uint32_t before : job.after) text += "<" + std::to_string(before);
    for (const std::string& reason : job.reasons) text += reason + "\n";
  }
  for (const auto& row : plan.rejected)
    text += row.model + row.task + row.rule + row.reason + std::to_string(row.count) + "\n";
  for (const Waiting& waiting : plan.waiting) text += std::to_string(waiting.job) + waiting.reason + "\n";
  return text + std::to_string(plan.totals.gpu_hours) + " " + std::to_string(plan.totals.makespan) + " " +
         std::to_string(plan.naive.gpu_hours) + " " + std::to_string(plan.naive.makespan);
}

/// What must hold of any plan, checked from its parts.
void check(const Rig& rig, const Plan& plan) {
  const std::size_t n = rig.expansion.cells.size();
  ASSERT_EQ(plan.job_of.size(), n);
  std::vector<int> seen(n, 0);
  double gpu_hours = 0;
  std::int64_t loads = 0, cells = 0;
  for (std::uint32_t j = 0; j < plan.jobs.size(); ++j) {
    const Job& job = plan.jobs[j];
    SCOPED_TRACE(job.id);
    const Placement& place = plan.sizings[job.sizing].chosen;
    const Partition& partition = rig.cluster.partitions[place.partition];
    EXPECT_EQ(job.id, "j" + std::to_string(j + 1));
    EXPECT_EQ(job.layout.gpus(), job.gpus);
    EXPECT_LE(job.gpus, job.nodes * partition.gpus_per_node);
    EXPECT_EQ(job.time_limit % 60, 0);
    if (partition.max_time > 0) EXPECT_LE(static_cast<double>(job.time_limit), partition.max_time);
    EXPECT_LE(static_cast<double>(job.time_limit), rig.catalog.profiles[job.profile].time_limit);
    EXPECT_GE(rig.catalog.profiles[job.profile].gpus(), job.gpus);
    EXPECT_GE(static_cast<double>(job.time_limit), job.seconds);
    std::set<std::uint32_t> needs;
    std::int64_t in_loads = 0;
    for (const JobLoad& load : job.loads) {
      needs.insert(load.sizing);
      in_loads += load.cells;
      EXPECT_LT(load.lane, job.lanes);
    }
    EXPECT_EQ(in_loads, static_cast<std::int64_t>(job.cells.size()));
    for (std::size_t i = 0; i < job.cells.size(); ++i) {
      const std::uint32_t cell = job.cells[i];
      ++seen[cell];
      EXPECT_EQ(plan.job_of[cell], j);
      const Need need = need_of(rig.expansion.cells[cell], rig.expansion, rig.catalog);
      EXPECT_TRUE(std::any_of(needs.begin(), needs.end(), [&](std::uint32_t at) { return plan.needs[at] == need; }));
      if (i > 0) EXPECT_GE(plan.scores[job.cells[i - 1]].total, plan.scores[cell].total);
    }
    EXPECT_EQ(job.score, plan.scores[job.cells.front()].total);
    for (std::uint32_t before : job.after) EXPECT_LT(before, j);
    if (j > 0 && job.after.empty() && plan.jobs[j - 1].after.empty()) EXPECT_LE(job.score, plan.jobs[j - 1].score);
    loads += static_cast<std::int64_t>(job.models.size());
    cells += static_cast<std::int64_t>(job.cells.size());
    gpu_hours += (partition.exclusive ? job.nodes * partition.gpus_per_node : job.gpus) * job.seconds / 3600;
  }
  std::int64_t rejected_here = 0, rejected = 0;
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_EQ(seen[i], plan.job_of[i] == matrix::kNone ? 0 : 1);
    if (plan.job_of[i] == matrix::kNone) {
      ++rejected_here;
      EXPECT_EQ(plan.scores[i].total, 0);
    }
  }
  std::set<std::array<std::string, 4>> rows;
  for (std::size_t i = rig.expansion.rejected.size(); i < plan.rejected.size(); ++i) {
    rejected += plan.rejected[i].count;
    EXPECT_TRUE(
        rows.insert({plan.rejected[i].rule, plan.rejected[i].reason, plan.rejected[i].model, plan.rejected[i].task})
            .second)
        << "two rows of one reason for one model and task";
  }
  EXPECT_EQ(rejected, rejected_here);
  EXPECT_EQ(plan.cells, cells);
  EXPECT_EQ(plan.totals.jobs, static_cast<std::int64_t>(plan.jobs.size()));
  EXPECT_EQ(plan.totals.model_loads, loads);
  EXPECT_NEAR(plan.totals.gpu_hours, gpu_hours, 1e-6 * gpu_hours);
  EXPECT_EQ(plan.naive.jobs, plan.cells);
}

std::vector<std::string> rules(const Plan& plan) {
  std::vector<std::string> rules;
  for (const auto& row : plan.rejected) rules.push_back(row.rule);
  return rules;
}

}  // namespace

TEST(Plan, GivesAdaptersOfDifferentRanksAndFullyTrainedModelsNeedsOfTheirOwn) {
  const auto ranks_of = [](const Rig& rig, const Plan& plan) {
    std::map<std::uint32_t, std::set<std::uint32_t>> needs;  // train cell → needs of its evaluations
    for (std::uint32_t i = 0; i < rig.expansion.cells.size(); ++i)
      if (const std::uint32_t trained = rig.expansion.cells[i].depends; trained != matrix::kNone)
        for (const JobLoad& load : plan.jobs[plan.job_of[i]].loads) needs[trained].insert(load.sizing);
    return needs;
  };
  const std::string stages =
      "name: t\nmodels: [tinyllama_1b]\nstages:\n  tuned: {adapter: tune, tasks: [mmlu]}\n  tune: {kind: train, tasks: "
      "[lm_text], settings: {";
  const Rig lora(stages + "rank: [8, 64]}}\n");
  const Plan of_lora = lora.plan();
  std::set<std::int64_t> ranks;
  for (const auto& [trained, needs] : ranks_of(lora, of_lora))
    for (std::uint32_t need : needs)
      if (of_lora.needs[need].kind == matrix::CellKind::kEval) ranks.insert(of_lora.needs[need].rank);
  EXPECT_THAT(ranks, ElementsAre(8, 64));

  const Rig full(stages + "full: true, seed: [0, 1]}}\n");
  const Plan of_full = full.plan();
  std::set<std::uint32_t> weights;
  for (const auto& [trained, needs] : ranks_of(full, of_full))
    for (std::uint32_t need : needs)
      if (of_full.needs[need].kind == matrix::CellKind::kEval) weights.insert(of_full.needs[need].weights_of);
  EXPECT_THAT(weights, SizeIs(2)) << "two models were trained; neither is the other";
}

TEST(Plan, OfEveryModelAndTaskKeepsItsPromisesAndBeatsOneJobACell) {
  const Rig rig(kEverything);
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_GT(plan.cells, 800);
  // Each model is loaded for each of its needs, not for each of its 17 to 22 tasks.
  EXPECT_LT(plan.totals.jobs * 5, plan.naive.jobs);
  EXPECT_LT(plan.totals.model_loads * 3, plan.naive.model_loads);
  EXPECT_LT(plan.totals.gpu_hours, plan.naive.gpu_hours);
}

TEST(Plan, IsTheSameEveryTime) {
  const Rig rig(kEverything);
  EXPECT_EQ(written(rig.plan()), written(rig.plan()));
}

TEST(Plan, OfEqualNeedsIsOneJobForEachModel) {
  const Rig rig(kFew);
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.cells, 12);
  std::map<std::uint32_t, std::set<std::uint32_t>> jobs_of_model;
  for (std::size_t i = 0; i < rig.expansion.cells.size(); ++i)
    jobs_of_model[rig.expansion.cells[i].model].insert(plan.job_of[i]);
  EXPECT_EQ(plan.naive.model_loads, 12);
  EXPECT_LT(plan.totals.model_loads, 12);
}

TEST(Plan, DoesNotDependOnTheOrderOfTheCatalog) {
  Rig rig("name: large\nmodels: [qwen25_72b, llama2_70b, falcon_180b]\ntasks: [mmlu, gsm8k]\n");
  const Plan one = rig.plan();
  Catalog reversed;
  for (const auto& gpu : shipped_catalog().gpus.all()) reversed.gpus.put(gpu);
  for (const auto& profile : shipped_catalog().profiles.all()) reversed.profiles.put(profile);
  for (std::size_t i = shipped_catalog().models.size(); i-- > 0;) reversed.models.put(shipped_catalog().models[i]);
  for (std::size_t i = shipped_catalog().tasks.size(); i-- > 0;) reversed.tasks.put(shipped_catalog().tasks[i]);
  for (matrix::Cell& cell : rig.expansion.cells) {
    cell.model = reversed.models.index_of(rig.catalog.models[cell.model].name).value();
    cell.task = reversed.tasks.index_of(rig.catalog.tasks[cell.task].name).value();
  }
  rig.catalog = reversed;
  const Plan two = rig.plan();
  ASSERT_EQ(one.jobs.size(), two.jobs.size());
  for (std::size_t i = 0; i < one.jobs.size(); ++i) {
    EXPECT_EQ(one.jobs[i].cells, two.jobs[i].cells);
    EXPECT_EQ(one.jobs[i].time_limit, two.jobs[i].time_limit);
    EXPECT_EQ(one.jobs[i].start, two.jobs[i].start);
  }
}

TEST(Plan, CountsTheNaiveWayAsOneLoadAndOneJobForEachCell) {
  const Rig rig("name: m\nmodels: [qwen25_72b]\ntasks: [mmlu, gsm8k]\n");
  const Plan plan = rig.plan();
  double gpu_hours = 0;
  for (std::size_t i = 0; i < rig.expansion.cells.size(); ++i) {
    const Placement& place = plan.sizings[plan.jobs[plan.job_of[i]].sizing].chosen;
    gpu_hours += place.gpus * (place.load_seconds + static_cast<double>(plan.seconds[i])) / 3600;
  }
  EXPECT_EQ(plan.naive.jobs, 2);
  EXPECT_EQ(plan.naive.model_loads, 2);
  EXPECT_NEAR(plan.naive.gpu_hours, gpu_hours, 1e-6);
}

TEST(Plan, CountsTheIdleGpusOfNodesThatATakenWhole) {
  Rig rig(kFew);
  rig.cluster.partitions[0].exclusive = true;
  const Plan plan = rig.plan();
  check(rig, plan);
  for (const Job& job : plan.jobs) EXPECT_NEAR(job.gpu_hours, job.nodes * 8 * job.seconds / 3600, 1e-6);
}

TEST(Plan, PutsAnAdaptersEvaluationAfterItsTraining) {
  const Rig rig(kTuned);
  const Plan plan = rig.plan();
  check(rig, plan);
  ASSERT_EQ(rig.expansion.cells.size(), 3u);
  int evaluations = 0;
  for (std::size_t i = 0; i < rig.expansion.cells.size(); ++i) {
    const matrix::Cell& cell = rig.expansion.cells[i];
    if (cell.depends == matrix::kNone) continue;
    ++evaluations;
    const Job& job = plan.jobs[plan.job_of[i]];
    const Job& maker = plan.jobs[plan.job_of[cell.depends]];
    EXPECT_THAT(job.after, ElementsAre(plan.job_of[cell.depends]));
    EXPECT_GE(job.start, maker.start + maker.seconds);
  }
  EXPECT_EQ(evaluations, 2);
  // One job a cell keeps to the same order: the training, then the longer evaluation.
  EXPECT_GT(plan.naive.makespan, plan.naive.gpu_hours > 0 ? static_cast<double>(plan.seconds[0]) : 0);
}

TEST(Plan, RejectsTheEvaluationOfAnAdapterThatIsNotMade) {
  Rig rig(kTuned);
  rig.policy.acceptance.task_types = {"eval", "math", "code"};
  for (const auto& task : rig.catalog.tasks.all())
    if (task.name == "mmlu" || task.name == "gsm8k") rig.policy.acceptance.task_types.push_back(task.type);
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.cells, 0);
  ASSERT_THAT(plan.rejected, SizeIs(3));
  EXPECT_EQ(plan.rejected[0].rule, "acceptance.task_type");
  EXPECT_EQ(plan.rejected[0].count, 1);
  for (const std::size_t i : {1, 2}) {
    EXPECT_EQ(plan.rejected[i].rule, "adapter");
    EXPECT_EQ(plan.rejected[i].count, 1);
    EXPECT_THAT(plan.rejected[i].reason, HasSubstr(plan.rejected[0].reason));
    EXPECT_EQ(plan.rejected[i].model, "llama31_8b");
  }
  EXPECT_NE(plan.rejected[1].task, plan.rejected[2].task);
}

TEST(Plan, StartsAStageAfterThoseThatItWaitsFor) {
  const Rig rig(R"(
name: m
models: [qwen25_72b]
stages:
  first: {tasks: [mmlu]}
  then: {tasks: [gsm8k], after: [first]}
)");
  const Plan plan = rig.plan();
  check(rig, plan);
  for (std::size_t i = 0; i < rig.expansion.cells.size(); ++i) {
    if (rig.expansion.stages[rig.expansion.cells[i].stage].name != "then") continue;
    const Job& job = plan.jobs[plan.job_of[i]];
    ASSERT_THAT(job.after, SizeIs(1));
    const Job& before = plan.jobs[job.after[0]];
    EXPECT_GE(job.start, before.start + before.seconds);
  }
  EXPECT_EQ(plan.jobs.size(), 2u);
}

TEST(Plan, RejectsWhatFitsNowhereWithOneRowForEachReason) {
  Rig rig("name: m\nmodels: [qwen25_72b, tinyllama_1b]\ntasks: [mmlu, gsm8k]\n");
  rig.cluster.partitions[0].gpus_per_node = 1;
  rig.cluster.partitions[0].nodes = 1;
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.cells, 2);
  for (const auto& row : plan.rejected) {
    EXPECT_EQ(row.rule, "size");
    EXPECT_EQ(row.model, "qwen25_72b");
  }
}

TEST(Plan, RejectsACellThatNoTimeLimitHolds) {
  Rig rig("name: m\nmodels: [qwen25_72b]\ntasks: [mmlu]\n");
  rig.cluster.partitions[0].max_time = 120;  // seconds; the drain alone takes them
  const Plan plan = rig.plan();
  EXPECT_THAT(rules(plan), ElementsAre("time_limit"));
  EXPECT_THAT(plan.rejected[0].reason, AllOf(HasSubstr("h100quadflex"), HasSubstr("2 min")));
  EXPECT_EQ(plan.cells, 0);
}

TEST(Plan, RefusesWhatThePolicyRefuses) {
  Rig rig(kFew);
  rig.policy = shipped_policy("tournament");
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.cells, 0);
  EXPECT_THAT(rules(plan), Each(HasSubstr("acceptance.")));
}

TEST(Plan, LetsWhatExceedsABudgetWaitWithItsReason) {
  Rig rig(kFew);
  const Plan all = rig.plan();
  ASSERT_GE(all.jobs.size(), 2u);
  ASSERT_THAT(all.waiting, IsEmpty());
  rig.policy.per_sweep.gpu_hours = all.jobs[0].gpu_hours * 1.001;
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.jobs.size(), all.jobs.size()) << "what waits stays in the plan";
  EXPECT_EQ(plan.totals.gpu_hours, all.totals.gpu_hours);
  ASSERT_FALSE(plan.waiting.empty());
  for (const Waiting& waiting : plan.waiting) {
    EXPECT_NE(waiting.job, 0u);
    EXPECT_THAT(waiting.reason, HasSubstr("GPU-hours"));
    EXPECT_EQ(plan.jobs[waiting.job].start, 0);
  }
  EXPECT_LE(plan.totals.makespan, all.totals.makespan);
}

TEST(Plan, LetsAnAdaptersEvaluationWaitWhenItsTrainingDoes) {
  Rig rig(kTuned);
  rig.policy.per_user.gpu_hours = 0;
  const Plan plan = rig.plan();
  EXPECT_THAT(plan.waiting, SizeIs(plan.jobs.size()));
  EXPECT_EQ(plan.totals.makespan, 0);
  EXPECT_GT(plan.totals.gpu_hours, 0);
}

TEST(Plan, RunsNoMoreAtOnceThanThePolicyAllows) {
  Rig rig(kEverything);
  rig.policy.per_user.max_jobs = 12;
  rig.policy.per_sweep.max_jobs = 3;
  const Plan plan = rig.plan();
  for (const Job& job : plan.jobs) {
    int at_once = 0;
    for (const Job& other : plan.jobs)
      if (other.start <= job.start && job.start < other.start + other.seconds) ++at_once;
    EXPECT_LE(at_once, 3);
  }
}

TEST(Plan, NeverTakesMoreGpusThanTheClusterHas) {
  Rig rig(kEverything);
  rig.cluster = h100_nodes(2);
  const Plan plan = rig.plan();
  check(rig, plan);
  for (const Job& job : plan.jobs) {
    int gpus = 0;
    for (const Job& other : plan.jobs)
      if (other.start <= job.start && job.start < other.start + other.seconds) gpus += other.gpus;
    EXPECT_LE(gpus, 16);
  }
}

TEST(Plan, FillsNodesThatItGetsWhole) {
  Rig rig(kEverything);
  rig.cluster = h100_nodes(8);
  const double busy = rig.plan().totals.gpu_hours;  // GPUs one by one
  rig.cluster.partitions[0].exclusive = true;
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_LE(plan.totals.gpu_hours, 1.2 * busy);
  // What is cut differently stands side by side, each on GPUs of its own.
  bool unlike = false;
  for (const Job& job : plan.jobs) {
    SCOPED_TRACE(job.id);
    std::map<int, int> lane_of_gpu;
    std::map<int, Layout> layouts;
    int gpus = 0;
    for (const JobLoad& load : job.loads) {
      const Placement& place = plan.sizings[load.sizing].chosen;
      const auto [at, first] = layouts.try_emplace(load.lane, place.layout);
      EXPECT_EQ(at->second, place.layout) << "a lane is cut one way";
      if (!first) continue;
      gpus += place.gpus;
      for (int gpu = load.gpu; gpu < load.gpu + place.gpus; ++gpu)
        EXPECT_TRUE(lane_of_gpu.emplace(gpu, load.lane).second) << "two lanes on GPU " << gpu;
    }
    EXPECT_EQ(gpus, job.gpus);
    EXPECT_EQ(job.ranks, job.gpus);
    EXPECT_EQ(lane_of_gpu.rbegin()->first, job.gpus - 1);
    for (const auto& [lane, layout] : layouts)
      if (layout != layouts.begin()->second) {
        unlike = true;
        EXPECT_EQ(job.layout, (Layout{1, 1, job.gpus}));
      }
  }
  EXPECT_TRUE(unlike);
}

TEST(Plan, MakesNoJobThatALimitOnGpusHoldsForEver) {
  Rig rig("name: m\nmodels: [{max_params: 8B}]\ntasks: [{group: general_knowledge}]\n");
  const auto largest = [](const Plan& plan) {
    int gpus = 0;
    for (const Job& job : plan.jobs) gpus = std::max(gpus, job.gpus);
    return gpus;
  };
  ASSERT_GT(largest(rig.plan()), 3);
  for (policy::Limits* limits : {&rig.policy.per_user, &rig.policy.per_sweep}) {
    limits->max_gpus = 3;
    for (const bool exclusive : {false, true}) {
      rig.cluster.partitions[0].exclusive = exclusive;
      const Plan plan = rig.plan();
      check(rig, plan);
      EXPECT_THAT(plan.waiting, IsEmpty());
      EXPECT_LE(largest(plan), 3);
    }
    limits->max_gpus.reset();
  }
}

TEST(Plan, SharesANodeAmongSmallModels) {
  const Rig rig("name: m\nmodels: [{max_params: 8B}]\ntasks: [{group: general_knowledge}]\n");
  const Plan plan = rig.plan();
  check(rig, plan);
  std::size_t models = 0;
  for (const Job& job : plan.jobs) models = std::max(models, job.models.size());
  EXPECT_GT(models, 1u);
  EXPECT_LT(static_cast<std::int64_t>(plan.jobs.size()), plan.totals.model_loads);
}

TEST(Plan, CutsALongJobToFitGaps) {
  const Rig rig("name: m\nmodels: [qwen25_72b]\ntasks: [{kind: eval}]\nsettings: {seed: [0, 1, 2, 3, 4, 5, 6, 7]}\n");
  const Plan plan = rig.plan();
  check(rig, plan);
  for (const Job& job : plan.jobs) {
    const double load = plan.sizings[job.sizing].chosen.load_seconds;
    EXPECT_TRUE(job.seconds <= rig.policy.planning.backfill * 1.5 || job.cells.size() == 1) << job.seconds;
    if (job.cells.size() > 1 && job.seconds > rig.policy.planning.backfill / 2) EXPECT_LE(load, 0.25 * job.seconds);
  }
}

TEST(Plan, OfLanesThatShareAGpuReportsTheirMemoryTogether) {
  Rig rig("name: m\nmodels: [tinyllama_1b]\ntasks: [{kind: eval}]\n");
  rig.cluster.partitions[0].shares_gpus = true;
  const Plan plan = rig.plan();
  check(rig, plan);
  const auto shared =
      std::find_if(plan.jobs.begin(), plan.jobs.end(), [](const Job& job) { return job.lanes > job.gpus; });
  ASSERT_NE(shared, plan.jobs.end());
  std::map<int, double> lanes;
  for (const JobLoad& load : shared->loads)
    lanes[load.lane] = std::max(lanes[load.lane], plan.sizings[load.sizing].chosen.memory.total());
  double all = 0, largest = 0;
  for (const auto& [lane, bytes] : lanes) {
    all += bytes;
    largest = std::max(largest, bytes);
  }
  ASSERT_EQ(shared->gpus, 1);
  EXPECT_DOUBLE_EQ(shared->gpu_memory, all);
  EXPECT_GT(shared->gpu_memory, 1.5 * largest);
  EXPECT_DOUBLE_EQ(shared->utilisation, all / (81559 * kMiB));
  EXPECT_LE(shared->utilisation, 0.9);
}

TEST(Plan, ScoresWhatSharesAGpuByItsPartOfIt) {
  // With the same weights on everything but use, a model that fills its eighth scores as one that fills a GPU.
  Rig rig("name: m\nmodels: [tinyllama_1b]\ntasks: [mmlu]\n");
  const auto use_term = [&] {
    const Plan plan = rig.plan();
    const auto at = std::find(policy::kTermNames.begin(), policy::kTermNames.end(), "size_efficiency");
    return plan.scores.at(0).terms.at(static_cast<std::size_t>(at - policy::kTermNames.begin()));
  };
  const double whole = use_term();
  rig.cluster.partitions[0].shares_gpus = true;
  ASSERT_LT(rig.plan().sizings.at(0).chosen.share, 1);
  EXPECT_GE(use_term(), whole);
}

TEST(Plan, OfTwelveCommandsThatDeclareTheirMemoryRunsThemOnEightGpus) {
  // Seed 003: up to 12 at once on 8 H100. Of 79.65 GiB 90 % may be used: two of 35 GiB go together, 60 GiB alone.
  Rig rig(R"(
name: m
stages:
  small: {kind: command, command: ["train"], settings: {gpu_memory: 35GiB, time: 20h, seed: [0, 1, 2, 3, 4, 5, 6, 7]}}
  large: {kind: command, command: ["train-large"], settings: {gpu_memory: 60GiB, time: 20h, seed: [0, 1, 2, 3]}}
)");
  rig.cluster = h100_nodes(1);
  rig.cluster.partitions[0].shares_gpus = true;
  const Plan plan = rig.plan();
  check(rig, plan);
  ASSERT_EQ(plan.cells, 12);
  int gpus = 0;
  for (const Job& job : plan.jobs) {
    gpus += job.gpus;
    EXPECT_EQ(job.start, 0);
    EXPECT_LE(job.utilisation, 0.9);
    EXPECT_NEAR(job.gpu_memory, (job.lanes > job.gpus ? 70 : 60) * kGiB, 1);
  }
  EXPECT_EQ(gpus, 8);
}

TEST(Plan, OfLanesOfSeveralGpusSaysHowEachIsCut) {
  Rig rig(kEverything);
  const Plan plan = rig.plan();
  bool any = false;
  for (const Job& job : plan.jobs) {
    if (job.lanes == 1) continue;
    any = true;
    for (const JobLoad& load : job.loads) {
      const Placement& place = plan.sizings[load.sizing].chosen;
      EXPECT_EQ(place.gpus * job.lanes, job.gpus) << job.id;
      EXPECT_EQ(job.layout, (Layout{place.layout.tp, place.layout.pp, job.lanes})) << job.id;
    }
  }
  EXPECT_TRUE(any);
}

TEST(Plan, SaysWhichCommandsGiveNoTime) {
  Rig rig(R"(
name: m
stages:
  first: {kind: command, command: ["a", "{seed}"], settings: {seed: [0, 1, 2]}}
  then: {kind: command, command: ["b"], settings: {time: 2h}}
)");
  EXPECT_THAT(rig.plan().notes, ElementsAre(AllOf(HasSubstr("stage first: 3 command cells give no `time`: 1 h each"))));
  rig.policy.planning.command_time = 7200;
  EXPECT_THAT(rig.plan().notes, ElementsAre(HasSubstr("2 h each")));
  EXPECT_THAT(Rig("name: m\nkind: command\ncommand: [a]\n").plan().notes,
              ElementsAre(testing::StartsWith("1 command cell gives no `time`: 1 h each is assumed")));
  EXPECT_THAT(Rig("name: m\nkind: command\ncommand: [a]\nsettings: {time: 1h}\n").plan().notes, IsEmpty());
}

TEST(Plan, KeepsCommandsOfDifferentContainersApart) {
  // Without containers the four stand side by side in one job.
  const std::string text = "name: m\nkind: command\ncommand: [a]\nsettings: {time: 2h, seed: [0, 1], ";
  EXPECT_THAT(Rig(text + "container: [x.sif]}\n").plan().jobs, SizeIs(1));
  for (const bool exclusive : {false, true}) {
    Rig rig(text + "container: [x.sif, y.sif]}\n");
    rig.cluster.partitions[0].exclusive = exclusive;
    const Plan plan = rig.plan();
    check(rig, plan);
    std::set<std::string> images;
    for (const Job& job : plan.jobs) {
      std::set<std::string> of_job;
      for (std::uint32_t i : job.cells)
        of_job.insert(rig.expansion.settings[rig.expansion.cells[i].settings].text("container").value_or(""));
      ASSERT_THAT(of_job, SizeIs(1)) << job.id;
      EXPECT_EQ(plan.needs[job.sizing].container, *of_job.begin());
      images.insert(*of_job.begin());
    }
    EXPECT_THAT(images, ElementsAre("x.sif", "y.sif"));
  }
}

TEST(Plan, LoadsTheModelAgainForEachFullTraining) {
  const Rig rig(
      "name: m\nmodels: [tinyllama_1b]\nstages:\n  tune: {kind: train, tasks: [lm_text], settings: {full: true, steps: "
      "100, seed: [0, 1, 2]}}\n");
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_EQ(plan.cells, 3);
  EXPECT_EQ(plan.totals.model_loads, 3);
  for (const Job& job : plan.jobs)
    for (const JobLoad& load : job.loads) EXPECT_EQ(load.cells, 1);
}

TEST(Plan, OfASmallSweepIsNoSlowerThanOneJobACellAndTakesNoMoreGpuHours) {
  // Three models of one GPU on 32: one job a model would take 50 min where one job a cell takes 8.
  const Rig rig(R"(
name: m
models: [llama31_8b, qwen25_7b, mistral_7b]
settings: {seed: 0}
stages:
  base: {tasks: [gsm8k, mmlu, bbh]}
  tune: {kind: train, tasks: [sft_instruct], settings: {rank: [16, 64], epochs: 1}}
  tuned: {adapter: tune, tasks: [gsm8k, mmlu, bbh]}
)");
  const Plan plan = rig.plan();
  check(rig, plan);
  EXPECT_LE(plan.totals.makespan, 1.02 * plan.naive.makespan);
  EXPECT_LE(plan.totals.gpu_hours, plan.naive.gpu_hours);
  EXPECT_LT(plan.totals.jobs, plan.naive.jobs);
}

TEST(Plan, SaysWhatItsDurationsRestOn) {
  Rig rig("name: m\nmodels: [qwen25_72b]\ntasks: [mmlu]\n");
  EXPECT_THAT(rig.plan().jobs.at(0).reasons, Contains("durations: roofline"));
  const std::string profile = rig.catalog.profiles[rig.plan().jobs.at(0).profile].name;
  for (int i = 0; i < 3; ++i) rig.history.add("qwen25_72b", "mmlu", profile, 0.01);
  EXPECT_THAT(rig.plan().jobs.at(0).reasons, Contains("durations: 3 measurements"));
}

TEST(Plan, OfNothingIsEmptyAndSaysSo) {
  Rig rig(kFew);
  rig.expansion.cells.clear();
  const Plan plan = rig.plan();
  EXPECT_THAT(plan.jobs, IsEmpty());
  EXPECT_EQ(plan.totals.makespan, 0);
  EXPECT_THAT(plan.notes, Contains(HasSubstr("nothing to run")));
}

TEST(Plan, WorksOutWhatCellsShareOnlyOnce) {
  // 200,000 cells that differ in their seed: were each sized, this would take hours.
  Rig rig("name: m\nmodels: [llama31_8b, qwen25_72b]\ntasks: [mmlu, gsm8k]\n");
  const std::size_t before = rig.expansion.cells.size();
  ASSERT_EQ(before, 4u);
  for (std::int64_t seed = 1; seed <= 50'000; ++seed)
    for (std::size_t i = 0; i < before; ++i) {
      matrix::Cell cell = rig.expansion.cells[i];
      if (i == 0) {
        rig.expansion.settings.push_back(rig.expansion.settings[cell.settings]);
        rig.expansion.settings.back().set("seed", seed);
      }
      if (rig.expansion.cells[i].settings == rig.expansion.cells[0].settings)
        cell.settings = static_cast<std::uint32_t>(rig.expansion.settings.size() - 1);
      rig.expansion.cells.push_back(cell);
    }
  const Plan plan = rig.plan();
  EXPECT_EQ(plan.cells, 200'004);
  EXPECT_LE(plan.needs.size(), 4u);
  EXPECT_GT(plan.totals.makespan, 0);
  EXPECT_LT(plan.totals.model_loads, plan.cells / 10);
}
