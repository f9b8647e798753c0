// What picks models or tasks in a matrix: a name, a glob, or conditions that must all hold.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/catalog.h"
#include "matrix/settings.h"

namespace orch::matrix {

/// Picks models or tasks: all conditions that are given must hold.
struct Selector {
  std::optional<std::string> name;  ///< exact or with * and ?
  std::optional<std::string> category, family, group, kind;
  std::optional<double> min_params, max_params;               ///< both inclusive
  std::map<std::string, std::vector<SettingValue>> settings;  ///< that go with what is picked here: axes
  std::map<std::string, Place> places;                        ///< of those settings
  bool own = false;  ///< the name is of the matrix's own: the catalog does not have it
  Place place;

  /// Whether it names one entry: no glob, no conditions. It outranks the others where settings collide.
  bool is_exact() const;
};

bool picks(const Selector& selector, const Model& model, const Catalog& catalog);
bool picks(const Selector& selector, const Task& task, const Catalog& catalog);

/// The entries that any of the selectors picks, in catalog order.
std::vector<std::uint32_t> pick_models(std::span<const Selector> selectors, const Catalog& catalog);
std::vector<std::uint32_t> pick_tasks(std::span<const Selector> selectors, const Catalog& catalog);

/// The settings of a category that cells of `kind` take.
Axes category_axes(const Category& category, CellKind kind, Diagnostics& diagnostics);

/// Checks the settings of every category of the catalog, which base/ reads without knowing what settings there are.
void check_category_settings(const Catalog& catalog, Diagnostics& diagnostics);

/// What is wrong with axes that say twice how long training lasts; nothing if they do not.
std::optional<std::string> why_not_lengths(const Axes& axes);

}  // namespace orch::matrix
