// A trained model (TinyStories-656K) learns from real instructions, with rows, tokens, passes and runs as they are
// used.
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "support/test_data.h"
#include "texts/samples.h"
#include "tokenizer/files.h"
#include "train/ranks.h"
#include "train/reward_aim.h"
#include "train/run.h"

namespace orch::texts {
namespace {

using train::take;

constexpr std::size_t kHeldOut = 60;

std::vector<train::Row> rows() {
  Diagnostics diagnostics;
  auto rows = train::load_rows(test::test_data() / "tasks/commonsense/openbookqa.json", train::RowKind::kInstruction,
                               diagnostics);
  if (!rows) throw std::runtime_error("openbookqa.json cannot be read");
  rows->resize(360);
  return *std::move(rows);
}

SampleMaker maker() {
  return take(SampleMaker::make(test::opened(test::test_data() / "models/tinystories-656k"), nullptr, {256, 0},
                                "openbookqa.json"));
}

/// Instructions that fit whole.
std::vector<Sample> instructions() {
  SampleMaker make = maker();
  Diagnostics diagnostics;
  std::vector<Sample> samples;
  for (const train::Row& row : rows())
    if (auto sample = make.instruction(row, diagnostics)) samples.push_back(*std::move(sample));
  EXPECT_EQ(diagnostics.error_count(), 0U);
  return samples;
}

/// The right answer is preferred to another one.
std::vector<train::PreferredSample> preferences() {
  SampleMaker make = maker();
  Diagnostics diagnostics;
  std::vector<train::PreferredSample> pairs;
  for (const train::Row& row : rows()) {
    const auto& of = std::get<train::Instruction>(row.what);
    const std::string wrong =
        of.output.ends_with("answer1") ? "the correct answer is answer4" : "the correct answer is answer1";
    const train::Row asked{row.line, "", train::Preference{{of.instruction + " ", {}}, {of.output, {}}, {wrong, {}}}};
    if (auto pair = make.preference(asked, diagnostics)) pairs.push_back({pair->chosen, pair->rejected});
  }
  EXPECT_EQ(diagnostics.error_count(), 0U);
  return pairs;
}

template <class T>
std::pair<std::vector<T>, std::vector<T>> cut(std::vector<T> all) {
  std::vector<T> held_out(all.end() - kHeldOut, all.end());
  all.resize(all.size() - kHeldOut);
  return {std::move(all), std::move(held_out)};
}

struct Learnt {
  std::vector<train::StepReport> reports;
  double before = 0, after = 0;  ///< held-out loss
  train::Figures figures;        ///< held out, after
};

Learnt learn(train::Aim& aim, train::Aim& held_out, std::int64_t batch, double rate) {
  Learnt learnt;
  train::on_ranks(test::test_data() / "models/tinystories-656k", {.threads = 2}, [&](const train::AtRank& at) {
    train::AdapterRules adapter;
    adapter.rank = 8;
    const auto parameters = take(train::Parameters::of_adapter(at.backend, at.decoder, at.sources, adapter, false));
    train::RunRules rules;
    rules.order = {batch, 1, true};
    rules.schedule.rate = rate;
    rules.schedule.steps = 200;
    rules.schedule.warmup = 0.05;
    rules.schedule.evaluate_every = 100;
    rules.clip = 1;
    rules.pass = {1024, 16, 256, false, 0.05F};
    const auto learner = take(train::Learner::make(at.backend, at.decoder, *parameters, rules.pass));
    train::Run run(rules, aim, &held_out, *learner, *parameters, nullptr, nullptr);
    learnt.before = take(run.evaluate()).loss;
    train::RunHooks hooks;
    hooks.report = [&](const train::StepReport& report) { learnt.reports.push_back(report); };
    EXPECT_EQ(take(run.go(hooks)).why, train::RunEnd::Why::kDone);
    const train::Evaluated after = take(run.evaluate());
    learnt.after = after.loss;
    learnt.figures = after.figures;
  });
  return learnt;
}

// It was trained on stories: instructions are new to it. An answer's form is learnt at once, and with it most of its
// loss goes; a gradient that is wrong does not get there.
TEST(FineTuning, OnInstructionsLowersTheLossOfThoseThatAreHeldOut) {
  ORCH_NEEDS_TEST_DATA();
  auto [taught, held_out] = cut(instructions());
  const auto aim = train::make_likelihood_aim(std::move(taught)),
             judge = train::make_likelihood_aim(std::move(held_out));
  const Learnt learnt = learn(*aim, *judge, 4, 0.005);
  EXPECT_EQ(learnt.reports.size(), 200U);
  EXPECT_GT(learnt.before, 2);
  EXPECT_LT(learnt.after, 0.15 * learnt.before);
}

TEST(FineTuning, OnPreferencesRaisesTheMarginOfThePreferred) {
  ORCH_NEEDS_TEST_DATA();
  auto [taught, held_out] = cut(preferences());
  const auto aim = train::make_preference_aim(std::move(taught), {}),
             judge = train::make_preference_aim(std::move(held_out), {});
  const Learnt learnt = learn(*aim, *judge, 4, 0.002);
  EXPECT_NEAR(learnt.before, std::log(2), 1e-6) << "an adapter begins as nothing";
  EXPECT_NEAR(learnt.reports.front().figures.at("margin"), 0, 1e-5);
  double late = 0;
  for (std::size_t i = 180; i < 200; ++i) late += learnt.reports[i].figures.at("margin") / 20;
  EXPECT_GT(late, 0.5);
  EXPECT_GT(learnt.figures.at("margin"), 0.3) << "held out";
}

// Stories about girls are rewarded.
TEST(FineTuning, OnRewardsRaisesThem) {
  ORCH_NEEDS_TEST_DATA();
  const std::filesystem::path folder = test::test_data() / "models/tinystories-656k";
  const tokenizer::Tokenizer tokenizer = test::opened(folder);
  std::vector<std::vector<std::int32_t>> prompts;
  for (const char* text :
       {"Once upon a time", "One day, there was", "The sun was", "In a small house", "It was", "There once was"}) {
    const auto ids = take(tokenizer.encode(text));
    prompts.emplace_back(ids.begin(), ids.end());
  }
  std::vector<double> rewards;
  train::on_ranks(folder, {.threads = 2}, [&](const train::AtRank& at) {
    train::AdapterRules adapter;
    adapter.rank = 8;
    const auto parameters = take(train::Parameters::of_adapter(at.backend, at.decoder, at.sources, adapter, false));
    train::RunRules rules;
    rules.order = {3, 1, false};
    rules.schedule.rate = 0.003;
    rules.schedule.steps = 200;
    rules.clip = 1;
    rules.pass = {1024, 32, 64};
    const auto learner = take(train::Learner::make(at.backend, at.decoder, *parameters, rules.pass));
    infer::Engine engine(at.backend, at.decoder, {512, 32, 1 << 22, DType::kFp32, 0, true});
    train::RewardRules how;
    how.completions = 8;
    how.most = 24;
    how.ends = {2};
    how.rewards = [&](std::span<const train::Completed> completed) -> Result<std::vector<double>> {
      std::vector<double> all;
      for (const train::Completed& one : completed) {
        const std::vector<tokenizer::TokenId> ids(one.tokens.begin(), one.tokens.end());
        all.push_back(take(tokenizer.decode(ids)).find(" girl") != std::string::npos ? 1 : 0);
      }
      return all;
    };
    const auto aim = train::make_reward_aim(engine, *parameters, prompts, how);
    train::Run run(rules, *aim, nullptr, *learner, *parameters, nullptr, nullptr);
    train::RunHooks hooks;
    hooks.report = [&](const train::StepReport& report) { rewards.push_back(report.figures.at("reward")); };
    take(run.go(hooks));
  });
  const auto mean = [&](std::size_t from) {
    return std::accumulate(rewards.begin() + static_cast<std::ptrdiff_t>(from),
                           rewards.begin() + static_cast<std::ptrdiff_t>(from) + 20, 0.0) /
           20;
  };
  EXPECT_LT(mean(0), 0.5);
  EXPECT_GT(mean(180), 0.85);
}

}  // namespace
}  // namespace orch::texts
