// Lists of cells and results, written row by row: a million cells must not become one tree in memory.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>

#include "api/view_parts.h"
#include "api/views.h"
#include "base/tally.h"
#include "control/estimate.h"

namespace orch::api {

using namespace control;
using nlohmann::ordered_json;

namespace {

constexpr std::int64_t kMostLayers = 10'000;
constexpr std::size_t kMostExperts = 10'000;  // of a layer

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

/// Samples of the native engine, part by part, over the chunks that have any.
class Samples {
 public:
  /// `[samples, sum, squares]` of each part; whether that is what there is.
  bool add(const ordered_json& parts) {
    if (!parts.is_object()) return false;
    for (const auto& [part, numbers] : parts.items()) {
      const bool fits = numbers.is_array() && numbers.size() == 3 &&
                        std::all_of(numbers.begin(), numbers.end(),
                                    [](const ordered_json& number) { return number.is_number_integer(); }) &&
                        numbers[0].get<std::int64_t>() >= 0 && numbers[0].get<std::int64_t>() <= Tally::kMostSamples;
      if (!fits) return false;
      Tally tally;
      tally.samples = numbers[0];
      tally.sum = numbers[1];
      tally.squares = numbers[2];
      parts_[part].add(tally);
    }
    return true;
  }
  ordered_json json() const {
    ordered_json metric = json_of(pooled(parts_));
    if (parts_.size() > 1)
      for (const auto& [part, tally] : parts_) metric["parts"][part] = json_of(tally.mean());
    return metric;
  }

 private:
  static ordered_json json_of(const Mean& mean) {
    ordered_json json;
    json["value"] = mean.samples > 0 ? ordered_json(mean.value) : ordered_json();
    json["stderr"] = mean.standard_error ? ordered_json(*mean.standard_error) : ordered_json();
    json["samples"] = mean.samples;
    return json;
  }
  Tallies parts_;
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

/// Of what the key is made of: eval, train, … Nothing deeper than its own members is kept.
std::string kind_of(const std::string& content) {
  const auto shallow = [](int depth, ordered_json::parse_event_t, ordered_json&) { return depth <= 1; };
  const auto said = ordered_json::parse(content, shallow, false);
  const auto kind = said.is_object() ? said.find("kind") : said.end();
  return kind != said.end() && kind->is_string() ? kind->get<std::string>() : "";
}

ordered_json result_row(const store::ResultRow& row, const std::string& sweep, CellState state) {
  ordered_json json;
  json["key"] = row.text.key;
  json["sweep"] = sweep;
  json["kind"] = kind_of(row.text.content);
  json["model"] = row.text.model;
  json["task"] = row.text.task;
  json["adapter"] = adapter_of(row.text.content);
  json["settings"] = settings_json(row.text.settings);
  json["metrics"] = merged_metrics(row.metrics);
  json["figures"] = merged_figures(row.figures, row.seconds);
  json["state"] = std::string(name_of(state));
  json["attempts"] = row.attempts;
  json["gpu_seconds"] = row.gpu_seconds;
  json["seconds"] = row.seconds;
  json["score"] = row.score;
  json["reason"] = state == CellState::kDone ? std::string() : row.last_reason;
  return json;
}

/// `{"3": [12, 0, …]}`, of layer 3 its experts' counts. A worker's words: what is no count is passed over.
void add_experts(const ordered_json& layers, std::map<std::int64_t, std::vector<std::int64_t>>& sums) {
  if (!layers.is_object()) return;
  for (const auto& [name, counts] : layers.items()) {
    std::int64_t layer = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    if (error != std::errc() || end != name.data() + name.size() || layer < 0 || layer > kMostLayers ||
        !counts.is_array() || counts.size() > kMostExperts)
      continue;
    std::vector<std::int64_t>& times = sums[layer];
    times.resize(std::max(times.size(), counts.size()));
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i].is_number_integer())
        times[i] += std::clamp<std::int64_t>(counts[i].get<std::int64_t>(), 0, std::int64_t{1} << 40);
  }
}

/// `evenness`: of how many experts, chosen equally often, the choices would look as varied (the exponential of their
/// entropy), as a share of all.
ordered_json utilisation_json(std::int64_t layer, const std::vector<std::int64_t>& times, bool in_full) {
  const double all = static_cast<double>(std::accumulate(times.begin(), times.end(), std::int64_t{0}));
  double entropy = 0, busiest = 0;
  for (const std::int64_t each : times) {
    if (each == 0) continue;
    const double share = static_cast<double>(each) / all;
    entropy -= share * std::log(share);
    busiest = std::max(busiest, share);
  }
  ordered_json it = {{"layer", layer},
                     {"experts", times.size()},
                     {"busiest", busiest},
                     {"unused", std::count(times.begin(), times.end(), 0)},
                     {"evenness", all > 0 ? std::exp(entropy) / static_cast<double>(times.size()) : 0.0}};
  if (in_full) it["chosen"] = times;
  return it;
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
  std::map<std::string, Samples> samples;         // of metrics that have them
  std::set<std::string> without;                  // metrics of which a chunk has none
  for (const std::string& chunk : chunks) {
    const auto metrics = ordered_json::parse(chunk, nullptr, false);
    if (!metrics.is_object()) continue;
    for (const auto& [name, metric] : metrics.items()) {
      if (!is_metric(metric)) continue;
      auto at = std::find_if(sums.begin(), sums.end(), [&name = name](const auto& sum) { return sum.first == name; });
      if (at == sums.end()) at = sums.emplace(sums.end(), name, Sum{});
      at->second.add(metric);
      if (!metric.contains("parts") || !samples[name].add(metric["parts"])) without.insert(name);
    }
  }
  ordered_json merged = ordered_json::object();
  for (const auto& [name, sum] : sums) merged[name] = without.contains(name) ? sum.json() : samples[name].json();
  return merged;
}

ordered_json merged_figures(const std::vector<std::string>& chunks, double seconds, bool in_full) {
  ordered_json merged = ordered_json::object();
  std::map<std::int64_t, std::vector<std::int64_t>> experts;  // of each layer: how often each was chosen
  for (const std::string& chunk : chunks) {
    const auto figures = ordered_json::parse(chunk, nullptr, false);
    if (!figures.is_object()) continue;
    for (const auto& [name, figure] : figures.items()) {
      if (name == "experts") add_experts(figure, experts);
      if (!figure.is_number()) continue;
      if (!merged.contains(name)) {
        merged[name] = figure;
      } else if (name == "memory") {
        merged[name] = std::max(merged[name].get<std::int64_t>(), figure.get<std::int64_t>());
      } else if (figure.is_number_integer() && merged[name].is_number_integer()) {
        merged[name] = merged[name].get<std::int64_t>() + figure.get<std::int64_t>();
      } else {
        merged[name] = merged[name].get<double>() + figure.get<double>();
      }
    }
  }
  if (merged.contains("tokens") && seconds > 0) merged["tokens_per_second"] = merged["tokens"].get<double>() / seconds;
  for (const auto& [layer, times] : experts) merged["experts"].push_back(utilisation_json(layer, times, in_full));
  return merged;
}

std::optional<double> progress(const State& state, CellId id) {
  const Cell& cell = state.cells[index(id)];
  if (cell.state != CellState::kRunning && cell.state != CellState::kWaiting) return std::nullopt;
  double chunks = 0;
  bool known = cell.chunks > 1;
  if (const auto parts = state.chunks.find(id); parts != state.chunks.end())
    chunks += static_cast<double>(std::count(parts->second.begin(), parts->second.end(), ChunkState::kDone));
  for (auto at = state.leases.all().lower_bound({id, 0}); at != state.leases.all().end() && at->first.cell == id;
       ++at) {
    if (at->second.all <= 0) continue;
    known = true;
    chunks += std::clamp(static_cast<double>(at->second.done) / static_cast<double>(at->second.all), 0.0, 1.0);
  }
  if (!known) return std::nullopt;
  return chunks / cell.chunks;
}

ordered_json live_json(const State& state, CellId id) {
  for (auto at = state.leases.all().lower_bound({id, 0}); at != state.leases.all().end() && at->first.cell == id; ++at)
    if (!at->second.live.empty()) return ordered_json::parse(at->second.live, nullptr, false);
  return nullptr;
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
    const auto share = progress(state, wanted.cell);
    json["progress"] = share ? ordered_json(*share) : ordered_json();
    json["live"] = newest ? live_json(state, wanted.cell) : ordered_json();
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
