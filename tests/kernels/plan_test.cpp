// The plan device counts what it is asked for, and has nothing behind it.
#include "kernels/plan/backend.h"

#include <gmock/gmock.h>

namespace orch::kernels {
namespace {

struct Nobody : RowReader {
  void read(std::int64_t, std::int64_t, std::int64_t, float*, float*) const override { FAIL() << "weights were read"; }
  const std::byte* stored(std::int64_t, std::int64_t, DType) const override {
    ADD_FAILURE() << "weights were looked for";
    return nullptr;
  }
};
const Nobody kNobody;

TEST(Plan, CountsWhatIsHeldAndWhatWasAtMost) {
  const auto plan = make_plan_backend();
  {
    const auto first = plan->allocate(std::size_t{1} << 40, "a tebibyte");
    const auto second = plan->allocate(100, "a little");
    ASSERT_TRUE(first && second);
    EXPECT_NE((*first)->data, (*second)->data);
    EXPECT_EQ(plan->bytes(), (std::size_t{1} << 40) + 100);
  }
  EXPECT_EQ(plan->bytes(), 0U);
  const auto later = plan->allocate(7, "less");
  EXPECT_EQ(plan->bytes(), 7U);
  EXPECT_EQ(plan->peak(), (std::size_t{1} << 40) + 100);
}

TEST(Plan, WeighsWeightsWithoutReadingThem) {
  const auto plan = make_plan_backend();
  const auto bf16 = plan->pack({1000, 3000, 2, DType::kBf16, true, false}, kNobody, "experts");
  const auto int8 = plan->pack({1000, 3000, 1, DType::kInt8, false, false}, kNobody, "a matrix");
  ASSERT_TRUE(bf16 && int8);
  EXPECT_EQ((*bf16)->bytes, 12'000'000U);
  EXPECT_EQ((*int8)->bytes, 3'004'000U) << "a scale of 4 bytes a row";
  EXPECT_EQ((*bf16)->count, 2);
  EXPECT_EQ(plan->bytes(), 15'004'000U);
}

// 16 tokens of 2 heads of 8: keys and values in bf16 1,024 bytes; in fp8 512 and 64 scales; a latent cache has one
// vector.
TEST(Plan, WeighsPagesOfTheCache) {
  const auto plan = make_plan_backend();
  EXPECT_EQ(plan->page_bytes({2, 8, 8, false, DType::kBf16}), 1024U);
  EXPECT_EQ(plan->page_bytes({2, 8, 8, false, DType::kFp8}), 512U + 64 * 4);
  EXPECT_EQ(plan->page_bytes({1, 24, 16, true, DType::kBf16}), 16U * 24 * 2);
}

TEST(Plan, IsFullWhereItsMemoryEnds) {
  const auto plan = make_plan_backend(1000);
  const auto first = plan->allocate(600, "a first");
  ASSERT_TRUE(first);
  const auto second = plan->allocate(401, "a second");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().what, "out of memory: no 401 B for a second");
  EXPECT_FALSE(plan->pack({1, 401, 1, DType::kInt8, false, false}, kNobody, "a third"));
  EXPECT_EQ(plan->peak(), 600U);
}

// 5 rows of 30 by 20 × 30: 2 · 5 · 30 · 20 operations; 5 · 30 + 5 · 20 numbers of 4 bytes and 20 · 30 of 2.
TEST(Plan, RecordsOpsWithTheirWork) {
  const auto plan = make_plan_backend();
  const auto stream = plan->make_stream();
  const auto memory = *plan->allocate(4096, "numbers");
  const auto weight = *plan->pack({20, 30, 1, DType::kBf16, false, false}, kNobody, "a matrix");
  Linear op;
  op.x = {memory->data, DType::kFp32, 5, 30, 32};
  op.weight = weight.get();
  op.y = {static_cast<std::byte*>(memory->data) + 1024, DType::kFp32, 5, 20, 20};
  plan->run(*stream, op);
  plan->run(*stream, op);
  std::int32_t token = 7;
  plan->download(*stream, &token, memory->data, sizeof token);
  EXPECT_EQ(token, 0);
  const PlannedOps& linear = plan->ops().at("Linear");
  EXPECT_EQ(linear.count, 2);
  EXPECT_EQ(linear.flops, 2 * 2 * 5 * 30 * 20);
  EXPECT_EQ(linear.bytes, 2 * ((5 * 30 + 5 * 20) * 4 + 20 * 30 * 2));
  EXPECT_EQ(plan->ops().at("Download").bytes, 4);
}

}  // namespace
}  // namespace orch::kernels
