#include "http/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "daemon.h"

namespace orch::http {
namespace {

using namespace std::chrono_literals;
using test::Daemon, test::kHello, test::Raw, test::status_of;
using testing::AllOf, testing::ElementsAre, testing::HasSubstr, testing::Not, testing::Pair;

std::string post(const std::string& body, const std::string& headers = "") {
  return "POST /echo HTTP/1.1\r\nHost: x\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Server, AnswersAndKeepsTheConnection) {
  Daemon daemon;
  Raw raw(daemon.path());
  for (int i = 0; i < 3; ++i) {
    raw.send(kHello);
    EXPECT_THAT(raw.read_until("hello"), AllOf(HasSubstr("HTTP/1.1 200 OK\r\n"), HasSubstr("Content-Length: 5\r\n"),
                                               HasSubstr("Date: "), Not(HasSubstr("Connection: close"))));
  }
  EXPECT_EQ(daemon.server->connections(), 1u);
}

TEST(Server, AnswersPipelinedRequestsInTheirOrder) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n" + kHello + post("third", "Connection: close\r\n"));
  auto later = daemon.waiting.take();
  ASSERT_TRUE(later);
  later->send(test::text("first"));
  const std::string all = raw.read_all();
  EXPECT_EQ(count(all, "HTTP/1.1 200 OK"), 3u);
  EXPECT_LT(all.find("first"), all.find("hello"));
  EXPECT_LT(all.find("hello"), all.find("third"));
  EXPECT_TRUE(raw.ended());
}

TEST(Server, ReadsARequestThatComesByteByByte) {
  Daemon daemon;
  Raw raw(daemon.path());
  for (const char byte : post("slow and steady")) ASSERT_TRUE(raw.send({&byte, 1}));
  EXPECT_EQ(status_of(raw.read_until("slow and steady")), 200);
}

TEST(Server, ReadsChunkedBodies) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "4\r\nWiki\r\n5;name=value\r\npedia\r\n0\r\nTrailer: x\r\n\r\n" +
      kHello);
  const std::string all = raw.read_until("hello");
  EXPECT_THAT(all, AllOf(HasSubstr("\r\n\r\nWikipedia"), HasSubstr("hello")));
}

TEST(Server, SendsALargeBodyWhole) {
  Daemon daemon({}, true);
  const std::size_t bytes = 5'000'000;
  for (const bool tls : {false, true}) {
    Client client = tls ? daemon.tls_client() : daemon.client();
    const auto answer = client.get("/big?bytes=" + std::to_string(bytes));
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(answer->body, std::string(bytes, 'x'));
  }
}

TEST(Server, TakesALargeBodyWhole) {
  Daemon daemon({}, true);
  std::string body(5'000'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 31);
  EXPECT_EQ(daemon.client().post("/echo", body)->body, body);
  EXPECT_EQ(daemon.tls_client().post("/echo", body)->body, body);
}

TEST(Server, HandsTheHandlerWhatWasSent) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send(
      "GET /seen/a%20b/c?x=1&y=%26 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cr3t\r\nContent-Type: a/b\r\n"
      "Accept: text/csv\r\nIdempotency-Key: k1\r\nLast-Event-ID: 17\r\n\r\n");
  const auto seen = daemon.seen.take();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->method, "GET");
  EXPECT_EQ(seen->path, "/seen/a%20b/c");
  EXPECT_THAT(seen->query, ElementsAre(Pair("x", "1"), Pair("y", "&")));
  EXPECT_THAT(seen->parts, ElementsAre(Pair("one", "a b"), Pair("two", "c")));
  EXPECT_EQ(seen->content_type, "a/b");
  EXPECT_EQ(seen->accept, "text/csv");
  EXPECT_EQ(seen->idempotency_key, "k1");
  EXPECT_EQ(seen->last_event_id, "17");
  EXPECT_TRUE(seen->peer.token.matches("s3cr3t"));
}

TEST(Server, KnowsWhoIsAtTheOtherEndOfTheUnixSocket) {
  Daemon daemon;
  ASSERT_TRUE(daemon.client().get("/seen/a/b"));
  const auto seen = daemon.seen.take();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->peer.transport, Transport::kUnix);
  EXPECT_EQ(seen->peer.uid, ::getuid());
  EXPECT_EQ(seen->peer.gid, ::getgid());
  EXPECT_EQ(seen->peer.pid, ::getpid());
  EXPECT_TRUE(seen->peer.token.empty());
}

TEST(Server, KnowsATlsPeerByItsTokenAlone) {
  Daemon daemon({}, true);
  ClientOptions options;
  options.token = Secret("s3cr3t");
  ASSERT_TRUE(daemon.tls_client(options).get("/seen/a/b"));
  const auto seen = daemon.seen.take();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->peer.transport, Transport::kTls);
  EXPECT_TRUE(seen->peer.token.matches("s3cr3t"));
  EXPECT_THAT(seen->peer.address, HasSubstr("127.0.0.1 port "));
  EXPECT_EQ(seen->peer.uid, static_cast<uid_t>(-1));
}

TEST(Server, AnswersFromAnotherThread) {
  Daemon daemon;
  std::thread other([&] {
    for (int i = 0; i < 50; ++i)
      if (auto out = daemon.waiting.take()) out->send(test::text(std::to_string(i)));
  });
  Client client = daemon.client();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.get("/later")->body, std::to_string(i));
  other.join();
}

TEST(Server, TakesTheFirstOfTwoAnswers) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  auto out = daemon.waiting.take();
  ASSERT_TRUE(out);
  const Responder copy = *out;
  out->send(test::text("first"));
  copy.send(test::text("second"));
  EXPECT_TRUE(copy.stream().closed());
  raw.read_until("first");
  raw.send(kHello);
  EXPECT_THAT(raw.read_until("hello"), Not(HasSubstr("second")));
}

TEST(Server, Answers500WhenTheAnswerIsDropped) {
  Daemon daemon;
  const auto answer = daemon.client().get("/drop");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 500);
  EXPECT_THAT(answer->body, HasSubstr(R"({"error":{"status":500,)"));
}

TEST(Server, Answers500AndLogsWhyWhenTheHandlerThrows) {
  Daemon daemon;
  const auto answer = daemon.client().get("/throw");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 500);
  EXPECT_THAT(answer->body, Not(HasSubstr("shelf")));
  EXPECT_THAT(daemon.log.take().value_or(""), AllOf(HasSubstr("GET /throw"), HasSubstr("the shelf is bare")));
}

TEST(Server, NeverSendsAHeaderWithALineBreak) {
  Daemon daemon;
  Client client = daemon.client();
  std::thread other([&] {
    Response split = test::text("x");
    split.headers.emplace_back("X-Name", "a\r\nSet-Cookie: b");
    daemon.waiting.take()->send(split);
  });
  const auto answer = client.get("/later");
  other.join();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 500);
  EXPECT_EQ(answer->header("Set-Cookie"), nullptr);
}

TEST(Server, OutlivesAResponderAndTheOtherWayRound) {
  std::optional<Responder> kept;
  std::optional<EventStream> stream;
  {
    Daemon daemon({}, false, 1ms);
    Raw one(daemon.path()), two(daemon.path());
    one.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    two.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    kept = daemon.waiting.take();
    stream = daemon.streams.take();
  }
  ASSERT_TRUE(kept && stream);
  kept->send(test::text("too late"));
  EXPECT_TRUE(stream->closed());
  EXPECT_FALSE(stream->send("1", "", "x"));
}

TEST(Server, LetsAnswersUnderWayOutBeforeItEnds) {
  auto daemon = std::make_unique<Daemon>(Limits{}, false, test::kLong);
  Raw busy(daemon->path()), idle(daemon->path());
  idle.send(kHello);
  idle.read_until("hello");
  busy.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  auto out = daemon->waiting.take();
  ASSERT_TRUE(out);
  std::thread ends([&] { daemon->server.reset(); });
  idle.read_all();
  EXPECT_TRUE(idle.ended());  // it has begun to end
  out->send(test::text("the last word"));
  EXPECT_THAT(busy.read_all(), AllOf(HasSubstr("the last word"), HasSubstr("Connection: close")));
  ends.join();
}

TEST(Server, EndsInItsTimeThoughAnAnswerIsMissing) {
  auto daemon = std::make_unique<Daemon>(Limits{}, false, 50ms);
  Raw raw(daemon->path());
  raw.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto out = daemon->waiting.take();
  const auto before = std::chrono::steady_clock::now();
  daemon->server.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, test::kLong / 2);
  EXPECT_EQ(raw.read_all(), "");
}

TEST(Server, AnswersHttp10AndCloses) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_THAT(raw.read_all(), AllOf(HasSubstr("Connection: close\r\n"), HasSubstr("hello")));
  EXPECT_TRUE(raw.ended());
  Raw kept(daemon.path());
  kept.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(kept.read_until("hello"), HasSubstr("Connection: keep-alive\r\n"));
  kept.send(kHello);
  EXPECT_THAT(kept.read_until("hello"), HasSubstr("hello"));
}

TEST(Server, ClosesWhenThePeerAsksForIt) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(raw.read_all(), HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(raw.ended());
}

TEST(Server, AnswersAPeerThatHasEndedItsSide) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send(kHello);
  raw.end();
  EXPECT_THAT(raw.read_all(), HasSubstr("hello"));
}

TEST(Server, SaysContinueBeforeABodyThatWaitsForIt) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(raw.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  raw.send("body");
  EXPECT_THAT(raw.read_until("body"), HasSubstr("HTTP/1.1 200 OK"));
}

TEST(Server, SaysContinueToNobodyWhoHasSentTheBody) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send(post("body", "Expect: 100-continue\r\n"));
  EXPECT_EQ(status_of(raw.read_until("body")), 200);
}

TEST(Server, RefusesABodyThatIsTooLargeBeforeItIsSent) {
  Limits limits;
  limits.body_bytes = 1000;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_EQ(status_of(raw.read_all()), 413);
  EXPECT_TRUE(raw.ended());
  Raw exact(daemon.path());
  exact.send(post(std::string(1000, 'x')));
  EXPECT_EQ(status_of(exact.read_until("xxx")), 200);
}

TEST(Server, RefusesABodyThatGrowsTooLargeByChunks) {
  Limits limits;
  limits.body_bytes = 1000;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 3; ++i) raw.send("190\r\n" + std::string(400, 'x') + "\r\n");
  EXPECT_EQ(status_of(raw.read_all()), 413);
  EXPECT_TRUE(raw.ended());
}

TEST(Server, GivesItsAnswerToAPeerThatStillSends) {
  Limits limits;
  limits.body_bytes = 1000;
  limits.linger_time = test::kLong;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  // More than a socket's buffer holds: the peer would be stuck, or lose the answer, if nobody read on.
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
  EXPECT_TRUE(raw.send(std::string(3'000'000, 'x')));
  EXPECT_EQ(status_of(raw.read_all()), 413);
}

TEST(Server, RefusesAHeadThatIsTooLarge) {
  Limits limits;
  limits.header_bytes = 1000;
  Daemon daemon(limits);
  const std::string start = "GET /hello HTTP/1.1\r\nHost: x\r\n";
  const auto ask = [&](const std::string& head) {
    Raw raw(daemon.path());
    raw.send(head);
    return status_of(raw.read_until("\r\n\r\n"));
  };
  EXPECT_EQ(ask(start + "A: " + std::string(1000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(ask("GET /" + std::string(2000, 'x')), 431);
  std::string many = start;
  while (many.size() <= 1000) many += "A: b\r\n";
  EXPECT_EQ(ask(many), 431);
  std::string fits = start;
  while (fits.size() + 8 <= 1000) fits += "A: b\r\n";
  EXPECT_EQ(ask(fits + "\r\n"), 200);
}

// Beast's own limit is for what has come since the last complete header; sent one at a time they would pass it for
// ever.
TEST(Server, CountsHeadersThatComeOneByOne) {
  Limits limits;
  limits.header_bytes = 1000;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("GET /hello HTTP/1.1\r\nHost: x\r\n");
  for (int i = 0; i < 100'000 && raw.send("A: b\r\n"); ++i) {
    pollfd ready{raw.fd(), POLLIN, 0};
    if (poll(&ready, 1, 0) > 0) break;
  }
  EXPECT_EQ(status_of(raw.read_until("\r\n\r\n")), 431);
}

TEST(Server, IgnoresNoBytesOfALargeBodyThatComesWithTheNextRequest) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send(post(std::string(200'000, 'a')) + kHello);
  EXPECT_EQ(count(raw.read_until("hello"), "HTTP/1.1 200 OK"), 2u);
}

TEST(Server, WaitsForAHeadOnlySoLong) {
  Limits limits;
  limits.header_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  // Each byte comes soon after the last, and the whole never.
  const auto before = std::chrono::steady_clock::now();
  std::string answer;
  while (answer.empty() && raw.send("G") && std::chrono::steady_clock::now() - before < test::kLong) {
    pollfd ready{raw.fd(), POLLIN, 0};
    if (poll(&ready, 1, 5) > 0) answer = raw.read_all();
  }
  EXPECT_EQ(status_of(answer), 408);
  EXPECT_TRUE(raw.ended());
}

TEST(Server, WaitsForABodyOnlySoLong) {
  Limits limits;
  limits.body_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_EQ(status_of(raw.read_all()), 408);
  EXPECT_TRUE(raw.ended());
}

TEST(Server, WaitsForABodyAfterContinueOnlySoLong) {
  Limits limits;
  limits.body_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n");
  EXPECT_THAT(raw.read_all(), AllOf(HasSubstr("100 Continue"), HasSubstr("408 Request Timeout")));
}

TEST(Server, ClosesAnIdleConnectionWithoutAWord) {
  Limits limits;
  limits.idle_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kHello);
  EXPECT_TRUE(raw.read_all().ends_with("hello"));
  EXPECT_TRUE(raw.ended());
}

TEST(Server, ClosesAConnectionThatNeverAsks) {
  Limits limits;
  limits.header_time = 60ms;
  Daemon daemon(limits, true);
  Raw plain(daemon.path()), tls(daemon.server->tls_port());
  EXPECT_EQ(plain.read_all(), "");
  EXPECT_TRUE(plain.ended());
  EXPECT_EQ(tls.read_all(), "");
  EXPECT_TRUE(tls.ended());
}

TEST(Server, AnswersForAHandlerThatTakesTooLong) {
  Limits limits;
  limits.answer_time = 60ms;
  Daemon daemon(limits);
  Client client = daemon.client();
  EXPECT_EQ(client.get("/later")->status, 503);
  // What comes later goes nowhere, above all not to the next request.
  daemon.waiting.take()->send(test::text("late"));
  EXPECT_EQ(client.get("/hello")->body, "hello");
}

TEST(Server, DropsAPeerThatDoesNotReadItsAnswer) {
  Limits limits;
  limits.write_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send("GET /big?bytes=50000000 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 1; }));
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
}

TEST(Server, AnswersSoManyRequestsAConnection) {
  Limits limits;
  limits.requests_per_connection = 2;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kHello + kHello + kHello);
  const std::string all = raw.read_all();
  EXPECT_EQ(count(all, "hello"), 2u);
  EXPECT_EQ(count(all, "Connection: close"), 1u);
  EXPECT_TRUE(raw.ended());
}

TEST(Server, TakesSoManyConnectionsAndNoMore) {
  Limits limits;
  limits.connections = 2;
  Daemon daemon(limits, true);
  std::optional<Raw> one(daemon.path());
  Raw two(daemon.path());
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 2; }));
  Raw three(daemon.path());
  EXPECT_THAT(three.read_all(), AllOf(HasSubstr("HTTP/1.1 503"), HasSubstr("as many connections as it takes")));
  EXPECT_TRUE(three.ended());
  Raw tls(daemon.server->tls_port());
  EXPECT_EQ(tls.read_all(), "");
  EXPECT_TRUE(tls.ended());
  const auto answer = daemon.client().get("/hello");
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(answer->status, 503);
  one.reset();
  EXPECT_TRUE(test::eventually([&] { return daemon.client().get("/hello")->status == 200; }));
}

TEST(Server, LeavesNoDescriptorsBehindAThousandConnections) {
  Limits limits;
  limits.connections = 2000;
  Daemon daemon(limits, true);
  ASSERT_TRUE(daemon.client().get("/hello"));
  ASSERT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
  const std::size_t before = test::open_descriptors();
  for (int i = 0; i < 1000; ++i) {
    Raw raw(daemon.path());
    if (i % 4 == 1) raw.send("GET /he");
    if (i % 4 == 2) raw.send(kHello);
    if (i % 4 == 3) raw.send("nonsense\r\n\r\n");
  }
  for (int i = 0; i < 50; ++i) {
    Raw raw(daemon.server->tls_port());
    if (i % 2) raw.send(std::string("\x16\x03\x01\x02", 4));
  }
  // This one is accepted after all of those.
  EXPECT_EQ(daemon.client().get("/hello")->body, "hello");
  EXPECT_EQ(daemon.tls_client().get("/hello")->body, "hello");
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
  EXPECT_TRUE(test::eventually([&] { return test::open_descriptors() == before; }))
      << test::open_descriptors() << " descriptors, before " << before;
}

TEST(Server, LetsNoProgramInheritItsConnections) {
  Daemon daemon({}, true);
  Client plain = daemon.client(), tls = daemon.tls_client();
  ASSERT_TRUE(plain.get("/hello") && tls.get("/hello"));
  int sockets = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const std::string number = entry.path().filename();
    std::error_code gone;
    // The program may have been given a socket as its standard output.
    if (std::stoi(number) <= STDERR_FILENO ||
        !std::filesystem::read_symlink(entry.path(), gone).string().starts_with("socket:"))
      continue;
    ++sockets;
    std::ifstream info("/proc/self/fdinfo/" + number);
    std::string line;
    while (std::getline(info, line) && !line.starts_with("flags:")) {
    }
    ASSERT_TRUE(line.starts_with("flags:")) << number;
    EXPECT_TRUE(std::stol(line.substr(6), nullptr, 8) & O_CLOEXEC) << number;
  }
  EXPECT_GE(sockets, 6);  // two that listen, and both ends of two connections
}

#ifndef __SANITIZE_ADDRESS__
// Not under the sanitizers: they look at an object's memory through a pipe, and take it for no object where there are
// no descriptors for one.
TEST(Server, GoesOnAcceptingWhenDescriptorsAreThereAgain) {
  Daemon daemon;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  Raw raw(daemon.path());
  raw.send(kHello);
  raw.read_until("hello");
  // The next connection's own descriptor is opened first, then no more can be.
  const int next = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, daemon.path().c_str(), sizeof address.sun_path - 1);
  EXPECT_EQ(::connect(next, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const auto said = daemon.log.take();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(said.value_or(""), HasSubstr("could not be accepted: Too many open files"));
  ::send(next, kHello.data(), kHello.size(), MSG_NOSIGNAL);
  char byte = 0;
  EXPECT_EQ(::recv(next, &byte, 1, 0), 1);
  ::close(next);
}
#endif

TEST(Server, ServesManyClientsAtOnce) {
  Daemon daemon({}, true);
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      Client client = t % 2 ? daemon.tls_client() : daemon.client();
      for (int i = 0; i < 100; ++i) {
        const std::string body = std::to_string(t) + "/" + std::to_string(i);
        const auto answer = client.post("/echo", body);
        if (answer && answer->body == body) ++answered;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 800);
}

TEST(Server, TakesNoTlsBefore12) {
  Daemon daemon({}, true);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
  SSL* tls = SSL_new(context);
  const Raw raw(daemon.server->tls_port());
  SSL_set_fd(tls, raw.fd());
  EXPECT_LT(SSL_connect(tls), 1);
  ERR_clear_error();
  SSL_free(tls);
  SSL_CTX_free(context);
}

TEST(Server, DoesNotStartWithoutAPlaceToListen) {
  const auto why = [](TlsListen tls) {
    ServerOptions options;
    options.tls = std::move(tls);
    const auto server = Server::start(std::move(options), [](const Request&, const Responder&) {});
    return server ? std::string("it was started") : server.error().what;
  };
  EXPECT_THAT(why({"localhost", 0, test::test_certificate()}), HasSubstr("'localhost' is not an IP address"));
  EXPECT_THAT(why({"127.0.0.1", 0, {"nonsense", Secret("nonsense")}}),
              HasSubstr("TLS cannot start with this certificate"));
  EXPECT_THAT(why({"127.0.0.1", 0, {test::test_certificate().certificate_pem, make_certificate({"x"})->key_pem}}),
              HasSubstr("TLS cannot start with this private key"));
  const auto nowhere = Server::start({}, [](const Request&, const Responder&) {});
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().what, HasSubstr("no place to listen"));
  Daemon daemon({}, true);
  EXPECT_THAT(why({"127.0.0.1", daemon.server->tls_port(), test::test_certificate()}),
              HasSubstr("cannot listen there"));
}

}  // namespace
}  // namespace orch::http
