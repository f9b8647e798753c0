// What is left is the least of what the machine, the process's control group and the groups above it leave.
#include "comm/host_memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/temporary.h"

namespace orch::comm {
namespace {

namespace fs = std::filesystem;

class HostMemory : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const fs::path file = folder_.path() / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  double left() const { return memory_left(folder_.path()); }
  test::TemporaryFolder folder_;
};

TEST_F(HostMemory, IsNotKnownWhereNothingTells) { EXPECT_EQ(left(), 0); }

TEST_F(HostMemory, IsWhatTheMachineHasWithoutLimits) {
  put("proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:    1000 kB\n");
  EXPECT_EQ(left(), 1'024'000);
  put("proc/self/cgroup", "0::/job/step\n");
  put("sys/fs/cgroup/job/step/memory.max", "max\n");
  put("sys/fs/cgroup/job/step/memory.current", "5\n");
  EXPECT_EQ(left(), 1'024'000);
}

TEST_F(HostMemory, IsWhatTheTightestGroupLeaves) {
  put("proc/meminfo", "MemAvailable:    1000 kB\n");
  put("proc/self/cgroup", "0::/job/step\n");
  put("sys/fs/cgroup/job/step/memory.max", "900000\n");
  put("sys/fs/cgroup/job/step/memory.current", "100000\n");
  EXPECT_EQ(left(), 800'000);
  put("sys/fs/cgroup/job/memory.max", "700000\n");
  put("sys/fs/cgroup/job/memory.current", "300000\n");
  EXPECT_EQ(left(), 400'000);
  // What is kept of files that were read gives way.
  put("sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 50000\n");
  EXPECT_EQ(left(), 450'000);
  put("sys/fs/cgroup/job/memory.current", "900000\n");
  EXPECT_EQ(left(), 0);
}

TEST_F(HostMemory, OfTheOlderGroupsIsOfTheMemoryControllerAlone) {
  put("proc/meminfo", "MemAvailable:    1000 kB\n");
  put("proc/self/cgroup", "11:cpuset:/other\n4:cpu,memory:/slurm/job_1\n1:name=systemd:/x\n0::/\n");
  put("sys/fs/cgroup/memory/slurm/job_1/memory.limit_in_bytes", "600000\n");
  put("sys/fs/cgroup/memory/slurm/job_1/memory.usage_in_bytes", "200000\n");
  put("sys/fs/cgroup/memory/slurm/job_1/memory.stat", "cache 9\ntotal_inactive_file 1000\n");
  put("sys/fs/cgroup/other/memory.max", "1\n");
  put("sys/fs/cgroup/other/memory.current", "0\n");
  EXPECT_EQ(left(), 401'000);
}

TEST_F(HostMemory, OfThisMachineIsKnown) { EXPECT_GT(memory_left(), 1 << 20); }

}  // namespace
}  // namespace orch::comm
