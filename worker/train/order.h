// Which samples are trained on in which step. Most often a step has a batch of its own; what a model writes for a batch
// may be learnt from in several steps (Turns), and then "step" says here: all those of one batch.
//
// Holds:
//  - A batch is a function of the samples' lengths, the rules and the step's number alone. So that number is all that a
//    run needs to know to go on where it was, on any machine and with any number of ranks.
//  - An epoch has every sample once. Its last batch is what is left over, and may be smaller than the others: no sample
//    is left out, and none moves into the next epoch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace orch::train {

/// How a batch is learnt from: part after part, each of them a step, and then all of it again.
struct Turns {
  std::int64_t parts = 1;
  std::int64_t rounds = 1;

  std::int64_t steps() const { return parts * rounds; }
};

struct OrderRules {
  std::int64_t batch = 1;  ///< samples of a step, over all ranks and accumulation steps
  std::uint64_t seed = 0;
  /// Batches of samples of like length, as transformers' LengthGroupedSampler makes them: the shuffled samples are cut
  /// into groups of up to 50 batches, at least 4 groups where there are samples enough, each sorted with the longest
  /// first. The longest of all begins each epoch, so that what does not fit into memory shows in the first step.
  bool group_by_length = false;
};

/// The samples of an epoch, from 0, in the order in which they are trained on.
std::vector<std::int64_t> epoch_order(std::span<const std::int64_t> lengths, const OrderRules& rules,
                                      std::int64_t epoch);

class Order {
 public:
  /// `lengths`: tokens of each sample.
  Order(std::vector<std::int64_t> lengths, const OrderRules& rules);

  std::int64_t samples() const { return static_cast<std::int64_t>(lengths_.size()); }
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  /// 0 where there are no samples.
  std::int64_t steps_of_epoch() const { return (samples() + rules_.batch - 1) / rules_.batch; }
  std::int64_t epoch_of(std::int64_t step) const { return step / steps_of_epoch(); }

  /// The samples of a step, from 0. Of an epoch's first step it takes the time of a sort; the order is kept for others.
  std::span<const std::int64_t> batch(std::int64_t step);

 private:
  std::vector<std::int64_t> lengths_;
  OrderRules rules_;
  std::int64_t epoch_ = -1;  ///< whose order is at hand
  std::vector<std::int64_t> order_;
};

}  // namespace orch::train
