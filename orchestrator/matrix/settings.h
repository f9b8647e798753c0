// The settings that a cell may have: one table says their names, types, ranges, and which kinds of cell take them.
//
// Holds:
//  - Whatever passes check() is safe to compute with: numbers are finite and in range, texts have no control
//  characters.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/dtype.h"
#include "base/model.h"
#include "base/yaml.h"

namespace orch::matrix {

enum class CellKind : std::uint8_t { kEval, kTrain, kBench, kCommand };
inline constexpr std::array kCellKinds = {CellKind::kEval, CellKind::kTrain, CellKind::kBench, CellKind::kCommand};
std::string_view name_of(CellKind kind);
std::optional<CellKind> cell_kind_named(std::string_view name);

using SettingValue = std::variant<bool, std::int64_t, double, std::string>;

/// kCount, kBytes and kDuration are written with units (base/units.h) and kept as whole numbers: things, bytes,
/// seconds. kGpus is a whole number, kept as one, or a fraction between 0 and 1: part of one GPU.
enum class SettingType { kTruth, kInteger, kNumber, kText, kChoice, kCount, kBytes, kDuration, kGpus };

/// Settings that are axes: each has one value or more, by name.
using Axes = std::map<std::string, std::vector<SettingValue>>;

struct SettingDef {
  std::string_view name;
  SettingType type;
  double least = 0;
  double most = 0;
  std::vector<std::string_view> choices;  ///< of kChoice
  std::vector<CellKind> kinds;            ///< that take it
  bool in_key = true;                     ///< false: how it is run, not what is measured (batch, time, memory)
  std::string_view help;                  ///< one sentence, with the unit
  bool beside_run = false;                ///< said in the map of `command` only, not in `settings`
};

/// All of them, in the order in which they are documented.
std::span<const SettingDef> setting_defs();
const SettingDef* find_setting(std::string_view name);
bool takes(const SettingDef& def, CellKind kind);

/// Whether the setting is content of a cell of that kind. A benchmark measures how it is run, so there everything is.
bool in_key(const SettingDef& def, CellKind kind);

/// Whether the value says the same as leaving the setting out (`chat_template: false`), so that both give one key. What
/// a program of one's own is told is never off.
bool is_off(std::string_view name, const SettingValue& value, CellKind kind);

/// What a program is told of a setting that is left out because it is off; nothing for one that cannot be.
std::optional<std::string_view> text_of_off(std::string_view name, CellKind kind);

/// Whether a benchmark can have the value: its GPUs are whole, and one at least.
bool is_for_bench(const SettingDef& def, const SettingValue& value);

/// Whether cells of the kind have the setting only because their program is told of it: a name of the matrix's own.
bool is_own(std::string_view name, CellKind kind);

/// Whether the value is content of a cell of that kind; `engine` is too, but in a place of its own.
bool is_content(std::string_view name, const SettingValue& value, CellKind kind);

/// Letters, digits and _, no digit first, at most 200: what a setting of one's own may be called.
bool is_setting_name(std::string_view name);

/// Number format of computation where a cell does not say `compute_dtype`: that of the weights, which are widened to
/// bf16 when they have 8 bits or fewer.
DType default_compute(DType weights);

/// The settings of one cell, in the order of their names. There may be a million of these, so they are held flat.
class Settings {
 public:
  using Entry = std::pair<std::string, SettingValue>;

  void set(std::string_view name, SettingValue value);
  void erase(std::string_view name);
  void reserve(std::size_t count) { values_.reserve(count); }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const SettingValue* find(std::string_view name) const;
  std::optional<std::int64_t> integer(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;  ///< integers too
  std::optional<std::string> text(std::string_view name) const;
  std::optional<bool> truth(std::string_view name) const;
  std::optional<DType> dtype(std::string_view name) const;
  const std::vector<Entry>& values() const { return values_; }  ///< by name, ascending
  bool operator==(const Settings&) const = default;

 private:
  std::vector<Entry> values_;
};

/// Appends bytes that tell values apart, exactly: no value's bytes are the beginning of another's.
void append_value(std::string& out, const SettingValue& value);

nlohmann::json to_json(const SettingValue& value);
nlohmann::json to_json(const Settings& settings);

/// The value as a program is told it: whole numbers in digits (of bytes and seconds too), `true`, `false`, texts as
/// they are.
std::string plain_text(const SettingValue& value);

/// `dtype=bf16 seed=0`: for people. Empty settings are `-`.
std::string to_string(const Settings& settings);

/// The value of one scalar node for the setting `def`, or an error with its place.
std::optional<SettingValue> read_setting(const SettingDef& def, const Yaml& node, const std::string& file,
                                         Diagnostics& diagnostics);

/// The values of `def`: of a list each, of a scalar one. An empty list and a value that stands twice are errors; what
/// is returned is then empty or without the second.
std::vector<SettingValue> read_axis(const SettingDef& def, const Yaml& node, const std::string& file,
                                    Diagnostics& diagnostics);

/// As read_setting() and read_axis(), of a setting of one's own: a text, a number or a truth value.
std::optional<SettingValue> read_own_setting(std::string_view name, const Yaml& node, const std::string& file,
                                             Diagnostics& diagnostics);
std::vector<SettingValue> read_own_axis(std::string_view name, const Yaml& node, const std::string& file,
                                        Diagnostics& diagnostics);

/// A map of settings, each an axis. A setting that none of `kinds` takes is an error that says which kinds do.
/// `told`: names besides those that may be settings of one's own.
Axes read_axes(const Yaml& node, std::span<const CellKind> kinds, const std::string& file, Diagnostics& diagnostics,
               const std::set<std::string>& told = {});

/// What is to be added where a name is refused that could be a setting of a command's own, if its program were told.
std::string hint_of_own(std::string_view name, std::span<const CellKind> kinds);

/// What is wrong with setting `name` for cells of `kinds`: not known (with the nearest of the settings and `others`),
/// or taken by other kinds only. Nothing when one of `kinds` takes it.
std::optional<std::string> why_not_taken(std::string_view name, std::span<const CellKind> kinds,
                                         std::span<const std::string> others = {});

}  // namespace orch::matrix
