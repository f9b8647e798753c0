// How much goes through a model at once in training: as many tokens as there is memory for, and layers computed again
// only where there is no other way. Every choice says why.
//
// Holds: no choice changes a step's batch; what does not go through in one pass goes in several. But how it is cut
// changes the last bits of a sum, and what is left differs from node to node: whoever starts a run has its ranks take
// the least of theirs, and goes on with what it began with.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/learner.h"

namespace orch::train {

struct FittingAsked {
  double memory = 0;          ///< bytes that are left beside weights and what is trained; 0: not known
  std::int64_t batch = 0;     ///< tokens that one rank has of a step, about
  std::int64_t longest = 0;   ///< tokens of the longest text
  std::int64_t together = 1;  ///< texts that are judged together
  std::int64_t texts = 0;     ///< that one rank has of a step
  float dropout = 0;
  std::optional<bool> again{};  ///< as the user says; nothing: where it is needed
  std::int64_t most_texts = 0;  ///< of a pass, as the user says (micro_batch); 0: as many as fit
};

struct Fitting {
  LearnerBounds pass;
  double bytes = 0;
  std::vector<std::string> reasons;
};

/// `bytes`: what a pass takes. An error says what the least pass would take.
Result<Fitting> fit(const FittingAsked& asked, const std::function<double(const LearnerBounds&)>& bytes);

}  // namespace orch::train
