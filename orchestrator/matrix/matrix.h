// A matrix: what a user asks for, as written and checked, before it is expanded.
//
//   name: nightly-core
//   models: [llama31_70b_fp8, "qwen*", {family: falcon, max_params: 50B}]
//   tasks: [mmlu, {name: gsm8k, shots: 5}, {category: ADVANCED_CODE_GENERATION}]
//   exclude: [{model: dbrx_instruct, task: bfcl}]
//   settings: {dtype: [bf16, fp8], seed: [0, 1]}
//
// With `stages:` there are several such blocks, each of one kind, which inherit what stands beside `stages:`; a stage
// may evaluate the adapters that a train stage makes (`adapter: STAGE`) or wait for others (`after: [STAGE]`).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/catalog.h"
#include "base/cluster.h"
#include "matrix/selectors.h"
#include "matrix/settings.h"

namespace orch::matrix {

/// Leaves out the cells for which all given parts hold.
struct Exclusion {
  std::optional<Selector> model, task;
  std::map<std::string, SettingValue> settings;
  Place place;
};

/// How lm-evaluation-harness is run where that is not the shipped way (key `lm_eval`). All of it is content of its
/// cells: another program of the harness, other task files or other arguments may measure something else.
struct Harness {
  std::vector<std::string> run;                   ///< the words that begin it; empty: `lm_eval`
  std::string include_path;                       ///< folder of task files; empty: none
  std::map<std::string, std::string> model_args;  ///< beyond those that are made of the cell
  std::vector<std::string> arguments;             ///< words at its end
  std::map<std::string, std::string> env;         ///< variables beyond those of the job
  bool operator==(const Harness&) const = default;
};

struct Stage {
  std::string name;  ///< `main` when the matrix has no stages
  CellKind kind = CellKind::kEval;
  std::vector<Selector> models;
  std::vector<Selector> tasks;
  std::vector<std::string> categories;  ///< if any: a cell's model and task must be in one of them, both in the same
  std::vector<Exclusion> exclude;
  std::map<std::string, std::vector<SettingValue>> settings;  ///< each an axis, of one value or more
  std::vector<std::string> command;  ///< argument vector of a program; {model} and the like stand for the cell's facts
  std::map<std::string, std::string> env;  ///< its variables beyond those of the job, with placeholders too
  Harness harness;
  std::string adapter_of;          ///< a train stage whose adapters are evaluated; empty: none
  std::vector<std::string> after;  ///< stages that must be done first
  Place place;
  std::map<std::string, Place> places;  ///< of its keys, and of its settings as `settings.NAME`

  /// Where the key stands, or the stage itself.
  const Place& place_of(const std::string& key) const;
};

struct Matrix {
  std::string name;
  std::string description;
  std::vector<Stage> stages;
  Submit submit;
  Place source;
};

/// Reads and checks the form. Names are checked against the catalog here too, so that all errors come at once.
/// Nothing is returned when there was an error.
std::optional<Matrix> read_matrix(const Yaml& root, const std::string& file, const Catalog& catalog,
                                  Diagnostics& diagnostics);

}  // namespace orch::matrix
