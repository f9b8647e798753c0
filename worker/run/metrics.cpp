#include "run/metrics.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/digest.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::worker {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMostBytes = 64 << 20;  // lm-eval writes its whole configuration
constexpr std::size_t kMostMetrics = 10'000;
constexpr std::size_t kMostName = 200;  // bytes
constexpr std::size_t kDeepest = 64;

/// The bytes as JSON that is not nested deeper than our own code follows.
std::optional<json> parse(std::string_view text) {
  const auto shallow = [](int depth, json::parse_event_t, json&) {
    if (static_cast<std::size_t>(depth) > kDeepest) throw std::length_error("nested");
    return true;
  };
  try {
    json value = json::parse(text, shallow, false);
    if (value.is_discarded()) return std::nullopt;
    return value;
  } catch (const std::length_error&) {
    return std::nullopt;
  }
}

std::optional<double> finite(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const auto number = value.get<double>();
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

class Metrics {
 public:
  /// An empty text, or what is wrong.
  std::string add(const std::string& name, double value, std::optional<double> error) {
    if (name.empty() || name.size() > kMostName || !is_utf8(name))
      return "a metric's name must be 1 to 200 bytes of text";
    if (found_.size() >= kMostMetrics) return "there are more than " + grouped(kMostMetrics) + " metrics";
    json& metric = found_[name];
    metric["value"] = value;
    if (error) metric["stderr"] = *error;
    return "";
  }
  bool empty() const { return found_.empty(); }
  std::string text() const { return canonical_json(found_); }

 private:
  json found_ = json::object();
};

/// The same bytes with `null` for what Python's json writes of numbers that are not finite, and no JSON has.
std::string without_infinities(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!quoted) {
      const auto word = [&](std::string_view name) { return text.substr(i).starts_with(name); };
      const std::size_t length = word("NaN") ? 3 : word("Infinity") ? 8 : word("-Infinity") ? 9 : 0;
      if (length > 0) {
        plain += "null";
        i += length - 1;
        continue;
      }
    }
    plain += text[i];
    if (quoted && text[i] == '\\' && i + 1 < text.size())
      plain += text[++i];
    else if (text[i] == '"')
      quoted = !quoted;
  }
  return plain;
}

/// The newest results file of the harness at or below `folder`: it puts them in a folder that it names after the model.
std::optional<fs::path> newest_of_lm_eval(const fs::path& folder) {
  std::optional<fs::path> newest;
  fs::file_time_type written_last;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with("results") || !name.ends_with(".json") || !at->is_regular_file(error)) continue;
    const auto written = at->last_write_time(error);
    if (newest && written < written_last) continue;
    written_last = written;
    newest = at->path();
  }
  return newest;
}

Error not_metrics(const std::string& what) { return Error{"the result is not an object of metrics: " + what}; }

}  // namespace

Result<std::string> metrics_of(std::string_view text) {
  const auto root = parse(text);
  if (!root) return not_metrics("it is not JSON");
  if (!root->is_object()) return not_metrics("it is no object");
  Metrics metrics;
  for (const auto& [name, given] : root->items()) {
    std::optional<double> value = finite(given), error;
    if (given.is_object()) {
      for (const auto& [part, number] : given.items()) {
        const bool known = part == "value" || part == "stderr";
        if (!known) return not_metrics(quote(name) + " has " + quote(part) + "; it takes value and stderr");
        const auto it = finite(number);
        if (!it && !(part == "stderr" && number.is_null()))
          return not_metrics(quote(part) + " of " + quote(name) + " is no finite number");
        (part == "value" ? value : error) = it;
      }
    }
    if (!value) return not_metrics(quote(name) + " is neither a finite number nor {value, stderr}");
    if (error && *error < 0) return not_metrics("the standard error of " + quote(name) + " is negative");
    if (std::string why = metrics.add(name, *value, error); !why.empty()) return not_metrics(why);
  }
  if (metrics.empty()) return not_metrics("it names none");
  return metrics.text();
}

Result<std::string> lm_eval_metrics_of(std::string_view text) {
  const auto root = parse(without_infinities(text));
  if (!root || !root->is_object()) return not_metrics("it is not JSON of lm-eval");
  const auto results = root->find("results");
  if (results == root->end() || !results->is_object() || results->empty())
    return not_metrics("it has no `results` with a task in it");
  constexpr std::string_view kError = "_stderr";
  Metrics metrics;
  for (const auto& [task, found] : results->items()) {
    if (!found.is_object()) continue;
    for (const auto& [key, number] : found.items()) {
      const std::size_t comma = key.rfind(',');
      const auto value = finite(number);
      if (comma == std::string::npos || !value) continue;  // `alias`, `N/A`
      const std::string name = key.substr(0, comma), filter = key.substr(comma);
      if (name.ends_with(kError)) continue;
      const auto error = found.find(name + std::string(kError) + filter);
      const std::string shown_name = (results->size() > 1 ? task + "/" : "") + name + (filter == ",none" ? "" : filter);
      if (std::string why = metrics.add(shown_name, *value, error == found.end() ? std::nullopt : finite(*error));
          !why.empty())
        return not_metrics(why);
    }
  }
  if (metrics.empty()) return not_metrics("no task of it has a metric");
  return metrics.text();
}

Result<std::string> read_metrics(const fs::path& folder, const std::string& engine) {
  std::error_code error;
  fs::path file = folder / "result.json";
  bool of_lm_eval = engine == "lm-eval";
  if (of_lm_eval || !fs::exists(file, error))
    if (const auto found = newest_of_lm_eval(folder)) {
      file = *found;
      of_lm_eval = true;
    }
  if (!fs::is_regular_file(file, error))
    return Error{engine == "lm-eval" ? "it ended well, and wrote no results_*.json below its --output_path"
                                     : "it wrote no " + file.filename().string()};
  if (fs::file_size(file, error) > kMostBytes) return Error{file.filename().string() + " is larger than 64 MiB"};
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return Error{"cannot read " + file.filename().string()};
  return of_lm_eval ? lm_eval_metrics_of(text.str()) : metrics_of(text.str());
}

}  // namespace orch::worker
