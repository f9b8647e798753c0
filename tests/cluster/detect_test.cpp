#include "cluster/detect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/cluster.h"
#include "base/units.h"

namespace orch::cluster {
namespace {

using testing::HasSubstr, testing::Not;

std::string problems(const Diagnostics& diagnostics) {
  std::ostringstream out;
  diagnostics.print(out);
  return out.str();
}

/// Four GPUs; the names are those that Slurm's own detection (NVML) and sites give.
Catalog catalog() {
  Catalog made;
  const auto add = [&](const char* name, double gib, std::vector<std::string> slurm_names) {
    Gpu gpu;
    gpu.name = name;
    gpu.memory = gib * kGiB;
    gpu.bandwidth = 1e12;
    gpu.flops[DType::kFp32] = 1e12;
    gpu.slurm_names = std::move(slurm_names);
    made.gpus.put(std::move(gpu));
  };
  add("h100_80gb", 79, {"h100", "nvidia_h100_80gb_hbm3"});
  add("a100_80gb", 79, {"a100", "nvidia_a100-sxm4-80gb"});
  add("rtx4050_6gb", 6, {"rtx4050"});
  add("v100_32gb", 32, {"v100"});
  return made;
}

/// The form of `scontrol show config` of Slurm 22.05.
std::string config(const std::string& name, const std::string& select = "select/cons_tres") {
  return "Configuration data as of 2024-03-01T12:00:00\n"
         "AccountingStorageBackupHost = (null)\n"
         "AuthInfo                = socket=/run/munge/munge.socket.2\n"
         "ClusterName             = " +
         name +
         "\n"
         "SelectType              = " +
         select +
         "\n"
         "SLURM_VERSION           = 22.05.8\n"
         "\n"
         "Slurmctld(primary) at login1 is UP\n";
}

/// The one cluster that a draft holds, read as any cluster file is.
Cluster read_back(const std::string& text) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "draft.yaml", diagnostics);
  EXPECT_TRUE(root && diagnostics.ok()) << problems(diagnostics) << text;
  if (!root) return {};
  auto clusters = read_clusters(*root, "draft.yaml", catalog(), diagnostics);
  EXPECT_TRUE(diagnostics.ok()) << problems(diagnostics) << text;
  return clusters.empty() ? Cluster{} : clusters.front();
}

std::string drafted(const std::string& sinfo, const std::string& scontrol = config("alpha")) {
  const auto text = draft({sinfo, scontrol}, catalog());
  EXPECT_TRUE(text) << (text ? "" : text.error().what);
  return text ? *text : "";
}

const Partition& only(const Cluster& cluster) {
  static const Partition kNone;
  EXPECT_EQ(cluster.partitions.size(), 1u);
  return cluster.partitions.empty() ? kNone : cluster.partitions.front();
}

TEST(Detect, AsksForFieldsWithoutWidths) {
  const auto arguments = sinfo_arguments();
  ASSERT_FALSE(arguments.empty());
  EXPECT_EQ(arguments.front(), "sinfo");
  // A width cuts names (`-O Partition` cuts at 20); `%9P` would too.
  EXPECT_THAT(arguments.back(), testing::MatchesRegex("(%[a-zA-Z]\\|)+%R"));
}

TEST(Detect, DraftsAClusterOfH100Nodes) {
  const std::string text = drafted("4|96|1031519|7-00:00:00|1-infinite|NO|up|gpu:h100:8(S:0-1)|h100quadflex\n");
  const Cluster cluster = read_back(text);
  EXPECT_EQ(cluster.name, "alpha");
  EXPECT_EQ(cluster.request, GpuRequest::kGres);
  EXPECT_TRUE(cluster.gres_typed);
  const Partition& partition = only(cluster);
  EXPECT_EQ(partition.name, "h100quadflex");
  EXPECT_EQ(partition.gpu, "h100_80gb");
  EXPECT_EQ(partition.nodes, 4);
  EXPECT_EQ(partition.gpus_per_node, 8);
  EXPECT_EQ(partition.cpus_per_node, 96);
  EXPECT_EQ(partition.memory_per_node, 1031519.0 * 1048576.0);
  EXPECT_EQ(partition.max_time, 604800);
  EXPECT_EQ(partition.max_nodes, 0);
  EXPECT_FALSE(partition.exclusive);
  EXPECT_FALSE(partition.shares_gpus);
  EXPECT_THAT(text, HasSubstr("Slurm 22.05.8"));
}

TEST(Detect, ReadsLimitsOfAPartition) {
  // OverSubscribe=EXCLUSIVE, at most 2 of the 16 nodes, 90 minutes.
  const Partition partition = only(read_back(drafted("16|64|512000|1:30:00|1-2|EXCLUSIVE|up|gpu:a100:4|short\n")));
  EXPECT_TRUE(partition.exclusive);
  EXPECT_EQ(partition.max_nodes, 2);
  EXPECT_EQ(partition.max_time, 5400);
  // Least and most the same: sinfo writes the number once.
  EXPECT_EQ(only(read_back(drafted("16|64|512000|30:00|1|NO|up|gpu:a100:4|one\n"))).max_nodes, 1);
  EXPECT_EQ(only(read_back(drafted("16|64|512000|30:00|1|NO|up|gpu:a100:4|one\n"))).max_time, 1800);
}

TEST(Detect, LeavesOutALimitOfMoreNodesThanThereAre) {
  // A cluster file refuses it, and Slurm's own limit then never binds.
  EXPECT_EQ(only(read_back(drafted("2|64|512000|infinite|1-100|NO|up|gpu:a100:4|x\n"))).max_nodes, 0);
}

TEST(Detect, LeavesOutATimeLimitThatIsInfinite) {
  const std::string text = drafted("2|64|512000|infinite|1-infinite|NO|up|gpu:a100:4|x\n");
  EXPECT_THAT(text, Not(HasSubstr("max_time")));
  EXPECT_EQ(only(read_back(text)).max_time, 0);
}

TEST(Detect, TakesNodesAsExclusiveWhenTheSelectPluginIsLinear) {
  EXPECT_TRUE(
      only(read_back(drafted("2|64|512000|infinite|1|NO|up|gpu:a100:4|x\n", config("a", "select/linear")))).exclusive);
}

TEST(Detect, SeesShardsAndMpsAsSharedGpus) {
  EXPECT_TRUE(only(read_back(drafted("1|8|16000|infinite|1|NO|up|gpu:rtx4050:1,shard:rtx4050:6|x\n"))).shares_gpus);
  EXPECT_TRUE(
      only(read_back(drafted("1|8|16000|infinite|1|NO|up|gpu:rtx4050:1(S:0),mps:rtx4050:100(S:0)|x\n"))).shares_gpus);
}

TEST(Detect, DoesNotSplitATypeAtTheCommasOfItsSockets) {
  const Partition partition =
      only(read_back(drafted("1|8|16000|infinite|1|NO|up|gpu:h100:2(S:0,2),shard:h100:8(S:0,2)|x\n")));
  EXPECT_EQ(partition.gpus_per_node, 2);
  EXPECT_TRUE(partition.shares_gpus);
}

TEST(Detect, NamesPartitionsWithoutGpusInComments) {
  const std::string text = drafted(
      "10|128|250000|1:00:00|1-infinite|NO|up|(null)|cpu\n"
      "2|64|512000|infinite|1-infinite|NO|up|gpu:a100:4|gpu\n");
  EXPECT_THAT(text, HasSubstr("# the partition 'cpu' has no GPUs"));
  EXPECT_EQ(only(read_back(text)).name, "gpu");
}

TEST(Detect, TakesTheSmallestOfEachWhenNodesDiffer) {
  // sinfo gives a line for each configuration of one partition.
  const std::string text = drafted(
      "2|64|1000000|infinite|1-infinite|NO|up|gpu:h100:8|mixed\n"
      "3|128|500000|infinite|1-infinite|NO|up|gpu:h100:4|mixed\n");
  const Partition partition = only(read_back(text));
  EXPECT_EQ(partition.nodes, 5);
  EXPECT_EQ(partition.gpus_per_node, 4);
  EXPECT_EQ(partition.cpus_per_node, 64);
  EXPECT_EQ(partition.memory_per_node, 500000.0 * 1048576.0);
  EXPECT_THAT(text, HasSubstr("# nodes differ (up to 8 GPUs, 128 CPUs, 1,000,000 MiB)"));
}

TEST(Detect, KeepsTheCommonestTypeOfAPartitionAndNamesTheOthers) {
  // 16 A100 against 8 H100. Two types: a job must say which it means, so the type cannot simply be left out unremarked.
  const std::string text = drafted(
      "1|64|1000000|infinite|1-infinite|NO|up|gpu:h100:8|mixed\n"
      "4|64|500000|infinite|1-infinite|NO|up|gpu:a100:4|mixed\n"
      "7|64|500000|infinite|1-infinite|NO|up|(null)|mixed\n");
  const Partition partition = only(read_back(text));
  EXPECT_EQ(partition.gpu, "a100_80gb");
  EXPECT_EQ(partition.nodes, 4);
  EXPECT_THAT(text, HasSubstr("CHECK: GPUs of other types ('h100')"));
  EXPECT_THAT(text, HasSubstr("8 nodes without these GPUs left out"));
}

TEST(Detect, AsksWithoutATypeWhereTheSiteHasItsOwnName) {
  const Cluster cluster = read_back(drafted("4|96|1031519|infinite|1|NO|up|gpu:nvidia_h100_80gb_hbm3:8|x\n"));
  EXPECT_EQ(only(cluster).gpu, "h100_80gb");
  EXPECT_FALSE(cluster.gres_typed);
}

TEST(Detect, FindsAGpuWhateverTheCaseAndTheMakersPrefix) {
  const std::string text = drafted("4|96|1031519|infinite|1|NO|up|gpu:NVIDIA_A100-SXM4-80GB:8|x\n");
  EXPECT_EQ(only(read_back(text)).gpu, "a100_80gb");
  EXPECT_THAT(text, Not(HasSubstr("CHECK")));
}

TEST(Detect, TakesTheNearestGpuWithAComment) {
  const std::string text = drafted("4|96|1031519|infinite|1|NO|up|gpu:rtx4060:1|x\n");
  EXPECT_EQ(only(read_back(text)).gpu, "rtx4050_6gb");
  EXPECT_THAT(text, HasSubstr("# CHECK: Slurm calls these GPUs 'rtx4060'; the nearest"));
}

TEST(Detect, TakesTheGpuWithTheLeastMemoryWhenNothingIsKnownOfIt) {
  for (const char* gres : {"gpu:8", "gpu:some_accelerator_of_tomorrow:8"}) {
    const std::string text = drafted(std::string("4|96|1031519|infinite|1|NO|up|") + gres + "|x\n");
    const Cluster cluster = read_back(text);
    EXPECT_EQ(only(cluster).gpu, "rtx4050_6gb");
    EXPECT_EQ(only(cluster).gpus_per_node, 8);
    EXPECT_FALSE(cluster.gres_typed);
    EXPECT_THAT(text, HasSubstr("# CHECK: "));
  }
}

TEST(Detect, CountsEqualEntriesOfOneNodeTogether) {
  EXPECT_EQ(only(read_back(drafted("1|96|1031519|infinite|1|NO|up|gpu:h100:4,gpu:h100:4|x\n"))).gpus_per_node, 8);
}

TEST(Detect, ReadsNumbersThatAreAtLeastOrOf1024) {
  // `64+` and `1K`: nodes grouped in spite of --exact, and a sinfo without --noconvert.
  const Partition partition = only(read_back(drafted("1.50K|64+|512000+|infinite|1-1K|NO|up|gpu:h100:8|x\n")));
  EXPECT_EQ(partition.nodes, 1536);
  EXPECT_EQ(partition.cpus_per_node, 64);
  EXPECT_EQ(partition.max_nodes, 1024);
}

TEST(Detect, SaysThatAPartitionIsNotUp) {
  EXPECT_THAT(drafted("1|64|512000|infinite|1|NO|inact|gpu:h100:8|x\n"), HasSubstr("# the partition is 'inact'"));
}

TEST(Detect, RefusesASlurmWithoutGpus) {
  for (const char* sinfo :
       {"", "\n\n", "10|128|250000|1:00:00|1-infinite|NO|up|(null)|cpu\n", "0|0|0|n/a|1|NO|up||debug"}) {
    const auto text = draft({sinfo, config("alpha")}, catalog());
    ASSERT_FALSE(text) << sinfo;
    EXPECT_THAT(text.error().what, HasSubstr("no partition with GPUs"));
  }
}

TEST(Detect, RefusesWhenTheCatalogHasNoGpu) {
  EXPECT_FALSE(draft({"1|64|512000|infinite|1|NO|up|gpu:h100:8|x\n", config("alpha")}, Catalog{}));
}

TEST(Detect, BoundsFiguresThatNoClusterFileMayHold) {
  const std::string text = drafted(
      "99999999|99999999|99999999999999|99999999999999-00:00:00|1-infinite|NO|up|gpu:h100:99999999999999|x\n"
      "1|0|0|0:00|0|NO|up|gpu:h100:3|zero\n");
  const Cluster cluster = read_back(text);
  ASSERT_EQ(cluster.partitions.size(), 2u);
  EXPECT_EQ(cluster.partitions[0].nodes, 100'000);
  EXPECT_EQ(cluster.partitions[0].gpus_per_node, 64);
  EXPECT_EQ(cluster.partitions[0].max_time, 0);
  EXPECT_EQ(cluster.partitions[1].cpus_per_node, 1);
  EXPECT_EQ(cluster.partitions[1].max_nodes, 0);
  EXPECT_THAT(text, HasSubstr("was not understood and is left out"));
}

TEST(Detect, KeepsHostileNamesFromBecomingYaml) {
  const std::string text = drafted(
      "1|64|512000|infinite|1|NO|up|gpu:h100:8|good\n"
      "1|64|512000|infinite|1|NO|up|gpu:h100:8|evil\": {gpu: x}\n"
      "1|64|512000|infinite|1|NO|up|gpu:h100:8|$(rm -rf /)\n"
      "1|64|512000|infinite|1|NO|up|gpu:h100:8|# x\r  evil: 1\n"
      "1|64|512000|infinite|1|NO|do\x1b[2Jwn\x85|gpu:h100:8|sta\n"
      "1|64|512000|'\"\\|1|NO|up|gpu:h1\"00\\:8|quo\n",
      "ClusterName = a: b\nSLURM_VERSION = 1\r\nevil: 2\n");
  const Cluster cluster = read_back(text);
  EXPECT_EQ(cluster.name, "cluster");
  ASSERT_EQ(cluster.partitions.size(), 3u) << text;
  EXPECT_EQ(cluster.partitions[0].name, "good");
  EXPECT_EQ(cluster.partitions[1].name, "sta");
  EXPECT_EQ(cluster.partitions[2].name, "quo");
}

TEST(Detect, KeepsNamesThatYamlWouldReadAsSomethingElse) {
  const Cluster cluster =
      read_back(drafted("1|64|512000|infinite|1|NO|up|gpu:h100:8|null\n"
                        "1|64|512000|infinite|1|NO|up|gpu:h100:8|1.0\n"
                        "1|64|512000|infinite|1|NO|up|gpu:h100:8|a:b\n"
                        "1|64|512000|infinite|1|NO|up|gpu:h100:8|-x\n",
                        config("true")));
  EXPECT_EQ(cluster.name, "true");
  ASSERT_EQ(cluster.partitions.size(), 4u);
  EXPECT_EQ(cluster.partitions[0].name, "null");
  EXPECT_EQ(cluster.partitions[2].name, "a:b");
}

TEST(Detect, GivesAValidDraftOrAnErrorForAnyBytes) {
  // Lines of right and wrong pieces in any order, by a generator with a fixed seed (PCG's multiplier and increment).
  const std::vector<std::string> pieces = {"|",
                                           "|",
                                           "|",
                                           "|",
                                           "\n",
                                           "4",
                                           "64",
                                           "1031519",
                                           "infinite",
                                           "1-4",
                                           "NO",
                                           "up",
                                           "gpu:h100:8",
                                           "(null)",
                                           "x",
                                           "gpu:",
                                           ":::",
                                           "shard:9",
                                           "(",
                                           ")",
                                           "\xff",
                                           "\"",
                                           "1-00:00:00",
                                           "1e309",
                                           "-1",
                                           "gpu:h100:8(S:0,",
                                           std::string(1, '\0')};
  std::uint64_t state = 20240301;
  const auto random = [&](std::size_t most) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>(state >> 33) % most;
  };
  const Catalog gpus = catalog();
  int drafts = 0;
  for (int round = 0; round < 5'000; ++round) {
    Answers answers;
    answers.sinfo = round % 2 ? "2|64|512000|infinite|1-infinite|NO|up|gpu:a100:4|gpu\n" : "";
    for (std::size_t n = random(30); n > 0; --n) answers.sinfo += pieces[random(pieces.size())];
    for (std::size_t n = random(5); n > 0; --n) answers.config += "ClusterName = " + pieces[random(pieces.size())];
    const auto text = draft(answers, gpus);
    if (!text) continue;
    ++drafts;
    Diagnostics diagnostics;
    const auto root = parse_yaml(*text, "draft.yaml", diagnostics);
    ASSERT_TRUE(root) << problems(diagnostics) << *text;
    (void)read_clusters(*root, "draft.yaml", gpus, diagnostics);
    ASSERT_TRUE(diagnostics.ok()) << problems(diagnostics) << *text;
  }
  // Each second round begins with a good line.
  EXPECT_GE(drafts, 2'250);
}

/// A folder of programs that stands alone on the PATH, with /bin behind it for the shell.
class FakePrograms {
 public:
  FakePrograms() {
    const char* before = std::getenv("PATH");
    before_ = before ? before : "";
    std::string name = testing::TempDir() + "orch_detect_XXXXXX";
    folder_ = mkdtemp(name.data()) ? name : "";
    setenv("PATH", folder_.c_str(), 1);
  }
  FakePrograms(const FakePrograms&) = delete;
  FakePrograms& operator=(const FakePrograms&) = delete;
  ~FakePrograms() {
    setenv("PATH", before_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }
  void add(const std::string& name, const std::string& script) const {
    const auto path = std::filesystem::path(folder_) / name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }

 private:
  std::string folder_, before_;
};

TEST(Detect, AsksSinfoAndScontrol) {
  const FakePrograms programs;
  programs.add("sinfo", "printf '%s\\n' \"$@\"");
  programs.add("scontrol", "echo \"$1 $2\"; echo noise >&2");
  const auto answers = ask_slurm();
  ASSERT_TRUE(answers) << answers.error().what;
  std::string expected;
  const auto arguments = sinfo_arguments();
  for (std::size_t i = 1; i < arguments.size(); ++i) expected += arguments[i] + "\n";
  EXPECT_EQ(answers->sinfo, expected);
  EXPECT_EQ(answers->config, "show config\n");
}

TEST(Detect, SaysThatThereIsNoSlurm) {
  const FakePrograms programs;
  const auto answers = ask_slurm();
  ASSERT_FALSE(answers);
  EXPECT_THAT(answers.error().what, HasSubstr("'sinfo' was not found on the PATH"));
  EXPECT_THAT(answers.error().what, HasSubstr("no Slurm here"));
}

TEST(Detect, PassesOnWhatSlurmComplainsOf) {
  const FakePrograms programs;
  programs.add("sinfo",
               "echo 'slurm_load_partitions: Unable to contact slurm controller (connect failure)' >&2; exit 1");
  const auto answers = ask_slurm();
  ASSERT_FALSE(answers);
  EXPECT_EQ(answers.error().what,
            "'sinfo' ended with code 1: slurm_load_partitions: Unable to contact slurm controller (connect failure)");
}

}  // namespace
}  // namespace orch::cluster
