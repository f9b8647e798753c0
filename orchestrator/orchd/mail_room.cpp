#include "orchd/mail_room.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/whole_file.h"

#include "api/worker_calls.h"
#include "link/directory.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kLeastPause{50};    // while mail comes
constexpr std::chrono::milliseconds kMostPause{1'000};  // while none does
constexpr std::uintmax_t kMostQuestion = 16u << 20;     // bytes

/// A plain file of bounded size: no link, no pipe that a reader would wait at.
bool is_question(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(fs::symlink_status(path, error)) && fs::file_size(path, error) <= kMostQuestion;
}

}  // namespace

MailRoom::MailRoom(api::Desk& desk) : desk_(desk), thread_([this] { run(); }) {}

MailRoom::~MailRoom() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void MailRoom::run() {
  auto pause = kMostPause;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    bool mail = false;
    for (const std::string& job : jobs_with_mail()) mail = collect(job) || mail;
    pause = mail ? kLeastPause : std::min(2 * pause, kMostPause);
    lock.lock();
  }
}

std::vector<std::string> MailRoom::jobs_with_mail() {
  using Names = std::vector<std::string>;
  return api::ask<Names>(desk_,
                         [](const control::State& state, control::Now) {
                           Names names;
                           for (const auto& [id, job] : state.jobs)
                             if (job.state != control::JobState::kEnded) names.push_back(job.name);
                           return names;
                         })
      .value_or(Names{});
}

bool MailRoom::collect(const std::string& job) {
  const fs::path out = desk_.folder_of(job) / "mail" / "out", in = desk_.folder_of(job) / "mail" / "in";
  std::error_code error;
  std::vector<fs::path> questions;
  for (const auto& entry : fs::directory_iterator(out, error))
    if (entry.path().extension() == ".json") questions.push_back(entry.path());
  std::ranges::sort(questions);
  for (const fs::path& question : questions) {
    const std::string name = question.stem().string();  // 000012-lease
    const auto dash = name.find('-');
    if (dash == std::string::npos || !is_question(question)) continue;
    {
      const std::lock_guard lock(open_->mutex);
      if (!open_->questions.insert(question.string()).second) continue;
    }
    std::ifstream file(question, std::ios::binary);
    std::ostringstream body;
    body << file.rdbuf();
    const fs::path answer = in / (name.substr(0, dash) + ".json");
    api::worker_call(
        desk_, name.substr(dash + 1), job, body.str(), [open = open_, question, answer](const api::WorkerReply& reply) {
          nlohmann::json said = {{"status", reply.status}};
          said["body"] = nlohmann::json::parse(reply.body, nullptr, false);
          static_cast<void>(write_whole(answer, said.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
          std::error_code ignored;
          fs::remove(question, ignored);
          const std::lock_guard lock(open->mutex);
          open->questions.erase(question.string());
        });
  }
  return !questions.empty();
}

}  // namespace orch::orchd
