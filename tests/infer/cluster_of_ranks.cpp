#include "infer/cluster_of_ranks.h"

#include <exception>
#include <stdexcept>
#include <thread>

#include "comm/transport.h"
#include "kernels/cpu/backend.h"
#include "kernels/fake/backend.h"
#include "model/peft.h"

namespace orch::infer {
namespace {

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

void on_rank(const std::filesystem::path& folder, const RanksOptions& options, std::unique_ptr<comm::Transport> all,
             const std::function<void(int rank, Engine& engine)>& work) {
  const int rank = all->rank();
  const bool is_short = options.short_rank < 0 || options.short_rank == rank;
  auto backend = kernels::make_cpu_backend({options.threads, is_short ? options.memory : 0, {}});
  if (options.fake)
    backend = kernels::make_fake_backend(std::move(backend), {*options.fake + static_cast<std::uint64_t>(rank)});
  model::Shard shard;
  shard.rank = rank % options.tensor;
  shard.ranks = options.tensor;
  shard.stage = rank / options.tensor;
  shard.stages = options.pipeline;
  const auto tensor = comm::make_host_communicator(*backend, take(all->split(shard.stage)));
  const auto pipeline = comm::make_host_communicator(*backend, take(all->split(shard.rank)));
  const model::Architecture it = take(model::open_architecture(folder));
  shard.layers = model::stage_layers(it, shard.stage, shard.stages);
  const model::Checkpoint checkpoint = take(model::Checkpoint::open(folder));
  const model::Sources sources = take(model::find_sources(it, checkpoint, shard));
  const auto decoder = take(model::Decoder::load(*backend, it, sources, shard, options.formats, tensor.get()));
  Engine engine(*backend, *decoder, options.rules, options.pipeline > 1 ? pipeline.get() : nullptr);
  std::optional<model::LoadedAdapter> adapter;
  if (!options.adapter.empty()) {
    adapter = take(model::LoadedAdapter::load(*backend, it, sources, take(model::read_peft(options.adapter)),
                                              options.formats.compute));
    engine.use(&adapter->adapter());
  }
  work(rank, engine);
}

}  // namespace

void on_ranks(const std::filesystem::path& folder, const RanksOptions& options,
              const std::function<void(int rank, Engine& engine)>& work) {
  const int count = options.tensor * options.pipeline;
  auto transports = comm::make_thread_transports(count);
  std::vector<std::exception_ptr> problems(static_cast<std::size_t>(count));
  {
    std::vector<std::jthread> ranks;
    for (std::size_t rank = 0; rank < transports.size(); ++rank)
      ranks.emplace_back([&, rank] {
        try {
          on_rank(folder, options, std::move(transports[rank]), work);
        } catch (...) {
          problems[rank] = std::current_exception();
        }
      });
  }
  for (const std::exception_ptr& problem : problems)
    if (problem) std::rethrow_exception(problem);
}

}  // namespace orch::infer
