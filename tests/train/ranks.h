// One model that learns over several ranks, each a thread with a backend of its own.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/transport.h"
#include "kernels/cpu/backend.h"
#include "kernels/fake/backend.h"
#include "train/learner.h"

namespace orch::train {

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

struct RanksSetting {
  int data = 1, tensor = 1;
  int threads = 1;  ///< of each
  model::Formats formats = DType::kFp32;
  std::optional<std::uint64_t> fake{};  ///< seed of fake devices
};

/// What each rank has.
struct AtRank {
  int rank = 0;
  kernels::Backend& backend;
  const model::Architecture& architecture;
  const model::Sources& sources;
  model::Decoder& decoder;
  comm::Communicator& data;
  comm::Transport& host;     ///< the same ranks as `data`
  comm::Transport& sharing;  ///< the ranks that share the layers
};

inline void on_rank(const std::filesystem::path& folder, const RanksSetting& setting,
                    std::unique_ptr<comm::Transport> all, const std::function<void(const AtRank&)>& work) {
  const int rank = all->rank();
  std::unique_ptr<kernels::Backend> backend = kernels::make_cpu_backend({setting.threads, 0, {}});
  if (setting.fake)
    backend = kernels::make_fake_backend(std::move(backend), {*setting.fake + static_cast<std::uint64_t>(rank)});
  model::Shard shard;
  shard.rank = rank % setting.tensor;
  shard.ranks = setting.tensor;
  const auto tensor = comm::make_host_communicator(*backend, take(all->split(rank / setting.tensor)));
  const auto data = comm::make_host_communicator(*backend, take(all->split(shard.rank)));
  const auto host = take(all->split(shard.rank));
  const auto sharing = take(all->split(rank / setting.tensor));
  const model::Architecture it = take(model::open_architecture(folder));
  const model::Checkpoint checkpoint = take(model::Checkpoint::open(folder));
  const model::Sources sources = take(model::find_sources(it, checkpoint, shard));
  const auto decoder = take(model::Decoder::load(*backend, it, sources, shard, setting.formats, tensor.get()));
  work({rank, *backend, it, sources, *decoder, *data, *host, *sharing});
}

inline void on_ranks(const std::filesystem::path& folder, const RanksSetting& setting,
                     const std::function<void(const AtRank&)>& work) {
  const int count = setting.data * setting.tensor;
  auto transports = comm::make_thread_transports(count);
  std::vector<std::exception_ptr> problems(static_cast<std::size_t>(count));
  {
    std::vector<std::jthread> ranks;
    for (std::size_t rank = 0; rank < transports.size(); ++rank)
      ranks.emplace_back([&, rank] {
        try {
          on_rank(folder, setting, std::move(transports[rank]), work);
        } catch (...) {
          problems[rank] = std::current_exception();
        }
      });
  }
  for (const std::exception_ptr& problem : problems)
    if (problem) std::rethrow_exception(problem);
}

}  // namespace orch::train
