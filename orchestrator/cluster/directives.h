// The `#SBATCH` lines of a script, read as sbatch reads them: up to the first command.
//
// Holds: any bytes give directives. Long names only: `-J x` is `job-name`.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orch::cluster {

struct Directives {
  std::vector<std::pair<std::string, std::string>> options;  ///< as they stand there; flags have an empty value

  /// The last one counts, as with sbatch. Null: it is not said.
  const std::string* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
};

Directives read_directives(std::string_view script);

}  // namespace orch::cluster
