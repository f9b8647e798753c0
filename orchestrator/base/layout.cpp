#include "base/layout.h"

#include <algorithm>
#include <limits>

#include "base/text.h"

namespace orch {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

/// Why an inner size cannot be cut over `tp` ranks, or nothing. Weights in blocks of 128 × 128 are not cut through a
/// block.
std::optional<std::string> why_uneven(std::int64_t size, int tp, bool blocks, const std::string& what) {
  if (size % tp != 0) return what + " of " + number(size) + " does not divide by " + number(tp);
  if (blocks && tp > 1 && (size / tp) % 128 != 0)
    return what + " of " + number(size) + " would be cut into " + number(size / tp) +
           ", which is not a multiple of the 128 × 128 blocks its weights are scaled in";
  return std::nullopt;
}

std::optional<std::string> why_uneven(const Model& model, int tp) {
  const Decoder& decoder = *model.decoder;
  const bool blocks = model.scales == Scales::kBlock128;
  if (decoder.heads % tp != 0)
    return counted(decoder.heads, "head") + (decoder.heads == 1 ? " does" : " do") + " not divide by " + number(tp);
  if (!decoder.latent && decoder.kv_heads > 0 && decoder.kv_heads % tp != 0 && tp % decoder.kv_heads != 0)
    return counted(decoder.kv_heads, "KV head") + " can be neither divided nor replicated over " + number(tp) +
           " ranks";
  bool dense = false, sparse = false;
  for (int i = 0; i < decoder.layers; ++i) (decoder.has_experts(i) ? sparse : dense) = true;
  if (dense)
    if (auto why = why_uneven(decoder.ffn, tp, blocks, "a feed-forward")) return why;
  if (sparse) {
    const Experts& experts = *decoder.experts;
    if (experts.count % tp != 0)
      if (const auto why = why_uneven(experts.ffn, tp, blocks, "an expert's feed-forward"))
        return counted(experts.count, "expert") + " do not divide by " + number(tp) + ", and " + *why;
    if (experts.shared_ffn > 0)
      if (auto why = why_uneven(experts.shared_ffn, tp, blocks, "the shared experts' feed-forward")) return why;
  }
  return std::nullopt;
}

std::vector<int> divisors(int n) {
  std::vector<int> found;
  for (int d = 1; d <= n / d; ++d) {
    if (n % d != 0) continue;
    found.push_back(d);
    if (d != n / d) found.push_back(n / d);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

std::string to_string(const Layout& layout) {
  if (layout.dp == 0) return "no GPU";
  std::string text;
  const auto add = [&](const char* name, int ranks) {
    if (ranks == 1) return;
    if (!text.empty()) text += " × ";
    text += name + std::string(" ") + std::to_string(ranks);
  };
  add("tp", layout.tp);
  add("pp", layout.pp);
  add("dp", layout.dp);
  return text.empty() ? "1 GPU" : text;
}

std::optional<std::string> why_illegal(const Model& model, const Layout& layout, int gpus_per_node) {
  const auto [tp, pp, dp] = layout;
  if (tp < 1 || pp < 1 || dp < 1) return "tp, pp and dp are each at least 1";
  const double gpus = static_cast<double>(tp) * pp * dp;  // three large ints overflow any integer
  const std::string at_tp = "tp " + number(tp);
  if (!model.decoder) {
    if (tp == 1 && pp == 1) return std::nullopt;
    return (tp > 1 ? at_tp : "pp " + number(pp)) + ": the architecture is not described, so a copy takes 1 GPU";
  }
  if (tp > gpus_per_node) return at_tp + " would leave the node (" + counted(gpus_per_node, "GPU") + ")";
  // With several nodes a group must end where a node ends, or the next one lies across two.
  if (gpus > gpus_per_node && gpus_per_node % tp != 0)
    return at_tp + ": groups of " + number(tp) + " would lie across nodes of " + counted(gpus_per_node, "GPU");
  if (const auto why = why_uneven(model, tp)) return at_tp + ": " + *why;
  if (pp > model.decoder->layers) return "pp " + number(pp) + ": only " + counted(model.decoder->layers, "layer");
  return std::nullopt;
}

Layouts layouts_for(const Model& model, int gpus, int gpus_per_node) {
  Layouts layouts;
  if (gpus < 1) return layouts;
  std::vector<int> tps = divisors(gpus);
  std::ranges::reverse(tps);
  for (int tp : tps) {
    for (int pp : divisors(gpus / tp)) {
      const Layout layout{tp, pp, gpus / tp / pp};
      if (auto why = why_illegal(model, layout, gpus_per_node))
        layouts.refused.emplace_back(layout, std::move(*why));
      else
        layouts.legal.push_back(layout);
    }
  }
  return layouts;
}

int kv_heads_per_rank(const Decoder& decoder, int tp) {
  tp = std::max(1, tp);
  return std::max(1, (decoder.kv_heads - 1) / tp + 1);
}

bool vision_splits(const Vision& vision, int tp) {
  return tp >= 1 && vision.heads > 0 && vision.heads % tp == 0 && vision.ffn % tp == 0;
}

std::vector<int> split_layers(const Decoder& decoder, int pp) {
  const int layers = std::max(1, decoder.layers);
  const int stages = std::clamp(pp, 1, layers);
  std::vector<double> until(static_cast<std::size_t>(layers) + 1, 0.0);  // cost of the layers before each
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  for (int i = 0; i < layers; ++i) {
    const LayerParams layer = layer_params(decoder, i);
    until[at(i + 1)] = until[at(i)] + layer.attention + layer.dense + layer.active_experts;
  }
  const double head = static_cast<double>(decoder.vocab) * static_cast<double>(decoder.hidden);
  const auto cost = [&](int first, int last, int stage) {  // layers [first, last)
    return until[at(last)] - until[at(first)] + (stage == stages - 1 ? head : 0);
  };

  // least[s][n]: of splits of the first n layers over s + 1 stages, the cheapest costliest stage.
  const double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> before(at(layers) + 1, kNever), now;
  for (int n = 1; n <= layers; ++n) before[at(n)] = cost(0, n, 0);
  for (int stage = 1; stage < stages; ++stage) {
    now.assign(at(layers) + 1, kNever);
    for (int n = stage + 1; n <= layers; ++n) {
      // `before` grows with the cut and the stage's cost shrinks: the best cut is where they cross.
      int low = stage, high = n - 1;
      while (low < high) {
        const int cut = low + (high - low) / 2;
        if (before[at(cut)] >= cost(cut, n, stage))
          high = cut;
        else
          low = cut + 1;
      }
      now[at(n)] = std::max(before[at(low)], cost(low, n, stage));
      if (low > stage) now[at(n)] = std::min(now[at(n)], std::max(before[at(low - 1)], cost(low - 1, n, stage)));
    }
    std::swap(before, now);
  }
  const double cap = before[at(layers)] * (1 + 1e-12);

  // Of the splits within that cap, the most even: the smallest sum of squares, so that no stage idles for nothing.
  std::vector<std::vector<double>> squares(at(stages), std::vector<double>(at(layers) + 1, kNever));
  std::vector<std::vector<int>> cuts(at(stages), std::vector<int>(at(layers) + 1, 0));
  for (int stage = 0; stage < stages; ++stage) {
    for (int n = stage + 1; n <= layers - (stages - 1 - stage); ++n) {
      if (stage == stages - 1 && n != layers) continue;
      for (int cut = n - 1; cut >= stage; --cut) {
        const double part = cost(cut, n, stage);
        if (part > cap) break;
        if (stage == 0 && cut != 0) continue;
        const double earlier = stage == 0 ? 0 : squares[at(stage - 1)][at(cut)];
        if (earlier + part * part < squares[at(stage)][at(n)]) {
          squares[at(stage)][at(n)] = earlier + part * part;
          cuts[at(stage)][at(n)] = cut;
        }
      }
    }
  }
  std::vector<int> split(at(stages), 0);
  int end = layers;
  for (int stage = stages - 1; stage >= 0; --stage) {
    const int cut = stage == 0 ? 0 : cuts[at(stage)][at(end)];
    split[at(stage)] = end - cut;
    end = cut;
  }
  return split;
}

}  // namespace orch
