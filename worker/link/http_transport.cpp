#include "link/http_transport.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/text.h"
#include "base/wire/messages.h"
#include "http/certificate.h"

namespace orch::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostToken = 1024;  // bytes
constexpr std::size_t kMostEndpoint = 64 * 1024;

}  // namespace

Reply HttpTransport::call(std::string_view verb, const std::string& body) {
  http::Call call;
  call.method = "POST";
  call.target = "/v1/jobs/" + http::percent_encode(options_.job) + "/" + std::string(verb);
  call.body = body;
  // Every message may be said again: the same claim twice is one, and so is the same delivery.
  std::string why;
  if (client_) {
    const auto answer = client_->call(call);
    if (answer) return reply_of(answer->status, answer->body);
    client_.reset();
    why = answer.error().what;
    if (answer.error().kind == http::ClientErrorKind::kTimedOut) return {Reply::What::kAway, "", why};
  }
  const auto found = places();
  if (!found) return {Reply::What::kAway, "", found.error().what};
  for (const http::Endpoint& place : *found) {
    http::ClientOptions options;
    options.token = options_.token;
    options.connect_time = options_.connect_time;
    options.answer_time = options_.answer_time;
    http::Client client(place, options);
    const auto answer = client.call(call);
    if (answer) {
      client_ = std::move(client);
      return reply_of(answer->status, answer->body);
    }
    why = answer.error().what;
  }
  return {Reply::What::kAway, "", why};
}

Result<std::vector<http::Endpoint>> HttpTransport::places() const {
  const std::string name = options_.endpoint.string();
  std::ifstream in(options_.endpoint, std::ios::binary);
  if (!in) return Error{"cannot read " + name + ": " + std::strerror(errno)};
  std::string text(kMostEndpoint + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  const auto endpoint = wire::read<wire::Endpoint>(text);
  if (!endpoint) return Error{name + ": " + endpoint.error().what};

  std::vector<http::Endpoint> places;
  std::error_code error;
  if (endpoint->host == options_.host && fs::is_socket(endpoint->socket, error))
    places.emplace_back(http::UnixEndpoint{endpoint->socket});
  if (endpoint->port > 0 && endpoint->port <= std::numeric_limits<std::uint16_t>::max()) {
    const auto certificate = http::read_fingerprint(endpoint->certificate);
    if (!certificate) return Error{name + ": the certificate must be a SHA-256 of 64 hexadecimal digits"};
    for (const std::string& address : endpoint->addresses)
      places.emplace_back(http::TlsEndpoint{address, static_cast<std::uint16_t>(endpoint->port), *certificate});
  }
  if (places.empty())
    return Error{name + ": the daemon serves on " + quote(endpoint->host) + " alone, and this is " +
                 quote(options_.host)};
  return places;
}

Result<http::Secret> read_token(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return Error{"cannot read " + file.string() + ": " + std::strerror(errno)};
  struct stat about {};
  std::array<char, kMostToken + 1> bytes{};
  const bool known = ::fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
  const bool open_to_others = (about.st_mode & 077) != 0;
  const ssize_t got = known && !open_to_others ? ::read(descriptor, bytes.data(), bytes.size()) : 0;
  ::close(descriptor);
  if (!known) return Error{file.string() + " is no file"};
  if (open_to_others) return Error{file.string() + " can be read by others; its mode must be 0600"};
  std::string text(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  while (text.ends_with('\n')) text.pop_back();
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (text.empty() || text.size() >= kMostToken || !plain) return Error{file.string() + " holds no token"};
  return http::Secret(std::move(text));
}

}  // namespace orch::worker
