#include "http/stream.h"

#include <boost/asio/ssl/stream.hpp>
#include <utility>

namespace orch::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

class PlainStream final : public Stream {
 public:
  explicit PlainStream(asio::local::stream_protocol::socket socket) : socket_(std::move(socket)) {}
  void handshake(Done done) override { done({}, 0); }
  void read_some(asio::mutable_buffer into, Done done) override { socket_.async_read_some(into, std::move(done)); }
  void write_some(asio::const_buffer from, Done done) override { socket_.async_write_some(from, std::move(done)); }
  void read_raw(asio::mutable_buffer into, Done done) override { socket_.async_read_some(into, std::move(done)); }
  void shutdown_send() override {
    error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }
  int native_handle() override { return socket_.native_handle(); }

 private:
  asio::local::stream_protocol::socket socket_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(asio::ip::tcp::socket socket, asio::ssl::context& context, Side side)
      : stream_(std::move(socket), context), side_(side) {}
  void handshake(Done done) override {
    stream_.async_handshake(side_ == Side::kServer ? asio::ssl::stream_base::server : asio::ssl::stream_base::client,
                            [done = std::move(done)](error_code error) { done(error, 0); });
  }
  void read_some(asio::mutable_buffer into, Done done) override { stream_.async_read_some(into, std::move(done)); }
  void write_some(asio::const_buffer from, Done done) override { stream_.async_write_some(from, std::move(done)); }
  void read_raw(asio::mutable_buffer into, Done done) override {
    stream_.next_layer().async_read_some(into, std::move(done));
  }
  void shutdown_send() override {
    error_code ignored;
    stream_.next_layer().shutdown(asio::socket_base::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }
  int native_handle() override { return stream_.next_layer().native_handle(); }

 private:
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  Side side_;
};

}  // namespace

std::unique_ptr<Stream> plain_stream(asio::local::stream_protocol::socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

std::unique_ptr<Stream> tls_stream(asio::ip::tcp::socket socket, asio::ssl::context& context, Side side) {
  return std::make_unique<TlsStream>(std::move(socket), context, side);
}

}  // namespace orch::http
