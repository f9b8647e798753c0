// The shipped catalog and small clusters of known machines, for the tests of this room.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/catalog.h"
#include "base/cluster.h"
#include "base/units.h"
#include "matrix/expand.h"
#include "planner/sizing.h"
#include "support/source_dir.h"

namespace orch::planner::test {

/// db/catalog, read once.
inline const Catalog& shipped() {
  static const Catalog catalog = [] {
    Diagnostics diagnostics;
    const std::vector<std::filesystem::path> sources = {orch::test::source_dir() / "db/catalog"};
    Catalog read = load_catalog(sources, diagnostics);
    EXPECT_TRUE(diagnostics.ok());
    return read;
  }();
  return catalog;
}

inline Partition partition(std::string name, std::string gpu, int nodes, int gpus_per_node) {
  Partition made;
  made.name = std::move(name);
  made.gpu = std::move(gpu);
  made.nodes = nodes;
  made.gpus_per_node = gpus_per_node;
  made.cpus_per_node = 128;
  made.memory_per_node = 1024 * kGiB;
  made.max_time = 2 * 86400;
  return made;
}

inline Cluster cluster(std::vector<Partition> partitions) {
  Cluster made;
  made.name = "test";
  made.partitions = std::move(partitions);
  return made;
}

/// Four nodes of eight H100s.
inline Cluster h100s() { return cluster({partition("gpu", "h100_80gb", 4, 8)}); }

/// One cell with its settings, and what it needs.
struct OneCell {
  matrix::Expansion expansion;
  const matrix::Cell& cell() const { return expansion.cells.back(); }
  const matrix::Settings& settings() const { return expansion.settings[cell().settings]; }
};

inline OneCell one_cell(const Catalog& catalog, matrix::CellKind kind, const std::string& model,
                        const std::string& task, matrix::Settings settings = {}) {
  OneCell one;
  matrix::Cell cell;
  cell.kind = kind;
  if (!model.empty()) {
    EXPECT_TRUE(catalog.models.index_of(model)) << model;
    cell.model = catalog.models.index_of(model).value_or(matrix::kNone);
  }
  if (!task.empty()) {
    EXPECT_TRUE(catalog.tasks.index_of(task)) << task;
    cell.task = catalog.tasks.index_of(task).value_or(matrix::kNone);
  }
  one.expansion.settings.push_back(std::move(settings));
  one.expansion.cells.push_back(cell);
  return one;
}

inline Need need_for(const Catalog& catalog, const std::string& model, const std::string& task,
                     matrix::Settings settings = {}, matrix::CellKind kind = matrix::CellKind::kEval) {
  const OneCell one = one_cell(catalog, kind, model, task, std::move(settings));
  return need_of(one.cell(), one.expansion, catalog);
}

inline matrix::Settings with(const std::string& name, matrix::SettingValue value) {
  matrix::Settings settings;
  settings.set(name, std::move(value));
  return settings;
}

}  // namespace orch::planner::test
