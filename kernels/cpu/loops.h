// The inner loops, compiled for several kinds of processors from the same text (loops/*.inc), and the choice among
// them.
//
// A part is what one thread does at a time. Parts of one op write different memory.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/cpu/weight.h"
#include "kernels/gradients.h"

namespace orch::kernels::cpu {

/// Rows of a part of a product: its sums (x 64 outputs x 4 bytes) stay in the second-level cache.
inline constexpr std::int64_t kBlockRows = 96;
/// Rows of a part of a product that goes back: its weights are turned over for each part.
inline constexpr std::int64_t kBackRows = 256;
/// Blocks of 64 inputs that such a part has at most: what comes back is read from memory once for all of them.
inline constexpr std::int64_t kBackBlocks = 4;
/// Inputs of a part of a weight's gradient; it has kBlockRows outputs.
inline constexpr std::int64_t kGradientInputs = 256;
/// Numbers of a part of what changes parameters.
inline constexpr std::int64_t kRun = 16384;
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

/// Floats that a part of the way back through attention works in, of either pass, whatever its numbers are.
inline constexpr std::int64_t attention_back_room(const KvShape& shape) {
  const std::int64_t wide = padded(shape.key_dim, kPanel) + padded(shape.value_dim, kPanel);
  return 4 * kBlockRows * wide + 4 * kBlockRows * kPanel;
}

struct Loops {
  std::string_view name;
  /// Rows [from, to) of x by one panel.
  void (*linear)(const Linear& op, std::int64_t panel, std::int64_t from, std::int64_t to) = nullptr;
  void (*head_linear)(const HeadLinear& op, std::int64_t head, std::int64_t panel, std::int64_t from,
                      std::int64_t to) = nullptr;
  void (*embed)(const Embed& op, std::int64_t row) = nullptr;
  void (*add_norm)(const AddNorm& op, std::int64_t row) = nullptr;
  void (*rotary)(const Rotary& op, std::int64_t row) = nullptr;
  void (*latent_rotary)(const LatentRotary& op, std::int64_t row) = nullptr;
  /// Queries [from, from + kBlockQueries) of a sequence that share a head of the cache. `scores`: kBlockQueries × the
  /// padded max_length.
  void (*attention)(const Attention& op, std::int64_t sequence, std::int64_t kv_head, std::int64_t from,
                    float* scores) = nullptr;
  /// `tokens`: of one expert, as numbers of (token × active + place); `hidden`: a row each; `out`: likewise, fp32.
  void (*expert)(const Experts& op, std::int64_t expert, std::span<const std::int32_t> tokens, void* hidden,
                 float* out) = nullptr;
  void (*expert_sum)(const Experts& op, std::int64_t row, const float* out) = nullptr;
  /// `choices`: of one expert, as numbers of (token × active + place).
  void (*routed_linear)(const RoutedLinear& op, std::int64_t expert, std::int64_t panel,
                        std::span<const std::int32_t> choices) = nullptr;
  void (*mix)(const Mix& op, std::int64_t row) = nullptr;
  /// Tokens [chunk · kScoreTokens, …) of the vocabulary for rows [from, to); stats: a row each; logits: room for
  /// kBlockRows × kScoreTokens. Targets among these tokens are found.
  void (*score)(const Score& op, std::int64_t chunk, std::int64_t from, std::int64_t to, float* stats,
                float* logits) = nullptr;
  /// The same in two: first one panel's logits, which have the columns from 64 · (panel - first) on; then a row's stats
  /// and targets, whose logits become what the head's rows are multiplied by, in x's format. `fresh`: the first chunk.
  void (*score_panel)(const Score& op, std::int64_t panel, std::int64_t first, std::int64_t from, std::int64_t to,
                      const Matrix& logits) = nullptr;
  void (*score_row)(const Score& op, std::int64_t chunk, std::int64_t row, bool fresh, float* stats,
                    float* logits) = nullptr;
  /// Columns [column, column + 16) of a panel from so many rows of fp32, one after another; `largest`: of int8, as
  /// RowReader has it.
  void (*lay_out)(const PanelWeight& weight, std::int64_t index, std::int64_t number, std::int64_t column,
                  const float* rows, const float* largest) = nullptr;
  /// The same from 16 rows that have the weight's own format, bf16 or fp32.
  void (*lay_out_stored)(const PanelWeight& weight, std::int64_t index, std::int64_t number, std::int64_t column,
                         const std::byte* const* rows) = nullptr;

  // Of training; rows as above.
  void (*activate)(const Activate& op, std::int64_t row) = nullptr;
  void (*activate_back)(const ActivateBack& op, std::int64_t row) = nullptr;
  /// Rows [from, to) of inputs [64 · first_block, …), over so many panels; dy begins with the first one's outputs.
  void (*linear_back)(const LinearBack& op, std::int64_t first_panel, std::int64_t panels, std::int64_t first_block,
                      std::int64_t blocks, std::int64_t from, std::int64_t to) = nullptr;
  void (*head_linear_back)(const HeadLinearBack& op, std::int64_t head, std::int64_t block, std::int64_t from,
                           std::int64_t to) = nullptr;
  /// Outputs [output, output + kBlockRows) and inputs [input, input + kGradientInputs), over all rows.
  void (*weight_gradient)(const WeightGradient& op, std::int64_t output, std::int64_t input) = nullptr;
  /// Columns [first, first + 16), over all rows.
  void (*row_sum)(const RowSum& op, std::int64_t first) = nullptr;
  void (*norm_back)(const NormBack& op, std::int64_t row) = nullptr;
  void (*norm_by)(const NormBack& op, std::int64_t row, float* by) = nullptr;
  void (*norm_gradient)(const NormBack& op, std::int64_t first, const float* by) = nullptr;
  void (*rotary_back)(const RotaryBack& op, std::int64_t row) = nullptr;
  void (*rotary_gradient)(const RotaryBack& op, bool of_keys) = nullptr;
  void (*latent_rotary_back)(const LatentRotaryBack& op, std::int64_t row) = nullptr;
  void (*latent_rotary_gradient)(const LatentRotaryBack& op) = nullptr;
  /// First of each row what the two passes are told as `along` (rows × heads); then, in any order, queries [from, from
  /// + kBlockRows) as in attention and positions [first, first + 64). `room`: attention_back_room() floats.
  void (*attention_back_along)(const AttentionBack& op, std::int64_t row, float* along) = nullptr;
  void (*attention_back_queries)(const AttentionBack& op, std::int64_t sequence, std::int64_t kv_head,
                                 std::int64_t from, float* room, const float* along) = nullptr;
  void (*attention_back_keys)(const AttentionBack& op, std::int64_t sequence, std::int64_t kv_head, std::int64_t first,
                              float* room, const float* along) = nullptr;
  void (*expert_back)(const ExpertsBack& op, std::int64_t expert, std::span<const std::int32_t> tokens, void* before,
                      void* inner, float* dx) = nullptr;
  void (*expert_back_sum)(const ExpertsBack& op, std::int64_t row, const float* parts) = nullptr;
  /// Inputs [64 · block, …).
  void (*routed_linear_back)(const RoutedLinearBack& op, std::int64_t expert, std::int64_t block,
                             std::span<const std::int32_t> choices) = nullptr;
  void (*weigh)(const Weigh& op, std::int64_t choice) = nullptr;
  void (*embed_back)(const EmbedBack& op, std::int64_t first) = nullptr;
  void (*score_back)(const ScoreBack& op, std::int64_t panel, std::int64_t first, std::int64_t from, std::int64_t to,
                     const Matrix& dlogits) = nullptr;
  void (*score_back_row)(const ScoreBack& op, std::int64_t row) = nullptr;
  void (*dropout)(const Dropout& op, std::int64_t row) = nullptr;
  void (*copy)(const Copy& op, std::int64_t row) = nullptr;
  /// Numbers [from, to).
  void (*adamw)(const AdamW& op, std::int64_t from, std::int64_t to) = nullptr;
  void (*blend)(const Blend& op, std::int64_t from, std::int64_t to) = nullptr;
  double (*square_sum)(const SquareSum& op, std::int64_t from, std::int64_t to) = nullptr;
};

/// The best that this processor can run.
const Loops& loops();
/// All that it can run, the best first (tests hold them against each other).
std::span<const Loops* const> all_loops();

}  // namespace orch::kernels::cpu
