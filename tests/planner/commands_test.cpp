// Where commands run that take no GPU, a part of one, or more of the host than their GPUs stand for.
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "matrix/own_names.h"
#include "planner/hosts.h"
#include "planner/plan.h"
#include "planner/script.h"
#include "planner/site.h"
#include "policy/policy.h"

using namespace orch;
using namespace orch::planner;
using ::testing::Contains, ::testing::Each, ::testing::HasSubstr, ::testing::IsEmpty, ::testing::SizeIs;

namespace {

struct Rig {
  Catalog catalog = planner::test::shipped();
  Cluster cluster = planner::test::h100s();
  policy::Policy policy;
  matrix::Expansion expansion;

  explicit Rig(const std::string& beside_run, const std::string& settings = "seed: [0, 1, 2, 3, 4, 5, 6, 7]") {
    Diagnostics diagnostics;
    const std::string text = "name: m\nkind: command\nmodels: [a]\ntasks: [x]\nsettings: {" + settings +
                             "}\ncommand: {run: [p, '{model}', '{task}', '{seed}'], time: 1h, " + beside_run + "}\n";
    const auto policy_yaml = load_yaml(orch::test::source_dir() / "policies/default.yaml", diagnostics);
    const auto read_policy =
        policy_yaml ? policy::read_policy(*policy_yaml, "default.yaml", diagnostics) : std::nullopt;
    if (read_policy) policy = *read_policy;
    const auto root = parse_yaml(text, "m.yaml", diagnostics);
    const auto read = root ? matrix::read_matrix(*root, "m.yaml", catalog, diagnostics) : std::nullopt;
    if (read) {
      catalog = matrix::with_own_names(*read, catalog);
      if (auto expanded = matrix::expand(*read, catalog, {}, diagnostics)) expansion = std::move(*expanded);
    }
    for (const Problem& problem : diagnostics.errors()) ADD_FAILURE() << problem.what;
  }

  Site site() const { return Site{catalog, cluster, policy, {}}; }
  Plan plan() const { return make_plan(expansion, site(), {}); }
  nlohmann::ordered_json resources(const Plan& plan, std::size_t job) const {
    return script_values(plan.jobs[job], plan, expansion, site())["resources"];
  }
};

std::size_t cells_of(const Plan& plan) {
  std::set<std::uint32_t> cells;
  for (const Job& job : plan.jobs) cells.insert(job.cells.begin(), job.cells.end());
  return cells.size();
}

}  // namespace

TEST(Commands, WithoutAGpuAskForCpusAndMemoryOnly) {
  Rig rig("gpus: 0, cpus: 2, memory: 4G");
  const Plan plan = rig.plan();
  EXPECT_EQ(cells_of(plan), 8u);
  EXPECT_EQ(plan.totals.gpu_hours, 0);
  int lanes = 0;
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    const Job& job = plan.jobs[i];
    EXPECT_EQ(job.gpus, 0);
    EXPECT_EQ(job.layout.gpus(), 0);
    EXPECT_EQ(job.nodes, 1);
    // 128 CPUs and 8 GPUs a node: what one GPU stands for is 16 CPUs, so 8 programs of 2.
    EXPECT_LE(job.lanes, 8);
    EXPECT_EQ(job.cpus, 2 * job.lanes);
    EXPECT_EQ(job.host_memory, 4 * kGiB * job.lanes);
    const auto resources = rig.resources(plan, i);
    EXPECT_EQ(resources["gpus"], 0);
    EXPECT_EQ(resources["gpus_text"], "gpu:0");
    EXPECT_EQ(resources["ntasks"], job.lanes);
    EXPECT_EQ(resources["cpus_per_task"], 2);
    EXPECT_EQ(resources["memory"], std::to_string(4096 * job.lanes) + "M");
    lanes += job.lanes;
  }
  EXPECT_EQ(lanes, 8) << "equal programs run side by side while CPUs are idle";
}

TEST(Commands, WithoutAGpuNeverTakeMoreMemoryTogetherThanTheirPartOfTheNode) {
  // 1 TiB and 8 GPUs a node: a GPU stands for 128 GiB, so that only one program of 100 GiB fits a job.
  for (const auto& [memory, lanes] : std::map<std::string, int>{{"100GiB", 1}, {"60GiB", 2}, {"500GiB", 1}}) {
    const Plan plan = Rig("gpus: 0, memory: " + memory).plan();
    EXPECT_EQ(cells_of(plan), 8u);
    for (const Job& job : plan.jobs) {
      EXPECT_LE(job.lanes, lanes) << memory;
      EXPECT_LE(job.host_memory, 1024 * kGiB) << memory;
    }
  }
}

TEST(Commands, WithoutAGpuDoNotWaitForGpusNorForTheirCap) {
  Rig rig("gpus: 0, cpus: 8");
  rig.policy.per_user.max_gpus = 0;
  const Plan plan = rig.plan();
  EXPECT_EQ(cells_of(plan), 8u);
  EXPECT_THAT(plan.waiting, IsEmpty());
  for (const Job& job : plan.jobs) EXPECT_EQ(job.start, 0) << "4 nodes have 512 CPUs, and 64 are asked for";
}

TEST(Commands, WithoutAGpuFollowEachOtherWhereCpusAreFew) {
  Rig rig("gpus: 0, cpus: 96");
  const Plan plan = rig.plan();
  // One such program to a node of 128 CPUs, on four nodes: two rounds of half an hour, the time declared being the
  // most.
  EXPECT_GE(plan.totals.makespan, 3600 * 0.9);
  EXPECT_EQ(cells_of(plan), 8u);
}

TEST(Commands, WithoutAGpuPreferPartitionsThatAreNotGivenWhole) {
  Rig rig("gpus: 0");
  rig.cluster.partitions[0].exclusive = true;
  Plan plan = rig.plan();
  ASSERT_THAT(plan.jobs, SizeIs(1));
  EXPECT_EQ(plan.jobs[0].lanes, 8) << "of a whole node all CPUs may be used";
  EXPECT_GT(plan.totals.gpu_hours, 0) << "its GPUs are kept from others";
  rig.cluster.partitions.push_back(planner::test::partition("shared", "a100_80gb", 2, 4));
  plan = rig.plan();
  for (const Sizing& sizing : plan.sizings) EXPECT_EQ(sizing.chosen.partition, 1u);
  EXPECT_EQ(plan.totals.gpu_hours, 0);
}

TEST(Commands, ThatNoNodeCanHoldAreRejectedWithWhatItHas) {
  for (const char* gpus : {"0", "0.5", "1"}) {
    const Plan cpus = Rig(std::string("cpus: 200, gpus: ") + gpus).plan();
    ASSERT_THAT(cpus.rejected, SizeIs(1)) << gpus;
    EXPECT_THAT(cpus.rejected[0].reason, HasSubstr("200 CPUs of a node, it has 128")) << gpus;
    const Plan memory = Rig(std::string("memory: 2TiB, gpus: ") + gpus).plan();
    ASSERT_THAT(memory.rejected, SizeIs(1)) << gpus;
    EXPECT_THAT(memory.rejected[0].reason, HasSubstr("2 TiB of host memory, a node has 1 TiB")) << gpus;
  }
}

TEST(Commands, ThatAskForAPartOfAGpuShareItInOneJob) {
  const auto share = [](const std::string& beside) {
    const Plan plan = Rig(beside).plan();
    EXPECT_EQ(cells_of(plan), 8u) << beside;
    for (const Job& job : plan.jobs) EXPECT_GE(job.gpus, 1) << beside;
    return plan.sizings.front().chosen.share;
  };
  EXPECT_EQ(share("gpus: 0.5"), 0.5);
  EXPECT_EQ(share("gpus: 0.3"), 0.375) << "in eighths, rounded up";
  EXPECT_EQ(share("gpus: 0.01"), 0.125);
  EXPECT_EQ(share("gpus: 0.75"), 0.75);
  EXPECT_EQ(share("gpus: 0.25, gpu_memory: 35GiB"), 0.5) << "35 of the 71.7 GiB that may be used are nearly half";
  EXPECT_EQ(share("gpus: 0.25, cpus: 8"), 0.5) << "8 of the 16 CPUs that a GPU stands for";
  EXPECT_EQ(share("gpus: 0.25, memory: 128GiB"), 1) << "all the memory that a GPU stands for";

  const Plan plan = Rig("gpus: 0.5, cpus: 2, memory: 4G").plan();
  int lanes = 0, gpus = 0;
  for (const Job& job : plan.jobs) {
    lanes += job.lanes;
    gpus += job.gpus;
    EXPECT_EQ(job.cpus, 2 * job.lanes);
    EXPECT_EQ(job.host_memory, 4 * kGiB * job.lanes);
  }
  EXPECT_EQ(lanes, 2 * gpus);
}

TEST(Commands, ThatTakeMoreOfTheHostThanTheirGpusStandForRunAlone) {
  // 8 GPUs a node, 1 TiB: eight programs of one GPU and 128 GiB fit a node, of 129 GiB only seven.
  const auto most_lanes = [](const std::string& beside) {
    int most = 0;
    for (const Job& job : Rig(beside).plan().jobs) {
      most = std::max(most, job.lanes);
      EXPECT_LE(job.host_memory, 1024 * kGiB);
      EXPECT_LE(job.cpus, 128);
    }
    return most;
  };
  EXPECT_GT(most_lanes("gpus: 1, memory: 128GiB"), 1);
  EXPECT_EQ(most_lanes("gpus: 1, memory: 129GiB"), 1);
  EXPECT_GT(most_lanes("gpus: 2, cpus: 32"), 1);
  EXPECT_EQ(most_lanes("gpus: 2, cpus: 33"), 1);
}

TEST(Commands, OfNamesOfTheirOwnShareJobsWhateverTheName) {
  Rig one("gpus: 1");
  const Plan plan = one.plan();
  EXPECT_THAT(plan.needs, SizeIs(1));
  EXPECT_EQ(plan.needs[0].model, matrix::kNone) << "nothing is loaded for a name that means nothing here";
  EXPECT_EQ(plan.totals.model_loads, 0);
}

TEST(HostUnits, HoldMemoryAsWellAsCpus) {
  Partition node = planner::test::partition("p", "h100_80gb", 1, 8);  // 128 CPUs, 1 TiB: 8 GiB a CPU
  EXPECT_EQ(host_units(node), 128);
  EXPECT_EQ(host_units(node, 3, 0), 3);
  EXPECT_EQ(host_units(node, 0, 0), 1);
  EXPECT_EQ(host_units(node, 1, 8 * kGiB), 1);
  EXPECT_EQ(host_units(node, 1, 9 * kGiB), 2);
  EXPECT_EQ(host_units(node, 1, 1024 * kGiB), 128);
  EXPECT_EQ(most_host_units(node), 16);
  node.exclusive = true;
  EXPECT_EQ(most_host_units(node), 128);
  node.cpus_per_node = 0;
  EXPECT_EQ(most_host_units(node), 0) << "nothing is packed by what is not known";
}
