// The way from a command to the daemon: where its state directory is, how it is reached, and what its answers mean for
// the exit code.
//
// Holds:
//  - On the daemon's own host the Unix socket is used, and the kernel says who asks. From elsewhere nothing is sent
//  before
//    the server has shown the certificate that endpoint.json names.
//  - A call that may have been carried out is not sent again, unless it carries a key under which it counts once.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "http/client.h"
#include "orchctl/command.h"

namespace orch::orchctl {

/// Why there is no answer, or a bad one.
struct Refusal {
  int exit = kFailed;
  std::string what;        ///< a sentence
  std::string problems;    ///< JSON list of `problem`s, of a file that was refused; empty: none
  bool nobody = false;     ///< no daemon runs there; its store may be read
  bool may_retry = false;  ///< the daemon may only just be away: the same call may work in a moment
};

/// Prints it, and gives the exit code.
int refuse(Session& session, const Refusal& refusal);

/// --state, $ORCH_STATE, or ~/.local/state/orch.
std::filesystem::path state_directory(const Session& session);

/// Where the daemon keeps its store: in the state directory, or in the folder on a local disk where its socket is.
std::filesystem::path database_directory(const Session& session);

class Daemon {
 public:
  using Time = std::chrono::seconds;
  /// Reads endpoint.json; the first call connects. `answer` is how long a call may take.
  static Result<Daemon, Refusal> find(const Session& session, Time answer = Time(60));

  /// The body of an answer with a status of 200 to 299.
  Result<std::string, Refusal> get(const std::string& target);
  Result<std::string, Refusal> post(const std::string& target, const std::string& body,
                                    const std::string& idempotency_key = "");
  Result<std::string, Refusal> put(const std::string& target, const std::string& body);

  /// Reads events until `each` says false or the stream ends.
  Result<std::monostate, Refusal> events(const std::string& target, const std::string& last_id,
                                         const std::function<bool(const http::Event&)>& each);

 private:
  Daemon(std::vector<http::Endpoint> ways, http::Secret token, std::filesystem::path directory, Time answer);

  using Send = std::function<Result<http::Response, http::ClientError>(http::Client&)>;
  /// By the first way on which somebody listens; that one is kept.
  Result<http::Response, Refusal> send(const Send& send);
  Result<std::string, Refusal> call(const http::Call& call);
  Refusal refusal_of(const http::ClientError& error) const;

  std::vector<http::Endpoint> ways_;
  std::size_t way_ = 0;
  http::ClientOptions options_;
  std::filesystem::path directory_;
  std::unique_ptr<http::Client> client_;
};

/// The body as JSON; a daemon that answers otherwise is another program.
Result<nlohmann::ordered_json, Refusal> json_of(Result<std::string, Refusal> body);

}  // namespace orch::orchctl
