// The methods of texts, maps and loops that templates call.
#include <algorithm>
#include <array>

#include "base/template/filters.h"
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

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value split_text(const std::string& text, const Arguments& arguments, Budget& budget, bool from_right) {
  const Taken taken(arguments, from_right ? "rsplit" : "split", {"sep", "maxsplit"});
  const std::int64_t most = taken.integer(1, -1);
  std::vector<std::string_view> parts;
  std::string_view rest = text;
  const auto may_go_on = [&] { return most < 0 || static_cast<std::int64_t>(parts.size()) < most; };
  if (taken.has(0) && !taken.need(0).is_none()) {
    const std::string& separator = taken.need_text(0);
    if (separator.empty()) throw Fault{"split: the separator is empty"};
    budget.search(text, separator);
    while (may_go_on()) {
      const std::size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
      if (at == std::string_view::npos) break;
      if (from_right) {
        parts.push_back(rest.substr(at + separator.size()));
        rest = rest.substr(0, at);
      } else {
        parts.push_back(rest.substr(0, at));
        rest.remove_prefix(at + separator.size());
      }
    }
    parts.push_back(rest);
  } else {
    const auto points = code_points(text);
    std::size_t from = 0, to = points.size();
    const auto whole = [&](std::size_t a, std::size_t b) {
      return a == b ? std::string_view()
                    : std::string_view(
                          points[a].data(),
                          static_cast<std::size_t>(points[b - 1].data() + points[b - 1].size() - points[a].data()));
    };
    while (true) {
      while (from < to && is_blank(points[from]) && (!from_right || may_go_on())) ++from;
      while (to > from && is_blank(points[to - 1]) && (from_right || may_go_on())) --to;
      if (from == to) break;
      if (!may_go_on()) {
        parts.push_back(whole(from, to));
        break;
      }
      if (from_right) {
        std::size_t begin = to;
        while (begin > from && !is_blank(points[begin - 1])) --begin;
        parts.push_back(whole(begin, to));
        to = begin;
      } else {
        std::size_t end = from;
        while (end < to && !is_blank(points[end])) ++end;
        parts.push_back(whole(from, end));
        from = end;
      }
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  budget.spend(parts.size() + text.size() / 8);
  std::vector<Value> out;
  for (std::string_view part : parts) out.push_back(Value::text(std::string(part)));
  return Value::list(std::move(out));
}

/// startswith and endswith take one text or a tuple of them.
bool has_end(const std::string& text, const Value& ends, bool at_start) {
  const auto matches = [&](const Value& end) {
    if (end.is_undefined()) throw Fault{end.why_undefined()};
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
  const auto none = [&] { const Taken taken(arguments, name, {}); };
  budget.spend(1 + text.size() / 16);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Taken taken(arguments, name, {"chars"});
    if (taken.has(0) && !taken.need(0).is_none()) taken.need_text(0);
    return budget.text(stripped(text, taken.value(0, Value()), name != "rstrip", name != "lstrip"));
  }
  if (name == "split" || name == "rsplit") return split_text(text, arguments, budget, name == "rsplit");
  if (name == "splitlines") {
    none();
    std::vector<Value> out;
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t at = rest.find_first_of("\n\r\v\f");
      out.push_back(Value::text(std::string(rest.substr(0, at))));
      if (at == std::string_view::npos) break;
      rest.remove_prefix(rest.substr(at, 2) == "\r\n" ? at + 2 : at + 1);
    }
    budget.spend(out.size());
    return Value::list(std::move(out));
  }
  if (name == "startswith" || name == "endswith") {
    const Taken taken(arguments, name, {"text"});
    return Value::boolean(has_end(text, taken.need(0), name == "startswith"));
  }
  if (name == "upper") return none(), budget.text(upper_text(text));
  if (name == "lower") return none(), budget.text(lower_text(text));
  if (name == "title") return none(), budget.text(python_title(text));
  if (name == "capitalize") return none(), budget.text(capitalized(text));
  if (name == "replace") {
    const Taken taken(arguments, name, {"old", "new", "count"});
    return budget.text(replaced(text, taken.need_text(0), taken.need_text(1), taken.integer(2, -1), budget));
  }
  if (name == "find") {
    const Taken taken(arguments, name, {"sub"});
    budget.search(text, taken.need_text(0));
    const std::size_t at = text.find(taken.need_text(0));
    if (at == std::string::npos) return Value::integer(-1);
    return Value::integer(static_cast<std::int64_t>(count_code_points(std::string_view(text).substr(0, at))));
  }
  if (name == "count") {
    const Taken taken(arguments, name, {"sub"});
    const std::string& part = taken.need_text(0);
    budget.search(text, part);
    if (part.empty()) return Value::integer(static_cast<std::int64_t>(count_code_points(text)) + 1);
    std::int64_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return Value::integer(count);
  }
  if (name == "join") {
    const Taken taken(arguments, name, {"iterable"});
    std::string out;
    bool first = true;
    for (const Value& item : budget.items(taken.need(0))) {
      if (!item.is_text()) throw Fault{"join: every item is a text; one is " + kind_of(item)};
      if (!first) out += text;
      first = false;
      out += item.as_text();
      budget.check_size(out.size());
    }
    return budget.text(std::move(out));
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const Taken taken(arguments, name, {"text"});
    const std::string& part = taken.need_text(0);
    if (name == "removeprefix") return budget.text(text.starts_with(part) ? text.substr(part.size()) : text);
    return budget.text(text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text);
  }
  none();
  const auto points = code_points(text);
  if (name == "isspace") return Value::boolean(!points.empty() && std::all_of(points.begin(), points.end(), is_blank));
  return Value::boolean(!text.empty() && text.find_first_not_of("0123456789") == std::string::npos);
}

Value map_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Dict& dict = self.as_dict();
  if (name == "get") {
    const Taken taken(arguments, name, {"key", "default"});
    if (taken.need(0).is_undefined()) throw Fault{taken.need(0).why_undefined()};
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
  if (self.holds<std::shared_ptr<const Loop>>())
    return loop_method(*self.get<std::shared_ptr<const Loop>>(), name, arguments, budget);
  throw Fault{quote(name) + " would change " + kind_of(self) + " in place; build a new one instead"};
}

}  // namespace orch::tmpl
