#include "hand/opened_model.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "comm/mpi_transport.h"
#include "kernels/cpu/backend.h"

namespace orch::hand {
namespace {

constexpr auto kPatience = std::chrono::minutes(10);  // of ranks with each other

/// A launcher may have bound each rank to CPUs of its own; if not, all ranks share what there is.
int threads_of(const Options& options, const worker::Ranks& ranks) {
  const cpu_set_t all = ranks.cpus_of_node();
  if (options.threads > 0) return options.threads;
  cpu_set_t mine;
  CPU_ZERO(&mine);
  ::sched_getaffinity(0, sizeof mine, &mine);
  const int count = CPU_COUNT(&mine);
  return std::max(1, count < CPU_COUNT(&all) ? count : count / ranks.count());
}

}  // namespace

Result<std::unique_ptr<OpenedModel>> OpenedModel::open(const Options& options, const std::filesystem::path& folder,
                                                       const worker::Ranks& ranks) {
  std::unique_ptr<OpenedModel> it(new OpenedModel);
  std::unique_ptr<comm::Transport> all;
  if (ranks.count() > 1) {
    auto joined = comm::make_mpi_transport(kPatience);
    if (!joined) return joined.error();
    all = *std::move(joined);
  } else {
    all = std::move(comm::make_thread_transports(1).front());
  }
  model::Shard shard;
  shard.rank = all->rank() % options.tensor;
  shard.ranks = options.tensor;
  shard.stage = all->rank() / options.tensor;
  shard.stages = options.pipeline;
  const auto named = [&](const Error& error) { return Error{folder.string() + ": " + error.what}; };
  const auto architecture = model::open_architecture(folder);
  if (!architecture) return architecture.error();
  if (auto fits = model::check_shard(*architecture, shard); !fits) return named(fits.error());
  shard.layers = model::stage_layers(*architecture, shard.stage, shard.stages);
  auto tokenizer = tokenizer::Tokenizer::open(folder);
  if (!tokenizer) return tokenizer.error();
  const auto checkpoint = model::Checkpoint::open(folder);
  if (!checkpoint) return checkpoint.error();
  const auto sources = model::find_sources(*architecture, *checkpoint, shard);
  if (!sources) return named(sources.error());

  it->backend_ = kernels::make_cpu_backend({threads_of(options, ranks), 0, {}});
  auto tensor = all->split(shard.stage), pipeline = all->split(shard.rank);
  if (!tensor) return tensor.error();
  if (!pipeline) return pipeline.error();
  it->all_ = std::move(all);
  it->tensor_ = comm::make_host_communicator(*it->backend_, *std::move(tensor));
  it->pipeline_ = comm::make_host_communicator(*it->backend_, *std::move(pipeline));
  auto decoder = model::Decoder::load(*it->backend_, *architecture, *sources, shard, options.dtype, it->tensor_.get());
  if (!decoder) return named(decoder.error());
  it->decoder_ = *std::move(decoder);
  infer::EngineRules rules;
  rules.cache_dtype = options.dtype;
  it->engine_.emplace(*it->backend_, *it->decoder_, rules, options.pipeline > 1 ? it->pipeline_.get() : nullptr);
  it->texts_.emplace(*it->engine_, *std::move(tokenizer), it->all_.get());
  return it;
}

}  // namespace orch::hand
