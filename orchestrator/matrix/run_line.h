// What a worker runs for a cell, made of what the store keeps of it: of a command its words with the cell's facts in
// them, of lm-evaluation-harness a command of its own, of the native engine what it is asked.
//
// Holds:
//  - Of a command it is what fill_command() and fill_env() make of the stage's words and variables with
//    placeholder_values() and the folders: a cell runs the same whether its matrix is at hand or only the store.
//  - No word is ever taken apart again: what a name or a setting holds stays one argument.
// It is made once for each lease, so the content is read once and nothing else is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"

namespace orch::matrix {

struct RunLine {
  std::string engine;                              ///< command | lm-eval | native
  std::vector<std::string> run;                    ///< argument vector; no shell
  std::map<std::string, std::string> environment;  ///< beyond that of the job
  double gpus = 1;  ///< over all nodes; 0 for none, a part of one for a cell that shares it
  int nodes = 1;
  int cpus = 0;                  ///< on each node; 0: not said, what its place has
  std::int64_t memory = 0;       ///< bytes of host memory on each node; 0: not said
  std::optional<wire::Ask> ask;  ///< of the native engine, which runs no program; without what only the place knows:
                                 ///< of a training `data` and `reward` are as the settings say
  std::string data_id;           ///< of a training of the native engine: the Hugging Face id of its task's data
};

/// What only the place knows where the cell runs.
struct RunSlot {
  int gpus = 1;                   ///< for a cell whose settings say none: evaluations and trainings
  std::filesystem::path adapter;  ///< folder of the adapter that the cell evaluates; empty: not known
};

/// `content`: the canonical JSON of the cell, of which its key is the SHA-256. `settings`: all of its settings, those
/// too that are not content. `out`: the file that the program is to write its metrics to, {out}; the folder that it is
/// in is {output}. What cannot be filled is an error.
Result<RunLine> run_line(std::string_view content, std::string_view settings, const std::string& model,
                         const std::string& task, const std::filesystem::path& out, const RunSlot& slot = {});

}  // namespace orch::matrix
