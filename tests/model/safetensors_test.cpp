#include "model/safetensors.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "model/checkpoint.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using testing::HasSubstr;

/// A file of this header and so many bytes of numbers.
std::string file_of(const std::string& header, std::size_t bytes) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += header;
  for (std::size_t i = 0; i < bytes; ++i) file += static_cast<char>(i);
  return file;
}

Result<Safetensors> parse(const std::string& file) {
  return Safetensors::parse(std::as_bytes(std::span(file)), "weights.safetensors");
}

std::string why_not(const std::string& header, std::size_t bytes) {
  const auto read = parse(file_of(header, bytes));
  return read ? "it was read" : read.error().what;
}

TEST(Safetensors, GivesEachTensorItsTypeItsShapeAndItsBytes) {
  const std::string file =
      file_of(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
                                      "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
              16);
  const auto read = parse(file);
  ASSERT_TRUE(read) << read.error().what;
  ASSERT_EQ(read->tensors().size(), 2U);
  const Tensor& b = read->tensors().at("b");
  EXPECT_EQ(b.stored, Stored::kBf16);
  EXPECT_EQ(b.shape, (std::vector<std::int64_t>{2, 3}));
  ASSERT_EQ(b.bytes.size(), 12U);
  EXPECT_EQ(std::to_integer<int>(b.bytes[0]), 4);
  EXPECT_EQ(read->tensors().at("a").count(), 1);
}

TEST(Safetensors, OfWhichSomethingIsMissingIsRefusedWithWhatItIs) {
  EXPECT_THAT(parse("123").error().what, HasSubstr("too short"));
  std::string file = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  file.resize(20);
  EXPECT_THAT(parse(file).error().what, HasSubstr("not whole"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), HasSubstr("download it again"));
  EXPECT_THAT(parse(std::string(8, '\xff') + "{}").error().what, HasSubstr("header"));
}

TEST(Safetensors, WhoseHeaderContradictsItselfIsRefused) {
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
              HasSubstr("shape and dtype say 12"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), HasSubstr("no range"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("unknown dtype"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), HasSubstr("no list of sizes"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8),
              HasSubstr("too large"));
  EXPECT_THAT(
      why_not(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[1],"data_offsets":[7,8]}})",
          8),
      HasSubstr("overlap"));
  EXPECT_THAT(why_not(R"([1])", 0), HasSubstr("no JSON object"));
  EXPECT_THAT(why_not(R"({"a":{"dtype":"F32","shape":[[[[[2]]]]],"data_offsets":[0,8]}})", 8),
              HasSubstr("no JSON object"));
  EXPECT_THAT(why_not(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("has no dtype"));
}

class CheckpointTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }
  std::string why_not() {
    const auto opened = Checkpoint::open(folder_.path());
    return opened ? "it was opened" : opened.error().what;
  }
  test::TemporaryFolder folder_;
};

TEST_F(CheckpointTest, OfSeveralFilesHasTheTensorsOfAll) {
  write("one.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2));
  write("two.safetensors", file_of(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3));
  write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto opened = Checkpoint::open(folder_.path());
  ASSERT_TRUE(opened) << opened.error().what;
  EXPECT_TRUE(opened->has("a"));
  ASSERT_NE(opened->find("b"), nullptr);
  float numbers[2];
  read_numbers(*opened->find("b"), 1, 2, numbers);
  EXPECT_EQ(numbers[1], 2);
}

TEST_F(CheckpointTest, ThatCannotBeReadSaysWhatToDo) {
  EXPECT_THAT(why_not(), HasSubstr("has neither model.safetensors nor"));
  write("pytorch_model.bin", "x");
  EXPECT_THAT(why_not(), HasSubstr("convert them to safetensors"));
  write("model.safetensors.index.json", R"({"weight_map":{"a":"../one.safetensors"}})");
  EXPECT_THAT(why_not(), HasSubstr("not in a file of this folder"));
  write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  EXPECT_THAT(why_not(), HasSubstr("one.safetensors: cannot be opened"));
  write("model.safetensors.index.json", "{");
  EXPECT_THAT(why_not(), HasSubstr("has no weight_map"));
  write("model.safetensors", "");
  EXPECT_THAT(why_not(), HasSubstr("is empty"));
}

/// KiB of the file that this process has in memory.
int kib_of(const std::filesystem::path& file) {
  std::ifstream in("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(in, line);) {
    if (line.find(" kB") == std::string::npos) here = line.ends_with(file.string());
    if (here && line.starts_with("Rss:")) return std::stoi(line.substr(4));
  }
  return -1;
}

TEST_F(CheckpointTest, LetsGoOfWhatItHasReadAndReadsItAgain) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  write("model.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[1048576],"data_offsets":[0,1048576]}})", kBytes));
  const auto checkpoint = Checkpoint::open(folder_.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().what;
  const Tensor* const a = checkpoint->find("a");
  const auto reads_all = [&] {
    for (std::size_t i = 0; i < kBytes; ++i)
      if (std::to_integer<std::size_t>(a->bytes[i]) != i % 256) return false;
    return true;
  };
  EXPECT_TRUE(reads_all());
  EXPECT_GE(kib_of(folder_.path() / "model.safetensors"), 1024);
  checkpoint->forget();
  EXPECT_EQ(kib_of(folder_.path() / "model.safetensors"), 0);
  EXPECT_TRUE(reads_all());
}

// Every e4m3 number, from its definition: sign, exponent less 7, mantissa in eighths.
TEST(Numbers, OfFp8AreReadExactly) {
  std::string file = file_of(R"({"a":{"dtype":"F8_E4M3","shape":[256],"data_offsets":[0,256]}})", 256);
  const auto read = parse(file);
  ASSERT_TRUE(read) << read.error().what;
  float numbers[256];
  read_numbers(read->tensors().at("a"), 0, 256, numbers);
  for (int bits = 0; bits < 256; ++bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double sign = bits & 128 ? -1 : 1;
    if (exponent == 15 && mantissa == 7) {
      EXPECT_TRUE(std::isnan(numbers[bits]));
    } else {
      const double value =
          exponent == 0 ? std::ldexp(mantissa / 8.0, -6) : std::ldexp(1 + mantissa / 8.0, exponent - 7);
      EXPECT_EQ(static_cast<double>(numbers[bits]), sign * value) << bits;
    }
  }
}

}  // namespace
}  // namespace orch::model
