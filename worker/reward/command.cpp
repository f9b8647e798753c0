#include "reward/command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "reward/filter.h"
#include "reward/texts.h"
#include "train/strict_json.h"

namespace orch::reward {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> lines_of(std::span<const Completion> completions) {
  std::string lines;
  const std::string* other = nullptr;  // whose row was read last: the completions of a group stand together
  Json row = Json::object();
  for (const Completion& completion : completions) {
    if (!other || *other != completion.other) {
      auto read = completion.other.empty() ? Json(Json::object()) : train::parse_strict(completion.other, {});
      if (!read) return Error{"the row's fields are not JSON: " + read.error().what};
      row = *std::move(read);
      other = &completion.other;
    }
    const Json line{{"prompt", as_utf8(completion.prompt)},
                    {"completion", as_utf8(completion.text)},
                    {"tokens", completion.tokens},
                    {"ended", completion.is_ended},
                    {"group", completion.group},
                    {"row", row}};
    lines += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  return lines;
}

/// A number that stands alone or as an object's "reward".
std::optional<double> reward_of(std::string_view line) {
  double reward = 0;
  if (line.starts_with('{')) {
    const auto object = train::parse_strict(line, {});
    if (!object) return std::nullopt;
    const auto at = object->find("reward");
    if (at == object->end() || !at->is_number()) return std::nullopt;
    reward = at->get<double>();
  } else {
    if (line.starts_with('+')) line.remove_prefix(1);
    const auto read = std::from_chars(line.data(), line.data() + line.size(), reward);
    if (read.ec != std::errc() || read.ptr != line.data() + line.size()) return std::nullopt;
  }
  return reward;
}

}  // namespace

Result<CommandReward> CommandReward::make(CommandSettings settings) {
  if (settings.run.empty() || settings.run.front().empty()) return Error{"the reward's command names no program"};
  for (const auto* words : {&settings.run, &settings.environment})
    for (const std::string& word : *words)
      if (word.find('\0') != std::string::npos)
        return Error{quote(word) + " has a NUL in it, which no argument and no variable can have"};
  if (settings.limit.count() <= 0) return Error{"a time limit of nothing lets no command end"};
  // Far beyond any training's step, and far from what a clock can hold.
  settings.limit = std::min<std::chrono::milliseconds>(settings.limit, std::chrono::hours(24 * 365));
  return CommandReward(std::move(settings));
}

Result<std::vector<double>> CommandReward::of(std::span<const Completion> completions) {
  std::vector<double> rewards;
  if (completions.empty()) return rewards;
  const auto input = lines_of(completions);
  if (!input) return input.error();
  const auto answer = filter(settings_.run, settings_.environment, *input, settings_.limit, settings_.most_output);
  if (!answer) return Error{"the reward's command " + answer.error().what};
  const std::string name = "the reward's command " + quote(settings_.run.front());
  std::string_view out = answer->out;
  while (!out.empty() && (out.back() == '\n' || out.back() == '\r' || out.back() == ' ')) out.remove_suffix(1);
  const std::vector<std::string_view> lines = out.empty() ? std::vector<std::string_view>() : split(out, '\n');
  if (lines.size() != completions.size())
    return Error{name + " printed " + counted(static_cast<long long>(lines.size()), "line") + " for " +
                 counted(static_cast<long long>(completions.size()), "completion") + last_words(answer->err)};
  for (const std::string_view line : lines) {
    const auto reward = reward_of(trim(line));
    if (!reward || !(std::abs(*reward) <= kMostReward))
      return Error{name + " printed " + quote(as_utf8(trim(line))) + " as line " + std::to_string(rewards.size() + 1) +
                   (reward ? ", which is no number from -1e9 to 1e9"
                           : "; expected a number, or a JSON object with a number as \"reward\"") +
                   last_words(answer->err)};
    rewards.push_back(*reward);
  }
  return rewards;
}

}  // namespace orch::reward
