// Durations against sums done by hand (the H100's figures as in roofline_test), and against history.
#include "planner/work.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/site.h"

namespace orch::planner {
namespace {

using matrix::CellKind;

/// Llama-2-7B on one H100 with a task of round numbers.
struct World {
  Catalog catalog = test::shipped();
  Cluster cluster = test::h100s();
  policy::Policy policy;
  History history;
  Placement placement;

  World() {
    Task task;
    task.name = "round";
    task.kind = TaskKind::kExactMatch;
    task.type = "eval";
    task.samples = 1000;
    task.prompt_tokens = 1000;
    task.output_tokens = 100;
    catalog.tasks.put(task);
    placement.profile = *catalog.profiles.index_of("gpu_1");
    placement.batch = 100;
  }
  Site site() const { return {catalog, cluster, policy, {}}; }
  void change(void (*edit)(Task&)) {
    Task task = *catalog.tasks.find("round");
    edit(task);
    catalog.tasks.put(task);
  }
  Duration duration(matrix::Settings settings = {}, CellKind kind = CellKind::kEval,
                    const std::string& model = "llama2_7b", const std::string& task = "round") const {
    const test::OneCell one = test::one_cell(catalog, kind, model, task, std::move(settings));
    return duration_of(one.cell(), one.settings(), need_of(one.cell(), one.expansion, catalog), placement, site(),
                       history);
  }
  double units(matrix::Settings settings = {}, CellKind kind = CellKind::kEval,
               const std::string& task = "round") const {
    const test::OneCell one = test::one_cell(catalog, kind, "llama2_7b", task, std::move(settings));
    return units_of_work(one.cell(), one.settings(), site());
  }
};

TEST(Work, UnitsAreSamplesAfterLimitAndRepeats) {
  World world;
  EXPECT_EQ(world.units(), 1000);
  EXPECT_EQ(world.units(test::with("limit", std::int64_t{10})), 10);
  EXPECT_EQ(world.units(test::with("limit", std::int64_t{5000})), 1000);
  world.change([](Task& task) { task.repeats = 4; });
  EXPECT_EQ(world.units(), 4000);
}

TEST(Work, UnitsOfTrainingAreOptimiserSteps) {
  const World world;
  matrix::Settings settings;
  settings.set("batch_size", std::int64_t{8});
  settings.set("accumulation", std::int64_t{2});
  // 15,011 rows by 16 are 938.2 steps.
  EXPECT_EQ(world.units(settings, CellKind::kTrain, "sft_instruct"), 939);
  settings.set("epochs", std::int64_t{2});
  EXPECT_EQ(world.units(settings, CellKind::kTrain, "sft_instruct"), 1877);
  settings.set("steps", std::int64_t{7});
  EXPECT_EQ(world.units(settings, CellKind::kTrain, "sft_instruct"), 7);
}

TEST(Work, GenerationIsPrefillAndDecoding) {
  const World world;
  // Prefill: 1e6 tokens · (2 · 6.476e9 + 4 · 4096 · 500 · 32) = 1.321e16 operations / (0.45 · 989e12) = 29.7 s.
  // Decoding: 1,000 steps (1e5 tokens, 100 at once); each reads 13.21e9 B of weights and 100 · 1,050 · 0.5 MiB of cache
  // at 0.7 · 3.35e12 B/s: 5.63 + 23.48 ms, and 0.5 ms: 29.6 s.
  const Duration it = world.duration();
  EXPECT_NEAR(it.expected, 59.3, 1.0);
  EXPECT_EQ(it.basis, "roofline");
  EXPECT_DOUBLE_EQ(it.bound, 1.3 * it.expected);
}

TEST(Work, AShorterAnswerAndALimitTakeLess) {
  const World world;
  const double all = world.duration().expected;
  EXPECT_NEAR(world.duration(test::with("limit", std::int64_t{500})).expected, all / 2, 0.05 * all);
  EXPECT_LT(world.duration(test::with("max_tokens", std::int64_t{10})).expected, 0.65 * all);
}

TEST(Work, TheFewShotPrefixIsReadOncePerBatch) {
  World world;
  world.change([](Task& task) {
    task.kind = TaskKind::kMultipleChoice;
    task.choices = 4;
    task.choice_tokens = 1;
    task.shot_tokens = 100;
    task.prompt_tokens = 96;
  });
  // Without shots 1000 · (96 + 4) tokens; with five, 10 batches of 500 tokens more: 5 %, and a longer look back.
  const double without = world.duration(test::with("shots", std::int64_t{0})).expected;
  const double with = world.duration(test::with("shots", std::int64_t{5})).expected;
  EXPECT_GT(with, 1.04 * without);
  EXPECT_LT(with, 1.12 * without);
}

TEST(Work, CodeTakesASecondOfAProcessorForEachAnswer) {
  World world;
  const double answers = world.duration().expected;
  world.change([](Task& task) { task.kind = TaskKind::kCode; });
  // 1,000 answers on the eight processors of gpu_1.
  EXPECT_NEAR(world.duration().expected - answers, 125, 1e-6);
}

TEST(Work, TwoCopiesHalveTheTime) {
  World world;
  const double one = world.duration().expected;
  world.placement.layout.dp = 2;
  world.placement.gpus = 2;
  EXPECT_NEAR(world.duration().expected, one / 2, 0.03 * one);
}

TEST(Work, APartOfAGpuIsAPartOfItsSpeed) {
  World world;
  const double whole = world.duration().expected;
  world.placement.share = 0.25;
  EXPECT_DOUBLE_EQ(world.duration().expected, 4 * whole);
}

TEST(Work, ThreeMeasurementsReplaceTheRoofline) {
  World world;
  world.history.add("llama2_7b", "round", "gpu_1", 0.2);
  world.history.add("llama2_7b", "round", "gpu_1", 0.1);
  EXPECT_EQ(world.duration().basis, "roofline");
  world.history.add("llama2_7b", "round", "gpu_1", 0.5);
  const Duration it = world.duration();
  EXPECT_EQ(it.basis, "3 measurements");
  EXPECT_DOUBLE_EQ(it.expected, 200);  // the median, 0.2 s, for 1,000 samples
  EXPECT_DOUBLE_EQ(it.bound, 500);     // the 0.95-quantile of three is the longest
  EXPECT_EQ(world.duration({}, CellKind::kEval, "mistral_7b").basis, "roofline");
}

TEST(Work, TrainingTakesFourOperationsAParameterForAFrozenModel) {
  World world;
  world.change([](Task& task) {
    task.kind = TaskKind::kTrain;
    task.type = "instruct_text";
    task.samples = 1600;
    task.prompt_tokens = 900;
    task.output_tokens = 100;
  });
  matrix::Settings settings;
  settings.set("batch_size", std::int64_t{16});
  settings.set("rank", std::int64_t{8});
  settings.set("sequence", std::int64_t{4096});
  world.placement.batch = 16;
  // 1.6M tokens · (4 · 6.607e9 + 6 · 20e6 + 3 · 4 · 4096 · 500 · 32) = 1.6e6 · 2.734e10 = 4.37e16; / (0.35 · 989e12) =
  // 126 s
  EXPECT_NEAR(world.duration(settings, CellKind::kTrain).expected, 126, 3);
  const double plain = world.duration(settings, CellKind::kTrain).expected;
  world.placement.checkpointing = true;  // two more of four operations
  EXPECT_NEAR(world.duration(settings, CellKind::kTrain).expected / plain, 1.48, 0.03);
}

TEST(Work, GrpoGeneratesAGroupForEachPrompt) {
  World world;
  matrix::Settings settings;
  settings.set("batch_size", std::int64_t{16});
  settings.set("rank", std::int64_t{8});
  settings.set("steps", std::int64_t{10});
  settings.set("group_size", std::int64_t{4});
  const double four = world.duration(settings, CellKind::kTrain, "llama2_7b", "grpo_math").expected;
  settings.set("group_size", std::int64_t{16});
  const double sixteen = world.duration(settings, CellKind::kTrain, "llama2_7b", "grpo_math").expected;
  EXPECT_GT(sixteen, 1.5 * four);
  // 512 steps of decoding that read 13.2e9 bytes of weights each are 2.9 s, ten times.
  EXPECT_GT(four, 29);
  // What is learnt from four times is written in every fourth step.
  settings.set("group_size", std::int64_t{4});
  settings.set("iterations", std::int64_t{4});
  const double often = world.duration(settings, CellKind::kTrain, "llama2_7b", "grpo_math").expected;
  EXPECT_LT(often, four - 0.7 * 29);
  EXPECT_GT(often, 0.25 * four);
}

TEST(Work, GrpoGeneratesNoMoreAtOnceThanTheCacheHasRoomFor) {
  // 64 prompts answered four times are 256 sequences of 0.5 MiB a token. With 40 GiB taken by the weights and what else
  // stays, 85 % of 79.65 GiB leave 27.7 GiB, which hold fewer than 256 sequences of 612 tokens (76.5 GiB): the weights
  // are read at least twice as often, 256 sequences by at most 93 at once.
  World world;
  matrix::Settings settings;
  settings.set("batch_size", std::int64_t{64});
  settings.set("rank", std::int64_t{8});
  settings.set("steps", std::int64_t{1});
  settings.set("group_size", std::int64_t{4});
  const auto seconds = [&](double weights) {
    world.placement.memory.weights = weights;
    return world.duration(settings, CellKind::kTrain, "llama2_7b", "grpo_math").expected;
  };
  const double much = seconds(0), little = seconds(40 * kGiB), least = seconds(67.5 * kGiB);
  // At least one more pass of 512 steps or so, of 13.2e9 bytes / (0.7 · 3.35e12 B/s) = 5.6 ms each.
  EXPECT_GT(little, much + 2);
  // With room for less than a sequence they are written one after another: 256 passes.
  EXPECT_GT(least, 10 * much);
  EXPECT_TRUE(std::isfinite(seconds(1e30)));
}

TEST(Work, OfACommandThatNamesItsTaskMeasurementsGoFirst) {
  World world;
  for (const double seconds : {1000.0, 2000.0, 3000.0}) world.history.add("llama2_7b", "round", "gpu_1", seconds);
  const Duration free = world.duration({}, CellKind::kCommand);
  EXPECT_EQ(free.expected, 2000);
  EXPECT_EQ(free.bound, 3000);
  EXPECT_EQ(free.basis, "3 measurements");
  const Duration declared = world.duration(test::with("time", std::int64_t{7200}), CellKind::kCommand);
  EXPECT_EQ(declared.expected, 2000);
  EXPECT_EQ(declared.bound, 7200) << "the longest that it may take is declared";
}

TEST(Work, ACommandIsBoundByTheTimeItDeclares) {
  const World world;
  const Duration it = world.duration(test::with("time", std::int64_t{7200}), CellKind::kCommand, "", "");
  EXPECT_EQ(it.bound, 7200);
  EXPECT_EQ(it.expected, 3600);
  EXPECT_EQ(it.basis, "half of the time declared");
  EXPECT_EQ(world.duration({}, CellKind::kCommand, "", "").basis, "assumed: no time was declared");
  EXPECT_EQ(world.duration({}, CellKind::kCommand, "", "").from, Basis::kAssumed);
}

TEST(Work, ABenchmarkOfMoreGpusTakesFewerSteps) {
  World world;
  const auto seconds = [&](std::int64_t gpus) {
    world.placement.gpus = static_cast<int>(gpus);
    return world.duration(test::with("gpus", gpus), CellKind::kBench, "", "resnet50").expected;
  };
  // 128,000 samples of 24.5e9 operations / (0.35 · 989e12) = 9.06 s
  EXPECT_NEAR(seconds(1), 9.06, 0.1);
  EXPECT_LT(seconds(8), seconds(1) / 6);
}

TEST(Work, NoNumberMakesADurationThatIsNotFinite) {
  World world;
  world.change([](Task& task) {
    task.samples = 1e300;
    task.prompt_tokens = 1e300;
    task.output_tokens = 1e300;
    task.shot_tokens = 1e300;
    task.shots = 1000;
  });
  world.placement.batch = std::numeric_limits<std::int64_t>::max();
  const Duration it = world.duration();
  EXPECT_TRUE(std::isfinite(it.expected));
  EXPECT_TRUE(std::isfinite(it.bound));
  EXPECT_GE(it.bound, it.expected);
  world.change([](Task& task) { task.samples = 0; });
  EXPECT_EQ(world.duration().expected, 0);
  world.placement.profile = 1'000'000;
  EXPECT_TRUE(std::isfinite(world.duration().bound));
}

}  // namespace
}  // namespace orch::planner
