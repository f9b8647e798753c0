// Tokens and marks of rows: worked by hand with a tokenizer whose words are its tokens, and against what transformers
// gives (tests/texts/data/samples.json, recorded by scripts/record-samples).
#include "texts/samples.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "support/source_dir.h"
#include "support/temporary.h"
#include "support/test_data.h"
#include "tokenizer/files.h"

namespace orch::texts {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using train::RowKind;

using Ids = std::vector<std::int32_t>;
using Marks = std::vector<std::uint8_t>;

// Words are tokens: <s> 0, </s> 1, <|user|> 2, <|assistant|> 3, <|end|> 4, and one to twelve 11 to 22. What is not
// known is 9.
tokenizer::Tokenizer words(const json& post_processor, const json& specials) {
  json vocabulary = {{"<s>", 0}, {"</s>", 1}, {"<|user|>", 2}, {"<|assistant|>", 3}, {"<|end|>", 4}, {"<unk>", 9}};
  const char* const names[] = {"one",   "two",   "three", "four", "five",   "six",
                               "seven", "eight", "nine",  "ten",  "eleven", "twelve"};
  for (int i = 0; i < 12; ++i) vocabulary[names[i]] = 11 + i;
  json added = json::array();
  for (const char* token : {"<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"})
    added.push_back({{"id", vocabulary[token]},
                     {"content", token},
                     {"special", true},
                     {"normalized", false},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false}});
  const test::TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json")
      << json{{"version", "1.0"},
              {"added_tokens", added},
              {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
              {"post_processor", post_processor},
              {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  std::ofstream(folder / "tokenizer_config.json") << specials;
  return test::opened(folder.path());
}

json around(const std::vector<std::string>& before, const std::vector<std::string>& behind) {
  json single = json::array(), special = json::object();
  const auto add = [&](const std::string& token) {
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", {token == "<s>" ? 0 : 1}}, {"tokens", {token}}};
  };
  for (const std::string& token : before) add(token);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const std::string& token : behind) add(token);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", single}, {"special_tokens", special}};
}

const json kSpecials = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};

tokenizer::Tokenizer words() { return words(around({"<s>"}, {}), kSpecials); }

model::ChatTemplate chat(const std::string& text) {
  auto parsed = model::ChatTemplate::parse(text, "t.jinja", {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (!parsed) throw std::runtime_error(parsed.error().what);
  return *std::move(parsed);
}

// Every message as `<|role|> words </s>`.
const std::string kPlainTemplate =
    "{{ bos_token }}{% for m in messages %} <|{{ m.role }}|> {{ m.content }} </s>{% endfor %}"
    "{% if add_generation_prompt %} <|assistant|>{% endif %}";
// The same, with the assistant's words and their end marked.
const std::string kMarkedTemplate =
    "{{ bos_token }}{% for m in messages %} <|{{ m.role }}|> {% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }} </s>{% endgeneration %}{% else %}{{ m.content }} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} <|assistant|>{% endif %}";

train::Row row_of(const std::string& text, RowKind kind) {
  Diagnostics diagnostics;
  std::optional<train::Row> row;
  std::istringstream file(text);
  train::read_rows(file, "d.jsonl", kind, diagnostics, [&](train::Row it) { row = std::move(it); });
  if (!row || !diagnostics.ok()) throw std::runtime_error(text + ": " + diagnostics.errors()[0].what);
  return *std::move(row);
}
train::Row instruction_row(const std::string& text) { return row_of(text, RowKind::kInstruction); }

std::string message(const std::string& role, const std::string& content) {
  return R"({"role": ")" + role + R"(", "content": ")" + content + "\"}";
}
const std::string kOneTwo = message("user", "one two"), kFive = message("assistant", "five six");

/// A maker, and what it reports.
struct Bench {
  Bench(tokenizer::Tokenizer tokenizer, const model::ChatTemplate* chat, std::int64_t sequence = 100)
      : maker(*SampleMaker::make(std::move(tokenizer), chat, {sequence, 0}, "d.jsonl")) {}

  std::optional<Sample> instruction(const std::string& text) {
    return maker.instruction(instruction_row(text), diagnostics);
  }
  std::string error() {
    const auto problems = diagnostics.errors();
    return problems.size() == 1 ? to_string(problems[0].place) + ": " + problems[0].what
                                : std::to_string(problems.size()) + " errors";
  }

  SampleMaker maker;
  Diagnostics diagnostics;
};

TEST(Samples, OfTextsAreTrainedOnBehindThePromptAndEnd) {
  Bench bench(words(), nullptr);
  const auto sample = bench.instruction(R"({"prompt": "one two ", "completion": "three"})");
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->ids, (Ids{0, 11, 12, 13, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 0, 0, 1, 1}));
  EXPECT_EQ(sample->line, 1);
  // Who writes the end has it once.
  EXPECT_EQ(bench.instruction(R"({"prompt": "one two ", "completion": "three </s>"})")->ids, (Ids{0, 11, 12, 13, 1}));
  EXPECT_EQ(bench.maker.counts(), (SampleCounts{2, 0, 0, 0}));
  EXPECT_THAT(bench.diagnostics.warnings(), IsEmpty());
}

// As BERT's does.
TEST(Samples, HaveNoEndBehindThePromptThoughTheTokenizerPutsOneThere) {
  Bench bench(words(around({"<s>"}, {"</s>"}), kSpecials), nullptr);
  const auto sample = bench.instruction(R"({"prompt": "one two ", "completion": "three"})");
  EXPECT_EQ(sample->ids, (Ids{0, 11, 12, 13, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 0, 0, 1, 1}));
  EXPECT_EQ(bench.maker.counts().uneven, 0);
}

TEST(Samples, AreTrainedOnFromTheFirstTokenThatIsNotThePrompts) {
  Bench bench(words(), nullptr);
  // `t` is unknown, 9; behind it `two` is one word.
  const auto sample = bench.instruction(R"({"prompt": "one t", "completion": "wo three"})");
  EXPECT_EQ(sample->ids, (Ids{0, 11, 12, 13, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 0, 1, 1, 1}));
  bench.instruction(R"({"prompt": "one t", "completion": "wo"})");
  EXPECT_EQ(bench.maker.counts().uneven, 2);
  ASSERT_THAT(bench.diagnostics.warnings(), SizeIs(1)) << "it is said once";
  EXPECT_THAT(bench.diagnostics.warnings()[0].what, HasSubstr("a token covers the prompt's end"));
}

TEST(Samples, NeverTrainOnTheFirstToken) {
  Bench bench(words({}, kSpecials), nullptr);
  const auto sample = bench.instruction(R"({"prompt": "t", "completion": "wo three"})");
  EXPECT_EQ(sample->ids, (Ids{12, 13, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 1, 1}));
}

TEST(Samples, CannotEndWithoutATokenForIt) {
  Bench bench(words(around({"<s>"}, {}), {{"bos_token", "<s>"}}), nullptr);
  EXPECT_FALSE(bench.instruction(R"({"prompt": "one", "completion": " two"})"));
  EXPECT_EQ(bench.error(),
            "d.jsonl:1:1: the tokenizer has no token that ends a text: no answer could be taught to end");
}

TEST(Samples, OfMessagesAreTrainedOnBehindThePromptWhereNothingIsMarked) {
  const auto plain = chat(kPlainTemplate);
  Bench bench(words(), &plain);
  const auto sample = bench.instruction(R"({"prompt": [)" + kOneTwo + R"(], "completion": [)" + kFive + "]}");
  EXPECT_EQ(sample->ids, (Ids{0, 2, 11, 12, 1, 3, 15, 16, 1})) << "what begins it stands there once";
  EXPECT_EQ(sample->trained, (Marks{0, 0, 0, 0, 0, 0, 1, 1, 1}));
  // Of a conversation the last message.
  const auto talk = bench.instruction(R"({"messages": [)" + kOneTwo + "," + kFive + "," + kOneTwo + "," + kFive + "]}");
  EXPECT_EQ(talk->ids, (Ids{0, 2, 11, 12, 1, 3, 15, 16, 1, 2, 11, 12, 1, 3, 15, 16, 1}));
  EXPECT_EQ(talk->trained, (Marks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}));
}

TEST(Samples, OfMessagesAreTrainedOnWhereTheTemplateMarks) {
  const auto marks = chat(kMarkedTemplate);
  Bench bench(words(), &marks);
  const auto talk = bench.instruction(R"({"messages": [)" + kOneTwo + "," + kFive + "," + kOneTwo + "," + kFive + "]}");
  EXPECT_EQ(talk->trained, (Marks{0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1}));
  // What the row calls prompt is none of it.
  const auto last = bench.instruction(R"({"prompt": [)" + kOneTwo + "," + kFive + "," + kOneTwo +
                                      R"(], "completion": [)" + kFive + "]}");
  EXPECT_EQ(last->trained, (Marks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}));
}

TEST(Samples, LeaveOutWhatToolsSayWithinACompletion) {
  const std::string row = R"({"prompt": [)" + kOneTwo + R"(], "completion": [)" + message("assistant", "five") + "," +
                          message("tool", "seven") + "," + message("assistant", "six") + "]}";
  const auto marks = chat(kMarkedTemplate), plain = chat(kPlainTemplate);
  Bench bench(words(), &marks);
  // <|tool|> is unknown.
  EXPECT_EQ(bench.instruction(row)->ids, (Ids{0, 2, 11, 12, 1, 3, 15, 1, 9, 17, 1, 3, 16, 1}));
  EXPECT_EQ(bench.instruction(row)->trained, (Marks{0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1}));
  Bench without(words(), &plain);
  EXPECT_FALSE(without.instruction(row));
  EXPECT_THAT(without.error(), HasSubstr("d.jsonl:1:1: the completion has messages that are not the assistant's"));
}

TEST(Samples, OfInstructionsAreChatsWhereThereIsATemplate) {
  const auto plain = chat(kPlainTemplate);
  Bench bench(words(), &plain);
  const auto sample = bench.instruction(R"({"instruction": "one", "input": "two", "output": "five six"})");
  EXPECT_EQ(sample->ids, (Ids{0, 2, 11, 12, 1, 3, 15, 16, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 0, 0, 0, 0, 0, 1, 1, 1}));
}

TEST(Samples, OfInstructionsAreAlpacasWordsWithoutATemplate) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json") << test::small_document("bytes_qwen2");
  std::ofstream(folder / "tokenizer_config.json") << kSpecials;
  const auto bytes = test::opened(folder.path());
  Bench bench(bytes, nullptr, 10'000);
  const auto texts = [&](const Sample& sample) {
    std::vector<tokenizer::TokenId> asked, said;
    for (std::size_t i = 0; i < sample.ids.size(); ++i)
      (sample.trained[i] ? said : asked).push_back(static_cast<tokenizer::TokenId>(sample.ids[i]));
    return std::pair(*bytes.decode(asked, false), *bytes.decode(said, false));
  };
  const auto without =
      texts(*bench.instruction(R"({"instruction": "Add 2 and 2.", "input": "", "output": "4, sure"})"));
  EXPECT_EQ(
      without.first,
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
      "### Instruction:\nAdd 2 and 2.\n\n### Response:\n");
  EXPECT_EQ(without.second, "4, sure</s>");
  const auto with = texts(*bench.instruction(R"({"instruction": "Add.", "input": "2, 2", "output": "4"})"));
  EXPECT_EQ(
      with.first,
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
      "response that appropriately completes the request.\n\n"
      "### Instruction:\nAdd.\n\n### Input:\n2, 2\n\n### Response:\n");
  EXPECT_EQ(with.second, "4</s>");
}

TEST(Samples, OfMessagesNeedATemplate) {
  Bench bench(words(), nullptr);
  EXPECT_FALSE(
      bench.instruction("\n\n"
                        R"({"messages": [)" +
                        kOneTwo + "," + kFive + "]}"));
  EXPECT_EQ(bench.error(), "d.jsonl:3:1: messages are written by a chat template, and the model has none");
}

TEST(Samples, SayWhichRowATemplateRefuses) {
  const auto refusing = chat("{{ raise_exception('Conversation roles must alternate') }}");
  Bench bench(words(), &refusing);
  EXPECT_FALSE(bench.instruction(R"({"messages": [)" + kOneTwo + "," + kFive + "]}"));
  EXPECT_THAT(bench.error(),
              testing::AllOf(testing::StartsWith("d.jsonl:1:1: "), HasSubstr("Conversation roles must alternate")));
}

// A generation prompt that opens a thought, where a turn that is over has an empty one. By hand: `<|assistant|> ten` is
// what is asked with, `<|assistant|> ten eleven five six </s>` what becomes of it, and so far both are alike.
TEST(Samples, MayBeginTheAnswerInAnotherWayThanItIsAskedFor) {
  const auto thinking = chat(
      "{% for m in messages %} <|{{ m.role }}|> {% if m.role == 'assistant' %}ten eleven {% endif %}{{ m.content }} "
      "</s>"
      "{% endfor %}{% if add_generation_prompt %} <|assistant|> ten twelve{% endif %}");
  Bench bench(words(), &thinking);
  const auto sample = bench.instruction(R"({"prompt": [)" + kOneTwo + R"(], "completion": [)" + kFive + "]}");
  ASSERT_TRUE(sample) << bench.error();
  EXPECT_EQ(sample->ids, (Ids{2, 11, 12, 1, 3, 20, 21, 15, 16, 1}));
  EXPECT_EQ(sample->trained, (Marks{0, 0, 0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(bench.maker.counts().uneven, 1);
}

TEST(Samples, AreRefusedWhereTheTemplateRewritesThePrompt) {
  const auto rewriting =
      chat("{{ messages | length }} {% for m in messages %} <|{{ m.role }}|> {{ m.content }} </s>{% endfor %}");
  Bench bench(words(), &rewriting);
  EXPECT_FALSE(bench.instruction(R"({"prompt": [)" + kOneTwo + R"(], "completion": [)" + kFive + "]}"));
  EXPECT_THAT(bench.error(), HasSubstr("writes the prompt in another way when the answer follows"));
}

TEST(Samples, AreRefusedWhereTheTemplateMarksNothingOfTheAnswer) {
  // It marks the first message alone.
  const auto wrong = chat(
      "{% for m in messages %}{% if loop.first %}{% generation %}{{ m.content }}{% endgeneration %}{% else %} {{ "
      "m.content "
      "}}{% endif %}{% endfor %}");
  Bench bench(words(), &wrong);
  EXPECT_FALSE(bench.instruction(R"({"prompt": [)" + kOneTwo + R"(], "completion": [)" + kFive + "]}"));
  EXPECT_THAT(bench.error(), HasSubstr("nothing is trained on"));
}

TEST(Samples, SayOnceThatATemplateTeachesNoEnd) {
  const auto endless = chat(
      "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {% endfor %}"
      "{% if add_generation_prompt %}<|assistant|> {% endif %}");
  Bench bench(words(), &endless);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(bench.instruction(R"({"messages": [)" + kOneTwo + "," + kFive + "]}"));
  ASSERT_THAT(bench.diagnostics.warnings(), SizeIs(1));
  EXPECT_THAT(bench.diagnostics.warnings()[0].what, HasSubstr("the model does not learn to stop"));
}

TEST(LongSamples, LoseTheirEndOrAreDroppedWithTheirWholeCompletion) {
  Bench bench(words(), nullptr, 4);
  // <s> one two three </s> of five tokens, four of them.
  const auto cut = bench.instruction(R"({"prompt": "one two", "completion": " three"})");
  EXPECT_EQ(cut->ids, (Ids{0, 11, 12, 13}));
  EXPECT_EQ(cut->trained, (Marks{0, 0, 0, 1}));
  EXPECT_FALSE(bench.instruction(R"({"prompt": "one two three", "completion": " four"})"));
  EXPECT_TRUE(bench.instruction(R"({"prompt": "one", "completion": " four"})"));
  EXPECT_EQ(bench.maker.counts(), (SampleCounts{2, 1, 1, 0}));
  EXPECT_TRUE(bench.diagnostics.ok());
}

TEST(Texts, FollowEachOtherInBlocks) {
  Bench bench(words(), nullptr, 4);
  std::vector<Sample> blocks;
  const auto add = [&](const std::string& text) {
    for (Sample& block : bench.maker.text(row_of(text, RowKind::kText), bench.diagnostics))
      blocks.push_back(std::move(block));
  };
  // <s> 11 12 1 | <s> 13 14 15 | 16 17 1 <s> | 18 1
  add(R"({"text": "one two"})");
  EXPECT_THAT(blocks, SizeIs(1)) << "a block is given as soon as it is full";
  add("\n"
      R"({"text": "three four five six seven"})");
  add("\n\n"
      R"({"text": "eight"})");
  if (auto rest = bench.maker.rest()) blocks.push_back(*std::move(rest));
  ASSERT_THAT(blocks, SizeIs(4));
  EXPECT_EQ(blocks[0].ids, (Ids{0, 11, 12, 1}));
  EXPECT_EQ(blocks[1].ids, (Ids{0, 13, 14, 15}));
  EXPECT_EQ(blocks[2].ids, (Ids{16, 17, 1, 0}));
  EXPECT_EQ(blocks[3].ids, (Ids{18, 1}));
  EXPECT_EQ(blocks[2].trained, (Marks{0, 1, 1, 1}));
  EXPECT_EQ(blocks[3].trained, (Marks{0, 1}));
  EXPECT_EQ(blocks[1].line, 2);
  EXPECT_EQ(blocks[3].line, 3);
  EXPECT_EQ(bench.maker.counts().made, 4);
  EXPECT_FALSE(bench.maker.rest()) << "it was given";
}

TEST(Texts, LeaveNoBlockOfOneToken) {
  Bench bench(words(), nullptr, 4);
  // <s> 11 12 13 | 1
  EXPECT_THAT(bench.maker.text(row_of(R"({"text": "one two three"})", RowKind::kText), bench.diagnostics), SizeIs(1));
  EXPECT_FALSE(bench.maker.rest());
}

TEST(Preferences, AreTwoSamplesOfOnePrompt) {
  Bench bench(words(), nullptr);
  const auto pair = bench.maker.preference(
      row_of(R"({"prompt": "one two", "chosen": " five six", "rejected": " seven"})", RowKind::kPreference),
      bench.diagnostics);
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->chosen.ids, (Ids{0, 11, 12, 15, 16, 1}));
  EXPECT_EQ(pair->chosen.trained, (Marks{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(pair->rejected.ids, (Ids{0, 11, 12, 17, 1}));
  EXPECT_EQ(pair->rejected.trained, (Marks{0, 0, 0, 1, 1}));
}

// `t` is unknown, 9; behind it `two` is one word, so the chosen answer begins in its place. The rejected one leaves it
// a word of the prompt's, and is compared from there too: so TRL 1.16 has it, which takes the shorter beginning for
// both.
TEST(Preferences, BeginAtOnePlaceWhereATokenCoversThePromptsEnd) {
  for (const bool is_chosen : {true, false}) {
    Bench bench(words(), nullptr);
    const std::string answers =
        is_chosen ? R"("chosen": "wo three", "rejected": " seven")" : R"("chosen": " seven", "rejected": "wo three")";
    auto pair = bench.maker.preference(row_of(R"({"prompt": "one t", )" + answers + "}", RowKind::kPreference),
                                       bench.diagnostics);
    ASSERT_TRUE(pair);
    if (!is_chosen) std::swap(pair->chosen, pair->rejected);
    EXPECT_EQ(pair->chosen.ids, (Ids{0, 11, 12, 13, 1}));
    EXPECT_EQ(pair->chosen.trained, (Marks{0, 0, 1, 1, 1}));
    EXPECT_EQ(pair->rejected.ids, (Ids{0, 11, 9, 17, 1}));
    EXPECT_EQ(pair->rejected.trained, (Marks{0, 0, 1, 1, 1}));
  }
}

// <s> 1 2 3 4 | 5 6 </s> has 8 tokens, <s> 1 2 3 4 | 7 </s> 7. For 6 the prompt of both loses 2, behind <s>.
TEST(LongPreferences, LoseTheBeginningOfThePrompt) {
  const auto row =
      row_of(R"({"prompt": "one two three four", "chosen": " five six", "rejected": " seven"})", RowKind::kPreference);
  Bench bench(words(), nullptr, 6);
  const auto pair = bench.maker.preference(row, bench.diagnostics);
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->chosen.ids, (Ids{0, 13, 14, 15, 16, 1}));
  EXPECT_EQ(pair->chosen.trained, (Marks{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(pair->rejected.ids, (Ids{0, 13, 14, 17, 1}));
  EXPECT_EQ(pair->rejected.trained, (Marks{0, 0, 0, 1, 1}));
  EXPECT_EQ(bench.maker.counts(), (SampleCounts{1, 1, 0, 0}));
  // Without a token that begins a text, one of the prompt's own stays to tell the answer from.
  Bench plain(words({}, {{"eos_token", "</s>"}}), nullptr, 4);
  const auto bare = plain.maker.preference(row, plain.diagnostics);
  EXPECT_EQ(bare->chosen.ids, (Ids{14, 15, 16, 1}));
  EXPECT_EQ(bare->rejected.ids, (Ids{14, 17, 1}));
}

TEST(LongPreferences, LoseTheEndOfAnswersOnlyWhenThePromptIsGone) {
  Bench bench(words(), nullptr, 3);
  const auto pair = bench.maker.preference(
      row_of(R"({"prompt": "one two", "chosen": " five six seven", "rejected": " eight"})", RowKind::kPreference),
      bench.diagnostics);
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->chosen.ids, (Ids{0, 15, 16}));
  EXPECT_EQ(pair->rejected.ids, (Ids{0, 18, 1}));
  // What differs behind the end only is no preference any more.
  EXPECT_FALSE(bench.maker.preference(
      row_of(R"({"prompt": "one", "chosen": " five six seven", "rejected": " five six eight"})", RowKind::kPreference),
      bench.diagnostics));
  EXPECT_EQ(bench.maker.counts(), (SampleCounts{1, 1, 1, 0}));
}

TEST(Prompts, EndWhereTheAssistantIsToGoOn) {
  const auto marks = chat(kMarkedTemplate);
  Bench bench(words(), &marks);
  const auto talk = bench.maker.prompt(row_of("\n"
                                              R"({"prompt": [)" +
                                                  kOneTwo + R"(], "answer": 3})",
                                              RowKind::kPrompt),
                                       bench.diagnostics);
  ASSERT_TRUE(talk);
  EXPECT_EQ(talk->ids, (Ids{0, 2, 11, 12, 1, 3}));
  EXPECT_EQ(talk->other, R"({"answer":3})");
  EXPECT_EQ(talk->line, 2);
  const auto plain = bench.maker.prompt(row_of(R"({"prompt": "one two"})", RowKind::kPrompt), bench.diagnostics);
  EXPECT_EQ(plain->ids, (Ids{0, 11, 12}));
}

TEST(LongPrompts, LoseTheirBeginningButNotWhatBeginsThem) {
  const auto row = row_of(R"({"prompt": "one two three four five"})", RowKind::kPrompt);
  Diagnostics diagnostics;
  auto maker = *SampleMaker::make(words(), nullptr, {100, 3}, "d.jsonl");
  EXPECT_EQ(maker.prompt(row, diagnostics)->ids, (Ids{0, 14, 15}));
  EXPECT_EQ(maker.counts(), (SampleCounts{1, 1, 0, 0}));
  auto bare = *SampleMaker::make(words({}, kSpecials), nullptr, {4, 0}, "d.jsonl");
  EXPECT_EQ(bare.prompt(row, diagnostics)->ids, (Ids{12, 13, 14, 15}));
}

TEST(Samples, HaveAtLeastTwoTokens) { EXPECT_FALSE(SampleMaker::make(words(), nullptr, {1, 0}, "d.jsonl")); }

class Recorded : public testing::Test {
 protected:
  static const tokenizer::Tokenizer& tokenizer_named(const std::string& name) {
    static std::map<std::string, tokenizer::Tokenizer> kOpened;
    if (const auto at = kOpened.find(name); at != kOpened.end()) return at->second;
    const test::TemporaryFolder folder;
    std::ofstream(folder / "tokenizer.json") << test::small_document(name);
    std::ofstream(folder / "tokenizer_config.json") << kSpecials;
    return kOpened.emplace(name, test::opened(folder.path())).first->second;
  }
};

TEST_F(Recorded, SamplesAreThoseOfTransformersAndTrl) {
  const ordered_json recorded =
      ordered_json::parse(test::contents(test::source_dir() / "tests/texts/data/samples.json"));
  std::map<std::string, model::ChatTemplate> templates;
  std::size_t equal = 0, raised = 0;
  for (const auto& expected : recorded.at("cases")) {
    const std::string name = expected.at("tokenizer"), file = expected.value("template", "") + ".jinja";
    const std::string where = name + ", " + file + ", " + expected.at("row").dump();
    const model::ChatTemplate* chosen = nullptr;
    if (expected.contains("template")) {
      if (!templates.contains(file))
        templates.emplace(file, chat(test::contents(test::source_dir() / "tests/model/chat/data/templates" / file)));
      chosen = &templates.at(file);
    }
    Bench bench(tokenizer_named(name), chosen, 100'000);
    const auto sample = bench.instruction(expected.at("row").dump());
    if (expected.contains("raises")) {
      EXPECT_FALSE(sample) << where;
      EXPECT_THAT(bench.error(), HasSubstr(expected.at("raises").get<std::string>()));
      ++raised;
      continue;
    }
    ASSERT_TRUE(sample) << where << ": " << bench.error();
    EXPECT_EQ(sample->ids, expected.at("ids").get<Ids>()) << where;
    Marks marks;
    std::uint8_t is_trained = 0;
    for (const auto& run : expected.at("trained")) {  // of 0 and of 1 in turn
      marks.insert(marks.end(), run.get<std::size_t>(), is_trained);
      is_trained = !is_trained;
    }
    EXPECT_EQ(sample->trained, marks) << where;
    EXPECT_EQ(bench.maker.counts().uneven, expected.at("uneven").get<bool>() ? 1 : 0) << where;
    ++equal;
  }
  EXPECT_GT(equal, 200U);
  EXPECT_GT(raised, 10U);
}

// What is trained on is the row's output and the end, whatever the tokenizer; the rest is what was asked.
TEST(Samples, OfPublishedInstructionsAreTrainedOnTheirOutputs) {
  ORCH_NEEDS_TEST_DATA();
  for (const std::string name : {"models/tinystories-656k", "tokenizers/gpt2"}) {
    const test::TemporaryFolder folder;
    for (const auto& entry : std::filesystem::directory_iterator(test::test_data() / name))
      if (entry.path().extension() != ".safetensors")
        std::filesystem::copy(entry.path(), folder / entry.path().filename().string());
    if (name == "tokenizers/gpt2")
      std::ofstream(folder / "tokenizer_config.json")
          << json{{"eos_token", "<|endoftext|>"}, {"bos_token", "<|endoftext|>"}};
    const auto tokens = test::opened(folder.path());
    Bench bench(tokens, nullptr, 4096);
    std::int64_t rows = 0;
    train::load_rows(test::test_data() / "tasks/commonsense/openbookqa.json", RowKind::kInstruction, bench.diagnostics,
                     [&](const train::Row& row) {
                       ++rows;
                       const auto sample = bench.maker.instruction(row, bench.diagnostics);
                       ASSERT_TRUE(sample);
                       std::vector<tokenizer::TokenId> said;
                       for (std::size_t i = 0; i < sample->ids.size(); ++i)
                         if (sample->trained[i]) said.push_back(static_cast<tokenizer::TokenId>(sample->ids[i]));
                       ASSERT_EQ(said.back(), tokens.specials().eos.front());
                       ASSERT_EQ(*tokens.decode(said), std::get<train::Instruction>(row.what).output);
                     });
    EXPECT_EQ(rows, 500);
    EXPECT_TRUE(bench.diagnostics.ok());
    EXPECT_EQ(bench.maker.counts(), (SampleCounts{500, 0, 0, 0}));
  }
}

}  // namespace
}  // namespace orch::texts
