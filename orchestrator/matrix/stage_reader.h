// Reads one stage, section by section, with what it inherits from beside `stages:`.
#pragma once

#include <string>
#include <vector>

#include "base/fields.h"
#include "base/yaml.h"
#include "matrix/matrix.h"
#include "matrix/outline.h"
#include "matrix/selector_reader.h"

namespace orch::matrix {

/// A value, and which stages use it: what stands beside `stages:` serves those without a value of their own.
struct Section {
  const Yaml* node = nullptr;
  bool inherited = false;
};

/// The stage's own value of `key`, else the outer one.
Section inherit(const Yaml& node, const Yaml& outer, const char* key);

/// Why no cell could start a program of that name: it is sought from the folder that the matrix was submitted in, and
/// cells run elsewhere.
std::optional<std::string> why_not_program(std::string_view word);

class StageReader {
 public:
  StageReader(const Outline& outline, const std::string& file, const Catalog& catalog, Diagnostics& diagnostics)
      : outline_(outline), file_(file), catalog_(catalog), diagnostics_(diagnostics) {}

  /// `outer` is the whole matrix when `node` is one of its stages.
  Stage read(const std::string& name, const Yaml& node, const Yaml* outer, CellKind kind);

 private:
  void error(const Yaml& node, std::string what) { diagnostics_.error(place_of(node, file_), what); }
  bool affordable(const Yaml& node);
  std::vector<CellKind> kinds_for(const Section& section, CellKind own) const;

  void check_keys(const Yaml& node);
  void read_links(const Yaml& node, Stage& stage);
  void read_settings(const Yaml& node, const Yaml* outer, const Section& command, Stage& stage);
  void keep_taken(Axes& axes, CellKind kind) const;
  void check_bench(const Axes& axes, const Place& place);
  const std::set<std::string>& told(const Section& section) const;
  std::vector<Selector> read_selectors(const Section& section, Picked what, CellKind kind);
  void tell_of_near_name(const Selector& selector, Picked what);
  void read_categories(const Yaml& node, Stage& stage);
  void read_exclude(const Section& section, Stage& stage);
  void read_excluded_setting(const Yaml::Entry& entry, std::span<const CellKind> kinds, std::vector<CellKind>& taken,
                             Exclusion& exclusion);
  void read_exclusion(const Yaml& item, std::span<const CellKind> kinds, Stage& stage);
  // stage_command.cpp
  void read_command(const Section& section, Stage& stage);
  void read_words(const Yaml& run, Stage& stage);
  void read_env(const Yaml& env, Stage& stage);
  void read_beside_run(const Section& command, const Yaml* settings, Stage& stage);
  bool read_variable(const Yaml::Entry& entry);
  // stage_harness.cpp
  void read_harness(const Section& section, Stage& stage);
  void read_model_args(const Yaml& node, Harness& harness);
  void read_arguments(const Yaml& node, Harness& harness);
  std::vector<std::string> read_plain_words(const Yaml& node, const char* key);
  // stage_command.cpp
  void check_placeholders(const Yaml& item, const Stage& stage);
  void check_placeholder(const Yaml& item, const std::string& name, const Stage& stage);
  void check_fact(const Yaml& item, const std::string& name, const Stage& stage);
  void check_setting(const Yaml& item, const std::string& placeholder, const std::string& name, const Stage& stage);
  void check_stage(const Yaml& node, const Yaml* outer, const Stage& stage);

  const Outline& outline_;
  std::set<std::string> told_;  // settings of its own that the stage being read is told of, if it is of kind command
  const std::string& file_;
  const Catalog& catalog_;
  Diagnostics& diagnostics_;
  std::size_t values_read_ = 0;
};

}  // namespace orch::matrix
