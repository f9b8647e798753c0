// Where a layer keeps what is between its ops: views of memory that a caller gave, none larger than a step's tokens.
//
// A step of inference has one room, which every layer uses anew. In training the first part of a room is each layer's
// own, if there is memory for that; else all layers have one room, and a layer computes its own part again from
// `entered` before it goes back.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/backend.h"

namespace orch::model {

struct Room {
  // What a way back reads. Of training alone, but for those that every step has.
  kernels::Matrix entered, between;                     ///< the residual before attention, and before the feed-forward
  kernels::Matrix attention_delta, feed_forward_delta;  ///< what a post norm reads
  kernels::Matrix qkv, q, attended, log_sums;
  kernels::Matrix compressed;         ///< latent attention: of queries
  kernels::Matrix bare, shared_bare;  ///< of feed-forwards, before their activation
  kernels::Matrix router_logits, expert_weights;
  kernels::Ints experts;

  // What is over when the next op has read it.
  kernels::Matrix normed, delta, second;      ///< tokens × hidden
  kernels::Matrix compressed_normed, values;  ///< latent attention, in training: apart from what a way back reads
  kernels::Matrix inner;                      ///< of the feed-forward
  kernels::Matrix low, dropped;               ///< of adapters
  kernels::Matrix chosen_bare, chosen_inner;  ///< experts with adapters: a row for each expert of a token
  kernels::Matrix chosen_out, chosen_low;     ///< likewise; what comes out in fp32
  std::span<std::byte> scratch;
};

/// Cuts a piece of memory into matrices; without memory it only counts.
class Layout {
 public:
  explicit Layout(std::byte* memory) : memory_(memory) {}

  std::byte* take(std::size_t bytes) {
    std::byte* at = memory_ ? memory_ + bytes_ : nullptr;
    bytes_ += (bytes + 255) / 256 * 256;
    return at;
  }
  kernels::Matrix matrix(std::int64_t rows, std::int64_t cols, DType dtype) {
    const auto bytes = static_cast<std::size_t>(rows * cols) * static_cast<std::size_t>(bytes_of(dtype));
    return {take(bytes), dtype, rows, cols, cols};
  }
  kernels::Ints ints(std::int64_t size) {
    return {reinterpret_cast<std::int32_t*>(take(static_cast<std::size_t>(size) * sizeof(std::int32_t))), size};
  }
  std::span<std::byte> scratch(std::size_t bytes) {
    std::byte* at = take(bytes);
    return at ? std::span(at, bytes) : std::span<std::byte>();
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  std::size_t bytes_ = 0;
};

}  // namespace orch::model
