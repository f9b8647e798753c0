#include "infer/engine.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "infer/engine_run.h"

namespace orch::infer {

using kernels::Matrix;

namespace {

/// Steps are not made smaller than this for want of memory.
constexpr std::int64_t kLeastStep = 16;

}  // namespace

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

Result<bool> Engine::share(std::span<std::byte> bytes, int from) {
  if (!pipeline_ || bytes.empty()) return true;
  kernels::Buffer* room = told_.get();
  if (!room || room->bytes < bytes.size()) {
    if (auto grown = memory_->grow(memory_->floats, bytes.size(), "what stages tell each other"); !grown) return grown;
    room = memory_->floats.buffer.get();
  }
  // Bits that are only copied: what they mean does not matter on the way.
  const auto count = static_cast<std::int64_t>(bytes.size() / sizeof(float));
  const Matrix there{room->data, DType::kFp32, 1, count, count};
  backend_.upload(*stream_, there.data, bytes.data(), bytes.size());
  pipeline_->share(*stream_, there, from);
  backend_.download(*stream_, bytes.data(), there.data, bytes.size());
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
