// The methods of texts, as Python's str has them.
#include "base/template/text_methods.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_set>
#include <vector>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/template/formatting.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

using Parts = std::vector<std::string_view>;
using Given = const Arguments&;
using Text = const std::string&;

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
    // What is left after the last cut keeps its blanks at the far end.
    while (!from_right && from < to && is_blank(points[from])) ++from;
    while (from_right && to > from && is_blank(points[to - 1])) --to;
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

Value split_text(Text text, Given given, Budget& budget, bool from_right) {
  const Taken taken(given, from_right ? "rsplit" : "split", {"sep", "maxsplit"});
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

bool ends_line(std::int32_t code) {
  return (code >= 10 && code <= 13) || (code >= 28 && code <= 30) || code == 0x85 || code == 0x2028 || code == 0x2029;
}

Value lines_of(Text text, Given given, Budget& budget) {
  std::vector<Value> out;
  for (std::string_view line : text_lines(text, Taken(given, "splitlines", {"keepends"}).flag(0, false)))
    out.push_back(Value::text(std::string(line)));
  budget.spend(out.size());
  return Value::list(std::move(out));
}

/// The part of a text that the arguments `start` and `end` of find() and its like choose.
struct Window {
  std::string_view text;
  std::int64_t start = 0;  ///< code points before it
  bool is_open = true;     ///< whether it begins within the text and not after its own end
};

Window window_of(std::string_view text, const Taken& taken, std::size_t first) {
  if (!taken.has_some(first) && !taken.has_some(first + 1)) return {text, 0, true};
  const auto points = code_points(text);
  const auto size = static_cast<std::int64_t>(points.size());
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    if (!taken.has_some(i)) return otherwise;
    const std::int64_t at = taken.integer(i, 0);
    return at < 0 ? (at < -size ? std::int64_t{0} : at + size) : at;
  };
  const std::int64_t from = bound(first, 0), to = std::min(bound(first + 1, size), size);
  if (from > to) return {{}, from, false};
  return {whole_of(points, static_cast<std::size_t>(from), static_cast<std::size_t>(to)), from, true};
}

Value count_in(Text text, Given given, Budget& budget) {
  const Taken taken(given, "count", {"sub", "start", "end"});
  const std::string& part = taken.need_text(0);
  const Window window = window_of(text, taken, 1);
  budget.search(text, part);
  if (!window.is_open) return Value::integer(0);
  if (part.empty()) return Value::integer(static_cast<std::int64_t>(count_code_points(window.text)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = window.text.find(part); at != std::string_view::npos;
       at = window.text.find(part, at + part.size()))
    ++count;
  return Value::integer(count);
}

/// find, rfind, index and rindex: in code points; -1, or a Fault of those that need it, when it is not there.
Value place_in(const char* name, Text text, Given given, Budget& budget) {
  const Taken taken(given, name, {"sub", "start", "end"});
  const std::string& part = taken.need_text(0);
  const Window window = window_of(text, taken, 1);
  budget.search(text, part);
  const std::string_view word = name;
  const std::size_t at = word.starts_with('r') ? window.text.rfind(part) : window.text.find(part);
  if (window.is_open && at != std::string_view::npos)
    return Value::integer(window.start + static_cast<std::int64_t>(count_code_points(window.text.substr(0, at))));
  if (word.ends_with("index")) throw Fault{"the text does not hold what " + std::string(name) + " looks for"};
  return Value::integer(-1);
}

Value joined(Text separator, Given given, Budget& budget) {
  std::string out;
  bool first = true;
  for (const Value& item : budget.items(Taken(given, "join", {"iterable"}).need(0))) {
    if (!item.is_text()) throw Fault{"join: every item is a text; one is " + kind_of(item)};
    if (!first) out += separator;
    first = false;
    out += item.as_text();
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

/// startswith and endswith take one text or a tuple of them.
Value has_end(const char* name, Text text, Given given, bool at_start) {
  const Taken taken(given, name, {"text", "start", "end"});
  const Value& ends = taken.need(0);
  const Window window = window_of(text, taken, 1);
  const auto matches = [&](const Value& end) {
    need_defined(end);
    if (!end.is_text()) throw Fault{"a text begins or ends with a text, not with " + kind_of(end)};
    if (!window.is_open) return false;
    return at_start ? window.text.starts_with(end.as_text()) : window.text.ends_with(end.as_text());
  };
  if (!ends.is_list()) return Value::boolean(matches(ends));
  if (!ends.as_list().is_tuple) throw Fault{std::string(name) + " takes a text or a tuple of texts, not a list"};
  return Value::boolean(std::any_of(ends.as_list().items.begin(), ends.as_list().items.end(), matches));
}

std::string titled(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (std::string_view point : code_points(text)) {
    out += in_word ? lower_text(point) : upper_text(point);
    in_word = is_letter(point);
  }
  return out;
}

std::string case_swapped(std::string_view text) {
  std::string out;
  for (std::string_view point : code_points(text)) {
    const std::string upper = upper_text(point);
    out += upper != point ? upper : lower_text(point);
  }
  return out;
}

/// Whether there are characters and all of them are so. A Fault past ASCII, Latin, Greek and Cyrillic: of those
/// characters it is not known what they are.
Value all_are(const char* name, Text text, Given given, bool (*is_so)(std::string_view)) {
  take_none(given, name);
  bool all = !text.empty();
  for (std::string_view point : code_points(text)) {
    const std::int32_t code = code_of(point);
    if (code > 0x7F && !is_letter(point) && !is_blank(point))
      throw Fault{std::string(name) + " knows no characters beyond ASCII but Latin, Greek and Cyrillic letters"};
    all = all && is_so(point);
  }
  return Value::boolean(all);
}

bool is_digit_point(std::string_view point) { return point.size() == 1 && is_digit(point[0]); }

/// islower and isupper: there are letters with case, and all of them are so.
Value has_case(const char* name, Text text, Given given, bool upper) {
  take_none(given, name);
  const std::string same = upper ? upper_text(text) : lower_text(text);
  const std::string other = upper ? lower_text(text) : upper_text(text);
  return Value::boolean(same == text && other != text);
}

enum class Side { kLeft, kRight, kBoth };

/// ljust, rjust, center: where the text goes in a line of `width`.
Value placed(const char* name, Text text, Given given, Budget& budget, Side side) {
  const Taken taken(given, name, {"width", "fillchar"});
  taken.need(0);
  const std::string fill = taken.text(1, " ");
  if (count_code_points(fill) != 1) throw Fault{std::string(name) + ": 'fillchar' is one character"};
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  const std::int64_t width = taken.integer(0, 0);
  if (width <= size) return Value::text(text);
  budget.check_size(static_cast<std::size_t>(width));
  const std::int64_t blank = width - size;
  // As Python shares out an odd blank.
  const std::int64_t left = side == Side::kLeft ? 0 : side == Side::kRight ? blank : blank / 2 + (blank & width & 1);
  std::string out;
  const auto put_fill = [&](std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) out += fill;
  };
  put_fill(left);
  out += text;
  put_fill(blank - left);
  return budget.text(std::move(out));
}

Value zero_filled(Text text, Given given, Budget& budget) {
  const Taken taken(given, "zfill", {"width"});
  taken.need(0);
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  const std::int64_t width = taken.integer(0, 0);
  if (width <= size) return Value::text(text);
  budget.check_size(static_cast<std::size_t>(width));
  const bool has_sign = text.starts_with('+') || text.starts_with('-');
  const std::string zeros(static_cast<std::size_t>(width - size), '0');
  return budget.text(has_sign ? text.substr(0, 1) + zeros + text.substr(1) : zeros + text);
}

Value partitioned(const char* name, Text text, Given given, Budget& budget, bool from_right) {
  const std::string& separator = Taken(given, name, {"sep"}).need_text(0);
  if (separator.empty()) throw Fault{std::string(name) + ": the separator is empty"};
  budget.search(text, separator);
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    const Value none = Value::text("");
    return from_right ? Value::tuple({none, none, Value::text(text)}) : Value::tuple({Value::text(text), none, none});
  }
  return Value::tuple(
      {Value::text(text.substr(0, at)), Value::text(separator), Value::text(text.substr(at + separator.size()))});
}

Value without_end(const char* name, Text text, Given given, Budget& budget, bool at_start) {
  const std::string& part = Taken(given, name, {"text"}).need_text(0);
  if (at_start) return budget.text(text.starts_with(part) ? text.substr(part.size()) : text);
  return budget.text(text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text);
}

Value strip(const char* name, Text text, Given given, Budget& budget, bool left, bool right) {
  const Taken taken(given, name, {"chars"});
  if (taken.has_some(0)) taken.need_text(0);
  return budget.text(stripped(text, taken.value(0, Value()), left, right));
}

Value replace(Text text, Given given, Budget& budget) {
  const Taken taken(given, "replace", {"old", "new", "count"});
  return budget.text(replaced(text, taken.need_text(0), taken.need_text(1), taken.integer(2, -1), budget));
}

Value changed(const char* name, Given given, Budget& budget, std::string text) {
  take_none(given, name);
  return budget.text(std::move(text));
}

using Apply = Value (*)(Text, Given, Budget&);

const std::map<std::string_view, Apply>& methods() {
  using T = Text;
  using G = Given;
  using B = Budget&;
  static const std::map<std::string_view, Apply> kMethods = {
      {"strip", [](T t, G g, B b) { return strip("strip", t, g, b, true, true); }},
      {"lstrip", [](T t, G g, B b) { return strip("lstrip", t, g, b, true, false); }},
      {"rstrip", [](T t, G g, B b) { return strip("rstrip", t, g, b, false, true); }},
      {"split", [](T t, G g, B b) { return split_text(t, g, b, false); }},
      {"rsplit", [](T t, G g, B b) { return split_text(t, g, b, true); }},
      {"splitlines", lines_of},
      {"startswith", [](T t, G g, B) { return has_end("startswith", t, g, true); }},
      {"endswith", [](T t, G g, B) { return has_end("endswith", t, g, false); }},
      {"replace", replace},
      {"find", [](T t, G g, B b) { return place_in("find", t, g, b); }},
      {"rfind", [](T t, G g, B b) { return place_in("rfind", t, g, b); }},
      {"index", [](T t, G g, B b) { return place_in("index", t, g, b); }},
      {"rindex", [](T t, G g, B b) { return place_in("rindex", t, g, b); }},
      {"count", count_in},
      {"join", joined},
      {"removeprefix", [](T t, G g, B b) { return without_end("removeprefix", t, g, b, true); }},
      {"removesuffix", [](T t, G g, B b) { return without_end("removesuffix", t, g, b, false); }},
      {"partition", [](T t, G g, B b) { return partitioned("partition", t, g, b, false); }},
      {"rpartition", [](T t, G g, B b) { return partitioned("rpartition", t, g, b, true); }},
      {"ljust", [](T t, G g, B b) { return placed("ljust", t, g, b, Side::kLeft); }},
      {"rjust", [](T t, G g, B b) { return placed("rjust", t, g, b, Side::kRight); }},
      {"center", [](T t, G g, B b) { return placed("center", t, g, b, Side::kBoth); }},
      {"zfill", zero_filled},
      {"format", [](T t, G g, B b) { return b.text(formatted(t, g, b)); }},
      {"upper", [](T t, G g, B b) { return changed("upper", g, b, upper_text(t)); }},
      {"lower", [](T t, G g, B b) { return changed("lower", g, b, lower_text(t)); }},
      {"casefold", [](T t, G g, B b) { return changed("casefold", g, b, folded_text(t)); }},
      {"title", [](T t, G g, B b) { return changed("title", g, b, titled(t)); }},
      {"capitalize", [](T t, G g, B b) { return changed("capitalize", g, b, capitalized(t)); }},
      {"swapcase", [](T t, G g, B b) { return changed("swapcase", g, b, case_swapped(t)); }},
      {"isspace", [](T t, G g, B) { return all_are("isspace", t, g, is_blank); }},
      {"isdigit", [](T t, G g, B) { return all_are("isdigit", t, g, is_digit_point); }},
      {"isdecimal", [](T t, G g, B) { return all_are("isdecimal", t, g, is_digit_point); }},
      {"isnumeric", [](T t, G g, B) { return all_are("isnumeric", t, g, is_digit_point); }},
      {"isalpha", [](T t, G g, B) { return all_are("isalpha", t, g, is_letter); }},
      {"isalnum",
       [](T t, G g, B) {
         return all_are("isalnum", t, g, [](std::string_view p) { return is_letter(p) || is_digit_point(p); });
       }},
      {"isascii",
       [](T t, G g, B) {
         take_none(g, "isascii");
         return Value::boolean(
             std::all_of(t.begin(), t.end(), [](char c) { return static_cast<signed char>(c) >= 0; }));
       }},
      {"islower", [](T t, G g, B) { return has_case("islower", t, g, false); }},
      {"isupper", [](T t, G g, B) { return has_case("isupper", t, g, true); }},
  };
  return kMethods;
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

std::vector<std::string_view> text_lines(std::string_view text, bool keep_ends) {
  const auto points = code_points(text);
  std::vector<std::string_view> lines;
  for (std::size_t from = 0; from < points.size();) {
    std::size_t end = from;
    while (end < points.size() && !ends_line(code_of(points[end]))) ++end;
    std::size_t next = std::min(end + 1, points.size());
    if (next < points.size() && points[end] == "\r" && points[next] == "\n") ++next;
    lines.push_back(whole_of(points, from, keep_ends ? next : end));
    from = next;
  }
  return lines;
}

bool is_text_method(std::string_view name) { return methods().contains(name); }

Value text_method(const std::string& text, const std::string& name, const Arguments& given, Budget& budget) {
  budget.spend(1 + text.size() / 16);
  return methods().at(name)(text, given, budget);
}

}  // namespace orch::tmpl
