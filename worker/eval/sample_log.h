// What was made of each sample, in a file: a line of JSON for the run, then one for each sample.
//
// Holds:
//  - Lines are only added. A torn last line (the machine stopped in the middle) is cut off, and its sample is asked
//  again.
//  - A log belongs to one run: task, data and settings, by their digest. One of another run is refused.
//  - Reading gives back the very numbers that were written.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "eval/evaluation.h"

namespace orch::eval {

/// What a log's first line says.
struct RunHead {
  std::string task;
  std::string digest;  ///< of task, data and settings
  std::uint64_t samples = 0;
  bool operator==(const RunHead&) const = default;
};

class SampleLog {
 public:
  /// Opens the log of a run, or begins it.
  static Result<SampleLog> open(const std::filesystem::path& file, const RunHead& head);
  SampleLog(SampleLog&& other) noexcept;
  SampleLog& operator=(SampleLog&& other) noexcept;
  ~SampleLog();

  /// The samples that are in it, in the order in which they were added.
  const std::vector<SampleScore>& samples() const { return samples_; }
  bool has(std::uint64_t sample) const { return known_.contains(sample); }

  /// Returns after the samples are on disk. Those that are there already are passed over.
  Result<std::monostate> append(std::span<const SampleScore> samples);

 private:
  SampleLog(std::filesystem::path file, int descriptor) : file_(std::move(file)), descriptor_(descriptor) {}

  std::filesystem::path file_;
  int descriptor_ = -1;
  std::vector<SampleScore> samples_;
  std::set<std::uint64_t> known_;
};

/// What is in a log that somebody else may still write; none where there is no such file.
Result<std::vector<SampleScore>> read_log(const std::filesystem::path& file, const RunHead& head);

/// A sample as a line of a log, without its newline, and back.
std::string log_line(const SampleScore& sample);
Result<SampleScore> parse_log_line(std::string_view line);

}  // namespace orch::eval
