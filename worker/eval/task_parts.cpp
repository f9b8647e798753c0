#include "eval/task_parts.h"

#include "base/text.h"

namespace orch::eval {
namespace {

constexpr int kMostDepth = 16;
constexpr std::size_t kMostExamples = 10'000;

}  // namespace

std::optional<Json> read_constant(const Yaml& node, int depth) {
  if (depth > kMostDepth) return std::nullopt;
  switch (node.kind) {
    case Yaml::Kind::kNull:
      return Json(nullptr);
    case Yaml::Kind::kScalar:
      if (node.plain) {
        if (const auto whole = node.integer()) return Json(static_cast<std::int64_t>(*whole));
        if (const auto number = node.number()) return Json(*number);
        if (const auto truth = node.truth()) return Json(*truth);
      }
      return Json(node.text);
    case Yaml::Kind::kList: {
      Json list = Json::array();
      for (const Yaml& item : node.items) {
        auto value = read_constant(item, depth + 1);
        if (!value) return std::nullopt;
        list.push_back(std::move(*value));
      }
      return list;
    }
    case Yaml::Kind::kMap: {
      Json map = Json::object();
      for (const Yaml::Entry& entry : node.entries) {
        auto value = read_constant(entry.value, depth + 1);
        if (!value) return std::nullopt;
        map[entry.key] = std::move(*value);
      }
      return map;
    }
  }
  return std::nullopt;
}

std::optional<DocText> read_doc_text(Fields& fields, std::string_view key, const std::string& file,
                                     Diagnostics& diagnostics) {
  const Yaml* node = fields.get(key);
  if (!node) return std::nullopt;
  if (!node->is_scalar()) {
    fields.error(key, quote(key) + " must be a template, the name of a field or a number; found " + describe(*node));
    return std::nullopt;
  }
  if (node->plain)
    if (const auto whole = node->integer()) return DocText::constant(static_cast<std::int64_t>(*whole));
  auto parsed = DocText::parse(node->text, file);
  if (parsed) return std::move(*parsed);
  diagnostics.error(place_of(*node, file),
                    "the template " + quote(key) + " cannot be read (line " + std::to_string(parsed.error().line) +
                        ", column " + std::to_string(parsed.error().column) + " of it): " + parsed.error().what);
  return std::nullopt;
}

std::optional<DocText> read_choices(Fields& fields, std::string_view key, const std::string& file,
                                    Diagnostics& diagnostics) {
  const Yaml* node = fields.get(key);
  if (!node || !node->is_list()) return read_doc_text(fields, key, file, diagnostics);
  Json texts = Json::array();
  for (const Yaml& item : node->items) {
    if (item.is_scalar())
      texts.push_back(item.text);
    else
      diagnostics.error(place_of(item, file), quote(key) + " must be a list of texts, found " + describe(item));
  }
  if (texts.empty()) fields.error(key, quote(key) + " is an empty list");
  return DocText::constant(std::move(texts));
}

std::optional<Pattern> read_pattern(Fields& fields, std::string_view key, Diagnostics& diagnostics) {
  const auto text = fields.text(key);
  if (!text) return std::nullopt;
  auto pattern = Pattern::compile(*text);
  if (pattern) return std::move(*pattern);
  diagnostics.error(fields.place(key), pattern.error().what);
  return std::nullopt;
}

std::vector<Pattern> read_patterns(Fields& fields, std::string_view key, Diagnostics& diagnostics) {
  std::vector<Pattern> patterns;
  for (const std::string& text : fields.texts(key).value_or(std::vector<std::string>{})) {
    auto pattern = Pattern::compile(text);
    if (pattern)
      patterns.push_back(std::move(*pattern));
    else
      diagnostics.error(fields.place(key), pattern.error().what);
  }
  return patterns;
}

std::vector<Document> read_examples(const Yaml& list, const std::string& file, Diagnostics& diagnostics) {
  std::vector<Document> examples;
  if (list.items.size() > kMostExamples) {
    diagnostics.error(place_of(list, file), "more than 10,000 worked examples");
    return examples;
  }
  for (const Yaml& item : list.items) {
    auto value = item.is_map() ? read_constant(item) : std::nullopt;
    if (value)
      examples.push_back(std::move(*value));
    else
      diagnostics.error(place_of(item, file), "a worked example must be a map of fields, found " + describe(item));
  }
  return examples;
}

}  // namespace orch::eval
