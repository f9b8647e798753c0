// From a matrix to its cells: one for each measurable result, each with the key of its content.
//
// Holds:
//  - The same content gives the same key, whatever the order of keys, models or stages in the file; settings that say
//    how a cell is run (SettingDef::in_key false) are not content.
//  - Every combination is a cell, or is counted in a rejection with its reason, or was left out by `exclude`; what is
//    left out is in no rejection.
//  - A key does not depend on where the cell will run: what a place would change (the image of a command) has to be
//    settled by the matrix.
//  - A cell stands after the cell it depends on.
// Cells are small (a matrix may have a million): what many share is held once and referred to by index.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/digest.h"
#include "matrix/matrix.h"

namespace orch::matrix {

inline constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

struct Cell {
  Digest key;
  std::uint32_t model = kNone;    ///< index in the catalog; kNone: a command or benchmark without a model
  std::uint32_t task = kNone;     ///< index in the catalog; kNone: a command without a task
  std::uint32_t settings = 0;     ///< index in Expansion::settings
  std::uint32_t stage = 0;        ///< index in Matrix::stages
  std::uint32_t depends = kNone;  ///< the train cell (index) whose adapter it evaluates
  CellKind kind = CellKind::kEval;
};

/// Combinations that cannot or may not run, by one rule for one reason.
struct Rejection {
  std::string model;  ///< name, or `*` when the reason is the task's alone
  std::string task;   ///< name, or `*`
  std::string rule;   ///< engine | vision | dtype | kind | context | … ; acceptance.… ; size
  std::string reason;
  std::int64_t count = 0;
};

inline constexpr std::size_t kMostNotes = 10'000;
/// Beyond so many rows, rejections are told apart by rule and reason only; beyond twice as many, by rule.
inline constexpr std::size_t kMostRejections = 10'000;

/// How a note of Expansion::notes begins.
std::string note_head(const std::string& model, const std::string& task);

struct Expansion {
  std::string name;
  std::vector<Cell> cells;
  std::vector<Settings> settings;  ///< interned: each distinct set once
  std::vector<Rejection> rejected;
  std::vector<std::string> notes;  ///< choices made for the user, and what the matrix says to no effect, `MODEL / TASK:
                                   ///< why`, with `*` for any, or `stage NAME: why`; no more than kMostNotes
  std::int64_t duplicates = 0;     ///< combinations that two stages both asked for; each is one cell
  std::vector<std::pair<std::uint32_t, std::uint32_t>> also;  ///< (stage, cell) that it shares with an earlier stage
  std::optional<std::string> container;  ///< image of commands that do not say theirs: of the matrix, or the site's
  std::vector<Stage> stages;             ///< as in the matrix: their commands and orders are needed later
  std::map<std::uint32_t, std::string>
      content;  ///< filled on request (Options::keep_content): cell index → canonical JSON
};

/// What a train cell gets where its matrix says nothing: rank, rate, batch and the rest, with the reasons. Given by the
/// caller, because the tables belong to the planner. `settings` holds what the matrix says and is completed.
using TrainDefaults = std::function<std::vector<std::string>(const Model& model, const Task& task, Settings& settings)>;

/// A place where jobs may run, a profile on a partition.
struct RunPlace {
  std::string name;  ///< for people
  Submit submit;     ///< what the profile says, over what the partition says
};

struct ExpandOptions {
  std::int64_t most_cells = 20'000'000;  ///< combinations, those that are rejected included
  bool keep_content = false;
  TrainDefaults train_defaults;          ///< may be empty
  std::optional<std::string> container;  ///< image that the cluster gives to all of its jobs
  std::vector<RunPlace> places;          ///< where jobs may run; may be empty: nowhere is special
};

/// An error (too many cells, a cell asked for twice within one stage) is reported at its place in the matrix.
std::optional<Expansion> expand(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options,
                                Diagnostics& diagnostics);

/// What a cell is, and nothing else of it.
nlohmann::json content_of(const Expansion& expansion, const Cell& cell, const Catalog& catalog);
/// The canonical JSON of one cell: what its key is the SHA-256 of.
std::string canonical_content(const Expansion& expansion, const Cell& cell, const Catalog& catalog);

/// The cell that measures in `dtype` what `cell` was to measure: another key (house.md, invariant 5).
Cell substitute(Expansion& expansion, const Cell& cell, const Catalog& catalog, DType dtype);

}  // namespace orch::matrix
