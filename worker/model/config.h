// config.json, read with every number in its bounds.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace orch::model {

/// Reads fields and remembers the first thing that is wrong, so that a family's reader is a list of its fields.
class Config {
 public:
  Config(const nlohmann::json& root, std::string name) : root_(root), name_(std::move(name)) {}

  bool has(const char* key) const;
  /// Of a part of it, such as `rope_scaling`; with no such part nothing is in it.
  Config part(const char* key) const;

  std::int64_t integer(const char* key, std::int64_t otherwise, std::int64_t least, std::int64_t most);
  std::int64_t need_integer(const char* key, std::int64_t least, std::int64_t most);
  double number(const char* key, double otherwise);
  bool flag(const char* key, bool otherwise);
  std::string text(const char* key, const std::string& otherwise);
  std::vector<double> numbers(const char* key);
  const nlohmann::json* raw(const char* key) const;

  void refuse(const std::string& what);
  /// Nothing while all is well.
  const std::optional<Error>& problem() const { return problem_; }
  void take_problem(const Config& of) {
    if (!problem_) problem_ = of.problem_;
  }
  const std::string& name() const { return name_; }

 private:
  nlohmann::json root_;
  std::string name_;
  std::optional<Error> problem_;
};

}  // namespace orch::model
