#include "policy/tournament.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/text.h"

namespace orch::policy {
namespace {

double clamped(double value) { return value > 0 ? std::min(value, 1.0) : 0.0; }

std::string number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", value);
  return buffer;
}

/// What the challenger has to pass: on the better side of the boss's result by the margin.
double bar(const Tournament& rules, const Bout& bout) {
  const double margin = rules.boss_margin * std::abs(bout.boss);
  return bout.lower_is_better ? bout.boss - margin : bout.boss + margin;
}

}  // namespace

double tournament_score(const Tournament& rules, double text, double image) {
  return rules.text_weight * clamped(text) + rules.image_weight * clamped(image);
}

double winner_bonus(const Tournament& rules, int entries) {
  return std::min(rules.bonus_most, rules.bonus_per_entry * std::max(entries, 0));
}

double standing(const Tournament& rules, const Entrant& entrant) {
  return tournament_score(rules, entrant.text, entrant.image) * (1 + winner_bonus(rules, entrant.entries_as_winner));
}

std::vector<std::size_t> standings(const Tournament& rules, std::span<const Entrant> entrants) {
  std::vector<double> scores;
  for (const Entrant& entrant : entrants) scores.push_back(standing(rules, entrant));
  std::vector<std::size_t> order(entrants.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    if (scores[a] != scores[b]) return scores[a] > scores[b];
    return entrants[a].entries_as_winner > 0 && entrants[b].entries_as_winner <= 0;
  });
  return order;
}

bool beats_boss(const Tournament& rules, const Bout& bout) {
  if (!std::isfinite(bout.challenger)) return false;
  if (!std::isfinite(bout.boss)) return true;
  return bout.lower_is_better ? bout.challenger < bar(rules, bout) : bout.challenger > bar(rules, bout);
}

BossRound boss_round(const Tournament& rules, std::span<const Bout> bouts) {
  BossRound round;
  round.needed = rules.best_of / 2 + 1;
  const auto counted_bouts = std::min(bouts.size(), static_cast<std::size_t>(std::max(rules.best_of, 0)));
  for (const Bout& bout : bouts.first(counted_bouts)) {
    const bool won = beats_boss(rules, bout);
    round.wins += won ? 1 : 0;
    std::string reason = quote(bout.task) + ": ";
    if (!std::isfinite(bout.challenger))
      reason += "lost, the challenger has no result";
    else if (!std::isfinite(bout.boss))
      reason += "won, the boss has no result";
    else
      reason += std::string(won ? "won" : "lost") + ", " + number(bout.challenger) + " against " + number(bout.boss) +
                "; to win takes " + (bout.lower_is_better ? "less" : "more") + " than " + number(bar(rules, bout));
    round.reasons.push_back(std::move(reason));
  }
  round.won = round.wins >= round.needed;
  return round;
}

}  // namespace orch::policy
