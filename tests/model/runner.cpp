#include "model/runner.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "model/rope.h"

namespace orch::model {

using kernels::Ints;
using kernels::Matrix;

namespace {

constexpr std::int64_t kPages = 512;  // of the cache of some sequences: enough for every test

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

Ints ints(std::vector<std::int32_t>& values) { return {values.data(), static_cast<std::int64_t>(values.size())}; }

Matrix floats(std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  return {values.data(), DType::kFp32, rows, cols, cols};
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

Runner::Runner(const std::filesystem::path& folder, DType dtype, const char* config)
    : dtype_(dtype),
      it_(take(read_architecture(text_of(folder / config), config))),
      checkpoint_(take(Checkpoint::open(folder))),
      sources_(take(find_sources(it_, checkpoint_, {}))),
      backend_(kernels::make_cpu_backend({2, 0, {}})),
      decoder_(take(Decoder::load(*backend_, it_, sources_, {}, dtype))) {}

Sequences::Sequences(Runner& runner, std::vector<Cut> cuts) : runner_(runner), cuts_(std::move(cuts)) {
  const kernels::KvShape shape = runner.decoder_->kv_shape(runner.dtype_);
  for (std::size_t layer = 0; layer < runner.it_.layers.size(); ++layer) {
    held_.push_back(take(runner.backend_->allocate(runner.backend_->page_bytes(shape) * kPages, "cache")));
    caches_.push_back({shape, held_.back()->data, kPages});
  }
}

std::size_t Sequences::open(std::size_t prompt) {
  sequences_.push_back({});
  sequences_.back().prompt = prompt;
  return sequences_.size() - 1;
}

std::int32_t Sequences::slot_of(Sequence& sequence, std::int32_t position) {
  while (position >= sequence.room) {
    const Cut& cut = cuts_[sequence.table.size() / 3 % cuts_.size()];
    if (pages_ == kPages) throw std::runtime_error("the test's cache is full");
    sequence.table.insert(sequence.table.end(), {pages_++, cut.first, cut.count});
    sequence.room += cut.count;
  }
  for (std::size_t i = 0;; i += 3) {
    if (position < sequence.table[i + 2])
      return sequence.table[i] * kernels::kPageTokens + sequence.table[i + 1] + position;
    position -= sequence.table[i + 2];
  }
}

Sequences::Hidden Sequences::forward(const std::vector<Addition>& additions) {
  const Architecture& it = runner_.it_;
  std::vector<std::int32_t> tokens, positions, slots, starts = {0}, lengths, table;
  std::vector<float> bases;
  Step step;
  kernels::Sequences& sequences = step.sequences;
  for (const Addition& addition : additions) {
    Sequence& sequence = sequences_[addition.sequence];
    for (const int id : addition.ids) {
      const std::int32_t position = sequence.length++;
      const auto length = std::max<std::int64_t>(static_cast<std::int64_t>(sequence.prompt), sequence.length);
      tokens.push_back(id);
      positions.push_back(position);
      slots.push_back(slot_of(sequence, position));
      bases.push_back(dynamic_base(it.rope, length));
      step.lengthy = is_lengthy(it.rope, length);
    }
    starts.push_back(static_cast<std::int32_t>(tokens.size()));
    lengths.push_back(sequence.length);
    sequences.width = std::max(sequences.width, static_cast<std::int64_t>(sequence.table.size() / 3));
    sequences.max_rows = std::max(sequences.max_rows, static_cast<std::int64_t>(addition.ids.size()));
    sequences.max_length = std::max<std::int64_t>(sequences.max_length, sequence.length);
  }
  for (const Addition& addition : additions) {
    const std::vector<std::int32_t>& own = sequences_[addition.sequence].table;
    table.insert(table.end(), own.begin(), own.end());
    table.resize(table.size() + static_cast<std::size_t>(sequences.width) * 3 - own.size(), -1);
  }
  const auto n = static_cast<std::int64_t>(tokens.size());
  sequences.count = static_cast<std::int64_t>(additions.size());
  step.tokens = ints(tokens), step.positions = ints(positions), step.slots = ints(slots);
  if (it.rope.dynamic > 0) step.bases = floats(bases, 1, n);
  sequences.starts = ints(starts), sequences.lengths = ints(lengths), sequences.table = ints(table);

  Hidden hidden;
  const std::size_t bytes = runner_.decoder_->workspace({n, sequences.max_length, n});
  hidden.workspace = take(runner_.backend_->allocate(bytes, "workspace"));
  hidden.numbers.resize(static_cast<std::size_t>(static_cast<double>(n * it.hidden) * bytes_of(runner_.dtype_)));
  hidden.matrix = {hidden.numbers.data(), runner_.dtype_, n, it.hidden, it.hidden};
  const auto stream = runner_.backend_->make_stream();
  runner_.decoder_->forward(*stream, step, caches_, {static_cast<std::byte*>(hidden.workspace->data), bytes},
                            hidden.matrix);
  take(runner_.backend_->wait(*stream));
  return hidden;
}

Logits Sequences::step(const std::vector<Addition>& additions) {
  const Hidden hidden = forward(additions);
  const std::int64_t n = hidden.matrix.rows, vocab = runner_.it_.vocab;
  std::vector<float> logits(static_cast<std::size_t>(n * vocab));
  const auto stream = runner_.backend_->make_stream();
  runner_.decoder_->logits(*stream, hidden.matrix, floats(logits, n, vocab));
  take(runner_.backend_->wait(*stream));
  Logits rows;
  for (std::int64_t i = 0; i < n; ++i) rows.emplace_back(logits.begin() + i * vocab, logits.begin() + (i + 1) * vocab);
  return rows;
}

Sequences::Scored Sequences::score(std::size_t sequence, const std::vector<int>& ids, const std::vector<int>& targets) {
  const Hidden hidden = forward({{sequence, ids}});
  const auto count = static_cast<std::int64_t>(targets.size());
  std::vector<std::int32_t> wanted(targets.begin(), targets.end()), best(targets.size());
  std::vector<std::int32_t> starts(targets.size() + 1);
  std::iota(starts.begin(), starts.end(), 0);
  Scored scored;
  scored.logprobs.resize(targets.size());
  const auto stream = runner_.backend_->make_stream();
  Scoring scoring;
  scoring.hidden = rows(hidden.matrix, hidden.matrix.rows - count, count);
  scoring.starts = ints(starts);
  scoring.targets = ints(wanted);
  scoring.logprobs = floats(scored.logprobs, count, 1);
  scoring.best = ints(best);
  runner_.decoder_->score(*stream, scoring, {static_cast<std::byte*>(hidden.workspace->data), hidden.workspace->bytes});
  take(runner_.backend_->wait(*stream));
  scored.best.assign(best.begin(), best.end());
  return scored;
}

Logits logits_of(Runner& runner, const std::vector<int>& ids) {
  Sequences sequences(runner);
  return sequences.step({{sequences.open(ids.size()), ids}});
}

Greedy continue_greedily(Runner& runner, const std::vector<int>& prompt, std::size_t count) {
  Sequences sequences(runner);
  const std::size_t sequence = sequences.open(prompt.size());
  Greedy greedy;
  greedy.last_logits = sequences.step({{sequence, prompt}}).back();
  while (true) {
    const auto best = std::max_element(greedy.last_logits.begin(), greedy.last_logits.end());
    greedy.ids.push_back(static_cast<int>(best - greedy.last_logits.begin()));
    if (greedy.ids.size() == count) return greedy;
    greedy.last_logits = sequences.step({{sequence, {greedy.ids.back()}}}).back();
  }
}

}  // namespace orch::model
