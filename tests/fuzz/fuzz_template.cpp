#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/template/template.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

constexpr std::size_t kMostOutput = 1 << 16;

/// Values of every type, with texts that are hostile to a shell.
const nlohmann::ordered_json& values() {
  static const nlohmann::ordered_json kValues = {
      {"name", "a'b\"c`d`$(e)\nf\\"},
      {"n", 3},
      {"x", 0.5},
      {"yes", true},
      {"none", nullptr},
      {"least", std::numeric_limits<std::int64_t>::min()},
      {"list", {1, "two", 3.0, {{"k", "v"}}}},
      {"job", {{"id", "j1"}, {"gpus", 8}, {"models", {"m1", "m2"}}}},
      {"messages", {{{"role", "system"}, {"content", "s"}}, {{"role", "user"}, {"content", "u"}}}},
  };
  return kValues;
}

}  // namespace

void template_target(std::string_view bytes) {
  for (const tmpl::Options::Escape escape : {tmpl::Options::Escape::kNone, tmpl::Options::Escape::kShell}) {
    tmpl::Options options = escape == tmpl::Options::Escape::kShell ? tmpl::shell_options() : tmpl::Options{};
    options.most_output = kMostOutput;
    options.most_steps = 20'000;
    // A template may include itself: the loader gives the same bytes for one name.
    const auto loader = [bytes](const std::string& name) -> std::optional<std::string> {
      if (name == "self") return std::string(bytes);
      return std::nullopt;
    };
    // A script begins so, or is refused as a whole.
    const std::string text =
        (options.escape == tmpl::Options::Escape::kShell ? "#!/bin/bash\n" : "") + std::string(bytes);
    const auto parsed = tmpl::Template::parse(text, "input.sbatch", options, loader);
    const auto check = [](const tmpl::TemplateError& error) {
      promise(!error.what.empty() && error.line >= 0 && error.column >= 0, "an error says what and where");
    };
    if (!parsed) {
      check(parsed.error());
      continue;
    }
    const auto first = parsed->render(values());
    if (!first) {
      check(first.error());
      continue;
    }
    promise(first->size() <= kMostOutput, "output is bounded");
    const auto second = parsed->render(values());
    promise(second.ok() && *second == *first, "the same values give the same text");
  }
}

}  // namespace orch::fuzz
