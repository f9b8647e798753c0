// Conversations as the recorded cases have them, and what became of them.
#pragma once

#include <chrono>

#include "model/chat/chat_template.h"

namespace orch::model::recordings {

/// The time that strftime_now() has in all recordings: Sunday, 26 July 2026, 09:05:03.
inline tmpl::Now recorded_now() {
  using namespace std::chrono;
  return local_seconds{local_days{2026y / July / 26} + 9h + 5min + 3s};
}

inline Chat chat_of(const nlohmann::ordered_json& json) {
  Chat chat;
  chat.messages = json.at("messages");
  chat.tools = json.value("tools", nlohmann::ordered_json());
  chat.documents = json.value("documents", nlohmann::ordered_json());
  chat.variables = json.value("variables", nlohmann::ordered_json::object());
  chat.continue_final_message = json.value("continue_final_message", false);
  chat.add_generation_prompt = json.value("add_generation_prompt", false);
  chat.now = recorded_now();
  return chat;
}

}  // namespace orch::model::recordings
