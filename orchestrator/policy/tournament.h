// The rules of a tournament: entrants' scores, the previous winner's bonus, the boss round (docs/policy.md,
// "Tournament").
//
// Holds:
//  - A tie stays with who held the title: the previous winner in the standings, the boss in a bout.
//  - A result that is not a finite number is no result, and no result never wins.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace orch::policy {

struct Entrant {
  std::string name;
  double text = 0;            ///< score in text tournaments, 0 to 1
  double image = 0;           ///< score in image tournaments, 0 to 1
  int entries_as_winner = 0;  ///< tournaments entered since the title was won; 0: not the previous winner
};

/// The weighted mean of both scores, 0 to 1, without a bonus.
double tournament_score(const Tournament& rules, double text, double image);

/// What the previous winner's score is raised by: so much an entry, up to the most.
double winner_bonus(const Tournament& rules, int entries);

/// With the bonus: score × (1 + bonus). It may exceed 1.
double standing(const Tournament& rules, const Entrant& entrant);

/// Entrants (indices) from first to last. Of equals the previous winner stands first, then who is given first.
std::vector<std::size_t> standings(const Tournament& rules, std::span<const Entrant> entrants);

/// One task of a boss round.
struct Bout {
  std::string task;
  double challenger = 0;
  double boss = 0;
  bool lower_is_better = false;  ///< a loss
};

/// Whether the challenger is better by more than the margin, which is relative to the size of the boss's result.
bool beats_boss(const Tournament& rules, const Bout& bout);

struct BossRound {
  int wins = 0;                      ///< of the challenger
  int needed = 0;                    ///< more than half of best_of
  bool won = false;                  ///< by the challenger
  std::vector<std::string> reasons;  ///< one a bout
};

/// The first best_of bouts count; a bout that was not held is not won.
BossRound boss_round(const Tournament& rules, std::span<const Bout> bouts);

}  // namespace orch::policy
