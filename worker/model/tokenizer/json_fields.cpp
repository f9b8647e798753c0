#include "model/tokenizer/json_fields.h"

#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {
namespace {

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // the largest published file has 35 MB
constexpr int kMostDepth = 64;

const nlohmann::json& nothing() {
  static const nlohmann::json kNothing;
  return kNothing;
}

/// Whether brackets are open that often, without building anything: a document of brackets alone is refused at once.
bool nested_deeper(std::string_view text, int most) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\') ++at;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > most) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

void JsonFields::fail(const std::string& what) const {
  if (!problem_->what) problem_->what = problem_->file + ": " + (where_.empty() ? "" : where_ + ": ") + what;
}

JsonFields JsonFields::operator[](const std::string& key) const {
  const bool there = json_->is_object() && json_->contains(key);
  return {there ? json_->at(key) : nothing(), where_.empty() ? key : where_ + "." + key, *problem_};
}

JsonFields JsonFields::operator[](std::size_t index) const {
  const bool there = json_->is_array() && index < json_->size();
  return {there ? json_->at(index) : nothing(), where_ + "[" + std::to_string(index) + "]", *problem_};
}

std::string JsonFields::text() const {
  if (json_->is_string()) return json_->get<std::string>();
  fail("expected a text");
  return {};
}

bool JsonFields::flag() const {
  if (json_->is_boolean()) return json_->get<bool>();
  fail("expected true or false");
  return false;
}

std::uint64_t JsonFields::number(std::uint64_t most) const {
  if (json_->is_number_unsigned() && json_->get<std::uint64_t>() <= most) return json_->get<std::uint64_t>();
  fail("expected a whole number from 0 to " + std::to_string(most));
  return 0;
}

char32_t JsonFields::character() const {
  const std::string text = json_->is_string() ? json_->get<std::string>() : std::string();
  if (!text.empty() && character_at(text, 0).size == text.size()) return character_at(text, 0).value;
  fail("expected a text of one character");
  return U'?';
}

std::size_t JsonFields::items(std::size_t most) const {
  if (json_->is_array() && json_->size() <= most) return json_->size();
  fail(json_->is_array() ? "more than " + std::to_string(most) + " items" : "expected a list");
  return 0;
}

std::string JsonFields::text_or(const std::string& key, std::string otherwise) const {
  return has(key) ? (*this)[key].text() : otherwise;
}

bool JsonFields::flag_or(const std::string& key, bool otherwise) const {
  return has(key) ? (*this)[key].flag() : otherwise;
}

Result<nlohmann::json> parse_json(std::string_view text, const std::string& file) {
  if (text.size() > kMostBytes) return Error{file + " is larger than 256 MiB"};
  if (nested_deeper(text, kMostDepth)) return Error{file + " is nested deeper than 64 levels"};
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    const auto* syntax = dynamic_cast<const nlohmann::json::parse_error*>(&error);
    return Error{file + " is not JSON" +
                 (syntax ? ": something is wrong at byte " + std::to_string(syntax->byte) : std::string())};
  }
}

}  // namespace orch::tokenizer
