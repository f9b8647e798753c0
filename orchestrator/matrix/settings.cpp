#include "matrix/settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::matrix {
namespace {

constexpr double kMostExact = 9007199254740991;  // 2^53 - 1: what every JSON reader keeps exactly
constexpr std::size_t kMostText = 4096;

std::vector<SettingDef> make_defs() {
  using enum SettingType;
  constexpr CellKind eval = CellKind::kEval, train = CellKind::kTrain, bench = CellKind::kBench,
                     command = CellKind::kCommand;
  const std::vector<std::string_view> engines = {"native", "lm-eval", "command"};
  const std::vector<std::string_view> dtypes = {"fp32", "bf16", "fp16", "fp8", "int8", "int4"};
  const std::vector<std::string_view> computes = {"bf16", "fp16", "fp32", "fp8"};
  const std::vector<std::string_view> kv_dtypes = {"fp32", "bf16", "fp16", "fp8", "int8"};
  const std::vector<std::string_view> schedules = {"cosine", "linear", "constant", "plateau"};
  const std::vector<std::string_view> losses = {"sigmoid", "robust", "hinge", "ipo"};
  const std::vector<std::string_view> scalings = {"group", "batch", "none"};
  const std::vector<std::string_view> aggregations = {"grpo", "bnpo", "dr_grpo", "dapo"};
  return {
      {"dtype",
       kChoice,
       0,
       0,
       dtypes,
       {eval, train, bench, command},
       true,
       "number format of the weights, in a benchmark of computation too; by default the one the model is stored in "
       "(fp32: "
       "bf16)"},
      {"compute_dtype",
       kChoice,
       0,
       0,
       computes,
       {eval, train},
       true,
       "number format of computation; by default that of the weights, and bf16 for weights of 8 bits or fewer"},
      {"seed",
       kInteger,
       0,
       kMostExact,
       {},
       {eval, train, bench, command},
       true,
       "start of every random choice; by default 0"},
      {"engine",
       kChoice,
       0,
       0,
       engines,
       {eval, train},
       true,
       "what runs the cell; by default the first of the model's engines that can do the task"},
      {"kv_dtype",
       kChoice,
       0,
       0,
       kv_dtypes,
       {eval},
       true,
       "number format of the KV cache; by default that of computation"},
      {"shots", kInteger, 0, 100, {}, {eval}, true, "worked examples before each question; by default the task's"},
      {"limit", kCount, 1, 1e12, {}, {eval}, true, "only the first so many samples; by default all"},
      {"max_tokens",
       kInteger,
       1,
       1e6,
       {},
       {eval, train},
       true,
       "most tokens generated for an answer (of a training: a completion, GRPO); by default the task's"},
      {"temperature",
       kNumber,
       0,
       5,
       {},
       {eval, train},
       true,
       "of sampling; 0, the default, takes the likeliest token. Of a training: of what it writes to learn from (GRPO), "
       "above 0; by default 1"},
      {"top_p",
       kNumber,
       1e-6,
       1,
       {},
       {train},
       true,
       "of what a training writes (GRPO): drawn from the fewest tokens that have this share of the probability; by "
       "default 1"},
      {"top_k",
       kInteger,
       0,
       1e6,
       {},
       {train},
       true,
       "of what a training writes (GRPO): drawn from so many of the likeliest tokens; 0, the default: from all"},
      {"context",
       kInteger,
       1,
       1e8,
       {},
       {eval},
       true,
       "tokens of prompt and answer that are kept, the oldest cut off; by default nothing is cut off"},
      {"chat_template", kTruth, 0, 0, {}, {eval}, true, "whether questions are put as a chat; by default false"},
      {"prefix",
       kText,
       0,
       0,
       {},
       {eval},
       true,
       "text before every prompt (as a chat: the system message); by default none"},
      {"run_unsafe_code",
       kTruth,
       0,
       0,
       {},
       {eval},
       false,
       "of lm-eval: whether tasks of kind code may run the programs that the model writes; by default false, and their "
       "cells are rejected"},
      {"batch",
       kInteger,
       1,
       65536,
       {},
       {eval, bench},
       false,
       "sequences at once, per copy of the model, by default what fits; of a benchmark: samples at once per GPU, by "
       "default the task's"},
      {"tensor",
       kInteger,
       1,
       64,
       {},
       {eval, train},
       false,
       "GPUs that share each layer of the model; by default as few as hold it"},
      {"pipeline", kInteger, 1, 64, {}, {eval}, false, "stages that the layers are split over; by default 1"},
      {"full", kTruth, 0, 0, {}, {train}, true, "train all weights and not an adapter; by default false"},
      {"rank", kInteger, 1, 65536, {}, {train}, true, "of the adapter"},
      {"alpha", kNumber, 0, 65536, {}, {train}, true, "of the adapter: its scale is alpha / rank"},
      {"dropout", kNumber, 0, 0.99, {}, {train}, true, "share of the adapter's inputs that is dropped"},
      {"targets",
       kText,
       0,
       0,
       {},
       {train},
       true,
       "linear layers that get an adapter: ends of their names with commas, each with a rank of its own behind a colon "
       "where that differs (`q_proj,v_proj:16`), `experts` among them; by default all linear layers"},
      {"rank_stabilised", kTruth, 0, 0, {}, {train}, true, "the adapter's scale is alpha / √rank; by default false"},
      {"learning_rate", kNumber, 1e-12, 10, {}, {train}, true, "highest rate of the schedule"},
      {"batch_size",
       kInteger,
       1,
       1e6,
       {},
       {train},
       true,
       "samples of one accumulation step over all GPUs; batch_size × accumulation is the global batch"},
      {"accumulation",
       kInteger,
       1,
       65536,
       {},
       {train},
       true,
       "steps whose gradients are added before the optimiser steps"},
      {"micro_batch", kInteger, 1, 65536, {}, {train}, false, "samples at once on a GPU; by default what fits"},
      {"checkpointing",
       kTruth,
       0,
       0,
       {},
       {train},
       false,
       "layers are computed again on the way back, which takes less memory and more time; by default where memory asks "
       "for it"},
      {"epochs", kInteger, 1, 1000, {}, {train}, true, "passes over the data; by default 1, unless steps is given"},
      {"steps", kInteger, 1, 1e9, {}, {train, bench}, true, "optimiser steps; of a benchmark: measured steps"},
      {"sequence", kInteger, 8, 1e7, {}, {train}, true, "longest sample, in tokens"},
      {"data", kText, 0, 0, {}, {train}, true, "data set, a Hugging Face id or a path; by default the task's"},
      {"held_out",
       kInteger,
       0,
       1e6,
       {},
       {train},
       true,
       "rows of the data that are held out and evaluated; by default one in twenty, at most 128"},
      {"evaluate_every",
       kInteger,
       1,
       1e9,
       {},
       {train},
       true,
       "steps between evaluations of the rows that are held out; by default 25"},
      {"group_by_length", kTruth, 0, 0, {}, {train}, true, "samples of like length stand in one step; by default true"},
      {"loss", kChoice, 0, 0, losses, {train}, true, "what a preference costs (DPO); by default sigmoid"},
      {"label_smoothing",
       kNumber,
       0,
       0.49,
       {},
       {train},
       true,
       "of the loss robust (DPO): how likely the rejected answer is the better one; by default 0"},
      {"beta", kNumber, 0, 100, {}, {train}, true, "pull towards the reference model (DPO, GRPO)"},
      {"group_size", kInteger, 2, 1024, {}, {train}, true, "answers that are compared for one prompt (GRPO)"},
      {"reward", kText, 0, 0, {}, {train}, true, "path of the file of rules that completions are rewarded by (GRPO)"},
      {"aggregation",
       kChoice,
       0,
       0,
       aggregations,
       {train},
       true,
       "what the losses of tokens are divided by (GRPO); by default dapo"},
      {"epsilon",
       kNumber,
       0,
       1,
       {},
       {train},
       true,
       "how far from 1 a token's ratio still counts (GRPO); by default 0.2"},
      {"epsilon_high",
       kNumber,
       0,
       100,
       {},
       {train},
       true,
       "how far above 1 a token's ratio still counts (GRPO); by default as epsilon"},
      {"delta",
       kNumber,
       0,
       1000,
       {},
       {train},
       true,
       "largest ratio of a token where its advantage is below 0 (GRPO), more than 1 + epsilon_high; 0, the default: "
       "any"},
      {"scale_rewards",
       kChoice,
       0,
       0,
       scalings,
       {train},
       true,
       "whose deviation rewards are divided by (GRPO): that of a prompt's, of all that is written at once, or none; by "
       "default group, with dr_grpo none"},
      {"iterations",
       kInteger,
       1,
       1024,
       {},
       {train},
       true,
       "how often all of what was written at once is learnt from (GRPO); by default 1"},
      {"steps_per_generation",
       kInteger,
       1,
       65536,
       {},
       {train},
       true,
       "optimiser steps that what is written at once is split over (GRPO); by default 1"},
      {"schedule", kChoice, 0, 0, schedules, {train}, true, "course of the learning rate; by default cosine"},
      {"warmup", kNumber, 0, 1, {}, {train}, true, "share of the steps in which the rate rises from 0; by default 0"},
      {"weight_decay", kNumber, 0, 1, {}, {train}, true, "of AdamW; by default 0"},
      {"clip", kNumber, 0, 1000, {}, {train}, true, "largest norm of the gradient; 0 does not clip; by default 1"},
      {"ema_decay",
       kNumber,
       0,
       0.9999999,
       {},
       {train},
       true,
       "of the moving average of the weights that is kept as the result; 0 keeps the last weights; by default 0.9999"},
      {"stages", kInteger, 1, 3, {}, {train}, true, "rounds with falling learning rates; by default 1"},
      {"checkpoint_every", kInteger, 1, 1e9, {}, {train}, false, "steps between checkpoints"},
      {"keep_checkpoints",
       kInteger,
       1,
       1000,
       {},
       {train},
       false,
       "checkpoints kept: the two newest, and so many of the best; by default 8"},
      {"gpus",
       kGpus,
       0,
       65536,
       {},
       {bench, command},
       false,
       "GPUs over all nodes; by default 1. Of a command also 0, and between 0 and 1 a part of one GPU, which others "
       "share"},
      {"nodes", kInteger, 1, 16384, {}, {bench, command}, false, "nodes; by default as few as hold the GPUs"},
      {"time", kDuration, 1, 365.0 * 86400, {}, {command}, false, "longest run: 30min, 20h, 1-12:00:00"},
      {"cpus",
       kInteger,
       1,
       65536,
       {},
       {command},
       false,
       "CPUs on each node; by default the profile's, without a GPU 1"},
      {"memory",
       kBytes,
       kMiB,
       1e15,
       {},
       {command},
       false,
       "host memory on each node (4G); by default the profile's, without a GPU that of the CPUs' part of the node",
       true},
      {"gpu_memory",
       kBytes,
       kMiB,
       1e15,
       {},
       {command},
       false,
       "GPU memory that the program needs on each GPU (20GiB); less than a GPU's lets several share one"},
      {"container", kText, 0, 0, {}, {command}, true, "image that the program runs in, best with its digest"},
  };
}

const std::vector<SettingDef>& defs() {
  static const std::vector<SettingDef> all = make_defs();
  return all;
}

std::string kinds_text(const std::vector<CellKind>& kinds) {
  std::string text;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (i) text += i + 1 == kinds.size() ? " and " : ", ";
    text += name_of(kinds[i]);
  }
  return text;
}

std::string number_text(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return std::to_string(static_cast<long long>(value));
  return nlohmann::json(value).dump();
}

std::string range_text(const SettingDef& def) {
  if (def.most >= kMostExact) return " of at least " + number_text(def.least);
  return " from " + number_text(def.least) + " to " + number_text(def.most);
}

std::string expected(const SettingDef& def) {
  switch (def.type) {
    case SettingType::kTruth:
      return "true or false";
    case SettingType::kInteger:
      return "a whole number" + range_text(def);
    case SettingType::kNumber:
      return "a number" + range_text(def);
    case SettingType::kText:
      return "a text of at most " + std::to_string(kMostText) + " bytes, without control characters";
    case SettingType::kChoice: {
      std::vector<std::string> words(def.choices.begin(), def.choices.end());
      return "one of " + join(words, ", ");
    }
    case SettingType::kCount:
      return "a whole count of at least 1, such as 200 or 10k";
    case SettingType::kBytes:
      return "an amount of memory such as 20GiB, from 1 MiB to 1,000 TB";
    case SettingType::kDuration:
      return "a duration with its unit, such as 30min, 20h or 1-12:00:00, from 1 s to 365 d";
    case SettingType::kGpus:
      return "a whole number" + range_text(def) + ", or a fraction between 0 and 1 for a part of one GPU";
  }
  return {};
}

bool is_plain_text(const std::string& text) {
  if (text.size() > kMostText) return false;
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

std::optional<SettingValue> whole(std::optional<double> value, const SettingDef& def, bool round_up) {
  if (!value || !(*value >= def.least && *value <= def.most)) return std::nullopt;
  if (!round_up && *value != std::floor(*value)) return std::nullopt;
  return static_cast<std::int64_t>(std::ceil(*value));
}

std::optional<SettingValue> value_of(const SettingDef& def, const Yaml& node) {
  if (!node.is_scalar()) return std::nullopt;
  switch (def.type) {
    case SettingType::kTruth:
      if (const auto value = node.truth()) return *value;
      return std::nullopt;
    case SettingType::kInteger: {
      const auto value = node.integer();
      const bool fits = value && static_cast<double>(*value) >= def.least && static_cast<double>(*value) <= def.most;
      if (fits) return static_cast<std::int64_t>(*value);
      return std::nullopt;
    }
    case SettingType::kNumber: {
      const auto value = node.number();
      // Adding 0 makes -0.0 the 0 that it is equal to, so that both give one key.
      if (value && *value >= def.least && *value <= def.most) return *value + 0.0;
      return std::nullopt;
    }
    case SettingType::kText:
      if (is_plain_text(node.text)) return node.text;
      return std::nullopt;
    case SettingType::kChoice:
      if (std::ranges::find(def.choices, node.text) != def.choices.end()) return node.text;
      return std::nullopt;
    case SettingType::kCount:
      return whole(parse_count(node.text), def, false);
    case SettingType::kBytes:
      return whole(parse_bytes(node.text), def, true);
    case SettingType::kDuration:
      return whole(parse_duration(node.text), def, true);
    case SettingType::kGpus: {
      const auto value = node.number();
      if (value && *value > 0 && *value < 1) return *value;
      return whole(value, def, false);
    }
  }
  return std::nullopt;
}

std::optional<SettingValue> own_value_of(const Yaml& node) {
  if (!node.is_scalar()) return std::nullopt;
  if (const auto value = node.truth()) return *value;
  if (const auto value = node.integer()) {
    if (static_cast<double>(*value) > kMostExact || static_cast<double>(*value) < -kMostExact) return std::nullopt;
    return static_cast<std::int64_t>(*value);
  }
  if (const auto value = node.number()) return *value + 0.0;  // -0.0 is 0
  if (is_plain_text(node.text)) return node.text;
  return std::nullopt;
}

/// The values of a list each, of a scalar one; `read` gives one or reports why not.
template <class Read>
std::vector<SettingValue> axis_of(std::string_view name, const Yaml& node, const std::string& file,
                                  Diagnostics& diagnostics, Read read) {
  std::vector<SettingValue> values;
  if (!node.is_list()) {
    if (auto value = read(node)) values.push_back(std::move(*value));
    return values;
  }
  if (node.items.empty())
    diagnostics.error(place_of(node, file),
                      "an empty axis makes no cells: give " + quote(name) + " a value, or leave it out");
  values.reserve(node.items.size());
  std::unordered_set<std::string> seen;
  seen.reserve(node.items.size());
  std::string bytes;
  for (const Yaml& item : node.items) {
    auto value = read(item);
    if (!value) continue;
    bytes.clear();
    append_value(bytes, *value);
    if (seen.insert(bytes).second)
      values.push_back(std::move(*value));
    else
      diagnostics.error(place_of(item, file), "the value " + quote(item.text) + " stands twice in the axis " +
                                                  quote(name) + "; the same cell would be asked for twice");
  }
  return values;
}

}  // namespace

std::string_view name_of(CellKind kind) {
  constexpr std::array<std::string_view, 4> kNames = {"eval", "train", "bench", "command"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::optional<CellKind> cell_kind_named(std::string_view name) {
  for (const CellKind kind : kCellKinds)
    if (name_of(kind) == name) return kind;
  return std::nullopt;
}

std::span<const SettingDef> setting_defs() { return defs(); }

const SettingDef* find_setting(std::string_view name) {
  const auto found = std::ranges::find(defs(), name, &SettingDef::name);
  return found == defs().end() ? nullptr : &*found;
}

bool takes(const SettingDef& def, CellKind kind) { return std::ranges::find(def.kinds, kind) != def.kinds.end(); }

bool in_key(const SettingDef& def, CellKind kind) { return def.in_key || kind == CellKind::kBench; }

bool is_own(std::string_view name, CellKind kind) {
  if (kind != CellKind::kCommand) return false;
  const SettingDef* def = find_setting(name);
  return !def || !takes(*def, kind);
}

bool is_for_bench(const SettingDef& def, const SettingValue& value) {
  return def.type != SettingType::kGpus ||
         (std::holds_alternative<std::int64_t>(value) && value != SettingValue(std::int64_t{0}));
}

bool is_content(std::string_view name, const SettingValue& value, CellKind kind) {
  if (is_own(name, kind)) return true;
  const SettingDef* def = find_setting(name);
  return def && in_key(*def, kind) && !is_off(name, value, kind);
}

bool is_setting_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= 200 && letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool is_off(std::string_view name, const SettingValue& value, CellKind kind) {
  if (kind == CellKind::kCommand) return false;
  if (name == "chat_template" || name == "full" || name == "rank_stabilised") return value == SettingValue(false);
  if (name == "group_by_length") return value == SettingValue(true);
  if (name == "targets") return value == SettingValue(std::string("all"));
  if (name == "loss") return value == SettingValue(std::string("sigmoid"));
  if (name == "aggregation") return value == SettingValue(std::string("dapo"));
  if (name == "prefix") return value == SettingValue(std::string());
  // Whole or not: who completes a training may write 0 either way.
  const auto is = [&](int number) {
    return value == SettingValue(static_cast<double>(number)) || value == SettingValue(std::int64_t{number});
  };
  if (name == "warmup" || name == "weight_decay" || name == "clip" || name == "ema_decay" || name == "label_smoothing")
    return is(0);
  // An evaluation's temperature is 0 where nothing is said.
  if (kind == CellKind::kTrain && (name == "temperature" || name == "top_p")) return is(1);
  if (name == "top_k" || name == "delta") return is(0);
  return (name == "stages" || name == "iterations" || name == "steps_per_generation") && is(1);
}

std::optional<std::string_view> text_of_off(std::string_view name, CellKind kind) {
  const SettingDef* def = find_setting(name);
  if (kind == CellKind::kCommand || !def || !takes(*def, kind)) return std::nullopt;
  if (def->type == SettingType::kTruth)
    for (const bool value : {false, true})
      if (is_off(name, value, kind)) return value ? "true" : "false";
  if (def->type == SettingType::kText)
    for (const std::string_view value : {"", "all"})
      if (is_off(name, std::string(value), kind)) return value;
  for (const std::string_view choice : def->choices)
    if (is_off(name, std::string(choice), kind)) return choice;
  for (const auto& [value, text] : {std::pair{0, "0"}, std::pair{1, "1"}})
    if (is_off(name, std::int64_t{value}, kind)) return text;
  return std::nullopt;
}

DType default_compute(DType weights) { return bytes_of(weights) <= 1 ? DType::kBf16 : weights; }

void Settings::set(std::string_view name, SettingValue value) {
  // Most are made in the order of their names.
  const bool last = values_.empty() || values_.back().first < name;
  const auto at = last ? values_.end() : std::ranges::lower_bound(values_, name, {}, &Entry::first);
  if (at != values_.end() && at->first == name)
    at->second = std::move(value);
  else
    values_.emplace(at, std::string(name), std::move(value));
}

void Settings::erase(std::string_view name) {
  std::erase_if(values_, [&](const Entry& entry) { return entry.first == name; });
}

const SettingValue* Settings::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(values_, name, {}, &Entry::first);
  return found == values_.end() || found->first != name ? nullptr : &found->second;
}

std::optional<std::int64_t> Settings::integer(std::string_view name) const {
  const SettingValue* value = find(name);
  if (value && std::holds_alternative<std::int64_t>(*value)) return std::get<std::int64_t>(*value);
  return std::nullopt;
}

std::optional<double> Settings::number(std::string_view name) const {
  const SettingValue* value = find(name);
  if (value && std::holds_alternative<double>(*value)) return std::get<double>(*value);
  if (value && std::holds_alternative<std::int64_t>(*value)) return static_cast<double>(std::get<std::int64_t>(*value));
  return std::nullopt;
}

std::optional<std::string> Settings::text(std::string_view name) const {
  const SettingValue* value = find(name);
  if (value && std::holds_alternative<std::string>(*value)) return std::get<std::string>(*value);
  return std::nullopt;
}

std::optional<bool> Settings::truth(std::string_view name) const {
  const SettingValue* value = find(name);
  if (value && std::holds_alternative<bool>(*value)) return std::get<bool>(*value);
  return std::nullopt;
}

std::optional<DType> Settings::dtype(std::string_view name) const {
  const auto word = text(name);
  return word ? dtype_named(*word) : std::nullopt;
}

void append_value(std::string& out, const SettingValue& value) {
  out += static_cast<char>('0' + value.index());
  if (const auto* word = std::get_if<std::string>(&value)) {
    out += std::to_string(word->size());
    out += ':';
    out += *word;
    return;
  }
  std::array<char, 8> bytes{};
  if (const auto* integer = std::get_if<std::int64_t>(&value)) std::memcpy(bytes.data(), integer, bytes.size());
  if (const auto* number = std::get_if<double>(&value)) std::memcpy(bytes.data(), number, bytes.size());
  if (const auto* truth = std::get_if<bool>(&value)) bytes[0] = *truth ? 1 : 0;
  out.append(bytes.data(), bytes.size());
}

nlohmann::json to_json(const SettingValue& value) {
  return std::visit([](const auto& held) { return nlohmann::json(held); }, value);
}

nlohmann::json to_json(const Settings& settings) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, value] : settings.values()) object[name] = to_json(value);
  return object;
}

std::string plain_text(const SettingValue& value) {
  const auto* word = std::get_if<std::string>(&value);
  return word ? *word : canonical_json(to_json(value));
}

std::string to_string(const Settings& settings) {
  std::string text;
  for (const auto& [name, value] : settings.values()) {
    if (!text.empty()) text += ' ';
    text += name + "=";
    const auto* word = std::get_if<std::string>(&value);
    const bool bare = word && is_name(*word);
    text += bare ? *word : word ? quote(*word) : canonical_json(to_json(value));
  }
  return text.empty() ? "-" : text;
}

std::optional<SettingValue> read_setting(const SettingDef& def, const Yaml& node, const std::string& file,
                                         Diagnostics& diagnostics) {
  if (auto value = value_of(def, node)) return value;
  std::string what = quote(def.name) + " must be " + expected(def) + "; found " + describe(node);
  if (def.type == SettingType::kChoice && node.is_scalar()) {
    const std::vector<std::string> words(def.choices.begin(), def.choices.end());
    what += hint(node.text, words);
  }
  diagnostics.error(place_of(node, file), std::move(what));
  return std::nullopt;
}

std::vector<SettingValue> read_axis(const SettingDef& def, const Yaml& node, const std::string& file,
                                    Diagnostics& diagnostics) {
  return axis_of(def.name, node, file, diagnostics,
                 [&](const Yaml& item) { return read_setting(def, item, file, diagnostics); });
}

std::optional<SettingValue> read_own_setting(std::string_view name, const Yaml& node, const std::string& file,
                                             Diagnostics& diagnostics) {
  if (auto value = own_value_of(node)) return value;
  diagnostics.error(place_of(node, file), quote(name) +
                                              ", a setting of your own, must be a truth value, a number that "
                                              "is kept exactly, or a text of at most " +
                                              std::to_string(kMostText) + " bytes without control characters; found " +
                                              describe(node));
  return std::nullopt;
}

std::vector<SettingValue> read_own_axis(std::string_view name, const Yaml& node, const std::string& file,
                                        Diagnostics& diagnostics) {
  return axis_of(name, node, file, diagnostics,
                 [&](const Yaml& item) { return read_own_setting(name, item, file, diagnostics); });
}

std::optional<std::string> why_not_taken(std::string_view name, std::span<const CellKind> kinds,
                                         std::span<const std::string> others) {
  const SettingDef* def = find_setting(name);
  if (def && std::ranges::any_of(kinds, [&](CellKind kind) { return takes(*def, kind); })) {
    if (!def->beside_run) return std::nullopt;
    // It was the name of what is gpu_memory now, so a matrix of old would silently get something else.
    return quote(name) +
           " is not said here: GPU memory that a program needs is the setting 'gpu_memory', and host memory stands "
           "beside the program, `command: {run: […], memory: 4G}`";
  }
  const std::string here = kinds.empty() ? "such" : kinds_text({kinds.begin(), kinds.end()});
  if (def) return here + " cells do not take the setting " + quote(name) + "; " + kinds_text(def->kinds) + " cells do";
  std::vector<std::string> known(others.begin(), others.end());
  for (const SettingDef& each : defs())
    if (!each.beside_run && std::ranges::any_of(kinds, [&](CellKind kind) { return takes(each, kind); }))
      known.emplace_back(each.name);
  std::ranges::sort(known);
  const auto near = nearest(name, known);
  const std::string tail = near ? "; did you mean " + quote(*near) + "?" : "; there are " + join(known, ", ");
  return (others.empty() ? "no setting " : "no condition or setting ") + quote(name) + tail;
}

std::string hint_of_own(std::string_view name, std::span<const CellKind> kinds) {
  if (std::ranges::find(kinds, CellKind::kCommand) == kinds.end() || !is_setting_name(name) ||
      !is_own(name, CellKind::kCommand) || name == "engine")
    return {};
  return "; a setting of your own is one that a word or a variable of the command names, as {" + shown(name) + "}";
}

Axes read_axes(const Yaml& node, std::span<const CellKind> kinds, const std::string& file, Diagnostics& diagnostics,
               const std::set<std::string>& told) {
  Axes axes;
  if (!node.is_map()) {
    diagnostics.error(place_of(node, file), "settings must be a map of names to values, found " + describe(node));
    return axes;
  }
  for (const Yaml::Entry& entry : node.entries) {
    const auto why = why_not_taken(entry.key, kinds);
    if (why && !told.contains(entry.key)) {
      diagnostics.error({file, entry.line, entry.column}, *why + hint_of_own(entry.key, kinds));
      continue;
    }
    auto values = why ? read_own_axis(entry.key, entry.value, file, diagnostics)
                      : read_axis(*find_setting(entry.key), entry.value, file, diagnostics);
    if (!values.empty()) axes[entry.key] = std::move(values);
  }
  return axes;
}

}  // namespace orch::matrix
