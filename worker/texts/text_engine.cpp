#include "texts/text_engine.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace orch::texts {
namespace {

using nlohmann::json;
using tokenizer::TokenId;

/// One answer as it grows.
class Growing {
 public:
  Growing(const tokenizer::Tokenizer& tokenizer, const Prompt& prompt) : tokenizer_(tokenizer), prompt_(&prompt) {
    begin();
  }

  /// Whether it is over, given all its tokens so far. They may begin anew: what was computed may be computed again.
  bool is_over_with(std::span<const std::int32_t> ids) {
    if (ids.size() <= seen_) begin();
    for (; seen_ < ids.size() && !over_; ++seen_) {
      const std::int32_t id = ids[seen_];
      const std::vector<TokenId>& ends = tokenizer_.specials().eos;
      if (std::find(ends.begin(), ends.end(), static_cast<TokenId>(id)) != ends.end()) {
        finish();
        over_ = true;
      } else if (auto news = stream_->push(static_cast<TokenId>(id)); news) {
        add(*news);
      } else {
        problem_ = news.error();
        over_ = true;
      }
    }
    return over_;
  }
  /// Its text, once it has all its tokens.
  Result<std::string> text() {
    if (!over_) finish();
    if (problem_) return *problem_;
    return text_;
  }

 private:
  void begin() {
    stream_.emplace(tokenizer_);
    text_.clear();
    seen_ = 0;
    over_ = false;
    problem_.reset();
  }
  void finish() {
    if (auto rest = stream_->finish(); rest)
      add(*rest);
    else
      problem_ = rest.error();
  }
  void add(const std::string& news) {
    if (news.empty()) return;
    std::size_t longest = 0;
    for (const std::string& stop : prompt_->stop) longest = std::max(longest, stop.size());
    // A stop may have begun in what was there before.
    const std::size_t from = text_.size() - std::min(text_.size(), longest);
    text_ += news;
    std::size_t first = std::string::npos;
    for (const std::string& stop : prompt_->stop)
      if (!stop.empty()) first = std::min(first, text_.find(stop, from));
    if (first == std::string::npos) return;
    text_.resize(first);
    over_ = true;
  }

  const tokenizer::Tokenizer& tokenizer_;
  const Prompt* prompt_;
  std::optional<tokenizer::TokenStream> stream_;
  std::string text_;
  std::size_t seen_ = 0;
  bool over_ = false;
  std::optional<Error> problem_;
};

std::vector<std::int32_t> tokens_of(const std::vector<TokenId>& ids) { return {ids.begin(), ids.end()}; }

}  // namespace

Result<std::string> TextEngine::end_of_text() const {
  const std::vector<TokenId>& ends = tokenizer_.specials().eos;
  if (ends.empty()) return std::string();
  return tokenizer_.decode(std::span(ends).first(1), false);
}

std::optional<TokenId> TextEngine::begin_token() const {
  const tokenizer::Specials& specials = tokenizer_.specials();
  if (specials.bos) return specials.bos;
  return specials.eos.empty() ? std::nullopt : std::optional(specials.eos.front());
}

Result<std::vector<TokenId>> TextEngine::encode(const std::string& text) const {
  // A chat template may have written the token itself: it must not stand there twice.
  const auto begin = begin_token();
  const auto written = begin ? tokenizer_.decode(std::span(&*begin, 1), false) : Result<std::string>(std::string());
  const bool begun = written && !written->empty() && text.starts_with(*written);
  return tokenizer_.encode(text, !begun);
}

Result<infer::ScoreRequest> TextEngine::encode(const Pair& pair) const {
  // Spaces at the context's end belong to the word behind them.
  std::string context = pair.context, continuation = pair.continuation;
  const std::size_t end = context.find_last_not_of(" \t\n\v\f\r");
  const std::size_t keep = end == std::string::npos ? 0 : end + 1;
  continuation.insert(0, context, keep);
  context.resize(keep);

  infer::ScoreRequest request;
  if (context.empty()) {
    const std::optional<TokenId> first = begin_token();
    if (!first)
      return Error{"the tokenizer has no token that begins a text, so what stands behind nothing has no likelihood"};
    const auto ids = tokenizer_.encode(continuation, false);
    if (!ids) return ids.error();
    request.context = {static_cast<std::int32_t>(*first)};
    request.continuation = tokens_of(*ids);
    return request;
  }
  const auto whole = encode(context + continuation), before = encode(context);
  if (!whole) return whole.error();
  if (!before) return before.error();
  // The context's own tokens, also where the whole text's are others up to there: the harness has it so.
  request.context = tokens_of(*before);
  const auto cut = static_cast<std::ptrdiff_t>(std::min(before->size(), whole->size()));
  request.continuation.assign(whole->begin() + cut, whole->end());
  return request;
}

Result<bool> TextEngine::tell(const json& order) {
  if (!ranks_ || ranks_->ranks() == 1) return true;
  // CBOR carries bytes that are no UTF-8 as they are.
  const std::vector<std::uint8_t> bytes = json::to_cbor(order);
  auto told = comm::share_text(*ranks_, std::string(bytes.begin(), bytes.end()), ranks_->rank());
  return told ? Result<bool>(true) : Result<bool>(told.error());
}

Result<std::vector<PairScore>> TextEngine::score(std::span<const Pair> pairs) {
  if (pairs.empty()) return std::vector<PairScore>{};
  json order = json::array();
  for (const Pair& pair : pairs) order.push_back({pair.context, pair.continuation});
  if (auto told = tell({{"score", std::move(order)}}); !told) return told.error();
  return score_here(pairs);
}

Result<std::vector<Answer>> TextEngine::write(std::span<const Prompt> prompts) {
  if (prompts.empty()) return std::vector<Answer>{};
  json order = json::array();
  for (const Prompt& it : prompts)
    order.push_back(
        {it.text, it.most, it.stop, it.sampling.temperature, it.sampling.top_p, it.sampling.top_k, it.sampling.seed});
  if (auto told = tell({{"write", std::move(order)}}); !told) return told.error();
  return write_here(prompts);
}

Result<std::vector<infer::ChosenExperts>> TextEngine::take_chosen_experts() {
  if (auto told = tell({{"experts", true}}); !told) return told.error();
  return engine_.take_chosen_experts();
}

Result<bool> TextEngine::finish() { return tell(json::object()); }

Result<bool> TextEngine::follow() {
  while (true) {
    const auto told = comm::share_text(*ranks_, "", 0, comm::Wait::kForever);
    if (!told) return told.error();
    const json order = json::from_cbor(*told);
    // What cannot be answered the first rank cannot answer either, for the same reason, and says so: here it is passed
    // over. What went wrong between the ranks ends this one too.
    if (order.contains("score")) {
      std::vector<Pair> pairs;
      for (const json& each : order["score"]) pairs.push_back({each[0], each[1]});
      static_cast<void>(score_here(pairs));
    } else if (order.contains("write")) {
      std::vector<Prompt> prompts;
      for (const json& each : order["write"])
        prompts.push_back({each[0], each[1], each[2], {each[3], each[4], each[5], each[6]}});
      static_cast<void>(write_here(prompts));
    } else if (order.contains("experts")) {
      static_cast<void>(engine_.take_chosen_experts());
    } else {
      return true;
    }
    if (auto joined = engine_.joined(); !joined) return joined;
  }
}

Result<std::vector<PairScore>> TextEngine::score_here(std::span<const Pair> pairs) {
  std::vector<infer::ScoreRequest> requests;
  for (const Pair& pair : pairs) {
    auto request = encode(pair);
    if (!request) return request.error();
    requests.push_back(*std::move(request));
  }
  const auto scored = engine_.score(requests);
  if (!scored) return scored.error();
  std::vector<PairScore> scores;
  for (const infer::Scored& each : *scored)
    scores.push_back({each.logprob, each.is_greedy, static_cast<std::int64_t>(each.logprobs.size())});
  return scores;
}

Result<std::vector<Answer>> TextEngine::write_here(std::span<const Prompt> prompts) {
  std::vector<infer::WriteRequest> requests;
  std::vector<Growing> growing;
  growing.reserve(prompts.size());
  for (const Prompt& prompt : prompts) {
    const auto ids = encode(prompt.text);
    if (!ids) return ids.error();
    requests.push_back({tokens_of(*ids), prompt.most, prompt.sampling});
    growing.emplace_back(tokenizer_, prompt);
  }
  const auto written = engine_.write(requests, [&](std::size_t request, std::span<const std::int32_t> ids) {
    return growing[request].is_over_with(ids);
  });
  if (!written) return written.error();
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < written->size(); ++i) {
    auto text = growing[i].text();
    if (!text) return text.error();
    answers.push_back({(*written)[i].tokens, *std::move(text), (*written)[i].is_over});
  }
  return answers;
}

}  // namespace orch::texts
