// The models and tasks that a stage picks, each with the settings that its selectors say.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "matrix/expand.h"

namespace orch::matrix {

/// A model or a task that a stage picks.
struct Pick {
  std::uint32_t index = kNone;  ///< in the catalog; kNone: the stage has cells without one
  Axes own;                     ///< settings of the selectors
  Axes category;                ///< of the categories through which it was picked
  Place place;
  std::string content;      ///< of a model: its part of the content; of a task: all that follows the settings
  std::uint32_t group = 0;  ///< picks of one group give equal axes and defaults
  std::vector<std::uint64_t> excluded;  ///< by which exclusions of the stage it is met, a bit for each
  std::vector<bool> in;                 ///< which of the stage's categories
};

struct Picks {
  std::vector<Pick> models, tasks;
};

/// `was_trained`: whether an adapter of the model is asked for; a stage with `adapter` that names no models takes
/// those.
Picks pick(const Stage& stage, const Catalog& catalog, const std::function<bool(std::uint32_t model)>& was_trained,
           Diagnostics& diagnostics);

/// A model and a task of one stage that go together.
struct Pair {
  const Pick& m;
  const Pick& t;
  const Model* model;    ///< null: cells without one
  const Task* task;      ///< null: cells without one
  std::size_t category;  ///< of the stage, counted from 1, through which they go together; 0: the stage has none
};

/// The pair, if they go together: where the stage has categories, in the first of them that holds both.
std::optional<Pair> pair_of(const Pick& model, const Pick& task, const Stage& stage, const Catalog& catalog);

/// Sets what `stronger` says, key by key. Epochs and steps each say how long training lasts, so one replaces the other.
void override_with(Axes& axes, const Axes& stronger, CellKind kind);

/// The number format that a model's weights have when nothing is said.
std::string_view default_dtype(const Model& model);

/// Where the setting of a pair is said: at the selector that wins, else in the stage, else in the category.
Place place_of_setting(const std::string& name, const Pair& pair, const Stage& stage, const Catalog& catalog);

}  // namespace orch::matrix
