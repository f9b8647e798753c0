#include "report/explain_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "report/plan_report.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

std::string gib(double value) { return format_fixed(value, value < 10 ? 2 : 1) + " GiB"; }

ordered_json placement_json(const planner::Placement& placed, const planner::Site& site) {
  ordered_json json;
  json["profile"] = site.catalog.profiles[placed.profile].name;
  json["partition"] = site.cluster.partitions[placed.partition].name;
  json["gpu"] = site.cluster.partitions[placed.partition].gpu;
  json["nodes"] = placed.nodes;
  json["gpus"] = placed.gpus;
  json["layout"] = to_json(placed.layout);
  json["layout_text"] = to_string(placed.layout);
  json["gpu_share"] = placed.share;
  json["batch"] = placed.batch;
  json["memory"] = to_json(placed.memory);
  json["utilisation"] = placed.utilisation;
  json["load_s"] = placed.load_seconds;
  json["relative_time"] = placed.relative_time;
  return json;
}

ordered_json sizing_json(const planner::Sizing& sizing, const planner::Site& site) {
  ordered_json json;
  json["chosen"] = placement_json(sizing.chosen, site);
  json["reasons"] = sizing.reasons;
  json["runners_up"] = ordered_json::array();
  for (const planner::RunnerUp& other : sizing.others) {
    ordered_json item = placement_json(other.placement, site);
    item["why_not"] = other.why;
    json["runners_up"].push_back(std::move(item));
  }
  json["refused"] = sizing.refused;
  return json;
}

ordered_json need_json(const planner::Need& need) {
  ordered_json json{{"kind", matrix::name_of(need.kind)},
                    {"engine", name_of(need.engine)},
                    {"dtype", name_of(need.dtype)},
                    {"kv_dtype", name_of(need.kv)},
                    {"tokens", need.tokens}};
  if (need.kind == matrix::CellKind::kTrain) {
    json["rank"] = need.rank;
    json["sequence"] = need.sequence;
    json["global_batch"] = need.global_batch;
    json["full"] = need.full;
  }
  return json;
}

/// Which of the cell's model and task are names of the matrix, of which the catalog knows nothing.
ordered_json own_names_of(const matrix::Cell& cell, const Catalog& catalog) {
  ordered_json own = ordered_json::array();
  if (cell.model != matrix::kNone && catalog.models[cell.model].own) own.push_back("model");
  if (cell.task != matrix::kNone && catalog.tasks[cell.task].own) own.push_back("task");
  return own;
}

std::string text(const ordered_json& json, const char* key) {
  return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "-";
}

void print_sizing(std::ostream& out, const Style& style, const ordered_json& sizing) {
  const ordered_json& chosen = sizing["chosen"];
  const int gpus = chosen["gpus"].get<int>();
  out << bold(style, "Place") << ": " << text(chosen, "profile") << " on partition " << text(chosen, "partition")
      << ", " << counted(chosen["nodes"].get<int>(), "node") << ", ";
  if (gpus > 0) out << counted(gpus, "GPU") << " (" << text(chosen, "gpu") << "), ";
  out << text(chosen, "layout_text") << ", batch " << grouped(chosen["batch"].get<long long>()) << ", loads in "
      << format_duration(chosen["load_s"].get<double>()) << "\n";
  // A command that declares nothing has a GPU to itself; what it fills is its own affair.
  if (chosen["memory"]["total_gib"].get<double>() > 0) {
    out << bold(style, "Memory") << " of the fullest GPU, "
        << format_fixed(chosen["utilisation"].get<double>() * 100, 0) << " %:";
    for (const auto& [name, value] : chosen["memory"].items()) {
      std::string part = name.substr(0, name.size() - 4);
      std::ranges::replace(part, '_', ' ');
      out << (part == "total" ? "; total " : " " + part + " ") << gib(value.get<double>());
    }
    out << "\n";
  }
  for (const auto& reason : sizing["reasons"]) out << "  " << shown(reason.get<std::string>(), 400) << "\n";
  if (!sizing["runners_up"].empty()) {
    out << bold(style, "Runners-up") << "\n";
    Table table({{"profile"},
                 {"GPUs", Align::kRight},
                 {"layout"},
                 {"batch", Align::kRight},
                 {"GPU memory", Align::kRight},
                 {"time", Align::kRight},
                 {"why not", Align::kLeft, 400}});
    for (const auto& other : sizing["runners_up"])
      table.add({text(other, "profile"), std::to_string(other["gpus"].get<int>()), text(other, "layout_text"),
                 grouped(other["batch"].get<long long>()),
                 format_fixed(other["utilisation"].get<double>() * 100, 0) + " %",
                 "× " + format_fixed(other["relative_time"].get<double>(), 2), text(other, "why_not")});
    table.print(out, style);
  }
  if (!sizing["refused"].empty()) {
    out << bold(style, "Not possible") << "\n";
    for (const auto& reason : sizing["refused"]) out << "  " << shown(reason.get<std::string>(), 400) << "\n";
  }
}

}  // namespace

ordered_json model_json(const Model& model, const planner::Need& need, const planner::Site& site) {
  ordered_json json;
  json["model"] = model.name;
  json["source"] = to_string(model.source);
  json["params"] = model.params;
  json["need"] = need_json(need);
  if (model.decoder) {
    const ParamCount count = count_params(model);
    json["computed_params"] = count.total;
    json["heads"] = model.decoder->heads;
    json["kv_heads"] = model.decoder->kv_heads;
    json["kv_bytes_per_token"] = kv_bytes_per_token(*model.decoder, need.kv);
  }
  json["weights_gib"] = weight_bytes(model, need.dtype) / kGiB;
  const auto sizing = planner::size(need, site);
  if (sizing)
    json["sizing"] = sizing_json(*sizing, site);
  else
    json["does_not_fit"] = sizing.error().what;

  json["layouts"] = ordered_json::array();
  if (!model.decoder) return json;
  std::set<std::pair<int, int>> shapes;  // GPUs in all, GPUs of a node
  for (const Profile& profile : site.catalog.profiles.all()) shapes.emplace(profile.gpus(), profile.gpus_per_node);
  double gpu_memory = 0;
  for (const Partition& partition : site.cluster.partitions)
    if (const Gpu* gpu = site.catalog.gpus.find(partition.gpu)) gpu_memory = std::max(gpu_memory, gpu->memory);
  InferenceShape shape;
  shape.weights = need.dtype;
  shape.kv = need.kv;
  shape.tokens = need.tokens;
  for (const auto& [gpus, per_node] : shapes) {
    const Layouts layouts = layouts_for(model, gpus, per_node);
    for (const Layout& layout : layouts.legal) {
      if (layout.dp != 1) continue;
      const double total = inference_memory(model, layout, shape).total();
      json["layouts"].push_back({{"gpus", gpus},
                                 {"layout", to_json(layout)},
                                 {"layout_text", to_string(layout)},
                                 {"per_gpu_gib", total / kGiB},
                                 {"fits", total <= gpu_memory * site.policy.planning.memory_most}});
    }
    for (const auto& [layout, why] : layouts.refused)
      if (layout.dp == 1)
        json["layouts"].push_back(
            {{"gpus", gpus}, {"layout", to_json(layout)}, {"layout_text", to_string(layout)}, {"refused", why}});
  }
  return json;
}

void print_model(std::ostream& out, const Style& style, const ordered_json& explanation) {
  out << bold(style, text(explanation, "model")) << " (" << text(explanation, "source")
      << "): " << format_count(explanation["params"].get<double>()) << " parameters published";
  if (explanation.contains("computed_params"))
    out << ", " << format_count(explanation["computed_params"].get<double>()) << " computed from its architecture";
  out << "\n"
      << bold(style, "Weights") << " in " << text(explanation["need"], "dtype") << ": "
      << gib(explanation["weights_gib"].get<double>());
  if (explanation.contains("kv_bytes_per_token")) {
    const double per_token = explanation["kv_bytes_per_token"].get<double>();
    out << "; " << bold(style, "KV cache") << " in " << text(explanation["need"], "kv_dtype") << ": "
        << format_bytes(per_token) << " a token, " << format_bytes(per_token * 4096) << " for 4,096";
  }
  out << "\n";
  if (explanation.contains("sizing"))
    print_sizing(out, style, explanation["sizing"]);
  else
    out << bold(style, "Does not fit") << ": " << text(explanation, "does_not_fit") << "\n";
  if (explanation["layouts"].empty()) return;
  out << bold(style, "Layouts") << " of one copy, with one sequence of "
      << grouped(explanation["need"]["tokens"].get<long long>()) << " tokens\n";
  Table table({{"GPUs", Align::kRight}, {"layout"}, {"a GPU holds", Align::kRight}, {""}});
  for (const auto& item : explanation["layouts"])
    table.add({std::to_string(item["gpus"].get<int>()), text(item, "layout_text"),
               item.contains("per_gpu_gib") ? gib(item["per_gpu_gib"].get<double>()) : "-",
               item.contains("refused")   ? text(item, "refused")
               : item["fits"].get<bool>() ? "fits"
                                          : "too large"});
  table.print(out, style);
}

ordered_json job_json(std::uint32_t index, const planner::Plan& plan, const matrix::Expansion& expansion,
                      const planner::Site& site) {
  const planner::Job& job = plan.jobs[index];
  ordered_json json;
  json["job"] = job.id;
  ordered_json models = ordered_json::array();
  for (std::uint32_t model : job.models) models.push_back(model_name(site.catalog, model));
  json["models"] = std::move(models);
  json["need"] = need_json(plan.needs[job.sizing]);
  json["gpus"] = job.gpus;
  json["nodes"] = job.nodes;
  json["lanes"] = job.lanes;
  json["cells"] = job.cells.size();
  json["expected_s"] = job.seconds;
  json["time_limit_s"] = job.time_limit;
  json["start_s"] = job.start;
  json["score"] = job.score;
  json["gpu_hours"] = job.gpu_hours;
  json["loads"] = ordered_json::array();
  for (const planner::JobLoad& load : job.loads)
    json["loads"].push_back({{"model", model_name(site.catalog, load.model)},
                             {"lane", load.lane},
                             {"gpus", plan.sizings[load.sizing].chosen.gpus},
                             {"cells", load.cells},
                             {"expected_s", load.seconds}});
  json["after"] = ordered_json::array();
  for (std::uint32_t other : job.after) json["after"].push_back(plan.jobs[other].id);
  for (const planner::Waiting& waiting : plan.waiting)
    if (waiting.job == index) json["waits"] = waiting.reason;
  json["reasons"] = job.reasons;
  json["sizing"] = sizing_json(plan.sizings[job.sizing], site);
  json["first_cells"] = ordered_json::array();
  for (std::size_t i = 0; i < job.cells.size() && i < 20; ++i) {
    const matrix::Cell& cell = expansion.cells[job.cells[i]];
    json["first_cells"].push_back({{"key", to_hex(cell.key)},
                                   {"model", model_name(site.catalog, cell.model)},
                                   {"task", task_name(site.catalog, cell.task)},
                                   {"settings", matrix::to_string(expansion.settings[cell.settings])},
                                   {"score", plan.scores[job.cells[i]].total},
                                   {"expected_s", plan.seconds[job.cells[i]]}});
  }
  return json;
}

void print_job(std::ostream& out, const Style& style, const ordered_json& json) {
  std::vector<std::string> models;
  for (const auto& model : json["models"]) models.push_back(model.get<std::string>());
  const std::string loaded = models.empty()      ? "no model"
                             : models.size() < 4 ? join(models, ", ")
                                                 : counted(static_cast<long long>(models.size()), "model");
  out << bold(style, "Job " + text(json, "job")) << ": " << loaded << " in " << text(json["need"], "dtype") << ", "
      << counted(json["cells"].get<long long>(), "cell") << ", expected "
      << format_duration(json["expected_s"].get<double>()) << ", limit "
      << format_duration(json["time_limit_s"].get<double>()) << ", score "
      << format_fixed(json["score"].get<double>(), 3) << "\n";
  if (json.contains("waits")) out << bold(style, "Waits") << ": " << text(json, "waits") << "\n";
  if (!json["after"].empty()) {
    out << bold(style, "After") << ":";
    for (const auto& other : json["after"]) out << " " << other.get<std::string>();
    out << " (they make its adapters, or its stage waits for theirs)\n";
  }
  for (const auto& reason : json["reasons"]) out << "  " << shown(reason.get<std::string>(), 400) << "\n";
  if (json["loads"].size() > 1) {
    out << bold(style, "Loads") << ", by lane; lanes run side by side\n";
    Table loads({{"lane", Align::kRight},
                 {"model"},
                 {"GPUs", Align::kRight},
                 {"cells", Align::kRight},
                 {"expected", Align::kRight}});
    for (const auto& load : json["loads"])
      loads.add({std::to_string(load["lane"].get<int>() + 1), text(load, "model"),
                 std::to_string(load["gpus"].get<int>()), grouped(load["cells"].get<long long>()),
                 format_duration(load["expected_s"].get<double>())});
    loads.print(out, style);
    out << "Of the first load:\n";
  }
  print_sizing(out, style, json["sizing"]);
  out << bold(style, "Cells") << ", best first" << (json["cells"].get<std::size_t>() > 20 ? " (the first 20)" : "")
      << "\n";
  Table table({{"key"},
               {"score", Align::kRight},
               {"model"},
               {"task"},
               {"settings", Align::kLeft, 80},
               {"expected", Align::kRight}});
  for (const auto& cell : json["first_cells"])
    table.add({text(cell, "key").substr(0, 12), format_fixed(cell["score"].get<double>(), 4), text(cell, "model"),
               text(cell, "task"), text(cell, "settings"), format_duration(cell["expected_s"].get<double>())});
  table.print(out, style);
}

ordered_json cell_json(std::uint32_t index, const planner::Plan& plan, const matrix::Expansion& expansion,
                       const planner::Site& site) {
  const matrix::Cell& cell = expansion.cells[index];
  ordered_json json;
  json["key"] = to_hex(cell.key);
  json["kind"] = matrix::name_of(cell.kind);
  json["model"] = model_name(site.catalog, cell.model);
  json["task"] = task_name(site.catalog, cell.task);
  json["own_names"] = own_names_of(cell, site.catalog);
  json["stage"] = expansion.stages[cell.stage].name;
  json["settings"] = matrix::to_json(expansion.settings[cell.settings]);
  json["content"] = ordered_json::parse(matrix::canonical_content(expansion, cell, site.catalog));
  if (cell.depends != matrix::kNone) json["adapter_of"] = to_hex(expansion.cells[cell.depends].key);
  if (cell.kind == matrix::CellKind::kTrain) {
    json["notes"] = ordered_json::array();
    const std::string head = matrix::note_head(json["model"], json["task"]);
    for (const std::string& note : expansion.notes)
      if (note.starts_with(head)) json["notes"].push_back(note.substr(head.size()));
  }
  if (plan.job_of[index] == matrix::kNone) {
    json["rejected"] = ordered_json::array();
    for (const matrix::Rejection& row : plan.rejected)
      if ((row.model == json["model"] || row.model == "*") && (row.task == json["task"] || row.task == "*"))
        json["rejected"].push_back({{"rule", row.rule}, {"reason", row.reason}});
    return json;
  }
  json["job"] = plan.jobs[plan.job_of[index]].id;
  json["expected_s"] = plan.seconds[index];
  json["total"] = plan.scores[index].total;
  json["terms"] = ordered_json::array();
  for (std::size_t i = 0; i < policy::kTerms; ++i) {
    const double weight = site.policy.weights[i], term = plan.scores[index].terms[i];
    json["terms"].push_back({{"term", policy::kTermNames[i]},
                             {"input", weight > 0 ? ordered_json(term / weight) : ordered_json(nullptr)},
                             {"weight", weight},
                             {"weighted", term}});
  }
  return json;
}

void print_cell(std::ostream& out, const Style& style, const ordered_json& json) {
  out << bold(style, "Cell " + text(json, "key")) << "\n  " << text(json, "kind") << " of " << text(json, "model")
      << " on " << text(json, "task") << ", stage " << text(json, "stage") << "\n";
  const ordered_json& own = json["own_names"];
  if (!own.empty())
    out << "  " << (own.size() > 1 ? "model and task are names" : own[0].get<std::string>() + " is a name")
        << " of the matrix's own, of which the catalog knows nothing\n";
  out << bold(style, "Settings") << ": " << json["settings"].dump() << "\n";
  if (json.contains("adapter_of"))
    out << bold(style, "Adapter") << " made by cell " << text(json, "adapter_of") << "\n";
  if (json.contains("notes") && !json["notes"].empty()) {
    out << bold(style, "Chosen") << " for trainings of this model on this task\n";
    for (const auto& note : json["notes"]) out << "  " << shown(note.get<std::string>(), 400) << "\n";
  }
  if (json.contains("rejected")) {
    out << bold(style, "Rejected") << "\n";
    for (const auto& row : json["rejected"]) out << "  " << text(row, "rule") << ": " << text(row, "reason") << "\n";
    return;
  }
  out << bold(style, "Job") << " " << text(json, "job") << ", expected "
      << format_duration(json["expected_s"].get<double>()) << "\n";
  Table table({{"term"}, {"input", Align::kRight}, {"weight", Align::kRight}, {"weighted", Align::kRight}});
  for (const auto& term : json["terms"])
    table.add({text(term, "term"), term["input"].is_null() ? "-" : format_fixed(term["input"].get<double>(), 4),
               format_fixed(term["weight"].get<double>(), 3), format_fixed(term["weighted"].get<double>(), 4)});
  table.add({"score", "", "", format_fixed(json["total"].get<double>(), 4)});
  table.print(out, style);
  out << bold(style, "Content") << " (its SHA-256 is the key): " << json["content"].dump() << "\n";
}

}  // namespace orch::report
