#include <cmath>

#include "planner/history_file.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void history_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  if (root) {
    const planner::History history = planner::read_history(*root, "input.yaml", shipped_catalog(), diagnostics);
HISTORY_CHECKS
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
