// The engine against the references of the models, over one rank and several, and against itself.
#include "infer/engine.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>

#include "infer/cluster_of_ranks.h"
#include "kernels/cpu/backend.h"
#include "model/peft.h"
#include "support/families.h"
#include "support/test_data.h"

namespace orch::infer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Tokens = std::vector<std::int32_t>;

const IsOver kNever = [](std::size_t, std::span<const std::int32_t>) { return false; };

struct Answers {
  std::vector<Scored> scored;
  std::vector<Written> written;
};

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

bool same(const Scored& a, const Scored& b) {
  return a.logprob == b.logprob && a.is_greedy == b.is_greedy && a.logprobs == b.logprobs;
}
bool same(const Written& a, const Written& b) { return a.tokens == b.tokens && a.is_over == b.is_over; }
template <class T>
bool all_same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const T& x, const T& y) { return same(x, y); });
}

/// Every rank must give the same.
Answers answers_of(const fs::path& folder, const RanksOptions& options, const std::vector<ScoreRequest>& scores,
                   const std::vector<WriteRequest>& writes, const IsOver& is_over = kNever) {
  std::mutex mutex;
  std::vector<Answers> all;
  on_ranks(folder, options, [&](int, Engine& engine) {
    Answers own;
    own.scored = take(engine.score(scores));
    own.written = take(engine.write(writes, is_over));
    const std::lock_guard lock(mutex);
    all.push_back(std::move(own));
  });
  for (const Answers& each : all) {
    EXPECT_TRUE(all_same(each.scored, all.front().scored));
    EXPECT_TRUE(all_same(each.written, all.front().written));
  }
  return all.front();
}

class TinyStories : public testing::Test {
 protected:
  void SetUp() override {
    ORCH_NEEDS_TEST_DATA();
    folder_ = test::test_data() / "models/tinystories-656k";
    std::ifstream in(folder_ / "reference.json");
    reference_ = json::parse(in);
    for (const json& pair : reference_["pairs"])
      scores_.push_back({pair["context_ids"].get<Tokens>(), pair["continuation_ids"].get<Tokens>()});
    for (const json& prompt : reference_["prompts"])
      writes_.push_back({prompt["ids"].get<Tokens>(), static_cast<std::int64_t>(prompt["greedy_ids"].size()), {}});
  }

  void expect_reference(const Answers& answers) {
    ASSERT_EQ(answers.scored.size(), reference_["pairs"].size());
    for (std::size_t i = 0; i < answers.scored.size(); ++i) {
      const json& pair = reference_["pairs"][i];
      EXPECT_NEAR(answers.scored[i].logprob, pair["logprob"].get<double>(), 1e-3) << pair["context"];
      EXPECT_EQ(answers.scored[i].is_greedy, pair["is_greedy"].get<bool>()) << pair["context"];
    }
    ASSERT_EQ(answers.written.size(), reference_["prompts"].size());
    for (std::size_t i = 0; i < answers.written.size(); ++i)
      EXPECT_EQ(answers.written[i].tokens, reference_["prompts"][i]["greedy_ids"].get<Tokens>());
  }

  fs::path folder_;
  json reference_;
  std::vector<ScoreRequest> scores_;
  std::vector<WriteRequest> writes_;
};

TEST_F(TinyStories, AreScoredAndContinuedAsTheReferenceDoes) {
  expect_reference(answers_of(folder_, {}, scores_, writes_));
}

TEST_F(TinyStories, AreScoredAndContinuedAsTheReferenceDoesOnADevice) {
  RanksOptions options;
  options.fake = 1;
  expect_reference(answers_of(folder_, options, scores_, writes_));
}

TEST_F(TinyStories, AreTheSameOverEveryLayout) {
  const Answers alone = answers_of(folder_, {}, scores_, writes_);
  for (const auto& [tensor, pipeline] : {std::pair(2, 1), {4, 1}, {8, 1}, {1, 2}, {2, 2}, {4, 2}}) {
    SCOPED_TRACE(std::to_string(tensor) + " × " + std::to_string(pipeline));
    RanksOptions options;
    options.tensor = tensor, options.pipeline = pipeline;
    const Answers shared = answers_of(folder_, options, scores_, writes_);
    expect_reference(shared);
    for (std::size_t i = 0; i < scores_.size(); ++i)
      for (std::size_t t = 0; t < scores_[i].continuation.size(); ++t)
        EXPECT_NEAR(shared.scored[i].logprobs[t], alone.scored[i].logprobs[t], 1e-4);
  }
}

/// Many texts with much in common: prefixes, questions behind them, answers of one token and of several.
struct Mix {
  std::vector<ScoreRequest> scores;
  std::vector<WriteRequest> writes;
};
Mix mix_of(std::int32_t vocab, std::int64_t context, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  const auto text = [&](std::int64_t length) {
    Tokens tokens;
    for (std::int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<std::int32_t>(below(vocab)));
    return tokens;
  };
  const auto joined = [](Tokens a, const Tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  Mix mix;
  const std::int64_t most = context / 2;
  std::vector<Tokens> prefixes{{}};
  for (int i = 0; i < 2; ++i) prefixes.push_back(text(1 + below(most)));
  for (const Tokens& prefix : prefixes)
    for (int q = 0; q < 3; ++q) {
      const Tokens question = joined(prefix, text(1 + below(std::min<std::int64_t>(20, most / 2))));
      for (int a = 0; a < 4; ++a) mix.scores.push_back({question, text(1)});
      for (int a = 0; a < 2; ++a)
        mix.scores.push_back({question, text(1 + below(std::min<std::int64_t>(10, most / 2)))});
      WriteRequest write{question, 1 + below(std::min<std::int64_t>(12, most / 2)), {}};
      if (q > 0) write.sampling = {0.9F, q == 1 ? 0.8F : 1.0F, q == 1 ? 0 : 20, random()};
      mix.writes.push_back(write);
      if (q == 1) mix.writes.push_back({question, write.most, {0.9F, 0.8F, 0, random()}});
    }
  mix.scores.push_back(mix.scores.front());
  mix.scores.push_back({text(3), {}});
  // Longer than the model's context: cut at its beginning.
  mix.scores.push_back({text(context + 5), text(2)});
  return mix;
}

template <class T>
std::vector<T> permuted(const std::vector<T>& values, const std::vector<std::size_t>& order) {
  std::vector<T> result;
  for (const std::size_t i : order) result.push_back(values[i]);
  return result;
}

// House invariant 6: whatever the batch, the order, what is shared, and how much memory there is.
void expect_the_same_bits(const fs::path& folder, const RanksOptions& how) {
  const Mix mix = mix_of(2048, 512, 5);
  std::vector<Scored> scored;
  std::vector<Written> written;
  on_ranks(folder, how, [&](int, Engine& engine) {
    // Each alone, so that nothing is shared.
    for (const ScoreRequest& request : mix.scores) scored.push_back(take(engine.score({&request, 1})).front());
    for (const WriteRequest& request : mix.writes) written.push_back(take(engine.write({&request, 1}, kNever)).front());
  });
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::size_t> score_order(mix.scores.size()), write_order(mix.writes.size());
    std::iota(score_order.begin(), score_order.end(), 0U);
    std::iota(write_order.begin(), write_order.end(), 0U);
    std::shuffle(score_order.begin(), score_order.end(), random);
    std::shuffle(write_order.begin(), write_order.end(), random);
    RanksOptions options = how;
    options.threads = 1 + static_cast<int>(seed % 2);
    options.rules.step_tokens = std::vector<std::int64_t>{1, 7, 64, 512}[seed % 4];
    options.rules.step_sequences = std::vector<std::int64_t>{1, 3, 64}[seed % 3];
    // Of fp32, 2 layers, 4 heads of 16 keys and values a page of 16 tokens is 16 KiB: from just enough for one text on.
    options.rules.cache_bytes = std::vector<std::size_t>{40, 60, 1000}[seed / 4 % 3] * (16U << 10);
    const Answers got =
        answers_of(folder, options, permuted(mix.scores, score_order), permuted(mix.writes, write_order));
    EXPECT_TRUE(all_same(got.scored, permuted(scored, score_order)));
    EXPECT_TRUE(all_same(got.written, permuted(written, write_order)));
  }
}

TEST_F(TinyStories, GiveTheSameBitsHoweverTheyAreAsked) { expect_the_same_bits(folder_, {}); }

TEST_F(TinyStories, GiveTheSameBitsHoweverTheyAreAskedInEightBits) {
  RanksOptions how;
  how.formats = {DType::kBf16, DType::kInt8};
  how.rules.cache_dtype = DType::kFp8;
  expect_the_same_bits(folder_, how);
}

// transformers on the same pairs, with keys and values that go through torch.float8_e4m3fn with a scale for each token
// and head: 0.14742 (transformers 5.23.0, torch 2.15.0).
TEST_F(TinyStories, AreNearlyTheSameWithACacheInFp8) {
  RanksOptions options;
  options.rules.cache_dtype = DType::kFp8;
  const Answers exact = answers_of(folder_, {}, scores_, {}), near = answers_of(folder_, options, scores_, {});
  double off = 0, tokens = 0;
  for (std::size_t i = 0; i < scores_.size(); ++i)
    for (std::size_t t = 0; t < scores_[i].continuation.size(); ++t, ++tokens)
      off += std::fabs(static_cast<double>(near.scored[i].logprobs[t] - exact.scored[i].logprobs[t]));
  EXPECT_NEAR(off / tokens, 0.14742, 1e-3);
}

/// Five questions of four tokens behind a hundred that they share, with four answers of a token each.
std::vector<ScoreRequest> alike() {
  const Tokens prefix(100, 7), question{1, 2, 3};
  std::vector<ScoreRequest> requests;
  for (std::int32_t q = 0; q < 5; ++q)
    for (std::int32_t answer = 10; answer < 14; ++answer) {
      Tokens context = prefix;
      context.push_back(100 + q);
      context.insert(context.end(), question.begin(), question.end());
      requests.push_back({context, {answer}});
    }
  return requests;
}

TEST_F(TinyStories, AreReadOnceWhereTheyBeginAlike) {
  on_ranks(folder_, {}, [&](int, Engine& engine) {
    take(engine.score(alike()));
    EXPECT_EQ(engine.counts().tokens_asked, 20 * 104);
    EXPECT_EQ(engine.counts().tokens, 100 + 5 * 4) << "the prefix once, each question once, no answer at all";
  });
}

TEST_F(TinyStories, AreReadAgainForEachWhereNothingIsToBeShared) {
  std::vector<Scored> shared;
  on_ranks(folder_, {}, [&](int, Engine& engine) { shared = take(engine.score(alike())); });
  RanksOptions options;
  options.rules.shares_prefixes = false;
  on_ranks(folder_, options, [&](int, Engine& engine) {
    EXPECT_TRUE(all_same(take(engine.score(alike())), shared));
    EXPECT_EQ(engine.counts().tokens, 20 * 104);
  });
}

TEST_F(TinyStories, EndWhereTheCallerSaysSo) {
  const Answers answers = answers_of(
      folder_, {}, {}, writes_,
      [](std::size_t request, std::span<const std::int32_t> tokens) { return tokens.size() == request + 2; });
  for (std::size_t i = 0; i < answers.written.size(); ++i) {
    const auto all = reference_["prompts"][i]["greedy_ids"].get<Tokens>();
    EXPECT_EQ(answers.written[i].tokens, Tokens(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i) + 2));
    EXPECT_TRUE(answers.written[i].is_over);
  }
}

TEST_F(TinyStories, AreComputedInSmallerStepsWhereMemoryIsShort) {
  const Answers wanted = answers_of(folder_, {}, scores_, writes_);
  RanksOptions options;
  options.rules.step_tokens = 8192;
  options.rules.step_sequences = 1024;
  std::vector<ScoreRequest> many;
  for (std::int32_t i = 0; i < 300; ++i) {
    many.push_back(scores_[static_cast<std::size_t>(i) % scores_.size()]);
    many.back().context.insert(many.back().context.begin() + 1, i);
  }
  const Answers roomy = answers_of(folder_, options, many, {});
  // Weights and their like are 2.9 MB; what is left is less than steps of 8192 tokens want.
  options.memory = 8U << 20;
  for (const std::optional<std::uint64_t> fake : {std::optional<std::uint64_t>(), {0U}, {5U}}) {
    options.fake = fake;
    const Answers tight = answers_of(folder_, options, many, {});
    EXPECT_TRUE(all_same(tight.scored, roomy.scored));
  }
  options.memory = 3U << 20;
  EXPECT_THROW(
      {
        try {
          answers_of(folder_, options, many, {});
        } catch (const std::runtime_error& error) {
          EXPECT_THAT(error.what(), testing::HasSubstr("out of memory"));
          throw;
        }
      },
      std::runtime_error);
}

// Ranks take the same steps, or they would wait for each other for ever: the one that has least decides for all.
TEST_F(TinyStories, AreTheSameWhereOneRankAloneIsShortOfMemory) {
  std::vector<ScoreRequest> many;
  std::vector<WriteRequest> drawn;
  for (std::int32_t i = 0; i < 90; ++i) {
    many.push_back(scores_[static_cast<std::size_t>(i) % scores_.size()]);
    many.back().context.insert(many.back().context.begin() + 1, i);
    drawn.push_back(writes_[static_cast<std::size_t>(i) % writes_.size()]);
    drawn.back().most = 4;
    drawn.back().sampling = {0.8F, 0.9F, 40, static_cast<std::uint64_t>(i)};
  }
  RanksOptions options;
  options.rules.step_tokens = 4096;
  options.rules.step_sequences = 256;
  for (const auto& [tensor, pipeline] : {std::pair(2, 1), {1, 2}, {2, 2}}) {
    options.tensor = tensor, options.pipeline = pipeline, options.memory = 0;
    const Answers roomy = answers_of(folder_, options, many, drawn);
    options.memory = 6U << 20;
    for (const int rank : {0, tensor * pipeline - 1}) {
      SCOPED_TRACE(std::to_string(tensor) + " × " + std::to_string(pipeline) + ", rank " + std::to_string(rank));
      options.short_rank = rank;
      const Answers tight = answers_of(folder_, options, many, drawn);
      EXPECT_TRUE(all_same(tight.scored, roomy.scored));
      EXPECT_TRUE(all_same(tight.written, roomy.written));
    }
  }
}

TEST_F(TinyStories, EndOnAllRanksWhereOneHasNoMemoryLeft) {
  RanksOptions options;
  options.tensor = 2;
  options.short_rank = 1;
  std::vector<std::string> said;
  // The first size into which the weights go.
  for (options.memory = 1U << 20; said.empty() && options.memory < 8U << 20; options.memory += 1U << 15) {
    std::vector<std::string> each(2);
    try {
      on_ranks(folder_, options, [&](int rank, Engine& engine) {
        const auto answer = engine.score(scores_);
        each[static_cast<std::size_t>(rank)] = answer ? "it was scored" : answer.error().what;
      });
      said = each;
    } catch (const std::runtime_error&) {
    }
  }
  ASSERT_EQ(said.size(), 2U);
  EXPECT_THAT(said[0], testing::HasSubstr("out of memory: not on this rank"));
  EXPECT_THAT(said[1], testing::StartsWith("out of memory: no "));
}

TEST_F(TinyStories, AreRefusedWhereTheyCannotBeRead) {
  on_ranks(folder_, {}, [&](int, Engine& engine) {
    const auto scored = [&](ScoreRequest request) {
      const auto answer = engine.score({&request, 1});
      return answer ? std::string("it was scored") : answer.error().what;
    };
    EXPECT_EQ(scored({{}, {1}}), "text 0 has nothing before what is to be scored");
    EXPECT_EQ(scored({{2048}, {1}}), "text 0 has the token 2048, and the model knows 2048");
    EXPECT_EQ(scored({{1}, {-1}}), "text 0 has the token -1, and the model knows 2048");
    EXPECT_EQ(scored({{1}, Tokens(513, 1)}), "text 0 is to be scored over 513 tokens, and the model sees 512");
    const WriteRequest request{{1}, 512, {}};
    EXPECT_EQ(engine.write({&request, 1}, kNever).error().what,
              "text 0 is to get 512 tokens, and the model sees 512 with its prompt");
  });
}

// Draws follow the probabilities: of 4000 first tokens each count is within 5 standard deviations of what it should be.
TEST_F(TinyStories, AreDrawnAsOftenAsTheyAreLikely) {
  const Tokens prompt = writes_.front().prompt;
  std::vector<WriteRequest> writes;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) writes.push_back({prompt, 1, {1.0F, 1.0F, 0, seed}});
  std::vector<ScoreRequest> scores;
  for (std::int32_t token = 0; token < 2048; ++token) scores.push_back({prompt, {token}});
  const Answers answers = answers_of(folder_, {}, scores, writes);
  std::vector<double> drawn(2048);
  for (const Written& each : answers.written) ++drawn[static_cast<std::size_t>(each.tokens.front())];
  double total = 0;
  for (std::size_t token = 0; token < drawn.size(); ++token) {
    const double p = std::exp(answers.scored[token].logprob);
    total += p;
    EXPECT_NEAR(drawn[token], 4000 * p, 5 * std::sqrt(4000 * p * (1 - p)) + 1) << token;
  }
  EXPECT_NEAR(total, 1, 1e-4);
}

class Families : public testing::TestWithParam<std::string> {};

// Recorded by transformers (scripts/record-models), here over the engine's pages and steps.
TEST_P(Families, AreContinuedAsTransformersDoes) {
  std::ifstream in(test::family_folder(GetParam()) / "reference.json");
  const json reference = json::parse(in);
  std::vector<WriteRequest> writes;
  std::vector<Tokens> wanted;
  for (const json& input : reference["inputs"]) {
    if (!input.contains("greedy") || input["greedy"].empty()) continue;
    wanted.push_back(input["greedy"].get<Tokens>());
    writes.push_back({input["ids"].get<Tokens>(), static_cast<std::int64_t>(wanted.back().size()), {}});
  }
  RanksOptions options;
  options.rules.step_tokens = 24;
  options.rules.context = 1000;  // also of those whose rotation stretches
  const Answers answers = answers_of(test::family_folder(GetParam()), options, {}, writes);
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(answers.written[i].tokens, wanted[i]);
}

void expect_the_same_over_layouts(const fs::path& folder, model::Formats formats, const fs::path& adapter = {}) {
  const auto it = model::open_architecture(folder);
  const Mix mix = mix_of(static_cast<std::int32_t>(it->vocab), std::min<std::int64_t>(it->context, 100), 9);
  RanksOptions options;
  options.formats = formats;
  options.adapter = adapter;
  const Answers alone = answers_of(folder, options, mix.scores, mix.writes);
  int layouts = 0;
  for (const auto& [tensor, pipeline] : {std::pair(2, 1), {4, 1}, {8, 1}, {1, 2}, {2, 2}, {2, 3}, {4, 2}}) {
    model::Shard shard;
    shard.ranks = tensor, shard.stages = pipeline;
    if (!model::check_shard(*it, shard)) continue;
    ++layouts;
    SCOPED_TRACE(std::to_string(tensor) + " × " + std::to_string(pipeline));
    options.tensor = tensor, options.pipeline = pipeline;
    const Answers shared = answers_of(folder, options, mix.scores, mix.writes);
    for (std::size_t i = 0; i < mix.scores.size(); ++i)
      for (std::size_t t = 0; t < mix.scores[i].continuation.size(); ++t)
        ASSERT_NEAR(shared.scored[i].logprobs[t], alone.scored[i].logprobs[t], 1e-4) << i << ", " << t;
    for (std::size_t i = 0; i < mix.writes.size(); ++i)
      if (!(mix.writes[i].sampling.temperature > 0)) EXPECT_EQ(shared.written[i].tokens, alone.written[i].tokens) << i;
  }
  EXPECT_GE(layouts, 1);
}

TEST_P(Families, AreTheSameOverEveryLayout) {
  expect_the_same_over_layouts(test::family_folder(GetParam()), DType::kFp32);
}

// A row of int8 has one scale, however many ranks have a part of it.
TEST_P(Families, AreTheSameOverEveryLayoutInInt8) {
  expect_the_same_over_layouts(test::family_folder(GetParam()), {DType::kFp32, DType::kInt8});
}

// That they are transformers' experts is tests/model's; here that every rank is told of all stages, once.
TEST_P(Families, TellHowOftenTheirExpertsWereChosen) {
  const auto it = model::open_architecture(test::family_folder(GetParam()));
  std::vector<std::vector<std::vector<std::int64_t>>> of_layouts;
  for (const auto& [tensor, pipeline] : {std::pair(1, 1), {2, 1}, {1, 2}}) {
    model::Shard shard;
    shard.ranks = tensor, shard.stages = pipeline;
    if (!model::check_shard(*it, shard)) continue;
    RanksOptions options;
    options.tensor = tensor, options.pipeline = pipeline;
    on_ranks(test::family_folder(GetParam()), options, [&](int rank, Engine& engine) {
      const std::vector<ScoreRequest> asked = {{{1, 2, 3}, {4, 5}}, {{1, 2, 3}, {6, 7, 8}}, {{9}, {1, 2}}};
      take(engine.score(asked));
      std::vector<std::vector<std::int64_t>> layers;
      for (const ChosenExperts& each : take(engine.take_chosen_experts())) {
        EXPECT_TRUE(it->layers.at(each.layer).experts);
        EXPECT_EQ(std::accumulate(each.times.begin(), each.times.end(), std::int64_t{0}),
                  engine.counts().tokens * it->experts->active);
        layers.push_back(each.times);
      }
      EXPECT_EQ(layers.size(), static_cast<std::size_t>(std::count_if(it->layers.begin(), it->layers.end(),
                                                                      [](const auto& l) { return l.experts; })));
      for (const ChosenExperts& each : take(engine.take_chosen_experts()))
        EXPECT_EQ(std::count(each.times.begin(), each.times.end(), 0), it->experts->count) << "counted twice";
      if (rank == 0) of_layouts.push_back(layers);
    });
  }
  for (const auto& of_layout : of_layouts) EXPECT_EQ(of_layout, of_layouts.front());
}

// A device that runs ops late and hides its memory (kernels/fake): the same bits, or the program ends.
TEST_P(Families, AreTheSameOnADevice) {
  const auto it = model::open_architecture(test::family_folder(GetParam()));
  const Mix mix = mix_of(static_cast<std::int32_t>(it->vocab), std::min<std::int64_t>(it->context, 60), 3);
  for (const auto& [tensor, pipeline, seed] : {std::tuple(1, 1, 0U), {2, 2, 11U}}) {
    model::Shard shard;
    shard.ranks = tensor, shard.stages = pipeline;
    if (!model::check_shard(*it, shard)) continue;
    SCOPED_TRACE(std::to_string(tensor) + " × " + std::to_string(pipeline));
    RanksOptions options;
    options.tensor = tensor, options.pipeline = pipeline;
    options.rules.step_tokens = 48;
    const Answers wanted = answers_of(test::family_folder(GetParam()), options, mix.scores, mix.writes);
    options.fake = seed;
    const Answers got = answers_of(test::family_folder(GetParam()), options, mix.scores, mix.writes);
    EXPECT_TRUE(all_same(got.scored, wanted.scored));
    EXPECT_TRUE(all_same(got.written, wanted.written));
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Families, testing::ValuesIn(test::families()), [](const auto& of) { return of.param; });

class WithAdapter : public testing::TestWithParam<std::string> {
 protected:
  const fs::path folder_ = test::family_folder("llama3").parent_path().parent_path() / "adapters" / GetParam();
  const json expected_ = [this] {
    std::ifstream in(folder_ / "expected.json");
    return json::parse(in);
  }();
  const fs::path base_ = test::family_folder(expected_.at("base").get<std::string>());
};

// Recorded from PEFT, in float64.
TEST_P(WithAdapter, AnswersAreThoseOfPeft) {
  std::vector<ScoreRequest> scores;
  for (const json& sequence : expected_.at("sequences")) {
    const auto ids = sequence.at("ids").get<Tokens>();
    scores.push_back({{ids.begin(), ids.begin() + 1}, {ids.begin() + 1, ids.end()}});
  }
  RanksOptions options;
  options.adapter = folder_;
  options.rules.context = 1000;
  const Answers answers = answers_of(base_, options, scores, {});
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto wanted = expected_.at("sequences").at(i).at("log_probabilities").get<std::vector<double>>();
    for (std::size_t t = 1; t < wanted.size(); ++t)
      EXPECT_NEAR(answers.scored[i].logprobs[t - 1], wanted[t], 1e-4 * std::max(1.0, std::fabs(wanted[t])));
  }
  EXPECT_FALSE(all_same(answers_of(base_, {}, scores, {}).scored, answers.scored)) << "as without";
}

TEST_P(WithAdapter, AnswersAreTheSameOverEveryLayout) { expect_the_same_over_layouts(base_, DType::kFp32, folder_); }

// One model in memory serves several adapters, and itself, in any order.
TEST_P(WithAdapter, AnswersAreThoseOfWhateverIsNamed) {
  const auto it = model::open_architecture(base_);
  const Mix mix = mix_of(static_cast<std::int32_t>(it->vocab), 60, 5);
  RanksOptions options;
  const Answers plain = answers_of(base_, options, mix.scores, mix.writes);
  options.adapter = folder_;
  const Answers changed = answers_of(base_, options, mix.scores, mix.writes);
  on_ranks(base_, {}, [&](int, Engine& engine) {
    const auto backend = kernels::make_cpu_backend({1, 0, {}});
    const auto checkpoint = take(model::Checkpoint::open(base_));
    const auto sources = take(model::find_sources(*it, checkpoint, {}));
    const auto adapter =
        take(model::LoadedAdapter::load(*backend, *it, sources, take(model::read_peft(folder_)), DType::kFp32));
    for (const bool with : {true, false, true}) {
      engine.use(with ? &adapter.adapter() : nullptr);
      const Answers& wanted = with ? changed : plain;
      EXPECT_TRUE(all_same(take(engine.score(mix.scores)), wanted.scored));
      EXPECT_TRUE(all_same(take(engine.write(mix.writes, kNever)), wanted.written));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Of, WithAdapter,
                         testing::Values("llama3", "gpt2", "gemma2", "phi3", "falcon_40b", "mixtral", "deepseek_v3",
                                         "mixtral_experts", "qwen3_moe_single"),
                         [](const auto& of) { return of.param; });

}  // namespace
}  // namespace orch::infer
