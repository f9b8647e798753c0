// What is chosen by comparing numbers: experts for tokens, tokens for rows. Of equal ones the first is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/gradients.h"

namespace orch::kernels::cpu {

void route(const Route& op, std::int64_t row);
void route_back(const RouteBack& op, std::int64_t row);
void count_choices(const Route& op);

/// Tokens of one expert that are computed together.
struct ExpertBlock {
  std::int32_t expert = 0;
  std::int32_t from = 0, to = 0;  ///< in the order by expert
};

/// Where an Experts op keeps what: bytes from the beginning of its scratch.
struct ExpertsScratch {
  explicit ExpertsScratch(const Experts& op);
  std::size_t order = 0;   ///< numbers of (token × active + place), by expert
  std::size_t starts = 0;  ///< of each expert in `order`, and the end
  std::size_t hidden = 0, hidden_row = 0;
  std::size_t gathered = 0;  ///< fp32 rows in that order
  std::size_t out = 0;       ///< the same in the tokens' order
  std::size_t blocks = 0;    ///< pairs of an expert and the first of a block of its tokens
  std::size_t bytes = 0;
};
/// Of choices and a stack's `own` experts, from expert `first` on: each expert's choices in their own order, then cut
/// into blocks of kBlockRows; how many blocks there are.
std::int64_t sort_by_expert(const Ints& experts, std::int64_t first, std::int64_t own, std::int32_t* order,
                            std::int32_t* starts, ExpertBlock* blocks);
/// Blocks that so many choices have at most: of each expert one may be short.
std::int64_t most_blocks(std::int64_t choices, std::int64_t own);

/// Statistics of `parts` parts of the vocabulary, `stride` floats apart, put together in their order.
void combine(const float* parts, std::int64_t stride, std::int64_t count, float* stats);
void finish_scores(const CombineScores& op, std::int64_t row, std::int64_t rows);

std::size_t sample_scratch(const Sample& op);
void sample(const Sample& op, std::int64_t row, std::span<std::byte> scratch);

}  // namespace orch::kernels::cpu
