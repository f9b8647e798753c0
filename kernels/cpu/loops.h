// The inner loops, compiled for several kinds of processors from the same text (loops/*.inc), and the choice among
// them.
//
// A part is what one thread does at a time. Parts of one op write different memory.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/cpu/weight.h"
#include "kernels/ops.h"

namespace orch::kernels::cpu {

/// Rows of a part of a product: its sums (x 64 outputs x 4 bytes) stay in the second-level cache.
inline constexpr std::int64_t kBlockRows = 96;
/// Queries (token and head) of a part of an attention.
inline constexpr std::int64_t kBlockQueries = 24;
/// Tokens of the vocabulary whose logits one part looks at.
inline constexpr std::int64_t kScoreTokens = 2048;

inline constexpr std::int64_t padded(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// One page: heads × key_dim × 16 keys, heads × 16 × value_dim (padded to 16) values, then of fp8 the scales of both,
/// heads × 16 each.
struct PageLayout {
  explicit PageLayout(const KvShape& shape);
  std::size_t values = 0, key_scales = 0, value_scales = 0;  ///< bytes from the page's beginning
  std::size_t bytes = 0;
  std::int64_t value_stride = 0;
};

struct Loops {
  std::string_view name;
  /// Rows [from, to) of x by one panel.
  void (*linear)(const Linear& op, std::int64_t panel, std::int64_t from, std::int64_t to);
  void (*head_linear)(const HeadLinear& op, std::int64_t head, std::int64_t panel, std::int64_t from, std::int64_t to);
  void (*embed)(const Embed& op, std::int64_t row);
  void (*add_norm)(const AddNorm& op, std::int64_t row);
  void (*rotary)(const Rotary& op, std::int64_t row);
  void (*latent_rotary)(const LatentRotary& op, std::int64_t row);
  /// Queries [from, from + kBlockQueries) of a sequence that share a head of the cache. `scores`: kBlockQueries × the
  /// padded max_length.
  void (*attention)(const Attention& op, std::int64_t sequence, std::int64_t kv_head, std::int64_t from, float* scores);
  /// `tokens`: of one expert, as numbers of (token × active + place); `hidden`: a row each; `out`: likewise, fp32.
  void (*expert)(const Experts& op, std::int64_t expert, std::span<const std::int32_t> tokens, void* hidden,
                 float* out);
  void (*expert_sum)(const Experts& op, std::int64_t row, const float* out);
  /// Tokens [chunk · kScoreTokens, …) of the vocabulary for rows [from, to); stats: a row each; logits: room for
  /// kBlockRows × kScoreTokens. Targets among these tokens are found.
  void (*score)(const Score& op, std::int64_t chunk, std::int64_t from, std::int64_t to, float* stats, float* logits);
  /// Columns [column, column + 16) of a panel from so many rows of fp32, one after another; `largest`: of int8, as
  /// RowReader has it.
  void (*lay_out)(const PanelWeight& weight, std::int64_t index, std::int64_t number, std::int64_t column,
                  const float* rows, const float* largest);
  /// The same from 16 rows that have the weight's own format, bf16 or fp32.
  void (*lay_out_stored)(const PanelWeight& weight, std::int64_t index, std::int64_t number, std::int64_t column,
                         const std::byte* const* rows);
};

/// The best that this processor can run.
const Loops& loops();
/// All that it can run, the best first (tests hold them against each other).
std::span<const Loops* const> all_loops();

}  // namespace orch::kernels::cpu
