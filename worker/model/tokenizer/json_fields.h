// JSON that somebody else wrote, read field by field: the first thing that is wrong is kept, with its place, and what
// is read after it is of no account.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace orch::tokenizer {

class JsonFields {
 public:
  struct Problem {
    std::string file;
    std::optional<std::string> what;
  };

  JsonFields(const nlohmann::json& json, std::string where, Problem& problem)
      : json_(&json), where_(std::move(where)), problem_(&problem) {}

  const nlohmann::json& json() const { return *json_; }
  bool ok() const { return !problem_->what; }
  void fail(const std::string& what) const;

  /// The field, or one that is null.
  JsonFields operator[](const std::string& key) const;
  JsonFields operator[](std::size_t index) const;
  bool has(const std::string& key) const {
    return json_->is_object() && json_->contains(key) && !json_->at(key).is_null();
  }
  bool null() const { return json_->is_null(); }

  /// The value itself; anything else is a problem.
  std::string text() const;
  bool flag() const;
  std::uint64_t number(std::uint64_t most) const;
  char32_t character() const;
  /// How many items a list has. Anything but a list is a problem.
  std::size_t items(std::size_t most) const;

  std::string text_or(const std::string& key, std::string otherwise) const;
  bool flag_or(const std::string& key, bool otherwise) const;

 private:
  const nlohmann::json* json_;
  std::string where_;
  Problem* problem_;
};

/// The document, or why there is none. Bounded in size and depth.
Result<nlohmann::json> parse_json(std::string_view text, const std::string& file);

}  // namespace orch::tokenizer
