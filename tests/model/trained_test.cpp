// Folders of models that were trained in full. That a real one computes as the model did: tests/train.
#include "model/trained.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "model/safetensors_writer.h"
#include "support/families.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using testing::Contains, testing::HasSubstr;
namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Checkpoint opened(const fs::path& folder) {
  auto checkpoint = Checkpoint::open(folder);
  if (!checkpoint) throw std::runtime_error(checkpoint.error().what);
  return *std::move(checkpoint);
}

std::vector<float> numbers_of(const Tensor& tensor) {
  std::vector<float> numbers(static_cast<std::size_t>(tensor.count()));
  read_numbers(tensor, 0, tensor.count(), numbers.data());
  return numbers;
}

std::string bytes_of_tensor(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

/// A base, and all of its numbers, halved and 1 more: what bf16 holds stays near.
class TrainedFolder : public testing::Test {
 protected:
  void use(const std::string& family) {
    base_ = test::family_folder(family);
    trained_.clear();
    const Checkpoint checkpoint = opened(base_);
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      if (name.ends_with("e_score_correction_bias")) continue;
      for (const float number : numbers_of(tensor)) trained_[name].push_back(number / 2 + 1);
    }
  }
  Result<Rewritten> write(std::optional<DType> dtype = {}) {
    return write_trained(base_, {trained_.begin(), trained_.end()}, out(), dtype);
  }
  /// Why it cannot be written. Nothing may be left of it.
  std::string why_not(std::optional<DType> dtype = {}) {
    const auto written = write(dtype);
    if (written) return "it was written";
    EXPECT_FALSE(fs::exists(out()));
    EXPECT_FALSE(fs::exists(out().string() + ".new"));
    return written.error().what;
  }
  fs::path out() const { return folder_ / "model"; }

  test::TemporaryFolder folder_;
  fs::path base_;
  Tensors trained_;
};

TEST_F(TrainedFolder, HasTheNewNumbersAndTheBasesFiles) {
  for (const char* family : {"llama3", "gpt2_bare", "dbrx", "deepseek_v3", "qwen3"}) {
    SCOPED_TRACE(family);
    use(family);
    const auto written = write(DType::kFp32);
    ASSERT_TRUE(written) << written.error().what;
    EXPECT_EQ(written->changed.size(), trained_.size());
    EXPECT_THAT(written->copied, Contains("config.json"));
    EXPECT_EQ(text_of(out() / "config.json"), text_of(base_ / "config.json"));
    const Checkpoint before = opened(base_), after = opened(out());
    ASSERT_EQ(after.tensors().size(), before.tensors().size());
    for (const auto& [name, tensor] : after.tensors()) {
      EXPECT_EQ(tensor.shape, before.find(name)->shape) << name;
      if (trained_.contains(name)) {
        EXPECT_EQ(tensor.stored, Stored::kF32) << name;
        EXPECT_EQ(numbers_of(tensor), trained_.at(name)) << name;
      } else {
        EXPECT_EQ(bytes_of_tensor(tensor), bytes_of_tensor(*before.find(name))) << name << " is no parameter";
      }
    }
    fs::remove_all(out());
  }
}

TEST_F(TrainedFolder, IsStoredAsTheBaseAndRoundedOnce) {
  use("llama3");
  ASSERT_TRUE(write());
  // Files are cut as the base's are, and none has grown.
  EXPECT_EQ(text_of(out() / "model.safetensors.index.json"), text_of(base_ / "model.safetensors.index.json"));
  const Checkpoint checkpoint = opened(out());
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    EXPECT_EQ(tensor.stored, Stored::kBf16) << name;
    const std::vector<float> numbers = numbers_of(tensor);
    // bf16 has 8 bits of a number: the nearest is within 2^-8 of it.
    for (std::size_t i = 0; i < numbers.size(); ++i)
      ASSERT_LE(std::fabs(numbers[i] - trained_.at(name)[i]), 0x1p-8F * std::fabs(trained_.at(name)[i])) << name;
  }
}

// transformers reads such a head and then ties it; other programs take it as it is.
TEST_F(TrainedFolder, OfATiedModelHasOneEmbeddingUnderBothNames) {
  use("qwen3");
  ASSERT_TRUE(write());
  EXPECT_FALSE(opened(out()).has("lm_head.weight"));
  fs::remove_all(out());

  fs::copy(base_, folder_ / "twice");
  const Checkpoint checkpoint = opened(base_);
  std::map<std::string, WrittenTensor> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors()) tensors[name] = {tensor.stored, tensor.shape, tensor.bytes};
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  ASSERT_TRUE(write_safetensors(folder_ / "twice/model.safetensors", tensors));
  base_ = folder_ / "twice";
  ASSERT_TRUE(write(DType::kFp32));
  EXPECT_EQ(numbers_of(*opened(out()).find("lm_head.weight")), trained_.at("model.embed_tokens.weight"));
}

TEST_F(TrainedFolder, IsOfAllParametersOrNotWritten) {
  use("llama3");
  auto head = trained_.extract("lm_head.weight");
  EXPECT_THAT(why_not(), HasSubstr("tensor lm_head.weight is not among what was trained"));
  head.key() = "lm_head.wait";
  trained_.insert(std::move(head));
  EXPECT_THAT(why_not(), HasSubstr("lm_head.weight is not among"));
  use("llama3");
  trained_["model.norm.bias"] = {1};
  EXPECT_THAT(why_not(), HasSubstr("there is no parameter model.norm.bias, which was trained"));
  use("llama3");
  trained_.at("model.norm.weight").pop_back();
  EXPECT_THAT(why_not(), HasSubstr("tensor model.norm.weight is 32, and what was trained has 31 numbers"));
}

TEST_F(TrainedFolder, HasNoNumbersThatAreNone) {
  use("llama3");
  trained_.at("model.norm.weight")[3] = NAN;
  EXPECT_THAT(why_not(),
              HasSubstr("model.norm.weight has numbers that are not finite; nothing is left of the trained"));
  trained_.at("model.norm.weight")[3] = 1e6F;
  EXPECT_THAT(why_not(DType::kFp16), HasSubstr("model.norm.weight gets numbers that are too large for F16"));
}

TEST_F(TrainedFolder, CannotBeOfWhatIsStoredInFewerBits) {
  for (const char* family : {"llama_fp8_tensor", "llama_fp8_block", "llama_fp8_channel", "deepseek_v3_fp8"}) {
    use(family);
    for (const auto dtype : {std::optional<DType>(), std::optional(DType::kBf16)})
      EXPECT_THAT(why_not(dtype), HasSubstr("is stored as F8_E4M3, where what was trained has no room; train the "
                                            "checkpoint in 16 or 32 bits that it was made from"));
  }
  use("llama3");
  EXPECT_EQ(why_not(DType::kInt8), "trained tensors are stored as fp32, bf16 or fp16, not int8");
}

TEST_F(TrainedFolder, IsNeverWrittenWhereSomethingIs) {
  use("llama3");
  ASSERT_TRUE(write());
  const auto again = write();
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().what, HasSubstr("is there already; a trained model is written to a new folder"));
  fs::remove_all(out());
  fs::create_directory(out().string() + ".new");
  const auto aside = write();
  ASSERT_FALSE(aside);
  EXPECT_THAT(aside.error().what, HasSubstr("model.new is there: another run is writing it, or was cut off"));
}

}  // namespace
}  // namespace orch::model
