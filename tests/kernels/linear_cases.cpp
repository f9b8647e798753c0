#include <cmath>

#include "kernels/cases.h"
#include "kernels/reference.h"

namespace orch::kernels::test {

double tolerance(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return 4e-3;  // 8 bits
    case DType::kFp16:
      return 6e-4;  // 11 bits
    default:
      return 2e-6;
  }
}

namespace {

struct Shape {
  std::int64_t rows, cols, outputs;
  DType x, weight, y;
  Activation activation = Activation::kNone;
  bool gated = false, bias = false;
  float scale = 1, soft_cap = 0;
};

Case linear(const Shape& shape) {
  Case it;
  it.name = "Linear_" + std::string(orch::name_of(shape.x)) + "_" + std::string(orch::name_of(shape.weight)) + "_" +
            std::string(orch::name_of(shape.y)) + "_" + std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
            "x" + std::to_string(shape.outputs) + (shape.gated ? "_gated" : "") + (shape.bias ? "_bias" : "") +
            (shape.activation == Activation::kNone ? "" : "_act" + std::to_string(static_cast<int>(shape.activation))) +
            (shape.soft_cap > 0 ? "_capped" : "");
  it.error = tolerance(shape.y);
  it.dtype = shape.x;
  it.flops = 2.0 * static_cast<double>(shape.rows * shape.cols * shape.outputs);
  it.bytes = static_cast<double>(shape.cols * shape.outputs) * orch::bytes_of(shape.weight);
  it.prepare = [shape](Device& device) {
    Random random(static_cast<std::uint64_t>(shape.rows * 7919 + shape.cols * 31 + shape.outputs));
    const double spread = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, shape.cols)));
    const Numbers x = random.numbers(shape.rows, shape.cols, shape.x);
    const DType stored = shape.weight == DType::kInt8 ? DType::kFp32 : shape.weight;
    const Numbers weight = random.numbers(shape.outputs, shape.cols, stored, 2 * spread);
    const Numbers bias = random.numbers(1, shape.outputs, DType::kFp32);
    Linear op;
    op.x = device.put(x, shape.x, 3);
    op.weight = device.pack(weight, shape.weight, shape.gated);
    if (shape.bias) op.bias = device.put(bias, DType::kFp32);
    op.activation = shape.activation;
    op.gated = shape.gated;
    op.scale = shape.scale;
    op.soft_cap = shape.soft_cap;
    const std::int64_t outputs = shape.gated ? shape.outputs / 2 : shape.outputs;
    op.y = device.poisoned(shape.rows, outputs, shape.y, 5);
    Prepared prepared;
    prepared.run = [&device, op] { device.backend().run(device.stream(), op); };
    prepared.got = [&device, op] { return device.get(op.y).values; };
    prepared.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    prepared.want = [=] {
      const Numbers w = kept(weight, shape.weight);
      std::vector<double> want;
      const auto product = [&](std::int64_t r, std::int64_t n) {
        return static_cast<double>(shape.scale) * dot(x, r, 0, w, n) + (shape.bias ? bias.at(0, n) : 0);
      };
      for (std::int64_t r = 0; r < shape.rows; ++r)
        for (std::int64_t n = 0; n < outputs; ++n) {
          double v = activated(shape.activation, product(r, n));
          const auto cap = static_cast<double>(shape.soft_cap);
          if (cap > 0) v = cap * std::tanh(v / cap);
          want.push_back(shape.gated ? v * product(r, outputs + n) : v);
        }
      return want;
    };
    return prepared;
  };
  return it;
}

Case head_linear(std::int64_t rows, int heads, std::int64_t cols, std::int64_t outputs, DType dtype, bool add = false) {
  Case it;
  it.name = "HeadLinear_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" +
            std::to_string(heads) + "x" + std::to_string(cols) + "x" + std::to_string(outputs) + (add ? "_add" : "");
  it.error = tolerance(dtype);
  it.flops = 2.0 * static_cast<double>(rows * heads * cols * outputs);
  it.bytes = static_cast<double>(heads * cols * outputs) * orch::bytes_of(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows + heads * 100));
    // Heads stand apart in both: between them lies what other ops have written.
    const std::int64_t x_stride = cols + 4, y_stride = outputs + 7;
    const Numbers x = random.numbers(rows, heads * x_stride, dtype);
    std::vector<Numbers> stack;
    for (int h = 0; h < heads; ++h) stack.push_back(random.numbers(outputs, cols, dtype));
    HeadLinear op;
    op.x = device.put(x, dtype);
    op.x_stride = x_stride;
    op.weight = device.pack(stack, dtype);
    Numbers before = random.numbers(rows, heads * y_stride, dtype);
    for (std::int64_t r = 0; r < rows; ++r)
      for (int h = 0; h < heads; ++h)
        for (std::int64_t n = outputs; n < y_stride; ++n)
          before.values[static_cast<std::size_t>(r * before.cols + h * y_stride + n)] = std::nan("");
    op.add = add;
    op.y = add ? device.put(before, dtype) : device.poisoned(rows, heads * y_stride, dtype);
    op.y_stride = y_stride;
    Prepared prepared;
    prepared.run = [&device, op] { device.backend().run(device.stream(), op); };
    prepared.got = [=, &device] {
      const Numbers all = device.get(op.y);
      std::vector<double> got;
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t n = 0; n < outputs; ++n) got.push_back(all.at(r, h * y_stride + n));
      return got;
    };
    prepared.untouched = [=, &device] {
      const Numbers all = device.get(op.y);
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t n = outputs; n < y_stride; ++n)
            if (!std::isnan(all.at(r, h * y_stride + n))) return false;
      return true;
    };
    prepared.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t n = 0; n < outputs; ++n)
            want.push_back((add ? before.at(r, h * y_stride + n) : 0) +
                           dot(x, r, h * x_stride, stack[static_cast<std::size_t>(h)], n));
      return want;
    };
    return prepared;
  };
  return it;
}

Case embed(std::int64_t tokens, std::int64_t vocab, std::int64_t hidden, DType dtype, bool positions,
           std::int64_t first, DType stored) {
  Case it;
  it.name = "Embed_" + std::string(orch::name_of(dtype)) + "_" + std::string(orch::name_of(stored)) + "_" +
            std::to_string(tokens) + "x" + std::to_string(hidden) + "_of_" + std::to_string(vocab) +
            (positions ? "_positions" : "") + (first > 0 ? "_part" : "");
  it.error = tolerance(dtype);
  it.bytes = static_cast<double>(tokens * hidden) * orch::bytes_of(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(tokens * 3 + vocab));
    const Numbers table = random.numbers(vocab, hidden, dtype), places = random.numbers(40, hidden, dtype);
    std::vector<std::int32_t> ids, at;
    for (std::int64_t t = 0; t < tokens; ++t) {
      ids.push_back(static_cast<std::int32_t>(random.whole(0, first + vocab + (first > 0 ? 20 : -1))));
      at.push_back(static_cast<std::int32_t>(random.whole(0, 39)));
    }
    Embed op;
    op.tokens = device.put(ids);
    op.table = device.pack(table, stored);
    op.first = first;
    op.scale = 1.5F;
    if (positions) {
      op.position_table = device.pack(places, dtype);
      op.positions = device.put(at);
    }
    op.x = device.poisoned(tokens, hidden, dtype, 2);
    Prepared prepared;
    prepared.run = [&device, op] { device.backend().run(device.stream(), op); };
    prepared.got = [&device, op] { return device.get(op.x).values; };
    prepared.untouched = [&device, op] { return device.is_spare_untouched(op.x); };
    prepared.want = [=, as_kept = kept(table, stored)] {
      std::vector<double> want;
      for (std::size_t t = 0; t < ids.size(); ++t)
        for (std::int64_t k = 0; k < hidden; ++k) {
          const std::int64_t row = ids[t] - first;
          const bool here = row >= 0 && row < vocab;
          want.push_back(here ? 1.5 * as_kept.at(row, k) + (positions ? places.at(at[t], k) : 0) : 0);
        }
      return want;
    };
    return prepared;
  };
  return it;
}

}  // namespace

std::vector<Case> linear_cases() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kH = DType::kFp16, kI = DType::kInt8;
  std::vector<Case> cases;
  // Odd, empty, one, and more than a block or a depth holds.
  for (const auto& [rows, cols, outputs] :
       {std::tuple(1, 1, 1), std::tuple(1, 64, 64), std::tuple(0, 16, 16), std::tuple(7, 33, 65),
        std::tuple(97, 130, 63), std::tuple(5, 4101, 70), std::tuple(200, 64, 129), std::tuple(101, 150, 16),
        std::tuple(31, 40, 24), std::tuple(100, 16, 300)})
    for (const auto& [x, weight] : {std::pair(kF, kF), std::pair(kB, kB), std::pair(kH, kH), std::pair(kF, kB),
                                    std::pair(kF, kI), std::pair(kB, kI), std::pair(kB, kF), std::pair(kH, kI)}) {
      cases.push_back(linear({rows, cols, outputs, x, weight, x}));
    }
  for (const Activation activation :
       {Activation::kNone, Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu})
    for (const DType dtype : {kF, kB}) {
      cases.push_back(linear({9, 40, 90, dtype, dtype, dtype, activation, false, true, 0.5F}));
      cases.push_back(linear({9, 40, 90, dtype, dtype, kF, activation, true, true, 2.0F}));
      cases.push_back(linear({3, 40, 256, dtype, dtype, dtype, activation, true}));
    }
  cases.push_back(linear({4, 64, 100, kB, kB, kF, Activation::kNone, false, false, 3, 2.5F}));
  for (const DType dtype : {kF, kB, kH}) {
    cases.push_back(head_linear(1, 1, 3, 1, dtype));
    cases.push_back(head_linear(99, 3, 24, 70, dtype));
    cases.push_back(head_linear(99, 3, 24, 70, dtype, true));
    cases.push_back(embed(11, 130, 37, dtype, false, 0, dtype));
    cases.push_back(embed(11, 64, 48, dtype, true, 0, dtype));
    cases.push_back(embed(50, 64, 16, dtype, false, 128, dtype));
    cases.push_back(embed(20, 70, 33, dtype, false, 0, kI));
  }
  return cases;
}

std::vector<Case> linear_speeds() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kI = DType::kInt8;
  std::vector<Case> cases;
  // One text that is being written, a batch of them, and a prompt.
  for (const std::int64_t rows : {1, 32, 512})
    for (const auto& [x, weight] : {std::pair(kB, kB), std::pair(kF, kF), std::pair(kB, kI)}) {
      cases.push_back(linear({rows, 2048, 3072, x, weight, x}));
      cases.push_back(linear({rows, 2048, 16384, x, weight, x, Activation::kSilu, true}));  // SwiGLU
      cases.push_back(linear({rows, 8192, 2048, x, weight, x}));
    }
  return cases;
}

}  // namespace orch::kernels::test
