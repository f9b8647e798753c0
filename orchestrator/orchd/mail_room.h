// Workers with no route to the daemon write their messages into their job's directory: this reads and answers them.
//
// Holds:
//  - Folders are looked at often while mail comes, and once a second while none does.
//  - A question is answered once while the daemon lives, and its file is gone before the next look at the folder.
//  - Only the directories of jobs that are not ended are looked at.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "api/desk.h"

namespace orch::orchd {

class MailRoom {
 public:
  explicit MailRoom(api::Desk& desk);
  ~MailRoom();

 private:
  void run();
  /// Whether there was mail.
  bool collect(const std::string& job);
  std::vector<std::string> jobs_with_mail();

  api::Desk& desk_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  /// Answers may come after the room is gone.
  struct Open {
    std::mutex mutex;
    std::set<std::string> questions;  ///< files whose answer is under way
  };
  std::shared_ptr<Open> open_ = std::make_shared<Open>();
  std::thread thread_;
};

}  // namespace orch::orchd
