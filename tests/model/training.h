// A training pass over some texts, and what comes of it as a checkpoint's tensors.
#pragma once

#include <memory>
#include <vector>

#include "model/runner.h"
#include "model/training_pass.h"

namespace orch::model {

/// Texts, and of each token but the first the coefficient of its log-probability in the loss, which is −Σ c · log p.
struct Lesson {
  std::vector<int> ids;
  std::vector<float> coefficients;  ///< one a token; the first has none
};

struct Taught {
  double loss = 0;
  std::vector<std::vector<float>> logprobs;  ///< of each token but the first
  Tensors gradients;                         ///< of everything that a checkpoint has
};

/// All weights are trained, by one pass over all lessons.
Taught teach(Runner& runner, const std::vector<Lesson>& lessons, bool again, float temperature = 1);

/// What a pass is given, in the backend's memory.
class Given {
 public:
  Given(Runner& runner, kernels::test::Device& device, const std::vector<Lesson>& lessons, bool again,
        std::int64_t rank = 0, bool drops = false, std::int64_t expert_rank = 0);

  Step step;
  Targets targets;
  kernels::Matrix coefficients;
  TrainingBounds bounds;
  std::unique_ptr<TrainingPass> pass;
};

}  // namespace orch::model
