// The files of a model's folder together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "files.h"
#include "support/temporary.h"

namespace orch::test {
namespace {

using nlohmann::json;
using namespace tokenizer;
using testing::ElementsAre;
using testing::HasSubstr;

class ModelFolder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  void write_json(const std::string& name, const json& document) { write(name, document.dump()); }
  Result<Tokenizer> open() const { return Tokenizer::open(folder_.path()); }
  std::string refusal() const {
    const auto read = open();
    return read ? "" : read.error().what;
  }

  TemporaryFolder folder_;
};

TEST_F(ModelFolder, WithoutATokenizerSaysWhatWasLookedFor) {
  EXPECT_THAT(refusal(), testing::AllOf(HasSubstr(folder_.path().string()), HasSubstr("tokenizer.json"),
                                        HasSubstr("vocab.json with merges.txt")));
  write("tokenizer.model", "\x0a");
  EXPECT_THAT(refusal(), HasSubstr("has a tokenizer.model alone, which is not read; save_pretrained()"));
  EXPECT_THAT(Tokenizer::open(folder_ / "none").error().what, HasSubstr("is not a folder"));
}

TEST_F(ModelFolder, NamesTheFileThatIsWrong) {
  write_json("tokenizer.json", small_document("bytes_gpt2"));
  write("tokenizer_config.json", "{");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json is not JSON"));
  write_json("tokenizer_config.json", json{{"add_bos_token", "yes"}});
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: add_bos_token: expected true or false"));
}

TEST_F(ModelFolder, TellsTheSpecialTokensOfAllItsFiles) {
  write_json("tokenizer.json", small_document("pieces_llama2"));
  write_json("special_tokens_map.json", json{{"bos_token", {{"content", "<s>"}}}, {"unk_token", "<unk>"}});
  write_json("tokenizer_config.json",
             json{{"eos_token", "</s>"},
                  {"add_bos_token", true},
                  {"clean_up_tokenization_spaces", true},
                  {"chat_template",
                   {{{"name", "default"}, {"template", "{{ a }}"}}, {{"name", "tools"}, {"template", "{{ b }}"}}}}});
  write_json("generation_config.json", json{{"eos_token_id", {7, 2}}, {"pad_token_id", 0}});
  const auto read = open();
  ASSERT_TRUE(read) << read.error().what;
  const Specials& specials = read->specials();
  EXPECT_EQ(specials.bos, 1u);
  EXPECT_EQ(specials.unknown, 0u);
  EXPECT_EQ(specials.pad, 0u);
  EXPECT_THAT(specials.eos, ElementsAre(2, 7));
  EXPECT_EQ(specials.add_bos, true);
  EXPECT_EQ(specials.add_eos, std::nullopt);
  EXPECT_TRUE(specials.clean_up_spaces);
  EXPECT_EQ(specials.chat_template, "{{ a }}");
  EXPECT_EQ(specials.chat_templates.size(), 2u);
  write("chat_template.jinja", "{{ c }}");
  EXPECT_EQ(open()->specials().chat_template, "{{ c }}");
}

TEST_F(ModelFolder, AddsTheTokensThatItsConfigAdds) {
  write_json("tokenizer.json", small_document("bytes_gpt2"));
  write_json(
      "tokenizer_config.json",
      json{{"added_tokens_decoder",
            {{"701", {{"content", "<b>"}, {"special", true}}}, {"700", {{"content", "<a>"}, {"special", false}}}}}});
  const auto read = open();
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->size(), 702u);
  EXPECT_THAT(*read->encode("<b><a>"), ElementsAre(701, 700));
  EXPECT_EQ(*read->decode(std::vector<TokenId>{701, 700}), "<a>");
}

TEST_F(ModelFolder, OfALlamaFollowsItsFlags) {
  write_json("tokenizer.json", small_document("pieces_llama2"));
  write_json("special_tokens_map.json", json{{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  write_json("tokenizer_config.json",
             json{{"tokenizer_class", "LlamaTokenizer"}, {"add_bos_token", false}, {"add_eos_token", true}});
  const auto read = open();
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->encode("The")->front(), read->encode("The", false)->front());
  EXPECT_EQ(read->encode("The")->back(), 2u);
}

TEST_F(ModelFolder, OfGpt2IsReadFromVocabularyAndMerges) {
  const json& model = small_tokenizers().at("models").at("bytes");
  std::string merges = "#version: 0.2\n";
  for (const json& merge : model.at("merges"))
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  write_json("vocab.json", model.at("vocab"));
  EXPECT_THAT(refusal(), HasSubstr("has no tokenizer: looked for"));
  write("merges.txt", merges);
  const Tokenizer whole = parsed(small_document("bytes_gpt2"));
  const auto read = open();
  ASSERT_TRUE(read) << read.error().what;
  for (const std::string text : {"The scheduler packs  jobs", " a\n\nb ", "größe 🚀", ""}) {
    EXPECT_EQ(*read->encode(text), *whole.encode(text));
    EXPECT_EQ(read->encode_with_places(text)->places, whole.encode_with_places(text)->places);
  }
  write("merges.txt", merges + "a\n");
  EXPECT_THAT(refusal(),
              HasSubstr("merges.txt:" + std::to_string(model.at("merges").size() + 2) + ": 'a' is not two pieces"));
}

TEST_F(ModelFolder, SaysWhatItDoesNotApply) {
  json document = small_document("bytes_gpt2");
  document["truncation"] = {{"max_length", 4}};
  document["added_tokens"] = {{{"id", 9}, {"content", "The"}, {"special", false}}};
  const Tokenizer tokenizer = parsed(document);
  EXPECT_THAT(tokenizer.remarks(), ElementsAre(HasSubstr("the added token 'The' is said to have the id 9"),
                                               HasSubstr("truncation is not applied")));
  EXPECT_GT(tokenizer.encode("The scheduler packs jobs by their score")->size(), 4u);
}

}  // namespace
}  // namespace orch::test
