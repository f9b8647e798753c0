// Reading a map that a user wrote: each key asked for by name and type, everything else an error.
//
//   Fields fields(node, file, "a profile", diagnostics);
//   profile.gpus = fields.integer("gpus", 1, 64).value_or(1);
//   fields.finish();   // reports every key that nobody asked for, with the nearest that is known
//
// Holds:
//  - A problem is reported where it stands, and reading goes on. A reader returns nothing for a key that is absent or
//    wrong; only require() makes absence itself a problem.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/yaml.h"

namespace orch {

class Fields {
 public:
  static constexpr double kMostAmount = 1e18;
  static constexpr double kLongest = 1e10;  ///< seconds, some 300 years

  /// `what` names the thing in messages: "a profile". A node that is not a map is reported once and read as empty.
  Fields(const Yaml& node, std::string file, std::string what, Diagnostics& diagnostics);

  /// Whether there was a map to read.
  bool is_map() const { return is_map_; }
  bool has(std::string_view key) const { return node_->find(key) != nullptr; }

  /// The raw value; marks the key as known.
  const Yaml* get(std::string_view key);
  /// As get(), and reports its absence.
  const Yaml* require(std::string_view key);

  std::optional<std::string> text(std::string_view key);
  /// A name: letters, digits, `_ . - : / +`, not empty, at most 200.
  std::optional<std::string> name(std::string_view key);
  std::optional<bool> truth(std::string_view key);
  std::optional<long long> integer(std::string_view key, long long least, long long most);
  std::optional<double> number(std::string_view key, double least, double most);
  /// With units: see base/units.h. Bounded, so that products of what a file holds stay finite.
  std::optional<double> count(std::string_view key, double least = 0, double most = kMostAmount);
  std::optional<double> bytes(std::string_view key, double least = 0, double most = kMostAmount);
  std::optional<double> duration(std::string_view key, double least = 0, double most = kLongest);
  /// A count without a fraction.
  std::optional<std::int64_t> whole(std::string_view key, std::int64_t least, std::int64_t most);
  /// Bytes a second: `3.35TB` or `3.35TB/s`; `400Gbit/s` is 50 GB/s.
  std::optional<double> rate(std::string_view key, double least = 0, double most = kMostAmount);
  /// A list of texts; one text alone counts as a list of one.
  std::optional<std::vector<std::string>> texts(std::string_view key);
  /// One of the given words.
  template <class T>
  std::optional<T> choice(std::string_view key, std::initializer_list<std::pair<std::string_view, T>> choices) {
    const Yaml* node = get(key);
    if (!node) return std::nullopt;
    std::vector<std::string> words;
    for (const auto& [word, value] : choices) {
      if (node->is_scalar() && node->text == word) return value;
      words.emplace_back(word);
    }
    not_a_choice(key, *node, words);
    return std::nullopt;
  }

  /// Reports a problem at the value of `key` (or at the map, when the key is absent).
  void error(std::string_view key, std::string what);
  Place place(std::string_view key) const;
  Place place() const { return place_; }

  void finish();

 private:
  void wrong(std::string_view key, const Yaml& node, std::string_view expected);
  std::optional<double> amount(std::string_view key, std::optional<double> (*parse)(std::string_view), double least,
                               double most, std::string_view expected, std::string (*show)(double));
  void not_a_choice(std::string_view key, const Yaml& node, const std::vector<std::string>& words);

  const Yaml* node_;
  bool is_map_;
  Place place_;
  std::string file_;
  std::string what_;
  Diagnostics& diagnostics_;
  std::vector<std::string> known_;
};

Place place_of(const Yaml& node, const std::string& file);
bool is_name(std::string_view text);
/// Whether it reads as the number of a sweep, a job or a cell (s3, j12, c7), and would be taken for that one.
bool reads_as_id(std::string_view text);

}  // namespace orch
