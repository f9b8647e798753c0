#include "model/chat/final_message.h"

#include <algorithm>

#include "base/template/text_methods.h"

namespace orch::model {
namespace {

using nlohmann::ordered_json;

/// With a blank at its end, by which it is seen whether the template strips what it prints.
constexpr std::string_view kMark = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kMarkStripped = kMark.substr(0, kMark.size() - 1);

std::string append_mark(ordered_json& text) {
  std::string before = text.get<std::string>();
  text = before + std::string(kMark);
  return before;
}

}  // namespace

Result<std::string> mark_final_message(ordered_json& messages, std::string_view template_text) {
  if (messages.empty()) return Error{"there is no last message to go on with: the conversation is empty"};
  ordered_json& message = messages.back();
  const auto content = message.find("content");
  if (content == message.end() || content->is_null())
    return Error{"there is nothing to go on with: the last message has no content"};
  if (template_text.find("content") == std::string_view::npos)
    return Error{"the last message cannot be gone on with: the chat template reads no 'content'"};
  if (content->is_string()) return append_mark(*content);
  if (content->is_array())
    for (auto part = content->rbegin(); part != content->rend(); ++part)
      if (part->is_object() && part->contains("text") && part->at("text").is_string())
        return append_mark(part->at("text"));
  return Error{"there is nothing to go on with: the last message has no text"};
}

Result<bool> cut_at_mark(tmpl::Rendered& rendered, const std::string& final_text) {
  std::string& text = rendered.text;
  const std::size_t mark = text.rfind(kMarkStripped);
  if (mark == std::string::npos || text.find(tmpl::stripped(final_text, {}, true, true)) == std::string::npos)
    return Error{
        "the last message cannot be gone on with: the chat template does not print it as it is, but leaves parts of it "
        "out"};
  const bool is_stripped = std::string_view(text).substr(mark, kMark.size()) != kMark;
  text.resize(mark);
  // A template that strips the message strips what stood before the mark, too.
  if (is_stripped) text = tmpl::stripped(text, {}, false, true);
  for (tmpl::Span& span : rendered.generated) {
    span.from = std::min(span.from, text.size());
    span.to = std::min(span.to, text.size());
  }
  return true;
}

}  // namespace orch::model
