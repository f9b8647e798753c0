// Files of jobs that are over go in time, those of others stay.
#include "orchd/housekeeper.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <fstream>
#include <future>

#include "policy/read.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
using namespace control;

TEST(Housekeeper, RemovesWhatThePolicyKeepsNoLonger) {
  std::string pattern = (fs::temp_directory_path() / "orch-keep-XXXXXX").string();
  const fs::path root = mkdtemp(pattern.data());
  State state(policy::shipped("default"), "keep");
  state.policy.retention = {3600.0, std::nullopt, std::nullopt};
  const Now now{std::chrono::seconds(1), Utc(std::chrono::hours(24 * 365 * 50))};
  for (std::uint32_t i = 1; i <= 3; ++i) {
    Job job;
    job.id = JobId{i};
    job.name = "orch-keep-" + std::to_string(i);
    job.state = i == 3 ? JobState::kRunning : JobState::kEnded;
    job.ended = i == 3 ? Utc{} : now.utc - std::chrono::minutes(i == 1 ? 61 : 59);
    fs::create_directories(root / job.name);
    std::ofstream(root / job.name / (job.name + ".out")) << "text";
    state.jobs.emplace(job.id, job);
  }
  std::promise<std::string> said;
  {
    Housekeeper::Options options;
    options.every = std::chrono::milliseconds(1);
    options.jobs = root;
    options.look = [&](std::function<void(const State&, Now)> read) { read(state, now); };
    options.log = [&, once = false](const std::string& what) mutable {
      if (!std::exchange(once, true)) said.set_value(what);
    };
    Housekeeper housekeeper(std::move(options));
    EXPECT_EQ(said.get_future().get().substr(0, 14), "removed 1 file");
  }
  EXPECT_FALSE(fs::exists(root / "orch-keep-1" / "orch-keep-1.out"));
  EXPECT_TRUE(fs::exists(root / "orch-keep-2" / "orch-keep-2.out"));
  EXPECT_TRUE(fs::exists(root / "orch-keep-3" / "orch-keep-3.out"));
  fs::remove_all(root);
}

}  // namespace
}  // namespace orch::orchd
