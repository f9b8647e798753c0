// The files of db/catalog against what is known of the models and data sets from outside: the seeds' lists, published
// parameter counts, and the sizes of the data sets.

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/catalog.h"
#include "support/source_dir.h"

namespace orch {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class ShippedCatalog : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::array<std::filesystem::path, 1> sources = {orch::test::source_dir() / "db/catalog"};
    Diagnostics diagnostics;
    catalog_ = load_catalog(sources, diagnostics);
    std::ostringstream text;
    diagnostics.print(text);
    problems_ = text.str();
  }

  static const Model& model(const std::string& name) {
    const Model* found = catalog_.models.find(name);
    EXPECT_NE(found, nullptr) << "no model " << name;
    static const Model kNone;
    return found ? *found : kNone;
  }

  static const Task& task(const std::string& name) {
    const Task* found = catalog_.tasks.find(name);
    EXPECT_NE(found, nullptr) << "no task " << name;
    static const Task kNone;
    return found ? *found : kNone;
  }

  static std::vector<std::string> tasks_of_group(const std::string& group) {
    std::vector<std::string> names;
    for (const Task& each : catalog_.tasks.all())
      if (each.group == group) names.push_back(each.name);
    return names;
  }

  static Catalog catalog_;
  static std::string problems_;
};

Catalog ShippedCatalog::catalog_;
std::string ShippedCatalog::problems_;

/// How far `value` is from `reference`, as a share of it.
double off(double value, double reference) { return std::abs(value - reference) / reference; }

TEST_F(ShippedCatalog, ReadsWithoutAProblem) { EXPECT_EQ(problems_, ""); }

TEST_F(ShippedCatalog, HasAtLeastSixtyOneModels) { EXPECT_GE(catalog_.models.size(), 61u); }

TEST_F(ShippedCatalog, HasEveryModelTheSeedsName) {
  const std::vector<std::pair<std::string, std::string>> named = {
      // Seed 000.
      {"qwen25_72b", "Qwen/Qwen2.5-72B-Instruct"},
      {"llama31_70b_fp8", "RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8-dynamic"},
      {"mixtral_8x22b", "mistralai/Mixtral-8x22B-Instruct-v0.1"},
      {"dbrx_instruct", "databricks/dbrx-instruct"},
      {"deepseek_v3", "deepseek-ai/DeepSeek-V3"},
      {"xverse_65b", "xverse/XVERSE-65B"},
      {"granite_34b_code", "ibm-granite/granite-34b-code-instruct-8k"},
      {"internvl2_llama3_76b", "OpenGVLab/InternVL2-Llama3-76B"},
      // Seed 001, with the ids that it gives (it writes falcon-180b for falcon-180B).
      {"falcon_40b", "tiiuae/falcon-40b"},
      {"alia_40b", "BSC-LT/ALIA-40b"},
      {"evo2_40b", "arcinstitute/evo2_40b"},
      {"gpt_sw3_40b", "AI-Sweden-Models/gpt-sw3-40b"},
      {"llama2_70b", "meta-llama/Llama-2-70b-hf"},
      {"codellama_70b", "codellama/CodeLlama-70b-hf"},
      {"falcon_180b", "tiiuae/falcon-180B"},
      // Seed 002.
      {"tinyllama_1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"},
      // Seed 003.
      {"sdxl", "stabilityai/stable-diffusion-xl-base-1.0"},
      {"flux_dev", "black-forest-labs/FLUX.1-dev"},
      {"flux_schnell", "black-forest-labs/FLUX.1-schnell"},
  };
  for (const auto& [name, hf_id] : named) EXPECT_EQ(model(name).hf_id, hf_id) << name;
}

TEST_F(ShippedCatalog, HasEverySizeOfEveryFamilyOfSeed003) {
  // By the size in the model's name: below 7B, 7B to 13B, 13B to 70B, from 70B, half-open. What is empty does not exist
  // in the generations that the catalog holds: Mistral and Code Llama below 7B, Gemma and Phi from 70B.
  const std::map<std::string, std::vector<std::vector<std::string>>> sizes = {
      {"llama",
       {{"llama32_1b", "llama32_3b"},
        {"llama2_7b", "llama31_8b"},
        {"llama2_13b", "llama1_33b"},
        {"llama2_70b", "llama31_405b"}}},
      {"mistral",
       {{},
        {"mistral_7b", "mistral_nemo_12b"},
        {"mistral_small_24b", "mixtral_8x7b"},
        {"mistral_large_123b", "mixtral_8x22b"}}},
      {"qwen",
       {{"qwen25_0_5b", "qwen3_4b"},
        {"qwen25_7b", "qwen3_8b"},
        {"qwen25_32b", "qwen3_30b_a3b"},
        {"qwen25_72b", "qwen3_235b_a22b"}}},
      {"gemma", {{"gemma2_2b", "gemma3_1b"}, {"gemma2_9b", "gemma3_12b"}, {"gemma2_27b", "gemma3_27b"}, {}}},
      {"phi", {{"phi2", "phi3_mini"}, {"phi3_small"}, {"phi3_medium", "phi4", "phi35_moe"}, {}}},
      {"codellama", {{}, {"codellama_7b"}, {"codellama_13b", "codellama_34b"}, {"codellama_70b"}}},
      {"deepseek",
       {{"deepseek_coder_1b"},
        {"deepseek_llm_7b"},
        {"deepseek_coder_33b", "deepseek_llm_67b"},
        {"deepseek_v2", "deepseek_v3"}}},
  };
  // A model's exact count may lie a little under the size in its name: Llama-2-7B has 6.74B, Llama-2-70B 68.98B.
  const std::array<std::pair<double, double>, 4> bounds = {{{0, 6.7e9}, {6.7e9, 13e9}, {13e9, 68e9}, {68e9, 1e12}}};
  for (const auto& [family, classes] : sizes) {
    for (std::size_t i = 0; i < classes.size(); ++i) {
      if (classes[i].empty()) {
        for (const Model& each : catalog_.models.all())
          EXPECT_FALSE(each.family == family && each.params >= bounds[i].first && each.params < bounds[i].second)
              << each.name << " is missing from this test";
      }
      for (const std::string& name : classes[i]) {
        EXPECT_EQ(model(name).family, family) << name;
        EXPECT_GE(model(name).params, bounds[i].first) << name;
        EXPECT_LT(model(name).params, bounds[i].second) << name;
      }
    }
  }
}

TEST_F(ShippedCatalog, CountsWhatIsPublishedWithinTwoPercent) {
  std::set<std::string> without_exact_count;
  for (const Model& each : catalog_.models.all()) {
    if (each.kind == ModelKind::kText) EXPECT_TRUE(each.decoder.has_value()) << each.name;
    if (!each.decoder) continue;
    EXPECT_LE(off(count_params(each).total, each.params), 0.02)
        << each.name << ": computed " << count_params(each).total << ", published " << each.params;
    if (each.unknown.contains("params")) without_exact_count.insert(each.name);
  }
  // XVERSE's card rounds to 65 billion. Besides the rounding, half a billion, such a figure may leave out the embedding
  // and the head: 100,534 · 8,192 = 0.82 billion each.
  EXPECT_THAT(without_exact_count, ElementsAre("xverse_65b"));
  EXPECT_NEAR(model("xverse_65b").params, 65e9, 0.5e9 + 2 * 0.83e9);
}

TEST_F(ShippedCatalog, CountsExactlyWhatTheCheckpointsHold) {
  // The totals of the safetensors files, as their pages on Hugging Face show them.
  const std::vector<std::pair<std::string, double>> totals = {
      {"tinyllama_1b", 1'100'048'384},
      {"llama2_7b", 6'738'415'616},
      {"llama2_70b", 68'976'648'192},
      {"llama31_8b", 8'030'261'248},
      {"llama31_70b", 70'553'706'496},
      {"llama31_405b", 405'853'388'800},
      {"llama32_1b", 1'235'814'400},
      {"mistral_7b", 7'241'732'096},
      {"mistral_large_123b", 122'610'069'504},
      {"mixtral_8x7b", 46'702'792'704},
      {"qwen25_0_5b", 494'032'768},
      {"qwen25_72b", 72'706'203'648},
      {"qwen3_30b_a3b", 30'532'122'624},
      {"gemma2_27b", 27'227'128'320},
      {"gemma3_1b", 999'885'952},
      {"phi3_small", 7'392'272'384},
      {"phi4", 14'659'507'200},
      {"dbrx_instruct", 131'596'523'520},
      {"alia_40b", 40'433'885'184},
      {"deepseek_v2_lite", 15'706'484'224},
      {"deepseek_v2", 235'741'434'880},
      {"falcon_7b", 6'921'720'704},
  };
  for (const auto& [name, total] : totals) {
    if (!model(name).decoder) {
      ADD_FAILURE() << name << " has no decoder";
      continue;
    }
    EXPECT_EQ(count_params(model(name)).total, total) << name;
    EXPECT_EQ(model(name).params, total) << name;
  }
}

TEST_F(ShippedCatalog, CountsTheActiveParametersOfMixturesWithinFivePercent) {
  std::vector<std::string> mixtures;
  for (const Model& each : catalog_.models.all()) {
    if (!each.is_moe()) {
      EXPECT_EQ(each.active_params, each.params) << each.name;
      continue;
    }
    mixtures.push_back(each.name);
    EXPECT_LT(each.active_params, each.params) << each.name;
    // Publishers differ in whether the embedding table, or the table and the head, count as used for a token.
    const ParamCount count = count_params(each);
    const double table = static_cast<double>(each.decoder->vocab * each.decoder->hidden);
    const double published = each.active_params;
    const double nearest = std::min({off(count.active, published), off(count.active - table, published),
                                     off(count.active - count.embedding, published)});
    EXPECT_LE(nearest, 0.05) << each.name << ": computed " << count.active << ", published " << each.active_params;
  }
  EXPECT_THAT(mixtures,
              UnorderedElementsAre("mixtral_8x7b", "mixtral_8x22b", "phi35_moe", "qwen3_30b_a3b", "qwen3_235b_a22b",
                                   "deepseek_v2_lite", "deepseek_v2", "deepseek_v3", "deepseek_r1", "dbrx_instruct"));
}

TEST_F(ShippedCatalog, NamesEachRepositoryOnce) {
  std::map<std::string, std::string> by_id;
  for (const Model& each : catalog_.models.all()) {
    const auto [at, added] = by_id.emplace(each.hf_id, each.name);
    EXPECT_TRUE(added) << each.name << " and " << at->second << " are both " << each.hf_id;
  }
}

TEST_F(ShippedCatalog, KnowsHowEightBitModelsAreStored) {
  EXPECT_EQ(model("deepseek_v3").dtype, DType::kFp8);
  EXPECT_EQ(model("deepseek_v3").scales, Scales::kBlock128);
  EXPECT_EQ(model("deepseek_r1").dtype, DType::kFp8);
  EXPECT_EQ(model("deepseek_r1").scales, Scales::kBlock128);
  EXPECT_EQ(model("llama31_70b_fp8").dtype, DType::kFp8);
  EXPECT_EQ(model("llama31_70b_fp8").scales, Scales::kChannel);
  for (const Model& each : catalog_.models.all())
    EXPECT_EQ(each.scales != Scales::kNone, bytes_of(each.dtype) <= 1) << each.name;
}

TEST_F(ShippedCatalog, KnowsTheShapesThatLayoutsDependOn) {
  ASSERT_TRUE(model("internvl2_llama3_76b").vision.has_value());
  EXPECT_EQ(model("internvl2_llama3_76b").vision->heads, 25);
  EXPECT_EQ(model("internvl2_llama3_76b").vision->layers, 45);
  ASSERT_TRUE(model("deepseek_v3").decoder && model("deepseek_v3").decoder->latent);
  EXPECT_EQ(model("deepseek_v3").decoder->latent->kv_rank, 512);
  EXPECT_EQ(model("deepseek_v3").decoder->latent->rope_dim, 64);
  EXPECT_EQ(model("deepseek_v3").decoder->extra_layers, 1);
  ASSERT_TRUE(model("falcon_180b").decoder.has_value());
  EXPECT_EQ(model("falcon_180b").decoder->heads, 232);
  ASSERT_TRUE(model("granite_34b_code").decoder.has_value());
  EXPECT_EQ(model("granite_34b_code").decoder->kv_heads, 1);
  // Llama-2-70B: 2 · 80 layers · 8 KV heads · 128 · 2 bytes = 327,680 bytes a token, 1.25 GiB for 4,096.
  ASSERT_TRUE(model("llama2_70b").decoder.has_value());
  const Decoder& llama = *model("llama2_70b").decoder;
  EXPECT_EQ(2 * llama.layers * llama.kv_heads * llama.head_dim * 2, 327'680);
}

TEST_F(ShippedCatalog, KnowsLicencesAndAgreements) {
  EXPECT_EQ(model("falcon_180b").license, "falcon-180b-tii-license");  // seed 001 says Apache 2.0
  EXPECT_EQ(model("falcon_40b").license, "apache-2.0");
  EXPECT_TRUE(model("falcon_180b").gated);
  EXPECT_TRUE(model("dbrx_instruct").gated);
  EXPECT_TRUE(model("llama2_70b").gated);
  EXPECT_FALSE(model("qwen25_72b").gated);
  for (const Model& each : catalog_.models.all()) EXPECT_FALSE(each.license.empty()) << each.name;
}

TEST_F(ShippedCatalog, GivesModelsThatAreNoDecodersToCommandsOnly) {
  for (const std::string name : {"evo2_40b", "sdxl", "flux_dev", "flux_schnell"}) {
    EXPECT_THAT(model(name).engines, ElementsAre(Engine::kCommand)) << name;
    EXPECT_FALSE(model(name).decoder.has_value()) << name;
  }
  for (const Model& each : catalog_.models.all()) {
    EXPECT_TRUE(each.runs_on(Engine::kCommand)) << each.name;
    if (each.kind == ModelKind::kImage) EXPECT_EQ(each.engines.size(), 1u) << each.name;
    if (!each.decoder) EXPECT_TRUE(each.unknown.contains("decoder")) << each.name;
    // A reason is a sentence, not a word.
    for (const auto& [fact, why] : each.unknown) EXPECT_GT(why.size(), 30u) << each.name << ": " << fact;
  }
}

TEST_F(ShippedCatalog, HasTheTwentyTwoDataSetsOfSeed000ByGroup) {
  EXPECT_THAT(
      tasks_of_group("general_knowledge"),
      UnorderedElementsAre("mmlu", "arc_challenge", "hellaswag", "truthfulqa_mc", "winogrande", "piqa", "boolq"));
  EXPECT_THAT(tasks_of_group("mathematical_reasoning"), UnorderedElementsAre("gsm8k", "math"));
  EXPECT_THAT(tasks_of_group("reasoning_specialized"), UnorderedElementsAre("bbh", "gpqa"));
  EXPECT_THAT(tasks_of_group("coding_specialists"),
              UnorderedElementsAre("humaneval", "mbpp", "apps", "codecontests", "bigcodebench"));
  EXPECT_THAT(tasks_of_group("function_calling"), UnorderedElementsAre("bfcl"));
  EXPECT_THAT(tasks_of_group("multimodal_processing"),
              UnorderedElementsAre("mmmu", "scienceqa", "docvqa", "chartqa", "textcaps"));
  const auto evals = std::ranges::count_if(catalog_.tasks.all(), [](const Task& each) { return each.is_eval(); });
  EXPECT_EQ(evals, 22);
}

TEST_F(ShippedCatalog, KnowsTheSizesOfTheDataSets) {
  const std::map<std::string, double> sizes = {{"mmlu", 14042},        {"arc_challenge", 1172}, {"hellaswag", 10042},
                                               {"truthfulqa_mc", 817}, {"winogrande", 1267},    {"piqa", 1838},
                                               {"boolq", 3270},        {"gsm8k", 1319},         {"math", 5000},
                                               {"bbh", 6511},          {"gpqa", 448},           {"humaneval", 164},
                                               {"mbpp", 500},          {"apps", 5000},          {"codecontests", 165},
                                               {"bigcodebench", 1140}, {"mmmu", 900},           {"scienceqa", 4241},
                                               {"docvqa", 5349},       {"chartqa", 2500},       {"textcaps", 3166}};
  for (const auto& [name, size] : sizes) EXPECT_EQ(task(name).samples, size) << name;
  EXPECT_TRUE(task("gpqa").gated);
  EXPECT_EQ(std::ranges::count_if(catalog_.tasks.all(), [](const Task& each) { return each.gated; }), 1);
}

TEST_F(ShippedCatalog, GivesEveryTaskWhatItsKindNeeds) {
  const std::map<std::string, std::string> types = {
      {"general_knowledge", "eval_knowledge"},       {"mathematical_reasoning", "eval_math"},
      {"reasoning_specialized", "eval_reasoning"},   {"coding_specialists", "eval_code"},
      {"function_calling", "eval_function_calling"}, {"multimodal_processing", "eval_multimodal"}};
  for (const Task& each : catalog_.tasks.all()) {
    if (each.is_eval()) EXPECT_EQ(each.type, types.at(each.group)) << each.name;
    if (each.kind == TaskKind::kMultipleChoice) EXPECT_GE(each.choices, 2) << each.name;
    if (each.shots > 0) EXPECT_GT(each.shot_tokens, 0) << each.name;
    if (each.kind == TaskKind::kVisionLanguage) EXPECT_GT(each.images, 0) << each.name;
    if (each.is_eval() && each.kind != TaskKind::kMultipleChoice) EXPECT_GT(each.output_tokens, 0) << each.name;
  }
}

TEST_F(ShippedCatalog, HasTheKindsOfTrainingAndTheBenchmarksOfTheSeeds) {
  std::set<std::string> training, benchmarks;
  for (const Task& each : catalog_.tasks.all()) {
    if (each.kind == TaskKind::kTrain) training.insert(each.type);
    if (each.kind == TaskKind::kBench) benchmarks.insert(each.name);
    EXPECT_EQ(each.kind == TaskKind::kBench, each.bench.has_value()) << each.name;
  }
  EXPECT_THAT(training, ElementsAre("dpo", "grpo", "image", "instruct_text"));
  // What an objective needs of a row: a preference is of two answers, a reward of what is written to a prompt.
  for (const Task& each : catalog_.tasks.all()) {
    if (each.type == "dpo") EXPECT_EQ(each.rows, "preference") << each.name;
    if (each.type == "grpo") EXPECT_EQ(each.rows, "prompt") << each.name;
    if (each.type == "image" || each.kind != TaskKind::kTrain) EXPECT_EQ(each.rows, "") << each.name;
  }
  EXPECT_EQ(task("sft_instruct").rows, "instruction");
  EXPECT_EQ(task("lm_text").rows, "text");
  EXPECT_THAT(benchmarks,
              UnorderedElementsAre("resnet50", "bert_large", "gpt_345m", "gpt_1_3b", "vit_base", "custom_cnn"));
  // ResNet-50: 4.09 G multiply-adds forward, two operations each, backward twice forward.
  ASSERT_TRUE(task("resnet50").bench.has_value());
  EXPECT_NEAR(task("resnet50").bench->flops_per_sample, 4.09e9 * 2 * 3, 0.05e9);
}

TEST_F(ShippedCatalog, HasFourteenCategoriesThreeOfThemSeed000s) {
  EXPECT_EQ(catalog_.categories.size(), 14u);
  const auto size = [&](const std::string& name) {
    const Category* category = catalog_.categories.find(name);
    return category ? category->models.size() : 0;
  };
  EXPECT_EQ(size("H100_OPTIMIZED_LARGE"), 6u);
  EXPECT_EQ(size("ADVANCED_CODE_GENERATION"), 5u);
  EXPECT_EQ(size("ADVANCED_MULTIMODAL"), 6u);
  // The eight models that the seed adds are in the three.
  for (const std::string name : {"qwen25_72b", "llama31_70b_fp8", "mixtral_8x22b", "dbrx_instruct", "deepseek_v3",
                                 "xverse_65b", "granite_34b_code", "internvl2_llama3_76b"}) {
    const std::vector<std::string> in = catalog_.categories_of_model(name);
    const std::set<std::string> seed = {"H100_OPTIMIZED_LARGE", "ADVANCED_CODE_GENERATION", "ADVANCED_MULTIMODAL"};
    EXPECT_EQ(std::ranges::count_if(in, [&](const std::string& each) { return seed.contains(each); }), 1) << name;
  }
}

TEST_F(ShippedCatalog, PutsIntoACategoryOnlyTasksItsModelsCanDo) {
  std::set<std::string> covered;
  for (const Category& category : catalog_.categories.all()) {
    EXPECT_FALSE(category.description.empty()) << category.name;
    EXPECT_FALSE(category.models.empty()) << category.name;
    EXPECT_FALSE(category.tasks.empty()) << category.name;
    EXPECT_EQ(std::set(category.models.begin(), category.models.end()).size(), category.models.size()) << category.name;
    for (const std::string& task_name : category.tasks) {
      const Task& each = task(task_name);
      covered.insert(task_name);
      for (const std::string& model_name : category.models) {
        const ModelKind kind = model(model_name).kind;
        const std::string where = category.name + ": " + model_name + ", " + task_name;
        EXPECT_NE(kind, ModelKind::kOther) << where;
        if (each.needs_vision()) EXPECT_EQ(kind, ModelKind::kVisionLanguage) << where;
        EXPECT_EQ(each.type == "image", kind == ModelKind::kImage) << where;
        if (each.type == "image") EXPECT_EQ("image_lora_" + model(model_name).family, task_name) << where;
      }
    }
  }
  for (const Task& each : catalog_.tasks.all())
    if (each.is_eval()) EXPECT_TRUE(covered.contains(each.name)) << each.name << " is in no category";
}

TEST_F(ShippedCatalog, HasTheShapesOfTheSeedsTemplates) {
  struct Shape {
    std::string name;
    int gpus, cpus;
    double memory_gib, hours;
    ProfileUse use;
  };
  // Seed 000's counts of GPUs; seed 001's CPUs, memory and hours.
  const std::vector<Shape> shapes = {{"large_single", 4, 16, 256, 24, ProfileUse::kAny},
                                     {"moe", 6, 48, 384, 36, ProfileUse::kMoe},
                                     {"ultra_large", 8, 64, 512, 48, ProfileUse::kAny},
                                     {"multimodal", 4, 32, 256, 24, ProfileUse::kMultimodal},
                                     {"two_node", 16, 128, 512, 48, ProfileUse::kAny}};
  for (const Shape& shape : shapes) {
    const Profile* profile = catalog_.profiles.find(shape.name);
    ASSERT_NE(profile, nullptr) << shape.name;
    EXPECT_EQ(profile->gpus(), shape.gpus) << shape.name;
    EXPECT_EQ(profile->cpus_per_gpu * profile->gpus(), shape.cpus) << shape.name;
    EXPECT_EQ(profile->memory, shape.memory_gib * 1024 * 1024 * 1024) << shape.name;
    EXPECT_EQ(profile->time_limit, shape.hours * 3600) << shape.name;
    EXPECT_EQ(profile->use, shape.use) << shape.name;
  }
  for (const std::string name : {"gpu_1", "gpu_2"}) EXPECT_NE(catalog_.profiles.find(name), nullptr) << name;
}

TEST_F(ShippedCatalog, UsesOnlyTheTemplatesThatShip) {
  const std::set<std::string> shipped = {"small.sbatch",       "large_single.sbatch", "moe.sbatch",
                                         "ultra_large.sbatch", "multimodal.sbatch",   "multi_node.sbatch"};
  std::set<std::string> used;
  for (const Profile& each : catalog_.profiles.all()) {
    used.insert(each.template_name);
    EXPECT_EQ(each.template_name == "multi_node.sbatch", each.nodes > 1) << each.name;
  }
  EXPECT_EQ(used, shipped);
  for (const std::string& name : used)
    EXPECT_TRUE(std::filesystem::exists(orch::test::source_dir() / "templates" / name)) << name;
}

TEST_F(ShippedCatalog, DescribesGpusAsTheirDataSheetsDo) {
  const Gpu* h100 = catalog_.gpus.find("h100_80gb");
  ASSERT_NE(h100, nullptr);
  EXPECT_NEAR(h100->memory / (1024.0 * 1024 * 1024), 79.65, 0.01);  // 81,559 MiB
  EXPECT_EQ(h100->bandwidth, 3.35e12);
  EXPECT_EQ(h100->flops.at(DType::kBf16), 989e12);
  EXPECT_EQ(h100->flops.at(DType::kFp8), 1979e12);
  EXPECT_EQ(h100->link, 450e9);
  const Gpu* v100 = catalog_.gpus.find("v100_32gb");
  ASSERT_NE(v100, nullptr);
  EXPECT_FALSE(v100->computes(DType::kBf16));
  const Gpu* a100 = catalog_.gpus.find("a100_80gb");
  ASSERT_NE(a100, nullptr);
  EXPECT_FALSE(a100->computes(DType::kFp8));
  const Gpu* laptop = catalog_.gpus.find("rtx4050_laptop_6gb");
  ASSERT_NE(laptop, nullptr);
  EXPECT_LT(laptop->memory, 6.0 * 1024 * 1024 * 1024);
  std::map<std::string, std::string> slurm;
  for (const Gpu& each : catalog_.gpus.all())
    for (const std::string& name : each.slurm_names)
      EXPECT_TRUE(slurm.emplace(name, each.name).second) << name << " is " << slurm[name] << " and " << each.name;
}

}  // namespace
}  // namespace orch
