// How a batch is shared: over ranks, and of a rank into micro-batches, which it computes one after the other.
//
// Holds:
//  - Every sample of the batch goes to one rank and into one micro-batch.
//  - The same batch is dealt the same way by whoever asks: ranks need not tell each other.
//  - A micro-batch is within its bounds, unless it is one sample that alone is over them.
// Sequences of a micro-batch follow each other without padding, so its cost is the tokens that it has.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orch::train {

using Samples = std::vector<std::int64_t>;

/// The samples of each rank, the longest first: each goes to the rank with the fewest tokens so far. A rank may have
/// none, where there are fewer samples than ranks. `lengths`: tokens of all samples of the data set.
std::vector<Samples> deal(std::span<const std::int64_t> batch, std::span<const std::int64_t> lengths, int ranks);

struct MicroBatchBounds {
  std::int64_t tokens = 0;   ///< 0: no bound
  std::int64_t samples = 0;  ///< 0: no bound
};

/// The micro-batches of a rank's samples: the longest first, each into the fullest micro-batch that has room for it.
std::vector<Samples> pack(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths,
                          const MicroBatchBounds& bounds);

}  // namespace orch::train
