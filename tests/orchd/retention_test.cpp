// What is removed of a job's folder, when.
#include "orchd/retention.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
constexpr double kDay = 86400;

class Retain : public testing::Test {
 protected:
  Retain() {
    std::string pattern = (fs::temp_directory_path() / "orch-retain-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    job_ = root_ / "orch-x-1";
    for (const char* file :
         {"job.json", "job.sh", "exit.json", "claim", "spool.1", "spool.2", "orch-x-1.out", "mail/1", "cells/3-9/log",
          "cells/3-9/result.json", "cells/3-9/samples/a.jsonl", "cells/4-10/log", "cells/4-10/result.json"})
      write(job_ / file);
  }
  ~Retain() override { fs::remove_all(root_); }

  static void write(const fs::path& file) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << "0123456789";
  }
  bool has(const std::string& name) const { return fs::exists(fs::symlink_status(job_ / name)); }
  Removed tidy(double age) {
    return tidy_job_folder(job_, age, retention_, [this](control::CellId cell) {
      return cell == needed_ ? Kept::kAll : cell == trained_ ? Kept::kWhatItMade : Kept::kNothing;
    });
  }

  fs::path root_, job_;
  policy::Retention retention_;
  control::CellId needed_ = control::kNoCell, trained_ = control::kNoCell;
};

TEST_F(Retain, KeepsEverythingWhereThePolicySaysNothing) {
  EXPECT_EQ(tidy(10000 * kDay).files, 0u);
  EXPECT_TRUE(has("spool.1") && has("orch-x-1.out") && has("cells/3-9/samples/a.jsonl"));
}

TEST_F(Retain, RemovesEachKindOnceItIsOldEnough) {
  retention_ = {30 * kDay, 7 * kDay, std::nullopt};
  EXPECT_EQ(tidy(6.9 * kDay).files, 0u);
  const Removed spools = tidy(7 * kDay);
  EXPECT_EQ(spools.files, 3u) << "two spools and a message";
  EXPECT_EQ(spools.bytes, 30u);
  EXPECT_FALSE(has("spool.1") || has("spool.2") || has("mail"));
  EXPECT_TRUE(has("claim") && has("cells/3-9/log"));
  EXPECT_EQ(tidy(30 * kDay).files, 3u) << "that of the job and of two cells";
  EXPECT_FALSE(has("orch-x-1.out") || has("cells/3-9/log"));
  EXPECT_TRUE(has("cells/3-9/samples/a.jsonl") && has("cells/4-10/result.json") && has("job.json"));
}

TEST_F(Retain, RemovesTheFolderOnceNothingIsKept) {
  retention_ = {kDay, kDay, kDay};
  EXPECT_TRUE(tidy(kDay).all);
  EXPECT_FALSE(fs::exists(job_));
  EXPECT_TRUE(fs::exists(root_));
}

TEST_F(Retain, SparesWhatAnotherCellNeeds) {
  retention_ = {kDay, kDay, kDay};
  needed_ = control::CellId{3};
  EXPECT_FALSE(tidy(kDay).all);
  EXPECT_TRUE(has("cells/3-9/samples/a.jsonl") && has("cells/3-9/result.json"));
  EXPECT_FALSE(has("cells/4-10"));
}

TEST_F(Retain, KeepsWhatATrainingMadeAndNotWhatItWentOnFrom) {
  for (const char* file :
       {"cells/6-1/adapter/adapter_model.safetensors", "cells/6-1/curve.jsonl", "cells/6-1/result.json",
        "cells/6-1/checkpoints/step-10/state.json", "cells/7-2/checkpoints/step-10/state.json"})
    write(job_ / file);
  trained_ = control::CellId{6};
  needed_ = control::CellId{7};
  retention_.checkpoints = 2 * kDay;
  EXPECT_EQ(tidy(1.9 * kDay).files, 0u);
  EXPECT_EQ(tidy(2 * kDay).files, 1u);
  EXPECT_FALSE(has("cells/6-1/checkpoints"));
  EXPECT_TRUE(has("cells/7-2/checkpoints/step-10/state.json")) << "an attempt goes on from it";
  EXPECT_TRUE(has("cells/6-1/result.json"));
  retention_ = {kDay, kDay, kDay};
  tidy(2 * kDay);
  EXPECT_TRUE(has("cells/6-1/adapter/adapter_model.safetensors") && has("cells/6-1/curve.jsonl"));
  EXPECT_FALSE(has("cells/6-1/result.json"));
}

TEST_F(Retain, FollowsNoLink) {
  const fs::path outside = root_ / "precious";
  write(outside / "file");
  write(outside / "cells" / "5-1" / "log");
  fs::create_directory_symlink(outside, job_ / "cells" / "3-9" / "samples" / "link");
  fs::create_directory_symlink(outside, job_ / "spool.3");
  fs::create_directory_symlink(outside / "cells" / "5-1", job_ / "cells" / "5-1");
  retention_ = {kDay, kDay, kDay};
  tidy(kDay);
  EXPECT_TRUE(fs::exists(outside / "file"));
  EXPECT_TRUE(fs::exists(outside / "cells" / "5-1" / "log"));
  fs::remove_all(job_);
  fs::create_directory_symlink(outside, job_);
  tidy(kDay);
  EXPECT_TRUE(fs::exists(outside / "cells" / "5-1" / "log"));
}

}  // namespace
}  // namespace orch::orchd
