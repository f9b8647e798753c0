#include "matrix/expand.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"
#include "matrix/content.h"
#include "matrix/reasons.h"

namespace orch::matrix {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
/// Sets of settings are held in memory whole, so what they may take together is bounded.
constexpr double kMostSettingsBytes = 1.2e9;

std::int64_t add(std::int64_t a, std::int64_t b) { return a > kMost - b ? kMost : a + b; }
std::int64_t times(std::int64_t a, std::int64_t b) { return b != 0 && a > kMost / b ? kMost : a * b; }

std::size_t prefix_of(const Digest& digest) {
  std::size_t prefix = 0;
  std::memcpy(&prefix, digest.bytes.data(), sizeof prefix);
  return prefix;
}

struct PrefixHash {
  std::size_t operator()(const Digest& digest) const { return prefix_of(digest); }
};

/// Finds cells by their keys: open addressing over cell indices, as the keys themselves are random and stand in the
/// cells.
class KeyTable {
 public:
  explicit KeyTable(const std::vector<Cell>& cells) : cells_(cells), slots_(1024, kNone) {}

  /// The cell with this key; kNone, and `next` is put in its place, if there is none.
  std::uint32_t find_or_put(const Digest& key, std::uint32_t next) {
    if ((used_ + 1) * 2 > slots_.size()) grow();
    std::size_t at = prefix_of(key) & (slots_.size() - 1);
    for (; slots_[at] != kNone; at = (at + 1) & (slots_.size() - 1))
      if (cells_[slots_[at]].key == key) return slots_[at];
    slots_[at] = next;
    ++used_;
    return kNone;
  }

 private:
  void grow() {
    std::vector<std::uint32_t> old(slots_.size() * 2, kNone);
    old.swap(slots_);
    for (const std::uint32_t cell : old) {
      if (cell == kNone) continue;
      std::size_t at = prefix_of(cells_[cell].key) & (slots_.size() - 1);
      while (slots_[at] != kNone) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = cell;
    }
  }

  const std::vector<Cell>& cells_;
  std::vector<std::uint32_t> slots_;
  std::size_t used_ = 0;
};

/// A model or a task that a stage picks, with what its selectors say.
struct Pick {
  std::uint32_t index = kNone;
  Axes own;       // settings of the selectors
  Axes category;  // of the categories through which it was picked
  Place place;
  std::string content;         // of a model: its part of the content; of a task: all that follows the settings
  std::uint32_t group = 0;     // picks of one group give equal axes and defaults
  std::vector<bool> excluded;  // by which exclusions it is met
  std::vector<bool> in;        // which of the stage's categories
};

/// The combinations that the axes of a (model, task) make, in the order of an odometer whose last axis turns fastest.
struct Block {
  struct Axis {
    std::string name;
    std::vector<SettingValue> values;
    std::vector<std::string> key_texts;  // `"seed":0`, or empty: not content
    std::size_t stride = 1;
  };
  struct Combination {
    std::uint32_t settings = 0;           // interned
    std::uint32_t begin = 0, length = 0;  // of its fragment of content
    std::int32_t reason = -1;
  };

  std::vector<Axis> axes;
  std::int64_t count = 1;
  bool built = false;
  std::vector<Combination> combinations;
  std::string fragments;
  std::vector<Reason> reasons;

  const Axis* find(std::string_view name) const {
    const auto found = std::ranges::find(axes, name, &Axis::name);
    return found == axes.end() ? nullptr : &*found;
  }
  static std::size_t value_index(const Axis& axis, std::size_t combination) {
    return combination / axis.stride % axis.values.size();
  }
  const SettingValue& value(const Axis& axis, std::size_t combination) const {
    return axis.values[value_index(axis, combination)];
  }
};

/// Values of one axis that cannot be, for a pair.
struct Forbidden {
  const Block::Axis* axis;
  std::vector<std::optional<Reason>> reasons;  // by value
};

void override_with(Axes& axes, const Axes& stronger) {
  for (const auto& [name, values] : stronger) axes[name] = values;
  // Each says how long training lasts, so the stronger one replaces the other.
  if (stronger.contains("steps") && !stronger.contains("epochs")) axes.erase("epochs");
  if (stronger.contains("epochs") && !stronger.contains("steps")) axes.erase("steps");
}

std::string text_of(const Axes& axes) {
  std::string text;
  for (const auto& [name, values] : axes) {
    text += name + "=";
    for (const SettingValue& value : values) text += canonical_json(to_json(value)) + ",";
    text += ";";
  }
  return text;
}

std::int64_t count_of(const Axes& axes) {
  std::int64_t count = 1;
  for (const auto& [name, values] : axes) count = times(count, static_cast<std::int64_t>(values.size()));
  return count;
}

std::string_view default_dtype(const Model& model) {
  return name_of(model.dtype == DType::kFp32 ? DType::kBf16 : model.dtype);
}

class Expander {
 public:
  Expander(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options, Diagnostics& diagnostics)
      : matrix_(matrix), catalog_(catalog), options_(options), diagnostics_(diagnostics), table_(out_.cells) {}

  std::optional<Expansion> run() {
    const std::size_t before = diagnostics_.error_count();
    out_.name = matrix_.name;
    out_.stages = matrix_.stages;
    trained_.resize(matrix_.stages.size());
    for (const std::uint32_t stage : stage_order(matrix_.stages)) {
      expand_stage(stage);
      if (diagnostics_.error_count() != before) return std::nullopt;
    }
    for (const auto& [place, hits] : exclusion_hits_)
      if (hits == 0) diagnostics_.warn(place, "this exclusion leaves out nothing");
    return std::move(out_);
  }

 private:
  // --- What a stage picks ---

  template <class Entry>
  void add_selected(Pick& pick, const Entry& entry, const std::vector<Selector>& selectors) {
    // A name outranks globs and conditions; of equals the later wins, key by key.
    for (const bool exact : {false, true}) {
      for (const Selector& selector : selectors) {
        if (selector.is_exact() != exact || !picks(selector, entry, catalog_)) continue;
        if (selector.category) add_category(pick, *selector.category);
        for (const auto& [name, values] : selector.settings) pick.own[name] = values;
        pick.place = selector.place;
      }
    }
  }

  void add_category(Pick& pick, const std::string& name) {
    const Category* category = catalog_.categories.find(name);
    if (category) override_with(pick.category, category_axes(*category, stage_->kind, diagnostics_));
  }

  /// The part of `selector` an exclusion names, or everything.
  template <class Entry>
  void add_exclusions(Pick& pick, const Entry* entry, std::optional<Selector> Exclusion::*part) {
    for (const Exclusion& exclusion : stage_->exclude) {
      const auto& selector = exclusion.*part;
      pick.excluded.push_back(!selector || (entry && picks(*selector, *entry, catalog_)));
    }
  }

  template <class Entry>
  std::vector<Pick> pick_from(std::span<const Entry> entries, const std::vector<Selector>& selectors,
                              std::vector<std::string> Category::*members, std::optional<Selector> Exclusion::*part,
                              bool everything) {
    std::vector<Pick> picked;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Entry& entry = entries[i];
      Pick pick;
      pick.index = static_cast<std::uint32_t>(i);
      pick.place = stage_->place;
      bool in_any = false;
      for (const std::string& name : stage_->categories) {
        const Category* category = catalog_.categories.find(name);
        pick.in.push_back(category && std::ranges::find(category->*members, entry.name) != (category->*members).end());
        in_any = in_any || pick.in.back();
      }
      const bool selected =
          std::ranges::any_of(selectors, [&](const Selector& s) { return picks(s, entry, catalog_); });
      const bool all = selectors.empty() && (!stage_->categories.empty() || everything);
      if (!(selected || all) || (!stage_->categories.empty() && !in_any)) continue;
      add_selected(pick, entry, selectors);
      add_exclusions(pick, &entry, part);
      picked.push_back(std::move(pick));
    }
    return picked;
  }

  /// Gives picks that would make the same axes the same group number.
  template <class Facts>
  static void group(std::vector<Pick>& picked, Facts facts) {
    std::map<std::string, std::uint32_t> groups;
    for (Pick& pick : picked) {
      const std::string text = text_of(pick.own) + "|" + text_of(pick.category) + "|" + facts(pick);
      pick.group = groups.try_emplace(text, static_cast<std::uint32_t>(groups.size())).first->second;
    }
  }

  void pick_models_and_tasks() {
    const auto nothing = [&] {
      Pick pick;
      pick.place = stage_->place;
      pick.in.assign(stage_->categories.size(), true);
      return pick;
    };
    const bool whatever_was_trained =
        !stage_->adapter_of.empty() && stage_->models.empty() && stage_->categories.empty();
    models_ =
        pick_from(catalog_.models.all(), stage_->models, &Category::models, &Exclusion::model, whatever_was_trained);
    if (whatever_was_trained)
      std::erase_if(models_, [&](const Pick& pick) { return adapters_for(pick.index).empty(); });
    tasks_ = pick_from(catalog_.tasks.all(), stage_->tasks, &Category::tasks, &Exclusion::task, false);
    const bool may_lack = stage_->kind == CellKind::kCommand || stage_->kind == CellKind::kBench;
    if (may_lack && stage_->models.empty() && stage_->categories.empty() && stage_->adapter_of.empty()) {
      models_ = {nothing()};
      add_exclusions<Model>(models_.front(), nullptr, &Exclusion::model);
    }
    if (stage_->kind == CellKind::kCommand && stage_->tasks.empty() && stage_->categories.empty()) {
      tasks_ = {nothing()};
      add_exclusions<Task>(tasks_.front(), nullptr, &Exclusion::task);
    }
    for (Pick& pick : models_)
      if (pick.index != kNone) pick.content = canonical_json(model_content(model(pick)));
    for (Pick& pick : tasks_)
      pick.content = (pick.index == kNone ? "" : ",\"task\":" + canonical_json(task_content(task(pick)))) +
                     ",\"version\":" + std::to_string(kContentVersion) + "}";
    group(models_, [&](const Pick& pick) {
      if (pick.index == kNone) return std::string("-");
      std::string text = std::string(default_dtype(model(pick))) + (model(pick).decoder ? " decoder" : "");
      for (const Engine engine : model(pick).engines) text += " " + std::string(name_of(engine));
      return text;
    });
    group(tasks_, [&](const Pick& pick) {
      if (pick.index == kNone) return std::string("-");
      const Task& t = task(pick);
      return std::string(name_of(t.kind)) + " " + std::to_string(t.shots) + " " + std::to_string(t.max_output_tokens) +
             " " + std::to_string(t.bench ? t.bench->batch_per_gpu : 0);
    });
  }

  const Model& model(const Pick& pick) const { return catalog_.models[pick.index]; }
  const Task& task(const Pick& pick) const { return catalog_.tasks[pick.index]; }
  const Model* model_or_none(const Pick& pick) const { return pick.index == kNone ? nullptr : &model(pick); }
  const Task* task_or_none(const Pick& pick) const { return pick.index == kNone ? nullptr : &task(pick); }

  /// The train cells whose adapters this stage uses, of one model.
  const std::vector<std::uint32_t>& adapters_for(std::uint32_t model_index) const {
    static const std::vector<std::uint32_t> none;
    const auto stage = std::ranges::find(matrix_.stages, stage_->adapter_of, &Stage::name) - matrix_.stages.begin();
    if (static_cast<std::size_t>(stage) >= trained_.size()) return none;
    const auto found = trained_[static_cast<std::size_t>(stage)].find(model_index);
    return found == trained_[static_cast<std::size_t>(stage)].end() ? none : found->second;
  }

  // --- The settings of a pair ---

  /// The first category of the stage that holds both, its index + 1; 0 when the stage has no categories.
  std::optional<std::size_t> category_of(const Pick& m, const Pick& t) const {
    if (stage_->categories.empty()) return 0;
    for (std::size_t i = 0; i < stage_->categories.size(); ++i)
      if (m.in[i] && t.in[i]) return i + 1;
    return std::nullopt;
  }

  Block& block_for(const Pick& m, const Pick& t, std::size_t category) {
    const std::array<std::uint32_t, 3> id = {m.group, t.group, static_cast<std::uint32_t>(category)};
    const auto [at, added] = blocks_.try_emplace(id);
    if (added) lay_axes(at->second, m, t, category);
    return at->second;
  }

  void lay_axes(Block& block, const Pick& m, const Pick& t, std::size_t category) {
    Axes axes = t.category;
    override_with(axes, m.category);
    if (category > 0) {
      const Category* named = catalog_.categories.find(stage_->categories[category - 1]);
      if (named) override_with(axes, category_axes(*named, stage_->kind, diagnostics_));
    }
    // A category's bound on answers says nothing of a task that generates none.
    if (const Task* on = task_or_none(t); on && on->max_output_tokens == 0) axes.erase("max_tokens");
    override_with(axes, stage_->settings);
    override_with(axes, m.own);
    override_with(axes, t.own);
    add_defaults(axes, m, t);
    block.count = count_of(axes);
    for (auto& [name, values] : axes) {
      Block::Axis axis{name, std::move(values), {}, 1};
      const SettingDef* def = find_setting(name);
      for (const SettingValue& value : axis.values) {
        const bool content = def && in_key(*def, stage_->kind) && name != "engine" && !is_off(name, value);
        axis.key_texts.push_back(content ? "\"" + name + "\":" + canonical_json(to_json(value)) : std::string());
      }
      block.axes.push_back(std::move(axis));
    }
    std::size_t stride = 1;
    for (auto axis = block.axes.rbegin(); axis != block.axes.rend(); ++axis) {
      axis->stride = stride;
      // Past most_cells nothing is built; what wraps around here is then not used.
      stride *= axis->values.size();
    }
  }

  void add_defaults(Axes& axes, const Pick& m, const Pick& t) const {
    const auto fill = [&](const char* name, SettingValue value) {
      if (!axes.contains(name)) axes[name] = {std::move(value)};
    };
    const auto text = [](std::string_view word) { return SettingValue(std::string(word)); };
    fill("seed", std::int64_t{0});
    const Model* of = model_or_none(m);
    const Task* on = task_or_none(t);
    switch (stage_->kind) {
      case CellKind::kEval:
        fill("kv_dtype", text("bf16"));
        fill("shots", std::int64_t{on->shots});
        fill("temperature", 0.0);
        if (on->max_output_tokens > 0) fill("max_tokens", std::int64_t{on->max_output_tokens});
        break;
      case CellKind::kTrain:
        break;
      case CellKind::kBench:
        fill("gpus", std::int64_t{1});
        fill("dtype", text("bf16"));
        if (on->bench && on->bench->batch_per_gpu > 0) fill("batch", std::int64_t{on->bench->batch_per_gpu});
        break;
      case CellKind::kCommand:
        fill("gpus", std::int64_t{1});
        break;
    }
    if (of) fill("dtype", text(default_dtype(*of)));
    const bool has_engine = stage_->kind == CellKind::kEval || stage_->kind == CellKind::kTrain;
    if (!has_engine || axes.contains("engine")) return;
    if (const auto choice = choose_engine(*of, *on, stage_->kind, !stage_->command.empty()); choice.engine)
      fill("engine", text(name_of(*choice.engine)));
  }

  Settings settings_at(const Block& block, std::size_t combination, bool keep_off) const {
    Settings settings;
    for (const Block::Axis& axis : block.axes) {
      const SettingValue& value = block.value(axis, combination);
      if (keep_off || !is_off(axis.name, value)) settings.set(axis.name, value);
    }
    return settings;
  }

  /// Interns the settings of every combination and writes their parts of the content.
  void build(Block& block) {
    block.built = true;
    block.combinations.resize(static_cast<std::size_t>(block.count));
    std::string all;
    for (std::size_t i = 0; i < block.combinations.size(); ++i) {
      Block::Combination& combination = block.combinations[i];
      combination.begin = static_cast<std::uint32_t>(block.fragments.size());
      block.fragments += '{';
      all.clear();
      for (const Block::Axis& axis : block.axes) {
        const std::size_t at = Block::value_index(axis, i);
        if (!axis.key_texts[at].empty()) {
          if (block.fragments.back() != '{') block.fragments += ',';
          block.fragments += axis.key_texts[at];
        }
        if (is_off(axis.name, axis.values[at])) continue;
        all += axis.name;
        all += '=';
        append_value(all, axis.values[at]);
      }
      block.fragments += '}';
      combination.length = static_cast<std::uint32_t>(block.fragments.size()) - combination.begin;
      combination.settings = intern(all, [&] { return settings_at(block, i, false); });
      if (auto why = why_not_shape(out_.settings[combination.settings])) {
        combination.reason = static_cast<std::int32_t>(block.reasons.size());
        block.reasons.push_back(std::move(*why));
      }
    }
  }

  /// Bytes that tell values apart, of one type by their length and content.
  static void append_value(std::string& out, const SettingValue& value) {
    out += static_cast<char>('0' + value.index());
    if (const auto* word = std::get_if<std::string>(&value)) {
      out += std::to_string(word->size());
      out += ':';
      out += *word;
    } else {
      std::array<char, 8> bytes{};
      if (const auto* whole = std::get_if<std::int64_t>(&value)) std::memcpy(bytes.data(), whole, 8);
      if (const auto* number = std::get_if<double>(&value)) std::memcpy(bytes.data(), number, 8);
      if (const auto* truth = std::get_if<bool>(&value)) bytes[0] = *truth ? 1 : 0;
      out.append(bytes.data(), bytes.size());
    }
  }

  template <class Make>
  std::uint32_t intern(const std::string& text, Make make) {
    const auto [at, added] = interned_.try_emplace(hash_(text), static_cast<std::uint32_t>(out_.settings.size()));
    if (added) out_.settings.push_back(make());
    return at->second;
  }

  std::uint32_t intern(const Settings& settings) {
    std::string text;
    for (const auto& [name, value] : settings.values()) {
      text += name;
      text += '=';
      append_value(text, value);
    }
    return intern(text, [&] { return settings; });
  }

  // --- Why not ---

  void reject(const Model* m, const Task* t, const Reason& reason, std::int64_t count) {
    const std::string model_name = reason.about == Reason::About::kTask || !m ? "*" : m->name;
    const std::string task_name = reason.about == Reason::About::kModel || !t ? "*" : t->name;
    const std::string id = model_name + '\n' + task_name + '\n' + reason.rule + '\n' + reason.what;
    const auto [at, added] = rejections_.try_emplace(id, out_.rejected.size());
    if (added) out_.rejected.push_back({model_name, task_name, reason.rule, reason.what, 0});
    out_.rejected[at->second].count = add(out_.rejected[at->second].count, count);
  }

  std::optional<Reason> why_not(const Pick& m, const Pick& t, const Block& block) const {
    const Model* of = model_or_none(m);
    const Task* on = task_or_none(t);
    if (on)
      if (auto why = why_not_task(*on, stage_->kind)) return why;
    if (of && on)
      if (auto why = why_not_pair(*of, *on, stage_->kind)) return why;
    const bool has_engine = stage_->kind == CellKind::kEval || stage_->kind == CellKind::kTrain;
    if (has_engine && !block.find("engine"))
      return choose_engine(*of, *on, stage_->kind, !stage_->command.empty()).why_none;
    if (!stage_->adapter_of.empty() && adapters_for(m.index).empty())
      return Reason{"adapter", "stage " + quote(stage_->adapter_of) + " trains no adapter of it",
                    Reason::About::kModel};
    return std::nullopt;
  }

  /// The values of single settings that this model, or this task with it, cannot have.
  std::vector<Forbidden> forbidden(const Pick& m, const Pick& t, const Block& block) const {
    std::vector<Forbidden> all;
    const Model* of = model_or_none(m);
    const Task* on = task_or_none(t);
    if (!of) return all;
    const auto check = [&](const char* name, auto why) {
      const Block::Axis* axis = block.find(name);
      if (!axis) return;
      Forbidden found{axis, {}};
      for (std::size_t i = 0; i < axis->values.size(); ++i) {
        auto reason = why(axis->values[i]);
        if (!reason) continue;
        found.reasons.resize(axis->values.size());
        found.reasons[i] = std::move(reason);
      }
      if (!found.reasons.empty()) all.push_back(std::move(found));
    };
    const auto whole = [](const SettingValue& value) { return std::get<std::int64_t>(value); };
    const auto word = [](const SettingValue& value) -> const std::string& { return std::get<std::string>(value); };
    check("engine", [&](const SettingValue& value) {
      return why_not_engine(*engine_named(word(value)), *of, *on, stage_->kind, !stage_->command.empty());
    });
    if (stage_->kind == CellKind::kCommand) return all;
    check("dtype", [&](const SettingValue& value) { return why_not_dtype(*of, *dtype_named(word(value))); });
    check("shots", [&](const SettingValue& value) { return why_not_shots(*of, *on, whole(value)); });
    check("context", [&](const SettingValue& value) { return why_not_length(*of, "context", whole(value)); });
    check("sequence", [&](const SettingValue& value) { return why_not_length(*of, "sequence", whole(value)); });
    return all;
  }

  /// Counts what the pair's combination is refused for, if it is.
  bool refused(const std::vector<Forbidden>& all, const Block& block, std::size_t combination, const Pick& m,
               const Pick& t) {
    for (const Forbidden& each : all) {
      const auto& reason = each.reasons[Block::value_index(*each.axis, combination)];
      if (!reason) continue;
      reject(model_or_none(m), task_or_none(t), *reason, copies_);
      return true;
    }
    if (block.combinations.empty() || block.combinations[combination].reason < 0) return false;
    reject(model_or_none(m), task_or_none(t),
           block.reasons[static_cast<std::size_t>(block.combinations[combination].reason)], copies_);
    return true;
  }

  // --- What is left out ---

  /// The exclusions that meet this model and task: some for certain, some for certain settings only.
  struct Exclusions {
    bool whole = false;
    std::vector<std::size_t> by_settings;
  };
  Exclusions exclusions_of(const Pick& m, const Pick& t, std::int64_t count) {
    Exclusions met;
    for (std::size_t i = 0; i < stage_->exclude.size(); ++i) {
      if (!m.excluded[i] || !t.excluded[i]) continue;
      const Exclusion& exclusion = stage_->exclude[i];
      if (!exclusion.settings.empty()) {
        met.by_settings.push_back(i);
        continue;
      }
      exclusion_hits_[exclusion.place] += count > 0;
      met.whole = true;
    }
    return met;
  }

  bool excluded(const Exclusions& met, const Settings& settings) {
    bool out = false;
    for (const std::size_t i : met.by_settings) {
      const Exclusion& exclusion = stage_->exclude[i];
      const bool all = std::ranges::all_of(exclusion.settings, [&](const auto& wanted) {
        const SettingValue* value = settings.find(wanted.first);
        return value ? *value == wanted.second : is_off(wanted.first, wanted.second);
      });
      if (!all) continue;
      ++exclusion_hits_[exclusion.place];
      out = true;
    }
    return out;
  }

  // --- Cells ---

  template <class Visit>
  bool for_each_pair(Visit visit) {
    for (const Pick& m : models_)
      for (const Pick& t : tasks_)
        if (const auto category = category_of(m, t))
          if (!visit(m, t, *category)) return false;
    return true;
  }

  std::int64_t copies_of(const Pick& m) const {
    return stage_->adapter_of.empty() ? 1 : static_cast<std::int64_t>(adapters_for(m.index).size());
  }

  /// Whether the stage keeps within bounds; what it will make is counted before anything is made.
  bool affordable() {
    std::int64_t count = 0;
    double bytes = 0;
    std::set<const Block*> seen;
    for_each_pair([&](const Pick& m, const Pick& t, std::size_t category) {
      Block& block = block_for(m, t, category);
      if (why_not(m, t, block) || exclusions_of(m, t, 0).whole) return true;
      count = add(count, times(block.count, copies_of(m)));
      if (!seen.insert(&block).second) return true;
      // A map node and its text, a little over what they take.
      double one = 0;
      for (const Block::Axis& axis : block.axes) {
        std::size_t longest = 0;
        for (const SettingValue& value : axis.values)
          if (const auto* word = std::get_if<std::string>(&value)) longest = std::max(longest, word->size());
        one += 130 + 2 * static_cast<double>(longest);
      }
      bytes += one * static_cast<double>(block.count);
      return true;
    });
    stage_cells_ = count;
    if (add(count, static_cast<std::int64_t>(out_.cells.size())) > options_.most_cells) {
      const std::string more = count == kMost ? "more cells than can be counted" : grouped(count) + " cells";
      diagnostics_.error(stage_->place, stage_words() + " asks for " + more + " (" +
                                            counted(static_cast<long long>(models_.size()), "model") + " × " +
                                            counted(static_cast<long long>(tasks_.size()), "task") +
                                            " × the settings); at most " + grouped(options_.most_cells) +
                                            " can be in a matrix");
      return false;
    }
    settings_bytes_ += bytes;
    if (settings_bytes_ <= kMostSettingsBytes) return true;
    diagnostics_.error(stage_->place_of("settings"),
                       stage_words() + " has so many combinations of settings that they would take " +
                           format_bytes(settings_bytes_) + " of memory; make the axes shorter, or split the matrix");
    return false;
  }

  std::string stage_words() const {
    return matrix_.stages.size() == 1 && stage_->name == "main" ? "the matrix" : "stage " + quote(stage_->name);
  }

  void expand_stage(std::uint32_t index) {
    stage_index_ = index;
    stage_ = &matrix_.stages[index];
    blocks_.clear();
    twice_ = 0;
    for (const Exclusion& exclusion : stage_->exclude) exclusion_hits_.try_emplace(exclusion.place, 0);
    const std::size_t before = diagnostics_.error_count();
    pick_models_and_tasks();
    if (!affordable() || diagnostics_.error_count() != before) return;
    out_.cells.reserve(out_.cells.size() + static_cast<std::size_t>(stage_cells_));
    command_ = stage_->command.empty() ? std::string() : canonical_json(nlohmann::json(stage_->command));
    for_each_pair([&](const Pick& m, const Pick& t, std::size_t category) {
      expand_pair(m, t, block_for(m, t, category));
      return true;
    });
    if (twice_ > 0)
      diagnostics_.error(twice_place_,
                         twice_words_ + (twice_ > 1 ? " (and " + counted(twice_ - 1, "more such pair") + ")" : ""));
  }

  void expand_pair(const Pick& m, const Pick& t, Block& block) {
    copies_ = copies_of(m);
    const Exclusions met = exclusions_of(m, t, block.count);
    if (met.whole) return;
    if (const auto why = why_not(m, t, block)) {
      reject(model_or_none(m), task_or_none(t), *why, times(block.count, std::max<std::int64_t>(copies_, 1)));
      return;
    }
    const auto bad = forbidden(m, t, block);
    if (stage_->kind == CellKind::kTrain) return expand_training(m, t, block, met, bad);
    if (!block.built) build(block);

    const std::uint32_t none = kNone;
    const std::span<const std::uint32_t> adapters =
        stage_->adapter_of.empty() ? std::span<const std::uint32_t>(&none, 1) : std::span(adapters_for(m.index));
    // What a combination is refused for does not depend on the adapter, so it is counted once, for all of them.
    std::vector<bool> skip;
    if (!bad.empty() || !block.reasons.empty() || !met.by_settings.empty()) {
      skip.resize(block.combinations.size());
      for (std::size_t i = 0; i < skip.size(); ++i)
        skip[i] = (!met.by_settings.empty() && excluded(met, out_.settings[block.combinations[i].settings])) ||
                  refused(bad, block, i, m, t);
    }
    const Block::Axis* engines = block.find("engine");
    for (const std::uint32_t adapter : adapters) {
      const std::vector<std::string> heads = content_heads(m, engines, adapter);
      for (std::size_t i = 0; i < block.combinations.size(); ++i) {
        if (!skip.empty() && skip[i]) continue;
        const Block::Combination& combination = block.combinations[i];
        content_ = heads[engines ? Block::value_index(*engines, i) : 0];
        content_.append(block.fragments, combination.begin, combination.length);
        content_ += t.content;
        put(m, t, combination.settings, adapter);
      }
    }
  }

  /// Training is completed cell by cell, because what is filled in depends on what the matrix says.
  void expand_training(const Pick& m, const Pick& t, const Block& block, const Exclusions& met,
                       const std::vector<Forbidden>& bad) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(block.count); ++i) {
      Settings settings = settings_at(block, i, true);
      std::vector<std::string> notes;
      const bool refuse = refused(bad, block, i, m, t);
      if (refuse) continue;
      if (options_.train_defaults) notes = options_.train_defaults(model(m), task(t), settings);
      finish_training(settings);
      if (excluded(met, settings)) continue;
      if (const auto why = why_not_full(settings)) {
        reject(&model(m), &task(t), *why, 1);
        continue;
      }
      for (std::string& note : notes) {
        std::string line = model(m).name + " / " + task(t).name + ": " + note;
        if (noted_.insert(line).second) out_.notes.push_back(std::move(line));
      }
      content_ = content_head(m, engine_of(settings, stage_->kind), kNone);
      content_ += canonical_json(settings_content(settings, stage_->kind));
      content_ += t.content;
      const std::uint32_t cell = put(m, t, intern(settings), kNone);
      if (cell != kNone) trained_[stage_index_][m.index].push_back(cell);
    }
  }

  static void finish_training(Settings& settings) {
    if (!settings.has("epochs") && !settings.has("steps")) settings.set("epochs", std::int64_t{1});
    if (!settings.has("schedule")) settings.set("schedule", std::string("cosine"));
    std::vector<std::string> off;
    for (const auto& [name, value] : settings.values())
      if (is_off(name, value)) off.push_back(name);
    for (const std::string& name : off) settings.erase(name);
  }

  static std::optional<Reason> why_not_full(const Settings& settings) {
    const auto dtype = settings.dtype("dtype");
    if (!settings.truth("full").value_or(false) || !dtype || bytes_of(*dtype) > 1) return std::nullopt;
    return Reason{
        "dtype",
        "all weights are to be trained, which " + std::string(name_of(*dtype)) + " is too coarse for; say dtype: bf16",
        Reason::About::kModel};
  }

  /// The content up to the settings.
  std::string content_head(const Pick& m, Engine engine, std::uint32_t adapter) const {
    std::string head;
    head.reserve(200 + command_.size() + m.content.size());
    head += '{';
    if (adapter != kNone) head += "\"adapter\":\"" + to_hex(out_.cells[adapter].key) + "\",";
    if (engine == Engine::kCommand && !command_.empty()) head.append("\"command\":").append(command_).append(",");
    head.append("\"engine\":").append(engine_texts_[static_cast<std::size_t>(engine)]);
    head.append(",\"kind\":\"").append(name_of(stage_->kind)).append("\",");
    if (!m.content.empty()) head.append("\"model\":").append(m.content).append(",");
    return head.append("\"settings\":");
  }

  /// One for each value of the engine axis.
  std::vector<std::string> content_heads(const Pick& m, const Block::Axis* engines, std::uint32_t adapter) const {
    if (!engines) return {content_head(m, engine_of({}, stage_->kind), adapter)};
    std::vector<std::string> heads;
    for (const SettingValue& value : engines->values)
      heads.push_back(content_head(m, *engine_named(std::get<std::string>(value)), adapter));
    return heads;
  }

  /// Adds the cell whose content is in content_; its index, or that of the equal cell of another stage. kNone: asked
  /// for twice.
  std::uint32_t put(const Pick& m, const Pick& t, std::uint32_t settings, std::uint32_t adapter) {
    const auto next = static_cast<std::uint32_t>(out_.cells.size());
    Cell cell;
    cell.key = hash_(content_);
    cell.model = m.index;
    cell.task = t.index;
    cell.settings = settings;
    cell.stage = stage_index_;
    cell.depends = adapter;
    cell.kind = stage_->kind;
    const std::uint32_t other = table_.find_or_put(cell.key, next);
    if (other == kNone) {
      out_.cells.push_back(cell);
      if (options_.keep_content) out_.content[next] = content_;
      return next;
    }
    if (out_.cells[other].stage != stage_index_) {
      ++out_.duplicates;
      return other;
    }
    if (twice_++ == 0) describe_twice(out_.cells[other], cell, m, t);
    return kNone;
  }

  std::string label(const Cell& cell) const {
    std::string text = cell.model == kNone ? "" : catalog_.models[cell.model].name;
    if (cell.task != kNone) text += (text.empty() ? "" : " × ") + catalog_.tasks[cell.task].name;
    return text + (text.empty() ? "" : " with ") + to_string(out_.settings[cell.settings]);
  }

  void describe_twice(const Cell& first, const Cell& second, const Pick& m, const Pick& t) {
    std::vector<std::string> differ;
    const auto& one = out_.settings[first.settings].values();
    const auto& two = out_.settings[second.settings].values();
    for (const SettingDef& def : setting_defs()) {
      const auto a = one.find(def.name), b = two.find(def.name);
      const bool same =
          a == one.end() || b == two.end() ? (a == one.end()) == (b == two.end()) : a->second == b->second;
      if (!same) differ.emplace_back(def.name);
    }
    twice_words_ = "the same cell is asked for twice: " + label(first) + ", and " + label(second);
    twice_place_ = first.model != second.model ? m.place : first.task != second.task ? t.place : stage_->place;
    if (differ.empty()) return;
    twice_place_ = stage_->place_of("settings." + differ.front());
    for (const Pick* pick : {&m, &t})
      if (pick->own.contains(differ.front())) twice_place_ = pick->place;
    const SettingDef* def = find_setting(differ.front());
    if (def && !in_key(*def, stage_->kind))
      twice_words_ +=
          "; " + quote(differ.front()) + " says how a cell is run, not what it measures, and cannot be an axis";
  }

  const Matrix& matrix_;
  const Catalog& catalog_;
  const ExpandOptions& options_;
  Diagnostics& diagnostics_;
  Expansion out_;
  KeyTable table_;
  Hasher hash_;
  std::unordered_map<Digest, std::uint32_t, PrefixHash> interned_;
  std::unordered_map<std::string, std::size_t> rejections_;
  std::map<Place, std::int64_t> exclusion_hits_;
  const std::array<std::string, 3> engine_texts_ = {canonical_json(engine_content(Engine::kNative)),
                                                    canonical_json(engine_content(Engine::kLmEval)),
                                                    canonical_json(engine_content(Engine::kCommand))};
  std::set<std::string> noted_;
  std::vector<std::map<std::uint32_t, std::vector<std::uint32_t>>> trained_;  // by stage: model → its train cells
  double settings_bytes_ = 0;

  // Of the stage that is being expanded.
  std::uint32_t stage_index_ = 0;
  const Stage* stage_ = nullptr;
  std::vector<Pick> models_, tasks_;
  std::map<std::array<std::uint32_t, 3>, Block> blocks_;
  std::int64_t stage_cells_ = 0;
  std::int64_t copies_ = 1;
  std::string command_;
  std::string content_;
  std::int64_t twice_ = 0;
  std::string twice_words_;
  Place twice_place_;
};

}  // namespace

std::optional<Expansion> expand(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options,
                                Diagnostics& diagnostics) {
  Expander expander(matrix, catalog, options, diagnostics);
  return expander.run();
}

std::string canonical_content(const Expansion& expansion, const Cell& cell, const Catalog& catalog) {
  const Settings& settings = expansion.settings[cell.settings];
  const Engine engine = engine_of(settings, cell.kind);
  nlohmann::json content = {{"engine", engine_content(engine)},
                            {"kind", std::string(name_of(cell.kind))},
                            {"settings", settings_content(settings, cell.kind)},
                            {"version", kContentVersion}};
  if (cell.model != kNone) content["model"] = model_content(catalog.models[cell.model]);
  if (cell.task != kNone) content["task"] = task_content(catalog.tasks[cell.task]);
  if (cell.depends != kNone) content["adapter"] = to_hex(expansion.cells[cell.depends].key);
  const std::vector<std::string>& command = expansion.stages[cell.stage].command;
  if (engine == Engine::kCommand && !command.empty()) content["command"] = command;
  return canonical_json(content);
}

Cell substitute(Expansion& expansion, const Cell& cell, const Catalog& catalog, DType dtype) {
  Cell other = cell;
  Settings settings = expansion.settings[cell.settings];
  settings.set("dtype", std::string(name_of(dtype)));
  const auto found = std::ranges::find(expansion.settings, settings);
  other.settings = static_cast<std::uint32_t>(found - expansion.settings.begin());
  if (found == expansion.settings.end()) expansion.settings.push_back(std::move(settings));
  other.key = sha256(canonical_content(expansion, other, catalog));
  return other;
}

}  // namespace orch::matrix
