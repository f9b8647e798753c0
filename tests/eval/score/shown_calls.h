// Calls as JSON, so that they can be compared: `[[NAME, {ARGUMENT: VALUE}], …]`. A tuple is `{"tuple": […]}`, and a map
// whose keys are not all texts `{"dict": [[KEY, VALUE], …]}`.
#pragma once

#include "eval/score/calls.h"

namespace orch::eval::test {

inline nlohmann::ordered_json shown(const Value& value) {
  using Json = nlohmann::ordered_json;
  const auto list = [](const Values& values) {
    Json items = Json::array();
    for (const Value& one : values) items.push_back(shown(one));
    return items;
  };
  if (const auto* truth = value.as<bool>()) return *truth;
  if (const auto* integer = value.as<std::int64_t>()) return *integer;
  if (const auto* real = value.as<double>()) return *real;
  if (const auto* text = value.as<std::string>()) return *text;
  if (const auto* values = value.as<Values>()) return list(*values);
  if (const auto* tuple = value.as<Tuple>()) return {{"tuple", list(tuple->items)}};
  const auto* dict = value.as<Dict>();
  if (!dict) return nullptr;
  Json map = Json::object(), pairs = Json::array();
  for (const auto& [key, one] : dict->entries) {
    pairs.push_back(Json::array({shown(key), shown(one)}));
    if (const auto* text = key.as<std::string>()) map[*text] = shown(one);
  }
  return map.size() == pairs.size() ? map : Json{{"dict", pairs}};
}

inline nlohmann::ordered_json shown(const std::vector<Call>& calls) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Call& call : calls)
    all.push_back(nlohmann::ordered_json::array({call.name, shown(Value{call.arguments})}));
  return all;
}

}  // namespace orch::eval::test
