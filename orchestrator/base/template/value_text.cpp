#include "base/template/value_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/template/code_points.h"

namespace orch::tmpl {
namespace {

/// `\x0a`, `\u000a`.
std::string hex(char letter, int digits, std::int32_t code) {
  char buffer[12];
  std::snprintf(buffer, sizeof buffer, "\\%c%0*x", letter, digits, static_cast<unsigned>(code));
  return buffer;
}

/// `\n` and its like, as Python and JSON have them both.
std::string backslashed(char c) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      return {'\\', c};
  }
}

/// A text that grows up to a limit.
class Bounded {
 public:
  explicit Bounded(std::size_t most) : most_(most) {}

  void put(std::string_view text) {
    if (text.size() > most_ || text_.size() > most_ - text.size())
      throw Fault{"a text would be longer than " + std::to_string(most_) + " bytes"};
    text_ += text;
  }
  std::size_t most() const { return most_; }
  std::string take() { return std::move(text_); }

 private:
  std::size_t most_;
  std::string text_;
};

/// As repr() in Python.
struct ReprWriter {
  Bounded out;
  int depth = 0;

  void text_repr(const std::string& text) {
    const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
    const char mark = single ? '\'' : '"';
    std::string part(1, mark);
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = code_point_size(rest);
      const std::int32_t code = code_of(rest.substr(0, size));
      if (code < 0)
        part += hex('x', 2, static_cast<std::int32_t>(static_cast<unsigned char>(rest[0])));
      else if (code == mark || code == '\\' || code == '\n' || code == '\r' || code == '\t')
        part += backslashed(static_cast<char>(code));
      else if (!is_printable(code))
        part += code < 0x100 ? hex('x', 2, code) : code < 0x10000 ? hex('u', 4, code) : hex('U', 8, code);
      else
        part += rest.substr(0, size);
      rest.remove_prefix(size);
    }
    part += mark;
    out.put(part);
  }

  void items(const std::vector<Value>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i) out.put(", ");
      repr(values[i]);
    }
  }

  void dict(const Dict& dict) {
    out.put("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!first) out.put(", ");
      first = false;
      repr(key);
      out.put(": ");
      repr(value);
    }
    out.put("}");
  }

  void view_repr(const View& view) {
    if (view.kind == View::Kind::kRange) {
      out.put("range(" + std::to_string(view.from) + ", " + std::to_string(view.to) +
              (view.step == 1 ? "" : ", " + std::to_string(view.step)) + ")");
      return;
    }
    out.put(view.kind == View::Kind::kKeys     ? "dict_keys(["
            : view.kind == View::Kind::kValues ? "dict_values(["
                                               : "dict_items([");
    items(view.list.items);
    out.put("])");
  }

  void repr(const Value& value) {
    check_depth(++depth);
    if (value.is_text()) {
      if (value.is_safe()) out.put("Markup(");
      text_repr(value.as_text());
      if (value.is_safe()) out.put(")");
    } else if (value.is_undefined()) {
      out.put("Undefined");
    } else if (value.is_list()) {
      const List& list = value.as_list();
      out.put(list.is_tuple ? "(" : "[");
      items(list.items);
      out.put(list.is_tuple ? (list.items.size() == 1 ? ",)" : ")") : "]");
    } else if (value.is_dict()) {
      dict(value.as_dict());
    } else if (const View* view = value.view()) {
      view_repr(*view);
    } else if (value.holds<std::shared_ptr<Namespace>>()) {
      out.put("<Namespace ");
      dict(value.get<std::shared_ptr<Namespace>>()->fields);
      out.put(">");
    } else if (value.is_none()) {
      out.put("None");
    } else if (value.is_bool()) {
      out.put(value.as_bool() ? "True" : "False");
    } else if (value.is_integer()) {
      out.put(std::to_string(value.as_integer()));
    } else if (value.is_float()) {
      out.put(float_text(value.as_double()));
    } else {
      throw Fault{"cannot print " + kind_of(value)};
    }
    --depth;
  }
};

/// As json.dumps() in Python.
struct JsonWriter {
  const JsonStyle& style;
  Bounded out;
  int depth = 0;

  void json_text(const std::string& text) {
    std::string part = "\"";
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = code_point_size(rest);
      const std::int32_t code = code_of(rest.substr(0, size));
      if (code < 0) {
        part += hex('u', 4, 0xFFFD);
      } else if (code < 127 &&
                 std::string_view("\"\\\n\r\t\b\f").find(static_cast<char>(code)) != std::string_view::npos) {
        part += backslashed(static_cast<char>(code));
      } else if (code < 32 || (style.html && (code == '<' || code == '>' || code == '&' || code == '\''))) {
        part += hex('u', 4, code);
      } else if (code < 127 || !style.ascii) {
        part += rest.substr(0, size);
      } else if (code > 0xFFFF) {
        part += hex('u', 4, 0xD800 + ((code - 0x10000) >> 10));
        part += hex('u', 4, 0xDC00 + ((code - 0x10000) & 0x3FF));
      } else {
        part += hex('u', 4, code);
      }
      rest.remove_prefix(size);
    }
    part += '"';
    out.put(part);
  }

  void line_break() {
    if (!style.indent) return;
    out.put("\n");
    for (int i = 0; i < depth; ++i) out.put(*style.indent);
  }

  void key(const Value& key) {
    if (key.is_text())
      json_text(key.as_text());
    else if (key.is_bool())
      json_text(key.as_bool() ? "true" : "false");
    else if (key.is_none())
      json_text("null");
    else if (key.is_number())
      json_text(to_text(key, out.most()));
    else
      throw Fault{"a key in JSON is a text, not " + kind_of(key)};
  }

  /// Brackets around `items`, each written by `write`.
  template <class Items, class Write>
  void brackets(std::string_view opening, std::string_view closing, const Items& items, Write write) {
    out.put(opening);
    if (!items.empty()) {
      check_depth(++depth);
      bool first = true;
      for (const auto& item : items) {
        if (!first) out.put(style.item_separator);
        first = false;
        line_break();
        write(item);
      }
      --depth;
      line_break();
    }
    out.put(closing);
  }

  void dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return compare(a->first, b->first) < 0; });
    brackets("{", "}", entries, [&](const auto* entry) {
      key(entry->first);
      out.put(style.key_separator);
      json(entry->second);
    });
  }

  void json(const Value& value) {
    if (value.is_text()) {
      json_text(value.as_text());
    } else if (value.is_none()) {
      out.put("null");
    } else if (value.is_bool()) {
      out.put(value.as_bool() ? "true" : "false");
    } else if (value.is_integer()) {
      out.put(std::to_string(value.as_integer()));
    } else if (value.is_float()) {
      const double number = value.as_double();
      out.put(std::isnan(number)   ? "NaN"
              : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity")
                                   : float_text(number));
    } else if (value.is_list()) {
      brackets("[", "]", value.as_list().items, [&](const Value& item) { json(item); });
    } else if (value.is_dict()) {
      dict(value.as_dict());
    } else if (value.is_undefined()) {
      throw Fault{value.why_undefined()};
    } else {
      throw Fault{"cannot write " + kind_of(value) + " as JSON"};
    }
  }
};

}  // namespace

std::string to_text(const Value& value, std::size_t most) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  return to_repr(value, most);
}

std::string to_repr(const Value& value, std::size_t most) {
  ReprWriter writer{Bounded(most)};
  writer.repr(value);
  return writer.out.take();
}

std::string to_json(const Value& value, const JsonStyle& style, std::size_t most) {
  JsonWriter writer{style, Bounded(most)};
  writer.json(value);
  return writer.out.take();
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

}  // namespace orch::tmpl
