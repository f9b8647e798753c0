// A training run, step after step: a batch is dealt over the ranks, its texts go through the model and back, the
// gradients are summed and judged, and what is trained changes.
//
// Holds:
//  - What a step does is a function of its number, the rules and the state: a run that goes on from a state has the
//    bits of one that never stopped, on the same layout. (A spike goes back to the last state that was kept, which may
//    be that of a stop.)
//  - What was written for steps that are still to come is part of the state. So a state may be kept, and gone on from,
//    behind any step, and whoever goes on writes and rewards none of it again.
//  - All ranks come to the same verdict of a step, for they judge the same numbers.
//  - How a batch is cut into passes changes no batch.
#pragma once

#include <functional>
#include <string>

#include "comm/transport.h"
#include "train/aim.h"
#include "train/average.h"
#include "train/loss_scale.h"
#include "train/order.h"
#include "train/schedule.h"
#include "train/stability.h"

namespace orch::train {

struct RunRules {
  OrderRules order;
  Turns turns;
  ScheduleRules schedule;
  StabilityRules stability;
  AverageRules average;
  AdamRules adam;                ///< its rate is the schedule's
  double clip = 0;               ///< largest norm of a gradient; 0: as large as it is
  LearnerBounds pass;            ///< how the learner was made
  bool scales_loss = false;      ///< of fp16
  std::int64_t keep_every = 50;  ///< steps between states that can be gone back to; at least 1
};

/// All that a run goes on with.
struct RunState {
  std::int64_t step = 0;     ///< steps that are done
  std::int64_t updates = 0;  ///< of those that changed anything
  PlateauState plateau;
  StabilityState stability;
  LossScale loss_scale;
  std::vector<float> values, first, second, average;  ///< of this rank; the average may be empty
  std::string written;  ///< of the batch that is still learnt from (Aim::kept()), the same on all ranks; else empty

  bool operator==(const RunState&) const = default;
};

/// Of what is held out.
struct Evaluated {
  double loss = 0;
  Figures figures;
};

struct StepReport {
  std::int64_t step = 0;
  double loss = 0;
  double norm = 0;  ///< of the gradient, before it was clipped
  double rate = 0;
  std::int64_t tokens = 0;  ///< of all ranks
  double seconds = 0;       ///< that it took, without what came of it (an evaluation, a checkpoint)
  Figures figures;
  std::optional<Evaluated> held_out;  ///< where the model was evaluated after the step
  Verdict verdict;
};

struct RunEnd {
  enum class Why : std::uint8_t { kDone, kAsked, kFailed } why = Why::kDone;
  Failure failure = Failure::kNone;
  std::string reason;
};

/// What a run is asked to do between two steps.
enum class Wish : std::uint8_t {
  kNone,
  kKeep,  ///< its state, now
  kEnd,   ///< to keep its state and end
};

/// What a run tells, and asks, between two steps. On every rank; answers must be the same on all of them.
struct RunHooks {
  std::function<void(const StepReport&)> report;
  std::function<Wish()> wish;
  /// A good state that can be gone back to: to be kept. `held_out`: the loss after its last step, if it was evaluated.
  std::function<Result<bool>(const RunState&, std::optional<double> held_out)> keep;
};

class Run {
 public:
  /// `held_out`: judged now and then, never learnt from; or null. `data`: the ranks that are taught other samples; or
  /// null. `host`: the same ranks, for what they tell each other of their figures.
  Run(const RunRules& rules, Aim& aim, Aim* held_out, Learner& learner, Parameters& parameters,
      comm::Communicator* data, comm::Transport* host);

  /// The held-out loss, and its figures, as the model is now.
  Result<Evaluated> evaluate();
  Result<RunState> state();
  Result<bool> go_on_from(const RunState& state);
  Result<RunEnd> go(const RunHooks& hooks);

 private:
  /// Over the ranks that are taught other samples, in their order.
  Result<bool> sum(std::span<double> numbers) const;
  Result<bool> sum(double& loss, Figures& figures) const;
  /// An error of one of these ranks is all of theirs, before they wait for each other.
  Result<bool> agree(const Result<bool>& own) const;
  StepItems items(const Aim& aim, std::span<const std::int64_t> all, std::span<const std::int64_t> own) const;
  Result<std::string> join(const std::string& own) const;
  Result<std::vector<std::vector<float>>> look(const Aim& aim, std::span<const Unit> units) const;
  Result<bool> teach(std::span<const std::vector<Unit>> passes, double scale, StepReport& report);
  Result<bool> look(std::span<const std::vector<Unit>> passes, Evaluated& evaluated);
  /// The step's texts and what is known of it before it is learnt from.
  Result<std::vector<Unit>> begin(StepReport& report);
  Result<StepReport> step(std::vector<Unit> units, StepReport report);
  /// Whether the next step learns from what was written before it.
  bool is_within_batch(const RunState& state) const { return state.step % rules_.turns.steps() != 0; }
  /// The units of each pass.
  std::vector<std::vector<Unit>> passes_of(std::vector<Unit> units, const Aim& aim) const;
  int data_rank() const { return host_ ? host_->rank() : 0; }
  int data_ranks() const { return host_ ? host_->ranks() : 1; }

  const RunRules rules_;
  Aim& aim_;
  Aim* const held_out_;
  Learner& learner_;
  Parameters& parameters_;
  comm::Communicator* const data_;
  comm::Transport* const host_;
  Order order_;
  RunState now_;   ///< without its rows, which the parameters have
  RunState good_;  ///< what a spike is gone back to
};

}  // namespace orch::train
