#include "base/fields.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/units.h"

namespace orch {
namespace {

const Yaml kEmptyMap = [] {
  Yaml node;
  node.kind = Yaml::Kind::kMap;
  return node;
}();

std::string shown_number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return std::to_string(static_cast<long long>(value));
  std::string text = format_fixed(value, 6);
  while (text.back() == '0') text.pop_back();
  return text;
}

std::string range(double least, double most) {
  if (most >= 1e15) return "at least " + shown_number(least);
  return "from " + shown_number(least) + " to " + shown_number(most);
}

}  // namespace

Place place_of(const Yaml& node, const std::string& file) { return {file, node.line, node.column}; }

bool is_name(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_.-:/+").find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= 200 && std::ranges::all_of(text, fits);
}

bool reads_as_id(std::string_view text) {
  return text.size() > 1 && std::string_view("sjc").find(text[0]) != std::string_view::npos &&
         text.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

Fields::Fields(const Yaml& node, std::string file, std::string what, Diagnostics& diagnostics)
    : node_(&node),
      is_map_(node.is_map()),
      place_(place_of(node, file)),
      file_(std::move(file)),
      what_(std::move(what)),
      diagnostics_(diagnostics) {
  if (!is_map_) {
    diagnostics_.error(place_, what_ + " must be a map of keys, found " + describe(node));
    node_ = &kEmptyMap;
  }
}

const Yaml* Fields::get(std::string_view key) {
  if (std::ranges::find(known_, key) == known_.end()) known_.emplace_back(key);
  return node_->find(key);
}

const Yaml* Fields::require(std::string_view key) {
  const Yaml* node = get(key);
  if (!node && is_map_) diagnostics_.error(place(), what_ + " needs the key " + quote(key));
  return node;
}

std::optional<std::string> Fields::text(std::string_view key) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  if (node->is_scalar()) return node->text;
  wrong(key, *node, "a text");
  return std::nullopt;
}

std::optional<std::string> Fields::name(std::string_view key) {
  auto value = text(key);
  if (!value || is_name(*value)) return value;
  error(key,
        quote(key) + " must be a name of letters, digits and _ . - : / +, at most 200 long; found " + quote(*value));
  return std::nullopt;
}

std::optional<bool> Fields::truth(std::string_view key) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  if (const auto value = node->truth()) return value;
  wrong(key, *node, "true or false");
  return std::nullopt;
}

std::optional<long long> Fields::integer(std::string_view key, long long least, long long most) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  const auto value = node->integer();
  if (value && *value >= least && *value <= most) return value;
  wrong(key, *node, "a whole number " + range(static_cast<double>(least), static_cast<double>(most)));
  return std::nullopt;
}

std::optional<double> Fields::number(std::string_view key, double least, double most) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  const auto value = node->number();
  if (value && *value >= least && *value <= most) return value;
  wrong(key, *node, "a number " + range(least, most));
  return std::nullopt;
}

std::optional<double> Fields::amount(std::string_view key, std::optional<double> (*parse)(std::string_view),
                                     double least, double most, std::string_view expected,
                                     std::string (*show)(double)) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  const auto value = node->is_scalar() ? parse(node->text) : std::nullopt;
  if (value && *value >= least && *value <= most) return value;
  std::string wanted(expected);
  if (value) wanted += *value < least ? ", at least " + show(least) : ", at most " + show(most);
  wrong(key, *node, wanted);
  return std::nullopt;
}

std::optional<double> Fields::count(std::string_view key, double least, double most) {
  return amount(key, parse_count, least, most, "a count such as 70.6B, 360M or 1200", shown_number);
}

std::optional<double> Fields::bytes(std::string_view key, double least, double most) {
  return amount(key, parse_bytes, least, most, "an amount of memory such as 80GiB or 256G", format_bytes);
}

std::optional<double> Fields::duration(std::string_view key, double least, double most) {
  return amount(key, parse_duration, least, most, "a duration with its unit, such as 90s, 30min, 20h or 1-12:00:00",
                format_duration);
}

std::optional<double> Fields::rate(std::string_view key, double least, double most) {
  return amount(key, parse_rate, least, most, "bytes a second such as 3.35TB/s or 400Gbit/s", format_bytes);
}

std::optional<std::int64_t> Fields::whole(std::string_view key, std::int64_t least, std::int64_t most) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  const auto value = node->is_scalar() ? parse_count(node->text) : std::nullopt;
  if (value && *value == std::floor(*value) && *value >= static_cast<double>(least) &&
      *value <= static_cast<double>(most))
    return static_cast<std::int64_t>(*value);
  wrong(key, *node, "a whole number " + range(static_cast<double>(least), static_cast<double>(most)));
  return std::nullopt;
}

std::optional<std::vector<std::string>> Fields::texts(std::string_view key) {
  const Yaml* node = get(key);
  if (!node) return std::nullopt;
  if (node->is_scalar()) return std::vector{node->text};
  if (!node->is_list()) {
    wrong(key, *node, "a list of texts");
    return std::nullopt;
  }
  std::vector<std::string> values;
  for (const Yaml& item : node->items) {
    if (item.is_scalar())
      values.push_back(item.text);
    else
      diagnostics_.error(place_of(item, file_), quote(key) + " must be a list of texts, found " + describe(item));
  }
  return values;
}

Place Fields::place(std::string_view key) const {
  const Yaml* node = node_->find(key);
  return node ? place_of(*node, file_) : place();
}

void Fields::error(std::string_view key, std::string what) { diagnostics_.error(place(key), std::move(what)); }

void Fields::wrong(std::string_view key, const Yaml& node, std::string_view expected) {
  diagnostics_.error(place_of(node, file_),
                     quote(key) + " must be " + std::string(expected) + ", found " + describe(node));
}

void Fields::not_a_choice(std::string_view key, const Yaml& node, const std::vector<std::string>& words) {
  diagnostics_.error(place_of(node, file_), quote(key) + " must be one of " + join(words, ", ") + "; found " +
                                                describe(node) + (node.is_scalar() ? hint(node.text, words) : ""));
}

void Fields::finish() {
  for (const Yaml::Entry& entry : node_->entries) {
    if (std::ranges::find(known_, entry.key) != known_.end()) continue;
    // Past what is kept, a problem is only counted: a map of a million unknown keys must not cost a search each.
    if (diagnostics_.error_count() >= Diagnostics::kMost) {
      diagnostics_.error({file_, entry.line, entry.column}, what_ + " has no key " + quote(entry.key));
      continue;
    }
    std::vector<std::string> names = known_;
    std::ranges::sort(names);
    const auto near = nearest(entry.key, names);
    std::string tail = near ? "; did you mean " + quote(*near) + "?" : "; it takes " + join(names, ", ");
    diagnostics_.error({file_, entry.line, entry.column}, what_ + " has no key " + quote(entry.key) + tail);
  }
}

}  // namespace orch
