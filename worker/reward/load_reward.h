// A reward by its file: rules, or a program of the user's (`command`, and `limit`, the longest that a call may take).
// The file may be the program itself: one that may be run and is not called .yaml or .yml. It gets no arguments.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/diagnostics.h"
#include "reward/command.h"
#include "reward/rules.h"

namespace orch::reward {

using RewardFile = std::variant<Rules, CommandSettings>;

/// Of what stands in a file.
std::optional<RewardFile> read_reward(const Yaml& root, const std::string& file, Diagnostics& diagnostics);
/// Of a .yaml file; any other is a program itself, without further words.
std::optional<RewardFile> load_reward(const std::filesystem::path& file, Diagnostics& diagnostics);

/// `environment`: of a program, NAME=value; empty: this process's own.
Result<std::unique_ptr<Reward>> make_reward(RewardFile file, std::vector<std::string> environment);

}  // namespace orch::reward
