// Adapters that PEFT wrote: what the decoder makes of them, and their gradients, against what PEFT and torch computed
// in float64 (scripts/record-adapters); and adapters that we write, read again.
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/fake/backend.h"
#include "model/module_pattern.h"
#include "model/peft.h"
#include "model/projections.h"
#include "model/training.h"
#include "support/families.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path adapters_folder() { return test::family_folder("llama3").parent_path().parent_path() / "adapters"; }

json json_of(const fs::path& file) {
  std::ifstream in(file);
  return json::parse(in);
}

/// Those with expected.json; of the others it is enough that they are refused.
std::vector<std::string> adapters(bool known) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(adapters_folder()))
    if (fs::exists(entry.path() / "expected.json") == known) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct Setting {
  explicit Setting(const std::string& name,
                   std::unique_ptr<kernels::Backend> backend = kernels::make_cpu_backend({2, 0, {}}))
      : expected(json_of(adapters_folder() / name / "expected.json")),
        runner(test::family_folder(expected.at("base").get<std::string>()), DType::kFp32, "config.json",
               std::move(backend)) {
    auto read = read_peft(adapters_folder() / name);
    if (!read) throw std::runtime_error(read.error().what);
    peft = *std::move(read);
  }
  LoadedAdapter load() {
    auto loaded = LoadedAdapter::load(runner.backend(), runner.architecture(), runner.sources(), peft, DType::kFp32);
    if (!loaded) throw std::runtime_error(loaded.error().what);
    return *std::move(loaded);
  }
  std::vector<Lesson> lessons() const {
    std::vector<Lesson> all;
    for (const json& sequence : expected.at("sequences"))
      all.push_back(
          {sequence.at("ids").get<std::vector<int>>(), sequence.at("coefficients").get<std::vector<float>>()});
    return all;
  }

  json expected;
  Runner runner;
  PeftAdapter peft;
};

/// Log-probabilities and gradients of an adapter's matrices, by PEFT's names.
struct Changed {
  std::vector<double> logprobs;
  Tensors gradients;
  bool operator==(const Changed&) const = default;
};

/// PEFT has down_proj of experts around gate_up_proj, where both are there.
std::string name_in_file(const Module& module, const PeftAdapter& peft) {
  if (module.all_experts == 0) return module.path;
  const std::string name = module.path.substr(0, module.path.rfind('.'));
  const bool has_down = std::any_of(peft.modules.begin(), peft.modules.end(),
                                    [&](const PeftModule& each) { return each.path == name + ".down_proj"; });
  return has_down && module.path.ends_with("gate_up_proj") ? name + ".base_layer" : name;
}

Changed change(Setting& setting, bool again, float drop_rate = 0) {
  kernels::test::Device device(setting.runner.backend());
  const LoadedAdapter loaded = setting.load();
  Given given(setting.runner, device, setting.lessons(), again, loaded.adapter().rank, drop_rate > 0,
              loaded.adapter().expert_rank);
  given.step.adapter = &loaded.adapter();
  given.targets.leave_head = true;
  std::vector<std::int32_t> names(static_cast<std::size_t>(given.step.tokens.size));
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = static_cast<std::int32_t>(i);
  if (drop_rate > 0) given.step.drops = {drop_rate, 77, device.put(names)};
  Gradients gradients;
  gradients.layers.resize(loaded.adapter().layers.size());
  for (const Module& module : loaded.modules()) {
    auto& to = gradients.layers[module.layer].adapter[module.place];
    const std::int64_t rank = loaded.adapter().layers[module.layer][module.place][to.size()].rank();
    const std::int64_t rows = rank * std::max<std::int64_t>(1, module.experts.count);
    const auto zeros = [&](std::int64_t cols) {
      return device.put({std::vector<double>(static_cast<std::size_t>(rows * cols)), rows, cols}, DType::kFp32);
    };
    to.push_back({zeros(module.inputs.count), zeros(module.own_outputs())});
  }
  given.pass->forth(device.stream(), given.step, given.targets);
  given.pass->back(device.stream(), given.coefficients, gradients);

  Changed changed;
  changed.logprobs = device.get(given.targets.logprobs).values;
  std::map<std::pair<std::size_t, Place>, std::size_t> seen;
  for (const Module& module : loaded.modules()) {
    const LowRankGradient& gradient =
        gradients.layers[module.layer].adapter[module.place][seen[{module.layer, module.place}]++];
    const auto a = device.get(gradient.a), b = device.get(gradient.b);
    const std::string name = "base_model.model." + name_in_file(module, setting.peft);
    changed.gradients[name + ".lora_A.weight"] = {a.values.begin(), a.values.end()};
    // Turned over, and from the decoder's order of rows to the module's.
    std::vector<float>& turned = changed.gradients[name + ".lora_B.weight"];
    turned.resize(static_cast<std::size_t>(module.all_outputs * b.rows));
    // Of a stack the file has the experts of each rank side by side.
    const std::int64_t experts = std::max<std::int64_t>(1, module.experts.count), rank = b.rows / experts;
    std::int64_t at = 0;
    for (const Part& part : module.outputs)
      for (std::int64_t row = part.first; row < part.first + part.count; ++row, ++at)
        for (std::int64_t e = 0; e < experts; ++e)
          for (std::int64_t r = 0; r < rank; ++r)
            turned[static_cast<std::size_t>((row * rank + r) * experts + e)] =
                static_cast<float>(b.at(e * rank + r, at));
  }
  return changed;
}

class Adapters : public testing::TestWithParam<std::string> {
 protected:
  Setting setting_{GetParam()};
};

TEST_P(Adapters, AreReadAsPeftReadsThem) {
  std::map<std::string, std::pair<std::int64_t, double>> got, wanted;
  for (const PeftModule& module : setting_.peft.modules) got[module.path] = {module.rank, module.scale};
  for (const auto& [path, of] : setting_.expected.at("modules").items())
    wanted[path] = {of.at("rank").get<std::int64_t>(), of.at("scale").get<double>()};
  ASSERT_EQ(got.size(), wanted.size());
  for (const auto& [path, of] : wanted) {
    EXPECT_EQ(got[path].first, of.first) << path;
    EXPECT_NEAR(got[path].second, of.second, 1e-9) << path;  // ten digits are recorded
  }
}

TEST_P(Adapters, GiveTheLogProbabilitiesAndGradientsOfPeft) {
  const Changed changed = change(setting_, false);
  auto got = changed.logprobs.begin();
  for (const json& sequence : setting_.expected.at("sequences")) {
    const auto wanted = sequence.at("log_probabilities").get<std::vector<double>>();
    for (std::size_t t = 1; t < wanted.size(); ++t)
      EXPECT_NEAR(*got++, wanted[t], 1e-4 * std::max(1.0, std::fabs(wanted[t])));
  }
  if (setting_.expected.at("tensors").empty()) return;  // PEFT trains something else then
  for (const auto& [name, of] : setting_.expected.at("tensors").items()) {
    SCOPED_TRACE(name);
    const double norm = of.at("norm");
    ASSERT_TRUE(changed.gradients.contains(name));
    const std::vector<float>& numbers = changed.gradients.at(name);
    EXPECT_NEAR(test::norm_of(numbers), norm, 1e-4 * norm);
    for (std::uint64_t k = 0; k < 3; ++k)
      EXPECT_NEAR(test::projected(numbers, name, k), of.at("projections").at(k).get<double>(), 1e-4 * norm) << k;
  }
  EXPECT_EQ(changed.gradients.size(), setting_.expected.at("tensors").size());
}

TEST_P(Adapters, AreTheSameBitsWhereLayersAreComputedAgain) {
  EXPECT_EQ(change(setting_, true), change(setting_, false));
  const Changed dropped = change(setting_, false, 0.25F);
  EXPECT_EQ(change(setting_, true, 0.25F), dropped) << "with dropout";
  EXPECT_NE(dropped, change(setting_, false));
}

// The engine's way: steps with pages, and logits.
TEST_P(Adapters, GiveTheLogitsOfPeft) {
  const LoadedAdapter loaded = setting_.load();
  setting_.runner.adapter = &loaded.adapter();
  for (const json& sequence : setting_.expected.at("sequences")) {
    const Logits logits = logits_of(setting_.runner, sequence.at("ids").get<std::vector<int>>());
    const auto wanted = sequence.at("logits").get<std::vector<std::vector<double>>>();
    const auto positions = sequence.at("positions").get<std::vector<std::size_t>>();
    for (std::size_t i = 0; i < positions.size(); ++i)
      for (std::size_t t = 0; t < wanted[i].size(); ++t)
        EXPECT_NEAR(static_cast<double>(logits[positions[i]][t]), wanted[i][t],
                    1e-4 * std::max(1.0, std::fabs(wanted[i][t])));
  }
}

TEST_P(Adapters, AreTheSameWrittenAndReadAgain) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_peft(folder.path() / "written", setting_.peft));
  const auto again = read_peft(folder.path() / "written");
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->base, setting_.peft.base);
  ASSERT_EQ(again->modules.size(), setting_.peft.modules.size());
  for (std::size_t i = 0; i < again->modules.size(); ++i) {
    const PeftModule &got = again->modules[i], &wanted = setting_.peft.modules[i];
    EXPECT_EQ(got.path, wanted.path);
    EXPECT_EQ(got.experts, wanted.experts) << got.path;
    EXPECT_EQ(got.alpha, wanted.alpha) << got.path;
    EXPECT_EQ(got.scale, wanted.scale) << got.path;
    EXPECT_EQ(got.a, wanted.a);
    EXPECT_EQ(got.b, wanted.b);
  }
}

TEST_P(Adapters, HaveTheNamesAndNumbersOfPeftsFileWhenWeWriteThem) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_peft(folder.path() / "written", setting_.peft));
  const char* file = "adapter_model.safetensors";
  const auto ours = Safetensors::open(folder.path() / "written" / file),
             theirs = Safetensors::open(adapters_folder() / GetParam() / file);
  ASSERT_TRUE(ours && theirs);
  ASSERT_EQ(ours->tensors().size(), theirs->tensors().size());
  for (const auto& [name, wanted] : theirs->tensors()) {
    SCOPED_TRACE(name);
    const auto got = ours->tensors().find(name);
    ASSERT_NE(got, ours->tensors().end());
    ASSERT_EQ(got->second.shape, wanted.shape);
    std::vector<float> a(static_cast<std::size_t>(wanted.count())), b = a;
    read_numbers(got->second, 0, wanted.count(), a.data());
    read_numbers(wanted, 0, wanted.count(), b.data());
    EXPECT_EQ(a, b);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Adapters, testing::ValuesIn(adapters(true)), [](const auto& it) { return it.param; });

class RefusedAdapters : public testing::TestWithParam<std::string> {};

TEST_P(RefusedAdapters, SayWhatIsNotKnownOfThem) {
  const auto read = read_peft(adapters_folder() / GetParam());
  ASSERT_FALSE(read);
  const std::map<std::string, std::string> why = {{"refused_dora", "use_dora"},
                                                  {"refused_bias", "bias \"all\""},
                                                  {"refused_lora_bias", "lora_bias"},
                                                  {"refused_modules_to_save", "modules_to_save"},
                                                  {"refused_token_indices", "trainable_token_indices"},
                                                  {"refused_parameters", "mlp.gate.weight among its target_parameters"},
                                                  {"refused_replication", "layer_replication"},
                                                  {"refused_pissa", "pissa"},
                                                  {"refused_prompt", "only LORA"}};
  EXPECT_THAT(read.error().what, testing::HasSubstr(why.at(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Of, RefusedAdapters, testing::ValuesIn(adapters(false)),
                         [](const auto& it) { return it.param; });

TEST(Adapters, OfAnotherModelAreRefusedByName) {
  Setting setting("llama3");
  const auto load = [&] {
    return LoadedAdapter::load(setting.runner.backend(), setting.runner.architecture(), setting.runner.sources(),
                               setting.peft, DType::kFp32);
  };
  setting.peft.modules[0].inputs += 1;
  EXPECT_THAT(load().error().what,
              testing::HasSubstr("model.layers.0.mlp.down_proj is 32 × 57, and the model's 32 × 56"));
  setting.peft.modules[0].inputs -= 1;
  setting.peft.modules[1].path = "model.layers.9.mlp.up_proj";
  EXPECT_THAT(load().error().what, testing::HasSubstr("model.layers.9.mlp.up_proj"));
}

TEST(Adapters, OfOtherExpertsThanTheModelsAreRefused) {
  Setting setting("mixtral_experts");
  const auto load = [&] {
    return LoadedAdapter::load(setting.runner.backend(), setting.runner.architecture(), setting.runner.sources(),
                               setting.peft, DType::kFp32);
  };
  PeftModule* down = nullptr;
  for (PeftModule& module : setting.peft.modules)
    if (module.path == "model.layers.0.mlp.experts.down_proj") down = &module;
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(std::tuple(down->experts, down->rank), std::tuple(6, 3)) << "as the model has, of the rank of its pattern";
  down->experts = 5;
  EXPECT_THAT(load().error().what,
              testing::HasSubstr("model.layers.0.mlp.experts.down_proj of 5 experts, and the model has 6"));
  down->experts = 6;
  down->path = "model.layers.0.mlp.experts.up_proj";
  EXPECT_THAT(load().error().what, testing::HasSubstr("changes module model.layers.0.mlp.experts.up_proj"));
}

TEST(Adapters, OfExpertsAreWrittenWithoutDropoutWhichPeftWouldRefuse) {
  Setting setting("mixtral_experts");
  setting.peft.dropout = 0.25;
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_peft(folder.path() / "written", setting.peft));
  EXPECT_EQ(json_of(folder.path() / "written/adapter_config.json").at("lora_dropout"), 0);
  Setting plain("llama3");
  plain.peft.dropout = 0.25;
  ASSERT_TRUE(write_peft(folder.path() / "plain", plain.peft));
  EXPECT_EQ(json_of(folder.path() / "plain/adapter_config.json").at("lora_dropout"), 0.25);
}

TEST(Adapters, AreTheSameOnADevice) {
  for (const char* name : {"llama3", "phi3", "deepseek_v3", "mixtral_experts"}) {
    Setting here(name), there(name, kernels::make_fake_backend(kernels::make_cpu_backend({2, 0, {}}), {5}));
    EXPECT_EQ(change(there, true, 0.25F), change(here, true, 0.25F));
  }
}

TEST(ModulePattern, EndsNamesAtDots) {
  const auto ends = [](std::string_view pattern, std::string_view name) {
    auto read = ModulePattern::read(pattern);
    EXPECT_TRUE(read) << read.error().what;
    return read && read->ends(name);
  };
  EXPECT_TRUE(ends("q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(ends("q_proj", "q_proj"));
  EXPECT_FALSE(ends("proj", "model.layers.0.self_attn.q_proj")) << "the whole part between dots";
  EXPECT_TRUE(ends("layers.1.self_attn.(q|v)_proj", "model.layers.1.self_attn.v_proj"));
  EXPECT_FALSE(ends("layers.1.self_attn.(q|v)_proj", "model.layers.1.self_attn.k_proj"));
  EXPECT_TRUE(ends("layers\\.\\d+\\.mlp\\.down_proj", "model.layers.31.mlp.down_proj"));
  EXPECT_FALSE(ends("layers\\.\\d+\\.mlp\\.down_proj", "model.layers..mlp.down_proj"));
  EXPECT_TRUE(ends("^model.*.o_proj$", "model.layers.0.self_attn.o_proj"));
  EXPECT_FALSE(ends("^layers.0.q", "model.layers.0.q"));
  EXPECT_TRUE(ends("[^k-z]_proj", "a.q_proj") == false);
  EXPECT_TRUE(ends("x?(ab)*", "b.abab"));
}

TEST(ModulePattern, IsRefusedWhereItIsNotKnownAndNeverTakesLong) {
  for (const char* pattern : {"(", ")", "[a", "a{3}", "\\b", "a(?=b)", "\\1", "*a", "a\\"})
    EXPECT_FALSE(ModulePattern::read(pattern)) << pattern;
  EXPECT_FALSE(ModulePattern::read(std::string(100, '(') + std::string(100, ')')));
  EXPECT_FALSE(ModulePattern::read(std::string(5000, 'a')));
  // What takes a backtracking matcher longer than the universe is old.
  const auto slow = ModulePattern::read("((a*)*)*b");
  ASSERT_TRUE(slow);
  EXPECT_FALSE(slow->ends(std::string(200, 'a')));
  EXPECT_FALSE(ModulePattern::read("((((a+)+)+)+)b")->ends(std::string(1000, 'a')));
  EXPECT_FALSE(ModulePattern::read("(((((a+)+)+)+)+)b"));
}

}  // namespace
}  // namespace orch::model
