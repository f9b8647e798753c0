#include <cmath>

#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

/// Asks everything of every value; returns how many there are.
std::size_t walk(const Yaml& node, int depth, int most_depth) {
  promise(depth <= most_depth, "depth is bounded");
  promise(node.line >= 1 && node.column >= 1, "every value has a place");
  promise(!describe(node).empty(), "every value can be described");
  if (const auto number = node.number()) promise(std::isfinite(*number), "a number is finite");
  (void)node.integer();
  (void)node.truth();
  std::size_t nodes = 1;
  for (const Yaml& item : node.items) nodes += walk(item, depth + 1, most_depth);
  for (const Yaml::Entry& entry : node.entries) {
    promise(entry.line >= 1 && entry.column >= 1, "every key has a place");
    const Yaml* found = node.find(entry.key);
    promise(found == &entry.value, "a key is found, and stands once");
    nodes += walk(entry.value, depth + 1, most_depth);
  }
  return nodes;
}

}  // namespace

void yaml_target(std::string_view bytes) {
  Diagnostics diagnostics;
  YamlLimits limits;
  limits.most_bytes = 1u << 20;
  limits.most_nodes = 20'000;
  const auto root = parse_yaml(bytes, "input.yaml", diagnostics, limits);
  check_messages(diagnostics);
  promise(root.has_value() == diagnostics.ok(), "there is a tree, or an error");
  // A node more than the limit may have been made before it was noticed.
  if (root) promise(walk(*root, 0, limits.most_depth + 1) <= limits.most_nodes + 1, "nodes are bounded");
}

}  // namespace orch::fuzz
