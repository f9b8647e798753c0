// The parts of size(), and what they share: what fits where (fit.cpp), which of it is taken (choice.cpp), what is taken
// where no layout is ours to choose (declared.cpp), and why (explanation.cpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/roofline.h"
#include "planner/shapes.h"
#include "planner/sizing.h"

namespace orch::planner {

/// Sequences at once; more adds little, because arithmetic then bounds decoding.
inline constexpr std::int64_t kUsefulBatch = 256;
/// A share of a GPU is a number of these parts, at most half.
inline constexpr int kShareParts = 8;

/// A legal layout on a shape, with the batch that fits it.
struct Candidate {
  Placement placement;
  double seconds = 0;        ///< of one sequence of a typical batch, or of one optimiser step
  double sequence_rate = 0;  ///< tokens/s of each sequence; of training 0
  int use = 1;               ///< use_rank
  bool cramped = false;
  std::string cramped_why;
  double cost() const { return placement.gpus * placement.share; }
};

/// What kept a layout from fitting.
struct Lack {
  Layout layout;
  double needs = 0;    ///< bytes of the fullest GPU, at the least batch
  double allowed = 0;  ///< bytes of a GPU that may be used
};

/// The layouts of one shape.
struct Evaluated {
  std::vector<Candidate> fitting;  ///< fastest first
  std::optional<Lack> nearest;     ///< of those that do not fit, the one that lacks least
  std::vector<std::string> illegal;
};

/// Profiles of one size on one partition differ in name and use alone: their layouts are worked out once.
struct Alike {
  std::uint32_t partition = 0;
  int nodes = 1;
  int gpus_per_node = 1;
  Evaluated evaluated;
};

/// The fastest layout of a shape.
struct Best {
  Candidate candidate;
  std::size_t alike = 0;  ///< index of the shapes like it
};

/// Shares of a GPU's memory: what is aimed at, and what is never passed.
struct Bounds {
  double high = 0;
  double most = 0;
};

/// NaN and what is below 0 are 0.
inline std::int64_t real_to_int(double value) {
  return value > 0 ? static_cast<std::int64_t>(std::min(value, 1e12)) : 0;
}

Bounds bounds_of(const policy::Planning& planning);
std::string percent(double share);
/// `est. 1.31 × the time`
std::string times(double factor);
/// With a digit after the point only where there is something to say.
std::string plain(double number);

/// Sizes one need; the parts of size() share what it holds.
class Sizer {
 public:
  Sizer(const Need& need, const Site& site)
      : need_(need),
        site_(site),
        model_(need.model < site.catalog.models.size() ? &site.catalog.models[need.model] : nullptr),
        limits_(bounds_of(site.policy.planning)),
        fastest_(site.policy.planning.prefer == policy::Planning::Prefer::kFastest) {}

  Result<Sizing> run();

 private:
  const Profile& profile(const Placement& p) const { return site_.catalog.profiles[p.profile]; }
  const Partition& partition(const Placement& p) const { return site_.cluster.partitions[p.partition]; }
  const Gpu& gpu(const Placement& p) const { return *site_.catalog.gpus.find(partition(p).gpu); }
  const Gpu& gpu(const Shape& shape) const {
    return *site_.catalog.gpus.find(site_.cluster.partitions[shape.partition].gpu);
  }
  std::string label(const Placement& p) const;
  std::string what() const;
  std::string suggestion(const Gpu& gpu) const;
  std::string above_target(const Placement& p) const;
  bool several_partitions() const { return site_.cluster.partitions.size() > 1; }

  void refuse(std::string sentence);
  double load_seconds(const Placement& p) const;
  void set_share(Placement& placement, const Gpu& gpu, double bytes) const;

  MemoryUse memory(const Layout& layout, std::int64_t batch, bool checkpointing, const Gpu& gpu) const;
  bool fit_inference(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const;
  bool fit_training(Candidate& candidate, const Gpu& gpu, bool may_share, Lack& lack) const;
  void estimate(Candidate& candidate, const Costs& costs) const;
  std::optional<std::string> why_not_trained(const Layout& layout) const;
  Evaluated evaluate(const Shape& shape, const Costs& costs) const;

  /// Of a model whose layout is ours to choose.
  Result<Sizing> run_decoder();
  void try_shape(const Shape& shape, const Costs& costs);
  Evaluated& evaluated(const Shape& shape, const Costs& costs, std::size_t& index);
  /// Whether its profile may be taken: of another kind of model only where the GPUs are pinned.
  bool eligible(const Best& best) const { return need_.gpus > 0 || best.candidate.use < 2; }
  /// From the cheapest on, as the policy prefers; each change of mind is a sentence of `steps`.
  std::size_t choose(std::size_t cheapest, std::vector<std::string>& steps) const;
  void tell_runners_up(Sizing& sizing, std::size_t chosen) const;

  /// Commands, benchmarks and models whose architecture is not described: by declared or estimated memory.
  Result<Sizing> run_declared();
  /// What the host has for so many GPUs of a node, in parts of that: 1 is just what they stand for.
  double host_part(const Shape& shape, double gpus) const;
  std::optional<std::string> why_not_host(const Shape& shape) const;

  /// Commands that take no GPU.
  Result<Sizing> run_without_gpu();

  Result<Sizing> nothing_fits() const;
  void explain(Sizing& sizing, const Candidate& chosen, const Evaluated& on_shape) const;

  const Need& need_;
  const Site& site_;
  const Model* model_;
  Bounds limits_;
  bool fastest_;
  std::vector<Alike> alike_;
  std::vector<Best> bests_;  ///< of each shape that holds the need
  int comfortable_ = 0;      ///< GPUs of the smallest shape that does, and is not cramped
  double most_memory_ = 0;   ///< bytes of the largest shape that does not
  std::vector<std::string> refused_;
  std::optional<Lack> miss_;  ///< of the largest shape tried
  std::optional<Shape> miss_shape_;
};

}  // namespace orch::planner
