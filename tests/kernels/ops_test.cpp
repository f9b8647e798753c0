// Every op of the backends that this machine has, against its definition.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cases.h"
#include "kernels/cpu/backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/fake/backend.h"

namespace orch::kernels::test {

namespace {

struct Place {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
};

/// All loops that this processor has, by one thread and by two, then the best ones late and on a device of their own.
std::vector<Place> places() {
  std::vector<Place> all;
  for (const cpu::Loops* loops : cpu::all_loops())
    for (const int threads : {1, 2})
      all.push_back({std::string(loops->name) + ", " + std::to_string(threads) + " threads", [=] {
                       return make_cpu_backend({threads, 0, loops->name});
                     }});
  for (const std::uint64_t seed : {0U, 7U})
    all.push_back({"fake, seed " + std::to_string(seed), [=] {
                     return make_fake_backend(make_cpu_backend({1, 0, {}}), {seed});
                   }});
  return all;
}

void check(const std::vector<Case>& cases) {
  for (const Case& it : cases) {
    std::vector<double> want, first;
    for (const Place& place : places()) {
      SCOPED_TRACE(it.name + ", " + place.name);
      const auto backend = place.make();
      Device device(*backend);
      const Prepared ready = it.prepare(device);
      ready.run();
      if (want.empty()) want = ready.want();
      const std::vector<double> got = ready.got();
      ASSERT_EQ(got.size(), want.size());
      double wrong = 0, size = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_FALSE(std::isnan(got[i])) << "number " << i << " of " << got.size() << " was not written, or is none";
        wrong += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
      }
      EXPECT_LE(std::sqrt(wrong), it.error * std::sqrt(size)) << "a share of " << std::sqrt(wrong / size);
      EXPECT_TRUE(ready.untouched()) << "memory behind the rows was written";
      if (first.empty()) first = got;
      if (backend->name() == "fake") EXPECT_EQ(got, first) << "not the numbers of the loops beneath";
    }
  }
}

TEST(Ops, ProductsAgreeWithTheirDefinition) { check(linear_cases()); }
TEST(Ops, NormsAgreeWithTheirDefinition) { check(row_cases()); }
TEST(Ops, AttentionAgreesWithItsDefinition) { check(attention_cases()); }
TEST(Ops, ExpertsAgreeWithTheirDefinition) { check(expert_cases()); }
TEST(Ops, ProductsOfExpertsOneByOneAgreeWithTheirDefinition) { check(routed_cases()); }
TEST(Ops, ScoresAgreeWithTheirDefinition) { check(score_cases()); }

TEST(WayBack, ThroughProductsIsTheirGradient) { check(linear_back_cases()); }
TEST(WayBack, ThroughNormsAndActivationsIsTheirGradient) { check(row_back_cases()); }
TEST(WayBack, ThroughAttentionIsItsGradient) { check(attention_back_cases()); }
TEST(WayBack, ThroughExpertsAndScoresIsTheirGradient) { check(choice_back_cases()); }
TEST(Updates, AgreeWithTheirDefinition) { check(update_cases()); }

TEST(Ops, HasMoreThanOneKindOfLoopsToCompare) {
  EXPECT_EQ(cpu::all_loops().back()->name, "base");
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) EXPECT_GE(cpu::all_loops().size(), 2U);
#endif
}

std::vector<double> result_of(const Case& it, std::string_view loops) {
  const auto backend = make_cpu_backend({2, 0, loops});
  Device device(*backend);
  const Prepared ready = it.prepare(device);
  ready.run();
  return ready.got();
}

// What makes a sample's numbers its own: house invariant 6, bit for bit.
TEST(Attention, IsTheSameHoweverItsPagesAreCutAndHoweverItsTokensCame) {
  for (const cpu::Loops* loops : cpu::all_loops())
    for (const std::vector<Case>& same : attention_of_the_same()) {
      const std::vector<double> first = result_of(same.front(), loops->name);
      for (const Case& other : same) {
        const std::vector<double> got = result_of(other, loops->name);
        // Of what came in several steps the last rows are there.
        ASSERT_LE(got.size(), first.size());
        EXPECT_TRUE(std::equal(got.rbegin(), got.rend(), first.rbegin())) << other.name << ", " << loops->name;
      }
    }
}

// As in every other format: an answer that is none must not look like one.
TEST(Linear, OfInt8GivesNaNForARowThatIsNotFinite) {
  for (const cpu::Loops* loops : cpu::all_loops()) {
    const auto backend = make_cpu_backend({1, 0, loops->name});
    Device device(*backend);
    const double inf = std::numeric_limits<double>::infinity();
    const Numbers weights{{inf, 1, 2, 4, -std::nan(""), 0}, 3, 2};
    Linear op;
    op.x = device.put({{1, 1}, 1, 2}, DType::kFp32);
    op.weight = device.pack(weights, DType::kInt8);
    op.y = device.poisoned(1, 3, DType::kFp32);
    backend->run(device.stream(), op);
    const std::vector<double> y = device.get(op.y).values;
    EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[2])) << y[0] << ", " << y[2];
    EXPECT_NEAR(y[1], 6, 4.0 / 127);
  }
}

// A checkpoint's numbers are laid out without a look at them where they are stored as they are kept.
TEST(Weights, AreTheSameFromNumbersAndAsTheyAreStored) {
  for (const cpu::Loops* loops : cpu::all_loops())
    for (const DType dtype : {DType::kFp32, DType::kBf16})
      for (const auto& [rows, cols, gated] : {std::tuple(1, 1, false), std::tuple(70, 33, false),
                                              std::tuple(130, 256, false), std::tuple(90, 47, true)}) {
        const auto backend = make_cpu_backend({2, 0, loops->name});
        Device device(*backend);
        Random random(5);
        const Numbers x = random.numbers(3, cols, dtype);
        const std::vector<Numbers> stack = {random.numbers(rows, cols, dtype), random.numbers(rows, cols, dtype)};
        const auto product = [&, cols = cols, rows = rows, gated = gated](DType stored) {
          HeadLinear op;
          op.x = device.put(x, dtype);
          op.x_stride = 0;
          op.weight = device.pack(stack, dtype, gated, stored);
          op.y = device.poisoned(3, 2 * rows, DType::kFp32);
          op.y_stride = rows;
          backend->run(device.stream(), op);
          return device.get(op.y).values;
        };
        const auto of_numbers = product(DType::kFp16);
        EXPECT_EQ(product(dtype), of_numbers) << loops->name << ", " << rows << " × " << cols;
        EXPECT_FALSE(std::isnan(of_numbers.back()));
      }
}

// The log of what a query's weights were divided by: log Σ exp of its scores, which with keys of 0 are all 0.
TEST(Attention, TellsTheLogarithmOfItsDivisor) {
  const auto backend = make_cpu_backend({1, 0, {}});
  Device device(*backend);
  Attention op;
  op.q = device.put(Numbers{std::vector<double>(3 * 8, 1.0), 3, 8}, DType::kFp32);
  op.heads = 1;
  op.cache = device.cache({1, 8, 8, false, DType::kFp32}, 1);
  Rotary fill;
  fill.qkv = device.put(Numbers{std::vector<double>(3 * 24, 0.0), 3, 24}, DType::kFp32);
  fill.heads = 1;
  fill.positions = fill.slots = device.put({0, 1, 2});
  fill.cache = op.cache;
  fill.q = device.poisoned(3, 8, DType::kFp32);
  backend->run(device.stream(), fill);
  op.scale = 1;
  op.sequences = {device.put({0, 3}), device.put({3}), device.put({0, 0, 3}), 1, 1, 3, 3};
  op.out = device.poisoned(3, 8, DType::kFp32);
  op.log_sums = device.poisoned(3, 1, DType::kFp32);
  backend->run(device.stream(), op, device.scratch(backend->scratch(op)));
  const std::vector<double> sums = device.get(op.log_sums).values;
  for (int t = 0; t < 3; ++t) EXPECT_NEAR(sums[static_cast<std::size_t>(t)], std::log(t + 1), 1e-6);
}

// 4,000 numbers: of a rate of 0.3 between 1,100 and 1,300 are dropped but once in 10^11 tries; this seed is fixed.
TEST(Dropout, DropsByNameAndColumnAndIsItsOwnWayBack) {
  for (const cpu::Loops* loops : cpu::all_loops()) {
    const auto backend = make_cpu_backend({2, 0, loops->name});
    Device device(*backend);
    const auto dropped = [&](std::vector<std::int32_t> names, std::uint64_t key, std::int64_t first,
                             std::int64_t cols) {
      const auto rows = static_cast<std::int64_t>(names.size());
      Dropout op;
      op.x = device.put(Numbers{std::vector<double>(static_cast<std::size_t>(rows * cols), 2.0), rows, cols},
                        DType::kFp32);
      op.rate = 0.3F;
      op.key = key;
      op.names = device.put(std::move(names));
      op.first = first;
      op.y = device.poisoned(rows, cols, DType::kFp32);
      backend->run(device.stream(), op);
      return device.get(op.y);
    };
    const Numbers all = dropped({5, 900, 7, 8}, 42, 0, 1000);
    std::int64_t zeros = 0;
    for (const double v : all.values) {
      if (v == 0)
        ++zeros;
      else
        EXPECT_NEAR(v, 2 / 0.7, 1e-6);
    }
    EXPECT_GT(zeros, 1100);
    EXPECT_LT(zeros, 1300);
    // Another order, and another rank's columns: the same numbers by name and column.
    const Numbers some = dropped({8, 900}, 42, 300, 50);
    for (std::int64_t c = 0; c < 50; ++c) {
      EXPECT_EQ(some.at(0, c), all.at(3, 300 + c));
      EXPECT_EQ(some.at(1, c), all.at(1, 300 + c));
    }
    EXPECT_NE(dropped({5, 900, 7, 8}, 43, 0, 1000).values, all.values) << "another key";
    EXPECT_NE(std::vector<double>(all.values.begin(), all.values.begin() + 1000),
              std::vector<double>(all.values.begin() + 1000, all.values.begin() + 2000))
        << "another name";
  }
}

TEST(SquareSum, IsNotFiniteWhereANumberIsNot) {
  for (const cpu::Loops* loops : cpu::all_loops())
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      const auto backend = make_cpu_backend({2, 0, loops->name});
      Device device(*backend);
      Numbers x{std::vector<double>(40000, 1.0), 1, 40000};
      x.values[39999] = bad;
      const SquareSum op{device.put(x, DType::kFp32), device.poisoned(1, 2, DType::kFp32)};
      backend->run(device.stream(), op, device.scratch(backend->scratch(op)));
      const std::vector<double> parts = device.get(op.sum).values;
      EXPECT_FALSE(std::isfinite(parts[0] + parts[1]));
    }
}

TEST(Linear, GivesARowTheSameNumbersAloneAndAmongOthers) {
  for (const cpu::Loops* loops : cpu::all_loops())
    for (const auto& [x_type, weight_type] :
         {std::pair(DType::kFp32, DType::kFp32), std::pair(DType::kBf16, DType::kBf16),
          std::pair(DType::kFp16, DType::kFp16), std::pair(DType::kBf16, DType::kInt8)}) {
      const auto backend = make_cpu_backend({2, 0, loops->name});
      Device device(*backend);
      Random random(11);
      const Numbers x = random.numbers(103, 2500, x_type);
      const Weight* weight = device.pack(random.numbers(130, 2500, DType::kBf16), weight_type);
      const auto product = [&](std::int64_t from, std::int64_t count) {
        Linear op;
        op.x = rows(device.put(x, x_type), from, count);
        op.weight = weight;
        op.y = device.poisoned(count, 130, DType::kFp32);
        backend->run(device.stream(), op);
        return device.get(op.y).values;
      };
      const std::vector<double> all = product(0, 103);
      for (const auto& [from, count] : {std::pair(0, 1), std::pair(102, 1), std::pair(50, 5), std::pair(3, 97)}) {
        const std::vector<double> some = product(from, count);
        EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + from * 130))
            << loops->name << ", " << count << " rows";
      }
    }
}

}  // namespace
}  // namespace orch::kernels::test
