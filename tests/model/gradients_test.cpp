// Gradients of every family, of everything that a checkpoint has, against torch in float64, which
// scripts/record-gradients recorded and held against finite differences.
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/fake/backend.h"
#include "model/projections.h"
#include "model/safetensors_writer.h"
#include "model/training.h"
#include "support/families.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using nlohmann::json;

json recorded(const std::string& family) {
  std::ifstream in(test::family_folder(family) / "gradients.json");
  return json::parse(in);
}

std::vector<Lesson> lessons_of(const json& root) {
  std::vector<Lesson> lessons;
  for (const json& sequence : root.at("sequences"))
    lessons.push_back(
        {sequence.at("ids").get<std::vector<int>>(), sequence.at("coefficients").get<std::vector<float>>()});
  return lessons;
}

class FamilyGradients : public testing::TestWithParam<std::string> {};

TEST_P(FamilyGradients, AreThoseOfTorchInDoubles) {
  const json root = recorded(GetParam());
  Runner runner(test::family_folder(GetParam()));
  const Taught taught = teach(runner, lessons_of(root), false);
  EXPECT_NEAR(taught.loss, root.at("loss").get<double>(), 1e-4 * std::fabs(root.at("loss").get<double>()));
  for (const auto& [name, of] : root.at("tensors").items()) {
    SCOPED_TRACE(name);
    const double norm = of.at("norm");
    const auto found = taught.gradients.find(name);
    if (found == taught.gradients.end()) {
      EXPECT_EQ(norm, 0) << "nothing is known of its gradient";
      continue;
    }
    EXPECT_NEAR(test::norm_of(found->second), norm, 1e-4 * norm + 1e-9);
    for (std::uint64_t k = 0; k < 3; ++k)
      EXPECT_NEAR(test::projected(found->second, name, k), of.at("projections").at(k).get<double>(), 1e-4 * norm + 1e-9)
          << k;
    EXPECT_NEAR(test::projected(found->second, name, 0), of.at("difference").get<double>(), 1e-4 * norm + 1e-6);
  }
  // And nothing is made up.
  for (const auto& [name, numbers] : taught.gradients) EXPECT_TRUE(root.at("tensors").contains(name)) << name;
}

TEST_P(FamilyGradients, AreTheSameBitsWhereLayersAreComputedAgain) {
  const json root = recorded(GetParam());
  Runner runner(test::family_folder(GetParam()));
  const std::vector<Lesson> lessons = lessons_of(root);
  const Taught kept = teach(runner, lessons, false), again = teach(runner, lessons, true);
  EXPECT_EQ(again.logprobs, kept.logprobs);
  EXPECT_EQ(again.gradients, kept.gradients);
  EXPECT_LT(test::norm_of(kept.gradients.begin()->second), INFINITY);
}

// Training and inference compute a text by the same code.
TEST_P(FamilyGradients, BeginWithTheLogProbabilitiesOfInference) {
  const std::vector<Lesson> lessons = lessons_of(recorded(GetParam()));
  Runner runner(test::family_folder(GetParam()));
  const Taught taught = teach(runner, lessons, true);
  for (std::size_t i = 0; i < lessons.size(); ++i) {
    Sequences sequences(runner);
    const std::vector<int>& ids = lessons[i].ids;
    EXPECT_EQ(sequences.score(sequences.open(ids.size()), {ids.begin(), ids.end() - 1}, {ids.begin() + 1, ids.end()})
                  .logprobs,
              taught.logprobs[i]);
  }
}

// Logits are divided by a temperature behind their cap, and the way back goes through that: as TRL trains, whose own
// head scripts/record-train-losses asked. It sums gradients of the head in float32.
TEST(Gradients, AtATemperatureAreThoseOfTrl) {
  std::ifstream in(test::source_dir() / "tests/train/data/objectives.json");
  const json cases = json::parse(in).at("temperature");
  EXPECT_EQ(cases.size(), 4U);
  for (const json& each : cases) {
    const std::string family = each.at("name");
    SCOPED_TRACE(family);
    std::vector<Lesson> lessons;
    for (const json& text : each.at("texts"))
      lessons.push_back({text.at("ids").get<std::vector<int>>(), text.at("coefficients").get<std::vector<float>>()});
    Runner runner(test::family_folder(family));
    const Taught taught = teach(runner, lessons, false, each.at("temperature").get<float>());
    EXPECT_NEAR(taught.loss, each.at("loss").get<double>(), 1e-4 * each.at("loss").get<double>());
    for (std::size_t i = 0; i < lessons.size(); ++i)
      EXPECT_THAT(taught.logprobs[i],
                  testing::Pointwise(testing::FloatNear(1e-4F),
                                     each.at("texts").at(i).at("logprobs").get<std::vector<float>>()));
    for (const auto& [name, of] : each.at("tensors").items()) {
      SCOPED_TRACE(name);
      const double norm = of.at("norm");
      ASSERT_TRUE(taught.gradients.contains(name));
      EXPECT_NEAR(test::norm_of(taught.gradients.at(name)), norm, 1e-4 * norm + 1e-9);
      for (std::uint64_t k = 0; k < 3; ++k)
        EXPECT_NEAR(test::projected(taught.gradients.at(name), name, k), of.at("projections").at(k).get<double>(),
                    1e-4 * norm + 1e-9)
            << k;
    }
  }
}

/// llama2 with a bias of its head, both divided by `by`.
void write_with_head_bias(const std::filesystem::path& folder, float by) {
  const auto from = test::family_folder("llama2");
  std::filesystem::create_directory(folder);
  std::filesystem::copy_file(from / "config.json", folder / "config.json");
  const auto file = Checkpoint::open(from);
  if (!file) throw std::runtime_error(file.error().what);
  std::map<std::string, WrittenTensor> tensors;
  for (const auto& [name, tensor] : file->tensors()) tensors[name] = {tensor.stored, tensor.shape, tensor.bytes};
  const Tensor& head = file->tensors().find("lm_head.weight")->second;
  if (head.stored != Stored::kBf16) throw std::runtime_error("the head is not in bf16");
  std::vector<std::uint16_t> halves(static_cast<std::size_t>(head.count()));
  std::memcpy(halves.data(), head.bytes.data(), head.bytes.size());
  std::vector<float> weight, bias(static_cast<std::size_t>(head.shape[0]));
  for (const std::uint16_t half : halves) weight.push_back(std::bit_cast<float>(std::uint32_t{half} << 16) / by);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i % 7) / (4 * by);
  tensors["lm_head.weight"] = {Stored::kF32, head.shape, std::as_bytes(std::span(weight))};
  tensors["lm_head.bias"] = {Stored::kF32, {head.shape[0]}, std::as_bytes(std::span(bias))};
  if (auto written = write_safetensors(folder / "model.safetensors", tensors); !written)
    throw std::runtime_error(written.error().what);
}

// A temperature divides the head's bias, too: a model whose head is divided says the same, and its head's gradients are
// as many times larger. Halves are exact.
TEST(Gradients, AtATemperatureKnowTheHeadsBias) {
  const test::TemporaryFolder folder;
  write_with_head_bias(folder / "whole", 1);
  write_with_head_bias(folder / "halved", 2);
  const auto backend = [] { return kernels::make_cpu_backend({2, 0, {}}); };
  Runner whole(folder / "whole", DType::kFp32, "config.json", backend(), true),
      halved(folder / "halved", DType::kFp32, "config.json", backend(), true);
  const std::vector<Lesson> lessons = lessons_of(recorded("llama2"));
  const Taught warm = teach(whole, lessons, false, 2), usual = teach(halved, lessons, false);
  EXPECT_NE(teach(whole, lessons, false).loss, usual.loss);
  EXPECT_EQ(warm.logprobs, usual.logprobs);
  ASSERT_TRUE(usual.gradients.contains("lm_head.bias"));
  EXPECT_GT(test::norm_of(usual.gradients.at("lm_head.bias")), 0);
  for (const auto& [name, numbers] : usual.gradients) {
    std::vector<float> wanted = numbers;
    if (name.starts_with("lm_head."))
      for (float& each : wanted) each /= 2;
    EXPECT_THAT(warm.gradients.at(name), testing::Pointwise(testing::FloatEq(), wanted)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, FamilyGradients, testing::ValuesIn(test::families()),
                         [](const auto& family) { return family.param; });

// One of each kind of layer: plain, latent with experts, parallel.
TEST(Gradients, AreTheSameOnADevice) {
  for (const char* family : {"gemma2", "deepseek_v3", "falcon_40b"}) {
    const std::vector<Lesson> lessons = lessons_of(recorded(family));
    Runner here(test::family_folder(family));
    Runner there(test::family_folder(family), DType::kFp32, "config.json",
                 kernels::make_fake_backend(kernels::make_cpu_backend({2, 0, {}}), {3}));
    for (const bool again : {false, true})
      EXPECT_EQ(teach(there, lessons, again).gradients, teach(here, lessons, again).gradients);
  }
}

// What rounding to bf16 (8 bits) leaves of the direction of a whole gradient.
TEST(Gradients, AreNearlyTheSameInBf16) {
  for (const char* family : {"llama3", "gpt2", "qwen3", "mixtral"}) {
    const std::vector<Lesson> lessons = lessons_of(recorded(family));
    Runner exact(test::family_folder(family)), rounded(test::family_folder(family), DType::kBf16);
    const Taught a = teach(exact, lessons, false), b = teach(rounded, lessons, false);
    double along = 0, of_a = 0, of_b = 0;
    for (const auto& [name, numbers] : a.gradients)
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        const double x = static_cast<double>(numbers[i]), y = static_cast<double>(b.gradients.at(name)[i]);
        along += x * y, of_a += x * x, of_b += y * y;
      }
    EXPECT_GT(along / std::sqrt(of_a * of_b), 0.995) << family;
    EXPECT_NEAR(std::sqrt(of_b / of_a), 1, 0.05) << family;
  }
}

}  // namespace
}  // namespace orch::model
