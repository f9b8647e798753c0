// The requests of a task: worked examples, the question, delimiters, put together byte for byte as
// lm-evaluation-harness 0.4.13 does.
//
// Holds:
//  - What a question is asked with is a function of the task, its data, the settings and the question's place: never of
//    which other questions are asked, or in which order.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "eval/request.h"
#include "eval/task.h"

namespace orch::eval {

struct Message {
  std::string role;  ///< system, user, assistant
  std::string content;
};

/// Writes a conversation as the model's chat template has it, up to where an answer begins; with `goes_on` the last
/// message is the beginning of that answer.
using ChatWriter = std::function<Result<std::string>(std::span<const Message>, bool goes_on)>;

/// What a cell's settings say in place of the task.
struct AskSettings {
  std::optional<int> shots;
  std::optional<double> temperature;
  std::optional<int> max_new_tokens;
  std::optional<int> repeats;
  std::optional<std::uint64_t> limit;  ///< only the first so many questions
  std::uint64_t seed = 0;              ///< of sampled answers
  std::uint32_t shot_seed = 1234;      ///< of worked examples that are drawn, as lm-evaluation-harness has it
  std::string prefix;                  ///< before everything; of a chat the system message
  ChatWriter chat;                     ///< empty: questions are plain text
};

/// The questions of a task with what is shown before each.
class Questions {
 public:
  /// `documents` are those of `task.data`, `pool` those of `task.shots.file`.
  static Result<Questions> make(const Task& task, std::vector<Document> documents, std::vector<Document> pool,
                                AskSettings settings);

  std::size_t size() const { return documents_.size(); }
  const Document& document(std::size_t sample) const { return documents_[sample]; }
  /// Which part of the task a question belongs to; without parts, the empty text.
  const std::string& group(std::size_t sample) const { return groups_[sample]; }
  const Task& task() const { return task_; }
  Kind kind() const { return kind_; }
  const Sampling& sampling() const { return sampling_; }

  /// One for each choice, or for each answer that is wanted.
  Result<std::vector<Request>> requests(std::size_t sample) const;

 private:
  /// A message, and what stands behind it where the conversation is plain text.
  struct Turn {
    Message message;
    std::string delimiter;
  };
  Questions() = default;
  std::optional<Error> draw_shots();
  Result<std::vector<Turn>> shot_turns(const Document& example) const;
  /// The question as the last turn, and what a beginning of the answer adds to it.
  static void append_question(std::vector<Turn>& turns, std::string question, const std::string& gen_prefix,
                              const std::string& delimiter);
  Result<std::vector<Turn>> turns_before(std::size_t sample) const;
  Result<std::string> written(const std::vector<Turn>& turns, bool goes_on) const;
  Result<std::vector<Request>> choice_requests(std::size_t sample, std::vector<Turn> turns,
                                               const std::string& gen_prefix) const;

  Task task_;
  Kind kind_ = Kind::kChoice;
  Sampling sampling_;
  AskSettings settings_;
  std::vector<Document> documents_, pool_;
  std::vector<std::string> groups_;                ///< of the documents
  std::vector<std::vector<std::uint32_t>> shots_;  ///< of each document: places in the pool
  std::vector<std::vector<Turn>> examples_;        ///< of each of the pool that is shown
};

}  // namespace orch::eval
