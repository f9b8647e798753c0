#include "shipped.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/yaml.h"
#include "support/source_dir.h"

namespace orch::fuzz {
namespace {

const std::filesystem::path kRoot = orch::test::source_dir();

/// What a reader made of a file that ships; the program stops when it did not like it.
void must_be_well(const Diagnostics& diagnostics) {
  if (diagnostics.ok()) return;
  diagnostics.print(std::cerr);
  std::abort();
}

Yaml load(const std::filesystem::path& path, Diagnostics& diagnostics) {
  auto root = load_yaml(path, diagnostics);
  must_be_well(diagnostics);
  return std::move(*root);
}

}  // namespace

const Catalog& shipped_catalog() {
  static const Catalog catalog = [] {
    Diagnostics diagnostics;
    const std::array sources = {kRoot / "db" / "catalog"};
    Catalog loaded = load_catalog(sources, diagnostics);
    must_be_well(diagnostics);
    return loaded;
  }();
  return catalog;
}

const policy::Policy& shipped_policy() {
  static const policy::Policy policy = [] {
    Diagnostics diagnostics;
    const Yaml root = load(kRoot / "policies" / "default.yaml", diagnostics);
    auto read = policy::read_policy(root, "default.yaml", diagnostics);
    must_be_well(diagnostics);
    return std::move(*read);
  }();
  return policy;
}

const Cluster& shipped_cluster() {
  static const Cluster cluster = [] {
    Diagnostics diagnostics;
    const Yaml root = load(kRoot / "policies" / "clusters" / "h100x8.yaml", diagnostics);
    auto read = read_clusters(root, "h100x8.yaml", shipped_catalog(), diagnostics);
    must_be_well(diagnostics);
    return read.front();
  }();
  return cluster;
}

}  // namespace orch::fuzz
