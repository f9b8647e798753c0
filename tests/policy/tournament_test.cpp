// Tournament rules against arithmetic by hand: 60/40, 5 % an entry up to 25 %, 8 % margin, best of three.
#include "policy/tournament.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "policy/read.h"

namespace orch::policy {
namespace {

using testing::ElementsAre, testing::SizeIs;

Tournament rules() { return shipped("tournament").tournament.value(); }

TEST(Tournament, WeighsTextSixtyAndImageForty) {
  EXPECT_NEAR(tournament_score(rules(), 1, 0), 0.6, 1e-15);
  EXPECT_NEAR(tournament_score(rules(), 0, 1), 0.4, 1e-15);
  EXPECT_NEAR(tournament_score(rules(), 0.9, 0.5), 0.74, 1e-15);  // 0.54 + 0.20
}

TEST(Tournament, ScoresOutsideZeroToOneCountAsTheNearestAndNanAsNothing) {
  EXPECT_NEAR(tournament_score(rules(), 7, -3), 0.6, 1e-15);
  EXPECT_EQ(tournament_score(rules(), std::nan(""), -std::numeric_limits<double>::infinity()), 0);
}

TEST(Tournament, BonusGrowsByFiveHundredthsAnEntryUpToAQuarter) {
  EXPECT_EQ(winner_bonus(rules(), 0), 0);
  EXPECT_NEAR(winner_bonus(rules(), 1), 0.05, 1e-15);
  EXPECT_NEAR(winner_bonus(rules(), 4), 0.20, 1e-15);
  EXPECT_NEAR(winner_bonus(rules(), 5), 0.25, 1e-15);
  EXPECT_NEAR(winner_bonus(rules(), 6), 0.25, 1e-15);
  EXPECT_EQ(winner_bonus(rules(), std::numeric_limits<int>::max()), 0.25);
  EXPECT_EQ(winner_bonus(rules(), -3), 0);
}

TEST(Tournament, BonusMultipliesTheScore) {
  // 0.74 × 1.10
  EXPECT_NEAR(standing(rules(), {"w", 0.9, 0.5, 2}), 0.814, 1e-15);
}

TEST(Tournament, StandingsCountTheBonusAndLetTheWinnerKeepATie) {
  // a: 0.6 × 0.8 + 0.4 × 0.8 = 0.80; b, third entry as winner: 0.70 × 1.15 = 0.805; c: 0.9; d as a.
  const std::vector<Entrant> entrants = {
      {"a", 0.8, 0.8, 0}, {"b", 0.7, 0.7, 3}, {"c", 0.9, 0.9, 0}, {"d", 0.8, 0.8, 0}};
  EXPECT_THAT(standings(rules(), entrants), ElementsAre(2, 1, 0, 3));
  const std::vector<Entrant> tied = {{"new", 0, 0, 0}, {"winner", 0, 0, 2}};
  EXPECT_THAT(standings(rules(), tied), ElementsAre(1, 0));
}

TEST(Tournament, BossIsBeatenByMoreThanTheMarginAndNotByTheMarginItself) {
  Tournament margin_of_a_quarter = rules();
  margin_of_a_quarter.boss_margin = 0.25;  // exact in doubles: 0.5 × 1.25 = 0.625
  EXPECT_FALSE(beats_boss(margin_of_a_quarter, {"t", 0.625, 0.5, false}));
  EXPECT_TRUE(beats_boss(margin_of_a_quarter, {"t", 0.6250001, 0.5, false}));
  // 0.5 × 1.08 = 0.54
  EXPECT_TRUE(beats_boss(rules(), {"t", 0.5401, 0.5, false}));
  EXPECT_FALSE(beats_boss(rules(), {"t", 0.5399, 0.5, false}));
}

TEST(Tournament, LossesAreBeatenFromBelow) {
  // 2.0 × 0.92 = 1.84
  EXPECT_TRUE(beats_boss(rules(), {"t", 1.8399, 2.0, true}));
  EXPECT_FALSE(beats_boss(rules(), {"t", 1.8401, 2.0, true}));
  EXPECT_FALSE(beats_boss(rules(), {"t", 2.5, 2.0, true}));
}

TEST(Tournament, MarginIsOfTheSizeOfANegativeResult) {
  // Rewards: −1 + 0.08 = −0.92
  EXPECT_FALSE(beats_boss(rules(), {"t", -0.93, -1, false}));
  EXPECT_TRUE(beats_boss(rules(), {"t", -0.91, -1, false}));
  // A loss of −1 (a log-likelihood) is beaten below −1.08.
  EXPECT_FALSE(beats_boss(rules(), {"t", -1.07, -1, true}));
  EXPECT_TRUE(beats_boss(rules(), {"t", -1.09, -1, true}));
}

TEST(Tournament, AgainstABossAtZeroAnythingBetterWinsAndATieDoesNot) {
  EXPECT_FALSE(beats_boss(rules(), {"t", 0, 0, false}));
  EXPECT_TRUE(beats_boss(rules(), {"t", 1e-9, 0, false}));
}

TEST(Tournament, NoResultNeverWins) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(beats_boss(rules(), {"t", nan, 0.5, false}));
  EXPECT_FALSE(beats_boss(rules(), {"t", inf, 0.5, false}));
  EXPECT_FALSE(beats_boss(rules(), {"t", -inf, 0.5, true}));
  EXPECT_FALSE(beats_boss(rules(), {"t", nan, nan, false}));
  EXPECT_TRUE(beats_boss(rules(), {"t", 0.1, nan, false}));
}

TEST(Tournament, BossRoundIsWonWithTwoOfThree) {
  const Bout won{"won", 0.9, 0.5, false}, lost{"lost", 0.5, 0.5, false};
  EXPECT_TRUE(boss_round(rules(), std::vector{won, lost, won}).won);
  EXPECT_FALSE(boss_round(rules(), std::vector{lost, won, lost}).won);
  EXPECT_TRUE(boss_round(rules(), std::vector{won, won}).won);
  EXPECT_FALSE(boss_round(rules(), std::vector{won}).won);
  EXPECT_FALSE(boss_round(rules(), {}).won);
  EXPECT_EQ(boss_round(rules(), {}).needed, 2);
}

TEST(Tournament, BoutsPastTheThirdDoNotCount) {
  const Bout won{"won", 0.9, 0.5, false}, lost{"lost", 0.5, 0.5, false};
  const BossRound round = boss_round(rules(), std::vector{lost, lost, won, won, won});
  EXPECT_EQ(round.wins, 1);
  EXPECT_FALSE(round.won);
  EXPECT_THAT(round.reasons, SizeIs(3));
}

TEST(Tournament, BossRoundSaysWhatEachBoutTook) {
  const BossRound round = boss_round(rules(), std::vector<Bout>{{"gsm8k", 0.53, 0.5, false}, {"sft", 1.8, 2, true}});
  EXPECT_THAT(round.reasons, ElementsAre("'gsm8k': lost, 0.53 against 0.5; to win takes more than 0.54",
                                         "'sft': won, 1.8 against 2; to win takes less than 1.84"));
}

}  // namespace
}  // namespace orch::policy
