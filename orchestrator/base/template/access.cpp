#include "base/template/access.h"

#include <algorithm>

#include "base/template/characters.h"
#include "base/template/code_points.h"
#include "base/template/methods.h"
#include "base/template/value_text.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

Value method_of(const Value& self, const std::string& name) {
  return Value(Value::Held(std::make_shared<const Method>(Method{self, name})));
}

/// The place of an index among `count` items, where those below 0 count from the end.
std::optional<std::size_t> place_of(std::int64_t index, std::size_t count) {
  const auto size = static_cast<std::int64_t>(count);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<std::size_t>(index);
}

/// A method, or, in the sandbox of chat templates, nothing in place of one that would change the value.
Value method_or_refusal(const Value& self, const std::string& name, Budget& budget) {
  if (budget.options().chat && changes_in_place(self, name))
    return Value::undefined(quote(name) + " would change " + kind_of(self) +
                            " in place, which no chat template may; build a new one instead");
  return method_of(self, name);
}

/// Undefined, with a sentence that names the key.
Value missing_item(const Value& value, const Value& key, Budget& budget) {
  const std::string name = key.is_text() ? quote(key.as_text()) : key.is_number() ? to_text(key, 100) : kind_of(key);
  if (!value.is_dict() || !key.is_text()) return Value::undefined(kind_of(value) + " has no item " + name);
  std::vector<std::string> known;
  budget.spend(20);
  for (const auto& [other, held] : value.as_dict().entries)
    if (other.is_text() && known.size() < 20) known.push_back(other.as_text());
  return Value::undefined("there is no " + name + " in this map" + hint(key.as_text().substr(0, 100), known));
}

Value field_of(const Namespace& space, const std::string& name) {
  if (const Value* found = space.fields.find(name)) return *found;
  return Value::undefined("the namespace has no field " + quote(name));
}

Value loop_attribute(const Value& value, const std::string& name) {
  const Loop& loop = *value.loop();
  const auto size = static_cast<std::int64_t>(loop.items.size()), index = static_cast<std::int64_t>(loop.index);
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == size);
  if (name == "length") return Value::integer(size);
  if (name == "depth") return Value::integer(loop.level + 1);
  if (name == "depth0") return Value::integer(loop.level);
  if (name == "previtem")
    return index > 0 ? loop.items[loop.index - 1] : Value::undefined("there is no item before the first");
  if (name == "nextitem")
    return index + 1 < size ? loop.items[loop.index + 1] : Value::undefined("there is no item after the last");
  if (name == "cycle" || name == "changed") return method_of(value, name);
  return Value::undefined("the loop has no " + quote(name));
}

}  // namespace

Value item_of(const Value& value, const Value& key, Budget& budget) {
  need_defined(value);
  if (!budget.options().chat) need_defined(key);
  if (value.is_dict()) {
    if (key.is_text()) budget.spend(1 + key.as_text().size() / 64);
    if (const Value* found = value.as_dict().find(key)) return *found;
  }
  if (value.holds<std::shared_ptr<Namespace>>() && key.is_text())
    return field_of(*value.get<std::shared_ptr<Namespace>>(), key.as_text());
  if (key.is_integer() || key.is_bool()) {
    if (value.is_list()) {
      if (const auto i = place_of(key.as_integer(), value.as_list().items.size())) return value.as_list().items[*i];
    } else if (value.view() && value.view()->kind == View::Kind::kRange) {
      const auto& items = value.view()->list.items;
      if (const auto i = place_of(key.as_integer(), items.size())) return items[*i];
    } else if (value.is_text()) {
      budget.spend(value.as_text().size() / 8 + 1);
      const auto points = code_points(value.as_text());
      if (const auto i = place_of(key.as_integer(), points.size()))
        return Value::text(std::string(points[*i])).as_safe(value.is_safe());
    }
  }
  if (key.is_text() && has_method(value, key.as_text())) return method_or_refusal(value, key.as_text(), budget);
  return missing_item(value, key, budget);
}

Value attribute_of(const Value& value, const std::string& name, Budget& budget) {
  need_defined(value);
  if (value.holds<std::shared_ptr<Namespace>>()) return field_of(*value.get<std::shared_ptr<Namespace>>(), name);
  if (value.loop()) return loop_attribute(value, name);
  if (has_method(value, name)) return method_or_refusal(value, name, budget);
  return item_of(value, Value::text(name), budget);
}

Value by_path(const Value& item, const Value& path, Budget& budget) {
  if (path.is_integer()) return item_of(item, path, budget);
  if (!path.is_text()) throw Fault{"an attribute is named by a text, not by " + kind_of(path)};
  Value value = item;
  for (std::string_view part : split(path.as_text(), '.')) {
    const bool is_index = !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), is_digit);
    budget.spend(1);
    const std::string key(part);
    value = item_of(value, is_index ? Value::integer(std::stoll(key)) : Value::text(key), budget);
  }
  return value;
}

namespace {

std::int64_t product_of(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) throw Fault{"the range does not fit into 64 bits"};
  return out;
}

/// The number at a place of a range, or beyond its end.
std::int64_t at_of(const View& range, std::int64_t place) {
  std::int64_t out = 0;
  if (__builtin_add_overflow(range.from, product_of(range.step, place), &out))
    throw Fault{"the range does not fit into 64 bits"};
  return out;
}

}  // namespace

Value slice_of(const Value& value, std::optional<std::int64_t> from, std::optional<std::int64_t> to, std::int64_t step,
               Budget& budget) {
  if (step == 0) throw Fault{"the step of a slice is not 0"};
  need_defined(value);
  const View* range = value.view() && value.view()->kind == View::Kind::kRange ? value.view() : nullptr;
  if (!value.is_text() && !value.is_list() && !range) throw Fault{kind_of(value) + " cannot be sliced"};
  std::vector<std::string_view> points;
  if (value.is_text()) {
    budget.spend(value.as_text().size() / 8);
    points = code_points(value.as_text());
  }
  const std::vector<Value> none;
  const auto& held = range ? range->list.items : value.is_text() ? none : value.as_list().items;
  const auto size = static_cast<std::int64_t>(value.is_text() ? points.size() : held.size());
  const auto clamp = [&](std::optional<std::int64_t> given, std::int64_t otherwise) {
    if (!given) return otherwise;
    const std::int64_t least = step < 0 ? -1 : 0, most = step < 0 ? size - 1 : size;
    const std::int64_t at = *given < 0 ? (*given < -size ? least : *given + size) : *given;
    return std::clamp(at, least, std::max(least, most));
  };
  const std::int64_t begin = clamp(from, step < 0 ? size - 1 : 0), end = clamp(to, step < 0 ? -1 : size);
  std::vector<Value> items;
  std::string text;
  for (std::int64_t i = begin; step < 0 ? i > end : i < end;) {
    if (value.is_text())
      text += points[static_cast<std::size_t>(i)];
    else
      items.push_back(held[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  budget.spend(items.size());
  if (value.is_text()) return budget.text(std::move(text)).as_safe(value.is_safe());
  if (range)
    return Value::view({View::Kind::kRange,
                        {std::move(items)},
                        at_of(*range, begin),
                        at_of(*range, end),
                        product_of(range->step, step)});
  return value.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

}  // namespace orch::tmpl
