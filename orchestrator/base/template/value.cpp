#include "base/template/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/text.h"
#include "base/units.h"

namespace orch::tmpl {
namespace {

/// Bytes of the code point at the start of a text that is not empty; 1 when there is none.
std::size_t code_point_size(std::string_view s) {
  const auto first = static_cast<unsigned char>(s[0]);
  std::size_t size = 1;
  if (first >= 0xC2 && first < 0xE0)
    size = 2;
  else if (first >= 0xE0 && first < 0xF0)
    size = 3;
  else if (first >= 0xF0 && first < 0xF5)
    size = 4;
  if (size == 1) return 1;
  if (s.size() < size || !is_utf8(s.substr(0, size))) return 1;
  return size;
}

/// The number of a code point, or -1 of a byte that is not UTF-8.
std::int32_t code_of(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<std::int32_t>(static_cast<unsigned char>(s[i])); };
  switch (s.size()) {
    case 1:
      return at(0) < 0x80 ? at(0) : -1;
    case 2:
      return (at(0) & 0x1F) << 6 | (at(1) & 0x3F);
    case 3:
      return (at(0) & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F);
    case 4:
      return (at(0) & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F);
    default:
      return -1;
  }
}

void append_code(std::string& out, std::int32_t code) {
  const auto put = [&](std::int32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::int32_t upper_code(std::int32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if ((c >= 0xE0 && c <= 0xFE && c != 0xF7)) return c - 32;
  if (c == 0xFF) return 0x178;
  if ((c >= 0x100 && c <= 0x137 && c != 0x131) || (c >= 0x14A && c <= 0x177)) return c & ~1;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return (c & 1) == 0 ? c - 1 : c;
  if (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2) return c - 32;
  if (c == 0x3C2) return 0x3A3;
  if (c >= 0x430 && c <= 0x44F) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  return c;
}

std::int32_t lower_code(std::int32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
  if (c == 0x178) return 0xFF;
  if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177)) return c | 1;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return (c & 1) != 0 ? c + 1 : c;
  if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) return c + 32;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

template <class Change>
std::string changed(std::string_view text, Change change) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = code_point_size(text);
    const std::int32_t code = code_of(text.substr(0, size));
    const std::int32_t other = code < 0 ? code : change(code);
    if (other == code)
      out += text.substr(0, size);
    else
      append_code(out, other);
    text.remove_prefix(size);
  }
  return out;
}

void too_heavy() { throw Fault{"a value holds more than " + grouped(static_cast<long long>(kMostWeight)) + " values"}; }

void too_deep() { throw Fault{"a value is nested more than " + std::to_string(kMostValueDepth) + " deep"}; }

/// Writes values as text and counts the bytes.
struct Writer {
  std::string out;
  std::size_t most;
  int depth = 0;

  void put(std::string_view text) {
    if (text.size() > most || out.size() > most - text.size())
      throw Fault{"a text would be longer than " + std::to_string(most) + " bytes"};
    out += text;
  }

  void text_repr(const std::string& text) {
    const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
    const char mark = single ? '\'' : '"';
    std::string part(1, mark);
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = code_point_size(rest);
      const std::int32_t code = code_of(rest.substr(0, size));
      char hex[12];
      if (code < 0) {
        std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(rest[0])));
        part += hex;
      } else if (code == mark || code == '\\') {
        part += '\\';
        part += static_cast<char>(code);
      } else if (code == '\n') {
        part += "\\n";
      } else if (code == '\r') {
        part += "\\r";
      } else if (code == '\t') {
        part += "\\t";
      } else if (code < 32 || (code >= 127 && code <= 160) || code == 0xAD) {
        std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(code));
        part += hex;
      } else {
        part += rest.substr(0, size);
      }
      rest.remove_prefix(size);
    }
    part += mark;
    put(part);
  }

  void items(const std::vector<Value>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i) put(", ");
      repr(values[i]);
    }
  }

  void dict(const Dict& dict) {
    put("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!first) put(", ");
      first = false;
      repr(key);
      put(": ");
      repr(value);
    }
    put("}");
  }

  void repr(const Value& value) {
    if (++depth > kMostValueDepth) too_deep();
    if (value.is_text()) {
      text_repr(value.as_text());
    } else if (value.is_undefined()) {
      put("Undefined");
    } else if (value.is_list()) {
      const List& list = value.as_list();
      put(list.is_tuple ? "(" : "[");
      items(list.items);
      put(list.is_tuple ? (list.items.size() == 1 ? ",)" : ")") : "]");
    } else if (value.is_dict()) {
      dict(value.as_dict());
    } else if (value.holds<std::shared_ptr<Namespace>>()) {
      put("<Namespace ");
      dict(value.get<std::shared_ptr<Namespace>>()->fields);
      put(">");
    } else if (value.is_none()) {
      put("None");
    } else if (value.is_bool()) {
      put(value.as_bool() ? "True" : "False");
    } else if (value.is_integer()) {
      put(std::to_string(value.as_integer()));
    } else if (value.is_float()) {
      put(float_text(value.as_double()));
    } else {
      throw Fault{"cannot print " + kind_of(value)};
    }
    --depth;
  }

  void json_text(const std::string& text, const JsonStyle& style) {
    std::string part = "\"";
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = code_point_size(rest);
      std::int32_t code = code_of(rest.substr(0, size));
      const auto hex = [&](std::int32_t unit) {
        char buffer[12];
        std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(unit));
        part += buffer;
      };
      if (code < 0) {
        hex(0xFFFD);
      } else if (code == '"' || code == '\\') {
        part += '\\';
        part += static_cast<char>(code);
      } else if (code == '\n') {
        part += "\\n";
      } else if (code == '\r') {
        part += "\\r";
      } else if (code == '\t') {
        part += "\\t";
      } else if (code == '\b') {
        part += "\\b";
      } else if (code == '\f') {
        part += "\\f";
      } else if (code < 32 || (style.html && (code == '<' || code == '>' || code == '&' || code == '\''))) {
        hex(code);
      } else if (code < 127 || !style.ascii) {
        part += rest.substr(0, size);
      } else if (code == 127) {
        part += rest.substr(0, size);
      } else if (code > 0xFFFF) {
        hex(0xD800 + ((code - 0x10000) >> 10));
        hex(0xDC00 + ((code - 0x10000) & 0x3FF));
      } else {
        hex(code);
      }
      rest.remove_prefix(size);
    }
    part += '"';
    put(part);
  }

  void json_break(const JsonStyle& style) {
    if (style.indent < 0) return;
    put("\n");
    put(std::string(static_cast<std::size_t>(style.indent) * static_cast<std::size_t>(depth), ' '));
  }

  void json_key(const Value& key, const JsonStyle& style) {
    if (key.is_text())
      json_text(key.as_text(), style);
    else if (key.is_number() || key.is_none())
      json_text(key.is_bool()   ? (key.as_bool() ? "true" : "false")
                : key.is_none() ? "null"
                                : to_text(key, most),
                style);
    else
      throw Fault{"a key in JSON is a text, not " + kind_of(key)};
  }

  void json(const Value& value, const JsonStyle& style) {
    if (value.is_text()) {
      json_text(value.as_text(), style);
    } else if (value.is_none()) {
      put("null");
    } else if (value.is_bool()) {
      put(value.as_bool() ? "true" : "false");
    } else if (value.is_integer()) {
      put(std::to_string(value.as_integer()));
    } else if (value.is_float()) {
      const double number = value.as_double();
      put(std::isnan(number)   ? "NaN"
          : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity")
                               : float_text(number));
    } else if (value.is_list()) {
      if (value.as_list().items.empty()) return put("[]");
      if (++depth > kMostValueDepth) too_deep();
      put("[");
      bool first = true;
      for (const Value& item : value.as_list().items) {
        if (!first) put(style.item_separator);
        first = false;
        json_break(style);
        json(item, style);
      }
      --depth;
      json_break(style);
      put("]");
    } else if (value.is_dict()) {
      if (value.as_dict().entries.empty()) return put("{}");
      if (++depth > kMostValueDepth) too_deep();
      std::vector<const std::pair<Value, Value>*> entries;
      for (const auto& entry : value.as_dict().entries) entries.push_back(&entry);
      if (style.sort_keys)
        std::stable_sort(entries.begin(), entries.end(),
                         [](const auto* a, const auto* b) { return compare(a->first, b->first) < 0; });
      put("{");
      bool first = true;
      for (const auto* entry : entries) {
        if (!first) put(style.item_separator);
        first = false;
        json_break(style);
        json_key(entry->first, style);
        put(style.key_separator);
        json(entry->second, style);
      }
      --depth;
      json_break(style);
      put("}");
    } else if (value.is_undefined()) {
      throw Fault{value.why_undefined()};
    } else {
      throw Fault{"cannot write " + kind_of(value) + " as JSON"};
    }
  }
};

int compare_numbers(const Value& a, const Value& b) {
  if (!a.is_float() && !b.is_float()) {
    const std::int64_t x = a.as_integer(), y = b.as_integer();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  const double x = a.as_double(), y = b.as_double();
  return x < y ? -1 : x > y ? 1 : 0;
}

std::shared_ptr<List> made_list(std::vector<Value> items, bool is_tuple) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.depth() + 1);
    list->weight += item.weight();
  }
  if (list->depth > kMostValueDepth) too_deep();
  if (list->weight > kMostWeight) too_heavy();
  list->items = std::move(items);
  list->is_tuple = is_tuple;
  return list;
}

}  // namespace

Value Value::list(std::vector<Value> items) {
  return Value(Held(std::shared_ptr<const List>(made_list(std::move(items), false))));
}

Value Value::tuple(std::vector<Value> items) {
  return Value(Held(std::shared_ptr<const List>(made_list(std::move(items), true))));
}

Value Value::dict(Dict dict) {
  if (dict.depth > kMostValueDepth) too_deep();
  if (dict.weight > kMostWeight) too_heavy();
  return Value(Held(std::make_shared<const Dict>(std::move(dict))));
}

int Value::depth() const {
  if (is_list()) return as_list().depth;
  if (is_dict()) return as_dict().depth;
  if (holds<std::shared_ptr<const Loop>>()) return get<std::shared_ptr<const Loop>>()->depth;
  if (holds<std::shared_ptr<const Method>>()) return get<std::shared_ptr<const Method>>()->self.depth() + 1;
  return 0;
}

std::size_t Value::weight() const {
  if (is_text()) return 1 + as_text().size() / 64;
  if (is_list()) return as_list().weight;
  if (is_dict()) return as_dict().weight;
  return 1;
}

const Value* Dict::find(const Value& key) const {
  const auto name = key_of(key);
  if (!name) return nullptr;
  const auto found = index.find(*name);
  return found == index.end() ? nullptr : &entries[found->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = index.find("s" + std::string(key));
  return found == index.end() ? nullptr : &entries[found->second].second;
}

void Dict::set(Value key, Value value) {
  auto name = key_of(key);
  if (!name) throw Fault{kind_of(key) + " cannot be the key of a map"};
  depth = std::max({depth, value.depth() + 1, key.depth() + 1});
  weight += key.weight() + value.weight();
  const auto [place, fresh] = index.try_emplace(std::move(*name), entries.size());
  if (fresh)
    entries.emplace_back(std::move(key), std::move(value));
  else
    entries[place->second].second = std::move(value);
}

std::string kind_of(const Value& value) {
  if (value.is_none()) return "none";
  if (value.is_undefined()) return "an undefined value";
  if (value.is_bool()) return "a truth value";
  if (value.is_integer()) return "an integer";
  if (value.is_float()) return "a number";
  if (value.is_text()) return "a text";
  if (value.is_list()) return value.as_list().is_tuple ? "a tuple" : "a list";
  if (value.is_dict()) return "a map";
  if (value.holds<std::shared_ptr<Namespace>>()) return "a namespace";
  if (value.holds<std::shared_ptr<const Macro>>()) return "a macro that is not called";
  if (value.holds<std::shared_ptr<const Loop>>()) return "the loop itself";
  if (value.holds<std::shared_ptr<const Method>>())
    return "the method " + quote(value.get<std::shared_ptr<const Method>>()->name) + ", which is not called";
  return "a function that is not called";
}

std::optional<std::string> key_of(const Value& value) {
  if (value.is_text()) return "s" + value.as_text();
  if (value.is_none()) return "n";
  if (value.is_number()) {
    if (!value.is_float()) return "i" + std::to_string(value.as_integer());
    const double number = value.as_double();
    // 1 and 1.0 are one key.
    if (number == std::floor(number) && std::fabs(number) < 9e18)
      return "i" + std::to_string(static_cast<std::int64_t>(number));
    return "f" + float_text(number);
  }
  if (value.is_list() && value.as_list().is_tuple && value.weight() < 1000) {
    std::string key = "t";
    for (const Value& item : value.as_list().items) {
      const auto part = key_of(item);
      if (!part) return std::nullopt;
      key += std::to_string(part->size()) + ":" + *part;
    }
    return key;
  }
  return std::nullopt;
}

bool truth(const Value& value) {
  if (value.is_none() || value.is_undefined()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_integer()) return value.as_integer() != 0;
  if (value.is_float()) return value.as_double() != 0;
  if (value.is_text()) return !value.as_text().empty();
  if (value.is_list()) return !value.as_list().items.empty();
  if (value.is_dict()) return !value.as_dict().entries.empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.as_double() == b.as_double();
    return a.as_integer() == b.as_integer();
  }
  if (a.is_text() && b.is_text()) return a.as_text() == b.as_text();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    const List &x = a.as_list(), &y = b.as_list();
    return &x == &y || (x.is_tuple == y.is_tuple &&
                        std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal));
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    if (&x == &y) return true;
    if (x.entries.size() != y.entries.size()) return false;
    return std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
      const Value* other = y.find(entry.first);
      return other && equal(entry.second, *other);
    });
  }
  if (a.holds<std::shared_ptr<Namespace>>() && b.holds<std::shared_ptr<Namespace>>())
    return a.get<std::shared_ptr<Namespace>>() == b.get<std::shared_ptr<Namespace>>();
  return false;
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_text() && b.is_text()) return a.as_text().compare(b.as_text());
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    const auto &x = a.as_list().items, &y = b.as_list().items;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) throw Fault{value->why_undefined()};
  throw Fault{kind_of(a) + " and " + kind_of(b) + " have no order"};
}

std::string to_text(const Value& value, std::size_t most) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  return to_repr(value, most);
}

std::string to_repr(const Value& value, std::size_t most) {
  Writer writer{{}, most};
  writer.repr(value);
  return std::move(writer.out);
}

std::string to_json(const Value& value, const JsonStyle& style, std::size_t most) {
  Writer writer{{}, most};
  writer.json(value, style);
  return std::move(writer.out);
}

Value from_json(const nlohmann::ordered_json& json, std::size_t& steps, int depth) {
  if (depth > kMostValueDepth) too_deep();
  ++steps;
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return Value::boolean(json.get<bool>());
    case Type::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Type::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        throw Fault{"the number " + std::to_string(number) + " does not fit into 64 bits with a sign"};
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Type::number_float:
      return Value::number(json.get<double>());
    case Type::string:
      return Value::text(json.get_ref<const std::string&>());
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item, steps, depth + 1));
      return Value::list(std::move(items));
    }
    case Type::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) dict.set(Value::text(key), from_json(value, steps, depth + 1));
      return Value::dict(std::move(dict));
    }
    case Type::null:
    case Type::binary:
    case Type::discarded:
      break;
  }
  return {};
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view whole(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = whole.find('e');
  int exponent = 0;
  const std::string_view power = whole.substr(e + (whole[e + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  std::string digits;
  for (char c : whole.substr(0, e))
    if (c != '.' && c != '-') digits += c;
  std::string out = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    char tail[16];
    std::snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + tail;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const std::size_t point = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < point) digits.append(point - digits.size(), '0');
  out += digits.substr(0, point) + ".";
  out += digits.size() > point ? digits.substr(point) : "0";
  return out;
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = code_point_size(text);
    points.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return points;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(code_point_size(text));
  return count;
}

std::string upper_text(std::string_view text) {
  std::string out;
  // The one common letter whose capital is two.
  while (true) {
    const std::size_t at = text.find("\u00DF");
    out += changed(text.substr(0, at), upper_code);
    if (at == std::string_view::npos) return out;
    out += "SS";
    text.remove_prefix(at + 2);
  }
}

std::string lower_text(std::string_view text) { return changed(text, lower_code); }

bool is_letter(std::string_view code_point) {
  const std::int32_t c = code_of(code_point);
  if (c < 0) return false;
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return upper_code(c) != c || lower_code(c) != c || c == 0xDF;
}

bool is_blank(std::string_view code_point) {
  const std::int32_t c = code_of(code_point);
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  const std::size_t first = code_point_size(text);
  return upper_text(text.substr(0, first)) + lower_text(text.substr(first));
}

}  // namespace orch::tmpl
