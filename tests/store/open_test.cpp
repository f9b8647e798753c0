// Who may open a state directory, and what is done to the schema that lies there.
#include <gmock/gmock.h>
#include <unistd.h>

#include <future>
#include <set>

#include "store/child.h"
#include "store/disk.h"
#include "store/lock.h"
#include "store/migrations.h"
#include "store/place.h"
#include "support/source_dir.h"

namespace orch::store {
namespace {

using test::Child, test::Place;
using testing::AllOf, testing::HasSubstr, testing::IsEmpty, testing::MatchesRegex, testing::SizeIs;

std::string why_not(const Place& place, const Options& options) {
  const auto store = Store::open(place.state(), options);
  return store ? "" : store.error().what;
}

template <class Work>
std::string failure_of(Work&& work) {
  try {
    work();
    return "";
  } catch (const Failure& failure) {
    return failure.what();
  }
}

// Instances.

TEST(Instance, IsDrawnOnceForEachStoreAndStays) {
  std::set<std::string> drawn;
  for (int i = 0; i < 20; ++i) {
    const Place place;
    const std::string instance = place.open()->instance();
    EXPECT_THAT(instance, MatchesRegex("[a-z0-9]{8}"));
    EXPECT_EQ(place.open()->instance(), instance);
    EXPECT_EQ(place.open_reading()->instance(), instance);
    drawn.insert(instance);
  }
  EXPECT_THAT(drawn, SizeIs(20));
}

// One writer.

TEST(Lock, LetsNoSecondWriterInAndNamesTheFirst) {
  const Place place;
  auto store = place.open();
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  EXPECT_THAT(why_not(place, Place::options()),
              AllOf(HasSubstr(place.state().string() + " is in use by process " + std::to_string(getpid())),
                    HasSubstr(std::string("on host ") + host), HasSubstr("--state")));
  store.reset();
  EXPECT_THAT(why_not(place, Place::options()), IsEmpty());
}

TEST(Lock, OfAProcessThatWasKilledIsFree) {
  const Place place;
  Child child([&](const Child::Line& line) {
    const auto store = place.open();
    line.say(getpid());
    line.hear();
  });
  const auto id = child.line().hear();
  ASSERT_TRUE(id);
  EXPECT_THAT(why_not(place, Place::options()), HasSubstr("process " + std::to_string(*id)));
  child.kill_hard();
  EXPECT_THAT(why_not(place, Place::options()), IsEmpty());
}

TEST(Lock, OfTheWriterWaitsUntilReadersAreGone) {
  const Place place;
  place.open().reset();
  auto reader = place.open_reading();
  auto writer = std::async(std::launch::async, [&] { return why_not(place, Place::options()); });
  reader.reset();
  EXPECT_THAT(writer.get(), IsEmpty());
}

TEST(Lock, OfTheWriterWaitsForReadersOnlySoLong) {
  const Place place;
  place.open().reset();
  const auto reader = place.open_reading();
  const auto lock = DirectoryLock::hold(place.state(), std::chrono::milliseconds(0));
  ASSERT_FALSE(lock.ok());
  EXPECT_THAT(lock.error().what, HasSubstr("has been read by another program"));
}

// Readers.

TEST(Reader, WithoutAWriterSeesAllAndChangesNoFile) {
  const Place place;
  test::commit(*place.open(), test::group(3));
  const auto before = place.files();
  {
    const auto reader = place.open_reading();
    EXPECT_EQ(reader->policy_text(), "3");
    EXPECT_THAT(reader->check(), IsEmpty());
    const auto refused = reader->commit(test::group(4));
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().what, HasSubstr("for reading only"));
  }
  EXPECT_EQ(place.files(), before);
}

TEST(Reader, AfterAKilledWriterSeesWhatItCommittedAndChangesNoFile) {
  const Place place;
  {
    Child child([&](const Child::Line& line) {
      const auto store = place.open();
      test::commit(*store, test::group(5));
      line.say(5);
      line.hear();
    });
    ASSERT_EQ(child.line().hear(), 5);
  }
  const auto before = place.files();
  ASSERT_TRUE(before.contains("orch.db-wal"));  // what was committed lies there
  {
    const auto reader = place.open_reading();
    EXPECT_EQ(reader->policy_text(), "5");
    EXPECT_THAT(reader->events(0, 100), SizeIs(test::kNotesOfAGroup));
  }
  EXPECT_EQ(place.files(), before);
  EXPECT_EQ(place.open()->policy_text(), "5");
}

TEST(Reader, BesideAWriterSeesEachCommitOnceItIsMade) {
  const Place place;
  Child child([&](const Child::Line& line) {
    std::unique_ptr<Store> reader;
    while (line.hear()) {
      if (!reader) reader = place.open_reading();
      line.say(std::stoll(reader->policy_text().value_or("-1")));
    }
  });
  auto store = place.open();
  for (int number = 0; number < 200; ++number) {
    // Enough for the log to be brought home several times beside the reader.
    std::vector<control::Effects> group = test::group(number);
    group[0].changes.emplace_back(
        control::row::PutFact{"large", std::string(1'000'000, static_cast<char>('a' + number % 26))});
    test::commit(*store, group);
    child.line().say(0);
    ASSERT_EQ(child.line().hear(), number);
  }
  // Another daemon takes over, and the reader goes on.
  store.reset();
  store = place.open();
  test::commit(*store, test::group(1000));
  child.line().say(0);
  EXPECT_EQ(child.line().hear(), 1000);
}

TEST(Reader, IsToldWhenThereIsNothingToRead) {
  const Place place;
  EXPECT_THAT(why_not(place, Place::reading()), HasSubstr("no daemon has run with this state directory yet"));
  EXPECT_FALSE(test::fs::exists(place.state()));
  test::fs::create_directories(place.state());
  EXPECT_THAT(why_not(place, Place::reading()), HasSubstr("orch.db is not there"));
  EXPECT_THAT(place.files(), IsEmpty());
}

// The schema.

TEST(Migrations, OfTheProgramAreTheFilesOfTheTree) {
  std::size_t files = 0;
  for (const auto& entry : test::fs::directory_iterator(orch::test::source_dir() / "db" / "migrations")) {
    ++files;
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    const auto known = std::find_if(migrations().begin(), migrations().end(), [&](const Migration& migration) {
      return migration.name == entry.path().filename().string();
    });
    ASSERT_NE(known, migrations().end());
    EXPECT_EQ(known->sql, text.str());
  }
  ASSERT_THAT(migrations(), SizeIs(files));
  for (std::size_t i = 0; i < files; ++i) EXPECT_EQ(migrations()[i].number, static_cast<int>(i) + 1);
}

TEST(Migrations, RefuseANewerSchemaAndNameBothVersions) {
  const Place place;
  place.open().reset();
  const auto known = static_cast<int>(migrations().size());
  place.tell("INSERT INTO migrations VALUES (" + std::to_string(known + 1) + ", 'later.sql', zeroblob(32), 0)");
  const auto before = place.files();
  for (const Options& options : {Place::options(), Place::reading()})
    EXPECT_THAT(why_not(place, options),
                AllOf(HasSubstr(place.database().string()), HasSubstr("schema is version " + std::to_string(known + 1)),
                      HasSubstr("knows them up to " + std::to_string(known))));
  EXPECT_EQ(place.files().at("orch.db"), before.at("orch.db"));
}

TEST(Migrations, RefuseAFileThatWasMadeByAnotherTextOfTheSame) {
  const Place place;
  place.open().reset();
  place.tell("UPDATE migrations SET sha256 = zeroblob(32) WHERE number = 1");
  EXPECT_THAT(why_not(place, Place::options()), HasSubstr("its migration 1 is not the 0001_first.sql of this program"));
}

TEST(Migrations, RefuseWhatIsNotOurs) {
  const Place place;
  test::fs::create_directories(place.state());
  place.tell("CREATE TABLE bookmarks (url TEXT)");
  EXPECT_THAT(why_not(place, Place::options()), HasSubstr("the database of another program"));
  std::ofstream(place.database(), std::ios::trunc) << std::string(5000, 'x');
  EXPECT_THAT(why_not(place, Place::options()), HasSubstr(place.database().string() + ": this is no SQLite database"));
}

/// The migrations of a program to come.
std::vector<Migration> later(std::string_view sql) {
  std::vector<Migration> all(migrations().begin(), migrations().end());
  all.push_back({static_cast<int>(all.size()) + 1, "later.sql", sql});
  return all;
}

TEST(Migrations, BringAnOlderSchemaToTheNewestAndKeepItsRows) {
  const Place place;
  test::commit(*place.open(), test::group(9));
  const auto known = later("ALTER TABLE facts ADD COLUMN since INTEGER NOT NULL DEFAULT 12;");
  {
    Database database(place.database(), Database::Mode::kWrite);
    EXPECT_EQ(schema_version(database, known), migrations().size());
    migrate(database, known);
    EXPECT_EQ(schema_version(database, known), known.size());
    migrate(database, known);  // nothing is left to do
  }
  EXPECT_EQ(place.ask("SELECT since FROM facts WHERE name = 'policy' AND value = '9'"), 12);
  EXPECT_EQ(place.ask("SELECT count(*) FROM migrations"), static_cast<std::int64_t>(known.size()));
  // And for the program of today it is newer.
  EXPECT_THAT(why_not(place, Place::options()), HasSubstr("knows them up to"));
}

TEST(Migrations, ThatFailLeaveNothingBehind) {
  const Place place;
  test::commit(*place.open(), test::group(9));
  {
    Database database(place.database(), Database::Mode::kWrite);
    EXPECT_THAT(failure_of([&] { migrate(database, later("CREATE TABLE half (a); DROP TABLE absent;")); }),
                HasSubstr("no such table: absent"));
    EXPECT_THAT(failure_of([&] { migrate(database, later("DELETE FROM names;")); }),
                HasSubstr("rows that refer to nothing"));
  }
  EXPECT_EQ(place.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
  EXPECT_EQ(place.open()->policy_text(), "9");
}

TEST(Migrations, AreNotForReaders) {
  const Place place;
  test::fs::create_directories(place.state());
  std::ofstream(place.database()).close();
  const auto before = place.files();
  EXPECT_THAT(why_not(place, Place::reading()), HasSubstr("a start of the daemon brings it there"));
  EXPECT_EQ(place.files(), before);
}

// Disks. The numbers are those of statfs(2) and of coreutils' `stat -f`.

TEST(Disk, OfANetworkIsKnownByItsNumber) {
  EXPECT_EQ(network_file_system(0x6969), "NFS");
  EXPECT_EQ(network_file_system(0x0BD00BD0), "Lustre");
  EXPECT_EQ(network_file_system(0xFF534D42), "CIFS");
  EXPECT_EQ(network_file_system(0xFFFFFFFFFF534D42u), "CIFS");  // where the number is 32 bits wide and signed
  EXPECT_EQ(network_file_system(0x19830326), "BeeGFS");
  EXPECT_TRUE(network_file_system(0x47504653));
  EXPECT_TRUE(network_file_system(0x65735546));
}

TEST(Disk, OfTheMachineItselfIsNone) {
  for (const std::uint64_t local : {0xEF53u /* ext4 */, 0x58465342u /* XFS */, 0x9123683Eu /* Btrfs */,
                                    0x01021994u /* tmpfs */, 0x794C7630u /* overlay */, 0x2FC12FC1u /* ZFS */})
    EXPECT_EQ(network_file_system(local), std::nullopt) << std::hex << local;
}

TEST(Disk, ThatIsRefusedIsNamedWithTheWayOut) {
  EXPECT_THAT(refuse_disk("/home/mara/state", 0x6969).value_or(""),
              AllOf(HasSubstr("/home/mara/state is on NFS"), HasSubstr("a local disk with --state")));
  EXPECT_EQ(refuse_disk("/var/lib/orch", 0xEF53), std::nullopt);
  EXPECT_THAT(refuse_disk("/does/not/exist").value_or(""), HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace orch::store
