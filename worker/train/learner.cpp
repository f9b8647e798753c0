#include "train/learner.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "model/rope.h"

namespace orch::train {

using kernels::Ints;
using kernels::kPageTokens;
using kernels::Matrix;

namespace {

std::int64_t entries_of(std::int64_t length) { return (length + kPageTokens - 1) / kPageTokens; }

}  // namespace

/// What a pass was given, on the host.
struct Learner::Given {
  std::vector<std::size_t> ends;  ///< of each text, behind its targets
  std::size_t targets = 0;
  std::size_t logprobs = 0, coefficients = 0;  ///< in floats_
};

Result<std::unique_ptr<Learner>> Learner::make(kernels::Backend& backend, const model::Decoder& decoder,
                                               Parameters& parameters, const LearnerBounds& bounds) {
  const std::int64_t positions = decoder.architecture().learned_positions;
  if (positions > 0 && bounds.length > positions)
    return Error{"texts of " + counted(bounds.length, "token") + " are longer than the model's table of positions, " +
                 std::to_string(positions)};
  if (decoder.shard().stages > 1) return Error{"a model that is cut into stages cannot be trained"};
  if (bounds.dropout > 0 && !parameters.adapter())
    return Error{"dropout is of an adapter's inputs, and there is no adapter: the model itself is trained"};
  std::unique_ptr<Learner> learner(new Learner(backend, decoder, parameters, bounds));
  if (auto has = learner->allocate(); !has) return has.error();
  return learner;
}

Learner::~Learner() { static_cast<void>(backend_.wait(*stream_)); }

Result<bool> Learner::settle() {
  if (auto waited = backend_.wait(*stream_); !waited) return waited.error();
  return decoder_.joined();
}

Result<bool> Learner::allocate() {
  model::TrainingBounds pass;
  pass.tokens = pass.targets = bounds_.tokens;
  pass.sequences = bounds_.texts;
  pass.max_length = bounds_.length;
  pass.rank = parameters_.adapter() ? parameters_.adapter()->rank : 0;
  pass.expert_rank = parameters_.adapter() ? parameters_.adapter()->expert_rank : 0;
  pass.drops = bounds_.dropout > 0;
  pass.again = bounds_.again;
  const auto tokens = static_cast<std::size_t>(bounds_.tokens), texts = static_cast<std::size_t>(bounds_.texts);
  // Tokens, positions, slots, names, rows, targets' starts and tokens, best; starts, lengths and pages of texts.
  const std::size_t ints =
      8 * tokens + 1 + texts * 2 + 1 + texts * static_cast<std::size_t>(entries_of(bounds_.length)) * 3;
  const std::size_t floats = 3 * tokens;
  for (const auto& [buffer, bytes] :
       {std::pair(&memory_, model::TrainingPass::bytes(decoder_, pass)),
        std::pair(&int_memory_, ints * sizeof(std::int32_t)), std::pair(&float_memory_, floats * sizeof(float))}) {
    auto allocated = backend_.allocate(bytes, "a pass of training over " + std::to_string(bounds_.tokens) + " tokens");
    if (!allocated) return allocated.error();
    *buffer = *std::move(allocated);
  }
  pass_ = std::make_unique<model::TrainingPass>(decoder_, pass,
                                                std::span(static_cast<std::byte*>(memory_->data), memory_->bytes));
  return true;
}

Result<bool> Learner::check(std::span<const Lesson> lessons) const {
  std::int64_t tokens = 0;
  for (const Lesson& lesson : lessons) {
    const auto length = static_cast<std::int64_t>(lesson.sample->ids.size());
    if (length > bounds_.length)
      return Error{"a text of " + counted(length, "token") + ", where there is room for " +
                   std::to_string(bounds_.length)};
    tokens += length;
  }
  if (tokens > bounds_.tokens || static_cast<std::int64_t>(lessons.size()) > bounds_.texts)
    return Error{"a pass of " + counted(static_cast<std::int64_t>(lessons.size()), "text") + " with " +
                 counted(tokens, "token") + ", where there is room for " + std::to_string(bounds_.texts) + " with " +
                 std::to_string(bounds_.tokens)};
  return true;
}

std::vector<std::vector<std::size_t>> Learner::parts_of(std::span<const Lesson> lessons) const {
  const model::Rope& rope = decoder_.architecture().rope;
  std::map<bool, std::vector<std::size_t>> parts;
  for (std::size_t i = 0; i < lessons.size(); ++i)
    parts[model::is_lengthy(rope, static_cast<std::int64_t>(lessons[i].sample->ids.size()))].push_back(i);
  std::vector<std::vector<std::size_t>> all;
  for (auto& [lengthy, part] : parts) all.push_back(std::move(part));
  return all;
}

Learner::Given Learner::forth(std::span<const Lesson> lessons, bool with_adapter, float temperature, std::uint64_t key,
                              bool drops, bool back) {
  const model::Architecture& it = decoder_.architecture();
  std::vector<std::int32_t> tokens, positions, slots, names, rows, starts = {0}, lengths, table, target_starts = {0},
                                                                   targets;
  std::vector<float> bases;
  model::Step step;
  Given given;
  std::int32_t page = 0;
  for (const Lesson& lesson : lessons)
    step.sequences.max_length =
        std::max(step.sequences.max_length, static_cast<std::int64_t>(lesson.sample->ids.size()));
  step.sequences.width = entries_of(step.sequences.max_length);
  for (const Lesson& lesson : lessons) {
    const Sample& sample = *lesson.sample;
    const auto length = static_cast<std::int32_t>(sample.ids.size());
    step.lengthy = model::is_lengthy(it.rope, length);
    for (std::int32_t t = 0; t < length; ++t) {
      const auto at = static_cast<std::size_t>(t);
      if (t > 0 && sample.trained[at]) {
        rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
        targets.push_back(sample.ids[at]);
        target_starts.push_back(static_cast<std::int32_t>(targets.size()));
      }
      names.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(lesson.name) * 0x9e3779b1U +
                                                static_cast<std::uint32_t>(t)));
      tokens.push_back(sample.ids[at]);
      positions.push_back(t);
      slots.push_back(page * kPageTokens + t);
      if (it.rope.dynamic > 0) bases.push_back(model::dynamic_base(it.rope, length));
    }
    for (std::int32_t entry = 0; entry < step.sequences.width; ++entry) {
      const std::int32_t count = std::clamp(length - entry * kPageTokens, 0, kPageTokens);
      table.insert(table.end(), {count > 0 ? page++ : 0, 0, count});
    }
    starts.push_back(static_cast<std::int32_t>(tokens.size()));
    lengths.push_back(length);
    given.ends.push_back(targets.size());
  }
  given.targets = targets.size();
  const auto count = static_cast<std::int64_t>(given.targets);

  ints_.clear();
  floats_.clear();
  auto* const ints = static_cast<std::int32_t*>(int_memory_->data);
  auto* const floats = static_cast<float*>(float_memory_->data);
  const auto put = [&](const std::vector<std::int32_t>& values) {
    return Ints{ints + ints_.add(std::span<const std::int32_t>(values)), static_cast<std::int64_t>(values.size())};
  };
  step.tokens = put(tokens);
  step.positions = put(positions);
  step.slots = put(slots);
  step.sequences.starts = put(starts);
  step.sequences.lengths = put(lengths);
  step.sequences.table = put(table);
  step.sequences.count = static_cast<std::int64_t>(lessons.size());
  step.sequences.max_rows = step.sequences.max_length;
  if (with_adapter) step.adapter = parameters_.adapter();
  const Ints row_names = put(names);
  if (drops && bounds_.dropout > 0) step.drops = {bounds_.dropout, key, row_names};
  model::Targets asked;
  asked.rows = put(rows);
  asked.starts = put(target_starts);
  asked.tokens = put(targets);
  asked.best = {ints + ints_.add_space(given.targets), count};
  const std::size_t bases_at = floats_.add(std::span<const float>(bases));
  if (!bases.empty()) step.bases = {floats + bases_at, DType::kFp32, 1, step.tokens.size, step.tokens.size};
  given.logprobs = floats_.add_space(given.targets);
  given.coefficients = floats_.add_space(given.targets);
  asked.logprobs = {floats + given.logprobs, DType::kFp32, count, 1, 1};
  asked.temperature = temperature;
  backend_.upload(*stream_, ints, ints_.host(), ints_.bytes());
  backend_.upload(*stream_, floats, floats_.host(), bases.size() * sizeof(float));
  asked.leave_head = back && parameters_.adapter();
  pass_->forth(*stream_, step, asked);
  backend_.download(*stream_, floats_.host() + given.logprobs, floats + given.logprobs, given.targets * sizeof(float));
  return given;
}

Result<bool> Learner::teach(std::span<const Lesson> lessons, std::uint64_t key, double scale, const Judge& judge,
                            float temperature) {
  if (auto fits = check(lessons); !fits) return fits.error();
  const auto parts = parts_of(lessons);
  // An objective sees all texts of a pass together: if they cannot be, it is asked with what a first look told.
  std::vector<std::vector<float>> logprobs(lessons.size()), derivatives(lessons.size());
  const auto ask = [&] {
    std::vector<Outcome> outcomes;
    for (std::size_t i = 0; i < lessons.size(); ++i) {
      derivatives[i].assign(logprobs[i].size(), 0);
      outcomes.push_back({logprobs[i], derivatives[i]});
    }
    judge(outcomes);
  };
  const auto pass = [&](const std::vector<std::size_t>& part, bool back) -> Result<Given> {
    std::vector<Lesson> some;
    for (const std::size_t i : part) some.push_back(lessons[i]);
    const Given given = forth(some, true, temperature, key, true, back);
    if (auto waited = backend_.wait(*stream_); !waited) return waited.error();
    if (auto joined = decoder_.joined(); !joined) return joined.error();
    std::size_t from = 0;
    for (std::size_t i = 0; i < part.size(); from = given.ends[i++])
      logprobs[part[i]].assign(floats_.host() + given.logprobs + from, floats_.host() + given.logprobs + given.ends[i]);
    return given;
  };
  if (parts.size() > 1) {
    for (const auto& part : parts)
      if (auto given = pass(part, false); !given) return given.error();
    ask();
  }
  for (const auto& part : parts) {
    auto given = pass(part, true);
    if (!given) return given.error();
    if (parts.size() == 1) ask();
    float* coefficient = floats_.host() + given->coefficients;
    for (const std::size_t i : part)
      for (const float derivative : derivatives[i])
        *coefficient++ = static_cast<float>(static_cast<double>(derivative) * scale);
    auto* const there = static_cast<float*>(float_memory_->data) + given->coefficients;
    backend_.upload(*stream_, there, floats_.host() + given->coefficients, given->targets * sizeof(float));
    const auto count = static_cast<std::int64_t>(given->targets);
    pass_->back(*stream_, {there, DType::kFp32, count, 1, 1}, parameters_.gradients());
    if (auto waited = backend_.wait(*stream_); !waited) return waited.error();
    if (auto joined = decoder_.joined(); !joined) return joined.error();
  }
  return true;
}

Result<std::vector<std::vector<float>>> Learner::look(std::span<const Lesson> lessons, bool with_adapter,
                                                      float temperature) {
  if (auto fits = check(lessons); !fits) return fits.error();
  if (!with_adapter && !parameters_.adapter()) return Error{std::string(kNoReference)};
  std::vector<std::vector<float>> logprobs(lessons.size());
  for (const auto& part : parts_of(lessons)) {
    std::vector<Lesson> some;
    for (const std::size_t i : part) some.push_back(lessons[i]);
    const Given given = forth(some, with_adapter, temperature, 0, false, false);
    if (auto waited = backend_.wait(*stream_); !waited) return waited.error();
    if (auto joined = decoder_.joined(); !joined) return joined.error();
    std::size_t from = 0;
    for (std::size_t i = 0; i < part.size(); from = given.ends[i++])
      logprobs[part[i]].assign(floats_.host() + given.logprobs + from, floats_.host() + given.logprobs + given.ends[i]);
  }
  return logprobs;
}

}  // namespace orch::train
