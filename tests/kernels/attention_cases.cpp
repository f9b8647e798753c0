#include <cmath>

#include "kernels/cases.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

struct Shape {
  std::string name;
  int heads, kv_heads, dim;
  DType dtype, cache;
  /// Of each sequence: tokens that are in the cache already, and those of this step.
  std::vector<std::pair<int, int>> sequences;
  std::int64_t window = 0;
  float soft_cap = 0;
  bool alibi = false, head_norms = false, interleaved = false, dynamic = false;
  int rotated = 0;
  float clip = 0;
  /// After how many tokens a page is left half full: the places where prefixes end.
  int cut = 16;
};

/// What a sequence's tokens are to their projections; a prefix that sequences share is the same for all.
struct Tokens {
  Numbers qkv;  ///< a row a token of the whole sequence
};

/// Pages for so many tokens, each filled with at most `cut`.
struct Places {
  std::vector<std::int32_t> slots, table;
};
Places places_of(int tokens, int cut, std::int32_t& next_page) {
  Places places;
  int count = 0;
  for (int t = 0; t < tokens; ++t) {
    if (count == 0) places.table.insert(places.table.end(), {next_page++, (t / cut) % (kPageTokens - cut + 1), 0});
    const std::size_t entry = places.table.size() - 3;
    places.slots.push_back(places.table[entry] * kPageTokens + places.table[entry + 1] + count);
    places.table[entry + 2] = ++count;
    if (count == cut) count = 0;
  }
  return places;
}

/// One head's vector as attention sees it: clipped, normed, turned, in doubles.
std::vector<double> prepared(const Shape& shape, const Numbers& qkv, std::int64_t row, std::int64_t first,
                             const std::vector<double>& norm, const std::vector<double>& frequencies, double position,
                             double base) {
  std::vector<double> head;
  for (int i = 0; i < shape.dim; ++i) {
    const double v = qkv.at(row, first + i);
    head.push_back(
        shape.clip > 0 ? std::min(std::max(v, -static_cast<double>(shape.clip)), static_cast<double>(shape.clip)) : v);
  }
  if (shape.head_norms) head = norm_of(head, false, 1e-6, norm, {}, false);
  std::vector<double> turned = frequencies;
  for (std::size_t i = 0; i < turned.size(); ++i)
    turned[i] *= std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(2 * turned.size()));
  turn(head, 0, turned, position, shape.interleaved, 1.25);
  return head;
}

Case attention(const Shape& shape) {
  Case it;
  it.name = "Attention_" + shape.name + "_" + std::string(orch::name_of(shape.dtype)) + "_" +
            std::string(orch::name_of(shape.cache));
  // A cache in fp8 has 3 bits behind the point.
  it.error = shape.cache == DType::kFp8 ? 0.05 : 4 * tolerance(shape.dtype) + 4 * tolerance(shape.cache);
  it.dtype = shape.dtype;
  for (const auto& [past, now] : shape.sequences) {
    it.flops += 4.0 * now * (past + 0.5 * (now + 1)) * shape.heads * shape.dim;
    it.bytes += 2.0 * (past + now) * shape.kv_heads * shape.dim * orch::bytes_of(shape.cache);
  }
  it.prepare = [shape](Device& device) {
    Random random(shape.name.size() * 977 + static_cast<std::uint64_t>(shape.dim));
    const std::int64_t width = static_cast<std::int64_t>(shape.heads + 2 * shape.kv_heads) * shape.dim;
    std::vector<Tokens> all;
    for (const auto& [past, now] : shape.sequences)
      all.push_back({random.numbers(past + now, width, shape.dtype, 0.7)});
    const Numbers q_norm = random.numbers(1, shape.dim, DType::kFp32, 0.2, 1),
                  k_norm = random.numbers(1, shape.dim, DType::kFp32, 0.2, 1);
    Numbers frequencies{{}, 1, shape.rotated / 2};
    for (int i = 0; i < shape.rotated / 2; ++i)
      frequencies.values.push_back(rounded(std::pow(100.0, -2.0 * i / shape.rotated), DType::kFp32));
    Numbers slopes{{}, 1, shape.heads};
    for (int h = 0; h < shape.heads; ++h) slopes.values.push_back(rounded(std::pow(0.5, h + 1), DType::kFp32));

    Rotary rotary;
    auto q_kind = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(q_norm, DType::kFp32), {}, false});
    auto k_kind = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(k_norm, DType::kFp32), {}, false});
    rotary.clip = shape.clip;
    rotary.heads = shape.heads;
    if (shape.head_norms) rotary.q_norm = q_kind.get(), rotary.k_norm = k_kind.get();
    rotary.rotation = {shape.rotated, shape.interleaved,
                       shape.rotated > 0 ? device.put(frequencies, DType::kFp32) : Matrix{}, 1.25F};

    // What is in the cache already came by a step of its own.
    std::int32_t pages = 0;
    std::vector<Places> places;
    std::int64_t entries = 1;
    for (const auto& [past, now] : shape.sequences) {
      places.push_back(places_of(past + now, shape.cut, pages));
      entries = std::max(entries, static_cast<std::int64_t>(places.back().table.size() / 3));
    }
    const KvShape kv{shape.kv_heads, shape.dim, shape.dim, false, shape.cache};
    rotary.cache = device.cache(kv, std::max(1, pages));
    const auto fill = [&](bool now_too) {
      Numbers rows{{}, 0, width};
      std::vector<std::int32_t> positions, slots;
      std::vector<double> bases;
      for (std::size_t s = 0; s < all.size(); ++s) {
        const auto [past, now] = shape.sequences[s];
        for (int t = now_too ? past : 0; t < (now_too ? past + now : past); ++t) {
          for (std::int64_t k = 0; k < width; ++k) rows.values.push_back(all[s].qkv.at(t, k));
          ++rows.rows;
          positions.push_back(t);
          slots.push_back(places[s].slots[static_cast<std::size_t>(t)]);
          bases.push_back(1.5);
        }
      }
      rotary.qkv = device.put(rows, shape.dtype);
      rotary.positions = device.put(positions);
      rotary.slots = device.put(slots);
      const Numbers base_row{bases, 1, rows.rows};
      if (shape.dynamic) rotary.bases = device.put(base_row, DType::kFp32);
      rotary.q = device.poisoned(rows.rows, static_cast<std::int64_t>(shape.heads) * shape.dim, shape.dtype);
      device.backend().run(device.stream(), rotary);
    };
    fill(false);
    fill(true);

    Attention op;
    op.q = rotary.q;
    op.heads = shape.heads;
    op.cache = rotary.cache;
    op.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.dim)));
    op.soft_cap = shape.soft_cap;
    op.window = shape.window;
    if (shape.alibi) op.slopes = device.put(slopes, DType::kFp32);
    std::vector<std::int32_t> starts = {0}, lengths, table;
    for (std::size_t s = 0; s < all.size(); ++s) {
      const auto [past, now] = shape.sequences[s];
      starts.push_back(starts.back() + now);
      lengths.push_back(past + now);
      std::vector<std::int32_t> row = places[s].table;
      row.resize(static_cast<std::size_t>(entries * 3), 1 << 20);  // never looked at
      table.insert(table.end(), row.begin(), row.end());
      op.sequences.max_rows = std::max<std::int64_t>(op.sequences.max_rows, now);
      op.sequences.max_length = std::max<std::int64_t>(op.sequences.max_length, past + now);
    }
    op.sequences.starts = device.put(starts);
    op.sequences.lengths = device.put(lengths);
    op.sequences.table = device.put(table);
    op.sequences.count = static_cast<std::int64_t>(all.size());
    op.sequences.width = entries;
    op.out = device.poisoned(starts.back(), static_cast<std::int64_t>(shape.heads) * shape.dim, shape.dtype, 3);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));

    Prepared ready;
    ready.run = [&device, op, scratch, q_kind, k_kind] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.out).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.out); };
    ready.want = [=] {
      std::vector<double> want;
      const int group = shape.heads / shape.kv_heads;
      const double base = shape.dynamic ? 1.5 : 1;
      for (std::size_t s = 0; s < all.size(); ++s) {
        const auto [past, now] = shape.sequences[s];
        const Numbers& qkv = all[s].qkv;
        for (int t = past; t < past + now; ++t)
          for (int h = 0; h < shape.heads; ++h) {
            const auto q = prepared(shape, qkv, t, h * shape.dim, q_norm.values, frequencies.values, t, base);
            const std::int64_t key = static_cast<std::int64_t>(shape.heads + h / group) * shape.dim;
            const std::int64_t value = key + static_cast<std::int64_t>(shape.kv_heads) * shape.dim;
            std::vector<double> weights;
            const int from = shape.window > 0 ? std::max<int>(0, t + 1 - static_cast<int>(shape.window)) : 0;
            double most = -1e300, total = 0;
            for (int p = from; p <= t; ++p) {
              const auto k = prepared(shape, qkv, p, key, k_norm.values, frequencies.values, p, base);
              double score = 0;
              for (std::size_t i = 0; i < k.size(); ++i) score += q[i] * k[i];
              score /= std::sqrt(static_cast<double>(shape.dim));
              if (shape.soft_cap > 0)
                score = static_cast<double>(shape.soft_cap) * std::tanh(score / static_cast<double>(shape.soft_cap));
              if (shape.alibi) score += slopes.at(0, h) * (p - t);
              weights.push_back(score);
              most = std::max(most, score);
            }
            for (double& weight : weights) total += weight = std::exp(weight - most);
            for (int i = 0; i < shape.dim; ++i) {
              double sum = 0;
              for (int p = from; p <= t; ++p) {
                double v = qkv.at(p, value + i);
                if (shape.clip > 0)
                  v = std::min(std::max(v, -static_cast<double>(shape.clip)), static_cast<double>(shape.clip));
                sum += weights[static_cast<std::size_t>(p - from)] / total * v;
              }
              want.push_back(sum);
            }
          }
      }
      return want;
    };
    return ready;
  };
  return it;
}

/// Queries after their rotation; what became of the keys and values is seen by attention().
Case rotary(std::int64_t rows, int heads, int kv_heads, int dim, DType dtype) {
  Case it;
  it.name = "Rotary_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" + std::to_string(heads) +
            "x" + std::to_string(dim);
  it.error = 2 * tolerance(dtype);
  it.dtype = dtype;
  it.bytes = 2.0 * static_cast<double>(rows * (heads + 2 * kv_heads) * dim) * orch::bytes_of(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows * 31 + dim));
    const Numbers qkv = random.numbers(rows, static_cast<std::int64_t>(heads + 2 * kv_heads) * dim, dtype);
    Numbers frequencies{{}, 1, dim / 2};
    for (int i = 0; i < dim / 2; ++i)
      frequencies.values.push_back(rounded(std::pow(100.0, -2.0 * i / dim), DType::kFp32));
    std::vector<std::int32_t> positions, slots;
    for (std::int32_t t = 0; t < rows; ++t) {
      positions.push_back(t);
      slots.push_back(t);
    }
    Rotary op;
    op.qkv = device.put(qkv, dtype);
    op.heads = heads;
    op.rotation = {dim, false, device.put(frequencies, DType::kFp32), 1};
    op.positions = device.put(positions);
    op.slots = device.put(slots);
    op.cache = device.cache({kv_heads, dim, dim, false, dtype}, (rows + kPageTokens - 1) / kPageTokens);
    op.q = device.poisoned(rows, static_cast<std::int64_t>(heads) * dim, dtype, 2);
    Prepared ready;
    ready.run = [&device, op] { device.backend().run(device.stream(), op); };
    ready.got = [&device, op] { return device.get(op.q).values; };
    ready.untouched = [&device, op] { return device.is_spare_untouched(op.q); };
    ready.want = [=] {
      std::vector<double> want;
      for (std::int64_t t = 0; t < rows; ++t)
        for (int h = 0; h < heads; ++h) {
          std::vector<double> head;
          for (int i = 0; i < dim; ++i) head.push_back(qkv.at(t, h * dim + i));
          turn(head, 0, frequencies.values, static_cast<double>(t), false, 1);
          want.insert(want.end(), head.begin(), head.end());
        }
      return want;
    };
    return ready;
  };
  return it;
}

Case latent_attention(DType dtype, DType cache) {
  Case it;
  it.name = "LatentAttention_" + std::string(orch::name_of(dtype)) + "_" + std::string(orch::name_of(cache));
  it.error = cache == DType::kFp8 ? 0.05 : 4 * tolerance(dtype) + 4 * tolerance(cache);
  it.prepare = [=](Device& device) {
    Random random(5);
    constexpr int kHeads = 3, kLatent = 40, kTurned = 8, kNope = 12, kTokens = 21, kDim = kLatent + kTurned;
    const Numbers queries = random.numbers(kTokens, kHeads * (kNope + kTurned), dtype);
    const Numbers latents = random.numbers(kTokens, kHeads * kDim, dtype, 0.3);
    const Numbers kv = random.numbers(kTokens, kDim, dtype), weight = random.numbers(1, kLatent, DType::kFp32, 0.2, 1);
    Numbers frequencies{{}, 1, kTurned / 2};
    for (int i = 0; i < kTurned / 2; ++i)
      frequencies.values.push_back(rounded(std::pow(50.0, -2.0 * i / kTurned), DType::kFp32));
    auto norm = std::make_shared<Norm>(Norm{false, 1e-6F, device.put(weight, DType::kFp32), {}, false});
    std::vector<std::int32_t> positions, slots, table;
    for (int t = 0; t < kTokens; ++t) {
      positions.push_back(t);
      slots.push_back(t + 16);
    }
    table = {1, 0, 16, 2, 0, 16};
    LatentRotary rotary;
    rotary.q_turned = device.put(queries, dtype);
    rotary.heads = kHeads;
    rotary.q_from = kNope;
    rotary.q_stride = kNope + kTurned;
    rotary.kv = device.put(kv, dtype);
    rotary.kv_norm = norm.get();
    rotary.rotation = {kTurned, true, device.put(frequencies, DType::kFp32), 1.25F};
    rotary.positions = device.put(positions);
    rotary.slots = device.put(slots);
    rotary.cache = device.cache({1, kDim, kLatent, true, cache}, 3);
    rotary.q = device.put(latents, dtype);
    device.backend().run(device.stream(), rotary);
    Attention op;
    op.q = rotary.q;
    op.heads = kHeads;
    op.cache = rotary.cache;
    op.scale = 0.2F;
    op.sequences = {device.put({0, kTokens}), device.put({kTokens}), device.put(table), 1, 2, kTokens, kTokens};
    op.out = device.poisoned(kTokens, kHeads * kLatent, dtype);
    const std::span<std::byte> scratch = device.scratch(device.backend().scratch(op));
    Prepared ready;
    ready.run = [&device, op, scratch, norm] { device.backend().run(device.stream(), op, scratch); };
    ready.got = [&device, op] { return device.get(op.out).values; };
    ready.want = [=] {
      std::vector<std::vector<double>> keys;
      for (int t = 0; t < kTokens; ++t) {
        std::vector<double> latent, turned;
        for (int i = 0; i < kLatent; ++i) latent.push_back(kv.at(t, i));
        latent = norm_of(latent, false, 1e-6, weight.values, {}, false);
        for (int i = 0; i < kTurned; ++i) turned.push_back(kv.at(t, kLatent + i));
        turn(turned, 0, frequencies.values, t, true, 1.25);
        latent.insert(latent.end(), turned.begin(), turned.end());
        keys.push_back(latent);
      }
      std::vector<double> want;
      for (int t = 0; t < kTokens; ++t)
        for (int h = 0; h < kHeads; ++h) {
          std::vector<double> q, turned, weights;
          for (int i = 0; i < kLatent; ++i) q.push_back(latents.at(t, h * kDim + i));
          for (int i = 0; i < kTurned; ++i) turned.push_back(queries.at(t, h * (kNope + kTurned) + kNope + i));
          turn(turned, 0, frequencies.values, t, true, 1.25);
          q.insert(q.end(), turned.begin(), turned.end());
          double total = 0;
          for (int p = 0; p <= t; ++p) {
            double score = 0;
            for (std::size_t i = 0; i < q.size(); ++i) score += q[i] * keys[static_cast<std::size_t>(p)][i];
            weights.push_back(std::exp(score * 0.2));
            total += weights.back();
          }
          for (std::size_t i = 0; i < kLatent; ++i) {
            double sum = 0;
            for (int p = 0; p <= t; ++p)
              sum += weights[static_cast<std::size_t>(p)] / total * keys[static_cast<std::size_t>(p)][i];
            want.push_back(sum);
          }
        }
      return want;
    };
    return ready;
  };
  return it;
}

}  // namespace

std::vector<Case> attention_cases() {
  constexpr DType kF = DType::kFp32, kB = DType::kBf16, kH = DType::kFp16, k8 = DType::kFp8;
  std::vector<Case> cases;
  for (const auto& [dtype, cache] :
       {std::pair(kF, kF), std::pair(kB, kB), std::pair(kH, kH), std::pair(kF, k8), std::pair(kB, k8)}) {
    cases.push_back(attention({"one", 1, 1, 16, dtype, cache, {{0, 1}}}));
    cases.push_back(attention(
        {"decode", 8, 2, 64, dtype, cache, {{33, 1}, {0, 1}, {100, 1}}, 0, 0, false, false, false, false, 64}));
    cases.push_back(attention(
        {"prefill", 6, 3, 40, dtype, cache, {{0, 70}, {17, 30}, {5, 0}}, 0, 0, false, true, false, false, 40}));
    cases.push_back(
        attention({"window", 4, 4, 32, dtype, cache, {{0, 50}, {60, 3}}, 7, 0, false, false, false, false, 16}));
    cases.push_back(attention({"capped", 4, 1, 24, dtype, cache, {{0, 20}}, 0, 2.0F, false, false, true, false, 24}));
    cases.push_back(attention({"alibi", 5, 1, 17, dtype, cache, {{3, 40}}, 0, 0, true}));
    cases.push_back(attention({"dynamic", 2, 1, 16, dtype, cache, {{4, 9}}, 0, 0, false, false, false, true, 16}));
    cases.push_back(
        attention({"clipped", 2, 2, 16, dtype, cache, {{4, 9}}, 0, 0, false, false, false, false, 8, 0.5F}));
    cases.push_back(attention(
        {"partial_pages", 4, 2, 80, dtype, cache, {{37, 5}, {1, 11}}, 0, 0, false, false, false, false, 80, 0, 5}));
    cases.push_back(attention({"many_heads", 71, 1, 64, dtype, cache, {{9, 2}}, 0, 0, false, false, false, false, 64}));
    cases.push_back(latent_attention(dtype, cache));
    if (cache != k8) cases.push_back(rotary(19, 6, 2, 40, dtype));
  }
  return cases;
}

std::vector<std::vector<Case>> attention_of_the_same() {
  std::vector<std::vector<Case>> all;
  for (const auto& [dtype, cache] : {std::pair(DType::kFp32, DType::kFp32), std::pair(DType::kBf16, DType::kBf16),
                                     std::pair(DType::kFp32, DType::kFp8)}) {
    std::vector<Case> same;
    for (const int cut : {16, 5, 1})
      for (const auto& [past, now] : {std::pair(0, 61), std::pair(40, 21), std::pair(60, 1)})
        same.push_back(
            attention({"same", 4, 2, 48, dtype, cache, {{past, now}}, 33, 0, false, false, false, false, 48, 0, cut}));
    all.push_back(std::move(same));
  }
  return all;
}

std::vector<Case> attention_speeds() {
  std::vector<Case> cases;
  for (const auto& [dtype, cache] : {std::pair(DType::kBf16, DType::kBf16), std::pair(DType::kFp32, DType::kFp32),
                                     std::pair(DType::kBf16, DType::kFp8)}) {
    const auto of = [&](const std::string& name, const std::vector<std::pair<int, int>>& sequences) {
      cases.push_back(attention({name, 32, 8, 64, dtype, cache, sequences, 0, 0, false, false, false, false, 64}));
    };
    of("decode_at_2048", {{2047, 1}});
    of("prefill_512", {{0, 512}});
    of("prefill_512_after_1536", {{1536, 512}});
    // As many questions behind one beginning have it.
    of("16_of_64_after_448", std::vector<std::pair<int, int>>(16, {448, 64}));
  }
  cases.push_back(rotary(1, 32, 8, 64, DType::kBf16));
  cases.push_back(rotary(512, 32, 8, 64, DType::kBf16));
  return cases;
}

}  // namespace orch::kernels::test
