// Whole runs: they learn, end, skip, go back, and go on as if they had never stopped.
#include "train/run.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "support/families.h"
#include "train/ranks.h"
#include "train/reward_aim.h"

namespace orch::train {
namespace {

/// Texts over a small alphabet that follow a rule; `wrong`: another one.
Sample text_of(int number, std::int64_t vocab, bool wrong = false) {
  Sample sample;
  for (int t = 0; t < 8 + number % 7; ++t) {
    sample.ids.push_back(static_cast<std::int32_t>((3 + 7 * number + (wrong && t > 2 ? 11 : 5) * t) % vocab));
    sample.trained.push_back(t > 2 ? 1 : 0);
  }
  return sample;
}

std::unique_ptr<Aim> texts(int from, int to, std::int64_t vocab) {
  std::vector<Sample> samples;
  for (int i = from; i < to; ++i) samples.push_back(text_of(i, vocab));
  return make_likelihood_aim(std::move(samples));
}

std::unique_ptr<Aim> pairs(int from, int to, std::int64_t vocab, const DpoSettings& settings) {
  std::vector<PreferredSample> all;
  for (int i = from; i < to; ++i) all.push_back({text_of(i, vocab), text_of(i, vocab, true)});
  return make_preference_aim(std::move(all), settings);
}

/// Tokens of the lower half of the alphabet are worth 1; the mean of a completion's is its reward.
std::unique_ptr<Aim> rewarded(infer::Engine& engine, const Parameters& parameters, std::int64_t vocab, double beta) {
  std::vector<std::vector<std::int32_t>> prompts;
  for (std::int32_t i = 0; i < 12; ++i) prompts.push_back({i + 1, 2 * i + 3, 3 * i + 5});
  RewardRules rules;
  rules.completions = 6;
  rules.most = 8;
  rules.ends = {0};
  rules.seed = 5;
  rules.grpo.beta = beta;
  rules.rewards = [vocab](std::span<const Completed> completed) -> Result<std::vector<double>> {
    std::vector<double> rewards;
    for (const Completed& one : completed)
      rewards.push_back(static_cast<double>(std::count_if(one.tokens.begin(), one.tokens.end(),
                                                          [&](std::int32_t token) { return token < vocab / 2; })) /
                        static_cast<double>(one.tokens.size()));
    return rewards;
  };
  return make_reward_aim(engine, parameters, std::move(prompts), std::move(rules));
}

struct Setting {
  RanksSetting ranks{};
  std::string family = "llama3";
  std::int64_t steps = 40;
  double rate = 0.01;
  bool prefers = false;
  float dropout = 0.1F;
  std::int64_t end_after = -1;  ///< step behind which it is told to end
  std::optional<RunState> from{};
  bool scales_loss = false;
  /// Changes what is to be learnt from.
  std::function<std::unique_ptr<Aim>(std::int64_t vocab)> aim{};
  bool rewards = false;  ///< of what it writes
  double beta = 0;       ///< then: pull towards the model itself
  bool in_full = false;  ///< the model itself is trained
  std::function<void(RunRules&)> rules{};
};

struct Ran {
  std::vector<StepReport> reports;  ///< of the first rank
  std::vector<RunState> kept;
  RunEnd end;
  RunState state;
};

Ran run(const Setting& setting) {
  Ran ran;
  std::mutex mutex;
  on_ranks(test::family_folder(setting.family), setting.ranks, [&](const AtRank& at) {
    AdapterRules adapter;
    adapter.rank = 4;
    adapter.seed = 7;
    const auto parameters =
        take(setting.in_full ? Parameters::of_model(at.backend, at.decoder, at.sources, true)
                             : Parameters::of_adapter(at.backend, at.decoder, at.sources, adapter, true));
    RunRules rules;
    rules.order = {6, 3, true};
    rules.schedule.rate = setting.rate;
    rules.schedule.warmup = 0.1;
    rules.schedule.steps = setting.steps;
    rules.schedule.evaluate_every = 10;
    rules.clip = 1;
    rules.adam.decay = 0.01;
    rules.pass = {64, 8, 32, false, setting.dropout};
    rules.scales_loss = setting.scales_loss;
    rules.keep_every = 10;
    if (setting.rules) setting.rules(rules);
    const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, rules.pass));
    const std::int64_t vocab = at.architecture.vocab;
    infer::Engine engine(at.backend, at.decoder, {256, 32, 1 << 20, DType::kFp32, 0, true});
    const auto aim = setting.rewards   ? rewarded(engine, *parameters, vocab, setting.beta)
                     : setting.aim     ? setting.aim(vocab)
                     : setting.prefers ? pairs(0, 20, vocab, {})
                                       : texts(0, 20, vocab);
    const auto held_out = setting.prefers ? pairs(20, 26, vocab, {}) : texts(20, 26, vocab);
    Run it(rules, *aim, held_out.get(), *learner, *parameters, &at.data, &at.host);
    if (setting.from) take(it.go_on_from(*setting.from));
    RunHooks hooks;
    std::int64_t done = -1;
    hooks.report = [&](const StepReport& report) {
      done = report.step;
      const std::lock_guard lock(mutex);
      if (at.rank == 0) ran.reports.push_back(report);
    };
    hooks.wish = [&] { return setting.end_after >= 0 && done >= setting.end_after ? Wish::kEnd : Wish::kNone; };
    hooks.keep = [&](const RunState& state, std::optional<double>) -> Result<bool> {
      const std::lock_guard lock(mutex);
      if (at.rank == 0) ran.kept.push_back(state);
      return true;
    };
    const RunEnd end = take(it.go(hooks));
    RunState state = take(it.state());
    const std::lock_guard lock(mutex);
    if (at.rank == 0) ran.end = end, ran.state = std::move(state);
  });
  return ran;
}

TEST(Run, LearnsWhatIsHeldOutToo) {
  const Ran ran = run({.steps = 80});
  EXPECT_EQ(ran.end.why, RunEnd::Why::kDone);
  ASSERT_EQ(ran.reports.size(), 80U);
  EXPECT_LT(ran.reports.back().loss, 0.5 * ran.reports.front().loss);
  ASSERT_TRUE(ran.reports[9].held_out && ran.reports.back().held_out);
  EXPECT_LT(ran.reports.back().held_out->loss, 0.7 * ran.reports[9].held_out->loss);
  EXPECT_FALSE(ran.reports[8].held_out);
  EXPECT_EQ(ran.state.step, 80);
  EXPECT_EQ(ran.state.updates, 80);
  EXPECT_NE(ran.state.average, ran.state.values);
}

TEST(Run, PrefersWhatIsPreferred) {
  const Ran ran = run({.steps = 60, .prefers = true});
  // An adapter begins as nothing: nobody is preferred, and the loss is log 2.
  EXPECT_NEAR(ran.reports.front().loss, std::log(2), 1e-6);
  EXPECT_NEAR(ran.reports.front().figures.at("margin"), 0, 1e-6);
  EXPECT_GT(ran.reports.back().figures.at("margin"), 0.5);
  EXPECT_NEAR(ran.reports.back().held_out->figures.at("accuracy"), 1, 1e-9);
  EXPECT_LT(ran.reports.back().held_out->loss, 0.6 * std::log(2));
}

// Late, in memory that the host cannot touch, and with faults where two streams meet.
TEST(Run, IsTheSameOnADevice) {
  for (const bool rewards : {false, true}) {
    Setting setting{.steps = 6, .dropout = 0, .rewards = rewards, .beta = rewards ? 0.1 : 0};
    const Ran here = run(setting);
    setting.ranks.fake = 4;
    EXPECT_EQ(run(setting).state, here.state);
  }
}

TEST(Run, EndsOnAllRanksWithTheReasonOfOne) {
  Setting setting{.ranks = {3, 1}};
  setting.aim = [](std::int64_t vocab) {
    std::vector<Sample> samples;
    for (int i = 0; i < 6; ++i) samples.push_back(text_of(i, vocab));
    samples[4].ids.resize(60, 1);  // longer than a pass
    samples[4].trained.resize(60, 1);
    return make_likelihood_aim(std::move(samples));
  };
  try {
    run(setting);
    FAIL();
  } catch (const std::runtime_error& problem) {
    EXPECT_THAT(problem.what(), testing::HasSubstr("a text of 60 tokens"));
  }
}

TEST(Run, RefusesAStateOfAnotherShape) {
  Setting setting{.steps = 1};
  RunState state = run(setting).state;
  state.values.pop_back();
  setting.from = state;
  EXPECT_THROW(run(setting), std::runtime_error);
  state.values.push_back(0);
  state.average.clear();
  setting.from = state;
  EXPECT_THROW(run(setting), std::runtime_error);
}

double mean_reward(const Ran& ran, std::size_t from) {
  double sum = 0;
  for (std::size_t i = from; i < from + 10; ++i) sum += ran.reports[i].figures.at("reward") / 10;
  return sum;
}

TEST(Run, WritesWhatIsRewarded) {
  const Ran ran = run({.steps = 80, .dropout = 0, .rewards = true});
  EXPECT_NEAR(mean_reward(ran, 0), 0.5, 0.2);
  EXPECT_GT(mean_reward(ran, 70), 0.85);
  for (const StepReport& report : ran.reports) {
    EXPECT_EQ(report.figures.at("clipped"), 0) << "what was drawn a moment ago is as likely as then";
    EXPECT_LE(report.figures.at("length"), 8 + 1e-9);
  }
}

// What is written is what the model has become: nothing of an earlier step's weights is left in the engine.
TEST(Run, WritesWhatIsRewardedWhereTheModelItselfIsTrained) {
  const Ran ran = run({.steps = 80, .rate = 0.005, .dropout = 0, .rewards = true, .in_full = true});
  EXPECT_NEAR(mean_reward(ran, 0), 0.5, 0.2);
  EXPECT_GT(mean_reward(ran, 70), 0.85);
  for (const StepReport& report : ran.reports) EXPECT_EQ(report.figures.at("clipped"), 0);
  try {
    run({.steps = 1, .dropout = 0, .rewards = true, .beta = 0.1, .in_full = true});
    FAIL();
  } catch (const std::runtime_error& problem) {
    EXPECT_THAT(problem.what(), testing::HasSubstr("nothing is left of it to be a reference"));
  }
}

TEST(Run, StaysNearTheModelWhereItIsPulled) {
  const Ran free = run({.steps = 40, .dropout = 0, .rewards = true}),
            pulled = run({.steps = 40, .dropout = 0, .rewards = true, .beta = 1});
  EXPECT_EQ(free.reports.back().figures.at("divergence"), 0) << "nobody asked";
  EXPECT_NEAR(pulled.reports.front().figures.at("divergence"), 0, 1e-9);
  EXPECT_GT(pulled.reports.back().figures.at("divergence"), 0.001);
  EXPECT_LT(mean_reward(pulled, 30), mean_reward(free, 30));
}

// What is drawn depends on no rank; sums over ranks differ by rounding, which a draw may notice in the end.
TEST(Run, WritesTheSameOverRanks) {
  const Ran alone = run({.steps = 8, .rate = 0.002, .dropout = 0, .rewards = true, .beta = 0.1});
  for (const RanksSetting& ranks : {RanksSetting{2, 1}, RanksSetting{3, 1}, RanksSetting{1, 2}, RanksSetting{2, 2}}) {
    const Ran over = run({.ranks = ranks, .steps = 8, .rate = 0.002, .dropout = 0, .rewards = true, .beta = 0.1});
    for (std::size_t i = 0; i < 8; ++i) {
      ASSERT_NEAR(over.reports[i].loss, alone.reports[i].loss, 1e-4)
          << i << ", " << ranks.data << " × " << ranks.tensor;
      ASSERT_NEAR(over.reports[i].figures.at("reward"), alone.reports[i].figures.at("reward"), 1e-9) << i;
    }
  }
}

TEST(Run, GoesOnAsIfItHadNeverStopped) {
  for (const std::string aim : {"text", "pair", "reward"})
    for (const RanksSetting& ranks : {RanksSetting{}, RanksSetting{2, 2}, RanksSetting{3, 1}}) {
      Setting setting{.ranks = ranks, .prefers = aim == "pair", .rewards = aim == "reward"};
      const Ran whole = run(setting);
      EXPECT_EQ(whole.kept.back(), whole.state);
      if (ranks.data * ranks.tensor > 1) continue;  // of several ranks one rank's state is looked at, below
      for (const std::int64_t after : {0, 7, 23}) {
        setting.end_after = after;
        const Ran first = run(setting);
        EXPECT_EQ(first.end.why, RunEnd::Why::kAsked);
        EXPECT_EQ(first.state.step, after + 1);
        Setting rest = setting;
        rest.end_after = -1;
        rest.from = first.kept.back();
        EXPECT_EQ(run(rest).state, whole.state) << "ended after step " << after;
      }
    }
}

TEST(Run, HasTheSameLossOverRanks) {
  for (const bool prefers : {false, true}) {
    const Ran alone = run({.steps = 200, .rate = 0.002, .prefers = prefers});
    for (const RanksSetting& ranks : {RanksSetting{2, 1}, RanksSetting{4, 1}, RanksSetting{1, 2}, RanksSetting{2, 2}}) {
      const Ran over = run({.ranks = ranks, .steps = 200, .rate = 0.002, .prefers = prefers});
      for (std::size_t i = 0; i < 200; ++i)
        ASSERT_NEAR(over.reports[i].loss, alone.reports[i].loss, 1e-4)
            << i << ", " << ranks.data << " × " << ranks.tensor;
    }
  }
}

/// At given steps a loss is what it is not: after those of the real aim.
class Disturbed : public Aim {
 public:
  Disturbed(std::unique_ptr<Aim> aim, std::map<std::int64_t, float> factors)
      : aim_(std::move(aim)), factors_(std::move(factors)) {}
  std::vector<std::int64_t> lengths() const override { return aim_->lengths(); }
  int texts_each() const override { return aim_->texts_each(); }
  bool has_reference() const override { return false; }
  Figures figures() const override { return aim_->figures(); }
  Result<std::vector<Unit>> begin(const StepItems& items) override {
    ++begun_;
    return aim_->begin(items);
  }
  double judge(const Unit& unit, std::span<const Outcome> outcomes, std::span<const std::vector<float>> references,
               Figures& figures) override {
    const double loss = aim_->judge(unit, outcomes, references, figures);
    const auto factor = factors_.find(begun_ - 1);
    if (factor == factors_.end()) return loss;
    for (float& derivative : outcomes[0].derivatives) derivative *= factor->second;
    return loss * static_cast<double>(factor->second);
  }

 private:
  std::unique_ptr<Aim> aim_;
  std::map<std::int64_t, float> factors_;  ///< by the number of steps that were begun
  std::int64_t begun_ = 0;
};

Setting disturbed(std::map<std::int64_t, float> factors) {
  Setting setting;
  setting.steps = 60;
  setting.aim = [=](std::int64_t vocab) { return std::make_unique<Disturbed>(texts(0, 20, vocab), factors); };
  return setting;
}

TEST(Run, SkipsAStepWhoseGradientIsNoNumber) {
  for (const RanksSetting& ranks : {RanksSetting{}, RanksSetting{2, 1}}) {
    Setting setting = disturbed({{5, NAN}, {6, INFINITY}});
    setting.ranks = ranks;
    const Ran ran = run(setting);
    EXPECT_EQ(ran.end.why, RunEnd::Why::kDone);
    EXPECT_EQ(ran.reports[5].verdict.deed, Deed::kSkip);
    EXPECT_EQ(ran.reports[6].verdict.deed, Deed::kSkip);
    EXPECT_EQ(ran.state.updates, 58);
    EXPECT_LT(ran.reports.back().loss, 0.6 * ran.reports.front().loss);
    for (const float value : ran.state.values) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(Run, EndsWithItsReasonWhereNothingIsANumberAnyMore) {
  std::map<std::int64_t, float> factors;
  for (int i = 10; i < 60; ++i) factors[i] = NAN;
  const Ran ran = run(disturbed(factors));
  EXPECT_EQ(ran.end.why, RunEnd::Why::kFailed);
  EXPECT_EQ(ran.end.failure, Failure::kNan);
  EXPECT_FALSE(ran.end.reason.empty());
  EXPECT_EQ(ran.kept.back().step, 10) << "the last good state stays";
}

TEST(Run, GoesBackFromASpikeWithALowerRate) {
  const Ran ran = run(disturbed({{45, 1000.0F}}));
  EXPECT_EQ(ran.end.why, RunEnd::Why::kDone);
  EXPECT_EQ(ran.reports[45].verdict.deed, Deed::kRollBack);
  EXPECT_EQ(ran.reports[46].step, 40) << "the last state that was kept";
  EXPECT_NEAR(ran.reports[46].rate, 0.5 * ran.reports[40].rate, 1e-12);
  EXPECT_EQ(ran.reports[46].loss, ran.reports[40].loss) << "nothing of the spike is left";
  EXPECT_EQ(ran.state.stability.rollbacks, 1);
}

TEST(Run, ScalesTheLossOfFp16) {
  Setting setting{.steps = 60, .scales_loss = true};
  setting.ranks.formats = DType::kFp16;
  const Ran ran = run(setting);
  EXPECT_LT(ran.reports.back().loss, 0.6 * ran.reports.front().loss);
  // 65,536 times the gradient of this loss is more than fp16 holds; a few halvings later it is not.
  EXPECT_LT(ran.state.updates, 61);
  EXPECT_GT(ran.state.updates, 40);
}

}  // namespace
}  // namespace orch::train
