// What a run aims at: of which texts its steps are made, and what it costs how likely the model finds them.
//
// An item of the data set is one text to be said (language modelling, SFT), a pair of which the first is to be
// preferred (DPO), or a prompt whose completions the model itself writes, to be rewarded (GRPO: reward_aim.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/learner.h"
#include "train/objective.h"

namespace orch::train {

/// Figures of a step by their names: shares of all parts, added, are the batch's.
using Figures = std::map<std::string, double>;

/// Texts that are judged together.
struct Unit {
  std::int64_t number = 0;  ///< the aim's own
  std::int64_t name = 0;    ///< among all ranks' of the step; each of its texts has name · texts + place
  std::vector<const Sample*> texts{};

  std::int64_t tokens() const;
};

/// What a step is of. The functions are called by all ranks that are taught other samples, or by none; `look` by those
/// that share the layers.
struct StepItems {
  std::int64_t batch = 0;  ///< its number
  std::int64_t turn = 0;   ///< which step of those that learn from the batch (Turns) this is
  std::span<const std::int64_t> all, own;
  int rank = 0, ranks = 1;                             ///< of these
  std::function<Result<bool>(std::span<double>)> sum;  ///< over these ranks, in their order
  /// An error of one of them is all of theirs.
  std::function<Result<bool>(const Result<bool>&)> agree;
  /// What each of them has, one behind the other.
  std::function<Result<std::string>(const std::string&)> join;
  /// Of each unit's one text the log-probabilities as the model is now, nothing dropped.
  std::function<Result<std::vector<std::vector<float>>>(std::span<const Unit>)> look;
};

class Aim {
 public:
  virtual ~Aim() = default;
  /// Of each item: about as many tokens as its texts have, by which items are dealt over ranks.
  virtual std::vector<std::int64_t> lengths() const = 0;
  virtual int texts_each() const = 0;
  /// Whether a unit is judged beside what the model says of it without the adapter.
  virtual bool has_reference() const = 0;
  /// That logits are divided by before they are log-probabilities, those of the reference too.
  virtual float temperature() const { return 1; }
  /// Names of what is told beside the loss, all 0.
  virtual Figures figures() const = 0;

  /// The units of this rank's items; they stay until the next step begins.
  virtual Result<std::vector<Unit>> begin(const StepItems& items) = 0;
  /// Of this rank's part of the step that has begun; nothing where lengths() says it.
  virtual std::optional<std::int64_t> tokens() const { return std::nullopt; }
  /// The unit's share in the step's loss, its derivatives, and its shares in the figures. `references`: of each text
  /// the log-probabilities without the adapter; empty where there is no reference.
  virtual double judge(const Unit& unit, std::span<const Outcome> outcomes,
                       std::span<const std::vector<float>> references, Figures& figures) = 0;

  /// What steps to come need to go on with this one's batch, the same on all ranks.
  virtual std::string kept() const { return {}; }
  /// An error where that is not of this aim.
  virtual Result<bool> go_on_from(const std::string&) { return true; }

  /// Of what was held out, by its loss and its figures: what falls while the model gets better.
  virtual double cost(double loss, const Figures&) const { return loss; }
};

std::unique_ptr<Aim> make_likelihood_aim(std::vector<Sample> samples);

struct PreferredSample {
  Sample chosen, rejected;
};
std::unique_ptr<Aim> make_preference_aim(std::vector<PreferredSample> pairs, const DpoSettings& settings);

}  // namespace orch::train
