// render_chats < jobs > answers: what scripts/check-chat-templates compares with Jinja2.
//
// A job a line: {"template": text, "tokens": {…}, "chats": [a conversation each]}, or, instead of chats, "values": a
// map to render an expression with. An answer a line: a list of {"text", "generated"} or {"error"}.
#include <iostream>
#include <string>

#include "chat_json.h"

namespace {

using nlohmann::ordered_json;
using namespace orch;

ordered_json answer_of(const tmpl::Rendered& rendered) {
  ordered_json spans = ordered_json::array();
  for (const tmpl::Span& span : rendered.generated) spans.push_back({span.from, span.to});
  return {{"text", rendered.text}, {"generated", spans}};
}

ordered_json answers_to(const ordered_json& job) {
  const std::string text = job.at("template").get<std::string>();
  ordered_json answers = ordered_json::array();
  if (job.contains("values")) {
    const auto parsed = tmpl::Template::parse(text, "template", tmpl::chat_options());
    if (!parsed) return ordered_json::array({{{"error", parsed.error().what}}});
    const auto rendered = parsed->render_marked(job.at("values"), model::recordings::recorded_now());
    answers.push_back(rendered ? answer_of(*rendered) : ordered_json{{"error", rendered.error().what}});
    return answers;
  }
  const auto parsed = model::ChatTemplate::parse(text, "template", job.value("tokens", ordered_json::object()));
  for (const auto& chat : job.at("chats")) {
    if (!parsed) {
      answers.push_back({{"error", parsed.error().what}});
      continue;
    }
    const auto rendered = parsed->render(model::recordings::chat_of(chat));
    answers.push_back(rendered ? answer_of(*rendered) : ordered_json{{"error", rendered.error().what}});
  }
  return answers;
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answers_to(ordered_json::parse(line)).dump(-1, ' ', false, ordered_json::error_handler_t::replace)
              << "\n";
  return 0;
}
