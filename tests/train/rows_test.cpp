#include "train/rows.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/temporary.h"
#include "support/test_data.h"
#include "train/records.h"
#include "train/strict_json.h"

namespace orch::train {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;
using enum RowKind;

struct Read {
  std::vector<Row> rows;
  std::vector<std::string> problems;  ///< `line:column: what`
};

Read read(const std::string& text, RowKind kind) {
  Read read;
  Diagnostics diagnostics;
  std::istringstream file(text);
  read_rows(file, "d.jsonl", kind, diagnostics, [&](Row row) { read.rows.push_back(std::move(row)); });
  for (const Problem& problem : diagnostics.errors())
    read.problems.push_back(std::to_string(problem.place.line) + ":" + std::to_string(problem.place.column) + ": " +
                            problem.what);
  return read;
}

/// What is wrong with the one row in `text`.
std::string fault(const std::string& text, RowKind kind) {
  const Read it = read(text, kind);
  if (it.problems.size() != 1 || !it.rows.empty())
    return std::to_string(it.problems.size()) + " problems, " + std::to_string(it.rows.size()) + " rows";
  return it.problems[0];
}

template <class What>
What the_one(const std::string& text, RowKind kind) {
  const Read it = read(text, kind);
  EXPECT_THAT(it.problems, IsEmpty());
  if (it.rows.size() != 1 || !std::holds_alternative<What>(it.rows[0].what)) {
    ADD_FAILURE() << "there are " << it.rows.size() << " rows, or the row is another";
    return {};
  }
  return std::get<What>(it.rows[0].what);
}

const std::string kUser = R"({"role": "user", "content": "2 + 2?"})";
const std::string kAnswer = R"({"role": "assistant", "content": "4"})";
const std::string kWrong = R"({"role": "assistant", "content": "5"})";

TEST(Rows, AreReadLineByLineAndBlankLinesArePassedOver) {
  const Read it = read("{\"text\": \"a\"}\n\n  \t\r\n {\"text\": \"b\\nc\", \"id\": 7}\r\n{\"text\":\"d\"}", kText);
  EXPECT_THAT(it.problems, IsEmpty());
  ASSERT_EQ(it.rows.size(), 3U);
  EXPECT_EQ(it.rows[0].line, 1);
  EXPECT_EQ(it.rows[1].line, 4);
  EXPECT_EQ(std::get<Text>(it.rows[1].what).text, "b\nc");
  EXPECT_EQ(it.rows[2].line, 5);
}

TEST(Rows, OfOneArrayKnowTheirLines) {
  const Read it =
      read("\xEF\xBB\xBF\n[\n  {\n    \"text\": \"a ] , } \\\" [\"\n  },\n  {\"text\": \"b\"},{\"text\": \"c\"}\n]\n",
           kText);
  EXPECT_THAT(it.problems, IsEmpty());
  ASSERT_EQ(it.rows.size(), 3U);
  EXPECT_EQ(it.rows[0].line, 3);
  EXPECT_EQ(std::get<Text>(it.rows[0].what).text, "a ] , } \" [");
  EXPECT_EQ(it.rows[1].line, 6);
  EXPECT_EQ(it.rows[2].line, 6);
}

TEST(Rows, OfAnArrayAreGivenThoughOthersAreBad) {
  const Read it =
      read("[{\"text\": \"a\"},\n {\"text\": 3},\n 17,\n {\"text\": \"b\"}\n  ,, {\"text\": \"c\"}]", kText);
  EXPECT_EQ(it.rows.size(), 3U);
  EXPECT_THAT(it.problems,
              ElementsAre("2:2: 'text': expected a text, found a number", "3:2: expected an object, found a number",
                          "5:4: expected a row, found a comma"));
}

TEST(Rows, OfABrokenArrayEndInAnErrorAtThatPlace) {
  EXPECT_THAT(read("[{\"text\": \"a\"}", kText).problems,
              ElementsAre("1:15: the file ends within its array: expected , or ]"));
  EXPECT_THAT(read("[{\"text\": \"a\"},]", kText).problems,
              ElementsAre("1:16: expected a row behind the comma, found ]"));
  EXPECT_THAT(read("[{\"text\": \"a\"}]\nx", kText).problems,
              ElementsAre("2:1: expected the file's end behind its array"));
  EXPECT_THAT(read("[{\"text\": \"a\"\n}}, {\"text\": \"b\"}]", kText).problems,
              ElementsAre(StartsWith("2:2: not sound JSON")));
}

TEST(Rows, OfInstructionsHaveFourForms) {
  const auto alpaca =
      the_one<Instruction>(R"({"instruction": "Add.", "input": "2, 2", "output": "4", "answer": 4})", kInstruction);
  EXPECT_EQ(alpaca.instruction, "Add.");
  EXPECT_EQ(alpaca.input, "2, 2");
  EXPECT_EQ(alpaca.output, "4");
  EXPECT_EQ(the_one<Instruction>(R"({"instruction": "Add.", "input": null, "output": "4"})", kInstruction).input, "");

  const auto plain = the_one<Completion>(R"({"prompt": "2 + 2 =", "completion": " 4"})", kInstruction);
  EXPECT_EQ(plain.prompt.text, "2 + 2 =");
  EXPECT_EQ(plain.completion.text, " 4");
  EXPECT_FALSE(plain.prompt.is_chat());

  const auto chat =
      the_one<Completion>(R"({"prompt": [)" + kUser + R"(], "completion": [)" + kAnswer + "]}", kInstruction);
  EXPECT_EQ(chat.prompt.messages, (Messages{{"user", "2 + 2?", ""}}));
  EXPECT_EQ(chat.completion.messages, (Messages{{"assistant", "4", ""}}));

  const auto talk = the_one<Conversation>(R"({"messages": [)" + kUser + "," + kAnswer + "]}", kInstruction);
  EXPECT_EQ(talk.messages, (Messages{{"user", "2 + 2?", ""}, {"assistant", "4", ""}}));
}

TEST(Rows, WithSeveralFormsAreReadByTheFirst) {
  // ultrachat_200k has the first message as a text beside all of them.
  the_one<Conversation>(R"({"prompt": "2 + 2?", "messages": [)" + kUser + "," + kAnswer + "]}", kInstruction);
  the_one<Completion>(R"({"instruction": "i", "output": "o", "prompt": "p", "completion": "c"})", kInstruction);
  // Some publish the Alpaca prompt beside what it is made of.
  the_one<Instruction>(R"({"instruction": "i", "output": "o", "prompt": "Below is i"})", kInstruction);
}

TEST(Rows, KeepWhatMessagesHaveBesidesTheirTexts) {
  const Read it = read(R"({"tools": [{"name": "add"}], "messages": [)" + kUser +
                           R"(, {"role": "assistant", "content": null, "tool_calls": [{"b": 1, "a": 2}]}, )" +
                           R"({"role": "tool", "name": "add", "content": ""}, )" + kAnswer + "]}",
                       kInstruction);
  EXPECT_THAT(it.problems, IsEmpty());
  ASSERT_EQ(it.rows.size(), 1U);
  EXPECT_EQ(it.rows[0].tools, R"([{"name":"add"}])");
  EXPECT_EQ(std::get<Conversation>(it.rows[0].what).messages,
            (Messages{{"user", "2 + 2?", ""},
                      {"assistant", "", R"({"tool_calls":[{"b":1,"a":2}]})"},
                      {"tool", "", R"({"name":"add"})"},
                      {"assistant", "4", ""}}));
}

TEST(Rows, OfPreferencesMayHoldThePromptInBothAnswers) {
  const auto plain = the_one<Preference>(R"({"prompt": "p", "chosen": "c", "rejected": "r"})", kPreference);
  EXPECT_EQ(plain.prompt.text, "p");
  EXPECT_EQ(plain.rejected.text, "r");
  const std::string lists =
      R"("chosen": [)" + kUser + "," + kAnswer + R"(], "rejected": [)" + kUser + "," + kWrong + "]}";
  // ultrafeedback_binarized has the prompt as a text, too.
  for (const std::string& text : {"{" + lists, R"({"prompt": "2 + 2?", )" + lists}) {
    const auto held = the_one<Preference>(text, kPreference);
    EXPECT_EQ(held.prompt.messages, (Messages{{"user", "2 + 2?", ""}}));
    EXPECT_EQ(held.chosen.messages, (Messages{{"assistant", "4", ""}}));
    EXPECT_EQ(held.rejected.messages, (Messages{{"assistant", "5", ""}}));
  }
  const auto beside = the_one<Preference>(
      R"({"prompt": [)" + kUser + R"(], "chosen": [)" + kAnswer + R"(], "rejected": [)" + kWrong + "]}", kPreference);
  EXPECT_EQ(beside.prompt.messages, (Messages{{"user", "2 + 2?", ""}}));
  EXPECT_EQ(beside.chosen.messages, (Messages{{"assistant", "4", ""}}));
}

TEST(Rows, OfPreferencesDoNotTakeAnAnswerForAPrompt) {
  // The assistant says the same first in both.
  const auto it = the_one<Preference>(R"({"chosen": [)" + kUser + "," + kAnswer + R"(], "rejected": [)" + kUser + "," +
                                          kAnswer + "," + kUser + "," + kWrong + "]}",
                                      kPreference);
  EXPECT_THAT(it.prompt.messages, SizeIs(1));
  EXPECT_THAT(it.chosen.messages, SizeIs(1));
  EXPECT_THAT(it.rejected.messages, SizeIs(3));
  const auto longer = the_one<Preference>(R"({"chosen": [)" + kUser + "," + kAnswer + "," + kAnswer +
                                              R"(], "rejected": [)" + kUser + "," + kAnswer + "," + kWrong + "]}",
                                          kPreference);
  EXPECT_THAT(longer.prompt.messages, SizeIs(1));
  EXPECT_THAT(longer.rejected.messages, SizeIs(2));
}

TEST(Rows, OfPromptsKeepAllElseForTheReward) {
  const auto it =
      the_one<Prompt>(R"({"z": [1, 2.5, null], "prompt": "p", "answer": "é\"", "big": 12345678901234567890})", kPrompt);
  EXPECT_EQ(it.prompt.text, "p");
  EXPECT_EQ(it.other, R"({"z":[1,2.5,null],"answer":"é\"","big":12345678901234567890})");
  EXPECT_EQ(the_one<Prompt>(R"({"prompt": [)" + kUser + "]}", kPrompt).other, "{}");
}

TEST(BadRows, AreAllReportedWithTheirLines) {
  const Read it =
      read("{\"text\": \"a\"}\nnonsense\n{\"text\": \"\"}\n[1]\n{}\n{\"text\": \"b\"}\n{\"text\": [\n", kText);
  EXPECT_EQ(it.rows.size(), 2U);
  EXPECT_THAT(
      it.problems,
      ElementsAre(AllOf(StartsWith("2:2: not sound JSON: "), HasSubstr("invalid literal")), "3:1: 'text' is empty",
                  "4:1: expected an object, found a list", "5:1: no field 'text', a text; the row is empty",
                  "7:11: the row's JSON is not whole where it ends: each row is one line, or an element of one array"));
}

TEST(BadRows, SayWhatIsWrongWithEachField) {
  const Read it = read(R"({"prompt": 3, "chosen": "  ", "rejected": {"a": 1}})", kPreference);
  EXPECT_THAT(it.problems,
              testing::UnorderedElementsAre("1:1: 'prompt': expected a text or a list of messages, found a number",
                                            "1:1: 'chosen' is empty",
                                            "1:1: 'rejected': expected a text or a list of messages, found an object"));
}

TEST(BadRows, NameTheNearestFieldAndTheKindTheyLookLike) {
  EXPECT_EQ(
      fault(R"({"prompt": "p", "completions": "c"})", kInstruction),
      "1:1: no field 'completion', a text or a list of messages; did you mean 'completions'? this looks like a row of "
      "kind prompt, and is read as instruction");
  EXPECT_THAT(fault(R"({"text": "t"})", kInstruction),
              EndsWith("this looks like a row of kind text, and is read as instruction"));
  EXPECT_THAT(fault(R"({"prompt": "p", "chosen": "c", "rejected": "r"})", kInstruction),
              EndsWith("this looks like a row of kind preference, and is read as instruction"));
  EXPECT_THAT(fault(R"({"instruction": "p", "output": "c"})", kPrompt),
              EndsWith("this looks like a row of kind instruction, and is read as prompt"));
  EXPECT_EQ(fault(R"({"question": "p", "answer": "c"})", kInstruction),
            "1:1: no field 'messages', nor 'prompt' and 'completion', nor 'instruction' and 'output'; the row has "
            "'question', 'answer'");
  EXPECT_THAT(fault(R"({"conversations": [{"from": "human", "value": "c"}]})", kInstruction),
              EndsWith("'conversations' of 'from' and 'value' are 'messages' of 'role' and 'content' here"));
}

TEST(BadRows, HaveMessagesThatAreNone) {
  const auto of = [](const std::string& messages) { return fault(R"({"messages": )" + messages + "}", kInstruction); };
  EXPECT_EQ(of("\"a\""), "1:1: 'messages': expected a list of messages, found a text");
  EXPECT_EQ(of("[]"), "1:1: 'messages' is empty");
  EXPECT_EQ(of("[" + kUser + ", 3]"),
            "1:1: 'messages', message 2: expected an object with 'role' and 'content', found a number");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": "gpt", "content": "4"}])"),
            "1:1: 'messages', message 2: no role 'gpt'; it is 'assistant' here");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": "asistant", "content": "4"}])"),
            "1:1: 'messages', message 2: no role 'asistant'; did you mean 'assistant'? (system, developer, user, "
            "assistant, tool)");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": 1, "content": "4"}])"),
            "1:1: 'messages', message 2: 'role': expected a text, found a number");
  EXPECT_EQ(of(R"([{"from": "human", "content": "4"}, )" + kAnswer + "]"),
            "1:1: 'messages', message 1 has no 'role'; 'from' and 'value' are 'role' and 'content' here");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": "assistant"}])"), "1:1: 'messages', message 2 has no 'content'");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": "assistant", "content": ""}])"),
            "1:1: 'messages', message 2: 'content' is empty");
  EXPECT_EQ(of("[" + kUser + R"(, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}])"),
            "1:1: 'messages', message 2: 'content': expected a text, found a list");
  EXPECT_EQ(of("[" + kUser + "]"), "1:1: the last of 'messages' has the role 'user', not 'assistant'");
  EXPECT_EQ(of("[" + kAnswer + "]"), "1:1: 'messages' has nothing that the assistant answers");
}

TEST(BadRows, HaveAPromptOrAnAnswerOfTheWrongSpeaker) {
  const auto of = [](const std::string& prompt, const std::string& completion) {
    return fault(R"({"prompt": )" + prompt + R"(, "completion": )" + completion + "}", kInstruction);
  };
  EXPECT_EQ(of("[" + kUser + "," + kAnswer + "]", "[" + kAnswer + "]"),
            "1:1: the last message of 'prompt' is the assistant's, which is to speak behind it");
  EXPECT_EQ(of("[" + kUser + "]", "[" + kUser + "," + kAnswer + "]"),
            "1:1: 'completion' begins with a message of role 'user'; it holds what follows the prompt, so its first is "
            "the assistant's");
  EXPECT_EQ(of("[" + kUser + "]", "[" + kAnswer + "," + kUser + "]"),
            "1:1: the last message of 'completion' has the role 'user', not 'assistant'");
  EXPECT_EQ(of("\"p\"", "[" + kAnswer + "]"),
            "1:1: 'prompt' is a text and 'completion' a list of messages; both have to be the one or the other");
}

TEST(BadRows, PreferNothing) {
  EXPECT_EQ(fault(R"({"prompt": "p", "chosen": "c", "rejected": "c"})", kPreference),
            "1:1: 'chosen' and 'rejected' are the same: there is nothing to prefer");
  const std::string both = "[" + kUser + "," + kAnswer + "]";
  EXPECT_EQ(fault(R"({"chosen": )" + both + R"(, "rejected": )" + both + "}", kPreference),
            "1:1: 'chosen' and 'rejected' are the same: there is nothing to prefer");
  EXPECT_EQ(fault(R"({"chosen": [)" + kAnswer + R"(], "rejected": [)" + kWrong + "]}", kPreference),
            "1:1: no 'prompt', and 'chosen' and 'rejected' begin with no message that they share");
  EXPECT_THAT(fault(R"({"prompt": "p", "chosen": [)" + kAnswer + R"(], "rejected": [)" + kWrong + "]}", kPreference),
              HasSubstr("'prompt' is a text and 'chosen' a list of messages"));
  EXPECT_THAT(fault(R"({"chosen": [)" + kUser + R"(], "rejected": )" + both + "}", kPreference),
              HasSubstr("begin with no message that they share"))
      << "none is left to be the answer";
  EXPECT_THAT(fault(R"({"chosen": "c", "rejected": "r"})", kPreference), StartsWith("1:1: no field 'prompt'"));
}

TEST(BadRows, HaveAKeyTwice) {
  EXPECT_EQ(fault(R"({"text": "a", "text": "b"})", kText), "1:1: not sound JSON: the key 'text' stands there twice");
  EXPECT_EQ(fault(R"({"prompt": "a", "more": {"x": [{"y": 1, "y": 1}]}})", kPrompt),
            "1:1: not sound JSON: the key 'y' stands there twice");
}

TEST(BadRows, AreNotUtf8) {
  // The place is the first byte of what is broken: column 13 is behind {"text": "ab
  EXPECT_EQ(fault("{\"text\": \"ab\xFF\"}", kText), "1:13: the bytes are not UTF-8");
  EXPECT_THAT(fault(R"({"text": "\ud800"})", kText), HasSubstr("not sound JSON"));
}

TEST(BadRows, AreTooLargeOrTooDeep) {
  const std::string bomb(1'000'000, '[');
  EXPECT_EQ(fault(R"({"text": )" + bomb, kText), "1:1: not sound JSON: nested more than 64 deep");
  EXPECT_THAT(read(bomb, kText).problems, ElementsAre("1:1000001: the file ends within its array: expected , or ]"));
  const std::string huge(Records::kMostBytes, 'x');
  const Read it = read("{\"text\": \"a\"}\n{\"text\": \"" + huge + "\"}\n{\"text\": \"b\"}\n", kText);
  EXPECT_EQ(it.rows.size(), 2U) << "those before and behind it are read";
  EXPECT_THAT(it.problems, ElementsAre("2:1: a row of more than 16 MiB"));
  // 3 bytes each, in memory thirty times as much.
  std::string many = R"({"prompt": "p", "x": [{})";
  for (int i = 0; i < 1'000'000; ++i) many += ",{}";
  EXPECT_EQ(fault(many + "]}", kPrompt), "1:1: not sound JSON: more than 1000000 values");
}

// A hundred thousand keys compared with each other would take minutes.
TEST(BadRows, WithManyKeysTakeNoLongerThanOthers) {
  std::string text = R"({"prompt": "p")";
  for (int i = 0; i < 300'000; ++i) text += ",\"k" + std::to_string(i) + "\":0";
  EXPECT_EQ(read(text + "}", kPrompt).rows.size(), 1U);
}

TEST(BadFiles, HaveNoRows) {
  for (const std::string text : {"", "\n \n", "[]", "[ \n ]", "\xEF\xBB\xBF"})
    EXPECT_THAT(read(text, kText).problems, ElementsAre("0:0: has no rows")) << text;
}

TEST(BadFiles, AreNotTextOrNotThere) {
  EXPECT_THAT(read(std::string("PAR1\x15\x00", 6), kText).problems, ElementsAre(HasSubstr("is a Parquet file")));
  EXPECT_THAT(read("\x1F\x8B\x08", kText).problems, ElementsAre(HasSubstr("is packed with gzip")));
  test::TemporaryFolder folder;
  Diagnostics diagnostics;
  EXPECT_FALSE(load_rows(folder / "none.jsonl", kText, diagnostics));
  EXPECT_FALSE(load_rows(folder.path(), kText, diagnostics));
  ASSERT_EQ(diagnostics.errors().size(), 2U);
  EXPECT_EQ(diagnostics.errors()[0].what, "there is no such file");
  EXPECT_EQ(diagnostics.errors()[1].what, "is not a regular file");
}

TEST(Rows, OfAFileAreGivenWholeOrNotAtAll) {
  test::TemporaryFolder folder;
  std::ofstream(folder / "d.jsonl") << "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
  Diagnostics diagnostics;
  const auto rows = load_rows(folder / "d.jsonl", kText, diagnostics);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->size(), 2U);
  std::ofstream(folder / "d.jsonl", std::ios::app) << "{}\n";
  EXPECT_FALSE(load_rows(folder / "d.jsonl", kText, diagnostics));
  EXPECT_EQ(diagnostics.errors()[0].place.line, 3);
}

// A buffer ends within them somewhere.
TEST(Rows, AreTheSameHoweverTheyLieInTheFile) {
  std::string lines, array = "[";
  for (int i = 0; i < 3000; ++i) {
    const std::string row =
        R"({"text": ")" + std::string(static_cast<std::size_t>(i % 97) + 1, 'x') + std::to_string(i) + R"(\\\"é"})";
    lines += row + "\n";
    array += (i > 0 ? ",\n" : "\n") + row;
  }
  const Read one = read(lines, kText), other = read(array + "]", kText);
  ASSERT_EQ(one.rows.size(), 3000U);
  ASSERT_EQ(other.rows.size(), 3000U);
  for (std::size_t i = 0; i < one.rows.size(); ++i) {
    EXPECT_EQ(std::get<Text>(one.rows[i].what).text, std::get<Text>(other.rows[i].what).text);
    EXPECT_EQ(one.rows[i].line, static_cast<int>(i) + 1);
    EXPECT_EQ(other.rows[i].line, static_cast<int>(i) + 2);
  }
}

TEST(Rows, OfPublishedInstructionsAreAllGood) {
  ORCH_NEEDS_TEST_DATA();
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::test_data() / "tasks/commonsense")) {
    if (entry.path().extension() != ".json") continue;
    ++files;
    Diagnostics diagnostics;
    const auto rows = load_rows(entry.path(), kInstruction, diagnostics);
    ASSERT_TRUE(rows) << to_string(diagnostics.errors()[0].place) << ": " << diagnostics.errors()[0].what;
    // nlohmann reads the whole array; each object begins on a line that is a brace alone.
    std::ifstream file(entry.path());
    const auto whole = nlohmann::json::parse(file);
    ASSERT_EQ(rows->size(), whole.size());
    std::ifstream again(entry.path());
    std::vector<int> begins;
    std::string line;
    for (int number = 1; std::getline(again, line); ++number)
      if (line == "    {") begins.push_back(number);
    ASSERT_EQ(begins.size(), whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const auto& row = std::get<Instruction>((*rows)[i].what);
      ASSERT_EQ(row.instruction, whole[i]["instruction"]);
      ASSERT_EQ(row.input, whole[i]["input"]);
      ASSERT_EQ(row.output, whole[i]["output"]);
      ASSERT_EQ((*rows)[i].line, begins[i]);
    }
  }
  EXPECT_EQ(files, 6U);
}

TEST(StrictJson, IsTheTreeThatNlohmannMakes) {
  for (const char* text :
       {"{}", "[]", "null", "-0.0", "1e-320", R"({"b": [1, -2, 3.5, true, null, {"a": {}}], "a": "x\n"})"}) {
    const auto read = parse_strict(text, {});
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(read->dump(), nlohmann::ordered_json::parse(text).dump());
  }
  EXPECT_FALSE(parse_strict("1e999", {}));
  EXPECT_FALSE(parse_strict("{} {}", {}));
}

}  // namespace
}  // namespace orch::train
