// Sums and copies between the ranks that compute one thing, in the order of a stream.
//
// Holds:
//  - A sum is taken in rank order, in fp32, whatever the wire carries: every rank has the same bits, and has them again
//    another time.
//  - What goes wrong is kept: wait() of the communicator says it, and no later call blocks.
#pragma once

#include <memory>

#include "comm/transport.h"
#include "kernels/backend.h"

namespace orch::comm {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  /// matrix ← the sum of all ranks' matrices. Between the ranks its numbers travel as `wire`.
  virtual void sum(kernels::Stream& stream, const kernels::Matrix& matrix, DType wire) = 0;
  /// Rows of `all` ← all ranks' rows, in rank order.
  virtual void gather(kernels::Stream& stream, const kernels::Matrix& own, const kernels::Matrix& all) = 0;
  /// Everyone's matrix ← that of rank `from`, bit for bit.
  virtual void share(kernels::Stream& stream, const kernels::Matrix& matrix, int from) = 0;
  virtual void send(kernels::Stream& stream, const kernels::Matrix& matrix, int to) = 0;
  virtual void receive(kernels::Stream& stream, const kernels::Matrix& matrix, int from) = 0;

  /// The first thing that went wrong; to be asked when the stream has been waited for.
  virtual Result<bool> state() const = 0;
};

/// By way of the host's memory: for every backend, and every transport.
std::unique_ptr<Communicator> make_host_communicator(kernels::Backend& backend, std::unique_ptr<Transport> transport);

/// One of several ranks, of whom nothing is asked: for memory to be planned on.
std::unique_ptr<Communicator> make_planned_communicator(int rank, int ranks);

}  // namespace orch::comm
