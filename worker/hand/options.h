// What stands behind `orch-worker tokenize`, `generate`, `score`, `eval`, `inspect`, `merge` and `train`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "infer/request.h"
#include "tuning/settings.h"

namespace orch::hand {

struct Options {
  std::string command, model;
  std::string
      file;  ///< of JSON; empty: standard input; of eval the task, of merge the adapter's folder, of train the data
  bool special = true;
  bool help = false;
  std::string data;                    ///< of eval: the folder of questions
  std::string samples;                 ///< of eval: a log of them; empty: none
  bool chat = false;                   ///< of eval: questions are put as the model's chat template has it
  std::optional<int> shots;            ///< of eval; nothing: as many as the task says
  std::optional<std::uint64_t> limit;  ///< of eval: questions; nothing: all
  std::optional<int> most;             ///< new tokens of a text; nothing: 32, or as many as the task says
  std::vector<std::string> stop;
  infer::Sampling sampling;
  int tensor = 1, pipeline = 1;
  int threads = 0;                      ///< of each rank; 0: its share of this machine's CPUs
  DType dtype = DType::kFp32;           ///< of computation
  std::string adapter;                  ///< a folder as PEFT writes it; empty: none
  std::string out;                      ///< of merge and train: the new folder
  int copies = 1;                       ///< of train: of the model, which learn from a part of each batch each
  std::string rows, reward;             ///< of train: what a row of the data is; a file
  std::vector<std::string> set;         ///< of train: NAME=VALUE each
  tuning::Settings settings;            ///< what they say
  std::optional<DType> merged;          ///< of merge: of the tensors that change; nothing: as they were
  std::optional<DType> taught;          ///< of train: of computation; nothing: what this processor is good at
  std::optional<DType> weights, cache;  ///< of linear layers, of keys and values; nothing: as is computed
};

/// Whether a first word is one of these commands.
bool is_command(std::string_view word);
/// Of the words from the command on.
Result<Options> read_options(std::span<char* const> words);
/// What `COMMAND --help` prints.
std::string help_of(const std::string& command);

}  // namespace orch::hand
