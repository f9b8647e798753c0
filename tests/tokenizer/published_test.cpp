// The tokenizers of published models on real text.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "files.h"
#include "support/test_data.h"

namespace orch::test {
namespace {

using nlohmann::json;
using namespace tokenizer;
namespace fs = std::filesystem;

/// The cells of a CSV file, quoted ones with "" for a quote.
std::vector<std::string> cells(const std::string& text) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted && c == '"' && at + 1 < text.size() && text[at + 1] == '"') {
      out.back() += text[++at];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ',' || c == '\n')) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

/// All cells of MMLU's tests: questions and answers.
std::vector<std::string> mmlu() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(test_data() / "tasks/mmlu/test")) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> all;
  for (const fs::path& file : files)
    for (std::string& cell : cells(contents(file)))
      if (!cell.empty()) all.push_back(std::move(cell));
  return all;
}

void expect_published_ids(const std::string& name) {
  const Tokenizer tokenizer = opened(test_data() / "tokenizers" / name);
  const json cases = json_file(test_data() / "tokenizers" / name / "expected.json").at("cases");
  ASSERT_GT(cases.size(), 40u);
  for (const json& row : cases) {
    const std::string text = row.at("text");
    const auto ids = tokenizer.encode(text, false);
    ASSERT_TRUE(ids) << ids.error().what;
    EXPECT_EQ(json(*ids), row.at("ids")) << json(text);
    EXPECT_EQ(*tokenizer.decode(*ids), text);
  }
}

void expect_round_trips(const std::string& name) {
  const Tokenizer tokenizer = opened(test_data() / "tokenizers" / name);
  std::size_t questions = 0;
  for (const std::string& text : mmlu()) {
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids) << ids.error().what;
    ASSERT_EQ(*tokenizer.decode(*ids), text);
    ++questions;
  }
  EXPECT_GT(questions, 14'042u * 5);  // questions with four answers and a letter each
}

TEST(PublishedTokenizer, Gpt2GivesThePublishedIds) {
  ORCH_NEEDS_TEST_DATA();
  expect_published_ids("gpt2");
}

TEST(PublishedTokenizer, Llama2GivesThePublishedIds) {
  ORCH_NEEDS_TEST_DATA();
  expect_published_ids("llama2");
}

TEST(PublishedTokenizer, Gpt2GivesAllOfMmluBack) {
  ORCH_NEEDS_TEST_DATA();
  expect_round_trips("gpt2");
}

TEST(PublishedTokenizer, Llama2GivesAllOfMmluBack) {
  ORCH_NEEDS_TEST_DATA();
  expect_round_trips("llama2");
}

TEST(PublishedTokenizer, RobertaGivesAllOfMmluBack) {
  ORCH_NEEDS_TEST_DATA();
  expect_round_trips("roberta-base");
}

TEST(PublishedTokenizer, KnowsItsSizeItsPiecesAndItsSpecialTokens) {
  ORCH_NEEDS_TEST_DATA();
  const Tokenizer llama = opened(test_data() / "tokenizers/llama2");
  EXPECT_EQ(llama.size(), 32'000u);
  EXPECT_EQ(llama.ids(), 32'000u);
  EXPECT_EQ(llama.piece(15043), "▁Hello");
  EXPECT_EQ(llama.id("</s>"), 2u);
  EXPECT_TRUE(llama.special(2));
  EXPECT_FALSE(llama.special(15043));
  EXPECT_FALSE(llama.piece(32'000));
  const Tokenizer gpt2 = opened(test_data() / "tokenizers/gpt2");
  EXPECT_EQ(gpt2.size(), 50'257u);
  EXPECT_EQ(gpt2.specials().eos, std::vector<TokenId>{50'256});
  EXPECT_EQ(*gpt2.encode("a<|endoftext|>b"), (std::vector<TokenId>{64, 50'256, 65}));
  EXPECT_EQ(*gpt2.decode(std::vector<TokenId>{64, 50'256, 65}), "ab");
}

TEST(PublishedTokenizer, StreamsEveryTextAsItDecodesIt) {
  ORCH_NEEDS_TEST_DATA();
  for (const std::string name : {"gpt2", "llama2", "roberta-base"}) {
    const Tokenizer tokenizer = opened(test_data() / "tokenizers" / name);
    for (const std::string text : {"Hello, wörld! 🦙🚀 នៅ", " two  spaces\n\n", "a", "", "日本語のテキスト"}) {
      const auto ids = *tokenizer.encode(text);
      TokenStream stream(tokenizer);
      std::string whole;
      for (const TokenId id : ids) {
        const std::string part = *stream.push(id);
        EXPECT_EQ(part.find("\xEF\xBF\xBD"), std::string::npos) << "a character was given out before it was whole";
        whole += part;
      }
      whole += *stream.finish();
      EXPECT_EQ(whole, *tokenizer.decode(ids)) << name;
    }
  }
}

}  // namespace
}  // namespace orch::test
