// What is trained changes as it should: over steps, over ranks, and again from what was kept of it.
#include "train/learner.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>

#include "support/families.h"
#include "train/memory_plan.h"
#include "train/objective.h"
#include "train/order.h"
#include "train/ranks.h"

namespace orch::train {
namespace {

struct Course {
  int data = 1, tensor = 1;  ///< ranks
  std::int64_t steps = 20;
  double rate = 0.01;
  std::int64_t again_from = -1;  ///< a step before which all is made anew from what was kept
  float dropout = 0;
  bool again = false;
  DType dtype = DType::kFp32;
  DType weights = DType::kFp32;
  std::int64_t tokens = 64;  ///< of a pass
  std::vector<std::string> targets{};
  std::optional<std::uint64_t> fake{};
};

struct Taught {
  std::vector<double> losses;  ///< of each step, over all ranks
  std::vector<double> norms;
  std::vector<float> values;  ///< of the first rank, at the end
  std::vector<float> looked;  ///< log-probabilities of the first sample at the end
  std::vector<float> base;    ///< the same without the adapter
};

/// Twelve texts over a small alphabet that follow a rule, so that there is something to learn.
std::vector<Sample> samples_of(std::int64_t vocab) {
  std::vector<Sample> samples;
  for (int i = 0; i < 12; ++i) {
    Sample sample;
    for (int t = 0; t < 9 + i; ++t) {
      sample.ids.push_back(static_cast<std::int32_t>((3 + 7 * i + 5 * t) % vocab));
      sample.trained.push_back(t > 1 ? 1 : 0);
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

void learn(const AtRank& at, const Course& course, Taught& taught) {
  kernels::Backend* const backend = &at.backend;
  const int rank = at.rank;
  const std::vector<Sample> samples = samples_of(at.architecture.vocab);
  std::vector<std::int64_t> lengths;
  for (const Sample& sample : samples) lengths.push_back(static_cast<std::int64_t>(sample.ids.size()));
  Order order(lengths, {6, 1, false});

  AdapterRules rules;
  rules.rank = 4;
  rules.alpha = 8;
  rules.targets = course.targets;
  rules.seed = 7;
  LearnerBounds bounds{course.tokens, 8, 32, course.again, course.dropout};
  const auto make = [&] {
    auto parameters = take(Parameters::of_adapter(*backend, at.decoder, at.sources, rules, true));
    auto learner = take(Learner::make(*backend, at.decoder, *parameters, bounds));
    return std::pair(std::move(parameters), std::move(learner));
  };
  auto [parameters, learner] = make();
  for (std::int64_t step = 0; step < course.steps; ++step) {
    if (step == course.again_from) {
      std::vector<std::vector<float>> kept;
      for (const auto row :
           {Parameters::Row::kValues, Parameters::Row::kFirst, Parameters::Row::kSecond, Parameters::Row::kAverage})
        kept.push_back(take(parameters->read(learner->stream(), row)));
      learner.reset();
      parameters.reset();
      std::tie(parameters, learner) = make();
      std::size_t next = 0;
      for (const auto row :
           {Parameters::Row::kValues, Parameters::Row::kFirst, Parameters::Row::kSecond, Parameters::Row::kAverage})
        take(parameters->write(learner->stream(), row, kept[next++]));
    }
    const auto batch = order.batch(step);
    std::int64_t tokens = 0;
    for (const std::int64_t i : batch)
      tokens += std::count(samples[static_cast<std::size_t>(i)].trained.begin(),
                           samples[static_cast<std::size_t>(i)].trained.end(), 1);
    std::vector<Lesson> own;
    double loss = 0;
    parameters->clear_gradients(learner->stream());
    const auto teach = [&] {
      take(learner->teach(own, static_cast<std::uint64_t>(step), 1, [&](std::span<const Outcome> outcomes) {
        for (const Outcome& one : outcomes) loss += likelihood_loss(one.logprobs, tokens, one.derivatives);
      }));
      own.clear();
    };
    std::int64_t together = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (static_cast<int>(i) % course.data != rank / course.tensor) continue;
      const Sample& sample = samples[static_cast<std::size_t>(batch[i])];
      together += static_cast<std::int64_t>(sample.ids.size());
      if (together > course.tokens) {
        teach();
        together = static_cast<std::int64_t>(sample.ids.size());
      }
      own.push_back({&sample, step * 100 + static_cast<std::int64_t>(i)});
    }
    teach();
    parameters->sum_gradients(learner->stream(), &at.data);
    const double norm = take(parameters->gradient_norm(learner->stream()));
    parameters->update(learner->stream(), {course.rate, 0.9, 0.999, 1e-8, 0.01}, step + 1, std::min(1.0, 1.0 / norm));
    if (step % 5 == 0) parameters->update_average(learner->stream(), 0.9);
    take(backend->wait(learner->stream()));
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    taught.losses.resize(static_cast<std::size_t>(course.steps));
    taught.norms.resize(static_cast<std::size_t>(course.steps));
    if (rank % course.tensor == 0) taught.losses[static_cast<std::size_t>(step)] += loss;
    if (rank == 0) taught.norms[static_cast<std::size_t>(step)] = norm;
  }
  const std::vector<Lesson> first = {{samples.data(), 0}};
  const auto with = take(learner->look(first, true)), without = take(learner->look(first, false));
  if (rank != 0) return;
  taught.values = take(parameters->read(learner->stream(), Parameters::Row::kValues));
  taught.looked = with.front();
  taught.base = without.front();
}

Taught teach(const std::string& family, const Course& course) {
  Taught taught;
  on_ranks(test::family_folder(family), {course.data, course.tensor, 1, {course.dtype, course.weights}, course.fake},
           [&](const AtRank& at) { learn(at, course, taught); });
  return taught;
}

double sum(const std::vector<float>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

void expect_near(const std::vector<double>& got, const std::vector<double>& wanted, double apart) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], apart) << "step " << i;
}

TEST(Learner, LearnsWhatFollowsWhatAndLeavesTheModelAsItWas) {
  for (const char* family : {"llama3", "gpt2", "gemma2", "falcon_40b", "mixtral"}) {
    const Taught taught = teach(family, {.steps = 60});
    EXPECT_LT(taught.losses.back(), 0.5 * taught.losses.front()) << family;
    EXPECT_GT(sum(taught.looked), sum(taught.base) + 5) << family;
    EXPECT_EQ(teach(family, {.steps = 0}).base, taught.base) << family;
    EXPECT_EQ(teach(family, {.steps = 0}).looked, taught.base) << family << ": an adapter begins as nothing";
  }
}

TEST(Learner, GivesTheSameBitsAgain) {
  const Taught once = teach("llama3", {.dropout = 0.1F}), twice = teach("llama3", {.dropout = 0.1F});
  EXPECT_EQ(once.losses, twice.losses);
  EXPECT_EQ(once.values, twice.values);
  EXPECT_EQ(teach("llama3", {.dropout = 0.1F, .again = true}).values, once.values) << "with layers computed again";
  EXPECT_EQ(teach("llama3", {.dropout = 0.1F, .fake = 3}).values, once.values) << "on a device";
}

TEST(Learner, GoesOnFromWhatWasKeptWithTheSameBits) {
  for (const Course& course : {Course{.dropout = 0.1F}, Course{.data = 2, .tensor = 2, .dropout = 0.1F}}) {
    const Taught whole = teach("qwen3", course);
    Course cut = course;
    cut.again_from = 11;
    const Taught resumed = teach("qwen3", cut);
    EXPECT_EQ(resumed.losses, whole.losses);
    EXPECT_EQ(resumed.values, whole.values);
  }
}

// 200 steps, whichever ranks share samples or layers.
TEST(Learner, HasTheSameLossOverRanks) {
  for (const char* family : {"llama3", "gpt2", "qwen3_moe"}) {
    const Taught alone = teach(family, {.steps = 200, .rate = 0.003, .dropout = 0.05F});
    EXPECT_LT(alone.losses.back(), 0.6 * alone.losses.front());
    for (const auto& [data, tensor] : {std::pair(2, 1), {4, 1}, {1, 2}, {2, 2}}) {
      SCOPED_TRACE(std::string(family) + ", " + std::to_string(data) + " × " + std::to_string(tensor));
      const Taught over =
          teach(family, {.data = data, .tensor = tensor, .steps = 200, .rate = 0.003, .dropout = 0.05F});
      expect_near(over.losses, alone.losses, 1e-4);
    }
  }
}

// Each kind of layer has its own way of being shared.
TEST(Learner, HasTheSameLossOverRanksInEveryKindOfLayer) {
  for (const char* family : {"falcon_40b", "gemma2", "deepseek_v3", "deepseek_v3_no_q_rank", "phi3", "mixtral", "dbrx",
                             "gpt_bigcode_heads", "qwen3"}) {
    const Taught alone = teach(family, {.steps = 30, .rate = 0.003, .dropout = 0.05F});
    EXPECT_LT(alone.losses.back(), alone.losses.front()) << family;
    const Taught over = teach(family, {.tensor = 2, .steps = 30, .rate = 0.003, .dropout = 0.05F});
    SCOPED_TRACE(family);
    expect_near(over.losses, alone.losses, 1e-4);
    // The first gradient is that of one rank but for rounding.
    EXPECT_NEAR(over.norms.front(), alone.norms.front(), 1e-4 * alone.norms.front());
  }
}

// Whole experts are a rank's own, and a token's may be anybody's.
TEST(Learner, HasTheSameLossOverRanksWithAdaptersOfExperts) {
  for (const char* family : {"mixtral", "qwen3_moe", "deepseek_v3"}) {
    SCOPED_TRACE(family);
    const Course course{.steps = 30, .rate = 0.003, .dropout = 0.05F, .targets = {"*"}};
    const Taught alone = teach(family, course);
    EXPECT_LT(alone.losses.back(), alone.losses.front());
    EXPECT_EQ(teach(family, {.steps = 0, .targets = {"*"}}).looked, alone.base) << "an adapter begins as nothing";
    for (const auto& [data, tensor] : {std::pair(1, 2), {2, 2}}) {
      Course shared = course;
      shared.data = data, shared.tensor = tensor;
      const Taught over = teach(family, shared);
      expect_near(over.losses, alone.losses, 1e-4);
      EXPECT_NEAR(over.norms.front(), alone.norms.front(), 1e-4 * alone.norms.front());
    }
  }
}

TEST(Learner, GivesTheSameBitsAgainWithAdaptersOfExperts) {
  const Course course{.tensor = 2, .steps = 6, .dropout = 0.1F, .targets = {"*"}};
  const Taught once = teach("deepseek_v3", course);
  for (const auto& [change, what] : std::vector<std::pair<std::function<void(Course&)>, const char*>>{
           {[](Course&) {}, "again"},
           {[](Course& it) { it.again = true; }, "with layers computed again"},
           {[](Course& it) { it.again_from = 3; }, "from what was kept"},
           {[](Course& it) { it.fake = 3; }, "on a device"}}) {
    Course other = course;
    change(other);
    EXPECT_EQ(teach("deepseek_v3", other).values, once.values) << what;
  }
}

// Wider than what it stands between, on a device that knows what an op asked for.
TEST(Learner, LearnsAdaptersOfExpertsOfAnyRank) {
  for (const std::string targets : {"experts:1", "experts:150"}) {
    const Course course{.steps = 3, .targets = {targets}};
    Course there = course;
    there.fake = 5;
    EXPECT_EQ(teach("qwen3_moe", there).values, teach("qwen3_moe", course).values) << targets;
  }
}

TEST(Learner, LearnsAdaptersOfExpertsInBf16OnWeightsInInt8) {
  const Taught taught =
      teach("mixtral", {.steps = 60, .dtype = DType::kBf16, .weights = DType::kInt8, .targets = {"experts", "o_proj"}});
  EXPECT_LT(taught.losses.back(), 0.7 * taught.losses.front());
}

TEST(Learner, RefusesWhatIsLargerThanItsBounds) {
  const Sample long_one{std::vector<std::int32_t>(33, 1), std::vector<std::uint8_t>(33, 1), 1},
      small{{1, 2, 3}, {0, 1, 1}, 1};
  on_ranks(test::family_folder("llama3"), {}, [&](const AtRank& at) {
    const auto parameters = take(Parameters::of_adapter(at.backend, at.decoder, at.sources, {}, false));
    const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, {40, 2, 32}));
    const auto nothing = [](std::span<const Outcome>) {};
    EXPECT_FALSE(learner->teach(std::vector<Lesson>{{&long_one, 0}}, 0, 1, nothing));
    EXPECT_FALSE(learner->look(std::vector<Lesson>{{&small, 0}, {&small, 1}, {&small, 2}}, true));
    EXPECT_TRUE(learner->look(std::vector<Lesson>{{&small, 0}, {&small, 1}}, true));
    EXPECT_TRUE(learner->teach({}, 0, 1, nothing)) << "a rank may have nothing to do";
  });
}

TEST(Learner, HasTheSameLossHoweverABatchIsCutIntoPasses) {
  const Taught whole = teach("llama3", {.steps = 200, .rate = 0.003, .dropout = 0.05F, .tokens = 200});
  const Taught cut = teach("llama3", {.steps = 200, .rate = 0.003, .dropout = 0.05F, .tokens = 32});
  expect_near(cut.losses, whole.losses, 1e-4);
}

TEST(Learner, LearnsInBf16OnWeightsInInt8) {
  const Taught taught = teach("llama3", {.steps = 60, .dtype = DType::kBf16, .weights = DType::kInt8});
  EXPECT_LT(taught.losses.back(), 0.5 * taught.losses.front());
}

// Rank 4. Layers of deepseek_v3: one dense (inputs 32, between 56), then two with 8 experts (between 16) and two shared
// ones (32 together).
TEST(Learner, TrainsExpertsWhereTheyAreNamed) {
  const auto count = [](const std::vector<std::string>& targets) {
    return teach("deepseek_v3", {.steps = 0, .targets = targets}).values.size();
  };
  const std::size_t down = 4 * 2 * 8 * (16 + 32), up = 4 * 2 * 8 * (32 + 2 * 16);
  EXPECT_EQ(count({"down_proj"}), 4U * ((56 + 32) + 2 * (32 + 32))) << "linear layers alone";
  EXPECT_EQ(count({"experts.down_proj"}), down);
  EXPECT_EQ(count({"mlp.experts.gate_up_proj"}), up);
  EXPECT_EQ(count({"experts"}), down + up);
  EXPECT_EQ(count({"model.layers.1.mlp.experts"}), (down + up) / 2);
  EXPECT_EQ(count({"experts", "experts.down_proj:2"}), down / 2 + up) << "the last counts";
  EXPECT_EQ(count({"*.experts.*"}), down + up);
  EXPECT_EQ(count({"*"}), count({}) + down + up) << "without names they are left out";
}

TEST(Learner, IsPlannedWithAdaptersOfExperts) {
  const model::Architecture it = take(model::open_architecture(test::family_folder("deepseek_v3")));
  const auto plan = [&](const std::vector<std::string>& targets) {
    AdapterRules rules;
    rules.rank = 4;
    rules.targets = targets;
    return take(MemoryPlan::make(it, {}, DType::kFp32, rules, false));
  };
  const auto without = plan({"o_proj"}), with = plan({"o_proj", "experts"});
  // Numbers as in TrainsExpertsWhereTheyAreNamed: in a row fp32, of values, gradients and moments four, and the
  // weights.
  const double numbers = 4 * 2 * 8 * (16 + 32 + 32 + 2 * 16);
  EXPECT_EQ(with->row() - without->row(), 4 * numbers);
  EXPECT_GE(with->trained() - without->trained(), 5 * 4 * numbers);
  // Of each of 64 tokens' 3 experts: gates and values (32), what comes of them and its gradient (16 each), what comes
  // out (32), A's side and its gradient (4 each).
  const LearnerBounds bounds{64, 8, 32, false, 0};
  EXPECT_GE(with->pass(bounds) - without->pass(bounds), 4 * 64 * 3 * (32 + 16 + 16 + 32 + 4 + 4));
}

TEST(Learner, TrainsTheTargetsThatAreNamedAndKnowsTheRest) {
  EXPECT_LT(teach("llama3", {.steps = 1, .targets = {"q_proj"}}).values.size(),
            teach("llama3", {.steps = 1}).values.size());
  try {
    teach("llama3", {.steps = 1, .targets = {"q_proj", "c_attn"}});
    FAIL();
  } catch (const std::runtime_error& problem) {
    EXPECT_THAT(problem.what(), testing::HasSubstr("'c_attn'"));
  }
}

}  // namespace
}  // namespace orch::train
