#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "matrix/expand.h"
#include "matrix/own_names.h"
#include "planner/plan.h"
#include "planner/script.h"
#include "planner/training.h"
#include "promise.h"
#include "shipped.h"
#include "support/source_dir.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

constexpr std::string_view kCut = "---8<---\n";

std::optional<std::string> template_named(const std::string& name) {
  if (name.find('/') != std::string::npos) return std::nullopt;
  std::ifstream file(orch::test::source_dir() / "templates" / name, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void promise_amount(double value, std::string_view what) { promise(std::isfinite(value) && value >= 0, what); }

void check_totals(const planner::Totals& totals) {
  promise(totals.jobs >= 0 && totals.model_loads >= 0, "sums are counts");
  promise_amount(totals.gpu_hours, "GPU-hours are an amount");
  promise_amount(totals.makespan, "a makespan is a time");
}

void check_plan(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site) {
  std::vector<int> seen(expansion.cells.size());
  for (std::uint32_t i = 0; i < plan.jobs.size(); ++i) {
    const planner::Job& job = plan.jobs[i];
    promise(job.nodes >= 1 && job.gpus == job.layout.gpus(), "a job's GPUs are its layout's");
    promise(plan.needs[job.sizing].no_gpu ? job.gpus == 0 : job.gpus >= 1, "a job has GPUs unless it asks for none");
    promise_amount(job.seconds, "a job takes a time");
    promise(job.time_limit >= 60 && job.time_limit % 60 == 0, "a time limit is whole minutes");
    const planner::Placement& placed = plan.sizings[job.sizing].chosen;
    promise(placed.utilisation <= 0.9 + 1e-9, "no GPU is filled over 90 %");
    const Partition& partition = site.cluster.partitions[placed.partition];
    if (partition.max_time > 0)
      promise(static_cast<double>(job.time_limit) <= partition.max_time, "a limit is within the partition's");
    promise(job.nodes <= partition.nodes, "a job takes nodes that there are");
    for (const std::uint32_t cell : job.cells) {
      promise(cell < seen.size() && plan.job_of[cell] == i, "a cell knows its job");
      ++seen[cell];
    }
    for (const std::uint32_t other : job.after)
      promise(other < plan.jobs.size() && other != i, "a job waits for another");
  }
  std::int64_t accepted = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const bool rejected = plan.job_of[i] == matrix::kNone;
    promise(seen[i] == (rejected ? 0 : 1), "every accepted cell is in one job");
    accepted += rejected ? 0 : 1;
    promise(std::isfinite(plan.scores[i].total), "a score is a number");
  }
  promise(accepted == plan.cells, "cells are counted");
  check_totals(plan.totals);
  check_totals(plan.naive);
  for (std::size_t i = 0; i < plan.jobs.size() && i < 2; ++i) {
    const std::string name = site.catalog.profiles[plan.jobs[i].profile].template_name;
    const auto text = template_named(name);
    promise(text.has_value(), "a profile's template ships");
    const auto script = planner::render_script(*text, name, plan.jobs[i], plan, expansion, site, template_named);
    promise(script.ok() || !script.error().what.empty(), "there is a script, or why there is none");
  }
}

}  // namespace

void plan_target(std::string_view bytes) {
  const std::size_t cut = bytes.find(kCut);
  Diagnostics diagnostics;
  const auto root = parse(bytes.substr(0, cut), diagnostics);
  std::vector<Cluster> clusters{shipped_cluster()};
  if (cut != std::string_view::npos) {
    const auto own = parse(bytes.substr(cut + kCut.size()), diagnostics);
    if (own) clusters = read_clusters(*own, "cluster.yaml", shipped_catalog(), diagnostics);
  }
  std::optional<matrix::Matrix> matrix;
  if (root) matrix = matrix::read_matrix(*root, "input.yaml", shipped_catalog(), diagnostics);
  check_messages(diagnostics);
  if (!matrix || !diagnostics.ok()) return;
  // A partition that the cluster does not have is refused before a plan is made (orchctl's load_and_plan).
  if (matrix->submit.partition && !clusters.front().find(*matrix->submit.partition)) return;
  const Catalog catalog = matrix::with_own_names(*matrix, shipped_catalog());
  const planner::Site site{catalog, clusters.front(), shipped_policy(), matrix->submit};
  matrix::ExpandOptions options;
  options.most_cells = 2'000;
  options.train_defaults = [&site](const Model& model, const Task& task, matrix::Settings& settings) {
    return planner::complete_training(model, task, settings, site);
  };
  const auto expansion = matrix::expand(*matrix, catalog, options, diagnostics);
  if (!expansion || !diagnostics.ok()) return;
  check_plan(planner::make_plan(*expansion, site, planner::History{}), *expansion, site);
}

}  // namespace orch::fuzz
