#include "planner/pack.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace orch::planner;
using testing::ElementsAre;
using testing::SizeIs;

namespace {

const PackRules kRules{14400, 1.3, 600, 120};  // 4 h
const std::vector<Mix> kNoRooms = {Mix{}};
const std::vector<Mix> kNode = {Mix{{{1, 0}, {2, 0}, {4, 0}, {8, 0}}, false}};
const std::vector<Mix> kExclusiveNode = {Mix{{{1, 0}, {2, 0}, {4, 0}, {8, 0}}, true}};

/// Groups whose cells are numbered through, each cell its own rank.
struct Maker {
  std::uint32_t next = 0;
  Group group(int cells, float seconds, int gpus, double load, double share = 1) {
    Group group;
    group.gpus = gpus;
    group.load = load;
    group.share = share;
    for (int i = 0; i < cells; ++i, ++next) group.items.push_back({next, next, seconds, seconds * 1.3f});
    return group;
  }
};

std::vector<std::size_t> sizes(const std::vector<PackedJob>& jobs) {
  std::vector<std::size_t> sizes;
  for (const PackedJob& job : jobs) sizes.push_back(job.loads[0].cells.size());
  return sizes;
}

double gpu_seconds(const std::vector<PackedJob>& jobs) {
  double sum = 0;
  for (const PackedJob& job : jobs) sum += job.gpus * job.seconds;
  return sum;
}

}  // namespace

TEST(Pack, PutsCellsOfOneNeedIntoOneLoad) {
  Maker make;
  const auto jobs = pack(std::vector{make.group(22, 100, 4, 300)}, kNoRooms, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  ASSERT_THAT(jobs[0].loads, SizeIs(1));
  EXPECT_THAT(jobs[0].loads[0].cells, SizeIs(22));
  EXPECT_EQ(jobs[0].gpus, 4);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 300 + 22 * 100);
  // 300 × 1.3 + 22 × 130 + 120 = 3,370 s, which is 57 minutes.
  EXPECT_EQ(jobs[0].time_limit, 57 * 60);
}

TEST(Pack, CutsALongGroupIntoRunsOfAboutEqualLengthInOrder) {
  Maker make;
  // 10 h of work, 400 s to load: 3 cells of an hour fit into 4 h, so it takes 4 pieces.
  const auto jobs = pack(std::vector{make.group(10, 3600, 8, 400)}, kNoRooms, kRules);
  EXPECT_THAT(sizes(jobs), ElementsAre(2, 3, 2, 3));
  std::uint32_t next = 0;
  for (const PackedJob& job : jobs) {
    EXPECT_LE(job.seconds, 14400);
    for (std::uint32_t cell : job.loads[0].cells) EXPECT_EQ(cell, next++);
  }
}

TEST(Pack, DoesNotCutWhereLoadingWouldTakeMoreThanAFifthOfAPiece) {
  Maker make;
  // 10 h of work and an hour to load: in 2 pieces the load is 1/6 of each, in 3 it would be more than a fifth.
  const auto jobs = pack(std::vector{make.group(20, 1800, 8, 3600)}, kNoRooms, kRules);
  EXPECT_THAT(sizes(jobs), ElementsAre(10, 10));
}

TEST(Pack, NeverSplitsACell) {
  Maker make;
  const auto jobs = pack(std::vector{make.group(2, 100'000, 8, 60)}, kNoRooms, kRules);
  EXPECT_THAT(sizes(jobs), ElementsAre(1, 1));
}

TEST(Pack, CutsWhatTheLongestTimeLimitDoesNotHold) {
  Maker make;
  Group group = make.group(10, 1000, 8, 0);
  group.most = 2 * 3600;
  const auto jobs = pack(std::vector{group}, kNoRooms, kRules);
  // 10,000 s are under 4 h, but their bound, 13,000 s, is over 2 h; 5 cells take 6,500 + 120 s of 7,200.
  EXPECT_THAT(sizes(jobs), ElementsAre(5, 5));
  for (const PackedJob& job : jobs) EXPECT_LE(job.time_limit, 7200);
}

TEST(Pack, AsksForNoMoreThanTheLongestLimitEvenWhenTheShortestIsMore) {
  Maker make;
  Group group = make.group(1, 10, 4, 0);
  group.most = 5 * 60;
  EXPECT_EQ(pack(std::vector{group}, kNoRooms, kRules)[0].time_limit, 300);
  group.most = 0;
  EXPECT_EQ(pack(std::vector{group}, kNoRooms, kRules)[0].time_limit, 600);
}

TEST(Pack, KnowsWhetherACellFitsAlone) {
  // 100 × 1.3 + 1,000 + 120 = 1,250 s.
  EXPECT_TRUE(fits_alone(100, 1000, 1260, kRules));
  EXPECT_FALSE(fits_alone(100, 1000, 1200, kRules));
  EXPECT_TRUE(fits_alone(100, 1000, 0, kRules));
  EXPECT_FALSE(fits_alone(0, 1e300, 0, kRules)) << "a year is the longest whatever the site says";
}

TEST(Pack, PutsSmallModelsOneAfterAnotherInOneJob) {
  Maker make;
  std::vector<Group> groups;
  for (int i = 0; i < 10; ++i) groups.push_back(make.group(2, 600, 1, 60));
  const auto jobs = pack(groups, kNode, kRules);
  // 10 × (60 + 1,200) = 12,600 s, under 4 h.
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_THAT(jobs[0].loads, SizeIs(10));
  EXPECT_EQ(jobs[0].gpus, 1);
  EXPECT_EQ(jobs[0].lanes, 1);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 12600);
  EXPECT_EQ(jobs[0].loads[0].group, 0u) << "the best first";
}

TEST(Pack, PutsSmallModelsSideBySideOnANodeOneGpuEach) {
  Maker make;
  std::vector<Group> groups;
  for (int i = 0; i < 8; ++i) groups.push_back(make.group(1, 14000, 1, 60));
  const auto jobs = pack(groups, kNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].gpus, 8);
  EXPECT_EQ(jobs[0].lanes, 8);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 14060);
}

TEST(Pack, LeavesNoGpusIdleBesideALongerModelUnlessTheNodeIsPaidForAnyway) {
  Maker make;
  // 14,000 s beside 8,000 s: of 2 GPUs × 14,000 s, 21 % would be idle.
  const std::vector<Group> groups = {make.group(1, 14000, 1, 0), make.group(1, 8000, 1, 0)};
  EXPECT_THAT(pack(groups, kNode, kRules), SizeIs(2));
  const auto jobs = pack(groups, kExclusiveNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].gpus, 2);
}

TEST(Pack, KeepsModelsApartThatMayNotMix) {
  Maker make;
  std::vector<Group> groups = {make.group(1, 100, 1, 0), make.group(1, 100, 1, 0)};
  groups[1].mixes = 1;
  EXPECT_THAT(pack(groups, std::vector<Mix>(2), kRules), SizeIs(2));
}

TEST(Pack, KeepsLargeModelsApart) {
  Maker make;
  EXPECT_THAT(pack(std::vector{make.group(1, 100, 4, 10), make.group(1, 100, 4, 10)}, kNode, kRules), SizeIs(2));
}

TEST(Pack, FillsNodesThatArePaidForWholeWithModelsOfAnySize) {
  Maker make;
  const std::vector<Group> groups = {make.group(1, 8000, 1, 0), make.group(1, 14000, 4, 0), make.group(1, 10000, 2, 0),
                                     make.group(1, 12000, 1, 0)};
  const auto jobs = pack(groups, kExclusiveNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].gpus, 8);
  EXPECT_EQ(jobs[0].lanes, 4);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 14000);
  // Each on GPUs of its own, the widest at the node's beginning.
  std::map<std::uint32_t, int> first;
  for (const Load& load : jobs[0].loads) first[load.group] = load.gpu;
  EXPECT_EQ(first[1], 0);
  EXPECT_EQ(first[2], 4);
  EXPECT_EQ(first[0] + first[3], 6 + 7);
  EXPECT_THAT(pack(groups, kNode, kRules), SizeIs(4)) << "where GPUs are paid for one by one, each stands alone";
}

TEST(Pack, PutsAModelOntoTheFullestNodeThatIsPaidForWholeAndHasRoom) {
  // By length: 6 GPUs open a node, 4 another; 2 fill the first, 4 the second. One after the other would be three nodes.
  Maker make;
  const std::vector<Group> groups = {make.group(1, 14000, 6, 0), make.group(1, 13900, 4, 0), make.group(1, 13800, 2, 0),
                                     make.group(1, 13700, 4, 0)};
  const auto jobs = pack(groups, kExclusiveNode, kRules);
  ASSERT_THAT(jobs, SizeIs(2));
  EXPECT_THAT(gpu_seconds(jobs), 8 * (14000 + 13900));
}

TEST(Pack, OfWholeNodesLetsLargeModelsFollowEachOtherWhereTheyAreCutAlike) {
  Maker make;
  std::vector<Group> groups = {make.group(1, 3000, 4, 100), make.group(1, 4000, 4, 100), make.group(1, 5000, 4, 100)};
  auto jobs = pack(groups, kExclusiveNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 1);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 12300);
  groups[1].follows = 1;
  jobs = pack(groups, kExclusiveNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 2);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 8200);
}

TEST(Pack, MakesNoJobLargerThanWhatMayRunAtOnce) {
  Maker make;
  std::vector<Group> groups;
  for (int i = 0; i < 12; ++i) groups.push_back(make.group(1, 14000, 1, 60));
  PackRules rules = kRules;
  for (const auto& mixes : {kNode, kExclusiveNode}) {
    rules.most_gpus = 6;  // no room of six, but a job asks for the GPUs that it uses
    const auto jobs = pack(groups, mixes, rules);
    ASSERT_THAT(jobs, SizeIs(2));
    EXPECT_EQ(jobs[0].gpus, 6);
    EXPECT_EQ(jobs[1].gpus, 6);
  }
  // What alone is larger stays alone.
  groups = {make.group(1, 14000, 8, 60), make.group(1, 14000, 1, 60)};
  EXPECT_THAT(pack(groups, kExclusiveNode, rules), SizeIs(2));
}

TEST(Pack, RunsTwelveTasksOnEightGpusByTheirDeclaredMemory) {
  // Seed 003: up to 12 at once on 8 H100. Four take a GPU each, eight declare 35 GiB, 45 % of its 79.65 GiB and half of
  // the 90 % that may be used: 4 + 8 / 2 = 8 GPUs.
  Maker make;
  std::vector<Group> groups;
  for (int i = 0; i < 4; ++i) groups.push_back(make.group(1, 14000, 1, 0));
  for (int i = 0; i < 8; ++i) groups.push_back(make.group(1, 14000, 1, 0, 0.5));
  const auto jobs = pack(groups, kNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 12);
  EXPECT_EQ(jobs[0].gpus, 8);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 14000);
  std::map<int, int> lanes_of_gpu;
  for (const Load& load : jobs[0].loads) ++lanes_of_gpu[load.gpu];
  std::multiset<int> sharing;
  for (const auto& [gpu, lanes] : lanes_of_gpu) sharing.insert(lanes);
  EXPECT_THAT(sharing, ElementsAre(1, 1, 1, 1, 2, 2, 2, 2));
  EXPECT_EQ(lanes_of_gpu.rbegin()->first, 7);
}

TEST(Pack, CutsLittleWorkSoThatItFillsTheGpusThereAre) {
  // 10 h of four GPUs, of 32: eight jobs of 4,500 s, although three would be below 4 h.
  Maker make;
  const std::vector groups = {make.group(40, 900, 4, 300)};
  PackRules rules = kRules;
  EXPECT_THAT(pack(groups, kNoRooms, rules), SizeIs(3));
  rules.gpus = 32;
  EXPECT_DOUBLE_EQ(piece_length(groups, rules), (36000 + 300) * 4 / 32.0);
  const auto jobs = pack(groups, kNoRooms, rules);
  // 4,537 s hold the load and four cells of 900 s.
  EXPECT_THAT(sizes(jobs), testing::Each(4));
  EXPECT_THAT(jobs, SizeIs(10));
  EXPECT_THAT(jobs[0].reasons, testing::Contains(testing::HasSubstr("no GPU is idle")));
}

TEST(Pack, NeverCutsBelowTheShortestPieceNorWhereLoadingIsNotWorthIt) {
  Maker make;
  PackRules rules = kRules;
  rules.gpus = 1000;
  rules.piece_least = 600;
  // 3,600 s in pieces of 600 s, of which 60 s are the load: five cells of 100 s and the load each.
  EXPECT_THAT(sizes(pack(std::vector{make.group(36, 100, 4, 60)}, kNoRooms, rules)), testing::Each(testing::Le(5u)));
  EXPECT_DOUBLE_EQ(piece_length(std::vector{make.group(36, 100, 4, 60)}, rules), 600);
  // A load of 600 s is a fifth of 3,000 s: 3,600 s of work are one piece and a half.
  rules.idle_load_worth = rules.load_worth;
  EXPECT_THAT(sizes(pack(std::vector{make.group(36, 100, 4, 600)}, kNoRooms, rules)), ElementsAre(36));
}

TEST(Pack, LoadsMoreOftenWhereGpusAreIdleWhateverIsDone) {
  Maker make;
  const std::vector groups = {make.group(36, 100, 4, 600)};
  PackRules rules = kRules;
  rules.gpus = 1000;
  // A load of 600 s may be 35 % of a piece: of 1,714 s, with 1,114 s of work; 3,600 s are three of these.
  EXPECT_TRUE(leaves_gpus_idle(groups, rules));
  EXPECT_THAT(sizes(pack(groups, kNoRooms, rules)), ElementsAre(12, 12, 12));
  // With 16 GPUs the work takes 1,050 s, longer than a cell with its load, 700 s: none is idle.
  rules.gpus = 16;
  EXPECT_FALSE(leaves_gpus_idle(groups, rules));
  EXPECT_THAT(sizes(pack(groups, kNoRooms, rules)), ElementsAre(36));
}

TEST(Pack, SpreadsSmallModelsOverIdleGpus) {
  Maker make;
  std::vector<Group> groups;
  for (int i = 0; i < 10; ++i) groups.push_back(make.group(2, 600, 1, 60));
  PackRules rules = kRules;
  rules.gpus = 8;
  // 12,600 s by eight GPUs are 1,575 s: one model of 1,260 s after another would be longer, so that each has a lane.
  double longest = 0;
  int lanes = 0;
  for (const PackedJob& job : pack(groups, kNode, rules)) {
    longest = std::max(longest, job.seconds);
    lanes += job.lanes;
  }
  EXPECT_DOUBLE_EQ(longest, 1260);
  EXPECT_EQ(lanes, 10);
}

TEST(Pack, LoadsAgainForEachCellThatChangesTheWeights) {
  Maker make;
  Group group = make.group(3, 1000, 4, 60);
  group.spoils = true;
  const auto jobs = pack(std::vector{group}, kNoRooms, kRules);
  EXPECT_THAT(sizes(jobs), ElementsAre(1, 1, 1));
  group.gpus = 1;  // one after another on one GPU, each with its load
  const auto small = pack(std::vector{group}, kNode, kRules);
  ASSERT_THAT(small, SizeIs(1));
  EXPECT_THAT(small[0].loads, SizeIs(3));
  EXPECT_DOUBLE_EQ(small[0].seconds, 3 * 1060);
}

TEST(Pack, PutsDifferentPartsOfAGpuTogetherWhereTheyFit) {
  // 0.6 + 0.4, and 0.7 alone, which leaves too little for 0.4.
  Maker make;
  const std::vector<Group> groups = {make.group(1, 14000, 1, 0, 0.4), make.group(1, 14000, 1, 0, 0.7),
                                     make.group(1, 14000, 1, 0, 0.6)};
  const auto jobs = pack(groups, kNode, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 3);
  EXPECT_EQ(jobs[0].gpus, 2);
}

TEST(Pack, RunsCellsThatDeclareAQuarterOfAGpuFourAtATime) {
  Maker make;
  const auto jobs = pack(std::vector{make.group(8, 1000, 1, 0, 0.25)}, kNoRooms, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 4);
  EXPECT_EQ(jobs[0].gpus, 1);
  EXPECT_DOUBLE_EQ(jobs[0].seconds, 2000);
}

TEST(Pack, SharesAGpuOnlyIfEachLaneIsWorthItsLoad) {
  Maker make;
  // 4,000 s of work and 600 s to load: a second lane would load for 600 s to do 2,000 s, more than a fifth.
  const auto jobs = pack(std::vector{make.group(8, 500, 1, 600, 0.25)}, kNoRooms, kRules);
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_EQ(jobs[0].lanes, 1);
}

TEST(Pack, OfRandomGroupsKeepsItsPromises) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    PackRules rules = kRules;
    rules.gpus = seed % 3 * 40;
    std::mt19937 random(seed);
    const auto any = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)); };
    std::vector<Group> groups;
    std::uint32_t cell = 0;
    double alone = 0;  // GPU-seconds of one job a cell
    for (int i = 0, n = 1 + any(30); i < n; ++i) {
      Group group;
      group.gpus = std::array{1, 1, 1, 2, 4, 8}[static_cast<std::size_t>(any(6))];
      if (group.gpus == 1 && any(3) == 0) group.share = 0.1 + 0.1 * any(9);
      group.load = any(900);
      group.most = any(2) ? 86400 : 0;
      group.mixes = static_cast<std::uint32_t>(any(2));
      group.follows = static_cast<std::uint32_t>(any(2));
      group.spoils = any(8) == 0;
      for (int c = 0, cells = 1 + any(20); c < cells; ++c, ++cell) {
        const auto seconds = static_cast<float>(1 + any(5000));
        group.items.push_back({cell, cell, seconds, seconds * 1.3f});
        alone += group.gpus * (group.load + static_cast<double>(seconds));
      }
      groups.push_back(std::move(group));
    }
    const bool exclusive = seed % 2 == 1;
    const std::vector<Mix> mixes = {exclusive ? kExclusiveNode[0] : kNode[0], kNoRooms[0]};
    if (seed % 5 == 0) rules.most_gpus = 4;
    const auto jobs = pack(groups, mixes, rules);
    std::set<std::uint32_t> seen;
    std::uint32_t rank = 0;
    for (const PackedJob& job : jobs) {
      EXPECT_GE(job.rank, rank);
      rank = job.rank;
      std::map<int, double> lane_seconds, lane_share;
      std::map<int, std::set<std::pair<std::uint32_t, int>>> in_lane;  // (follows, GPUs)
      std::map<int, std::set<int>> lanes_of_gpu;
      std::set<std::uint32_t> mixed;
      int least = 0;
      for (const Load& load : job.loads) {
        const Group& group = groups[load.group];
        lane_seconds[load.lane] += load.seconds;
        lane_share[load.lane] = std::max(lane_share[load.lane], group.gpus * group.share);
        mixed.insert(group.mixes);
        in_lane[load.lane].emplace(group.follows, group.gpus);
        for (int gpu = load.gpu; gpu < load.gpu + group.gpus; ++gpu) lanes_of_gpu[gpu].insert(load.lane);
        if (group.spoils) EXPECT_THAT(load.cells, SizeIs(1));
        EXPECT_LE(load.gpu + group.gpus, job.gpus);
        least = std::max(least, group.gpus);
        for (std::size_t i = 1; i < load.cells.size(); ++i) EXPECT_EQ(load.cells[i], load.cells[i - 1] + 1);
        for (std::uint32_t c : load.cells) EXPECT_TRUE(seen.insert(c).second) << "cell twice, seed " << seed;
        if (group.most > 0) EXPECT_LE(static_cast<double>(job.time_limit), group.most);
      }
      double share = 0, longest = 0;
      for (const auto& [lane, seconds] : lane_seconds) {
        share += lane_share[lane];
        longest = std::max(longest, seconds);
      }
      EXPECT_THAT(lane_seconds, SizeIs(job.lanes));
      for (const auto& [lane, kinds] : in_lane) EXPECT_THAT(kinds, SizeIs(1)) << "seed " << seed;
      for (const auto& [gpu, lanes] : lanes_of_gpu) {
        double together = 0;
        for (int lane : lanes) together += std::min(lane_share[lane], 1.0);
        EXPECT_LE(together, 1 + 1e-6) << "seed " << seed;
      }
      if (rules.most_gpus > 0) EXPECT_LE(job.gpus, std::max(rules.most_gpus, least)) << "seed " << seed;
      EXPECT_LE(share, job.gpus + 1e-6) << "seed " << seed;
      EXPECT_GE(job.gpus, least);
      EXPECT_LE(job.gpus, 8);
      EXPECT_NEAR(job.seconds, longest, 1e-3);
      EXPECT_GE(static_cast<double>(job.time_limit), longest) << "seed " << seed;
      EXPECT_EQ(job.time_limit % 60, 0);
      EXPECT_EQ(mixed.size(), 1u);
    }
    EXPECT_EQ(seen.size(), cell) << "seed " << seed;
    EXPECT_LE(jobs.size(), cell);
    if (!exclusive) EXPECT_LE(gpu_seconds(jobs), alone / (1 - rules.idle_worth)) << "seed " << seed;
    const auto again = pack(groups, mixes, rules);
    ASSERT_EQ(again.size(), jobs.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      EXPECT_EQ(again[i].rank, jobs[i].rank);
      EXPECT_EQ(again[i].reasons, jobs[i].reasons);
    }
  }
}
