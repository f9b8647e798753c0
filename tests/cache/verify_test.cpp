#include "cache/verify.h"

#include <gmock/gmock.h>

#include "cache/folder.h"
#include "cache/lock.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne, test::kTwo;
using testing::ElementsAre, testing::IsEmpty;

TEST(Verify, KnowsTheDigestsThatGitAndSha256sumGive) {
  const test::TemporaryFolder folder;
  test::write(folder / "hello", "hello\n");
  // `printf 'hello\n' | git hash-object --stdin` and `| sha256sum`.
  EXPECT_EQ(check_blob("ce013625030ba8dba906f756967f9e9ca394464a", folder / "hello"), BlobState::kRight);
  EXPECT_EQ(check_blob("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", folder / "hello"),
            BlobState::kRight);
  EXPECT_EQ(check_blob(std::string(40, '0'), folder / "hello"), BlobState::kDamaged);
  EXPECT_EQ(check_blob(std::string(64, '0'), folder / "hello"), BlobState::kDamaged);
  EXPECT_EQ(check_blob("W-etag", folder / "hello"), BlobState::kUnnamed);
  EXPECT_EQ(check_blob(std::string(64, '0'), folder / "gone"), BlobState::kUnreadable);
}

TEST(Verify, FindsOneWrongByte) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 3'000'000);
  EXPECT_TRUE(verify(cache.revision("org/m", kOne)).well());
  EXPECT_EQ(verify(cache.revision("org/m", kOne)).right, 2U);
  const fs::path blob = fs::canonical(cache.snapshot("org/m", kOne) / "model.safetensors");
  std::string bytes = test::read(blob);
  bytes[2'500'000] ^= 1;
  test::write(blob, bytes);
  const Verified verified = verify(cache.revision("org/m", kOne));
  EXPECT_THAT(verified.damaged, ElementsAre("model.safetensors"));
  EXPECT_EQ(verified.right, 1U);
}

TEST(Verify, WaitsForACleanUpAndReadsWhatItLeaves) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  cache.add_model("org/m", kTwo, 20, 'x');
  const RepoName name{Kind::kModel, "org/m"};
  auto cleaning = Lock::try_take(repo_lock(cache.root(), name), Lock::Kind::kExclusive);
  ASSERT_TRUE(cleaning && *cleaning);
  int waited = 0;
  const auto on_wait = [&](const std::string&) {
    ++waited;
    fs::remove_all(cache.snapshot("org/m", kOne));
    cleaning->reset();
  };
  const auto gone = verify_held(cache.root(), name, kOne, on_wait);
  ASSERT_TRUE(gone) << gone.error().what;
  EXPECT_FALSE(gone->has_value()) << "it was removed while it was waited for";
  EXPECT_EQ(waited, 1);
  const auto left = verify_held(cache.root(), name, kTwo, on_wait);
  ASSERT_TRUE(left && *left);
  EXPECT_EQ((*left)->verified.right, 2U);
  EXPECT_EQ(waited, 1);
}

TEST(Verify, LetsOthersReadMeanwhile) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  const RepoName name{Kind::kModel, "org/m"};
  const auto reading = Lock::try_take(repo_lock(cache.root(), name), Lock::Kind::kShared);
  ASSERT_TRUE(reading && *reading);
  const auto read = verify_held(cache.root(), name, kOne, nullptr);
  ASSERT_TRUE(read && *read);
  EXPECT_TRUE((*read)->verified.well());
}

TEST(Verify, RemovesWhatIsDamagedSoThatItIsFetchedAnew) {
  CacheFolder cache;
  cache.add_model("org/m", kOne, 10);
  const fs::path blob = fs::canonical(cache.snapshot("org/m", kOne) / "model.safetensors");
  test::write(blob, "rot");
  const auto bad = verify(cache.revision("org/m", kOne)).damaged_blobs;
  {
    const auto busy = Lock::try_take(repo_lock(cache.root(), {Kind::kModel, "org/m"}), Lock::Kind::kShared);
    EXPECT_FALSE(remove_blobs(cache.root(), {Kind::kModel, "org/m"}, bad));
    EXPECT_TRUE(fs::exists(blob));
  }
  EXPECT_TRUE(remove_blobs(cache.root(), {Kind::kModel, "org/m"}, bad));
  EXPECT_FALSE(fs::exists(blob));
  EXPECT_FALSE(cache.revision("org/m", kOne).whole());
}

}  // namespace
}  // namespace orch::cache
