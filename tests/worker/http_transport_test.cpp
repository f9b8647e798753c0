// A worker's messages over HTTP, to real servers.
#include "link/http_transport.h"

#include <gmock/gmock.h>

#include <atomic>
#include <fstream>
#include <mutex>

#include "base/digest.h"
#include "base/wire/messages.h"
#include "http/certificate.h"
#include "http/server.h"
#include "support/temporary.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using What = Reply::What;
using namespace std::chrono_literals;

constexpr const char* kToken = "0123456789abcdef";
constexpr const char* kHost = "this-host";

const http::Certificate& certificate() {
  static const http::Certificate made = *http::make_certificate({"127.0.0.1"});
  return made;
}

/// Answers every call with `status`, or 401 without the token.
class Daemon {
 public:
  Daemon(std::optional<std::filesystem::path> socket, bool tls, const http::Certificate& shown = certificate()) {
    http::ServerOptions options;
    if (socket) options.unix_socket = http::UnixListen{*socket};
    if (tls) options.tls = http::TlsListen{"127.0.0.1", 0, shown};
    auto started = http::Server::start(std::move(options), [this](const http::Request& in, const http::Responder& out) {
      const std::lock_guard lock(mutex_);
      calls_.push_back(in.method + " " + in.path + " " + in.body);
      if (!in.peer.token.matches(kToken)) return out.send(http::error_response(401, "who are you?"));
      if (status != 200) return out.send(http::error_response(status, "no: " + std::to_string(status)));
      http::Response response;
      response.body = R"({"accepted": 1})";
      out.send(response);
    });
    if (!started) throw std::runtime_error(started.error().what);
    server_ = *std::move(started);
  }
  std::uint16_t port() const { return server_->tls_port(); }
  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  std::atomic<int> status = 200;

 private:
  std::mutex mutex_;
  std::vector<std::string> calls_;
  std::unique_ptr<http::Server> server_;
};

class HttpTransportTest : public testing::Test {
 protected:
  void point_to(const std::filesystem::path& socket, int port, const std::string& host = kHost,
                const http::Certificate& known = certificate()) const {
    wire::Endpoint endpoint;
    endpoint.host = host;
    endpoint.socket = socket;
    endpoint.port = port;
    endpoint.addresses = {"127.0.0.1"};
    endpoint.certificate = to_hex(*http::fingerprint(known.certificate_pem));
    std::ofstream(folder_ / "endpoint.json") << wire::write(endpoint);
  }
  HttpTransport transport(const std::string& token = kToken) const {
    HttpOptions options;
    options.job = "orch-a b-1";
    options.endpoint = folder_ / "endpoint.json";
    options.token = http::Secret(token);
    options.host = kHost;
    return HttpTransport(options);
  }
  TemporaryFolder folder_;
};

TEST_F(HttpTransportTest, SpeaksToTheJobsAddressOnTheSocketOfItsHost) {
  Daemon daemon(folder_ / "socket", false);
  point_to(folder_ / "socket", 0);
  HttpTransport link = transport();
  const Reply reply = link.call("deliver", R"({"epoch": 1})");
  EXPECT_EQ(reply.what, What::kOk);
  EXPECT_EQ(reply.body, R"({"accepted": 1})");
  EXPECT_THAT(daemon.calls(), ElementsAre(R"(POST /v1/jobs/orch-a%20b-1/deliver {"epoch": 1})"));
}

TEST_F(HttpTransportTest, SpeaksTlsToOtherHostsAndToItsOwnWithoutASocket) {
  Daemon daemon(std::nullopt, true);
  point_to(folder_ / "socket", daemon.port(), "another-host");
  EXPECT_EQ(transport().call("lease", "{}").what, What::kOk);
  point_to(folder_ / "socket", daemon.port());
  EXPECT_EQ(transport().call("lease", "{}").what, What::kOk);
}

TEST_F(HttpTransportTest, GivesItsTokenToNobodyWithAnotherCertificate) {
  const http::Certificate other = *http::make_certificate({"127.0.0.1"});
  Daemon stranger(std::nullopt, true, other);
  point_to("", stranger.port());
  const Reply reply = transport().call("lease", "{}");
  EXPECT_EQ(reply.what, What::kAway);
  EXPECT_THAT(stranger.calls(), testing::IsEmpty());
}

TEST_F(HttpTransportTest, KnowsWhatEveryStatusMeans) {
  Daemon daemon(folder_ / "socket", false);
  point_to(folder_ / "socket", 0);
  HttpTransport link = transport();
  const std::vector<std::pair<int, What>> table = {{200, What::kOk},      {401, What::kGone},    {403, What::kGone},
                                                   {404, What::kGone},    {409, What::kGone},    {410, What::kGone},
                                                   {400, What::kRefused}, {413, What::kRefused}, {422, What::kRefused},
                                                   {429, What::kAway},    {500, What::kAway},    {503, What::kAway}};
  for (const auto& [status, what] : table) {
    daemon.status = status;
    const Reply reply = link.call("lease", "{}");
    EXPECT_EQ(reply.what, what) << status;
    if (status != 200) EXPECT_EQ(reply.why, "no: " + std::to_string(status)) << "the daemon's own words";
  }
  EXPECT_EQ(transport("wrong").call("lease", "{}").what, What::kGone);
}

TEST_F(HttpTransportTest, FindsADaemonThatWasStartedElsewhere) {
  auto first = std::make_unique<Daemon>(folder_ / "first", false);
  point_to(folder_ / "first", 0);
  HttpTransport link = transport();
  ASSERT_EQ(link.call("lease", "{}").what, What::kOk);
  first.reset();
  const Reply away = link.call("lease", "{}");
  EXPECT_EQ(away.what, What::kAway);
  Daemon second(folder_ / "second", true);
  point_to(folder_ / "second", 0);
  EXPECT_EQ(link.call("lease", "{}").what, What::kOk);
  point_to(folder_ / "second", second.port(), "another-host");
  EXPECT_EQ(link.call("lease", "{}").what, What::kOk) << "as long as it answers, it is not looked for again";
  EXPECT_THAT(second.calls(), testing::SizeIs(2));
}

TEST_F(HttpTransportTest, LosesNoCallToAConnectionThatWentWhileNothingWasSaid) {
  auto first = std::make_unique<Daemon>(folder_ / "socket", false);
  point_to(folder_ / "socket", 0);
  HttpTransport link = transport();
  ASSERT_EQ(link.call("lease", "{}").what, What::kOk);
  first.reset();
  Daemon again(folder_ / "socket", false);
  EXPECT_EQ(link.call("lease", "{}").what, What::kOk);
}

TEST_F(HttpTransportTest, SaysWhyThereIsNoWay) {
  HttpTransport link = transport();
  EXPECT_THAT(link.call("claim", "{}").why, HasSubstr("endpoint.json: No such file"));
  std::ofstream(folder_ / "endpoint.json") << "{";
  EXPECT_EQ(link.call("claim", "{}").what, What::kAway) << "it may be written anew";
  point_to(folder_ / "socket", 0, "login1");
  EXPECT_THAT(link.call("claim", "{}").why, HasSubstr("serves on 'login1' alone, and this is 'this-host'"));
}

TEST(Token, IsReadFromAFileThatIsItsOwnersAlone) {
  const TemporaryFolder folder;
  std::ofstream(folder / "token") << "abc\n";
  std::filesystem::permissions(folder / "token", std::filesystem::perms(0600));
  const auto token = read_token(folder / "token");
  ASSERT_TRUE(token.ok()) << token.error().what;
  EXPECT_EQ(token->reveal(), "abc");
  for (const int mode : {0640, 0604, 0620}) {
    std::filesystem::permissions(folder / "token", std::filesystem::perms(mode));
    EXPECT_THAT(read_token(folder / "token").error().what, HasSubstr("its mode must be 0600")) << std::oct << mode;
  }
  EXPECT_FALSE(read_token(folder / "none").ok());
  EXPECT_FALSE(read_token(folder.path()).ok());
  for (const std::string& text : {std::string(), std::string("a b"), std::string(5000, 'x')}) {
    std::ofstream(folder / "odd") << text;
    std::filesystem::permissions(folder / "odd", std::filesystem::perms(0600));
    EXPECT_FALSE(read_token(folder / "odd").ok()) << text.size();
  }
}

}  // namespace
}  // namespace orch::worker
