// What goes into a key, and what does not.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "matrix/content.h"
#include "matrix/expand.h"
#include "matrix/harness_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::HasSubstr, ::testing::Not, ::testing::SizeIs;

namespace {

const Catalog kCatalog = orch::test::harness_catalog();

Expansion expand_it(const std::string& text, const Catalog& catalog = kCatalog) {
  ExpandOptions options;
  options.keep_content = true;
  return orch::test::expanded(text, catalog, options);
}

std::set<std::string> keys(const Expansion& expansion) {
  std::set<std::string> all;
  for (const Cell& cell : expansion.cells) all.insert(to_hex(cell.key));
  return all;
}

std::set<std::string> keys(const std::string& text, const Catalog& catalog = kCatalog) {
  return keys(expand_it(text, catalog));
}

/// The key of the only cell of the matrix.
std::string key(const std::string& text, const Catalog& catalog = kCatalog) {
  const auto all = keys(text, catalog);
  EXPECT_EQ(all.size(), 1u);
  return *all.begin();
}

}  // namespace

TEST(Key, IsTheDigestOfContentWrittenByHand) {
  // Written by hand, and hashed by sha256sum (GNU coreutils), not by this program.
  const std::string content =
      R"({"engine":{"name":"native","numerics":1},"kind":"eval",)"
      R"("model":{"hf_id":"org/llama31_8b","revision":"main"},)"
      R"("settings":{"compute_dtype":"bf16","dtype":"bf16","kv_dtype":"bf16","max_tokens":512,"seed":0,"shots":5,"temperature":0},)"
      R"("task":{"hf_id":"data/gsm8k","kind":"exact_match","metric":"acc","repeats":1,"revision":"main","subset":"","type":"eval"},)"
      R"("version":1})";
  const Expansion expansion = expand_it("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n");
  ASSERT_THAT(expansion.cells, SizeIs(1));
  EXPECT_EQ(expansion.content.at(0), content);
  EXPECT_EQ(to_hex(expansion.cells[0].key), "f733b5974c2f3cac78900b3f70e128155f9ba46ce2c3ca37a934a1d695212be0");
}

TEST(Key, IsTheSameHoweverTheFileIsOrdered) {
  const auto one = keys(R"(
name: m
models: [llama31_8b, {family: falcon}]
tasks: [mmlu, {name: gsm8k, shots: [0, 5]}]
settings: {dtype: [bf16, int8], seed: [0, 1], chat_template: [true, false]}
)");
  const auto other = keys(R"(
settings: {chat_template: [false, true], seed: [1, 0], dtype: [int8, bf16]}
tasks: [{shots: [5, 0], task: gsm8k}, mmlu]
name: another-name
models: [falcon_180b, falcon_40b, "llama31_8b"]
)");
  // 3 models × (mmlu + gsm8k × 2 shots) × 2 dtypes × 2 seeds × 2 templates
  EXPECT_EQ(one.size(), 3u * 3 * 8);
  EXPECT_EQ(one, other);
}

TEST(Key, OfADefaultThatIsSaidIsTheOneOfTheDefault) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  const std::string plain = key(base);
  for (const char* said : {"shots: 5", "seed: 0", "dtype: bf16", "kv_dtype: bf16", "engine: native", "temperature: 0.0",
                           "max_tokens: 512", "chat_template: false", "prefix: ''"})
    EXPECT_EQ(key(base + "settings: {" + said + "}\n"), plain) << said;
}

TEST(Key, OfATrainingThatSaysWhatIsOffAnywayIsTheSame) {
  const std::string base = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\n";
  const std::string plain = key(base);
  for (const char* said : {"full: false", "warmup: 0", "weight_decay: 0.0", "clip: 0", "ema_decay: 0", "stages: 1",
                           "epochs: 1", "schedule: cosine", "dtype: bf16"})
    EXPECT_EQ(key(base + "settings: {" + said + "}\n"), plain) << said;
  for (const char* said : {"full: true", "warmup: 0.1", "stages: 2", "epochs: 2", "steps: 1", "schedule: linear",
                           "batch_size: 4", "accumulation: 2", "data: my/set"})
    EXPECT_NE(key(base + "settings: {" + said + "}\n"), plain) << said;
}

TEST(Key, ChangesWithWhateverChangesTheMeasurement) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  std::set<std::string> all = {key(base)};
  for (const char* said : {"shots: 4", "seed: 1", "dtype: fp16", "kv_dtype: fp8", "engine: lm-eval", "temperature: 0.1",
                           "max_tokens: 511", "chat_template: true", "prefix: x", "limit: 10", "context: 4096"})
    EXPECT_TRUE(all.insert(key(base + "settings: {" + said + "}\n")).second) << said;
  EXPECT_TRUE(all.insert(key("name: m\nmodels: [llama31_8b]\ntasks: [mmlu]\n")).second);
  EXPECT_TRUE(all.insert(key("name: m\nmodels: [tinyllama]\ntasks: [gsm8k]\n")).second);
}

TEST(Key, DoesNotChangeWithHowTheCellIsRun) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  EXPECT_EQ(key(base + "settings: {batch: 8}\n"), key(base));
  const std::string train = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\n";
  EXPECT_EQ(key(train + "settings: {micro_batch: 4, checkpoint_every: 10, keep_checkpoints: 3}\n"), key(train));
  EXPECT_EQ(key(train + "settings: {checkpointing: true, tensor: 2}\n"), key(train));
  EXPECT_EQ(key(train + "settings: {max_tokens: 64, temperature: 0.5}\n"), key(train)) << "it writes nothing";
  for (const char* usual :
       {"targets: all", "rank_stabilised: false", "group_by_length: true", "loss: sigmoid", "label_smoothing: 0",
        "aggregation: dapo", "top_p: 1", "top_k: 0", "delta: 0", "iterations: 1", "steps_per_generation: 1"})
    EXPECT_EQ(key(train + "settings: {" + usual + "}\n"), key(train)) << usual;
  std::set<std::string> trainings = {key(train)};
  for (const char* said : {"targets: q_proj", "rank_stabilised: true", "group_by_length: false", "loss: ipo",
                           "label_smoothing: 0.1", "aggregation: grpo", "epsilon: 0.1", "epsilon_high: 0.3", "delta: 4",
                           "scale_rewards: none", "iterations: 2", "steps_per_generation: 2", "top_p: 0.9", "top_k: 40",
                           "held_out: 0", "evaluate_every: 5", "reward: /r.yaml", "data: other"})
    EXPECT_TRUE(trainings.insert(key(train + "settings: {" + said + "}\n")).second) << said;
  const std::string program = "name: m\nkind: command\ncommand: [run]\n";
  for (const char* said :
       {"time: 2h", "gpu_memory: 20GiB", "gpus: 2", "gpus: 0", "gpus: 0.5", "cpus: 3", "gpus: 2, nodes: 2"})
    EXPECT_EQ(key(program + "settings: {" + said + "}\n"), key(program)) << said;
  EXPECT_NE(key(program + "settings: {container: 'evo2@sha256:00'}\n"), key(program));
}

TEST(Key, OfABenchmarkHoldsItsBatch) {
  const std::string bench = "name: m\nkind: bench\ntasks: [resnet50]\n";
  EXPECT_EQ(key(bench), key(bench + "settings: {batch: 256, gpus: 1, dtype: bf16}\n"));
  EXPECT_NE(key(bench), key(bench + "settings: {batch: 128}\n"));
  EXPECT_NE(key(bench), key(bench + "settings: {gpus: 8}\n"));
}

TEST(Key, DoesNotChangeWithTheNamesOfCatalogMatrixOrStage) {
  Catalog renamed = orch::test::harness_catalog();
  Model model = *renamed.models.find("llama31_8b");
  model.name = "my_llama";
  model.notes = "other words";
  renamed.models.put(model);
  EXPECT_EQ(key("name: other\ndescription: x\nstages:\n  s: {models: [my_llama], tasks: [gsm8k]}\n", renamed),
            key("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n"));
}

TEST(Key, ChangesWithTheRevisionOfModelOrTask) {
  const std::string text = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  Catalog catalog = orch::test::harness_catalog();
  Model model = *catalog.models.find("llama31_8b");
  model.revision = "0e9e39f";
  catalog.models.put(model);
  EXPECT_NE(key(text, catalog), key(text));
  catalog = orch::test::harness_catalog();
  Task task = *catalog.tasks.find("gsm8k");
  task.metric = "maj@8";
  catalog.tasks.put(task);
  EXPECT_NE(key(text, catalog), key(text));
}

TEST(Key, DoesNotChangeWithTheCatalogsEstimates) {
  Catalog catalog = orch::test::harness_catalog();
  Task task = *catalog.tasks.find("gsm8k");
  task.prompt_tokens = 130;
  task.samples = 90;
  catalog.tasks.put(task);
  const std::string text = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  EXPECT_EQ(key(text, catalog), key(text));
}

TEST(Key, HoldsTheCommandAsWrittenOnlyWhereItRuns) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  const auto both = keys(base + "settings: {engine: [native, command]}\ncommand: [run, '{model}']\n");
  EXPECT_THAT(both, SizeIs(2));
  EXPECT_TRUE(both.contains(key(base))) << "the cell that runs on the engine native";
  const std::string by_command = base + "settings: {engine: command}\n";
  EXPECT_NE(key(by_command + "command: [run, '{model}']\n"), key(by_command + "command: [run, '{hf_id}']\n"));
  const Expansion expansion = expand_it(by_command + "command: [run, '{model}']\n");
  EXPECT_THAT(expansion.content.at(0),
              HasSubstr(R"({"command":["run","{model}"],"engine":{"name":"command","numerics":1},)"));
}

TEST(Key, OfAnEvaluatedAdapterHoldsTheKeyOfItsTraining) {
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b]
stages:
  base: {tasks: [mmlu]}
  tuned: {tasks: [mmlu], adapter: tune}
  tune: {kind: train, tasks: [sft], settings: {rank: [8, 16]}}
)");
  ASSERT_THAT(expansion.cells, SizeIs(5));  // 1 base, 2 trainings, 2 adapters
  EXPECT_THAT(keys(expansion), SizeIs(5));
  for (std::uint32_t i = 0; i < 5; ++i) {
    const Cell& cell = expansion.cells[i];
    if (expansion.stages[cell.stage].name != "tuned") {
      EXPECT_EQ(cell.depends, kNone);
      EXPECT_THAT(expansion.content.at(i), Not(HasSubstr("adapter")));
      continue;
    }
    ASSERT_LT(cell.depends, i) << "a cell stands after the one it depends on";
    EXPECT_THAT(expansion.content.at(i),
                HasSubstr("{\"adapter\":\"" + to_hex(expansion.cells[cell.depends].key) + "\","));
  }
}

TEST(Key, IsWhatCanonicalContentHashesToForEveryKindOfCell) {
  // The expansion joins parts that were written once; canonical_content builds the whole anew.
  const Expansion expansion = expand_it(R"(
name: m
models: [llama31_8b, internvl2_76b, {family: falcon, dtype: [bf16, int4]}]
settings: {seed: [0, 3], dtype: [bf16, fp16]}
submit: {container: "other.sif"}
stages:
  evals: {tasks: [{kind: eval}], settings: {temperature: [0, 0.7], prefix: ["", "say \"x\" \\ ü"], batch: 4}}
  engines: {tasks: [mmlu], models: [llama31_8b], command: [run, "{model}", 'a"b'], settings: {engine: [native, lm-eval, command], seed: 9}}
  tune: {kind: train, tasks: [sft, dpo], settings: {learning_rate: [1e-4, 3e-5], full: [true, false], steps: 50}}
  tuned: {tasks: [gsm8k], adapter: tune, settings: {seed: 0}}
  scale: {kind: bench, tasks: [resnet50], settings: {gpus: [1, 2, 4]}}
  own: {kind: command, command: [evo, "{model}"], models: [evo2_40b, flux_dev], settings: {time: 2h, container: img, nodes: 1}}
)");
  EXPECT_GT(expansion.cells.size(), 200u);
  std::set<CellKind> kinds;
  for (std::uint32_t i = 0; i < expansion.cells.size(); ++i) {
    const Cell& cell = expansion.cells[i];
    kinds.insert(cell.kind);
    const std::string content = canonical_content(expansion, cell, kCatalog);
    ASSERT_EQ(content, expansion.content.at(i));
    ASSERT_EQ(canonical_json(nlohmann::json::parse(content)), content) << "the parts are in canonical order";
    ASSERT_EQ(sha256(content), cell.key);
  }
  EXPECT_EQ(kinds.size(), 4u);
}

TEST(Key, HoldsTheNumberFormatOfComputation) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  const auto with = [&](const char* said) { return key(base + "settings: {" + said + "}\n"); };
  EXPECT_NE(key(base), with("compute_dtype: fp32"));
  EXPECT_EQ(key(base), with("compute_dtype: bf16"));
  EXPECT_EQ(with("dtype: fp16"), with("dtype: fp16, compute_dtype: fp16"));
  // Weights of 8 and 4 bits are widened to bf16; fp8 must be asked for.
  for (const std::string dtype : {"fp8", "int8", "int4"}) {
    EXPECT_EQ(with(("dtype: " + dtype).c_str()), with(("compute_dtype: bf16, dtype: " + dtype).c_str()));
    EXPECT_NE(with(("dtype: " + dtype).c_str()), with(("compute_dtype: fp8, dtype: " + dtype).c_str()));
  }
  const std::string train = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\n";
  EXPECT_EQ(key(train), key(train + "settings: {compute_dtype: bf16}\n"));
  EXPECT_NE(key(train), key(train + "settings: {compute_dtype: fp16}\n"));
}

TEST(Key, HoldsTheContainerThatACommandRunsIn) {
  const auto key_on = [](const std::string& text, std::optional<std::string> site) {
    ExpandOptions options;
    options.container = std::move(site);
    return to_hex(orch::test::expanded(text, kCatalog, options).cells.at(0).key);
  };
  const std::string program = "name: m\nkind: command\ncommand: [run]\n";
  const std::string by_submit = program + "submit: {container: 'evo2@sha256:00'}\n";
  const std::string by_setting = program + "settings: {container: 'evo2@sha256:00'}\n";
  EXPECT_NE(key(by_submit), key(program));
  EXPECT_EQ(key(by_submit), key(by_setting));
  EXPECT_NE(key(by_submit), key(program + "submit: {container: 'evo2@sha256:01'}\n"));
  EXPECT_EQ(key(by_setting + "submit: {container: 'evo2@sha256:01'}\n"), key(by_setting)) << "the setting wins";
  EXPECT_EQ(key_on(program, "evo2@sha256:00"), key(by_submit)) << "of the site";
  EXPECT_EQ(key_on(by_submit, "other.sif"), key(by_submit)) << "the matrix wins over the site";
  EXPECT_EQ(key_on(program + "submit: {conda: evo}\n", "other.sif"), key(program)) << "conda, and so no container";
}

TEST(Key, HoldsTheContainerOfAnEvaluationOnlyWhereACommandRuns) {
  const std::string native = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  const std::string by_command = native + "command: [run]\nsettings: {engine: command}\n";
  const std::string submit = "submit: {container: 'evo2@sha256:00'}\n";
  EXPECT_EQ(key(native + submit), key(native));
  EXPECT_TRUE(keys(native + submit + "command: [run]\nsettings: {engine: [native, command]}\n").contains(key(native)));
  EXPECT_NE(key(by_command + submit), key(by_command));
  EXPECT_THAT(expand_it(by_command + submit).content.at(0),
              HasSubstr(R"({"command":["run"],"container":"evo2@sha256:00","engine":)"));
}

namespace {

RunPlace place(const std::string& name, std::optional<std::string> container) {
  RunPlace made;
  made.name = name;
  made.submit.container = std::move(container);
  return made;
}

/// A cluster whose jobs run in cluster.sif, unless a place says otherwise.
ExpandOptions on(std::vector<RunPlace> places) {
  ExpandOptions options;
  options.container = "cluster.sif";
  options.places = std::move(places);
  return options;
}

}  // namespace

TEST(Key, HoldsTheContainerOfThePlacesWhereTheCommandMayRun) {
  const auto key_on = [](const std::string& text, const ExpandOptions& options) {
    return to_hex(orch::test::expanded(text, kCatalog, options).cells.at(0).key);
  };
  const std::string program = "name: m\nkind: command\ncommand: [run]\n";
  const std::string evaluation =
      "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\ncommand: [run]\nsettings: {engine: command}\n";
  for (const std::string& text : {program, evaluation}) {
    const auto said = [&](const char* image) { return key(text + "submit: {container: " + image + "}\n"); };
    EXPECT_EQ(key_on(text, on({place("one", "place.sif"), place("two", "place.sif")})), said("place.sif"));
    EXPECT_EQ(key_on(text, on({place("one", std::nullopt)})), said("cluster.sif"));
    EXPECT_EQ(key_on(text, on({place("one", "cluster.sif"), place("two", std::nullopt)})), said("cluster.sif"));
    EXPECT_EQ(key_on(text + "submit: {container: own.sif}\n", on({place("one", "a.sif"), place("two", "b.sif")})),
              said("own.sif"))
        << "the matrix wins everywhere";
  }
  RunPlace of_host = place("host", std::nullopt);
  of_host.submit.conda = "env";
  EXPECT_EQ(key_on(program, on({of_host})), key(program)) << "conda, and so no container";
}

TEST(Key, CannotDependOnThePlaceWhereTheCommandRuns) {
  const ExpandOptions options =
      on({place("profile one on partition a", "a.sif"), place("profile two on partition a", std::nullopt),
          place("profile two on partition b", "a.sif")});
  const auto problems = [&](const std::string& text) { return orch::test::problems(text, kCatalog, options); };
  const std::string program = "name: m\nkind: command\ncommand: [run]\nsettings: {seed: [0, 1]}\n";
  const auto found = problems(program);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_THAT(found[0], HasSubstr("3:10: the matrix: the image that the command runs in"));
  EXPECT_THAT(found[0], HasSubstr("'a.sif' on profile one on partition a, 'cluster.sif' on profile two on partition "
                                  "a; say which in the matrix"));
  const std::string evaluation = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\ncommand: [run]\nsettings: {engine: ";
  EXPECT_THAT(problems(evaluation + "command}\n"), SizeIs(1));
  // Nothing is in doubt where the image is said, or where no command is run.
  EXPECT_THAT(problems(program + "submit: {container: own.sif}\n"), SizeIs(0));
  EXPECT_THAT(problems(program + "submit: {conda: env}\n"), SizeIs(0));
  EXPECT_THAT(problems("name: m\nkind: command\ncommand: [run]\nsettings: {container: own.sif}\n"), SizeIs(0));
  EXPECT_THAT(problems(evaluation + "[native, command]}\nexclude: [{engine: command}]\n"), SizeIs(0));
  EXPECT_THAT(problems("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n"), SizeIs(0));
}

TEST(Substitute, ComputesInTheNumberFormatThatItsWeightsDo) {
  Expansion expansion = expand_it(
      "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {dtype: fp16, compute_dtype: [fp16, fp32]}\n");
  const std::string base = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\n";
  EXPECT_EQ(to_hex(substitute(expansion, expansion.cells.at(0), kCatalog, DType::kInt8).key),
            key(base + "settings: {dtype: int8}\n"));
  EXPECT_EQ(to_hex(substitute(expansion, expansion.cells.at(1), kCatalog, DType::kInt8).key),
            key(base + "settings: {dtype: int8, compute_dtype: fp32}\n"))
      << "what was asked for stays";
}

TEST(Substitute, IsAnotherCellWithAnotherKey) {
  Expansion expansion = expand_it("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {seed: 4}\n");
  const Cell cell = expansion.cells.at(0);
  const Cell other = substitute(expansion, cell, kCatalog, DType::kInt8);
  EXPECT_NE(other.key, cell.key);
  EXPECT_EQ(to_hex(other.key),
            key("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {seed: 4, dtype: int8}\n"));
  EXPECT_EQ(expansion.settings[cell.settings].dtype("dtype"), DType::kBf16) << "the first is as it was";
  const std::size_t sets = expansion.settings.size();
  const Cell again = substitute(expansion, cell, kCatalog, DType::kInt8);
  EXPECT_EQ(again.key, other.key);
  EXPECT_EQ(again.settings, other.settings);
  EXPECT_EQ(expansion.settings.size(), sets);
}

// --- How lm-evaluation-harness is run ---

namespace {

const std::string kHarness = "name: m\nmodels: [old_fp32]\ntasks: [gsm8k]\n";

}  // namespace

TEST(HarnessKey, OfTheShippedWayIsTheOneItAlwaysWas) {
  // Written by hand, and hashed by sha256sum: matrices from before the key `lm_eval` have to find their results.
  const std::string content =
      R"({"engine":{"name":"lm-eval","numerics":1,"task":"gsm8k_cot"},"kind":"eval",)"
      R"("model":{"hf_id":"org/old_fp32","revision":"main"},)"
      R"("settings":{"compute_dtype":"bf16","dtype":"bf16","kv_dtype":"bf16","max_tokens":512,"seed":0,"shots":5,"temperature":0},)"
      R"("task":{"hf_id":"data/gsm8k","kind":"exact_match","metric":"acc","repeats":1,"revision":"main","subset":"","type":"eval"},)"
      R"("version":1})";
  const Expansion expansion = expand_it(kHarness);
  ASSERT_THAT(expansion.cells, SizeIs(1));
  EXPECT_EQ(expansion.content.at(0), content);
  EXPECT_EQ(to_hex(expansion.cells[0].key), "31acb81466ba0d1f949469584b2b6074caa5c2ec10ab6d6cfdedc2809efcc575");
  EXPECT_EQ(key(kHarness + "lm_eval: {}\n"), key(kHarness));
}

TEST(HarnessKey, HoldsAllThatTheMatrixSaysOfIt) {
  std::set<std::string> all = {key(kHarness)};
  for (const char* said : {"run: [/venv/bin/lm_eval]", "run: [/other/bin/lm_eval]", "include_path: /t",
                           "include_path: /u", "model_args: {a: 1}", "model_args: {a: 2}", "arguments: [--log_samples]",
                           "arguments: [-s]", "env: {A: b}", "env: {A: c}"})
    EXPECT_TRUE(all.insert(key(kHarness + "lm_eval: {" + said + "}\n")).second) << said;
  const Expansion expansion =
      expand_it(kHarness +
                "lm_eval: {env: {A: b}, arguments: [-s, x], model_args: {b: 1, a: yes}, include_path: /t, run: [p]}\n");
  EXPECT_THAT(expansion.content.at(0),
              HasSubstr(R"({"engine":{"arguments":["-s","x"],"include_path":"/t","model_args":{"a":"yes","b":"1"},)"
                        R"("name":"lm-eval","numerics":1,"run":["p"],"task":"gsm8k_cot"},"env":{"A":"b"},"kind":)"));
  EXPECT_EQ(canonical_content(expansion, expansion.cells[0], kCatalog), expansion.content.at(0))
      << "it is written in two places";
}

TEST(HarnessKey, OfOtherEnginesSaysNothingOfIt) {
  const std::string text = "name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\nsettings: {engine: [native, lm-eval]}\n";
  const Expansion expansion = expand_it(text + "lm_eval: {arguments: [-s], env: {A: b}}\n"), plain = expand_it(text);
  ASSERT_THAT(expansion.cells, SizeIs(2));
  EXPECT_EQ(expansion.content.at(0), plain.content.at(0));
  EXPECT_NE(expansion.content.at(1), plain.content.at(1));
}

TEST(HarnessKey, DoesNotHoldTheConsentToRunCode) {
  EXPECT_EQ(key(kHarness), key(kHarness + "settings: {run_unsafe_code: true}\n"));
  EXPECT_THAT(
      expand_it("name: m\nmodels: [old_fp32]\ntasks: [mbpp]\nsettings: {run_unsafe_code: true}\n").content.at(0),
      Not(HasSubstr("unsafe")));
}
