#include "cache/prune.h"

#include <gmock/gmock.h>

#include <thread>

#include "cache/folder.h"
#include "cache/lock.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne, test::kThree, test::kTwo;
using testing::ElementsAre, testing::IsEmpty;
using namespace std::chrono_literals;

constexpr std::size_t kSize = 100'000;

std::vector<std::string> ids(const PrunePlan& plan) {
  std::vector<std::string> ids;
  for (const Removal& removal : plan.removals) ids.push_back(removal.id);
  return ids;
}

class PruneTest : public testing::Test {
 protected:
  PruneTest() {
    for (const auto& [id, days] : {std::pair("org/old", 40), std::pair("org/middle", 20), std::pair("org/new", 1)}) {
      cache_.add_model(id, kOne, kSize, id[4]);
      cache_.age(id, kOne, days, now_);
    }
    ask_.now = now_;
  }
  bool is_there(const std::string& id) const { return fs::exists(cache_.repo(id)); }

  const Time now_ = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  CacheFolder cache_;
  PruneAsk ask_;
};

TEST_F(PruneTest, TakesTheLeastRecentlyUsedUntilTheBudgetIsKept) {
  ask_.budget = 2 * kSize + 5000;
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  ASSERT_TRUE(plan);
  EXPECT_THAT(ids(*plan), ElementsAre("org/old"));
  EXPECT_FALSE(is_there("org/old"));
  EXPECT_TRUE(cache_.revision("org/middle", kOne).whole());
  EXPECT_EQ(cache_.look().bytes, plan->after);
  EXPECT_LE(plan->after, *ask_.budget);
}

TEST_F(PruneTest, TakesWhatIsOlderThanAskedAndNothingElse) {
  ask_.older_than = 30 * 24h;
  EXPECT_THAT(ids(*prune(cache_.root(), ask_, false, nullptr)), ElementsAre("org/old"));
  EXPECT_TRUE(is_there("org/middle"));
}

TEST_F(PruneTest, OfADryRunRemovesNothing) {
  ask_.budget = 0;
  EXPECT_THAT(ids(*prune(cache_.root(), ask_, true, nullptr)), ElementsAre("org/old", "org/middle", "org/new"));
  EXPECT_TRUE(cache_.revision("org/old", kOne).whole());
}

TEST_F(PruneTest, SparesWhatIsKeptAndSaysWhatItIsShortOf) {
  ask_.budget = kSize / 2;
  ask_.keep = {{"org/old", "a job uses it"}};
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  EXPECT_THAT(ids(*plan), ElementsAre("org/middle", "org/new"));
  EXPECT_EQ(plan->kept.at("org/old"), "a job uses it");
  EXPECT_EQ(plan->lacking, cache_.look().bytes - kSize / 2);
  EXPECT_TRUE(cache_.revision("org/old", kOne).whole());
}

TEST_F(PruneTest, RemovesARevisionWithoutTheBlobsOfAnother) {
  // Both revisions have the same weights; the older one alone has another config.
  cache_.add("org/new", kTwo, "config.json", "{\"newer\": 1}");
  cache_.add("org/new", kTwo, "model.safetensors", test::safetensors(kSize, 'n'), true);
  cache_.ref("org/new", "main", kTwo);
  cache_.ref("org/new", "v1", kOne);
  cache_.age("org/new", kTwo, 2, now_);
  cache_.age("org/new", kOne, 3, now_);  // the weights, which both have, too
  touch(*cache_.look().find({Kind::kModel, "org/new"}), kTwo);
  ask_.older_than = 24h;
  ask_.keep = {{"org/old", ""}, {"org/middle", ""}};
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  ASSERT_EQ(plan->removals.size(), 1U);
  EXPECT_EQ(plan->removals[0].commit, kOne);
  EXPECT_THAT(plan->removals[0].refs, ElementsAre("v1"));
  EXPECT_EQ(plan->removals[0].bytes, std::string("{\"of\": \"org/new\"}").size());
  EXPECT_TRUE(cache_.revision("org/new", kTwo).whole());
  EXPECT_FALSE(fs::exists(cache_.repo("org/new") / "refs" / "v1"));
  EXPECT_TRUE(fs::exists(cache_.repo("org/new") / "refs" / "main"));
  EXPECT_EQ(cache_.look().bytes, plan->after);
}

TEST_F(PruneTest, LeavesDatasetsAndWhatItDoesNotUnderstand) {
  test::write(cache_.root() / "datasets--org--data" / "snapshots" / kOne / "a.txt", "data");
  test::write(cache_.root() / "models--a--b--c" / "x", "x");
  test::write(cache_.root() / "own.txt", "x");
  ask_.budget = 0;
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  EXPECT_EQ(plan->lacking, 4U);
  EXPECT_TRUE(fs::exists(cache_.root() / "datasets--org--data" / "snapshots" / kOne / "a.txt"));
  EXPECT_TRUE(fs::exists(cache_.root() / "models--a--b--c" / "x"));
  EXPECT_TRUE(fs::exists(cache_.root() / "own.txt"));
}

TEST_F(PruneTest, TouchesNothingThatLinksLeadTo) {
  test::write(cache_.outside() / "precious" / "file", "x");
  fs::create_directory_symlink(cache_.outside() / "precious", cache_.snapshot("org/old", kOne) / "sub");
  fs::create_symlink("../../../../../precious/file", cache_.snapshot("org/old", kOne) / "file");
  fs::create_symlink("../../../precious/file", cache_.repo("org/old") / "blobs" / std::string(64, 'a'));
  fs::create_directory_symlink(cache_.outside() / "precious", cache_.root() / "models--org--link");
  ask_.budget = 0;
  ASSERT_TRUE(prune(cache_.root(), ask_, false, nullptr));
  EXPECT_FALSE(fs::exists(cache_.snapshot("org/old", kOne)));
  EXPECT_EQ(test::read(cache_.outside() / "precious" / "file"), "x");
}

TEST_F(PruneTest, PassesOverAModelThatIsBeingDownloadedOrStaged) {
  const auto staging = Lock::try_take(repo_lock(cache_.root(), {Kind::kModel, "org/old"}), Lock::Kind::kShared);
  const fs::path hubs = cache_.root() / ".locks" / "models--org--middle" / "abc.lock";
  const auto downloading = Lock::try_take(hubs, Lock::Kind::kExclusive);
  ASSERT_TRUE(staging && *staging && downloading && *downloading);
  ask_.budget = 2 * kSize + 5000;
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  EXPECT_THAT(ids(*plan), ElementsAre("org/new"));
  EXPECT_EQ(plan->kept.size(), 2U);
  EXPECT_TRUE(cache_.revision("org/old", kOne).whole());
}

TEST_F(PruneTest, RemovesBrokenOffDownloadsAfterADayAndNotBefore) {
  const fs::path blobs = cache_.repo("org/old") / "blobs";
  test::write(blobs / "a.incomplete", "1234");
  test::write(blobs / std::string(64, 'b'), "12345");
  EXPECT_THAT(prune(cache_.root(), ask_, false, nullptr)->leftovers, IsEmpty());
  ask_.now += 25h;
  const auto plan = prune(cache_.root(), ask_, false, nullptr);
  EXPECT_EQ(plan->before - plan->after, 9U);
  EXPECT_FALSE(fs::exists(blobs / "a.incomplete"));
  EXPECT_FALSE(fs::exists(blobs / std::string(64, 'b')));
  EXPECT_TRUE(cache_.revision("org/old", kOne).whole());
}

TEST_F(PruneTest, FinishesWhatAnInterruptedOneLeft) {
  // As after a kill between the rename and the removal of the blobs.
  const fs::path aside = cache_.repo("org/old") / ".orch" / ("removed-" + kOne);
  fs::create_directories(aside.parent_path());
  fs::rename(cache_.snapshot("org/old", kOne), aside);
  fs::remove(cache_.repo("org/old") / "refs" / "main");
  ASSERT_TRUE(prune(cache_.root(), ask_, false, nullptr));
  EXPECT_FALSE(is_there("org/old"));  // its blobs are older than a day
  EXPECT_TRUE(is_there("org/middle"));
}

TEST_F(PruneTest, FreesSharedBytesOnlyWithTheirLastLink) {
  const std::string hash = std::string(62, 'c') + "dd";
  const fs::path payload = cache_.root() / "blobs" / "cc" / hash;
  test::write(payload, test::safetensors(kSize));
  for (const auto& [id, days] : {std::pair("org/a", 90), std::pair("org/b", 80)}) {
    fs::create_directories(cache_.repo(id) / "blobs");
    fs::create_symlink("../../blobs/cc/" + hash, cache_.repo(id) / "blobs" / std::string(64, 'e'));
    cache_.link(id, kThree, "model.safetensors", std::string(64, 'e'));
    cache_.age(id, kThree, days, now_);
  }
  ask_.keep = {{"org/b", "used"}};
  ask_.older_than = 60 * 24h;
  const auto first = prune(cache_.root(), ask_, false, nullptr);
  EXPECT_THAT(ids(*first), ElementsAre("org/a"));
  EXPECT_EQ(first->removals[0].bytes, 0U);
  EXPECT_TRUE(cache_.revision("org/b", kThree).whole());
  ask_.keep.clear();
  EXPECT_EQ(prune(cache_.root(), ask_, false, nullptr)->removals.at(0).bytes, test::safetensors(kSize).size());
  EXPECT_FALSE(fs::exists(payload));
}

TEST_F(PruneTest, IsSafeWhenTwoRunAtOnce) {
  for (int i = 0; i < 20; ++i) {
    cache_.add_model("org/m" + std::to_string(i), kOne, 1000, 'x');
    cache_.age("org/m" + std::to_string(i), kOne, 50 + i, now_);
  }
  ask_.budget = 2 * kSize + 5000;
  std::vector<PrunePlan> plans(4);
  {
    std::vector<std::jthread> threads;
    for (PrunePlan& plan : plans) threads.emplace_back([&] { plan = *prune(cache_.root(), ask_, false, nullptr); });
  }
  std::size_t removed = 0;
  for (const PrunePlan& plan : plans) removed += plan.removals.size();
  EXPECT_EQ(removed, 21U);  // the twenty small ones and org/old, each once
  EXPECT_TRUE(cache_.revision("org/middle", kOne).whole());
  EXPECT_TRUE(cache_.revision("org/new", kOne).whole());
}

TEST_F(PruneTest, MakesRoomAsAWholeOrNotAtAll) {
  ask_.budget = 3 * kSize;
  ask_.wanted = 2 * kSize;
  ask_.keep = {{"org/old", ""}, {"org/middle", ""}};
  const auto none = make_room(cache_.root(), ask_, nullptr);
  EXPECT_GT(none->lacking, 0U);
  EXPECT_TRUE(is_there("org/new"));
  ask_.keep.clear();
  const auto some = make_room(cache_.root(), ask_, nullptr);
  EXPECT_THAT(ids(*some), ElementsAre("org/old", "org/middle", "org/new"));
}

TEST_F(PruneTest, MakesRoomOnAFullDiskToo) {
  ask_.wanted = kSize;
  ask_.free = kSize / 2;
  EXPECT_THAT(ids(*make_room(cache_.root(), ask_, nullptr)), ElementsAre("org/old"));
  ask_.free = 2 * kSize;
  EXPECT_THAT(ids(*make_room(cache_.root(), ask_, nullptr)), IsEmpty());
}

}  // namespace
}  // namespace orch::cache
