#include <cmath>

#include "planner/history_file.h"
#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void history_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  if (root) {
    const planner::History history = planner::read_history(*root, "input.yaml", shipped_catalog(), diagnostics);
    for (const Model& model : shipped_catalog().models.all()) {
      if (const auto* entry = history.find(model.name, "mmlu", "large_single"))
        for (const double seconds : entry->seconds_per_unit)
          promise(std::isfinite(seconds) && seconds > 0, "a measurement is a time");
      for (const double q : {0.0, 0.5, 0.95, 1.0})
        if (const auto quantile = history.quantile(model.name, "mmlu", "large_single", q))
          promise(std::isfinite(*quantile) && *quantile > 0, "a quantile is a time");
    }
    const policy::Evidence evidence = history.evidence("llama", "eval_knowledge");
    promise(evidence.succeeded >= 0 && evidence.failed >= 0, "outcomes are counts");
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
