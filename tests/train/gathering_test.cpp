// What ranks have of matrices, put together and taken apart again: held to the checkpoint itself, and to numbers that
// are drawn for whole matrices.
#include "train/gathering.h"

#include <gmock/gmock.h>

#include <bit>
#include <mutex>

#include "support/families.h"
#include "train/ranks.h"

namespace orch::train {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

using Row = Parameters::Row;
using Whole = std::map<std::string, Trained>;

std::map<std::string, TrainedView> view_of(const Whole& whole) {
  std::map<std::string, TrainedView> views;
  for (const auto& [name, it] : whole) views[name] = {it.rows, it.cols, it.values, it.first, it.second, it.average};
  return views;
}

std::vector<std::uint32_t> bits(const std::vector<float>& numbers) {
  std::vector<std::uint32_t> made;
  for (const float number : numbers) made.push_back(std::bit_cast<std::uint32_t>(number));
  return made;
}

void expect_same(const Whole& got, const Whole& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (const auto& [name, it] : wanted) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(got.contains(name));
    const Trained& other = got.at(name);
    EXPECT_EQ(std::pair(other.rows, other.cols), std::pair(it.rows, it.cols));
    EXPECT_EQ(bits(other.values), bits(it.values));
    EXPECT_EQ(bits(other.first), bits(it.first));
    EXPECT_EQ(bits(other.second), bits(it.second));
    EXPECT_EQ(bits(other.average), bits(it.average));
  }
}

/// A number of its own for each place of each matrix, moment and average: no two of a test are alike.
std::vector<float> drawn(std::int64_t count, std::uint32_t& next) {
  std::vector<float> numbers;
  for (std::int64_t i = 0; i < count; ++i) numbers.push_back(std::bit_cast<float>(0x3f000000U + next++));
  return numbers;
}

Whole drawn(const Whole& like, bool average) {
  std::uint32_t next = 1;
  Whole whole;
  for (const auto& [name, it] : like) {
    Trained& to = whole[name];
    to.rows = it.rows;
    to.cols = it.cols;
    for (std::vector<float>* numbers : {&to.values, &to.first, &to.second}) *numbers = drawn(it.rows * it.cols, next);
    if (average) to.average = drawn(it.rows * it.cols, next);
  }
  return whole;
}

bool can_be_cut(const std::string& family, int ranks) {
  const model::Architecture it = take(model::open_architecture(test::family_folder(family)));
  model::Shard shard;
  shard.ranks = ranks;
  return model::check_shard(it, shard).ok() && (it.attention.latent || it.attention.kv_heads >= ranks);
}

std::unique_ptr<Parameters> parameters_of(const AtRank& at, bool in_full) {
  AdapterRules rules;
  rules.rank = 3;
  rules.targets = {"*"};  // experts too
  rules.seed = 5;
  return take(in_full ? Parameters::of_model(at.backend, at.decoder, at.sources, true)
                      : Parameters::of_adapter(at.backend, at.decoder, at.sources, rules, true));
}

/// What is trained, as it is in the beginning, on the first of so many ranks.
Whole begun(const std::string& family, int ranks, bool in_full) {
  Whole whole;
  on_ranks(test::family_folder(family), {1, ranks}, [&](const AtRank& at) {
    const auto parameters = parameters_of(at, in_full);
    const auto stream = at.backend.make_stream();
    RunState state;
    state.values = take(parameters->read(*stream, Row::kValues));
    const Gathering gathering = take(Gathering::make(at.sharing, parameters->pieces()));
    Whole here = take(gathering.whole(state));
    EXPECT_EQ(here.empty(), at.rank > 0);
    if (at.rank == 0) whole = std::move(here);
  });
  return whole;
}

class GatheringOf : public testing::TestWithParam<std::string> {};

TEST_P(GatheringOf, AModelIsTheCheckpointsTensors) {
  const model::Checkpoint checkpoint = take(model::Checkpoint::open(test::family_folder(GetParam())));
  for (const int ranks : {1, 2, 4}) {
    if (!can_be_cut(GetParam(), ranks)) continue;
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const Whole whole = begun(GetParam(), ranks, true);
    EXPECT_GT(whole.size(), 10U);
    for (const auto& [name, it] : whole) {
      SCOPED_TRACE(name);
      const model::Tensor* tensor = checkpoint.find(name);
      ASSERT_NE(tensor, nullptr);
      ASSERT_EQ(tensor->count(), it.rows * it.cols);
      std::vector<float> wanted(it.values.size());
      model::read_numbers(*tensor, 0, tensor->count(), wanted.data());
      EXPECT_EQ(it.values, wanted);
    }
  }
}

TEST_P(GatheringOf, AnAdapterBeginsTheSameOnAnyRanks) {
  const Whole one = begun(GetParam(), 1, false);
  EXPECT_GT(one.size(), 2U);
  for (const int ranks : {2, 4}) {
    if (!can_be_cut(GetParam(), ranks)) continue;
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    expect_same(begun(GetParam(), ranks, false), one);
  }
}

TEST_P(GatheringOf, PartsOfWholeMatricesAreThoseMatrices) {
  for (const bool in_full : {false, true}) {
    const Whole wanted = drawn(begun(GetParam(), 1, in_full), true);
    for (const int ranks : {1, 2, 4}) {
      if (!can_be_cut(GetParam(), ranks)) continue;
      SCOPED_TRACE((in_full ? "all weights over " : "an adapter over ") + std::to_string(ranks) + " ranks");
      std::mutex mutex;
      std::vector<std::size_t> counts;
      Whole whole;
      on_ranks(test::family_folder(GetParam()), {1, ranks}, [&](const AtRank& at) {
        const auto parameters = parameters_of(at, in_full);
        const Gathering gathering = take(Gathering::make(at.sharing, parameters->pieces()));
        RunState state;
        take(gathering.take_part(view_of(wanted), true, state));
        Whole here = take(gathering.whole(state));
        const std::lock_guard lock(mutex);
        counts.push_back(state.values.size());
        EXPECT_EQ(state.values.size(), static_cast<std::size_t>(parameters->count()));
        if (at.rank == 0) whole = std::move(here);
      });
      expect_same(whole, wanted);
      std::size_t all = 0, numbers = 0;
      for (const std::size_t count : counts) all += count;
      for (const auto& [name, it] : wanted) numbers += it.values.size();
      EXPECT_GE(all, numbers);  // what ranks share they have several times
      if (ranks > 1) EXPECT_LT(counts.front(), numbers);
    }
  }
}

/// Those whose weights are not in fp8.
std::vector<std::string> trainable_families() {
  std::vector<std::string> names = test::families();
  std::erase_if(names, [](const std::string& name) { return name.find("fp8") != std::string::npos; });
  return names;
}

INSTANTIATE_TEST_SUITE_P(, GatheringOf, testing::ValuesIn(trainable_families()),
                         [](const auto& family) { return family.param; });

TEST(Gathering, SaysWhatDoesNotFit) {
  const Whole good = drawn(begun("llama3", 1, false), false);
  on_ranks(test::family_folder("llama3"), {}, [&](const AtRank& at) {
    const auto parameters = parameters_of(at, false);
    const Gathering gathering = take(Gathering::make(at.sharing, parameters->pieces()));
    const std::string name = good.begin()->first;
    RunState state;
    const auto why_not = [&](const Whole& whole, bool average) {
      const auto taken = gathering.take_part(view_of(whole), average, state);
      return taken ? "it fits" : taken.error().what;
    };
    EXPECT_EQ(why_not(good, false), "it fits");
    EXPECT_TRUE(state.average.empty());
    EXPECT_EQ(why_not(good, true), "it has no average of the weights");
    EXPECT_EQ(why_not(drawn(good, true), false), "it has an average of the weights, and none is kept");
    Whole other = good;
    other.erase(name);
    EXPECT_EQ(why_not(other, false), "it has no '" + name + "'");
    other = good;
    std::swap(other[name].rows, other[name].cols);
    EXPECT_THAT(why_not(other, false), HasSubstr("'" + name + "' is "));
  });
}

TEST(Gathering, AnAdapterOfExpertsIsWrittenExpertAfterExpert) {
  // Two experts with 1 input and 2 outputs, rank 2: of each B is 2 × 2, and kept transposed.
  Whole whole;
  const std::string path = "base_model.model.model.layers.0.mlp.experts.down_proj";
  whole[path + ".lora_A.weight"] = {4, 1, {1, 2, 3, 4}, {}, {}, {}};
  whole[path + ".lora_B.weight"] = {4, 2, {1, 2, 3, 4, 5, 6, 7, 8}, {}, {}, {}};
  AdapterRules rules;
  rules.alpha = 6;
  const model::PeftAdapter adapter = adapter_of(whole, false, rules, 0.25, "org/base", 2);
  ASSERT_EQ(adapter.modules.size(), 1U);
  const model::PeftModule& module = adapter.modules.front();
  EXPECT_EQ(std::tuple(module.experts, module.rank, module.inputs, module.outputs), std::tuple(2, 2, 1, 2));
  EXPECT_EQ(module.scale, 3);
  EXPECT_THAT(module.a, testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(module.b, testing::ElementsAre(1, 3, 2, 4, 5, 7, 6, 8));
}

TEST(Gathering, AnAdapterIsWrittenAsPeftMultipliesIt) {
  // Of one layer with 2 inputs and 3 outputs, rank 2: A is 2 × 2, B is 3 × 2 in PEFT's file and kept transposed.
  Whole whole;
  const std::string path = "base_model.model.model.layers.0.self_attn.q_proj";
  whole[path + ".lora_A.weight"] = {2, 2, {1, 2, 3, 4}, {}, {}, {5, 6, 7, 8}};
  whole[path + ".lora_B.weight"] = {2, 3, {1, 2, 3, 4, 5, 6}, {}, {}, {7, 8, 9, 10, 11, 12}};
  AdapterRules rules;
  rules.rank = 2;
  rules.alpha = 6;
  const model::PeftAdapter last = adapter_of(whole, false, rules, 0.25, "org/base");
  EXPECT_EQ(std::pair(last.base, last.dropout), std::pair(std::string("org/base"), 0.25));
  ASSERT_EQ(last.modules.size(), 1U);
  const model::PeftModule& module = last.modules.front();
  EXPECT_EQ(module.path, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(std::tuple(module.rank, module.inputs, module.outputs), std::tuple(2, 2, 3));
  EXPECT_EQ(module.scale, 3);
  EXPECT_THAT(module.a, testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(module.b, testing::ElementsAre(1, 4, 2, 5, 3, 6));
  rules.rank_stabilised = true;
  const model::PeftAdapter average = adapter_of(whole, true, rules, 0, "");
  EXPECT_DOUBLE_EQ(average.modules.front().scale, 6 / std::sqrt(2.0));
  EXPECT_THAT(average.modules.front().a, testing::ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(average.modules.front().b, testing::ElementsAre(7, 10, 8, 11, 9, 12));
}

}  // namespace
}  // namespace orch::train
