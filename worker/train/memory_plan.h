// What a training takes of one rank's memory, before a byte of the model is read: its decoder, what is trained and its
// passes are made over the plan backend, as they will be over a device.
#pragma once

#include <memory>
#include <optional>

#include "kernels/plan/backend.h"
#include "train/learner.h"

namespace orch::train {

class MemoryPlan {
 public:
  /// `adapter`: nothing where all weights are trained. An error says why the model cannot be trained so.
  static Result<std::unique_ptr<MemoryPlan>> make(const model::Architecture& architecture, model::Shard shard,
                                                  model::Formats formats, const std::optional<AdapterRules>& adapter,
                                                  bool average);

  double weights() const { return weights_; }  ///< bytes
  double trained() const { return trained_; }  ///< what is trained, its gradients and moments
  /// A row of what is trained: as much for each copy of a state.
  double row() const { return row_; }
  double pass(const LearnerBounds& bounds) const;

 private:
  MemoryPlan() = default;

  model::Architecture architecture_;
  std::unique_ptr<kernels::PlanBackend> backend_;
  std::unique_ptr<comm::Communicator> tensor_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<Parameters> parameters_;
  double weights_ = 0, trained_ = 0, row_ = 0;
};

}  // namespace orch::train
