// How a training went, step by step: a file of JSON lines that grows while it goes.
//
//   {"step":12,"steps":300,"loss":1.93,"norm":0.8,"rate":0.0002,"tokens":2048,"tokens_per_second":410,"seconds":34.2,
//    "memory":123456789, …, "held_out":{"loss":2.0, …}, "note":"…"}
//
// step: of those that are done, from 1; a line of step 0 says how the model was before. tokens: of the step, on all
// ranks. seconds: of work since the training began, over all attempts. memory: the first rank's at its fullest, bytes.
// What is no number is null. A run that went back comes past steps again: the last line of a step counts.
//
// Holds:
//  - A line is in the file, whole, when add() returns; a crash tears the last line at most.
//  - A run that goes on from a step has the lines up to it, of whichever attempt they are.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/descriptor.h"
#include "base/result.h"

namespace orch::tuning {

class Curve {
 public:
  /// `earlier`: the file of the attempt that is gone on from, or the same file; its lines up to `step` are taken over.
  static Result<Curve> open(const std::filesystem::path& file, const std::filesystem::path& earlier, std::int64_t step);

  Result<std::monostate> add(const nlohmann::ordered_json& line);

 private:
  Curve(std::filesystem::path file, Descriptor out) : file_(std::move(file)), out_(std::move(out)) {}

  std::filesystem::path file_;
  Descriptor out_;
};

}  // namespace orch::tuning
