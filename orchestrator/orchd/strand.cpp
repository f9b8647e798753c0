#include "orchd/strand.h"

#include <malloc.h>

#include <utility>

namespace orch::orchd {

using namespace control;

namespace {

/// Rows of an event, or cells that a plan was made of: what was needed for so many is worth giving back to the system.
constexpr std::size_t kLarge = 100'000;
/// By then they are committed, or the plan is submitted.
constexpr int kTicksToTrim = 2;

}  // namespace

Strand::Strand(State state, store::Store& store, Options options)
    : state_(std::move(state)),
      options_(std::move(options)),
      writer_(
          store, [this](std::vector<Action> actions) { committed(std::move(actions)); },
          [this](const std::string& why) { options_.failed(why); }),
      thread_([this] { run(); }) {
  put(event::Started{});
}

Strand::~Strand() { stop(); }

void Strand::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  writer_.flush();
}

Now Strand::now() const {
  return {std::chrono::duration_cast<Serving>(std::chrono::steady_clock::now() - start_),
          std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now())};
}

void Strand::put(Event event) { add(Change{std::move(event)}); }

void Strand::put(Event event, Answered answered) {
  RequestId request{};
  {
    const std::lock_guard lock(calls_mutex_);
    request = RequestId{next_request_++};
    calls_.emplace(request, std::move(answered));
  }
  std::visit(
      [request](auto& it) {
        if constexpr (requires { it.request; }) it.request = request;
      },
      event);
  put(std::move(event));
}

void Strand::look(Look read) {
  look_closely([read = std::move(read)](State& state, Now now) { read(state, now); });
}

void Strand::look_settled(Look read) {
  look_closely([this, read = std::move(read)](State& state, Now now) {
    writer_.flush();
    read(state, now);
  });
}

void Strand::look_closely(std::function<void(State&, Now)> read) { add(std::move(read)); }

void Strand::add(Errand errand) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    waiting_.push_back(std::move(errand));
  }
  wake_.notify_one();
}

void Strand::run() {
  auto next_tick = std::chrono::steady_clock::now() + options_.tick;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_until(lock, next_tick, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_ && waiting_.empty()) return;
    std::deque<Errand> errands = std::exchange(waiting_, {});
    lock.unlock();
    for (Errand& errand : errands) take(errand);
    if (std::chrono::steady_clock::now() >= next_tick) {
      writer_.put(apply(state_, event::Tick{}, now()));
      next_tick = std::chrono::steady_clock::now() + options_.tick;
      give_memory_back();
    }
    lock.lock();
  }
}

void Strand::take(Errand& errand) {
  auto* change = std::get_if<Change>(&errand);
  if (!change) return std::get<1>(errand)(state_, now());
  const bool planned = std::holds_alternative<event::Planned>(change->event);
  Effects effects = apply(state_, std::move(change->event), now());
  if (effects.changes.size() >= kLarge || (planned && state_.cells.size() >= kLarge)) ticks_to_trim_ = kTicksToTrim;
  writer_.put(std::move(effects));
}

void Strand::give_memory_back() {
  if (ticks_to_trim_ == 0 || --ticks_to_trim_ > 0) return;
  // The C library keeps what was freed: a million cells that were submitted would go on taking 800 MB instead of 250.
  ::malloc_trim(0);
}

void Strand::committed(std::vector<Action> actions) {
  for (Action& action : actions) {
    const auto* answer = std::get_if<action::Answer>(&action);
    if (!answer) {
      options_.act(action);
      continue;
    }
    Answered answered;
    {
      const std::lock_guard lock(calls_mutex_);
      const auto call = calls_.find(answer->request);
      if (call == calls_.end()) continue;
      answered = std::move(call->second);
      calls_.erase(call);
    }
    options_.answers([answered = std::move(answered), answer = std::move(*answer)] { answered(answer); });
  }
  options_.committed();
}

}  // namespace orch::orchd
