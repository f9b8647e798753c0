#include "matrix/tables.h"

#include <cstring>

namespace orch::matrix {
namespace {

std::size_t prefix_of(const Digest& digest) {
  std::size_t prefix = 0;
  std::memcpy(&prefix, digest.bytes.data(), sizeof prefix);
  return prefix;
}

}  // namespace

std::uint32_t KeyTable::find_or_put(const Digest& key, std::uint32_t next) {
  if ((used_ + 1) * 2 > slots_.size()) grow();
  std::size_t at = prefix_of(key) & (slots_.size() - 1);
  for (; slots_[at] != kNone; at = (at + 1) & (slots_.size() - 1))
    if (cells_[slots_[at]].key == key) return slots_[at];
  slots_[at] = next;
  ++used_;
  return kNone;
}

void KeyTable::grow() {
  std::vector<std::uint32_t> old(slots_.size() * 2, kNone);
  old.swap(slots_);
  for (const std::uint32_t cell : old) {
    if (cell == kNone) continue;
    std::size_t at = prefix_of(cells_[cell].key) & (slots_.size() - 1);
    while (slots_[at] != kNone) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = cell;
  }
}

std::size_t SettingsTable::PrefixHash::operator()(const Digest& digest) const { return prefix_of(digest); }

std::uint32_t SettingsTable::intern(const Settings& settings) {
  std::string text;
  for (const auto& [name, value] : settings.values()) append_setting(text, name, value);
  return intern(text, [&] { return settings; });
}

void append_setting(std::string& text, std::string_view name, const SettingValue& value) {
  text += name;
  text += '=';
  append_value(text, value);
}

}  // namespace orch::matrix
