#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cases.h"

namespace orch::kernels::test {
namespace {

struct Routing {
  std::string name;
  int experts, active;
  Route::Kind kind;
  bool renormalise, bias;
  int groups = 1, active_groups = 1, group_best = 1;
  float scale = 1;
};

/// A token's experts, best first, and their weights.
std::vector<std::pair<int, double>> routed(const Routing& how, const std::vector<double>& logits,
                                           const std::vector<double>& bias) {
  std::vector<double> weights;
  double total = 0;
  for (const double logit : logits) {
    weights.push_back(how.kind == Route::Kind::kSoftmax ? std::exp(logit) : 1 / (1 + std::exp(-logit)));
    total += weights.back();
  }
  if (how.kind == Route::Kind::kSoftmax)
    for (double& weight : weights) weight /= total;
  std::vector<double> choice = weights;
  for (std::size_t e = 0; e < choice.size(); ++e)
    if (how.bias) choice[e] += bias[e];
  const auto each = static_cast<std::size_t>(how.experts / how.groups);
  std::vector<std::pair<double, std::size_t>> groups;
  for (std::size_t g = 0; g < static_cast<std::size_t>(how.groups); ++g) {
    std::vector<double> members(choice.begin() + static_cast<std::ptrdiff_t>(g * each),
                                choice.begin() + static_cast<std::ptrdiff_t>((g + 1) * each));
    std::sort(members.rbegin(), members.rend());
    groups.emplace_back(std::accumulate(members.begin(), members.begin() + how.group_best, 0.0), g);
  }
  std::sort(groups.rbegin(), groups.rend());
  std::vector<std::pair<double, int>> open;
  for (int g = 0; g < how.active_groups; ++g)
    for (std::size_t e = 0; e < each; ++e) {
      const std::size_t expert = groups[static_cast<std::size_t>(g)].second * each + e;
      open.emplace_back(choice[expert], static_cast<int>(expert));
    }
  std::sort(open.rbegin(), open.rend());
  double chosen = 0;
  for (int i = 0; i < how.active; ++i)
    chosen += weights[static_cast<std::size_t>(open[static_cast<std::size_t>(i)].second)];
  std::vector<std::pair<int, double>> result;
  for (int i = 0; i < how.active; ++i) {
    const int expert = open[static_cast<std::size_t>(i)].second;
    result.emplace_back(expert, weights[static_cast<std::size_t>(expert)] * static_cast<double>(how.scale) /
                                    (how.renormalise ? chosen : 1));
  }
  return result;
}

Case route(const Routing& how, std::int64_t tokens) {
  Case it;
  it.name = "Route_" + how.name + "_" + std::to_string(tokens);
  it.error = 1e-5;
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(how.experts * 10 + tokens));
    const Numbers logits = random.numbers(tokens, how.experts, DType::kFp32),
                  bias = random.numbers(1, how.experts, DType::kFp32, 0.3);
    Route op;
    op.logits = device.put(logits, DType::kFp32, 2);
    op.kind = how.kind;
    op.active = how.active;
    op.renormalise = how.renormalise;
    op.scale = how.scale;
    if (how.bias) op.choice_bias = device.put(bias, DType::kFp32);
    op.groups = how.groups, op.active_groups = how.active_groups, op.group_best = how.group_best;
    op.experts = device.poisoned_ints(tokens * how.active);
    op.weights = device.poisoned(tokens, how.active, DType::kFp32);
    op.counts = device.put(std::vector<std::int32_t>(static_cast<std::size_t>(how.experts), 5));
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] {
      std::vector<double> got;
      for (const std::int32_t expert : device.get(op.experts)) got.push_back(expert);
      for (const double weight : device.get(op.weights).values) got.push_back(weight);
      for (const std::int32_t count : device.get(op.counts)) got.push_back(count);
      return got;
    };
    ready.want = [=] {
      std::vector<double> experts, weights, counts(static_cast<std::size_t>(how.experts), 5);
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::vector<double> row;
        for (int e = 0; e < how.experts; ++e) row.push_back(logits.at(t, e));
        for (const auto& [expert, weight] : routed(how, row, bias.values)) {
          experts.push_back(expert);
          weights.push_back(weight);
          ++counts[static_cast<std::size_t>(expert)];
        }
      }
      experts.insert(experts.end(), weights.begin(), weights.end());
      experts.insert(experts.end(), counts.begin(), counts.end());
      return experts;
    };
    return ready;
  };
  return it;
}

Case experts(std::int64_t tokens, int count, int active, std::int64_t hidden, std::int64_t inner, DType dtype,
             std::int64_t first, bool gated, bool bias) {
  Case it;
  it.name = "Experts_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(tokens) + "x" +
            std::to_string(hidden) + "x" + std::to_string(inner) + "_" + std::to_string(active) + "of" +
            std::to_string(count) + (first > 0 ? "_part" : "") + (gated ? "_gated" : "") + (bias ? "_bias" : "");
  it.error = 3 * tolerance(dtype);
  it.flops = 2.0 * static_cast<double>(tokens * active * hidden * inner * (gated ? 3 : 2));
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(tokens * 17 + count));
    const Numbers x = random.numbers(tokens, hidden, dtype);
    const double spread = 1 / std::sqrt(static_cast<double>(hidden));
    std::vector<Numbers> up, down;
    for (int e = 0; e < count; ++e) {
      up.push_back(random.numbers(gated ? 2 * inner : inner, hidden, dtype, 2 * spread));
      down.push_back(random.numbers(hidden, inner, dtype, 2 * spread));
    }
    const Numbers up_bias = random.numbers(count, gated ? 2 * inner : inner, DType::kFp32),
                  down_bias = random.numbers(count, hidden, DType::kFp32);
    std::vector<std::int32_t> chosen;
    Numbers weights{{}, tokens, active};
    for (std::int64_t t = 0; t < tokens; ++t)
      for (int a = 0; a < active; ++a) {
        // Some of other ranks, below and above; expert 1 gets none at all.
        std::int32_t expert = static_cast<std::int32_t>(random.whole(0, first + count));
        if (expert == first + 1) ++expert;
        chosen.push_back(expert);
        weights.values.push_back(rounded(random.uniform(0, 1), DType::kFp32));
      }
    Experts op;
    op.x = device.put(x, dtype, 1);
    op.experts = device.put(chosen);
    op.weights = device.put(weights, DType::kFp32);
    op.active = active;
    op.first = first;
    op.up = device.pack(up, dtype, gated);
    op.down = device.pack(down, dtype);
    if (bias) op.up_bias = device.put(up_bias, DType::kFp32), op.down_bias = device.put(down_bias, DType::kFp32);
    op.gated = gated;
    op.y = device.poisoned(tokens, hidden, dtype, 2);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.y).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.y); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::vector<double> row(static_cast<std::size_t>(hidden));
        for (int a = 0; a < active; ++a) {
          const std::int64_t e = chosen[static_cast<std::size_t>(t * active + a)] - first;
          if (e < 0 || e >= count) continue;
          const auto at = static_cast<std::size_t>(e);
          const auto product = [&](std::int64_t n) {
            double sum = bias ? up_bias.at(e, n) : 0;
            for (std::int64_t k = 0; k < hidden; ++k) sum += x.at(t, k) * up[at].at(n, k);
            return sum;
          };
          std::vector<double> h;
          for (std::int64_t n = 0; n < inner; ++n) {
            const double gate = product(n);
            h.push_back(gate / (1 + std::exp(-gate)) * (gated ? product(inner + n) : 1));
          }
          for (std::int64_t o = 0; o < hidden; ++o) {
            double sum = bias ? down_bias.at(e, o) : 0;
            for (std::int64_t n = 0; n < inner; ++n) sum += h[static_cast<std::size_t>(n)] * down[at].at(o, n);
            row[static_cast<std::size_t>(o)] += weights.at(t, a) * sum;
          }
        }
        want.insert(want.end(), row.begin(), row.end());
      }
      return want;
    };
    return ready;
  };
  return it;
}

/// Each row with settings of its own.
Case sample(std::int64_t rows, std::int64_t vocab) {
  Case it;
  it.name = "Sample_" + std::to_string(rows) + "x" + std::to_string(vocab);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows * vocab));
    Numbers logits = random.numbers(rows, vocab, DType::kFp32, 2);
    Numbers temperature{{}, rows, 1}, top_p{{}, rows, 1}, uniforms{{}, rows, 1};
    std::vector<std::int32_t> top_k;
    for (std::int64_t r = 0; r < rows; ++r) {
      temperature.values.push_back(r % 4 == 0 ? 0 : rounded(random.uniform(0.3, 2), DType::kFp32));
      top_p.values.push_back(r % 3 == 0 ? 1 : rounded(random.uniform(0.1, 1), DType::kFp32));
      top_k.push_back(static_cast<std::int32_t>(r % 5 == 0 ? 0 : random.whole(1, vocab)));
      uniforms.values.push_back(rounded(random.uniform(0, 0.999), DType::kFp32));
    }
    // Equal logits: the first token comes first.
    if (rows > 0 && vocab > 2) logits.at(0, 1) = logits.at(0, 2) = 50;
    Sample op;
    op.logits = device.put(logits, DType::kFp32, 1);
    op.temperature = device.put(temperature, DType::kFp32);
    op.top_p = device.put(top_p, DType::kFp32);
    op.top_k = device.put(top_k);
    op.uniforms = device.put(uniforms, DType::kFp32);
    op.tokens = device.poisoned_ints(rows);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] {
      std::vector<double> got;
      for (const std::int32_t token : device.get(op.tokens)) got.push_back(token);
      return got;
    };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<std::pair<double, std::int64_t>> order;  // negative, so that equal ones come in their order
        for (std::int64_t t = 0; t < vocab; ++t) order.emplace_back(-logits.at(r, t), t);
        std::sort(order.begin(), order.end());
        const double heat = temperature.at(r, 0);
        if (heat == 0) {
          want.push_back(static_cast<double>(order[0].second));
          continue;
        }
        const std::int32_t most = top_k[static_cast<std::size_t>(r)];
        if (most > 0) order.resize(static_cast<std::size_t>(std::min<std::int64_t>(most, vocab)));
        const double best = order[0].first;
        double total = 0;
        for (auto& [logit, token] : order) total += logit = std::exp((best - logit) / heat);
        std::size_t kept = 0;
        double sum = 0;
        while (kept < order.size() && (kept == 0 || sum < top_p.at(r, 0) * total)) sum += order[kept++].first;
        double draw = uniforms.at(r, 0) * sum;
        std::size_t drawn = 0;
        while (drawn + 1 < kept && draw >= order[drawn].first) draw -= order[drawn++].first;
        want.push_back(static_cast<double>(order[drawn].second));
      }
      return want;
    };
    return ready;
  };
  return it;
}

/// A vocabulary cut over ranks, scored in parts and put together.
Case score(std::int64_t rows, std::int64_t hidden, std::int64_t vocab, int ranks, DType dtype, float cap) {
  Case it;
  it.name = "Score_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" + std::to_string(hidden) +
            "x" + std::to_string(vocab) + "_over" + std::to_string(ranks) + (cap > 0 ? "_capped" : "");
  it.error = 1e-5;
  it.dtype = dtype;
  it.flops = 2.0 * static_cast<double>(rows * hidden * vocab);
  it.bytes = static_cast<double>(hidden * vocab) * orch::bytes_of(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows + vocab));
    const Numbers x = random.numbers(rows, hidden, dtype),
                  head = random.numbers(vocab, hidden, dtype, 2 / std::sqrt(static_cast<double>(hidden)));
    // None, one or several of a row.
    std::vector<std::int32_t> starts{0}, targets;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t t = r % 4; t > 0; --t) targets.push_back(static_cast<std::int32_t>(random.whole(0, vocab - 1)));
      starts.push_back(static_cast<std::int32_t>(targets.size()));
    }
    const auto count = static_cast<std::int64_t>(targets.size());
    const Matrix x_there = device.put(x, dtype, 1), stats = device.poisoned(rows * ranks, kScoreColumns, DType::kFp32),
                 found = device.poisoned(count * ranks, 1, DType::kFp32, 1);
    const Ints starts_there = device.put(starts), targets_there = device.put(targets);
    std::vector<Score> parts;
    std::vector<std::span<std::byte>> scratches;
    for (int rank = 0; rank < ranks; ++rank) {
      const std::int64_t from = vocab * rank / ranks, to = vocab * (rank + 1) / ranks;
      Score op;
      op.x = x_there;
      op.head = device.pack(
          Numbers{{head.values.begin() + from * hidden, head.values.begin() + to * hidden}, to - from, hidden}, dtype);
      op.first = from;
      op.vocab = vocab;
      op.scale = 1.5F;
      op.soft_cap = cap;
      op.starts = starts_there;
      op.targets = targets_there;
      op.stats = kernels::rows(stats, rank * rows, rows);
      op.found = kernels::rows(found, rank * count, count);
      parts.push_back(op);
      scratches.push_back(device.scratch(device.backend().scratch(op)));
    }
    CombineScores all;
    all.stats = stats;
    all.ranks = ranks;
    all.found = found;
    all.starts = starts_there;
    all.logprobs = device.poisoned(count, 1, DType::kFp32);
    all.best = device.poisoned_ints(rows);
    Prepared ready;
    ready.run = [&device, parts, scratches, all] {
      for (std::size_t i = 0; i < parts.size(); ++i) device.backend().run(device.stream(), parts[i], scratches[i]);
      device.backend().run(device.stream(), all);
    };
    ready.got = [&device, all] {
      std::vector<double> got = device.get(all.logprobs).values;
      for (const std::int32_t best : device.get(all.best)) got.push_back(best);
      return got;
    };
    ready.want = [=] {
      std::vector<double> want, best;
      for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<double> logits;
        for (std::int64_t n = 0; n < vocab; ++n) {
          double sum = 0;
          for (std::int64_t k = 0; k < hidden; ++k) sum += x.at(r, k) * head.at(n, k);
          sum *= 1.5;
          logits.push_back(cap > 0 ? static_cast<double>(cap) * std::tanh(sum / static_cast<double>(cap)) : sum);
        }
        const auto most = std::max_element(logits.begin(), logits.end());
        double total = 0;
        for (const double logit : logits) total += std::exp(logit - *most);
        const auto row = static_cast<std::size_t>(r);
        for (std::int32_t t = starts[row]; t < starts[row + 1]; ++t)
          want.push_back(logits[static_cast<std::size_t>(targets[static_cast<std::size_t>(t)])] - *most -
                         std::log(total));
        best.push_back(static_cast<double>(most - logits.begin()));
      }
      want.insert(want.end(), best.begin(), best.end());
      return want;
    };
    return ready;
  };
  return it;
}

}  // namespace

std::vector<Case> expert_cases() {
  std::vector<Case> cases;
  for (const std::int64_t tokens : {0, 1, 37}) {
    cases.push_back(route({"softmax", 8, 2, Route::Kind::kSoftmax, true, false}, tokens));
    cases.push_back(route({"plain", 7, 3, Route::Kind::kSoftmax, false, false, 1, 1, 1, 2.5F}, tokens));
    cases.push_back(route({"one", 1, 1, Route::Kind::kSoftmax, false, false}, tokens));
    cases.push_back(route({"sigmoid_groups", 16, 4, Route::Kind::kSigmoid, true, true, 4, 2, 2, 2.5F}, tokens));
    cases.push_back(route({"groups_by_best", 12, 2, Route::Kind::kSoftmax, false, false, 3, 1, 1}, tokens));
  }
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16}) {
    cases.push_back(experts(0, 3, 2, 16, 24, dtype, 0, true, false));
    cases.push_back(experts(1, 3, 2, 16, 24, dtype, 0, true, false));
    cases.push_back(experts(150, 4, 2, 48, 40, dtype, 2, true, true));
    cases.push_back(experts(33, 5, 3, 30, 70, dtype, 0, false, false));
  }
  return cases;
}

std::vector<Case> score_cases() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16}) {
    cases.push_back(score(1, 16, 2, 1, dtype, 0));
    cases.push_back(score(0, 16, 20, 1, dtype, 0));
    cases.push_back(score(5, 24, 5000, 1, dtype, 0));
    cases.push_back(score(100, 16, 4200, 3, dtype, 2.0F));
  }
  for (const auto& [rows, vocab] : {std::pair(1, 1), std::pair(0, 9), std::pair(64, 50), std::pair(20, 3000)})
    cases.push_back(sample(rows, vocab));
  return cases;
}

std::vector<Case> score_speeds() {
  std::vector<Case> cases;
  for (const std::int64_t rows : {1, 64})
    for (const DType dtype : {DType::kBf16, DType::kFp32}) cases.push_back(score(rows, 2048, 32000, 1, dtype, 0));
  return cases;
}

}  // namespace orch::kernels::test
