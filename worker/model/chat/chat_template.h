// How a model's conversations are written as text: the template in its folder, rendered as transformers renders it.
//
// Holds:
//  - A template comes from a stranger. It is rendered within limits of time, memory, depth and output, sees nothing
//    but what it is given here, and changes nothing.
//  - The same conversation gives the same text: without `now` the function strftime_now is not defined, and templates
//    that ask whether it is take the date they have themselves.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/template/template.h"

namespace orch::model {

/// One conversation, and what a template may ask about it.
struct Chat {
  /// Maps with `role` and `content`, a text or a list of parts such as {"type": "text", "text": …}.
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;      ///< a list of JSON schemas, or null
  nlohmann::ordered_json documents;  ///< a list of maps with `title` and `text`, or null
  bool add_generation_prompt = false;
  /// The text ends where the last message's content ends, for a model to go on with it.
  bool continue_final_message = false;
  /// What else the template may see, such as `enable_thinking`; goes before the tokens of the tokenizer.
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  tmpl::Now now;
  std::string
      name;  ///< of one of several templates; empty: `tool_use` if there are tools and it is there, else `default`
};

class ChatTemplate {
 public:
  /// Of chat_template.jinja and additional_chat_templates/, or of tokenizer_config.json, or of chat_template.json; the
  /// tokens of tokenizer_config.json and special_tokens_map.json go with it.
  static Result<ChatTemplate> open(const std::filesystem::path& folder);
  /// As open(); nothing where the folder has no template at all, which is no error.
  static Result<std::optional<ChatTemplate>> find(const std::filesystem::path& folder);

  /// One template, in errors called `file`, with `tokens` such as bos_token as variables.
  static Result<ChatTemplate> parse(std::string_view text, std::string file,
                                    nlohmann::ordered_json tokens = nlohmann::ordered_json::object());

  /// The text, and which of its bytes are the assistant's where the template says so with {% generation %}. What the
  /// template itself raises is an error too: `chat_template.jinja:3:7: Conversation roles must alternate`.
  Result<tmpl::Rendered> render(const Chat& chat) const;

  /// Of the templates: `default` when there is one alone.
  std::vector<std::string> names() const;

 private:
  struct Named {
    std::string text;
    tmpl::Template parsed;
  };

  ChatTemplate() = default;
  Result<bool> add(const std::string& name, std::string text, std::string file);
  Result<const Named*> chosen(const Chat& chat) const;

  std::map<std::string, Named> templates_;
  nlohmann::ordered_json tokens_ = nlohmann::ordered_json::object();
};

}  // namespace orch::model
