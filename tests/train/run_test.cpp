// Whole runs: they learn, end, skip, go back, and go on as if they had never stopped.
#include "train/run.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>

#include "support/families.h"
#include "train/generation.h"
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
std::unique_ptr<Aim> rewarded(infer::Engine& engine, const Parameters& parameters, std::int64_t vocab, double beta,
                              const std::function<void(RewardRules&)>& change) {
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
  if (change) change(rules);
  return make_reward_aim(engine, parameters, std::move(prompts), std::move(rules));
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
  std::string kept() const override { return aim_->kept(); }
  Result<bool> go_on_from(const std::string& kept) override { return aim_->go_on_from(kept); }
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
  Turns turns{};  ///< of what it writes
  std::function<void(RewardRules&)> reward{};
  std::map<std::int64_t, float> factors{};  ///< of Disturbed
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
    rules.turns = setting.turns;
    const auto reward = [&](RewardRules& to) {
      to.turns = setting.turns;
      if (setting.reward) setting.reward(to);
    };
    auto aim = setting.rewards   ? rewarded(engine, *parameters, vocab, setting.beta, reward)
               : setting.aim     ? setting.aim(vocab)
               : setting.prefers ? pairs(0, 20, vocab, {})
                                 : texts(0, 20, vocab);
    if (!setting.factors.empty()) aim = std::make_unique<Disturbed>(std::move(aim), setting.factors);
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

/// What is written for a batch is learnt from in six steps, with bounds that these leave.
Setting several() {
  Setting setting{.steps = 18, .dropout = 0, .rewards = true, .turns = {2, 3}};
  setting.reward = [](RewardRules& rules) { rules.grpo.epsilon_low = rules.grpo.epsilon_high = 0.05; };
  return setting;
}

TEST(Run, LearnsFromWhatItWroteInSeveralSteps) {
  Setting setting = several();
  setting.steps = 180;
  std::int64_t asked = 0, completions = 0;
  setting.reward = [&](RewardRules& rules) {
    several().reward(rules);
    rules.rewards = [&, rewards = rules.rewards](std::span<const Completed> completed) {
      ++asked;
      completions += static_cast<std::int64_t>(completed.size());
      return rewards(completed);
    };
  };
  const Ran ran = run(setting);
  // Thirty batches of 6 prompts with 6 completions each; a step has half of them.
  EXPECT_EQ(asked, 30);
  EXPECT_EQ(completions, 30 * 36);
  EXPECT_GT(mean_reward(ran, 170), mean_reward(ran, 0) + 0.1);
  double later = 0;
  for (const StepReport& report : ran.reports) {
    if (report.step % 6 == 0)
      EXPECT_EQ(report.figures.at("clipped"), 0) << "the model is still the one that wrote";
    else
      later += report.figures.at("clipped");
  }
  EXPECT_GT(later, 1.5) << "in the other 150 steps: a hundredth of all tokens at least";
  // The same half comes again: what was rewarded then is rewarded now.
  for (std::size_t i = 0; i + 2 < 6; ++i)
    EXPECT_EQ(ran.reports[i].figures.at("reward"), ran.reports[i + 2].figures.at("reward"));
  EXPECT_NE(ran.reports[0].figures.at("reward"), ran.reports[1].figures.at("reward"));
  EXPECT_NE(ran.reports[0].loss, ran.reports[2].loss) << "but the model is another";
}

// At a ratio of 1 each token costs its advantage, whatever its probability is. The halves of a batch are divided by its
// tokens over two, as TRL has it, so both together cost twice the mean over all tokens.
TEST(Run, OfItsFirstStepsCostsTheAdvantagesOverAllTokens) {
  Setting setting = several();
  setting.rate = 0;
  setting.steps = 2;
  std::vector<double> rewards;
  std::vector<std::size_t> lengths;
  setting.reward = [&](RewardRules& rules) {
    rules.scaling = Scaling::kBatch;
    rules.rewards = [&, given = rules.rewards](std::span<const Completed> completed) {
      for (const Completed& one : completed) lengths.push_back(one.tokens.size());
      auto made = given(completed);
      rewards = *made;
      return made;
    };
  };
  const Ran ran = run(setting);
  ASSERT_EQ(rewards.size(), 36U);
  double mean = 0, squares = 0, sum = 0, tokens = 0;
  for (const double reward : rewards) mean += reward / 36;
  for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
  for (std::size_t i = 0; i < 36; ++i) {
    double of_group = 0;
    for (std::size_t other = i / 6 * 6; other < i / 6 * 6 + 6; ++other) of_group += rewards[other] / 6;
    const auto length = static_cast<double>(lengths[i]);
    sum -= length * (rewards[i] - of_group) / (std::sqrt(squares / 35) + 1e-4);
    tokens += length;
  }
  EXPECT_NEAR(ran.reports[0].loss + ran.reports[1].loss, sum / (tokens / 2), 1e-5);
}

// Every token below 40 ends a completion, so most have fewer than the 8 that they might have. A prompt has 3.
TEST(Run, CountsTheTokensThatWereWritten) {
  for (const int copies : {1, 2}) {
    for (const Turns turns : {Turns{}, Turns{2, 1}}) {
      Setting setting{.steps = 2, .rate = 0, .dropout = 0, .rewards = true, .turns = turns};
      setting.ranks.data = copies;
      std::mutex mutex;
      double written = 0;
      setting.reward = [&](RewardRules& rules) {
        for (std::int32_t token = 1; token < 40; ++token) rules.ends.push_back(token);
        rules.rewards = [&, given = rules.rewards](std::span<const Completed> completed) {
          const std::lock_guard lock(mutex);
          for (const Completed& one : completed) written += 3 + static_cast<double>(one.tokens.size());
          return given(completed);
        };
      };
      const Ran ran = run(setting);
      EXPECT_GT(written, 0);
      EXPECT_LT(written, 0.8 * 36 * 11 * static_cast<double>(turns.parts == 1 ? 2 : 1));
      EXPECT_EQ(static_cast<double>(ran.reports[0].tokens + ran.reports[1].tokens), written);
    }
  }
}

TEST(Run, LearnsTheSameInSeveralStepsOverRanks) {
  Setting setting = several();
  setting.rate = 0.002;
  setting.beta = 0.1;
  const Ran alone = run(setting);
  for (const RanksSetting& ranks : {RanksSetting{2, 1}, RanksSetting{3, 1}, RanksSetting{1, 2}, RanksSetting{2, 2}}) {
    setting.ranks = ranks;
    const Ran over = run(setting);
    for (std::size_t i = 0; i < 18; ++i) {
      ASSERT_NEAR(over.reports[i].loss, alone.reports[i].loss, 1e-4)
          << i << ", " << ranks.data << " × " << ranks.tensor;
      ASSERT_NEAR(over.reports[i].figures.at("reward"), alone.reports[i].figures.at("reward"), 1e-9) << i;
    }
    EXPECT_EQ(over.state.written, alone.state.written);
  }
}

void expect_going_on(Setting setting) {
  const Ran whole = run(setting);
  for (std::int64_t after = 0; after < 8; ++after) {
    setting.end_after = after;
    const Ran first = run(setting);
    EXPECT_EQ(first.state.step, after + 1);
    EXPECT_EQ(first.state.written.empty(), after == 5) << "behind the last step of a batch nothing is left of it";
    Setting rest = setting;
    rest.end_after = -1;
    rest.from = first.kept.back();
    std::int64_t asked = 0;
    rest.reward = [&](RewardRules& rules) {
      several().reward(rules);
      rules.rewards = [&, rewards = rules.rewards](std::span<const Completed> completed) {
        ++asked;
        return rewards(completed);
      };
    };
    EXPECT_EQ(run(rest).state, whole.state) << "ended after step " << after;
    EXPECT_EQ(asked, after < 5 ? 2 : after == 5 ? 2 : 1) << "nothing is rewarded twice";
  }
}

TEST(Run, GoesOnBetweenStepsThatLearnFromTheSame) {
  Setting setting = several();
  setting.dropout = 0.1F;
  expect_going_on(setting);
}

TEST(Run, GoesOnBetweenStepsThatLearnFromTheSameWhereTheModelItselfIsTrained) {
  Setting setting = several();
  setting.rate = 0.005;
  setting.in_full = true;
  expect_going_on(setting);
}

// 36 completions over 50 steps.
TEST(Run, HasStepsThatLearnNothingWhereThereAreFewerCompletionsThanParts) {
  Setting setting = several();
  setting.turns = {50, 1};
  setting.steps = 50;
  const Ran ran = run(setting);
  EXPECT_EQ(ran.end.why, RunEnd::Why::kDone);
  const auto with_none = std::count_if(ran.reports.begin(), ran.reports.end(),
                                       [](const StepReport& report) { return report.figures.at("length") == 0; });
  EXPECT_EQ(with_none, 14);
  for (const StepReport& report : ran.reports) EXPECT_TRUE(std::isfinite(report.loss)) << report.step;
}

// The layout may change between two of these steps, too.
TEST(Run, GoesOnOverOtherRanksBetweenStepsThatLearnFromTheSame) {
  Setting setting = several();
  setting.rate = 0.002;
  const Ran whole = run(setting);
  setting.end_after = 2;
  const Ran first = run(setting);
  setting.end_after = -1;
  setting.from = first.kept.back();
  setting.ranks = {3, 1};
  const Ran rest = run(setting);
  ASSERT_EQ(rest.reports.size(), 15U);
  for (std::size_t i = 0; i < 15; ++i) ASSERT_NEAR(rest.reports[i].loss, whole.reports[i + 3].loss, 1e-4) << i;
}

TEST(Run, RefusesAStateThatLacksWhatWasWritten) {
  Setting setting = several();
  setting.end_after = 2;
  RunState state = run(setting).kept.back();
  const auto refusal = [&](std::string written) {
    state.written = std::move(written);
    setting.from = state;
    try {
      run(setting);
      return std::string();
    } catch (const std::runtime_error& problem) {
      return std::string(problem.what());
    }
  };
  const std::string good = state.written;
  EXPECT_THAT(refusal(""), testing::HasSubstr("lacks what that is"));
  EXPECT_THAT(refusal(good.substr(0, good.size() - 1)), testing::HasSubstr("is broken"));
  EXPECT_THAT(refusal(good + good), testing::HasSubstr("is broken")) << "each completion is there twice";
  const Generated stranger{.number = 12 * 6};
  EXPECT_THAT(refusal(pack_generation(std::span(&stranger, 1))), testing::HasSubstr("is for other prompts"));
}

// The last state that was kept, behind step 10, lies between two steps of the second batch.
TEST(Run, GoesBackFromASpikeToWhatWasWrittenThen) {
  Setting setting = several();
  setting.steps = 54;
  setting.factors = {{45, 1000.0F}};
  const Ran ran = run(setting);
  EXPECT_EQ(ran.end.why, RunEnd::Why::kDone);
  ASSERT_EQ(ran.reports[45].verdict.deed, Deed::kRollBack);
  EXPECT_EQ(ran.reports[46].step, 40) << "the last state that was kept, in the middle of a batch";
  EXPECT_EQ(ran.reports[46].loss, ran.reports[40].loss);
  EXPECT_EQ(ran.reports[46].figures, ran.reports[40].figures);
}

TEST(Run, WritesAsItIsToldTo) {
  // What a prompt of the first batch is completed with, and whether all its completions are one.
  const auto written = [](const infer::Sampling& sampling) {
    Setting setting{.steps = 1, .dropout = 0, .rewards = true};
    std::vector<std::vector<std::int32_t>> all;
    setting.reward = [&](RewardRules& rules) {
      rules.sampling = sampling;
      rules.rewards = [&, rewards = rules.rewards](std::span<const Completed> completed) {
        for (const Completed& one : completed) all.emplace_back(one.tokens.begin(), one.tokens.end());
        return rewards(completed);
      };
    };
    run(setting);
    return all;
  };
  const auto distinct = [](const std::vector<std::vector<std::int32_t>>& all) {
    std::size_t count = 0;
    for (std::size_t from = 0; from < all.size(); from += 6)
      count +=
          std::set(all.begin() + static_cast<std::ptrdiff_t>(from), all.begin() + static_cast<std::ptrdiff_t>(from) + 6)
              .size();
    return count;
  };
  const auto usual = written({1, 1, 0, 0});
  ASSERT_EQ(usual.size(), 36U);
  EXPECT_GT(distinct(usual), 30U) << "of a random model";
  EXPECT_EQ(distinct(written({1, 1, 1, 0})), 6U) << "the likeliest token alone";
  EXPECT_EQ(distinct(written({1, 1e-6F, 0, 0})), 6U);
  EXPECT_EQ(distinct(written({1e-4F, 1, 0, 0})), 6U);
  EXPECT_NE(written({0.5F, 1, 0, 0}), usual);
  EXPECT_NE(written({1, 0.5F, 0, 0}), usual);
  EXPECT_EQ(written({1, 1, 0, 99}), usual) << "the seed is the rules'";
}

// What an update is worth depends on the temperature: the gradient of log softmax(z / t) is 1 / t of that of a softmax
// of z / t by z. Nothing but the logits is divided: at a temperature far above all logits each token is as likely as
// any.
TEST(Run, LooksAtTheTemperatureThatItWritesAt) {
  for (const bool pulled : {false, true}) {
    Setting setting{.steps = 1, .rate = 0, .dropout = 0, .rewards = true, .beta = pulled ? 0.5 : 0};
    setting.reward = [](RewardRules& rules) { rules.sampling.temperature = 1000; };
    const Ran ran = run(setting);
    setting.reward = nullptr;
    const Ran usual = run(setting);
    EXPECT_LT(ran.reports[0].norm, 0.05 * usual.reports[0].norm);
    EXPECT_GT(ran.reports[0].norm, 0);
    EXPECT_NEAR(ran.reports[0].figures.at("divergence"), 0, 1e-9) << "the reference is looked at with it, too";
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

Setting disturbed(std::map<std::int64_t, float> factors) {
  Setting setting;
  setting.steps = 60;
  setting.factors = std::move(factors);
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
