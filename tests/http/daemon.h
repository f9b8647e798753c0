// A server with a few calls, on a Unix socket in a folder of its own and on a free port with TLS; and a bare socket to
// send it what no client would send.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "http/client.h"
#include "http/router.h"
#include "http/server.h"

namespace orch::http::test {

using namespace std::chrono_literals;

/// Longer than anything here takes, even under a sanitizer on a busy machine.
inline constexpr std::chrono::milliseconds kLong{30'000};

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "orch-http-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Looks again and again until `holds` or kLong has passed.
inline bool eventually(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + kLong;
  while (std::chrono::steady_clock::now() < until) {
    if (holds()) return true;
    poll(nullptr, 0, 2);
  }
  return holds();
}

/// A value that another thread brings.
template <class T>
class Mailbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    there_.notify_all();
  }
  std::optional<T> take() {
    std::unique_lock lock(mutex_);
    if (!there_.wait_for(lock, kLong, [&] { return !values_.empty(); })) return std::nullopt;
    T value = std::move(values_.front());
    values_.erase(values_.begin());
    return value;
  }
  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable there_;
  std::vector<T> values_;
};

/// One certificate for all tests of a program: a key takes a while under the sanitizers.
inline const Certificate& test_certificate() {
  static const Certificate made = [] {
    auto certificate = make_certificate({"localhost", "127.0.0.1"});
    if (!certificate) throw std::runtime_error(certificate.error().what);
    return *certificate;
  }();
  return made;
}

inline Response text(std::string body) {
  Response response;
  response.content_type = "text/plain";
  response.body = std::move(body);
  return response;
}

struct Daemon {
  explicit Daemon(Limits limits = {}, bool tls = false, std::chrono::milliseconds stop_time = 2'000ms) {
    router.add("GET", "/hello", [](const Request&, const Responder& out) { out.send(text("hello")); });
    router.add("POST", "/echo", [](const Request& in, const Responder& out) { out.send(text(in.body)); });
    router.add("GET", "/big", [](const Request& in, const Responder& out) {
      out.send(text(std::string(std::stoul(*in.asked("bytes")), 'x')));
    });
    router.add("GET", "/drop", [](const Request&, const Responder&) {});
    router.add("GET", "/throw",
               [](const Request&, const Responder&) { throw std::runtime_error("the shelf is bare"); });
    router.add("GET", "/later", [this](const Request&, Responder out) { waiting.put(std::move(out)); });
    router.add("GET", "/events", [this](const Request& in, const Responder& out) {
      seen.put(in);
      streams.put(out.stream());
    });
    router.add("GET", "/seen/{one}/{two}", [this](Request in, const Responder& out) {
      seen.put(std::move(in));
      out.send(text("seen"));
    });
    ServerOptions options;
    options.unix_socket = UnixListen{folder / "socket"};
    if (tls) options.tls = TlsListen{"127.0.0.1", 0, test_certificate()};
    options.limits = limits;
    options.stop_time = stop_time;
    options.log = [this](const std::string& what) { log.put(what); };
    auto started = Server::start(std::move(options),
                                 [this](Request in, Responder out) { router.route(std::move(in), std::move(out)); });
    if (!started) throw std::runtime_error(started.error().what);
    server = std::move(*started);
  }

  std::filesystem::path path() const { return folder / "socket"; }
  Client client(ClientOptions options = {}) const { return Client(UnixEndpoint{path()}, std::move(options)); }
  Client tls_client(ClientOptions options = {}) const {
    return Client(TlsEndpoint{"127.0.0.1", server->tls_port(), *fingerprint(test_certificate().certificate_pem)},
                  std::move(options));
  }

  TempFolder folder;
  Router router;
  Mailbox<std::string> log;
  Mailbox<Request> seen;
  Mailbox<Responder> waiting;
  Mailbox<EventStream> streams;
  std::unique_ptr<Server> server;  // last: it ends before what its handler uses
};

/// A connected socket that sends bytes as they are.
class Raw {
 public:
  explicit Raw(const std::filesystem::path& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no connection to " + path.string());
  }
  explicit Raw(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no connection to the port");
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;
  Raw(Raw&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Raw() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// False: the other side has closed.
  bool send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void end() const { ::shutdown(fd_, SHUT_WR); }
  int fd() const { return fd_; }

  /// What comes until `enough` says so, or the other side ends (then ended() is true), or kLong has passed.
  std::string read_until(const std::function<bool(const std::string&)>& enough) {
    std::string all;
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (!enough(all)) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      pollfd ready{fd_, POLLIN, 0};
      if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0) break;
      char piece[4096];
      const ssize_t got = ::recv(fd_, piece, sizeof piece, 0);
      if (got <= 0) {
        ended_ = true;
        break;
      }
      all.append(piece, static_cast<std::size_t>(got));
    }
    return all;
  }
  std::string read_until(const std::string& text) {
    return read_until([&](const std::string& all) { return all.find(text) != std::string::npos; });
  }
  /// All that comes before the other side ends.
  std::string read_all() {
    return read_until([](const std::string&) { return false; });
  }
  bool ended() const { return ended_; }

 private:
  int fd_;
  bool ended_ = false;
};

inline int status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") && answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0;
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

inline const std::string kHello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace orch::http::test
