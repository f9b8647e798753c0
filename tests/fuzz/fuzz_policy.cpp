#include <cmath>
#include <nlohmann/json.hpp>

#include "policy/json.h"
#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void policy_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  std::optional<policy::Policy> read;
  if (root) read = policy::read_policy(*root, "input.yaml", diagnostics);
  check_messages(diagnostics);
  promise(read.has_value() == diagnostics.ok(), "there is a policy, or an error");
  if (!read) return;
  double sum = 0;
  for (const double weight : read->weights) {
    promise(std::isfinite(weight) && weight >= 0, "a weight is a number from 0");
    sum += weight;
  }
  promise(std::abs(sum - 1) < 1e-6, "weights sum to 1");
  (void)policy::changes(*read, shipped_policy());
  promise(policy::changes(*read, *read).empty(), "a policy differs from itself in nothing");
  // What `orchctl policy show --json` prints is a policy again, and the same one.
  Diagnostics again;
  const std::string json = policy::to_json(*read).dump();
  const auto shown = parse_yaml(json, "shown.json", again);
  promise(shown.has_value(), "a policy that is shown is YAML");
  const auto reread = policy::read_policy(*shown, "shown.json", again);
  promise(reread.has_value(), "a policy that is shown can be read");
  promise(policy::changes(*read, *reread).empty(), "a policy that is shown is the same policy");
}

}  // namespace orch::fuzz
