#include "http/client.h"

#include <gmock/gmock.h>
#include <sys/syscall.h>

#include <thread>

#include "daemon.h"

namespace orch::http {
namespace {

using namespace std::chrono_literals;
using test::Daemon, test::Raw;
using testing::AllOf, testing::EndsWith, testing::HasSubstr, testing::Not, testing::StartsWith;

/// A server that reads one request and says what it is told to.
class Scripted {
 public:
  explicit Scripted(std::string answer, bool hold = false)
      : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, 8) != 0)
      throw std::runtime_error("no socket");
    thread_ = std::thread([this, answer = std::move(answer), hold] {
      const int fd = ::accept(listener_, nullptr, nullptr);
      char request[4096];
      const ssize_t got = ::recv(fd, request, sizeof request, 0);
      if (got > 0) asked_.assign(request, static_cast<std::size_t>(got));
      if (!answer.empty()) ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      while (hold && ::recv(fd, request, sizeof request, 0) > 0) {
      }
      ::close(fd);
    });
  }
  ~Scripted() {
    if (thread_.joinable()) thread_.join();
    ::close(listener_);
  }
  std::filesystem::path path() const { return folder_ / "socket"; }
  Client client(ClientOptions options = {}) const { return Client(UnixEndpoint{path()}, std::move(options)); }
  /// What it was sent; it has ended then.
  const std::string& asked() {
    thread_.join();
    return asked_;
  }

 private:
  test::TempFolder folder_;
  int listener_;
  std::string asked_;
  std::thread thread_;
};

TEST(Client, AsksPostsAndDeletes) {
  Scripted scripted("HTTP/1.1 201 Created\r\nContent-Type: a/b\r\nX-Name: value\r\nContent-Length: 4\r\n\r\nmade");
  ClientOptions options;
  options.token = Secret("s3cr3t");
  Call call;
  call.method = "POST";
  call.target = "/v1/x?y=z";
  call.body = "{}";
  call.headers = {{"Idempotency-Key", "k1"}};
  const auto answer = scripted.client(options).call(call);
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(answer->content_type, "a/b");
  EXPECT_EQ(answer->body, "made");
  EXPECT_EQ(*answer->header("X-Name"), "value");
  EXPECT_EQ(scripted.asked(),
            "POST /v1/x?y=z HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cr3t\r\nIdempotency-Key: k1\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

TEST(Client, UsesOneConnectionForManyCalls) {
  Daemon daemon({}, true);
  std::vector<Client> kept;
  for (const bool tls : {false, true}) {
    Client client = tls ? daemon.tls_client() : daemon.client();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(client.get("/hello")->body, "hello");
    EXPECT_EQ(client.del("/hello")->status, 405);
    EXPECT_EQ(daemon.server->connections(), tls ? 2u : 1u);
    kept.push_back(std::move(client));
  }
  kept.clear();
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
}

TEST(Client, MakesANewConnectionWhenTheServerClosedTheOld) {
  Limits limits;
  limits.idle_time = 40ms;
  Daemon daemon(limits);
  Client client = daemon.client();
  EXPECT_EQ(client.post("/echo", "1")->body, "1");
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
  EXPECT_EQ(client.post("/echo", "2")->body, "2");
}

TEST(Client, GoesOnAfterARestart) {
  auto daemon = std::make_unique<Daemon>();
  Client client = daemon->client();
  EXPECT_TRUE(client.get("/hello"));
  const auto path = daemon->path();
  daemon->server.reset();
  const auto away = client.get("/hello");
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().kind, ClientErrorKind::kNotThere);
  ServerOptions options;
  options.unix_socket = UnixListen{path};
  const auto again =
      Server::start(std::move(options), [](const Request&, const Responder& out) { out.send(test::text("back")); });
  ASSERT_TRUE(again);
  EXPECT_EQ(client.get("/hello")->body, "back");
}

TEST(Client, SaysThatNobodyIsThere) {
  const test::TempFolder folder;
  const auto none = Client(UnixEndpoint{folder / "none"}).get("/");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ClientErrorKind::kNotThere);
  EXPECT_THAT(none.error().what,
              AllOf(StartsWith((folder / "none").string() + ": "), HasSubstr("no daemon listens there")));
  std::uint16_t port = 0;
  {
    Daemon daemon({}, true);
    port = daemon.server->tls_port();
  }
  const auto closed = Client(TlsEndpoint{"127.0.0.1", port, {}}).get("/");
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().kind, ClientErrorKind::kNotThere);
  const auto unknown = Client(TlsEndpoint{"no-such-host.invalid", 1, {}}).get("/");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().kind, testing::AnyOf(ClientErrorKind::kNotThere, ClientErrorKind::kTimedOut));
  const auto long_path = Client(UnixEndpoint{std::string(200, 'x')}).get("/");
  ASSERT_FALSE(long_path);
  EXPECT_THAT(long_path.error().what, HasSubstr("the system takes 1 to 107"));
}

TEST(Client, SaysThatADeadDaemonLeftItsSocket) {
  const test::TempFolder folder;
  {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (folder / "left").c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(fd);
  }
  const auto left = Client(UnixEndpoint{folder / "left"}).get("/");
  ASSERT_FALSE(left);
  EXPECT_EQ(left.error().kind, ClientErrorKind::kNotThere);
  EXPECT_THAT(left.error().what, HasSubstr("left by one that has ended"));
}

TEST(Client, SaysThatItMayNotComeIn) {
  const Daemon daemon;
  // The folder lets everybody in, so that it is the socket's own mode that counts.
  std::filesystem::permissions(daemon.path().parent_path(), std::filesystem::perms(0755));
  std::filesystem::permissions(daemon.path(), std::filesystem::perms::none);
  std::optional<ClientErrorKind> kind;
  std::thread nobody([&] {
    // Root may use every socket. The system call itself, unlike the library's function, changes this thread alone.
    if (::getuid() == 0 && ::syscall(SYS_setresuid, -1, 65534, -1) != 0) return;
    const auto answer = daemon.client().get("/hello");
    if (!answer) kind = answer.error().kind;
  });
  nobody.join();
  EXPECT_EQ(kind, ClientErrorKind::kRefused);
}

TEST(Client, WaitsForAnAnswerOnlySoLong) {
  Daemon daemon({}, true);
  ClientOptions options;
  options.answer_time = 50ms;
  for (const bool tls : {false, true}) {
    Client client = tls ? daemon.tls_client(options) : daemon.client(options);
    const auto late = client.get("/later");
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().kind, ClientErrorKind::kTimedOut);
    // The late answer must not become the next call's.
    daemon.waiting.take()->send(test::text("late"));
    EXPECT_TRUE(test::eventually([&] {
      const auto next = client.get("/hello");
      return next && next->body == "hello";
    }));
  }
}

TEST(Client, WaitsForASlowBodyOnlySoLong) {
  const Scripted scripted("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true);
  ClientOptions options;
  options.answer_time = 50ms;
  const auto late = scripted.client(options).get("/");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ClientErrorKind::kTimedOut);
}

TEST(Client, WaitsForTlsOnlySoLong) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ClientOptions options;
  options.connect_time = 50ms;
  const auto late = Client(TlsEndpoint{"127.0.0.1", ntohs(address.sin_port), {}}, options).get("/");
  ::close(listener);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ClientErrorKind::kTimedOut);
}

TEST(Client, WaitsForAFullSocketOnlySoLong) {
  const test::TempFolder folder;
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder / "full").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  const Raw fills(folder / "full");
  ClientOptions options;
  options.connect_time = 50ms;
  const auto late = Client(UnixEndpoint{folder / "full"}, options).get("/");
  ::close(listener);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ClientErrorKind::kTimedOut);
}

TEST(Client, SendsNothingToAServerWithAnotherCertificate) {
  Daemon daemon({}, true);
  ClientOptions options;
  options.token = Secret("s3cr3t");
  const Digest other = *fingerprint(make_certificate({"127.0.0.1"})->certificate_pem);
  Client client(TlsEndpoint{"127.0.0.1", daemon.server->tls_port(), other}, options);
  const auto answer = client.get("/seen/a/b");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ClientErrorKind::kBadCertificate);
  EXPECT_THAT(answer.error().what, AllOf(HasSubstr(to_hex(other)),
                                         HasSubstr(to_hex(*fingerprint(test::test_certificate().certificate_pem)))));
  EXPECT_THAT(answer.error().what, Not(HasSubstr("s3cr3t")));
  EXPECT_EQ(daemon.seen.size(), 0u);
  EXPECT_EQ(daemon.tls_client().get("/hello")->body, "hello");
}

TEST(Client, SaysThatTheConnectionBroke) {
  for (const char* answer : {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "nonsense\r\n\r\n",
                             "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"}) {
    const Scripted scripted(answer);
    const auto got = scripted.client().get("/");
    ASSERT_FALSE(got) << answer;
    EXPECT_EQ(got.error().kind, ClientErrorKind::kBroken) << answer;
  }
}

TEST(Client, ReadsEveryKindOfBody) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", "abcde"},
      {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"},
      {"HTTP/1.1 204 No Content\r\n\r\n", ""},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"},
      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"}};
  for (const auto& [text, body] : cases) {
    const Scripted scripted(text);
    const auto got = scripted.client().get("/");
    ASSERT_TRUE(got) << text << got.error().what;
    EXPECT_EQ(got->body, body) << text;
  }
}

TEST(Client, TakesAnAnswerOnlySoLarge) {
  Daemon daemon;
  ClientOptions options;
  options.most_body = 1000;
  Client client = daemon.client(options);
  EXPECT_EQ(client.get("/big?bytes=1000")->body.size(), 1000u);
  const auto large = client.get("/big?bytes=1001");
  ASSERT_FALSE(large);
  EXPECT_THAT(large.error().what, HasSubstr("larger than"));
}

TEST(Client, ReadsTheAnswerOfAServerThatDidNotWantTheRest) {
  Limits limits;
  limits.body_bytes = 1000;
  Daemon daemon(limits, true);
  const std::string body(8'000'000, 'x');
  EXPECT_EQ(daemon.client().post("/echo", body)->status, 413);
  EXPECT_EQ(daemon.tls_client().post("/echo", body)->status, 413);
}

TEST(Client, WritesNoCallThatIsNotOneRequest) {
  Daemon daemon;
  Client client = daemon.client();
  EXPECT_THROW(client.get("/a\r\nX: y"), std::logic_error);
  EXPECT_THROW(client.get("/a b"), std::logic_error);
  EXPECT_THROW(client.get("a"), std::logic_error);
  Call call;
  call.headers = {{"A", "b\r\nC: d"}};
  EXPECT_THROW(client.call(call), std::logic_error);
}

TEST(Client, GivesAnAnswerThatIsNoStreamAsItIs) {
  Daemon daemon;
  const auto answer = daemon.client().events("/nothing", "", [](const Event&) { return true; });
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 404);
  EXPECT_THAT(answer->body, HasSubstr("there is nothing at '/nothing'"));
}

TEST(Client, StopsReadingEventsWhenItIsTold) {
  const Scripted scripted("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: 2\n\ndata: 3\n\n",
                          true);
  int seen = 0;
  const auto answer = scripted.client().events("/", "", [&](const Event&) { return ++seen < 2; });
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(seen, 2);
}

TEST(Client, TellsAStreamThatBrokeFromOneThatEnded) {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const bool whole : {true, false}) {
    const Scripted scripted(head + "9\r\ndata: 1\n\n\r\n" + (whole ? "0\r\n\r\n" : ""));
    int seen = 0;
    const auto answer = scripted.client().events("/", "", [&](const Event&) { return ++seen > 0; });
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(answer.ok(), whole);
  }
}

TEST(Client, GivesUpAStreamThatHasGoneSilent) {
  const Scripted scripted("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", true);
  ClientOptions options;
  options.quiet_time = 50ms;
  const auto answer = scripted.client(options).events("/", "", [](const Event&) { return true; });
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ClientErrorKind::kTimedOut);
  EXPECT_THAT(answer.error().what, HasSubstr("gone silent"));
}

TEST(Client, IsAsGoodAsNewAfterACallbackThrew) {
  Daemon daemon;
  Client client = daemon.client();
  std::thread sends([&] { daemon.streams.take()->send("1", "", "x"); });
  EXPECT_THROW(client.events("/events", "", [](const Event&) -> bool { throw std::runtime_error("no"); }),
               std::runtime_error);
  sends.join();
  EXPECT_EQ(client.get("/hello")->body, "hello");
}

}  // namespace
}  // namespace orch::http
