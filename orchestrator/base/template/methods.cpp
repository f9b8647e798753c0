#include "base/template/methods.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 20> kTextMethods = {
    "strip",    "lstrip", "rstrip",  "split",        "rsplit",       "splitlines", "startswith",
    "endswith", "upper",  "lower",   "title",        "capitalize",   "replace",    "find",
    "count",    "join",   "isdigit", "removeprefix", "removesuffix", "isspace"};
constexpr std::array<std::string_view, 5> kMapMethods = {"items", "keys", "values", "get", "copy"};
/// Known to Python, and refused with a reason, since they would change a value in place.
constexpr std::array<std::string_view, 5> kMapChanges = {"update", "pop", "popitem", "clear", "setdefault"};
constexpr std::array<std::string_view, 2> kListMethods = {"index", "count"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "extend", "insert", "pop",
                                                          "remove", "clear",  "sort",   "reverse"};

using Parts = std::vector<std::string_view>;

/// At most `most` cuts, any number below 0; cuts from the right give the parts in reverse.
Parts split_at(std::string_view text, std::string_view separator, std::int64_t most, bool from_right) {
  Parts parts;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    if (from_right) {
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    } else {
      parts.push_back(text.substr(0, at));
      text.remove_prefix(at + separator.size());
    }
  }
  parts.push_back(text);
  return parts;
}

/// As split_at(), at runs of white space; those at the ends of the text make no parts.
Parts split_at_blanks(std::string_view text, std::int64_t most, bool from_right) {
  Parts parts;
  const auto points = code_points(text);
  std::size_t from = 0, to = points.size();
  while (true) {
    const bool may_cut = most < 0 || static_cast<std::int64_t>(parts.size()) < most;
    while (from < to && is_blank(points[from]) && (!from_right || may_cut)) ++from;
    while (to > from && is_blank(points[to - 1]) && (from_right || may_cut)) --to;
    if (from == to) return parts;
    std::size_t begin = from, end = to;
    if (may_cut && from_right)
      for (begin = to; begin > from && !is_blank(points[begin - 1]);) --begin;
    else if (may_cut)
      for (end = from; end < to && !is_blank(points[end]);) ++end;
    parts.push_back(whole_of(points, begin, end));
    if (!may_cut) return parts;
    (from_right ? to : from) = from_right ? begin : end;
  }
}

Value split_text(const std::string& text, const Arguments& arguments, Budget& budget, bool from_right) {
  const Taken taken(arguments, from_right ? "rsplit" : "split", {"sep", "maxsplit"});
  const std::int64_t most = taken.integer(1, -1);
  Parts parts;
  if (taken.has_some(0)) {
    const std::string& separator = taken.need_text(0);
    if (separator.empty()) throw Fault{"split: the separator is empty"};
    budget.search(text, separator);
    parts = split_at(text, separator, most, from_right);
  } else {
    parts = split_at_blanks(text, most, from_right);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  budget.spend(parts.size() + text.size() / 8);
  std::vector<Value> out;
  for (std::string_view part : parts) out.push_back(Value::text(std::string(part)));
  return Value::list(std::move(out));
}

Value lines_of(std::string_view text, Budget& budget) {
  std::vector<Value> out;
  while (!text.empty()) {
    const std::size_t at = text.find_first_of("\n\r\v\f");
    out.push_back(Value::text(std::string(text.substr(0, at))));
    if (at == std::string_view::npos) break;
    text.remove_prefix(text.substr(at, 2) == "\r\n" ? at + 2 : at + 1);
  }
  budget.spend(out.size());
  return Value::list(std::move(out));
}

std::int64_t count_in(const std::string& text, const std::string& part, Budget& budget) {
  budget.search(text, part);
  if (part.empty()) return static_cast<std::int64_t>(count_code_points(text)) + 1;
  std::int64_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

/// In code points; -1 when it is not there.
std::int64_t place_in(const std::string& text, const std::string& part, Budget& budget) {
  budget.search(text, part);
  const std::size_t at = text.find(part);
  if (at == std::string::npos) return -1;
  return static_cast<std::int64_t>(count_code_points(std::string_view(text).substr(0, at)));
}

Value joined(const std::string& separator, const Value& parts, Budget& budget) {
  std::string out;
  bool first = true;
  for (const Value& item : budget.items(parts)) {
    if (!item.is_text()) throw Fault{"join: every item is a text; one is " + kind_of(item)};
    if (!first) out += separator;
    first = false;
    out += item.as_text();
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

/// startswith and endswith take one text or a tuple of them.
bool has_end(const std::string& text, const Value& ends, bool at_start) {
  const auto matches = [&](const Value& end) {
    need_defined(end);
    if (!end.is_text()) throw Fault{"a text begins or ends with a text, not with " + kind_of(end)};
    return at_start ? text.starts_with(end.as_text()) : text.ends_with(end.as_text());
  };
  if (ends.is_list()) return std::any_of(ends.as_list().items.begin(), ends.as_list().items.end(), matches);
  return matches(ends);
}

std::string python_title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (std::string_view point : code_points(text)) {
    out += in_word ? lower_text(point) : upper_text(point);
    in_word = is_letter(point);
  }
  return out;
}

Value text_method(const std::string& text, const std::string& name, const Arguments& arguments, Budget& budget) {
  budget.spend(1 + text.size() / 16);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Taken taken(arguments, name, {"chars"});
    if (taken.has_some(0)) taken.need_text(0);
    return budget.text(stripped(text, taken.value(0, Value()), name != "rstrip", name != "lstrip"));
  }
  if (name == "split" || name == "rsplit") return split_text(text, arguments, budget, name == "rsplit");
  if (name == "startswith" || name == "endswith") {
    const Taken taken(arguments, name, {"text"});
    return Value::boolean(has_end(text, taken.need(0), name == "startswith"));
  }
  if (name == "replace") {
    const Taken taken(arguments, name, {"old", "new", "count"});
    return budget.text(replaced(text, taken.need_text(0), taken.need_text(1), taken.integer(2, -1), budget));
  }
  if (name == "find") return Value::integer(place_in(text, Taken(arguments, name, {"sub"}).need_text(0), budget));
  if (name == "count") return Value::integer(count_in(text, Taken(arguments, name, {"sub"}).need_text(0), budget));
  if (name == "join") return joined(text, Taken(arguments, name, {"iterable"}).need(0), budget);
  if (name == "removeprefix" || name == "removesuffix") {
    const Taken taken(arguments, name, {"text"});
    const std::string& part = taken.need_text(0);
    if (name == "removeprefix") return budget.text(text.starts_with(part) ? text.substr(part.size()) : text);
    return budget.text(text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text);
  }
  take_none(arguments, name);
  if (name == "splitlines") return lines_of(text, budget);
  if (name == "upper") return budget.text(upper_text(text));
  if (name == "lower") return budget.text(lower_text(text));
  if (name == "title") return budget.text(python_title(text));
  if (name == "capitalize") return budget.text(capitalized(text));
  if (name == "isspace") {
    const auto points = code_points(text);
    return Value::boolean(!points.empty() && std::all_of(points.begin(), points.end(), is_blank));
  }
  return Value::boolean(!text.empty() && std::all_of(text.begin(), text.end(), is_digit));  // isdigit
}

Value map_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Dict& dict = self.as_dict();
  if (name == "get") {
    const Taken taken(arguments, name, {"key", "default"});
    need_defined(taken.need(0));
    const Value* found = dict.find(taken.need(0));
    return found ? *found : taken.value(1, Value());
  }
  const Taken taken(arguments, name, {});
  if (name == "copy") return self;
  budget.spend(dict.entries.size());
  std::vector<Value> out;
  for (const auto& [key, value] : dict.entries)
    out.push_back(name == "keys" ? key : name == "values" ? value : Value::tuple({key, value}));
  return Value::list(std::move(out));
}

Value list_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, name, {"value"});
  std::int64_t count = 0;
  const auto& items = self.as_list().items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!budget.equals(items[i], taken.need(0))) continue;
    if (name == "index") return Value::integer(static_cast<std::int64_t>(i));
    ++count;
  }
  if (name == "index") throw Fault{"the list does not hold the value that index looks for"};
  return Value::integer(count);
}

Value loop_method(const Loop& loop, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (!arguments.named.empty()) throw Fault{"loop." + name + " takes no arguments by name"};
  if (name == "cycle") {
    if (arguments.values.empty()) throw Fault{"loop.cycle needs something to cycle through"};
    return arguments.values[loop.index % arguments.values.size()];
  }
  // A tuple, since changed() may watch several values at once.
  const Value now = Value::tuple(arguments.values);
  if (now.depth() > 20) throw Fault{"loop.changed compares values that are nested less deeply"};
  const bool changed = !loop.last_changed || !budget.equals(*loop.last_changed, now);
  loop.last_changed = now;
  return Value::boolean(changed);
}

}  // namespace

std::string stripped(std::string_view text, const Value& characters, bool left, bool right) {
  std::unordered_set<std::string_view> wanted;
  const bool blanks = !characters.is_text();
  if (!blanks)
    for (std::string_view point : code_points(characters.as_text())) wanted.insert(point);
  const auto goes = [&](std::string_view point) { return blanks ? is_blank(point) : wanted.count(point) != 0; };
  const auto points = code_points(text);
  std::size_t from = 0, to = points.size();
  while (left && from < to && goes(points[from])) ++from;
  while (right && to > from && goes(points[to - 1])) --to;
  return std::string(whole_of(points, from, to));
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                     Budget& budget) {
  std::string out;
  const auto put = [&](std::string_view part) {
    budget.check_size(out.size() + part.size());
    out += part;
  };
  if (from.empty()) {
    for (std::string_view point : code_points(text)) {
      if (most != 0) put(to);
      if (most > 0) --most;
      put(point);
    }
    if (most != 0) put(to);
    return out;
  }
  budget.search(text, from);
  while (most != 0) {
    const std::size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    put(text.substr(0, at));
    put(to);
    text.remove_prefix(at + from.size());
    if (most > 0) --most;
  }
  put(text);
  return out;
}

bool has_method(const Value& self, std::string_view name) {
  if (self.is_text()) return among(kTextMethods, name);
  if (self.is_dict()) return among(kMapMethods, name) || among(kMapChanges, name);
  if (self.is_list()) return among(kListMethods, name) || among(kListChanges, name);
  return false;
}

Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (self.is_text()) return text_method(self.as_text(), name, arguments, budget);
  if (self.is_dict() && among(kMapMethods, name)) return map_method(self, name, arguments, budget);
  if (self.is_list() && among(kListMethods, name)) return list_method(self, name, arguments, budget);
  if (const Loop* loop = self.loop()) return loop_method(*loop, name, arguments, budget);
  throw Fault{quote(name) + " would change " + kind_of(self) + " in place; build a new one instead"};
}

}  // namespace orch::tmpl
