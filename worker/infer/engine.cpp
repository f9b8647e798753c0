#include "infer/engine.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "infer/step_arrays.h"
#include "model/rope.h"

namespace orch::infer {

using kernels::Ints;
using kernels::Matrix;

namespace {

/// Rows whose logits of the whole vocabulary are held at a time.
constexpr std::int64_t kDrawnTogether = 32;
/// Steps are not made smaller than this for want of memory.
constexpr std::int64_t kLeastStep = 16;

std::size_t at(std::int64_t number) { return static_cast<std::size_t>(number); }

/// In [0, 1), of a draw's place in its text: a hash (SplitMix64's finish), so that no state is carried along.
float uniform(std::uint64_t seed, std::uint64_t place) {
  std::uint64_t x = seed + 0x9e3779b97f4a7c15U * (place + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return static_cast<float>((x ^ (x >> 31)) >> 40) * 0x1p-24F;
}

/// Numbers of one kind that go to the backend in one piece.
template <class T>
class Arena {
 public:
  std::size_t add(std::span<const T> values) {
    const std::size_t from = host_.size();
    host_.insert(host_.end(), values.begin(), values.end());
    return from;
  }
  std::size_t add_space(std::size_t count) {
    host_.resize(host_.size() + count);
    return host_.size() - count;
  }
  void clear() { host_.clear(); }
  std::size_t bytes() const { return host_.size() * sizeof(T); }
  T* host() { return host_.data(); }
  std::span<const T> part(std::size_t from, std::size_t count) const { return std::span(host_).subspan(from, count); }

 private:
  std::vector<T> host_;
};

/// How much a step is, or the largest that there can be.
struct StepSize {
  std::int64_t rows = 0, pieces = 0, width = 0, max_length = 0;
  std::int64_t asked = 0,
               targets = 0;  ///< rows with something to be scored, or whose best token is asked; tokens scored
  std::int64_t drawn = 0;    ///< tokens
  bool dynamic = false;      ///< each row has a base of its own

  std::size_t ints() const {
    return at(3 * rows + 2 * pieces + 1 + 3 * pieces * width + 3 * asked + 1 + targets + 3 * drawn) *
           sizeof(std::int32_t);
  }
  std::size_t floats() const { return at((dynamic ? rows : 0) + targets + 3 * drawn) * sizeof(float); }
  std::int64_t drawn_together() const { return std::min(drawn, kDrawnTogether); }
  std::int64_t picked() const { return std::max(asked, drawn_together()); }
};

/// Of the `count` largest.
std::int64_t sum_of_largest(std::vector<std::int64_t> numbers, std::int64_t count) {
  const auto some = std::min(numbers.size(), at(count));
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(some);
  std::nth_element(numbers.begin(), middle, numbers.end(), std::greater<>());
  return std::accumulate(numbers.begin(), middle, std::int64_t{0});
}

std::int64_t pages_for(std::int64_t tokens) { return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens; }

}  // namespace

/// How positions of some texts are told to the decoder, where that depends on how long they are.
struct Engine::Turned {
  bool lengthy = false;
  std::int64_t dynamic = 0;  ///< length by which the base grows; 0: it does not

  auto operator<=>(const Turned&) const = default;
  static Turned of(const model::Rope& rope, std::int64_t length) {
    Turned it;
    it.lengthy = model::is_lengthy(rope, length);
    if (rope.dynamic > 0 && length > rope.trained) it.dynamic = length;
    return it;
  }
};

/// What steps work in. It grows before a run's first step, and is kept from run to run.
class Engine::Memory {
 public:
  explicit Memory(kernels::Backend& backend) : backend_(backend) {}

  struct Place {
    std::unique_ptr<kernels::Buffer> buffer;
    template <class T>
    T* as() const {
      return static_cast<T*>(buffer->data);
    }
  };
  Place ints, floats, hidden, picked, logits, scratch;
  std::vector<kernels::KvCache> caches;
  std::int32_t pages = 0;

  /// What stood there is lost.
  Result<bool> grow(Place& place, std::size_t bytes, std::string_view what) {
    if (place.buffer && place.buffer->bytes >= bytes) return true;
    place.buffer.reset();
    auto made = backend_.allocate(std::max<std::size_t>(bytes, 256), what);
    if (!made) return made.error();
    place.buffer = *std::move(made);
    return true;
  }

  /// As many pages of each layer as can be had, of those that are wanted.
  Result<bool> grow_cache(const kernels::KvShape& shape, std::int64_t layers, std::int64_t wanted) {
    if (pages >= wanted) return true;
    caches.clear();
    held_.clear();
    for (std::int64_t count = wanted;; count /= 2) {
      pages = static_cast<std::int32_t>(count);
      std::optional<Error> full;
      for (std::int64_t layer = 0; layer < layers && !full; ++layer) {
        auto made = backend_.allocate(backend_.page_bytes(shape) * at(count), "the KV cache");
        if (made)
          held_.push_back(*std::move(made));
        else
          full = made.error();
      }
      if (!full) break;
      held_.clear();
      pages = 0;
      if (count <= 1) return *full;
    }
    for (const auto& buffer : held_) caches.push_back({shape, buffer->data, pages});
    return true;
  }

 private:
  kernels::Backend& backend_;
  std::vector<std::unique_ptr<kernels::Buffer>> held_;
};

/// One tree through the decoder. What is asked of its rows is said before go(), what came of it is read after it.
class Engine::Run {
 public:
  /// A token whose likelihood is asked at a row of a node.
  struct Target {
    std::int64_t row = 0;
    std::int32_t token = 0;
    std::size_t result = 0;
  };
  struct Found {
    float logprob = 0;
    std::int32_t is_best = 0;
  };
  /// A sequence of the tree that is continued.
  struct Text {
    const WriteRequest* request = nullptr;
    std::size_t number = 0;            ///< the caller's, for IsOver
    std::vector<std::int32_t> tokens;  ///< all that were written, in earlier runs too
    std::size_t before = 0;            ///< in earlier runs
    bool is_over = false;
  };

  Run(Engine& engine, const PrefixTree& tree, Turned turned) : engine_(engine), tree_(tree), turned_(turned) {}

  std::vector<std::vector<Target>> targets;  ///< of each node, by row; or none at all
  std::vector<Found> results;
  std::vector<Text> texts;         ///< one for each sequence of the tree, or none at all
  std::vector<std::int64_t> room;  ///< of each sequence
  const IsOver* is_over = nullptr;

  Result<bool> go();
  /// go() failed for want of memory.
  bool was_full() const { return full_; }

 private:
  /// What one step asks of its rows.
  struct Asked {
    std::vector<std::int32_t> rows, starts{0}, tokens;
    std::vector<std::size_t> results;
    std::vector<std::int32_t> greedy;             ///< texts; their rows are the last of `rows`
    std::vector<std::int32_t> drawn, drawn_rows;  ///< texts, and the row of each
  };
  Asked asked_of(std::span<const Piece> pieces, const StepArrays& arrays) const;
  /// Tokens that a step gave texts: the last stage knows them first.
  struct Chosen {
    std::vector<std::int32_t> texts, tokens;
  };
  Result<Chosen> step(std::span<const Piece> pieces, const Schedule& schedule);
  void take(const Chosen& chosen, Schedule& schedule);

  StepSize largest_step() const;
  /// What the size takes, of each place its bytes.
  template <class F>
  void each_place(const StepSize& size, F&& f) const;
  /// Pages of the cache, as many as all ranks have, when each has all that the steps want.
  Result<std::int32_t> reserve();

  Engine& engine_;
  const PrefixTree& tree_;
  const Turned turned_;
  bool full_ = false;
  LastTokens last_;
  Matrix hidden_;  ///< of the step that was computed last: what the next stage goes on with
  // Of the step that runs: the backend reads them until it has been waited for.
  Arena<std::int32_t> ints_;
  Arena<float> floats_;
};

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
  std::size_t scratch = decoder.workspace({size.rows, size.max_length, size.picked(), size.targets});
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

Engine::Engine(kernels::Backend& backend, model::Decoder& decoder, const EngineRules& rules,
               comm::Communicator* pipeline)
    : backend_(backend),
      decoder_(decoder),
      pipeline_(pipeline),
      rules_(rules),
      stream_(backend.make_stream()),
      memory_(std::make_unique<Memory>(backend)) {
  if (rules_.context == 0) rules_.context = decoder.architecture().context;
}

Engine::~Engine() = default;

std::size_t Engine::cache_bytes() const {
  return backend_.page_bytes(decoder_.kv_shape(rules_.cache_dtype)) * at(memory_->pages) * memory_->caches.size();
}

Result<bool> Engine::joined() const {
  if (auto tensor = decoder_.joined(); !tensor) return tensor;
  return pipeline_ ? pipeline_->state() : Result<bool>(true);
}

Result<bool> Engine::wait() {
  auto waited = backend_.wait(*stream_);
  return waited ? joined() : waited;
}

Result<bool> Engine::prepare_to_tell() {
  const int tensor = decoder_.tensor() ? decoder_.tensor()->ranks() : 1;
  if (told_ || (tensor == 1 && !pipeline_)) return true;
  auto made = backend_.allocate(at(tensor + 1) * sizeof(std::int32_t), "what ranks tell each other");
  if (!made) return made.error();
  told_ = *std::move(made);
  return true;
}

Result<std::int32_t> Engine::most_of_all(std::int32_t own) {
  std::int32_t most = own;
  if (comm::Communicator* tensor = decoder_.tensor(); tensor && tensor->ranks() > 1) {
    // Bits that are only copied, here too.
    static_assert(sizeof own == sizeof(float));
    std::vector<std::int32_t> all(at(tensor->ranks()));
    auto* const there = static_cast<std::int32_t*>(told_->data);
    const Matrix mine{there, DType::kFp32, 1, 1, 1};
    const Matrix everyones{there + 1, DType::kFp32, static_cast<std::int64_t>(all.size()), 1, 1};
    backend_.upload(*stream_, mine.data, &own, sizeof own);
    tensor->gather(*stream_, mine, everyones);
    backend_.download(*stream_, all.data(), everyones.data, all.size() * sizeof own);
    if (auto heard = wait(); !heard) return heard.error();
    most = std::max(most, *std::max_element(all.begin(), all.end()));
  }
  const std::int32_t of_stage = most;
  for (int stage = 0; pipeline_ && stage < pipeline_->ranks(); ++stage) {
    std::vector<std::int32_t> value{of_stage};
    if (auto shared = share(value, stage); !shared) return shared.error();
    most = std::max(most, value.front());
  }
  return most;
}

template <class T>
Result<bool> Engine::share(std::vector<T>& values, int from) {
  static_assert(sizeof(T) % sizeof(float) == 0 && std::is_trivially_copyable_v<T>);
  if (!pipeline_ || values.empty()) return true;
  const std::size_t bytes = values.size() * sizeof(T);
  kernels::Buffer* room = told_.get();
  if (!room || room->bytes < bytes) {
    if (auto grown = memory_->grow(memory_->floats, bytes, "what stages tell each other"); !grown) return grown;
    room = memory_->floats.buffer.get();
  }
  // Bits that are only copied: what they mean does not matter on the way.
  const auto count = static_cast<std::int64_t>(bytes / sizeof(float));
  const Matrix there{room->data, DType::kFp32, 1, count, count};
  backend_.upload(*stream_, there.data, values.data(), bytes);
  pipeline_->share(*stream_, there, from);
  backend_.download(*stream_, values.data(), there.data, bytes);
  return wait();
}

Result<std::vector<ChosenExperts>> Engine::take_chosen_experts() {
  const model::Architecture& it = decoder_.architecture();
  if (!it.experts) return std::vector<ChosenExperts>{};
  // Ranks that share a layer route every token alike; stages have layers of their own.
  const auto count = at(it.experts->count);
  const auto first = at(model::layers_of(it, decoder_.shard()).first) * count;
  const kernels::Ints counters = decoder_.expert_counts();
  std::vector<std::int32_t> own(it.layers.size() * count, 0);
  backend_.download(*stream_, own.data() + first, counters.data, at(counters.size) * sizeof(std::int32_t));
  backend_.clear(*stream_, counters.data, at(counters.size) * sizeof(std::int32_t));
  if (auto here = wait(); !here) return here.error();
  std::vector<ChosenExperts> chosen;
  for (std::size_t layer = 0; layer < it.layers.size(); ++layer)
    if (it.layers[layer].experts) chosen.push_back({layer, std::vector<std::int64_t>(count, 0)});
  for (int stage = 0; stage < (pipeline_ ? pipeline_->ranks() : 1); ++stage) {
    std::vector<std::int32_t> of_stage(own.size(), 0);
    if (!pipeline_ || pipeline_->rank() == stage) of_stage = own;
    if (auto shared = share(of_stage, stage); !shared) return shared.error();
    for (ChosenExperts& each : chosen)
      for (std::size_t expert = 0; expert < count; ++expert)
        each.times[expert] += of_stage[each.layer * count + expert];
  }
  return chosen;
}

Result<bool> Engine::attempt(const std::function<Result<bool>(bool& full)>& run) {
  while (true) {
    bool full = false;
    auto done = run(full);
    if (done || !full || rules_.step_tokens <= kLeastStep) return done;
    // What was computed so far is computed again, with the same numbers.
    memory_ = std::make_unique<Memory>(backend_);
    rules_.step_tokens = std::max(kLeastStep, rules_.step_tokens / 2);
    rules_.cache_bytes /= 2;
  }
}

Result<bool> Engine::check(std::span<const std::int32_t> tokens, std::size_t request) const {
  const std::int64_t vocab = decoder_.architecture().vocab;
  const auto bad =
      std::find_if(tokens.begin(), tokens.end(), [&](std::int32_t token) { return token < 0 || token >= vocab; });
  if (bad == tokens.end()) return true;
  return Error{"text " + std::to_string(request) + " has the token " + std::to_string(*bad) + ", and the model knows " +
               std::to_string(vocab)};
}

Result<std::vector<Scored>> Engine::score(std::span<const ScoreRequest> requests) {
  const model::Architecture& it = decoder_.architecture();
  const std::int64_t context = rules_.context;
  std::vector<Scored> answers(requests.size());
  std::vector<std::vector<std::int32_t>> inputs(requests.size());
  std::map<Turned, std::vector<std::size_t>> groups;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const auto& [before, continuation] = requests[r];
    for (const auto* part : {&before, &continuation})
      if (auto known = check(*part, r); !known) return known.error();
    if (before.empty()) return Error{"text " + std::to_string(r) + " has nothing before what is to be scored"};
    if (static_cast<std::int64_t>(continuation.size()) > context)
      return Error{"text " + std::to_string(r) + " is to be scored over " + std::to_string(continuation.size()) +
                   " tokens, and the model sees " + std::to_string(context)};
    if (continuation.empty()) continue;
    // The last token is only asked for, never read.
    std::vector<std::int32_t>& input = inputs[r];
    input = before;
    input.insert(input.end(), continuation.begin(), continuation.end() - 1);
    counts_.tokens_asked += static_cast<std::int64_t>(input.size());
    if (const std::int64_t over = static_cast<std::int64_t>(input.size()) - context; over > 0)
      input.erase(input.begin(), input.begin() + over);
    groups[Turned::of(it.rope, static_cast<std::int64_t>(input.size()))].push_back(r);
  }
  for (auto& [turned, members] : groups) {
    // The longest first: what is left at the end is short.
    std::stable_sort(members.begin(), members.end(),
                     [&](std::size_t a, std::size_t b) { return inputs[a].size() > inputs[b].size(); });
    std::vector<std::vector<std::int32_t>> sequences;
    std::vector<std::size_t> first;  // result of each request
    std::size_t total = 0;
    for (const std::size_t r : members) {
      sequences.push_back(inputs[r]);
      first.push_back(total);
      total += requests[r].continuation.size();
    }
    const PrefixTree tree(sequences, rules_.shares_prefixes);
    std::vector<std::vector<Run::Target>> targets(tree.nodes().size());
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::vector<std::int32_t>& continuation = requests[members[i]].continuation;
      // From the last token on, up through the tree.
      std::int32_t node = tree.end_of(i);
      std::int64_t position = static_cast<std::int64_t>(sequences[i].size()) - 1;
      for (std::size_t j = continuation.size(); j-- > 0; --position) {
        while (position < tree.nodes()[at(node)].begin) node = tree.nodes()[at(node)].parent;
        targets[at(node)].push_back({position - tree.nodes()[at(node)].begin, continuation[j], first[i] + j});
      }
    }
    for (std::vector<Run::Target>& all : targets)
      std::sort(all.begin(), all.end(), [](const Run::Target& a, const Run::Target& b) {
        return std::tie(a.row, a.result) < std::tie(b.row, b.result);
      });

    std::vector<Run::Found> found;
    auto done = attempt([&](bool& full) {
      Run run(*this, tree, turned);
      run.targets = targets;
      run.results.resize(total);
      auto went = run.go();
      full = run.was_full();
      found = std::move(run.results);
      return went;
    });
    if (!done) return done.error();
    if (auto shared = share(found); !shared) return shared.error();
    for (std::size_t i = 0; i < members.size(); ++i) {
      Scored& answer = answers[members[i]];
      for (std::size_t j = 0; j < requests[members[i]].continuation.size(); ++j) {
        const Run::Found& one = found[first[i] + j];
        answer.logprobs.push_back(one.logprob);
        answer.logprob += static_cast<double>(one.logprob);
        answer.is_greedy = answer.is_greedy && one.is_best;
      }
    }
  }
  return answers;
}

Result<std::vector<Written>> Engine::write(std::span<const WriteRequest> requests, const IsOver& is_over) {
  const model::Architecture& it = decoder_.architecture();
  const std::int64_t context = rules_.context;
  std::vector<Written> answers(requests.size());
  std::vector<std::vector<std::int32_t>> prompts(requests.size());
  std::vector<std::size_t> open;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const WriteRequest& request = requests[r];
    if (auto known = check(request.prompt, r); !known) return known.error();
    if (request.prompt.empty()) return Error{"text " + std::to_string(r) + " has no prompt"};
    if (request.most >= context)
      return Error{"text " + std::to_string(r) + " is to get " + std::to_string(request.most) +
                   " tokens, and the model sees " + std::to_string(context) + " with its prompt"};
    prompts[r] = request.prompt;
    if (const std::int64_t over = static_cast<std::int64_t>(prompts[r].size()) - (context - request.most); over > 0)
      prompts[r].erase(prompts[r].begin(), prompts[r].begin() + over);
    if (request.most > 0) open.push_back(r);
  }
  const auto all_of = [&](std::size_t r) {
    std::vector<std::int32_t> all = prompts[r];
    all.insert(all.end(), answers[r].tokens.begin(), answers[r].tokens.end());
    return all;
  };
  while (!open.empty()) {
    std::map<Turned, std::vector<std::size_t>> groups;
    for (const std::size_t r : open)
      groups[Turned::of(it.rope, static_cast<std::int64_t>(prompts[r].size() + answers[r].tokens.size()))].push_back(r);
    open.clear();
    for (auto& [turned, members] : groups) {
      std::stable_sort(members.begin(), members.end(),
                       [&](std::size_t a, std::size_t b) { return prompts[a].size() > prompts[b].size(); });
      std::vector<std::vector<std::int32_t>> sequences;
      std::vector<std::int64_t> room;
      std::vector<std::int64_t> most;
      for (const std::size_t r : members) {
        sequences.push_back(all_of(r));
        const auto has = static_cast<std::int64_t>(answers[r].tokens.size());
        std::int64_t left = requests[r].most - has;
        // A text that grows longer than the model was trained on is read anew from then on.
        if (!it.rope.long_frequencies.empty() && !turned.lengthy)
          left = std::min(left, it.rope.trained - static_cast<std::int64_t>(sequences.back().size()) + 1);
        most.push_back(left);
        room.push_back(left - 1);
        counts_.tokens_asked += static_cast<std::int64_t>(sequences.back().size()) + left - 1;
      }
      const PrefixTree tree(sequences, rules_.shares_prefixes);
      std::vector<Run::Text> texts;
      auto done = attempt([&](bool& full) {
        Run run(*this, tree, turned);
        run.room = room;
        run.is_over = &is_over;
        for (const std::size_t r : members)
          run.texts.push_back({&requests[r], r, answers[r].tokens, answers[r].tokens.size(), false});
        auto went = run.go();
        full = run.was_full();
        texts = std::move(run.texts);
        return went;
      });
      if (!done) return done.error();
      for (std::size_t i = 0; i < members.size(); ++i) {
        Written& answer = answers[members[i]];
        answer.tokens = std::move(texts[i].tokens);
        answer.is_over = texts[i].is_over;
        if (!answer.is_over && static_cast<std::int64_t>(answer.tokens.size()) < requests[members[i]].most)
          open.push_back(members[i]);
      }
    }
    std::sort(open.begin(), open.end());
  }
  return answers;
}

}  // namespace orch::infer
