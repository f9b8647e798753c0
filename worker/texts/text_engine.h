// The engine for text: what the tokenizer makes of questions, and what it makes of answers.
//
// Holds: texts become tokens as lm-evaluation-harness makes them, so that numbers can be compared.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "model/tokenizer/tokenizer.h"

namespace orch::texts {

struct Pair {
  std::string context;  ///< empty: the continuation stands at a text's beginning
  std::string continuation;
};
struct PairScore {
  double logprob = 0;
  bool is_greedy = false;
  std::int64_t tokens = 0;  ///< of the continuation
};

struct Prompt {
  std::string text;
  std::int64_t most = 256;        ///< tokens
  std::vector<std::string> stop;  ///< the answer ends before the first of these
  infer::Sampling sampling;
};
struct Answer {
  std::vector<std::int32_t> ids;  ///< all that were written
  std::string text;               ///< before the stop that ended it, without special tokens
  bool is_over = false;           ///< by a stop or by the model itself
};

class TextEngine {
 public:
  TextEngine(infer::Engine& engine, tokenizer::Tokenizer tokenizer)
      : engine_(engine), tokenizer_(std::move(tokenizer)) {}

  Result<std::vector<PairScore>> score(std::span<const Pair> pairs);
  Result<std::vector<Answer>> write(std::span<const Prompt> prompts);

  const tokenizer::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  Result<infer::ScoreRequest> encode(const Pair& pair) const;

  infer::Engine& engine_;
  tokenizer::Tokenizer tokenizer_;
};

}  // namespace orch::texts
