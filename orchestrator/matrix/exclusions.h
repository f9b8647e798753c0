// What the exclusions of a stage leave out.
//
// Holds:
//  - Whether an exclusion meets a cell does not depend on whether the cell could run: what is rejected is counted
//    without what is left out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "matrix/axes.h"
#include "matrix/picks.h"

namespace orch::matrix {

/// Exclusions that name settings, by which they name: whether one of them meets a cell is one look-up for each set of
/// names, however many exclusions there are.
class SettingsExclusions {
 public:
  explicit SettingsExclusions(CellKind kind) : kind_(kind) {}

  void add(const std::map<std::string, SettingValue>& wanted, std::size_t exclusion);
  bool empty() const { return groups_.empty(); }

  /// Whether any of them leaves the settings out; which did is remembered.
  bool meet(const Settings& settings);
  bool name(std::string_view setting) const;

  template <class Visit>
  void for_each_met(Visit visit) const {
    for (const auto& [names, group] : groups_)
      for (const auto& [text, entry] : group)
        if (entry.met)
          for (const std::size_t exclusion : entry.which) visit(exclusion);
  }

 private:
  struct Entry {
    std::vector<std::size_t> which;
    bool met = false;
  };
  using Group = std::unordered_map<std::string, Entry>;

  void append(const std::string& name, const SettingValue* value);

  CellKind kind_;
  std::map<std::vector<std::string>, Group> groups_;
  std::string text_;
};

class Exclusions {
 public:
  /// Marks each pick with the exclusions that meet it.
  Exclusions(const Stage& stage, const Catalog& catalog, Picks& picks);

  /// Whether an exclusion without settings meets the pair.
  bool leave_out_pair(const Pair& pair) const;
  /// Remembers which exclusions without settings left the pair out.
  void remember_pair(const Pair& pair);

  /// Those with settings that meet every pair.
  SettingsExclusions& of_all() { return of_all_; }
  /// Those with settings that meet this pair and not every one; null if there are none. Good until the next call.
  SettingsExclusions* of(const Pair& pair);

  /// Adds to `hits`, by the place of an exclusion, whether it left something out; of those that did not, 0.
  void count(std::map<Place, std::int64_t>& hits) const;

 private:
  using Bits = std::vector<std::uint64_t>;  // one for each exclusion

  const Stage& stage_;
  Bits whole_, by_settings_, whole_met_;          // of pairs, of settings of some pairs; those that left out some
  SettingsExclusions of_all_;                     // of settings, whatever the pair
  std::map<Bits, SettingsExclusions> for_pairs_;  // of settings, for pairs that meet the same exclusions
  std::vector<bool> met_before_;                  // of those that were dropped from for_pairs_
};

/// How many combinations of the block none of the exclusions meets; `of_pair` may be null. `finish` is done to the
/// settings of a combination before they are looked at.
std::int64_t count_kept(const Block& block, SettingsExclusions& of_all, SettingsExclusions* of_pair,
                        void (*finish)(Settings&));

}  // namespace orch::matrix
