// The way back through norms, activations and rotations, against central differences.
#include <cmath>

#include "kernels/gradient.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

using Cases = std::vector<Case>;

void add(Cases& to, Cases more) { to.insert(to.end(), more.begin(), more.end()); }

std::vector<double> row_of(const Numbers& numbers, std::int64_t row, std::int64_t from, std::int64_t count) {
  const auto first = numbers.values.begin() + row * numbers.cols + from;
  return {first, first + count};
}

Cases activate_back(std::int64_t rows, std::int64_t cols, Activation activation, bool gated, DType dtype) {
  const std::string name = "ActivateBack_" + std::string(orch::name_of(dtype)) + "_" +
                           std::to_string(static_cast<int>(activation)) + (gated ? "_gated_" : "_") +
                           std::to_string(rows) + "x" + std::to_string(cols);
  return gradient_cases(name, dtype, 2 * tolerance(dtype), 1, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(cols));
    const Numbers x = random.numbers(rows, gated ? 2 * cols : cols, dtype, 1.5), dy = random.numbers(rows, cols, dtype);
    ActivateBack op;
    // In place, as the decoder has it.
    op.x = op.dx = device.put(x, dtype, 3);
    op.activation = activation;
    op.gated = gated;
    op.dy = device.put(dy, dtype);
    Question question;
    question.point = {x};
    question.run = [&device, op] { device.backend().run(device.stream(), op); };
    question.answers = {{0, op.dx}};
    question.value = [=](const Point& at) {
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
          sum += dy.at(r, c) * activated(activation, at[0].at(r, c)) * (gated ? at[0].at(r, cols + c) : 1);
      return sum;
    };
    return question;
  });
}

/// What was left bare, activated: the same numbers as a Linear op gives that does both.
Case activate(std::int64_t rows, std::int64_t cols, Activation activation, bool gated, DType dtype) {
  Case it;
  it.name = "Activate_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(static_cast<int>(activation)) +
            (gated ? "_gated" : "");
  it.error = 2 * tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(5);
    const Numbers x = random.numbers(rows, gated ? 2 * cols : cols, dtype);
    Activate op{device.put(x, dtype, 1), activation, gated, device.poisoned(rows, cols, dtype, 2)};
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
          want.push_back(activated(activation, x.at(r, c)) * (gated ? x.at(r, cols + c) : 1));
      return want;
    };
    return ready;
  };
  return it;
}

Cases norm_back(std::int64_t rows, std::int64_t cols, DType dtype, bool layer, bool added, bool trained) {
  const std::string name = "NormBack_" + std::string(orch::name_of(dtype)) + (layer ? "_layer_" : "_rms_") +
                           std::to_string(rows) + "x" + std::to_string(cols) + (added ? "_added" : "");
  const double error = (dtype == DType::kFp32 ? 8 : 3) * tolerance(dtype);
  return gradient_cases(name, dtype, error, trained ? (layer ? 3 : 2) : 1, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows * 3 + cols));
    const Numbers x = random.numbers(rows, cols, dtype, 1, 0.5), dy = random.numbers(rows, cols, dtype);
    const Numbers weight = random.numbers(1, cols, DType::kFp32), bias = random.numbers(1, cols, DType::kFp32);
    auto norm = std::make_shared<Norm>(Norm{layer, 1e-3F, device.put(weight, DType::kFp32),
                                            layer ? device.put(bias, DType::kFp32) : Matrix{}, !layer});
    NormBack op;
    op.norm = norm.get();
    op.x = device.put(x, dtype, 2);
    op.dy = device.put(dy, dtype, 1);
    op.scale = 0.5F;
    op.add = added;
    op.dx = added ? device.put(filled(rows, cols, 2), dtype, 3) : device.poisoned(rows, cols, dtype, 3);
    if (trained) op.weight_gradient = device.put(filled(1, cols, 1), DType::kFp32, 2);
    if (trained && layer) op.bias_gradient = device.put(filled(1, cols, 1), DType::kFp32, 2);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Question question;
    question.point = {x, weight, bias};
    question.run = [&device, op, norm, scratch] { device.backend().run(device.stream(), op, scratch); };
    question.answers = {
        {0, op.dx, added ? 2.0 : 0, 0.5}, {1, op.weight_gradient, 1, 0.5}, {2, op.bias_gradient, 1, 0.5}};
    question.value = [=](const Point& at) {
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto normed = norm_of(row_of(at[0], r, 0, cols), layer, 1e-3F, at[1].values,
                                    layer ? at[2].values : std::vector<double>{}, !layer);
        for (std::int64_t c = 0; c < cols; ++c) sum += dy.at(r, c) * normed[static_cast<std::size_t>(c)];
      }
      return sum;
    };
    return question;
  });
}

Numbers frequencies_of(int dims) {
  Numbers frequencies{{}, 1, dims / 2};
  for (int i = 0; i < dims / 2; ++i)
    frequencies.values.push_back(rounded(std::pow(100.0, -2.0 * i / dims), DType::kFp32));
  return frequencies;
}

struct Turned {
  std::string name;
  int heads, kv_heads, dim, rotated;
  bool interleaved = false, norms = false, dynamic = false;
  double clip = 0;
};

Cases rotary_back(const Turned& shape, DType dtype) {
  const std::string name = "RotaryBack_" + std::string(orch::name_of(dtype)) + "_" + shape.name;
  const double error = (dtype == DType::kFp32 ? 8 : 3) * tolerance(dtype);
  return gradient_cases(name, dtype, error, shape.norms ? 3 : 1, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(shape.dim));
    const std::int64_t rows = 5, dim = shape.dim, q_wide = shape.heads * dim, kv_wide = shape.kv_heads * dim;
    const Numbers qkv = random.numbers(rows, q_wide + 2 * kv_wide, dtype, 0.8);
    const Numbers dq = random.numbers(rows, q_wide, dtype), dk = random.numbers(rows, kv_wide, dtype),
                  dv = random.numbers(rows, kv_wide, dtype);
    const Numbers q_weight = random.numbers(1, dim, DType::kFp32, 0.2, 1),
                  k_weight = random.numbers(1, dim, DType::kFp32, 0.2, 1);
    const Numbers frequencies = frequencies_of(shape.rotated);
    auto q_norm = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(q_weight, DType::kFp32), {}, false});
    auto k_norm = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(k_weight, DType::kFp32), {}, false});
    RotaryBack op;
    // In place, as the decoder has it.
    op.qkv = op.dqkv = device.put(qkv, dtype, 2);
    op.clip = static_cast<float>(shape.clip);
    op.heads = shape.heads;
    op.kv_heads = shape.kv_heads;
    if (shape.norms) op.q_norm = q_norm.get(), op.k_norm = k_norm.get();
    op.rotation = {shape.rotated, shape.interleaved,
                   shape.rotated > 0 ? device.put(frequencies, DType::kFp32) : Matrix{}, 1.25F};
    if (shape.dynamic) op.bases = device.put(filled(1, rows, 1.5), DType::kFp32);
    op.positions = device.put({3, 0, 17, 5, 4});
    op.dq = device.put(dq, dtype);
    op.dk = device.put(dk, dtype, 1);
    op.dv = device.put(dv, dtype);
    if (shape.norms) {
      op.q_gradient = device.put(filled(1, dim, 1), DType::kFp32);
      op.k_gradient = device.put(filled(1, dim, 1), DType::kFp32);
    }
    Question question;
    question.point = {qkv, q_weight, k_weight};
    question.run = [&device, op, q_norm, k_norm] { device.backend().run(device.stream(), op); };
    question.answers = {{0, op.dqkv}, {1, op.q_gradient, 1}, {2, op.k_gradient, 1}};
    question.value = [=](const Point& at) {
      const double positions[] = {3, 0, 17, 5, 4};
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto head = [&](std::int64_t from, int norm, bool is_turned) {
          std::vector<double> x = row_of(at[0], r, from, dim);
          if (shape.clip > 0)
            for (double& v : x) v = std::min(std::max(v, -shape.clip), shape.clip);
          if (norm > 0) x = norm_of(x, false, 1e-6F, at[static_cast<std::size_t>(norm)].values, {}, false);
          std::vector<double> by = frequencies.values;
          for (std::size_t i = 0; i < by.size() && shape.dynamic; ++i)
            by[i] *= std::pow(1.5, -2.0 * static_cast<double>(i) / shape.rotated);
          if (is_turned) turn(x, 0, by, positions[r], shape.interleaved, 1.25);
          return x;
        };
        const auto along = [&](const Numbers& d, std::int64_t h, const std::vector<double>& x) {
          for (std::int64_t i = 0; i < dim; ++i) sum += d.at(r, h * dim + i) * x[static_cast<std::size_t>(i)];
        };
        for (std::int64_t h = 0; h < shape.heads; ++h) along(dq, h, head(h * dim, shape.norms ? 1 : 0, true));
        for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
          along(dk, h, head(q_wide + h * dim, shape.norms ? 2 : 0, true));
          along(dv, h, head(q_wide + kv_wide + h * dim, 0, false));
        }
      }
      return sum;
    };
    return question;
  });
}

/// Both of its outputs: what becomes of a query's turned part, and of the latent vector with its norm.
Cases latent_rotary_back(DType dtype) {
  const double error = (dtype == DType::kFp32 ? 8 : 3) * tolerance(dtype);
  return gradient_cases("LatentRotaryBack_" + std::string(orch::name_of(dtype)), dtype, error, 3, [=](Device& device) {
    Random random(9);
    const std::int64_t rows = 4, heads = 3, latent = 24, turned = 8, key = latent + turned, nope = 10,
                       stride = nope + turned;
    const Numbers q = random.numbers(rows, heads * stride, dtype), kv = random.numbers(rows, key, dtype);
    const Numbers dq = random.numbers(rows, heads * key, dtype), dk = random.numbers(rows, key, dtype);
    const Numbers weight = random.numbers(1, latent, DType::kFp32, 0.2, 1), frequencies = frequencies_of(turned);
    auto norm = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(weight, DType::kFp32), {}, false});
    LatentRotaryBack op;
    op.heads = static_cast<int>(heads);
    op.q_from = nope;
    op.q_stride = stride;
    op.kv = op.dkv = device.put(kv, dtype, 2);
    op.kv_norm = norm.get();
    op.rotation = {static_cast<int>(turned), true, device.put(frequencies, DType::kFp32), 1.25F};
    op.positions = device.put({2, 0, 1, 9});
    op.latent = static_cast<int>(latent);
    op.dq = device.put(dq, dtype);
    op.dk = device.put(dk, dtype);
    // What is not turned has its gradient by another op.
    op.dq_turned = device.put(filled(rows, heads * stride, 0), dtype);
    op.kv_gradient = device.put(filled(1, latent, 1), DType::kFp32);
    Question question;
    question.point = {q, kv, weight};
    question.run = [&device, op, norm] { device.backend().run(device.stream(), op); };
    question.answers = {{0, op.dq_turned}, {1, op.dkv}, {2, op.kv_gradient, 1}};
    question.value = [=](const Point& at) {
      const double positions[] = {2, 0, 1, 9};
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto part = [&](const Numbers& x, std::int64_t from, const Numbers& d, std::int64_t to) {
          std::vector<double> head = row_of(x, r, from, turned);
          turn(head, 0, frequencies.values, positions[r], true, 1.25);
          for (std::int64_t i = 0; i < turned; ++i) sum += d.at(r, to + i) * head[static_cast<std::size_t>(i)];
        };
        for (std::int64_t h = 0; h < heads; ++h) part(at[0], h * stride + nope, dq, h * key + latent);
        part(at[1], latent, dk, latent);
        const auto normed = norm_of(row_of(at[1], r, 0, latent), false, 1e-6F, at[2].values, {}, false);
        for (std::int64_t i = 0; i < latent; ++i) sum += dk.at(r, i) * normed[static_cast<std::size_t>(i)];
      }
      return sum;
    };
    return question;
  });
}

}  // namespace

std::vector<Case> row_back_cases() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kH = DType::kFp16;
  Cases cases;
  for (const DType dtype : {kF, kB, kH}) {
    for (const Activation activation :
         {Activation::kNone, Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu})
      for (const bool gated : {false, true}) {
        add(cases, activate_back(3, 17, activation, gated, dtype));
        cases.push_back(activate(4, 33, activation, gated, dtype));
      }
    for (const bool layer : {false, true})
      for (const auto& [rows, cols] : {std::pair(1, 3), std::pair(3, 17), std::pair(40, 64), std::pair(2, 500)}) {
        add(cases, norm_back(rows, cols, dtype, layer, false, false));
        add(cases, norm_back(rows, cols, dtype, layer, true, true));
      }
    add(cases, rotary_back({"plain", 4, 2, 16, 16}, dtype));
    add(cases, rotary_back({"partly_clipped", 3, 3, 20, 8, false, false, false, 0.7}, dtype));
    add(cases, rotary_back({"normed", 4, 1, 24, 24, true, true, false}, dtype));
    add(cases, rotary_back({"dynamic", 2, 2, 8, 8, false, false, true}, dtype));
    add(cases, rotary_back({"unturned", 2, 1, 6, 0}, dtype));
    add(cases, latent_rotary_back(dtype));
  }
  return cases;
}

}  // namespace orch::kernels::test
