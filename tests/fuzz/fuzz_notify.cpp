#include "notify/target.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {

void notify_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  std::optional<std::vector<notify::Target>> targets;
  if (root) targets = notify::read_targets(*root, "notify.yaml", diagnostics);
  check_messages(diagnostics);
  promise(targets.has_value() == diagnostics.ok(), "there are targets, or an error");
  if (!targets) return;
  for (const notify::Target& target : *targets) {
    promise(!target.on.empty(), "a target wants something");
    promise(!target.name().empty(), "a target has a name");
    if (const auto* mail = std::get_if<notify::Mail>(&target.way))
      promise(mail->address.find('\n') == std::string::npos && !mail->address.starts_with('-'), "mail has one address");
    if (const auto* hook = std::get_if<notify::Webhook>(&target.way))
      promise(hook->url.find_first_of("\n\"\\") == std::string::npos, "an address stays in its quotes");
  }
}

}  // namespace orch::fuzz
