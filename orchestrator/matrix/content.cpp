#include "matrix/content.h"

#include <algorithm>
#include <stdexcept>

#include <openssl/evp.h>
#include <nlohmann/json.hpp>

#include "matrix/expand.h"

namespace orch::matrix {

int numerics_version(Engine engine) {
  switch (engine) {
    case Engine::kNative:
      return 1;
    case Engine::kLmEval:
      return 1;
    case Engine::kCommand:
      return 1;
  }
  return 0;
}

const TrainingFiles* files_of(const Task& task, const Settings& training) {
  return task.files_of(training.text("data").value_or(""), training.text("reward").value_or(""));
}

nlohmann::json engine_content(Engine engine, const Model* model, const Task* task, const Harness* harness,
                              const Settings* training) {
  nlohmann::json content = {{"name", std::string(name_of(engine))}, {"numerics", numerics_version(engine)}};
  if (engine == Engine::kNative && task && !task->digest.empty()) content["data"] = task->digest;
  if (engine == Engine::kNative && model && !model->resolved.empty()) content["weights"] = model->resolved;
  if (engine == Engine::kNative && task && training) {
    content["rows"] = task->rows;
    const TrainingFiles* files = files_of(*task, *training);
    if (files && !files->data.empty()) content["data"] = files->data;
    if (files && !files->reward.empty()) content["reward"] = files->reward;
  }
  if (engine == Engine::kLmEval && task && task->lm_eval) content["task"] = task->lm_eval->name;
  if (engine != Engine::kLmEval || !harness) return content;
  // What is not said is no content, so that a matrix that says nothing has the keys that it always had.
  if (!harness->run.empty()) content["run"] = harness->run;
  if (!harness->include_path.empty()) content["include_path"] = harness->include_path;
  if (!harness->model_args.empty()) content["model_args"] = harness->model_args;
  if (!harness->arguments.empty()) content["arguments"] = harness->arguments;
  return content;
}

nlohmann::json model_content(const Model& model) {
  if (model.own) return {{"name", model.name}};
  nlohmann::json content = {{"revision", model.revision}};
  content[model.hf_id.empty() ? "name" : "hf_id"] = model.hf_id.empty() ? model.name : model.hf_id;
  return content;
}

nlohmann::json task_content(const Task& task) {
  if (task.own) return {{"name", task.name}};
  nlohmann::json content = {{"kind", std::string(name_of(task.kind))},
                            {"metric", task.metric},
                            {"repeats", task.repeats},
                            {"revision", task.revision},
                            {"subset", task.subset},
                            {"type", task.type}};
  content[task.hf_id.empty() ? "name" : "hf_id"] = task.hf_id.empty() ? task.name : task.hf_id;
  return content;
}

nlohmann::json settings_content(const Settings& settings, CellKind kind) {
  nlohmann::json content = nlohmann::json::object();
  for (const auto& [name, value] : settings.values()) {
    if (name != "engine" && is_content(name, value, kind)) content[name] = to_json(value);
  }
  return content;
}

Engine engine_of(const Settings& settings, CellKind kind) {
  if (kind == CellKind::kCommand) return Engine::kCommand;
  const auto word = settings.text("engine");
  return word ? engine_named(*word).value_or(Engine::kNative) : Engine::kNative;
}

struct Hasher::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> state{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
  std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> method{EVP_MD_fetch(nullptr, "SHA256", nullptr), &EVP_MD_free};
};

Hasher::Hasher() : context_(std::make_unique<Context>()) {
  if (!context_->state || !context_->method) throw std::runtime_error("this OpenSSL has no SHA-256");
}

Hasher::~Hasher() = default;

Digest Hasher::operator()(std::string_view bytes) {
  Digest digest;
  EVP_MD_CTX* state = context_->state.get();
  const bool done = EVP_DigestInit_ex2(state, context_->method.get(), nullptr) == 1 &&
                    EVP_DigestUpdate(state, bytes.data(), bytes.size()) == 1 &&
                    EVP_DigestFinal_ex(state, digest.bytes.data(), nullptr) == 1;
  if (!done) throw std::runtime_error("OpenSSL could not compute a SHA-256");
  return digest;
}

nlohmann::json content_of(const Expansion& expansion, const Cell& cell, const Catalog& catalog) {
  const Settings& settings = expansion.settings[cell.settings];
  const Engine engine = engine_of(settings, cell.kind);
  const Stage& stage = expansion.stages[cell.stage];
  nlohmann::json content = {
      {"engine", engine_content(engine, cell.model == kNone ? nullptr : &catalog.models[cell.model],
                                cell.task == kNone ? nullptr : &catalog.tasks[cell.task], &stage.harness,
                                cell.kind == CellKind::kTrain ? &settings : nullptr)},
      {"kind", std::string(name_of(cell.kind))},
      {"settings", settings_content(settings, cell.kind)},
      {"version", kContentVersion}};
  if (cell.model != kNone) content["model"] = model_content(catalog.models[cell.model]);
  if (cell.task != kNone) content["task"] = task_content(catalog.tasks[cell.task]);
  if (cell.depends != kNone) content["adapter"] = to_hex(expansion.cells[cell.depends].key);
  if (engine == Engine::kCommand && !stage.command.empty()) content["command"] = stage.command;
  if (engine == Engine::kCommand && !stage.env.empty()) content["env"] = stage.env;
  if (engine == Engine::kLmEval && !stage.harness.env.empty()) content["env"] = stage.harness.env;
  if (engine == Engine::kCommand && expansion.container && !settings.has("container"))
    content["container"] = *expansion.container;
  return content;
}

std::string canonical_content(const Expansion& expansion, const Cell& cell, const Catalog& catalog) {
  return canonical_json(content_of(expansion, cell, catalog));
}

Cell substitute(Expansion& expansion, const Cell& cell, const Catalog& catalog, DType dtype) {
  Cell other = cell;
  Settings settings = expansion.settings[cell.settings];
  const auto before = settings.dtype("dtype"), compute = settings.dtype("compute_dtype");
  if (before && compute == default_compute(*before)) {
    if (settings.dtype("kv_dtype") == default_compute(*compute))
      settings.set("kv_dtype", std::string(name_of(default_compute(dtype))));
    settings.set("compute_dtype", std::string(name_of(default_compute(dtype))));
  }
  settings.set("dtype", std::string(name_of(dtype)));
  const auto found = std::ranges::find(expansion.settings, settings);
  other.settings = static_cast<std::uint32_t>(found - expansion.settings.begin());
  if (found == expansion.settings.end()) expansion.settings.push_back(std::move(settings));
  other.key = sha256(canonical_content(expansion, other, catalog));
  return other;
}

}  // namespace orch::matrix
