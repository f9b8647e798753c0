// What the API needs of the daemon, so that its routes can be tested without one.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/views.h"
#include "base/diagnostics.h"
#include "control/event.h"
#include "control/state.h"
#include "store/store.h"

namespace orch::api {

/// A sweep as somebody submits it.
struct Submission {
  struct Text {
    std::string file;  ///< for messages
    std::string text;
  };
  Text matrix;
  std::vector<Text> catalogs;
  std::string name;  ///< empty: the matrix's
  std::string user;
  std::string request_key;
  bool fresh = false;
};
/// What became of it before the daemon's state was asked.
struct Prepared {
  std::optional<control::event::SubmitSweep> sweep;  ///< nothing: `problems` says why
  Diagnostics problems;
  std::vector<std::string> notes;
};
struct PreparedPolicy {
  std::optional<policy::Policy> policy;
  std::vector<std::string> lowered;  ///< its keys that the site's ceilings changed
  Diagnostics problems;
};

class Desk {
 public:
  using Answered = std::function<void(const control::action::Answer&)>;

  virtual ~Desk() = default;

  /// `answered` is called once, after the event's changes are on disk, on any thread; never, if the daemon ends before.
  virtual void put(control::Event event, Answered answered) = 0;
  /// Calls `read` on the strand, which waits for it: only what is quick.
  virtual void look(std::function<void(const control::State&, control::Now)> read) = 0;
  /// Calls `work` on a thread that may wait: reports, matrices.
  virtual void later(std::function<void()> work) = 0;

  virtual const store::Store& store() const = 0;
  virtual DaemonView view() const = 0;
  virtual std::filesystem::path folder_of(const std::string& job) const = 0;
  /// The folder of tasks' questions, as compute nodes see it.
  virtual std::filesystem::path data() const = 0;

  /// From a matrix to what is asked of the state: read, expanded, sized, scored. Takes seconds for a million cells.
  virtual Prepared prepare(const Submission& submission, const policy::Policy& policy) const = 0;
  virtual PreparedPolicy prepare_policy(const Submission::Text& text) const = 0;

  /// Begins to end the daemon.
  virtual void stop() = 0;
};

/// What `read` makes of the state; nothing once the daemon is ending. Waits: not for the strand or the server.
template <class Value>
std::optional<Value> ask(Desk& desk, std::function<Value(const control::State&, control::Now)> read) {
  // Moved away whole: with a copy of it here, a promise that is dropped would be waited for for ever.
  auto found = std::make_shared<std::promise<Value>>();
  auto value = found->get_future();
  desk.look([found = std::move(found), read = std::move(read)](const control::State& state, control::Now now) {
    found->set_value(read(state, now));
  });
  try {
    return value.get();
  } catch (const std::future_error&) {
    return std::nullopt;  // it was dropped unread
  }
}

}  // namespace orch::api
