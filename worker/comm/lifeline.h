// A wire from each rank to the first one, beside MPI: for what is said while others compute, and to know at once who is
// gone. MPI itself says neither: a call to a dead rank may wait for ever.
//
// Holds:
//  - A process that ends, however it ends, is known to be gone a moment later; a machine that vanished, after half a
//    minute.
//  - Only whom MPI told the secret is let in, and nobody once all are there.
//  - A message comes whole, or its sender is gone.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/transport.h"

namespace orch::comm {

/// One end of a wire. Used by one thread.
class Lifeline {
 public:
  /// A connected socket, which it closes in the end. `who`: what people call the other end.
  Lifeline(int descriptor, std::string who);
  Lifeline(Lifeline&& other) noexcept;
  Lifeline& operator=(Lifeline&& other) noexcept;
  ~Lifeline();

  /// Can be read when take() has something to do.
  int descriptor() const { return descriptor_; }
  const std::string& who() const { return who_; }
  /// Waits until the other end's system has it, for a bounded time. To one who is gone nothing is sent.
  void send(std::string_view message);
  /// The next message that has come. Never waits.
  std::optional<std::string> take();
  /// The other end is gone, and all that it said was taken.
  bool gone() const { return gone_ && !whole(); }

 private:
  bool whole() const;
  void read();

  int descriptor_ = -1;
  std::string who_;
  std::string coming_;
  bool gone_ = false;
};

/// Both ends of a wire within this process.
Result<std::pair<Lifeline, Lifeline>> make_lifeline();

/// All ranks call it. The first gets the wires of ranks 1, 2, … in their order, each other rank its one wire to the
/// first. An error, on every rank, names who could not be reached.
Result<std::vector<Lifeline>> draw_lifelines(Transport& ranks,
                                             std::chrono::seconds patience = std::chrono::seconds(60));

}  // namespace orch::comm
