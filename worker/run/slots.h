// Which GPUs and CPUs of the job each running cell has.
//
// Holds: a whole GPU belongs to one cell; a shared one to cells whose parts sum to at most 1.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/wire/messages.h"

namespace orch::worker {

class Slots {
 public:
  /// `gpus` as CUDA_VISIBLE_DEVICES names them; `memory` in bytes, 0: not limited.
  Slots(std::vector<std::string> gpus, int cpus, std::int64_t memory);

  /// The GPUs that the cell gets, or nothing when it must wait. A part of a GPU goes where least is left; whole ones
  /// are those of `preferred` as far as they are free, and come in the order of the GPUs.
  std::optional<std::vector<std::string>> take(std::uint64_t ticket, double gpus, int cpus, std::int64_t memory,
                                               const std::vector<std::string>& preferred = {});
  void give_back(std::uint64_t ticket);

 private:
  struct Gpu {
    std::string name;
    double free = 1;
  };
  struct Taken {
    std::vector<std::size_t> gpus;
    double part = 1;
    int cpus = 0;
    std::int64_t memory = 0;
  };
  std::vector<Gpu> gpus_;
  int cpus_;
  std::int64_t memory_;
  std::map<std::uint64_t, Taken> taken_;
};

}  // namespace orch::worker
