#include "base/model.h"

#include <algorithm>
#include <cmath>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch {
namespace {

constexpr double kMostParams = 1e15;
constexpr std::int64_t kMostWidth = 1'000'000;
constexpr std::int64_t kMostInner = 10'000'000;

double real(std::int64_t value) { return static_cast<double>(value); }

/// A feed-forward of inner size `ffn`.
double ffn_params(const Decoder& decoder, std::int64_t ffn) {
  const double matrices = decoder.gated_ffn ? 3 : 2;
  const double weights = matrices * real(decoder.hidden) * real(ffn);
  const double biases = decoder.ffn_bias ? (matrices - 1) * real(ffn) + real(decoder.hidden) : 0;
  return weights + biases;
}

double norm_params(const Decoder& decoder) {
  return real(decoder.hidden) * (decoder.layer_norm && decoder.norm_bias ? 2 : 1);
}

double attention_params(const Decoder& decoder) {
  const double hidden = real(decoder.hidden), heads = decoder.heads;
  const double out_bias = decoder.out_bias ? hidden : 0;
  if (decoder.latent) {
    const Latent& latent = *decoder.latent;
    const double head = real(latent.nope_dim) + real(latent.rope_dim), q_rank = real(latent.q_rank);
    const double kv_rank = real(latent.kv_rank), value = real(latent.value_dim);
    const double queries = latent.q_rank > 0 ? hidden * q_rank + q_rank + q_rank * heads * head : hidden * heads * head;
    const double keys_values =
        hidden * (kv_rank + real(latent.rope_dim)) + kv_rank + kv_rank * heads * (real(latent.nope_dim) + value);
    return queries + keys_values + heads * value * hidden + out_bias;
  }
  const double q = heads * real(decoder.head_dim), kv = 2.0 * decoder.kv_heads * real(decoder.head_dim);
  return hidden * (q + kv) + (decoder.qkv_bias ? q + kv : 0) + q * hidden + out_bias +
         (decoder.qk_norm ? 2 * real(decoder.head_dim) : 0);
}

/// A whole number that must be there; `least` stands in for one that is absent or wrong, so that later arithmetic
/// holds.
std::int64_t required(Fields& fields, std::string_view key, std::int64_t least, std::int64_t most) {
  fields.require(key);
  return fields.whole(key, least, most).value_or(least);
}

int required_int(Fields& fields, std::string_view key, int least, int most) {
  return static_cast<int>(required(fields, key, least, most));
}

int optional_int(Fields& fields, std::string_view key, int least, int most, int otherwise) {
  return static_cast<int>(fields.whole(key, least, most).value_or(otherwise));
}

Experts read_experts(const Yaml& node, int layers, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "an 'experts' map", diagnostics);
  Experts experts;
  experts.count = required_int(fields, "count", 1, 100'000);
  experts.active = required_int(fields, "active", 1, 100'000);
  if (experts.active > experts.count) {
    fields.error("active", "'active' must be at most 'count', the " + counted(experts.count, "expert") +
                               " of a layer; found " + std::to_string(experts.active));
    experts.active = experts.count;
  }
  experts.ffn = required(fields, "ffn", 1, kMostInner);
  const auto shared = fields.whole("shared", 0, 1000);
  const auto shared_ffn = fields.whole("shared_ffn", 0, kMostInner);
  experts.shared = static_cast<int>(shared.value_or(shared_ffn.value_or(0) > 0 ? 1 : 0));
  experts.shared_ffn = shared_ffn.value_or(experts.shared * experts.ffn);
  if (shared && shared_ffn && (experts.shared == 0) != (experts.shared_ffn == 0))
    fields.error("shared_ffn", "'shared' and 'shared_ffn' must both be 0 or neither");
  experts.first_dense = optional_int(fields, "first_dense", 0, 1000, 0);
  if (experts.first_dense >= layers) {
    fields.error("first_dense", "'first_dense' must be less than the " + counted(layers, "layer") +
                                    " of the model; found " + std::to_string(experts.first_dense));
    experts.first_dense = 0;
  }
  experts.every = optional_int(fields, "every", 1, 1000, 1);
  experts.router_bias = fields.truth("router_bias").value_or(false);
  fields.finish();
  return experts;
}

Latent read_latent(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'latent' map", diagnostics);
  Latent latent;
  latent.q_rank = fields.whole("q_rank", 0, kMostWidth).value_or(0);
  latent.kv_rank = required(fields, "kv_rank", 1, kMostWidth);
  latent.nope_dim = required(fields, "nope_dim", 1, kMostWidth);
  latent.rope_dim = required(fields, "rope_dim", 0, kMostWidth);
  latent.value_dim = required(fields, "value_dim", 1, kMostWidth);
  fields.finish();
  return latent;
}

Decoder read_decoder(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a decoder", diagnostics);
  Decoder decoder;
  decoder.layers = required_int(fields, "layers", 1, 1000);
  decoder.hidden = required(fields, "hidden", 1, kMostWidth);
  decoder.heads = required_int(fields, "heads", 1, 100'000);
  decoder.kv_heads = optional_int(fields, "kv_heads", 1, 100'000, decoder.heads);
  if (fields.has("heads") && decoder.heads % decoder.kv_heads != 0) {
    fields.error("kv_heads", "'kv_heads' must divide 'heads', which is " + std::to_string(decoder.heads) + "; found " +
                                 std::to_string(decoder.kv_heads));
    decoder.kv_heads = decoder.heads;
  }
  if (const Yaml* latent = fields.get("latent")) decoder.latent = read_latent(*latent, file, diagnostics);
  const auto head_dim = fields.whole("head_dim", 1, kMostWidth);
  decoder.head_dim = std::max<std::int64_t>(1, head_dim.value_or(decoder.hidden / decoder.heads));
  if (!fields.has("head_dim") && !decoder.latent && decoder.hidden % decoder.heads != 0)
    fields.error("head_dim", "a decoder whose 'hidden' (" + std::to_string(decoder.hidden) +
                                 ") does not divide by 'heads' (" + std::to_string(decoder.heads) +
                                 ") needs the key 'head_dim'");
  if (const Yaml* experts = fields.get("experts"))
    decoder.experts = read_experts(*experts, decoder.layers, file, diagnostics);
  const auto ffn = fields.whole("ffn", 0, kMostInner);
  decoder.ffn = ffn.value_or(0);
  bool all_experts = true;
  for (int i = 0; i < decoder.layers; ++i) all_experts = all_experts && decoder.has_experts(i);
  if (decoder.ffn == 0 && !all_experts && (ffn || !fields.has("ffn"))) {
    fields.error("ffn", "a decoder needs 'ffn', at least 1, unless every layer has experts");
  }
  if (decoder.ffn == 0 && !all_experts) decoder.ffn = 1;
  decoder.gated_ffn = fields.truth("gated_ffn").value_or(true);
  decoder.vocab = required(fields, "vocab", 1, 100'000'000);
  decoder.tied = fields.truth("tied").value_or(false);
  decoder.layer_norm = fields.truth("layer_norm").value_or(false);
  decoder.norm_bias = fields.truth("norm_bias").value_or(true);
  if (fields.has("norm_bias") && !decoder.layer_norm)
    fields.error("norm_bias", "'norm_bias' means something only with 'layer_norm: true'; an RMS norm has no bias");
  decoder.norms = optional_int(fields, "norms", 0, 16, 2);
  decoder.qk_norm = fields.truth("qk_norm").value_or(false);
  decoder.qkv_bias = fields.truth("qkv_bias").value_or(false);
  decoder.out_bias = fields.truth("out_bias").value_or(false);
  decoder.ffn_bias = fields.truth("ffn_bias").value_or(false);
  decoder.embedding_norm = fields.truth("embedding_norm").value_or(false);
  decoder.positions = fields.whole("positions", 0, 1'000'000'000).value_or(0);
  decoder.window = fields.whole("window", 0, 1'000'000'000).value_or(0);
  decoder.full_every = optional_int(fields, "full_every", 0, 1000, 0);
  if (decoder.full_every > 0 && decoder.window == 0 && !fields.has("window"))
    fields.error("full_every", "'full_every' means something only with 'window'");
  decoder.extra_layers = optional_int(fields, "extra_layers", 0, 100, 0);
  fields.finish();
  return decoder;
}

Vision read_vision(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a vision tower", diagnostics);
  Vision vision;
  vision.name = fields.text("name").value_or("");
  vision.layers = optional_int(fields, "layers", 1, 1000, 0);
  vision.hidden = fields.whole("hidden", 1, kMostWidth).value_or(0);
  vision.heads = optional_int(fields, "heads", 1, 100'000, 0);
  vision.ffn = fields.whole("ffn", 1, kMostInner).value_or(0);
  fields.require("params");
  vision.params = fields.count("params", 1, kMostParams).value_or(1);
  fields.require("tokens_per_image");
  vision.tokens_per_image = optional_int(fields, "tokens_per_image", 1, 1'000'000, 1);
  fields.finish();
  return vision;
}

void read_engines(Model& model, Fields& fields, const std::string& file, Diagnostics& diagnostics) {
  const Yaml* node = fields.require("engines");
  if (!node) return;
  static const std::vector<std::string> kNames = {"native", "lm-eval", "command"};
  std::vector<Yaml> one;
  if (node->is_scalar()) one.push_back(*node);
  if (!node->is_scalar() && (!node->is_list() || node->items.empty())) {
    fields.error("engines", "'engines' must list at least one of native, lm-eval, command; found " +
                                (node->is_list() ? std::string("an empty list") : describe(*node)));
    return;
  }
  for (const Yaml& item : node->is_scalar() ? one : node->items) {
    const auto engine = item.is_scalar() ? engine_named(item.text) : std::nullopt;
    const Place place = place_of(item, file);
    if (!engine)
      diagnostics.error(place, "an engine is one of native, lm-eval, command; found " + describe(item) +
                                   (item.is_scalar() ? hint(item.text, kNames) : ""));
    else if (model.runs_on(*engine))
      diagnostics.error(place, "the engine " + quote(item.text) + " is listed twice");
    else
      model.engines.push_back(*engine);
  }
}

void read_unknown(Model& model, Fields& fields, const std::string& file, Diagnostics& diagnostics) {
  const Yaml* node = fields.get("unknown");
  if (!node) return;
  if (!node->is_map()) {
    fields.error("unknown", "'unknown' must be a map of facts and why each is not known, found " + describe(*node));
    return;
  }
  for (const Yaml::Entry& entry : node->entries) {
    if (entry.value.is_scalar() && !trim(entry.value.text).empty())
      model.unknown[entry.key] = entry.value.text;
    else
      diagnostics.error(place_of(entry.value, file),
                        "say as a text why " + quote(entry.key) + " is not known, found " + describe(entry.value));
  }
}

}  // namespace

std::string_view name_of(Engine engine) {
  switch (engine) {
    case Engine::kNative:
      return "native";
    case Engine::kLmEval:
      return "lm-eval";
    case Engine::kCommand:
      return "command";
  }
  return "";
}

std::optional<Engine> engine_named(std::string_view name) {
  for (Engine engine : {Engine::kNative, Engine::kLmEval, Engine::kCommand})
    if (name_of(engine) == name) return engine;
  return std::nullopt;
}

std::string_view name_of(ModelKind kind) {
  switch (kind) {
    case ModelKind::kText:
      return "text";
    case ModelKind::kVisionLanguage:
      return "vision_language";
    case ModelKind::kImage:
      return "image";
    case ModelKind::kOther:
      return "other";
  }
  return "";
}

std::string_view name_of(Scales scales) {
  switch (scales) {
    case Scales::kNone:
      return "none";
    case Scales::kTensor:
      return "tensor";
    case Scales::kChannel:
      return "channel";
    case Scales::kBlock128:
      return "block_128";
  }
  return "";
}

std::string_view name_of(SizeClass size) {
  switch (size) {
    case SizeClass::kSmall:
      return "small";
    case SizeClass::kMedium:
      return "medium";
    case SizeClass::kLarge:
      return "large";
    case SizeClass::kXLarge:
      return "xlarge";
  }
  return "";
}

SizeClass size_class(double params) {
  // What is sold as 70B counts as 70B: Llama-2-70B has 68.98B. A bound is reached at 98 % of it.
  constexpr double kReached = 0.98;
  if (params < 7e9 * kReached) return SizeClass::kSmall;
  if (params < 13e9 * kReached) return SizeClass::kMedium;
  if (params < 70e9 * kReached) return SizeClass::kLarge;
  return SizeClass::kXLarge;
}

bool Decoder::has_experts(int index) const {
  if (!experts || index < experts->first_dense) return false;
  const int every = std::max(1, experts->every);
  return (index - experts->first_dense) % every == every - 1;
}

bool Model::runs_on(Engine engine) const { return std::ranges::find(engines, engine) != engines.end(); }

LayerParams layer_params(const Decoder& decoder, int index) {
  LayerParams layer;
  layer.attention = attention_params(decoder);
  layer.dense = decoder.norms * norm_params(decoder);
  if (!decoder.has_experts(index)) {
    layer.dense += ffn_params(decoder, decoder.ffn);
    return layer;
  }
  const Experts& experts = *decoder.experts;
  const double one = ffn_params(decoder, experts.ffn);
  layer.experts = experts.count * one;
  layer.active_experts = std::min(experts.active, experts.count) * one;
  layer.dense += real(decoder.hidden) * experts.count + (experts.router_bias ? experts.count : 0);
  if (experts.shared_ffn > 0) layer.dense += ffn_params(decoder, experts.shared_ffn);
  return layer;
}

ParamCount count_params(const Model& model) {
  ParamCount count;
  if (!model.decoder) return count;
  const Decoder& decoder = *model.decoder;
  const double table = real(decoder.vocab) * real(decoder.hidden);
  count.embedding = table * (decoder.tied ? 1 : 2) + real(decoder.positions) * real(decoder.hidden);
  double outside = count.embedding;
  if (decoder.norms > 0) outside += norm_params(decoder);  // the last norm, before the head
  if (decoder.embedding_norm) outside += norm_params(decoder);
  if (model.vision) outside += model.vision->params;
  count.total = count.active = outside;
  for (int i = 0; i < decoder.layers; ++i) {
    const LayerParams layer = layer_params(decoder, i);
    count.total += layer.attention + layer.dense + layer.experts;
    count.active += layer.attention + layer.dense + layer.active_experts;
  }
  return count;
}

Model read_model(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "the model " + quote(name), diagnostics);
  Model model;
  model.name = name;
  model.source = place_of(node, file);
  fields.require("hf_id");
  model.hf_id = fields.name("hf_id").value_or("");
  model.revision = fields.name("revision").value_or("main");
  fields.require("family");
  model.family = fields.name("family").value_or("");
  model.kind = fields
                   .choice<ModelKind>("kind", {{"text", ModelKind::kText},
                                               {"vision_language", ModelKind::kVisionLanguage},
                                               {"image", ModelKind::kImage},
                                               {"other", ModelKind::kOther}})
                   .value_or(ModelKind::kText);
  fields.require("params");
  model.params = fields.count("params", 1, kMostParams).value_or(1);
  model.active_params = fields.count("active_params", 1, kMostParams).value_or(model.params);
  if (model.active_params > model.params) {
    if (fields.has("params")) fields.error("active_params", "'active_params' must be at most 'params'");
    model.active_params = model.params;
  }
  model.context = fields.whole("context", 1, 1'000'000'000).value_or(0);
  model.dtype = fields
                    .choice<DType>("dtype", {{"fp32", DType::kFp32},
                                             {"bf16", DType::kBf16},
                                             {"fp16", DType::kFp16},
                                             {"fp8", DType::kFp8},
                                             {"int8", DType::kInt8},
                                             {"int4", DType::kInt4}})
                    .value_or(DType::kBf16);
  model.scales = fields
                     .choice<Scales>("scales", {{"none", Scales::kNone},
                                                {"tensor", Scales::kTensor},
                                                {"channel", Scales::kChannel},
                                                {"block_128", Scales::kBlock128}})
                     .value_or(Scales::kNone);
  if (model.scales != Scales::kNone && bytes_of(model.dtype) > 1) {
    fields.error("scales",
                 "'scales' go with a dtype of 8 bits or fewer, and the dtype is " + std::string(name_of(model.dtype)));
    model.scales = Scales::kNone;
  }
  fields.require("license");
  model.license = fields.text("license").value_or("");
  model.gated = fields.truth("gated").value_or(false);
  read_engines(model, fields, file, diagnostics);
  read_unknown(model, fields, file, diagnostics);
  if (const Yaml* decoder = fields.get("decoder")) model.decoder = read_decoder(*decoder, file, diagnostics);
  if (const Yaml* vision = fields.get("vision")) model.vision = read_vision(*vision, file, diagnostics);
  model.notes = fields.text("notes").value_or("");

  if (fields.is_map()) {
    if (!model.decoder && !model.unknown.contains("decoder"))
      fields.error("decoder", "the model " + quote(name) +
                                  " needs the key 'decoder', or 'unknown: {decoder: ...}' to say why it has none");
    if (model.decoder && model.unknown.contains("decoder"))
      fields.error("decoder", "the decoder is described, and 'unknown' says that it is not known");
    if (!model.decoder && model.runs_on(Engine::kNative))
      fields.error("engines", "the native engine runs only models whose 'decoder' is described");
    if (model.decoder && !fields.has("context"))
      fields.error("context", "the model " + quote(name) + " needs the key 'context', as it has a decoder");
    if (model.kind == ModelKind::kVisionLanguage && !model.vision && !model.unknown.contains("vision"))
      fields.error("kind",
                   "a vision_language model needs the key 'vision', or 'unknown: {vision: ...}' to say why not");
    if (model.vision && model.kind != ModelKind::kVisionLanguage)
      fields.error("vision", "only a model of 'kind: vision_language' has a vision tower");
  }
  if (model.decoder) model.context = std::max<std::int64_t>(1, model.context);
  fields.finish();
  return model;
}

}  // namespace orch
