// Filters that make a text of any value, or act on its text: upper, replace, join, tojson, quote and their like.
#include <algorithm>
#include <array>

#include "base/template/access.h"
#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/template/filter_tables.h"
#include "base/template/formatting.h"
#include "base/template/methods.h"
#include "base/template/safe_text.h"
#include "base/template/text_methods.h"
#include "base/template/value_text.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

Value upper(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "upper");
  return budget.text(upper_text(budget.printed(value))).as_safe(value.is_safe());
}

Value lowered(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "lower");
  return budget.text(lower_text(budget.printed(value))).as_safe(value.is_safe());
}

Value capitalize(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "capitalize");
  return budget.text(capitalized(budget.printed(value))).as_safe(value.is_safe());
}

Value titled(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "title");
  const std::string text = budget.printed(value);
  // Jinja's own: words begin after blanks, hyphens and opening brackets, not after an apostrophe.
  std::string out, word;
  const auto flush = [&] {
    out += capitalized(word);
    word.clear();
  };
  for (std::string_view point : code_points(text)) {
    const bool between =
        is_blank(point) || point == "-" || point == "(" || point == "{" || point == "[" || point == "<";
    if (between) {
      flush();
      out += point;
    } else {
      word += point;
    }
  }
  flush();
  return budget.text(std::move(out));
}

Value to_string(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "string");
  return value.is_text() ? value : budget.text(budget.printed(value));
}

/// A chat template's text is marked; in others nothing is ever escaped.
Value safe(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "safe");
  return budget.options().chat ? to_string(value, arguments, budget).as_safe() : value;
}

Value trimmed(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "trim", {"chars"});
  return budget.text(stripped(budget.printed(value), taken.value(0, Value()), true, true)).as_safe(value.is_safe());
}

Value replace(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "replace", {"old", "new", "count"});
  const std::int64_t most = taken.has_some(2) ? taken.integer(2, -1) : -1;
  const std::string from = budget.printed(taken.need(0)), to = budget.printed(taken.need(1));
  return budget.text(replaced(budget.printed(value), from, to, most, budget));
}

/// Joins in the meaning of Jinja: anything printable, not only texts.
Value joined(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "join", {"d", "attribute"});
  const std::string separator = taken.has(0) ? budget.printed(taken.need(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : budget.items(value)) {
    if (!first) out += separator;
    first = false;
    out += budget.printed(taken.has(1) ? by_path(item, taken.need(1), budget) : item);
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

/// In a chat template, as in Jinja, for texts alone.
void need_text_in_chat(const Value& value, std::string_view filter, const Budget& budget) {
  if (!budget.options().chat || value.is_text()) return;
  need_defined(value);
  throw Fault{std::string(filter) + " takes a text, not " + kind_of(value)};
}

Value indented(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "indent", {"width", "first", "blank"});
  need_text_in_chat(value, "indent", budget);
  std::string pad;
  if (taken.has(0) && taken.need(0).is_text()) {
    pad = taken.need(0).as_text();
  } else {
    const auto width = static_cast<std::size_t>(std::max<std::int64_t>(taken.integer(0, 4), 0));
    budget.check_size(width);
    pad.assign(width, ' ');
  }
  const bool first = taken.flag(1, false), blank = taken.flag(2, false);
  const std::string text = budget.printed(value) + "\n";
  std::string out;
  bool at_first = true;
  for (std::string_view line : text_lines(text, false)) {
    if (!at_first) out += '\n';
    if (at_first ? first : blank || !line.empty()) out += pad;
    at_first = false;
    out += line;
    budget.check_size(out.size());
  }
  return budget.text(std::move(out)).as_safe(value.is_safe());
}

Value json_text(const Value& value, const Arguments& arguments, Budget& budget) {
  // Jinja's own takes the indent alone by its place, that of transformers the others too.
  const bool chat = budget.options().chat;
  const Taken taken = chat ? Taken(arguments, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"})
                           : Taken(arguments, "tojson", {"indent", "ensure_ascii", "sort_keys", "separators"});
  const std::size_t indent = chat ? 1 : 0, separators = chat ? 2 : 3;
  JsonStyle style;
  style.html = budget.options().html_json;
  style.sort_keys = taken.flag(chat ? 3 : 2, style.html);
  style.ascii = taken.flag(chat ? 0 : 1, style.html);
  if (taken.has_some(indent)) {
    if (taken.need(indent).is_text())
      style.indent = taken.need_text(indent);
    else
      style.indent.emplace(static_cast<std::size_t>(std::clamp<std::int64_t>(taken.integer(indent, 0), 0, 64)), ' ');
  }
  style.item_separator = style.indent ? "," : ", ";
  style.key_separator = ": ";
  if (taken.has_some(separators)) {
    const Value& pair = taken.need(separators);
    if (!pair.is_list() || pair.as_list().items.size() != 2 || !pair.as_list().items[0].is_text() ||
        !pair.as_list().items[1].is_text())
      throw Fault{"tojson: 'separators' are two texts"};
    style.item_separator = pair.as_list().items[0].as_text();
    style.key_separator = pair.as_list().items[1].as_text();
  }
  budget.spend(value.weight());
  return budget.text(to_json(value, style, budget.options().most_output));
}

/// As `value % arguments` of Python.
Value format_filter(const Value& value, const Arguments& arguments, Budget& budget) {
  if (!arguments.values.empty() && !arguments.named.empty())
    throw Fault{"format takes arguments by place or by name, not both"};
  Dict named;
  for (const auto& [name, held] : arguments.named) named.set(Value::text(name), held);
  const Value given = arguments.named.empty() ? Value::tuple(arguments.values) : Value::dict(std::move(named));
  const bool is_safe = value.is_safe();
  return budget.text(percent_formatted(budget.printed(value), given, budget, is_safe)).as_safe(is_safe);
}

Value escaped(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "escape");
  return budget.text(escaped_value(value, budget)).as_safe(budget.options().chat);
}

Value escaped_again(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "forceescape");
  return budget.text(escaped_text(budget.printed(value))).as_safe(budget.options().chat);
}

/// An attribute alone, never an item.
Value attribute_filter(const Value& value, const Arguments& arguments, Budget& budget) {
  const std::string& name = Taken(arguments, "attr", {"name"}).need_text(0);
  need_defined(value);
  if (value.loop() || value.holds<std::shared_ptr<Namespace>>() || has_method(value, name))
    return attribute_of(value, name, budget);
  return Value::undefined(kind_of(value) + " has no attribute " + quote(name));
}

Value word_count(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "wordcount");
  std::int64_t count = 0;
  bool in_word = false;
  const std::string text = budget.printed(value);
  for (std::string_view point : code_points(text)) {
    const std::int32_t code = code_of(point);
    if (code > 0x7F && !is_letter(point) && !is_blank(point))
      throw Fault{"wordcount knows no characters beyond ASCII but Latin, Greek and Cyrillic letters"};
    const bool is_word = is_letter(point) || (point.size() == 1 && (is_digit(point[0]) || point[0] == '_'));
    if (is_word && !in_word) ++count;
    in_word = is_word;
  }
  return Value::integer(count);
}

Value centred(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "center", {"width"});
  const Value text = budget.text(budget.printed(value));
  return text_method(text.as_text(), "center", {{Value::integer(taken.integer(0, 80))}, {}}, budget)
      .as_safe(value.is_safe());
}

/// Jinja's own: cut at a word unless `killwords`, and not at all when it is too long by no more than `leeway`.
Value truncated(const Value& value, const Arguments& arguments, Budget& budget) {
  const Taken taken(arguments, "truncate", {"length", "killwords", "end", "leeway"});
  if (!value.is_undefined()) need_text_in_chat(value, "truncate", budget);
  const std::int64_t length = taken.integer(0, 255);
  const std::string end = taken.text(2, "...");
  const std::int64_t leeway = taken.has_some(3) ? taken.integer(3, 5) : 5;
  const auto end_size = static_cast<std::int64_t>(count_code_points(end));
  if (length < end_size) throw Fault{"truncate: 'length' is no less than the end that it puts there"};
  if (leeway < 0) throw Fault{"truncate: 'leeway' is no less than 0"};
  const std::string text = budget.printed(value);
  const auto points = code_points(text);
  const auto size = static_cast<std::int64_t>(points.size());
  if (size - leeway <= length) return value;
  std::string_view kept = whole_of(points, 0, static_cast<std::size_t>(length - end_size));
  if (!taken.flag(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return budget.text(std::string(kept) + (value.is_safe() ? escaped_text(end) : end)).as_safe(value.is_safe());
}

std::string word_of(const Value& value, std::string_view what, Budget& budget) {
  const std::string text = budget.printed(value);
  if (text.find('\0') != std::string::npos)
    throw Fault{std::string(what) + " holds a NUL byte, which no word of a shell can hold"};
  return shell_quote(text);
}

Value quoted(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "quote");
  need_defined(value);
  if (!value.is_text() && !value.is_number()) throw Fault{"quote takes a text or a number, not " + kind_of(value)};
  return budget.text(word_of(value, "the text", budget));
}

/// Each item as a word of bash, with blanks between.
Value words_of(const Value& value, const Arguments& arguments, Budget& budget) {
  take_none(arguments, "words");
  if (!value.is_list()) throw Fault{"words takes a list, not " + kind_of(value)};
  std::string out;
  for (const Value& item : value.as_list().items) {
    need_defined(item);
    if (!item.is_text() && !item.is_number())
      throw Fault{"words takes a list of texts and numbers; one item is " + kind_of(item)};
    if (!out.empty()) out += ' ';
    out += word_of(item, "an item", budget);
    budget.check_size(out.size());
  }
  return budget.text(std::move(out));
}

}  // namespace

std::span<const Filter> text_filters() {
  static constexpr std::array<Filter, 21> kFilters = {{
      {"upper", upper},
      {"lower", lowered},
      {"capitalize", capitalize},
      {"title", titled},
      {"string", to_string},
      {"safe", safe},
      {"trim", trimmed},
      {"replace", replace},
      {"join", joined},
      {"indent", indented},
      {"tojson", json_text},
      {"quote", quoted},
      {"words", words_of},
      {"format", format_filter},
      {"escape", escaped},
      {"e", escaped},
      {"forceescape", escaped_again},
      {"wordcount", word_count},
      {"center", centred},
      {"truncate", truncated},
      {"attr", attribute_filter},
  }};
  return kFilters;
}

}  // namespace orch::tmpl
