#include "cluster/directives.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"

namespace orch::cluster {
namespace {

constexpr std::string_view kMark = "#SBATCH";

struct Short {
  char letter;
  std::string_view name;
};
constexpr std::array kShort = {
    Short{'A', "account"},       Short{'a', "array"},         Short{'b', "begin"},      Short{'C', "constraint"},
    Short{'c', "cpus-per-task"}, Short{'D', "chdir"},         Short{'d', "dependency"}, Short{'e', "error"},
    Short{'F', "nodefile"},      Short{'G', "gpus"},          Short{'H', "hold"},       Short{'i', "input"},
    Short{'J', "job-name"},      Short{'k', "no-kill"},       Short{'L', "licenses"},   Short{'M', "clusters"},
    Short{'m', "distribution"},  Short{'N', "nodes"},         Short{'n', "ntasks"},     Short{'O', "overcommit"},
    Short{'o', "output"},        Short{'p', "partition"},     Short{'q', "qos"},        Short{'Q', "quiet"},
    Short{'S', "core-spec"},     Short{'s', "oversubscribe"}, Short{'t', "time"},       Short{'v', "verbose"},
    Short{'W', "wait"},          Short{'w', "nodelist"},      Short{'x', "exclude"}};

// They take no value, or one only after '='.
constexpr std::array<std::string_view, 17> kFlags = {
    "contiguous", "exclusive",  "get-user-env",  "hold",     "ignore-pbs", "no-kill",
    "no-requeue", "overcommit", "oversubscribe", "parsable", "quiet",      "reboot",
    "requeue",    "spread-job", "use-min-nodes", "verbose",  "wait"};

bool is_flag(std::string_view name) { return std::ranges::find(kFlags, name) != kFlags.end(); }

/// Words as sbatch cuts them: quotes and backslashes as in a shell, a `#` that begins a word ends the line.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quoted = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted == 0 && (c == ' ' || c == '\t' || c == '\r')) {
      if (word) words.push_back(std::move(*word));
      word.reset();
      continue;
    }
    if (quoted == 0 && !word && c == '#') break;
    if (!word) word.emplace();
    if (c == '\\' && quoted != '\'' && i + 1 < line.size())
      word->push_back(line[++i]);
    else if (c == quoted)
      quoted = 0;
    else if (quoted == 0 && (c == '\'' || c == '"'))
      quoted = c;
    else
      word->push_back(c);
  }
  if (word) words.push_back(std::move(*word));
  return words;
}

void take_words(const std::vector<std::string>& words, Directives& directives) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const auto next_value = [&](std::string_view name) {
      return is_flag(name) || i + 1 == words.size() ? std::string() : words[++i];
    };
    if (word.starts_with("--")) {
      const std::size_t equals = word.find('=');
      const std::string name(word.substr(2, equals == std::string_view::npos ? equals : equals - 2));
      directives.options.emplace_back(
          name, equals == std::string_view::npos ? next_value(name) : std::string(word.substr(equals + 1)));
    } else if (word.size() >= 2 && word.front() == '-') {
      const auto at = std::ranges::find(kShort, word[1], &Short::letter);
      if (at == kShort.end()) continue;
      const std::string name(at->name);
      directives.options.emplace_back(name, word.size() > 2 ? std::string(word.substr(2)) : next_value(name));
    }
  }
}

}  // namespace

const std::string* Directives::find(std::string_view name) const {
  for (auto at = options.rbegin(); at != options.rend(); ++at)
    if (at->first == name) return &at->second;
  return nullptr;
}

Directives read_directives(std::string_view script) {
  Directives directives;
  for (const std::string_view line : split(script, '\n')) {
    if (line.starts_with(kMark))
      take_words(words_of(line.substr(kMark.size())), directives);
    else if (const std::string_view text = trim(line); !text.empty() && text.front() != '#')
      break;
  }
  return directives;
}

}  // namespace orch::cluster
