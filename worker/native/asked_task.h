// A task that is ready to be asked: its file and its questions, what scores the answers and, where these are programs,
// the box that they are run in.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "eval/evaluation.h"
#include "sandbox/sandbox.h"

namespace orch::native {

struct TaskAsked {
  std::string task;             ///< a file or a name (eval/find_task.h)
  std::filesystem::path data;   ///< the folder of questions
  std::filesystem::path model;  ///< its folder, for its chat template
  bool chat = false;            ///< questions are put as the model's chat template has it
  std::string digest;           ///< what eval::content_of() must find; empty: anything
  eval::AskSettings settings;   ///< but for `chat`
};

class AskedTask {
 public:
  static Result<std::unique_ptr<AskedTask>> open(const TaskAsked& asked, const std::filesystem::path& program);

  const eval::Evaluation& evaluation() const { return *evaluation_; }

 private:
  AskedTask() = default;
  std::optional<sandbox::Sandbox> box_;
  std::optional<eval::Evaluation> evaluation_;
};

/// The task that was asked last: the chunks of one cell follow each other, and its data is read once for all of them.
class LastTask {
 public:
  /// As AskedTask::open(). What has a digest is not opened again while the same is asked.
  Result<std::shared_ptr<const AskedTask>> open(const TaskAsked& asked, const std::filesystem::path& program);

 private:
  std::string asked_;
  std::shared_ptr<const AskedTask> task_;
};

}  // namespace orch::native
