// Reading the daemon's JSON for people: it may be of an older or a newer daemon, so a member that is missing or of
// another type is empty rather than a fault.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace orch::report {

using Json = nlohmann::ordered_json;

/// The member; null where there is none.
inline const Json& member(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto at = object.find(name);
  return at == object.end() ? kNull : *at;
}
inline std::string text_in(const Json& object, const char* name) {
  const Json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : "";
}
inline double number_in(const Json& object, const char* name) {
  const Json& value = member(object, name);
  return value.is_number() ? value.get<double>() : 0;
}
inline long long count_in(const Json& object, const char* name) {
  const Json& value = member(object, name);
  return value.is_number_integer() ? value.get<long long>() : 0;
}

}  // namespace orch::report
