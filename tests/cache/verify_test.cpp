#include "cache/verify.h"

#include <gmock/gmock.h>

#include "cache/folder.h"
#include "cache/lock.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne;
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
