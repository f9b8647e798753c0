// How a model is trained: the settings of a train cell by the names that a matrix has for them (docs/matrix.md).
//
// Holds:
//  - Names and bounds are the matrix's. What a matrix says of a cell beside them (dtype, engine, data, tensor, …) is
//    passed over; any other name is an error.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/objective.h"
#include "train/reward_aim.h"
#include "train/run.h"

namespace orch::tuning {

struct Settings {
  bool full = false;  ///< all weights are trained, and no adapter
  std::int64_t rank = 16;
  std::optional<double> alpha;  ///< nothing: twice the rank
  double dropout = 0;
  bool rank_stabilised = false;
  std::vector<std::string> targets;  ///< as train::AdapterRules has them
  double learning_rate = 2e-4;
  std::int64_t batch_size = 16;  ///< samples of an accumulation step, of all ranks
  std::int64_t accumulation = 1;
  std::int64_t micro_batch = 0;  ///< samples at once on a rank; 0: as many as fit
  std::optional<std::int64_t> epochs, steps;
  std::int64_t sequence = 2048;  ///< tokens of the longest sample
  std::optional<double> beta;
  train::PreferenceLoss loss = train::PreferenceLoss::sigmoid;
  double label_smoothing = 0;
  std::int64_t group_size = 8;
  std::int64_t max_tokens = 256;  ///< of a completion
  train::Aggregation aggregation = train::Aggregation::dapo;
  double epsilon = 0.2;
  std::optional<double> epsilon_high;  ///< nothing: as epsilon
  double delta = 0;
  std::optional<train::Scaling> scale_rewards;  ///< nothing: by the group; of dr_grpo not at all
  std::int64_t iterations = 1;
  std::int64_t steps_per_generation = 1;
  double temperature = 1;  ///< of what is written while it learns
  double top_p = 1;
  std::int64_t top_k = 0;
  train::Course schedule = train::Course::kCosine;
  double warmup = 0;
  int stages = 1;
  double weight_decay = 0;
  double clip = 1;
  double ema_decay = 0.9999;
  std::optional<std::int64_t> held_out;  ///< rows; nothing: one in twenty, at most kMostHeldOut
  std::int64_t evaluate_every = 25;
  bool group_by_length = true;
  std::int64_t checkpoint_every = 50;
  std::int64_t keep_checkpoints = 8;  ///< of the best
  std::optional<bool> checkpointing;  ///< layers are computed again on the way back; nothing: where memory asks for it
  std::uint64_t seed = 0;
};

constexpr std::int64_t kMostHeldOut = 128, kMostPromptsHeldOut = 16;

/// Samples of a step, over all ranks and accumulation steps.
std::int64_t batch_of(const Settings& settings);
/// How what was written for a batch is learnt from; of anything but prompts each batch is one step.
train::Turns turns_of(const Settings& settings, bool of_prompts);
train::Scaling scaling_of(const Settings& settings);
/// What completions are learnt by, or which setting makes no sense.
Result<train::GrpoSettings> grpo_of(const Settings& settings);
/// How completions are drawn, or why not so.
Result<infer::Sampling> sampling_of(const Settings& settings);
double alpha_of(const Settings& settings);
/// Of so many rows of a data set, those that are held out. Of prompts, which take long to be completed, fewer.
std::int64_t held_out_of(const Settings& settings, std::int64_t rows, bool of_prompts);
/// Steps of a run over so many samples.
std::int64_t steps_of(const Settings& settings, std::int64_t samples, bool of_prompts = false);

/// Of a JSON object. An error names the setting and what it takes.
Result<Settings> read_settings(const nlohmann::json& json);
/// `NAME=VALUE`, as words of a command line have it, into such an object.
Result<bool> add_setting(const std::string& word, nlohmann::json& to);

std::vector<std::string> setting_names();

/// What must be the same for a run to go on from another's state, as text. Where it differs, difference() names it. A
/// setting that has its default may be null there: a program that does not know it yet has computed the same.
nlohmann::json identity_of(const Settings& settings);
std::string difference(const nlohmann::json& a, const nlohmann::json& b);

}  // namespace orch::tuning
