#include <sstream>

#include "base/text.h"
#include "promise.h"
#include "targets.h"
#include "train/rows.h"
#include "train/strict_json.h"

namespace orch::fuzz {
namespace {

using namespace train;

void check_text(const std::string& text) {
  promise(is_utf8(text) && !trim(text).empty(), "a text is UTF-8 and not empty");
}

void check_json(const std::string& text, bool is_list) {
  const auto json = parse_strict(text, {});
  promise(json.ok() && (is_list ? json->is_array() : json->is_object()), "what is kept as JSON is JSON");
}

void check_messages(const Messages& messages) {
  for (const Message& message : messages) {
    promise(message.role == "system" || message.role == "developer" || message.role == "user" ||
                message.role == "assistant" || message.role == "tool",
            "roles are known");
    promise(is_utf8(message.content), "contents are UTF-8");
    if (!message.more.empty()) check_json(message.more, false);
  }
}

void check_prompt(const Said& prompt) {
  if (!prompt.is_chat()) return check_text(prompt.text);
  promise(prompt.text.empty(), "a chat has no text");
  promise(prompt.messages.back().role != "assistant", "a prompt waits for the assistant");
  check_messages(prompt.messages);
}

void check_completion(const Said& completion, const Said& prompt) {
  promise(completion.is_chat() == prompt.is_chat(), "prompt and completion are of one form");
  if (!completion.is_chat()) return check_text(completion.text);
  promise(completion.messages.front().role == "assistant" && completion.messages.back().role == "assistant",
          "a completion is the assistant's");
  check_messages(completion.messages);
}

void check_row(const Row& row) {
  promise(row.line > 0, "a row has a line");
  if (!row.tools.empty()) check_json(row.tools, true);
  if (const auto* it = std::get_if<Text>(&row.what)) {
    check_text(it->text);
  } else if (const auto* talk = std::get_if<Conversation>(&row.what)) {
    promise(talk->messages.size() >= 2 && talk->messages.back().role == "assistant", "the assistant has the last word");
    check_messages(talk->messages);
  } else if (const auto* plain = std::get_if<Completion>(&row.what)) {
    check_prompt(plain->prompt);
    check_completion(plain->completion, plain->prompt);
  } else if (const auto* task = std::get_if<Instruction>(&row.what)) {
    check_text(task->instruction);
    check_text(task->output);
    promise(is_utf8(task->input), "an input is UTF-8");
  } else if (const auto* pair = std::get_if<Preference>(&row.what)) {
    check_prompt(pair->prompt);
    check_completion(pair->chosen, pair->prompt);
    check_completion(pair->rejected, pair->prompt);
    promise(!(pair->chosen == pair->rejected), "what is preferred differs");
  } else {
    const auto& prompt = std::get<Prompt>(row.what);
    check_prompt(prompt.prompt);
    check_json(prompt.other, false);
  }
}

}  // namespace

void rows_target(std::string_view bytes) {
  for (const RowKind kind : {RowKind::kText, RowKind::kInstruction, RowKind::kPreference, RowKind::kPrompt}) {
    std::istringstream file{std::string(bytes)};
    Diagnostics diagnostics;
    std::size_t rows = 0;
    int last = 0;
    read_rows(file, "input.jsonl", kind, diagnostics, [&](const Row& row) {
      ++rows;
      promise(row.line >= last, "rows come in the file's order");
      last = row.line;
      check_row(row);
    });
    check_messages(diagnostics);
    promise(rows > 0 || !diagnostics.ok(), "there are rows, or an error");
  }
}

}  // namespace orch::fuzz
