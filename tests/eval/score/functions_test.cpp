#include "eval/score/functions.h"

#include <gmock/gmock.h>

#include <fstream>

#include "shown_calls.h"
#include "support/source_dir.h"

namespace orch::eval {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::IsEmpty;

const Json& recorded() {
  static const Json kRecorded =
      Json::parse(std::ifstream(orch::test::source_dir() / "tests/eval/score/data/calls.json"));
  return kRecorded;
}

Judged judged(const Json& one) {
  const Json& task = recorded().at("tasks").at(one.at("task").get<std::string>());
  return judge_calls(*call_task(task.at("category").get<std::string>()), task.at("function"),
                     read_python_calls(one.at("answer").get<std::string>()), task.at("possible"),
                     one.value("dots", false));
}

TEST(FunctionCalls, AreJudgedAsTheLeaderboardsOwnProgramDoes) {
  std::vector<std::string> otherwise;
  for (const Json& one : recorded().at("cases")) {
    const Judged ours = judged(one);
    if (ours.right != one.at("right").get<bool>())
      otherwise.push_back(one.at("answer").get<std::string>() + ": " + (ours.right ? "right" : ours.why));
    EXPECT_EQ(ours.right, ours.why.empty());
  }
  EXPECT_THAT(otherwise, IsEmpty());
  EXPECT_GT(recorded().at("cases").size(), 150U);
}

TEST(FunctionCalls, AreReadAsTheLeaderboardsOwnProgramDoes) {
  for (const Json& one : recorded().at("cases")) {
    const auto calls = read_python_calls(one.at("answer").get<std::string>());
    const Json& theirs = one.at("calls");
    // Numbers and texts of other kinds, and signs before what is no number, are not read here; they are never right.
    if (calls)
      EXPECT_EQ(test::shown(*calls), theirs) << one.at("answer");
    else
      EXPECT_FALSE(one.at("right").get<bool>() && !theirs.is_null() && !theirs.empty()) << one.at("answer");
  }
}

TEST(FunctionCalls, InJsonAreReadInTheFormsThatModelsUse) {
  const std::string expected = R"([["f",{"a":1,"b":[true,null,"x"]}]])";
  for (const char* answer :
       {R"([{"name": "f", "arguments": {"a": 1, "b": [true, null, "x"]}}])",
        R"({"name": "f", "parameters": {"a": 1, "b": [true, null, "x"]}})",
        R"([{"name": "f", "arguments": "{\"a\": 1, \"b\": [true, null, \"x\"]}"}])",
        R"([{"f": {"a": 1, "b": [true, null, "x"]}}])", R"({"f": "{\"a\": 1, \"b\": [true, null, \"x\"]}"})"}) {
    const auto calls = read_json_calls(answer);
    ASSERT_TRUE(calls) << answer << calls.error().what;
    EXPECT_EQ(test::shown(*calls).dump(), expected) << answer;
  }
  EXPECT_EQ(test::shown(*read_json_calls(R"([{"name": "f"}, {"g": {}}])")).dump(), R"([["f",{}],["g",{}]])");
  for (const char* answer :
       {"", "f(a=1)", "[1]", "[{}]", R"({"a": {}, "b": {}})", R"({"name": "f", "arguments": [1]})",
        R"({"name": "f", "arguments": "no"})", R"([{"name": "f", "arguments": {"a": 99999999999999999999}}])"})
    if (const auto calls = read_json_calls(answer); calls)
      // The number is read as one with a point, as JSON has only one kind.
      EXPECT_THAT(answer, HasSubstr("99999999999999999999"));
}

TEST(FunctionCalls, OfTooManyLevelsOrTooLongNumbersAreNotRead) {
  const auto nested = [](std::size_t levels) {
    return "f(a=" + std::string(levels, '[') + std::string(levels, ']') + ")";
  };
  EXPECT_TRUE(read_python_calls(nested(50)));
  for (const std::string& text :
       {nested(200), "f(a=" + std::string(100000, '(') + ")", "f(a=" + std::string(100000, '-') + "1)",
        "f(a=1" + std::string(100000, '[') + ")", "f(a=" + std::string(50000, '{') + ")", std::string(100000, '('),
        std::string("f(a=99999999999999999999)"), std::string("f(a=9**99)"), std::string("f(a=2**(2**(2**60)))"),
        std::string("f(a=1/0)"), std::string("f(a=1e999)"), std::string("f(a=9223372036854775807+1)")})
    EXPECT_FALSE(read_python_calls(text)) << text.substr(0, 40);
}

TEST(FunctionCalls, SayWhatIsWrongWithThem) {
  const auto why = [](const char* task, const char* answer) {
    return judged({{"task", task}, {"answer", answer}}).why;
  };
  EXPECT_EQ(why("weather", "weather.get(days=2)"), "the argument 'city' is missing");
  EXPECT_EQ(why("weather", "other(city='NYC')"), "it calls 'other', not 'weather.get'");
  EXPECT_EQ(why("weather", "weather.get(city='NYC', days='2')"),
            "the argument 'days' is of another type than 'integer'");
  EXPECT_EQ(why("weather", "weather.get(city='Oslo', days=2)"), "the argument 'city' has another value");
  EXPECT_EQ(why("weather", "weather.get(city='NYC', days=2), f()"), "it has 2 calls, not 1");
  EXPECT_EQ(why("irrelevant", "f()"), "it calls a function, and none helps");
  EXPECT_THAT(why("weather", "I cannot"), HasSubstr("no function calls: "));
}

TEST(FunctionCalls, AgainstBrokenDescriptionsAreWrongAndNothingElse) {
  const auto calls = read_python_calls("f(a=1)");
  for (const char* functions : {"null", "[]", "[1]", "[{}]", R"([{"name": 1, "parameters": {}}])", R"([{"name": "f"}])",
                                R"([{"name": "f", "parameters": {"properties": 1}}])",
                                R"([{"name": "f", "parameters": {"properties": {"a": {"type": 3}}}}])",
                                R"([{"name": "f", "parameters": {"properties": {"a": {"type": "array"}}}}])"})
    for (const char* possible :
         {"null", "[]", "[1]", "[{}]", R"([{"f": 1}])", R"([{"f": {"a": 1}}])", R"([{"f": {"a": [1]}}])"})
      for (const CallTask task : {CallTask::kSimple, CallTask::kMultiple, CallTask::kParallel})
        EXPECT_FALSE(judge_calls(task, Json::parse(functions), calls, Json::parse(possible)).right)
            << functions << possible;
}

TEST(FunctionCalls, OfCategoriesThatAreNotJudgedAreRefusedByName) {
  for (const char* name : {"simple", "simple_python", "live_simple"})
    EXPECT_EQ(*call_task(name), CallTask::kSimple) << name;
  EXPECT_EQ(*call_task("live_multiple"), CallTask::kMultiple);
  EXPECT_EQ(*call_task("parallel_multiple"), CallTask::kParallel);
  EXPECT_EQ(*call_task("live_irrelevance"), CallTask::kIrrelevance);
  EXPECT_EQ(*call_task("live_relevance"), CallTask::kRelevance);
  for (const char* name : {"simple_java", "simple_javascript", "multi_turn_base", "memory", ""})
    EXPECT_FALSE(call_task(name)) << name;
}

}  // namespace
}  // namespace orch::eval
