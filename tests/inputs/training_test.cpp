// What trainings learn from is looked at before anything is submitted.
#include "inputs/training.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/digest.h"
#include "inputs/inputs.h"
#include "planner/work.h"
#include "support/source_dir.h"
#include "support/temporary.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kGood = R"({"instruction": "Say hello.", "output": "Hello."})"
                          "\n";

class Training : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    fs::create_directories((data_ / name).parent_path());
    std::ofstream(data_ / name) << text;
  }

  struct Seen {
    bool planned = false;
    std::vector<std::string> problems;  ///< `file:line: what`, without the folder
    std::vector<std::string> keys;
    std::vector<std::string> rejected;  ///< `rule: reason`
    std::vector<double> steps;
  };
  Seen look(const std::string& tasks, const std::string& settings) {
    Diagnostics diagnostics;
    Planned planned;
    const fs::path source = test::source_dir();
    Sources sources;
    sources.data = {source / "db/catalog",   source / "policies", source / "templates",
                    source / "docs/schemas", source / "examples", source / "db/tasks"};
    planned.catalog = load_catalog(sources, diagnostics);
    planned.policy = *load_policy(sources, "", diagnostics);
    planned.cluster = *load_cluster(sources, "h100x8", "", planned.catalog, diagnostics);
    planned.data = data_;
    planned.digests = known_;
    const auto root = parse_yaml("name: m\nkind: train\nmodels: [tinyllama_1b]\ntasks: " + tasks +
                                     "\nsettings: {engine: native" + settings + "}\n",
                                 "m.yaml", diagnostics);
    Seen seen;
    seen.planned = plan_matrix(planned, *root, "m.yaml", diagnostics);
    const std::string folder = data_.string() + "/";
    for (const Problem& problem : diagnostics.errors()) {
      std::string text = problem.place.file + ":" + std::to_string(problem.place.line) + ": " + problem.what;
      if (const auto at = text.find(folder); at != std::string::npos) text.erase(at, folder.size());
      seen.problems.push_back(std::move(text));
    }
    if (!seen.planned) return seen;
    for (const matrix::Cell& cell : planned.expansion.cells) {
      seen.keys.push_back(to_hex(cell.key));
      seen.steps.push_back(planner::units_of_work(cell, planned.expansion.settings[cell.settings], *planned.site));
    }
    for (const matrix::Rejection& row : planned.plan.rejected) seen.rejected.push_back(row.rule + ": " + row.reason);
    return seen;
  }

  test::TemporaryFolder folder_;
  const fs::path data_ = folder_.path() / "data", known_ = folder_.path() / "weights.json";
};

TEST_F(Training, OnDataThatIsNotThereIsRejectedWithWhereItWasLookedFor) {
  const Seen seen = look("[sft_instruct]", "");
  EXPECT_THAT(seen.keys, IsEmpty());
  ASSERT_THAT(seen.rejected, SizeIs(1));
  EXPECT_THAT(seen.rejected[0],
              AllOf(HasSubstr("data: the data of task 'sft_instruct' is not there: "),
                    HasSubstr("/sft_instruct.jsonl, "), HasSubstr("/databricks/databricks-dolly-15k.json")));
  EXPECT_THAT(look("[sft_instruct]", ", data: mine").rejected[0],
              AllOf(HasSubstr("the data set 'mine' is not there"), HasSubstr("/mine, "), HasSubstr("/mine.jsonl, ")));
}

TEST_F(Training, IsFoundByTaskByIdByNameAndByPath) {
  put("databricks/databricks-dolly-15k.jsonl", kGood);
  const Seen by_id = look("[sft_instruct]", "");
  ASSERT_THAT(by_id.keys, SizeIs(1));
  put("sft_instruct.jsonl", kGood + kGood);
  const Seen by_task = look("[sft_instruct]", "");
  EXPECT_NE(by_task.keys, by_id.keys) << "the task's own file goes before that of its id";
  put("mine.json", "[" + kGood.substr(0, kGood.size() - 1) + "]");
  EXPECT_THAT(look("[sft_instruct]", ", data: mine").keys, SizeIs(1));
  EXPECT_THAT(look("[sft_instruct]", ", data: " + (data_ / "mine.json").string()).keys, SizeIs(1));
}

TEST_F(Training, OnOtherBytesIsAnotherCell) {
  put("sft_instruct.jsonl", kGood);
  const Seen first = look("[sft_instruct]", "");
  ASSERT_THAT(first.keys, SizeIs(1));
  put("sft_instruct.jsonl", kGood + kGood);
  const Seen second = look("[sft_instruct]", "");
  EXPECT_NE(second.keys, first.keys);
  put("sft_instruct.jsonl", kGood);
  EXPECT_EQ(look("[sft_instruct]", "").keys, first.keys) << "the same bytes again";
}

TEST_F(Training, OfEachDataSetHasTheStepsOfItsOwnRows) {
  std::string many;
  for (int i = 0; i < 33; ++i) many += kGood;
  put("few.jsonl", kGood + kGood);
  put("many.jsonl", many);
  const Seen seen = look("[sft_instruct]", ", data: [few, many], batch_size: 4, accumulation: 2, epochs: 2");
  // 2 rows twice in batches of 8, and 33 rows twice: 66 / 8, rounded up.
  EXPECT_THAT(seen.steps, ElementsAre(1, 9));
  ASSERT_THAT(seen.keys, SizeIs(2));
}

TEST_F(Training, OnBadRowsIsRefusedWithEachOfThem) {
  put("sft_instruct.jsonl", kGood + "{\"instruction\": \"a\"}\n" + kGood + "no JSON\n" + kGood);
  const Seen seen = look("[sft_instruct]", "");
  EXPECT_FALSE(seen.planned);
  ASSERT_THAT(seen.problems, SizeIs(2));
  EXPECT_THAT(seen.problems[0], testing::StartsWith("sft_instruct.jsonl:2: "));
  EXPECT_THAT(seen.problems[1], testing::StartsWith("sft_instruct.jsonl:4: "));
}

const std::string kRules =
    "rules:\n  - {name: right, kind: equals, weight: 1, take: last_number, field: answer, numeric: true}\n";

TEST_F(Training, OnRewardsNeedsARewardWithWhichItsRowsCanBeJudged) {
  put("grpo_math.jsonl", "{\"prompt\": \"1 + 1\", \"answer\": 2}\n{\"prompt\": \"1 + 2\"}\n");
  const Seen without = look("[grpo_math]", "");
  ASSERT_THAT(without.rejected, SizeIs(1));
  EXPECT_THAT(without.rejected[0], HasSubstr("nothing says what a completion is worth; the setting `reward`"));
  EXPECT_THAT(look("[grpo_math]", ", reward: rules").rejected[0], HasSubstr("the reward 'rules' is not there"));

  put("rules.yaml", kRules);
  const Seen lacking = look("[grpo_math]", ", reward: rules");
  EXPECT_FALSE(lacking.planned);
  ASSERT_THAT(lacking.problems, SizeIs(1));
  EXPECT_THAT(lacking.problems[0], AllOf(testing::StartsWith("grpo_math.jsonl:2: "), HasSubstr("answer")));

  put("grpo_math.jsonl", "{\"prompt\": \"1 + 1\", \"answer\": 2}\n");
  const Seen good = look("[grpo_math]", ", reward: rules");
  ASSERT_THAT(good.keys, SizeIs(1));
  put("rules.yaml", kRules + "  - {kind: ended, weight: 1}\n");
  EXPECT_NE(look("[grpo_math]", ", reward: rules").keys, good.keys) << "what is worth more is another training";

  put("rules.yaml", kRules + "  - {kind: endet, weight: 1}\n");
  const Seen wrong = look("[grpo_math]", ", reward: rules");
  EXPECT_FALSE(wrong.planned);
  ASSERT_THAT(wrong.problems, SizeIs(1));
  EXPECT_THAT(wrong.problems[0], AllOf(testing::StartsWith("rules.yaml:3: "), HasSubstr("ended")));
}

TEST_F(Training, OnRewardsComparesWhatIsNotTheSameEachTime) {
  put("grpo_math.jsonl", "{\"prompt\": \"1 + 1\", \"answer\": 2}\n");
  put("rules.yaml", kRules);
  const Seen good = look("[grpo_math]", ", reward: rules");
  EXPECT_EQ(look("[grpo_math]", ", reward: rules, temperature: 1, iterations: 1").keys, good.keys);
  const Seen warm = look("[grpo_math]", ", reward: rules, temperature: 0.7");
  ASSERT_THAT(warm.keys, SizeIs(1));
  EXPECT_NE(warm.keys, good.keys);
  EXPECT_THAT(look("[grpo_math]", ", reward: rules, temperature: 0").rejected,
              ElementsAre(testing::StartsWith("temperature: it compares completions of a prompt, and at a temperature "
                                              "of 0 they are all the same; say `temperature: 1`")));
}

TEST_F(Training, OnRewardsHasAStepForEachTimeThatWhatWasWrittenIsLearntFrom) {
  std::string rows;
  for (int i = 0; i < 21; ++i) rows += "{\"prompt\": \"1 + 1\", \"answer\": 2}\n";
  put("grpo_math.jsonl", rows);
  put("rules.yaml", kRules);
  const std::string base = ", reward: rules, batch_size: 5, accumulation: 1, epochs: 1";
  // 21 prompts by 5; by 10 at once, of which two steps each have a half; and all of these three times.
  EXPECT_THAT(look("[grpo_math]", base).steps, ElementsAre(5));
  EXPECT_THAT(look("[grpo_math]", base + ", steps_per_generation: 2").steps, ElementsAre(6));
  EXPECT_THAT(look("[grpo_math]", base + ", steps_per_generation: 2, iterations: 3").steps, ElementsAre(18));
}

TEST_F(Training, IsRewardedByAProgramThatMayBeRun) {
  put("grpo_math.jsonl", "{\"prompt\": \"1 + 1\"}\n");
  put("judge", "#!/bin/sh\n");
  EXPECT_THAT(look("[grpo_math]", ", reward: judge").problems,
              ElementsAre(AllOf(testing::StartsWith("judge:"), HasSubstr("nor a program that may be run"))));
  fs::permissions(data_ / "judge", fs::perms::owner_all);
  EXPECT_THAT(look("[grpo_math]", ", reward: judge").keys, SizeIs(1));
  // Or by one that a file has the words of.
  put("words.yaml", "command: [python3, /shared/judge.py]\nlimit: 10min\n");
  EXPECT_THAT(look("[grpo_math]", ", reward: words").keys, SizeIs(1));
  put("words.yaml", "command: [python3, /shared/judge.py]\nlimit: long\n");
  EXPECT_THAT(look("[grpo_math]", ", reward: words").problems, ElementsAre(testing::StartsWith("words.yaml:2: ")));
}

TEST_F(Training, OfImagesIsForCommandsAlone) {
  const Seen seen = look("[image_lora_sdxl]", "");
  EXPECT_THAT(seen.keys, IsEmpty());
}

}  // namespace
}  // namespace orch::inputs
