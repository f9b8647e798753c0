// The way back through products is a product again: its definition is written out.
#include <cmath>

#include "kernels/gradient.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

struct Shape {
  std::int64_t rows, inputs, outputs;
  DType dtype, weight;
  bool gated = false, add = false;
  float scale = 1;
};

std::string text_of(const Shape& shape) {
  return std::string(orch::name_of(shape.dtype)) + "_" + std::string(orch::name_of(shape.weight)) + "_" +
         std::to_string(shape.rows) + "x" + std::to_string(shape.inputs) + "x" + std::to_string(shape.outputs) +
         (shape.gated ? "_gated" : "") + (shape.add ? "_added" : "");
}

Case linear_back(const Shape& shape) {
  Case it;
  it.name = "LinearBack_" + text_of(shape);
  // The weight of int8 is rounded once more, with its scale.
  it.error = tolerance(shape.dtype) * (shape.weight == DType::kInt8 ? 2 : 1);
  it.dtype = shape.dtype;
  it.flops = 2.0 * static_cast<double>(shape.rows * shape.inputs * shape.outputs);
  it.prepare = [shape](Device& device) {
    Random random(static_cast<std::uint64_t>(shape.rows * 7 + shape.inputs * 31 + shape.outputs));
    const double spread = 1 / std::sqrt(static_cast<double>(shape.outputs));
    const Numbers dy = random.numbers(shape.rows, shape.outputs, shape.dtype);
    const DType stored = shape.weight == DType::kInt8 ? DType::kFp32 : shape.weight;
    const Numbers weight = random.numbers(shape.outputs, shape.inputs, stored, spread);
    const Numbers before = random.numbers(shape.rows, shape.inputs, shape.dtype);
    LinearBack op;
    op.dy = device.put(dy, shape.dtype, 3);
    op.weight = device.pack(weight, shape.weight, shape.gated);
    op.scale = shape.scale;
    op.add = shape.add;
    op.dx = shape.add ? device.put(before, shape.dtype, 5) : device.poisoned(shape.rows, shape.inputs, shape.dtype, 5);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.dx).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.dx); };
    ready.want = [=] {
      const Numbers w = kept(weight, shape.weight);
      std::vector<double> want;
      for (std::int64_t r = 0; r < shape.rows; ++r)
        for (std::int64_t k = 0; k < shape.inputs; ++k) {
          double sum = 0;
          for (std::int64_t n = 0; n < shape.outputs; ++n) sum += dy.at(r, n) * w.at(n, k);
          want.push_back((shape.add ? before.at(r, k) : 0) + static_cast<double>(shape.scale) * sum);
        }
      return want;
    };
    return ready;
  };
  return it;
}

/// What is projected bare, or added to what stands there: the forward side of adapters.
Case bare_linear(const Shape& shape) {
  Case it;
  it.name = "BareLinear_" + text_of(shape);
  it.error = tolerance(shape.dtype);
  it.dtype = shape.dtype;
  it.prepare = [shape](Device& device) {
    Random random(static_cast<std::uint64_t>(shape.rows * 5 + shape.inputs));
    const Numbers x = random.numbers(shape.rows, shape.inputs, shape.dtype);
    const Numbers weight = random.numbers(shape.outputs, shape.inputs, shape.weight);
    const Numbers before = random.numbers(shape.rows, shape.outputs, shape.dtype);
    Linear op;
    op.x = device.put(x, shape.dtype);
    op.weight = device.pack(weight, shape.weight, shape.gated);
    op.scale = shape.scale;
    op.add = shape.add;
    op.y = shape.add ? device.put(before, shape.dtype, 2) : device.poisoned(shape.rows, shape.outputs, shape.dtype, 2);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < shape.rows; ++r)
        for (std::int64_t n = 0; n < shape.outputs; ++n)
          want.push_back((shape.add ? before.at(r, n) : 0) +
                         static_cast<double>(shape.scale) * dot(x, r, 0, weight, n));
      return want;
    };
    return ready;
  };
  return it;
}

Case head_linear_back(std::int64_t rows, int heads, std::int64_t inputs, std::int64_t outputs, DType dtype,
                      bool add = false) {
  Case it;
  it.name = "HeadLinearBack_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" +
            std::to_string(heads) + "x" + std::to_string(inputs) + "x" + std::to_string(outputs) + (add ? "_add" : "");
  it.error = tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows + heads));
    const std::int64_t dy_stride = outputs + 3, dx_stride = inputs + 6;
    const Numbers dy = random.numbers(rows, heads * dy_stride, dtype);
    std::vector<Numbers> stack;
    for (int h = 0; h < heads; ++h) stack.push_back(random.numbers(outputs, inputs, dtype));
    HeadLinearBack op;
    op.dy = device.put(dy, dtype);
    op.dy_stride = dy_stride;
    op.weight = device.pack(stack, dtype);
    Numbers before = random.numbers(rows, heads * dx_stride, dtype);
    for (std::int64_t r = 0; r < rows; ++r)
      for (int h = 0; h < heads; ++h)
        for (std::int64_t k = inputs; k < dx_stride; ++k)
          before.values[static_cast<std::size_t>(r * before.cols + h * dx_stride + k)] = std::nan("");
    op.add = add;
    op.dx = add ? device.put(before, dtype) : device.poisoned(rows, heads * dx_stride, dtype);
    op.dx_stride = dx_stride;
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [=, &device] {
      const Numbers all = device.get(op.dx);
      std::vector<double> got;
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t k = 0; k < inputs; ++k) got.push_back(all.at(r, h * dx_stride + k));
      return got;
    };
    ready.untouched = [=, &device] {
      const Numbers all = device.get(op.dx);
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t k = inputs; k < dx_stride; ++k)
            if (!std::isnan(all.at(r, h * dx_stride + k))) return false;
      return true;
    };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < rows; ++r)
        for (int h = 0; h < heads; ++h)
          for (std::int64_t k = 0; k < inputs; ++k) {
            double sum = add ? before.at(r, h * dx_stride + k) : 0;
            for (std::int64_t n = 0; n < outputs; ++n)
              sum += dy.at(r, h * dy_stride + n) * stack[static_cast<std::size_t>(h)].at(n, k);
            want.push_back(sum);
          }
      return want;
    };
    return ready;
  };
  return it;
}

Case weight_gradient(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, DType dtype, DType other) {
  Case it;
  it.name = "WeightGradient_" + std::string(orch::name_of(dtype)) + "_" + std::string(orch::name_of(other)) + "_" +
            std::to_string(rows) + "x" + std::to_string(inputs) + "x" + std::to_string(outputs);
  it.error = tolerance(DType::kFp32) * 2;
  it.dtype = dtype;
  it.flops = 2.0 * static_cast<double>(rows * inputs * outputs);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows * 3 + inputs * 7 + outputs));
    const Numbers dy = random.numbers(rows, outputs, dtype), x = random.numbers(rows, inputs, other);
    const Numbers before = random.numbers(outputs, inputs, DType::kFp32),
                  sums = random.numbers(1, outputs, DType::kFp32);
    WeightGradient op;
    op.dy = device.put(dy, dtype, 3);
    op.x = device.put(x, other, 1);
    op.scale = 0.5F;
    op.gradient = device.put(before, DType::kFp32, 2);
    RowSum bias{op.dy, 0.25F, device.put(sums, DType::kFp32, 4)};
    Prepared ready;
    ready.run = [&device, op, bias] {
      device.backend().run(device.stream(), op);
      device.backend().run(device.stream(), bias);
    };
    ready.got = [&device, op, bias] {
      std::vector<double> got = device.get(op.gradient).values;
      const std::vector<double> sum = device.get(bias.sum).values;
      got.insert(got.end(), sum.begin(), sum.end());
      return got;
    };
    ready.untouched = [&device, op, bias] {
      return device.is_spare_untouched(op.gradient) && device.is_spare_untouched(bias.sum);
    };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t n = 0; n < outputs; ++n)
        for (std::int64_t k = 0; k < inputs; ++k) {
          double sum = 0;
          for (std::int64_t r = 0; r < rows; ++r) sum += dy.at(r, n) * x.at(r, k);
          want.push_back(before.at(n, k) + 0.5 * sum);
        }
      for (std::int64_t n = 0; n < outputs; ++n) {
        double sum = 0;
        for (std::int64_t r = 0; r < rows; ++r) sum += dy.at(r, n);
        want.push_back(sums.at(0, n) + 0.25 * sum);
      }
      return want;
    };
    return ready;
  };
  return it;
}

Case embed_back(DType dtype, std::int64_t first, bool positions) {
  Case it;
  it.name =
      "EmbedBack_" + std::string(orch::name_of(dtype)) + (first > 0 ? "_part" : "") + (positions ? "_positions" : "");
  it.error = tolerance(DType::kFp32);
  it.prepare = [=](Device& device) {
    Random random(31);
    const std::int64_t tokens = 40, vocab = 30, hidden = 37;
    const Numbers dx = random.numbers(tokens, hidden, dtype);
    std::vector<std::int32_t> ids, at;
    for (std::int64_t t = 0; t < tokens; ++t) {
      ids.push_back(static_cast<std::int32_t>(random.whole(0, first + vocab + (first > 0 ? 20 : -1))));
      at.push_back(static_cast<std::int32_t>(random.whole(0, 8)));
    }
    EmbedBack op;
    op.tokens = device.put(ids);
    op.first = first;
    op.scale = 1.5F;
    op.positions = device.put(at);
    op.dx = device.put(dx, dtype);
    op.table_gradient = device.put(filled(vocab, hidden, 2), DType::kFp32);
    if (positions) op.position_gradient = device.put(filled(9, hidden, 3), DType::kFp32);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op, positions] {
      std::vector<double> got = device.get(op.table_gradient).values;
      if (!positions) return got;
      const std::vector<double> more = device.get(op.position_gradient).values;
      got.insert(got.end(), more.begin(), more.end());
      return got;
    };
    ready.want = [=] {
      Numbers table = filled(vocab, hidden, 2), places = filled(9, hidden, 3);
      for (std::size_t t = 0; t < ids.size(); ++t)
        for (std::int64_t k = 0; k < hidden; ++k) {
          const std::int64_t row = ids[t] - first;
          if (row >= 0 && row < vocab) table.at(row, k) += 1.5 * dx.at(static_cast<std::int64_t>(t), k);
          places.at(at[t], k) += dx.at(static_cast<std::int64_t>(t), k);
        }
      if (positions) table.values.insert(table.values.end(), places.values.begin(), places.values.end());
      return table.values;
    };
    return ready;
  };
  return it;
}

}  // namespace

std::vector<Case> linear_back_cases() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kH = DType::kFp16, kI = DType::kInt8;
  std::vector<Case> cases;
  // Odd, empty, one, and more than a square or a block holds.
  for (const auto& [rows, inputs, outputs] :
       {std::tuple(1, 1, 1), std::tuple(1, 64, 64), std::tuple(0, 16, 16), std::tuple(7, 65, 33),
        std::tuple(97, 63, 130), std::tuple(400, 70, 129), std::tuple(5, 129, 4101), std::tuple(300, 16, 200),
        std::tuple(31, 24, 150), std::tuple(100, 300, 16)})
    for (const auto& [dtype, weight] : {std::pair(kF, kF), std::pair(kB, kB), std::pair(kH, kH), std::pair(kF, kB),
                                        std::pair(kF, kI), std::pair(kB, kI), std::pair(kB, kF)})
      cases.push_back(linear_back({rows, inputs, outputs, dtype, weight}));
  for (const DType dtype : {kF, kB}) {
    cases.push_back(linear_back({9, 40, 90, dtype, dtype, true, false, 0.5F}));
    cases.push_back(linear_back({30, 70, 256, dtype, dtype, true, true, 2}));
    cases.push_back(linear_back({30, 70, 2, dtype, kI, true, true}));
    cases.push_back(bare_linear({9, 40, 90, dtype, dtype, true, false, 0.5F}));
    cases.push_back(bare_linear({9, 40, 90, dtype, dtype, true, true, 0.5F}));
    cases.push_back(bare_linear({100, 40, 90, dtype, dtype, false, true, 2}));
  }
  for (const DType dtype : {kF, kB, kH}) {
    cases.push_back(head_linear_back(1, 1, 1, 3, dtype));
    cases.push_back(head_linear_back(99, 3, 70, 24, dtype));
    cases.push_back(head_linear_back(99, 3, 70, 24, dtype, true));
    cases.push_back(embed_back(dtype, 0, true));
    cases.push_back(embed_back(dtype, 64, false));
  }
  for (const auto& [rows, inputs, outputs] :
       {std::tuple(1, 1, 1), std::tuple(0, 16, 16), std::tuple(33, 65, 7), std::tuple(97, 130, 100),
        std::tuple(601, 300, 16), std::tuple(16, 16, 300)})
    for (const auto& [dtype, other] : {std::pair(kF, kF), std::pair(kB, kB), std::pair(kH, kH), std::pair(kB, kF)})
      cases.push_back(weight_gradient(rows, inputs, outputs, dtype, other));
  return cases;
}

std::vector<Case> linear_back_speeds() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kI = DType::kInt8;
  std::vector<Case> cases;
  // A pass of training, and the two products of an adapter's gradients.
  for (const auto& [dtype, weight] : {std::pair(kB, kB), std::pair(kF, kF), std::pair(kB, kI)}) {
    cases.push_back(linear_back({512, 2048, 3072, dtype, weight}));
    cases.push_back(linear_back({512, 2048, 16384, dtype, weight, true}));
    cases.push_back(linear_back({512, 8192, 2048, dtype, weight}));
  }
  for (const DType dtype : {kB, kF}) {
    cases.push_back(weight_gradient(512, 2048, 2048, dtype, dtype));
    cases.push_back(weight_gradient(512, 2048, 16, dtype, dtype));
    cases.push_back(weight_gradient(512, 2048, 256, dtype, dtype));
  }
  return cases;
}

}  // namespace orch::kernels::test
