// What changes parameters, and what moves numbers.
#include <cmath>

#include "kernels/gradient.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

Case adamw(std::int64_t n, float decay) {
  Case it;
  it.name = "AdamW_" + std::to_string(n) + (decay > 0 ? "_decay" : "");
  it.error = 1e-6;
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(n));
    const Numbers start = random.numbers(1, n, DType::kFp32);
    std::vector<Numbers> gradients;
    for (int step = 0; step < 3; ++step) gradients.push_back(random.numbers(1, n, DType::kFp32, 0.1));
    AdamW op;
    op.parameter = device.put(start, DType::kFp32);
    op.first = device.put(filled(1, n, 0), DType::kFp32);
    op.second = device.put(filled(1, n, 0), DType::kFp32);
    op.gradient_scale = 0.5F;
    op.rate = 0.01F;
    op.decay = decay;
    std::vector<AdamW> steps;
    for (int step = 1; step <= 3; ++step) {
      op.gradient = device.put(gradients[static_cast<std::size_t>(step - 1)], DType::kFp32);
      op.correction1 = static_cast<float>(1 - std::pow(0.9, step));
      op.correction2 = static_cast<float>(1 - std::pow(0.999, step));
      steps.push_back(op);
    }
    Prepared ready;
    ready.run = [&device, steps] {
      for (const AdamW& step : steps) device.backend().run(device.stream(), step);
    };
    ready.got = [&device, op] { return device.get(op.parameter).values; };
    // As the paper has it, in doubles.
    ready.want = [=] {
      std::vector<double> want = start.values, first(want.size()), second(want.size());
      for (int step = 1; step <= 3; ++step)
        for (std::size_t i = 0; i < want.size(); ++i) {
          const double g = 0.5 * gradients[static_cast<std::size_t>(step - 1)].values[i];
          first[i] = 0.9 * first[i] + 0.1 * g;
          second[i] = 0.999 * second[i] + 0.001 * g * g;
          const double m = first[i] / (1 - std::pow(0.9, step)), v = second[i] / (1 - std::pow(0.999, step));
          want[i] -= 0.01 * (m / (std::sqrt(v) + 1e-8) + static_cast<double>(decay) * want[i]);
        }
      return want;
    };
    return ready;
  };
  return it;
}

Case blend(std::int64_t n) {
  Case it;
  it.name = "Blend_" + std::to_string(n);
  it.error = 1e-6;
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(n));
    const Numbers x = random.numbers(1, n, DType::kFp32), y = random.numbers(1, n, DType::kFp32);
    const Blend op{device.put(x, DType::kFp32, 2), device.put(y, DType::kFp32), 0.25F};
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.x).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.x); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::size_t i = 0; i < x.values.size(); ++i) want.push_back(0.75 * x.values[i] + 0.25 * y.values[i]);
      return want;
    };
    return ready;
  };
  return it;
}

Case square_sum(std::int64_t n) {
  Case it;
  it.name = "SquareSum_" + std::to_string(n);
  it.error = 1e-12;
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(n));
    const Numbers x = random.numbers(1, n, DType::kFp32, 3);
    const SquareSum op{device.put(x, DType::kFp32), device.poisoned(1, 2, DType::kFp32)};
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] {
      const Numbers parts = device.get(op.sum);
      return std::vector<double>{parts.values[0] + parts.values[1]};
    };
    ready.want = [=] {
      double sum = 0;
      for (const double v : x.values) sum += v * v;
      return std::vector<double>{sum};
    };
    return ready;
  };
  return it;
}

Case copy(DType from, DType to) {
  Case it;
  it.name = "Copy_" + std::string(orch::name_of(from)) + "_" + std::string(orch::name_of(to));
  it.error = tolerance(to);
  it.prepare = [=](Device& device) {
    Random random(3);
    const Numbers x = random.numbers(5, 37, from);
    const Copy op{device.put(x, from, 1), 1.5F, device.poisoned(5, 37, to, 2)};
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.to).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.to); };
    ready.want = [=] {
      std::vector<double> want;
      for (const double v : x.values) want.push_back(1.5 * v);
      return want;
    };
    return ready;
  };
  return it;
}

Case scatter(DType dtype) {
  Case it;
  it.name = "Scatter_" + std::string(orch::name_of(dtype));
  it.prepare = [=](Device& device) {
    Random random(8);
    const Numbers x = random.numbers(3, 21, dtype);
    const Scatter op{device.put(x, dtype, 1), device.put({4, 0, 2}), device.poisoned(6, 21, dtype, 2)};
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      Numbers y = filled(6, 21, 0);
      const std::int64_t to[] = {4, 0, 2};
      for (std::int64_t r = 0; r < 3; ++r)
        for (std::int64_t c = 0; c < 21; ++c) y.at(to[r], c) = x.at(r, c);
      return y.values;
    };
    return ready;
  };
  return it;
}

/// A product with what was packed anew: of the second matrix of a stack, whose first stays as it was.
Case repack(std::int64_t rows, std::int64_t cols, DType dtype, bool gated, bool transposed) {
  Case it;
  it.name = "Repack_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" + std::to_string(cols) +
            (gated ? "_gated" : "") + (transposed ? "_transposed" : "");
  it.error = tolerance(DType::kFp32) * 2;
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows + cols));
    const Numbers x = random.numbers(3, 2 * cols, dtype), first = random.numbers(rows, cols, dtype),
                  second = random.numbers(rows, cols, dtype), fresh = random.numbers(rows, cols, DType::kFp32);
    Numbers given = fresh;
    if (transposed) {
      given = {{}, cols, rows};
      for (std::int64_t k = 0; k < cols; ++k)
        for (std::int64_t n = 0; n < rows; ++n) given.values.push_back(fresh.at(n, k));
    }
    HeadLinear product;
    product.x = device.put(x, dtype);
    product.x_stride = cols;
    product.weight = device.pack({first, second}, dtype, gated);
    product.y = device.poisoned(3, 2 * rows, DType::kFp32);
    product.y_stride = rows;
    // The test's own: the device gives out what others read.
    const Repack op{device.put(given, DType::kFp32, 2), transposed, const_cast<Weight*>(product.weight), 1};
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch, product] {
      device.backend().run(device.stream(), op, scratch);
      device.backend().run(device.stream(), product);
    };
    ready.got = [&device, product] { return device.get(product.y).values; };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < 3; ++r)
        for (int h = 0; h < 2; ++h)
          for (std::int64_t n = 0; n < rows; ++n) {
            double sum = 0;
            for (std::int64_t k = 0; k < cols; ++k)
              sum += x.at(r, h * cols + k) * (h == 0 ? first.at(n, k) : rounded(fresh.at(n, k), dtype));
            want.push_back(sum);
          }
      return want;
    };
    return ready;
  };
  return it;
}

/// Of a row's logits over two ranks, as the way back wants it.
Case log_sums(std::int64_t vocab) {
  Case it;
  it.name = "LogSums_" + std::to_string(vocab);
  it.error = 1e-6;
  it.prepare = [=](Device& device) {
    Random random(11);
    const std::int64_t rows = 3;
    CombineScores op;
    Numbers stats{{}, rows * 2, kScoreColumns};
    for (std::int64_t r = 0; r < rows * 2; ++r)
      for (const double v : {random.normal(), random.uniform(1, static_cast<double>(vocab)), 5.0})
        stats.values.push_back(rounded(v, DType::kFp32));
    op.stats = device.put(stats, DType::kFp32);
    op.ranks = 2;
    op.found = device.put(filled(0, 1, 0), DType::kFp32);
    op.starts = device.put(std::vector<std::int32_t>(static_cast<std::size_t>(rows) + 1, 0));
    op.best = device.poisoned_ints(rows);
    op.log_sums = device.poisoned(rows, 1, DType::kFp32);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.log_sums).values; };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < rows; ++r) {
        double total = 0;
        for (std::int64_t rank = 0; rank < 2; ++rank)
          total += stats.at(rank * rows + r, kSumExp) * std::exp(stats.at(rank * rows + r, kMax));
        want.push_back(std::log(total));
      }
      return want;
    };
    return ready;
  };
  return it;
}

/// A sum that goes elsewhere leaves its residual as it was.
Case sum_elsewhere(DType dtype) {
  Case it;
  it.name = "AddNorm_elsewhere_" + std::string(orch::name_of(dtype));
  it.error = 2 * tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(4);
    const Numbers residual = random.numbers(6, 50, dtype), delta = random.numbers(6, 50, dtype);
    auto norm = std::make_shared<Norm>(Norm{false, 1e-5F, {}, {}, false});
    AddNorm op;
    op.residual = device.put(residual, dtype);
    op.delta = device.put(delta, dtype);
    op.delta_scale = 0.5F;
    op.sum = device.poisoned(6, 50, dtype, 2);
    op.norm = norm.get();
    op.out = device.poisoned(6, 50, dtype, 1);
    Prepared ready;
    ready.run = [&device, op, norm] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] {
      std::vector<double> got;
      for (const Matrix& matrix : {op.residual, op.sum, op.out})
        for (const double v : device.get(matrix).values) got.push_back(v);
      return got;
    };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.sum) && device.is_spare_untouched(op.out); };
    ready.want = [=] {
      std::vector<double> sums, normed, want = residual.values;
      for (std::size_t i = 0; i < residual.values.size(); ++i)
        sums.push_back(rounded(residual.values[i] + 0.5 * delta.values[i], dtype));
      for (auto at = sums.begin(); at != sums.end(); at += 50)
        for (const double v : norm_of({at, at + 50}, false, 1e-5F, {}, {}, false)) normed.push_back(v);
      want.insert(want.end(), sums.begin(), sums.end());
      want.insert(want.end(), normed.begin(), normed.end());
      return want;
    };
    return ready;
  };
  return it;
}

}  // namespace

std::vector<Case> update_cases() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kH = DType::kFp16;
  std::vector<Case> cases;
  for (const std::int64_t n : {1, 37, 20000}) {
    cases.push_back(adamw(n, 0));
    cases.push_back(adamw(n, 0.1F));
    cases.push_back(blend(n));
    cases.push_back(square_sum(n));
  }
  for (const auto& [from, to] : {std::pair(kF, kB), std::pair(kB, kF), std::pair(kH, kF), std::pair(kF, kF)})
    cases.push_back(copy(from, to));
  for (const DType dtype : {kF, kB, kH})
    for (const bool transposed : {false, true}) {
      cases.push_back(repack(1, 1, dtype, false, transposed));
      cases.push_back(repack(70, 33, dtype, false, transposed));
      cases.push_back(repack(90, 47, dtype, true, transposed));
    }
  cases.push_back(scatter(kF));
  cases.push_back(scatter(kB));
  cases.push_back(log_sums(40));
  cases.push_back(sum_elsewhere(kF));
  cases.push_back(sum_elsewhere(kB));
  return cases;
}

}  // namespace orch::kernels::test
