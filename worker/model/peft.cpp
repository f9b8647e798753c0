#include "model/peft.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "base/whole_file.h"
#include "model/module_pattern.h"
#include "model/safetensors_writer.h"

namespace orch::model {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::size_t kMostConfig = 1 << 20;
constexpr std::size_t kMostPath = 1000, kMostPatterns = 1000;

/// Fields that change what an adapter does when they say anything.
constexpr const char* kNotKnown[] = {"use_dora",
                                     "lora_bias",
                                     "modules_to_save",
                                     "trainable_token_indices",
                                     "target_parameters",
                                     "layer_replication",
                                     "alora_invocation_tokens",
                                     "use_qalora",
                                     "use_bdlora",
                                     "arrow_config",
                                     "kasa_config",
                                     "velora_config",
                                     "monteclora_config"};
/// Ways to begin that leave the base as it is.
constexpr const char* kHarmlessBeginnings[] = {"gaussian", "orthogonal", "eva", "mica"};

bool says_nothing(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object()) && value.empty());
}

/// Ranks or alphas of modules that differ from the rest: the first pattern that fits, in the file's order.
class Exceptions {
 public:
  Result<bool> read(const nlohmann::ordered_json& config, const char* field) {
    const auto patterns = config.value(field, nlohmann::ordered_json());
    if (patterns.is_null()) return true;
    if (patterns.size() > kMostPatterns)
      return Error{std::string(field) + " has more than " + std::to_string(kMostPatterns) + " patterns"};
    if (!patterns.is_object()) return Error{std::string(field) + " is no object"};
    for (const auto& [text, value] : patterns.items()) {
      auto pattern = ModulePattern::read(text);
      if (!pattern) return Error{std::string(field) + ": " + pattern.error().what};
      if (!value.is_number()) return Error{std::string(field) + ": " + shown(text) + " has no number"};
      all_.emplace_back(*std::move(pattern), value.get<double>());
    }
    return true;
  }
  double of(const std::string& path, double other) const {
    for (const auto& [pattern, value] : all_)
      if (pattern.ends(path)) return value;
    return other;
  }

 private:
  std::vector<std::pair<ModulePattern, double>> all_;
};

Result<bool> check(const json& config) {
  if (config.value("peft_type", "") != "LORA")
    return Error{"is of the type " + shown(config.value("peft_type", json()).dump()) + ": only LORA is known"};
  if (const json bias = config.value("bias", json("none")); bias != "none")
    return Error{"has trained biases (bias " + bias.dump() + "), which are not known"};
  for (const char* field : kNotKnown)
    if (config.contains(field) && !says_nothing(config[field]))
      return Error{"uses " + std::string(field) + ", which is not known"};
  const json begin = config.value("init_lora_weights", json(true));
  const bool is_harmless = begin.is_boolean() || begin.is_null() ||
                           std::any_of(std::begin(kHarmlessBeginnings), std::end(kHarmlessBeginnings),
                                       [&](const char* known) { return begin == known; });
  if (!is_harmless)
    return Error{"began with init_lora_weights " + begin.dump() + ", which changes the base's weights too"};
  return true;
}

/// `base_model.model.PATH.lora_A.weight` → PATH and A.
struct Key {
  std::string path;
  char which = 'A';
};
std::optional<Key> key_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  for (const char which : {'A', 'B'}) {
    const std::string ending = std::string(".lora_") + which + ".weight";
    if (name.ends_with(ending)) return Key{std::string(name.substr(0, name.size() - ending.size())), which};
  }
  return std::nullopt;
}

Result<PeftAdapter> read_parts(const fs::path& folder) {
  auto text = read_small(folder / kConfig, kMostConfig);
  if (!text) return text.error();
  const json config = json::parse(*text, nullptr, false);
  if (!config.is_object()) return Error{"is no JSON object"};
  PeftAdapter adapter;
  try {
    if (auto known = check(config); !known) return known.error();
    Exceptions alphas;
    if (auto read = alphas.read(nlohmann::ordered_json::parse(*text), "alpha_pattern"); !read) return read.error();
    const double alpha = config.value("lora_alpha", 8.0);
    adapter.rank_stabilised = config.value("use_rslora", false);
    adapter.dropout = config.value("lora_dropout", 0.0);
    if (config.contains("base_model_name_or_path") && config["base_model_name_or_path"].is_string())
      adapter.base = config["base_model_name_or_path"];

    auto file = Safetensors::open(folder / kWeights);
    if (!file) return file.error();
    std::map<std::string, std::pair<const Tensor*, const Tensor*>> found;
    for (const auto& [name, tensor] : file->tensors()) {
      const auto key = key_of(name);
      if (!key || key->path.size() > kMostPath)
        return Error{"tensor " + shown(name.substr(0, kMostPath)) + " is no lora_A or lora_B of a module"};
      if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1)
        return Error{"tensor " + shown(name) + " is no matrix"};
      (key->which == 'A' ? found[key->path].first : found[key->path].second) = &tensor;
    }
    if (found.empty()) return Error{std::string(kWeights) + " has no tensors"};
    for (const auto& [path, both] : found) {
      const auto [a, b] = both;
      if (!a || !b) return Error{"module " + shown(path) + " has no lora_" + (a ? "B" : "A")};
      PeftModule module;
      module.path = path;
      module.rank = a->shape[0], module.inputs = a->shape[1], module.outputs = b->shape[0];
      if (b->shape[1] != module.rank)
        return Error{"module " + shown(path) + " has rank " + std::to_string(module.rank) + " in lora_A and " +
                     std::to_string(b->shape[1]) + " in lora_B"};
      module.alpha = alphas.of(path, alpha);
      const auto rank = static_cast<double>(module.rank);
      module.scale = module.alpha / (adapter.rank_stabilised ? std::sqrt(rank) : rank);
      if (!std::isfinite(static_cast<float>(module.scale)))
        return Error{"module " + shown(path) + " has an alpha that is no number of fp32"};
      module.a.resize(static_cast<std::size_t>(a->count()));
      module.b.resize(static_cast<std::size_t>(b->count()));
      read_numbers(*a, 0, a->count(), module.a.data());
      read_numbers(*b, 0, b->count(), module.b.data());
      adapter.modules.push_back(std::move(module));
    }
  } catch (const json::exception&) {
    return Error{"has a field of another type than PEFT writes"};
  }
  return adapter;
}

/// What most modules have.
double most_common(const std::vector<double>& values) {
  std::map<double, int> counts;
  for (const double value : values) ++counts[value];
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

std::string escaped(const std::string& path) {
  std::string pattern = "^";
  for (const char c : path) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
  return pattern;
}

json config_of(const PeftAdapter& adapter) {
  std::vector<double> ranks, alphas;
  std::vector<std::string> paths;
  for (const PeftModule& module : adapter.modules) {
    ranks.push_back(static_cast<double>(module.rank));
    alphas.push_back(module.alpha);
    paths.push_back(module.path);
  }
  const double rank = most_common(ranks), alpha = most_common(alphas);
  json rank_pattern = json::object(), alpha_pattern = json::object();
  const auto number = [](double value) {
    const bool is_whole = value == std::floor(value) && std::fabs(value) < 1e15;
    return is_whole ? json(static_cast<std::int64_t>(value)) : json(value);
  };
  for (const PeftModule& module : adapter.modules) {
    if (static_cast<double>(module.rank) != rank) rank_pattern[escaped(module.path)] = module.rank;
    if (module.alpha != alpha) alpha_pattern[escaped(module.path)] = number(module.alpha);
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", adapter.base},
          {"inference_mode", true},
          {"r", static_cast<std::int64_t>(rank)},
          {"lora_alpha", number(alpha)},
          {"lora_dropout", adapter.dropout},
          {"use_rslora", adapter.rank_stabilised},
          {"rank_pattern", rank_pattern},
          {"alpha_pattern", alpha_pattern},
          {"target_modules", paths},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"modules_to_save", nullptr}};
}

/// Matrices of one of a module's weights, from the numbers of the whole module.
class LowRankReader : public kernels::RowReader {
 public:
  LowRankReader(const PeftModule& from, const Module& module, const LowRankWeight& weight)
      : from_(from), weight_(weight), first_input_(module.inputs.first) {
    for (const Part& part : module.outputs)
      for (std::int64_t i = 0; i < part.count; ++i) outputs_.push_back(part.first + i);
  }
  void read(std::int64_t index, std::int64_t first, std::int64_t count, float* out, float*) const override {
    const LowRankWeight::Piece& piece = weight_.stack[static_cast<std::size_t>(index)];
    const std::int64_t cols = piece.is_turned ? piece.rows : piece.cols;
    for (std::int64_t row = first; row < first + count; ++row)
      for (std::int64_t col = 0; col < cols; ++col)
        *out++ = piece.is_turned ? number(piece, col, row) : number(piece, row, col);
  }
  const std::byte* stored(std::int64_t, std::int64_t, DType) const override { return nullptr; }

 private:
  float number(const LowRankWeight::Piece& piece, std::int64_t row, std::int64_t col) const {
    row += piece.row, col += piece.col;
    if (!piece.of_b) return from_.a[static_cast<std::size_t>(row * from_.inputs + first_input_ + col)];
    return from_.b[static_cast<std::size_t>(outputs_[static_cast<std::size_t>(col)] * from_.rank + row)];
  }

  const PeftModule& from_;
  const LowRankWeight& weight_;
  const std::int64_t first_input_;
  std::vector<std::int64_t> outputs_;  ///< of the whole module, in the decoder's order
};

}  // namespace

Result<PeftAdapter> read_peft(const fs::path& folder) {
  auto read = read_parts(folder);
  if (!read) return Error{"adapter " + folder.string() + ": " + read.error().what};
  return read;
}

Result<std::monostate> write_peft(const fs::path& folder, const PeftAdapter& adapter) {
  if (adapter.modules.empty()) return Error{"an adapter without modules cannot be written"};
  std::map<std::string, WrittenTensor> tensors;
  for (const PeftModule& module : adapter.modules) {
    if (!std::isfinite(module.alpha)) return Error{"module " + shown(module.path) + " has no number as its alpha"};
    const std::string name = std::string(kPrefix) + module.path;
    tensors[name + ".lora_A.weight"] = {Stored::kF32, {module.rank, module.inputs}, std::as_bytes(std::span(module.a))};
    tensors[name + ".lora_B.weight"] = {
        Stored::kF32, {module.outputs, module.rank}, std::as_bytes(std::span(module.b))};
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Error{"cannot make the folder " + folder.string() + ": " + error.message()};
  if (auto written = write_safetensors(folder / kWeights, tensors, {{"format", "pt"}}); !written) return written;
  return write_whole(folder / kConfig, config_of(adapter).dump(2, ' ', false, json::error_handler_t::replace) + "\n",
                     0644);
}

Result<LoadedAdapter> LoadedAdapter::load(kernels::Backend& backend, const Architecture& architecture,
                                          const Sources& sources, const PeftAdapter& from, DType dtype) {
  LoadedAdapter loaded;
  loaded.adapter_.layers.resize(sources.layers.size());
  std::map<std::string_view, const PeftModule*> open;
  for (const PeftModule& module : from.modules) open[module.path] = &module;
  for (const Module& module : modules_of(sources)) {
    const auto at = open.find(module.path);
    if (at == open.end()) continue;
    const PeftModule& it = *at->second;
    open.erase(at);
    if (it.inputs != module.all_inputs || it.outputs != module.all_outputs)
      return Error{"the adapter's module " + shown(module.path) + " is " + std::to_string(it.outputs) + " × " +
                   std::to_string(it.inputs) + ", and the model's " + std::to_string(module.all_outputs) + " × " +
                   std::to_string(module.all_inputs)};
    LowRank low;
    low.from = module.from;
    low.scale = static_cast<float>(it.scale);
    low.first_input = module.inputs.first;
    low.mask = module.hash();
    for (const LowRankWeight& weight : low_rank_weights(module, it.rank)) {
      auto packed = backend.pack(weight.shape(dtype), LowRankReader(it, module, weight), "the adapter");
      if (!packed) return packed.error();
      low.*weight.member = packed->get();
      loaded.weights_.push_back(*std::move(packed));
    }
    loaded.adapter_.layers[module.layer][module.place].push_back(low);
    loaded.adapter_.rank = std::max(loaded.adapter_.rank, it.rank);
    loaded.modules_.push_back(module);
  }
  // Another stage's modules are its own affair.
  if (!open.empty())
    for (const Module& module : modules_of(shapes_of(architecture, {}))) open.erase(module.path);
  if (!open.empty())
    return Error{"the adapter changes module " + shown(std::string(open.begin()->first)) +
                 (open.size() > 1 ? " and " + std::to_string(open.size() - 1) + " more" : "") +
                 ", which the model does not have, or which cannot be changed here"};
  return loaded;
}

}  // namespace orch::model
