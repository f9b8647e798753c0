// Whom to tell what happens, and how: the file notify.yaml of the state directory (docs/operations.md).
//
//   notify:
//     - {on: [sweep_ended, alert, budget], mail: mara@example.org}
//     - {on: [alert], webhook: https://chat.example.org/hooks/T0B0}
//     - command: [/home/mara/bin/page]
//
// Holds: an address of a webhook is a secret. It stands on no command line and, but for what read_targets() quotes to
// the person whose file it is, in no message; a file that others may read may hold none.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/diagnostics.h"
#include "base/result.h"
#include "base/yaml.h"
#include "control/notice.h"

namespace orch::notify {

/// A program, without a shell. The message is its standard input, as JSON.
struct Command {
  std::vector<std::string> argv;
};
struct Mail {
  std::string address;
};
/// The message is posted as JSON; `text` is what Slack, Mattermost and their like show.
struct Webhook {
  std::string url;
};

struct Target {
  std::vector<control::NoticeKind> on;  ///< not empty
  std::variant<Command, Mail, Webhook> way;

  bool wants(control::NoticeKind kind) const;
  /// For people, without what is secret: `mail to mara@example.org`, `the webhook at chat.example.org`.
  std::string name() const;
};

/// Nothing is returned when there was an error.
std::optional<std::vector<Target>> read_targets(const Yaml& root, const std::string& file, Diagnostics& diagnostics);

/// Of notify.yaml in the state directory; none when there is no such file. The error quotes nothing of the file: logs
/// and the journal are read by others. `diagnostics`, if there is one, says more.
Result<std::vector<Target>> load_targets(const std::filesystem::path& state, Diagnostics* diagnostics = nullptr);

}  // namespace orch::notify
