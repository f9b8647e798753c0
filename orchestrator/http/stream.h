// A connected socket, plain (Unix) or TLS (TCP), behind one interface, so that the rest is compiled once for both.
// Internal to this folder.
#pragma once

#include "http/asio_setup.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>

namespace orch::http {

/// At most one read and one write are under way at any time.
class Stream {
 public:
  using Done = std::function<void(boost::system::error_code, std::size_t)>;

  virtual ~Stream() = default;
  virtual void handshake(Done done) = 0;
  virtual void read_some(boost::asio::mutable_buffer into, Done done) = 0;
  virtual void write_some(boost::asio::const_buffer from, Done done) = 0;
  /// Reads what the socket holds, decrypted or not: for throwing it away.
  virtual void read_raw(boost::asio::mutable_buffer into, Done done) = 0;
  /// Says to the other side that nothing more comes.
  virtual void shutdown_send() = 0;
  virtual void close() = 0;
  virtual int native_handle() = 0;
};

/// Whose part of the handshake it is.
enum class Side { kServer, kClient };

std::unique_ptr<Stream> plain_stream(boost::asio::local::stream_protocol::socket socket);
std::unique_ptr<Stream> tls_stream(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context& context, Side side);

}  // namespace orch::http
