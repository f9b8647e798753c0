// What workers say (base/wire), as events, and the daemon's answers as messages. The same for HTTP and for files.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/desk.h"
#include "base/wire/messages.h"

namespace orch::api {

struct WorkerReply {
  int status = 200;
  std::string body;  ///< a message of base/wire; of other statuses the error's JSON
};

/// Whether a worker says this; and what all it says, for people.
bool is_worker_call(std::string_view verb);
std::string worker_calls();

/// `verb` is claim, lease, heartbeat, deliver or exit; `job` is a job's name, and the caller has seen to it that the
/// worker is that job's. `reply` is called once, on any thread.
void worker_call(Desk& desk, std::string_view verb, const std::string& job, std::string_view body,
                 std::function<void(WorkerReply)> reply);

/// What a spool held, as an event.
control::event::Deliver delivery_of(const std::string& job, const wire::Deliver& message);
/// A worker's last words.
control::event::ExitRecord exit_of(const std::string& job, const wire::Exit& message);

}  // namespace orch::api
