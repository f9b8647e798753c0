#include "sim/worker.h"

#include <algorithm>

namespace orch::sim {

using control::Chunk;
using control::End;
using control::action::Answer;
using control::event::Delivered;

namespace {

constexpr Time kAskAgain = 10 * kSecond;
constexpr Time kHeartbeat = 20 * kSecond;
constexpr Time kPoll = 5 * kSecond, kPollBusy = 30 * kSecond;
constexpr Time kIdleTimeout = 2 * kMinute;
constexpr Time kDrainBefore = 120 * kSecond;
constexpr Time kGiveUpSaying = 2 * kMinute;  // before a copy leaves without an acknowledgement: its spool is on disk

}  // namespace

Worker::Worker(Start start, Surroundings around, Directory& directory)
    : start_(std::move(start)), around_(std::move(around)), directory_(directory) {}

template <class What>
void Worker::later(Time delay, What what) {
  around_.clock.after(delay, [self = shared_from_this(), what] {
    if (self->alive_) what();
  });
}

void Worker::ask(std::uint64_t& question, Time again, std::function<control::Event()> event,
                 std::function<void(const Answer&)> on_answer) {
  const std::uint64_t number = ++question;
  around_.call(event(), [self = shared_from_this(), &question, number, on_answer](const Answer& answer) {
    if (!self->alive_ || question != number) return;
    ++question;
    on_answer(answer);
  });
  later(again, [this, &question, number, again, event, on_answer] {
    if (question == number) ask(question, again, event, on_answer);
  });
}

void Worker::begin() {
  // The fence: the first script writes its id, and another one leaves.
  if (directory_.owner.empty()) directory_.owner = start_.cluster_id;
  if (directory_.owner != start_.cluster_id) {
    alive_ = false;
    return around_.exit(start_.cluster_id, true);
  }
  started_at_ = around_.clock.now();
  copy_ = std::to_string(around_.random.next());
  later(around_.random.between(kSecond, 20 * kSecond), [this] { claim(); });
}

double Worker::time_left() const {
  return static_cast<double>(started_at_ + start_.limit - kDrainBefore - around_.clock.now()) / kSecond;
}

void Worker::claim() {
  ask(
      asked_claim_, kAskAgain,
      [this] {
        control::event::Claim claim;
        claim.job = start_.job;
        claim.cluster_id = start_.cluster_id;
        claim.restarts = start_.restarts;
        claim.copy = copy_;
        claim.nodes = start_.nodes;
        return control::Event(claim);
      },
      [this](const Answer& answer) {
        if (answer.status != Answer::Status::kOk) {
          superseded_ = true;
          return leave();
        }
        epoch_ = answer.epoch;
        idle_since_ = around_.clock.now();
        draining_ = draining_ || answer.drain;
        // What an earlier copy of this job left is delivered first.
        send_spool();
        heartbeat();
        lease();
      });
}

void Worker::lease() {
  if (draining_) {
    if (held_.empty()) wind_up(End::kDrained, "told to stop");
    return;
  }
  ask(
      asked_lease_, kAskAgain,
      [this] {
        control::event::AskLease ask;
        ask.job = start_.job;
        ask.epoch = epoch_;
        ask.time_left = time_left();
        for (const auto& [chunk, held] : held_) ask.held.push_back(chunk);
        return control::Event(ask);
      },
      [this](const Answer& answer) { take(answer); });
}

void Worker::take(const Answer& answer) {
  if (answer.status != Answer::Status::kOk) {
    superseded_ = true;
    return leave();
  }
  if (answer.drain) signal();
  for (const Answer::Given& given : answer.given) {
    if (!held_.try_emplace(given.chunk, Held{given}).second) continue;
    order_.push_back(given.chunk);
  }
  start_cells();
  if (!held_.empty()) idle_since_ = around_.clock.now();
  if (held_.empty() && (answer.nothing_left || around_.clock.now() - idle_since_ > kIdleTimeout))
    return wind_up(End::kDone, "nothing left");
  if (!draining_) later(held_.empty() ? kPoll : kPollBusy, [this] { lease(); });
}

void Worker::heartbeat() {
  control::event::Heartbeat beat;
  beat.job = start_.job;
  beat.epoch = epoch_;
  for (const auto& [chunk, held] : held_) beat.held.push_back({chunk, held.running});
  around_.call(control::Event(beat), [self = shared_from_this()](const Answer& answer) {
    if (!self->alive_) return;
    if (answer.status == Answer::Status::kGone) {
      self->superseded_ = true;
      return self->leave();
    }
    for (const Chunk& chunk : answer.drop) {
      const auto held = self->held_.find(chunk);
      if (held == self->held_.end()) continue;
      if (held->second.running) {
        self->gpus_used_ -= held->second.given.gpus;
        --self->cpus_used_;
      }
      self->held_.erase(held);
      std::erase(self->order_, chunk);
    }
    self->start_cells();
    if (answer.drain) self->signal();
  });
  later(kHeartbeat, [this] { heartbeat(); });
}

void Worker::start_cells() {
  for (const Chunk& chunk : order_) {
    Held& held = held_.at(chunk);
    if (held.running || draining_) continue;
    const bool has_gpu = gpus_used_ + held.given.gpus <= start_.gpus + 1e-9;
    if (!has_gpu || cpus_used_ >= start_.cpus) continue;
    held.running = true;
    held.run = ++runs_;
    gpus_used_ += held.given.gpus;
    ++cpus_used_;
    const Behaviour& how = around_.behaviour(chunk.cell);
    const bool slow = how.kind == Behaviour::Kind::kSlow;
    const Time takes = static_cast<Time>(how.seconds / how.chunks * (slow ? 3000 : 1000) *
                                         static_cast<double>(around_.random.between(50, 110)) / 100);
    const Time limit = static_cast<Time>(held.given.seconds * 1000);
    Delivered item;
    item.chunk = chunk;
    item.ticket = held.given.ticket;
    item.generation = held.given.generation;
    item.seconds = static_cast<double>(std::min(takes, limit)) / 1000;
    item.metrics = "{}";
    if (how.kind == Behaviour::Kind::kBad ||
        (how.kind == Behaviour::Kind::kFlaky && held.given.attempt <= how.failures)) {
      item.what = Delivered::What::kFailed;
      item.cause = how.kind == Behaviour::Kind::kBad ? policy::Cause::kBadInput : policy::Cause::kUnknown;
      item.reason = "exit code 1";
    } else if (takes > limit) {
      item.what = Delivered::What::kFailed;
      item.cause = policy::Cause::kTimeout;
      item.reason = "it ran out of its time";
    }
    const std::uint64_t run = held.run;
    const bool poison = how.kind == Behaviour::Kind::kPoison;
    later(std::max<Time>(std::min(takes, limit), 1), [this, item, run, poison] {
      const auto still = held_.find(item.chunk);
      if (still == held_.end() || still->second.run != run) return;
      if (poison) {
        kill();
        return around_.exit(start_.cluster_id, false);
      }
      finished(item.chunk, item);
    });
  }
}

void Worker::finished(Chunk chunk, Delivered delivered) {
  gpus_used_ -= held_.at(chunk).given.gpus;
  --cpus_used_;
  held_.erase(chunk);
  std::erase(order_, chunk);
  directory_.spool.push_back(std::move(delivered));
  send_spool();
  start_cells();
  if (draining_ && held_.empty()) return wind_up(End::kDrained, "drained");
  if (held_.empty() && !draining_) lease();
}

void Worker::send_spool() {
  if (directory_.spool.empty()) return;
  const std::size_t count = directory_.spool.size();
  ask(
      asked_spool_, kAskAgain,
      [this, count] {
        control::event::Deliver deliver;
        deliver.job = start_.job;
        deliver.epoch = epoch_;
        deliver.items.assign(directory_.spool.begin(), directory_.spool.begin() + static_cast<std::ptrdiff_t>(count));
        return control::Event(deliver);
      },
      [this, count](const Answer& answer) {
        if (answer.status != Answer::Status::kOk) {
          superseded_ = true;
          return leave();
        }
        directory_.spool.erase(directory_.spool.begin(), directory_.spool.begin() + static_cast<std::ptrdiff_t>(count));
        send_spool();
      });
}

void Worker::signal() {
  if (draining_) return;
  draining_ = true;
  // What has not begun goes back at once; what runs has until the end.
  for (auto at = held_.begin(); at != held_.end();) {
    if (at->second.running) {
      ++at;
      continue;
    }
    Delivered item;
    item.chunk = at->first;
    item.ticket = at->second.given.ticket;
    item.generation = at->second.given.generation;
    item.what = Delivered::What::kReturned;
    directory_.spool.push_back(std::move(item));
    std::erase(order_, at->first);
    at = held_.erase(at);
  }
  send_spool();
  if (held_.empty() && epoch_ != control::Epoch{}) wind_up(End::kDrained, "drained");
}

void Worker::wind_up(End end, std::string reason) {
  if (winding_up_) return;
  winding_up_ = true;
  draining_ = true;
  control::event::ExitRecord record;
  record.job = start_.job;
  record.epoch = epoch_;
  record.end = end;
  record.reason = std::move(reason);
  directory_.last_words = record;
  later(kGiveUpSaying, [this] { leave(); });
  ask(
      asked_exit_, kAskAgain, [record] { return control::Event(record); }, [this](const Answer&) { leave(); });
}

void Worker::leave() {
  if (!alive_) return;
  alive_ = false;
  around_.exit(start_.cluster_id, true);
}

void Worker::kill() { alive_ = false; }

}  // namespace orch::sim
