#include "cluster/pace.h"

#include <gtest/gtest.h>

namespace orch::cluster {
namespace {

using namespace std::chrono_literals;

TEST(TokenBucket, LetsABurstThroughAndThenItsRate) {
  TokenBucket bucket(3, 2);  // half a second for each after the third
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bucket.take(10s), 0ms) << i;
  EXPECT_EQ(bucket.take(10s), 500ms);
  EXPECT_EQ(bucket.take(10s), 1000ms);
  // Two are owed, so after a second it is where it stood, and it never holds more than three.
  EXPECT_EQ(bucket.wait(11s), 500ms);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bucket.take(1000s), 0ms) << i;
  EXPECT_EQ(bucket.take(1000s), 500ms);
}

TEST(TokenBucket, NeverLetsMoreThroughThanItSays) {
  TokenBucket bucket(5, 1);
  int through = 0;
  // Somebody who asks as fast as he can, for a hundred seconds.
  for (Moment at{}; at < 100s;) {
    at += bucket.take(at);
    if (at < 100s) ++through;
  }
  EXPECT_LE(through, 105);
  EXPECT_GE(through, 104);
}

TEST(Backoff, DoublesUpToItsMostAndBeginsAnewAfterASuccess) {
  Backoff backoff(5s, 60s);
  EXPECT_TRUE(backoff.may_try(0s));
  const Moment expected[] = {5s, 10s, 20s, 40s, 60s, 60s};
  for (const Moment pause : expected) {
    backoff.failed(100s, 0);
    EXPECT_EQ(backoff.again(), 100s + pause);
    EXPECT_FALSE(backoff.may_try(100s + pause - 1ms));
    EXPECT_TRUE(backoff.may_try(100s + pause));
  }
  backoff.worked();
  EXPECT_TRUE(backoff.may_try(0s));
  backoff.failed(0s, 0);
  EXPECT_EQ(backoff.again(), 5s);
}

TEST(Backoff, ComesUpToAQuarterSoonerByChance) {
  Backoff backoff(4s, 60s);
  backoff.failed(0s, 0.999999);
  EXPECT_GE(backoff.again(), 3s);
  EXPECT_LT(backoff.again(), 3001ms);
}

TEST(LookPace, LooksAtOnceAndThenEveryTwoMinutes) {
  LookPace pace;
  EXPECT_TRUE(pace.is_due(0s));
  pace.looked(0s, true, 0);
  EXPECT_FALSE(pace.is_due(119s));
  EXPECT_TRUE(pace.is_due(120s));
}

TEST(LookPace, LooksLessOftenWhenNothingChangesAndAgainAsBeforeWhenSomethingDoes) {
  LookPace pace;
  pace.looked(0s, false, 0);
  EXPECT_EQ(pace.next(), 180s);
  pace.looked(180s, false, 0);
  EXPECT_EQ(pace.next(), 180s + 270s);
  for (int i = 0; i < 5; ++i) pace.looked(1000s, false, 0);
  EXPECT_EQ(pace.next(), 1300s);
  pace.looked(1300s, true, 0);
  EXPECT_EQ(pace.next(), 1420s);
}

TEST(LookPace, LooksUpToATenthSoonerByChance) {
  LookPace pace;
  pace.looked(0s, true, 0.999999);
  EXPECT_GE(pace.next(), 108s);
  EXPECT_LT(pace.next(), 109s);
}

TEST(LookPace, LooksSoonWhenAskedButNotTooOften) {
  LookPace pace;
  pace.looked(100s, true, 0);
  pace.look_soon(101s);
  EXPECT_EQ(pace.next(), 105s);  // five seconds after the last
  pace.look_soon(150s);
  EXPECT_EQ(pace.next(), 105s);  // what is due is not put off
  pace.looked(150s, true, 0);
  pace.look_soon(200s);
  EXPECT_TRUE(pace.is_due(200s));
}

TEST(LookPace, BacksOffWhileLooksFailWhoeverAsks) {
  LookPace pace;
  pace.failed(0s, 0);
  EXPECT_EQ(pace.next(), 10s);
  pace.look_soon(1s);
  EXPECT_EQ(pace.next(), 10s);
  pace.failed(10s, 0);
  EXPECT_EQ(pace.next(), 30s);
  for (int i = 0; i < 10; ++i) pace.failed(100s, 0);
  EXPECT_EQ(pace.next(), 400s);
  pace.looked(400s, true, 0);
  pace.failed(500s, 0);
  EXPECT_EQ(pace.next(), 510s);
}

}  // namespace
}  // namespace orch::cluster
