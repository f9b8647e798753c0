#include "hand/evaluate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/data_folders.h"
#include "base/text.h"
#include "eval/sample_log.h"
#include "texts/evaluate.h"

namespace orch::hand {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// A file, or the name of a task that comes with the program.
Result<eval::Task> find_task(const std::string& named, const fs::path& program) {
  fs::path file = named;
  std::error_code ignored;
  if (!fs::exists(file, ignored) && named.find('/') == std::string::npos) {
    const auto data = find_data(program);
    if (!data) return Error{"there is no file " + shown(named) + ", and no folder of tasks (ORCH_DATA_DIR names it)"};
    file = data->tasks / (named + ".yaml");
    if (!fs::exists(file, ignored)) {
      std::vector<std::string> names;
      for (const auto& entry : fs::directory_iterator(data->tasks, ignored))
        if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
      std::sort(names.begin(), names.end());
      return Error{"there is no file and no task " + quote(named) + hint(named, names) + "; there are " +
                   join(names, ", ")};
    }
  }
  Diagnostics diagnostics;
  auto task = eval::load_task(file, diagnostics);
  if (task && diagnostics.ok()) return *std::move(task);
  std::ostringstream text;
  diagnostics.print(text);
  return Error{std::string(trim(text.str()))};
}

ordered_json mean_of(const eval::Mean& mean) {
  ordered_json it = {{"value", mean.value}, {"stderr", nullptr}, {"samples", mean.samples}};
  if (mean.standard_error) it["stderr"] = *mean.standard_error;
  return it;
}

/// Says how far it is, where somebody looks.
class Progress {
 public:
  explicit Progress(std::size_t all) : all_(all), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (terminal_) std::cerr << "\r\x1b[K" << std::flush;
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void add(std::size_t more) {
    done_ += more;
    if (terminal_) std::cerr << "\r" << done_ << " of " << all_ << std::flush;
  }

 private:
  const std::size_t all_;
  const bool terminal_;
  std::size_t done_ = 0;
};

}  // namespace

Result<ordered_json> evaluate(const Options& options, texts::TextEngine& engine, const fs::path& program) {
  const auto task = find_task(options.file, program);
  if (!task) return task.error();
  eval::AskSettings settings;
  settings.shots = options.shots;
  settings.limit = options.limit;
  settings.seed = options.sampling.seed;
  const auto evaluation = eval::Evaluation::open(*task, options.data, settings);
  if (!evaluation) return evaluation.error();
  std::ofstream log;
  if (!options.samples.empty()) {
    log.open(options.samples, std::ios::trunc);
    if (!log) return Error{"cannot write " + options.samples};
  }
  std::vector<std::uint64_t> samples(evaluation->questions().size());
  std::iota(samples.begin(), samples.end(), 0U);
  std::vector<eval::SampleScore> scored;
  const auto begun = std::chrono::steady_clock::now();
  {
    Progress progress(samples.size());
    auto done = texts::evaluate(engine, *evaluation, samples, [&](std::span<const eval::SampleScore> some) {
      scored.insert(scored.end(), some.begin(), some.end());
      for (const eval::SampleScore& each : some) log << eval::log_line(each) << "\n";
      progress.add(some.size());
      return Result<bool>(true);
    });
    if (!done) return done.error();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  if (!options.samples.empty() && !log.flush()) return Error{"cannot write " + options.samples};
  const auto summary = evaluation->summary(scored);
  if (!summary) return summary.error();

  ordered_json metrics = ordered_json::object();
  for (const eval::Summary::Row& row : summary->rows) {
    const std::string name =
        row.name.extraction == "none" ? row.name.metric : row.name.metric + "," + row.name.extraction;
    ordered_json it = mean_of(row.whole);
    for (const auto& [group, mean] : row.groups) it["groups"][group] = mean_of(mean);
    metrics[name] = std::move(it);
  }
  const infer::EngineCounts& counts = engine.counts();
  return ordered_json{{"task", task->name},
                      {"status", task->status == eval::Status::kVerified ? "verified" : "unverified"},
                      {"samples", samples.size()},
                      {"metrics", std::move(metrics)},
                      {"seconds", seconds.count()},
                      {"tokens", counts.tokens},
                      {"tokens_without_sharing", counts.tokens_asked},
                      {"tokens_written", counts.tokens_written}};
}

}  // namespace orch::hand
