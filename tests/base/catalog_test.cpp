#include "base/catalog.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/units.h"
#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Contains, testing::SizeIs, testing::Each,
    testing::Not;

namespace {

constexpr const char* kModels = R"(models:
  qwen_7b: {hf_id: q/7, family: qwen, params: 7B, license: x, engines: [command], unknown: {decoder: a test}}
  qwen_72b: {hf_id: q/72, family: qwen, params: 72B, license: x, engines: [command], unknown: {decoder: a test}}
  llama_8b: {hf_id: l/8, family: llama, params: 8B, license: x, engines: [command], unknown: {decoder: a test}}
)";
constexpr const char* kTasks = R"(tasks:
  mmlu: {kind: multiple_choice, group: general_knowledge, hf_id: cais/mmlu, metric: acc, samples: 14042, prompt_tokens: 100, choices: 4}
  gsm8k: {kind: exact_match, hf_id: openai/gsm8k, metric: exact, samples: 1319, prompt_tokens: 90, output_tokens: 120}
)";

/// Files in a folder that goes with the test, and what comes of reading them.
class Files {
 public:
  Files() {
    std::string name = (std::filesystem::temp_directory_path() / "orch_catalog_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~Files() { std::filesystem::remove_all(folder_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  void write(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  std::filesystem::path at(const std::string& name) const { return folder_ / name; }

  Catalog load(const std::vector<std::string>& sources) {
    std::vector<std::filesystem::path> paths;
    for (const std::string& source : sources) paths.push_back(folder_ / source);
    diagnostics = {};
    return load_catalog(paths, diagnostics);
  }
  /// The problems, with the folder taken off.
  std::vector<std::string> problems() const {
    std::vector<std::string> all = lines(diagnostics);
    for (std::string& line : all)
      if (line.starts_with(folder_.string())) line.erase(0, folder_.string().size() + 1);
    return all;
  }

  Diagnostics diagnostics;

 private:
  std::filesystem::path folder_;
};

std::vector<std::string> errors_of(std::string_view text) {
  return problems(text, [](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    Catalog catalog;
    read_catalog_file(catalog, root, file, diagnostics);
    check_catalog(catalog, diagnostics);
  });
}

std::vector<std::string> task_errors(const std::string& entry) { return errors_of("tasks:\n  t: " + entry + "\n"); }
std::vector<std::string> gpu_errors(const std::string& entry) { return errors_of("gpus:\n  g: " + entry + "\n"); }
std::vector<std::string> profile_errors(const std::string& entry) {
  return errors_of("profiles:\n  p: " + entry + "\n");
}

}  // namespace

TEST(Catalog, ReadsTheFilesOfAFolderInTheOrderOfTheirNames) {
  Files files;
  files.write("c/20-tasks.yaml", kTasks);
  files.write("c/10-models.yaml", kModels);
  files.write("c/.hidden.yaml", "broken: [");
  files.write("c/notes.txt", "broken: [");
  const Catalog catalog = files.load({"c"});
  EXPECT_THAT(files.problems(), IsEmpty());
  EXPECT_THAT(catalog.models.names(), ElementsAre("qwen_7b", "qwen_72b", "llama_8b"));
  EXPECT_THAT(catalog.tasks.names(), ElementsAre("mmlu", "gsm8k"));
  EXPECT_EQ(catalog.models.index_of("llama_8b"), 2u);
  EXPECT_EQ(catalog.models.index_of("none"), std::nullopt);
  EXPECT_THAT(catalog.families(), ElementsAre("qwen", "llama"));
  EXPECT_EQ(to_string(catalog.models.find("qwen_72b")->source), files.at("c/10-models.yaml").string() + ":3:3");
}

TEST(Catalog, LetsALaterFileReplaceAnEntryWholeAndInItsPlace) {
  Files files;
  files.write("ship/models.yaml", kModels);
  files.write("site.yaml",
              "models:\n  qwen_7b: {hf_id: site/q, family: site, params: 6B, license: y, engines: [command], "
              "unknown: {decoder: a test}}\n");
  const Catalog catalog = files.load({"ship", "site.yaml"});
  EXPECT_THAT(files.problems(), IsEmpty());
  EXPECT_THAT(catalog.models.names(), ElementsAre("qwen_7b", "qwen_72b", "llama_8b"));
  EXPECT_EQ(catalog.models.find("qwen_7b")->hf_id, "site/q");
  EXPECT_EQ(to_string(catalog.models.find("qwen_7b")->source), files.at("site.yaml").string() + ":2:3");
}

TEST(Catalog, RefusesANameTwiceInOneFile) {
  EXPECT_THAT(errors_of("tasks:\n  a: {}\n  a: {}\n"), ElementsAre("f.yaml:3:3: the key 'a' is given twice"));
}

TEST(Catalog, WritesOutThePatternsOfCategories) {
  Files files;
  files.write("m.yaml", kModels);
  files.write("t.yaml", kTasks);
  files.write(
      "c.yaml",
      "categories:\n  Q:\n    description: all of Qwen\n    models: [llama_8b, 'qwen_*', 'qwen_7?']\n    tasks: '*'\n"
      "    settings: {dtype: [bf16, fp8]}\n  T: {tasks: gsm8k}\n");
  const Catalog catalog = files.load({"m.yaml", "t.yaml", "c.yaml"});
  EXPECT_THAT(files.problems(), IsEmpty());
  const Category* q = catalog.categories.find("Q");
  ASSERT_NE(q, nullptr);
  EXPECT_THAT(q->models, ElementsAre("llama_8b", "qwen_7b", "qwen_72b"));
  EXPECT_THAT(q->tasks, ElementsAre("mmlu", "gsm8k"));
  ASSERT_TRUE(q->settings.contains("dtype"));
  EXPECT_THAT(q->settings.at("dtype").items, SizeIs(2));
  EXPECT_THAT(catalog.categories_of_model("qwen_7b"), ElementsAre("Q"));
  EXPECT_THAT(catalog.categories_of_task("gsm8k"), ElementsAre("Q", "T"));
  EXPECT_THAT(catalog.categories_of_task("none"), IsEmpty());
}

TEST(Catalog, ChecksThatWhatACategoryNamesIsThereAndSuggestsTheNearest) {
  EXPECT_THAT(errors_of(std::string(kModels) + kTasks +
                        "categories:\n  C:\n    models: [qwen_72, 'falcon*']\n    tasks:\n      - mmlu\n"
                        "      - gms8k\n  D: {description: empty}\n  E: {models: [llama_8b, llama_8b]}\n"),
              ElementsAre("f.yaml:10:14: no model 'qwen_72'; did you mean 'qwen_72b'?",
                          "f.yaml:10:23: the pattern 'falcon*' matches no model of the 3 known",
                          "f.yaml:13:9: no task 'gms8k'; did you mean 'gsm8k'?",
                          "f.yaml:14:6: the category 'D' needs the key 'models' or 'tasks'",
                          "f.yaml:15:26: 'llama_8b' is listed twice"));
}

TEST(Catalog, TellsTheErrorsOfAllFilesAtOnce) {
  Files files;
  files.write("c/a.yaml", "modles: {}\n");
  files.write("c/b.yaml", "tasks:\n  t: {kind: bogus}\n");
  files.write("c/d.yaml", "a: [\n");
  files.load({"c", "missing.yaml"});
  EXPECT_THAT(files.problems(), ElementsAre("c/a.yaml:1:1: a catalog file has no key 'modles'; did you mean 'models'?",
                                            HasSubstr("c/b.yaml:2:13: 'kind' must be one of multiple_choice"),
                                            HasSubstr("c/d.yaml:"), "missing.yaml: no such file"));
}

TEST(Catalog, SaysThatAFolderHoldsNothingToRead) {
  Files files;
  files.write("c/models.yml", kModels);
  files.load({"c"});
  EXPECT_THAT(files.problems(), ElementsAre("c: holds no catalog file; *.yaml was expected"));
  EXPECT_THAT(files.diagnostics.warnings(), SizeIs(1));
}

TEST(Catalog, RefusesNamesAndSectionsThatAreNone) {
  EXPECT_THAT(
      errors_of("models:\n  'a b': {}\ntasks: [x]\ngpus:\n"),
      ElementsAre(
          HasSubstr("f.yaml:2:3: a name is made of letters, digits and _ . - : / +, at most 200 long; found 'a b'"),
          "f.yaml:3:8: 'tasks' must be a map of names, found a list"));
  EXPECT_THAT(errors_of("- 1\n"), ElementsAre("f.yaml:1:1: a catalog file must be a map of keys, found a list"));
}

TEST(Catalog, BoundsWhatCheckingCosts) {
  std::string many = "categories:\n";
  for (int i = 0; i < 10'001; ++i) many += "  c" + std::to_string(i) + ": {tasks: x}\n";
  EXPECT_THAT(errors_of(many),
              ElementsAre(HasSubstr("f.yaml:2:3: 'categories' has 10,001 entries; at most 10,000 are read")));
}

TEST(Catalog, ReadsATaskWithItsDefaults) {
  Diagnostics d;
  const Task task =
      read_task("gsm8k",
                yaml("{kind: exact_match, group: mathematical_reasoning, hf_id: openai/gsm8k, subset: main, metric: "
                     "exact_match, shots: 5, samples: 1319, prompt_tokens: 90, shot_tokens: 160, output_tokens: 120}"),
                "f", d);
  EXPECT_THAT(lines(d), IsEmpty());
  EXPECT_EQ(task.kind, TaskKind::kExactMatch);
  EXPECT_EQ(task.type, "eval");
  EXPECT_EQ(task.shots, 5);
  EXPECT_EQ(task.samples, 1319);
  EXPECT_EQ(task.max_output_tokens, 480);  // four times the mean
  EXPECT_EQ(task.repeats, 1);
  EXPECT_EQ(task.revision, "main");
  EXPECT_TRUE(task.is_eval());
  EXPECT_FALSE(task.needs_vision());
}

TEST(Catalog, ReadsABenchmark) {
  Diagnostics d;
  const Task task = read_task(
      "resnet50",
      yaml("{kind: bench, bench: {params: 25.6M, flops_per_sample: 12.3G, batch_per_gpu: 256, samples: 1.28M}}"), "f",
      d);
  EXPECT_THAT(lines(d), IsEmpty());
  ASSERT_TRUE(task.bench);
  EXPECT_EQ(task.bench->params, 25.6e6);
  EXPECT_EQ(task.bench->flops_per_sample, 12.3e9);
  EXPECT_EQ(task.bench->batch_per_gpu, 256);
  EXPECT_EQ(task.type, "bench");
  EXPECT_FALSE(task.is_eval());
}

TEST(Catalog, AsksOfATaskWhatItsKindNeeds) {
  EXPECT_THAT(task_errors("{kind: code, hf_id: a/b, metric: pass_at_1, samples: 164, prompt_tokens: 150}"),
              ElementsAre("f.yaml:2:6: a task of 'kind: code' needs the key 'output_tokens'"));
  EXPECT_THAT(
      task_errors("{kind: multiple_choice}"),
      ElementsAre(HasSubstr("'hf_id'"), HasSubstr("'metric'"), HasSubstr("'samples'"), HasSubstr("'prompt_tokens'")));
  EXPECT_THAT(task_errors("{kind: train}"), ElementsAre("f.yaml:2:6: a task of 'kind: train' needs the key 'type'"));
  EXPECT_THAT(task_errors("{kind: train, type: dpo}"), IsEmpty());
  EXPECT_THAT(task_errors("{kind: train, type: dpo, rows: preference}"), IsEmpty());
  EXPECT_THAT(task_errors("{kind: train, type: dpo, rows: preferences}"),
              ElementsAre(HasSubstr("did you mean 'preference'?")));
  EXPECT_THAT(
      task_errors("{kind: bench, bench: {params: 1, flops_per_sample: 1, batch_per_gpu: 1, samples: 1}, rows: text}"),
      ElementsAre(HasSubstr("'rows' goes only with 'kind: train'")));
  EXPECT_THAT(task_errors("{kind: bench}"), ElementsAre(HasSubstr("needs the key 'bench'")));
  EXPECT_THAT(
      task_errors("{kind: train, type: dpo, bench: {params: 1, flops_per_sample: 1, batch_per_gpu: 1, samples: 1}}"),
      ElementsAre(HasSubstr("f.yaml:2:38: 'bench' goes only with 'kind: bench'")));
  EXPECT_THAT(task_errors("{type: dpo}"), ElementsAre("f.yaml:2:6: the task 't' needs the key 'kind'"));
  EXPECT_THAT(
      task_errors(
          "{kind: train, type: grpo, output_tokens: 100, max_output_tokens: 50, shots: -1, samples: .nan, repeats: 0}"),
      ElementsAre(HasSubstr("'max_output_tokens' must be at least 'output_tokens'"),
                  HasSubstr("'shots' must be a whole number from 0 to 1000"), HasSubstr("'samples' must be a count"),
                  HasSubstr("'repeats' must be a whole number")));
}

TEST(Catalog, ReadsAGpu) {
  Diagnostics d;
  const Gpu gpu = read_gpu("h100",
                           yaml("{memory: 79.6GiB, bandwidth: 3.35TB/s, flops: {bf16: 989T, fp8: 1979T, fp32: 67T}, "
                                "link: 450GB/s, watts: 700, "
                                "slurm_names: [h100, nvidia_h100_80gb_hbm3]}"),
                           "f", d);
  EXPECT_THAT(lines(d), IsEmpty());
  EXPECT_EQ(gpu.memory, 79.6 * kGiB);
  EXPECT_EQ(gpu.bandwidth, 3.35e12);
  EXPECT_EQ(gpu.flops_for(DType::kFp8), 1979e12);
  EXPECT_EQ(gpu.flops_for(DType::kInt8), 989e12);  // not native: runs as bf16
  EXPECT_EQ(gpu.flops_for(DType::kFp16), 989e12);
  EXPECT_TRUE(gpu.computes(DType::kFp8));
  EXPECT_FALSE(gpu.computes(DType::kInt4));
  EXPECT_THAT(gpu.slurm_names, ElementsAre("h100", "nvidia_h100_80gb_hbm3"));
}

TEST(Catalog, AGpuWithoutBf16ComputesItAsFp16OrFp32) {
  Gpu gpu;
  gpu.flops = {{DType::kFp32, 16e12}, {DType::kFp16, 125e12}};
  EXPECT_EQ(gpu.flops_for(DType::kBf16), 125e12);
  gpu.flops = {{DType::kFp32, 11e12}};
  EXPECT_EQ(gpu.flops_for(DType::kFp8), 11e12);
}

TEST(Catalog, RefusesAGpuThatCannotBe) {
  EXPECT_THAT(gpu_errors("{memory: 80GiB, bandwidth: 0, flops: {bf16: 1T}}"),
              ElementsAre(HasSubstr("f.yaml:2:33: 'bandwidth' must be bytes a second")));
  EXPECT_THAT(gpu_errors("{memory: 80GiB, bandwidth: 1TB, flops: {fp8: 1T}}"),
              ElementsAre(HasSubstr("at least one of fp32, bf16, fp16")));
  EXPECT_THAT(gpu_errors("{memory: 80GiB, bandwidth: 1TB, flops: {fp64: 1T, fp32: 1T}}"),
              ElementsAre(HasSubstr("f.yaml:2:46: a 'flops' map has no key 'fp64'; it takes bf16, fp16, fp32, fp8")));
  EXPECT_THAT(gpu_errors("{}"), ElementsAre(HasSubstr("'memory'"), HasSubstr("'bandwidth'"), HasSubstr("'flops'")));
  Diagnostics d;
  EXPECT_GT(read_gpu("g", yaml("7"), "f", d).flops_for(DType::kBf16), 0);  // what divides by it still can
}

TEST(Catalog, ReadsAProfile) {
  Diagnostics d;
  const Profile profile =
      read_profile("two_nodes",
                   yaml("{nodes: 2, gpus_per_node: 8, use: moe, cpus_per_gpu: 16, memory: 1500G, time_limit: 24:00:00, "
                        "template: eval.sbatch, submit: {qos: high, sbatch: [--nice=5]}}"),
                   "f", d);
  EXPECT_THAT(lines(d), IsEmpty());
  EXPECT_EQ(profile.gpus(), 16);
  EXPECT_EQ(profile.use, ProfileUse::kMoe);
  EXPECT_EQ(profile.memory, 1500 * kGiB);
  EXPECT_EQ(profile.time_limit, 86400);
  EXPECT_EQ(profile.template_name, "eval.sbatch");
  EXPECT_EQ(profile.submit.qos, "high");
  EXPECT_THAT(profile.submit.sbatch, ElementsAre("--nice=5"));
}

TEST(Catalog, RefusesAProfileThatCannotBe) {
  const std::string rest = "cpus_per_gpu: 1, memory: 1G, time_limit: 1h, template: t";
  EXPECT_THAT(profile_errors("{gpus_per_node: 65, " + rest + "}"),
              ElementsAre(HasSubstr("f.yaml:2:22: 'gpus_per_node' must be a whole number from 1 to 64")));
  EXPECT_THAT(profile_errors("{gpus_per_node: 1, nodes: 0, " + rest + "}"), ElementsAre(HasSubstr("'nodes' must be")));
  EXPECT_THAT(profile_errors("{gpus_per_node: 1, use: MoE, " + rest + "}"),
              ElementsAre(HasSubstr("did you mean 'moe'?")));
  EXPECT_THAT(
      profile_errors("{gpus_per_node: 1, submit: {sbatch: ['#SBATCH --x', '--a', \"--b\\nrm -rf /\"]}, " + rest + "}"),
      ElementsAre(HasSubstr("found '#SBATCH --x'"), HasSubstr("found '--b\\nrm -rf /'")));
  EXPECT_THAT(profile_errors("{gpus_per_node: 1, submit: {partition: p}, " + rest + "}"),
              ElementsAre(HasSubstr("'partition' is a key of the profile itself")));
  EXPECT_THAT(profile_errors("{gpus_per_node: 1, cpus_per_gpu: 1, memory: 1G, time_limit: 3600, template: t}"),
              ElementsAre(HasSubstr("'time_limit' must be a duration with its unit")));
}
