// What is to be run confined, how much it may take, and how it ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace orch::sandbox {

/// A file in the program's folder before it starts.
struct File {
  std::string name;  ///< without a slash
  std::string content;
};

struct Program {
  std::vector<std::string> run{};  ///< the first word is a path, or is looked for in /usr/local/bin, /usr/bin, /bin
  std::vector<std::string> environment{};  ///< NAME=value, besides the few that every program gets
  std::vector<File> files{};               ///< in /sandbox, where the program starts
  /// Folders or files that the program may read besides the system's, at their own paths: an interpreter's, say.
  std::vector<std::string> read_only{};
  /// What the program can read from descriptor 3 and from nowhere else.
  std::string secret{};
};

struct Limits {
  std::chrono::milliseconds wall{15'000};  ///< of the whole, from its start
  std::chrono::seconds cpu{10};            ///< of each process
  std::uint64_t memory = 1ULL << 30;       ///< bytes, of all processes together
  /// Bytes of one process's address space: what is reserved and never touched is no memory, and threads reserve much.
  std::uint64_t address_space = 8ULL << 30;
  std::uint64_t disk = 64ULL << 20;    ///< bytes, of all that it writes
  std::uint64_t output = 16ULL << 20;  ///< bytes that it may print
  std::uint64_t kept = 64ULL << 10;    ///< bytes that are kept of what it prints, of either stream
  std::uint32_t processes = 32;        ///< and threads
  std::uint32_t open_files = 128;      ///< of each process
};

enum class End : std::uint8_t {
  kExited,     ///< by itself, with `code`
  kSignal,     ///< of `code`
  kTime,       ///< the processor's, or the clock's
  kMemory,     ///< all processes together had more than they may
  kOutput,     ///< it printed more than it may
  kProcesses,  ///< there were more than there may be
  kRefused,    ///< it was not started: `why`
};

struct Outcome {
  End end = End::kRefused;
  int code = 0;
  std::string why;
  std::string output, errors;  ///< as they were printed, any bytes; the first `kept` of them
  std::string report;          ///< what it wrote to descriptor 3; the first kMostReport bytes
  double seconds = 0;          ///< by the clock
  double cpu_seconds = 0;      ///< of the program and of those of its processes that it has waited for
  std::uint64_t memory = 0;    ///< bytes, the most that was seen
};

inline constexpr std::size_t kMostReport = 4096;

/// `exited with code 1`, `took too much time`: for people.
std::string describe(const Outcome& outcome);

}  // namespace orch::sandbox
