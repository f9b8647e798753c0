#include "http/server.h"

#include "http/asio_setup.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <mutex>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/text.h"
#include "http/stream.h"
#include "http/text_body.h"
#include "http/unix_socket.h"

namespace orch::http {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kHeaderRead = 8 * 1024;
constexpr std::size_t kBodyRead = 64 * 1024;
/// A body up to this size goes out in one piece with its head.
constexpr std::size_t kOnePiece = 64 * 1024;
/// After the descriptors of the process ran out, until the next try.
constexpr milliseconds kAcceptPause{100};
/// Then those that are connected get their turn.
constexpr int kAcceptAtOnce = 64;

constexpr Clock::time_point kNever = Clock::time_point::max();

std::string reason_of(int status) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  return {reason.data(), reason.size()};
}

bool is_clean(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::array<char, 40> text{};
  // %a and %b would speak the language of the process's locale.
  std::snprintf(text.data(), text.size(), "%s, %02d %s %d %02d:%02d:%02d GMT",
                kDays[static_cast<std::size_t>(parts.tm_wday)], parts.tm_mday,
                kMonths[static_cast<std::size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                parts.tm_sec);
  return text.data();
}

/// Whether an answer of this status has a body at all.
bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

std::string hex(std::size_t number) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%zx", number);
  return text.data();
}

std::string_view first_line(std::string_view text) {
  return text.substr(0, std::min(text.find_first_of("\r\n"), text.find('\0')));
}

std::string event_text(std::string_view id, std::string_view event, std::string_view data) {
  std::string text;
  text.reserve(id.size() + event.size() + data.size() + 32);
  if (!id.empty()) text.append("id: ").append(first_line(id)).append("\n");
  if (!event.empty()) text.append("event: ").append(first_line(event)).append("\n");
  for (std::size_t from = 0;;) {
    const std::size_t end = data.find_first_of("\r\n", from);
    text.append("data: ").append(data.substr(from, end - from)).append("\n");
    if (end == std::string_view::npos) break;
    from = end + (data.substr(end, 2) == "\r\n" ? 2 : 1);
  }
  return text.append("\n");
}

/// What is wrong with a request that Beast's parser gave up.
Response refusal(const error_code& error, const Limits& limits) {
  if (error == http::error::header_limit)
    return error_response(
        431, "the request's head is larger than the " + std::to_string(limits.header_bytes) + " bytes that are taken");
  if (error == http::error::body_limit)
    return error_response(
        413, "the request's body is larger than the " + std::to_string(limits.body_bytes) + " bytes that are taken");
  return error_response(400, "the request is not sound HTTP/1.1: " + error.message());
}

class Connection;

}  // namespace

struct Server::Core : std::enable_shared_from_this<Server::Core> {
  Core(Limits given_limits, Handler given_handler, std::function<void(const std::string&)> given_log)
      : limits(given_limits), handler(std::move(given_handler)), log(std::move(given_log)) {
    const milliseconds shortest = std::min({limits.header_time, limits.body_time, limits.idle_time, limits.answer_time,
                                            limits.write_time, limits.linger_time, limits.heartbeat});
    tick = std::clamp(shortest / 4, milliseconds(5), milliseconds(1'000));
  }

  void say(const std::string& what) const {
    if (log) log(what);
  }
  void add(std::unique_ptr<Stream> stream, Peer peer);
  void remove(const std::shared_ptr<Connection>& connection);
  /// Calls `take` with each connection's descriptor, until the end.
  template <class Acceptor, class Take>
  void accept(Acceptor& acceptor, asio::steady_timer& pause, Take take);
  void accept_unix(int fd);
  void accept_tls(int fd);
  void sweep();
  void stop(milliseconds grace);
  void finish();

  asio::io_context io{1};  // first, so that it outlives what uses it
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  Limits limits;
  Handler handler;
  std::function<void(const std::string&)> log;
  milliseconds tick{1'000};
  asio::ssl::context tls{asio::ssl::context::tls_server};
  asio::local::stream_protocol::acceptor unix_acceptor{io};
  asio::ip::tcp::acceptor tls_acceptor{io};
  asio::steady_timer unix_pause{io}, tls_pause{io}, sweep_timer{io}, stop_timer{io};
  std::optional<UnixSocket> unix_socket;
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::atomic<std::size_t> open{0};
  std::size_t bodies = 0;  ///< bytes of bodies that are still coming
  asio::ip::tcp tls_protocol = asio::ip::tcp::v4();
  std::uint16_t tls_port = 0;
  milliseconds stop_time{0};
  bool sweeping = false, stopping = false;
};

namespace {

/// What waits for an event stream's reader. Any thread puts in, the connection takes out.
struct EventQueue {
  std::weak_ptr<Server::Core> core;
  std::weak_ptr<Connection> connection;
  std::size_t most = 0;

  std::mutex mutex;
  std::string pending;
  std::size_t in_flight = 0;
  bool announced = false;  ///< the connection will look by itself
  bool closed = false;     ///< nothing more is taken
  bool overflown = false;  ///< the reader is too slow: no more is written either

  bool put(std::string_view text);
  void close();

 private:
  void wake();
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server::Core& core, std::unique_ptr<Stream> stream, Peer peer)
      : core_(core), stream_(std::move(stream)), peer_(std::move(peer)) {}

  void start();
  void answer(std::uint64_t number, Response response);
  void begin_stream(std::uint64_t number, std::shared_ptr<EventQueue> queue);
  /// Sees to the event stream's queue.
  void pump();
  void check_time(Clock::time_point now);
  /// The server ends: what is under way is brought to its end, all else is closed.
  void stop();
  void close();

 private:
  enum class Phase { kHandshake, kIdle, kHeader, kBody, kHandler, kWriting, kStreaming, kLingering, kClosed };
  enum class Then { kNext, kBody, kLinger, kStream };

  const Limits& limits() const { return core_.limits; }
  void enter(Phase phase, milliseconds time) {
    phase_ = phase;
    deadline_ = Clock::now() + time;
  }
  void next_request();
  void read(std::size_t most);
  void on_read(error_code error, std::size_t size);
  void parse();
  /// What is wrong with the head; nothing: nothing is.
  std::optional<Response> take_head();
  void handle();
  /// So much of a body is here; none, when it is not this connection's any more.
  void hold_body(std::size_t size);
  void refuse(Response response);
  void write_response(Response response);
  void write(Then then);
  void on_written(error_code error, std::size_t size);
  void written();
  void watch_reader();
  void linger();
  void discard();

  Server::Core& core_;
  std::unique_ptr<Stream> stream_;
  const Peer peer_;
  Phase phase_ = Phase::kHandshake;
  Clock::time_point deadline_ = kNever;

  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<TextBody>> parser_;
  std::size_t head_size_ = 0, body_size_ = 0;
  Request request_;
  bool keep_alive_ = false, is_head_ = false, old_version_ = false, reading_ = false;
  std::size_t served_ = 0;
  std::uint64_t number_ = 0;

  std::array<std::string, 2> out_;
  std::size_t out_part_ = 0, out_at_ = 0;
  bool writing_ = false;
  Then then_ = Then::kNext;

  std::shared_ptr<EventQueue> queue_;
  bool last_chunk_ = false;
  Clock::time_point heartbeat_ = kNever;
  std::array<char, 4096> thrown_away_;
};

bool EventQueue::put(std::string_view text) {
  const std::lock_guard lock(mutex);
  if (closed) return false;
  if (pending.size() + in_flight + text.size() > most) {
    closed = overflown = true;
    pending.clear();
    announced = false;
  } else {
    pending.append(text);
  }
  wake();
  return !overflown;
}

void EventQueue::close() {
  const std::lock_guard lock(mutex);
  if (std::exchange(closed, true)) return;
  wake();
}

void EventQueue::wake() {
  if (std::exchange(announced, true)) return;
  // The connection is only ever locked on the server's thread, so that it also dies there.
  if (const auto held = core.lock())
    asio::post(held->io, [weak = connection] {
      if (const auto alive = weak.lock()) alive->pump();
    });
}

void Connection::start() {
  enter(Phase::kHandshake, limits().header_time);
  stream_->handshake([self = shared_from_this()](error_code error, std::size_t) {
    if (self->phase_ == Phase::kClosed) return;
    if (error) return self->close();
    self->next_request();
  });
}

void Connection::next_request() {
  if (core_.stopping) return close();
  if (buffer_.size() == 0 && buffer_.capacity() > kBodyRead) buffer_ = boost::beast::flat_buffer();
  out_ = {};
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(limits().header_bytes, 1 << 30)));
  parser_->body_limit(limits().body_bytes);
  head_size_ = 0;
  if (buffer_.size() > 0) {
    enter(Phase::kHeader, limits().header_time);
    return parse();
  }
  enter(Phase::kIdle, served_ == 0 ? limits().header_time : limits().idle_time);
  read(kHeaderRead);
}

void Connection::read(std::size_t most) {
  reading_ = true;
  stream_->read_some(buffer_.prepare(most), [self = shared_from_this()](error_code error, std::size_t size) {
    self->reading_ = false;
    self->on_read(error, size);
  });
}

void Connection::on_read(error_code error, std::size_t size) {
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kLingering) return error ? close() : discard();
  // An answer to a request that came too slowly is on its way; what still comes of the request is of no use.
  if (phase_ != Phase::kIdle && phase_ != Phase::kHeader && phase_ != Phase::kBody) return;
  if (error) {
    const bool ended = error == asio::error::eof;
    if (ended && phase_ != Phase::kIdle) return refuse(error_response(400, "the request ends before it is complete"));
    return close();
  }
  buffer_.commit(size);
  if (phase_ == Phase::kIdle) enter(Phase::kHeader, limits().header_time);
  parse();
}

void Connection::parse() {
  while (buffer_.size() > 0 && !parser_->is_done()) {
    error_code error;
    const std::size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    if (phase_ == Phase::kHeader) {
      // Beast counts from the last complete header; a limit for all of them is counted here.
      head_size_ += used;
      const std::size_t unfinished = parser_->is_header_done() ? 0 : buffer_.size();
      if (head_size_ + unfinished > limits().header_bytes) error = http::error::header_limit;
    }
    if (error == http::error::need_more) break;
    if (error) return refuse(refusal(error, limits()));
    if (parser_->is_header_done()) hold_body(parser_->get().body().size());
    if (core_.bodies > limits().bodies_bytes)
      return refuse(error_response(503, "the daemon is reading as much as it takes at once; try again later"));
    if (phase_ == Phase::kHeader && parser_->is_header_done()) {
      enter(Phase::kBody, limits().body_time);
      if (auto wrong = take_head()) return refuse(std::move(*wrong));
      const bool expects = parser_->get().find(http::field::expect) != parser_->get().end();
      if (expects && !old_version_ && !parser_->is_done() && buffer_.size() == 0) {
        out_ = {"HTTP/1.1 100 Continue\r\n\r\n", ""};
        return write(Then::kBody);
      }
    }
    if (used == 0) break;
  }
  if (parser_->is_done()) return handle();
  // What is left after a body's bytes were taken is the head of a chunk.
  if (phase_ == Phase::kBody && buffer_.size() > limits().header_bytes)
    return refuse(error_response(400, "the request is not sound HTTP/1.1: the head of a chunk has no end"));
  read(phase_ == Phase::kBody ? kBodyRead : kHeaderRead);
}

std::optional<Response> Connection::take_head() {
  const auto& message = parser_->get();
  old_version_ = message.version() < 11;
  keep_alive_ = parser_->keep_alive();
  request_ = Request();
  request_.method = std::string(message.method_string());
  is_head_ = request_.method == "HEAD";
  request_.peer = peer_;

  const auto wrong = [](const std::string& what) { return error_response(400, what); };
  const auto count = [&](std::string_view name) { return message.count({name.data(), name.size()}); };
  const auto value = [&](std::string_view name) {
    const auto found = message[{name.data(), name.size()}];
    return std::string(found.data(), found.size());
  };
  const std::size_t hosts = count("Host");
  if (hosts > 1 || (hosts == 0 && !old_version_))
    return wrong("the request has " + counted(static_cast<long long>(hosts), "Host header") + ", expected one");
  for (const std::string_view name :
       {"Authorization", "Content-Type", "Accept", "Idempotency-Key", "Last-Event-ID", "Expect"}) {
    if (count(name) > 1 && name != "Accept") return wrong("the header " + std::string(name) + " is there twice");
    if (!is_utf8(value(name))) return wrong("the header " + std::string(name) + " is not UTF-8");
  }
  // With another encoding, or with two, the end of the body would be somebody's guess.
  if (count("Transfer-Encoding") > 0 && (old_version_ || lower(value("Transfer-Encoding")) != "chunked"))
    return error_response(501, "the request's Transfer-Encoding is " + quote(value("Transfer-Encoding")) +
                                   ", and only 'chunked' is known");
  if (count("Expect") > 0 && !old_version_ && lower(value("Expect")) != "100-continue")
    return error_response(417, "the request expects " + quote(value("Expect")) + ", and only '100-continue' is known");
  const auto sent = message.target();
  auto target = split_target({sent.data(), sent.size()});
  if (!target)
    return wrong("the request's target " + quote({sent.data(), sent.size()}) +
                 " is not a path with sound escapes in UTF-8");
  request_.path = std::move(target->path);
  request_.query = std::move(target->query);
  request_.content_type = value("Content-Type");
  request_.accept = value("Accept");
  request_.idempotency_key = value("Idempotency-Key");
  request_.last_event_id = value("Last-Event-ID");
  request_.peer.token = bearer_token(value("Authorization"));
  return std::nullopt;
}

}  // namespace

struct Responder::Inside {
  std::weak_ptr<Server::Core> core;
  std::weak_ptr<Connection> connection;
  std::uint64_t number = 0;
  std::atomic<bool> used{false};

  Inside() = default;
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { send(error_response(500, "the daemon gave no answer to this request; its log may say why")); }

  void send(Response response) {
    if (used.exchange(true)) return;
    run([number = number, response = std::move(response)](Connection& alive) mutable {
      alive.answer(number, std::move(response));
    });
  }

  /// On the server's thread, at once when this is it.
  template <class Deed>
  void run(Deed deed) {
    if (const auto held = core.lock())
      asio::dispatch(held->io, [weak = connection, deed = std::move(deed)]() mutable {
        if (const auto alive = weak.lock()) deed(*alive);
      });
  }
};

struct EventStream::Handle {
  std::shared_ptr<EventQueue> queue;
  explicit Handle(std::shared_ptr<EventQueue> given) : queue(std::move(given)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { queue->close(); }
};

void Responder::send(Response response) const { inside_->send(std::move(response)); }

EventStream Responder::stream() const {
  EventStream stream;
  const auto core = inside_->core.lock();
  if (!core || inside_->used.exchange(true)) return stream;
  auto queue = std::make_shared<EventQueue>();
  queue->core = inside_->core;
  queue->connection = inside_->connection;
  queue->most = core->limits.stream_bytes;
  queue->announced = true;  // the connection looks once the head is written
  stream.handle_ = std::make_shared<EventStream::Handle>(queue);
  inside_->run([number = inside_->number, queue](Connection& alive) { alive.begin_stream(number, queue); });
  return stream;
}

bool EventStream::send(std::string_view id, std::string_view event, std::string_view data) const {
  return handle_ && handle_->queue->put(event_text(id, event, data));
}

bool EventStream::closed() const {
  if (!handle_) return true;
  const std::lock_guard lock(handle_->queue->mutex);
  return handle_->queue->closed;
}

void EventStream::close() const {
  if (handle_) handle_->queue->close();
}

namespace {

void Connection::handle() {
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  hold_body(0);
  ++served_;
  keep_alive_ = keep_alive_ && served_ < limits().requests_per_connection && !core_.stopping;
  enter(Phase::kHandler, limits().answer_time);
  auto inside = std::make_shared<Responder::Inside>();
  inside->core = core_.weak_from_this();
  inside->connection = weak_from_this();
  inside->number = ++number_;
  const std::string asked = request_.method + " " + shown(request_.path);
  try {
    core_.handler(std::move(request_), Responder(std::move(inside)));
  } catch (const std::exception& fault) {
    core_.say(asked + ": the handler failed, and 500 was answered if nothing else had been: " + fault.what());
  }
}

void Connection::answer(std::uint64_t number, Response response) {
  if (number != number_ || phase_ != Phase::kHandler) return;
  write_response(std::move(response));
}

void Connection::hold_body(std::size_t size) {
  core_.bodies = core_.bodies - body_size_ + size;
  body_size_ = size;
}

void Connection::refuse(Response response) {
  keep_alive_ = false;
  parser_.reset();
  hold_body(0);
  write_response(std::move(response));
}

void Connection::write_response(Response response) {
  const bool sound = response.status >= 200 && response.status < 600 && is_clean(response.content_type) &&
                     std::all_of(response.headers.begin(), response.headers.end(), [](const auto& header) {
                       return !header.first.empty() && is_clean(header.first) && is_clean(header.second);
                     });
  if (!sound) {
    core_.say("an answer with status " + std::to_string(response.status) +
              " or a header that no HTTP answer may have was replaced by 500");
    response = error_response(500, "the daemon made an answer that cannot be sent; its log says more");
  }
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  head.append("Date: ").append(http_date()).append("\r\n");
  const bool body = has_body(response.status);
  if (body) {
    if (!response.content_type.empty()) head.append("Content-Type: ").append(response.content_type).append("\r\n");
    head.append("Content-Length: ").append(std::to_string(response.body.size())).append("\r\n");
  }
  for (const auto& [name, value] : response.headers) head.append(name).append(": ").append(value).append("\r\n");
  if (core_.stopping) keep_alive_ = false;
  if (!keep_alive_)
    head.append("Connection: close\r\n");
  else if (old_version_)
    head.append("Connection: keep-alive\r\n");
  head.append("\r\n");
  if (!body || is_head_) response.body.clear();
  if (response.body.size() <= kOnePiece) {
    head.append(response.body);
    response.body.clear();
  }
  out_ = {std::move(head), std::move(response.body)};
  write(keep_alive_ ? Then::kNext : Then::kLinger);
}

void Connection::write(Then then) {
  then_ = then;
  out_part_ = out_at_ = 0;
  // A body that is waited for keeps its own time; in all other phases the reader's counts.
  if (then == Then::kNext || then == Then::kLinger)
    enter(Phase::kWriting, limits().write_time);
  else if (then == Then::kStream)
    enter(Phase::kStreaming, limits().write_time);
  writing_ = true;
  on_written({}, 0);
}

void Connection::on_written(error_code error, std::size_t size) {
  if (phase_ == Phase::kClosed) return;
  if (error) return close();
  out_at_ += size;
  if (size > 0 && phase_ != Phase::kBody) deadline_ = Clock::now() + limits().write_time;
  while (out_part_ < out_.size() && out_at_ == out_[out_part_].size()) {
    ++out_part_;
    out_at_ = 0;
  }
  if (out_part_ == out_.size()) return written();
  const std::string& part = out_[out_part_];
  stream_->write_some(
      asio::buffer(part.data() + out_at_, part.size() - out_at_),
      [self = shared_from_this()](error_code failed, std::size_t done) { self->on_written(failed, done); });
}

void Connection::written() {
  writing_ = false;
  switch (then_) {
    case Then::kNext:
      return next_request();
    case Then::kBody:
      // The time for the body can have run out meanwhile.
      if (phase_ == Phase::kBody) read(kBodyRead);
      return;
    case Then::kLinger:
      return linger();
    case Then::kStream:
      deadline_ = kNever;
      heartbeat_ = Clock::now() + limits().heartbeat;
      {
        const std::lock_guard lock(queue_->mutex);
        queue_->in_flight = 0;
      }
      return pump();
  }
}

void Connection::begin_stream(std::uint64_t number, std::shared_ptr<EventQueue> queue) {
  if (number != number_ || phase_ != Phase::kHandler) {
    // The 503 has gone out already. Nobody reads this stream.
    queue->close();
    return;
  }
  queue_ = std::move(queue);
  keep_alive_ = false;
  std::string head = "HTTP/1.1 200 OK\r\nDate: " + http_date() +
                     "\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n";
  if (!old_version_) head += "Transfer-Encoding: chunked\r\n";
  out_ = {head + "\r\n", ""};
  if (is_head_ || core_.stopping) {
    queue_->close();
    last_chunk_ = is_head_;
  }
  write(Then::kStream);
  watch_reader();
}

void Connection::watch_reader() {
  if (phase_ != Phase::kStreaming) return;
  reading_ = true;
  stream_->read_some(asio::buffer(thrown_away_), [self = shared_from_this()](error_code error, std::size_t) {
    self->reading_ = false;
    if (self->phase_ == Phase::kLingering) return error ? self->close() : self->discard();
    if (self->phase_ != Phase::kStreaming) return;
    if (error) return self->close();
    self->watch_reader();
  });
}

void Connection::pump() {
  if (phase_ != Phase::kStreaming) return;
  std::string taken;
  bool too_slow = false;
  {
    const std::lock_guard lock(queue_->mutex);
    too_slow = queue_->overflown;
    if (!too_slow) {
      if (writing_) return;
      taken = std::exchange(queue_->pending, std::string());
      queue_->in_flight = taken.size();
      if (taken.empty() && !queue_->closed) {
        queue_->announced = false;
        return;
      }
    }
  }
  if (too_slow) {
    core_.say("an event stream was dropped: its reader is slower than the events");
    return close();
  }
  if (taken.empty()) {
    if (last_chunk_ || old_version_) return linger();
    last_chunk_ = true;
    out_ = {"0\r\n\r\n", ""};
  } else if (old_version_) {
    out_ = {std::move(taken), ""};
  } else {
    out_ = {hex(taken.size()) + "\r\n" + taken + "\r\n", ""};
  }
  write(Then::kStream);
}

void Connection::check_time(Clock::time_point now) {
  if (phase_ == Phase::kStreaming && !writing_ && now >= heartbeat_) {
    heartbeat_ = now + limits().heartbeat;
    queue_->put(":\n\n");
  }
  if (now < deadline_) return;
  switch (phase_) {
    case Phase::kHeader:
    case Phase::kBody:
      // A 100 that the peer does not read is still being written: no other answer can go out.
      if (writing_) return close();
      return refuse(error_response(408, "the request did not come in time"));
    case Phase::kHandler:
      return refuse(error_response(503, "the daemon did not answer in time; it may still do what was asked"));
    default:
      return close();
  }
}

void Connection::stop() {
  switch (phase_) {
    case Phase::kBody:
    case Phase::kHandler:
    case Phase::kWriting:
    case Phase::kLingering:
      return;
    case Phase::kStreaming:
      return queue_->close();
    default:
      return close();
  }
}

void Connection::linger() {
  // A socket that is closed with something unread takes back what was written; so it is read until the peer has ended
  // too, for a while.
  enter(Phase::kLingering, limits().linger_time);
  stream_->shutdown_send();
  if (!reading_) discard();
}

void Connection::discard() {
  reading_ = true;
  stream_->read_raw(asio::buffer(thrown_away_), [self = shared_from_this()](error_code error, std::size_t) {
    self->reading_ = false;
    if (self->phase_ == Phase::kClosed) return;
    if (error) return self->close();
    self->discard();
  });
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  hold_body(0);
  stream_->close();
  if (queue_) {
    const std::lock_guard lock(queue_->mutex);
    queue_->closed = true;
    queue_->pending.clear();
  }
  core_.remove(shared_from_this());
}

Peer peer_of_unix(int fd) {
  Peer peer;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
    peer.pid = credentials.pid;
  }
  return peer;
}

/// To one too many. It fits into the socket's buffer, so it never waits.
void say_busy(int fd) {
  const Response busy = error_response(503, "the daemon has as many connections as it takes; try again later");
  const std::string text = "HTTP/1.1 503 " + reason_of(503) +
                           "\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
                           "Content-Length: " +
                           std::to_string(busy.body.size()) + "\r\n\r\n" + busy.body;
  [[maybe_unused]] const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

Result<std::monostate> prepare_tls(asio::ssl::context& context, const Certificate& certificate) {
  SSL_CTX* native = context.native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(native, 0);
  error_code error;
  const std::string& pem = certificate.certificate_pem;
  context.use_certificate_chain(asio::buffer(pem.data(), pem.size()), error);
  if (error) return Error{"TLS cannot start with this certificate: " + error.message()};
  const std::string& key = certificate.key_pem.reveal();
  context.use_private_key(asio::buffer(key.data(), key.size()), asio::ssl::context::pem, error);
  if (error) return Error{"TLS cannot start with this private key: " + error.message()};
  return std::monostate{};
}

Result<std::monostate> listen_tls(asio::ip::tcp::acceptor& acceptor, const TlsListen& wanted) {
  const std::string where = wanted.address + " port " + std::to_string(wanted.port);
  error_code error;
  const auto address = asio::ip::make_address(wanted.address, error);
  if (error) return Error{quote(wanted.address) + " is not an IP address; expected one such as 127.0.0.1 or ::"};
  const asio::ip::tcp::endpoint endpoint(address, wanted.port);
  const int fd = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Error{where + ": cannot listen there: " + std::strerror(errno)};
  acceptor.assign(endpoint.protocol(), fd, error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return Error{where + ": cannot listen there: " + error.message()};
  return std::monostate{};
}

}  // namespace

void Server::Core::add(std::unique_ptr<Stream> stream, Peer peer) {
  const auto made = std::make_shared<Connection>(*this, std::move(stream), std::move(peer));
  connections.insert(made);
  open = connections.size();
  made->start();
  if (!std::exchange(sweeping, true)) sweep();
}

void Server::Core::remove(const std::shared_ptr<Connection>& connection) {
  connections.erase(connection);
  open = connections.size();
  if (stopping && connections.empty()) finish();
}

template <class Acceptor, class Take>
void Server::Core::accept(Acceptor& acceptor, asio::steady_timer& pause, Take take) {
  acceptor.async_wait(asio::socket_base::wait_read, [this, &acceptor, &pause, take](error_code error) {
    if (error || stopping) return;
    for (int taken = 0; taken < kAcceptAtOnce; ++taken) {
      // Not Asio's own accept: its socket would be inherited by every program that another thread starts.
      const int fd = ::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) {
        take(fd);
        continue;
      }
      if (errno == ECONNABORTED || errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      say(std::string("a connection could not be accepted: ") + std::strerror(errno));
      pause.expires_after(kAcceptPause);
      pause.async_wait([this, &acceptor, &pause, take](error_code waited) {
        if (!waited) accept(acceptor, pause, take);
      });
      return;
    }
    accept(acceptor, pause, take);
  });
}

void Server::Core::accept_unix(int fd) {
  asio::local::stream_protocol::socket socket(io, asio::local::stream_protocol(), fd);
  if (connections.size() >= limits.connections) return say_busy(fd);
  add(plain_stream(std::move(socket)), peer_of_unix(fd));
}

void Server::Core::accept_tls(int fd) {
  asio::ip::tcp::socket socket(io, tls_protocol, fd);
  // The last quarter is kept for this host: whoever can reach the port must not keep its people out.
  if (connections.size() >= limits.connections - limits.connections / 4) return;
  Peer peer;
  peer.transport = Transport::kTls;
  error_code ignored;
  const auto from = socket.remote_endpoint(ignored);
  peer.address = from.address().to_string() + " port " + std::to_string(from.port());
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  add(tls_stream(std::move(socket), tls, Side::kServer), std::move(peer));
}

void Server::Core::sweep() {
  if (connections.empty()) {
    sweeping = false;
    return;
  }
  sweep_timer.expires_after(tick);
  sweep_timer.async_wait([this](error_code error) {
    if (error) return;
    const std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
    const auto now = Clock::now();
    for (const auto& connection : all) connection->check_time(now);
    sweep();
  });
}

void Server::Core::stop(milliseconds grace) {
  stopping = true;
  error_code ignored;
  unix_acceptor.close(ignored);
  tls_acceptor.close(ignored);
  unix_pause.cancel();
  tls_pause.cancel();
  const std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const auto& connection : all) connection->stop();
  if (connections.empty()) return finish();
  stop_timer.expires_after(grace);
  stop_timer.async_wait([this](error_code error) {
    if (error) return;
    const std::vector<std::shared_ptr<Connection>> left(connections.begin(), connections.end());
    for (const auto& connection : left) connection->close();
  });
}

void Server::Core::finish() {
  stop_timer.cancel();
  sweep_timer.cancel();
  work.reset();
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler handler) {
  auto core = std::make_shared<Core>(options.limits, std::move(handler), std::move(options.log));
  core->stop_time = options.stop_time;
  if (!options.tls && !options.unix_socket) return Error{"the API has no place to listen: neither a socket nor a port"};
  if (options.tls) {
    if (auto ready = prepare_tls(core->tls, options.tls->certificate); !ready) return ready.error();
    if (auto ready = listen_tls(core->tls_acceptor, *options.tls); !ready) return ready.error();
    const auto endpoint = core->tls_acceptor.local_endpoint();
    core->tls_port = endpoint.port();
    core->tls_protocol = endpoint.protocol();
  }
  // Last, so that an error above leaves no socket behind.
  if (options.unix_socket) {
    auto socket = listen_unix(options.unix_socket->path, static_cast<mode_t>(options.unix_socket->mode));
    if (!socket) return socket.error();
    core->unix_socket = *socket;
    core->unix_acceptor.assign(asio::local::stream_protocol(), socket->fd);
  }
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

Server::Server(std::shared_ptr<Core> given) : core_(std::move(given)) {
  Core* core = core_.get();
  if (core->unix_acceptor.is_open())
    core->accept(core->unix_acceptor, core->unix_pause, [core](int fd) { core->accept_unix(fd); });
  if (core->tls_acceptor.is_open())
    core->accept(core->tls_acceptor, core->tls_pause, [core](int fd) { core->accept_tls(fd); });
  // Signals are for the program's main thread. A new thread has the mask of the one that makes it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([core] {
    for (;;) {
      try {
        core->io.run();
        return;
      } catch (const std::exception& fault) {
        core->say(std::string("the API's thread goes on after a fault: ") + fault.what());
      }
    }
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Server::~Server() {
  asio::post(core_->io, [core = core_.get()] { core->stop(core->stop_time); });
  thread_.join();
  if (core_->unix_socket) remove_name(*core_->unix_socket);
}

std::uint16_t Server::tls_port() const { return core_->tls_port; }
std::size_t Server::connections() const { return core_->open; }

}  // namespace orch::http
