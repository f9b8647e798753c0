// Products of experts one by one, and what is made of them, against their definition.
#include <cmath>
#include <optional>

#include "kernels/cases.h"

namespace orch::kernels::test {
namespace {

/// Choices of tokens, and a stack of some of the experts.
struct Choices {
  std::int64_t tokens = 0;
  int active = 1;
  std::int64_t first = 0;
  int count = 1;  ///< of the stack
  bool by_token = false;

  std::int64_t size() const { return tokens * active; }
  std::int64_t rows() const { return by_token ? tokens : size(); }
  /// Of an input of rows().
  std::int64_t row(std::int64_t choice) const { return by_token ? choice / active : choice; }
  /// Some are of other ranks, below and above; the stack's expert 1 has none at all.
  std::vector<std::int32_t> drawn(Random& random) const {
    std::vector<std::int32_t> chosen;
    for (std::int64_t i = 0; i < size(); ++i) {
      const auto expert = static_cast<std::int32_t>(random.whole(0, first + count));
      chosen.push_back(expert == first + 1 ? expert + 1 : expert);
    }
    return chosen;
  }
  /// Of the stack; nothing where it is another's.
  std::optional<std::size_t> own(std::int32_t expert) const {
    const std::int64_t e = expert - first;
    return e >= 0 && e < count ? std::optional(static_cast<std::size_t>(e)) : std::nullopt;
  }
  std::string name() const {
    return std::to_string(tokens) + "_" + std::to_string(active) + "of" + std::to_string(count) +
           (first > 0 ? "_part" : "") + (by_token ? "_by_token" : "");
  }
};

std::vector<Numbers> stack_of(Random& random, int count, std::int64_t rows, std::int64_t cols, DType dtype) {
  std::vector<Numbers> stack;
  for (int e = 0; e < count; ++e) stack.push_back(random.numbers(rows, cols, dtype));
  return stack;
}

Case routed_linear(const Choices& of, std::int64_t inputs, std::int64_t outputs, DType dtype, DType to, bool gated,
                   bool add) {
  Case it;
  it.name = "RoutedLinear_" + std::string(orch::name_of(dtype)) + "_" + of.name() + "_" + std::to_string(inputs) + "x" +
            std::to_string(outputs) + (gated ? "_gated" : "") + (add ? "_add" : "");
  it.error = 2 * tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(of.size() + inputs));
    const Numbers x = random.numbers(of.rows(), inputs, dtype), before = random.numbers(of.size(), outputs, to);
    const std::vector<Numbers> stack = stack_of(random, of.count, outputs, inputs, dtype);
    const std::vector<std::int32_t> chosen = of.drawn(random);
    RoutedLinear op;
    op.x = device.put(x, dtype, 3);
    op.experts = device.put(chosen);
    op.active = of.active;
    op.first = of.first;
    op.weight = device.pack(stack, dtype, gated);
    op.scale = 0.5F;
    op.add = add;
    op.y = add ? device.put(before, to) : device.poisoned(of.size(), outputs, to, 2);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t c = 0; c < of.size(); ++c)
        for (std::int64_t n = 0; n < outputs; ++n) {
          double sum = add ? before.at(c, n) : 0;
          if (const auto e = of.own(chosen[static_cast<std::size_t>(c)]))
            for (std::int64_t k = 0; k < inputs; ++k) sum += 0.5 * x.at(of.row(c), k) * stack[*e].at(n, k);
          want.push_back(sum);
        }
      return want;
    };
    return ready;
  };
  return it;
}

Case routed_linear_back(const Choices& of, std::int64_t inputs, std::int64_t outputs, DType dtype, DType to, bool gated,
                        bool add) {
  Case it;
  it.name = "RoutedLinearBack_" + std::string(orch::name_of(dtype)) + "_" + of.name() + "_" + std::to_string(inputs) +
            "x" + std::to_string(outputs) + (gated ? "_gated" : "") + (add ? "_add" : "");
  it.error = 2 * tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(of.size() * 3 + inputs));
    const Numbers dy = random.numbers(of.rows(), outputs, dtype), before = random.numbers(of.size(), inputs, to);
    const std::vector<Numbers> stack = stack_of(random, of.count, outputs, inputs, dtype);
    const std::vector<std::int32_t> chosen = of.drawn(random);
    RoutedLinearBack op;
    op.dy = device.put(dy, dtype, 1);
    op.experts = device.put(chosen);
    op.active = of.active;
    op.first = of.first;
    op.weight = device.pack(stack, dtype, gated);
    op.scale = 2;
    op.add = add;
    op.dx = add ? device.put(before, to) : device.poisoned(of.size(), inputs, to, 5);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.dx).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.dx); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t c = 0; c < of.size(); ++c)
        for (std::int64_t k = 0; k < inputs; ++k) {
          double sum = add ? before.at(c, k) : 0;
          if (const auto e = of.own(chosen[static_cast<std::size_t>(c)]))
            for (std::int64_t n = 0; n < outputs; ++n) sum += 2 * dy.at(of.row(c), n) * stack[*e].at(n, k);
          want.push_back(sum);
        }
      return want;
    };
    return ready;
  };
  return it;
}

/// One side by token, the other by choice.
Case routed_gradient(const Choices& of, std::int64_t inputs, std::int64_t outputs, DType dtype) {
  Case it;
  it.name = "RoutedGradient_" + std::string(orch::name_of(dtype)) + "_" + of.name() + "_" + std::to_string(inputs) +
            "x" + std::to_string(outputs);
  it.error = 2 * tolerance(DType::kFp32);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(of.size() * 5 + inputs));
    const Numbers dy = random.numbers(of.size(), outputs, dtype), x = random.numbers(of.rows(), inputs, dtype);
    const Numbers before = random.numbers(of.count * outputs, inputs, DType::kFp32);
    const std::vector<std::int32_t> chosen = of.drawn(random);
    RoutedGradient op;
    op.dy = device.put(dy, dtype, 1);
    op.x = device.put(x, dtype, 2);
    op.experts = device.put(chosen);
    op.active = of.active;
    op.first = of.first;
    op.count = of.count;
    op.scale = 3;
    op.gradient = device.put(before, DType::kFp32, 4);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.gradient).values; };
    ready.want = [=] {
      Numbers want = before;
      for (std::int64_t c = 0; c < of.size(); ++c)
        if (const auto e = of.own(chosen[static_cast<std::size_t>(c)]))
          for (std::int64_t n = 0; n < outputs; ++n)
            for (std::int64_t k = 0; k < inputs; ++k)
              want.at(static_cast<std::int64_t>(*e) * outputs + n, k) += 3 * dy.at(c, n) * x.at(of.row(c), k);
      return want.values;
    };
    return ready;
  };
  return it;
}

Case mix(std::int64_t tokens, int active, std::int64_t cols, DType dtype, bool weighed) {
  Case it;
  it.name = "Mix_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(tokens) + "x" + std::to_string(active) +
            "x" + std::to_string(cols) + (weighed ? "" : "_bare");
  it.error = tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(tokens + cols));
    const Numbers x = random.numbers(tokens * active, cols, DType::kFp32),
                  weights = random.numbers(tokens, active, DType::kFp32);
    Mix op;
    op.x = device.put(x, DType::kFp32, 1);
    op.active = active;
    if (weighed) op.weights = device.put(weights, DType::kFp32);
    op.y = device.poisoned(tokens, cols, dtype, 2);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t k = 0; k < cols; ++k) {
          double sum = 0;
          for (int a = 0; a < active; ++a) sum += (weighed ? weights.at(t, a) : 1) * x.at(t * active + a, k);
          want.push_back(sum);
        }
      return want;
    };
    return ready;
  };
  return it;
}

Case weigh(std::int64_t tokens, int active, std::int64_t cols, DType dtype, bool asks) {
  Case it;
  it.name = "Weigh_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(tokens) + "x" + std::to_string(active) +
            "x" + std::to_string(cols) + (asks ? "_asked" : "");
  it.error = tolerance(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(tokens * 3 + cols));
    const Numbers dy = random.numbers(tokens * active, cols, dtype), x = random.numbers(tokens * active, cols, dtype),
                  weights = random.numbers(tokens, active, DType::kFp32);
    Weigh op;
    op.dy = device.put(dy, dtype);
    op.active = active;
    op.weights = device.put(weights, DType::kFp32);
    op.dx = asks ? op.dy : device.poisoned(tokens * active, cols, dtype, 1);
    if (asks) op.x = device.put(x, dtype), op.dweights = device.poisoned(tokens, active, DType::kFp32, 1);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] {
      std::vector<double> got = device.get(op.dx).values;
      if (op.dweights)
        for (const double each : device.get(op.dweights).values) got.push_back(each);
      return got;
    };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t c = 0; c < tokens * active; ++c)
        for (std::int64_t k = 0; k < cols; ++k) want.push_back(weights.at(c / active, c % active) * dy.at(c, k));
      for (std::int64_t c = 0; asks && c < tokens * active; ++c) {
        double sum = 0;
        for (std::int64_t k = 0; k < cols; ++k) sum += dy.at(c, k) * x.at(c, k);
        want.push_back(sum);
      }
      return want;
    };
    return ready;
  };
  return it;
}

}  // namespace

std::vector<Case> routed_cases() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16}) {
    for (const bool add : {false, true}) {
      cases.push_back(routed_linear({0, 2, 0, 3, true}, 16, 24, dtype, dtype, false, add));
      cases.push_back(routed_linear({1, 2, 0, 3, true}, 16, 24, dtype, dtype, true, add));
      cases.push_back(routed_linear({150, 2, 2, 4, false}, 40, 5, dtype, dtype, false, add));
      cases.push_back(routed_linear({33, 3, 0, 5, true}, 30, 140, dtype, DType::kFp32, true, add));
      cases.push_back(routed_linear_back({1, 2, 0, 3, true}, 16, 24, dtype, dtype, false, add));
      cases.push_back(routed_linear_back({150, 2, 2, 4, false}, 70, 5, dtype, dtype, false, add));
      cases.push_back(routed_linear_back({33, 3, 0, 5, true}, 30, 140, dtype, DType::kFp32, true, add));
    }
    cases.push_back(routed_gradient({150, 2, 2, 4, false}, 70, 5, dtype));
    cases.push_back(routed_gradient({33, 3, 0, 5, true}, 4, 140, dtype));
    cases.push_back(mix(7, 3, 70, dtype, true));
    cases.push_back(mix(1, 1, 5, dtype, false));
    cases.push_back(weigh(7, 3, 70, dtype, true));
    cases.push_back(weigh(2, 1, 5, dtype, false));
  }
  return cases;
}

}  // namespace orch::kernels::test
