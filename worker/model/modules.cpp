#include "model/modules.h"

#include <numeric>

namespace orch::model {
namespace {

/// A tensor's name without its last part. GPT-2 itself was published without the beginning that its module has.
std::string path_of(const std::string& tensor) {
  const std::string path = tensor.substr(0, tensor.rfind(".weight"));
  return path.starts_with("h.") ? "transformer." + path : path;
}

/// Its rows are of each head what makes its key, then what makes its value.
Module key_value_up(const LatentSources& from, std::size_t layer) {
  const Source& first = from.key_up.front();
  const Run& all = first.runs.front();
  Module module;
  module.path = path_of(all.name);
  module.layer = layer;
  module.place = Place::kKeyValueUp;
  module.keys = first.cols;
  module.values = from.value_up.front().rows();
  const auto heads = static_cast<std::int64_t>(from.key_up.size());
  module.outputs = {{first.from, heads * (module.keys + module.values)}};
  module.inputs = {0, all.cols};
  module.all_outputs = all.rows;
  module.all_inputs = all.cols;
  return module;
}

Module experts_of(const ExpertNames& names, std::size_t layer, Place place) {
  const bool is_up = place == Place::kExpertsUp;
  Module module;
  module.path = names.path + (is_up ? ".gate_up_proj" : ".down_proj");  // as is_stack_of_experts() knows them
  module.layer = layer;
  module.place = place;
  module.all_outputs = is_up ? 2 * names.inner : names.hidden;
  module.all_inputs = is_up ? names.hidden : names.inner;
  module.outputs = {{0, module.all_outputs}};
  module.inputs = {0, module.all_inputs};
  module.all_experts = names.all;
  module.experts = names.own;
  module.names = names;
  return module;
}

}  // namespace

bool is_stack_of_experts(const std::string& path) {
  return path.ends_with(".experts.gate_up_proj") || path.ends_with(".experts.down_proj");
}

std::vector<SingleExpert> single_experts(const Module& module) {
  std::vector<SingleExpert> singles;
  const ExpertNames& names = module.names;
  for (std::int64_t e = 0; e < module.all_experts; ++e) {
    const std::string path = names.single + std::to_string(e) + ".";
    if (module.place == Place::kExpertsDown) {
      singles.push_back({path + names.down, e, {0, names.hidden}});
    } else {
      singles.push_back({path + names.gate, e, {0, names.inner}});
      singles.push_back({path + names.up, e, {names.inner, names.inner}});
    }
  }
  return singles;
}

kernels::WeightShape LowRankWeight::shape(DType dtype) const {
  const Piece& piece = stack.front();
  kernels::WeightShape shape;
  shape.rows = piece.is_turned ? piece.cols : piece.rows;
  shape.cols = piece.is_turned ? piece.rows : piece.cols;
  shape.count = static_cast<std::int64_t>(stack.size());
  shape.dtype = dtype;
  return shape;
}

std::vector<LowRankWeight> low_rank_weights(const Module& module, std::int64_t rank) {
  const std::int64_t inputs = module.inputs.count, outputs = module.own_outputs();
  if (module.all_experts > 0) {
    LowRankWeight a{&LowRank::a, {}}, b{&LowRank::b, {}};
    for (std::int64_t e = 0; e < module.experts.count; ++e) {
      a.stack.push_back({false, e * rank, 0, rank, inputs, false});
      b.stack.push_back({true, e * rank, 0, rank, outputs, true});
    }
    return {a, b};
  }
  std::vector<LowRankWeight> weights = {{&LowRank::a, {{false, 0, 0, rank, inputs, false}}}};
  if (module.place != Place::kKeyValueUp) {
    weights.push_back({&LowRank::b, {{true, 0, 0, rank, outputs, true}}});
    return weights;
  }
  LowRankWeight keys{&LowRank::b_keys, {}}, values{&LowRank::b, {}};
  for (std::int64_t at = 0; at < outputs; at += module.keys + module.values) {
    keys.stack.push_back({true, 0, at, rank, module.keys, false});
    values.stack.push_back({true, 0, at + module.keys, rank, module.values, true});
  }
  weights.push_back({&LowRank::a_turned, {{false, 0, 0, rank, inputs, true}}});
  weights.push_back(std::move(keys));
  weights.push_back(std::move(values));
  return weights;
}

std::int64_t Module::own_outputs() const {
  return std::accumulate(outputs.begin(), outputs.end(), std::int64_t{0},
                         [](std::int64_t sum, const Part& part) { return sum + part.count; });
}

std::uint64_t Module::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

std::vector<Module> modules_of(const Sources& sources) {
  std::vector<Module> modules;
  for (std::size_t layer = 0; layer < sources.layers.size(); ++layer) {
    const ByPlace<const Source*> weights = weights_of(sources.layers[layer]);
    for (const Place place : kAllPlaces) {
      if (place == Place::kKeyValueUp && !sources.layers[layer].latent.key_up.empty())
        modules.push_back(key_value_up(sources.layers[layer].latent, layer));
      const bool is_stack = place == Place::kExpertsUp || place == Place::kExpertsDown;
      if (is_stack && !sources.layers[layer].experts.empty())
        modules.push_back(experts_of(sources.layers[layer].experts, layer, place));
      const Source& source = *weights[place];
      // To PEFT a router is no linear layer.
      if (source.empty() || place == Place::kRouter) continue;
      std::int64_t from = 0;
      std::string last;
      for (const Run& run : source.runs) {
        if (run.name != last) {
          Module& module = modules.emplace_back();
          module.path = path_of(run.name);
          module.layer = layer;
          module.place = place;
          module.from = from;
          module.inputs = {source.from, source.cols};
          module.all_outputs = source.transposed ? run.cols : run.rows;
          module.all_inputs = source.transposed ? run.rows : run.cols;
          last = run.name;
        }
        modules.back().outputs.push_back({run.first, run.count});
        from += run.count;
      }
    }
  }
  return modules;
}

std::optional<std::string> tensor_of(const std::string& path, const Checkpoint& checkpoint) {
  const std::string name = path + ".weight";
  // The other name that path_of() gives this path.
  const std::string bare =
      name.starts_with("transformer.h.") ? name.substr(std::string_view("transformer.").size()) : name;
  for (const std::string& each : {name, bare})
    if (checkpoint.has(each) && path_of(each) == path) return each;
  return std::nullopt;
}

}  // namespace orch::model
