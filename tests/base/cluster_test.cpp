#include "base/cluster.h"

#include "base/catalog.h"
#include "base/units.h"
#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::Each, testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Optional, testing::Pair,
    testing::SizeIs;

namespace {

Catalog with_h100() {
  Catalog catalog;
  Gpu gpu;
  gpu.name = "h100";
  catalog.gpus.put(gpu);
  gpu.name = "a100";
  catalog.gpus.put(gpu);
  return catalog;
}

std::vector<Cluster> read(std::string_view text, Diagnostics& diagnostics) {
  const Catalog catalog = with_h100();
  const auto root = parse_yaml(text, "c.yaml", diagnostics);
  return root ? read_clusters(*root, "c.yaml", catalog, diagnostics) : std::vector<Cluster>{};
}

std::vector<std::string> errors_of(std::string_view text) {
  Diagnostics diagnostics;
  read(text, diagnostics);
  return lines(diagnostics);
}

constexpr const char* kPartition =
    "{gpu: h100, nodes: 4, gpus_per_node: 8, cpus_per_node: 128, memory_per_node: 2000G}";

/// What is wrong with a `submit` that has this in it.
std::vector<std::string> submit_errors(const std::string& entry) {
  return problems(entry, [](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    read_submit(root, file, diagnostics);
  });
}

Submit submit_of(std::string_view text) {
  Diagnostics diagnostics;
  const Submit submit = read_submit(yaml(text), "f", diagnostics);
  EXPECT_THAT(lines(diagnostics), IsEmpty());
  return submit;
}

}  // namespace

TEST(Cluster, IsReadWithItsPartitionsAndDefaults) {
  Diagnostics d;
  const auto clusters = read(R"(cluster:
  name: alpha
  partitions:
    gpu:
      gpu: h100
      nodes: 4
      gpus_per_node: 8
      cpus_per_node: 128
      memory_per_node: 2000G
      max_time: 2-00:00:00
      max_nodes: 2
      exclusive: true
      network: 400Gbit/s
      load_bandwidth: 5GB/s
      submit: {qos: high}
    tiny: {gpu: a100, nodes: 1, gpus_per_node: 1, cpus_per_node: 8, memory_per_node: 64G, shares_gpus: true}
  submit: {account: p123, modules: [cuda/12.4], environment: {HF_HOME: /scratch/hf, EMPTY: }}
)",
                             d);
  EXPECT_THAT(lines(d), IsEmpty());
  ASSERT_THAT(clusters, SizeIs(1));
  const Cluster& alpha = clusters.front();
  EXPECT_EQ(alpha.name, "alpha");
  EXPECT_EQ(alpha.request, GpuRequest::kGres);
  EXPECT_EQ(alpha.gres_name, "gpu");
  EXPECT_TRUE(alpha.gres_typed);
  ASSERT_THAT(alpha.partitions, SizeIs(2));
  const Partition* gpu = alpha.find("gpu");
  ASSERT_NE(gpu, nullptr);
  EXPECT_EQ(gpu->max_time, 2 * 86400);
  EXPECT_EQ(gpu->memory_per_node, 2000 * kGiB);
  EXPECT_EQ(gpu->network, 50e9);
  EXPECT_EQ(gpu->load_bandwidth, 5e9);
  EXPECT_TRUE(gpu->exclusive);
  EXPECT_FALSE(gpu->shares_gpus);
  EXPECT_EQ(to_string(gpu->source), "c.yaml:4:5");
  const Partition* tiny = alpha.find("tiny");
  EXPECT_EQ(tiny->max_time, 0);
  EXPECT_EQ(tiny->max_nodes, 0);
  EXPECT_TRUE(tiny->shares_gpus);
  EXPECT_EQ(alpha.find("none"), nullptr);
  const Submit joined = gpu->submit.over(alpha.submit);
  EXPECT_THAT(joined.qos, Optional(std::string("high")));
  EXPECT_THAT(joined.account, Optional(std::string("p123")));
  EXPECT_THAT(joined.environment, ElementsAre(Pair("EMPTY", ""), Pair("HF_HOME", "/scratch/hf")));
}

TEST(Cluster, FilesMayHoldSeveral) {
  Diagnostics d;
  const auto clusters = read(std::string("clusters:\n  a: {request: gpus-per-node, partitions: {p: ") + kPartition +
                                 "}}\n  b: {gres_name: cuda, gres_typed: false, partitions: {p: " + kPartition + "}}\n",
                             d);
  EXPECT_THAT(lines(d), IsEmpty());
  ASSERT_THAT(clusters, SizeIs(2));
  EXPECT_EQ(clusters[0].request, GpuRequest::kGpusPerNode);
  EXPECT_EQ(clusters[1].gres_name, "cuda");
  EXPECT_FALSE(clusters[1].gres_typed);
}

TEST(Cluster, FilesHoldOneFormOrTheOther) {
  EXPECT_THAT(errors_of("{}"), ElementsAre("c.yaml:1:1: a cluster file has either 'cluster' or 'clusters'"));
  EXPECT_THAT(errors_of("clusters: {}"),
              ElementsAre(HasSubstr("c.yaml:1:11: 'clusters' must be a map of at least one cluster")));
  EXPECT_THAT(errors_of("3"), ElementsAre("c.yaml:1:1: a cluster file must be a map of keys, found the number 3"));
  EXPECT_THAT(errors_of(std::string("cluster: {partitions: {p: ") + kPartition + "}}"),
              ElementsAre("c.yaml:1:10: a cluster needs the key 'name'"));
  EXPECT_THAT(errors_of("cluster: {name: x}"), ElementsAre("c.yaml:1:10: a cluster needs the key 'partitions'"));
  EXPECT_THAT(errors_of("cluster: {name: x, partitions: {}}"),
              ElementsAre(HasSubstr("'partitions' must be a map of 1 to 1,000")));
}

TEST(Cluster, NamesTheNearestGpuOfTheCatalogOrAll) {
  EXPECT_THAT(errors_of("cluster:\n  name: x\n  partitions:\n    p: {gpu: h10, nodes: 1, gpus_per_node: 1, "
                        "cpus_per_node: 1, memory_per_node: 1G}\n"),
              ElementsAre("c.yaml:4:14: no GPU 'h10' in the catalog; did you mean 'h100'?"));
  EXPECT_THAT(errors_of("cluster:\n  name: x\n  partitions:\n    p: {gpu: mi300x, nodes: 1, gpus_per_node: 1, "
                        "cpus_per_node: 1, memory_per_node: 1G}\n"),
              ElementsAre("c.yaml:4:14: no GPU 'mi300x' in the catalog; it has h100, a100"));
}

TEST(Cluster, TellsEveryFaultOfAPartition) {
  EXPECT_THAT(
      errors_of("cluster:\n  name: x\n  partitions:\n    p: {gpu: h100, nodes: 2, gpus_per_node: 0, cpus_per_node: 1, "
                "memory_per_node: 1G, max_nodes: 3, max_time: 3600, netwrk: 1GB}\n"),
      testing::UnorderedElementsAre(HasSubstr("'gpus_per_node' must be a whole number from 1 to 64"),
                                    HasSubstr("'max_nodes' must be at most 'nodes', which is 2; found 3"),
                                    HasSubstr("'max_time' must be a duration"),
                                    HasSubstr("no key 'netwrk'; did you mean 'network'?")));
}

TEST(Cluster, SubmitRefusesWhatAScriptCouldNotHold) {
  EXPECT_THAT(
      submit_errors(
          "{account: \"a\\nb\", qos: 'a b', conda: '', environment: {'A-B': x, '1A': x, GOOD: \"x\\ny\", OK: x}}"),
      testing::UnorderedElementsAre(
          HasSubstr("f.yaml:1:11: 'account' must be a text of one line"), HasSubstr("'qos' must be one word"),
          HasSubstr("'conda' must be a text of one line"), HasSubstr("begins with no digit; found 'A-B'"),
          HasSubstr("found '1A'"), HasSubstr("the value of 'GOOD' must be a text of one line")));
  EXPECT_THAT(submit_errors("{sbatch: [--mail-type=END, '-p x', '#SBATCH --x', \"--a\\nrm\", '--']}"), SizeIs(4));
  EXPECT_THAT(submit_errors("{modules: ['cuda/12.4', 'a b', '', '-f']}"), SizeIs(3));
  EXPECT_THAT(submit_errors("{environment: [A]}"), ElementsAre(HasSubstr("f.yaml:1:15: 'environment' must be a map")));
}

TEST(Submit, LeavesToThePlanWhatThePlanSays) {
  EXPECT_THAT(submit_errors("{sbatch: ['--gres=gpu:8', '--time 1', --mail-type=END, --array=1-10]}"), SizeIs(3));
  EXPECT_THAT(submit_errors("{environment: {SLURM_JOB_ID: '1', ORCH_JOB_DIR: /x, MY_ORCH_DIR: /x}}"), SizeIs(2));
}

TEST(Cluster, SubmitNeedsAnImageForItsRuntime) {
  EXPECT_THAT(submit_errors("{container_runtime: pyxis}"),
              ElementsAre("f.yaml:1:21: 'container_runtime' needs 'container', the image that it runs"));
  EXPECT_THAT(submit_errors("{container: a.sif, container_runtime: docker}"),
              ElementsAre(HasSubstr("must be one of apptainer, pyxis")));
  EXPECT_THAT(submit_errors("{container: a.sif, container_runtime: apptainer}"), IsEmpty());
  EXPECT_THAT(submit_errors("{container: a.sif, conda: x}"),
              ElementsAre(HasSubstr("'conda' and 'container' exclude each other")));
}

TEST(Cluster, ScratchMayNameVariablesAndRunNothing) {
  for (const char* good : {"/scratch", "$TMPDIR", "${TMPDIR}/orch", "/local/$USER/$SLURM_JOB_ID", "/a b"})
    EXPECT_THAT(submit_errors("{scratch: '" + std::string(good) + "'}"), IsEmpty()) << good;
  for (const char* bad :
       {"$(rm -rf /)", "/a`id`", "/a\"b", "/a\\b", "/a$", "/a$1", "${A", "${A:-$(x)}", "${}", "relative", "/a!b", "$$"})
    EXPECT_THAT(submit_errors("{scratch: '" + std::string(bad) + "'}"),
                ElementsAre(HasSubstr("'scratch' must be a path")))
        << bad;
}

TEST(Cluster, AnInnerLevelWinsOverTheOuter) {
  const Submit outer = submit_of(
      "{account: a, qos: low, modules: [cuda], environment: {A: '1', B: '2'}, sbatch: [--nice=5, --mail-user=a, "
      "--mail-type "
      "x]}");
  const Submit inner =
      submit_of("{qos: high, modules: [], environment: {B: '3'}, sbatch: [--mail-user=b, --overcommit]}");
  const Submit joined = inner.over(outer);
  EXPECT_THAT(joined.account, Optional(std::string("a")));
  EXPECT_THAT(joined.qos, Optional(std::string("high")));
  EXPECT_THAT(joined.modules, Optional(IsEmpty()));  // said to be none
  EXPECT_THAT(joined.environment, ElementsAre(Pair("A", "1"), Pair("B", "3")));
  EXPECT_THAT(joined.sbatch, ElementsAre("--nice=5", "--mail-type x", "--mail-user=b", "--overcommit"));
  EXPECT_EQ(Submit{}.over(outer).sbatch, outer.sbatch);
}

TEST(Cluster, AnInnerImageBringsItsOwnRuntimeAndPutsAwayTheOutersEnvironment) {
  const Submit image = submit_of("{container: a.sif, container_runtime: apptainer}");
  EXPECT_EQ(submit_of("{container: b.sqsh}").over(image).container_runtime, std::nullopt);
  EXPECT_THAT(Submit{}.over(image).container_runtime, Optional(std::string("apptainer")));
  EXPECT_EQ(submit_of("{conda: env}").over(image).container, std::nullopt);
  EXPECT_EQ(image.over(submit_of("{conda: env}")).conda, std::nullopt);
}

TEST(Cluster, ThatFailedToReadStillHasSoundNumbers) {
  Diagnostics d;
  const auto clusters = read(
      "cluster: {name: x, partitions: {p: {nodes: 0, gpus_per_node: -1, memory_per_node: .inf, max_time: 1e300s}, q: "
      "7}}",
      d);
  EXPECT_FALSE(d.ok());
  ASSERT_THAT(clusters, SizeIs(1));
  for (const Partition& partition : clusters.front().partitions) {
    EXPECT_GE(partition.nodes, 1);
    EXPECT_GE(partition.gpus_per_node, 1);
    EXPECT_GE(partition.memory_per_node, 1);
    EXPECT_EQ(partition.max_time, 0);
  }
}
