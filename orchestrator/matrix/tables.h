// Finding cells by their keys, and sets of settings by their values: each is held once and referred to by index.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "matrix/content.h"
#include "matrix/expand.h"

namespace orch::matrix {

/// Open addressing over cell indices, as the keys themselves are random and stand in the cells.
class KeyTable {
 public:
  explicit KeyTable(const std::vector<Cell>& cells) : cells_(cells), slots_(1024, kNone) {}

  /// The cell with this key; kNone, and `next` is put in its place, if there is none.
  std::uint32_t find_or_put(const Digest& key, std::uint32_t next);

 private:
  void grow();

  const std::vector<Cell>& cells_;
  std::vector<std::uint32_t> slots_;
  std::size_t used_ = 0;
};

class SettingsTable {
 public:
  explicit SettingsTable(std::vector<Settings>& kept) : kept_(kept) {}

  /// Makes room where many are to come at once.
  void expect(std::size_t more) {
    if (more > index_.size()) index_.reserve(index_.size() + more);
  }

  /// The index of the settings that `text` tells from all others; `make` makes them where they are new.
  template <class Make>
  std::uint32_t intern(const std::string& text, Make make) {
    const auto [at, added] = index_.try_emplace(hash_(text), static_cast<std::uint32_t>(kept_.size()));
    if (added) kept_.push_back(make());
    return at->second;
  }

  std::uint32_t intern(const Settings& settings);

 private:
  struct PrefixHash {
    std::size_t operator()(const Digest& digest) const;
  };

  std::vector<Settings>& kept_;
  Hasher hash_;
  std::unordered_map<Digest, std::uint32_t, PrefixHash> index_;
};

/// Appends one setting to the text that tells a set of settings from all others. They are appended by name, ascending.
void append_setting(std::string& text, std::string_view name, const SettingValue& value);

}  // namespace orch::matrix
