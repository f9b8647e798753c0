// What is chosen by comparing numbers: experts for tokens, tokens for rows. Of equal ones the first is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace orch::kernels::cpu {

void route(const Route& op, std::int64_t row);
void count_choices(const Route& op);

/// Where an Experts op keeps what: bytes from the beginning of its scratch.
struct ExpertsScratch {
  explicit ExpertsScratch(const Experts& op);
  std::size_t order = 0;   ///< numbers of (token × active + place), by expert
  std::size_t starts = 0;  ///< of each expert in `order`, and the end
  std::size_t hidden = 0, hidden_row = 0;
  std::size_t gathered = 0;  ///< fp32 rows in that order
  std::size_t out = 0;       ///< the same in the tokens' order
  std::size_t bytes = 0;
};
/// Each expert's tokens in their own order.
void sort_by_expert(const Experts& op, std::int32_t* order, std::int32_t* starts);

/// Statistics of `parts` parts of the vocabulary, `stride` floats apart, put together in their order.
void combine(const float* parts, std::int64_t stride, std::int64_t count, float* stats);
void finish_scores(const CombineScores& op, std::int64_t row, std::int64_t rows);

std::size_t sample_scratch(const Sample& op);
void sample(const Sample& op, std::int64_t row, std::span<std::byte> scratch);

}  // namespace orch::kernels::cpu
