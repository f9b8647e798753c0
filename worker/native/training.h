// A train cell, as each rank of its group does it (tuning/tune.h).
//
// Holds:
//  - What is trained on is what the cell was asked for: data or rewards that have changed since are an error.
//  - A stop keeps the state; another attempt goes on from there.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "comm/transport.h"
#include "model/formats.h"
#include "native/order.h"

namespace orch::native {

struct TrainingPlace {
  std::filesystem::path model;  ///< its folder
  model::Formats formats = DType::kFp32;
  int threads = 1;
  double memory = 0;  ///< bytes that the rank may take; 0: not known
};

/// Told of each step: how many are done, how many there are, and the step's line of the curve.
using OnStep = std::function<void(std::int64_t done, std::int64_t all, const std::string& line)>;

/// Of the first of the group; the others' means nothing.
worker::Outcome train(const Order& order, const TrainingPlace& place, comm::Transport& ranks,
                      const std::atomic<bool>& stopping, const OnStep& on_step);

}  // namespace orch::native
