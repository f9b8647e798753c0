#include "eval/doc_text.h"

#include <algorithm>
#include <charconv>

#include "base/template/characters.h"
#include "base/template/value.h"
#include "base/template/value_text.h"
#include "base/text.h"
#include "eval/python_literal.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostText = std::size_t{4} << 20;  // bytes of one text
constexpr std::size_t kMostSteps = 1'000'000;
constexpr std::size_t kMostPrinted = std::size_t{1} << 20;

tmpl::Options options() {
  tmpl::Options options;  // as lm-evaluation-harness sets Jinja up
  options.keep_trailing_newline = true;
  options.most_output = kMostText;
  options.most_steps = kMostSteps;
  return options;
}

std::string found(const Json& value) { return "found a JSON " + std::string(value.type_name()); }

}  // namespace

DocText DocText::constant(Json value) {
  DocText text;
  text.constant_ = std::move(value);
  return text;
}

Result<DocText, tmpl::TemplateError> DocText::parse(const std::string& text, const std::string& file) {
  auto parsed = tmpl::Template::parse(text, file, options());
  if (!parsed) return parsed.error();
  DocText made;
  made.source_ = text;
  made.template_ = std::make_shared<const tmpl::Template>(std::move(*parsed));
  return made;
}

Result<Json> DocText::value(const Document& document) const {
  if (!template_) return constant_;
  if (const auto field = document.find(source_); field != document.end()) return *field;
  auto rendered = template_->render(document);
  if (!rendered) {
    const tmpl::TemplateError& error = rendered.error();
    return Error{"the template " + quote(source_) + " cannot be filled in (line " + std::to_string(error.line) +
                 " of it): " + error.what};
  }
  return Json(std::move(*rendered));
}

Result<std::string> DocText::text(const Document& document) const {
  auto made = value(document);
  if (!made) return made.error();
  if (!made->is_string()) return Error{quote(source_) + " must give a text, " + found(*made)};
  return made->get<std::string>();
}

Result<std::vector<std::string>> DocText::texts(const Document& document) const {
  auto made = value(document);
  if (!made) return made.error();
  if (made->is_string()) {
    auto literal = python_literal(made->get_ref<const std::string&>());
    if (!literal) return Error{quote(source_) + " must give a list, found the text " + quote(made->get<std::string>())};
    *made = std::move(*literal);
  }
  if (!made->is_array()) return Error{quote(source_) + " must give a list, " + found(*made)};
  std::vector<std::string> texts;
  for (const Json& item : *made) {
    if (!item.is_string()) return Error{quote(source_) + " must give a list of texts, in it was " + found(item)};
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<Json> DocText::target(const Document& document, bool has_choices) const {
  auto made = value(document);
  if (!made) return made.error();
  if (made->is_boolean()) return Json(made->get<bool>() ? 1 : 0);
  // What stands in a field is taken as it is; only what a template printed is read.
  if (!made->is_string() || !template_ || document.contains(source_)) return made;
  const std::string& text = made->get_ref<const std::string&>();
  if (has_choices && !text.empty() && std::ranges::all_of(text, tmpl::is_digit)) {
    int index = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), index);
    if (read.ec == std::errc()) return Json(index);
  }
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    if (auto literal = python_literal(text)) return *literal;
  return made;
}

std::string printed(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  try {
    std::size_t steps = kMostPrinted;
    return tmpl::to_text(tmpl::from_json(value, steps), kMostPrinted);
  } catch (const tmpl::Fault& fault) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

}  // namespace orch::eval
