// Priorities against arithmetic done by hand, and what must hold of them whatever goes in.
#include "policy/score.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>

#include "policy/read.h"

namespace orch::policy {
namespace {

constexpr double kHour = 3600;
constexpr double kClose = 1e-12;

ScoreInput cell(std::string_view type, std::string_view family, double hours, double utilisation, int gpus) {
  ScoreInput input;
  input.task_type = type;
  input.family = family;
  input.seconds = hours * kHour;
  input.utilisation = utilisation;
  input.gpus = gpus;
  input.node_gpus = 8;
  input.native_dtype = true;
  input.top_gpu = true;
  return input;
}

struct Worked {
  const char* policy;
  ScoreInput input;
  std::array<double, kTerms> terms;  ///< weighted
  double total;
  const char* refused;  ///< rule, or empty
};

/// Twelve cells. Weights 0.35, 0.25, 0.20, 0.10, 0.05, 0.05; horizon 20 h; memory target from 0.75; strength 10.
std::vector<Worked> worked() {
  std::vector<Worked> cells;

  // 1. Everything at its best but the time, half of the horizon: 1 − 10/20 = 0.5.
  //    0.35 × 0.35 = 0.1225; 0.25 × 0.95 = 0.2375; 0.20 × 0.95 = 0.19; 0.10 × 0.5 = 0.05; 0.05; 0.05.
  cells.push_back(
      {"tournament", cell("instruct_text", "llama", 10, 0.80, 4), {0.1225, 0.2375, 0.19, 0.05, 0.05, 0.05}, 0.70, ""});

  // 2. Not the fastest GPU: bonus 2/3. 0.35 × 0.30 = 0.105; 0.25 × 0.85 = 0.2125; 0.20 × 0.85 = 0.17; 1 − 5/20 = 0.75;
  //    0.60/0.75 = 0.8, × 0.05 = 0.04; 0.05 × 2/3 = 0.1/3. Sum 0.6025 + 0.1/3.
  ScoreInput slow_gpu = cell("grpo", "qwen", 5, 0.60, 2);
  slow_gpu.top_gpu = false;
  cells.push_back({"tournament", slow_gpu, {0.105, 0.2125, 0.17, 0.075, 0.04, 0.1 / 3}, 0.6025 + 0.1 / 3, ""});

  // 3. A dtype the GPU emulates: 2/3. 0.35 × 0.20 = 0.07; 0.25 × 0.90 = 0.225; 0.20 × 0.90 = 0.18; 1 − 1/20 = 0.95;
  //    0.75/0.75 = 1. Sum 0.62 + 0.1/3.
  ScoreInput emulated = cell("image", "mistral", 1, 0.75, 1);
  emulated.native_dtype = false;
  cells.push_back({"tournament", emulated, {0.07, 0.225, 0.18, 0.095, 0.05, 0.1 / 3}, 0.62 + 0.1 / 3, ""});

  // 4. Six GPUs leave two of eight over: 2/3. Ten successes: (0.80 × 10 + 10) / 20 = 0.9, × 0.20 = 0.18.
  //    0.1225; 0.25 × 0.80 = 0.2; 1 − 15/20 = 0.25; 0.30/0.75 = 0.4, × 0.05 = 0.02. Sum 0.5475 + 0.1/3.
  ScoreInput uneven = cell("instruct_text", "gemma", 15, 0.30, 6);
  uneven.evidence = {10, 0};
  cells.push_back({"tournament", uneven, {0.1225, 0.2, 0.18, 0.025, 0.02, 0.1 / 3}, 0.5475 + 0.1 / 3, ""});

  // 5. Everything wrong: thirty failures (0.75 × 10 + 0) / 40 = 0.1875, × 0.20 = 0.0375; 0.35 × 0.30 = 0.105;
  //    0.25 × 0.75 = 0.1875; 1 − 19/20 = 0.05; memory unused; three GPUs of eight, emulated, slow. Sum 0.335: below
  //    0.45.
  ScoreInput wrong = cell("grpo", "phi", 19, 0, 3);
  wrong.native_dtype = wrong.top_gpu = false;
  wrong.evidence = {0, 30};
  cells.push_back({"tournament", wrong, {0.105, 0.1875, 0.0375, 0.005, 0, 0}, 0.335, "acceptance.score"});

  // 6. Memory above the target counts as the target. (0.90 × 10 + 30) / 50 = 0.78, × 0.20 = 0.156; 0.07; 0.225;
  //    1 − 2/20 = 0.9. Sum 0.641.
  ScoreInput full = cell("image", "codellama", 2, 0.90, 8);
  full.evidence = {30, 10};
  cells.push_back({"tournament", full, {0.07, 0.225, 0.156, 0.09, 0.05, 0.05}, 0.641, ""});

  // 7. Two whole nodes; exactly the horizon: time 0, and not under 20 h. 0.1225 + 0.2125 + 0.17 + 0.1 = 0.605.
  cells.push_back({"tournament",
                   cell("instruct_text", "deepseek", 20, 0.82, 16),
                   {0.1225, 0.2125, 0.17, 0, 0.05, 0.05},
                   0.605,
                   "acceptance.duration"});

  // 8. DPO is weighed and not accepted. 0.35 × 0.15 = 0.0525; 0.2375; 0.19; no time at all: 0.1. Sum 0.68.
  cells.push_back({"tournament",
                   cell("dpo", "llama", 0, 0.75, 1),
                   {0.0525, 0.2375, 0.19, 0.1, 0.05, 0.05},
                   0.68,
                   "acceptance.task_type"});

  // 9. A family that the policy does not rate has rating and prior 0. 0.1225 + 0.05 + 0.05 + 0.05 = 0.2725. The family
  // is
  //    the first rule that refuses, before the score.
  cells.push_back({"tournament",
                   cell("instruct_text", "falcon", 10, 0.80, 4),
                   {0.1225, 0, 0, 0.05, 0.05, 0.05},
                   0.2725,
                   "acceptance.family"});

  // 10. Twelve GPUs are a node and a half. (0.90 × 10 + 1) / 15 = 10/15, × 0.20 = 0.4/3; 0.105; 0.225; past the
  // horizon: 0;
  //     0.375/0.75 = 0.5, × 0.05 = 0.025; 0.1/3. Sum 0.355 + 0.5/3.
  ScoreInput odd = cell("grpo", "mistral", 25, 0.375, 12);
  odd.evidence = {1, 4};
  cells.push_back(
      {"tournament", odd, {0.105, 0.225, 0.4 / 3, 0, 0.025, 0.1 / 3}, 0.355 + 0.5 / 3, "acceptance.duration"});

  // 11. An evaluation under the default policy's priors. 0.35 × 0.25 = 0.0875; 0.25 × 0.75 = 0.1875; 0.20 × 0.75 =
  // 0.15;
  //     1 − 0.5/20 = 0.975, × 0.10 = 0.0975. Sum 0.6225.
  cells.push_back(
      {"default", cell("eval_math", "falcon", 0.5, 0.85, 8), {0.0875, 0.1875, 0.15, 0.0975, 0.05, 0.05}, 0.6225, ""});

  // 12. A command on one GPU of a node of six, in a dtype it emulates: 2/3. 0.35 × 0.15 = 0.0525; 0.1875; 0.15;
  //     1 − 3/20 = 0.85; 0.15/0.75 = 0.2, × 0.05 = 0.01. Sum 0.485 + 0.1/3.
  ScoreInput command = cell("command", "evo2", 3, 0.15, 1);
  command.node_gpus = 6;
  command.native_dtype = false;
  cells.push_back({"default", command, {0.0525, 0.1875, 0.15, 0.085, 0.01, 0.1 / 3}, 0.485 + 0.1 / 3, ""});
  return cells;
}

TEST(Score, OfTwelveCellsIsWhatTheArithmeticByHandGives) {
  const Policy tournament = shipped("tournament"), standard = shipped("default");
  int number = 0;
  for (const Worked& each : worked()) {
    SCOPED_TRACE("cell " + std::to_string(++number));
    const Policy& policy = each.policy == std::string("default") ? standard : tournament;
    const Score got = score(policy, each.input);
    for (std::size_t term = 0; term < kTerms; ++term)
      EXPECT_NEAR(got.terms[term], each.terms[term], kClose) << kTermNames[term];
    EXPECT_NEAR(got.total, each.total, kClose);
    const auto refusal = refuse(policy, each.input, got.total);
    EXPECT_EQ(refusal ? refusal->rule : "", each.refused);
  }
}

TEST(Score, OrdersTheWorkedCellsAsTheirTotals) {
  const Policy tournament = shipped("tournament");
  const auto cells = worked();
  // 0.70 (1), 0.653 (3), 0.641 (6), 0.636 (2), 0.581 (4)
  const std::size_t best_first[] = {0, 2, 5, 1, 3};
  for (std::size_t i = 0; i + 1 < std::size(best_first); ++i)
    EXPECT_GT(score(tournament, cells[best_first[i]].input).total,
              score(tournament, cells[best_first[i + 1]].input).total)
        << i;
}

TEST(Score, MostOfAnAcceptedCellOfTheTournamentIsBelowOne) {
  // 0.35 × 0.35 + 0.25 × 0.95 + 0.20 + 0.10 + 0.05 + 0.05 = 0.1225 + 0.2375 + 0.4
  EXPECT_NEAR(greatest_total(shipped("tournament")), 0.76, kClose);
}

TEST(Score, PriorOfAFamilyWithATypeWinsOverThatOfTheFamilyAndThatOverItsRating) {
  Policy policy = shipped("default");
  const ScoreInput input = cell("grpo", "qwen", 1, 0.8, 1);
  const auto success = [&] { return term_inputs(policy, input)[2]; };
  EXPECT_DOUBLE_EQ(success(), 0.85);
  policy.success_priors["qwen"] = 0.6;
  EXPECT_DOUBLE_EQ(success(), 0.6);
  policy.success_priors["qwen/grpo"] = 0.4;
  EXPECT_DOUBLE_EQ(success(), 0.4);
  policy.success_priors["qwen/dpo"] = 0.1;
  EXPECT_DOUBLE_EQ(success(), 0.4);
}

TEST(Score, EvidenceOutweighsThePriorInTheEnd) {
  const Policy policy = shipped("default");
  ScoreInput input = cell("grpo", "llama", 1, 0.8, 1);
  input.evidence = {0, 1'000'000};
  // 0.95 × 10 / 1,000,010
  EXPECT_NEAR(term_inputs(policy, input)[2], 9.5 / 1'000'010, 1e-15);
  input.evidence = {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max()};
  EXPECT_NEAR(term_inputs(policy, input)[2], 0.5, 1e-9);
}

TEST(Score, WithoutStrengthAndEvidenceIsThePrior) {
  Policy policy = shipped("default");
  policy.prior_strength = 0;
  EXPECT_DOUBLE_EQ(term_inputs(policy, cell("grpo", "llama", 1, 0.8, 1))[2], 0.95);
}

TEST(Score, HardwareBonusCountsWhetherJobsFillNodes) {
  const Policy policy = shipped("default");
  const auto bonus = [&](int gpus, int node_gpus) {
    ScoreInput input = cell("grpo", "llama", 1, 0.8, gpus);
    input.node_gpus = node_gpus;
    return term_inputs(policy, input)[5];
  };
  for (int gpus : {1, 2, 4, 8, 16, 24}) EXPECT_DOUBLE_EQ(bonus(gpus, 8), 1) << gpus;
  for (int gpus : {3, 5, 6, 7, 12, 20}) EXPECT_DOUBLE_EQ(bonus(gpus, 8), 2.0 / 3) << gpus;
  EXPECT_DOUBLE_EQ(bonus(6, 6), 1);
  for (int nothing : {0, -4, std::numeric_limits<int>::min()}) {
    EXPECT_DOUBLE_EQ(bonus(nothing, 8), 2.0 / 3);
    EXPECT_DOUBLE_EQ(bonus(8, nothing), 2.0 / 3);
  }
}

TEST(Score, TermsSumToTotalAndInputsLieInZeroToOneWhateverGoesIn) {
  const Policy policies[] = {shipped("tournament"), shipped("default")};
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const double odd[] = {0, -0.0, -1, 1, 0.5, 1e300, -1e300, kInf, -kInf, std::nan(""), 72'000, 5e-324};
  const int counts[] = {1, 0, -1, 8, 6, 16, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()};
  const std::int64_t outcomes[] = {
      0, 1, -5, 1000, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()};
  const std::string_view names[] = {"llama", "", "grpo", "image", "other", "falcon", "no such name"};
  std::mt19937 random(3);
  const auto pick = [&](const auto& from) { return from[random() % std::size(from)]; };
  for (int i = 0; i < 20'000; ++i) {
    ScoreInput input;
    input.task_type = pick(names);
    input.family = pick(names);
    input.seconds = pick(odd);
    input.utilisation = pick(odd);
    input.gpus = pick(counts);
    input.node_gpus = pick(counts);
    input.native_dtype = random() % 2;
    input.top_gpu = random() % 2;
    input.evidence = {pick(outcomes), pick(outcomes)};
    const Policy& policy = policies[random() % 2];
    for (double value : term_inputs(policy, input)) {
      ASSERT_GE(value, 0) << i;
      ASSERT_LE(value, 1) << i;
    }
    const Score got = score(policy, input);
    double sum = 0;
    for (double term : got.terms) sum += term;
    ASSERT_EQ(sum, got.total) << i;
    ASSERT_LE(got.total, 1 + 1e-12) << i;
  }
}

TEST(Score, OfACellWithoutAnEstimateHasNoTimeEfficiency) {
  const Policy policy = shipped("default");
  ScoreInput input = cell("grpo", "llama", 1, 0.8, 1);
  input.seconds = std::nan("");
  EXPECT_EQ(term_inputs(policy, input)[3], 0);
}

// --- Acceptance ---

std::string rule_for(const Policy& policy, double seconds, double total) {
  ScoreInput input = cell("grpo", "llama", 0, 0.8, 1);
  input.seconds = seconds;
  const auto refusal = refuse(policy, input, total);
  return refusal ? refusal->rule : "";
}

TEST(Acceptance, RefusesExactlyTwentyHoursAndTakesWhatIsShorter) {
  const Policy policy = shipped("tournament");
  EXPECT_EQ(rule_for(policy, 72'000, 0.7), "acceptance.duration");
  EXPECT_EQ(rule_for(policy, 71'999.999, 0.7), "");
  EXPECT_EQ(rule_for(policy, std::nan(""), 0.7), "acceptance.duration");
}

TEST(Acceptance, RefusesAScoreOfExactlyTheLeastAndTakesWhatIsAbove) {
  const Policy policy = shipped("tournament");
  EXPECT_EQ(rule_for(policy, 3600, 0.45), "acceptance.score");
  EXPECT_EQ(rule_for(policy, 3600, 0.450001), "");
  EXPECT_EQ(rule_for(policy, 3600, std::nan("")), "acceptance.score");
}

TEST(Acceptance, DoesNotTakeARoundingErrorForAHigherScore) {
  const double sum = 0.1 + 0.2 + 0.15;  // 0.45000000000000007 in doubles
  ASSERT_GT(sum, 0.45);
  EXPECT_EQ(rule_for(shipped("tournament"), 3600, sum), "acceptance.score");
}

TEST(Acceptance, SaysWhatItAccepts) {
  const Policy policy = shipped("tournament");
  const auto type = refuse(policy, cell("eval_math", "llama", 1, 0.8, 1), 0.7);
  ASSERT_TRUE(type);
  EXPECT_EQ(type->reason, "task type 'eval_math'; accepted are instruct_text, grpo and image");
  const auto family = refuse(policy, cell("grpo", "falcon", 1, 0.8, 1), 0.7);
  ASSERT_TRUE(family);
  EXPECT_EQ(family->reason,
            "model family 'falcon'; accepted are llama, mistral, qwen, gemma, phi, codellama and deepseek");
  const auto duration = refuse(policy, cell("grpo", "llama", 26, 0.8, 1), 0.7);
  ASSERT_TRUE(duration);
  EXPECT_EQ(duration->reason, "would take 26 h; accepted is less than 20 h");
  const auto low = refuse(policy, cell("grpo", "llama", 1, 0.8, 1), 0.3351);
  ASSERT_TRUE(low);
  EXPECT_EQ(low->reason, "scores 0.335; accepted is more than 0.450");
}

TEST(Acceptance, OfTheDefaultPolicyTakesEveryCell) {
  const Policy policy = shipped("default");
  for (const char* type : {"eval_code", "bench", "command", "never heard of"})
    for (const char* family : {"dbrx", "xverse", "granite", "falcon", "never heard of"})
      EXPECT_FALSE(refuse(policy, cell(type, family, 1000, 0, 3), 0)) << type << " " << family;
}

// --- Ageing ---

TEST(Ageing, AddsToTheRankByTheDayUpToItsMost) {
  Policy policy = shipped("default");
  policy.ageing_per_day = 0.05;
  policy.ageing_most = 0.5;
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, 0), 0.4);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, 12 * kHour), 0.425);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, 4 * 24 * kHour), 0.6);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, 10 * 24 * kHour), 0.9);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, 1000 * 24 * kHour), 0.9);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, -5), 0.4);
  EXPECT_DOUBLE_EQ(rank(policy, 0.4, std::nan("")), 0.4);
}

TEST(Ageing, OfTheShippedPoliciesLetsNothingStarve) {
  // The lowest score there is, 0, against the highest, 1: after 1 / 0.05 = 20 days the old cell is no longer behind.
  for (const char* name : {"default", "tournament", "fastest"}) {
    const Policy policy = shipped(name);
    EXPECT_LT(rank(policy, 0, 19 * 24 * kHour), 1) << name;
    EXPECT_GE(rank(policy, 0, 20 * 24 * kHour), rank(policy, 1, 0)) << name;
  }
}

}  // namespace
}  // namespace orch::policy
