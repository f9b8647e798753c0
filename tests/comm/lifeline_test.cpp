// Ranks as threads, whose lifelines are real sockets.
#include "comm/lifeline.h"

#include <gmock/gmock.h>
#include <poll.h>

#include <functional>
#include <thread>

namespace orch::comm {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

void on_threads(int ranks, const std::function<void(Transport&)>& work) {
  auto transports = make_thread_transports(ranks);
  std::vector<std::jthread> threads;
  for (auto& transport : transports) threads.emplace_back([&work, &transport] { work(*transport); });
}

/// The next message, waited for.
std::string next(Lifeline& line) {
  while (true) {
    if (auto message = line.take()) return *message;
    if (line.gone()) return "gone";
    pollfd watched{line.descriptor(), POLLIN, 0};
    if (::poll(&watched, 1, 10'000) != 1) return "nothing came";
  }
}

TEST(Lifelines, CarryMessagesBothWaysInTheirOrder) {
  on_threads(4, [](Transport& ranks) {
    auto lines = draw_lifelines(ranks);
    ASSERT_TRUE(lines) << lines.error().what;
    const std::string large(1'000'000, 'x');
    if (ranks.rank() != 0) {
      ASSERT_EQ(lines->size(), 1U);
      lines->front().send("I am " + std::to_string(ranks.rank()));
      EXPECT_EQ(next(lines->front()), "");
      EXPECT_EQ(next(lines->front()), large);
      return;
    }
    ASSERT_EQ(lines->size(), 3U);
    for (int rank = 1; rank < 4; ++rank) {
      Lifeline& line = (*lines)[static_cast<std::size_t>(rank - 1)];
      EXPECT_EQ(next(line), "I am " + std::to_string(rank));
      EXPECT_THAT(line.who(), HasSubstr("rank " + std::to_string(rank) + " (process "));
      line.send("");
      line.send(large);
    }
    for (Lifeline& line : *lines) EXPECT_EQ(next(line), "gone");
  });
}

TEST(Lifelines, OfOneRankAreNone) {
  const auto lines = draw_lifelines(*make_thread_transports(1).front());
  ASSERT_TRUE(lines);
  EXPECT_TRUE(lines->empty());
}

TEST(Lifelines, OfWhoIsGoneSayWhatHeSaidLast) {
  auto line = make_lifeline();
  ASSERT_TRUE(line);
  EXPECT_FALSE(line->first.gone());
  line->second.send("the last words");
  { const Lifeline ended = std::move(line->second); }
  EXPECT_EQ(next(line->first), "the last words");
  EXPECT_EQ(next(line->first), "gone");
  line->first.send("nobody hears this");
  EXPECT_TRUE(line->first.gone());
}

TEST(Lifelines, ThatARankCannotDrawAreAnErrorOnEveryRank) {
  on_threads(2, [](Transport& ranks) {
    // The second rank never comes: it takes part in what is agreed on, and draws no line.
    if (ranks.rank() == 0) {
      const auto lines = draw_lifelines(ranks, 1s);
      ASSERT_FALSE(lines);
      EXPECT_THAT(lines.error().what, HasSubstr("rank 1 did not reach the first one"));
      return;
    }
    EXPECT_TRUE(agree(ranks, true));
    EXPECT_TRUE(share_text(ranks, "", 0));
    const auto agreed = agree(ranks, true);
    ASSERT_FALSE(agreed);
    EXPECT_THAT(agreed.error().what, HasSubstr("rank 1 did not reach the first one"));
  });
}

TEST(Agreement, IsTheErrorOfTheFirstRankThatHasOne) {
  on_threads(4, [](Transport& ranks) {
    EXPECT_TRUE(agree(ranks, true));
    const auto agreed =
        agree(ranks, ranks.rank() < 2 ? Result<bool>(true) : Error{"rank " + std::to_string(ranks.rank()) + " cannot"});
    ASSERT_FALSE(agreed);
    EXPECT_EQ(agreed.error().what, "rank 2 cannot");
  });
}

}  // namespace
}  // namespace orch::comm
