// Every family on a device that runs ops late and hides its memory: the same bits as on the CPU, or the program ends.
#include "kernels/fake/backend.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "model/rope.h"
#include "model/runner.h"
#include "support/families.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;

struct Computed {
  std::vector<Logits> whole;  ///< of each input
  Logits stepwise;            ///< of the last one, in steps of 1, 2, 3, … tokens
  Sequences::Scored scored;
  std::vector<std::int32_t> expert_counts;
  bool operator==(const Computed&) const = default;
};

Computed computed(const std::string& model, DType dtype, std::unique_ptr<kernels::Backend> backend) {
  Runner runner(test::family_folder(model), dtype, "config.json", std::move(backend));
  std::ifstream in(test::family_folder(model) / "reference.json");
  const auto reference = nlohmann::json::parse(in);
  Computed all;
  std::vector<int> ids;
  for (const auto& input : reference.at("inputs")) {
    input.at("ids").get_to(ids);
    all.whole.push_back(logits_of(runner, ids));
  }
  Sequences sequences(runner, {{3, 5}, {0, 16}});
  const std::size_t sequence = sequences.open(ids.size());
  for (std::size_t from = 0, count = 1; from < ids.size(); from += count, ++count) {
    const std::vector<int> some(ids.begin() + static_cast<std::ptrdiff_t>(from),
                                ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), from + count)));
    for (auto& row : sequences.step({{sequence, some}})) all.stepwise.push_back(std::move(row));
  }
  Sequences asked(runner);
  all.scored = asked.score(asked.open(ids.size()), ids, {ids.end() - 3, ids.end()});
  if (const kernels::Ints counts = runner.decoder().expert_counts())
    all.expert_counts = kernels::test::Device(runner.backend()).get(counts);
  return all;
}

class FamiliesOnTheFake : public testing::TestWithParam<std::string> {};

TEST_P(FamiliesOnTheFake, GiveTheBitsOfTheBackendBeneath) {
  for (const auto& [dtype, seed] : {std::pair(DType::kFp32, 0U), std::pair(DType::kBf16, 3U)}) {
    const auto cpu = [] { return kernels::make_cpu_backend({1, 0, {}}); };
    const Computed wanted = computed(GetParam(), dtype, cpu());
    EXPECT_TRUE(computed(GetParam(), dtype, kernels::make_fake_backend(cpu(), {seed})) == wanted) << name_of(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, FamiliesOnTheFake, testing::ValuesIn(test::families()),
                         [](const auto& of) { return of.param; });

// What fails halfway must not leave uploads behind that read what is gone.
TEST(Fake, IsLeftInPeaceByALoadThatDoesNotFit) {
  const Architecture it = *open_architecture(test::family_folder(test::families().front()));
  const Checkpoint checkpoint = *Checkpoint::open(test::family_folder(test::families().front()));
  const Sources sources = *find_sources(it, checkpoint, {});
  bool loaded = false;
  for (std::size_t memory = 1000; !loaded; memory += memory / 3) {
    const auto backend = kernels::make_fake_backend(kernels::make_cpu_backend({1, memory, {}}));
    const auto decoder = Decoder::load(*backend, it, sources, {}, DType::kFp32);
    loaded = decoder.ok();
    if (!loaded) EXPECT_THAT(decoder.error().what, testing::HasSubstr("out of memory"));
  }
}

}  // namespace
}  // namespace orch::model
