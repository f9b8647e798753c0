// What a data set says: its rows, read from a file and checked.
//
//   what is trained | a row is an object with
//   ----------------+------------------------------------------------------------------------------------------------
//   text            | text
//   instruction     | messages, the last one the assistant's; or prompt and completion, both texts or both lists of
//                   | messages; or instruction, output and, if there is one, input. Of several the first counts.
//   preference      | prompt, chosen and rejected, all texts or all lists of messages. Lists may hold the prompt
//                   | themselves, as their common beginning; then what `prompt` says as a text does not count.
//   prompt          | prompt, a text or a list of messages. All else is kept for the reward.
//
// A message is an object with role and content. Lists of messages may have `tools` beside them. Other fields are passed
// over, and a field that is null is not there: data sets often have columns of which each row fills some.
//
// Holds:
//  - The file is a stranger's. Whatever its bytes, the row that is given is whole: texts are UTF-8 and not empty, roles
//    are known, nothing stands in it twice.
//  - Every bad row is reported, with file and line; none stops the reading of those behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/diagnostics.h"

namespace orch::train {

enum class RowKind { kText, kInstruction, kPreference, kPrompt };
std::string_view name_of(RowKind kind);
std::optional<RowKind> row_kind_named(std::string_view name);

struct Message {
  std::string role;     ///< system, developer, user, assistant or tool
  std::string content;  ///< empty where the assistant calls a tool and says nothing
  std::string more;     ///< the message's other fields, such as tool_calls, as a JSON object; empty: none
  bool operator==(const Message&) const = default;
};
using Messages = std::vector<Message>;

/// A text, or messages.
struct Said {
  std::string text;
  Messages messages;  ///< where there are some there is no text
  bool is_chat() const { return !messages.empty(); }
  bool operator==(const Said&) const = default;
};

struct Text {
  std::string text;
};
/// A conversation, whose last message is the assistant's.
struct Conversation {
  Messages messages;
};
/// Messages of a prompt end before the assistant speaks, those of a completion begin and end with it.
struct Completion {
  Said prompt, completion;
};
struct Instruction {
  std::string instruction;
  std::string input;  ///< may be empty
  std::string output;
};
/// Each of the two completes the prompt; they differ.
struct Preference {
  Said prompt, chosen, rejected;
};
struct Prompt {
  Said prompt;
  std::string other;  ///< the row's other fields, a JSON object
};

struct Row {
  int line = 0;       ///< of its first byte, from 1
  std::string tools;  ///< of messages: a JSON list of what may be called; empty: none
  std::variant<Text, Conversation, Completion, Instruction, Preference, Prompt> what;
};

constexpr std::size_t kMostRows = 10'000'000;

using TakeRow = std::function<void(Row)>;

/// Gives each good row to `take`, in the file's order. `name` is what errors call the file. One without rows is an
/// error too.
void read_rows(std::istream& file, const std::string& name, RowKind kind, Diagnostics& diagnostics,
               const TakeRow& take);

/// As read_rows(), of a regular file.
void load_rows(const std::filesystem::path& file, RowKind kind, Diagnostics& diagnostics, const TakeRow& take);

/// All rows at once; nothing where one of them is bad.
std::optional<std::vector<Row>> load_rows(const std::filesystem::path& file, RowKind kind, Diagnostics& diagnostics);

}  // namespace orch::train
