// The ops of training (and those of experts with adapters, forth too), cut over threads: by shape alone, so that which
// thread does what changes no number.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/threads.h"
#include "kernels/gradients.h"

namespace orch::kernels::cpu {

class Training {
 public:
  Training(Threads& threads, const Loops& loops) : threads_(threads), loops_(loops) {}

  std::size_t scratch(const NormBack& op) const;
  std::size_t scratch(const AttentionBack& op) const;
  std::size_t scratch(const ExpertsBack& op) const;
  std::size_t scratch(const RoutedLinear& op) const;
  std::size_t scratch(const RoutedLinearBack& op) const;
  std::size_t scratch(const RoutedGradient& op) const;
  std::size_t scratch(const ScoreBack& op) const;
  std::size_t scratch(const SquareSum& op) const;
  /// With `others`.
  std::size_t scratch(const Score& op) const;
  std::size_t scratch(const Repack& op) const;

  void run(const Activate& op);
  void run(const ActivateBack& op);
  void run(const LinearBack& op);
  void run(const HeadLinearBack& op);
  void run(const WeightGradient& op);
  void run(const RowSum& op);
  void run(const NormBack& op, std::span<std::byte> scratch);
  void run(const RotaryBack& op);
  void run(const LatentRotaryBack& op);
  void run(const AttentionBack& op, std::span<std::byte> scratch);
  void run(const RouteBack& op);
  void run(const ExpertsBack& op, std::span<std::byte> scratch);
  void run(const RoutedLinear& op, std::span<std::byte> scratch);
  void run(const Mix& op);
  void run(const RoutedLinearBack& op, std::span<std::byte> scratch);
  void run(const RoutedGradient& op, std::span<std::byte> scratch);
  void run(const Weigh& op);
  void run(const EmbedBack& op);
  void run(const ScoreBack& op, std::span<std::byte> scratch);
  void run(const Score& op, std::span<std::byte> scratch);
  void run(const Scatter& op);
  void run(const Dropout& op);
  void run(const Copy& op);
  void run(const Repack& op, std::span<std::byte> scratch);
  void run(const AdamW& op);
  void run(const Blend& op);
  void run(const SquareSum& op, std::span<std::byte> scratch);

 private:
  void back(const LinearBack& op, std::int64_t first_panel, std::int64_t panels);

  Threads& threads_;
  const Loops& loops_;
};

}  // namespace orch::kernels::cpu
