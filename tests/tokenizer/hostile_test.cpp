// Texts and files that nobody sane would write: each gives tokens or a message, and soon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "files.h"

namespace orch::test {
namespace {

using nlohmann::json;
using namespace tokenizer;
using testing::HasSubstr;

std::string refusal(const json& document) {
  const auto read = Tokenizer::parse(document.dump(), "m/tokenizer.json");
  return read ? "" : read.error().what;
}

json changed(const std::string& name, const std::string& pointer, json value) {
  json document = small_document(name);
  document[json::json_pointer(pointer)] = std::move(value);
  return document;
}

TEST(TokenizerFile, OfAnUnknownKindIsRefusedByNameAndPlace) {
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/pre_tokenizer/type", "ByteLvel")),
              testing::AllOf(HasSubstr("m/tokenizer.json: pre_tokenizer.type: no pre-tokeniser 'ByteLvel' is known"),
                             HasSubstr("did you mean 'ByteLevel'?")));
  EXPECT_THAT(refusal(changed("bytes_lower", "/normalizer/normalizers/1/type", "NFX")),
              HasSubstr("normalizer.normalizers[1].type: no normaliser 'NFX' is known"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/decoder/type", "Magic")), HasSubstr("no decoder 'Magic'"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/post_processor/type", "Magic")), HasSubstr("no post-processor 'Magic'"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/type", "Neural")), HasSubstr("no model 'Neural'"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/version", "2.0")), HasSubstr("version '2.0' is not known"));
}

TEST(TokenizerFile, WithAWrongVocabularyIsRefused) {
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/vocab/new", 4'000'000)), HasSubstr("at most 3,999,999"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/vocab/new", 18'446'744'073'709'551'615u)),
              HasSubstr("the id of 'new'"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/vocab/new", -1)), HasSubstr("not a whole number"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/vocab/new", 0)), HasSubstr("the id 0 is that of two pieces"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/merges/0", {"q", "nowhere"})),
              HasSubstr("merge 1 has 'nowhere', which is not in the vocabulary"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/merges/0", "a b c")), HasSubstr("not two pieces"));
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/model/dropout", 0.1)), HasSubstr("a dropout makes tokens random"));
  EXPECT_THAT(refusal(changed("pieces_llama2", "/model/unk_token", "gone")), HasSubstr("the unknown piece 'gone'"));
  EXPECT_THAT(refusal(changed("unigram_meta", "/model/unk_id", 99'999)), HasSubstr("unk_id is 99999"));
  EXPECT_THAT(refusal(changed("unigram_meta", "/model/vocab/5", json::array({"x"}))),
              HasSubstr("model.vocab[5]: expected a piece and its score"));
}

TEST(TokenizerFile, MayHaveHolesInItsIds) {
  json document = small_document("bytes_gpt2");
  document["model"]["vocab"]["far"] = 5000;
  const Tokenizer tokenizer = parsed(document);
  EXPECT_EQ(tokenizer.ids(), 5001u);
  EXPECT_FALSE(tokenizer.piece(4999));
  EXPECT_EQ(*tokenizer.decode(std::vector<TokenId>{4999, 5000, 4'000'000'000u}), "far");
}

TEST(TokenizerFile, ThatIsNoJsonOrTooDeepIsRefused) {
  EXPECT_THAT(Tokenizer::parse("{\"a\": ", "t").error().what, HasSubstr("t is not JSON"));
  EXPECT_THAT(Tokenizer::parse("[]", "t").error().what, HasSubstr("expected an object"));
  EXPECT_THAT(Tokenizer::parse(std::string(1'000'000, '['), "t").error().what, HasSubstr("nested deeper than 64"));
  json steps = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) steps = {{"type", "Sequence"}, {"normalizers", {steps}}};
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/normalizer", steps)), HasSubstr("nested deeper than 16"));
  const json many(101, {{"type", "NFC"}});
  EXPECT_THAT(refusal(changed("bytes_gpt2", "/normalizer", {{"type", "Sequence"}, {"normalizers", many}})),
              HasSubstr("more than 100"));
}

TEST(TokenizerFile, WithAPatternThatIsNotUnderstoodIsRefused) {
  const auto with = [](const std::string& pattern) {
    return refusal(changed("bytes_llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", pattern));
  };
  EXPECT_THAT(with("(abc"), HasSubstr("is wrong at byte"));
  EXPECT_THAT(with("[a&&[b]]"), HasSubstr("&&"));
  EXPECT_THAT(with("[a[b]]"), HasSubstr("a class in a class"));
  EXPECT_THAT(with("a{2,3}+"), HasSubstr("a + behind {…}"));
  EXPECT_THAT(with("\\p{NoScript}"), HasSubstr("is wrong at byte"));
  EXPECT_THAT(with("\\"), HasSubstr("a \\ at its end"));
  EXPECT_THAT(with("(?s:a)"), HasSubstr("a group of an unknown kind"));
}

TEST(TokenizerPattern, ThatWouldTakeForEverIsAnError) {
  const Tokenizer tokenizer =
      parsed(changed("bytes_llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "(x+x+)+[yz]"));
  const auto ids = tokenizer.encode(std::string(5000, 'x'));
  ASSERT_FALSE(ids);
  EXPECT_THAT(ids.error().what, HasSubstr("patterns take too many steps"));
}

TEST(TokenizerNormalizer, ThatDoublesATextAHundredTimesIsAnError) {
  const json doubles = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  const Tokenizer tokenizer =
      parsed(changed("bytes_gpt2", "/normalizer", {{"type", "Sequence"}, {"normalizers", json(99, doubles)}}));
  EXPECT_EQ(tokenizer.encode("b")->size(), 1u);
  const auto ids = tokenizer.encode("a");
  ASSERT_FALSE(ids);
  EXPECT_THAT(ids.error().what, HasSubstr("makes too much of it"));
}

TEST(TokenizerText, OfOneMegabyteWithoutASpaceTakesLessThanSeconds) {
  std::string text;
  while (text.size() < 1'000'000) text += "abracadabra";
  for (const std::string name : {"bytes_gpt2", "pieces_llama2", "unigram_whole", "words_bert"}) {
    const Tokenizer tokenizer = parsed(small_document(name));
    const auto begin = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids);
    // Quadratic work would take minutes; the bound leaves room for sanitizers on a busy machine.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30)) << name;
    if (name != "words_bert") EXPECT_EQ(*tokenizer.decode(*ids), text) << name;
  }
}

TEST(TokenizerText, ThatIsNotUtf8IsReadAsPythonWouldReplaceIt) {
  const Tokenizer tokenizer = parsed(small_document("bytes_gpt2"));
  // bytes.decode("utf-8", "replace"): one U+FFFD for a lone byte, for each broken beginning, for each byte of a
  // surrogate.
  const std::string given =
      "a\xFF"
      "b\xE2\x82"
      "c\xED\xA0\x80"
      "d\xF0\x9F\x98";
  const std::string read =
      "a\uFFFD"
      "b\uFFFD"
      "c\uFFFD\uFFFD\uFFFD"
      "d\uFFFD";
  const auto encoding = tokenizer.encode_with_places(given);
  ASSERT_TRUE(encoding);
  EXPECT_EQ(encoding->ids, *tokenizer.encode(read));
  EXPECT_EQ(*tokenizer.decode(encoding->ids), read);
  for (const Span& place : encoding->places) EXPECT_LE(place.end, given.size());
  EXPECT_EQ(encoding->places.back(), (Span{10, 13}));
}

TEST(TokenizerText, IsEncodedTheSameByManyThreads) {
  const Tokenizer tokenizer = parsed(small_document("pieces_llama2"));
  const std::string text = small_tokenizers().dump().substr(0, 20'000);
  const auto expected = *tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> same(4);
  for (std::size_t i = 0; i < same.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) same[i] += *tokenizer.encode(text) == expected;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 5));
}

TEST(TokenizerMerge, WithSpacesInItsPiecesIsCutWhereBothPartsAreKnown) {
  json document = small_document("bytes_gpt2");
  document["model"]["vocab"][" "] = 1000;
  document["model"]["vocab"]["  "] = 1001;
  document["model"]["merges"].push_back("   ");
  EXPECT_EQ(refusal(document), "");
  document["model"]["vocab"]["    "] = 1002;
  document["model"]["vocab"]["   "] = 1003;
  document["model"]["merges"].back() = "     ";  // "  " and "  ", or " " and "   "
  EXPECT_THAT(refusal(document), HasSubstr("not two pieces"));
}

}  // namespace
}  // namespace orch::test
