#include "matrix/exclusions.h"

#include <algorithm>

namespace orch::matrix {
namespace {

using Bits = std::vector<std::uint64_t>;

std::size_t words_for(const Stage& stage) { return (stage.exclude.size() + 63) / 64; }
void set_bit(Bits& bits, std::size_t at) { bits[at / 64] |= std::uint64_t{1} << at % 64; }
bool has_bit(const Bits& bits, std::size_t at) { return bits[at / 64] >> at % 64 & 1; }

/// Marks the pick with the exclusions whose `part` names it, or names none.
template <class Entry>
void mark(Pick& pick, const Stage& stage, const Catalog& catalog, std::span<const Entry> entries,
          std::optional<Selector> Exclusion::*part) {
  pick.excluded.assign(words_for(stage), 0);
  for (std::size_t i = 0; i < stage.exclude.size(); ++i) {
    const auto& selector = stage.exclude[i].*part;
    if (!selector || (pick.index != kNone && picks(*selector, entries[pick.index], catalog))) set_bit(pick.excluded, i);
  }
}

}  // namespace

void SettingsExclusions::add(const std::map<std::string, SettingValue>& wanted, std::size_t exclusion) {
  std::vector<std::string> names;
  for (const auto& [name, value] : wanted) names.push_back(name);
  Group& group = groups_[names];
  text_.clear();
  for (const auto& [name, value] : wanted) append(name, &value);
  group[text_].which.push_back(exclusion);
}

bool SettingsExclusions::meet(const Settings& settings) {
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

bool SettingsExclusions::name(std::string_view setting) const {
  return std::ranges::any_of(
      groups_, [&](const auto& group) { return std::ranges::find(group.first, setting) != group.first.end(); });
}

/// What is left out and what says the same as being left out are equal.
void SettingsExclusions::append(const std::string& name, const SettingValue* value) {
  if (!value || is_off(name, *value, kind_))
    text_ += '-';
  else
    append_value(text_, *value);
}

Exclusions::Exclusions(const Stage& stage, const Catalog& catalog, Picks& picks)
    : stage_(stage),
      whole_(words_for(stage)),
      by_settings_(words_for(stage)),
      whole_met_(words_for(stage)),
      of_all_(stage.kind),
      met_before_(stage.exclude.size()) {
  for (Pick& pick : picks.models)
    mark(pick, stage, catalog, std::span<const Model>(catalog.models.all()), &Exclusion::model);
  for (Pick& pick : picks.tasks)
    mark(pick, stage, catalog, std::span<const Task>(catalog.tasks.all()), &Exclusion::task);
  for (std::size_t i = 0; i < stage.exclude.size(); ++i) {
    const Exclusion& exclusion = stage.exclude[i];
    const auto met = [&](const Pick& pick) { return has_bit(pick.excluded, i); };
    if (exclusion.settings.empty())
      set_bit(whole_, i);
    else if (std::ranges::all_of(picks.models, met) && std::ranges::all_of(picks.tasks, met))
      of_all_.add(exclusion.settings, i);
    else
      set_bit(by_settings_, i);
  }
}

bool Exclusions::leave_out_pair(const Pair& pair) const {
  for (std::size_t i = 0; i < whole_.size(); ++i)
    if (pair.m.excluded[i] & pair.t.excluded[i] & whole_[i]) return true;
  return false;
}

void Exclusions::remember_pair(const Pair& pair) {
  for (std::size_t i = 0; i < whole_.size(); ++i) whole_met_[i] |= pair.m.excluded[i] & pair.t.excluded[i] & whole_[i];
}

SettingsExclusions* Exclusions::of(const Pair& pair) {
  Bits met(by_settings_.size(), 0);
  bool any = false;
  for (std::size_t i = 0; i < met.size(); ++i) {
    met[i] = pair.m.excluded[i] & pair.t.excluded[i] & by_settings_[i];
    any = any || met[i] != 0;
  }
  if (!any) return nullptr;
  constexpr std::size_t kMostKept = 256;
  if (for_pairs_.size() >= kMostKept && !for_pairs_.contains(met)) {
    for (const auto& [bits, exclusions] : for_pairs_)
      exclusions.for_each_met([&](std::size_t i) { met_before_[i] = true; });
    for_pairs_.clear();
  }
  const auto [at, added] = for_pairs_.try_emplace(met, stage_.kind);
  if (added)
    for (std::size_t i = 0; i < stage_.exclude.size(); ++i)
      if (has_bit(met, i)) at->second.add(stage_.exclude[i].settings, i);
  return &at->second;
}

void Exclusions::count(std::map<Place, std::int64_t>& hits) const {
  std::vector<bool> met = met_before_;
  const auto note = [&](std::size_t i) { met[i] = true; };
  of_all_.for_each_met(note);
  for (const auto& [bits, exclusions] : for_pairs_) exclusions.for_each_met(note);
  for (std::size_t i = 0; i < stage_.exclude.size(); ++i)
    hits[stage_.exclude[i].place] += met[i] || has_bit(whole_met_, i);
}

std::int64_t count_kept(const Block& block, SettingsExclusions& of_all, SettingsExclusions* of_pair,
                        void (*finish)(Settings&)) {
  // Only the axes that an exclusion names are turned; what the others multiply is counted at once.
  const auto names = [&](std::string_view name) { return of_all.name(name) || (of_pair && of_pair->name(name)); };
  std::vector<const Axis*> turned;
  std::int64_t rest = block.count;
  for (const Axis& axis : block.axes) {
    // What follows the format of the weights turns with it.
    const bool turns = names(axis.name) || (axis.name == "dtype" && names("compute_dtype"));
    if (axis.follows || !turns) continue;
    turned.push_back(&axis);
    rest /= static_cast<std::int64_t>(axis.values.size());
  }
  std::vector<std::size_t> at(turned.size(), 0);
  std::int64_t kept = 0;
  for (;;) {
    std::size_t combination = 0;
    for (std::size_t k = 0; k < turned.size(); ++k) combination += at[k] * turned[k]->stride;
    Settings settings = settings_at(block, combination, true);
    if (finish) finish(settings);
    const bool by_all = of_all.meet(settings);
    const bool by_pair = of_pair && of_pair->meet(settings);
    if (!by_all && !by_pair) kept += rest;
    std::size_t k = 0;
    while (k < turned.size() && ++at[k] == turned[k]->values.size()) at[k++] = 0;
    if (k == turned.size()) return kept;
  }
}

}  // namespace orch::matrix
