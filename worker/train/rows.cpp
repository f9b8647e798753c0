#include "train/rows.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"
#include "train/records.h"
#include "train/strict_json.h"

namespace orch::train {
namespace {

using nlohmann::ordered_json;

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
/// What other formats call them.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kOtherRoles = {
    {{"human", "user"}, {"gpt", "assistant"}, {"model", "assistant"}, {"bot", "assistant"}, {"function", "tool"}}};

bool is_blank(std::string_view text) { return trim(text).empty(); }

std::string described(const ordered_json& value) {
  switch (value.type()) {
    case ordered_json::value_t::string:
      return "a text";
    case ordered_json::value_t::object:
      return "an object";
    case ordered_json::value_t::array:
      return "a list";
    case ordered_json::value_t::boolean:
      return "a truth value";
    case ordered_json::value_t::null:
      return "null";
    default:
      return "a number";
  }
}

/// A JSON object as text, made of fields one behind the other. nlohmann's ordered object would compare each key with
/// all before it.
class ObjectText {
 public:
  void add(const std::string& key, const ordered_json& value) {
    text_ += text_.empty() ? "{" : ",";
    text_ += ordered_json(key).dump() + ":" + value.dump();
  }
  bool is_empty() const { return text_.empty(); }
  std::string text() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

/// Whether there are messages in it.
bool is_chat(const Row& row) {
  if (const auto* it = std::get_if<Completion>(&row.what)) return it->prompt.is_chat();
  if (const auto* it = std::get_if<Preference>(&row.what)) return it->prompt.is_chat();
  if (const auto* it = std::get_if<Prompt>(&row.what)) return it->prompt.is_chat();
  return std::holds_alternative<Conversation>(row.what);
}

/// One row while it is read: its fields, and what is wrong with them.
class Reader {
 public:
  Reader(const ordered_json& row, RowKind kind, const Place& place, Diagnostics& diagnostics)
      : row_(row), kind_(kind), place_(place), diagnostics_(diagnostics) {}

  std::optional<Row> read() {
    Row row;
    row.line = place_.line;
    switch (kind_) {
      case RowKind::kText:
        row.what = Text{text("text")};
        break;
      case RowKind::kInstruction:
        read_instruction(row);
        break;
      case RowKind::kPreference:
        row.what = preference();
        break;
      case RowKind::kPrompt:
        row.what = prompt();
        break;
    }
    if (is_chat(row)) row.tools = tools();
    if (!good_) return std::nullopt;
    return row;
  }

 private:
  std::string tools() {
    const ordered_json* value = field("tools");
    if (!value) return {};
    const auto is_object = [](const ordered_json& tool) { return tool.is_object(); };
    if (value->is_array() && std::all_of(value->begin(), value->end(), is_object))
      return value->empty() ? std::string() : value->dump();
    error("'tools': expected a list of objects");
    return {};
  }

  void error(const std::string& what) {
    good_ = false;
    diagnostics_.error(place_, what);
  }

  const ordered_json* field(const std::string& name) const {
    const auto at = row_.find(name);
    return at == row_.end() || at->is_null() ? nullptr : &*at;
  }
  bool has(std::initializer_list<const char*> names) const {
    return std::all_of(names.begin(), names.end(), [this](const char* name) { return field(name) != nullptr; });
  }

  void missing(const std::string& name, const std::string& expected) {
    std::vector<std::string> there;
    for (const auto& [key, value] : row_.items())
      if (there.size() < 20 && !value.is_null() && key.size() < 64) there.push_back(key);
    std::string what = "no field '" + name + "', " + expected + hint(name, there);
    what += what.back() == '?' ? " " : "; ";
    if (const auto other = other_kind(); !other.empty()) {
      what += other;
    } else {
      for (std::string& key : there) key = quote(key);
      what += there.empty() ? "the row is empty" : "the row has " + join(there, ", ");
    }
    error(what);
  }

  /// What the fields that are there would be right for.
  std::string other_kind() const {
    if (has({"conversations"}))
      return "'conversations' of 'from' and 'value' are 'messages' of 'role' and 'content' here";
    const auto looks = [this](RowKind kind) {
      switch (kind) {
        case RowKind::kPreference:
          return has({"chosen", "rejected"});
        case RowKind::kInstruction:
          return has({"messages"}) || has({"prompt", "completion"}) || has({"instruction", "output"});
        case RowKind::kText:
          return has({"text"});
        default:
          return has({"prompt"});
      }
    };
    for (const RowKind kind : {RowKind::kPreference, RowKind::kInstruction, RowKind::kText, RowKind::kPrompt})
      if (kind != kind_ && looks(kind))
        return "this looks like a row of kind " + std::string(name_of(kind)) + ", and is read as " +
               std::string(name_of(kind_));
    return {};
  }

  std::string text(const std::string& name, const std::string& expected = "a text") {
    const ordered_json* value = field(name);
    if (!value) {
      missing(name, expected);
    } else if (!value->is_string()) {
      error("'" + name + "': expected a text, found " + described(*value));
    } else if (is_blank(value->get_ref<const std::string&>())) {
      error("'" + name + "' is empty");
    } else {
      return value->get<std::string>();
    }
    return {};
  }

  Said said(const std::string& name) {
    constexpr const char* kExpected = "a text or a list of messages";
    const ordered_json* value = field(name);
    if (value && value->is_array()) return {{}, messages(name, *value)};
    if (value && !value->is_string()) {
      error("'" + name + "': expected " + kExpected + ", found " + described(*value));
      return {};
    }
    return {text(name, kExpected), {}};
  }

  Messages messages(const std::string& name, const ordered_json& list) {
    if (list.empty()) error("'" + name + "' is empty");
    Messages read;
    for (std::size_t i = 0; i < list.size(); ++i)
      read.push_back(message("'" + name + "', message " + std::to_string(i + 1), list[i]));
    return read;
  }

  Message message(const std::string& where, const ordered_json& value) {
    Message read;
    if (!value.is_object()) {
      error(where + ": expected an object with 'role' and 'content', found " + described(value));
      return read;
    }
    ObjectText more;
    const ordered_json *role = nullptr, *content = nullptr;
    bool calls = false;
    for (const auto& [key, part] : value.items()) {
      if (part.is_null()) continue;
      if (key == "role")
        role = &part;
      else if (key == "content")
        content = &part;
      else
        more.add(key, part);
      calls = calls || (key == "tool_calls" && part.is_array() && !part.empty());
    }
    read_role(where, value, role, read);
    // What a tool gives back, and what a system is told, may be nothing.
    const bool may_be_empty = (calls && read.role == "assistant") || read.role == "tool" || read.role == "system";
    if (content && content->is_string())
      read.content = content->get<std::string>();
    else if (content)
      error(where + ": 'content': expected a text, found " + described(*content));
    else if (!may_be_empty)
      error(where + " has no 'content'");
    if (content && content->is_string() && is_blank(read.content) && !may_be_empty)
      error(where + ": 'content' is empty");
    if (!more.is_empty()) read.more = more.text();
    return read;
  }

  void read_role(const std::string& where, const ordered_json& message, const ordered_json* role, Message& read) {
    if (!role)
      return error(where + " has no 'role'" +
                   (message.contains("from") ? "; 'from' and 'value' are 'role' and 'content' here" : ""));
    if (!role->is_string()) return error(where + ": 'role': expected a text, found " + described(*role));
    read.role = role->get<std::string>();
    if (std::find(kRoles.begin(), kRoles.end(), read.role) != kRoles.end()) return;
    std::string what = where + ": no role " + quote(read.role);
    const auto* other =
        std::find_if(kOtherRoles.begin(), kOtherRoles.end(), [&](const auto& each) { return each.first == read.role; });
    if (other != kOtherRoles.end())
      what += "; it is '" + std::string(other->second) + "' here";
    else
      what += hint(read.role, std::vector<std::string>(kRoles.begin(), kRoles.end())) + " (system, developer, user, " +
              "assistant, tool)";
    error(what);
  }

  /// Messages of a prompt: the assistant is the next to speak.
  void check_prompt(const std::string& name, const Messages& messages) {
    if (!messages.empty() && messages.back().role == "assistant")
      error("the last message of '" + name + "' is the assistant's, which is to speak behind it");
  }
  void check_completion(const std::string& name, const Messages& messages) {
    if (messages.empty() || !good_) return;
    if (messages.front().role != "assistant")
      error("'" + name + "' begins with a message of role '" + messages.front().role +
            "'; it holds what follows the prompt, so its first is the assistant's");
    else if (messages.back().role != "assistant")
      error("the last message of '" + name + "' has the role '" + messages.back().role + "', not 'assistant'");
  }

  void read_instruction(Row& row) {
    if (has({"messages"})) {
      row.what = conversation();
    } else if (has({"instruction", "output"}) && !has({"prompt", "completion"})) {
      row.what = instruction();
    } else if (has({"prompt"}) || has({"completion"})) {
      row.what = completion();
    } else if (has({"instruction"}) || has({"output"})) {
      row.what = instruction();
    } else {
      missing("messages", "nor 'prompt' and 'completion', nor 'instruction' and 'output'");
    }
  }

  Instruction instruction() {
    Instruction read{text("instruction"), {}, text("output")};
    if (const ordered_json* input = field("input"); input && input->is_string())
      read.input = input->get<std::string>();
    else if (input)
      error("'input': expected a text, found " + described(*input));
    return read;
  }

  Conversation conversation() {
    const ordered_json& value = *field("messages");
    if (!value.is_array()) {
      error("'messages': expected a list of messages, found " + described(value));
      return {};
    }
    Conversation read{messages("messages", value)};
    if (!good_) return read;
    if (read.messages.back().role != "assistant")
      error("the last of 'messages' has the role '" + read.messages.back().role + "', not 'assistant'");
    else if (read.messages.size() < 2)
      error("'messages' has nothing that the assistant answers");
    return read;
  }

  Completion completion() {
    Completion read{said("prompt"), said("completion")};
    if (good_ && read.prompt.is_chat() != read.completion.is_chat()) error(mixed("prompt", "completion", read.prompt));
    check_prompt("prompt", read.prompt.messages);
    check_completion("completion", read.completion.messages);
    return read;
  }

  static std::string mixed(const std::string& one, const std::string& other, const Said& first) {
    return "'" + one + "' is " + (first.is_chat() ? "a list of messages and '" : "a text and '") + other +
           (first.is_chat() ? "' a text" : "' a list of messages") + "; both have to be the one or the other";
  }

  Preference preference() {
    Preference read{{}, said("chosen"), said("rejected")};
    const bool both = good_;  // are there and sound
    if (both && read.chosen.is_chat() != read.rejected.is_chat()) error(mixed("chosen", "rejected", read.chosen));
    if (both && read.chosen == read.rejected) error("'chosen' and 'rejected' are the same: there is nothing to prefer");
    const auto is_list = [this](const char* name) { return field(name) && field(name)->is_array(); };
    const ordered_json* prompt = field("prompt");
    if (is_list("chosen") && is_list("rejected") && (!prompt || prompt->is_string())) {
      if (good_) take_beginning(read, prompt != nullptr);
    } else {
      read.prompt = said("prompt");
      if (good_ && read.prompt.is_chat() != read.chosen.is_chat()) error(mixed("prompt", "chosen", read.prompt));
      check_prompt("prompt", read.prompt.messages);
    }
    check_completion("chosen", read.chosen.messages);
    check_completion("rejected", read.rejected.messages);
    return read;
  }

  /// What the two lists begin with is their prompt.
  void take_beginning(Preference& read, bool has_text) {
    Messages &chosen = read.chosen.messages, &rejected = read.rejected.messages;
    std::size_t common = 0;
    // Each keeps something: where one goes on with several messages the other may end in one of them.
    while (common + 1 < std::min(chosen.size(), rejected.size()) && chosen[common] == rejected[common]) ++common;
    // An answer that both begin with is no prompt to answer.
    while (common > 0 && chosen[common - 1].role == "assistant") --common;
    if (common == 0)
      return error(has_text ? mixed("prompt", "chosen", {}) + ", or both lists begin with the prompt's messages"
                            : "no 'prompt', and 'chosen' and 'rejected' begin with no message that they share");
    const auto cut = static_cast<std::ptrdiff_t>(common);
    read.prompt.messages.assign(chosen.begin(), chosen.begin() + cut);
    chosen.erase(chosen.begin(), chosen.begin() + cut);
    rejected.erase(rejected.begin(), rejected.begin() + cut);
  }

  Prompt prompt() {
    Prompt read{said("prompt"), {}};
    check_prompt("prompt", read.prompt.messages);
    ObjectText other;
    for (const auto& [key, value] : row_.items())
      if (key != "prompt" && (key != "tools" || !read.prompt.is_chat())) other.add(key, value);
    read.other = other.text();
    return read;
  }

  const ordered_json& row_;
  RowKind kind_;
  const Place& place_;
  Diagnostics& diagnostics_;
  bool good_ = true;
};

/// The place of a byte of the record.
Place place_in(const Record& record, std::size_t at) {
  Place place = record.place;
  for (const char c : std::string_view(record.text).substr(0, at)) {
    ++place.column;
    if (c != '\n') continue;
    ++place.line;
    place.column = 1;
  }
  return place;
}

std::optional<Row> read_row(const Record& record, RowKind kind, Diagnostics& diagnostics) {
  if (const std::size_t sound = utf8_prefix(record.text); sound < record.text.size()) {
    diagnostics.error(place_in(record, sound), "the bytes are not UTF-8");
    return std::nullopt;
  }
  const auto json = parse_strict(record.text, {});
  if (!json) {
    const JsonFault& fault = json.error();
    diagnostics.error(
        place_in(record, fault.at),
        fault.is_cut ? "the row's JSON is not whole where it ends: each row is one line, or an element of one array"
                     : "not sound JSON: " + fault.what);
    return std::nullopt;
  }
  if (!json->is_object()) {
    diagnostics.error(record.place, "expected an object, found " + described(*json));
    return std::nullopt;
  }
  return Reader(*json, kind, record.place, diagnostics).read();
}

}  // namespace

std::string_view name_of(RowKind kind) {
  constexpr std::array<std::string_view, 4> kNames = {"text", "instruction", "preference", "prompt"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::optional<RowKind> row_kind_named(std::string_view name) {
  for (const RowKind kind : {RowKind::kText, RowKind::kInstruction, RowKind::kPreference, RowKind::kPrompt})
    if (name_of(kind) == name) return kind;
  return std::nullopt;
}

void read_rows(std::istream& file, const std::string& name, RowKind kind, Diagnostics& diagnostics,
               const TakeRow& take) {
  const std::size_t errors_before = diagnostics.error_count();
  Records records(file, name, diagnostics);
  std::size_t count = 0;
  while (auto record = records.next()) {
    if (++count > kMostRows)
      return diagnostics.error(record->place, "more than " + std::to_string(kMostRows) + " rows");
    if (auto row = read_row(*record, kind, diagnostics)) take(*std::move(row));
  }
  if (count == 0 && diagnostics.error_count() == errors_before) diagnostics.error({name}, "has no rows");
}

void load_rows(const std::filesystem::path& path, RowKind kind, Diagnostics& diagnostics, const TakeRow& take) {
  const std::string name = path.string();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return diagnostics.error({name}, "there is no such file");
  if (!std::filesystem::is_regular_file(status)) return diagnostics.error({name}, "is not a regular file");
  std::ifstream file(path, std::ios::binary);
  if (!file) return diagnostics.error({name}, "cannot be opened");
  read_rows(file, name, kind, diagnostics, take);
}

std::optional<std::vector<Row>> load_rows(const std::filesystem::path& path, RowKind kind, Diagnostics& diagnostics) {
  const std::size_t errors_before = diagnostics.error_count();
  std::vector<Row> rows;
  load_rows(path, kind, diagnostics, [&rows](Row row) { rows.push_back(std::move(row)); });
  if (diagnostics.error_count() > errors_before) return std::nullopt;
  return rows;
}

}  // namespace orch::train
