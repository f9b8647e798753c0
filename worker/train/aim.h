// What a run aims at: of which texts its steps are made, and what it costs how likely the model finds them.
//
// An item of the data set is one text to be said (language modelling, SFT), or a pair of which the first is to be
// preferred (DPO).
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/learner.h"
#include "train/objective.h"

namespace orch::train {

/// Figures of a step by their names: shares of all parts, added, are the batch's.
using Figures = std::map<std::string, double>;

class Aim {
 public:
  virtual ~Aim() = default;
  /// Of each item: the tokens of all its texts.
  virtual std::vector<std::int64_t> lengths() const = 0;
  virtual std::vector<const Sample*> texts_of(std::int64_t item) const = 0;
  virtual int texts_each() const = 0;
  /// Whether an item is judged beside what the model says of it without the adapter.
  virtual bool has_reference() const = 0;

  /// Names of what is told beside the loss, all 0.
  virtual Figures figures() const = 0;

  /// The items, of all ranks, whose losses are a step's.
  virtual void begin(std::span<const std::int64_t> items) = 0;
  /// The item's share in the step's loss, its derivatives, and its shares in the figures. `references`: of each text
  /// the log-probabilities without the adapter; empty where there is no reference.
  virtual double judge(std::span<const Outcome> outcomes, std::span<const std::vector<float>> references,
                       Figures& figures) = 0;
};

std::unique_ptr<Aim> make_likelihood_aim(std::vector<Sample> samples);

struct PreferredSample {
  Sample chosen, rejected;
};
std::unique_ptr<Aim> make_preference_aim(std::vector<PreferredSample> pairs, const DpoSettings& settings);

}  // namespace orch::train
