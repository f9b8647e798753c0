// The way back through routes, experts and scores, against central differences.
#include <cmath>

#include "kernels/gradient.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

using Cases = std::vector<Case>;

/// The experts are chosen by the op; which they are does not change over a small step.
Cases route_back(const std::string& name, int experts, int active, Route::Kind kind, bool renormalise) {
  return gradient_cases("RouteBack_" + name, DType::kFp32, 1e-5, 1, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(experts));
    const std::int64_t tokens = 9;
    const Numbers logits = random.numbers(tokens, experts, DType::kFp32),
                  dweights = random.numbers(tokens, active, DType::kFp32);
    RouteBack op;
    op.forward.logits = device.put(logits, DType::kFp32, 2);
    op.forward.kind = kind;
    op.forward.active = active;
    op.forward.renormalise = renormalise;
    op.forward.scale = 2.5F;
    op.forward.experts = device.poisoned_ints(tokens * active);
    op.forward.weights = device.poisoned(tokens, active, DType::kFp32);
    op.forward.counts = device.put(std::vector<std::int32_t>(static_cast<std::size_t>(experts), 0));
    op.dweights = device.put(dweights, DType::kFp32, 1);
    op.dlogits = device.poisoned(tokens, experts, DType::kFp32, 3);
    device.backend().run(device.stream(), op.forward);
    const std::vector<std::int32_t> chosen = device.get(op.forward.experts);
    Question question;
    question.point = {logits};
    question.run = [&device, op] { device.backend().run(device.stream(), op); };
    question.answers = {{0, op.dlogits}};
    question.value = [=](const Point& at) {
      double sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::vector<double> chances;
        double total = 0, taken = 0;
        for (int e = 0; e < experts; ++e) {
          const double logit = at[0].at(t, e);
          chances.push_back(kind == Route::Kind::kSoftmax ? std::exp(logit) : 1 / (1 + std::exp(-logit)));
          total += chances.back();
        }
        const auto chance = [&](int place) {
          const double it = chances[static_cast<std::size_t>(chosen[static_cast<std::size_t>(t * active + place)])];
          return kind == Route::Kind::kSoftmax ? it / total : it;
        };
        for (int place = 0; place < active; ++place) taken += chance(place);
        for (int place = 0; place < active; ++place)
          sum += dweights.at(t, place) * 2.5 * chance(place) / (renormalise ? taken : 1);
      }
      return sum;
    };
    return question;
  });
}

Cases experts_back(std::int64_t tokens, int count, int active, std::int64_t hidden, std::int64_t inner, DType dtype,
                   std::int64_t first, bool gated, bool bias) {
  const std::string name = "ExpertsBack_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(tokens) + "x" +
                           std::to_string(hidden) + "x" + std::to_string(inner) + (first > 0 ? "_part" : "") +
                           (gated ? "_gated" : "") + (bias ? "_bias" : "");
  const double error = (dtype == DType::kFp32 ? 5 : 3) * tolerance(dtype);
  return gradient_cases(name, dtype, error, 4, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(tokens * 17 + count));
    const Numbers x = random.numbers(tokens, hidden, dtype), dy = random.numbers(tokens, hidden, dtype);
    const double spread = 1 / std::sqrt(static_cast<double>(hidden));
    const std::int64_t wide = gated ? 2 * inner : inner;
    // All experts' matrices below each other.
    const Numbers up = random.numbers(count * wide, hidden, dtype, 2 * spread),
                  down = random.numbers(count * hidden, inner, dtype, 2 * spread);
    const Numbers up_bias = random.numbers(count, wide, DType::kFp32),
                  down_bias = random.numbers(count, hidden, DType::kFp32);
    const auto stack = [&](const Numbers& all, std::int64_t each) {
      std::vector<Numbers> parts;
      for (std::int64_t e = 0; e < count; ++e)
        parts.push_back({{all.values.begin() + e * each * all.cols, all.values.begin() + (e + 1) * each * all.cols},
                         each,
                         all.cols});
      return parts;
    };
    std::vector<std::int32_t> chosen;
    Numbers weights{{}, tokens, active};
    for (std::int64_t t = 0; t < tokens; ++t)
      for (int a = 0; a < active; ++a) {
        // Some are another rank's; expert 1 gets none at all.
        std::int32_t expert = static_cast<std::int32_t>(random.whole(0, first + count - (first > 0 ? 0 : 1)));
        if (expert == first + 1) --expert;
        chosen.push_back(expert);
        weights.values.push_back(rounded(random.uniform(0, 1), DType::kFp32));
      }
    ExpertsBack op;
    Experts& forward = op.forward;
    forward.x = device.put(x, dtype, 1);
    forward.experts = device.put(chosen);
    forward.weights = device.put(weights, DType::kFp32);
    forward.active = active;
    forward.first = first;
    forward.up = device.pack(stack(up, wide), dtype, gated);
    forward.down = device.pack(stack(down, hidden), dtype);
    if (bias)
      forward.up_bias = device.put(up_bias, DType::kFp32), forward.down_bias = device.put(down_bias, DType::kFp32);
    forward.gated = gated;
    op.dy = device.put(dy, dtype, 2);
    op.dx = device.poisoned(tokens, hidden, dtype, 2);
    op.dweights = device.poisoned(tokens, active, DType::kFp32, 1);
    op.up_gradient = device.put(filled(count * wide, hidden, 1), DType::kFp32, 1);
    op.down_gradient = device.put(filled(count * hidden, inner, 1), DType::kFp32, 2);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Question question;
    question.point = {x, weights, up, down};
    question.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    question.answers = {{0, op.dx}, {1, op.dweights}, {2, op.up_gradient, 1}, {3, op.down_gradient, 1}};
    question.value = [=](const Point& at) {
      double sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t)
        for (int a = 0; a < active; ++a) {
          const std::int64_t e = chosen[static_cast<std::size_t>(t * active + a)] - first;
          if (e < 0 || e >= count) continue;
          const auto product = [&](std::int64_t n) {
            double total = bias ? up_bias.at(e, n) : 0;
            for (std::int64_t k = 0; k < hidden; ++k) total += at[0].at(t, k) * at[2].at(e * wide + n, k);
            return total;
          };
          std::vector<double> h;
          for (std::int64_t n = 0; n < inner; ++n)
            h.push_back(activated(Activation::kSilu, product(n)) * (gated ? product(inner + n) : 1));
          for (std::int64_t o = 0; o < hidden; ++o) {
            double total = bias ? down_bias.at(e, o) : 0;
            for (std::int64_t n = 0; n < inner; ++n)
              total += h[static_cast<std::size_t>(n)] * at[3].at(e * hidden + o, n);
            sum += dy.at(t, o) * at[1].at(t, a) * total;
          }
        }
      return sum;
    };
    return question;
  });
}

/// The second of several ranks' parts of the vocabulary: its own part of dx, and its rows of the head. `kept`: dx
/// alone, from what Score left.
Cases score_back(std::int64_t rows, std::int64_t hidden, std::int64_t vocab, std::int64_t first, std::int64_t own,
                 DType dtype, double cap, bool trained, bool kept = false) {
  const std::string name = "ScoreBack_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" +
                           std::to_string(hidden) + "x" + std::to_string(vocab) + (first > 0 ? "_part" : "") +
                           (cap > 0 ? "_capped" : "") + (kept ? "_kept" : "");
  const double error = (dtype == DType::kFp32 ? 1e-5 : 2 * tolerance(dtype));
  return gradient_cases(name, dtype, error, trained ? 3 : 1, [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows + vocab));
    const Numbers x = random.numbers(rows, hidden, dtype),
                  head = random.numbers(vocab, hidden, dtype, 1.5 / std::sqrt(static_cast<double>(hidden))),
                  bias = random.numbers(1, vocab, DType::kFp32, 0.3);
    std::vector<std::int32_t> starts{0}, targets;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t t = r % 3; t > 0; --t) targets.push_back(static_cast<std::int32_t>(random.whole(0, vocab - 1)));
      if (r == 5) targets.back() = targets[targets.size() - 2];  // asked twice
      starts.push_back(static_cast<std::int32_t>(targets.size()));
    }
    const auto count = static_cast<std::int64_t>(targets.size());
    const Numbers coefficients = random.numbers(count, 1, DType::kFp32);
    const auto logits_of = [=](const Numbers& x_at, const Numbers& head_at, const Numbers& bias_at, std::int64_t r) {
      std::vector<double> logits;
      for (std::int64_t n = 0; n < vocab; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < hidden; ++k) sum += x_at.at(r, k) * head_at.at(n, k);
        sum = 1.5 * sum + bias_at.at(0, n);
        logits.push_back(cap > 0 ? cap * std::tanh(sum / cap) : sum);
      }
      return logits;
    };
    const auto log_sum_of = [](const std::vector<double>& logits) {
      double total = 0;
      for (const double logit : logits) total += std::exp(logit);
      return std::log(total);
    };
    Numbers log_sums{{}, rows, 1};
    for (std::int64_t r = 0; r < rows; ++r) log_sums.values.push_back(log_sum_of(logits_of(x, head, bias, r)));
    Numbers logprobs{{}, count, 1};
    for (std::int64_t r = 0; r < rows; ++r)
      for (auto t = starts[static_cast<std::size_t>(r)]; t < starts[static_cast<std::size_t>(r) + 1]; ++t)
        logprobs.values.push_back(
            logits_of(x, head, bias, r)[static_cast<std::size_t>(targets[static_cast<std::size_t>(t)])] -
            log_sums.at(r, 0));
    const auto part = [&](const Numbers& all, std::int64_t wide) {
      return std::vector<double>(all.values.begin() + first * wide, all.values.begin() + (first + own) * wide);
    };
    ScoreBack op;
    op.forward.x = device.put(x, dtype, 1);
    op.forward.head = device.pack(Numbers{part(head, hidden), own, hidden}, dtype);
    op.forward.bias = device.put({part(bias, 1), 1, own}, DType::kFp32);
    op.forward.first = first;
    op.forward.vocab = vocab;
    op.forward.scale = 1.5F;
    op.forward.soft_cap = static_cast<float>(cap);
    op.forward.starts = device.put(starts);
    op.forward.targets = device.put(targets);
    op.log_sums = device.put(log_sums, DType::kFp32);
    op.coefficients = device.put(coefficients, DType::kFp32, 1);
    op.dx = device.poisoned(rows, hidden, dtype, 3);
    if (trained) op.head_gradient = device.put(filled(own, hidden, 1), DType::kFp32, 1);
    if (trained) op.bias_gradient = device.put(filled(1, own, 1), DType::kFp32, 1);
    Score forward = op.forward;
    if (kept) {
      forward.stats = device.poisoned(rows, kScoreColumns, DType::kFp32);
      forward.found = device.poisoned(count, 1, DType::kFp32);
      forward.others =
          op.others = {device.poisoned(rows, hidden, DType::kFp32, 1), device.poisoned(rows, 1, DType::kFp32)};
      op.logprobs = device.put(logprobs, DType::kFp32);
    }
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op)),
                               before = device.scratch(kept ? device.backend().scratch(forward) : 0);
    Question question;
    question.point = {x, {part(head, hidden), own, hidden}, {part(bias, 1), 1, own}};
    question.run = [&device, op, scratch, forward, before] {
      if (forward.others) device.backend().run(device.stream(), forward, before);
      device.backend().run(device.stream(), op, scratch);
    };
    question.answers = {{0, op.dx}, {1, op.head_gradient, 1}, {2, op.bias_gradient, 1}};
    // Of x's gradient this rank has the part that goes through its rows of the head: the others' are held still, as
    // functions of the first x.
    question.value = [=](const Point& at) {
      Numbers head_at = head, bias_at = bias;
      std::copy(at[1].values.begin(), at[1].values.end(), head_at.values.begin() + first * hidden);
      std::copy(at[2].values.begin(), at[2].values.end(), bias_at.values.begin() + first);
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<double> logits = logits_of(at[0], head_at, bias_at, r);
        const std::vector<double> still = logits_of(x, head, bias, r);
        for (std::int64_t n = 0; n < vocab; ++n)
          if (n < first || n >= first + own) logits[static_cast<std::size_t>(n)] = still[static_cast<std::size_t>(n)];
        const double log_sum = log_sum_of(logits);
        for (auto t = starts[static_cast<std::size_t>(r)]; t < starts[static_cast<std::size_t>(r) + 1]; ++t)
          sum += coefficients.at(t, 0) *
                 (logits[static_cast<std::size_t>(targets[static_cast<std::size_t>(t)])] - log_sum);
      }
      return sum;
    };
    return question;
  });
}

}  // namespace

std::vector<Case> choice_back_cases() {
  Cases cases;
  const auto add = [&](Cases more) { cases.insert(cases.end(), more.begin(), more.end()); };
  add(route_back("softmax", 8, 2, Route::Kind::kSoftmax, true));
  add(route_back("plain", 7, 3, Route::Kind::kSoftmax, false));
  add(route_back("sigmoid", 9, 4, Route::Kind::kSigmoid, true));
  add(route_back("sigmoid_plain", 5, 1, Route::Kind::kSigmoid, false));
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16}) {
    add(experts_back(1, 3, 2, 16, 24, dtype, 0, true, false));
    add(experts_back(60, 3, 2, 20, 9, dtype, 2, true, true));
    add(experts_back(13, 4, 3, 14, 35, dtype, 0, false, false));
    add(score_back(5, 24, 150, 0, 150, dtype, 0, true));
    add(score_back(7, 10, 200, 64, 70, dtype, 2, true));
    add(score_back(4, 8, 2100, 0, 2100, dtype, 0, false));
    add(score_back(101, 6, 90, 0, 90, dtype, 0, false, true));
    add(score_back(7, 10, 200, 64, 70, dtype, 2, false, true));
    add(score_back(8, 8, 4200, 0, 4200, dtype, 0, false, true));
  }
  return cases;
}

}  // namespace orch::kernels::test
