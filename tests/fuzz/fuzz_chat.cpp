#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/template/template.h"
#include "model/chat/chat_template.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostOutput = 1 << 16;
constexpr std::string_view kMark = "\n---8<---\n";

/// A conversation with all that templates look for.
const ordered_json& values() {
  static const ordered_json kValues = ordered_json::parse(R"j({
    "messages": [{"role": "system", "content": "s <&> 'q' \"d\""},
                 {"role": "user", "content": [{"type": "text", "text": "u é 你"}, {"type": "image"}]},
                 {"role": "assistant", "content": "<think>\nx\n</think>\n\ny", "reasoning_content": "r",
                  "tool_calls": [{"id": "abcdefghi", "function": {"name": "f", "arguments": {"a": 1, "b": [1.5, null]}}}]},
                 {"role": "tool", "content": "21", "tool_call_id": "abcdefghi"}, {"role": "user", "content": ""}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
                 "a": {"type": ["integer", "null"]}, "b": {"type": "array", "items": {"type": "number"}}}}}}],
    "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "enable_thinking": false})j");
  return kValues;
}

void check(const tmpl::Rendered& rendered) {
  for (const tmpl::Span& span : rendered.generated)
    promise(span.from <= span.to, "a span ends where it begins or later");
}

void render_template(std::string_view text) {
  tmpl::Options options = tmpl::chat_options();
  options.most_output = kMostOutput;
  options.most_steps = 20'000;
  const auto parsed = tmpl::Template::parse(text, "chat_template.jinja", options);
  if (!parsed) {
    promise(!parsed.error().what.empty() && parsed.error().line >= 0, "an error says what and where");
    return;
  }
  const tmpl::Now now = std::chrono::local_seconds{std::chrono::seconds{1'785'056'703}};
  const auto first = parsed->render_marked(values(), now);
  const auto second = parsed->render_marked(values(), now);
  promise(first.ok() == second.ok(), "the same values end alike");
  if (!first) {
    promise(!first.error().what.empty(), "an error says what");
    return;
  }
  promise(first->text.size() <= kMostOutput, "output is bounded");
  promise(first->text == second->text && first->generated == second->generated, "the same values give the same text");
  check(*first);
}

/// Any conversation, in a template that prints and marks all that a message holds.
void render_conversation(std::string_view bytes) {
  static const auto kTemplate = model::ChatTemplate::parse(
      "{% for m in messages %}{{ m.role }}{% generation %}{{ m.content }}{{ m|tojson }}{% endgeneration %}{% endfor %}"
      "{{ tools|tojson }}",
      "all.jinja");
  model::Chat chat;
  chat.messages = ordered_json::parse(bytes, nullptr, false);
  if (chat.messages.is_discarded()) return;
  for (const bool goes_on : {false, true}) {
    chat.continue_final_message = goes_on;
    const auto rendered = kTemplate->render(chat);
    if (rendered)
      check(*rendered);
    else
      promise(!rendered.error().what.empty(), "an error says what");
  }
}

}  // namespace

void chat_target(std::string_view bytes) {
  const std::size_t mark = bytes.find(kMark);
  render_template(bytes.substr(0, mark));
  if (mark != std::string_view::npos) render_conversation(bytes.substr(mark + kMark.size()));
}

}  // namespace orch::fuzz
