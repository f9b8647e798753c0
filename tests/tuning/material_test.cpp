// What of a data set is learnt from and what is held out, with a tokenizer whose words are its tokens: a row's words
// say which row it is.
#include "tuning/material.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "support/temporary.h"
#include "tokenizer/files.h"

namespace orch::tuning {
namespace {

using nlohmann::json;
using testing::HasSubstr, testing::IsEmpty, testing::SizeIs;
using train::RowKind;

constexpr int kWords = 3000;
constexpr std::int32_t kFirst = 10;  ///< w0's id; those of w1, w2, … follow

tokenizer::Tokenizer words() {
  json vocabulary = {{"</s>", 1}, {"<unk>", 2}, {"ask", 3}, {"no", 4}};
  for (int i = 0; i < kWords; ++i) vocabulary["w" + std::to_string(i)] = kFirst + i;
  const json end = {
      {"id", 1},         {"content", "</s>"}, {"special", true}, {"normalized", false}, {"single_word", false},
      {"lstrip", false}, {"rstrip", false}};
  const test::TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.json")
      << json{{"version", "1.0"},
              {"added_tokens", json::array({end})},
              {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
              {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  std::ofstream(folder / "tokenizer_config.json") << json{{"eos_token", "</s>"}};
  return test::opened(folder.path());
}

class MaterialOf : public testing::Test {
 protected:
  void write(const std::vector<std::string>& lines) {
    std::ofstream out(file_);
    for (const std::string& line : lines) out << line << "\n";
  }
  /// So many good rows of the kind; row i is about the word i.
  void write(RowKind kind, int count) {
    std::vector<std::string> lines;
    for (int i = 0; i < count; ++i) {
      const std::string word = "w" + std::to_string(i);
      switch (kind) {
        case RowKind::kText:
          lines.push_back(json{{"text", word + " " + word}}.dump());
          break;
        case RowKind::kInstruction:
          lines.push_back(json{{"prompt", "ask "}, {"completion", word}}.dump());
          break;
        case RowKind::kPreference:
          lines.push_back(json{{"prompt", "ask "}, {"chosen", word}, {"rejected", "no"}}.dump());
          break;
        case RowKind::kPrompt:
          lines.push_back(json{{"prompt", "ask " + word}, {"answer", i}}.dump());
          break;
      }
    }
    write(lines);
  }
  Result<Material> read(RowKind kind, std::int64_t held_out, std::int64_t sequence = 64) {
    diagnostics_ = {};
    const auto rows = count_rows(file_, kind, diagnostics_);
    if (!rows) return Error{"a row is bad"};
    return read_material({file_, kind, held_out, {sequence, 0}}, *rows, tokenizer_, nullptr, diagnostics_);
  }

  /// Which rows a part is of, by its words.
  static std::vector<int> rows_of(const Part& part) {
    std::set<int> rows;
    const auto add = [&](const std::vector<std::int32_t>& ids) {
      for (const std::int32_t id : ids)
        if (id >= kFirst) rows.insert(id - kFirst);
    };
    for (const train::Sample& sample : part.samples) add(sample.ids);
    for (const train::PreferredSample& pair : part.pairs) add(pair.chosen.ids);
    for (const texts::PromptSample& prompt : part.prompts) add(prompt.ids);
    return {rows.begin(), rows.end()};
  }

  const test::TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_ / "rows.jsonl";
  const tokenizer::Tokenizer tokenizer_ = words();
  Diagnostics diagnostics_;
};

TEST_F(MaterialOf, AnyKindHoldsOutItsRowsAndLearnsFromAllOthers) {
  constexpr std::array kKinds = {RowKind::kText, RowKind::kInstruction, RowKind::kPreference, RowKind::kPrompt};
  for (const RowKind kind : kKinds) {
    SCOPED_TRACE(std::string(train::name_of(kind)));
    write(kind, 50);
    const auto material = read(kind, 7);
    ASSERT_TRUE(material) << material.error().what;
    EXPECT_EQ(material->rows, 50);
    const std::vector<int> learnt = rows_of(material->learnt), held_out = rows_of(material->held_out);
    EXPECT_THAT(held_out, SizeIs(7));
    std::vector<int> all = learnt;
    all.insert(all.end(), held_out.begin(), held_out.end());
    std::sort(all.begin(), all.end());
    std::vector<int> wanted(50);
    for (int i = 0; i < 50; ++i) wanted[static_cast<std::size_t>(i)] = i;
    EXPECT_EQ(all, wanted) << "each row is in one part";
    if (kind != RowKind::kText) {
      EXPECT_EQ(material->learnt.items(), 43);
      EXPECT_EQ(material->held_out.items(), 7);
      EXPECT_EQ(material->counts.made, 50);
    }
  }
}

TEST_F(MaterialOf, RowsAreHeldOutEvenlyOverTheFile) {
  for (const auto& [rows, held_out] : {std::pair(20, 1), {50, 7}, {97, 13}, {2560, 128}, {100, 99}, {10, 9}}) {
    SCOPED_TRACE(std::to_string(held_out) + " of " + std::to_string(rows));
    write(RowKind::kInstruction, rows);
    const auto material = read(RowKind::kInstruction, held_out);
    ASSERT_TRUE(material);
    const std::vector<int> places = rows_of(material->held_out);
    ASSERT_THAT(places, SizeIs(held_out));
    // Between two there are as many rows as between any two others, or one more.
    const int least = rows / held_out, most = (rows + held_out - 1) / held_out;
    for (std::size_t i = 1; i < places.size(); ++i) {
      EXPECT_GE(places[i] - places[i - 1], least);
      EXPECT_LE(places[i] - places[i - 1], most);
    }
    // So a file that is sorted, the easy half first, has as much of either held out.
    const auto first = std::count_if(places.begin(), places.end(), [&, all = rows](int row) { return row < all / 2; });
    EXPECT_NEAR(static_cast<double>(first), held_out / 2.0, 1);
  }
}

TEST_F(MaterialOf, NothingIsHeldOutWhereNothingIsToBe) {
  write(RowKind::kPrompt, 5);
  const auto material = read(RowKind::kPrompt, 0);
  ASSERT_TRUE(material);
  EXPECT_EQ(material->held_out.items(), 0);
  EXPECT_EQ(material->learnt.items(), 5);
  EXPECT_EQ(json::parse(material->learnt.prompts[3].other), json({{"answer", 3}}));
}

TEST_F(MaterialOf, ABlockOfTextHasWordsOfOnePartAlone) {
  // Blocks are filled over the rows' ends: those that are held out must not be filled up with others.
  write(RowKind::kText, 60);
  const auto material = read(RowKind::kText, 6, 8);
  ASSERT_TRUE(material);
  const std::vector<int> learnt = rows_of(material->learnt), held_out = rows_of(material->held_out);
  EXPECT_THAT(held_out, SizeIs(6));
  EXPECT_THAT(learnt, SizeIs(54));
  std::vector<int> both;
  std::set_intersection(learnt.begin(), learnt.end(), held_out.begin(), held_out.end(), std::back_inserter(both));
  EXPECT_THAT(both, IsEmpty());
  // 54 and 6 rows of 3 tokens, in blocks of 8: 20 whole ones and one of 2; 2 whole ones and one of 2.
  EXPECT_EQ(material->learnt.items(), 21);
  EXPECT_EQ(material->held_out.items(), 3);
}

TEST_F(MaterialOf, WhatIsDroppedStillCountsAsARow) {
  // A prompt that fills the longest sample leaves nothing to learn. Which rows are held out does not change with it.
  std::vector<std::string> lines;
  for (int i = 0; i < 20; ++i)
    lines.push_back(
        json{{"prompt", i % 2 ? "ask " : "ask ask ask ask ask ask "}, {"completion", "w" + std::to_string(i)}}.dump());
  write(lines);
  const auto whole = read(RowKind::kInstruction, 4), cut = read(RowKind::kInstruction, 4, 4);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->counts.dropped, 10);
  EXPECT_EQ(cut->rows, 20);
  std::vector<int> left;
  for (const int row : rows_of(whole->held_out))
    if (row % 2) left.push_back(row);
  EXPECT_EQ(rows_of(cut->held_out), left);
  write({lines[0], lines[2]});
  const auto none = read(RowKind::kInstruction, 0, 4);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("nothing is left to learn from: 2 rows had nothing"));
}

TEST_F(MaterialOf, WhatIsOddOfManyRowsIsSaidOnceForBothParts) {
  std::vector<std::string> lines(20, json{{"prompt", "as"}, {"completion", "k w1"}}.dump());
  write(lines);
  const auto material = read(RowKind::kInstruction, 10);
  ASSERT_TRUE(material);
  EXPECT_EQ(material->counts.uneven, 20);
  ASSERT_THAT(diagnostics_.warnings(), SizeIs(1));
  EXPECT_THAT(diagnostics_.warnings()[0].what, HasSubstr("covers the prompt's end"));
}

TEST_F(MaterialOf, BadRowsAreAllReported) {
  write({json{{"prompt", "ask "}, {"completion", "w1"}}.dump(), "{", json{{"prompt", "ask"}}.dump(),
         json{{"prompt", "ask "}, {"completion", "w2"}}.dump(), "[]"});
  EXPECT_FALSE(read(RowKind::kInstruction, 1));
  std::vector<int> lines;
  for (const Problem& problem : diagnostics_.errors()) lines.push_back(problem.place.line);
  EXPECT_THAT(lines, testing::ElementsAre(2, 3, 5));
  // Rows that are sound, but need a chat template.
  const json talk = {{"messages", {{{"role", "user"}, {"content", "a"}}, {{"role", "assistant"}, {"content", "b"}}}}};
  write({talk.dump(), json{{"prompt", "ask "}, {"completion", "w1"}}.dump(), talk.dump()});
  const auto material = read(RowKind::kInstruction, 1);
  EXPECT_EQ(diagnostics_.error_count(), 2U);
}

}  // namespace
}  // namespace orch::tuning
