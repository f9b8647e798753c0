// What a worker takes from its environment, and what it keeps from the users' programs.
#include "run/allocation.h"

#include <gmock/gmock.h>

namespace orch::worker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using namespace std::chrono_literals;

TEST(Nodes, AreExpandedAsScontrolDoes) {
  // `scontrol show hostnames` prints these, one a line.
  EXPECT_THAT(*expand_nodes("gpu[1-3,7]"), ElementsAre("gpu1", "gpu2", "gpu3", "gpu7"));
  EXPECT_THAT(*expand_nodes("a"), ElementsAre("a"));
  EXPECT_THAT(*expand_nodes("n[08-11],login"), ElementsAre("n08", "n09", "n10", "n11", "login"));
  EXPECT_THAT(*expand_nodes("r[1-2]n[01-02]"), ElementsAre("r1n01", "r1n02", "r2n01", "r2n02"));
  EXPECT_THAT(*expand_nodes("x[1]-ib,y"), ElementsAre("x1-ib", "y"));
  for (const char* text :
       {"", "a,", ",a", "a[", "a]", "a[]", "a[1-]", "a[2-1]", "a[x]", "a[[1]]", "a[1-999999999]", "a[0-999][0-999]"})
    EXPECT_FALSE(expand_nodes(text).ok()) << text;
}

class AllocationTest : public testing::Test {
 protected:
  LoopOptions read() {
    environment_.emplace("SLURM_JOB_ID", "42");
    auto options = allocation_of(environment_, job_, std::chrono::system_clock::time_point(1'000'000s));
    if (!options) throw std::runtime_error(options.error().what);
    return *options;
  }
  Environment environment_;
  static wire::JobFile job() {
    wire::JobFile job;
    job.time = 600;
    job.drain = 60;
    job.gpus = 2;
    job.cpus = 4;
    job.memory = 1000;
    return job;
  }
  wire::JobFile job_ = job();
};

TEST_F(AllocationTest, ComesFromSlurmWhereItSaysSo) {
  environment_ = {{"SLURM_RESTART_COUNT", "3"},
                  {"SLURM_JOB_NODELIST", "n[1-2]"},
                  {"CUDA_VISIBLE_DEVICES", "4,GPU-ab12"},
                  {"SLURM_GPUS_ON_NODE", "7"},
                  {"SLURM_JOB_END_TIME", "1000300"}};
  const LoopOptions options = read();
  EXPECT_EQ(options.cluster_id, "42");
  EXPECT_EQ(options.restarts, 3);
  EXPECT_THAT(options.nodes, ElementsAre("n1", "n2"));
  EXPECT_THAT(options.gpus, ElementsAre("4", "GPU-ab12"));
  EXPECT_EQ(options.time, 300s);
  EXPECT_EQ(options.drain, 60s);
  EXPECT_EQ(options.cpus, 4);
  EXPECT_EQ(options.memory, 1000);
}

TEST_F(AllocationTest, ComesFromTheJobsFileWhereSlurmIsSilent) {
  const LoopOptions options = read();
  EXPECT_EQ(options.restarts, 0);
  EXPECT_THAT(options.gpus, ElementsAre("0", "1"));
  EXPECT_EQ(options.time, 600s);
  environment_["SLURM_JOB_END_TIME"] = "999999";
  EXPECT_EQ(read().time, 600s) << "an end that has passed is another clock's";
  environment_["SLURM_GPUS_ON_NODE"] = "3";
  EXPECT_THAT(read().gpus, ElementsAre("0", "1", "2"));
  environment_["CUDA_VISIBLE_DEVICES"] = "NoDevFiles";
  EXPECT_THAT(read().gpus, IsEmpty()) << "so Slurm says that there is none";
}

TEST_F(AllocationTest, HasNoGpuWhenNoneWasAskedFor) {
  job_.gpus = 0;
  environment_ = {{"CUDA_VISIBLE_DEVICES", "0,1"}, {"SLURM_GPUS_ON_NODE", "2"}};
  EXPECT_THAT(read().gpus, IsEmpty()) << "the site's environment names GPUs of other jobs";
}

TEST_F(AllocationTest, IsOfAJob) {
  EXPECT_FALSE(allocation_of({}, job_, {}).ok());
  EXPECT_FALSE(allocation_of({{"SLURM_JOB_ID", "1"}, {"SLURM_JOB_NODELIST", "a["}}, job_, {}).ok());
}

TEST(Environment, OfProgramsHasNothingOfLaunchersAndRanks) {
  const std::vector<std::string> kept = {
      "PATH=/bin",         "HOME=/h", "SLURM_JOB_ID=1", "SLURM_JOB_NODELIST=a", "SLURM_RESTART_COUNT=0",
      "OMP_NUM_THREADS=2", "EMPTY="};
  std::vector<std::string> all = kept;
  for (const char* name : {"PMI_RANK",
                           "PMI2_X",
                           "PMIX_RANK",
                           "OMPI_COMM_WORLD_SIZE",
                           "OPAL_PREFIX",
                           "PRTE_X",
                           "ORTE_X",
                           "SLURM_PROCID",
                           "SLURM_LOCALID",
                           "SLURM_NODEID",
                           "SLURM_STEP_ID",
                           "SLURM_STEPID",
                           "SLURM_STEP_NUM_TASKS",
                           "SLURM_NTASKS",
                           "SLURM_NPROCS",
                           "SLURM_GTIDS",
                           "SLURM_TASK_PID",
                           "SLURM_TASKS_PER_NODE",
                           "SLURM_CPU_BIND",
                           "SLURM_MPI_TYPE",
                           "SLURM_LAUNCH_NODE_IPADDR",
                           "SLURM_SRUN_COMM_PORT",
                           "SLURM_PMIX_MAPPING_SERV"})
    all.push_back(std::string(name) + "=1");
  all.push_back("PATH=/second");
  std::vector<char*> variables;
  for (std::string& text : all) variables.push_back(text.data());
  variables.push_back(nullptr);
  EXPECT_THAT(for_programs(environment_of(variables.data())), testing::UnorderedElementsAreArray(kept));
}

}  // namespace
}  // namespace orch::worker
