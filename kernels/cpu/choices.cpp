#include "kernels/cpu/choices.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/loops.h"

namespace orch::kernels::cpu {
namespace {

const float* float_row(const Matrix& matrix, std::int64_t row) {
  return static_cast<const float*>(matrix.data) + row * matrix.stride;
}
float* float_row(Matrix& matrix, std::int64_t row) { return static_cast<float*>(matrix.data) + row * matrix.stride; }

/// The numbers of the `count` largest, the best first; of equals the first, and NaN last.
void best_of(std::span<const float> values, std::int64_t count, std::vector<std::int32_t>& best) {
  best.resize(values.size());
  std::iota(best.begin(), best.end(), 0);
  const auto better = [&](std::int32_t a, std::int32_t b) {
    const float x = values[static_cast<std::size_t>(a)], y = values[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) == std::isnan(y) ? a < b : std::isnan(y);
    return x != y ? x > y : a < b;
  };
  std::partial_sort(best.begin(), best.begin() + count, best.end(), better);
  best.resize(static_cast<std::size_t>(count));
}

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Experts outside of the best groups are never chosen.
void keep_groups(const Route& op, std::vector<float>& choice) {
  const std::size_t each = choice.size() / static_cast<std::size_t>(op.groups);
  std::vector<float> groups;
  std::vector<std::int32_t> best;
  for (std::size_t g = 0; g < static_cast<std::size_t>(op.groups); ++g) {
    const std::span<const float> members(choice.data() + g * each, each);
    best_of(members, std::min<std::int64_t>(op.group_best, static_cast<std::int64_t>(each)), best);
    float worth = 0;
    for (const std::int32_t member : best) worth += members[static_cast<std::size_t>(member)];
    groups.push_back(worth);
  }
  best_of(groups, op.active_groups, best);
  for (std::size_t g = 0; g < groups.size(); ++g)
    if (std::find(best.begin(), best.end(), static_cast<std::int32_t>(g)) == best.end())
      std::fill_n(choice.begin() + static_cast<std::ptrdiff_t>(g * each), each, kNever);
}

/// Of all experts, before any is chosen.
std::vector<float> chances_of(const Route& op, std::span<const float> logits) {
  std::vector<float> chances(logits.begin(), logits.end());
  if (op.kind == Route::Kind::kSigmoid) {
    for (float& chance : chances) chance = 1.0F / (1.0F + std::exp(-chance));
    return chances;
  }
  const float most = *std::max_element(chances.begin(), chances.end());
  float total = 0;
  for (float& chance : chances) total += chance = std::exp(chance - most);
  for (float& chance : chances) chance /= total;
  return chances;
}

/// Added to what chosen chances are divided by.
constexpr float kLeastTotal = 1e-20F;

}  // namespace

void route(const Route& op, std::int64_t row) {
  const auto count = static_cast<std::size_t>(op.logits.cols);
  const float* logits = float_row(op.logits, row);
  const std::vector<float> weights = chances_of(op, {logits, count});
  std::vector<float> choice = weights;
  if (op.choice_bias)
    for (std::size_t e = 0; e < count; ++e) choice[e] += float_row(op.choice_bias, 0)[e];
  if (op.groups > 1) keep_groups(op, choice);
  std::vector<std::int32_t> best;
  best_of(choice, op.active, best);
  float total = 0;
  for (const std::int32_t expert : best) total += weights[static_cast<std::size_t>(expert)];
  const float factor = op.renormalise ? op.scale / (total + kLeastTotal) : op.scale;
  Matrix out = op.weights;
  for (int place = 0; place < op.active; ++place) {
    const std::int32_t expert = best[static_cast<std::size_t>(place)];
    op.experts.data[row * op.active + place] = expert;
    float_row(out, row)[place] = weights[static_cast<std::size_t>(expert)] * factor;
  }
}

void route_back(const RouteBack& op, std::int64_t row) {
  const Route& forward = op.forward;
  const auto count = static_cast<std::size_t>(forward.logits.cols);
  const float* logits = float_row(forward.logits, row);
  const float* dweights = float_row(op.dweights, row);
  Matrix out = op.dlogits;
  float* dlogits = float_row(out, row);
  std::vector<float> chances = chances_of(forward, {logits, count}), dchances(count);
  const auto chosen = [&](int place) {
    return static_cast<std::size_t>(forward.experts.data[row * forward.active + place]);
  };
  float total = 0, common = 0;
  for (int place = 0; place < forward.active; ++place) total += chances[chosen(place)];
  const float factor = forward.renormalise ? forward.scale / (total + kLeastTotal) : forward.scale;
  if (forward.renormalise)
    for (int place = 0; place < forward.active; ++place)
      common += dweights[place] * chances[chosen(place)] / (total + kLeastTotal);
  for (int place = 0; place < forward.active; ++place) dchances[chosen(place)] = factor * (dweights[place] - common);
  float mean = 0;  // of dchances, as the softmax weighs them
  if (forward.kind == Route::Kind::kSoftmax)
    for (std::size_t e = 0; e < count; ++e) mean += dchances[e] * chances[e];
  for (std::size_t e = 0; e < count; ++e)
    dlogits[e] = forward.kind == Route::Kind::kSoftmax ? chances[e] * (dchances[e] - mean)
                                                       : chances[e] * (1 - chances[e]) * dchances[e];
}

void count_choices(const Route& op) {
  if (!op.counts) return;
  for (std::int64_t i = 0; i < op.logits.rows * op.active; ++i) ++op.counts.data[op.experts.data[i]];
}

ExpertsScratch::ExpertsScratch(const Experts& op) {
  const auto choices = static_cast<std::size_t>(op.x.rows * op.active);
  const auto after = [](std::size_t at, std::size_t size) { return (at + size + 63) / 64 * 64; };
  starts = after(order, choices * sizeof(std::int32_t));
  hidden = after(starts, static_cast<std::size_t>(op.up->count + 1) * sizeof(std::int32_t));
  hidden_row = static_cast<std::size_t>(op.down->cols) * static_cast<std::size_t>(bytes_of(op.x.dtype));
  gathered = after(hidden, choices * hidden_row);
  const std::size_t floats = choices * static_cast<std::size_t>(op.y.cols) * sizeof(float);
  out = after(gathered, floats);
  blocks = after(out, floats);
  const std::int64_t most = most_blocks(static_cast<std::int64_t>(choices), op.up->count);
  bytes = blocks + static_cast<std::size_t>(most) * sizeof(ExpertBlock);
}

std::int64_t most_blocks(std::int64_t choices, std::int64_t own) { return choices / kBlockRows + own; }

std::int64_t sort_by_expert(const Ints& experts, std::int64_t first, std::int64_t own, std::int32_t* order,
                            std::int32_t* starts, ExpertBlock* blocks) {
  std::fill_n(starts, own + 1, 0);
  const std::int64_t choices = experts.size;
  const auto expert_of = [&](std::int64_t i) {
    const std::int64_t expert = experts.data[i] - first;
    return expert >= 0 && expert < own ? expert : -1;
  };
  for (std::int64_t i = 0; i < choices; ++i)
    if (const std::int64_t expert = expert_of(i); expert >= 0) ++starts[expert + 1];
  std::partial_sum(starts, starts + own + 1, starts);
  // While tokens are put down, starts[e] is where expert e's next one goes; then each has come to the next one's start.
  for (std::int64_t i = 0; i < choices; ++i)
    if (const std::int64_t expert = expert_of(i); expert >= 0) order[starts[expert]++] = static_cast<std::int32_t>(i);
  std::copy_backward(starts, starts + own, starts + own + 1);
  starts[0] = 0;
  std::int64_t count = 0;
  for (std::int32_t e = 0; e < own; ++e)
    for (std::int32_t from = starts[e]; from < starts[e + 1]; from += kBlockRows)
      blocks[count++] = {e, from, std::min<std::int32_t>(starts[e + 1], from + kBlockRows)};
  return count;
}

void combine(const float* parts, std::int64_t stride, std::int64_t count, float* stats) {
  float most = kNever, total = 0, best = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float* part = parts + i * stride;
    if (part[kMax] > most) {
      most = part[kMax];
      best = part[kBest];
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const float* part = parts + i * stride;
    if (part[kMax] != kNever || std::isnan(part[kSumExp])) total += part[kSumExp] * std::exp(part[kMax] - most);
  }
  stats[kMax] = most;
  stats[kSumExp] = total;
  stats[kBest] = best;
}

void finish_scores(const CombineScores& op, std::int64_t row, std::int64_t rows) {
  float stats[kScoreColumns];
  combine(float_row(op.stats, row), rows * op.stats.stride, op.ranks, stats);
  const std::int64_t targets = op.found.rows / op.ranks;
  Matrix logprobs = op.logprobs;
  for (std::int64_t t = op.starts.data[row]; t < op.starts.data[row + 1]; ++t) {
    float target = 0;
    for (int rank = 0; rank < op.ranks; ++rank) target += *float_row(op.found, rank * targets + t);
    *float_row(logprobs, t) = target - stats[kMax] - std::log(stats[kSumExp]);
  }
  Matrix log_sums = op.log_sums;
  if (log_sums) *float_row(log_sums, row) = stats[kMax] + std::log(stats[kSumExp]);
  op.best.data[row] = static_cast<std::int32_t>(stats[kBest]);
}

std::size_t sample_scratch(const Sample& op) {
  return static_cast<std::size_t>(op.logits.cols) * (sizeof(std::int32_t) + sizeof(float));
}

void sample(const Sample& op, std::int64_t row, std::span<std::byte> scratch) {
  const std::int64_t count = op.logits.cols;
  const float* logits = float_row(op.logits, row);
  const float temperature = *float_row(op.temperature, row);
  const float* first = std::max_element(logits, logits + count);
  if (!(temperature > 0)) {
    op.tokens.data[row] = static_cast<std::int32_t>(first - logits);
    return;
  }
  auto* order = reinterpret_cast<std::int32_t*>(scratch.data());
  auto* weights = reinterpret_cast<float*>(scratch.data() + static_cast<std::size_t>(count) * sizeof(std::int32_t));
  std::iota(order, order + count, 0);
  std::sort(order, order + count,
            [&](std::int32_t a, std::int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  const std::int32_t top_k = op.top_k.data[row];
  const std::int64_t most = top_k > 0 ? std::min<std::int64_t>(top_k, count) : count;
  double total = 0;
  for (std::int64_t i = 0; i < most; ++i) total += weights[i] = std::exp((logits[order[i]] - *first) / temperature);
  // The fewest tokens that hold top_p of the probability.
  const double wanted = static_cast<double>(*float_row(op.top_p, row)) * total;
  std::int64_t kept = 0;
  double sum = 0;
  while (kept < most && (kept == 0 || sum < wanted)) sum += weights[kept++];
  double left = static_cast<double>(*float_row(op.uniforms, row)) * sum;
  std::int64_t drawn = 0;
  while (drawn + 1 < kept && left >= weights[drawn]) left -= weights[drawn++];
  op.tokens.data[row] = order[drawn];
}

}  // namespace orch::kernels::cpu
