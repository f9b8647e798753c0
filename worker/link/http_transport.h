// A worker's messages over HTTP: on the daemon's Unix socket where both are on one host, else on TLS.
//
// Holds:
//  - The daemon is looked for in its endpoint file again after every call that did not reach it: it may have been
//    started elsewhere.
//  - The token goes to nobody but the holder of the certificate that the endpoint file names, or of the socket.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "http/client.h"
#include "link/transport.h"

namespace orch::worker {

struct HttpOptions {
  std::string job;                 ///< its name
  std::filesystem::path endpoint;  ///< wire::Endpoint
  http::Secret token;
  std::string host;  ///< this one, as the daemon would name it
  std::chrono::milliseconds connect_time{5'000};
  std::chrono::milliseconds answer_time{30'000};
};

class HttpTransport : public Transport {
 public:
  explicit HttpTransport(HttpOptions options) : options_(std::move(options)) {}
  Reply call(std::string_view verb, const std::string& body) override;

 private:
  Result<std::vector<http::Endpoint>> places() const;

  HttpOptions options_;
  std::optional<http::Client> client_;  ///< of the place that answered last
};

/// The token of a job. Refused: a file that others than its owner can read.
Result<http::Secret> read_token(const std::filesystem::path& file);

}  // namespace orch::worker
