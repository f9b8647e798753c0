#include "base/template/methods.h"

#include <algorithm>
#include <array>

#include "base/template/characters.h"
#include "base/template/safe_text.h"
#include "base/template/text_methods.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 5> kMapMethods = {"items", "keys", "values", "get", "copy"};
/// Known to Python, and refused with a reason, since they would change a value in place.
constexpr std::array<std::string_view, 5> kMapChanges = {"update", "pop", "popitem", "clear", "setdefault"};
constexpr std::array<std::string_view, 2> kListMethods = {"index", "count"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "extend", "insert", "pop",
                                                          "remove", "clear",  "sort",   "reverse"};

Value map_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Dict& dict = self.as_dict();
  if (name == "get") {
    const Taken taken(arguments, name, {"key", "default"});
    const Value& key = taken.need(0);
    if (!budget.options().chat) need_defined(key);
    if (budget.options().chat && !may_be_key(key)) throw Fault{kind_of(key) + " cannot be the key of a map"};
    const Value* found = dict.find(key);
    return found ? *found : taken.value(1, Value());
  }
  const Taken taken(arguments, name, {});
  if (name == "copy") return self;
  budget.spend(dict.entries.size());
  View out;
  out.kind = name == "keys" ? View::Kind::kKeys : name == "values" ? View::Kind::kValues : View::Kind::kItems;
  for (const auto& [key, value] : dict.entries)
    out.list.items.push_back(name == "keys" ? key : name == "values" ? value : Value::tuple({key, value}));
  return budget.view(std::move(out));
}

Value list_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (name == "copy") {
    take_none(arguments, name);
    return self;
  }
  const Taken taken(arguments, name, {"value"});
  std::int64_t count = 0;
  const auto& items = self.view() ? self.view()->list.items : self.as_list().items;
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

bool changes_in_place(const Value& self, std::string_view name) {
  return (self.is_dict() && among(kMapChanges, name)) || (self.is_list() && among(kListChanges, name));
}

bool has_method(const Value& self, std::string_view name) {
  if (self.is_text()) return is_text_method(name);
  if (self.is_dict()) return among(kMapMethods, name) || among(kMapChanges, name);
  if (const View* view = self.view()) return view->kind == View::Kind::kRange && among(kListMethods, name);
  if (self.is_list())
    return among(kListMethods, name) || (!self.as_list().is_tuple && (among(kListChanges, name) || name == "copy"));
  return false;
}

Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (self.is_text() && self.is_safe()) return safe_text_method(self.as_text(), name, arguments, budget);
  if (self.is_text()) return text_method(self.as_text(), name, arguments, budget);
  if (self.is_dict() && among(kMapMethods, name)) return map_method(self, name, arguments, budget);
  if (self.view()) return list_method(self, name, arguments, budget);
  if (self.is_list() && (among(kListMethods, name) || name == "copy"))
    return list_method(self, name, arguments, budget);
  if (const Loop* loop = self.loop()) return loop_method(*loop, name, arguments, budget);
  throw Fault{quote(name) + " would change " + kind_of(self) + " in place; build a new one instead"};
}

}  // namespace orch::tmpl
