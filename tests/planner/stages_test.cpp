// What stages hand on to a plan: who waits for cells that several of them ask for, and the choices of expansion.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/text.h"
#include "base/units.h"
#include "base/yaml.h"
#include "planner/plan.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::planner;
using ::testing::Contains, ::testing::ElementsAre, ::testing::SizeIs;

namespace {

struct World {
  Catalog catalog;
  Cluster cluster;
  policy::Policy policy;
  matrix::Expansion expansion;

  explicit World(const std::string& text) {
    const std::filesystem::path root = orch::test::source_dir();
    Diagnostics diagnostics;
    catalog = load_catalog(std::vector{root / "db" / "catalog"}, diagnostics);
    const auto rules = load_yaml(root / "policies" / "default.yaml", diagnostics);
    policy = policy::read_policy(*rules, "default", diagnostics).value();
    cluster.name = "test";
    Partition partition;
    partition.name = "h100quadflex";
    partition.gpu = "h100_80gb";
    partition.nodes = 4;
    partition.gpus_per_node = 8;
    partition.cpus_per_node = 64;
    partition.memory_per_node = 1024 * kGiB;
    partition.max_time = 7 * 86400;
    cluster.partitions.push_back(partition);
    const auto yaml = parse_yaml(text, "m.yaml", diagnostics);
    expansion =
        matrix::expand(matrix::read_matrix(*yaml, "m.yaml", catalog, diagnostics).value(), catalog, {}, diagnostics)
            .value();
  }

  Plan plan() const { return make_plan(expansion, Site{catalog, cluster, policy, {}}, {}); }
};

}  // namespace

TEST(Stages, WaitForCellsThatTheirForerunnerSharesWithAThird) {
  const World world(R"(
name: m
models: [llama31_8b]
stages:
  a: {tasks: [mmlu]}
  b: {tasks: [mmlu]}
  c: {tasks: [gsm8k], after: [b]}
)");
  // Cell 0 is mmlu, asked for by a and b; cell 1 is c's.
  ASSERT_THAT(world.expansion.cells, SizeIs(2));
  const Plan plan = world.plan();
  ASSERT_EQ(plan.cells, 2);
  EXPECT_THAT(plan.jobs[plan.job_of[1]].after, ElementsAre(plan.job_of[0]));
}

TEST(Notes, BeginWithTheChoicesOfExpansion) {
  World world("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\n");
  world.expansion.notes = {"llama31_8b / sft: rank 64", "llama31_8b / sft: alpha 16"};
  const Plan few = world.plan();
  ASSERT_GE(few.notes.size(), 2u);
  EXPECT_EQ(few.notes[0], "llama31_8b / sft: rank 64");
  EXPECT_EQ(few.notes[1], "llama31_8b / sft: alpha 16");

  world.expansion.notes.clear();
  for (int i = 0; i < 1060; ++i) world.expansion.notes.push_back("choice " + std::to_string(i));
  const Plan many = world.plan();
  ASSERT_GE(many.notes.size(), 51u);
  EXPECT_EQ(many.notes[49], "choice 49");
  EXPECT_EQ(many.notes[50], "… and 1,010 more");
}
