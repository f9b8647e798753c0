#include "texts/evaluate.h"

#include <algorithm>
#include <chrono>

namespace orch::texts {
namespace {

using Clock = std::chrono::steady_clock;

/// Samples that are asked together: many, so that what they begin with is read seldom; but so few that it is seen how
/// far they are, and that whoever wants to end it need not wait long.
constexpr std::size_t kFirst = 16, kMost = 1024;
constexpr auto kLong = std::chrono::seconds(5);

}  // namespace

Result<std::vector<eval::Answer>> answer(TextEngine& engine, std::span<const eval::Request> requests) {
  std::vector<Pair> pairs;
  std::vector<Prompt> prompts;
  const auto end = engine.end_of_text();
  if (!end) return end.error();
  for (const eval::Request& request : requests) {
    if (const auto* asked = std::get_if<eval::LogLikelihood>(&request.what)) {
      pairs.push_back({asked->context, asked->continuation});
      continue;
    }
    const auto& asked = std::get<eval::Generation>(request.what);
    infer::Sampling sampling;
    sampling.temperature = static_cast<float>(asked.temperature);
    sampling.top_p = static_cast<float>(asked.top_p);
    sampling.top_k = asked.top_k;
    sampling.seed = asked.seed;
    prompts.push_back({asked.prompt, asked.max_new_tokens, asked.stop, sampling});
    // A model may spell its last token out of others; the harness ends an answer there too.
    prompts.back().stop.push_back(*end);
  }
  auto scores = engine.score(pairs);
  if (!scores) return scores.error();
  auto texts = engine.write(prompts);
  if (!texts) return texts.error();
  std::vector<eval::Answer> answers;
  std::size_t scored = 0, written = 0;
  for (const eval::Request& request : requests) {
    if (std::holds_alternative<eval::LogLikelihood>(request.what)) {
      const PairScore& score = (*scores)[scored++];
      answers.push_back({request.id, eval::Likelihood{score.logprob, score.is_greedy, static_cast<int>(score.tokens)}});
    } else {
      Answer& text = (*texts)[written++];
      const auto tokens = static_cast<int>(text.ids.size());
      answers.push_back({request.id, eval::Generated{std::move(text.text), tokens}});
    }
  }
  return answers;
}

Result<bool> evaluate(TextEngine& engine, const eval::Evaluation& evaluation, std::span<const std::uint64_t> samples,
                      const OnScored& on_scored) {
  std::size_t together = kFirst;
  for (std::size_t from = 0; from < samples.size();) {
    const Clock::time_point begun = Clock::now();
    const std::span<const std::uint64_t> some = samples.subspan(from, std::min(together, samples.size() - from));
    from += some.size();
    std::vector<eval::Request> requests;
    std::vector<std::size_t> ends;
    for (const std::uint64_t sample : some) {
      auto asked = evaluation.questions().requests(static_cast<std::size_t>(sample));
      if (!asked) return asked.error();
      requests.insert(requests.end(), asked->begin(), asked->end());
      ends.push_back(requests.size());
    }
    auto answers = answer(engine, requests);
    if (!answers) return answers.error();
    std::vector<eval::SampleScore> scored;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < some.size(); ++i) {
      auto score = evaluation.score(some[i], {answers->begin() + static_cast<std::ptrdiff_t>(begin),
                                              answers->begin() + static_cast<std::ptrdiff_t>(ends[i])});
      if (!score) return score.error();
      scored.push_back(*std::move(score));
      begin = ends[i];
    }
    if (auto told = on_scored(scored); !told) return told;
    const double part = std::chrono::duration<double>(Clock::now() - begun) / kLong;
    together = std::clamp(static_cast<std::size_t>(static_cast<double>(together) / std::clamp(part, 0.25, 4.0)),
                          std::size_t{1}, kMost);
  }
  return true;
}

}  // namespace orch::texts
