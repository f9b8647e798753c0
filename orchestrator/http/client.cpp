#include "http/client.h"

#include "http/asio_setup.h"

#include <fcntl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "http/event_reader.h"
#include "http/stream.h"
#include "http/text_body.h"

namespace orch::http {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Kind = ClientErrorKind;
using Parser = http::response_parser<TextBody>;

constexpr std::size_t kRead = 64 * 1024;
constexpr std::uint32_t kMostHead = 64 * 1024;

/// What the check of a certificate needs, and what it found.
struct Pin {
  Digest known;
  std::optional<Digest> shown;
};

/// In place of OpenSSL's own check: names, dates and authorities say nothing here, the certificate's digest everything.
int check_pin(X509_STORE_CTX* store, void* argument) {
  auto& pin = *static_cast<Pin*>(argument);
  Digest shown_now;
  unsigned int size = 0;
  X509* certificate = X509_STORE_CTX_get0_cert(store);
  if (!certificate || X509_digest(certificate, EVP_sha256(), shown_now.bytes.data(), &size) != 1) return 0;
  pin.shown = shown_now;
  if (shown_now == pin.known) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
  return 0;
}

bool is_token(std::string_view text) {
  static constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool is_clean(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string request_text(const Call& call, const std::string& host, const Secret& token, bool keep) {
  const bool sound = is_token(call.method) && call.target.starts_with('/') && is_clean(call.target) &&
                     call.target.find_first_of(" #") == std::string::npos && is_clean(call.content_type) &&
                     is_clean(token.reveal()) &&
                     std::all_of(call.headers.begin(), call.headers.end(),
                                 [](const auto& header) { return is_token(header.first) && is_clean(header.second); });
  if (!sound)
    throw std::logic_error("a call of " + quote(call.method) + " " + quote(call.target) + " cannot be written as HTTP");
  std::string text = call.method + " " + call.target + " HTTP/1.1\r\nHost: " + host + "\r\n";
  if (!token.empty()) text.append("Authorization: Bearer ").append(token.reveal()).append("\r\n");
  for (const auto& [name, value] : call.headers) text.append(name).append(": ").append(value).append("\r\n");
  const bool sends = !call.body.empty() || call.method == "POST" || call.method == "PUT";
  if (!call.body.empty()) text.append("Content-Type: ").append(call.content_type).append("\r\n");
  if (sends) text.append("Content-Length: ").append(std::to_string(call.body.size())).append("\r\n");
  if (!keep) text.append("Connection: close\r\n");
  return text.append("\r\n").append(call.body);
}

}  // namespace

struct Client::Inside {
  Endpoint endpoint;
  ClientOptions options;
  std::string name;  ///< of the endpoint, for messages
  std::string host;  ///< of the Host header
  asio::io_context io{1};
  std::optional<asio::ssl::context> tls;
  Pin pin;
  std::unique_ptr<Stream> stream;
  boost::beast::flat_buffer buffer;
  bool reusable = false;  ///< the last call was answered whole, and the server keeps the connection

  Inside(Endpoint given, ClientOptions given_options) : endpoint(std::move(given)), options(std::move(given_options)) {
    if (const auto* unix_endpoint = std::get_if<UnixEndpoint>(&endpoint)) {
      name = unix_endpoint->path.string();
      host = "localhost";
      return;
    }
    const auto& remote = std::get<TlsEndpoint>(endpoint);
    host = (remote.host.find(':') == std::string::npos ? remote.host : "[" + remote.host + "]") + ":" +
           std::to_string(remote.port);
    name = host;
    pin.known = remote.certificate;
    tls.emplace(asio::ssl::context::tls_client);
    SSL_CTX* native = tls->native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    SSL_CTX_set_verify(native, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(native, check_pin, &pin);
  }

  ClientError error(Kind kind, const std::string& what) const { return {kind, name + ": " + what}; }

  /// Runs one operation; `start` is given what it must call at the end.
  template <class Start>
  std::pair<error_code, std::size_t> wait(Clock::time_point deadline, Start start) {
    // Shared, because an operation that is too late ends after this has returned, in drop().
    const auto ended = std::make_shared<std::optional<std::pair<error_code, std::size_t>>>();
    start([ended](error_code code, std::size_t size) { ended->emplace(code, size); });
    io.restart();
    io.run_until(deadline);
    if (*ended) return **ended;
    return {asio::error::timed_out, 0};
  }

  /// After an error: what is still under way refers to the call that gave up, so it is brought to its end here.
  void drop() {
    if (stream) stream->close();
    io.restart();
    io.run();
    stream.reset();
    buffer.clear();
  }

  std::optional<ClientError> connect();
  std::optional<ClientError> connect_unix(const UnixEndpoint& to);
  std::optional<ClientError> connect_tls(const TlsEndpoint& to, Clock::time_point deadline);
  bool is_fresh() const;
  Result<Response, ClientError> exchange(const Call& call, bool keep, EventReader* events);
  std::optional<ClientError> write(std::string_view text, Clock::time_point deadline);
  /// `late` is said when nothing comes before the deadline.
  std::optional<ClientError> read_more(Parser& parser, Clock::time_point deadline, const char* late, bool& ended);
};

std::optional<ClientError> Client::Inside::connect() {
  drop();
  if (const auto* to = std::get_if<UnixEndpoint>(&endpoint)) return connect_unix(*to);
  return connect_tls(std::get<TlsEndpoint>(endpoint), Clock::now() + options.connect_time);
}

std::optional<ClientError> Client::Inside::connect_unix(const UnixEndpoint& to) {
  if (to.path.native().empty() || to.path.native().size() > 107)
    return error(Kind::kNotThere, "no socket can have this path: it has " + std::to_string(to.path.native().size()) +
                                      " bytes, and the system takes 1 to 107");
  const asio::local::stream_protocol::endpoint address(to.path.native());
  const auto deadline = Clock::now() + options.connect_time;
  for (;;) {
    asio::local::stream_protocol::socket socket(io);
    error_code code;
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) code.assign(errno, boost::system::system_category());
    if (!code) socket.assign(address.protocol(), fd, code);
    // On Linux this either succeeds or fails at once; a full queue is EAGAIN, and the same try is made again.
    const int connected =
        code ? -1 : ::connect(socket.native_handle(), address.data(), static_cast<socklen_t>(address.size()));
    if (connected == 0) {
      stream = plain_stream(std::move(socket));
      return std::nullopt;
    }
    const int number = code ? code.value() : errno;
    if (number == EAGAIN && Clock::now() < deadline) {
      asio::steady_timer pause(io, std::chrono::milliseconds(5));
      wait(deadline, [&](auto done) { pause.async_wait([done](error_code waited) { done(waited, 0); }); });
      continue;
    }
    if (number == EAGAIN) return error(Kind::kTimedOut, "the daemon is there, but takes no more connections");
    if (number == ENOENT || number == ENOTDIR)
      return error(Kind::kNotThere, "no daemon listens there: there is no such socket");
    if (number == ECONNREFUSED)
      return error(Kind::kNotThere, "no daemon listens there: the socket was left by one that has ended");
    if (number == EACCES || number == EPERM) return error(Kind::kRefused, "this account may not use the socket");
    return error(Kind::kNotThere, "no connection: " + error_code(number, boost::system::system_category()).message());
  }
}

std::optional<ClientError> Client::Inside::connect_tls(const TlsEndpoint& to, Clock::time_point deadline) {
  error_code code;
  std::vector<asio::ip::tcp::endpoint> addresses;
  const auto literal = asio::ip::make_address(to.host, code);
  if (!code) {
    addresses.emplace_back(literal, to.port);
  } else {
    asio::ip::tcp::resolver resolver(io);
    code = wait(deadline, [&](auto done) {
             resolver.async_resolve(
                 to.host, std::to_string(to.port),
                 [&addresses, done](error_code failed, const asio::ip::tcp::resolver::results_type& found) {
                   if (!failed)
                     for (const auto& one : found) addresses.push_back(one.endpoint());
                   done(failed, 0);
                 });
           }).first;
    if (code == asio::error::timed_out) {
      resolver.cancel();
      drop();
      return error(Kind::kTimedOut, "the host's address was not found in time");
    }
    if (code) return error(Kind::kNotThere, "the host's address is not known: " + code.message());
  }
  asio::ip::tcp::socket socket(io);
  code = wait(deadline, [&](auto done) {
           asio::async_connect(socket, addresses,
                               [done](error_code failed, const asio::ip::tcp::endpoint&) { done(failed, 0); });
         }).first;
  if (code) {
    error_code ignored;
    socket.close(ignored);
    drop();
    if (code == asio::error::timed_out) return error(Kind::kTimedOut, "no connection in time");
    return error(Kind::kNotThere, "no daemon listens there: " + code.message());
  }
  socket.set_option(asio::ip::tcp::no_delay(true), code);
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  stream = tls_stream(std::move(socket), *tls, Side::kClient);
  pin.shown.reset();
  code = wait(deadline, [&](auto done) { stream->handshake(done); }).first;
  if (!code && pin.shown == pin.known) return std::nullopt;
  drop();
  if (pin.shown && pin.shown != pin.known)
    return error(Kind::kBadCertificate, "another server answers there: its certificate has SHA-256 " +
                                            to_hex(*pin.shown) + ", expected " + to_hex(pin.known) +
                                            "; nothing was sent to it");
  if (code == asio::error::timed_out) return error(Kind::kTimedOut, "TLS was not agreed on in time");
  if (code == asio::error::eof || code == asio::error::connection_reset)
    return error(Kind::kBroken,
                 "the connection was closed before TLS was agreed on; the daemon may have too many connections");
  return error(Kind::kBadCertificate, "TLS was not agreed on: " + code.message());
}

/// Whether the connection of the last call is still open and has nothing unasked to say.
bool Client::Inside::is_fresh() const {
  if (!stream || !reusable || buffer.size() > 0) return false;
  char byte = 0;
  return ::recv(stream->native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK);
}

std::optional<ClientError> Client::Inside::write(std::string_view text, Clock::time_point deadline) {
  while (!text.empty()) {
    const auto [code, size] =
        wait(deadline, [&](auto done) { stream->write_some(asio::buffer(text.data(), text.size()), done); });
    if (code == asio::error::timed_out) return error(Kind::kTimedOut, "the request was not taken in time");
    // The server may have answered before it read all (413, 503) and closed: the answer is still there to be read.
    if (code == asio::error::broken_pipe || code == asio::error::connection_reset) return std::nullopt;
    if (code) return error(Kind::kBroken, "the connection broke while the request was sent: " + code.message());
    text.remove_prefix(size);
  }
  return std::nullopt;
}

std::optional<ClientError> Client::Inside::read_more(Parser& parser, Clock::time_point deadline, const char* late,
                                                     bool& ended) {
  const auto [code, size] = wait(deadline, [&](auto done) { stream->read_some(buffer.prepare(kRead), done); });
  if (code == asio::error::timed_out) return error(Kind::kTimedOut, late);
  buffer.commit(size);
  if (!code) return std::nullopt;
  ended = true;
  error_code unfinished;
  if (parser.got_some()) parser.put_eof(unfinished);
  if (code == asio::error::eof && parser.is_done()) return std::nullopt;
  return error(Kind::kBroken, "the connection ended before the answer was complete; what was asked may have been done");
}

Result<Response, ClientError> Client::Inside::exchange(const Call& call, bool keep, EventReader* events) {
  const std::string request = request_text(call, host, options.token, keep);
  if (!keep || !is_fresh())
    if (auto failed = connect()) return *failed;
  reusable = false;
  auto deadline = Clock::now() + options.answer_time;
  const auto give_up = [&](ClientError failed) {
    drop();
    return failed;
  };
  if (auto failed = write(request, deadline)) return give_up(std::move(*failed));

  std::optional<Parser> parser;
  const auto begin = [&] {
    parser.emplace();
    parser->header_limit(kMostHead);
    parser->body_limit(events ? std::uint64_t{1} << 62 : std::uint64_t{options.most_body});
    parser->skip(call.method == "HEAD");
  };
  begin();
  bool ended = false, is_stream = false;
  while (!parser->is_done()) {
    error_code code;
    bool hungry = buffer.size() == 0;
    if (!hungry) {
      const std::size_t used = parser->put(buffer.data(), code);
      buffer.consume(used);
      if (code == http::error::body_limit)
        return give_up(error(Kind::kBroken, "the answer is larger than the " +
                                                format_bytes(static_cast<double>(options.most_body)) +
                                                " that are taken"));
      if (code && code != http::error::need_more)
        return give_up(error(Kind::kBroken, "the answer is not sound HTTP/1.1: " + code.message()));
      hungry = code == http::error::need_more || used == 0;
      if (hungry && buffer.size() > 2 * kMostHead)
        return give_up(error(Kind::kBroken, "the answer is not sound HTTP/1.1: its head has no end"));
    }
    if (parser->is_header_done()) {
      const int status = parser->get().result_int();
      // 100 Continue and its like go before the answer.
      if (status / 100 == 1 && parser->is_done()) {
        begin();
        continue;
      }
      if (events && !is_stream && status == 200) {
        const auto kind = parser->get()[http::field::content_type];
        is_stream = lower({kind.data(), kind.size()}).starts_with("text/event-stream");
      }
      if (is_stream) {
        switch (events->feed(std::exchange(parser->get().body(), std::string()))) {
          case EventReader::State::kOpen:
            break;
          case EventReader::State::kStopped:
            drop();
            return Response{200, "text/event-stream", "", {}};
          case EventReader::State::kTooLong:
            return give_up(error(Kind::kBroken, "an event is larger than the " +
                                                    format_bytes(static_cast<double>(options.most_event)) +
                                                    " that are taken"));
        }
        deadline = Clock::now() + options.quiet_time;
      }
    }
    const char* late = is_stream ? "the event stream has gone silent; not even a heartbeat came"
                                 : "no answer in time; what was asked may have been done";
    if (hungry && !parser->is_done())
      if (auto failed = read_more(*parser, deadline, late, ended)) return give_up(std::move(*failed));
  }
  Response response;
  auto& message = parser->get();
  response.status = static_cast<int>(message.result_int());
  response.content_type.clear();
  for (const auto& field : message) {
    const std::string name_of = lower({field.name_string().data(), field.name_string().size()});
    const std::string value(field.value().data(), field.value().size());
    if (name_of == "content-type")
      response.content_type = value;
    else if (name_of != "content-length" && name_of != "connection" && name_of != "transfer-encoding")
      response.headers.emplace_back(name_of, value);
  }
  if (is_stream) {
    events->feed(message.body());
    message.body().clear();
  }
  response.body = std::move(message.body());
  reusable = keep && !ended && parser->keep_alive();
  if (!reusable) drop();
  return response;
}

Client::Client(Endpoint endpoint, ClientOptions options)
    : inside_(std::make_unique<Inside>(std::move(endpoint), std::move(options))) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<Response, ClientError> Client::call(const Call& call) { return inside_->exchange(call, true, nullptr); }

Result<Response, ClientError> Client::get(const std::string& target) {
  Call call;
  call.target = target;
  return this->call(call);
}

Result<Response, ClientError> Client::post(const std::string& target, std::string json_body) {
  Call call;
  call.method = "POST";
  call.target = target;
  call.body = std::move(json_body);
  return this->call(call);
}

Result<Response, ClientError> Client::del(const std::string& target) {
  Call call;
  call.method = "DELETE";
  call.target = target;
  return this->call(call);
}

Result<Response, ClientError> Client::events(const std::string& target, const std::string& last_event_id,
                                             const std::function<bool(const Event&)>& each) {
  Call call;
  call.target = target;
  call.headers = {{"Accept", "text/event-stream"}};
  if (!last_event_id.empty()) call.headers.emplace_back("Last-Event-ID", last_event_id);
  EventReader reader(each, inside_->options.most_event);
  return inside_->exchange(call, false, &reader);
}

}  // namespace orch::http
