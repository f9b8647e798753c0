#include "model/sources.h"

#include <gmock/gmock.h>

#include <cstring>
#include <fstream>

#include "support/families.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using testing::HasSubstr;

/// A copy of a small model's weights, in which something can be changed.
class SourcesTest : public testing::Test {
 protected:
  /// Replaces `from`, which is as long, in the header of the weights of a model; returns what find_sources says.
  std::string with(const std::string& model, const std::string& from, const std::string& to) {
    const auto folder = test::family_folder(model);
    std::ifstream in(folder / "model.safetensors", std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const std::size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    bytes.replace(at, from.size(), to);
    std::ofstream(folder_.path() / "model.safetensors", std::ios::binary) << bytes;
    const auto it = open_architecture(folder);
    const auto checkpoint = Checkpoint::open(folder_.path());
    if (!checkpoint) return checkpoint.error().what;
    const auto sources = find_sources(*it, *checkpoint, {});
    return sources ? "they were found" : sources.error().what;
  }
  test::TemporaryFolder folder_;
};

TEST_F(SourcesTest, OfWhichATensorIsMissingNameItAndTheFamily) {
  EXPECT_EQ(with("llama2", "model.norm.weight", "model.torm.weight"),
            "has no tensor model.norm.weight, which a model of the family 'llama' has");
  EXPECT_THAT(with("gemma2", "model.layers.1.pre_feedforward_layernorm.weight",
                   "model.layers.1.pre_feedforwarx_layernorm.weight"),
              HasSubstr("has no tensor model.layers.1.pre_feedforward_layernorm.weight"));
  EXPECT_THAT(
      with("deepseek_v3", "model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.experts.9.up_proj.weight"),
      HasSubstr("has no tensor model.layers.1.mlp.experts.3.up_proj.weight"));
}

TEST_F(SourcesTest, OfAnotherShapeSayBothShapes) {
  EXPECT_THAT(with("llama2", R"("shape":[96,32])", R"("shape":[32,96])"),
              HasSubstr("is 32 × 96, and the configuration says 96 × 32"));
  EXPECT_THAT(with("falcon_7b", R"("shape":[48,32])", R"("shape":[32,48])"),
              HasSubstr("is 32 × 48, and the configuration says 48 × 32"));
}

// Numbers whose meaning is told by scales of a kind that is not known must not be read as they stand.
TEST_F(SourcesTest, OfIntegersAreRefused) {
  EXPECT_THAT(with("llama_fp8_channel", R"("F8_E4M3")", R"(     "I8")"),
              HasSubstr("is stored as I8: weights are known as F32, F16, BF16, F64, and as fp8 with scales"));
}

TEST_F(SourcesTest, WhoseScalesAreMissingOrOfAnotherKindAreRefused) {
  EXPECT_EQ(
      with("llama_fp8_tensor", "model.layers.0.mlp.up_proj.weight_scale", "model.layers.0.mlp.up_proj.weight_stale"),
      "has no tensor model.layers.0.mlp.up_proj.weight_scale, which a model of the family 'llama' has");
  EXPECT_THAT(with("llama_fp8_channel", R"("shape":[56,1])", R"("shape":[1,56])"),
              HasSubstr("are 1 × 56: known are one, one a row, and one for each 128 × 128"));
}

}  // namespace
}  // namespace orch::model
