// What goes over the API, as plain values: a request, who sent it, and an answer.
//
// Holds:
//  - A Secret cannot be printed; only reveal() gives it away.
//  - Decoded text (query, parts) is UTF-8 without NUL.
#pragma once

#include <sys/types.h>

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orch::http {

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// A bearer token or a private key.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  bool empty() const { return text_.empty(); }
  const std::string& reveal() const { return text_; }
  /// In a time that depends on the lengths alone. An empty secret matches nothing.
  bool matches(std::string_view text) const;

 private:
  std::string text_;
};
/// `(secret)`, or `(none)`.
std::ostream& operator<<(std::ostream& out, const Secret& secret);

enum class Transport { kUnix, kTls };

struct Peer {
  Transport transport = Transport::kUnix;
  /// Of kUnix: as the kernel says, of the process that connected. `pid` is 0 when it is not in our namespace.
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  std::string address;  ///< of kTls: IP address and port, for the log
  Secret token;         ///< from `Authorization: Bearer`, not checked by anyone yet
};

struct Request {
  std::string method;  ///< as sent: `GET`, `HEAD`, …
  std::string path;    ///< as sent, percent-encoded, without the query; begins with / (or is `*`, of OPTIONS)
  Pairs query;         ///< decoded, in the order in which they were sent
  Pairs parts;         ///< what the router's pattern captured, decoded
  std::string content_type, accept, idempotency_key, last_event_id;
  std::string body;
  Peer peer;

  /// The first value of `name` in the query; null: it is not there.
  const std::string* asked(std::string_view name) const;
  /// What the pattern's {name} captured; empty if the pattern has none.
  const std::string& part(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Pairs headers;  ///< others than content-type, content-length, connection; names in lower case when a client read them

  /// The first header of that name, case ignored; null: none.
  const std::string* header(std::string_view name) const;
};

/// One server-sent event.
struct Event {
  std::string id;     ///< empty: none
  std::string event;  ///< its kind; empty: `message`
  std::string data;
  bool operator==(const Event&) const = default;
};

/// `{"error": {"status": 404, "what": "…"}}`: the one shape of every error.
Response error_response(int status, std::string_view what);

/// Nothing: a bad escape, a NUL, or no UTF-8.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank = false);
/// Safe as one segment of a path, and as a name or value in a query.
std::string percent_encode(std::string_view text);

struct Target {
  std::string path;
  Pairs query;
};
/// Takes a request's target apart; an absolute one (`http://host/path`) counts by its path. Nothing: it is not sound.
std::optional<Target> split_target(std::string_view target);

/// The token of `Bearer …`; empty for every other scheme.
Secret bearer_token(std::string_view authorization);

}  // namespace orch::http
