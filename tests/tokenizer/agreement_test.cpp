// What the tokenizers library from PyPI made of the same texts, recorded by scripts/record-tokenizers: ids, places in
// characters, and the decoded text, with and without special tokens.
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "files.h"
#include "model/tokenizer/utf8.h"
#include "strings.h"
#include "support/test_data.h"

namespace orch::test {
namespace {

using nlohmann::json;
using namespace tokenizer;

const json& recorded() {
  static const json kRecorded = json_file(source_dir() / "tests/tokenizer/data/recorded.json");
  return kRecorded;
}

/// Places in characters, as the library gives them.
std::vector<Span> in_characters(std::string_view text, const std::vector<Span>& places) {
  std::vector<std::uint32_t> number(text.size() + 1);
  std::uint32_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) {
    const std::uint32_t size = character_at(text, at).size;
    for (std::uint32_t i = 0; i < size; ++i) number[at + i] = count;
    at += size;
  }
  number[text.size()] = count;
  std::vector<Span> out;
  for (const Span& place : places) out.push_back({number.at(place.begin), number.at(place.end)});
  return out;
}

struct Answer {
  std::string ids;
  std::string places;
  std::string text;
  std::string plain;
  std::string written() const { return error ? "error" : ids + "\n" + places + "\n" + text + "\n" + plain; }
  bool error = false;
};

Answer answer(const Tokenizer& tokenizer, const std::string& text) {
  Answer answer;
  const auto encoding = tokenizer.encode_with_places(text);
  const auto ids = tokenizer.encode(text);
  if (!encoding || !ids) {
    answer.error = true;
    return answer;
  }
  // Without places, words come from the cache: they must not differ.
  EXPECT_EQ(*ids, encoding->ids) << text;
  for (const TokenId id : encoding->ids) answer.ids += (answer.ids.empty() ? "" : ",") + std::to_string(id);
  for (const Span& place : in_characters(text, encoding->places))
    answer.places += (answer.places.empty() ? "" : ",") + std::to_string(place.begin) + "-" + std::to_string(place.end);
  const auto whole = tokenizer.decode(encoding->ids, false);
  const auto plain = tokenizer.decode(encoding->ids, true);
  answer.error = !whole || !plain;
  if (whole) answer.text = *whole;
  if (plain) answer.plain = *plain;
  return answer;
}

/// The first twelve bits, in base64.
std::string beginning(const Digest& digest) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const unsigned twelve = static_cast<unsigned>(digest.bytes[0]) << 4 | digest.bytes[1] >> 4;
  return {kDigits[twelve >> 6], kDigits[twelve & 63]};
}

void expect_agreement(const Tokenizer& tokenizer, const std::string& name) {
  const json& row = recorded().at("results").at(name);
  const Strings strings(recorded());
  for (const json& whole : row.at("whole")) {
    const std::string text = whole.at(1);
    ASSERT_EQ(strings.make(whole.at(0)), text) << "the strings are made in another way than when they were recorded";
    const auto encoding = tokenizer.encode_with_places(text);
    ASSERT_TRUE(encoding) << encoding.error().what;
    EXPECT_EQ(json(encoding->ids), whole.at(2)) << name << ": " << json(text);
    json places = json::array();
    for (const Span& place : in_characters(text, encoding->places)) places.push_back({place.begin, place.end});
    EXPECT_EQ(places, whole.at(3)) << name << ": " << json(text);
    EXPECT_EQ(*tokenizer.decode(encoding->ids, false), whole.at(4)) << name << ": " << json(text);
  }
  const std::string each = row.at("each");
  std::string digests;
  int shown = 0;
  for (std::size_t i = 0; i < row.at("count"); ++i) {
    const std::string text = strings.make(i);
    const Answer ours = answer(tokenizer, text);
    const Digest digest = sha256(ours.written());
    digests.append(digest.bytes.begin(), digest.bytes.end());
    if (beginning(digest) == each.substr(2 * i, 2) || ++shown > 5) continue;
    ADD_FAILURE() << name << ", string " << i << ": " << json(text) << "\nids " << ours.ids << "\nplaces "
                  << ours.places << "\ntext " << json(ours.text) << "\nwithout special tokens " << json(ours.plain)
                  << (ours.error ? "\nerror" : "");
  }
  EXPECT_EQ(to_hex(sha256(digests)), row.at("all").get<std::string>()) << name;
}

class Agreement : public testing::TestWithParam<std::string> {};

TEST_P(Agreement, OfASmallTokenizerWithTheLibraryOnRandomStrings) {
  expect_agreement(parsed(small_document(GetParam())), GetParam());
}

std::vector<std::string> small_names() {
  std::vector<std::string> names;
  for (const auto& [name, row] : recorded().at("results").items())
    if (row.at("kind") == "small") names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Small, Agreement, testing::ValuesIn(small_names()),
                         [](const auto& test) { return test.param; });

TEST(PublishedTokenizer, Gpt2AgreesWithTheLibraryOnTenThousandStrings) {
  ORCH_NEEDS_TEST_DATA();
  expect_agreement(opened(test_data() / "tokenizers/gpt2"), "gpt2");
}

TEST(PublishedTokenizer, Llama2AgreesWithTheLibraryOnTenThousandStrings) {
  ORCH_NEEDS_TEST_DATA();
  expect_agreement(opened(test_data() / "tokenizers/llama2"), "llama2");
}

TEST(PublishedTokenizer, RobertaAgreesWithTheLibraryOnTenThousandStrings) {
  ORCH_NEEDS_TEST_DATA();
  expect_agreement(opened(test_data() / "tokenizers/roberta-base"), "roberta-base");
}

}  // namespace
}  // namespace orch::test
