// Reads snippets for the tests of this room.
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/yaml.h"

namespace orch::test {

/// The tree of a snippet that is well-formed; its file is called f.yaml.
inline Yaml yaml(std::string_view text) {
  Diagnostics diagnostics;
  auto root = parse_yaml(text, "f.yaml", diagnostics);
  EXPECT_TRUE(root.has_value()) << text;
  EXPECT_TRUE(diagnostics.ok());
  return root ? *root : Yaml{};
}

/// What is wrong, a line each as `orchctl` prints it.
inline std::vector<std::string> lines(const Diagnostics& diagnostics) {
  std::vector<std::string> all;
  for (const Problem& problem : diagnostics.errors()) all.push_back(to_string(problem.place) + ": " + problem.what);
  return all;
}

/// The problems of a snippet that is read by read(root, file, diagnostics).
template <class Read>
std::vector<std::string> problems(std::string_view text, Read read) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "f.yaml", diagnostics);
  if (root) read(*root, std::string("f.yaml"), diagnostics);
  return lines(diagnostics);
}

}  // namespace orch::test
