#include "reward/load_reward.h"

#include <unistd.h>

#include "base/fields.h"

namespace orch::reward {
namespace {

constexpr double kLongest = 86400;  ///< seconds of a call

std::optional<CommandSettings> read_command(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  const std::size_t errors = diagnostics.error_count();
  Fields fields(root, file, "a reward file with a command", diagnostics);
  CommandSettings settings;
  settings.run = fields.texts("command").value_or(std::vector<std::string>());
  if (diagnostics.error_count() == errors && (settings.run.empty() || settings.run.front().empty()))
    fields.error("command", "'command' must be the program's words, such as [python3, /shared/reward.py]");
  if (const auto limit = fields.duration("limit", 1, kLongest))
    settings.limit = std::chrono::milliseconds(static_cast<std::int64_t>(*limit * 1000));
  fields.finish();
  if (diagnostics.error_count() != errors) return std::nullopt;
  return settings;
}

}  // namespace

std::optional<RewardFile> read_reward(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  if (root.find("command")) {
    auto command = read_command(root, file, diagnostics);
    return command ? std::optional<RewardFile>(*std::move(command)) : std::nullopt;
  }
  auto rules = read_rules(root, file, diagnostics);
  return rules ? std::optional<RewardFile>(*std::move(rules)) : std::nullopt;
}

std::optional<RewardFile> load_reward(const std::filesystem::path& file, Diagnostics& diagnostics) {
  if (file.extension() != ".yaml" && file.extension() != ".yml") {
    if (::access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file)) {
      CommandSettings program;
      program.run = {std::filesystem::absolute(file).string()};  // a name alone would be looked for in PATH
      return program;
    }
    diagnostics.error({file.string()}, "neither a reward file (.yaml) nor a program that may be run");
    return std::nullopt;
  }
  const auto root = load_yaml(file, diagnostics);
  if (!root) return std::nullopt;
  return read_reward(*root, file.string(), diagnostics);
}

Result<std::unique_ptr<Reward>> make_reward(RewardFile file, std::vector<std::string> environment) {
  if (auto* rules = std::get_if<Rules>(&file))
    return std::unique_ptr<Reward>(std::make_unique<RuleReward>(std::move(*rules)));
  CommandSettings settings = std::get<CommandSettings>(std::move(file));
  settings.environment = std::move(environment);
  auto made = CommandReward::make(std::move(settings));
  if (!made) return made.error();
  return std::unique_ptr<Reward>(std::make_unique<CommandReward>(*std::move(made)));
}

}  // namespace orch::reward
