// Calls: of macros, methods, and the functions that every template has (range, namespace, dict, raise_exception).
#include <algorithm>

#include "base/template/characters.h"
#include "base/template/formatting.h"
#include "base/template/methods.h"
#include "base/template/renderer.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::tmpl {
namespace {

constexpr std::int64_t kMostRange = 100'000;
constexpr std::size_t kMostNamespaces = 100'000;

/// The one that a call gives for the parameter at a place; null when it gives none.
const Value* argument_for(const Node& macro, std::size_t place, const Arguments& given) {
  if (place < given.values.size()) return &given.values[place];
  for (const auto& [name, value] : given.named)
    if (name == macro.targets[place]) return &value;
  return nullptr;
}

void check_arguments(const Node& macro, const Arguments& given) {
  const std::vector<std::string>& parameters = macro.targets;
  if (given.values.size() > parameters.size() && !macro.wants_varargs)
    throw Fault{"the macro " + quote(macro.text) + " takes " +
                counted(static_cast<long long>(parameters.size()), "argument") + ", not " +
                std::to_string(given.values.size())};
  for (const auto& [name, value] : given.named) {
    const auto at = std::find(parameters.begin(), parameters.end(), name);
    if (at == parameters.end() && (macro.wants_kwargs || (name == "caller" && macro.wants_caller))) continue;
    if (at == parameters.end())
      throw Fault{"the macro " + quote(macro.text) + " takes no argument " + quote(name) + hint(name, parameters)};
    if (static_cast<std::size_t>(at - parameters.begin()) < given.values.size())
      throw Fault{"the macro " + quote(macro.text) + " is given " + quote(name) + " twice"};
  }
}

/// What a macro was given beyond its parameters.
void take_rest(const Node& macro, const Arguments& given, std::unordered_map<std::string, Value>& variables) {
  const std::vector<std::string>& parameters = macro.targets;
  const auto is_parameter = [&](std::string_view name) { return among(parameters, name); };
  if (macro.wants_caller && !is_parameter("caller")) {
    Value& caller = variables["caller"];
    caller = Value::undefined("the macro " + quote(macro.text) + " was not called by a call block");
    for (const auto& [name, value] : given.named)
      if (name == "caller") caller = value;
  }
  if (macro.wants_varargs && !is_parameter("varargs")) {
    const std::size_t named = std::min(parameters.size(), given.values.size());
    variables["varargs"] =
        Value::tuple({given.values.begin() + static_cast<std::ptrdiff_t>(named), given.values.end()});
  }
  if (macro.wants_kwargs && !is_parameter("kwargs")) {
    Dict rest;
    for (const auto& [name, value] : given.named)
      if (!is_parameter(name) && !(name == "caller" && macro.wants_caller)) rest.set(Value::text(name), value);
    variables["kwargs"] = Value::dict(std::move(rest));
  }
}

Value range(const Arguments& given, Budget& budget) {
  const Taken taken(given, "range", {"start", "stop", "step"});
  taken.need(0);
  const std::int64_t from = taken.has(1) ? taken.integer(0, 0) : 0;
  const std::int64_t to = taken.has(1) ? taken.integer(1, 0) : taken.integer(0, 0);
  const std::int64_t step = taken.integer(2, 1);
  if (step == 0) throw Fault{"the step of a range is not 0"};
  View range{View::Kind::kRange, {}, from, to, step};
  std::vector<Value>& items = range.list.items;
  for (std::int64_t i = from; step > 0 ? i < to : i > to;) {
    if (static_cast<std::int64_t>(items.size()) == kMostRange)
      throw Fault{"a range of more than " + grouped(kMostRange) + " numbers"};
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  budget.spend(items.size());
  return budget.view(std::move(range));
}

/// As dict() in Python: a map or pairs, then arguments by name.
Dict fields_of(const Arguments& given, Budget& budget) {
  if (given.values.size() > 1) throw Fault{"expected one map at most, then arguments by name"};
  Dict fields;
  if (!given.values.empty()) {
    const Value& first = given.values[0];
    need_defined(first);
    if (first.is_dict()) {
      budget.spend(first.as_dict().entries.size());
      fields = first.as_dict();
    } else {
      for (const Value& pair : budget.items(first)) {
        const auto two = budget.items(pair);
        if (two.size() != 2) throw Fault{"expected pairs of a key and a value"};
        fields.set(two[0], two[1]);
      }
    }
  }
  for (const auto& [name, value] : given.named) fields.set(Value::text(name), value);
  return fields;
}

}  // namespace

Value Renderer::call(const Value& function, const Arguments& given) {
  if (function.holds<std::shared_ptr<const Method>>()) {
    const auto method = function.get<std::shared_ptr<const Method>>();
    return call_method(method->self, method->name, given, budget_);
  }
  if (function.holds<std::shared_ptr<const Macro>>())
    return call_macro(*function.get<std::shared_ptr<const Macro>>(), given);
  if (const Loop* loop = function.loop(); loop && loop->node) return call_loop(*loop, given);
  if (function.holds<Builtin>()) return call_builtin(function.get<Builtin>(), given);
  need_defined(function);
  throw Fault{kind_of(function) + " cannot be called"};
}

Value Renderer::call_macro(const Macro& macro, const Arguments& given) {
  const Node& node = *macro.node;
  const Restored<int> calls(calls_);
  go_deeper("macros call");
  check_arguments(node, given);
  const Restored<std::shared_ptr<Scope>> scope(scope_);
  const Restored<const std::string*> file(file_);
  enter(macro.scope);
  file_ = macro.file;
  const std::size_t without_default = node.targets.size() - node.defaults.size();
  for (std::size_t i = 0; i < node.targets.size(); ++i) {
    Value value;
    if (const Value* argument = argument_for(node, i, given))
      value = *argument;
    else if (i >= without_default)
      value = eval(*node.defaults[i - without_default]);
    else
      value = Value::undefined("the parameter " + quote(node.targets[i]) + " was not given");
    scope_->variables[node.targets[i]] = std::move(value);
  }
  take_rest(node, given, scope_->variables);
  std::string out;
  Sink sink{out};
  body(node.body, sink);
  return budget_.text(std::move(out));
}

/// A loop that calls itself: what it prints over other items.
Value Renderer::call_loop(const Loop& loop, const Arguments& given) {
  const Value over = Taken(given, "loop", {"iterable"}).need(0);
  const Restored<int> calls(calls_);
  go_deeper("loops call");
  const Restored<std::shared_ptr<Scope>> scope(scope_);
  scope_ = loop.scope;
  std::string out;
  Sink sink{out};
  this->loop(*loop.node, over, loop.level + 1, sink);
  return budget_.text(std::move(out));
}

Value Renderer::call_builtin(Builtin function, const Arguments& given) {
  switch (function) {
    case Builtin::kRange:
      return range(given, budget_);
    case Builtin::kNamespace:
      return make_namespace(fields_of(given, budget_));
    case Builtin::kDict:
      return Value::dict(fields_of(given, budget_));
    case Builtin::kStrftimeNow:
      return budget_.text(time_text(Taken(given, "strftime_now", {"format"}).need_text(0), *now_));
    case Builtin::kRaise:
      break;
  }
  const Taken taken(given, "raise_exception", {"message"});
  throw Fault{budget_.printed(taken.need(0))};
}

Value Renderer::make_namespace(Dict fields) {
  for (const auto& [key, value] : fields.entries)
    if (options_.chat && key.is_text() && key.as_text().starts_with('_'))
      throw Fault{"a chat template gives no field of a namespace a name that begins with '_'"};
  if (namespaces_.size() == kMostNamespaces) throw Fault{"more than " + grouped(kMostNamespaces) + " namespaces"};
  auto space = std::make_shared<Namespace>();
  space->fields = std::move(fields);
  namespaces_.push_back(space);
  return Value(Value::Held(std::move(space)));
}

}  // namespace orch::tmpl
