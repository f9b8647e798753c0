#include "promise.h"

#include <cstdlib>
#include <iostream>

#include "base/text.h"

namespace orch::fuzz {

std::optional<Yaml> parse(std::string_view bytes, Diagnostics& diagnostics) {
  YamlLimits limits;
  limits.most_bytes = 1u << 20;
  limits.most_nodes = 20'000;
  return parse_yaml(bytes, "input.yaml", diagnostics, limits);
}

void check_messages(const Diagnostics& diagnostics) {
  const auto check = [](const Problem& problem) {
    promise(!problem.what.empty() && is_utf8(problem.what), "a message is UTF-8");
    for (const unsigned char c : problem.what) promise(c >= 0x20 && c != 0x7F, "a message has no control characters");
    promise(problem.place.line >= 0 && problem.place.column >= 0, "a place is in the file");
  };
  for (const Problem& problem : diagnostics.errors()) check(problem);
  for (const Problem& problem : diagnostics.warnings()) check(problem);
  promise(diagnostics.errors().size() <= Diagnostics::kMost, "problems are bounded");
}

void promise(bool kept, std::string_view what) {
  if (kept) return;
  std::cerr << "a promise was broken: " << what << std::endl;
  std::abort();
}

}  // namespace orch::fuzz
