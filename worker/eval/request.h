// What a sample asks of a model, and what a model answers: all that evaluation and engine know of each other.
//
// Holds:
//  - Requests are texts: which tokens they become, what is batched with what, and in which order they are answered is
//    the engine's affair. An answer finds its way back by its id alone.
//  - A request's seed depends on the run's seed and on its id, never on what was asked before it.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace orch::eval {

struct RequestId {
  std::uint64_t sample = 0;  ///< the sample's place in the task's data
  std::uint32_t index = 0;   ///< of a choice, or of an answer of several to one prompt
  auto operator<=>(const RequestId&) const = default;
};

/// How likely is `continuation` after `context`?
struct LogLikelihood {
  std::string context;
  std::string continuation;
  bool operator==(const LogLikelihood&) const = default;
};

/// What comes after `prompt`?
struct Generation {
  std::string prompt;
  std::vector<std::string> stop;  ///< the text ends before the first of them
  int max_new_tokens = 256;
  double temperature = 0;  ///< 0 takes the likeliest token
  double top_p = 1;
  int top_k = 0;  ///< 0: all
  std::uint64_t seed = 0;
  bool operator==(const Generation&) const = default;
};

struct Request {
  RequestId id;
  std::variant<LogLikelihood, Generation> what;
};

/// Of a LogLikelihood.
struct Likelihood {
  double logprob = 0;      ///< natural logarithms, summed over the continuation's tokens
  bool is_greedy = false;  ///< each of its tokens is the likeliest
  int tokens = 0;          ///< of the continuation
};

/// Of a Generation.
struct Generated {
  std::string text;
  int tokens = 0;
};

struct Answer {
  RequestId id;
  std::variant<Likelihood, Generated> what;
};

}  // namespace orch::eval
