// What the key of a cell is made of: one JSON object, its parts written once and joined for each cell.
//
// Holds:
//  - The parts in the order below are canonical JSON (base/digest.h): keys in byte order, no blanks.
//  - Neither the short names of the catalog nor the names of matrix and stage are content: renaming changes no key.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/catalog.h"
#include "base/digest.h"
#include "matrix/matrix.h"

namespace orch::matrix {

/// Of the layout of the content itself.
inline constexpr int kContentVersion = 1;

/// Counts up whenever an engine's numbers for the same question may change.
int numerics_version(Engine engine);

/// With the task of lm-evaluation-harness, for that engine, and what `harness` says of it; for the native one with the
/// digest of its own and the weights that `model` was resolved to. `training`: the settings of a training, or null; the
/// native engine has with them what its rows are, and the digests of its data and of what rewards it.
nlohmann::json engine_content(Engine engine, const Model* model, const Task* task, const Harness* harness,
                              const Settings* training = nullptr);

/// The files that a training of the task with such settings learns from; null: nobody has looked.
const TrainingFiles* files_of(const Task& task, const Settings& training);
nlohmann::json model_content(const Model& model);
nlohmann::json task_content(const Task& task);

/// Of the settings, those that are content; `engine` stands in a place of its own.
nlohmann::json settings_content(const Settings& settings, CellKind kind);

/// The engine that the settings say, or the one that cells of the kind always have.
Engine engine_of(const Settings& settings, CellKind kind);

/// SHA-256 of many small texts; keeps its context between them.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  Digest operator()(std::string_view bytes);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace orch::matrix
