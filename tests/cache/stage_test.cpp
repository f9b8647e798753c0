#include "cache/stage.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <thread>

#include "cache/folder.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne;
using testing::HasSubstr;

class StageTest : public testing::Test {
 protected:
  StageTest() {
    cache_.add_model("org/m", kOne, 50'000);
    cache_.add("org/m", kOne, "sub/tokenizer.json", "{}");
  }
  Result<Staged> run() { return stage({cache_.root(), "org/m", "main", to_, nullptr}); }

  CacheFolder cache_;
  fs::path to_ = cache_.outside() / "local";
};

TEST_F(StageTest, CopiesFilesInPlaceOfLinks) {
  const auto staged = run();
  ASSERT_TRUE(staged) << staged.error().what;
  EXPECT_EQ(staged->path, to_ / "org--m" / kOne);
  EXPECT_TRUE(staged->copied);
  EXPECT_EQ(staged->files, 3U);
  EXPECT_EQ(test::read(staged->path / "model.safetensors"), test::safetensors(50'000));
  EXPECT_EQ(test::read(staged->path / "sub" / "tokenizer.json"), "{}");
  for (const auto& entry : fs::recursive_directory_iterator(staged->path)) EXPECT_FALSE(entry.is_symlink());
}

TEST_F(StageTest, CopiesNothingTwiceButMendsWhatIsShort) {
  ASSERT_TRUE(run()->copied);
  EXPECT_FALSE(run()->copied);
  fs::resize_file(to_ / "org--m" / kOne / "model.safetensors", 17);
  EXPECT_TRUE(run()->copied);
  EXPECT_EQ(test::read(to_ / "org--m" / kOne / "model.safetensors"), test::safetensors(50'000));
}

TEST_F(StageTest, TakesAwayWhatAKilledOneLeft) {
  test::write(to_ / "org--m" / ("." + kOne + ".partial") / "model.safetensors", "half");
  const auto staged = run();
  ASSERT_TRUE(staged) << staged.error().what;
  EXPECT_EQ(test::read(staged->path / "model.safetensors"), test::safetensors(50'000));
  EXPECT_FALSE(fs::exists(to_ / "org--m" / ("." + kOne + ".partial")));
}

TEST_F(StageTest, OfManyAtOnceOneCopies) {
  std::vector<bool> copied(8);
  std::vector<int> ok(8);
  {
    std::vector<std::jthread> threads;
    std::mutex mutex;
    for (std::size_t i = 0; i < 8; ++i)
      threads.emplace_back([&, i] {
        const auto staged = run();
        const std::lock_guard<std::mutex> guard(mutex);
        ok[i] = staged.ok();
        copied[i] = staged && staged->copied;
      });
  }
  EXPECT_EQ(std::ranges::count(ok, 1), 8);
  EXPECT_EQ(std::ranges::count(copied, true), 1);
}

TEST_F(StageTest, RefusesAModelThatIsNotThereOrNotWhole) {
  EXPECT_THAT(stage({cache_.root(), "org/none", "main", to_, nullptr}).error().what, HasSubstr("is not in the cache"));
  EXPECT_THAT(stage({cache_.root(), "org/m", "v2", to_, nullptr}).error().what, HasSubstr("org/m at v2 is not in"));
  fs::remove(cache_.snapshot("org/m", kOne) / "model.safetensors");
  EXPECT_THAT(run().error().what, HasSubstr("it has no weights; orchctl cache fetch org/m"));
  EXPECT_FALSE(fs::exists(to_));
}

TEST_F(StageTest, CopiesNothingFromOutside) {
  test::write(cache_.outside() / "secret", "s");
  fs::create_symlink(cache_.outside() / "secret", cache_.snapshot("org/m", kOne) / "tokenizer.json");
  EXPECT_THAT(run().error().what, HasSubstr("leads out of the cache"));
}

TEST_F(StageTest, UsesNoFolderThatIsALinkOrSomebodyElses) {
  fs::create_directories(to_);
  fs::create_directories(cache_.outside() / "elsewhere");
  fs::create_directory_symlink(cache_.outside() / "elsewhere", to_ / "org--m");
  EXPECT_THAT(run().error().what, HasSubstr("is no folder of yours"));
  EXPECT_TRUE(fs::is_empty(cache_.outside() / "elsewhere"));
}

TEST_F(StageTest, RefusesAFolderInTheCacheItself) {
  to_ = cache_.root() / "models--org--m" / "local";
  EXPECT_THAT(run().error().what, HasSubstr("lies in the cache itself"));
}

TEST_F(StageTest, CountsAsAUse) {
  const Time now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  cache_.age("org/m", kOne, 9, now);
  ASSERT_TRUE(run());
  EXPECT_GE(cache_.revision("org/m", kOne).last_used, now);
}

}  // namespace
}  // namespace orch::cache
