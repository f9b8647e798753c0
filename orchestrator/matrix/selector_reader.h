// Reads what picks models or tasks, and checks every name against the catalog.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/yaml.h"
#include "matrix/selectors.h"

namespace orch::matrix {

enum class Picked { kModels, kTasks };

class SelectorReader {
 public:
  /// What may be said besides what the catalog and the table of settings have.
  struct Own {
    const std::set<std::string>& names;  ///< models or tasks
    const std::set<std::string>& told;   ///< settings
  };

  /// `kinds` are those of the stages that will use what is read: its settings must be taken by one of them.
  SelectorReader(Picked what, std::span<const CellKind> kinds, const Own& own, const std::string& file,
                 const Catalog& catalog, Diagnostics& diagnostics)
      : what_(what), kinds_(kinds), own_(own), file_(file), catalog_(catalog), diagnostics_(diagnostics) {}

  /// A list, or what could stand in one alone.
  std::vector<Selector> read_list(const Yaml& node);
  std::optional<Selector> read(const Yaml& node);

 private:
  void error(const Place& place, std::string what);
  void error(const Yaml& node, std::string what) { error(place_of(node, file_), std::move(what)); }
  std::vector<std::string> condition_names() const;
  void take_own_name(Selector& selector, const Yaml& node);
  void read_name(Selector& selector, const Yaml& node);
  std::optional<std::string> read_word(const Yaml::Entry& entry, const std::vector<std::string>& known);
  std::optional<double> read_params(const Yaml::Entry& entry);
  void read_conditions(Selector& selector, const Yaml& node);

  Picked what_;
  std::span<const CellKind> kinds_;
  Own own_;
  const std::string& file_;
  const Catalog& catalog_;
  Diagnostics& diagnostics_;
  // Problems are counted here and not by the diagnostics, which keep one that is found again (of an inherited list)
  // only once.
  bool bad_ = false;
};

}  // namespace orch::matrix
