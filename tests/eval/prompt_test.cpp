#include "eval/prompt.h"

#include <gmock/gmock.h>

#include "base/digest.h"
#include "eval/evaluation.h"
#include "import.h"

namespace orch::eval {
namespace {

using test::imported_data;
using test::imported_rows;
using test::recorded;
using test::shipped_task;
using testing::HasSubstr;

/// What goes into the digests that scripts/record-eval-prompts makes.
std::vector<std::string> texts_of(const Request& request) {
  if (const auto* likelihood = std::get_if<LogLikelihood>(&request.what))
    return {likelihood->context, likelihood->continuation};
  const auto& generation = std::get<Generation>(request.what);
  std::vector<std::string> texts{generation.prompt};
  texts.insert(texts.end(), generation.stop.begin(), generation.stop.end());
  return texts;
}

/// Of the recorded sets over `data`, asks all questions and compares every byte.
void compare(const std::string& data, const std::filesystem::path& folder, std::size_t least_sets) {
  std::size_t sets = 0;
  const Json all = recorded("prompts.json");
  for (const Json& set : all["sets"]) {
    if (set["data"] != data) continue;
    ++sets;
    SCOPED_TRACE(set["name"].get<std::string>());
    AskSettings settings;
    settings.shots = set["shots"].get<int>();
    const Scorers scorers{{"code", {}}};
    const auto evaluation = Evaluation::open(shipped_task(set["task"]), folder, settings, scorers);
    ASSERT_TRUE(evaluation) << evaluation.error().what;
    const Questions& questions = evaluation->questions();
    std::map<std::string, std::string> bytes;
    std::map<std::string, std::size_t> counts;
    std::vector<std::vector<std::string>> first;
    for (std::size_t sample = 0; sample < questions.size(); ++sample) {
      const auto requests = questions.requests(sample);
      ASSERT_TRUE(requests) << requests.error().what;
      for (const Request& request : *requests) {
        const std::vector<std::string> texts = texts_of(request);
        if (first.size() < set["first"].size()) first.push_back(texts);
        for (const std::string& text : texts)
          bytes[questions.group(sample)] += std::to_string(text.size()) + ":" + text;
        ++counts[questions.group(sample)];
      }
    }
    EXPECT_EQ(Json(first), set["first"]);
    ASSERT_EQ(counts.size(), set["groups"].size());
    for (const auto& [group, expected] : set["groups"].items()) {
      EXPECT_EQ(counts[group], expected["requests"]) << group;
      EXPECT_EQ(to_hex(sha256(bytes[group])), expected["sha256"]) << group;
    }
  }
  EXPECT_GE(sets, least_sets);
}

TEST(Prompts, AreByteForByteThoseOfTheHarnessOnAllOfTheRealData) {
  ORCH_NEEDS_TEST_DATA();
  compare("shared", imported_data(), 6);
}

TEST(Prompts, AreByteForByteThoseOfTheHarnessOnRowsOfTheOtherTasks) { compare("rows", imported_rows(), 9); }

Task task_of(const std::string& text) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "t.yaml", diagnostics);
  const auto task = root ? read_task(*root, "t.yaml", {}, diagnostics) : std::nullopt;
  if (task) return *task;
  std::ostringstream shown;
  diagnostics.print(shown);
  throw std::runtime_error(shown.str());
}

const char* const kSums = R"(
task: sums
kind: generate
data: sums.jsonl
description: "Add.\n\n"
prompt: "{{a}} + {{b}} ="
target: "{{a + b}}"
shots: {count: 1, examples: [{a: 1, b: 2}, {a: 2, b: 2}]}
generation: {stop: ["\n"], repeats: 2}
metrics: [exact_match]
)";

Questions questions_of(const std::string& text, AskSettings settings = {}) {
  auto made = Questions::make(task_of(text), {{{"a", 4}, {"b", 5}}, {{"a", 7}, {"b", 7}}}, {}, std::move(settings));
  if (!made) throw std::runtime_error(made.error().what);
  return std::move(*made);
}

TEST(Prompts, PutTogetherDescriptionExamplesAndQuestion) {
  const auto requests = questions_of(kSums).requests(1);
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ(std::get<Generation>((*requests)[0].what).prompt, "Add.\n\n1 + 2 = 3\n\n7 + 7 =");
  EXPECT_EQ((*requests)[1].id, (RequestId{1, 1}));
}

TEST(Prompts, OfACellSettingHaveItsExamplesAndItsPrefix) {
  AskSettings settings;
  settings.shots = 2;
  settings.prefix = "Be brief.";
  const auto requests = questions_of(kSums, settings).requests(0);
  EXPECT_EQ(std::get<Generation>((*requests)[0].what).prompt, "Be brief.\n\nAdd.\n\n1 + 2 = 3\n\n2 + 2 = 4\n\n4 + 5 =");
}

TEST(Prompts, AreFewerWhereThereIsALimit) {
  AskSettings settings;
  settings.limit = 1;
  EXPECT_EQ(questions_of(kSums, settings).size(), 1u);
}

TEST(Prompts, OfAChatAreTurnsWithNothingBetweenThem) {
  AskSettings settings;
  std::vector<std::string> seen;
  settings.chat = [&](std::span<const Message> messages, bool goes_on) -> Result<std::string> {
    for (const Message& message : messages) seen.push_back(message.role + ":" + message.content);
    EXPECT_FALSE(goes_on);
    return std::string("<chat>");
  };
  const auto requests = questions_of(kSums, settings).requests(0);
  EXPECT_EQ(std::get<Generation>((*requests)[0].what).prompt, "<chat>");
  EXPECT_THAT(seen, testing::ElementsAre("system:Add.\n\n", "user:1 + 2 =", "assistant:3", "user:4 + 5 ="));
}

TEST(Prompts, HaveSeedsThatDependOnTheQuestionAndNotOnWhatWasAskedBefore) {
  AskSettings settings;
  settings.seed = 3;
  const Questions questions = questions_of(kSums, settings);
  const auto late = questions.requests(1);
  std::set<std::uint64_t> seeds;
  const auto early = questions.requests(0);
  const auto again = questions.requests(1);
  for (const auto* requests : {&*late, &*early})
    for (const Request& request : *requests) seeds.insert(std::get<Generation>(request.what).seed);
  EXPECT_EQ(seeds.size(), 4u);
  EXPECT_EQ(std::get<Generation>((*again)[0].what), std::get<Generation>((*late)[0].what));
}

TEST(Prompts, SayWhichQuestionCannotBeWrittenAndWhy) {
  const auto made = Questions::make(task_of(kSums), {{{"a", 4}}}, {}, {});
  const auto requests = made->requests(0);
  ASSERT_FALSE(requests);
  EXPECT_THAT(requests.error().what, HasSubstr("task 'sums', question 1: "));
  EXPECT_THAT(requests.error().what, HasSubstr("'b'"));
}

TEST(Prompts, AreRefusedWhereThereAreTooFewExamples) {
  AskSettings settings;
  settings.shots = 3;
  const auto made = Questions::make(task_of(kSums), {{{"a", 4}, {"b", 5}}}, {}, settings);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().what, HasSubstr("3 worked examples are asked for, and there are 2"));
}

}  // namespace
}  // namespace orch::eval
