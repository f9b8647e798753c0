// What is known of all stages before the first is read in full: their kinds, and what commands make names of their own.
//
// A matrix may name models, tasks and settings that nobody else knows, as far as only programs of the user's own get to
// see them. Which those are depends on stages that stand further down, so it is found first.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/catalog.h"
#include "base/yaml.h"
#include "matrix/settings.h"

namespace orch::matrix {

struct Outline {
  std::vector<CellKind> kinds;          ///< of the stages, in their order
  bool own_models = false;              ///< only commands pick from the models beside `stages:`
  bool own_tasks = false;               ///< the same of the tasks
  std::set<std::string> models, tasks;  ///< names that commands pick and the catalog does not have
  std::set<std::string> told;           ///< settings of one's own that cells of kind command are told of
};

/// `kinds` are those of the stages, or the one of a matrix without.
Outline outline_of(const Yaml& root, std::vector<CellKind> kinds, const Catalog& catalog);

/// The names in the braces of a command as written, `settings.` left out; what is no command has none.
std::set<std::string> named_in(const Yaml* command);

/// Of those, the ones that can only be settings of one's own.
std::set<std::string> own_settings_in(const Yaml* command);

/// Whether a setting of a command may be called so, besides those that commands take anyway.
bool may_be_own_setting(std::string_view name);

}  // namespace orch::matrix
