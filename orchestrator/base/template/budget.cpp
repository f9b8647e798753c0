#include "base/template/budget.h"

#include <algorithm>

#include "base/template/code_points.h"
#include "base/template/value_text.h"
#include "base/units.h"

namespace orch::tmpl {

void Budget::spend(std::size_t steps) {
  if (steps > options_.most_steps || steps_ > options_.most_steps - steps)
    throw Fault{"rendering takes more than " +
                grouped(static_cast<long long>(std::min<std::size_t>(options_.most_steps, INT64_MAX))) + " steps"};
  steps_ += steps;
}

void Budget::check_size(std::size_t bytes) const {
  if (bytes > options_.most_output)
    throw Fault{"a text would be longer than " + std::to_string(options_.most_output) + " bytes"};
}

Value Budget::text(std::string text) {
  check_size(text.size());
  spend(1 + text.size() / 64);
  return Value::text(std::move(text));
}

void Budget::allow_undefined(const Value& undefined) const {
  if (!options_.strict) return;
  const bool silent = undefined.get<std::shared_ptr<const Undefined>>()->is_silent;
  if (!silent || options_.escape == Options::Escape::kShell) need_defined(undefined);
}

std::string Budget::printed(const Value& value) {
  if (value.is_undefined()) allow_undefined(value);
  spend(value.weight());
  return to_text(value, options_.most_output);
}

std::vector<Value> Budget::items(const Value& value) {
  std::vector<Value> out;
  if (value.is_list()) {
    spend(value.as_list().items.size());
    return value.as_list().items;
  }
  if (value.is_dict()) {
    spend(value.as_dict().entries.size());
    for (const auto& [key, held] : value.as_dict().entries) out.push_back(key);
    return out;
  }
  if (value.is_text()) {
    spend(value.as_text().size());
    for (std::string_view point : code_points(value.as_text())) out.push_back(Value::text(std::string(point)));
    return out;
  }
  if (value.is_undefined()) {
    allow_undefined(value);
    return out;
  }
  if (const View* view = value.view()) {
    spend(view->list.items.size());
    return view->list.items;
  }
  if (const Once* once = value.once()) {
    spend(once->list.items.size());
    out.assign(once->list.items.begin() + static_cast<std::ptrdiff_t>(once->at), once->list.items.end());
    once->at = once->list.items.size();
    return out;
  }
  if (const Loop* loop = value.loop()) return loop->items;
  throw Fault{kind_of(value) + " holds no items to go through"};
}

Value Budget::passing(std::vector<Value> items) const {
  return options_.chat ? Value::once(std::move(items)) : Value::list(std::move(items));
}

Value Budget::view(View view) const {
  return options_.chat ? Value::view(std::move(view)) : Value::list(std::move(view.list.items));
}

bool Budget::equals(const Value& a, const Value& b) {
  spend(std::min(a.weight(), b.weight()));
  return equal(a, b);
}

int Budget::order(const Value& a, const Value& b) {
  spend(std::min(a.weight(), b.weight()));
  return compare(a, b);
}

bool Budget::contains(const Value& container, const Value& item) {
  if (container.is_text()) {
    need_defined(item);
    if (!item.is_text()) throw Fault{"only a text can be in a text, not " + kind_of(item)};
    search(container.as_text(), item.as_text());
    return container.as_text().find(item.as_text()) != std::string::npos;
  }
  if (container.is_dict()) {
    if (options_.chat && !may_be_key(item)) throw Fault{kind_of(item) + " cannot be the key of a map"};
    return container.as_dict().find(item) != nullptr;
  }
  const auto is_item = [&](const Value& held) { return equals(held, item); };
  if (container.is_list())
    return std::any_of(container.as_list().items.begin(), container.as_list().items.end(), is_item);
  if (const View* view = container.view())
    return std::any_of(view->list.items.begin(), view->list.items.end(), is_item);
  if (const Once* once = container.once()) {
    const auto begin = once->list.items.begin() + static_cast<std::ptrdiff_t>(once->at);
    const auto found = std::find_if(begin, once->list.items.end(), is_item);
    once->at = static_cast<std::size_t>(found - once->list.items.begin()) + (found == once->list.items.end() ? 0 : 1);
    return found != once->list.items.end();
  }
  if (container.is_undefined()) {
    allow_undefined(container);
    return false;
  }
  throw Fault{"nothing can be in " + kind_of(container)};
}

}  // namespace orch::tmpl
