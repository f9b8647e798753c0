// A device that computes nothing and has no memory, but knows how much of it would be taken and what would be done: a
// model of any size is planned in little memory and time.
//
// Holds:
//  - Sizes are of the numbers alone, without a backend's padding: weights (int8 with an fp32 scale a row), pages, and
//    what experts and scores must keep between their parts. Attention keeps nothing.
//  - What is downloaded is 0.
//  - Weights are not read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/backend.h"

namespace orch::kernels {

/// Of all ops of one name.
struct PlannedOps {
  std::int64_t count = 0;
  double flops = 0;  ///< of products
  double bytes = 0;  ///< read and written at least: operands and weights, once an op
};

class PlanBackend : public Backend {
 public:
  virtual std::size_t bytes() const = 0;  ///< that are held now
  virtual std::size_t peak() const = 0;
  /// By name: Linear, Attention, …; copies are Upload, Download and Clear.
  virtual const std::map<std::string, PlannedOps, std::less<>>& ops() const = 0;
};

/// `memory`: bytes of the device; 0: no limit.
std::unique_ptr<PlanBackend> make_plan_backend(std::size_t memory = 0);

}  // namespace orch::kernels
