#include "planner/schedule.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

using namespace orch::planner;
using testing::ElementsAre;

namespace {

const Pool kNode{1, 8, false};
const Pool kTwoNodes{2, 8, false};

Request request(int nodes, int gpus, double seconds, std::vector<std::uint32_t> after = {}) {
  return {0, nodes, gpus, seconds, std::move(after), false};
}

std::vector<double> starts(const std::vector<Request>& requests, const Pool& pool, Caps caps = {}) {
  return schedule(requests, std::vector{pool}, caps).start;
}

/// GPUs that the running requests keep from others at a moment, counted apart from the scheduler.
int busy(const std::vector<Request>& requests, const Timetable& table, const std::vector<Pool>& pools,
         std::uint32_t pool, double at) {
  int gpus = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    if (r.pool != pool || table.start[i] < 0 || table.start[i] > at || table.start[i] + r.seconds <= at) continue;
    gpus += pools[pool].exclusive || r.nodes > 1 ? r.nodes * pools[pool].gpus_per_node : r.gpus;
  }
  return gpus;
}

}  // namespace

TEST(Schedule, StartsWhatFitsAtOnceAndTheRestWhenRoomIsFree) {
  EXPECT_THAT(starts({request(1, 4, 100), request(1, 4, 50), request(1, 4, 10)}, kNode), ElementsAre(0, 0, 50));
}

TEST(Schedule, FillsTheFullestNodeThatHasRoomSoThatWholeNodesStayFree) {
  // 2 + 2 GPUs go onto one node, so the 8-GPU job starts at once on the other.
  EXPECT_THAT(starts({request(1, 2, 100), request(1, 2, 100), request(1, 8, 100)}, kTwoNodes), ElementsAre(0, 0, 0));
}

TEST(Schedule, GivesAJobOfSeveralNodesOnlyWholeFreeNodes) {
  EXPECT_THAT(starts({request(1, 1, 100), request(2, 16, 10)}, kTwoNodes), ElementsAre(0, 100));
}

TEST(Schedule, LetsALaterJobPassOnlyIfItEndsBeforeTheReservation) {
  // The two-node job will have room at 100. 90 s fit before that; 200 s would delay it and go after it.
  EXPECT_THAT(starts({request(1, 1, 100), request(2, 16, 1000), request(1, 1, 200), request(1, 1, 90)}, kTwoNodes),
              ElementsAre(0, 100, 1100, 0));
}

TEST(Schedule, CountsWholeNodesOnAnExclusivePartition) {
  const Pool exclusive{2, 8, true};
  EXPECT_THAT(starts({request(1, 1, 100), request(1, 1, 100), request(1, 1, 100)}, exclusive), ElementsAre(0, 0, 100));
  EXPECT_EQ(occupied_gpus(exclusive, 1, 1), 8);
  EXPECT_EQ(occupied_gpus(kTwoNodes, 1, 1), 1);
}

TEST(Schedule, StartsAJobAfterAllThatItWaitsFor) {
  EXPECT_THAT(starts({request(1, 1, 100), request(1, 1, 30), request(1, 1, 5, {0, 1})}, kNode), ElementsAre(0, 0, 100));
}

TEST(Schedule, KeepsToTheCapsOnJobsAndGpus) {
  EXPECT_THAT(starts({request(1, 1, 10), request(1, 1, 10), request(1, 1, 10)}, kNode, {2, {}}), ElementsAre(0, 0, 10));
  EXPECT_THAT(starts({request(1, 3, 10), request(1, 2, 10), request(1, 1, 10)}, kNode, {{}, 4}), ElementsAre(0, 10, 0));
}

TEST(Schedule, NeverStartsWhatIsHeldOrWaitsForItOrFitsNowhere) {
  std::vector<Request> requests = {request(1, 1, 10), request(1, 1, 10, {0}), request(1, 9, 10), request(3, 24, 10),
                                   request(1, 1, 10)};
  requests[0].held = true;
  const Timetable table = schedule(requests, std::vector{kTwoNodes}, {});
  EXPECT_THAT(table.start, ElementsAre(kNever, kNever, kNever, kNever, 0));
  EXPECT_EQ(table.makespan, 10);
}

TEST(Schedule, TakesNothingFromAClusterWithoutNodesOrWithAnyNumberOfThem) {
  EXPECT_THAT(starts({request(1, 1, 10)}, Pool{0, 8, false}), ElementsAre(kNever));
  EXPECT_THAT(starts({request(1, 1, 10)}, Pool{2'000'000'000, 8, false}), ElementsAre(0));
}

TEST(Schedule, OfRandomRequestsNeverExceedsRoomAndIsNeverShorterThanTheBound) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto any = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)); };
    const std::vector<Pool> pools = {{1 + any(4), 8, false}, {1 + any(3), 4, any(2) == 1}};
    std::vector<Request> requests;
    std::vector<Batch> batches;
    for (int i = 0; i < 60; ++i) {
      Request r;
      r.pool = static_cast<std::uint32_t>(any(2));
      const Pool& pool = pools[r.pool];
      r.nodes = any(6) == 0 ? 1 + any(pool.nodes) : 1;
      r.gpus = r.nodes > 1 ? r.nodes * pool.gpus_per_node : 1 + any(pool.gpus_per_node);
      r.seconds = 1 + any(100);
      if (i > 5 && any(3) == 0) r.after.push_back(static_cast<std::uint32_t>(any(i)));
      batches.push_back({r.pool, r.nodes, r.gpus, r.seconds, 1});
      requests.push_back(std::move(r));
    }
    Caps caps;
    if (any(2)) caps.jobs = 1 + any(10);
    if (any(2)) caps.gpus = 32;
    const Timetable table = schedule(requests, pools, caps);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_GE(table.start[i], 0) << "seed " << seed;
      for (std::uint32_t before : requests[i].after)
        EXPECT_GE(table.start[i], table.start[before] + requests[before].seconds) << "seed " << seed;
      int at_once = 0, gpus = 0;
      for (std::size_t j = 0; j < requests.size(); ++j)
        if (table.start[j] <= table.start[i] && table.start[i] < table.start[j] + requests[j].seconds) {
          ++at_once;
          gpus += requests[j].gpus;
        }
      if (caps.jobs) EXPECT_LE(at_once, *caps.jobs) << "seed " << seed;
      if (caps.gpus) EXPECT_LE(gpus, *caps.gpus) << "seed " << seed;
      for (std::uint32_t pool = 0; pool < 2; ++pool)
        EXPECT_LE(busy(requests, table, pools, pool, table.start[i]), pools[pool].nodes * pools[pool].gpus_per_node);
    }
    EXPECT_GE(table.makespan + 1e-6, makespan_at_least(batches, pools, caps)) << "seed " << seed;
    EXPECT_EQ(table.start, schedule(requests, pools, caps).start) << "seed " << seed;
  }
}

TEST(Schedule, OfAlikeJobsTakesExactlyTheBound) {
  // 100 jobs of 3 GPUs on 2 nodes of 8: 2 a node, 4 at once, 25 rounds of 10 s.
  std::vector<Request> requests(100, request(1, 3, 10));
  const std::vector<Pool> pools = {kTwoNodes};
  EXPECT_EQ(schedule(requests, pools, {}).makespan, 250);
  EXPECT_EQ(makespan_at_least(std::vector<Batch>{{0, 1, 3, 10, 100}}, pools, {}), 250);
}

TEST(Schedule, OfManyJobsDoesNotGrowWithTheirSquare) {
  // A square would be 10^10 steps here, far past the test's time.
  std::vector<Request> requests;
  for (int i = 0; i < 100'000; ++i) requests.push_back(request(1, 1 + i % 4, 10 + i % 7));
  const Timetable table = schedule(requests, std::vector{Pool{32, 8, false}}, {});
  EXPECT_TRUE(std::none_of(table.start.begin(), table.start.end(), [](double start) { return start < 0; }));
}
