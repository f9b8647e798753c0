#include "model/config.h"

#include <cmath>

#include "base/text.h"

namespace orch::model {

using nlohmann::json;

const json* Config::raw(const char* key) const {
  const auto at = root_.find(key);
  return at == root_.end() || at->is_null() ? nullptr : &*at;
}

bool Config::has(const char* key) const { return raw(key) != nullptr; }

Config Config::part(const char* key) const {
  const json* value = raw(key);
  Config part(value && value->is_object() ? *value : json::object(), name_ + ": " + key);
  if (value && !value->is_object()) part.refuse("must be a map");
  return part;
}

void Config::refuse(const std::string& what) {
  if (!problem_) problem_ = Error{name_ + ": " + what};
}

std::int64_t Config::integer(const char* key, std::int64_t otherwise, std::int64_t least, std::int64_t most) {
  const json* value = raw(key);
  if (!value) return otherwise;
  const bool whole =
      value->is_number_integer() && (!value->is_number_unsigned() || value->get<std::uint64_t>() <= INT64_MAX);
  if (whole && value->get<std::int64_t>() >= least && value->get<std::int64_t>() <= most)
    return value->get<std::int64_t>();
  refuse(std::string("'") + key + "' must be a whole number from " + std::to_string(least) + " to " +
         std::to_string(most) + ", found " + shown(value->dump()));
  return least;
}

std::int64_t Config::need_integer(const char* key, std::int64_t least, std::int64_t most) {
  if (!has(key)) refuse(std::string("'") + key + "' is missing");
  return integer(key, least, least, most);
}

double Config::number(const char* key, double otherwise) {
  const json* value = raw(key);
  if (!value) return otherwise;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  refuse(std::string("'") + key + "' must be a number, found " + shown(value->dump()));
  return otherwise;
}

bool Config::flag(const char* key, bool otherwise) {
  const json* value = raw(key);
  if (!value) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  refuse(std::string("'") + key + "' must be true or false, found " + shown(value->dump()));
  return otherwise;
}

std::string Config::text(const char* key, const std::string& otherwise) {
  const json* value = raw(key);
  if (!value) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  refuse(std::string("'") + key + "' must be a text, found " + shown(value->dump()));
  return otherwise;
}

std::vector<double> Config::numbers(const char* key) {
  std::vector<double> numbers;
  const json* value = raw(key);
  if (!value) return numbers;
  const bool right = value->is_array() && std::all_of(value->begin(), value->end(), [](const json& it) {
                       return it.is_number() && std::isfinite(it.get<double>());
                     });
  if (!right) {
    refuse(std::string("'") + key + "' must be a list of numbers");
    return numbers;
  }
  for (const json& it : *value) numbers.push_back(it.get<double>());
  return numbers;
}

}  // namespace orch::model
