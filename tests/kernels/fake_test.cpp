// The fake device ends a program that does what kernels/ops.h and kernels/backend.h forbid. That its numbers are those
// of the backend beneath is in ops_test.cpp, and of whole models in tests/model and tests/infer.
#include "kernels/fake/backend.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/cpu/backend.h"

namespace orch::kernels {
namespace {

class Fake : public testing::Test {
 protected:
  static constexpr std::int64_t kSize = 8;

  void SetUp() override { GTEST_FLAG_SET(death_test_style, "fast"); }

  std::unique_ptr<Buffer> buffer(std::string_view what = "numbers", std::size_t bytes = kSize * sizeof(float)) {
    auto made = backend_->allocate(bytes, what);
    EXPECT_TRUE(made);
    return *std::move(made);
  }
  static Matrix row(const Buffer& buffer, std::int64_t cols = kSize) {
    return {buffer.data, DType::kFp32, 1, cols, cols};
  }
  std::vector<float> values_of(const Buffer& from) {
    std::vector<float> values(from.bytes / sizeof(float));
    backend_->download(*stream_, values.data(), from.data, from.bytes);
    EXPECT_TRUE(backend_->wait(*stream_));
    return values;
  }
  std::unique_ptr<Weight> weight(std::int64_t rows = kSize) {
    struct Ones : RowReader {
      void read(std::int64_t, std::int64_t, std::int64_t count, float* out, float*) const override {
        std::fill_n(out, count * kSize, 1.0F);
      }
      const std::byte* stored(std::int64_t, std::int64_t, DType) const override { return nullptr; }
    };
    auto packed = backend_->pack({rows, kSize, 1, DType::kFp32, false, false}, Ones(), "weights");
    EXPECT_TRUE(packed);
    return *std::move(packed);
  }

  std::unique_ptr<Backend> backend_ = make_fake_backend(make_cpu_backend({1, 0, {}}));
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
};
using FakeDeathTest = Fake;

TEST_F(Fake, RunsNothingBeforeItsStreamIsWaitedFor) {
  const auto there = buffer();
  std::vector<float> sent(kSize, 3), got(kSize, 0);
  backend_->upload(*stream_, there->data, sent.data(), there->bytes);
  backend_->download(*stream_, got.data(), there->data, there->bytes);
  EXPECT_TRUE(std::isnan(got.front())) << "who looks too early must see that there is nothing";
  ASSERT_TRUE(backend_->wait(*stream_));
  EXPECT_EQ(got, sent);
}

TEST_F(Fake, RunsSomeOpsEarlyAsItsSeedSays) {
  bool early = false, late = false;
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    const auto backend = make_fake_backend(make_cpu_backend({1, 0, {}}), {seed});
    const auto stream = backend->make_stream();
    const auto there = *backend->allocate(sizeof(float), "a number");
    float sent = 3, got = 0;
    backend->upload(*stream, there->data, &sent, sizeof sent);
    backend->download(*stream, &got, there->data, sizeof got);
    (std::isnan(got) ? late : early) = true;
    ASSERT_TRUE(backend->wait(*stream));
    EXPECT_EQ(got, 3);
  }
  EXPECT_TRUE(early);
  EXPECT_TRUE(late);
}

TEST_F(Fake, GivesMemoryThatHoldsNoNumbers) {
  for (const float value : values_of(*buffer())) EXPECT_TRUE(std::isnan(value));
}

TEST_F(Fake, PoisonsOutputsThatStoodThere) {
  const auto x = buffer(), y = buffer();
  const std::vector<float> ones(kSize, 1);
  backend_->upload(*stream_, x->data, ones.data(), x->bytes);
  backend_->upload(*stream_, y->data, ones.data(), y->bytes);
  const auto narrow = weight(kSize / 2);
  Linear op;
  op.x = row(*x);
  op.weight = narrow.get();
  op.y = row(*y);  // twice as wide as what is computed
  backend_->run(*stream_, op);
  const std::vector<float> values = values_of(*y);
  EXPECT_EQ(values.front(), kSize);
  EXPECT_TRUE(std::isnan(values.back())) << "what an op was to write and did not is no number";
}

TEST_F(Fake, ReadsWhatAnOpIsToldWhenItIsEnqueued) {
  const auto x = buffer(), out = buffer();
  const std::vector<float> twos(kSize, 2);
  backend_->upload(*stream_, x->data, twos.data(), x->bytes);
  auto norm = std::make_unique<Norm>();
  AddNorm op;
  op.residual = row(*x);
  op.norm = norm.get();
  op.out = row(*out);
  backend_->run(*stream_, op);
  norm->eps = 1e6F;
  norm.reset();
  op = {};
  EXPECT_NEAR(values_of(*out).front(), 1, 1e-6);
}

// The same memory of the host, to the device and back: in order, as a GPU does it.
TEST_F(Fake, BringsBackToWhereItCameFrom) {
  const auto there = buffer();
  std::vector<float> host(kSize, 3);
  backend_->upload(*stream_, there->data, host.data(), there->bytes);
  backend_->clear(*stream_, there->data, sizeof(float));
  backend_->download(*stream_, host.data(), there->data, 2 * sizeof(float));
  EXPECT_TRUE(std::isnan(host[1]));
  ASSERT_TRUE(backend_->wait(*stream_));
  EXPECT_EQ(host, (std::vector<float>{0, 3, 3, 3, 3, 3, 3, 3}));
}

TEST_F(Fake, HasTheMemoryOfTheBackendBeneath) {
  const auto small = make_fake_backend(make_cpu_backend({1, 1000, {}}));
  auto first = small->allocate(600, "a first");
  ASSERT_TRUE(first);
  const auto second = small->allocate(600, "a second");
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, testing::HasSubstr("out of memory"));
  *first = nullptr;
  EXPECT_TRUE(small->allocate(600, "a third"));
}

TEST_F(FakeDeathTest, EndsAHostThatLooksAtItsMemory) {
  const auto there = buffer("the cache");
  EXPECT_DEATH(static_cast<void>(+static_cast<volatile const float*>(there->data)[0]),
               "fake device: the host touched byte 0 of the 32 of the cache");
  EXPECT_DEATH(static_cast<volatile float*>(there->data)[1] = 0, "the host touched byte 4 of the 32 of the cache");
  void* const gone = buffer()->data;
  EXPECT_DEATH(static_cast<volatile float*>(gone)[0] = 0, "the host touched memory that was given back");
}

TEST_F(FakeDeathTest, EndsAnOpThatTouchesWhatItWasNotGiven) {
  const auto x = buffer(), weight_there = buffer("a norm's weight"), out = buffer();
  // Its view says one number, and its rows have 8.
  Norm norm;
  norm.weight = row(*weight_there, 0);
  AddNorm op;
  op.residual = row(*x);
  op.norm = &norm;
  op.out = row(*out);
  EXPECT_DEATH(
      {
        backend_->run(*stream_, op);
        std::ignore = backend_->wait(*stream_);
      },
      "AddNorm touched byte 0 of the 32 of a norm's weight, which it was not given");
}

TEST_F(FakeDeathTest, EndsWhoFreesWhatAnOpWillUse) {
  auto x = buffer("the hidden states"), y = buffer();
  auto ones = weight();
  Linear op;
  op.x = row(*x);
  op.weight = ones.get();
  op.y = row(*y);
  EXPECT_DEATH(
      {
        backend_->run(*stream_, op);
        x.reset();
      },
      "the hidden states was freed while Linear had not run");
  EXPECT_DEATH(
      {
        backend_->run(*stream_, op);
        ones.reset();
      },
      "weights were freed while Linear had not run");
  EXPECT_DEATH(
      {
        backend_->run(*stream_, op);
        stream_.reset();
      },
      "a stream was given up while Linear had not run");
}

TEST_F(FakeDeathTest, EndsWhoChangesWhatIsOnItsWay) {
  const auto there = buffer();
  std::vector<float> sent(kSize, 3);
  EXPECT_DEATH(
      {
        backend_->upload(*stream_, there->data, sent.data(), there->bytes);
        sent[5] = 4;
        std::ignore = backend_->wait(*stream_);
      },
      "the bytes of an upload changed before it had run");
}

TEST_F(FakeDeathTest, EndsWhoGivesItTheHostsMemory) {
  std::vector<float> host(kSize);
  const auto there = buffer();
  Gather op;
  op.x = {host.data(), DType::kFp32, 1, kSize, kSize};
  EXPECT_DEATH(backend_->run(*stream_, op), "Gather was given 32 bytes that are not in one buffer of this device");
  EXPECT_DEATH(backend_->clear(*stream_, there->data, there->bytes + 1), "a clear was given 33 bytes");
}

TEST_F(FakeDeathTest, EndsStreamsThatMeet) {
  const auto other = backend_->make_stream();
  const auto there = buffer();
  std::vector<float> got(kSize);
  EXPECT_DEATH(
      {
        backend_->clear(*stream_, there->data, there->bytes);
        backend_->download(*other, got.data(), there->data, there->bytes);
      },
      "a download uses what a clear uses in another stream");
  // Both may read.
  backend_->download(*stream_, got.data(), there->data, 4);
  backend_->download(*other, got.data() + 1, there->data, 4);
  ASSERT_TRUE(backend_->wait(*other));
  ASSERT_TRUE(backend_->wait(*stream_));
}

TEST_F(FakeDeathTest, EndsWhoGivesTooLittleScratch) {
  const auto there = buffer("all", 4096);
  Sample op;
  op.logits = row(*there);
  const std::size_t wanted = backend_->scratch(op);
  const std::span<std::byte> scratch(static_cast<std::byte*>(there->data) + 1024, wanted - 1);
  EXPECT_DEATH(backend_->run(*stream_, op, scratch), "Sample wants 64 bytes of scratch and got 63");
}

}  // namespace
}  // namespace orch::kernels
