#include "native/asked_task.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/data_folders.h"
#include "base/text.h"
#include "eval/find_task.h"
#include "eval/score/scorers.h"
#include "eval/task_content.h"
#include "model/chat/chat_template.h"

namespace orch::native {
namespace {

Result<eval::ChatWriter> chat_of(const std::filesystem::path& model) {
  auto opened = model::ChatTemplate::open(model);
  if (!opened) return opened.error();
  const auto chat = std::make_shared<model::ChatTemplate>(*std::move(opened));
  return eval::ChatWriter([chat](std::span<const eval::Message> messages, bool goes_on) -> Result<std::string> {
    model::Chat conversation;
    for (const eval::Message& message : messages)
      conversation.messages.push_back({{"role", message.role}, {"content", message.content}});
    conversation.add_generation_prompt = !goes_on;
    conversation.continue_final_message = goes_on;
    auto rendered = chat->render(conversation);
    if (!rendered) return rendered.error();
    return std::move(rendered->text);
  });
}

}  // namespace

Result<std::unique_ptr<AskedTask>> AskedTask::open(const TaskAsked& asked, const std::filesystem::path& program) {
  const auto shipped = find_data(program);
  const auto task = eval::find_task(asked.task, asked.data, shipped ? shipped->tasks : std::filesystem::path());
  if (!task) return task.error();
  if (!asked.digest.empty()) {
    const auto content = eval::content_of(*task, asked.data);
    if (!content) return content.error();
    if (content->digest != asked.digest)
      return Error{"task " + quote(task->name) + " or its data in " + asked.data.string() +
                   " is not what it was when the cell was asked for; submit the matrix again to measure what is there "
                   "now"};
  }
  std::unique_ptr<AskedTask> it(new AskedTask);
  if (eval::runs_programs(*task)) {
    auto opened = sandbox::Sandbox::open();
    if (!opened)
      return Error{"task " + quote(task->name) + " runs programs that the model writes: " + opened.error().what};
    it->box_ = *std::move(opened);
  }
  eval::AskSettings settings = asked.settings;
  if (asked.chat) {
    auto chat = chat_of(asked.model);
    if (!chat) return chat.error();
    settings.chat = *std::move(chat);
  }
  auto evaluation = eval::Evaluation::open(*task, asked.data, std::move(settings),
                                           eval::all_scorers(it->box_ ? &*it->box_ : nullptr));
  if (!evaluation) return evaluation.error();
  it->evaluation_ = *std::move(evaluation);
  return it;
}

Result<std::shared_ptr<const AskedTask>> LastTask::open(const TaskAsked& asked, const std::filesystem::path& program) {
  const eval::AskSettings& how = asked.settings;
  const nlohmann::json words = {asked.task,
                                asked.data.string(),
                                asked.model.string(),
                                asked.chat,
                                asked.digest,
                                how.shots.value_or(-1),
                                how.temperature.value_or(-1),
                                how.max_new_tokens.value_or(-1),
                                how.repeats.value_or(-1),
                                how.limit.value_or(0),
                                how.seed,
                                how.shot_seed,
                                how.prefix};
  const std::string text = words.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (task_ && !asked.digest.empty() && text == asked_) return task_;
  task_.reset();
  auto opened = AskedTask::open(asked, program);
  if (!opened) return opened.error();
  asked_ = text;
  task_ = *std::move(opened);
  return task_;
}

}  // namespace orch::native
