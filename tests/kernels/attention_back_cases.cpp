// The way back through attention, against central differences.
#include <cmath>

#include "kernels/gradient.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

struct Shape {
  std::string name;
  int heads, kv_heads, dim;
  std::vector<int> lengths;
  std::int64_t window = 0;
  double soft_cap = 0;
  bool alibi = false, latent = false;
  int value_dim = 0;  ///< of latent attention
  int cut = 16;       ///< tokens of a page
};

/// Σ dout · attention, in doubles. Of latent attention `v` is not looked at: a value is the beginning of its key.
double attended(const Shape& shape, const Numbers& q, const Numbers& k, const Numbers& v, const Numbers& dout,
                const std::vector<double>& slopes) {
  const int value_dim = shape.latent ? shape.value_dim : shape.dim, group = shape.heads / shape.kv_heads;
  double sum = 0;
  std::int64_t first = 0;
  for (const int length : shape.lengths) {
    for (int t = 0; t < length; ++t)
      for (int h = 0; h < shape.heads; ++h) {
        const int from = shape.window > 0 ? std::max<int>(0, t + 1 - static_cast<int>(shape.window)) : 0;
        std::vector<double> weights;
        double total = 0;
        for (int p = from; p <= t; ++p) {
          double score = 0;
          for (int i = 0; i < shape.dim; ++i)
            score += q.at(first + t, h * shape.dim + i) * k.at(first + p, h / group * shape.dim + i);
          score /= std::sqrt(static_cast<double>(shape.dim));
          if (shape.soft_cap > 0) score = shape.soft_cap * std::tanh(score / shape.soft_cap);
          if (shape.alibi) score += slopes[static_cast<std::size_t>(h)] * (p - t);
          weights.push_back(std::exp(score));
          total += weights.back();
        }
        for (int p = from; p <= t; ++p)
          for (int i = 0; i < value_dim; ++i) {
            const double value =
                shape.latent ? k.at(first + p, h / group * shape.dim + i) : v.at(first + p, h / group * shape.dim + i);
            sum += dout.at(first + t, h * value_dim + i) * weights[static_cast<std::size_t>(p - from)] / total * value;
          }
      }
    first += length;
  }
  return sum;
}

std::vector<Case> attention_back(const Shape& shape, DType dtype) {
  const std::string name = "AttentionBack_" + shape.name + "_" + std::string(orch::name_of(dtype));
  // Weights are had from rounded keys, and what comes back is the difference of two numbers of one size.
  const double error = dtype == DType::kFp32 ? 2e-5 : 4 * tolerance(dtype);
  return gradient_cases(name, dtype, error, shape.latent ? 2 : 3, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(shape.dim * 7 + shape.heads));
    std::int64_t rows = 0, longest = 0;
    for (const int length : shape.lengths) rows += length, longest = std::max<std::int64_t>(longest, length);
    const int value_dim = shape.latent ? shape.value_dim : shape.dim;
    const std::int64_t q_wide = shape.heads * shape.dim, k_wide = shape.kv_heads * shape.dim;
    const Numbers q = random.numbers(rows, q_wide, dtype), k = random.numbers(rows, k_wide, dtype),
                  v = random.numbers(rows, k_wide, dtype), dout = random.numbers(rows, shape.heads * value_dim, dtype);
    Numbers slopes{{}, 1, shape.heads};
    for (int h = 0; h < shape.heads; ++h) slopes.values.push_back(rounded(std::pow(0.5, h + 1), DType::kFp32));

    // Pages are filled by the op that fills them for inference; they hold less than they could, and begin anywhere.
    std::vector<std::int32_t> starts = {0}, lengths, slots, positions, table;
    std::int32_t pages = 0;
    const std::int64_t width = (longest + shape.cut - 1) / shape.cut;
    for (const int length : shape.lengths) {
      starts.push_back(starts.back() + length);
      lengths.push_back(length);
      for (std::int64_t entry = 0; entry < width; ++entry) {
        const auto count = static_cast<std::int32_t>(std::min<std::int64_t>(shape.cut, length - entry * shape.cut));
        const std::int32_t slot = static_cast<std::int32_t>(entry % (kPageTokens - shape.cut + 1));
        if (count <= 0) {
          table.insert(table.end(), {1 << 20, 0, 0});  // never looked at
          continue;
        }
        table.insert(table.end(), {pages, slot, count});
        for (std::int32_t t = 0; t < count; ++t) slots.push_back(pages * kPageTokens + slot + t);
        ++pages;
      }
      for (std::int32_t t = 0; t < length; ++t) positions.push_back(t);
    }
    const KvShape kv{shape.kv_heads, shape.dim, value_dim, shape.latent, dtype};
    const KvCache cache = device.cache(kv, pages);
    if (shape.latent) {
      LatentRotary fill;
      fill.q_turned = device.put(filled(rows, shape.heads * shape.dim, 0), dtype);
      fill.heads = shape.heads;
      fill.q_from = value_dim;
      fill.q_stride = shape.dim;
      fill.kv = device.put(k, dtype);
      fill.rotation = {shape.dim - value_dim, false,
                       device.put(filled(1, (shape.dim - value_dim) / 2, 0), DType::kFp32), 1};
      fill.positions = device.put(positions);
      fill.slots = device.put(slots);
      fill.cache = cache;
      fill.q = device.put(filled(rows, q_wide, 0), dtype);
      device.backend().run(device.stream(), fill);
    } else {
      Numbers both{{}, rows, q_wide + 2 * k_wide};
      for (std::int64_t r = 0; r < rows; ++r)
        for (const Numbers* part : {&q, &k, &v})
          for (std::int64_t c = 0; c < part->cols; ++c) both.values.push_back(part->at(r, c));
      Rotary fill;
      fill.qkv = device.put(both, dtype);
      fill.heads = shape.heads;
      fill.positions = device.put(positions);
      fill.slots = device.put(slots);
      fill.cache = cache;
      fill.q = device.poisoned(rows, q_wide, dtype);
      device.backend().run(device.stream(), fill);
    }

    Attention forward;
    forward.q = device.put(q, dtype);
    forward.heads = shape.heads;
    forward.cache = cache;
    forward.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.dim)));
    forward.soft_cap = static_cast<float>(shape.soft_cap);
    forward.window = shape.window;
    if (shape.alibi) forward.slopes = device.put(slopes, DType::kFp32);
    forward.sequences = {device.put(starts),
                         device.put(lengths),
                         device.put(table),
                         static_cast<std::int64_t>(lengths.size()),
                         width,
                         longest,
                         longest};
    forward.out = device.poisoned(rows, shape.heads * value_dim, dtype);
    forward.log_sums = device.poisoned(rows, shape.heads, DType::kFp32);
    AttentionBack op;
    op.forward = forward;
    op.dout = device.put(dout, dtype, 1);
    op.dq = device.poisoned(rows, q_wide, dtype, 2);
    op.dk = device.poisoned(rows, k_wide, dtype, 3);
    if (!shape.latent) op.dv = device.poisoned(rows, k_wide, dtype, 1);
    const std::span<std::byte> first = device.scratch(device.backend().scratch(forward));
    const std::span<std::byte> second = device.scratch(device.backend().scratch(op));
    Question question;
    question.point = {q, k, v};
    question.run = [&device, op, first, second] {
      device.backend().run(device.stream(), op.forward, first);
      device.backend().run(device.stream(), op, second);
    };
    question.answers = {{0, op.dq}, {1, op.dk}, {2, op.dv}};
    question.value = [=](const Point& at) { return attended(shape, at[0], at[1], at[2], dout, slopes.values); };
    return question;
  });
}

}  // namespace

std::vector<Case> attention_back_cases() {
  std::vector<Case> cases;
  const std::vector<Shape> shapes = {
      {"few_tokens", 2, 1, 8, {2, 1}},
      {"heads", 3, 3, 16, {20, 3, 17}},
      {"groups", 8, 2, 24, {33, 1, 40}},
      {"window", 4, 2, 16, {37, 9}, 7},
      {"capped", 2, 1, 20, {25}, 0, 1.5},
      {"alibi", 4, 4, 8, {18, 30}, 0, 0, true},
      {"cut", 4, 2, 16, {29, 12}, 6, 0, false, false, 0, 5},
      {"wide", 2, 1, 72, {19, 26}},
      // More queries and positions than one part has.
      {"long", 2, 1, 16, {140, 67}},
      {"long_cut", 3, 1, 8, {131, 66}, 70, 0, false, false, 0, 5},
      {"latent", 3, 1, 40, {19, 7}, 0, 0, false, true, 32},
      {"latent_long", 2, 1, 12, {80}, 0, 0, false, true, 8},
      {"latent_wide", 2, 1, 88, {18}, 0, 0, false, true, 72},
      {"latent_cut", 2, 1, 12, {21}, 0, 0, false, true, 8, 3},
  };
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16})
    for (const Shape& shape : shapes)
      for (Case& it : attention_back(shape, dtype)) cases.push_back(std::move(it));
  return cases;
}

}  // namespace orch::kernels::test
