#include "report/plan_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "report/rejections.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

/// On one line; bytes that are not UTF-8 (of a file's name, say) are replaced.
std::string compact(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json totals_json(const planner::Totals& totals) {
  return {{"jobs", totals.jobs},
          {"model_loads", totals.model_loads},
          {"gpu_hours", totals.gpu_hours},
          {"makespan_s", totals.makespan}};
}

ordered_json job_row(const planner::Job& job, const planner::Plan& plan, const planner::Site& site) {
  const planner::Placement& placed = plan.sizings[job.sizing].chosen;
  const planner::Need& need = plan.needs[job.sizing];
  ordered_json json;
  json["id"] = job.id;
  json["profile"] = site.catalog.profiles[job.profile].name;
  json["partition"] = site.cluster.partitions[placed.partition].name;
  json["model"] =
      job.models.empty() ? model_name(site.catalog, need.model) : model_name(site.catalog, job.models.front());
  ordered_json models = ordered_json::array();
  for (std::uint32_t model : job.models) models.push_back(model_name(site.catalog, model));
  json["models"] = std::move(models);
  json["kind"] = matrix::name_of(need.kind);
  json["dtype"] = name_of(need.dtype);
  json["nodes"] = job.nodes;
  json["gpus"] = job.gpus;
  json["layout"] = to_json(job.layout);
  json["lanes"] = job.lanes;
  json["gpu_share"] = placed.share;
  json["batch"] = placed.batch;
  json["cells"] = job.cells.size();
  json["memory"] = {{"per_gpu_gib", job.gpu_memory / kGiB}, {"utilisation", job.utilisation}};
  json["score"] = job.score;
  json["expected_s"] = job.seconds;
  json["time_limit_s"] = job.time_limit;
  json["gpu_hours"] = job.gpu_hours;
  json["start_s"] = job.start;
  json["template"] = site.catalog.profiles[job.profile].template_name;
  ordered_json after = ordered_json::array();
  for (std::uint32_t other : job.after) after.push_back(plan.jobs[other].id);
  json["after"] = std::move(after);
  json["reasons"] = job.reasons;
  return json;
}

ordered_json cell_row(std::uint32_t index, const planner::Plan& plan, const matrix::Expansion& expansion,
                      const planner::Site& site) {
  const matrix::Cell& cell = expansion.cells[index];
  const policy::Score& score = plan.scores[index];
  ordered_json terms;
  for (std::size_t i = 0; i < policy::kTerms; ++i) terms[std::string(policy::kTermNames[i])] = score.terms[i];
  ordered_json json;
  json["key"] = to_hex(cell.key);
  json["kind"] = matrix::name_of(cell.kind);
  json["model"] =
      cell.model == matrix::kNone ? ordered_json(nullptr) : ordered_json(model_name(site.catalog, cell.model));
  json["task"] = cell.task == matrix::kNone ? ordered_json(nullptr) : ordered_json(task_name(site.catalog, cell.task));
  json["settings"] = matrix::to_json(expansion.settings[cell.settings]);
  if (cell.depends != matrix::kNone) json["adapter"] = to_hex(expansion.cells[cell.depends].key);
  json["stage"] = expansion.stages[cell.stage].name;
  json["job"] = plan.jobs[plan.job_of[index]].id;
  json["expected_s"] = plan.seconds[index];
  json["score"] = {{"total", score.total}, {"terms", std::move(terms)}};
  return json;
}

void print_jobs(std::ostream& out, const Style& style, const planner::Plan& plan, const planner::Site& site) {
  std::vector<bool> waits(plan.jobs.size());
  for (const planner::Waiting& waiting : plan.waiting) waits[waiting.job] = true;
  Table table({{"job"},
               {"score", Align::kRight},
               {"profile"},
               {"model"},
               {"kind"},
               {"dtype"},
               {"GPUs", Align::kRight},
               {"layout"},
               {"batch", Align::kRight},
               {"GPU memory", Align::kRight},
               {"cells", Align::kRight},
               {"expected", Align::kRight},
               {"limit", Align::kRight},
               {"starts", Align::kRight}});
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    const planner::Job& job = plan.jobs[i];
    const planner::Placement& placed = plan.sizings[job.sizing].chosen;
    const planner::Need& need = plan.needs[job.sizing];
    std::string layout = to_string(placed.layout);
    if (job.lanes > 1) layout = std::to_string(job.lanes) + " lanes" + (placed.share < 1 ? " on a GPU" : "");
    std::string gpus = std::to_string(job.gpus);
    if (job.nodes > 1) gpus = std::to_string(job.nodes) + " × " + std::to_string(job.gpus / job.nodes);
    table.add({job.id, format_fixed(job.score, 3), site.catalog.profiles[job.profile].name,
               models_of(job, site.catalog), std::string(matrix::name_of(need.kind)), std::string(name_of(need.dtype)),
               gpus, layout, grouped(placed.batch), format_fixed(job.utilisation * 100, 0) + " %",
               grouped(static_cast<long long>(job.cells.size())), format_duration(job.seconds),
               format_duration(static_cast<double>(job.time_limit)),
               waits[i]         ? "waits"
               : job.start == 0 ? "at once"
                                : "+" + format_duration(job.start)});
  }
  table.print(out, style);
}

/// Jobs and GPU-hours of the totals count what waits; the makespan cannot.
void print_waits(std::ostream& out, const planner::Plan& plan) {
  const Waits waits = waits_of(plan);
  const std::int64_t others = plan.totals.jobs - waits.jobs;
  out << "Of " << counted(plan.totals.jobs, "job") << " and " << format_hours(plan.totals.gpu_hours) << " GPU-hours, "
      << counted(waits.jobs, "job") << " and " << format_hours(waits.gpu_hours)
      << " GPU-hours wait for the reasons above; "
      << (others ? "the makespan of this plan is that of the other " + (others == 1 ? "one" : grouped(others))
                 : "nothing is left to run, so this plan has no makespan")
      << ".\n";
}

void compare(std::ostream& out, const Style& style, const planner::Plan& plan) {
  Table table({{""},
               {"jobs", Align::kRight},
               {"model loads", Align::kRight},
               {"GPU-hours", Align::kRight},
               {"makespan", Align::kRight}});
  const auto row = [&](const char* what, const planner::Totals& totals) {
    table.add({what, grouped(totals.jobs), grouped(totals.model_loads), format_hours(totals.gpu_hours),
               format_duration(totals.makespan)});
  };
  row("one job per cell", plan.naive);
  row("this plan", plan.totals);
  table.print(out, style);
}

}  // namespace

std::string format_hours(double gpu_hours) {
  if (gpu_hours >= 1000) return grouped(std::llround(gpu_hours));
  return format_fixed(gpu_hours, gpu_hours > 0 && gpu_hours < 1 ? 3 : 1);
}

std::string model_name(const Catalog& catalog, std::uint32_t model) {
  return model == matrix::kNone ? "-" : catalog.models[model].name;
}

std::string task_name(const Catalog& catalog, std::uint32_t task) {
  return task == matrix::kNone ? "-" : catalog.tasks[task].name;
}

Waits waits_of(const planner::Plan& plan) {
  Waits waits;
  for (const planner::Waiting& waiting : plan.waiting) {
    ++waits.jobs;
    waits.gpu_hours += plan.jobs[waiting.job].gpu_hours;
  }
  return waits;
}

std::string models_of(const planner::Job& job, const Catalog& catalog) {
  if (job.models.empty()) return "-";
  const std::string first = model_name(catalog, job.models.front());
  return job.models.size() == 1 ? first : first + " + " + std::to_string(job.models.size() - 1) + " more";
}

nlohmann::ordered_json to_json(const Layout& layout) {
  return {{"tp", layout.tp}, {"pp", layout.pp}, {"dp", layout.dp}};
}

nlohmann::ordered_json to_json(const MemoryUse& memory) {
  ordered_json json = ordered_json::object();
  for (const auto& [name, bytes] : memory.parts()) {
    std::string key = lower(name);
    std::ranges::replace(key, ' ', '_');
    json[key + "_gib"] = bytes / kGiB;
  }
  json["total_gib"] = memory.total() / kGiB;
  return json;
}

std::vector<std::uint32_t> ranked_cells(const planner::Plan& plan, const matrix::Expansion& expansion) {
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < expansion.cells.size(); ++i)
    if (plan.job_of[i] != matrix::kNone) order.push_back(i);
  std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
    if (plan.scores[a].total != plan.scores[b].total) return plan.scores[a].total > plan.scores[b].total;
    return expansion.cells[a].key < expansion.cells[b].key;
  });
  return order;
}

void print_plan(std::ostream& out, const Style& style, const planner::Plan& plan, const matrix::Expansion& expansion,
                const planner::Site& site) {
  out << bold(style, "Plan of " + shown(expansion.name)) << ", policy " << shown(site.policy.name) << ", cluster "
      << shown(site.cluster.name) << ": " << counted(plan.cells, "cell");
  if (const std::int64_t rejected = count_of(plan.rejected)) out << ", " << counted(rejected, "rejected combination");
  out << "\n";
  if (!plan.jobs.empty()) {
    out << "\n" << bold(style, "Jobs") << ", best score first\n";
    print_jobs(out, style, plan, site);
  }
  if (!plan.rejected.empty()) {
    out << "\n" << bold(style, "Rejected") << "\n";
    print_rejections(out, style, rejections_json(plan.rejected));
  }
  if (!plan.waiting.empty()) {
    out << "\n" << bold(style, "Waiting") << "\n";
    Table table({{"job"}, {"reason", Align::kLeft, 400}});
    for (const planner::Waiting& waiting : plan.waiting) table.add({plan.jobs[waiting.job].id, waiting.reason});
    table.print(out, style);
  }
  if (!plan.notes.empty()) {
    out << "\n" << bold(style, "Notes") << "\n";
    for (const std::string& note : plan.notes) out << "  " << shown(note, 400) << "\n";
  }
  out << "\n";
  if (!plan.waiting.empty()) print_waits(out, plan);
  compare(out, style, plan);
}

void print_cells(std::ostream& out, const Style& style, const planner::Plan& plan, const matrix::Expansion& expansion,
                 const planner::Site& site) {
  out << bold(style, "Cells") << ", best score first\n";
  Table table({{"key"},
               {"score", Align::kRight},
               {"kind"},
               {"model"},
               {"task"},
               {"adapter"},
               {"settings", Align::kLeft, 80},
               {"job"},
               {"expected", Align::kRight}});
  for (std::uint32_t index : ranked_cells(plan, expansion)) {
    const matrix::Cell& cell = expansion.cells[index];
    table.add({to_hex(cell.key).substr(0, 12), format_fixed(plan.scores[index].total, 4),
               std::string(matrix::name_of(cell.kind)), model_name(site.catalog, cell.model),
               task_name(site.catalog, cell.task),
               cell.depends == matrix::kNone ? "-" : to_hex(expansion.cells[cell.depends].key).substr(0, 12),
               matrix::to_string(expansion.settings[cell.settings]), plan.jobs[plan.job_of[index]].id,
               format_duration(plan.seconds[index])});
  }
  table.print(out, style);
}

void write_plan_json(std::ostream& out, const planner::Plan& plan, const matrix::Expansion& expansion,
                     const planner::Site& site, bool with_cells) {
  const auto list = [&](std::string_view name, std::size_t count, const auto& item) {
    out << "," << compact(std::string(name)) << ":[";
    for (std::size_t i = 0; i < count; ++i) {
      if (i) out << ",";
      out << "\n" << compact(item(i));
    }
    out << "]";
  };
  ordered_json head;
  head["name"] = expansion.name;
  head["policy"] = site.policy.name;
  head["cluster"] = site.cluster.name;
  head["cells"] = plan.cells;
  head["duplicates"] = expansion.duplicates;
  const std::string opened = compact(head);
  out << opened.substr(0, opened.size() - 1);
  const ordered_json rejected = rejections_json(plan.rejected);
  list("rejected", rejected.size(), [&](std::size_t i) { return rejected[i]; });
  list("jobs", plan.jobs.size(), [&](std::size_t i) { return job_row(plan.jobs[i], plan, site); });
  list("waiting", plan.waiting.size(), [&](std::size_t i) {
    return ordered_json{{"job", plan.jobs[plan.waiting[i].job].id}, {"reason", plan.waiting[i].reason}};
  });
  list("notes", plan.notes.size(), [&](std::size_t i) { return ordered_json(plan.notes[i]); });
  ordered_json sums = totals_json(plan.totals);
  sums.erase("jobs");  // is the list, whose length it would be
  const Waits waits = waits_of(plan);
  sums["waiting_jobs"] = waits.jobs;
  sums["waiting_gpu_hours"] = waits.gpu_hours;
  sums["naive"] = totals_json(plan.naive);
  const std::string text = compact(sums);
  out << "," << text.substr(1, text.size() - 2);
  if (with_cells) {
    const std::vector<std::uint32_t> order = ranked_cells(plan, expansion);
    list("cell_list", order.size(), [&](std::size_t i) { return cell_row(order[i], plan, expansion, site); });
  }
  out << "}\n";
}

}  // namespace orch::report
