// What a training run writes, so that it goes on from there bit for bit when it was killed: a folder with
//
//   state.safetensors   values/NAME, first/NAME, second/NAME and, if kept, average/NAME of each trained matrix: fp32,
//                       in full, so that ranks of another layout take their parts of it; and `written`, bytes, where
//                       steps to come learn from what the model wrote before (train/generation.h)
//   state.json          the format, the step, the held-out loss, all else that the run goes on with, and the size and
//                       checksum of each other file
//   adapter/            for people, where there is one: as PEFT has it
//
// state.json's first line, `{"checksum":"…",`, is of all that follows that line. It stays so in all formats, so that a
// newer format is told from a damaged file.
//
// Holds:
//  - What is read is what was written, all of it and bit for bit; else there is an error that says what is wrong.
//  - state.json names no file but those above. Links are not followed.
//  - What could not be read again is not written: a number that JSON does not have, sizes that do not fit together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/peft.h"
#include "model/safetensors.h"

namespace orch::train {

constexpr std::int64_t kMostSteps = 1'000'000'000'000;
/// The newest; what has no `written` is of format 1, which programs before it read.
constexpr std::uint64_t kCheckpointFormat = 2;

/// A matrix that is trained, in full.
struct Trained {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> values, first, second;
  std::vector<float> average;  ///< of all matrices or of none
};

struct Checkpoint {
  std::int64_t step = 0;       ///< steps that are done; at most kMostSteps
  std::optional<double> loss;  ///< held out; finite
  /// All else that the run goes on with, an object: schedule, stability, loss scale, place in the data, seeds.
  nlohmann::json run = nlohmann::json::object();
  std::map<std::string, Trained> trained;     ///< by name, as adapters' files have it
  std::string written;                        ///< for steps to come; or empty
  std::optional<model::PeftAdapter> adapter;  ///< for people to use; a run does not need it
};

/// The same, read: the numbers lie in the file.
struct TrainedView {
  std::int64_t rows = 0, cols = 0;
  std::span<const float> values, first, second;
  std::span<const float> average;
};

struct CheckpointFile {
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;  ///< XXH64
  bool operator==(const CheckpointFile&) const = default;
};

/// state.json.
struct CheckpointState {
  std::uint64_t format = 1;
  std::int64_t step = 0;
  std::optional<double> loss;
  nlohmann::json run;
  std::map<std::string, CheckpointFile, std::less<>> files;  ///< state.safetensors, and both of adapter/ or neither
};

struct LoadedCheckpoint {
  std::filesystem::path folder;
  CheckpointState state;
  model::Safetensors file;  ///< which the views look into
  std::map<std::string, TrainedView> trained;
  std::string written;
};

/// Why a checkpoint cannot be gone on from.
struct CheckpointFault {
  std::string what;
  bool is_newer = false;  ///< whole, as far as can be seen, but of a format that this program does not know
};

/// Fills `folder`, which is there and empty. All of it is on the disk when this returns.
Result<std::monostate> write_checkpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint);

/// Checks every byte. The error says which file it is, and not which folder.
Result<LoadedCheckpoint, CheckpointFault> read_checkpoint(const std::filesystem::path& folder);

/// Of read_checkpoint() the quick part: state.json, and whether the other files are there and as long as it says.
Result<CheckpointState, CheckpointFault> look_at_checkpoint(const std::filesystem::path& folder);

/// What the files hold, for those above.
Result<CheckpointState, CheckpointFault> parse_state(std::string_view text);
std::string text_of(const CheckpointState& state);
/// An object's text with the first line that it needs; empty of what is no object.
std::string sealed(std::string_view object);
Result<std::map<std::string, TrainedView>> trained_of(const model::Safetensors& file);
Result<std::string> written_of(const model::Safetensors& file);

}  // namespace orch::train
