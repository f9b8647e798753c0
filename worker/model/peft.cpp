#include "model/peft.h"

#include <algorithm>
#include <cmath>
#include <deque>
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
// What transformers has a layer's routed experts in. Where both have adapters PEFT has the second around the first.
constexpr std::string_view kExpertsUp = "gate_up_proj", kExpertsDown = "down_proj", kInner = ".base_layer";

/// Fields that change what an adapter does when they say anything.
constexpr const char* kNotKnown[] = {"use_dora",          "lora_bias",
                                     "modules_to_save",   "trainable_token_indices",
                                     "layer_replication", "alora_invocation_tokens",
                                     "use_qalora",        "use_bdlora",
                                     "arrow_config",      "kasa_config",
                                     "velora_config",     "monteclora_config"};
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

/// The parameters of experts that a configuration names: their ends, as target_modules has them of modules.
Result<std::vector<std::string>> expert_targets(const json& config) {
  std::vector<std::string> targets;
  const json value = config.value("target_parameters", json());
  if (says_nothing(value)) return targets;
  if (!value.is_array()) return Error{"target_parameters is no list"};
  for (const json& each : value) {
    const std::string name = each.get<std::string>();
    const std::string last = name.substr(name.rfind('.') + 1);
    if (last != kExpertsUp && last != kExpertsDown)
      return Error{"has " + shown(name) +
                   " among its target_parameters: known are gate_up_proj and down_proj of experts"};
    targets.push_back(name);
  }
  return targets;
}

/// Which of the experts' parameters a tensor's module is; nothing where it is a module.
std::optional<std::string> parameter_of(const std::string& path, const std::vector<std::string>& targets,
                                        bool has_inner) {
  const auto is_target = [&](const std::string& name) {
    return std::any_of(targets.begin(), targets.end(),
                       [&](const std::string& target) { return name == target || name.ends_with("." + target); });
  };
  const bool is_inner = path.ends_with(kInner);
  const std::string of = is_inner ? path.substr(0, path.size() - kInner.size()) : path;
  const std::string up = of + "." + std::string(kExpertsUp), down = of + "." + std::string(kExpertsDown);
  if (!is_stack_of_experts(up)) return std::nullopt;
  if (!has_inner && is_target(up)) return up;
  if (is_inner) return std::nullopt;
  if (is_target(down)) return down;
  return std::nullopt;
}

/// PEFT's B of a stack, outputs × (rank × experts), the experts of each rank side by side: expert after expert.
std::vector<float> by_expert(const std::vector<float>& b, std::int64_t outputs, std::int64_t rank,
                             std::int64_t experts) {
  std::vector<float> own(b.size());
  std::size_t at = 0;
  for (std::int64_t e = 0; e < experts; ++e)
    for (std::int64_t output = 0; output < outputs; ++output)
      for (std::int64_t r = 0; r < rank; ++r)
        own[at++] = b[static_cast<std::size_t>((output * rank + r) * experts + e)];
  return own;
}
/// The other way.
std::vector<float> by_rank(const PeftModule& module) {
  std::vector<float> b(module.b.size());
  std::size_t at = 0;
  for (std::int64_t e = 0; e < module.experts; ++e)
    for (std::int64_t output = 0; output < module.outputs; ++output)
      for (std::int64_t r = 0; r < module.rank; ++r)
        b[static_cast<std::size_t>((output * module.rank + r) * module.experts + e)] = module.b[at++];
  return b;
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
    Exceptions alphas, ranks;
    const auto ordered = nlohmann::ordered_json::parse(*text);
    if (auto read = alphas.read(ordered, "alpha_pattern"); !read) return read.error();
    if (auto read = ranks.read(ordered, "rank_pattern"); !read) return read.error();
    const auto targets = expert_targets(config);
    if (!targets) return targets.error();
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
      const auto parameter = parameter_of(path, *targets, found.contains(path + std::string(kInner)));
      module.path = parameter.value_or(path);
      module.rank = a->shape[0], module.inputs = a->shape[1], module.outputs = b->shape[0];
      if (b->shape[1] != module.rank)
        return Error{"module " + shown(path) + " has rank " + std::to_string(module.rank) + " in lora_A and " +
                     std::to_string(b->shape[1]) + " in lora_B"};
      if (parameter) {
        // The file has the ranks of all experts together.
        const double rank = ranks.of(*parameter, config.value("r", 8.0));
        const auto each = static_cast<std::int64_t>(rank);
        if (!(rank >= 1) || rank > static_cast<double>(module.rank) || module.rank % each != 0)
          return Error{"parameter " + shown(*parameter) + " has " + std::to_string(module.rank) +
                       " rows in lora_A, which are no experts of rank " + std::to_string(each)};
        module.experts = module.rank / each;
        module.rank = each;
      }
      module.alpha = alphas.of(module.path, alpha);
      const auto rank = static_cast<double>(module.rank);
      module.scale = module.alpha / (adapter.rank_stabilised ? std::sqrt(rank) : rank);
      if (!std::isfinite(static_cast<float>(module.scale)))
        return Error{"module " + shown(path) + " has an alpha that is no number of fp32"};
      module.a.resize(static_cast<std::size_t>(a->count()));
      module.b.resize(static_cast<std::size_t>(b->count()));
      read_numbers(*a, 0, a->count(), module.a.data());
      read_numbers(*b, 0, b->count(), module.b.data());
      if (parameter) module.b = by_expert(module.b, module.outputs, module.rank, module.experts);
      adapter.modules.push_back(std::move(module));
    }
    std::sort(adapter.modules.begin(), adapter.modules.end(),
              [](const PeftModule& x, const PeftModule& y) { return x.path < y.path; });
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
  json paths = json::array(), parameters = json::array();
  for (const PeftModule& module : adapter.modules) {
    ranks.push_back(static_cast<double>(module.rank));
    alphas.push_back(module.alpha);
    (module.experts > 0 ? parameters : paths).push_back(module.path);
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
          // With parameters PEFT has no dropout, and refuses one.
          {"lora_dropout", parameters.empty() ? adapter.dropout : 0.0},
          {"use_rslora", adapter.rank_stabilised},
          {"rank_pattern", rank_pattern},
          {"alpha_pattern", alpha_pattern},
          {"target_modules", paths},
          {"target_parameters", parameters.empty() ? json() : parameters},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"modules_to_save", nullptr}};
}

/// Matrices of one of a module's weights, from the numbers of the whole module.
class LowRankReader : public kernels::RowReader {
 public:
  LowRankReader(const PeftModule& from, const Module& module, const LowRankWeight& weight)
      : from_(from), weight_(weight), first_input_(module.inputs.first), first_row_(module.experts.first * from.rank) {
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
    row += piece.row + first_row_, col += piece.col;
    if (!piece.of_b) return from_.a[static_cast<std::size_t>(row * from_.inputs + first_input_ + col)];
    const std::int64_t expert = row / from_.rank, output = outputs_[static_cast<std::size_t>(col)];
    return from_.b[static_cast<std::size_t>((expert * from_.outputs + output) * from_.rank + row % from_.rank)];
  }

  const PeftModule& from_;
  const LowRankWeight& weight_;
  const std::int64_t first_input_, first_row_;
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
  std::deque<std::vector<float>> turned;
  for (const PeftModule& module : adapter.modules) {
    if (!std::isfinite(module.alpha)) return Error{"module " + shown(module.path) + " has no number as its alpha"};
    std::string name = std::string(kPrefix) + module.path;
    std::span<const float> b = module.b;
    const std::int64_t ranks = module.rank * std::max<std::int64_t>(1, module.experts);
    if (module.experts > 0) {
      name = name.substr(0, name.rfind('.'));
      const std::string both = module.path.substr(0, module.path.rfind('.') + 1) + std::string(kExpertsDown);
      const bool has_both = std::any_of(adapter.modules.begin(), adapter.modules.end(), [&](const PeftModule& other) {
        return other.experts > 0 && other.path == both;
      });
      if (has_both && module.path != both) name += kInner;
      b = turned.emplace_back(by_rank(module));
    }
    tensors[name + ".lora_A.weight"] = {Stored::kF32, {ranks, module.inputs}, std::as_bytes(std::span(module.a))};
    tensors[name + ".lora_B.weight"] = {Stored::kF32, {module.outputs, ranks}, std::as_bytes(b)};
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Error{"cannot make the folder " + folder.string() + ": " + error.message()};
  if (auto written = write_safetensors(folder / kWeights, tensors, {{"format", "pt"}}); !written) return written;
  return write_whole(folder / kConfig, config_of(adapter).dump(2, ' ', false, json::error_handler_t::replace) + "\n",
                     0644);
}

namespace {

using Open = std::map<std::string_view, const PeftModule*>;

Result<bool> check_sizes(const PeftModule& it, const std::string& path, std::int64_t outputs, std::int64_t inputs) {
  if (it.inputs == inputs && it.outputs == outputs) return true;
  return Error{"the adapter's module " + shown(path) + " is " + std::to_string(it.outputs) + " × " +
               std::to_string(it.inputs) + ", and the model's " + std::to_string(outputs) + " × " +
               std::to_string(inputs)};
}

/// Part of a module, and what an adapter has for it.
struct Found {
  Module module;
  const PeftModule* from = nullptr;
  std::int64_t first_expert = 0;
};

/// What older versions wrote: experts as linear layers of their own. Neighbours that are alike are made one stack,
/// which `made` then holds.
Result<bool> find_singles(const Module& module, Open& open, std::deque<PeftModule>& made, std::vector<Found>& found) {
  std::map<std::int64_t, std::vector<std::pair<SingleExpert, const PeftModule*>>> by_output;
  for (const SingleExpert& single : single_experts(module)) {
    const auto at = open.find(single.path);
    if (at == open.end()) continue;
    if (auto fits = check_sizes(*at->second, single.path, single.outputs.count, module.all_inputs); !fits) return fits;
    const bool is_own =
        single.expert >= module.experts.first && single.expert < module.experts.first + module.experts.count;
    if (is_own) by_output[single.outputs.first].emplace_back(single, at->second);
    open.erase(at);
  }
  for (const auto& [output, singles] : by_output) {
    std::int64_t next = -1;
    for (const auto& [single, from] : singles) {
      const bool goes_on = single.expert == next && made.back().rank == from->rank && made.back().scale == from->scale;
      if (!goes_on) {
        PeftModule& stack = made.emplace_back();
        stack.rank = from->rank, stack.inputs = from->inputs, stack.outputs = from->outputs;
        stack.scale = from->scale;
        Found& part = found.emplace_back(module, &stack, single.expert);
        part.module.from = output;
        part.module.outputs = {{0, single.outputs.count}};
        part.module.experts = {};
      }
      PeftModule& stack = made.back();
      stack.a.insert(stack.a.end(), from->a.begin(), from->a.end());
      stack.b.insert(stack.b.end(), from->b.begin(), from->b.end());
      ++stack.experts;
      ++found.back().module.experts.count;
      next = single.expert + 1;
    }
  }
  return true;
}

}  // namespace

Result<LoadedAdapter> LoadedAdapter::load(kernels::Backend& backend, const Architecture& architecture,
                                          const Sources& sources, const PeftAdapter& from, DType dtype) {
  LoadedAdapter loaded;
  loaded.adapter_.layers.resize(sources.layers.size());
  Open open;
  for (const PeftModule& module : from.modules) open[module.path] = &module;
  for (const Module& module : modules_of(sources)) {
    std::vector<Found> found;
    std::deque<PeftModule> made;
    if (const auto at = open.find(module.path); at != open.end()) {
      const PeftModule& it = *at->second;
      open.erase(at);
      if (auto fits = check_sizes(it, module.path, module.all_outputs, module.all_inputs); !fits) return fits.error();
      if (it.experts != module.all_experts)
        return Error{"the adapter has " + shown(module.path) + " of " + std::to_string(it.experts) +
                     " experts, and the model has " + std::to_string(module.all_experts)};
      if (module.all_experts == 0 || module.experts.count > 0) found.push_back({module, &it, module.experts.first});
    }
    if (module.all_experts > 0)
      if (auto fits = find_singles(module, open, made, found); !fits) return fits.error();
    for (const Found& part : found)
      if (auto packed = loaded.add(backend, part.module, *part.from, part.first_expert, dtype); !packed)
        return packed.error();
  }
  // Another stage's modules are its own affair.
  if (!open.empty())
    for (const Module& module : modules_of(shapes_of(architecture, {}))) {
      open.erase(module.path);
      for (const SingleExpert& single : single_experts(module)) open.erase(single.path);
    }
  if (!open.empty())
    return Error{"the adapter changes module " + shown(std::string(open.begin()->first)) +
                 (open.size() > 1 ? " and " + std::to_string(open.size() - 1) + " more" : "") +
                 ", which the model does not have, or which cannot be changed here"};
  return loaded;
}

Result<bool> LoadedAdapter::add(kernels::Backend& backend, const Module& module, const PeftModule& from,
                                std::int64_t first_expert, DType dtype) {
  LowRank low;
  low.from = module.from;
  low.scale = static_cast<float>(from.scale);
  low.first_input = module.inputs.first;
  low.mask = module.hash();
  low.first_expert = first_expert;
  for (const LowRankWeight& weight : low_rank_weights(module, from.rank)) {
    auto packed = backend.pack(weight.shape(dtype), LowRankReader(from, module, weight), "the adapter");
    if (!packed) return packed.error();
    low.*weight.member = packed->get();
    weights_.push_back(*std::move(packed));
  }
  adapter_.layers[module.layer][module.place].push_back(low);
  adapter_.rank = std::max(adapter_.rank, from.rank);
  if (module.all_experts > 0) adapter_.expert_rank = std::max(adapter_.expert_rank, from.rank);
  modules_.push_back(module);
  return true;
}

}  // namespace orch::model
