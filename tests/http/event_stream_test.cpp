#include <gmock/gmock.h>

#include <thread>

#include "daemon.h"
#include "http/event_reader.h"

namespace orch::http {
namespace {

using namespace std::chrono_literals;
using test::Daemon, test::Raw;
using testing::AllOf, testing::ElementsAre, testing::EndsWith, testing::HasSubstr, testing::IsEmpty, testing::Not;

const std::string kEvents = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads all events in a thread of its own.
struct Reading {
  explicit Reading(Client given, std::string last_id = "")
      : client(std::move(given)), thread([this, last_id] {
          outcome = client.events("/events", last_id, [this](const Event& event) {
            events.put(event);
            return true;
          });
        }) {}
  ~Reading() {
    if (thread.joinable()) thread.join();
  }
  Client client;
  test::Mailbox<Event> events;
  std::optional<Result<Response, ClientError>> outcome;
  std::thread thread;
};

TEST(EventStream, BringsEventsAsTheyHappen) {
  Daemon daemon({}, true);
  for (const bool tls : {false, true}) {
    Reading reading(tls ? daemon.tls_client() : daemon.client(), "41");
    const auto stream = daemon.streams.take();
    ASSERT_TRUE(stream);
    EXPECT_EQ(daemon.seen.take()->last_event_id, "41");
    EXPECT_TRUE(stream->send("42", "cell", R"({"done":1})"));
    EXPECT_EQ(reading.events.take(), (Event{"42", "cell", R"({"done":1})"}));
    EXPECT_TRUE(stream->send("", "", "two\nlines\r\nand\ra third\n"));
    EXPECT_EQ(reading.events.take(), (Event{"42", "", "two\nlines\nand\na third\n"}));
    EXPECT_TRUE(stream->send("43", "", ""));
    EXPECT_EQ(reading.events.take(), (Event{"43", "", ""}));
    stream->close();
    reading.thread.join();
    ASSERT_TRUE(reading.outcome && *reading.outcome);
    EXPECT_EQ((**reading.outcome).status, 200);
  }
}

TEST(EventStream, IsTextThatCurlShows) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /events HTTP/1.0\r\n\r\n");
  const auto stream = daemon.streams.take();
  ASSERT_TRUE(stream);
  stream->send("7", "job", "a\nb");
  stream->close();
  const std::string all = raw.read_all();
  EXPECT_THAT(all, AllOf(HasSubstr("Content-Type: text/event-stream\r\n"), HasSubstr("Cache-Control: no-store\r\n"),
                         Not(HasSubstr("chunked")), EndsWith("\r\n\r\nid: 7\nevent: job\ndata: a\ndata: b\n\n")));
  EXPECT_TRUE(raw.ended());
}

TEST(EventStream, NeverLetsAnIdOrKindMakeALine) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("GET /events HTTP/1.0\r\n\r\n");
  const auto stream = daemon.streams.take();
  ASSERT_TRUE(stream);
  stream->send("1\ndata: forged", "kind\revent: forged", "true");
  stream->close();
  EXPECT_THAT(raw.read_all(), EndsWith("id: 1\nevent: kind\ndata: true\n\n"));
}

TEST(EventStream, WritesWhatWasSentBeforeItWasClosed) {
  Daemon daemon;
  Reading reading(daemon.client());
  {
    const auto stream = daemon.streams.take();
    ASSERT_TRUE(stream);
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(stream->send(std::to_string(i), "", "x"));
  }  // the last copy goes
  reading.thread.join();
  ASSERT_TRUE(reading.outcome && *reading.outcome) << reading.outcome->error().what;
  ASSERT_EQ(reading.events.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(reading.events.take()->id, std::to_string(i));
}

TEST(EventStream, IsSentToFromManyThreads) {
  Daemon daemon;
  Reading reading(daemon.client());
  const auto stream = daemon.streams.take();
  ASSERT_TRUE(stream);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 250; ++i) stream->send(std::to_string(t), "", std::to_string(i));
    });
  for (std::thread& thread : threads) thread.join();
  stream->close();
  reading.thread.join();
  std::vector<int> next(4);
  while (reading.events.size() > 0) {
    const Event event = *reading.events.take();
    EXPECT_EQ(event.data, std::to_string(next[std::stoul(event.id)]++));
  }
  EXPECT_THAT(next, ElementsAre(250, 250, 250, 250));
}

TEST(EventStream, KnowsThatItsReaderHasGone) {
  Daemon daemon;
  std::optional<EventStream> stream;
  {
    Raw raw(daemon.path());
    raw.send(kEvents);
    stream = daemon.streams.take();
    ASSERT_TRUE(stream);
    EXPECT_FALSE(stream->closed());
  }
  EXPECT_TRUE(test::eventually([&] { return stream->closed(); }));
  EXPECT_FALSE(stream->send("1", "", "x"));
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
}

TEST(EventStream, DropsAReaderThatIsTooSlowAndNeverWaits) {
  Limits limits;
  limits.stream_bytes = 100'000;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kEvents);
  const auto stream = daemon.streams.take();
  ASSERT_TRUE(stream);
  // Nobody reads: the socket's buffer fills, then the queue.
  const std::string data(1000, 'x');
  std::size_t sent = 0;
  while (sent < 100'000 && stream->send("1", "", data)) ++sent;
  EXPECT_GE(sent, 90u);
  EXPECT_LT(sent, 100'000u);
  EXPECT_TRUE(stream->closed());
  EXPECT_TRUE(test::eventually([&] { return daemon.server->connections() == 0; }));
  EXPECT_THAT(daemon.log.take().value_or(""), HasSubstr("its reader is slower than the events"));
  raw.read_all();
  EXPECT_TRUE(raw.ended());
}

TEST(EventStream, DropsAReaderThatHasStoppedReading) {
  Limits limits;
  limits.stream_bytes = 10'000'000;
  limits.write_time = 60ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kEvents);
  const auto stream = daemon.streams.take();
  ASSERT_TRUE(stream);
  ASSERT_TRUE(stream->send("1", "", std::string(5'000'000, 'x')));
  EXPECT_TRUE(test::eventually([&] { return stream->closed(); }));
}

TEST(EventStream, IsKeptAliveByComments) {
  Limits limits;
  limits.heartbeat = 30ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kEvents);
  const auto stream = daemon.streams.take();
  const std::string beat = "3\r\n:\n\n\r\n";
  EXPECT_THAT(raw.read_until(beat + beat), HasSubstr(beat + beat));
  EXPECT_FALSE(stream->closed());
}

TEST(EventStream, OutlivesTheTimesOfOrdinaryRequests) {
  Limits limits;
  limits.header_time = limits.body_time = limits.idle_time = limits.answer_time = limits.write_time = 40ms;
  limits.heartbeat = 20ms;
  Daemon daemon(limits);
  Raw raw(daemon.path());
  raw.send(kEvents);
  const auto stream = daemon.streams.take();
  std::string beats;
  for (int i = 0; i < 10; ++i) beats += raw.read_until(":\n\n");
  EXPECT_FALSE(stream->closed());
}

TEST(EventStream, AnswersHeadWithoutEvents) {
  Daemon daemon;
  Raw raw(daemon.path());
  raw.send("HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(daemon.streams.take()->closed());
  const std::string all = raw.read_all();
  EXPECT_THAT(all, AllOf(HasSubstr("text/event-stream"), EndsWith("\r\n\r\n")));
  EXPECT_THAT(all, Not(HasSubstr("\r\n\r\n0")));
}

TEST(EventStream, EndsWithItsServer) {
  auto daemon = std::make_unique<Daemon>();
  Reading reading(daemon->client());
  const auto stream = daemon->streams.take();
  ASSERT_TRUE(stream);
  ASSERT_TRUE(stream->send("1", "", "last"));
  daemon->server.reset();
  reading.thread.join();
  EXPECT_EQ(reading.events.take()->data, "last");
  ASSERT_TRUE(reading.outcome && *reading.outcome) << reading.outcome->error().what;
}

/// What a reader makes of the bytes, given in pieces of `size`.
std::vector<Event> read_events(const std::string& bytes, std::size_t size = 1) {
  std::vector<Event> events;
  const EventReader::Each each = [&](const Event& event) {
    events.push_back(event);
    return true;
  };
  EventReader reader(each, 1000);
  for (std::size_t at = 0; at < bytes.size(); at += size) reader.feed(bytes.substr(at, size));
  return events;
}

// The examples of the HTML standard, 9.2.6.
TEST(EventReader, ReadsTheExamplesOfTheStandard) {
  for (const std::size_t size : {1u, 3u, 1000u}) {
    EXPECT_THAT(read_events("data: YHOO\ndata: +2\ndata: 10\n\n", size), ElementsAre(Event{"", "", "YHOO\n+2\n10"}));
    EXPECT_THAT(
        read_events(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                    size),
        ElementsAre(Event{"1", "", "first event"}, Event{"", "", "second event"}, Event{"", "", " third event"}));
    EXPECT_THAT(read_events("data\n\ndata\ndata\n\ndata:", size), ElementsAre(Event{"", "", ""}, Event{"", "", "\n"}));
    EXPECT_THAT(read_events("data:test\n\ndata: test\n\n", size),
                ElementsAre(Event{"", "", "test"}, Event{"", "", "test"}));
  }
}

TEST(EventReader, TakesEveryLineEndAndAMark) {
  EXPECT_THAT(read_events("\xEF\xBB\xBF"
                          "event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\revent: c\ndata: 3\n\n"),
              ElementsAre(Event{"", "a", "1"}, Event{"", "b", "2"}, Event{"", "c", "3"}));
}

TEST(EventReader, GivesUpAnEventThatIsTooLong) {
  const EventReader::Each each = [](const Event&) { return true; };
  EventReader one(each, 100);
  EXPECT_EQ(one.feed("data: " + std::string(200, 'x')), EventReader::State::kTooLong);
  EventReader many(each, 100);
  std::string lines;
  for (int i = 0; i < 30; ++i) lines += "data: 12345\n";
  EXPECT_EQ(many.feed(lines), EventReader::State::kTooLong);
}

TEST(EventReader, StopsWhenItIsTold) {
  int seen = 0;
  const EventReader::Each each = [&](const Event&) { return ++seen < 2; };
  EventReader reader(each, 100);
  EXPECT_EQ(reader.feed("data: 1\n\ndata: 2\n\ndata: 3\n\n"), EventReader::State::kStopped);
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace orch::http
