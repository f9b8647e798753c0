#include "infer/engine_run.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "base/split_mix.h"

namespace orch::infer {

using kernels::Ints;
using kernels::Matrix;

namespace {

/// In [0, 1), of a draw's place in its text, so that no state is carried along.
float uniform(std::uint64_t seed, std::uint64_t place) {
  return static_cast<float>(SplitMix64(seed + 0x9e3779b97f4a7c15U * place).next() >> 40) * 0x1p-24F;
}

/// Of the `count` largest.
std::int64_t sum_of_largest(std::vector<std::int64_t> numbers, std::int64_t count) {
  const auto some = std::min(numbers.size(), at(count));
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(some);
  std::nth_element(numbers.begin(), middle, numbers.end(), std::greater<>());
  return std::accumulate(numbers.begin(), middle, std::int64_t{0});
}

std::int64_t pages_for(std::int64_t tokens) { return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens; }

}  // namespace

Engine::Run::Asked Engine::Run::asked_of(std::span<const Piece> pieces, const StepArrays& arrays) const {
  Asked asked;
  const auto wants = [&](std::int32_t text, std::int32_t row) {
    if (texts.empty() || texts[at(text)].is_over) return;
    const bool greedy = !(texts[at(text)].request->sampling.temperature > 0);
    (greedy ? asked.greedy : asked.drawn).push_back(text);
    if (!greedy) asked.drawn_rows.push_back(row);
  };
  std::vector<std::int32_t> greedy_rows;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const std::int32_t first = arrays.starts[i], end = arrays.starts[i + 1];
    const auto ask_of = [&](std::int32_t text) {
      const std::size_t before = asked.greedy.size();
      wants(text, end - 1);
      if (asked.greedy.size() > before) greedy_rows.push_back(end - 1);
    };
    if (piece.writing >= 0) {
      ask_of(piece.writing);
      continue;
    }
    const PrefixNode& node = tree_.nodes()[at(piece.node)];
    if (!targets.empty()) {
      const std::vector<Target>& all = targets[at(piece.node)];
      auto each = std::lower_bound(all.begin(), all.end(), piece.from,
                                   [](const Target& target, std::int64_t row) { return target.row < row; });
      while (each != all.end() && each->row < piece.from + piece.count) {
        const std::int64_t row = each->row;
        asked.rows.push_back(first + static_cast<std::int32_t>(row - piece.from));
        for (; each != all.end() && each->row == row; ++each) {
          asked.tokens.push_back(each->token);
          asked.results.push_back(each->result);
        }
        asked.starts.push_back(static_cast<std::int32_t>(asked.tokens.size()));
      }
    }
    if (piece.from + piece.count == static_cast<std::int64_t>(node.tokens.size()))
      for (const std::int32_t text : node.sequences) ask_of(text);
  }
  for (const std::int32_t row : greedy_rows) {
    asked.rows.push_back(row);
    asked.starts.push_back(asked.starts.back());
  }
  return asked;
}

StepSize Engine::Run::largest_step() const {
  StepSize size;
  std::int64_t tokens = tree_.tokens(), writers = 0;
  std::vector<std::int64_t> entries, targets_of_rows, ends;  // `ends`: of each piece that there can be, texts that ask
  for (const PrefixNode& node : tree_.nodes()) {
    const std::int64_t above = node.parent == kNoNode ? 0 : entries[at(node.parent)];
    entries.push_back(above + pages_for(static_cast<std::int64_t>(node.tokens.size())));
    size.width = std::max(size.width, entries.back());
    size.max_length = std::max(size.max_length, node.length());
    if (!texts.empty()) ends.push_back(std::max<std::int64_t>(1, static_cast<std::int64_t>(node.sequences.size())));
  }
  for (std::size_t i = 0; i < tree_.sequences(); ++i) {
    if (room[i] == 0) continue;
    const std::size_t node = at(tree_.end_of(i));
    ++writers;
    ends.push_back(1);
    size.width = std::max(size.width, entries[node] + pages_for(room[i]));
    size.max_length = std::max(size.max_length, tree_.nodes()[node].length() + room[i]);
  }
  size.rows = std::min(engine_.rules_.step_tokens, tokens + writers);
  const auto nodes = static_cast<std::int64_t>(tree_.nodes().size());
  size.pieces = std::min({engine_.rules_.step_sequences, size.rows, nodes + writers});
  for (const std::vector<Target>& all : targets)
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i == 0 || all[i].row != all[i - 1].row) targets_of_rows.push_back(0);
      ++targets_of_rows.back();
    }
  size.targets = sum_of_largest(targets_of_rows, size.rows);
  const std::int64_t asking = sum_of_largest(ends, size.pieces), all = static_cast<std::int64_t>(texts.size());
  const auto drawn = std::count_if(texts.begin(), texts.end(),
                                   [](const Text& text) { return text.request->sampling.temperature > 0; });
  size.drawn = std::min(asking, drawn);
  size.asked = std::min(size.rows, static_cast<std::int64_t>(targets_of_rows.size())) + std::min(asking, all - drawn);
  size.dynamic = engine_.decoder_.architecture().rope.dynamic > 0;
  return size;
}

template <class F>
void Engine::Run::each_place(const StepSize& size, F&& f) const {
  Memory& memory = *engine_.memory_;
  const model::Decoder& decoder = engine_.decoder_;
  const model::Architecture& it = decoder.architecture();
  const std::size_t row = at(it.hidden) * at(static_cast<std::int64_t>(bytes_of(decoder.dtype())));
  const std::int64_t rank = engine_.adapter_ ? engine_.adapter_->rank : 0,
                     expert_rank = engine_.adapter_ ? engine_.adapter_->expert_rank : 0;
  std::size_t scratch = decoder.workspace({size.rows, size.max_length, size.picked(), size.targets, rank, expert_rank});
  f(memory.ints, size.ints(), "a step's numbers");
  // Stages tell each other what came of it in the same place.
  const std::size_t told = std::max(at(size.asked + size.drawn) * sizeof(std::int32_t), results.size() * sizeof(Found));
  f(memory.floats, std::max(size.floats(), engine_.pipeline_ ? told : 0), "a step's numbers");
  f(memory.hidden, at(size.rows) * row, "a step's hidden states");
  if (decoder.shard().ends()) {
    kernels::Sample sample;
    sample.logits = {nullptr, DType::kFp32, size.drawn_together(), it.vocab, it.vocab};
    scratch = std::max(scratch, engine_.backend_.scratch(sample));
    f(memory.picked, at(size.picked()) * row, "the rows that are scored");
    f(memory.logits, at(size.drawn_together() * it.vocab) * sizeof(float), "logits");
  }
  f(memory.scratch, scratch, "a step's workspace");
}

Result<std::int32_t> Engine::Run::reserve() {
  if (auto can_tell = engine_.prepare_to_tell(); !can_tell) return can_tell.error();
  Memory& memory = *engine_.memory_;
  const EngineRules& rules = engine_.rules_;
  const kernels::KvShape shape = engine_.decoder_.kv_shape(rules.cache_dtype);
  const std::int64_t layers = engine_.decoder_.layers();
  // No more pages than all that there is would fill.
  std::int64_t wanted = 0;
  for (const PrefixNode& node : tree_.nodes()) wanted += pages_for(static_cast<std::int64_t>(node.tokens.size()));
  for (const std::int64_t each : room) wanted += pages_for(each);
  const std::size_t page = engine_.backend_.page_bytes(shape) * at(layers);
  wanted = std::min(wanted, static_cast<std::int64_t>(
                                std::min<std::size_t>(rules.cache_bytes / page, INT32_MAX / kernels::kPageTokens)));
  Result<bool> grown = memory.grow_cache(shape, layers, wanted);
  each_place(largest_step(), [&](Memory::Place& place, std::size_t bytes, std::string_view what) {
    if (grown) grown = memory.grow(place, bytes, what);
  });
  // Ranks that did not do the same steps would not understand each other. What is told is how little there is.
  constexpr std::int32_t kNothing = INT32_MAX;
  const auto told = engine_.most_of_all(grown ? kNothing - 1 - memory.pages : kNothing);
  if (!told) return told;
  full_ = *told == kNothing;
  if (!full_) return kNothing - 1 - *told;
  return grown ? Error{"out of memory: not on this rank, but on one that it shares the model with"} : grown.error();
}

Result<bool> Engine::Run::go() {
  if (room.empty()) room.resize(tree_.sequences());
  const auto pages = reserve();
  if (!pages) return pages.error();
  ScheduleRules schedule_rules;
  schedule_rules.max_tokens = engine_.rules_.step_tokens;
  schedule_rules.max_sequences = engine_.rules_.step_sequences;
  schedule_rules.page_tokens = kernels::kPageTokens;
  schedule_rules.pages = *pages;
  schedule_rules.flights = engine_.pipeline_ ? engine_.pipeline_->ranks() : 1;
  auto schedule = Schedule::make(tree_, room, schedule_rules);
  if (!schedule) return schedule.error();
  last_.resize(texts.size());

  // Stages work side by side: stage s of S is told of the tokens of step j - (S - 1 - s) once it has computed step j,
  // when the last stage has just drawn them. That all of them plan the same, each takes the tokens of step j when it
  // plans step j + S. A step of which nothing can be planned yet is a bubble. What is computed is handed on last: a
  // stage that waited for the next one before it hears of tokens would wait for ever.
  const int stages = engine_.pipeline_ ? engine_.pipeline_->ranks() : 1, stage = engine_.decoder_.shard().stage;
  std::deque<Chosen> flying;  // of the last steps; those before `unheard` the stage has been told of
  std::size_t unheard = 0;
  const auto hear = [&](std::size_t most_unheard) -> Result<bool> {
    for (; flying.size() - unheard > most_unheard; ++unheard)
      if (auto heard = engine_.share(flying[unheard].tokens); !heard) return heard;
    return true;
  };
  const auto land = [&] {
    take(flying.front(), *schedule);
    flying.pop_front();
    --unheard;
  };
  while (true) {
    if (flying.size() == at(stages)) land();
    const std::vector<Piece> pieces = schedule->next();
    if (pieces.empty() && !schedule->waits()) break;
    if (auto handed_on = engine_.wait(); !handed_on) return handed_on;
    auto chosen = pieces.empty() ? Result<Chosen>(Chosen{}) : step(pieces, *schedule);
    if (!chosen) return chosen.error();
    flying.push_back(*std::move(chosen));
    if (auto heard = hear(at(stages - 1 - stage)); !heard) return heard;
    if (!pieces.empty() && stage + 1 < stages) engine_.pipeline_->send(*engine_.stream_, hidden_, stage + 1);
  }
  if (auto handed_on = engine_.wait(); !handed_on) return handed_on;
  if (auto heard = hear(0); !heard) return heard;
  while (!flying.empty()) land();
  return true;
}

/// What was drawn is at the texts' ends, and they can go on.
void Engine::Run::take(const Chosen& chosen, Schedule& schedule) {
  for (std::size_t i = 0; i < chosen.texts.size(); ++i) {
    const std::int32_t number = chosen.texts[i];
    Text& text = texts[at(number)];
    last_[at(number)] = chosen.tokens[i];
    text.tokens.push_back(chosen.tokens[i]);
    ++engine_.counts_.tokens_written;
    text.is_over = (*is_over)(text.number, text.tokens);
    if (text.is_over)
      schedule.finish_writing(number);
    else
      schedule.know(number);
  }
}

Result<Engine::Run::Chosen> Engine::Run::step(std::span<const Piece> pieces, const Schedule& schedule) {
  Memory& memory = *engine_.memory_;
  kernels::Backend& backend = engine_.backend_;
  kernels::Stream& stream = *engine_.stream_;
  model::Decoder& decoder = engine_.decoder_;
  const model::Architecture& it = decoder.architecture();
  const StepArrays arrays = arrays_of(pieces, tree_, schedule, last_, kernels::kPageTokens);
  const Asked asked = asked_of(pieces, arrays);
  const std::int64_t rows = arrays.rows();

  ints_.clear();
  floats_.clear();
  const std::size_t tokens = ints_.add(arrays.tokens), positions = ints_.add(arrays.positions),
                    slots = ints_.add(arrays.slots), starts = ints_.add(arrays.starts),
                    lengths = ints_.add(arrays.lengths), table = ints_.add(arrays.table),
                    asked_rows = ints_.add(asked.rows), asked_starts = ints_.add(asked.starts),
                    asked_tokens = ints_.add(asked.tokens), best = ints_.add_space(asked.rows.size()),
                    drawn_rows = ints_.add(asked.drawn_rows);
  std::vector<float> bases, temperature, top_p, uniforms;
  if (it.rope.dynamic > 0)
    for (std::size_t i = 0; i < pieces.size(); ++i)
      for (std::int32_t row = arrays.starts[i]; row < arrays.starts[i + 1]; ++row)
        bases.push_back(
            model::dynamic_base(it.rope, std::max<std::int64_t>(turned_.dynamic, arrays.positions[at(row)] + 1)));
  std::vector<std::int32_t> top_k;
  for (const std::int32_t text : asked.drawn) {
    const Text& of = texts[at(text)];
    const Sampling& sampling = of.request->sampling;
    temperature.push_back(sampling.temperature);
    top_p.push_back(sampling.top_p);
    top_k.push_back(sampling.top_k);
    uniforms.push_back(uniform(sampling.seed, of.tokens.size()));
  }
  const std::size_t kinds = ints_.add(top_k), drawn = ints_.add_space(asked.drawn.size());
  const std::size_t bases_at = floats_.add(bases), logprobs = floats_.add_space(asked.tokens.size()),
                    temperature_at = floats_.add(temperature), top_p_at = floats_.add(top_p),
                    uniforms_at = floats_.add(uniforms);

  const DType dtype = decoder.dtype();
  const bool ends = decoder.shard().ends();
  StepSize size{rows, arrays.pieces(), arrays.width, arrays.max_length};
  size.asked = static_cast<std::int64_t>(asked.rows.size());
  size.targets = static_cast<std::int64_t>(asked.tokens.size());
  size.drawn = static_cast<std::int64_t>(asked.drawn.size());
  size.dynamic = !bases.empty();
  bool has_room = ints_.bytes() <= size.ints() && floats_.bytes() <= size.floats();
  each_place(size, [&](const Memory::Place& place, std::size_t bytes, std::string_view) {
    has_room = has_room && place.buffer && place.buffer->bytes >= bytes;
  });
  if (!has_room) return Error{"a step is larger than the largest that was planned for: a fault of this program"};

  auto* const ints = memory.ints.as<std::int32_t>();
  auto* const floats = memory.floats.as<float>();
  const auto view = [&](std::size_t from, std::size_t count) {
    return Ints{ints + from, static_cast<std::int64_t>(count)};
  };
  const auto column = [&](std::size_t from, std::size_t count) {
    return Matrix{floats + from, DType::kFp32, static_cast<std::int64_t>(count), 1, 1};
  };
  const std::span<std::byte> workspace(memory.scratch.as<std::byte>(), memory.scratch.buffer->bytes);
  backend.upload(stream, ints, ints_.host(), ints_.bytes());
  backend.upload(stream, floats, floats_.host(), floats_.bytes());

  model::Step step;
  step.tokens = view(tokens, arrays.tokens.size());
  step.positions = view(positions, arrays.positions.size());
  step.slots = view(slots, arrays.slots.size());
  if (!bases.empty()) step.bases = {floats + bases_at, DType::kFp32, 1, rows, rows};
  step.lengthy = turned_.lengthy;
  step.adapter = engine_.adapter_;
  step.sequences.starts = view(starts, arrays.starts.size());
  step.sequences.lengths = view(lengths, arrays.lengths.size());
  step.sequences.table = view(table, arrays.table.size());
  step.sequences.count = arrays.pieces();
  step.sequences.width = arrays.width;
  step.sequences.max_rows = arrays.max_rows;
  step.sequences.max_length = arrays.max_length;
  const Matrix hidden = hidden_ = {memory.hidden.buffer->data, dtype, rows, it.hidden, it.hidden};
  const int stage = decoder.shard().stage;
  if (stage > 0) engine_.pipeline_->receive(stream, hidden, stage - 1);
  decoder.forward(stream, step, memory.caches, workspace, hidden);

  if (ends && !asked.rows.empty()) {
    kernels::Gather pick;
    pick.x = hidden;
    pick.rows = view(asked_rows, asked.rows.size());
    pick.y = {memory.picked.buffer->data, dtype, static_cast<std::int64_t>(asked.rows.size()), it.hidden, it.hidden};
    backend.run(stream, pick);
    model::Scoring scoring;
    scoring.hidden = pick.y;
    scoring.starts = view(asked_starts, asked.starts.size());
    scoring.targets = view(asked_tokens, asked.tokens.size());
    scoring.logprobs = column(logprobs, asked.tokens.size());
    scoring.best = view(best, asked.rows.size());
    decoder.score(stream, scoring, workspace);
    backend.download(stream, ints_.host() + best, ints + best, asked.rows.size() * sizeof(std::int32_t));
    backend.download(stream, floats_.host() + logprobs, floats + logprobs, asked.tokens.size() * sizeof(float));
  }
  for (std::size_t from = 0; ends && from < asked.drawn.size(); from += at(kDrawnTogether)) {
    const std::size_t count = std::min(asked.drawn.size() - from, at(kDrawnTogether));
    const auto some = static_cast<std::int64_t>(count);
    kernels::Gather pick;
    pick.x = hidden;
    pick.rows = view(drawn_rows + from, count);
    pick.y = {memory.picked.buffer->data, dtype, some, it.hidden, it.hidden};
    backend.run(stream, pick);
    kernels::Sample sample;
    sample.logits = {memory.logits.buffer->data, DType::kFp32, some, it.vocab, it.vocab};
    decoder.logits(stream, pick.y, sample.logits);
    sample.temperature = column(temperature_at + from, count);
    sample.top_p = column(top_p_at + from, count);
    sample.top_k = view(kinds + from, count);
    sample.uniforms = column(uniforms_at + from, count);
    sample.tokens = view(drawn + from, count);
    backend.run(stream, sample, workspace);
  }
  if (ends) backend.download(stream, ints_.host() + drawn, ints + drawn, asked.drawn.size() * sizeof(std::int32_t));
  if (auto waited = engine_.wait(); !waited) return waited.error();
  ++engine_.counts_.steps;
  engine_.counts_.tokens += rows;

  const std::span<const std::int32_t> bests = ints_.part(best, asked.rows.size());
  for (std::size_t row = 0; ends && row < asked.rows.size(); ++row)
    for (std::int32_t t = asked.starts[row]; t < asked.starts[row + 1]; ++t)
      results[asked.results[at(t)]] = {floats_.host()[logprobs + at(t)], bests[row] == asked.tokens[at(t)]};

  Chosen chosen{asked.greedy, {bests.end() - static_cast<std::ptrdiff_t>(asked.greedy.size()), bests.end()}};
  chosen.texts.insert(chosen.texts.end(), asked.drawn.begin(), asked.drawn.end());
  const std::span<const std::int32_t> draws = ints_.part(drawn, asked.drawn.size());
  chosen.tokens.insert(chosen.tokens.end(), draws.begin(), draws.end());
  return chosen;
}

}  // namespace orch::infer
