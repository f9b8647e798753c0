#include "eval/score/functions.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "eval/score/text.h"

namespace orch::eval {
namespace {

using Json = nlohmann::ordered_json;

/// The types of descriptions, by an example of the value that is expected.
std::optional<Value> example(const std::string& type) {
  if (type == "string" || type == "any") return Value{std::string()};
  if (type == "integer") return Value{std::int64_t{0}};
  if (type == "float") return Value{0.0};
  if (type == "boolean") return Value{false};
  if (type == "array" || type == "tuple") return Value{Values{}};
  if (type == "dict") return Value{Dict{}};
  return std::nullopt;
}

bool is_optional(const Value& value) {
  const auto* text = value.as<std::string>();
  return text && text->empty();
}

/// Texts without what does not count.
Value plain(const Value& value) {
  const auto* text = value.as<std::string>();
  if (!text) return value;
  std::string kept;
  for (const char c : folded(*text))
    if (std::string_view(" ,./-_*^").find(c) == std::string_view::npos) kept += c == '\'' ? '"' : c;
  return Value{kept};
}

Value plain_items(const Values& values) {
  Values kept;
  for (const Value& value : values) kept.push_back(plain(value));
  return Value{std::move(kept)};
}

bool holds(const Values& values, const Value& wanted) {
  return std::ranges::any_of(values, [&](const Value& value) { return equal(value, wanted); });
}

bool can_be_left_out(const Value& possible) {
  const auto* values = possible.as<Values>();
  return values && holds(*values, Value{std::string()});
}

struct TypeCheck {
  bool right = false;
  bool is_variable = false;  ///< of another type than the description says, as the answers have it
};

/// Of the possible values the first that counts tells the type of variables.
TypeCheck check_type(const Value& value, const Values& possible, const Value& expected,
                     const std::optional<Value>& nested) {
  const auto known = std::ranges::find_if_not(possible, is_optional);
  const bool is_variable = known != possible.end() && !known->is_like(expected);
  if (value.is_like(expected)) {
    if (!nested) return {true, is_variable};
    const auto* items = value.as<Values>();
    for (const Value& one : possible) {
      const auto* wanted = one.as<Values>();
      if (!wanted || !items || std::ranges::all_of(*items, [&](const Value& item) {
            return check_type(item, *wanted, *nested, std::nullopt).right;
          }))
        return {true, is_variable};
    }
    return {};
  }
  if (known != possible.end() && value.is_like(*known)) return {true, true};
  return {};
}

bool matches_dict(const Dict& value, const Value& possible) {
  const auto* wanted = possible.as<Dict>();
  if (!wanted) return false;
  for (const auto& [key, one] : value.entries) {
    const auto* name = key.as<std::string>();
    const Value* values = name ? wanted->find(*name) : nullptr;
    const auto* list = values ? values->as<Values>() : nullptr;
    if (!list || !holds(std::get<Values>(plain_items(*list).held), plain(one))) return false;
  }
  return std::ranges::all_of(wanted->entries, [&](const Entry& entry) {
    return value.find(*entry.key.as<std::string>()) || can_be_left_out(entry.value);
  });
}

bool matches_dicts(const Values& values, const Value& possible) {
  // An answer that may be left out has no items.
  static const Values kNone;
  const auto* wanted = is_optional(possible) ? &kNone : possible.as<Values>();
  return wanted && std::ranges::equal(values, *wanted, [](const Value& value, const Value& one) {
           const auto* dict = value.as<Dict>();
           return dict && !is_optional(one) && matches_dict(*dict, one);
         });
}

bool matches_list(const Values& values, const Value& possible) {
  if (is_optional(possible)) return values.empty();
  const auto* wanted = possible.as<Values>();
  return wanted && equal(plain_items(values), plain_items(*wanted));
}

bool matches(const Value& value, const Values& possible, const Value& expected, const std::optional<Value>& nested,
             bool is_variable) {
  const auto any = [&](auto one) { return std::ranges::any_of(possible, one); };
  if (is_variable) return holds(possible, value);
  if (const auto* dict = value.as<Dict>(); dict && expected.is_like(value))
    return any([&](const Value& one) { return !is_optional(one) && matches_dict(*dict, one); });
  if (const auto* values = value.as<Values>(); values && expected.is_like(value)) {
    if (nested && nested->as<Dict>()) return any([&](const Value& one) { return matches_dicts(*values, one); });
    return any([&](const Value& one) { return matches_list(*values, one); });
  }
  if (value.as<std::string>() && expected.is_like(value))
    return any([&](const Value& one) { return one.as<std::string>() && equal(plain(one), plain(value)); });
  return holds(possible, value);
}

std::string type_of(const Json& description) {
  return description.is_object() && description.contains("type") && description["type"].is_string()
             ? description["type"].get<std::string>()
             : std::string();
}

Judged wrong(std::string why) { return {false, std::move(why)}; }

std::optional<Judged> judge_argument(const std::string& name, Value value, const Json& description,
                                     const Values& possible) {
  const std::string type = type_of(description);
  const auto expected = example(type);
  std::optional<Value> nested;
  if (type == "array" || type == "tuple")
    nested = example(description.contains("items") ? type_of(description["items"]) : std::string());
  if (!expected || (expected->as<Values>() && !nested))
    return wrong("the argument " + quote(name) + " is described by no known type");
  if (const auto* tuple = value.as<Tuple>(); tuple && type == "tuple") value = Value{Values(tuple->items)};
  if (const auto* integer = value.as<std::int64_t>(); integer && type == "float")
    value = Value{static_cast<double>(*integer)};
  const TypeCheck check = check_type(value, possible, *expected, nested);
  if (!check.right) return wrong("the argument " + quote(name) + " is of another type than " + quote(type));
  if (!matches(value, possible, *expected, nested, check.is_variable))
    return wrong("the argument " + quote(name) + " has another value");
  return std::nullopt;
}

/// `possible`: `{FUNCTION: {ARGUMENT: VALUES}}`, well formed.
Judged judge_call(const Json& function, const Call& call, const Json& possible, bool dots_as_lines) {
  std::string name = function["name"].get<std::string>();
  if (dots_as_lines) std::ranges::replace(name, '.', '_');
  if (call.name != name) return wrong("it calls " + quote(call.name) + ", not " + quote(name));
  const Json& parameters = function["parameters"];
  const Json none = Json::object();
  const Json& described = parameters.contains("properties") ? parameters["properties"] : none;
  const Json& answers = possible.begin().value();
  if (parameters.contains("required"))
    for (const Json& required : parameters["required"])
      if (required.is_string() && !call.arguments.find(required.get<std::string>()))
        return wrong("the argument " + quote(required.get<std::string>()) + " is missing");
  for (const auto& [key, value] : call.arguments.entries) {
    const std::string& argument = *key.as<std::string>();
    if (!described.contains(argument) || !answers.contains(argument))
      return wrong("there is no argument " + quote(argument) + ", or it is not wanted");
    const auto values = value_of(answers[argument]);
    const auto* list = values ? values->as<Values>() : nullptr;
    if (!list) return wrong("the possible answers for " + quote(argument) + " are no list");
    if (auto judged = judge_argument(argument, value, described[argument], *list)) return *std::move(judged);
  }
  for (const auto& [argument, values] : answers.items()) {
    const bool optional = values.is_array() && std::ranges::find(values, Json("")) != values.end();
    if (!call.arguments.find(argument) && !optional) return wrong("the argument " + quote(argument) + " is missing");
  }
  return {true, {}};
}

const Json* description_of(const Json& functions, const std::string& name) {
  for (const Json& function : functions)
    if (function["name"] == name) return &function;
  return nullptr;
}

bool is_function(const Json& function) {
  return function.is_object() && function.contains("name") && function["name"].is_string() &&
         function.contains("parameters") && function["parameters"].is_object() &&
         (!function["parameters"].contains("properties") || function["parameters"]["properties"].is_object()) &&
         (!function["parameters"].contains("required") || function["parameters"]["required"].is_array());
}

bool is_answer(const Json& answer) {
  return answer.is_object() && answer.size() == 1 && answer.begin().value().is_object();
}

Judged judge_all(const Json& functions, const std::vector<Call>& calls, const Json& possible, bool dots_as_lines) {
  std::vector<bool> taken(calls.size(), false);
  for (const Json& answer : possible) {
    const Json* function = description_of(functions, answer.begin().key());
    if (!function) return wrong("the function " + quote(answer.begin().key()) + " is not described");
    std::string why;
    std::size_t at = 0;
    for (; at < calls.size(); ++at) {
      if (taken[at]) continue;
      const Judged judged = judge_call(*function, calls[at], answer, dots_as_lines);
      if (judged.right) break;
      if (why.empty()) why = judged.why;
    }
    if (at == calls.size()) return wrong("no call of " + quote(answer.begin().key()) + " is as it should be: " + why);
    taken[at] = true;
  }
  return {true, {}};
}

}  // namespace

Result<CallTask> call_task(std::string_view category) {
  if (category.find("java") != std::string_view::npos)
    return Error{"calls in Java and JavaScript (" + quote(category) +
                 ") are not judged: their values are not Python's"};
  const auto has = [&](std::string_view word) { return category.find(word) != std::string_view::npos; };
  if (has("irrelevance")) return CallTask::kIrrelevance;
  if (has("relevance")) return CallTask::kRelevance;
  if (has("multi_turn"))
    return Error{"conversations of several turns (" + quote(category) + ") are not judged by syntax"};
  if (has("parallel")) return CallTask::kParallel;
  if (has("multiple")) return CallTask::kMultiple;
  if (has("simple")) return CallTask::kSimple;
  return Error{quote(category) +
               " is no category of function calls; there are simple, multiple, parallel, "
               "parallel_multiple, irrelevance and relevance, also with live_ in front"};
}

Judged judge_calls(CallTask task, const Json& functions, const Result<std::vector<Call>>& calls, const Json& possible,
                   bool dots_as_lines) {
  const bool called = calls && !calls->empty();
  if (task == CallTask::kIrrelevance) return called ? wrong("it calls a function, and none helps") : Judged{true, {}};
  if (task == CallTask::kRelevance) return called ? Judged{true, {}} : wrong("it calls no function");
  if (!calls) return wrong("no function calls: " + calls.error().what);
  if (!functions.is_array() || functions.empty() || !std::ranges::all_of(functions, is_function))
    return wrong("the functions are not described as they should be");
  if (!possible.is_array() || possible.empty() || !std::ranges::all_of(possible, is_answer))
    return wrong("the possible answers are not written as they should be");
  if (calls->size() != (task == CallTask::kSimple ? 1 : possible.size()))
    return wrong("it has " + counted(static_cast<long long>(calls->size()), "call") + ", not " +
                 std::to_string(task == CallTask::kSimple ? 1 : possible.size()));
  if (task == CallTask::kParallel) return judge_all(functions, *calls, possible, dots_as_lines);
  const Json* function =
      task == CallTask::kSimple ? &functions.front() : description_of(functions, possible[0].begin().key());
  if (!function) return wrong("the function " + quote(possible[0].begin().key()) + " is not described");
  return judge_call(*function, calls->front(), possible[0], dots_as_lines);
}

}  // namespace orch::eval
