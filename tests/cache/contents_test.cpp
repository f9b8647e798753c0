#include "cache/contents.h"

#include <gmock/gmock.h>

#include "cache/folder.h"
#include "cache/lock.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne, test::kTwo;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty;

RepoName model(const std::string& id) { return {Kind::kModel, id}; }

TEST(Names, AreReadFromFoldersAndWrittenBack) {
  for (const std::string folder : {"models--org--name", "datasets--org--name.v1", "models--gpt2", "spaces--a--b_c"}) {
    const auto name = repo_of_folder(folder);
    ASSERT_TRUE(name) << folder;
    EXPECT_EQ(folder_of(*name), folder);
  }
  EXPECT_EQ(repo_of_folder("models--org--name")->id, "org/name");
}

TEST(Names, ThatLeadElsewhereOrAreOptionsAreNone) {
  for (const std::string id :
       {"", "..", "../x", "a/..", "-x/y", "a/-y", "a/b/c", "a//b", "/a", "a/b\n", "a b/c", "a--b/c", ".a/b", "a/b."})
    EXPECT_FALSE(is_repo_id(id)) << id;
  for (const std::string folder :
       {"models--..", "models--..--x", "models--a--b--c", "models--", "blobs", "models--a--.."})
    EXPECT_FALSE(repo_of_folder(folder)) << folder;
  for (const std::string revision : {"", "-x", "a/../b", "/a", "a//b", "..", "a b", "a\n"})
    EXPECT_FALSE(is_revision(revision)) << revision;
  EXPECT_TRUE(is_revision("refs/pr/1"));
  EXPECT_TRUE(is_revision("v1.0-rc_2"));
}

TEST(Cache, ThatDoesNotExistIsEmpty) {
  const CacheFolder cache;
  const auto contents = read_cache(cache.outside() / "no-such", Look::kNames);
  ASSERT_TRUE(contents);
  EXPECT_THAT(contents->repos, IsEmpty());
}

TEST(Cache, ThatIsAFileIsRefused) {
  const CacheFolder cache;
  test::write(cache.outside() / "file", "x");
  EXPECT_FALSE(read_cache(cache.outside() / "file", Look::kNames));
}

TEST(Cache, CountsABlobOnceHoweverManyRevisionsHaveIt) {
  CacheFolder cache;
  const std::string weights = test::safetensors(1000);
  for (const std::string& commit : {kOne, kTwo}) {
    cache.add("org/m", commit, "model.safetensors", weights, true);
    cache.add("org/m", commit, "again/model.safetensors", weights, true);
  }
  cache.add("org/m", kTwo, "config.json", "{}");
  test::write(cache.repo("org/m") / "blobs" / "abc.1234.incomplete", "12345");
  const Contents contents = cache.look();
  const Repo& repo = *contents.find(model("org/m"));
  EXPECT_EQ(repo.bytes, weights.size() + 2 + 5);
  EXPECT_EQ(contents.bytes, repo.bytes);
  EXPECT_EQ(repo.partial_bytes, 5U);
  EXPECT_EQ(repo.find(kOne)->bytes, weights.size());
  EXPECT_EQ(repo.find(kTwo)->bytes, weights.size() + 2);
}

TEST(Cache, KnowsARevisionByCommitBranchAndTag) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  cache.ref("org/m", "refs/pr/7", kOne);
  const Contents contents = cache.look();
  const Repo& repo = *contents.find(model("org/m"));
  for (const std::string& name : {kOne, std::string("main"), std::string("refs/pr/7")})
    EXPECT_NE(repo.find(name), nullptr) << name;
  EXPECT_EQ(repo.find("v2"), nullptr);
}

TEST(Cache, ReadsFilesWhereTheHubMadeNoLinks) {
  CacheFolder cache;
  test::write(cache.snapshot("org/m", kOne) / "model.safetensors", test::safetensors(100));
  const Revision revision = cache.revision("org/m", kOne);
  EXPECT_TRUE(revision.whole());
  EXPECT_EQ(cache.look().bytes, test::safetensors(100).size());
}

TEST(Cache, CountsBytesThatRepositoriesShareOnce) {
  CacheFolder cache;
  const std::string weights = test::safetensors(5000), hash = std::string(62, 'c') + "dd";
  const fs::path payload = cache.root() / "blobs" / "cc" / hash;
  test::write(payload, weights);
  for (const std::string id : {"org/a", "org/b"}) {
    fs::create_directories(cache.repo(id) / "blobs");
    fs::create_symlink("../../blobs/cc/" + hash, cache.repo(id) / "blobs" / std::string(64, 'e'));
    cache.link(id, kOne, "model.safetensors", std::string(64, 'e'));
  }
  const Contents contents = cache.look();
  EXPECT_EQ(contents.bytes, weights.size());
  EXPECT_TRUE(contents.find(model("org/a"))->find(kOne)->whole());
  EXPECT_EQ(contents.find(model("org/b"))->find(kOne)->files.front().path, payload);
}

TEST(Cache, FollowsNoLinkOutOfItself) {
  CacheFolder cache;
  test::write(cache.outside() / "secret", std::string(999, 's'));
  cache.add_model("org/m", kOne, 10);
  fs::create_symlink(cache.outside() / "secret", cache.snapshot("org/m", kOne) / "tokenizer.json");
  fs::create_symlink("../../../../../secret", cache.snapshot("org/m", kOne) / "vocab.json");
  fs::create_symlink(cache.outside(), cache.snapshot("org/m", kOne) / "more");
  fs::create_symlink("../../secret", cache.repo("org/m") / "blobs" / std::string(64, 'a'));
  cache.link("org/m", kOne, "merges.txt", std::string(64, 'a'));
  fs::create_directory_symlink(cache.outside(), cache.root() / "models--org--elsewhere");
  const Contents contents = cache.look();
  ASSERT_EQ(contents.repos.size(), 1U);
  EXPECT_THAT(contents.problems, ElementsAre(HasSubstr("models--org--elsewhere is not a folder itself")));
  const Repo& repo = contents.repos.front();
  EXPECT_LT(repo.bytes, 999U);
  EXPECT_EQ(repo.find(kOne)->files.size(), 2U);
  EXPECT_THAT(repo.find(kOne)->lacks,
              ElementsAre("'merges.txt' is missing", "'more' leads out of the cache",
                          "'tokenizer.json' leads out of the cache", "'vocab.json' leads out of the cache"));
  EXPECT_THAT(repo.problems, ElementsAre(HasSubstr("is a link that leads out of the cache")));
}

TEST(Cache, LeavesAloneWhatItDoesNotUnderstand) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  fs::create_directories(cache.root() / "models--..--etc" / "snapshots");
  fs::create_directories(cache.repo("org/m") / "snapshots" / "not-a-commit");
  test::write(cache.repo("org/m") / "refs" / "odd", "../../../x");
  const Contents contents = cache.look();
  EXPECT_EQ(contents.repos.size(), 1U);
  EXPECT_EQ(contents.problems.size(), 1U);
  EXPECT_EQ(contents.repos.front().problems.size(), 2U);
  EXPECT_EQ(contents.repos.front().revisions.size(), 1U);
}

TEST(LastUse, IsTheNewestOfWhatWasNotedAndOfTheFilesOwnTimes) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  const Time now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  cache.age("org/m", kOne, 10, now);
  EXPECT_EQ(cache.revision("org/m", kOne).last_used, now - std::chrono::days(10));
  touch(*cache.look().find(model("org/m")), kOne);
  EXPECT_GE(cache.revision("org/m", kOne).last_used, now);
  cache.age("org/m", kOne, 4, now);
  EXPECT_EQ(cache.revision("org/m", kOne).last_used, now - std::chrono::days(4));
}

TEST(LastUse, OfWeightsThatTwoRevisionsHaveIsThatOfTheNewerOne) {
  CacheFolder cache;
  const Time now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  for (const auto& [commit, days] : {std::pair(kOne, 40), std::pair(kTwo, 35)}) {
    cache.add("org/m", commit, "model.safetensors", test::safetensors(10), true);
    cache.add("org/m", commit, "README.md", commit);
    cache.age("org/m", commit, days, now);
  }
  const fs::path weights = fs::canonical(cache.snapshot("org/m", kOne) / "model.safetensors");
  const std::array<timespec, 2> yesterday = {timespec{std::chrono::system_clock::to_time_t(now) - 86400, 0},
                                             timespec{0, UTIME_OMIT}};
  utimensat(AT_FDCWD, weights.c_str(), yesterday.data(), 0);
  EXPECT_EQ(cache.revision("org/m", kOne).last_used, now - std::chrono::days(40));
  EXPECT_EQ(cache.revision("org/m", kTwo).last_used, now - std::chrono::days(1));
}

TEST(LastUse, IsNotChangedByLooking) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  const Time now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  cache.age("org/m", kOne, 10, now);
  cache.look(Look::kSizes);
  EXPECT_EQ(cache.revision("org/m", kOne).last_used, now - std::chrono::days(10));
}

TEST(Locks, ShowWhenAProgramOfTheHubIsAtWork) {
  CacheFolder cache;
  const fs::path file = cache.root() / ".locks" / "models--org--m" / "abc.lock";
  test::write(file, "");
  EXPECT_FALSE(hub_is_at_work(cache.root(), model("org/m")));
  const auto held = Lock::try_take(file, Lock::Kind::kExclusive);
  ASSERT_TRUE(held && *held);
  EXPECT_TRUE(hub_is_at_work(cache.root(), model("org/m")));
}

}  // namespace
}  // namespace orch::cache
