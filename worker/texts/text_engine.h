// The engine for text: what the tokenizer makes of questions, and what it makes of answers.
//
// Holds: texts become tokens as lm-evaluation-harness makes them, so that numbers can be compared.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "comm/transport.h"
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

/// Over several ranks the first asks, and the others follow() what it asks until it has said that it is over.
class TextEngine {
 public:
  /// `ranks`: all that share the model; null: it is alone. Engine and ranks must outlive this.
  TextEngine(infer::Engine& engine, tokenizer::Tokenizer tokenizer, comm::Transport* ranks = nullptr)
      : engine_(engine), tokenizer_(std::move(tokenizer)), ranks_(ranks) {}

  Result<std::vector<PairScore>> score(std::span<const Pair> pairs);
  Result<std::vector<Answer>> write(std::span<const Prompt> prompts);

  /// How often each expert of each layer was chosen since this was last asked; nothing where there are none.
  Result<std::vector<infer::ChosenExperts>> take_chosen_experts();

  /// Of the first rank: nothing more will be asked.
  Result<bool> finish();
  /// Of the others: until the first one has finished.
  Result<bool> follow();

  /// How the token that ends a text is written; nothing where there is none.
  Result<std::string> end_of_text() const;
  const tokenizer::Tokenizer& tokenizer() const { return tokenizer_; }
  const infer::EngineCounts& counts() const { return engine_.counts(); }

 private:
  /// The token that begins a text; of models without one that which ends it.
  std::optional<tokenizer::TokenId> begin_token() const;
  Result<std::vector<tokenizer::TokenId>> encode(const std::string& text) const;
  Result<infer::ScoreRequest> encode(const Pair& pair) const;
  Result<std::vector<PairScore>> score_here(std::span<const Pair> pairs);
  Result<std::vector<Answer>> write_here(std::span<const Prompt> prompts);
  /// The others are told what is asked.
  Result<bool> tell(const nlohmann::json& order);

  infer::Engine& engine_;
  tokenizer::Tokenizer tokenizer_;
  comm::Transport* const ranks_;
};

}  // namespace orch::texts
