#include "http/router.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "daemon.h"

namespace orch::http {
namespace {

using testing::ElementsAre, testing::HasSubstr, testing::Pair;

/// A server whose routes answer with the name under which they were added.
class Routes : public testing::Test {
 protected:
  void add(const std::string& method, const std::string& pattern, const std::string& name) {
    router_.add(method, pattern, [this, name](Request request, const Responder& out) {
      parts_ = std::move(request.parts);
      out.send(test::text(name));
    });
  }
  Response ask(const std::string& method, const std::string& target) {
    if (!server_) {
      ServerOptions options;
      options.unix_socket = UnixListen{folder_ / "socket"};
      auto started = Server::start(std::move(options),
                                   [this](Request in, Responder out) { router_.route(std::move(in), std::move(out)); });
      server_ = std::move(*started);
    }
    Client client(UnixEndpoint{folder_ / "socket"});
    Call call;
    call.method = method;
    call.target = target;
    auto answer = client.call(call);
    return answer ? *answer : error_response(599, answer.error().what);
  }

  test::TempFolder folder_;
  Router router_;
  Pairs parts_;
  std::unique_ptr<Server> server_;
};

TEST_F(Routes, GoByMethodAndPath) {
  add("GET", "/v1/sweeps", "list");
  add("POST", "/v1/sweeps", "submit");
  add("GET", "/", "root");
  EXPECT_EQ(ask("GET", "/v1/sweeps").body, "list");
  EXPECT_EQ(ask("POST", "/v1/sweeps").body, "submit");
  EXPECT_EQ(ask("GET", "/").body, "root");
  EXPECT_EQ(ask("GET", "/v1/sweeps?state=running").body, "list");
}

TEST_F(Routes, CaptureDecodedSegments) {
  add("GET", "/v1/sweeps/{id}/cells/{cell}", "cell");
  EXPECT_EQ(ask("GET", "/v1/sweeps/a%2Fb/cells/%C3%A9").body, "cell");
  EXPECT_THAT(parts_, ElementsAre(Pair("id", "a/b"), Pair("cell", "é")));
}

TEST_F(Routes, CaptureNothingThatIsEmpty) {
  add("GET", "/v1/sweeps/{id}", "one");
  EXPECT_EQ(ask("GET", "/v1/sweeps/").status, 404);
  EXPECT_EQ(ask("GET", "/v1/sweeps/a/").status, 404);
  EXPECT_EQ(ask("GET", "/v1/sweeps/a/b").status, 404);
}

TEST_F(Routes, TakeALiteralBeforeAName) {
  add("GET", "/v1/{kind}/all", "any kind");
  add("GET", "/v1/sweeps/{id}", "a sweep");
  add("GET", "/v1/sweeps/latest", "the latest");
  EXPECT_EQ(ask("GET", "/v1/sweeps/latest").body, "the latest");
  EXPECT_EQ(ask("GET", "/v1/sweeps/7").body, "a sweep");
  EXPECT_EQ(ask("GET", "/v1/sweeps/all").body, "a sweep");
  EXPECT_EQ(ask("GET", "/v1/jobs/all").body, "any kind");
}

TEST_F(Routes, AnswerAnUnknownPathWithTheNearestOne) {
  add("GET", "/v1/sweeps", "list");
  const Response answer = ask("GET", "/v1/sweps");
  EXPECT_EQ(answer.status, 404);
  const auto error = nlohmann::json::parse(answer.body)["error"];
  EXPECT_EQ(error["status"], 404);
  EXPECT_EQ(error["what"], "there is nothing at '/v1/sweps'; did you mean '/v1/sweeps'?");
  EXPECT_EQ(ask("GET", "/" + std::string(5000, 'x')).status, 404);
}

TEST_F(Routes, AnswerAnotherMethodWithThoseThatAreAllowed) {
  add("GET", "/v1/sweeps/{id}", "one");
  add("DELETE", "/v1/sweeps/{id}", "cancel");
  const Response answer = ask("PUT", "/v1/sweeps/7");
  EXPECT_EQ(answer.status, 405);
  ASSERT_TRUE(answer.header("Allow"));
  EXPECT_EQ(*answer.header("Allow"), "DELETE, GET, HEAD, OPTIONS");
  EXPECT_THAT(answer.body, HasSubstr("only DELETE, GET, HEAD, OPTIONS"));
}

TEST_F(Routes, AnswerOptionsByThemselves) {
  add("GET", "/a", "a");
  add("POST", "/b", "b");
  const Response one = ask("OPTIONS", "/b");
  EXPECT_EQ(one.status, 204);
  EXPECT_EQ(*one.header("Allow"), "OPTIONS, POST");
  EXPECT_EQ(one.body, "");
  EXPECT_EQ(ask("OPTIONS", "/c").status, 404);
}

TEST_F(Routes, AnswerOptionsOfTheWholeServer) {
  add("GET", "/a", "a");
  add("POST", "/b", "b");
  ask("GET", "/a");
  test::Raw raw(folder_ / "socket");
  raw.send("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(raw.read_all(), HasSubstr("\r\nAllow: GET, HEAD, OPTIONS, POST\r\n"));
  test::Raw wrong(folder_ / "socket");
  wrong.send("GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(test::status_of(wrong.read_all()), 404);
}

TEST_F(Routes, AnswerHeadWithWhatGetWouldSayButItsBody) {
  add("GET", "/a", "four");
  const Response answer = ask("HEAD", "/a");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  test::Raw raw(folder_ / "socket");
  raw.send("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string text = raw.read_all();
  EXPECT_THAT(text, HasSubstr("\r\nContent-Length: 4\r\n"));
  EXPECT_TRUE(text.ends_with("\r\n\r\n"));
}

TEST(Router, RefusesPatternsThatAreNotSound) {
  Router router;
  const Handler none = [](const Request&, const Responder&) {};
  router.add("GET", "/a/{id}", none);
  EXPECT_THROW(router.add("GET", "/a/{id}", none), std::logic_error);
  EXPECT_THROW(router.add("POST", "/a/{name}", none), std::logic_error);
  for (const char* bad : {"", "a", "/{", "/{}", "/a{b}", "/{a}/{a}", "/%41"})
    EXPECT_THROW(router.add("GET", bad, none), std::logic_error) << bad;
  EXPECT_NO_THROW(router.add("POST", "/a/{id}", none));
}

}  // namespace
}  // namespace orch::http
