// Lists of cells and results, written row by row: a million cells must not become one tree in memory.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "api/view_parts.h"
#include "api/views.h"
#include "control/estimate.h"

namespace orch::api {

using namespace control;
using nlohmann::ordered_json;

namespace {

/// A JSON list, one row a line.
class Rows {
 public:
  explicit Rows(std::ostream& out) : out_(out) { out_ << "["; }
  void add(const ordered_json& row) {
    out_ << (first_ ? "\n" : ",\n") << row.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    first_ = false;
  }
  void end() { out_ << (first_ ? "]" : "\n]"); }

 private:
  std::ostream& out_;
  bool first_ = true;
};

/// One metric, over the chunks that have it.
struct Sum {
  double plain = 0, weighted = 0;
  double weights = 0;
  double variance = 0, weighted_variance = 0;
  std::size_t chunks = 0, with_weight = 0, with_error = 0;

  void add(const ordered_json& metric) {
    const double value = metric["value"];
    const double weight =
        metric.contains("weight") && metric["weight"].is_number() ? metric["weight"].get<double>() : 0;
    const bool has_error = metric.contains("stderr") && metric["stderr"].is_number();
    const double error = has_error ? metric["stderr"].get<double>() : 0;
    ++chunks;
    plain += value;
    variance += error * error;
    with_error += has_error;
    if (weight <= 0) return;
    ++with_weight;
    weights += weight;
    weighted += weight * value;
    weighted_variance += weight * weight * error * error;
  }

  ordered_json json() const {
    const bool by_weight = with_weight == chunks;
    const double over = by_weight ? weights : static_cast<double>(chunks);
    ordered_json metric;
    metric["value"] = (by_weight ? weighted : plain) / over;
    metric["stderr"] = nullptr;
    if (with_error == chunks) metric["stderr"] = std::sqrt(by_weight ? weighted_variance : variance) / over;
    return metric;
  }
};

bool is_metric(const ordered_json& json) {
  return json.is_object() && json.contains("value") && json["value"].is_number();
}

/// `content` is canonical JSON: its members are sorted, and an adapter comes before all others.
ordered_json adapter_of(const std::string& content) {
  constexpr std::string_view kStart = R"({"adapter":")";
  constexpr std::size_t kKey = 64;
  if (!content.starts_with(kStart) || content.size() < kStart.size() + kKey) return nullptr;
  return content.substr(kStart.size(), kKey);
}

ordered_json result_row(const store::ResultRow& row, const std::string& sweep, CellState state) {
  ordered_json json;
  json["key"] = row.text.key;
  json["sweep"] = sweep;
  json["model"] = row.text.model;
  json["task"] = row.text.task;
  json["adapter"] = adapter_of(row.text.content);
  json["settings"] = settings_json(row.text.settings);
  json["metrics"] = merged_metrics(row.metrics);
  json["state"] = std::string(name_of(state));
  json["attempts"] = row.attempts;
  json["gpu_seconds"] = row.gpu_seconds;
  json["seconds"] = row.seconds;
  json["score"] = row.score;
  json["reason"] = state == CellState::kDone ? std::string() : row.last_reason;
  return json;
}

}  // namespace

ordered_json settings_json(const std::string& text) {
  ordered_json settings = ordered_json::parse(text, nullptr, false);
  return settings.is_object() ? settings : ordered_json::object();
}

CellState state_in(const State& state, const Wanted& wanted) {
  const Cell& cell = state.cells[index(wanted.cell)];
  return wanted.generation < cell.generation ? CellState::kDone : cell.state;
}

std::set<JobId> jobs_at(const State& state, CellId cell) {
  std::set<JobId> jobs;
  for (std::uint32_t chunk = 0; chunk < state.cells[index(cell)].chunks; ++chunk)
    if (const Lease* lease = state.leases.find({cell, chunk})) jobs.insert(lease->job);
  return jobs;
}

ordered_json merged_metrics(const std::vector<std::string>& chunks) {
  std::vector<std::pair<std::string, Sum>> sums;  // in the order in which the first chunk names them
  for (const std::string& chunk : chunks) {
    const auto metrics = ordered_json::parse(chunk, nullptr, false);
    if (!metrics.is_object()) continue;
    for (const auto& [name, metric] : metrics.items()) {
      if (!is_metric(metric)) continue;
      auto at = std::find_if(sums.begin(), sums.end(), [&name = name](const auto& sum) { return sum.first == name; });
      if (at == sums.end()) at = sums.emplace(sums.end(), name, Sum{});
      at->second.add(metric);
    }
  }
  ordered_json merged = ordered_json::object();
  for (const auto& [name, sum] : sums) merged[name] = sum.json();
  return merged;
}

void write_cells(std::ostream& out, const State& state, SweepId sweep, std::optional<CellState> only) {
  Rows rows(out);
  for (const Wanted& wanted : state.sweeps[index(sweep)].cells) {
    const CellState now = state_in(state, wanted);
    if (only && now != *only) continue;
    const Cell& cell = state.cells[index(wanted.cell)];
    const bool newest = wanted.generation == cell.generation;
    const auto trouble = state.troubles.find(wanted.cell);
    const bool had_trouble = newest && trouble != state.troubles.end();
    const std::set<JobId> jobs = newest ? jobs_at(state, wanted.cell) : std::set<JobId>();
    ordered_json json;
    json["key"] = to_hex(cell.key);
    json["cell"] = id_of(wanted.cell);
    json["model"] = state.names[cell.model];
    json["task"] = state.names[cell.task];
    json["state"] = std::string(name_of(now));
    json["score"] = wanted.score;
    json["attempts"] = (had_trouble ? trouble->second.attempts() : 0) + (now == CellState::kDone ? 1 : 0);
    json["reason"] = had_trouble && now != CellState::kDone ? trouble->second.reason : "";
    json["job"] = jobs.empty() ? ordered_json() : ordered_json(id_of(*jobs.begin()));
    const Estimate takes = estimate(state, wanted.cell);
    json["expected_s"] = takes.expected;
    json["expected_from"] = basis_of(state, wanted.cell, takes);
    rows.add(json);
  }
  rows.end();
}

void write_results(std::ostream& out, const store::Store& store, const State* state, SweepId sweep) {
  Rows rows(out);
  const std::string id = id_of(sweep);
  store.each_result(sweep, [&](const store::ResultRow& row) {
    CellState now = row.state;
    // The store may be a commit ahead of the state, or behind it.
    if (state && index(row.cell) < state->cells.size() && !is_final(now)) {
      const Cell& cell = state->cells[index(row.cell)];
      if (cell.generation == row.generation && !is_final(cell.state)) now = cell.state;
    }
    rows.add(result_row(row, id, now));
  });
  rows.end();
}

}  // namespace orch::api
