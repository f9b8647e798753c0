#include "matrix/axes.h"

#include <algorithm>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "matrix/counts.h"

namespace orch::matrix {
namespace {

std::int64_t count_of(const Axes& axes) {
  std::int64_t count = 1;
  for (const auto& [name, values] : axes) count = times_capped(count, static_cast<std::int64_t>(values.size()));
  return count;
}

Axis axis_of(const std::string& name, std::vector<SettingValue> values, CellKind kind) {
  Axis axis;
  axis.name = name;
  axis.values = std::move(values);
  for (const SettingValue& value : axis.values) {
    const bool content = name != "engine" && is_content(name, value, kind);
    axis.key_texts.push_back(content ? "\"" + name + "\":" + canonical_json(to_json(value)) : std::string());
  }
  return axis;
}

/// A number format that follows another one, turning with its axis: that of computation the one of the weights, that of
/// the KV cache the one of computation.
void add_following(Block& block, CellKind kind, const char* name, const char* of) {
  const SettingDef* def = find_setting(name);
  const Axis* followed = block.find(of);
  if (!followed || !takes(*def, kind) || block.find(name)) return;
  std::vector<SettingValue> values;
  for (const SettingValue& value : followed->values)
    values.emplace_back(std::string(name_of(default_compute(*dtype_named(std::get<std::string>(value))))));
  Axis axis = axis_of(name, std::move(values), kind);
  axis.stride = followed->stride;
  axis.follows = true;
  block.axes.insert(std::ranges::lower_bound(block.axes, axis.name, {}, &Axis::name), std::move(axis));
}

void add_defaults(Axes& axes, const Pair& pair, const Stage& stage, const std::optional<std::string>& container) {
  const auto fill = [&](const char* name, SettingValue value) {
    if (!axes.contains(name)) axes[name] = {std::move(value)};
  };
  const auto text = [](std::string_view word) { return SettingValue(std::string(word)); };
  fill("seed", std::int64_t{0});
  switch (stage.kind) {
    case CellKind::kEval:
      fill("shots", std::int64_t{pair.task->shots});
      fill("temperature", 0.0);
      if (pair.task->max_output_tokens > 0) fill("max_tokens", std::int64_t{pair.task->max_output_tokens});
      break;
    case CellKind::kTrain:
      break;
    case CellKind::kBench:
      fill("gpus", std::int64_t{1});
      fill("dtype", text("bf16"));
      if (pair.task->bench && pair.task->bench->batch_per_gpu > 0)
        fill("batch", std::int64_t{pair.task->bench->batch_per_gpu});
      break;
    case CellKind::kCommand:
      fill("gpus", std::int64_t{1});
      if (container) fill("container", *container);
      break;
  }
  if (pair.model && !pair.model->own) fill("dtype", text(default_dtype(*pair.model)));
  if (!has_engine(stage.kind) || axes.contains("engine")) return;
  if (const auto choice = choose_engine(*pair.model, *pair.task, stage.kind, !stage.command.empty()); choice.engine)
    fill("engine", text(name_of(*choice.engine)));
}

}  // namespace

const Axis* Block::find(std::string_view name) const {
  const auto found = std::ranges::find(axes, name, &Axis::name);
  return found == axes.end() ? nullptr : &*found;
}

Block lay_axes(const Pair& pair, const Stage& stage, const Catalog& catalog,
               const std::optional<std::string>& container, Diagnostics& diagnostics) {
  Axes axes = pair.t.category;
  override_with(axes, pair.m.category, stage.kind);
  if (pair.category > 0) {
    const Category* named = catalog.categories.find(stage.categories[pair.category - 1]);
    if (named) override_with(axes, category_axes(*named, stage.kind, diagnostics), stage.kind);
  }
  // A category's bound on answers says nothing of a task that generates none.
  if (pair.task && pair.task->max_output_tokens == 0) axes.erase("max_tokens");
  override_with(axes, stage.settings, stage.kind);
  override_with(axes, pair.m.own, stage.kind);
  override_with(axes, pair.t.own, stage.kind);
  // Said beside the stages it is meant for their evaluations; a training writes where it is rewarded for that alone.
  if (stage.kind == CellKind::kTrain && pair.task && pair.task->type != "grpo")
    for (const char* name : {"max_tokens", "temperature"}) axes.erase(name);
  std::vector<std::string> said;
  for (const auto& [name, values] : axes) said.push_back(name);
  add_defaults(axes, pair, stage, container);

  Block block;
  block.kind = stage.kind;
  block.count = count_of(axes);
  for (auto& [name, values] : axes) {
    block.axes.push_back(axis_of(name, std::move(values), stage.kind));
    block.axes.back().said = std::ranges::binary_search(said, name);
  }
  std::size_t stride = 1;
  for (auto axis = block.axes.rbegin(); axis != block.axes.rend(); ++axis) {
    axis->stride = stride;
    // Past most_cells nothing is built; what wraps around here is then not used.
    stride *= axis->values.size();
  }
  add_following(block, stage.kind, "compute_dtype", "dtype");
  add_following(block, stage.kind, "kv_dtype", "compute_dtype");
  const Axis* engine = block.find("engine");
  block.engine_chosen = engine && !engine->said;
  return block;
}

Settings settings_at(const Block& block, std::size_t combination, bool keep_off) {
  Settings settings;
  settings.reserve(block.axes.size());
  for (const Axis& axis : block.axes) {
    const SettingValue& value = axis.value(combination);
    if (keep_off || !is_off(axis.name, value, block.kind)) settings.set(axis.name, value);
  }
  return settings;
}

void build(Block& block, SettingsTable& table, const std::vector<Settings>& settings) {
  block.built = true;
  block.combinations.resize(static_cast<std::size_t>(block.count));
  table.expect(block.combinations.size());
  std::unordered_map<std::string, std::int32_t> known;  // reasons
  std::string all;
  for (std::size_t i = 0; i < block.combinations.size(); ++i) {
    Block::Combination& combination = block.combinations[i];
    combination.begin = static_cast<std::uint32_t>(block.fragments.size());
    block.fragments += '{';
    all.clear();
    for (const Axis& axis : block.axes) {
      const std::size_t at = axis.index(i);
      if (!axis.key_texts[at].empty()) {
        if (block.fragments.back() != '{') block.fragments += ',';
        block.fragments += axis.key_texts[at];
      }
      if (!is_off(axis.name, axis.values[at], block.kind)) append_setting(all, axis.name, axis.values[at]);
    }
    block.fragments += '}';
    combination.length = static_cast<std::uint32_t>(block.fragments.size()) - combination.begin;
    // The fragments of a block are about equally long.
    if (i == 0) block.fragments.reserve(block.combinations.size() * (combination.length + 8));
    combination.settings = table.intern(all, [&] { return settings_at(block, i, false); });
    if (auto why = why_not_shape(settings[combination.settings])) {
      const auto [at, added] = known.try_emplace(why->what, static_cast<std::int32_t>(block.reasons.size()));
      combination.reason = at->second;
      if (added) block.reasons.push_back(std::move(*why));
    }
  }
}

}  // namespace orch::matrix
