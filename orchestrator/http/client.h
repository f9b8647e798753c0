// A blocking client of one server, for programs that ask and wait.
//
// Holds:
//  - Every call ends within its time. (A host name that the system cannot look up may take the resolver's time on top.)
//  - Over TLS nothing is sent, and the token least of all, before the server has shown the certificate that is known.
//  - A call is sent once: after an error that is not kNotThere it may have been carried out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "base/digest.h"
#include "base/result.h"
#include "http/message.h"

namespace orch::http {

struct UnixEndpoint {
  std::filesystem::path path;
};

struct TlsEndpoint {
  std::string host;  ///< name or IP address
  std::uint16_t port = 0;
  Digest certificate;  ///< the SHA-256 of the one certificate that is trusted
};

using Endpoint = std::variant<UnixEndpoint, TlsEndpoint>;

enum class ClientErrorKind {
  kNotThere,  ///< nobody listens there: nothing was sent
  kRefused,   ///< the system does not let us in: nothing was sent
  kTimedOut,
  kBadCertificate,  ///< TLS was not agreed on, or another server answers there: nothing was sent
  kBroken,          ///< the connection ended too early, or what came back is not HTTP
};

struct ClientError {
  ClientErrorKind kind = ClientErrorKind::kBroken;
  std::string what;  ///< a sentence that begins with the endpoint
};

struct ClientOptions {
  Secret token;  ///< sent as a bearer token; empty: none
  std::chrono::milliseconds connect_time{5'000};
  std::chrono::milliseconds answer_time{60'000};  ///< for a whole call on a connection
  std::chrono::milliseconds quiet_time{
      45'000};  ///< an event stream with nothing for so long, heartbeats included, is lost
  std::size_t most_body = std::size_t{256} * 1024 * 1024;
  std::size_t most_event = std::size_t{16} * 1024 * 1024;
};

struct Call {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, encoded (percent_encode)
  std::string body;
  std::string content_type = "application/json";  ///< sent if there is a body
  Pairs headers;                                  ///< such as Idempotency-Key
};

/// Not for two threads at once.
class Client {
 public:
  explicit Client(Endpoint endpoint, ClientOptions options = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  /// Uses the connection of the call before if the server keeps it, else makes one. Every status is an answer.
  Result<Response, ClientError> call(const Call& call);
  Result<Response, ClientError> get(const std::string& target);
  Result<Response, ClientError> post(const std::string& target, std::string json_body);
  Result<Response, ClientError> del(const std::string& target);

  /// Reads events, on a connection of its own, until the server ends the stream or `each` says false: then the answer
  /// has status 200 and no body. An answer that is no event stream is returned as it is.
  Result<Response, ClientError> events(const std::string& target, const std::string& last_event_id,
                                       const std::function<bool(const Event&)>& each);

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace orch::http
