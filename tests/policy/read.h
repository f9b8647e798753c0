// Policies for tests: those of policies/, and a small one that is written out here.
#pragma once

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/diagnostics.h"
#include "base/yaml.h"
#include "policy/policy.h"
#include "support/source_dir.h"

namespace orch::policy {

/// One of the policies that ship with the program.
inline Policy shipped(const std::string& name) {
  const std::filesystem::path path = orch::test::source_dir() / "policies" / (name + ".yaml");
  Diagnostics diagnostics;
  const auto root = load_yaml(path, diagnostics);
  auto policy = root ? read_policy(*root, path.string(), diagnostics) : std::nullopt;
  if (!policy) throw std::runtime_error(diagnostics.errors().front().what);
  return *policy;
}

/// A whole policy, as short as one can be. A key stands on each line, each ladder on one of its own.
inline std::string small_policy() {
  return "name: small\n"
         "weights: {task_weight: 0.35, model_performance: 0.25, success_rate: 0.20, time_efficiency: 0.10, "
         "size_efficiency: 0.05, hardware_bonus: 0.05}\n"
         "task_types: {grpo: 0.3, dpo: 0.1, other: 0}\n"
         "families: {llama: 0.9, falcon: 0.5, other: 0.1}\n"
         "success: {strength: 10}\n"
         "time: {horizon: 20h}\n"
         "acceptance: {}\n"
         "ageing: {per_day: 0.05, most: 1}\n"
         "planning: {prefer: smallest, memory_low: 0.75, memory_high: 0.85, memory_most: 0.9, speedup_worth: 0.6, "
         "time_quantile: 0.95, time_margin: 1.3, time_least: 10min, backfill: 4h}\n"
         "drain_signal: 120s\n"
         "remedies:\n"
         "  gpu_memory: [{smaller_batch: 2, factor: 0.5}, {int8: 1}, give_up]\n"
         "  host_memory: [give_up]\n"
         "  timeout: [give_up]\n"
         "  node_failure: [retry, give_up]\n"
         "  preempted: [{retry: 3}, give_up]\n"
         "  nan: [give_up]\n"
         "  lost_peer: [give_up]\n"
         "  load_failed: [give_up]\n"
         "  bad_input: [give_up]\n"
         "  unknown: [give_up]\n";
}

/// What reading a text gives.
struct Reading {
  std::optional<Policy> policy;
  Diagnostics diagnostics;
};

inline Reading read_text(const std::string& text) {
  Reading reading;
  const auto root = parse_yaml(text, "p.yaml", reading.diagnostics);
  if (root) reading.policy = read_policy(*root, "p.yaml", reading.diagnostics);
  return reading;
}

/// `text` with its one `part` replaced.
inline std::string with(std::string text, const std::string& part, const std::string& instead) {
  const std::size_t at = text.find(part);
  if (at == std::string::npos) throw std::runtime_error("the text has no " + part);
  return text.replace(at, part.size(), instead);
}

}  // namespace orch::policy
