#include "native/chunk.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "comm/host_memory.h"
#include "texts/evaluate.h"

namespace orch::native {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;
using worker::Outcome;

constexpr const char* kLog = "samples.jsonl";

eval::AskSettings settings_of(const wire::Ask& ask) {
  eval::AskSettings settings;
  if (ask.shots >= 0) settings.shots = ask.shots;
  if (ask.temperature >= 0) settings.temperature = ask.temperature;
  if (ask.max_tokens > 0) settings.max_new_tokens = static_cast<int>(ask.max_tokens);
  if (ask.limit > 0) settings.limit = static_cast<std::uint64_t>(ask.limit);
  settings.seed = ask.seed;
  settings.prefix = ask.prefix;
  return settings;
}

std::string metrics_of(const eval::Summary& summary) {
  ordered_json metrics = ordered_json::object();
  for (const eval::Summary::Row& row : summary.rows) {
    const Mean mean = pooled(row.parts);
    ordered_json& metric = metrics[row.key()];
    metric["value"] = mean.value;
    metric["stderr"] = nullptr;
    if (mean.standard_error) metric["stderr"] = *mean.standard_error;
    for (const auto& [part, tally] : row.parts) metric["parts"][part] = {tally.samples, tally.sum, tally.squares};
  }
  return metrics.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// The word that run() uses for its own end.
constexpr const char* kStopped = "it was told to stop";

Outcome failed(std::string cause, std::string reason) {
  Outcome outcome;
  outcome.cause = std::move(cause);
  outcome.reason = std::move(reason);
  return outcome;
}

}  // namespace

Result<std::unique_ptr<Chunk>, Trouble> Chunk::open(const Order& order, const fs::path& model, const fs::path& program,
                                                    LastTask& last) {
  const wire::Leased& leased = order.leased;
  const wire::Ask& ask = *leased.ask;
  TaskAsked asked;
  asked.task = leased.task;
  asked.data = ask.data;
  asked.model = model;
  asked.chat = ask.chat;
  asked.digest = ask.digest;
  asked.settings = settings_of(ask);
  auto task = last.open(asked, program);
  if (!task) return Trouble{"bad_input", task.error().what};
  const eval::Evaluation& evaluation = (*task)->evaluation();
  const eval::RunHead head{leased.task, evaluation.digest(), evaluation.questions().size()};
  auto log = eval::SampleLog::open(fs::path(order.folder) / kLog, head);
  if (!log) return Trouble{"unknown", log.error().what};
  const eval::SampleRange range = eval::chunk_of(head.samples, leased.chunk.number, std::max(ask.chunks, 1U));
  std::unique_ptr<Chunk> it(new Chunk(*std::move(task), *std::move(log), range));
  for (const fs::path& before : earlier_attempts(order)) {
    // What cannot be read is asked again.
    const auto samples = eval::read_log(before / kLog, head);
    if (!samples) continue;
    std::vector<eval::SampleScore> ours;
    for (const eval::SampleScore& sample : *samples)
      if (sample.sample >= range.first && sample.sample - range.first < range.count) ours.push_back(sample);
    if (auto kept = it->log_.append(ours); !kept) return Trouble{"unknown", kept.error().what};
  }
  return it;
}

Outcome Chunk::run(texts::TextEngine& engine, const std::atomic<bool>& stopping, const OnProgress& on_progress) {
  const Clock::time_point begun = Clock::now();
  const infer::EngineCounts before = engine.counts();
  // What was chosen for the chunk before this one, or for one that failed.
  if (auto earlier = engine.take_chosen_experts(); !earlier) return failed("lost_peer", earlier.error().what);
  const auto all = static_cast<std::int64_t>(range_.count);
  std::vector<std::uint64_t> samples;
  for (std::uint64_t i = 0; i < range_.count; ++i)
    if (!log_.has(range_.first + i)) samples.push_back(range_.first + i);
  on_progress(all - static_cast<std::int64_t>(samples.size()), all);
  bool stopped = stopping;
  if (!stopped) {
    const auto asked = texts::evaluate(engine, task_->evaluation(), samples,
                                       [&](std::span<const eval::SampleScore> scored) -> Result<bool> {
                                         if (auto kept = log_.append(scored); !kept) return kept.error();
                                         on_progress(static_cast<std::int64_t>(log_.samples().size()), all);
                                         stopped = stopping && log_.samples().size() < range_.count;
                                         return stopped ? Result<bool>(Error{kStopped}) : Result<bool>(true);
                                       });
    if (!asked && !stopped) {
      const bool is_nan = asked.error().what.find("not finite") != std::string::npos;
      return failed(is_nan ? "nan" : "unknown", asked.error().what);
    }
  }
  Outcome outcome;
  outcome.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  if (stopped) {
    outcome.what = Outcome::What::kStopped;
    return outcome;
  }
  const auto summary = task_->evaluation().summary(log_.samples(), range_);
  if (!summary) return failed("unknown", summary.error().what);
  const auto experts = engine.take_chosen_experts();
  if (!experts) return failed("lost_peer", experts.error().what);
  const infer::EngineCounts& now = engine.counts();
  outcome.what = Outcome::What::kDone;
  outcome.metrics = metrics_of(*summary);
  ordered_json figures = {{"samples", range_.count},
                          {"asked", samples.size()},
                          {"tokens", now.tokens - before.tokens},
                          {"tokens_without_sharing", now.tokens_asked - before.tokens_asked},
                          {"tokens_written", now.tokens_written - before.tokens_written},
                          {"memory", comm::most_memory()}};
  for (const infer::ChosenExperts& each : *experts) figures["experts"][std::to_string(each.layer)] = each.times;
  outcome.figures = figures.dump();
  return outcome;
}

}  // namespace orch::native
