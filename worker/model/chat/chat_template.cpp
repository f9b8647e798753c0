#include "model/chat/chat_template.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <optional>
#include <utility>

#include "base/template/text_methods.h"
#include "base/text.h"
#include "base/units.h"
#include "model/chat/final_message.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::size_t kMostFile = std::size_t{64} << 20;     // bytes of a JSON file
constexpr std::size_t kMostTemplate = std::size_t{1} << 20;  // bytes; real ones have 30,000 at most
constexpr std::size_t kMostTemplates = 100;
constexpr int kMostDepth = 100;  // of the values of a conversation

constexpr std::array<std::string_view, 7> kTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                     "pad_token", "cls_token", "mask_token"};

/// Nothing where there is no such file.
Result<std::optional<std::string>> read_file(const fs::path& path, std::size_t most) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<std::string>();
  const auto size = fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
  if (error || !fs::is_regular_file(path, error)) return Error{path.string() + " cannot be read"};
  if (size > most) return Error{path.string() + " is longer than " + format_bytes(static_cast<double>(most))};
  std::ifstream file(path, std::ios::binary);
  std::string text(size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (static_cast<std::uintmax_t>(file.gcount()) != size) return Error{path.string() + " cannot be read"};
  return std::optional<std::string>(std::move(text));
}

/// Null where there is no such file.
Result<ordered_json> read_json(const fs::path& path) {
  const auto text = read_file(path, kMostFile);
  if (!text) return text.error();
  if (!*text) return ordered_json();
  ordered_json json = ordered_json::parse(**text, nullptr, false);
  if (json.is_discarded()) return Error{path.string() + " is not JSON"};
  if (!json.is_object()) return Error{path.string() + " is not a map"};
  return json;
}

/// A token's text: written out, or as the `content` of a map.
const std::string* token_in(const ordered_json& file, std::string_view name) {
  if (!file.is_object()) return nullptr;
  const auto found = file.find(name);
  if (found == file.end()) return nullptr;
  if (found->is_string()) return found->get_ptr<const std::string*>();
  const auto content = found->is_object() ? found->find("content") : found->end();
  return found->is_object() && content != found->end() ? content->get_ptr<const std::string*>() : nullptr;
}

bool is_deep(const ordered_json& json, int left) {
  if (!json.is_structured()) return false;
  return left == 0 ||
         std::any_of(json.begin(), json.end(), [left](const auto& held) { return is_deep(held, left - 1); });
}

Result<bool> check_list_of_maps(const ordered_json& list, std::string_view what) {
  if (!list.is_array()) return Error{std::string(what) + " are a list, not " + list.type_name()};
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!list[i].is_object())
      return Error{std::string(what) + ": number " + std::to_string(i + 1) + " is " + list[i].type_name() +
                   ", not a map"};
  return true;
}

Result<bool> check(const Chat& chat) {
  for (const ordered_json* part : {&chat.messages, &chat.tools, &chat.documents, &chat.variables})
    if (is_deep(*part, kMostDepth))
      return Error{"the conversation holds values nested more than " + std::to_string(kMostDepth) + " deep"};
  if (const auto good = check_list_of_maps(chat.messages, "messages"); !good) return good.error();
  if (!chat.tools.is_null())
    if (const auto good = check_list_of_maps(chat.tools, "tools"); !good) return good.error();
  if (!chat.documents.is_null())
    if (const auto good = check_list_of_maps(chat.documents, "documents"); !good) return good.error();
  if (!chat.variables.is_object()) return Error{"the variables of a conversation are a map"};
  return true;
}

/// What was thought goes by several names; templates find it under `reasoning_content` and `thinking` whichever a
/// message has, as in transformers 5.
void name_reasoning(ordered_json& message) {
  static constexpr std::array<const char*, 3> kNames = {"reasoning_content", "thinking", "reasoning"};
  for (const char* name : kNames) {
    const auto found = message.find(name);
    if (found == message.end() || found->is_null()) continue;
    const ordered_json reasoning = *found;
    ordered_json named = {{"thinking", reasoning}};
    named.update(message);
    named["reasoning_content"] = reasoning;
    message = std::move(named);
    return;
  }
}

std::string told(const tmpl::TemplateError& error) {
  return error.file + ":" + (error.line ? std::to_string(error.line) + ":" + std::to_string(error.column) + ":" : "") +
         " " + error.what;
}

}  // namespace

Result<bool> ChatTemplate::add(const std::string& name, std::string text, std::string file) {
  if (text.size() > kMostTemplate)
    return Error{file + ": a chat template of more than " + format_bytes(static_cast<double>(kMostTemplate))};
  if (templates_.size() == kMostTemplates) return Error{file + ": more than 100 chat templates"};
  if (!is_utf8(text)) return Error{file + ": the chat template is not UTF-8"};
  auto parsed = tmpl::Template::parse(text, std::move(file), tmpl::chat_options());
  if (!parsed) return Error{told(parsed.error())};
  templates_.insert_or_assign(name, Named{std::move(text), *std::move(parsed)});
  return true;
}

Result<ChatTemplate> ChatTemplate::parse(std::string_view text, std::string file, ordered_json tokens) {
  ChatTemplate made;
  made.tokens_ = std::move(tokens);
  if (const auto added = made.add("default", std::string(text), std::move(file)); !added) return added.error();
  return made;
}

Result<std::optional<ChatTemplate>> ChatTemplate::find(const fs::path& folder) {
  ChatTemplate made;
  const auto config = read_json(folder / "tokenizer_config.json");
  if (!config) return config.error();
  const auto map = read_json(folder / "special_tokens_map.json");
  if (!map) return map.error();
  for (const std::string_view name : kTokens) {
    const std::string* token = token_in(*config, name);
    if (!token) token = token_in(*map, name);
    if (token) made.tokens_[std::string(name)] = *token;
  }

  const fs::path alone = folder / "chat_template.jinja";
  const auto text = read_file(alone, kMostTemplate);
  if (!text) return text.error();
  if (*text) {
    if (const auto added = made.add("default", **text, alone.filename()); !added) return added.error();
    std::vector<fs::path> more;
    std::error_code error;
    for (fs::directory_iterator entry(folder / "additional_chat_templates", error), end; !error && entry != end;
         entry.increment(error))
      if (entry->path().extension() == ".jinja") more.push_back(entry->path());
    std::sort(more.begin(), more.end());
    for (const fs::path& path : more) {
      auto other = read_file(path, kMostTemplate);
      if (!other) return other.error();
      if (const auto added = made.add(path.stem(), other->value_or(""), path.filename()); !added) return added.error();
    }
    return std::optional(std::move(made));
  }

  const auto processor = read_json(folder / "chat_template.json");
  if (!processor) return processor.error();
  for (const auto& [file, name] :
       {std::pair(&*config, "tokenizer_config.json"), std::pair(&*processor, "chat_template.json")}) {
    if (!file->is_object() || !file->contains("chat_template")) continue;
    const ordered_json& held = file->at("chat_template");
    if (held.is_null()) continue;
    if (held.is_string()) {
      if (const auto added = made.add("default", held.get<std::string>(), name); !added) return added.error();
      return std::optional(std::move(made));
    }
    if (!held.is_array()) return Error{std::string(name) + ": chat_template is a text or a list of named texts"};
    for (const ordered_json& one : held) {
      const auto part = [&](const char* key) -> const std::string* {
        if (!one.is_object() || !one.contains(key)) return nullptr;
        return one.at(key).get_ptr<const std::string*>();
      };
      if (!part("name") || !part("template"))
        return Error{std::string(name) + ": each entry of the list chat_template has a name and a template"};
      if (const auto added =
              made.add(*part("name"), *part("template"), std::string(name) + " (" + shown(*part("name")) + ")");
          !added)
        return added.error();
    }
    if (made.templates_.empty()) return Error{std::string(name) + ": the list chat_template is empty"};
    return std::optional(std::move(made));
  }
  return std::optional<ChatTemplate>();
}

Result<ChatTemplate> ChatTemplate::open(const fs::path& folder) {
  auto found = find(folder);
  if (!found) return found.error();
  if (*found) return **std::move(found);
  return Error{folder.string() +
               " has no chat template: no chat_template.jinja, and no chat_template in tokenizer_config.json or "
               "chat_template.json; a model that is not tuned for conversations has none"};
}

std::vector<std::string> ChatTemplate::names() const {
  std::vector<std::string> names;
  for (const auto& [name, held] : templates_) names.push_back(name);
  return names;
}

Result<const ChatTemplate::Named*> ChatTemplate::chosen(const Chat& chat) const {
  const auto named = [&](const std::string& name) -> const Named* {
    const auto found = templates_.find(name);
    return found == templates_.end() ? nullptr : &found->second;
  };
  if (!chat.name.empty()) {
    if (const Named* found = named(chat.name)) return found;
    return Error{"the model has no chat template " + quote(chat.name) + hint(chat.name, names())};
  }
  if (!chat.tools.is_null())
    if (const Named* found = named("tool_use")) return found;
  if (const Named* found = named("default")) return found;
  return Error{"the model has several chat templates and none is called 'default': " + join(names(), ", ")};
}

Result<tmpl::Rendered> ChatTemplate::render(const Chat& chat) const {
  if (const auto good = check(chat); !good) return good.error();
  const auto used = chosen(chat);
  if (!used) return used.error();

  ordered_json values = tokens_;
  values.update(chat.variables);
  ordered_json messages = chat.messages;
  for (ordered_json& message : messages) name_reasoning(message);
  values["tools"] = chat.tools;
  values["documents"] = chat.documents;
  values["add_generation_prompt"] = chat.add_generation_prompt;

  std::string final_text;
  if (chat.continue_final_message) {
    if (chat.add_generation_prompt)
      return Error{"a conversation cannot both go on with its last message and begin another"};
    auto marked = mark_final_message(messages, (*used)->text);
    if (!marked) return marked.error();
    final_text = *std::move(marked);
  }
  values["messages"] = std::move(messages);
  auto rendered = (*used)->parsed.render_marked(values, chat.now);
  if (!rendered) return Error{told(rendered.error())};
  if (chat.continue_final_message)
    if (const auto cut = cut_at_mark(*rendered, final_text); !cut) return cut.error();
  return *std::move(rendered);
}

}  // namespace orch::model
