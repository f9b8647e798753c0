// An HTTP/1.1 server on a Unix socket, on TCP with TLS, or both. What the calls mean stands in the handler.
//
// Holds:
//  - One thread does all of it; the handler is called on it and must not wait. Answers may come from any thread.
//  - Every request gets exactly one answer, unless its connection is gone: a Responder that is dropped answers 500.
//  - A connection has one request with the handler at a time: pipelined requests are answered in their order.
//  - What a peer sends or does not send costs bounded memory and time (Limits), and never the daemon's life.
//  - The Unix socket is never there with a wider mode than was asked for; a live daemon's socket is never taken away.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "http/certificate.h"
#include "http/message.h"

namespace orch::http {

struct Limits {
  std::size_t header_bytes = 16 * 1024;       ///< of a request's first line and headers; past it 431
  std::size_t body_bytes = 16 * 1024 * 1024;  ///< past it 413, unread
  /// Of the bodies of all connections that are still coming: nobody has looked yet at who sends them. Past it 503.
  std::size_t bodies_bytes = 128 * 1024 * 1024;
  std::size_t connections = 512;  ///< past it 503 on the Unix socket; past three quarters of it a closed
                                  ///< connection on TLS
  std::size_t requests_per_connection = 100'000;
  std::size_t stream_bytes = 1024 * 1024;  ///< of events that wait for a slow reader; past it the stream is dropped

  // Each is noticed at most a quarter of the shortest of them, or a second, too late.
  std::chrono::milliseconds header_time{10'000};   ///< from a connection's start or a request's first byte; past it 408
  std::chrono::milliseconds body_time{60'000};     ///< from the last header; past it 408
  std::chrono::milliseconds idle_time{120'000};    ///< between two requests; past it the connection is closed
  std::chrono::milliseconds answer_time{600'000};  ///< for the handler; past it 503
  std::chrono::milliseconds write_time{30'000};    ///< in which a reader must take some more of its answer
  std::chrono::milliseconds linger_time{1'000};    ///< in which a peer may read the last answer before the end
  std::chrono::milliseconds heartbeat{15'000};     ///< between the comments that keep an event stream alive
};

/// Events to one peer. Copies mean the same stream; it ends when the last one goes.
class EventStream {
 public:
  /// A stream that is closed from the first.
  EventStream() = default;
  /// Never waits. False: the stream is closed, by the peer, by close(), or now because the peer reads too slowly.
  /// A line break in `id` or `event` ends it there; data may have any number of lines.
  bool send(std::string_view id, std::string_view event, std::string_view data) const;
  bool closed() const;
  /// What was sent before is still written. Harmless when it is closed.
  void close() const;

 private:
  friend class Responder;
  struct Handle;
  std::shared_ptr<Handle> handle_;
};

/// The way back to whoever asked. Copies mean the same answer: the first call counts, and the others do nothing.
class Responder {
 public:
  void send(Response response) const;
  /// Answers with a stream of events (status 200).
  EventStream stream() const;

  struct Inside;
  explicit Responder(std::shared_ptr<Inside> inside) : inside_(std::move(inside)) {}

 private:
  std::shared_ptr<Inside> inside_;
};

using Handler = std::function<void(Request, Responder)>;

struct UnixListen {
  std::filesystem::path path;
  unsigned mode = 0600;
};

struct TlsListen {
  std::string address = "127.0.0.1";  ///< an IP address; `::` and `0.0.0.0` mean every one
  std::uint16_t port = 0;             ///< 0: one that is free; Server::tls_port() says which
  Certificate certificate;
};

struct ServerOptions {
  std::optional<UnixListen> unix_socket;
  std::optional<TlsListen> tls;
  Limits limits;
  /// For how long the end of the server waits for answers that are under way.
  std::chrono::milliseconds stop_time{2'000};
  /// Told, on the server's thread, what the daemon's log should say. May be empty.
  std::function<void(const std::string&)> log;
};

class Server {
 public:
  /// Listens once this returns. The error is a sentence for the person who started the daemon.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler handler);
  /// Stops listening, lets answers under way go out (at most stop_time), ends streams, and removes the socket. Not to
  /// be called from the handler.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t tls_port() const;
  /// Connections that are open now.
  std::size_t connections() const;

  struct Core;

 private:
  explicit Server(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
  std::thread thread_;
};

}  // namespace orch::http
