// Numbers by which the daemon's things go, and the two clocks it is told.
//
// Holds: ids are given out in order, are never used twice in the life of a store, and index the vectors of State.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <limits>

namespace orch::control {

enum class CellId : std::uint32_t {};
enum class NeedId : std::uint32_t {};
enum class SweepId : std::uint32_t {};
enum class JobId : std::uint32_t {};
/// Of an API call that waits for its answer. Not kept: a restart closes every connection.
enum class RequestId : std::uint64_t {};
/// Counts the claims of a job: who has the newest leases, who has an older may still deliver.
enum class Epoch : std::uint32_t {};
/// The upper half counts the starts of the daemon.
enum class NoticeId : std::uint64_t {};
/// Of one lease: a late word on an earlier lease of the same chunk says nothing about this one.
enum class Ticket : std::uint64_t {};

/// What cells have in common that take the same time: 63 bits of a digest, so that SQLite holds it as a number.
enum class Work : std::uint64_t {};
inline constexpr Work kNoWork{0};

inline constexpr CellId kNoCell{std::numeric_limits<std::uint32_t>::max()};

template <class Id>
constexpr std::size_t index(Id id) {
  return static_cast<std::size_t>(id);
}

/// The part of a cell that is leased and delivered as one: most cells have one, number 0.
struct Chunk {
  CellId cell = kNoCell;
  std::uint32_t number = 0;
  auto operator<=>(const Chunk&) const = default;
};

/// Time since the daemon's start, counted only while it serves: an outage expires nothing.
using Serving = std::chrono::milliseconds;
/// The wall clock, for people and budgets; it may jump.
using Utc = std::chrono::sys_time<std::chrono::milliseconds>;

struct Now {
  Serving serving{};
  Utc utc{};
};

}  // namespace orch::control
