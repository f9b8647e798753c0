// Every family of models against transformers: small random checkpoints and what it computed with them, recorded by
// scripts/record-models.
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "model/rope.h"
#include "model/runner.h"
#include "support/families.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Input {
  std::vector<int> ids;
  std::vector<std::size_t> positions;  ///< of which the logits are recorded
  std::vector<std::vector<float>> logits;
  std::vector<int> greedy;
  std::vector<float> greedy_last_logits;
  double bf16_error = 0;                               ///< transformers' own, normalised; 0: not recorded
  std::vector<std::vector<std::vector<int>>> experts;  ///< of each layer with experts, of each token
};

struct Reference {
  std::int64_t parameters = 0;
  std::vector<Input> inputs;
};

Reference reference_of(const std::string& model) {
  std::ifstream in(test::family_folder(model) / "reference.json");
  const json root = json::parse(in);
  Reference reference;
  reference.parameters = root.at("parameters");
  for (const json& from : root.at("inputs")) {
    Input& input = reference.inputs.emplace_back();
    from.at("ids").get_to(input.ids);
    from.at("positions").get_to(input.positions);
    from.at("logits").get_to(input.logits);
    if (from.contains("greedy")) {
      from.at("greedy").get_to(input.greedy);
      from.at("greedy_last_logits").get_to(input.greedy_last_logits);
    }
    input.bf16_error = from.value("bf16_error", 0.0);
    if (from.contains("experts")) from.at("experts").get_to(input.experts);
  }
  return reference;
}

/// The largest difference of two rows, as a part of what is 1 or the largest number.
double difference(const std::vector<float>& got, const std::vector<float>& wanted) {
  if (got.size() != wanted.size()) return INFINITY;
  double most = 0, size = 1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double apart = std::fabs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
    most = std::isnan(apart) ? INFINITY : std::max(most, apart);
    size = std::max(size, std::fabs(static_cast<double>(wanted[i])));
  }
  return most / size;
}

/// |got − wanted| / |wanted|, over all rows.
double normalised_error(const Logits& got, const std::vector<std::size_t>& positions,
                        const std::vector<std::vector<float>>& wanted) {
  double apart = 0, size = 0;
  for (std::size_t i = 0; i < positions.size(); ++i)
    for (std::size_t t = 0; t < wanted[i].size(); ++t) {
      const double w = static_cast<double>(wanted[i][t]), g = static_cast<double>(got[positions[i]][t]);
      apart += (g - w) * (g - w), size += w * w;
    }
  return std::sqrt(apart / size);
}

class Families : public testing::TestWithParam<std::string> {
 protected:
  const Reference reference_ = reference_of(GetParam());
};

TEST(FamiliesData, HasEveryFamilyThatIsKnown) {
  std::set<std::string> held;
  for (const std::string& model : test::families()) {
    const auto it = open_architecture(test::family_folder(model));
    ASSERT_TRUE(it) << it.error().what;
    held.insert(it->family);
  }
  EXPECT_THAT(held, testing::ElementsAreArray(known_families()));
}

// Files that transformers wrote anew say some things elsewhere: rope_parameters, layer_types, dtype.
TEST_P(Families, AreTheSameInAFileThatTransformersWritesToday) {
  Runner published(test::family_folder(GetParam())),
      written(test::family_folder(GetParam()), DType::kFp32, "config_written.json");
  const std::vector<int>& ids = reference_.inputs.back().ids;
  EXPECT_EQ(logits_of(written, ids), logits_of(published, ids));
}

TEST_P(Families, GiveTheLogitsOfTransformers) {
  Runner runner(test::family_folder(GetParam()));
  double most = 0;
  for (const Input& input : reference_.inputs) {
    const Logits logits = logits_of(runner, input.ids);
    for (std::size_t i = 0; i < input.positions.size(); ++i) {
      const double apart = difference(logits[input.positions[i]], input.logits[i]);
      EXPECT_LE(apart, 1e-4) << input.ids.size() << " tokens, position " << input.positions[i];
      most = std::max(most, apart);
    }
  }
  RecordProperty("difference", std::to_string(most * 1e6) + "e-6");
}

// Both round as often, but not at the same places: two independent errors of one size are rarely a factor of 2 apart.
TEST_P(Families, LoseNoMoreInBf16ThanTransformersDoes) {
  Runner runner(test::family_folder(GetParam()), DType::kBf16);
  for (const Input& input : reference_.inputs) {
    if (input.bf16_error == 0) continue;
    const double error = normalised_error(logits_of(runner, input.ids), input.positions, input.logits);
    RecordProperty("error", std::to_string(error) + ", and transformers' " + std::to_string(input.bf16_error));
    EXPECT_LE(error, 2 * input.bf16_error);
    EXPECT_GT(error, 0.05 * input.bf16_error);  // else it was not in bf16 at all
  }
}

TEST_P(Families, ContinueTextsAsTransformersDoes) {
  Runner runner(test::family_folder(GetParam()));
  for (const Input& input : reference_.inputs) {
    if (input.greedy.empty()) continue;
    const Greedy greedy = continue_greedily(runner, input.ids, input.greedy.size());
    EXPECT_EQ(greedy.ids, input.greedy);
    EXPECT_LE(difference(greedy.last_logits, input.greedy_last_logits), 1e-4);
  }
}

// One token a step, several sequences a step, or caches in pieces of any size: no number changes.
TEST_P(Families, GiveTheSameBitsHoweverTheStepsAreCut) {
  Runner runner(test::family_folder(GetParam()));
  std::vector<Logits> whole;
  for (const Input& input : reference_.inputs) whole.push_back(logits_of(runner, input.ids));
  const std::vector<int>& longest = reference_.inputs.back().ids;

  Sequences single(runner, {{3, 5}, {0, 16}, {15, 1}, {0, 7}});
  const std::size_t alone = single.open(longest.size());
  for (std::size_t i = 0; i < longest.size(); ++i)
    ASSERT_EQ(single.step({{alone, {longest[i]}}}).front(), whole.back()[i]) << "token " << i << ", alone";

  Sequences together(runner, {{0, 3}, {2, 11}, {1, 1}});
  std::vector<std::size_t> numbers;
  // A step has either short or long frequencies.
  std::vector<std::size_t> alike;
  for (std::size_t s = 0; s < whole.size(); ++s)
    if (is_lengthy(runner.architecture().rope, static_cast<std::int64_t>(whole[s].size())) ==
        is_lengthy(runner.architecture().rope, static_cast<std::int64_t>(longest.size())))
      alike.push_back(s);
  alike.push_back(alike.back());  // the longest one twice
  for (const std::size_t s : alike) numbers.push_back(together.open(whole[s].size()));
  std::vector<std::size_t> done(alike.size(), 0);
  for (std::size_t round = 0; done.back() < longest.size(); ++round) {
    std::vector<Sequences::Addition> additions;
    for (std::size_t i = 0; i < alike.size(); ++i) {
      const std::vector<int>& ids = reference_.inputs[alike[i]].ids;
      const std::size_t count = std::min((round + i * 5) % 9 + 1, ids.size() - done[i]);
      if (count == 0) continue;
      const auto from = ids.begin() + static_cast<std::ptrdiff_t>(done[i]);
      additions.push_back({numbers[i], {from, from + static_cast<std::ptrdiff_t>(count)}});
    }
    const Logits got = together.step(additions);
    std::size_t row = 0;
    for (const Sequences::Addition& addition : additions) {
      const auto i =
          static_cast<std::size_t>(std::find(numbers.begin(), numbers.end(), addition.sequence) - numbers.begin());
      for (std::size_t t = 0; t < addition.ids.size(); ++t)
        ASSERT_EQ(got[row++], whole[alike[i]][done[i]++]) << "sequence " << i << ", token " << done[i] - 1;
    }
  }
}

TEST_P(Families, HaveAsManyParametersAsTransformersCounts) {
  const Architecture it = *open_architecture(test::family_folder(GetParam()));
  const Checkpoint checkpoint = *Checkpoint::open(test::family_folder(GetParam()));
  const auto sources = find_sources(it, checkpoint, {});
  ASSERT_TRUE(sources) << sources.error().what;
  EXPECT_EQ(parameters_of(it, *sources), reference_.parameters);
}

class FamiliesWithExperts : public Families {};

TEST_P(FamiliesWithExperts, CountTheExpertsThatTransformersChooses) {
  Runner runner(test::family_folder(GetParam()));
  const Architecture& it = runner.architecture();
  std::vector<std::int32_t> wanted;
  std::vector<std::size_t> with_experts;
  for (std::size_t l = 0; l < it.layers.size(); ++l)
    if (it.layers[l].experts) with_experts.push_back(l);
  const auto count = static_cast<std::size_t>(it.experts->count);
  wanted.resize(it.layers.size() * count);
  for (const Input& input : reference_.inputs) {
    logits_of(runner, input.ids);
    ASSERT_EQ(input.experts.size(), with_experts.size());
    for (std::size_t l = 0; l < with_experts.size(); ++l)
      for (const std::vector<int>& chosen : input.experts[l])
        for (const int expert : chosen) ++wanted[with_experts[l] * count + static_cast<std::size_t>(expert)];
  }
  const kernels::Ints counts = runner.decoder().expert_counts();
  std::vector<std::int32_t> got(static_cast<std::size_t>(counts.size));
  const auto stream = runner.backend().make_stream();
  runner.backend().download(*stream, got.data(), counts.data, got.size() * sizeof(std::int32_t));
  ASSERT_TRUE(runner.backend().wait(*stream));
  EXPECT_EQ(got, wanted);
}

std::vector<std::string> models_with_experts() {
  std::vector<std::string> names;
  for (const std::string& model : test::families())
    if (const auto it = open_architecture(test::family_folder(model)); it && it->experts) names.push_back(model);
  return names;
}

const auto kName = [](const auto& of) { return of.param; };
INSTANTIATE_TEST_SUITE_P(Of, Families, testing::ValuesIn(test::families()), kName);
INSTANTIATE_TEST_SUITE_P(Of, FamiliesWithExperts, testing::ValuesIn(models_with_experts()), kName);

}  // namespace
}  // namespace orch::model
