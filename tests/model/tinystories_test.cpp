// A trained model that others made, against a reference in float64 that was written for it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/runner.h"
#include "support/test_data.h"

namespace orch::model {
namespace {

using nlohmann::json;

class TinyStories : public testing::Test {
 protected:
  void SetUp() override {
    ORCH_NEEDS_TEST_DATA();
    const auto folder = test::test_data() / "models/tinystories-656k";
    std::ifstream in(folder / "reference.json");
    reference_ = json::parse(in);
    runner_ = std::make_unique<Runner>(folder);
  }
  json reference_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(TinyStories, GivesTheReferencesLogProbabilities) {
  for (const json& prompt : reference_["prompts"]) {
    const std::vector<float> last = logits_of(*runner_, prompt["ids"]).back();
    const double most = static_cast<double>(*std::max_element(last.begin(), last.end()));
    double total = 0;
    for (const float x : last) total += std::exp(static_cast<double>(x) - most);
    for (const json& pair : prompt["first_top5_logprobs"])
      EXPECT_NEAR(static_cast<double>(last[pair[0].get<std::size_t>()]) - most - std::log(total), pair[1].get<double>(),
                  1e-4);
  }
}

TEST_F(TinyStories, WritesTheReferencesStories) {
  for (const json& prompt : reference_["prompts"]) {
    const auto wanted = prompt["greedy_ids"].get<std::vector<int>>();
    EXPECT_EQ(continue_greedily(*runner_, prompt["ids"], wanted.size()).ids, wanted) << prompt["prompt"];
  }
}

TEST_F(TinyStories, ScoresPairsAsTheReferenceDoes) {
  for (const json& pair : reference_["pairs"]) {
    auto ids = pair["context_ids"].get<std::vector<int>>();
    const auto targets = pair["continuation_ids"].get<std::vector<int>>();
    ids.insert(ids.end(), targets.begin(), targets.end() - 1);
    Sequences sequences(*runner_);
    const Sequences::Scored scored = sequences.score(sequences.open(ids.size()), ids, targets);
    double total = 0;
    for (const float logprob : scored.logprobs) total += static_cast<double>(logprob);
    EXPECT_NEAR(total, pair["logprob"].get<double>(), 1e-3) << pair["context"];
    EXPECT_EQ(scored.best == targets, pair["is_greedy"].get<bool>()) << pair["context"];
  }
}

}  // namespace
}  // namespace orch::model
