// What the daemon was started with, kept in the state directory (orchd.json) for its next start.
//
// Holds:
//  - What is typed again replaces what was kept; `none` or `default` goes back to the default.
//  - A file that does not hold what is written here is refused: started with other folders it would be another daemon.
//  - It is written after a start that succeeded, whole or not at all.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace orch::orchd {

/// By the name of the option, without its dashes; an option that is not there stands at its default.
using OptionsGiven = std::map<std::string, std::vector<std::string>, std::less<>>;

struct Settings {
  std::string cluster;  ///< slurm | local; empty: there was no start yet
  std::string on;       ///< which cluster of cluster.yaml; empty: the only one
  int gpus = 0;         ///< slots that a local cluster pretends to have; 0: those of the machine
  OptionsGiven options;

  /// Of an option that has one value; `otherwise` where it stands at its default.
  std::string text(std::string_view option, std::string_view otherwise = "") const;
  std::vector<std::string> list(std::string_view option) const;
  /// Takes what was typed. Paths become absolute. The error is a sentence on a value that could not be kept.
  Result<std::monostate> replace(const OptionsGiven& typed);
};

/// None yet: the defaults.
Result<Settings> read_settings(const std::filesystem::path& state);
Result<std::monostate> write_settings(const std::filesystem::path& state, const Settings& settings);

/// `0660` as a number; nothing for what is no mode under which the daemon's own account can connect.
Result<unsigned> read_mode(const std::string& text);

}  // namespace orch::orchd
