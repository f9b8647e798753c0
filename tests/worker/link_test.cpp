// What a worker leaves in its job's directory.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "base/whole_file.h"

#include "link/directory.h"
#include "link/spool.h"
#include "support/temporary.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::HasSubstr;
using testing::SizeIs;

wire::Delivered delivered(std::uint32_t cell) {
  wire::Delivered item;
  item.chunk = {cell, 0};
  item.what = "done";
  item.metrics = R"({"acc":{"value":0.5}})";
  return item;
}

TEST(JobDirectory, BelongsToTheFirstThatComesAndToItsRequeuedCopies) {
  const TemporaryFolder folder;
  const JobDirectory directory(folder.path());
  EXPECT_EQ(*directory.own("100"), std::nullopt);
  EXPECT_EQ(*directory.own("100"), std::nullopt) << "the same job, requeued";
  EXPECT_EQ(*directory.own("101"), "100");
}

TEST(JobDirectory, KnowsTheClaimThatTheJobsScriptHasWritten) {
  const TemporaryFolder folder;
  std::ofstream(folder / "claim") << "100\n";  // `echo "$SLURM_JOB_ID"`
  const JobDirectory directory(folder.path());
  EXPECT_EQ(*directory.own("100"), std::nullopt);
  EXPECT_EQ(*directory.own("10"), "100");
  const TemporaryFolder other;
  ASSERT_TRUE(JobDirectory(other.path()).own("7").ok());
  std::ifstream claim(other / "claim");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(claim), {}), "7\n") << "as the script would have";
}

TEST(JobDirectory, HasASpoolForEachStart) {
  const TemporaryFolder folder;
  const JobDirectory directory(folder.path());
  for (const char* name : {"spool.10", "spool.2", "spool.x", "spool", "spool.3.new"})
    std::ofstream(folder / name) << "";
  EXPECT_EQ(directory.spool(2), folder / "spool.2");
  EXPECT_THAT(*directory.spools(), testing::ElementsAre(folder / "spool.2", folder / "spool.10"));
}

TEST(JobDirectory, KeepsTheLastWords) {
  const TemporaryFolder folder;
  const JobDirectory directory(folder.path());
  EXPECT_EQ(directory.read_exit()->has_value(), false);
  ASSERT_TRUE(directory.write_exit({3, "drained", "the time was nearly over"}).ok());
  const auto words = directory.read_exit();
  ASSERT_TRUE(words.ok() && words->has_value());
  EXPECT_EQ((*words)->epoch, 3u);
  EXPECT_EQ((*words)->end, "drained");
  std::ofstream(folder / "exit.json") << "{\"epoch\": 3}";
  EXPECT_THAT(directory.read_exit().error().what, HasSubstr("end is missing"));
}

TEST(JobDirectory, MakesNoFolderOutsideItself) {
  const TemporaryFolder folder, elsewhere;
  const JobDirectory directory(folder.path());
  ASSERT_TRUE(directory.attempt_folder("cells/1-2").ok());
  EXPECT_TRUE(std::filesystem::is_directory(folder / "cells/1-2"));
  for (const char* name : {"", "/etc", "../x", "a/../../x", ".."}) EXPECT_FALSE(directory.attempt_folder(name).ok());
  std::filesystem::create_directory_symlink(elsewhere.path(), folder / "link");
  EXPECT_FALSE(directory.attempt_folder("link/x").ok());
}

// Whoever sees it there can read it, whatever the account's mask: it is never there with another mode.
TEST(WriteWhole, GivesTheFileItsModeWhateverTheMask) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(077);
  EXPECT_TRUE(write_whole(folder / "open", "x", 0644).ok());
  ::umask(0);
  EXPECT_TRUE(write_whole(folder / "closed", "x").ok());
  ::umask(before);
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(folder / "open").permissions(), fs::perms(0644));
  EXPECT_EQ(fs::status(folder / "closed").permissions(), fs::perms(0600));
}

TEST(Spool, IsReadBackAfterARestartInOrder) {
  const TemporaryFolder folder;
  {
    auto spool = Spool::open(folder / "spool");
    ASSERT_TRUE(spool.ok());
    for (std::uint32_t cell = 0; cell < 3; ++cell) ASSERT_TRUE(spool->append(delivered(cell)).ok());
  }
  auto spool = Spool::open(folder / "spool");
  ASSERT_THAT(spool->items(), SizeIs(3));
  EXPECT_EQ(spool->items()[2].chunk.cell, 2u);
  ASSERT_TRUE(spool->drop(2).ok());
  ASSERT_TRUE(spool->append(delivered(7)).ok());
  const auto left = read_spool(folder / "spool");
  ASSERT_THAT(*left, SizeIs(2));
  EXPECT_EQ((*left)[0].chunk.cell, 2u);
  EXPECT_EQ((*left)[1].chunk.cell, 7u);
  ASSERT_TRUE(spool->drop(2).ok());
  EXPECT_EQ(std::filesystem::file_size(folder / "spool"), 0u);
}

TEST(Spool, LosesNothingButATornEnd) {
  const TemporaryFolder folder;
  {
    auto spool = Spool::open(folder / "spool");
    for (std::uint32_t cell = 0; cell < 3; ++cell) ASSERT_TRUE(spool->append(delivered(cell)).ok());
  }
  const auto whole = std::filesystem::file_size(folder / "spool");
  // Every place at which a write can have stopped.
  for (std::uintmax_t size = 0; size <= whole; ++size) {
    std::filesystem::copy_file(folder / "spool", folder / "torn", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "torn", size);
    auto spool = Spool::open(folder / "torn");
    ASSERT_TRUE(spool.ok());
    EXPECT_THAT(spool->items(), SizeIs(size * 3 / whole)) << size << " of " << whole << " bytes";
    ASSERT_TRUE(spool->append(delivered(9)).ok());
    EXPECT_EQ(read_spool(folder / "torn")->back().chunk.cell, 9u);
  }
}

TEST(Spool, OfRubbishIsEmpty) {
  const TemporaryFolder folder;
  std::ofstream(folder / "spool") << "0000000a 00000000 {\"items\"}\nffffffff ffffffff x\n";
  EXPECT_THAT(Spool::open(folder / "spool")->items(), SizeIs(0));
  EXPECT_THAT(*read_spool(folder / "not there"), SizeIs(0));
}

}  // namespace
}  // namespace orch::worker
