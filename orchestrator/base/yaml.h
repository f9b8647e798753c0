// YAML with the place of every value, read with limits.
//
// Holds:
//  - Any bytes give a tree or errors, in time and memory linear in the file: aliases are expanded only up to
//  kMostNodes,
//    depth is bounded, and a file over kMostBytes is refused unread.
//  - A key given twice in a map is an error; so are bytes that are not UTF-8.
// The tree is our own, because yaml-cpp's loses the places of keys and expands aliases without a bound.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/diagnostics.h"

namespace orch {

struct Yaml {
  enum class Kind { kNull, kScalar, kList, kMap };

  struct Entry;

  Kind kind = Kind::kNull;
  std::string text;            ///< of a scalar
  bool plain = false;          ///< a scalar written without quotes: may stand for a number, a truth value or nothing
  int line = 0;                ///< from 1
  int column = 0;              ///< from 1
  std::vector<Yaml> items;     ///< of a list
  std::vector<Entry> entries;  ///< of a map, in the order of the file

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_map() const { return kind == Kind::kMap; }

  /// The value of a key of a map, or null.
  const Yaml* find(std::string_view key) const;

  /// As a number, a truth value: only of plain scalars, by YAML 1.2's core schema (so `no` is a text). Numbers may be
  /// grouped by `_`; `.nan` and `.inf` are not numbers here.
  std::optional<double> number() const;
  std::optional<long long> integer() const;
  std::optional<bool> truth() const;
};

struct Yaml::Entry {
  std::string key;
  int line = 0;
  int column = 0;
  Yaml value;
};

/// `a list`, `a map`, `the number 3`, `the text 'x'`, `nothing`: for messages that say what was found.
std::string describe(const Yaml& node);

struct YamlLimits {
  std::size_t most_bytes = 16u << 20;
  std::size_t most_nodes = 2'000'000;  ///< after aliases are expanded
  int most_depth = 64;
};

/// The one document in `text`. Problems are reported as places in `file`.
std::optional<Yaml> parse_yaml(std::string_view text, const std::string& file, Diagnostics& diagnostics,
                               const YamlLimits& limits = {});

/// As parse_yaml, of a file on disk. Folders, devices, missing and oversized files are errors that say so.
std::optional<Yaml> load_yaml(const std::filesystem::path& path, Diagnostics& diagnostics,
                              const YamlLimits& limits = {});

/// The whole content of a regular file of at most `most_bytes`, or an error that says why not.
std::optional<std::string> read_file(const std::filesystem::path& path, std::size_t most_bytes,
                                     Diagnostics& diagnostics);

}  // namespace orch
