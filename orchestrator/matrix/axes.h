// The axes of settings that a model and a task of a stage have, and the combinations that they make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "matrix/picks.h"
#include "matrix/reasons.h"
#include "matrix/tables.h"

namespace orch::matrix {

struct Axis {
  std::string name;
  std::vector<SettingValue> values;
  std::vector<std::string> key_texts;  ///< `"seed":0`, or empty: not content
  std::size_t stride = 1;
  bool said = false;     ///< by the matrix or a category, and not filled in
  bool follows = false;  ///< turns with another axis, whose stride it has: not an axis of its own

  std::size_t index(std::size_t combination) const { return combination / stride % values.size(); }
  const SettingValue& value(std::size_t combination) const { return values[index(combination)]; }
};

/// The combinations of the axes, in the order of an odometer whose last axis turns fastest. Pairs whose picks are of
/// the same groups share one.
struct Block {
  struct Combination {
    std::uint32_t settings = 0;           ///< interned
    std::uint32_t begin = 0, length = 0;  ///< of its fragment of content
    std::int32_t reason = -1;
    bool excluded = false;  ///< by an exclusion that meets every pair
  };

  CellKind kind = CellKind::kEval;
  std::vector<Axis> axes;  ///< by name, ascending
  std::int64_t count = 1;
  bool engine_chosen = false;  ///< the engine was not said
  bool built = false;
  std::vector<Combination> combinations;
  std::string fragments;
  std::vector<Reason> reasons;
  std::optional<std::int64_t> kept;  ///< combinations that no exclusion of every pair meets, where they were counted

  const Axis* find(std::string_view name) const;
};

/// The axes of the pair, with what is not said filled in; `container` is the image of commands that do not say theirs.
Block lay_axes(const Pair& pair, const Stage& stage, const Catalog& catalog,
               const std::optional<std::string>& container, Diagnostics& diagnostics);

/// The settings of one combination. `keep_off`: those too that say the same as leaving them out.
Settings settings_at(const Block& block, std::size_t combination, bool keep_off);

/// Interns the settings of every combination and writes their parts of the content.
void build(Block& block, SettingsTable& table, const std::vector<Settings>& settings);

}  // namespace orch::matrix
