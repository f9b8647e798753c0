#include "eval/documents.h"

#include <sstream>

#include "base/diagnostics.h"
#include "base/text.h"
#include "base/yaml.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostBytes = std::size_t{4} << 30;
constexpr int kMostDepth = 64;

/// The JSON of one line, or nothing when it is no JSON, or nested deeper than anything that is data.
std::optional<Document> parse_line(std::string_view line) {
  const auto bounded = [](int depth, nlohmann::detail::parse_event_t, Document&) {
    if (depth > kMostDepth) throw std::length_error("too deep");
    return true;
  };
  try {
    Document document = Document::parse(line, bounded, false);
    if (document.is_discarded()) return std::nullopt;
    return document;
  } catch (const std::length_error&) {
    return std::nullopt;
  }
}

}  // namespace

Result<std::vector<Document>> parse_documents(std::string_view text, const std::string& name) {
  std::vector<Document> documents;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const std::string place = name + ":" + std::to_string(number) + ": ";
    auto document = parse_line(line);
    if (!document) return Error{place + "expected one JSON object in this line, found " + quote(line)};
    if (!document->is_object()) return Error{place + "expected an object, found a JSON " + document->type_name()};
    if (documents.size() == kMostDocuments) return Error{place + "more than 10,000,000 documents"};
    documents.push_back(std::move(*document));
  }
  return documents;
}

Result<std::vector<Document>> load_documents(const std::filesystem::path& file) {
  Diagnostics diagnostics;
  const auto text = read_file(file, kMostBytes, diagnostics);
  if (!text) {
    std::ostringstream why;
    diagnostics.print(why);
    return Error{std::string(trim(why.str()))};
  }
  return parse_documents(*text, file.string());
}

}  // namespace orch::eval
