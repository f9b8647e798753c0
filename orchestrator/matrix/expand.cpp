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
  std::string content;                  // of a model: its part of the content; of a task: all that follows the settings
  std::uint32_t group = 0;              // picks of one group give equal axes and defaults
  std::vector<std::uint64_t> excluded;  // by which exclusions it is met, a bit for each
  std::vector<bool> in;                 // which of the stage's categories
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
    bool excluded = false;  // by an exclusion that meets every pair
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

using Bits = std::vector<std::uint64_t>;  // one for each exclusion of a stage

void set_bit(Bits& bits, std::size_t at) { bits[at / 64] |= std::uint64_t{1} << at % 64; }
bool has_bit(const Bits& bits, std::size_t at) { return bits[at / 64] >> at % 64 & 1; }

/// Exclusions that name settings, by which they name: whether one of them meets a cell is one look-up for each set of
/// names, however many exclusions there are.
class SettingsExclusions {
 public:
  void add(const std::map<std::string, SettingValue>& wanted, std::size_t exclusion) {
    std::vector<std::string> names;
    for (const auto& [name, value] : wanted) names.push_back(name);
    Group& group = groups_[names];
    text_.clear();
    for (const auto& [name, value] : wanted) append(name, &value);
    group[text_].which.push_back(exclusion);
  }

  bool empty() const { return groups_.empty(); }

  /// Whether any of them leaves the settings out; which did is remembered.
  bool meet(const Settings& settings) {
    bool any = false;
    for (auto& [names, group] : groups_) {
      text_.clear();
      for (const std::string& name : names) append(name, settings.find(name));
      const auto found = group.find(text_);
      if (found == group.end()) continue;
      found->second.met = any = true;
    }
    return any;
  }

  template <class Visit>
  void for_each_met(Visit visit) const {
    for (const auto& [names, group] : groups_)
      for (const auto& [text, entry] : group)
        if (entry.met) std::ranges::for_each(entry.which, visit);
  }

 private:
  struct Entry {
    std::vector<std::size_t> which;
    bool met = false;
  };
  using Group = std::unordered_map<std::string, Entry>;

  /// What is left out and what says the same as being left out are equal.
  void append(const std::string& name, const SettingValue* value) {
    if (!value || is_off(name, *value))
      text_ += '-';
    else
      append_value(text_, *value);
  }

  std::map<std::vector<std::string>, Group> groups_;
  std::string text_;
};

class Expander {
 public:
  Expander(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options, Diagnostics& diagnostics)
      : matrix_(matrix), catalog_(catalog), options_(options), diagnostics_(diagnostics), table_(out_.cells) {}

  std::optional<Expansion> run() {
    const std::size_t before = diagnostics_.error_count();
    out_.name = matrix_.name;
    out_.stages = matrix_.stages;
    Submit of_site;
    of_site.container = options_.container;
    out_.container = matrix_.submit.over(of_site).container;
    trained_.resize(matrix_.stages.size());
    untrained_.resize(matrix_.stages.size());
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
    pick.excluded.assign(words(), 0);
    std::size_t at = 0;
    for (const Exclusion& exclusion : stage_->exclude) {
      const auto& selector = exclusion.*part;
      if (!selector || (entry && picks(*selector, *entry, catalog_))) set_bit(pick.excluded, at);
      ++at;
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
      std::erase_if(models_, [&](const Pick& pick) {
        return adapters_for(pick.index).empty() && untrained_for(pick.index) == 0;
      });
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

  /// Index of the stage whose adapters this stage uses; past the last if there is none.
  std::size_t adapter_stage() const {
    return static_cast<std::size_t>(std::ranges::find(matrix_.stages, stage_->adapter_of, &Stage::name) -
                                    matrix_.stages.begin());
  }

  /// The train cells whose adapters this stage uses, of one model.
  const std::vector<std::uint32_t>& adapters_for(std::uint32_t model_index) const {
    static const std::vector<std::uint32_t> none;
    const std::size_t stage = adapter_stage();
    if (stage >= trained_.size()) return none;
    const auto found = trained_[stage].find(model_index);
    return found == trained_[stage].end() ? none : found->second;
  }

  /// How many trainings of the model were refused whose adapters this stage asks for.
  std::int64_t untrained_for(std::uint32_t model_index) const {
    const std::size_t stage = stage_->adapter_of.empty() ? untrained_.size() : adapter_stage();
    if (stage >= untrained_.size()) return 0;
    const auto found = untrained_[stage].find(model_index);
    return found == untrained_[stage].end() ? 0 : found->second;
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
    for (auto& [name, values] : axes) block.axes.push_back(axis_of(name, std::move(values)));
    std::size_t stride = 1;
    for (auto axis = block.axes.rbegin(); axis != block.axes.rend(); ++axis) {
      axis->stride = stride;
      // Past most_cells nothing is built; what wraps around here is then not used.
      stride *= axis->values.size();
    }
    add_compute(block);
  }

  Block::Axis axis_of(const std::string& name, std::vector<SettingValue> values) const {
    Block::Axis axis{name, std::move(values), {}, 1};
    const SettingDef* def = find_setting(name);
    for (const SettingValue& value : axis.values) {
      const bool content = def && in_key(*def, stage_->kind) && name != "engine" && !is_off(name, value);
      axis.key_texts.push_back(content ? "\"" + name + "\":" + canonical_json(to_json(value)) : std::string());
    }
    return axis;
  }

  /// The number format of computation follows the one of the weights, turning with its axis.
  void add_compute(Block& block) const {
    const SettingDef* def = find_setting("compute_dtype");
    const Block::Axis* weights = block.find("dtype");
    if (!weights || !takes(*def, stage_->kind) || block.find("compute_dtype")) return;
    std::vector<SettingValue> values;
    for (const SettingValue& value : weights->values)
      values.emplace_back(std::string(name_of(default_compute(*dtype_named(std::get<std::string>(value))))));
    Block::Axis axis = axis_of("compute_dtype", std::move(values));
    axis.stride = weights->stride;
    block.axes.insert(std::ranges::lower_bound(block.axes, axis.name, {}, &Block::Axis::name), axis);
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
        if (out_.container) fill("container", *out_.container);
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
    settings.reserve(block.axes.size());
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
    if (block.combinations.size() > interned_.size()) interned_.reserve(interned_.size() + block.combinations.size());
    std::unordered_map<std::string, std::int32_t> known;  // reasons
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
      // The fragments of a block are about equally long.
      if (i == 0) block.fragments.reserve(block.combinations.size() * (combination.length + 8));
      combination.settings = intern(all, [&] { return settings_at(block, i, false); });
      const Settings& settings = out_.settings[combination.settings];
      combination.excluded = !everywhere_.empty() && everywhere_.meet(settings);
      if (auto why = why_not_shape(settings)) {
        const auto [at, added] = known.try_emplace(why->what, static_cast<std::int32_t>(block.reasons.size()));
        combination.reason = at->second;
        if (added) block.reasons.push_back(std::move(*why));
      }
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
    Rejection row{reason.about == Reason::About::kTask || !m ? "*" : m->name,
                  reason.about == Reason::About::kModel || !t ? "*" : t->name, reason.rule, reason.what, 0};
    // What does not get a row of its own shares one with more and more of its like, so that rows are bounded.
    for (const std::size_t most : {kMostRejections, 2 * kMostRejections, std::numeric_limits<std::size_t>::max()}) {
      const std::string id = row.model + '\n' + row.task + '\n' + row.rule + '\n' + row.reason;
      auto at = rejections_.find(id);
      if (at == rejections_.end() && out_.rejected.size() < most) {
        at = rejections_.emplace(id, out_.rejected.size()).first;
        out_.rejected.push_back(row);
      }
      if (at != rejections_.end()) {
        out_.rejected[at->second].count = add(out_.rejected[at->second].count, count);
        return;
      }
      if (row.model == "*" && row.task == "*") row.reason = "for more reasons than are listed one by one";
      row.model = row.task = "*";
    }
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
      return untrained_for(m.index) > 0
                 ? not_trained()
                 : Reason{"adapter", "stage " + quote(stage_->adapter_of) + " trains no adapter of it",
                          Reason::About::kModel};
    return std::nullopt;
  }

  Reason not_trained() const {
    return {"adapter",
            "its adapter would be made by a training of stage " + quote(stage_->adapter_of) + " that is rejected",
            Reason::About::kModel};
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

  std::size_t words() const { return (stage_->exclude.size() + 63) / 64; }

  /// Sorts the exclusions by what they ask: nothing more than the pair, settings of every pair, settings of some pairs.
  void sort_exclusions() {
    for (Bits* bits : {&whole_, &by_settings_, &whole_met_}) bits->assign(words(), 0);
    everywhere_ = {};
    for_pairs_.clear();
    for (std::size_t i = 0; i < stage_->exclude.size(); ++i) {
      const Exclusion& exclusion = stage_->exclude[i];
      const auto met = [&](const Pick& pick) { return has_bit(pick.excluded, i); };
      if (exclusion.settings.empty())
        set_bit(whole_, i);
      else if (std::ranges::all_of(models_, met) && std::ranges::all_of(tasks_, met))
        everywhere_.add(exclusion.settings, i);
      else
        set_bit(by_settings_, i);
    }
  }

  bool wholly_excluded(const Pick& m, const Pick& t) const {
    for (std::size_t i = 0; i < whole_.size(); ++i)
      if (m.excluded[i] & t.excluded[i] & whole_[i]) return true;
    return false;
  }

  /// The exclusions of some settings that meet this model and task and not all others; null if there are none.
  SettingsExclusions* exclusions_of(const Pick& m, const Pick& t) {
    Bits met(words(), 0);
    bool any = false;
    for (std::size_t i = 0; i < met.size(); ++i) {
      met[i] = m.excluded[i] & t.excluded[i] & by_settings_[i];
      any = any || met[i] != 0;
    }
    if (!any) return nullptr;
    constexpr std::size_t kMostKept = 256;
    if (for_pairs_.size() >= kMostKept && !for_pairs_.contains(met)) {
      for (const auto& [bits, exclusions] : for_pairs_) count_met(exclusions);
      for_pairs_.clear();
    }
    const auto [at, added] = for_pairs_.try_emplace(met);
    if (added)
      for (std::size_t i = 0; i < stage_->exclude.size(); ++i)
        if (has_bit(met, i)) at->second.add(stage_->exclude[i].settings, i);
    return &at->second;
  }

  void count_met(const SettingsExclusions& exclusions) {
    exclusions.for_each_met([&](std::size_t i) { ++exclusion_hits_[stage_->exclude[i].place]; });
  }

  void count_exclusions() {
    count_met(everywhere_);
    for (const auto& [bits, exclusions] : for_pairs_) count_met(exclusions);
    for (std::size_t i = 0; i < stage_->exclude.size(); ++i)
      if (has_bit(whole_met_, i)) ++exclusion_hits_[stage_->exclude[i].place];
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

  /// Adapters that the stage asks for of one model, those that will not be made included; 1 where it asks for none.
  std::int64_t copies_of(const Pick& m) const {
    if (stage_->adapter_of.empty()) return 1;
    const auto made = static_cast<std::int64_t>(adapters_for(m.index).size());
    return std::max<std::int64_t>(1, add(made, untrained_for(m.index)));
  }

  /// Whether the stage keeps within bounds; what it asks for is counted before anything is made.
  bool affordable() {
    constexpr std::int64_t kMostPairsBeyond = 1'000'000;
    std::int64_t asked = 0, cells = 0, pairs = 0;
    bool all_counted = true;
    double bytes = 0;
    std::set<const Block*> seen;
    for_each_pair([&](const Pick& m, const Pick& t, std::size_t category) {
      ++pairs;
      if (wholly_excluded(m, t)) return true;
      Block& block = block_for(m, t, category);
      const std::int64_t count = times(block.count, copies_of(m));
      asked = add(asked, count);
      if (add(combinations_, asked) > options_.most_cells) {
        all_counted = pairs <= kMostPairsBeyond;
        return all_counted;
      }
      if (why_not(m, t, block)) return true;
      cells = add(cells, count);
      if (!seen.insert(&block).second) return true;
      // An entry and its text, a little over what they take.
      double one = 0;
      for (const Block::Axis& axis : block.axes) {
        std::size_t longest = 0;
        for (const SettingValue& value : axis.values)
          if (const auto* word = std::get_if<std::string>(&value)) longest = std::max(longest, word->size());
        one += 100 + 2 * static_cast<double>(longest);
      }
      bytes += one * static_cast<double>(block.count);
      return true;
    });
    stage_cells_ = cells;
    combinations_ = add(combinations_, asked);
    if (combinations_ > options_.most_cells) {
      const std::string more = asked == kMost ? "more cells than can be counted"
                                              : (all_counted ? "" : "at least ") + grouped(asked) + " cells";
      diagnostics_.error(stage_->place, stage_words() + " asks for " + more + " (" +
                                            counted(static_cast<long long>(models_.size()), "model") + " × " +
                                            counted(static_cast<long long>(tasks_.size()), "task") +
                                            " × the settings); at most " + grouped(options_.most_cells) +
                                            " can be in a matrix, those that cannot run included");
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
    sort_exclusions();
    if (!affordable() || diagnostics_.error_count() != before) return;
    out_.cells.reserve(out_.cells.size() + static_cast<std::size_t>(stage_cells_));
    command_ = stage_->command.empty() ? std::string() : canonical_json(nlohmann::json(stage_->command));
    container_ = out_.container ? canonical_json(nlohmann::json(*out_.container)) : std::string();
    for_each_pair([&](const Pick& m, const Pick& t, std::size_t category) {
      expand_pair(m, t, block_for(m, t, category));
      return true;
    });
    count_exclusions();
    if (twice_ > 0)
      diagnostics_.error(twice_place_,
                         twice_words_ + (twice_ > 1 ? " (and " + counted(twice_ - 1, "more such pair") + ")" : ""));
  }

  void expand_pair(const Pick& m, const Pick& t, Block& block) {
    copies_ = copies_of(m);
    if (wholly_excluded(m, t)) {
      for (std::size_t i = 0; i < whole_.size(); ++i) whole_met_[i] |= m.excluded[i] & t.excluded[i] & whole_[i];
      return;
    }
    if (const auto why = why_not(m, t, block)) {
      reject(model_or_none(m), task_or_none(t), *why, times(block.count, copies_));
      if (stage_->kind == CellKind::kTrain) count_untrained(m, block.count);
      return;
    }
    SettingsExclusions* const exclusions = exclusions_of(m, t);
    const auto bad = forbidden(m, t, block);
    if (stage_->kind == CellKind::kTrain) return expand_training(m, t, block, exclusions, bad);
    if (!block.built) build(block);

    const std::uint32_t none = kNone;
    const std::span<const std::uint32_t> adapters =
        stage_->adapter_of.empty() ? std::span<const std::uint32_t>(&none, 1) : std::span(adapters_for(m.index));
    const std::int64_t untrained = untrained_for(m.index);
    // What a combination is refused for does not depend on the adapter, so it is counted once, for all of them.
    std::vector<bool> skip;
    if (!bad.empty() || !block.reasons.empty() || exclusions || !everywhere_.empty() || untrained > 0) {
      std::int64_t left = 0;
      skip.resize(block.combinations.size());
      for (std::size_t i = 0; i < skip.size(); ++i) {
        const Block::Combination& combination = block.combinations[i];
        skip[i] = combination.excluded || (exclusions && exclusions->meet(out_.settings[combination.settings])) ||
                  refused(bad, block, i, m, t);
        left += !skip[i];
      }
      if (untrained > 0 && left > 0) reject(model_or_none(m), task_or_none(t), not_trained(), times(left, untrained));
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
  void expand_training(const Pick& m, const Pick& t, const Block& block, SettingsExclusions* exclusions,
                       const std::vector<Forbidden>& bad) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(block.count); ++i) {
      Settings settings = settings_at(block, i, true);
      std::vector<std::string> notes;
      if (options_.train_defaults) notes = options_.train_defaults(model(m), task(t), settings);
      finish_training(settings);
      const bool for_all = !everywhere_.empty() && everywhere_.meet(settings);
      if ((exclusions && exclusions->meet(settings)) || for_all) continue;
      if (refused(bad, block, i, m, t)) {
        count_untrained(m, 1);
        continue;
      }
      if (const auto why = why_not_full(settings)) {
        reject(&model(m), &task(t), *why, 1);
        count_untrained(m, 1);
        continue;
      }
      for (const std::string& note : notes) {
        if (out_.notes.size() >= kMostNotes) break;
        std::string line = note_head(model(m).name, task(t).name) + note;
        if (noted_.insert(line).second) out_.notes.push_back(std::move(line));
      }
      content_ = content_head(m, engine_of(settings, stage_->kind), kNone);
      content_ += canonical_json(settings_content(settings, stage_->kind));
      content_ += t.content;
      const std::uint32_t cell = put(m, t, intern(settings), kNone);
      if (cell != kNone) trained_[stage_index_][m.index].push_back(cell);
    }
  }

  void count_untrained(const Pick& m, std::int64_t count) {
    std::int64_t& untrained = untrained_[stage_index_][m.index];
    untrained = add(untrained, count);
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
    // Cells of kind command have it as a setting.
    if (engine == Engine::kCommand && stage_->kind != CellKind::kCommand && !container_.empty())
      head.append("\"container\":").append(container_).append(",");
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
      out_.also.emplace_back(stage_index_, other);
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
    const Settings &one = out_.settings[first.settings], &two = out_.settings[second.settings];
    for (const SettingDef& def : setting_defs()) {
      const SettingValue *a = one.find(def.name), *b = two.find(def.name);
      if (a && b ? *a != *b : a != b) differ.emplace_back(def.name);
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
  std::vector<std::map<std::uint32_t, std::int64_t>> untrained_;  // by stage: model → trainings that were rejected
  std::int64_t combinations_ = 0;                                 // asked for by the stages so far
  double settings_bytes_ = 0;

  // Of the stage that is being expanded.
  std::uint32_t stage_index_ = 0;
  const Stage* stage_ = nullptr;
  std::vector<Pick> models_, tasks_;
  std::map<std::array<std::uint32_t, 3>, Block> blocks_;
  std::int64_t stage_cells_ = 0;
  std::int64_t copies_ = 1;
  Bits whole_, by_settings_, whole_met_;  // exclusions of pairs, of settings of some pairs; those that left out some
  SettingsExclusions everywhere_;         // of settings, whatever the pair
  std::map<Bits, SettingsExclusions> for_pairs_;  // of settings, for pairs that meet the same exclusions
  std::string command_, container_;
  std::string content_;
  std::int64_t twice_ = 0;
  std::string twice_words_;
  Place twice_place_;
};

}  // namespace

std::string note_head(const std::string& model, const std::string& task) { return model + " / " + task + ": "; }

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
  if (engine == Engine::kCommand && expansion.container && !settings.has("container"))
    content["container"] = *expansion.container;
  return canonical_json(content);
}

Cell substitute(Expansion& expansion, const Cell& cell, const Catalog& catalog, DType dtype) {
  Cell other = cell;
  Settings settings = expansion.settings[cell.settings];
  const auto before = settings.dtype("dtype"), compute = settings.dtype("compute_dtype");
  if (before && compute == default_compute(*before))
    settings.set("compute_dtype", std::string(name_of(default_compute(dtype))));
  settings.set("dtype", std::string(name_of(dtype)));
  const auto found = std::ranges::find(expansion.settings, settings);
  other.settings = static_cast<std::uint32_t>(found - expansion.settings.begin());
  if (found == expansion.settings.end()) expansion.settings.push_back(std::move(settings));
  other.key = sha256(canonical_content(expansion, other, catalog));
  return other;
}

}  // namespace orch::matrix
