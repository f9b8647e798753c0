#include "hand/evaluate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/text.h"
#include "eval/sample_log.h"
#include "native/asked_task.h"
#include "texts/evaluate.h"

namespace orch::hand {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ordered_json json_of(const Mean& mean) {
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

Result<ordered_json> evaluate(const Options& options, texts::TextEngine& engine, const fs::path& model,
                              const fs::path& program) {
  native::TaskAsked asked;
  asked.task = options.file;
  asked.data = options.data;
  asked.model = model;
  asked.chat = options.chat;
  asked.settings.shots = options.shots;
  asked.settings.limit = options.limit;
  asked.settings.max_new_tokens = options.most;
  asked.settings.seed = options.sampling.seed;
  const auto opened = native::AskedTask::open(asked, program);
  if (!opened) return opened.error();
  const eval::Evaluation& evaluation = (*opened)->evaluation();
  const eval::Task& task = evaluation.questions().task();
  std::ofstream log;
  if (!options.samples.empty()) {
    log.open(options.samples, std::ios::trunc);
    if (!log) return Error{"cannot write " + options.samples};
  }
  std::vector<std::uint64_t> samples(evaluation.questions().size());
  std::iota(samples.begin(), samples.end(), 0U);
  std::vector<eval::SampleScore> scored;
  const auto begun = std::chrono::steady_clock::now();
  {
    Progress progress(samples.size());
    auto done = texts::evaluate(engine, evaluation, samples, [&](std::span<const eval::SampleScore> some) {
      scored.insert(scored.end(), some.begin(), some.end());
      for (const eval::SampleScore& each : some) log << eval::log_line(each) << "\n";
      progress.add(some.size());
      return Result<bool>(true);
    });
    if (!done) return done.error();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  if (!options.samples.empty() && !log.flush()) return Error{"cannot write " + options.samples};
  const auto summary = evaluation.summary(scored);
  if (!summary) return summary.error();

  ordered_json metrics = ordered_json::object();
  for (const eval::Summary::Row& row : summary->rows) {
    ordered_json it = json_of(pooled(row.parts));
    if (!task.group_by.empty())
      for (const auto& [part, tally] : row.parts) it["groups"][part] = json_of(tally.mean());
    metrics[row.key()] = std::move(it);
  }
  const infer::EngineCounts& counts = engine.counts();
  return ordered_json{{"task", task.name},
                      {"status", task.status == eval::Status::kVerified ? "verified" : "unverified"},
                      {"samples", samples.size()},
                      {"metrics", std::move(metrics)},
                      {"seconds", seconds.count()},
                      {"tokens", counts.tokens},
                      {"tokens_without_sharing", counts.tokens_asked},
                      {"tokens_written", counts.tokens_written}};
}

}  // namespace orch::hand
