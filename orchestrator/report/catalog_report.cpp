#include "report/catalog_report.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

/// Whole numbers without a point.
ordered_json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 9e15) return static_cast<std::int64_t>(value);
  return value;
}

ordered_json decoder_json(const Decoder& d) {
  ordered_json json{{"layers", d.layers},        {"hidden", d.hidden},       {"heads", d.heads},
                    {"kv_heads", d.kv_heads},    {"head_dim", d.head_dim},   {"ffn", d.ffn},
                    {"vocab", d.vocab},          {"gated_ffn", d.gated_ffn}, {"tied", d.tied},
                    {"layer_norm", d.layer_norm}};
  if (d.positions) json["positions"] = d.positions;
  if (d.window) json["window"] = d.window;
  if (d.experts)
    json["experts"] = {{"count", d.experts->count},
                       {"active", d.experts->active},
                       {"ffn", d.experts->ffn},
                       {"shared", d.experts->shared},
                       {"first_dense", d.experts->first_dense}};
  if (d.latent)
    json["latent"] = {{"q_rank", d.latent->q_rank},
                      {"kv_rank", d.latent->kv_rank},
                      {"nope_dim", d.latent->nope_dim},
                      {"rope_dim", d.latent->rope_dim},
                      {"value_dim", d.latent->value_dim}};
  return json;
}

void print_lines(std::ostream& out, const Style& style, const ordered_json& value, const std::string& indent) {
  for (const auto& [key, inner] : value.items()) {
    out << indent << bold(style, key) << ": ";
    if (inner.is_object() && !inner.empty()) {
      out << "\n";
      print_lines(out, style, inner, indent + "  ");
    } else if (inner.is_string()) {
      out << shown(inner.get<std::string>(), 2000) << "\n";
    } else if (inner.is_array()) {
      std::string text;
      for (const auto& item : inner)
        text += (text.empty() ? "" : ", ") + (item.is_string() ? shown(item.get<std::string>()) : item.dump());
      out << (text.empty() ? "-" : text) << "\n";
    } else if (inner.is_number_integer()) {
      out << grouped(inner.get<long long>()) << "\n";
    } else {
      out << inner.dump() << "\n";
    }
  }
}

std::string engines_of(const Model& model) {
  std::string text;
  for (Engine engine : model.engines) text += (text.empty() ? "" : " ") + std::string(name_of(engine));
  return text;
}

}  // namespace

ordered_json to_json(const Model& model, const Catalog& catalog) {
  ordered_json json;
  json["name"] = model.name;
  json["hf_id"] = model.hf_id;
  json["revision"] = model.revision;
  json["family"] = model.family;
  json["kind"] = name_of(model.kind);
  json["params"] = number(model.params);
  json["active_params"] = number(model.active_params);
  json["context"] = model.context;
  json["dtype"] = name_of(model.dtype);
  if (model.scales != Scales::kNone) json["scales"] = name_of(model.scales);
  json["license"] = model.license;
  json["gated"] = model.gated;
  json["engines"] = ordered_json::array();
  for (Engine engine : model.engines) json["engines"].push_back(name_of(engine));
  json["categories"] = catalog.categories_of_model(model.name);
  if (model.decoder) json["decoder"] = decoder_json(*model.decoder);
  if (model.vision)
    json["vision"] = {{"name", model.vision->name},
                      {"layers", model.vision->layers},
                      {"hidden", model.vision->hidden},
                      {"heads", model.vision->heads},
                      {"params", model.vision->params}};
  if (!model.unknown.empty()) json["unknown"] = model.unknown;
  if (!model.notes.empty()) json["notes"] = model.notes;
  json["source"] = to_string(model.source);
  return json;
}

ordered_json to_json(const Task& task, const Catalog& catalog) {
  ordered_json json;
  json["name"] = task.name;
  json["kind"] = name_of(task.kind);
  json["group"] = task.group;
  json["type"] = task.type;
  json["hf_id"] = task.hf_id;
  if (!task.subset.empty()) json["subset"] = task.subset;
  json["gated"] = task.gated;
  json["metric"] = task.metric;
  json["shots"] = task.shots;
  json["samples"] = number(task.samples);
  json["prompt_tokens"] = number(task.prompt_tokens);
  json["output_tokens"] = number(task.output_tokens);
  json["categories"] = catalog.categories_of_task(task.name);
  if (task.bench)
    json["bench"] = {{"params", task.bench->params},
                     {"flops_per_sample", task.bench->flops_per_sample},
                     {"batch_per_gpu", task.bench->batch_per_gpu},
                     {"samples", task.bench->samples}};
  if (!task.notes.empty()) json["notes"] = task.notes;
  json["source"] = to_string(task.source);
  return json;
}

ordered_json to_json(const Profile& profile) {
  ordered_json json;
  json["name"] = profile.name;
  json["nodes"] = profile.nodes;
  json["gpus_per_node"] = profile.gpus_per_node;
  json["gpus"] = profile.gpus();
  json["use"] = name_of(profile.use);
  json["cpus_per_gpu"] = profile.cpus_per_gpu;
  json["memory_gib"] = profile.memory / kGiB;
  json["time_limit_s"] = profile.time_limit;
  json["template"] = profile.template_name;
  json["description"] = profile.description;
  if (!profile.partition.empty()) json["partition"] = profile.partition;
  json["source"] = to_string(profile.source);
  return json;
}

ordered_json to_json(const Category& category) {
  return {{"name", category.name},
          {"description", category.description},
          {"models", category.models},
          {"tasks", category.tasks},
          {"source", to_string(category.source)}};
}

ordered_json to_json(const Gpu& gpu) {
  ordered_json json;
  json["name"] = gpu.name;
  json["memory_gib"] = gpu.memory / kGiB;
  json["bandwidth"] = gpu.bandwidth;
  ordered_json flops = ordered_json::object();
  for (const auto& [dtype, value] : gpu.flops) flops[std::string(name_of(dtype))] = value;
  json["flops"] = std::move(flops);
  json["link"] = gpu.link;
  json["watts"] = gpu.watts;
  json["slurm_names"] = gpu.slurm_names;
  json["source"] = to_string(gpu.source);
  return json;
}

void print_models(std::ostream& out, const Style& style, std::span<const Model* const> models) {
  Table table({{"model"},
               {"family"},
               {"kind"},
               {"parameters", Align::kRight},
               {"active", Align::kRight},
               {"context", Align::kRight},
               {"stored in"},
               {"gated"},
               {"engines"},
               {"Hugging Face id"}});
  for (const Model* model : models)
    table.add({model->name, model->family, std::string(name_of(model->kind)), format_count(model->params),
               model->is_moe() ? format_count(model->active_params) : "",
               model->context ? grouped(model->context) : "-", std::string(name_of(model->dtype)),
               model->gated ? "yes" : "", engines_of(*model), model->hf_id});
  table.print(out, style);
}

void print_tasks(std::ostream& out, const Style& style, std::span<const Task* const> tasks) {
  Table table({{"task"},
               {"group"},
               {"kind"},
               {"weighed as"},
               {"shots", Align::kRight},
               {"metric"},
               {"samples", Align::kRight},
               {"gated"},
               {"Hugging Face id"}});
  for (const Task* task : tasks)
    table.add({task->name, task->group, std::string(name_of(task->kind)), task->type, std::to_string(task->shots),
               task->metric, task->samples > 0 ? grouped(static_cast<long long>(task->samples)) : "-",
               task->gated ? "yes" : "", task->hf_id});
  table.print(out, style);
}

void print_profiles(std::ostream& out, const Style& style, const Catalog& catalog) {
  Table table({{"profile"},
               {"nodes", Align::kRight},
               {"GPUs", Align::kRight},
               {"for"},
               {"CPUs/GPU", Align::kRight},
               {"memory/node", Align::kRight},
               {"time", Align::kRight},
               {"template"},
               {"description", Align::kLeft, 70}});
  for (const Profile& profile : catalog.profiles.all())
    table.add({profile.name, std::to_string(profile.nodes), std::to_string(profile.gpus()),
               std::string(name_of(profile.use)), std::to_string(profile.cpus_per_gpu), format_bytes(profile.memory),
               format_duration(profile.time_limit), profile.template_name, profile.description});
  table.print(out, style);
}

void print_categories(std::ostream& out, const Style& style, const Catalog& catalog) {
  Table table({{"category"}, {"models", Align::kRight}, {"tasks", Align::kRight}, {"description", Align::kLeft, 100}});
  for (const Category& category : catalog.categories.all())
    table.add({category.name, std::to_string(category.models.size()), std::to_string(category.tasks.size()),
               category.description});
  table.print(out, style);
}

void print_gpus(std::ostream& out, const Style& style, const Catalog& catalog) {
  Table table({{"GPU"},
               {"memory", Align::kRight},
               {"bandwidth", Align::kRight},
               {"bf16", Align::kRight},
               {"fp8", Align::kRight},
               {"Slurm calls it", Align::kLeft, 60}});
  const auto peak = [](const Gpu& gpu, DType dtype) {
    return gpu.computes(dtype) ? format_fixed(gpu.flops.at(dtype) / 1e12, 0) + " TFLOP/s" : std::string("-");
  };
  for (const Gpu& gpu : catalog.gpus.all())
    table.add({gpu.name, format_bytes(gpu.memory), format_fixed(gpu.bandwidth / 1e9, 0) + " GB/s",
               peak(gpu, DType::kBf16), peak(gpu, DType::kFp8), join(gpu.slurm_names, " ")});
  table.print(out, style);
}

void print_entry(std::ostream& out, const Style& style, const ordered_json& entry) {
  print_lines(out, style, entry, "");
}

}  // namespace orch::report
