// How a text is made of a document: a constant, one of its fields, or a template over its fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/template/template.h"
#include "eval/documents.h"

namespace orch::eval {

using Json = nlohmann::ordered_json;

class DocText {
 public:
  /// The same whatever the document.
  static DocText constant(Json value);
  /// A template. Of a document that has a field of exactly this name, the field's value: both as in
  /// lm-evaluation-harness.
  static Result<DocText, tmpl::TemplateError> parse(const std::string& text, const std::string& file);

  /// A field's value as it is, else a text.
  Result<Json> value(const Document& document) const;
  /// A text, or an error that says what was found in its place.
  Result<std::string> text(const Document& document) const;
  /// A list of texts: a field's, or the text read as a Python literal.
  Result<std::vector<std::string>> texts(const Document& document) const;
  /// As `value`, where a text of digits alone is that number: which of the choices. A text in brackets is read as a
  /// list.
  Result<Json> target(const Document& document, bool has_choices) const;

 private:
  Json constant_;
  std::string source_;
  std::shared_ptr<const tmpl::Template> template_;
};

/// A value as Python's str() prints it.
std::string printed(const Json& value);

}  // namespace orch::eval
