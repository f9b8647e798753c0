#include "matrix/expand.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"
#include "matrix/adapters.h"
#include "matrix/axes.h"
#include "matrix/command.h"
#include "matrix/commands_used.h"
#include "matrix/content.h"
#include "matrix/counts.h"
#include "matrix/exclusions.h"
#include "matrix/own_names.h"
#include "matrix/picks.h"
#include "matrix/rejections.h"
#include "matrix/remarks.h"
#include "matrix/repeats.h"
#include "matrix/stages.h"
#include "matrix/tables.h"

namespace orch::matrix {
namespace {

/// Sets of settings are held in memory whole, so what they may take together is bounded.
constexpr double kMostSettingsBytes = 1.2e9;

/// Completes a training with what holds whatever the caller's tables say.
void finish_training(Settings& settings) {
  if (!settings.has("epochs") && !settings.has("steps")) settings.set("epochs", std::int64_t{1});
  if (!settings.has("schedule")) settings.set("schedule", std::string("cosine"));
  std::vector<std::string> off;
  for (const auto& [name, value] : settings.values())
    if (is_off(name, value, CellKind::kTrain)) off.push_back(name);
  for (const std::string& name : off) settings.erase(name);
}

/// The placeholders of the stage's command that stand for settings, and the setting of each.
std::map<std::string, std::string> settings_told(const Stage& stage) {
  std::map<std::string, std::string> told;
  for (const std::string& placeholder : placeholders_of(stage)) {
    constexpr std::string_view kPrefix = "settings.";
    if (placeholder.starts_with(kPrefix))
      told[placeholder] = placeholder.substr(kPrefix.size());
    else if (std::ranges::find(placeholder_names(), placeholder) == placeholder_names().end())
      told[placeholder] = placeholder;
  }
  return told;
}

class Expander {
 public:
  Expander(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options, Diagnostics& diagnostics)
      : matrix_(matrix),
        catalog_(catalog),
        options_(options),
        diagnostics_(diagnostics),
        image_(settle_image(matrix.submit, options)),
        cells_(out_.cells),
        sets_(out_.settings),
        rejections_(out_.rejected),
        adapters_(matrix.stages) {}

  std::optional<Expansion> run() {
    const std::size_t before = diagnostics_.error_count();
    out_.name = matrix_.name;
    out_.stages = matrix_.stages;
    out_.container = image_.image;
    if (const auto place = missing_own_name(matrix_, catalog_)) {
      diagnostics_.error(*place, "the catalog that the matrix is expanded with does not have this name");
      return std::nullopt;
    }
    for (std::string& note : notes_on_own_names(matrix_)) add_note(std::move(note));
    for (const std::uint32_t stage : stage_order(matrix_.stages)) {
      expand_stage(stage);
      if (diagnostics_.error_count() != before) return std::nullopt;
    }
    commands_.report(diagnostics_);
    if (diagnostics_.error_count() != before) return std::nullopt;
    for (const auto& [place, hits] : exclusion_hits_)
      if (hits == 0) diagnostics_.warn(place, "this exclusion leaves out nothing");
    return std::move(out_);
  }

 private:
  // --- A stage ---

  void expand_stage(std::uint32_t index) {
    stage_index_ = index;
    stage_ = &matrix_.stages[index];
    blocks_.clear();
    repeats_ = {};
    told_ = settings_told(*stage_);
    untold_.clear();
    asked_of_others_.assign(out_.cells.size(), false);
    image_doubted_ = false;
    const std::size_t before = diagnostics_.error_count();
    picks_ = pick(
        *stage_, catalog_,
        [&](std::uint32_t model) {
          return !adapters_.made(*stage_, model).empty() || adapters_.refused(*stage_, model) > 0;
        },
        diagnostics_);
    exclusions_.emplace(*stage_, catalog_, picks_);
    if (!affordable() || diagnostics_.error_count() != before) return;
    out_.cells.reserve(out_.cells.size() + static_cast<std::size_t>(stage_cells_));
    command_ = stage_->command.empty() ? std::string() : canonical_json(nlohmann::json(stage_->command));
    env_ = stage_->env.empty() ? std::string() : canonical_json(nlohmann::json(stage_->env));
    harness_env_ = stage_->harness.env.empty() ? std::string() : canonical_json(nlohmann::json(stage_->harness.env));
    container_ = out_.container ? canonical_json(nlohmann::json(*out_.container)) : std::string();
    const StageFacts facts{*stage_, stage_words(), picks_, placeholders_of(*stage_)};
    for_each_pair([&](const Pair& pair) {
      expand_pair(pair, facts);
      return true;
    });
    exclusions_->count(exclusion_hits_);
    repeats_.report(diagnostics_);
    if (stage_->harness != Harness{})
      for (const auto& [groups, block] : blocks_) commands_.add_harness(*stage_, block);
    if (stage_->command.empty()) return;
    for (const auto& [groups, block] : blocks_) commands_.add(*stage_, block);
    if (const auto note = commands_.mixed(*stage_)) add_note(stage_words() + ": " + *note);
  }

  std::string stage_words() const {
    return matrix_.stages.size() == 1 && stage_->name == "main" ? "the matrix" : "stage " + quote(stage_->name);
  }

  template <class Visit>
  bool for_each_pair(Visit visit) {
    for (const Pick& m : picks_.models)
      for (const Pick& t : picks_.tasks)
        if (const auto pair = pair_of(m, t, *stage_, catalog_))
          if (!visit(*pair)) return false;
    return true;
  }

  Block& block_for(const Pair& pair) {
    const std::array<std::uint32_t, 3> groups = {pair.m.group, pair.t.group, static_cast<std::uint32_t>(pair.category)};
    const auto [at, added] = blocks_.try_emplace(groups);
    if (added) {
      at->second = lay_axes(pair, *stage_, catalog_, out_.container, diagnostics_);
      check_told(pair, at->second);
    }
    return at->second;
  }

  /// A program that is to be told of a setting which some of its cells do not have could not be started for those. Of
  /// a training that is known when it is completed.
  void check_told(const Pair& pair, const Block& block) {
    if (stage_->kind == CellKind::kTrain) return;
    if (const Axis* engines = block.find("engine");
        engines && std::ranges::find(engines->values, SettingValue(std::string(name_of(Engine::kCommand)))) ==
                       engines->values.end())
      return;
    check_told(pair, [&](const std::string& name) { return block.find(name) != nullptr; });
  }

  template <class Has>
  void check_told(const Pair& pair, Has has) {
    for (const auto& [placeholder, name] : told_) {
      if (has(name) || text_of_off(name, stage_->kind)) continue;
      if (!untold_.insert(placeholder).second) continue;
      std::string of = pair.model ? quote(pair.model->name) : "";
      if (pair.task) of += (of.empty() ? "" : " × ") + quote(pair.task->name);
      diagnostics_.error(stage_->place_of("command"), "{" + shown(placeholder) + "} stands for nothing in cells" +
                                                          (of.empty() ? "" : " of " + of) + ": nothing says " +
                                                          quote(name) + " for them");
    }
  }

  /// Whether the stage keeps within bounds; what it asks for is counted before anything is made.
  bool affordable() {
    constexpr std::int64_t kMostPairsBeyond = 1'000'000;
    std::int64_t asked = 0, cells = 0, pairs = 0;
    bool all_counted = true;
    double bytes = 0;
    std::set<const Block*> seen;
    for_each_pair([&](const Pair& pair) {
      ++pairs;
      if (exclusions_->leave_out_pair(pair)) return true;
      Block& block = block_for(pair);
      const std::int64_t count = times_capped(block.count, adapters_.copies(*stage_, pair.m.index));
      asked = add_capped(asked, count);
      if (add_capped(combinations_, asked) > options_.most_cells) {
        all_counted = pairs <= kMostPairsBeyond;
        return all_counted;
      }
      if (why_not_at_all(pair, *stage_, block, adapters_)) return true;
      cells = add_capped(cells, count);
      if (seen.insert(&block).second) bytes += bytes_of_settings(block);
      return true;
    });
    stage_cells_ = cells;
    combinations_ = add_capped(combinations_, asked);
    if (combinations_ > options_.most_cells) {
      const std::string more = asked == kMostCount ? "more cells than can be counted"
                                                   : (all_counted ? "" : "at least ") + grouped(asked) + " cells";
      diagnostics_.error(stage_->place, stage_words() + " asks for " + more + " (" +
                                            counted(static_cast<long long>(picks_.models.size()), "model") + " × " +
                                            counted(static_cast<long long>(picks_.tasks.size()), "task") +
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

  /// A little over what the sets of settings of the block take.
  static double bytes_of_settings(const Block& block) {
    double one = 0;
    for (const Axis& axis : block.axes) {
      std::size_t longest = 0;
      for (const SettingValue& value : axis.values)
        if (const auto* word = std::get_if<std::string>(&value)) longest = std::max(longest, word->size());
      one += 100 + 2 * static_cast<double>(longest);
    }
    return one * static_cast<double>(block.count);
  }

  // --- A pair ---

  void expand_pair(const Pair& pair, const StageFacts& facts) {
    first_of_pair_ = static_cast<std::uint32_t>(out_.cells.size());
    combinations_of_pair_.clear();
    shared_of_pair_.clear();
    if (exclusions_->leave_out_pair(pair)) return exclusions_->remember_pair(pair);
    Block& block = block_for(pair);
    const std::int64_t copies = adapters_.copies(*stage_, pair.m.index);
    SettingsExclusions* const exclusions = exclusions_->of(pair);
    if (const auto why = why_not_at_all(pair, *stage_, block, adapters_)) {
      const std::int64_t left = left_of(block, exclusions);
      rejections_.add(pair, *why, times_capped(left, copies));
      if (stage_->kind == CellKind::kTrain) adapters_.refuse(stage_index_, pair.m.index, left);
      return;
    }
    const std::vector<Forbidden> forbidden = forbidden_values(pair, *stage_, block);
    std::vector<Remark> remarks = remarks_on(pair, facts, block);
    if (stage_->kind == CellKind::kTrain) return expand_training(pair, block, exclusions, forbidden, remarks);

    if (!block.built) {
      build(block, sets_, out_.settings);
      if (!exclusions_->of_all().empty())
        for (Block::Combination& combination : block.combinations)
          combination.excluded = exclusions_->of_all().meet(out_.settings[combination.settings]);
    }
    const std::uint32_t none = kNone;
    const std::span<const std::uint32_t> adapters =
        stage_->adapter_of.empty() ? std::span<const std::uint32_t>(&none, 1) : adapters_.made(*stage_, pair.m.index);
    const std::int64_t untrained = adapters_.refused(*stage_, pair.m.index);
    // What a combination is refused for does not depend on the adapter, so it is counted once, for all of them.
    std::vector<bool> skip;
    if (!forbidden.empty() || !block.reasons.empty() || exclusions || !exclusions_->of_all().empty() || untrained > 0) {
      std::int64_t left = 0;
      skip.resize(block.combinations.size());
      for (std::size_t i = 0; i < skip.size(); ++i) {
        const Block::Combination& combination = block.combinations[i];
        const bool met = exclusions && exclusions->meet(out_.settings[combination.settings]);
        skip[i] = met || combination.excluded || refused(pair, forbidden, block, i, copies);
        left += !skip[i];
      }
      if (untrained > 0) rejections_.add(pair, not_trained(*stage_), times_capped(left, untrained));
    }
    const Axis* engines = block.find("engine");
    for (const std::uint32_t adapter : adapters) {
      const std::vector<std::string> heads = content_heads(pair, engines, adapter);
      for (std::size_t i = 0; i < block.combinations.size(); ++i) {
        if (!skip.empty() && skip[i]) continue;
        const Block::Combination& combination = block.combinations[i];
        if (!image_.doubt.empty() && !doubt_image(engine_at(engines, i), block.find("container"))) continue;
        content_ = heads[engines ? engines->index(i) : 0];
        content_.append(block.fragments, combination.begin, combination.length);
        content_ += pair.t.content;
        put(pair, block, i, combination.settings, adapter);
        if (!remarks.empty()) say(remarks, i);
      }
    }
  }

  /// How many combinations of a pair that cannot be are not left out anyway.
  std::int64_t left_of(Block& block, SettingsExclusions* exclusions) {
    SettingsExclusions& of_all = exclusions_->of_all();
    if (!exclusions && of_all.empty()) return block.count;
    // A training is not completed by the caller where it cannot be: the exclusions are held against what is written.
    const auto finish = stage_->kind == CellKind::kTrain ? &finish_training : nullptr;
    if (exclusions) return count_kept(block, of_all, exclusions, finish);
    if (!block.kept) block.kept = count_kept(block, of_all, nullptr, finish);
    return *block.kept;
  }

  /// Counts what the pair's combination is refused for, if it is.
  bool refused(const Pair& pair, const std::vector<Forbidden>& forbidden, const Block& block, std::size_t combination,
               std::int64_t copies) {
    for (const Forbidden& each : forbidden) {
      const auto& reason = each.reason(combination);
      if (!reason) continue;
      rejections_.add(pair, *reason, copies);
      // What only a word of the user keeps from running is said to who submits, too.
      if (reason->rule == kCodeRule) add_note(note_head("*", pair.task->name) + "rejected: " + reason->what);
      return true;
    }
    if (block.combinations.empty() || block.combinations[combination].reason < 0) return false;
    rejections_.add(pair, block.reasons[static_cast<std::size_t>(block.combinations[combination].reason)], copies);
    return true;
  }

  // --- Training ---

  /// What the caller's tables and the rest fill in, with the notes on it.
  std::vector<std::string> complete(const Pair& pair, Settings& settings) const {
    std::vector<std::string> notes;
    if (options_.train_defaults) notes = options_.train_defaults(*pair.model, *pair.task, settings);
    finish_training(settings);
    return notes;
  }

  /// Training is completed cell by cell, because what is filled in depends on what the matrix says. An exclusion may
  /// name a setting as the matrix says it, or as it is completed.
  void expand_training(const Pair& pair, const Block& block, SettingsExclusions* exclusions,
                       const std::vector<Forbidden>& forbidden, std::vector<Remark>& remarks) {
    const auto left_out = [&](const Settings& settings) {
      const bool of_all = exclusions_->of_all().meet(settings);
      return (exclusions && exclusions->meet(settings)) || of_all;
    };
    for (std::size_t i = 0; i < static_cast<std::size_t>(block.count); ++i) {
      Settings settings = settings_at(block, i, true);
      if (left_out(settings)) continue;
      const std::vector<std::string> notes = complete(pair, settings);
      if (left_out(settings)) continue;
      if (refused(pair, forbidden, block, i, 1)) {
        adapters_.refuse(stage_index_, pair.m.index, 1);
        continue;
      }
      auto why = why_not_full(settings);
      if (!why && engine_of(settings, stage_->kind) == Engine::kNative) why = why_not_learned(*pair.task, settings);
      if (why) {
        rejections_.add(pair, *why, 1);
        adapters_.refuse(stage_index_, pair.m.index, 1);
        continue;
      }
      for (const std::string& note : notes) add_note(note_head(pair.model->name, pair.task->name) + note);
      if (!remarks.empty()) say(remarks, i);
      const Engine engine = engine_of(settings, stage_->kind);
      if (engine == Engine::kCommand) check_told(pair, [&](const std::string& name) { return settings.has(name); });
      if (!image_.doubt.empty() && !doubt_image(engine, nullptr)) continue;
      content_ = content_head(pair, engine, kNone, &settings);
      content_ += canonical_json(settings_content(settings, stage_->kind));
      content_ += pair.t.content;
      const std::uint32_t cell = put(pair, block, i, sets_.intern(settings), kNone);
      if (cell != kNone) adapters_.make(stage_index_, pair.m.index, cell);
    }
  }

  // --- Notes ---

  void add_note(std::string line) {
    if (out_.notes.size() >= kMostNotes || !noted_.insert(line).second) return;
    out_.notes.push_back(std::move(line));
  }

  /// Says what is to be said of a combination that is made a cell; each once.
  void say(std::vector<Remark>& remarks, std::size_t combination) {
    std::erase_if(remarks, [&](Remark& remark) {
      if (!remark.is_about(combination)) return false;
      add_note(std::move(remark.line));
      return true;
    });
  }

  // --- Content ---

  Engine engine_at(const Axis* engines, std::size_t combination) const {
    if (!engines) return engine_of({}, stage_->kind);
    return *engine_named(std::get<std::string>(engines->value(combination)));
  }

  /// False, and an error, where a command would run in one image or another. `container` is the setting, if given.
  bool doubt_image(Engine engine, const Axis* container) {
    if (engine != Engine::kCommand || container) return true;
    if (!image_doubted_) diagnostics_.error(stage_->place_of("command"), stage_words() + image_.doubt);
    image_doubted_ = true;
    return false;
  }

  /// The content up to the settings. `training`: those of a training.
  std::string content_head(const Pair& pair, Engine engine, std::uint32_t adapter,
                           const Settings* training = nullptr) const {
    std::string head;
    head.reserve(200 + command_.size() + pair.m.content.size());
    head += '{';
    if (adapter != kNone) head += "\"adapter\":\"" + to_hex(out_.cells[adapter].key) + "\",";
    if (engine == Engine::kCommand && !command_.empty()) head.append("\"command\":").append(command_).append(",");
    // Cells of kind command have it as a setting.
    if (engine == Engine::kCommand && stage_->kind != CellKind::kCommand && !container_.empty())
      head.append("\"container\":").append(container_).append(",");
    head.append("\"engine\":");
    if (engine == Engine::kCommand)
      head.append(command_engine_);
    else
      head.append(canonical_json(engine_content(engine, pair.model, pair.task, &stage_->harness, training)));
    const std::string& env = engine == Engine::kLmEval ? harness_env_ : env_;
    if (engine != Engine::kNative && !env.empty()) head.append(",\"env\":").append(env);
    head.append(",\"kind\":\"").append(name_of(stage_->kind)).append("\",");
    if (!pair.m.content.empty()) head.append("\"model\":").append(pair.m.content).append(",");
    return head.append("\"settings\":");
  }

  /// One for each value of the engine axis.
  std::vector<std::string> content_heads(const Pair& pair, const Axis* engines, std::uint32_t adapter) const {
    if (!engines) return {content_head(pair, engine_of({}, stage_->kind), adapter)};
    std::vector<std::string> heads;
    for (const SettingValue& value : engines->values)
      heads.push_back(content_head(pair, *engine_named(std::get<std::string>(value)), adapter));
    return heads;
  }

  // --- Cells ---

  /// Adds the cell whose content is in content_; its index, or that of the equal cell of another stage. kNone: asked
  /// for twice.
  std::uint32_t put(const Pair& pair, const Block& block, std::size_t combination, std::uint32_t settings,
                    std::uint32_t adapter) {
    const auto next = static_cast<std::uint32_t>(out_.cells.size());
    Cell cell;
    cell.key = hash_(content_);
    cell.model = pair.m.index;
    cell.task = pair.t.index;
    cell.settings = settings;
    cell.stage = stage_index_;
    cell.depends = adapter;
    cell.kind = stage_->kind;
    const std::uint32_t other = cells_.find_or_put(cell.key, next);
    if (other == kNone) {
      out_.cells.push_back(cell);
      combinations_of_pair_.push_back(static_cast<std::uint32_t>(combination));
      if (options_.keep_content) out_.content[next] = content_;
    } else if (out_.cells[other].stage == stage_index_ || asked_of_others_[other]) {
      describe_twice(out_.cells[other], other, cell, pair, block, combination);
      return kNone;
    } else {
      asked_of_others_[other] = true;
      ++out_.duplicates;
      out_.also.emplace_back(stage_index_, other);
      shared_of_pair_.emplace(other, static_cast<std::uint32_t>(combination));
    }
    return other == kNone ? next : other;
  }

  /// The combination of the pair that asked for the cell, if one did.
  std::optional<std::size_t> combination_of(std::uint32_t cell) const {
    if (cell >= first_of_pair_) return combinations_of_pair_[cell - first_of_pair_];
    const auto found = shared_of_pair_.find(cell);
    return found == shared_of_pair_.end() ? std::nullopt : std::optional<std::size_t>(found->second);
  }

  std::string label(const Cell& cell, const Settings& settings) const {
    std::string text = cell.model == kNone ? "" : catalog_.models[cell.model].name;
    if (cell.task != kNone) text += (text.empty() ? "" : " × ") + catalog_.tasks[cell.task].name;
    return text + (text.empty() ? "" : " with ") + to_string(settings);
  }

  void describe_twice(const Cell& first, std::uint32_t index, const Cell& second, const Pair& pair, const Block& block,
                      std::size_t combination) {
    const auto asked = combination_of(index);
    if (!asked) {
      // Of another pair: one model or task under two names.
      if (!repeats_.add("")) return;
      const bool of_model = first.model != second.model;
      repeats_.describe(
          "",
          of_model                    ? pair.m.place
          : first.task != second.task ? pair.t.place
                                      : stage_->place,
          label(first, out_.settings[first.settings]) + ", and " + label(second, out_.settings[second.settings]));
      return;
    }
    const std::vector<const Axis*> differ = differing_axes(block, *asked, combination);
    const auto told = std::ranges::find_if(differ, [&](const Axis* axis) { return repeats_.has(axis->name); });
    const Axis& axis = *(told == differ.end() ? differ.front() : *told);
    if (!repeats_.add(axis.name)) return;
    const Place place = place_of_setting(axis.name, pair, *stage_, catalog_);
    const SettingDef* def = find_setting(axis.name);
    if (stage_->kind == CellKind::kTrain && def && in_key(*def, stage_->kind)) {
      Completed one{axis.value(*asked), {}}, two{axis.value(combination), {}};
      Settings of_one = settings_at(block, *asked, true), of_two = settings_at(block, combination, true);
      one.notes = complete(pair, of_one);
      two.notes = complete(pair, of_two);
      repeats_.describe(axis.name, place,
                        pair.model->name + " × " + pair.task->name + " with " + why_equal(axis.name, one, two, of_two));
      return;
    }
    std::string words = label(first, settings_at(block, *asked, false)) + ", and " +
                        label(second, settings_at(block, combination, false));
    if (def && !in_key(*def, stage_->kind))
      words += "; " + quote(axis.name) + " says how a cell is run, not what it measures, and cannot be an axis";
    repeats_.describe(axis.name, place, std::move(words));
  }

  const Matrix& matrix_;
  const Catalog& catalog_;
  const ExpandOptions& options_;
  Diagnostics& diagnostics_;
  const Image image_;
  Expansion out_;
  KeyTable cells_;
  SettingsTable sets_;
  RejectionRows rejections_;
  Adapters adapters_;
  CommandsUsed commands_;
  Hasher hash_;
  std::map<Place, std::int64_t> exclusion_hits_;
  const std::string command_engine_ = canonical_json(engine_content(Engine::kCommand, nullptr, nullptr, nullptr));
  std::set<std::string> noted_;
  std::int64_t combinations_ = 0;  // asked for by the stages so far
  double settings_bytes_ = 0;

  // Of the stage that is being expanded.
  std::uint32_t stage_index_ = 0;
  const Stage* stage_ = nullptr;
  Picks picks_;
  std::optional<Exclusions> exclusions_;
  std::map<std::array<std::uint32_t, 3>, Block> blocks_;
  std::int64_t stage_cells_ = 0;
  std::string command_, env_, harness_env_, container_;
  std::map<std::string, std::string> told_;  // placeholders of its command that stand for settings, with their names
  std::set<std::string> untold_;             // those that an error was reported of
  std::string content_;
  Repeats repeats_;
  std::vector<bool> asked_of_others_;  // which cells of earlier stages it asks for too

  // Of the pair that is being expanded: its cells from first_of_pair_ on, by combination, and those that it shares.
  std::uint32_t first_of_pair_ = 0;
  std::vector<std::uint32_t> combinations_of_pair_;
  std::unordered_map<std::uint32_t, std::uint32_t> shared_of_pair_;
  bool image_doubted_ = false;
};

}  // namespace

std::string note_head(const std::string& model, const std::string& task) { return model + " / " + task + ": "; }

std::optional<Expansion> expand(const Matrix& matrix, const Catalog& catalog, const ExpandOptions& options,
                                Diagnostics& diagnostics) {
  Expander expander(matrix, catalog, options, diagnostics);
  return expander.run();
}

}  // namespace orch::matrix
