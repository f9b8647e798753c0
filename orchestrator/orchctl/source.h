// Where a command reads from: the daemon; while none runs, its store, which nobody writes then.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "control/state.h"
#include "orchctl/daemon.h"
#include "store/store.h"

namespace orch::orchctl {

class Source {
 public:
  explicit Source(const Session& session) : session_(session) {}

  // Each as the daemon's API answers.
  /// `sweep`: only this one; empty: all.
  Result<nlohmann::ordered_json, Refusal> status(const std::string& sweep);
  Result<nlohmann::ordered_json, Refusal> jobs();
  /// JSON; a million rows are not taken apart where nobody looks into them.
  Result<std::string, Refusal> cells(const std::string& sweep, const std::string& state);
  Result<std::string, Refusal> results(const std::string& sweep);
  Result<nlohmann::ordered_json, Refusal> cell(const std::string& id);
  /// Of at most so many points. It is a file that the daemon reads: there is none in its store.
  Result<nlohmann::ordered_json, Refusal> curve(const std::string& id, std::size_t most);
  Result<nlohmann::ordered_json, Refusal> job(const std::string& id);

  /// Whether the last answer came from the store.
  bool is_down() const { return left_ != nullptr; }

 private:
  /// What a daemon left: its store, opened for reading, and the state that it makes.
  struct Left {
    std::unique_ptr<store::Store> store;
    control::State state;
  };
  using FromStore = std::function<Result<std::string, Refusal>(const Left&)>;

  Result<std::string, Refusal> read(const std::string& target, const FromStore& from_store);
  /// `why`: what was wrong with the daemon.
  Result<std::monostate, Refusal> open_store(const Refusal& why);

  const Session& session_;
  std::optional<Daemon> daemon_;
  std::unique_ptr<Left> left_;
};

/// Says on the error stream, if it is so, that what is shown was read from the store.
void say_if_down(Session& session, const Source& source);

}  // namespace orch::orchctl
