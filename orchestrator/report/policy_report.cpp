#include "report/policy_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "policy/json.h"
#include "report/plan_report.h"
#include "report/rejections.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostMovers = 20;

/// Cells of one model and task stand together in a comparison: seeds and the like move as one.
using Pair = std::pair<std::string, std::string>;

struct Standing {
  std::size_t rank = 0;  ///< of the pair's best cell, from 1
  double score = 0;
};

std::map<Pair, Standing> standings(const Side& side) {
  std::map<Pair, Standing> found;
  for (std::uint32_t index : ranked_cells(side.plan, side.expansion)) {
    const matrix::Cell& cell = side.expansion.cells[index];
    found.try_emplace({model_name(side.site.catalog, cell.model), task_name(side.site.catalog, cell.task)},
                      Standing{found.size() + 1, side.plan.scores[index].total});
  }
  return found;
}

// --- A policy's values, for people ---

/// Every value that is not a map, by the dotted path of its key; of a map without entries the map.
std::vector<std::pair<std::string, ordered_json>> values_of(const ordered_json& json, const std::string& path = {}) {
  if (!json.is_object() || (json.empty() && !path.empty())) return {{path, json}};
  std::vector<std::pair<std::string, ordered_json>> all;
  for (const auto& [key, inner] : json.items())
    for (auto& value : values_of(inner, path.empty() ? key : path + "." + key)) all.push_back(std::move(value));
  return all;
}

/// With two decimals at least, so that ratings line up; whole ones without a point.
std::string readable(double number) {
  if (number == std::floor(number) && std::abs(number) < 9e15) return grouped(std::llround(number));
  std::string text = ordered_json(number).dump();
  const std::size_t point = text.find('.');
  if (point != std::string::npos && text.size() - point == 2) text += "0";
  return text;
}

/// `20 h`; where that is rounded, the file's own text too, so that two durations that differ look different.
std::string readable_duration(const std::string& text, double seconds) {
  const std::string words = format_duration(seconds);
  std::string squeezed = words;
  std::erase(squeezed, ' ');
  return parse_duration(squeezed) == seconds ? words : words + " (" + text + ")";
}

std::string readable(const ordered_json& value) {
  if (value.is_null() || (value.is_object() && value.empty())) return "-";
  if (value.is_number()) return readable(value.get<double>());
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto seconds = parse_duration(text);
    return seconds ? readable_duration(text, *seconds) : text;
  }
  std::string text;
  if (value.is_array()) {
    for (const auto& item : value) text += (text.empty() ? "" : ", ") + readable(item);
  } else if (value.is_object()) {
    // A step of a ladder: the remedy with how often, then what goes with it.
    for (const auto& [key, inner] : value.items())
      text += text.empty() ? key + " × " + readable(inner) : " (" + key + " " + readable(inner) + ")";
  } else {
    text = value.dump();
  }
  return text;
}

// --- Two plans ---

/// What `a` rejects for each reason beyond what `b` does for it.
ordered_json rejected_more(const ordered_json& a, const ordered_json& b) {
  std::map<Pair, const ordered_json*> in_b;
  for (const auto& row : b) in_b[{row["rule"], row["reason"]}] = &row;
  ordered_json list = ordered_json::array();
  for (ordered_json row : a) {
    if (const auto other = in_b.find({row["rule"], row["reason"]}); other != in_b.end()) {
      const ordered_json& there = *other->second;
      const auto count = row["count"].get<std::int64_t>(), less = there["count"].get<std::int64_t>();
      const bool same_ones = row["models"] == there["models"] && row["tasks"] == there["tasks"];
      if (count < less || (count == less && same_ones)) continue;
      if (count > less) row["count"] = count - less;
    }
    list.push_back(std::move(row));
  }
  return list;
}

ordered_json side_json(const Side& side) {
  const Waits waits = waits_of(side.plan);
  return {{"policy", side.site.policy.name},
          {"cells", side.plan.cells},
          {"rejected", count_of(side.plan.rejected)},
          {"jobs", side.plan.totals.jobs},
          {"waiting_jobs", waits.jobs},
          {"waiting_gpu_hours", waits.gpu_hours},
          {"model_loads", side.plan.totals.model_loads},
          {"gpu_hours", side.plan.totals.gpu_hours},
          {"makespan_s", side.plan.totals.makespan}};
}

std::string text(const ordered_json& json, const char* key) { return json[key].get<std::string>(); }

}  // namespace

void print_policy(std::ostream& out, const Style& style, const policy::Policy& policy) {
  out << bold(style, shown(policy.name)) << " (" << to_string(policy.source) << ")\n";
  Table table({{"key"}, {"value", Align::kLeft, 400}});
  for (const auto& [key, value] : values_of(policy::to_json(policy))) table.add({key, readable(value)});
  table.print(out, style);
}

ordered_json changes_json(const policy::Policy& a, const policy::Policy& b) {
  const auto in = [](const policy::Policy& policy) {
    std::map<std::string, ordered_json> values;
    for (auto& [key, value] : values_of(policy::to_json(policy))) values.emplace(key, std::move(value));
    return values;
  };
  const auto before = in(a), after = in(b);
  const auto value_in = [](const std::map<std::string, ordered_json>& values, const std::string& key) {
    const auto at = values.find(key);
    return at == values.end() ? ordered_json(nullptr) : at->second;
  };
  ordered_json list = ordered_json::array();
  for (const policy::Change& change : policy::changes(a, b))
    list.push_back({{"key", change.key}, {"from", value_in(before, change.key)}, {"to", value_in(after, change.key)}});
  return list;
}

ordered_json compare_plans(const Side& a, const Side& b) {
  ordered_json json;
  json["a"] = side_json(a);
  json["b"] = side_json(b);

  const auto before = standings(a), after = standings(b);
  struct Mover {
    Pair pair;
    Standing from, to;
    std::size_t distance;
  };
  std::vector<Mover> movers;
  for (const auto& [pair, from] : before) {
    const auto to = after.find(pair);
    if (to == after.end() || to->second.rank == from.rank) continue;
    const std::size_t distance = std::max(from.rank, to->second.rank) - std::min(from.rank, to->second.rank);
    movers.push_back({pair, from, to->second, distance});
  }
  std::ranges::stable_sort(movers, [](const Mover& x, const Mover& y) { return x.distance > y.distance; });
  json["moved"] = movers.size();
  json["ranking"] = ordered_json::array();
  for (std::size_t i = 0; i < movers.size() && i < kMostMovers; ++i)
    json["ranking"].push_back({{"model", movers[i].pair.first},
                               {"task", movers[i].pair.second},
                               {"from", movers[i].from.rank},
                               {"to", movers[i].to.rank},
                               {"score_from", movers[i].from.score},
                               {"score_to", movers[i].to.score}});
  const ordered_json rejected_a = rejections_json(a.plan.rejected), rejected_b = rejections_json(b.plan.rejected);
  json["no_longer_rejected"] = rejected_more(rejected_a, rejected_b);
  json["newly_rejected"] = rejected_more(rejected_b, rejected_a);
  return json;
}

void print_changes(std::ostream& out, const Style& style, const ordered_json& changes) {
  if (changes.empty()) {
    out << "The two policies hold the same numbers and rules.\n";
    return;
  }
  Table table({{"key"}, {"from", Align::kLeft, 400}, {"to", Align::kLeft, 400}});
  for (const auto& change : changes) table.add({text(change, "key"), readable(change["from"]), readable(change["to"])});
  table.print(out, style);
}

void print_comparison(std::ostream& out, const Style& style, const ordered_json& comparison) {
  const auto rows = [&](const char* key, const char* title) {
    if (comparison[key].empty()) return;
    out << "\n" << bold(style, title) << "\n";
    print_rejections(out, style, comparison[key]);
  };
  out << "\n"
      << bold(style, "Ranking") << ": " << counted(comparison["moved"].get<long long>(), "pair")
      << " of model and task moved" << (comparison["ranking"].empty() ? "" : ", the farthest first") << "\n";
  Table ranking({{"model"},
                 {"task"},
                 {"place", Align::kRight},
                 {"becomes", Align::kRight},
                 {"score", Align::kRight},
                 {"becomes", Align::kRight}});
  for (const auto& mover : comparison["ranking"])
    ranking.add({text(mover, "model"), text(mover, "task"), grouped(mover["from"].get<long long>()),
                 grouped(mover["to"].get<long long>()), format_fixed(mover["score_from"].get<double>(), 4),
                 format_fixed(mover["score_to"].get<double>(), 4)});
  ranking.print(out, style);
  rows("no_longer_rejected", "No longer rejected");
  rows("newly_rejected", "Newly rejected");
  out << "\n";
  Table totals({{"policy"},
                {"cells", Align::kRight},
                {"rejected", Align::kRight},
                {"jobs", Align::kRight},
                {"of them wait", Align::kRight},
                {"model loads", Align::kRight},
                {"GPU-hours", Align::kRight},
                {"of them wait", Align::kRight},
                {"makespan", Align::kRight}});
  for (const char* side : {"a", "b"}) {
    const auto& json = comparison[side];
    totals.add({text(json, "policy"), grouped(json["cells"].get<long long>()),
                grouped(json["rejected"].get<long long>()), grouped(json["jobs"].get<long long>()),
                grouped(json["waiting_jobs"].get<long long>()), grouped(json["model_loads"].get<long long>()),
                format_hours(json["gpu_hours"].get<double>()), format_hours(json["waiting_gpu_hours"].get<double>()),
                format_duration(json["makespan_s"].get<double>())});
  }
  totals.print(out, style);
}

}  // namespace orch::report
