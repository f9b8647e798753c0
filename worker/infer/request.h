// What is asked of the engine, in tokens, and what it answers.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace orch::infer {

/// How likely is a continuation behind a context? The context has at least one token. What is longer than the model's
/// context is cut at its beginning.
struct ScoreRequest {
  std::vector<std::int32_t> context, continuation;
};
struct Scored {
  double logprob = 0;           ///< the sum over the continuation
  bool is_greedy = true;        ///< each of its tokens was the likeliest one
  std::vector<float> logprobs;  ///< of each token
};

/// How a token is chosen. A draw depends on the seed and on how many tokens came before it in its text, and on nothing
/// else that is computed at the same time.
struct Sampling {
  float temperature = 0;  ///< 0: always the likeliest
  float top_p = 1;
  std::int32_t top_k = 0;  ///< 0: all
  std::uint64_t seed = 0;
};

/// What comes behind a prompt?
struct WriteRequest {
  std::vector<std::int32_t> prompt;
  std::int64_t most = 1;  ///< tokens
  Sampling sampling;
};
struct Written {
  std::vector<std::int32_t> tokens;  ///< the last one included that ended it
  bool is_over = false;              ///< it ended by itself, not because it had its most tokens
};
/// Whether a text is at its end, given its request's number and all tokens so far; asked after each token. Ranks that
/// share a model ask the same and must be told the same.
using IsOver = std::function<bool(std::size_t request, std::span<const std::int32_t> tokens)>;

}  // namespace orch::infer
