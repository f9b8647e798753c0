#include "cache/whole.h"

#include <gmock/gmock.h>

#include "cache/folder.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

using test::CacheFolder, test::kOne;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty;

constexpr const char* kIndex = "model.safetensors.index.json";

std::string index_of(std::initializer_list<std::string> shards, std::size_t total = 1) {
  std::string map;
  int number = 0;
  for (const std::string& shard : shards)
    map += (map.empty() ? "" : ", ") + ("\"w" + std::to_string(number++) + "\": \"" + shard + "\"");
  return R"({"metadata": {"total_size": )" + std::to_string(total) + R"(}, "weight_map": {)" + map + "}}";
}

class WholeTest : public testing::Test {
 protected:
  std::vector<std::string> lacks(Look look = Look::kSizes) {
    return cache_.look(look).find({Kind::kModel, "org/m"})->find(kOne)->lacks;
  }
  void add(const std::string& name, const std::string& text) { cache_.add("org/m", kOne, name, text); }
  CacheFolder cache_;
};

TEST_F(WholeTest, AModelWithEveryShardOfItsIndexIs) {
  add(kIndex, index_of({"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}, 300));
  add("model-00001-of-00002.safetensors", test::safetensors(100));
  EXPECT_THAT(lacks(), ElementsAre("1 of 2 files of model.safetensors.index.json is missing "
                                   "(model-00002-of-00002.safetensors)"));
  add("model-00002-of-00002.safetensors", test::safetensors(200));
  EXPECT_THAT(lacks(), IsEmpty());
}

TEST_F(WholeTest, FilesSmallerThanTheIndexSaysAreNot) {
  add(kIndex, index_of({"a.safetensors"}, 5000));
  add("a.safetensors", test::safetensors(100));
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("the files of model.safetensors.index.json have")));
}

TEST_F(WholeTest, OneWithoutWeightsIsNot) {
  add("config.json", "{}");
  add("tokenizer.json", "{}");
  add("training_args.bin", "x");
  EXPECT_THAT(lacks(), ElementsAre("it has no weights"));
}

TEST_F(WholeTest, NumbersInNamesPromiseTheOthersWhereThereIsNoIndex) {
  add("model-00001-of-00003.safetensors", test::safetensors(10));
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("2 of the 3 files")));
}

TEST_F(WholeTest, WeightsThatPeopleLeaveOutBesideSafetensorsAreNotMissed) {
  add("model.safetensors", test::safetensors(10));
  add("pytorch_model.bin.index.json", index_of({"pytorch_model-00001-of-00001.bin"}));
  EXPECT_THAT(lacks(), IsEmpty());
  fs::remove(cache_.snapshot("org/m", kOne) / "model.safetensors");
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("pytorch_model.bin.index.json is missing")));
}

TEST_F(WholeTest, AnIndexOfAFolderNamesFilesOfThatFolder) {
  add("unet/diffusion_pytorch_model.safetensors.index.json", index_of({"part.safetensors"}));
  add("part.safetensors", test::safetensors(10));
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("is missing (part.safetensors)")));
}

TEST_F(WholeTest, AFileThatIsCutShortIsSeenInItsHead) {
  const std::string text = test::safetensors(1000);
  add("model.safetensors", text.substr(0, text.size() - 1));
  EXPECT_THAT(lacks(Look::kNames), IsEmpty());
  EXPECT_THAT(lacks(Look::kSizes), ElementsAre(HasSubstr("is cut short")));
}

TEST_F(WholeTest, HeadsThatLieAreSaidToAndReadNothingBeyondTheFile) {
  std::string huge = test::safetensors(10);
  huge[6] = '\x7f';
  add("a.safetensors", huge);
  add("b.safetensors", "short");
  add("c.safetensors", std::string("\4\0\0\0\0\0\0\0nope", 12));
  std::string overflow = R"({"w":{"data_offsets":[0,18446744073709551615]}})";
  add("d.safetensors", static_cast<char>(overflow.size()) + std::string(7, '\0') + overflow);
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("'a.safetensors' does not hold its own head"),
                                   HasSubstr("'b.safetensors' cannot be read, or is too short"),
                                   HasSubstr("'c.safetensors' has a head that is not JSON"),
                                   HasSubstr("'d.safetensors' is cut short")));
}

TEST_F(WholeTest, AnIndexThatLeadsOutOfTheSnapshotIsRefused) {
  add(kIndex, index_of({"../../../../etc/passwd"}));
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("names a file outside of the snapshot")));
}

TEST_F(WholeTest, AnIndexThatIsNoneOrTooLargeIsSaidTo) {
  add("model.safetensors.index.json", "[[[[");
  add("x/model.safetensors.index.json", R"({"weight_map": 3})");
  add("y/model.safetensors.index.json", "");
  fs::resize_file(fs::canonical(cache_.snapshot("org/m", kOne) / "y" / kIndex), (128 << 20) + 1);  // a hole, not bytes
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("is no index of weights"), HasSubstr("is no index of weights"),
                                   HasSubstr("is larger than 128 MiB")));
}

TEST_F(WholeTest, AFileOfAnotherSizeThanTheHubListsIsNot) {
  add("model.safetensors", test::safetensors(10));
  const auto list = [&](std::size_t bytes) {
    test::write(cache_.repo("org/m") / "trees" / (kOne + ".json"),
                R"({"format_version": 1, "files": {"model.safetensors": {"size": )" + std::to_string(bytes) +
                    R"(}, "README.md": {"size": 70}}})");
  };
  list(test::safetensors(10).size());
  EXPECT_THAT(lacks(), IsEmpty());
  EXPECT_EQ(listed_bytes(*cache_.look().find({Kind::kModel, "org/m"}), kOne), test::safetensors(10).size() + 70);
  list(4096);
  EXPECT_THAT(lacks(), ElementsAre(HasSubstr("bytes of 4,096")));
}

TEST_F(WholeTest, ALinkToABlobThatIsGoneIsNot) {
  const std::string blob = cache_.add("org/m", kOne, "model.safetensors", test::safetensors(10), true);
  fs::remove(cache_.repo("org/m") / "blobs" / blob);
  EXPECT_THAT(lacks(), ElementsAre("'model.safetensors' is missing"));
}

}  // namespace
}  // namespace orch::cache
