// Reading a policy: the shipped files hold what they say they hold, and whatever is wrong in a file is said where it
// stands.
#include "policy/policy.h"

#include <gmock/gmock.h>

#include "policy/json.h"
#include "policy/read.h"
#include "policy/remedy.h"

namespace orch::policy {
namespace {

using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Pair, testing::SizeIs,
    testing::UnorderedElementsAre;

// --- The shipped policies. The numbers are the tournament strategy's, as its text states them. ---

TEST(Policy, TournamentHasTheSixWeightsOfTheStrategy) {
  EXPECT_THAT(shipped("tournament").weights, ElementsAre(0.35, 0.25, 0.20, 0.10, 0.05, 0.05));
}

TEST(Policy, TournamentHasTheFourTaskTypesOfTheStrategyAndNoOther) {
  const Policy policy = shipped("tournament");
  EXPECT_THAT(policy.task_types, UnorderedElementsAre(Pair("instruct_text", 0.35), Pair("grpo", 0.30),
                                                      Pair("image", 0.20), Pair("dpo", 0.15)));
  EXPECT_EQ(policy.other_task_type, 0);
}

TEST(Policy, TournamentHasTheSevenFamilyRatesOfTheStrategyAndNoOther) {
  const Policy policy = shipped("tournament");
  EXPECT_THAT(policy.families,
              UnorderedElementsAre(Pair("llama", 0.95), Pair("mistral", 0.90), Pair("qwen", 0.85), Pair("gemma", 0.80),
                                   Pair("phi", 0.75), Pair("codellama", 0.90), Pair("deepseek", 0.85)));
  EXPECT_EQ(policy.other_family, 0);
  EXPECT_THAT(policy.success_priors, IsEmpty());
}

TEST(Policy, TournamentHasTheFiveAcceptanceCriteria) {
  const Policy policy = shipped("tournament");
  EXPECT_THAT(policy.acceptance.task_types, UnorderedElementsAre("instruct_text", "grpo", "image"));
  EXPECT_THAT(policy.acceptance.families,
              UnorderedElementsAre("llama", "mistral", "qwen", "gemma", "phi", "codellama", "deepseek"));
  EXPECT_EQ(policy.acceptance.max_duration, 20 * 3600.0);
  EXPECT_EQ(policy.acceptance.min_score, 0.45);
  EXPECT_EQ(policy.per_sweep.max_jobs, 12);
  EXPECT_EQ(policy.per_user.max_jobs, 12);
}

TEST(Policy, TournamentHasTheStrategysTournamentRules) {
  const auto rules = shipped("tournament").tournament;
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->text_weight, 0.60);
  EXPECT_EQ(rules->image_weight, 0.40);
  EXPECT_EQ(rules->bonus_per_entry, 0.05);
  EXPECT_EQ(rules->bonus_most, 0.25);
  EXPECT_EQ(rules->boss_margin, 0.08);
  EXPECT_EQ(rules->best_of, 3);
}

TEST(Policy, DefaultKeepsWeightsAndRatingsOfTheTournament) {
  const Policy seed = shipped("tournament"), policy = shipped("default");
  EXPECT_EQ(policy.weights, seed.weights);
  for (const auto& [type, weight] : seed.task_types) EXPECT_EQ(policy.task_types.at(type), weight) << type;
  for (const auto& [family, rating] : seed.families) EXPECT_EQ(policy.families.at(family), rating) << family;
}

TEST(Policy, DefaultAcceptsEverythingAndLimitsNothing) {
  const Policy policy = shipped("default");
  EXPECT_THAT(policy.acceptance.task_types, IsEmpty());
  EXPECT_THAT(policy.acceptance.families, IsEmpty());
  EXPECT_FALSE(policy.acceptance.max_duration);
  EXPECT_FALSE(policy.acceptance.min_score);
  for (const Limits& limits : {policy.per_user, policy.per_sweep}) {
    EXPECT_FALSE(limits.max_jobs);
    EXPECT_FALSE(limits.max_gpus);
    EXPECT_FALSE(limits.gpu_hours);
    EXPECT_FALSE(limits.max_queued);
  }
}

TEST(Policy, DefaultRatesWhatTheTournamentDoesNotNoHigherThanTheLowestItRates) {
  const Policy policy = shipped("default");
  for (const char* family :
       {"falcon", "dbrx", "xverse", "granite", "alia", "gpt_sw3", "internvl", "llava", "evo2", "sdxl", "flux"}) {
    ASSERT_TRUE(policy.families.contains(family)) << family;
    EXPECT_EQ(policy.families.at(family), 0.75) << family;
  }
  // (0.35 + 0.30 + 0.20 + 0.15) / 4
  for (const char* type :
       {"eval_knowledge", "eval_reasoning", "eval_math", "eval_code", "eval_function_calling", "eval_multimodal"})
    EXPECT_EQ(policy.task_types.at(type), 0.25) << type;
}

TEST(Policy, AllShippedOnesTargetThreeQuartersOfAGpuAndNeverMoreThanNineTenths) {
  for (const char* name : {"default", "tournament", "fastest"}) {
    const Planning planning = shipped(name).planning;
    EXPECT_EQ(planning.memory_low, 0.75) << name;
    EXPECT_EQ(planning.memory_high, 0.85) << name;
    EXPECT_EQ(planning.memory_most, 0.90) << name;
    EXPECT_EQ(planning.prefer,
              name == std::string("fastest") ? Planning::Prefer::kFastest : Planning::Prefer::kSmallest);
  }
}

TEST(Policy, AllShippedOnesHaveALadderForEveryCauseThatEndsWithGivingUp) {
  for (const char* name : {"default", "tournament", "fastest"}) {
    const Policy policy = shipped(name);
    for (Cause cause : kCauses) {
      ASSERT_TRUE(policy.remedies.contains(cause)) << name << " " << name_of(cause);
      EXPECT_EQ(policy.remedies.at(cause).back().remedy, Remedy::kGiveUp) << name << " " << name_of(cause);
    }
  }
}

// --- Reading ---

TEST(Policy, SmallestWholeOneIsReadWithoutAWord) {
  const Reading reading = read_text(small_policy());
  ASSERT_TRUE(reading.policy);
  EXPECT_THAT(reading.diagnostics.errors(), IsEmpty());
  EXPECT_THAT(reading.diagnostics.warnings(), IsEmpty());
  EXPECT_EQ(reading.policy->name, "small");
  EXPECT_EQ(reading.policy->time_horizon, 72'000);
  EXPECT_EQ(reading.policy->drain_signal, 120);
  EXPECT_EQ(reading.policy->planning.time_least, 600);
  EXPECT_EQ(reading.policy->planning.backfill, 14'400);
  EXPECT_FALSE(reading.policy->tournament);
  EXPECT_EQ(reading.policy->source, (Place{"p.yaml", 1, 1}));
}

// What a file leaves out of the thresholds and of `training` is what default.yaml says.
TEST(Policy, LeftOutThresholdsAndTrainingAreThoseOfTheShippedPolicies) {
  const Reading reading = read_text(small_policy());
  ASSERT_TRUE(reading.policy);
  for (const char* name : {"default", "tournament", "fastest"}) {
    for (const Change& change : changes(*reading.policy, shipped(name))) {
      EXPECT_FALSE(change.key.starts_with("training.")) << name << ": " << change.key;
      if (change.key != "planning.prefer")
        EXPECT_FALSE(change.key.starts_with("planning.")) << name << ": " << change.key;
    }
  }
}

TEST(Policy, TrainingIsSeed003sTableAndAdjustments) {
  const Training training = shipped("default").training;
  const auto row = [&](SizeClass size) {
    const AdapterRow it = training.row(size);
    return std::tuple(it.rank, it.alpha, it.dropout, it.learning_rate, it.batch_size, it.accumulation);
  };
  EXPECT_EQ(row(SizeClass::kSmall), std::tuple(256, 64, 0.05, 4e-4, 16, 1));
  EXPECT_EQ(row(SizeClass::kMedium), std::tuple(512, 128, 0.1, 3e-4, 8, 2));
  EXPECT_EQ(row(SizeClass::kLarge), std::tuple(1024, 256, 0.15, 2e-4, 4, 4));
  EXPECT_EQ(row(SizeClass::kXLarge), std::tuple(2048, 512, 0.2, 1e-4, 2, 8));
  // Instruct text + 40 % and + 20 %, GRPO + 60 % and − 15 %, image + 50 % and + 15 %.
  const auto factors = [&](const char* type) {
    return std::pair(training.factors(type).rank, training.factors(type).learning_rate);
  };
  EXPECT_EQ(factors("instruct_text"), std::pair(1.4, 1.2));
  EXPECT_EQ(factors("grpo"), std::pair(1.6, 0.85));
  EXPECT_EQ(factors("image"), std::pair(1.5, 1.15));
  EXPECT_EQ(factors("dpo"), std::pair(1.0, 1.0));
}

TEST(Policy, ThresholdsAndTrainingAreRead) {
  const Reading reading = read_text(
      with(small_policy(), "backfill: 4h",
           "backfill: 4h, piece_least: 5min, load_worth: 0.3, idle_load_worth: 0.4, idle_worth: 0.1, small_gpus: 4, "
           "batch_least: 16, rate_least: 20, efficiency_worth: 2, own_use_worth: 3, command_time: 30min") +
      "training:\n"
      "  sizes:\n"
      "    small: {rank: 8, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
      "    medium: {rank: 9, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
      "    large: {rank: 10, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
      "    xlarge: {rank: 11, alpha: 16, dropout: 0.5, learning_rate: 2e-3, batch_size: 4, accumulation: 5}\n"
      "  tasks: {grpo: {rank: 2, learning_rate: 0.5}}\n"
      "  full_rate: 0.2\n"
      "  sequence: 4096\n"
      "  ema_decay: 0\n");
  ASSERT_TRUE(reading.policy) << reading.diagnostics.errors().front().what;
  const Planning& planning = reading.policy->planning;
  EXPECT_EQ(planning.piece_least, 300);
  EXPECT_EQ(planning.load_worth, 0.3);
  EXPECT_EQ(planning.idle_load_worth, 0.4);
  EXPECT_EQ(planning.idle_worth, 0.1);
  EXPECT_EQ(planning.small_gpus, 4);
  EXPECT_EQ(planning.batch_least, 16);
  EXPECT_EQ(planning.rate_least, 20);
  EXPECT_EQ(planning.efficiency_worth, 2);
  EXPECT_EQ(planning.own_use_worth, 3);
  EXPECT_EQ(planning.command_time, 1800);
  const Training& training = reading.policy->training;
  EXPECT_EQ(training.row(SizeClass::kSmall).rank, 8);
  EXPECT_EQ(training.row(SizeClass::kXLarge).rank, 11);
  EXPECT_EQ(training.row(SizeClass::kXLarge).alpha, 16);
  EXPECT_EQ(training.row(SizeClass::kXLarge).dropout, 0.5);
  EXPECT_EQ(training.row(SizeClass::kXLarge).learning_rate, 2e-3);
  EXPECT_EQ(training.row(SizeClass::kXLarge).batch_size, 4);
  EXPECT_EQ(training.row(SizeClass::kXLarge).accumulation, 5);
  EXPECT_EQ(training.factors("grpo").rank, 2);
  EXPECT_EQ(training.factors("image").rank, 1) << "a list of tasks is the whole list";
  EXPECT_EQ(training.full_rate, 0.2);
  EXPECT_EQ(training.sequence, 4096);
  EXPECT_EQ(training.ema_decay, 0);
}

TEST(Policy, LimitsAreReadForUsersAndSweepsApart) {
  const Reading reading =
      read_text(small_policy() +
                "limits: {per_user: {jobs: 3, gpus: 16, gpu_hours: 99.5, queued: 7}, per_sweep: {gpu_hours: 0}}\n");
  ASSERT_TRUE(reading.policy);
  const Limits& user = reading.policy->per_user;
  EXPECT_EQ(user.max_jobs, 3);
  EXPECT_EQ(user.max_gpus, 16);
  EXPECT_EQ(user.gpu_hours, 99.5);
  EXPECT_EQ(user.max_queued, 7);
  EXPECT_FALSE(reading.policy->per_sweep.max_jobs);
  EXPECT_EQ(reading.policy->per_sweep.gpu_hours, 0);
}

TEST(Policy, BudgetsOfAUserAreRenewedInANamedZone) {
  const Reading reading =
      read_text(small_policy() +
                "limits: {time_zone: Europe/Stockholm, per_user: {gpu_hours: 9, per: week}, per_sweep: {jobs: 1}}\n");
  ASSERT_TRUE(reading.policy);
  EXPECT_EQ(reading.policy->per_user.per, Period::kWeek);
  EXPECT_EQ(reading.policy->per_sweep.per, Period::kEver);
  EXPECT_EQ(reading.policy->zone.name(), "Europe/Stockholm");
  EXPECT_EQ(read_text(small_policy()).policy->zone.name(), "UTC");
}

TEST(Policy, RetentionIsReadKindByKindAndKeepsWhatItDoesNotName) {
  const Reading reading = read_text(small_policy() + "retention: {logs: 2h, samples: 1d, checkpoints: 3h}\n");
  ASSERT_TRUE(reading.policy);
  EXPECT_EQ(reading.policy->retention.logs, 7200);
  EXPECT_EQ(reading.policy->retention.samples, 86400);
  EXPECT_EQ(reading.policy->retention.checkpoints, 10800);
  EXPECT_FALSE(reading.policy->retention.spools);
  EXPECT_FALSE(read_text(small_policy()).policy->retention.logs);
}

TEST(Policy, RungsAreReadInTheirThreeForms) {
  const Reading reading = read_text(small_policy());
  ASSERT_TRUE(reading.policy);
  const auto& memory = reading.policy->remedies.at(Cause::kGpuMemory);
  ASSERT_THAT(memory, SizeIs(3));
  EXPECT_EQ(memory[0].remedy, Remedy::kSmallerBatch);
  EXPECT_EQ(memory[0].times, 2);
  EXPECT_EQ(memory[0].factor, 0.5);
  EXPECT_EQ(memory[1].remedy, Remedy::kInt8);
  EXPECT_EQ(memory[1].times, 1);
  EXPECT_EQ(reading.policy->remedies.at(Cause::kNodeFailure)[0].times, 1);
  EXPECT_EQ(reading.policy->remedies.at(Cause::kPreempted)[0].times, 3);
}

TEST(Policy, WeightsThatMissOneByLessThanABillionthAreTaken) {
  EXPECT_TRUE(read_text(with(small_policy(), "task_weight: 0.35", "task_weight: 0.3500000005")).policy);
  EXPECT_FALSE(read_text(with(small_policy(), "task_weight: 0.35", "task_weight: 0.350000002")).policy);
}

// --- Bad input. `@` stands in front of what the message must point at; it is taken out before the text is read. ---

struct Bad {
  const char* part;  ///< of the small policy
  const char* instead;
  const char* message;  ///< whole
};

class PolicyBadInput : public testing::TestWithParam<Bad> {};

TEST_P(PolicyBadInput, IsRefusedAtItsPlace) {
  std::string text = with(small_policy(), GetParam().part, GetParam().instead);
  const std::size_t mark = text.find('@');
  ASSERT_NE(mark, std::string::npos);
  text.erase(mark, 1);
  const std::size_t line_start = mark == 0 ? 0 : text.rfind('\n', mark - 1) + 1;
  const int line =
      1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(mark), '\n'));
  const int column = static_cast<int>(mark - line_start) + 1;
  const Reading reading = read_text(text);
  EXPECT_FALSE(reading.policy);
  ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1)) << text;
  const Problem problem = reading.diagnostics.errors().front();
  EXPECT_EQ(problem.what, GetParam().message);
  EXPECT_EQ(to_string(problem.place), "p.yaml:" + std::to_string(line) + ":" + std::to_string(column));
}

constexpr char kRemediesOfBadInput[] = "'int8' does not help against 'bad_input'; its ladder may hold give_up";

INSTANTIATE_TEST_SUITE_P(
    Numbers, PolicyBadInput,
    testing::Values(
        Bad{"{task_weight: 0.35", "@{task_weight: 0.30", "the weights sum to 0.95; they must sum to 1"},
        Bad{"{task_weight: 0.35", "@{task_weight: 0.350000002", "the weights sum to 1.000000002; they must sum to 1"},
        Bad{"task_weight: 0.35", "task_weight: @-0.35",
            "'task_weight' must be a number from 0 to 1, found the number -0.35"},
        Bad{"task_weight: 0.35", "task_weight: @.nan",
            "'task_weight' must be a number from 0 to 1, found the text '.nan'"},
        Bad{"task_weight: 0.35", "task_weight: @nan",
            "'task_weight' must be a number from 0 to 1, found the text 'nan'"},
        Bad{"task_weight: 0.35", "task_weight: @.inf",
            "'task_weight' must be a number from 0 to 1, found the text '.inf'"},
        Bad{"task_weight: 0.35", "task_weight: @\"0.35\"",
            "'task_weight' must be a number from 0 to 1, found the text '0.35'"},
        Bad{"grpo: 0.3", "grpo: @1.3", "'grpo' must be a number from 0 to 1, found the number 1.3"},
        Bad{"grpo: 0.3", "grpo: @-0.001", "'grpo' must be a number from 0 to 1, found the number -0.001"},
        Bad{"llama: 0.9", "llama: @.nan", "'llama' must be a number from 0 to 1, found the text '.nan'"},
        Bad{"llama: 0.9", "llama: @[0.9]", "'llama' must be a number from 0 to 1, found a list"},
        Bad{"strength: 10", "strength: @-1", "'strength' must be a number from 0 to 1000000, found the number -1"},
        Bad{"horizon: 20h", "horizon: @20",
            "'horizon' must be a duration with its unit, such as 90s, 30min, 20h or 1-12:00:00, found the number 20"},
        Bad{"horizon: 20h", "horizon: @0s", "'horizon' must be longer than 0 s and at most 365 d"},
        Bad{"horizon: 20h", "horizon: @400d", "'horizon' must be longer than 0 s and at most 365 d"},
        Bad{"per_day: 0.05", "per_day: @2", "'per_day' must be a number from 0 to 1, found the number 2"},
        Bad{"memory_most: 0.9", "memory_most: @0.95",
            "'memory_most' must be a number from 0.01 to 0.9, found the number 0.95"},
        Bad{"memory_high: 0.85", "memory_high: @0.7",
            "'memory_high' is 0.7; it must be at least 'memory_low', which is 0.75"},
        Bad{"memory_most: 0.9", "memory_most: @0.8",
            "'memory_most' is 0.8; it must be at least 'memory_high', which is 0.85"},
        Bad{"time_quantile: 0.95", "time_quantile: @1",
            "'time_quantile' must lie between 0 and 1 and be neither; found 1"},
        Bad{"time_quantile: 0.95", "time_quantile: @0",
            "'time_quantile' must lie between 0 and 1 and be neither; found 0"},
        Bad{"time_margin: 1.3", "time_margin: @0.9",
            "'time_margin' must be a number from 1 to 10, found the number 0.9"},
        Bad{"backfill: 4h", "backfill: @5min",
            "'backfill' is 5 min; it must be at least 'time_least', which is 10 min"},
        Bad{"backfill: 4h", "backfill: 4h, piece_least: @5h",
            "'piece_least' is 5 h; it must be at most 'backfill', which is 4 h"},
        Bad{"backfill: 4h", "backfill: 4h, load_worth: @0.6",
            "'load_worth' must be a number from 0.01 to 0.5, found the number 0.6"},
        Bad{"backfill: 4h", "backfill: 4h, idle_load_worth: @0.1",
            "'idle_load_worth' is 0.1; it must be at least 'load_worth', which is 0.2"},
        Bad{"backfill: 4h", "backfill: 4h, idle_worth: @-1",
            "'idle_worth' must be a number from 0 to 0.9, found the number -1"},
        Bad{"backfill: 4h", "backfill: 4h, small_gpus: @0",
            "'small_gpus' must be a whole number from 1 to 4096, found the number 0"},
        Bad{"backfill: 4h", "backfill: 4h, batch_least: @1.5",
            "'batch_least' must be a whole number from 1 to 256, found the number 1.5"},
        Bad{"backfill: 4h", "backfill: 4h, efficiency_worth: @0.5",
            "'efficiency_worth' must be a number from 1 to 100, found the number 0.5"},
        Bad{"backfill: 4h", "backfill: 4h, command_time: @3600",
            "'command_time' must be a duration with its unit, such as 90s, 30min, 20h or 1-12:00:00, found the number "
            "3600"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\ntraining: {full_rate: @2}",
            "'full_rate' must be a number from 0.000001 to 1, found the number 2"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\ntraining: {sequence: @7}",
            "'sequence' must be a whole number from 8 to 10000000, found the number 7"},
        Bad{"prefer: smallest", "prefer: @smalest",
            "'prefer' must be one of smallest, fastest; found the text 'smalest'; did you mean 'smallest'?"},
        Bad{"drain_signal: 120s", "drain_signal: @20h",
            "'drain_signal' must be from 1 s to 65535 s, which is the most that Slurm takes"},
        Bad{"drain_signal: 120s", "drain_signal: @10min",
            "'drain_signal' is 10 min and 'time_least' 10 min: the shortest jobs would be told to stop as they "
            "start"}));

INSTANTIATE_TEST_SUITE_P(
    Keys, PolicyBadInput,
    testing::Values(
        Bad{"drain_signal: 120s", "drain_signal: 120s\ntraining: {@size: {}}",
            "'training' has no key 'size'; did you mean 'sizes'?"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\ntraining: {tasks: {grpo: @{rank: 1}}}",
            "'grpo' needs the key 'learning_rate'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\ntraining: {tasks: @[grpo]}",
            "'tasks' must be a map of task types to factors, found a list"},
        Bad{"acceptance: {}", "acceptance: {@max_time: 20h}",
            "'acceptance' has no key 'max_time'; it takes families, max_duration, min_score, task_types"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\n@famlies: {}",
            "a policy has no key 'famlies'; did you mean 'families'?"},
        Bad{"{per_day: 0.05, most: 1}", "@{per_day: 0.05}", "'ageing' needs the key 'most'"},
        Bad{"name: small\n", "@", "a policy needs the key 'name'"},
        Bad{"name: small", "name: @two words",
            "'name' must be a name of letters, digits and _ . - : / +, at most 200 long; found 'two words'"},
        Bad{"{grpo: 0.3, dpo: 0.1, other: 0}", "@{grpo: 0.3}",
            "'task_types' needs the key 'other': what a name that is not listed gets"},
        Bad{"{llama: 0.9, falcon: 0.5, other: 0.1}", "{@a/b: 0.1, other: 0}",
            "'a/b' must be a name of letters, digits and _ . - : +"},
        Bad{"task_types: {grpo: 0.3, dpo: 0.1, other: 0}", "task_types: @[grpo]",
            "'task_types' must be a map of names to numbers from 0 to 1, found a list"},
        Bad{"acceptance: {}", "acceptance: @~", "'acceptance' must be a map of keys, found nothing"},
        Bad{"acceptance: {}", "acceptance: {families: @[]}",
            "'families' is empty and would accept nothing; leave it out to accept all"},
        Bad{"acceptance: {}", "acceptance: {families: [llama, @falcn]}",
            "the family 'falcn' is not rated in 'families'; did you mean 'falcon'?"},
        Bad{"acceptance: {}", "acceptance: {task_types: @gpro}",
            "the task type 'gpro' is not rated in 'task_types'; did you mean 'grpo'?"},
        Bad{"{strength: 10}", "{strength: 10, prior: {llama/grpo: 0.9, @lama/grpo: 0.9}}",
            "the family 'lama' is not rated in 'families'; did you mean 'llama'?"},
        Bad{"{strength: 10}", "{strength: 10, prior: {@llama/image: 0.9}}",
            "the task type 'image' is not rated in 'task_types'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {per_user: {gpu_hours: 1, per: @year}}",
            "'per' must be one of day, week, month; found the text 'year'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {per_user: {per: @day}}",
            "'per' says how often 'gpu_hours' is renewed, which is not there"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {per_sweep: {gpu_hours: 1, per: @day}}",
            "a sweep has one budget for its whole life; 'per' stands in 'per_user'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {time_zone: @Europe/Atlantis}",
            "this machine knows no time zone 'Europe/Atlantis'; its names are those of the files in "
            "/usr/share/zoneinfo, such as "
            "Europe/Stockholm"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nretention: {logs: @0s}",
            "'logs' must be a duration with its unit, such as 90s, 30min, 20h or 1-12:00:00, at least 1 h, found the "
            "text '0s'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {per_user: {jobs: @0}}",
            "'jobs' must be a whole number from 1 to 1000000, found the number 0"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {per_user: {gpu_hours: @.nan}}",
            "'gpu_hours' must be a number from 0 to 1000000000000, found the text '.nan'"},
        Bad{"drain_signal: 120s", "drain_signal: 120s\nlimits: {@per_users: {}}",
            "'limits' has no key 'per_users'; did you mean 'per_user'?"}));

INSTANTIATE_TEST_SUITE_P(
    Ladders, PolicyBadInput,
    testing::Values(
        Bad{"  nan: [give_up]", "  @nann: [give_up]\n  nan: [give_up]",
            "no cause of failure is called 'nann'; did you mean 'nan'?"},
        Bad{"  nan: [give_up]", "  @flood: [give_up]\n  nan: [give_up]",
            "no cause of failure is called 'flood'; there are gpu_memory, host_memory, timeout, node_failure, "
            "preempted, "
            "nan, lost_peer, load_failed, bad_input, unknown"},
        Bad{"  gpu_memory: [{smaller_batch: 2, factor: 0.5}, {int8: 1}, give_up]\n  host_memory: [give_up]\n",
            "  @gpu_memory: [give_up]\n", "'remedies' needs a ladder for 'host_memory'; it may be [give_up]"},
        Bad{"timeout: [give_up]", "timeout: [@retyr, give_up]", "no remedy is called 'retyr'; did you mean 'retry'?"},
        Bad{"timeout: [give_up]", "timeout: [{@more_gpu: 1}, give_up]",
            "no remedy is called 'more_gpu'; did you mean 'more_gpus'?"},
        Bad{"timeout: [give_up]", "timeout: [give_up, @retry]", "nothing can come after give_up"},
        Bad{"timeout: [give_up]", "timeout: [@retry]", "the ladder of 'timeout' must end with give_up"},
        Bad{"timeout: [give_up]", "timeout: @[]",
            "'timeout' must be a list of remedies that ends with give_up, found an empty list"},
        Bad{"timeout: [give_up]", "timeout: @give_up",
            "'timeout' must be a list of remedies that ends with give_up, found the text 'give_up'"},
        Bad{"timeout: [give_up]", "timeout: [retry, {more_gpus: 1}, @{retry: 2}, give_up]",
            "'retry' is in this ladder twice; write it once, with how often it may be tried"},
        Bad{"timeout: [give_up]", "timeout: [{retry: @0}, give_up]",
            "'retry' must be a whole number from 1 to 1000, how often it may be tried, found the number 0"},
        Bad{"timeout: [give_up]", "timeout: [{retry: 1, factor: @2}, give_up]", "'retry' takes no factor"},
        Bad{"timeout: [give_up]", "timeout: [{@more_time: 1}, give_up]",
            "'more_time' needs a factor from 1.01 to 10, such as {more_time: 2, factor: 1.5}"},
        Bad{"timeout: [give_up]", "timeout: [{more_time: 1, factor: @0.5}, give_up]",
            "the factor of 'more_time' must be a number from 1.01 to 10, found the number 0.5"},
        Bad{"nan: [give_up]", "nan: [@lower_rate, give_up]",
            "'lower_rate' needs a factor from 0.01 to 0.99, such as {lower_rate: 2, factor: 0.5}"},
        Bad{"nan: [give_up]", "nan: [{lower_rate: 1, factor: @.nan}, give_up]",
            "the factor of 'lower_rate' must be a number from 0.01 to 0.99, found the text '.nan'"},
        Bad{"timeout: [give_up]", "timeout: [{retry: 1, @more_gpus: 1}, give_up]",
            "a rung holds one remedy; 'more_gpus' needs a rung of its own"},
        Bad{"timeout: [give_up]", "timeout: [@{factor: 2}, give_up]",
            "a rung needs a remedy beside 'factor', such as {smaller_batch: 2, factor: 0.5}"},
        Bad{"timeout: [give_up]", "timeout: [@[retry], give_up]",
            "a rung must be a remedy with how often it may be tried, such as {retry: 3}, found a list"},
        Bad{"timeout: [give_up]", "timeout: [{@give_up: 1}]", "give_up stands alone, without a number"},
        Bad{"bad_input: [give_up]", "bad_input: [{@int8: 1}, give_up]", kRemediesOfBadInput},
        Bad{"nan: [give_up]", "nan: [@int8, give_up]",
            "'int8' does not help against 'nan'; its ladder may hold retry, other_node, lower_rate, other_engine, "
            "give_up"},
        Bad{"timeout: [give_up]", "timeout: [{@lower_rate: 1, factor: 0.5}, give_up]",
            "'lower_rate' does not help against 'timeout'; its ladder may hold retry, more_gpus, "
            "less_tensor_more_pipeline, more_time, other_node, give_up"}));

constexpr char kSignal[] = "drain_signal: 120s";

INSTANTIATE_TEST_SUITE_P(Tournaments, PolicyBadInput,
                         testing::Values(Bad{kSignal,
                                             "drain_signal: 120s\ntournament: {text_weight: @0.7, image_weight: 0.4, "
                                             "bonus_per_entry: 0.05, bonus_most: 0.25, "
                                             "boss_margin: 0.08, best_of: 3}",
                                             "text_weight and image_weight sum to 1.1; they must sum to 1"},
                                         Bad{kSignal,
                                             "drain_signal: 120s\ntournament: {text_weight: 0.6, image_weight: 0.4, "
                                             "bonus_per_entry: 0.05, bonus_most: 0.25, "
                                             "boss_margin: 0.08, best_of: @4}",
                                             "'best_of' must be odd, so that one side wins; found 4"},
                                         Bad{kSignal,
                                             "drain_signal: 120s\ntournament: {text_weight: 0.6, image_weight: 0.4, "
                                             "bonus_per_entry: 0.05, bonus_most: 0.25, "
                                             "boss_margin: @-0.08, best_of: 3}",
                                             "'boss_margin' must be a number from 0 to 1, found the number -0.08"},
                                         Bad{kSignal,
                                             "drain_signal: 120s\ntournament: @{text_weight: 0.6, image_weight: 0.4, "
                                             "bonus_per_entry: 0.05, bonus_most: 0.25, "
                                             "boss_margin: 0.08}",
                                             "'tournament' needs the key 'best_of'"}));

TEST(PolicyErrors, AreAllGivenAtOnceInTheOrderOfTheFile) {
  std::string text = small_policy();
  text = with(text, "grpo: 0.3", "grpo: -1");
  text = with(text, "horizon: 20h", "horizon: soon");
  text = with(text, "nan: [give_up]", "nan: [int8, give_up]");
  const Reading reading = read_text(text);
  std::vector<std::string> places;
  for (const Problem& problem : reading.diagnostics.errors()) places.push_back(to_string(problem.place));
  // Line 3 is `task_types: {grpo: -1, …`: -1 stands after 19 characters; line 6 `time: {horizon: soon}`; nan is on
  // line 17.
  EXPECT_THAT(places, ElementsAre("p.yaml:3:20", "p.yaml:6:17", "p.yaml:17:9"));
}

TEST(PolicyErrors, AFileOfAnotherKindGetsOneMessageThatNamesTheKind) {
  const Reading matrix = read_text("name: nightly\nmodels: [a]\ntasks: [b]\nstages: []\n");
  EXPECT_FALSE(matrix.policy);
  ASSERT_THAT(matrix.diagnostics.errors(), SizeIs(1));
  EXPECT_EQ(matrix.diagnostics.errors()[0].what,
            "is not a policy: it has no 'weights'; it has 'stages', so it may be a matrix");
  const Reading cluster = read_text("clusters: {}\n");
  ASSERT_THAT(cluster.diagnostics.errors(), SizeIs(1));
  EXPECT_THAT(cluster.diagnostics.errors()[0].what, HasSubstr("it has 'clusters', so it may be a cluster file"));
}

TEST(PolicyErrors, APolicyThatOnlyLacksItsWeightsIsTakenAsOne) {
  const std::string text = small_policy();
  const std::size_t at = text.find("weights:");
  const Reading reading = read_text(text.substr(0, at) + text.substr(text.find('\n', at) + 1));
  ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1));
  EXPECT_EQ(reading.diagnostics.errors()[0].what, "a policy needs the key 'weights'");
}

TEST(PolicyErrors, EveryTopLevelKeyButThreeIsNeeded) {
  // Of the small policy; description, limits and tournament may be left out.
  for (const char* key : {"name", "weights", "task_types", "families", "success", "time", "acceptance", "ageing",
                          "planning", "drain_signal"}) {
    const std::string text = small_policy();
    const std::size_t at = text.find(std::string(key) + ":");
    const Reading reading = read_text(text.substr(0, at) + text.substr(text.find('\n', at) + 1));
    EXPECT_FALSE(reading.policy) << key;
    ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1)) << key;
    EXPECT_EQ(reading.diagnostics.errors()[0].what, "a policy needs the key '" + std::string(key) + "'");
    EXPECT_EQ(reading.diagnostics.errors()[0].place, (Place{"p.yaml", 1, 1}));
  }
}

TEST(PolicyErrors, ATextOrAListInPlaceOfAPolicyIsOneError) {
  for (const char* text : {"hello\n", "[1, 2]\n", "~\n", "3\n"}) {
    const Reading reading = read_text(text);
    EXPECT_FALSE(reading.policy) << text;
    ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1)) << text;
    EXPECT_THAT(reading.diagnostics.errors()[0].what, HasSubstr("a policy must be a map of keys")) << text;
  }
}

TEST(PolicyErrors, AMapMadeToBeSlowIsRefusedUnread) {
  std::string families = "families: {other: 0";
  for (int i = 0; i < 50'000; ++i) families += ", f" + std::to_string(i) + ": 0.5";
  const Reading reading =
      read_text(with(small_policy(), "families: {llama: 0.9, falcon: 0.5, other: 0.1}", families + "}"));
  EXPECT_FALSE(reading.policy);
  ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1));
  EXPECT_EQ(reading.diagnostics.errors()[0].what, "a map of 50,001 entries; a policy's may have at most 1,000");
  EXPECT_EQ(reading.diagnostics.errors()[0].place.line, 4);
}

TEST(PolicyErrors, NamesWithTerminalCodesAreShownHarmless) {
  const Reading reading = read_text(small_policy() + "\"\\e[2J\": 1\n");
  ASSERT_THAT(reading.diagnostics.errors(), SizeIs(1));
  EXPECT_THAT(reading.diagnostics.errors()[0].what, HasSubstr("'\\x1b[2J'"));
}

TEST(PolicyWarnings, TellOfAScoreThatNothingCanReach) {
  // The most: 0.35 × 0.3 + 0.25 × 0.9 + 0.2 + 0.1 + 0.05 + 0.05 = 0.105 + 0.225 + 0.4 = 0.73.
  const Reading out_of_reach = read_text(with(small_policy(), "acceptance: {}", "acceptance: {min_score: 0.73}"));
  ASSERT_TRUE(out_of_reach.policy);
  ASSERT_THAT(out_of_reach.diagnostics.warnings(), SizeIs(1));
  EXPECT_EQ(out_of_reach.diagnostics.warnings()[0].what,
            "no cell can be accepted: the most that one can score is 0.73, and 'min_score' asks for more than 0.73");
  EXPECT_EQ(out_of_reach.diagnostics.warnings()[0].place, (Place{"p.yaml", 7, 13}));
  EXPECT_THAT(read_text(with(small_policy(), "acceptance: {}", "acceptance: {min_score: 0.72}")).diagnostics.warnings(),
              IsEmpty());
}

TEST(PolicyWarnings, TellOfFactorsForATaskTypeThatNothingRates) {
  const Reading reading = read_text(with(small_policy(), "drain_signal: 120s",
                                         "drain_signal: 120s\ntraining: {tasks: {gpro: {rank: 2, learning_rate: 1}}}"));
  ASSERT_TRUE(reading.policy);
  ASSERT_THAT(reading.diagnostics.warnings(), SizeIs(1));
  EXPECT_THAT(reading.diagnostics.warnings()[0].what,
              HasSubstr("'gpro' is not rated in 'task_types'; did you mean 'grpo'?"));
  EXPECT_EQ(reading.policy->training.factors("gpro").rank, 2);
}

TEST(PolicyWarnings, TellOfAnAgeingThatLetsCellsStarve) {
  const Reading reading = read_text(with(small_policy(), "per_day: 0.05", "per_day: 0"));
  ASSERT_TRUE(reading.policy);
  ASSERT_THAT(reading.diagnostics.warnings(), SizeIs(1));
  EXPECT_EQ(reading.diagnostics.warnings()[0].place, (Place{"p.yaml", 8, 9}));
}

}  // namespace
}  // namespace orch::policy
