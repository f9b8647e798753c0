#include "hand/train.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "base/text.h"
#include "comm/mpi_transport.h"
#include "kernels/cpu/backend.h"
#include "tuning/tune.h"

namespace orch::hand {
namespace {

constexpr auto kPatience = std::chrono::minutes(10);  // of ranks with each other

train::Wish wish_of(int signals) {
  train::Wish wish = train::Wish::kNone;
  signalfd_siginfo info{};
  while (signals >= 0 && ::read(signals, &info, sizeof info) == sizeof info)
    wish = info.ssi_signo != SIGUSR1 || wish == train::Wish::kEnd ? train::Wish::kEnd : train::Wish::kKeep;
  return wish;
}

}  // namespace

Result<Trained> train(const Options& options, const std::filesystem::path& model, const worker::Ranks& ranks,
                      int signals) {
  const int wanted = options.tensor * options.copies;
  if (wanted != ranks.count())
    return Error{"--tp " + std::to_string(options.tensor) + " × --dp " + std::to_string(options.copies) + " are " +
                 counted(wanted, "rank") + ", and " + std::to_string(ranks.count()) + " " +
                 (ranks.count() == 1 ? "was" : "were") + " started (mpirun -n " + std::to_string(wanted) +
                 " orch-worker …)"};
  const auto joined = comm::make_transport(ranks.count(), kPatience);
  if (!joined) return joined.error();
  const worker::Ranks::Node node = ranks.node();
  tuning::TuneRules rules;
  rules.model = model;
  rules.base = options.model;
  rules.data = options.file;
  rules.rows = train::row_kind_named(options.rows).value_or(train::RowKind::kInstruction);
  rules.reward = options.reward;
  rules.settings = options.settings;
  rules.out = options.out;
  rules.tensor = options.tensor;
  rules.copies = options.copies;
  rules.threads = options.threads > 0 ? options.threads : worker::threads_of(node);
  rules.memory = worker::memory_of(node);
  const DType computes = options.taught.value_or(kernels::cpu_multiplies_bf16() ? DType::kBf16 : DType::kFp32);
  rules.formats = {computes, options.weights.value_or(computes)};
  tuning::TuneHooks hooks;
  hooks.say = [](const std::string& line) { std::cerr << line << std::endl; };
  hooks.wish = [&] { return wish_of(signals); };
  const auto end = tuning::tune(rules, **joined, hooks);
  if (!end) return Error{end.error().reason};
  Trained trained;
  trained.is_stopped = end->is_stopped;
  trained.answer = {{"folder", options.out}, {"stopped", end->is_stopped}, {"step", end->step}, {"steps", end->steps}};
  if (!end->is_stopped) {
    const char* const made = options.settings.full ? "model" : "adapter";
    trained.answer[made] = (std::filesystem::path(options.out) / made).string();
    for (const auto& [name, metric] : end->metrics.items()) trained.answer["metrics"][name] = metric["value"];
    trained.answer["figures"] = end->figures;
  }
  return trained;
}

}  // namespace orch::hand
