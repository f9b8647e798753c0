// How the ranks that compute one thing reach each other's bytes, in the host's memory.
//
// Holds:
//  - All ranks of a group call the same things in the same order.
//  - Once a call has failed, because a rank is gone or took too long, every later one fails too, on every rank: nobody
//    waits for ever.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace orch::comm {

/// How long a rank waits for what another sends.
enum class Wait : std::uint8_t {
  kPatience,  ///< as long as its group's patience: then the other is taken for lost
  kForever,   ///< for an order that may come at any time; a rank that is gone still ends it, where that is known
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  /// Part i of `to` goes to rank i; part i of `from` comes from it. Both have as many bytes.
  virtual Result<bool> exchange(std::span<const std::byte> to, std::span<std::byte> from) = 0;
  /// all ← every rank's own, in rank order.
  virtual Result<bool> gather(std::span<const std::byte> own, std::span<std::byte> all) = 0;
  virtual Result<bool> send(std::span<const std::byte> bytes, int to) = 0;
  virtual Result<bool> receive(std::span<std::byte> bytes, int from, Wait wait = Wait::kPatience) = 0;

  /// A group of those ranks that give the same color, in the order of their numbers. All ranks call it.
  virtual Result<std::unique_ptr<Transport>> split(int color) = 0;
};

/// Ranks that are threads of one process. Each is used by one thread; a rank that is destroyed while others wait for it
/// fails their calls, as one that is silent for `patience` does.
std::vector<std::unique_ptr<Transport>> make_thread_transports(
    int ranks, std::chrono::milliseconds patience = std::chrono::seconds(60));

/// What rank `from` has, on every rank. All call it.
Result<std::string> share_text(Transport& transport, const std::string& own, int from, Wait wait = Wait::kPatience);

/// What every rank found for itself, made known to all: done, or the error of the first rank that has one. All call it,
/// before they do together what none could do alone.
Result<bool> agree(Transport& transport, const Result<bool>& own);

}  // namespace orch::comm
