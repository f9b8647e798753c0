// What is left when the daemon is killed, or the disk takes no more.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <csignal>

#include "store/child.h"
#include "store/place.h"

namespace {
std::atomic<int> syncs = 0;
}

// In place of the C library's: SQLite brings files to the disk with one of these.
extern "C" int fdatasync(int file) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fdatasync, file));
}
extern "C" int fsync(int file) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace orch::store {
namespace {

using test::Child, test::Place;
using testing::HasSubstr, testing::IsEmpty;

TEST(Crash, LosesNoGroupThatWasCommittedAndLeavesNoneHalf) {
  const Place place;
  int next = 0;
  for (int round = 0; round < 12; ++round) {
    std::int64_t known = -1;
    {
      Child child([&](const Child::Line& line) {
        const auto store = place.open();
        for (int number = next;; ++number) {
          test::commit(*store, test::group(number));
          line.say(number);
        }
      });
      // Killed somewhere in a later commit; what it said before that is still in the pipe.
      for (int i = 0; i <= 5 * round; ++i) known = child.line().hear().value_or(known);
      child.kill_hard();
      while (const auto more = child.line().hear()) known = *more;
    }
    ASSERT_GE(known, next);
    const auto store = place.open();
    const std::int64_t last = std::stoll(store->policy_text().value_or("-1"));
    EXPECT_GE(last, known);
    EXPECT_LE(last, known + 1);  // one may have been committed and not told of
    const auto notes = store->events(0, 1'000'000);
    ASSERT_EQ(notes.size(), static_cast<std::size_t>((last + 1) * test::kNotesOfAGroup));
    for (std::size_t i = 0; i < notes.size(); ++i)
      ASSERT_EQ(notes[i].note.sweep, static_cast<std::int64_t>(i) / test::kNotesOfAGroup);
    EXPECT_THAT(store->check(), IsEmpty());
    next = static_cast<int>(last) + 1;
  }
}

TEST(Crash, OfTheWholeMachineLosesNothingBecauseEachCommitIsBroughtToTheDisk) {
  const Place place;
  const auto store = place.open();
  for (int number = 0; number < 5; ++number) {
    const int before = syncs;
    test::commit(*store, test::group(number));
    EXPECT_GT(syncs, before);
  }
}

/// For as long as it lives no file of this process grows past `bytes`.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST(FullDisk, RefusesTheGroupWholeAndGoesOnWhenThereIsRoomAgain) {
  const Place place;
  const auto store = place.open();
  test::commit(*store, test::group(0));
  std::vector<control::Effects> large = test::group(1);
  large[1].changes.emplace_back(control::row::PutFact{"large", std::string(4'000'000, 'x')});
  {
    const FileLimit limit(1'000'000);
    const auto committed = store->commit(large);
    ASSERT_FALSE(committed.ok());
    EXPECT_THAT(committed.error().what, HasSubstr(place.database().string() + ": the disk failed"));
    EXPECT_EQ(store->policy_text(), "0");
    test::commit(*store, test::group(2));  // a small one still fits
  }
  EXPECT_EQ(store->policy_text(), "2");
  test::commit(*store, large);
  EXPECT_EQ(store->policy_text(), "1");
  EXPECT_EQ(store->events(0, 100).size(), 3u * test::kNotesOfAGroup);
  EXPECT_THAT(store->check(), IsEmpty());
}

TEST(FullDisk, IsCalledSo) {
  const Place place;
  place.open().reset();
  Database database(place.database(), Database::Mode::kWrite);
  database.run("PRAGMA max_page_count = 1");  // SQLite takes the present number
  try {
    Statement(database, "INSERT INTO facts (name, value) VALUES ('a', ?)").run(std::string(100'000, 'x'));
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.what(), place.database().string() + ": the disk is full");
  }
}

}  // namespace
}  // namespace orch::store
