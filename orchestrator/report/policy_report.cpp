#include "report/policy_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "report/plan_report.h"

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

using RowKey = std::array<std::string, 4>;

std::map<RowKey, std::int64_t> rejections(const planner::Plan& plan) {
  std::map<RowKey, std::int64_t> rows;
  for (const matrix::Rejection& row : plan.rejected) rows[{row.model, row.task, row.rule, row.reason}] += row.count;
  return rows;
}

ordered_json rows_only_in(const std::map<RowKey, std::int64_t>& a, const std::map<RowKey, std::int64_t>& b) {
  ordered_json list = ordered_json::array();
  for (const auto& [row, count] : a) {
    const auto other = b.find(row);
    if (other != b.end() && other->second == count) continue;
    list.push_back({{"model", row[0]}, {"task", row[1]}, {"rule", row[2]}, {"reason", row[3]}, {"count", count}});
  }
  return list;
}

ordered_json side_json(const Side& side) {
  double waiting_hours = 0;
  for (const planner::Waiting& waiting : side.plan.waiting) waiting_hours += side.plan.jobs[waiting.job].gpu_hours;
  std::int64_t rejected = 0;
  for (const matrix::Rejection& row : side.plan.rejected) rejected += row.count;
  return {{"policy", side.site.policy.name},
          {"cells", side.plan.cells},
          {"rejected", rejected},
          {"jobs", side.plan.totals.jobs},
          {"waiting_jobs", side.plan.waiting.size()},
          {"waiting_gpu_hours", waiting_hours},
          {"model_loads", side.plan.totals.model_loads},
          {"gpu_hours", side.plan.totals.gpu_hours},
          {"makespan_s", side.plan.totals.makespan}};
}

std::string text(const ordered_json& json, const char* key) { return json[key].get<std::string>(); }

}  // namespace

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
  const auto rejected_a = rejections(a.plan), rejected_b = rejections(b.plan);
  json["no_longer_rejected"] = rows_only_in(rejected_a, rejected_b);
  json["newly_rejected"] = rows_only_in(rejected_b, rejected_a);
  return json;
}

void print_changes(std::ostream& out, const Style& style, const ordered_json& changes) {
  if (changes.empty()) {
    out << "The two policies hold the same numbers and rules.\n";
    return;
  }
  Table table({{"key"}, {"from", Align::kRight}, {"to", Align::kRight}});
  for (const auto& change : changes) table.add({text(change, "key"), text(change, "from"), text(change, "to")});
  table.print(out, style);
}

void print_comparison(std::ostream& out, const Style& style, const ordered_json& comparison) {
  const auto rows = [&](const char* key, const char* title) {
    if (comparison[key].empty()) return;
    out << "\n" << bold(style, title) << "\n";
    Table table({{"model"}, {"task"}, {"rule"}, {"combinations", Align::kRight}, {"reason", Align::kLeft, 400}});
    for (const auto& row : comparison[key])
      table.add({text(row, "model"), text(row, "task"), text(row, "rule"), grouped(row["count"].get<long long>()),
                 text(row, "reason")});
    table.print(out, style);
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
                {"makespan", Align::kRight}});
  for (const char* side : {"a", "b"}) {
    const auto& json = comparison[side];
    totals.add({text(json, "policy"), grouped(json["cells"].get<long long>()),
                grouped(json["rejected"].get<long long>()), grouped(json["jobs"].get<long long>()),
                grouped(json["waiting_jobs"].get<long long>()), grouped(json["model_loads"].get<long long>()),
                format_fixed(json["gpu_hours"].get<double>(), 1), format_duration(json["makespan_s"].get<double>())});
  }
  totals.print(out, style);
}

}  // namespace orch::report
