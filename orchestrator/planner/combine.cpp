// Cells that are alike to the planner, and what is worked out once for all of them.
#include "planner/draft.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "base/units.h"

namespace orch::planner {
namespace {

using matrix::Cell;
using matrix::kNone;

/// Settings that change neither what a cell needs, nor how long it takes, nor its score: cells that differ only in them
/// are alike to the planner.
constexpr std::array<std::string_view, 27> kNoMatter = {"seed",
                                                        "temperature",
                                                        "learning_rate",
                                                        "alpha",
                                                        "dropout",
                                                        "schedule",
                                                        "warmup",
                                                        "weight_decay",
                                                        "clip",
                                                        "beta",
                                                        "checkpoint_every",
                                                        "keep_checkpoints",
                                                        "rank_stabilised",
                                                        "targets",
                                                        "evaluate_every",
                                                        "group_by_length",
                                                        "loss",
                                                        "label_smoothing",
                                                        "reward",
                                                        "aggregation",
                                                        "epsilon",
                                                        "epsilon_high",
                                                        "delta",
                                                        "scale_rewards",
                                                        "top_p",
                                                        "top_k",
                                                        "held_out"};

struct Key {
  std::uint64_t what = 0;
  std::uint64_t how = 0;
  std::uint32_t adapter = kNone;  ///< what the train cell makes: see adapter_class()
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t x = key.what * 0x9E3779B97F4A7C15u ^ key.how ^ std::uint64_t{key.adapter} << 20;
    x = (x ^ (x >> 31)) * 0xBF58476D1CE4E5B9u;
    return static_cast<std::size_t>(x ^ (x >> 29));
  }
};

/// For each set of settings, the first that differs from it only in what does not matter.
std::vector<std::uint32_t> classes_of_settings(const Draft& draft) {
  std::vector<std::uint32_t> classes(draft.expansion.settings.size());
  std::unordered_map<std::string, std::uint32_t> known;
  std::string text;
  for (std::uint32_t i = 0; i < draft.expansion.settings.size(); ++i) {
    text.clear();
    for (const auto& [name, value] : draft.expansion.settings[i].values()) {
      if (std::find(kNoMatter.begin(), kNoMatter.end(), name) != kNoMatter.end()) continue;
      text += name;
      text += '=';
      matrix::append_value(text, value);
    }
    classes[i] = known.try_emplace(text, i).first->second;
  }
  return classes;
}

/// Adapters of one combination are alike to the planner: their ranks are equal. Fully trained models are not: each is
/// a set of weights of its own, and goes by its cell.
std::uint32_t adapter_class(const Draft& draft, const Cell& cell) {
  if (cell.depends == kNone) return kNone;
  const matrix::Settings& training = draft.expansion.settings[draft.expansion.cells[cell.depends].settings];
  constexpr std::uint32_t kOwnWeights = 1u << 31;
  if (training.truth("full").value_or(false)) return kOwnWeights | cell.depends;
  return draft.combination_of[cell.depends];
}

void combine(Draft& draft) {
  const std::vector<std::uint32_t> classes = classes_of_settings(draft);
  std::unordered_map<Key, std::uint32_t, KeyHash> known;
  draft.combination_of.resize(draft.expansion.cells.size());
  Key last;
  std::uint32_t at = kNone;
  for (std::uint32_t i = 0; i < draft.expansion.cells.size(); ++i) {
    const Cell& cell = draft.expansion.cells[i];
    const Key key{std::uint64_t{cell.model} << 32 | cell.task,
                  std::uint64_t{classes[cell.settings]} << 32 | cell.stage << 2 | static_cast<std::uint32_t>(cell.kind),
                  adapter_class(draft, cell)};
    if (at == kNone || !(key == last)) {
      const auto [found, added] = known.try_emplace(key, static_cast<std::uint32_t>(draft.combinations.size()));
      if (added) draft.combinations.emplace_back().first = i;
      at = found->second;
      last = key;
    }
    draft.combination_of[i] = at;
  }
}

std::string model_name(const Draft& draft, const Cell& cell) {
  return cell.model == kNone ? "-" : draft.site.catalog.models[cell.model].name;
}

std::string task_name(const Draft& draft, const Cell& cell) {
  return cell.task == kNone ? "-" : draft.site.catalog.tasks[cell.task].name;
}

std::uint32_t need_index(Draft& draft, const Need& need) {
  const auto [at, added] = draft.needs.try_emplace(need, static_cast<std::uint32_t>(draft.plan.needs.size()));
  if (added) {
    draft.plan.needs.push_back(need);
    Result<Sizing> sized = size(need, draft.site);
    draft.why_not.push_back(sized.ok() ? std::string() : sized.error().what);
    draft.plan.sizings.push_back(sized.ok() ? *std::move(sized) : Sizing{});
  }
  return at->second;
}

policy::ScoreInput score_input(const Draft& draft, const Cell& cell, const Need& need, const Placement& place,
                               double seconds) {
  policy::ScoreInput input;
  const Partition& partition = draft.site.cluster.partitions[place.partition];
  const Gpu* gpu = draft.site.catalog.gpus.find(partition.gpu);
  input.task_type =
      cell.task == kNone ? matrix::name_of(cell.kind) : std::string_view(draft.site.catalog.tasks[cell.task].type);
  if (cell.model != kNone) input.family = draft.site.catalog.models[cell.model].family;
  input.seconds = seconds;
  input.utilisation = std::min(1.0, place.utilisation / place.share);  // of its part of the GPU
  input.gpus = place.gpus;
  input.node_gpus = partition.gpus_per_node;
  input.native_dtype = gpu && gpu->computes(need.compute);
  input.top_gpu = draft.flops[place.partition] >= draft.best_flops;
  input.evidence = draft.history.evidence(std::string(input.family), std::string(input.task_type));
  return input;
}

/// Need, place, duration, score; or the row of why not.
void judge(Draft& draft, Combination& combination) {
  const Cell& cell = draft.expansion.cells[combination.first];
  const auto refuse = [&](const std::string& rule, const std::string& reason) {
    combination.row = draft.rows.row(rule, reason, model_name(draft, cell), task_name(draft, cell));
  };
  const Need need = need_of(cell, draft.expansion, draft.site.catalog);
  combination.need = need_index(draft, need);
  if (!draft.why_not[combination.need].empty()) return refuse("size", draft.why_not[combination.need]);
  const Placement& place = draft.plan.sizings[combination.need].chosen;
  const Duration duration =
      duration_of(cell, draft.expansion.settings[cell.settings], need, place, draft.site, draft.history);
  combination.expected = static_cast<float>(duration.expected);
  combination.bound = static_cast<float>(std::max(duration.bound, duration.expected));
  combination.from = duration.from;
  const auto basis = std::find(draft.bases.begin(), draft.bases.end(), duration.basis);
  combination.basis = static_cast<std::uint32_t>(basis - draft.bases.begin());
  if (basis == draft.bases.end()) draft.bases.push_back(duration.basis);
  const policy::ScoreInput input = score_input(draft, cell, need, place, duration.expected);
  combination.score = policy::score(draft.site.policy, input);
  if (const auto refusal = policy::refuse(draft.site.policy, input, combination.score.total))
    return refuse(refusal->rule, refusal->reason);
  const double most = most_time(draft.site, place);
  // A training that is longer than any job goes on in the next, if there is time to get anywhere.
  const double at_once = goes_on(need) ? std::min(static_cast<double>(combination.bound), kGetsSomewhere)
                                       : static_cast<double>(combination.bound);
  if (!fits_alone(place.load_seconds, at_once, most, draft.rules))
    refuse("time_limit", "one cell may take " + format_duration(place.load_seconds * draft.rules.margin + at_once) +
                             " with loading; the longest time limit of profile " +
                             draft.site.catalog.profiles[place.profile].name + " on partition " +
                             draft.site.cluster.partitions[place.partition].name + " is " + format_duration(most));
}

/// Counts what is rejected, and with it what would evaluate an adapter that is not made.
void reject(Draft& draft) {
  const std::size_t n = draft.expansion.cells.size();
  std::vector<std::uint32_t> row_of(n, kNone);
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t>
      adapter_rows;  // (combination, row of the train cell)
  draft.plan.job_of.assign(n, kNone);
  draft.plan.scores.resize(n);
  draft.plan.seconds.resize(n);
  draft.plan.bounds.resize(n);
  draft.plan.bases.resize(n);
  draft.plan.need_of.assign(n, kNone);
  for (std::uint32_t i = 0; i < n; ++i) {
    const Cell& cell = draft.expansion.cells[i];
    Combination& combination = draft.combinations[draft.combination_of[i]];
    row_of[i] = combination.row;
    if (row_of[i] == kNone && cell.depends < i && row_of[cell.depends] != kNone) {
      const auto [at, added] = adapter_rows.try_emplace({draft.combination_of[i], row_of[cell.depends]}, kNone);
      if (added) {
        const matrix::Rejection& why = draft.rows[row_of[cell.depends]];
        at->second = draft.rows.row(
            "adapter", "the cell that trains its adapter is rejected (" + why.rule + ": " + why.reason + ")",
            model_name(draft, cell), task_name(draft, cell));
      }
      row_of[i] = at->second;
    }
    if (row_of[i] != kNone) {
      ++draft.rows[row_of[i]].count;
      continue;
    }
    ++combination.cells;
    ++draft.plan.cells;
    draft.plan.scores[i] = combination.score;
    draft.plan.seconds[i] = combination.expected;
    draft.plan.bounds[i] = combination.bound;
    draft.plan.bases[i] = combination.from;
    draft.plan.need_of[i] = combination.need;
    draft.plan.job_of[i] = 0;  // accepted; which job is known later
  }
}

/// All accepted cells, best score first; of equal ones in the order of the matrix.
void rank(Draft& draft) {
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < draft.combinations.size(); ++i)
    if (draft.combinations[i].cells > 0) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Combination &x = draft.combinations[a], &y = draft.combinations[b];
    const double rank_x = policy::rank(draft.site.policy, x.score.total, 0),
                 rank_y = policy::rank(draft.site.policy, y.score.total, 0);
    if (rank_x != rank_y) return rank_x > rank_y;
    return std::tuple(x.need, x.first) < std::tuple(y.need, y.first);
  });
  std::vector<std::uint32_t> next(draft.combinations.size(), 0);
  std::uint32_t at = 0;
  for (std::uint32_t i : order) {
    next[i] = at;
    at += draft.combinations[i].cells;
  }
  draft.ranked.resize(at);
  for (std::uint32_t i = 0; i < draft.expansion.cells.size(); ++i)
    if (draft.plan.job_of[i] != kNone) draft.ranked[next[draft.combination_of[i]]++] = i;
}

}  // namespace

void combine_cells(Draft& draft) {
  combine(draft);
  for (Combination& combination : draft.combinations) judge(draft, combination);
  reject(draft);
  rank(draft);
}

}  // namespace orch::planner
