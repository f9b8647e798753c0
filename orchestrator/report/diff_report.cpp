#include "report/diff_report.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <deque>
#include <map>
#include <ostream>
#include <tuple>

#include "base/text.h"
#include "base/units.h"
#include "report/json_values.h"
#include "report/results_report.h"

namespace orch::report {
namespace {

/// Exact numbers that went through different sums.
constexpr double kRounding = 1e-9;

using Place = std::tuple<std::string, std::string, std::string>;  // model, task, settings

Place place_of(const Json& row) {
  // Sorted: the order in which settings are written means nothing.
  const Json& settings = member(row, "settings");
  const nlohmann::json sorted = settings.is_object() ? nlohmann::json(settings) : nlohmann::json::object();
  return {text_in(row, "model"), text_in(row, "task"), sorted.dump()};
}

Json start_of(const Json& row) {
  return {{"model", text_in(row, "model")}, {"task", text_in(row, "task")}, {"settings", member(row, "settings")}};
}

bool is_done(const Json& row) { return text_in(row, "state") == "done"; }

const char* verdict_of(const std::string& metric, const Json& a, const Json& b, double errors) {
  const double before = number_in(a, "value"), after = number_in(b, "value");
  const double chance = errors * std::hypot(number_in(a, "stderr"), number_in(b, "stderr"));
  const double rounding = kRounding * std::max(std::abs(before), std::abs(after));
  const double change = after - before;
  if (std::abs(change) <= std::max(chance, rounding)) return "same";
  return (change > 0) == lower_is_better(metric) ? "regression" : "improvement";
}

class Comparison {
 public:
  explicit Comparison(double errors) : errors_(errors) { json_["rows"] = Json::array(); }

  void compare(const Json& a, const Json& b) {
    if (!is_done(a) || !is_done(b)) {
      if (is_done(a)) only(a, "only_a");
      if (is_done(b)) only(b, "only_b");
      return;
    }
    ++cells_;
    const Json &of_a = member(a, "metrics"), &of_b = member(b, "metrics");
    for (const auto& [name, metric] : of_a.items()) {
      Json row = start_of(a);
      row["metric"] = name;
      row["a"] = metric;
      row["b"] = member(of_b, name.c_str());
      row["difference"] = nullptr;
      row["verdict"] = "only_a";
      if (!row["b"].is_null()) {
        row["difference"] = number_in(row["b"], "value") - number_in(metric, "value");
        row["verdict"] = verdict_of(name, metric, row["b"], errors_);
      }
      add(std::move(row));
    }
    for (const auto& [name, metric] : of_b.items())
      if (!of_a.contains(name)) {
        Json row = start_of(b);
        row["metric"] = name;
        row["a"] = nullptr;
        row["b"] = metric;
        row["difference"] = nullptr;
        row["verdict"] = "only_b";
        add(std::move(row));
      }
  }

  /// The whole cell is in one of them alone, or done in one alone.
  void only(const Json& cell, const char* verdict) {
    Json row = start_of(cell);
    row["metric"] = nullptr;
    row["a"] = row["b"] = row["difference"] = nullptr;
    row["verdict"] = verdict;
    add(std::move(row));
  }

  Json finish(const std::string& a, const std::string& b) {
    Json json;
    json["a"] = a;
    json["b"] = b;
    json["cells"] = cells_;
    for (const char* const verdict : {"same", "improvement", "regression", "only_a", "only_b"})
      json[verdict] = counts_[verdict];
    json["rows"] = std::move(json_["rows"]);
    return json;
  }

 private:
  void add(Json row) {
    ++counts_[row["verdict"].get<std::string>()];
    json_["rows"].push_back(std::move(row));
  }

  const double errors_;
  Json json_;
  long long cells_ = 0;
  std::map<std::string, long long> counts_;
};

}  // namespace

bool lower_is_better(std::string_view metric) {
  const std::string name = lower(metric);
  for (const char* const part : {"loss", "ppl", "perplexity", "error", "bits_per", "brier", "edit_distance"})
    if (name.find(part) != std::string::npos) return true;
  // As words: `wer` stands in the middle of `answer`.
  constexpr std::array<std::string_view, 9> kWords = {"wer", "cer", "ter", "mse", "rmse", "mae", "nll", "bpb", "bpc"};
  std::string word;
  for (const char c : name + " ") {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      word += c;
      continue;
    }
    if (std::ranges::find(kWords, word) != kWords.end()) return true;
    word.clear();
  }
  return false;
}

Json compare_results(const std::string& a, const Json& of_a, const std::string& b, const Json& of_b, double errors) {
  std::map<Place, std::deque<const Json*>> others;
  for (const Json& row : of_b) others[place_of(row)].push_back(&row);
  Comparison comparison(errors);
  for (const Json& row : of_a) {
    const auto at = others.find(place_of(row));
    if (at == others.end() || at->second.empty()) {
      comparison.only(row, "only_a");
      continue;
    }
    comparison.compare(row, *at->second.front());
    at->second.pop_front();
  }
  for (const Json& row : of_b)
    if (const auto& left = others[place_of(row)]; std::find(left.begin(), left.end(), &row) != left.end())
      comparison.only(row, "only_b");
  return comparison.finish(a, b);
}

void print_sweep_diff(std::ostream& out, const Style& style, const Json& comparison) {
  const std::string a = text_in(comparison, "a"), b = text_in(comparison, "b");
  // What is the same everywhere would push out of sight what is not.
  const std::set<std::string> differ = settings_that_differ(member(comparison, "rows"));
  Table table({{""},
               {"model"},
               {"task"},
               {"settings", Align::kLeft, 40},
               {"metric"},
               {shown(a), Align::kRight},
               {shown(b), Align::kRight},
               {"difference", Align::kRight}});
  for (const char* const wanted : {"regression", "improvement", "only_a", "only_b"})
    for (const Json& row : member(comparison, "rows")) {
      const std::string verdict = text_in(row, "verdict");
      if (verdict != wanted) continue;
      const auto value = [&](const char* name) {
        const Json& metric = member(row, name);
        return metric.is_null() ? "-" : metric_text(metric);
      };
      std::string difference = "-";
      if (const Json& number = member(row, "difference"); number.is_number()) {
        char text[48];
        std::snprintf(text, sizeof text, "%+.4g", number.get<double>());
        difference = text;
      }
      table.add({verdict == "only_a"   ? "only in " + a
                 : verdict == "only_b" ? "only in " + b
                                       : verdict,
                 text_in(row, "model"), text_in(row, "task"), settings_text(member(row, "settings"), differ),
                 text_in(row, "metric"), value("a"), value("b"), difference});
    }
  table.print(out, style);
  if (table.rows() > 0) out << "\n";
  out << counted(count_in(comparison, "cells"), "cell")
      << " of both compared: " << counted(count_in(comparison, "regression"), "regression") << ", "
      << counted(count_in(comparison, "improvement"), "improvement") << ", " << grouped(count_in(comparison, "same"))
      << " the same within the standard errors";
  const long long alone = count_in(comparison, "only_a") + count_in(comparison, "only_b");
  if (alone > 0) out << ", " << grouped(alone) << " in one of them alone";
  out << ".\n";
}

}  // namespace orch::report
