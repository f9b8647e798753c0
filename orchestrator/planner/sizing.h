// What must be loaded for a cell, and the place where it can be: profile, partition, layout, batch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/catalog.h"
#include "base/cluster.h"
#include "base/layout.h"
#include "base/memory.h"
#include "base/result.h"
#include "matrix/expand.h"
#include "policy/policy.h"

namespace orch::planner {

/// What a plan is made for.
struct Site {
  const Catalog& catalog;
  const Cluster& cluster;
  const policy::Policy& policy;
  Submit submit;  ///< of the matrix: its partition, if set, is the only one used
};

/// What a job must hold in memory. Cells with equal needs can share a job.
struct Need {
  matrix::CellKind kind = matrix::CellKind::kEval;
  std::uint32_t model = matrix::kNone;  ///< index in the catalog; kNone too of a name of the matrix's own
  Engine engine = Engine::kNative;
  DType dtype = DType::kBf16;    ///< of the weights as loaded
  DType compute = DType::kBf16;  ///< of the arithmetic; weights in 8 or 4 bits are widened to it as they are read
  DType kv = DType::kBf16;
  std::int64_t tokens = 0;  ///< longest sequence; eval: prompt and answer
  std::int64_t batch = 0;   ///< pinned by a setting; 0: chosen
  // Of training.
  bool full = false;
  std::int64_t rank = 0;  ///< of an evaluation: of the adapter that is loaded beside the model
  std::int64_t sequence = 0;
  std::int64_t micro_batch = 0;   ///< 0: chosen
  std::int64_t global_batch = 0;  ///< never changed by a remedy
  bool reference = false;         ///< DPO, GRPO
  bool ema = false;               ///< an average of the trained parameters is kept
  // Pinned by settings; 0: chosen. Commands and benchmarks say them.
  int gpus = 0;
  int nodes = 0;
  int tensor = 0, pipeline = 0;                 ///< how the model is cut; of a training `tensor` alone
  std::optional<bool> checkpointing;            ///< of a training; nothing: where memory asks for it
  bool no_gpu = false;                          ///< a command that runs on CPUs alone; `gpus` is 0
  int gpu_parts = 0;                            ///< eighths of its one GPU that a command asks for; 0: not said
  int cpus = 0;                                 ///< on each node, of a command
  std::int64_t memory = 0;                      ///< bytes of host memory on each node, of a command
  std::int64_t gpu_memory = 0;                  ///< bytes that a command declares for each GPU; 0: a whole GPU
  std::uint32_t command_stage = matrix::kNone;  ///< commands of different stages never share a job
  std::string container;                        ///< image of a command, as its cell, matrix or site says; empty: none
  std::uint32_t weights_of =
      matrix::kNone;  ///< train cell (index) whose full weights are loaded in place of the model's
  auto operator<=>(const Need&) const = default;
};

/// Whether another job goes on with such a cell from where one that ended has left it: a training of the native engine.
inline bool goes_on(const Need& need) {
  return need.kind == matrix::CellKind::kTrain && need.engine == Engine::kNative;
}
/// Seconds of a job, beyond loading, in which such a cell gets somewhere.
inline constexpr double kGetsSomewhere = 300;

/// What the cell needs, from its settings, its task and its model.
Need need_of(const matrix::Cell& cell, const matrix::Expansion& expansion, const Catalog& catalog);

struct Placement {
  std::uint32_t profile = 0;    ///< index in the catalog
  std::uint32_t partition = 0;  ///< index in the cluster
  Layout layout;
  int nodes = 1;
  int gpus = 1;                ///< over all nodes: layout.gpus(); of a shared GPU still 1, of CPUs alone 0
  int cpus = 0;                ///< on each node, as declared; without a GPU at least 1. 0: the profile's
  double host_memory = 0;      ///< bytes on each node, as declared; 0: the profile's, or not known
  bool alone = false;          ///< takes more of the node than its GPUs' part, so that nothing stands beside it
  double share = 1;            ///< of one GPU's memory; below 1 several jobs share it
  MemoryUse memory;            ///< of the fullest GPU
  double utilisation = 0;      ///< memory.total() / the GPU's memory
  std::int64_t batch = 1;      ///< sequences at once in each copy; of training: the micro-batch
  bool checkpointing = false;  ///< of training
  double load_seconds = 0;
  double relative_time = 1;  ///< of a typical batch of work, chosen placement = 1
};

/// A placement that was considered and not taken.
struct RunnerUp {
  Placement placement;
  std::string why;  ///< why it lost
};

struct Sizing {
  Placement chosen;
  std::vector<RunnerUp> others;  ///< legal and fitting, best first
  std::vector<std::string>
      refused;  ///< `large_single: tp 4 needs 92.1 GiB of 79.6 GiB`, `moe: tp 6: 64 heads do not divide by 6`
  std::vector<std::string> reasons;  ///< why the chosen one was
};

/// The smallest profile that fits (or the fastest, if the policy prefers speed), with the fastest legal layout on it;
/// or why nothing fits.
Result<Sizing> size(const Need& need, const Site& site);

}  // namespace orch::planner
