// A policy as data: nothing is lost on the way out and back, and a difference is shown by its key.
#include "policy/json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "policy/read.h"

namespace orch::policy {
namespace {

using testing::ElementsAre, testing::IsEmpty;
using Json = nlohmann::ordered_json;

/// Every key of a YAML tree, as `limits.per_user.jobs`.
void keys_of(const Yaml& node, const std::string& path, std::vector<std::string>& keys) {
  if (!path.empty()) keys.push_back(path);
  for (const Yaml::Entry& entry : node.entries) keys_of(entry.value, path + "/" + entry.key, keys);
  for (std::size_t i = 0; i < node.items.size(); ++i) keys_of(node.items[i], path + "/" + std::to_string(i), keys);
}

std::string everything() {
  return small_policy() +
         "description: with every key there is\n"
         "limits: {per_user: {jobs: 3, gpus: 16, gpu_hours: 99.5, queued: 7}, per_sweep: {jobs: 4, gpus: 17, "
         "gpu_hours: 0.25, "
         "queued: 8}}\n"
         "tournament: {text_weight: 0.7, image_weight: 0.3, bonus_per_entry: 0.01, bonus_most: 0.02, boss_margin: "
         "0.03, "
         "best_of: 5}\n";
}

constexpr char kTraining[] =
    "training:\n"
    "  sizes:\n"
    "    small: {rank: 8, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
    "    medium: {rank: 9, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
    "    large: {rank: 10, alpha: 16, dropout: 0, learning_rate: 1e-3, batch_size: 2, accumulation: 3}\n"
    "    xlarge: {rank: 11, alpha: 17, dropout: 0.5, learning_rate: 2e-3, batch_size: 4, accumulation: 5}\n"
    "  tasks: {grpo: {rank: 2, learning_rate: 0.5}}\n"
    "  full_rate: 0.2\n"
    "  sequence: 4096\n"
    "  ema_decay: 0.5\n";

std::string with_all_optional_keys() {
  std::string text = everything() + kTraining;
  text = with(text, "backfill: 4h",
              "backfill: 4h, piece_least: 5min, load_worth: 0.3, idle_load_worth: 0.4, idle_worth: 0.1, small_gpus: 4, "
              "batch_least: 16, rate_least: 20, efficiency_worth: 2, own_use_worth: 3, command_time: 30min");
  text = with(text, "success: {strength: 10}", "success: {strength: 12, prior: {llama: 0.8, llama/grpo: 0.7}}");
  return with(text, "acceptance: {}",
              "acceptance: {task_types: [grpo], families: [llama, falcon], max_duration: 90.5s, min_score: 0.11}");
}

TEST(PolicyJson, HoldsEveryKeyOfTheFileWithItsValue) {
  const std::string text = with_all_optional_keys();
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "p.yaml", diagnostics);
  ASSERT_TRUE(root);
  const auto policy = read_policy(*root, "p.yaml", diagnostics);
  ASSERT_TRUE(policy) << diagnostics.errors().front().what;
  const Json json = to_json(*policy);
  std::vector<std::string> keys;
  keys_of(*root, "", keys);
  ASSERT_GT(keys.size(), 80u);
  for (std::string key : keys) {
    // `llama/grpo` is a key with a slash, which a JSON pointer writes as ~1.
    if (key == "/success/prior/llama/grpo") key = "/success/prior/llama~1grpo";
    EXPECT_TRUE(json.contains(Json::json_pointer(key))) << key;
  }
  EXPECT_EQ(json["success"]["prior"]["llama/grpo"], 0.7);
  EXPECT_EQ(json["acceptance"]["max_duration"], "90.5s");
  EXPECT_EQ(json["time"]["horizon"], "72000s");
  EXPECT_EQ(json["limits"]["per_sweep"]["gpu_hours"], 0.25);
  EXPECT_EQ(json["tournament"]["best_of"], 5);
  EXPECT_EQ(json["planning"]["command_time"], "1800s");
  EXPECT_EQ(json["planning"]["idle_load_worth"], 0.4);
  EXPECT_EQ(json["training"]["sizes"]["xlarge"]["alpha"], 17);
  EXPECT_EQ(json["training"]["tasks"].dump(), R"({"grpo":{"rank":2.0,"learning_rate":0.5}})");
  EXPECT_EQ(json["training"]["ema_decay"], 0.5);
  EXPECT_EQ(json["remedies"]["gpu_memory"][0].dump(), R"({"smaller_batch":2,"factor":0.5})");
  EXPECT_EQ(json["remedies"]["node_failure"][0].dump(), R"({"retry":1})");
}

TEST(PolicyJson, IsItselfAPolicyFileThatReadsAsTheSame) {
  std::vector<Policy> policies = {shipped("default"), shipped("tournament"), shipped("fastest")};
  const Reading whole = read_text(with_all_optional_keys());
  ASSERT_TRUE(whole.policy);
  policies.push_back(*whole.policy);
  for (const Policy& policy : policies) {
    const std::string text = to_json(policy).dump();
    const Reading again = read_text(text);
    ASSERT_TRUE(again.policy) << policy.name << ": " << again.diagnostics.errors().front().what;
    EXPECT_EQ(to_json(*again.policy).dump(), text);
    EXPECT_THAT(changes(policy, *again.policy), IsEmpty());
    EXPECT_EQ(again.policy->weights, policy.weights);
    EXPECT_EQ(again.policy->families, policy.families);
    EXPECT_EQ(again.policy->success_priors, policy.success_priors);
    EXPECT_EQ(again.policy->acceptance.max_duration, policy.acceptance.max_duration);
  }
}

TEST(PolicyChanges, BetweenAPolicyAndItselfAreNone) {
  EXPECT_THAT(changes(shipped("tournament"), shipped("tournament")), IsEmpty());
}

TEST(PolicyChanges, FromDefaultToFastestAreOneKey) {
  EXPECT_THAT(changes(shipped("default"), shipped("fastest")),
              ElementsAre(Change{"planning.prefer", "smallest", "fastest"}));
}

TEST(PolicyChanges, NameWhatWasChangedAddedAndTakenAway) {
  const Policy a = *read_text(small_policy()).policy;
  Policy b = a;
  b.name = "another";
  b.description = "names decide nothing";
  b.weights[0] = 0.3;
  b.families.erase("falcon");
  b.families["qwen"] = 0.85;
  b.acceptance.task_types = {"grpo", "dpo"};
  b.per_sweep.gpu_hours = 800;
  b.remedies[Cause::kNan] = {{Remedy::kLowerRate, 2, 0.5}, {Remedy::kGiveUp, 1, 1}};
  b.drain_signal = 60;
  EXPECT_THAT(changes(a, b),
              ElementsAre(Change{"weights.task_weight", "0.35", "0.3"}, Change{"families.falcon", "0.5", "-"},
                          Change{"remedies.nan", "[give_up]", "[{lower_rate: 2, factor: 0.5}, give_up]"},
                          Change{"drain_signal", "120s", "60s"}, Change{"families.qwen", "-", "0.85"},
                          Change{"acceptance.task_types", "-", "[grpo, dpo]"},
                          Change{"limits.per_sweep.gpu_hours", "-", "800.0"}));
}

}  // namespace
}  // namespace orch::policy
