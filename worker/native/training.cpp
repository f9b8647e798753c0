#include "native/training.h"

#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cache/verify.h"
#include "run/allocation.h"
#include "tuning/tune.h"

namespace orch::native {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using worker::Outcome;

constexpr std::size_t kMostReason = 8000;  ///< bytes: of bad rows there may be many

Outcome failed(const tuning::Trouble& trouble) {
  Outcome outcome;
  outcome.cause = trouble.cause;
  outcome.reason = trouble.reason;
  if (outcome.reason.size() > kMostReason) {
    outcome.reason.resize(utf8_prefix(outcome.reason.substr(0, kMostReason)));
    outcome.reason += " …";
  }
  return outcome;
}

/// That data and rewards are what they were when the cell was asked for.
Result<bool> check_digest(const wire::Ask& ask) {
  if (ask.digest.empty()) return true;
  std::string digest;
  for (const std::string& file : {ask.data, ask.reward}) {
    if (file.empty()) continue;
    const auto sum = cache::sha256_of(file);
    if (!sum) return Error{"cannot read " + file};
    digest += (digest.empty() ? "sha256:" : " sha256:") + *sum;
  }
  if (digest == ask.digest) return true;
  return Error{
      ask.data + (ask.reward.empty() ? "" : " or " + ask.reward) +
      " is not what it was when the cell was asked for; submit the matrix again to train on what is there now"};
}

}  // namespace

Outcome train(const Order& order, const TrainingPlace& place, comm::Transport& ranks, const std::atomic<bool>& stopping,
              const OnStep& on_step) {
  const Clock::time_point begun = Clock::now();
  const wire::Ask& ask = *order.leased.ask;
  tuning::TuneRules rules;
  Result<bool> ready = ranks.rank() == 0 ? check_digest(ask) : true;
  const auto json = nlohmann::json::parse(ask.settings, nullptr, false);
  auto settings = tuning::read_settings(json);
  const auto rows = train::row_kind_named(ask.rows);
  if (!settings)
    ready = settings.error();
  else if (!rows)
    ready = Error{"there are no rows of the kind " + quote(ask.rows)};
  if (auto agreed = comm::agree(ranks, ready); !agreed) return failed({"bad_input", agreed.error().what});
  rules.model = place.model;
  rules.base = ask.model;
  rules.data = ask.data;
  rules.rows = *rows;
  rules.reward = ask.reward;
  rules.settings = *std::move(settings);
  rules.out = order.folder;
  rules.before = earlier_attempts(order);
  rules.tensor = ask.tensor;
  rules.copies = ask.copies;
  rules.threads = place.threads;
  rules.memory = place.memory;
  rules.smaller = order.leased.smaller_batch;
  rules.formats = place.formats;
  rules.environment = worker::for_programs(worker::environment_of(environ));
  tuning::TuneHooks hooks;
  hooks.wish = [&] { return stopping ? train::Wish::kEnd : train::Wish::kNone; };
  // A heartbeat comes between many steps: what was held out is told until it is judged again.
  nlohmann::ordered_json held_out;
  hooks.step = [&](nlohmann::ordered_json line) {
    if (line.contains("held_out"))
      held_out = line["held_out"];
    else if (!held_out.is_null())
      line["held_out"] = held_out;
    on_step(line["step"], line["steps"], line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  };
  const auto end = tuning::tune(rules, ranks, hooks);
  if (!end) return failed(end.error());
  Outcome outcome;
  outcome.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  outcome.what = end->is_stopped ? Outcome::What::kStopped : Outcome::What::kDone;
  if (end->is_stopped) return outcome;
  outcome.metrics = end->metrics.dump();
  outcome.figures = end->figures.dump();
  return outcome;
}

}  // namespace orch::native
