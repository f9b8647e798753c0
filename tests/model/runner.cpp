#include "model/runner.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "model/rope.h"

namespace orch::model {

using kernels::Matrix;

namespace {

constexpr std::int64_t kPages = 512;  // of the cache of some sequences: enough for every test

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

/// One column or row of what was computed.
std::vector<float> floats_of(const kernels::test::Numbers& numbers) {
  return {numbers.values.begin(), numbers.values.end()};
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

Runner::Runner(const std::filesystem::path& folder, DType dtype, const char* config,
               std::unique_ptr<kernels::Backend> backend, bool head_bias)
    : dtype_(dtype),
      it_([&] {
        Architecture it = take(read_architecture(text_of(folder / config), config));
        it.head_bias = it.head_bias || head_bias;
        return it;
      }()),
      checkpoint_(take(Checkpoint::open(folder))),
      sources_(take(find_sources(it_, checkpoint_, {}))),
      backend_(std::move(backend)),
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
  Hidden hidden{kernels::test::Device(*runner_.backend_), {}, {}};
  kernels::test::Device& device = hidden.device;
  step.tokens = device.put(tokens), step.positions = device.put(positions), step.slots = device.put(slots);
  if (it.rope.dynamic > 0) step.bases = device.put({{bases.begin(), bases.end()}, 1, n}, DType::kFp32);
  sequences.starts = device.put(starts), sequences.lengths = device.put(lengths), sequences.table = device.put(table);
  step.adapter = runner_.adapter;
  hidden.workspace =
      device.scratch(runner_.decoder_->workspace({n, sequences.max_length, n, n, step.adapter ? step.adapter->rank : 0,
                                                  step.adapter ? step.adapter->expert_rank : 0}));
  hidden.matrix = device.poisoned(n, it.hidden, runner_.dtype_);
  runner_.decoder_->forward(device.stream(), step, caches_, hidden.workspace, hidden.matrix);
  return hidden;
}

Logits Sequences::step(const std::vector<Addition>& additions) {
  Hidden hidden = forward(additions);
  const std::int64_t n = hidden.matrix.rows, vocab = runner_.it_.vocab;
  const Matrix there = hidden.device.poisoned(n, vocab, DType::kFp32);
  runner_.decoder_->logits(hidden.device.stream(), hidden.matrix, there);
  const std::vector<float> logits = floats_of(hidden.device.get(there));
  Logits rows;
  for (std::int64_t i = 0; i < n; ++i) rows.emplace_back(logits.begin() + i * vocab, logits.begin() + (i + 1) * vocab);
  return rows;
}

Sequences::Scored Sequences::score(std::size_t sequence, const std::vector<int>& ids, const std::vector<int>& targets) {
  Hidden hidden = forward({{sequence, ids}});
  kernels::test::Device& device = hidden.device;
  const auto count = static_cast<std::int64_t>(targets.size());
  std::vector<std::int32_t> starts(targets.size() + 1);
  std::iota(starts.begin(), starts.end(), 0);
  Scoring scoring;
  scoring.hidden = rows(hidden.matrix, hidden.matrix.rows - count, count);
  scoring.starts = device.put(starts);
  scoring.targets = device.put(targets);
  scoring.logprobs = device.poisoned(count, 1, DType::kFp32);
  scoring.best = device.poisoned_ints(count);
  runner_.decoder_->score(device.stream(), scoring, hidden.workspace);
  return {floats_of(device.get(scoring.logprobs)), device.get(scoring.best)};
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
