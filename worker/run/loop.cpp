#include "run/loop.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <set>
#include <sstream>

#include "base/text.h"
#include "base/units.h"

namespace orch::worker {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostDelivered = 256;  // items of one message
constexpr auto kLongestPause = 15s;          // between two tries to reach the daemon
constexpr auto kLongestLook = 1s;            // between two looks at the time
constexpr auto kGrace = 10s;                 // between SIGTERM and SIGKILL of a program
constexpr auto kLastWords = 10s;             // to say that it ends
constexpr auto kMoment = 1000ms;             // between the signals that Slurm sends to one job

std::string draw_copy() {
  std::random_device device;
  char text[33];
  std::snprintf(text, sizeof text, "%08x%08x%08x%08x", device(), device(), device(), device());
  return text;
}

bool is_program(const wire::Leased& leased) { return leased.engine != "native"; }

}  // namespace

Loop::Loop(LoopOptions options, const JobDirectory& directory, Spool spool, Transport& transport, Starter& starter,
           ModelEngine* engine)
    : options_(std::move(options)),
      directory_(directory),
      spool_(std::move(spool)),
      mailman_(transport),
      starter_(starter),
      engine_(engine),
      slots_(options_.gpus, options_.cpus, options_.memory),
      ends_(Clock::now() + options_.time),
      copy_(draw_copy()),
      speak_at_(Clock::now()),
      beat_at_(Clock::now()),
      lease_at_(Clock::now()),
      idle_since_(Clock::now()) {}

wire::Exit Loop::run(int signals) {
  signals_ = signals;
  while (!is_over()) {
    speak();
    pollfd watched[] = {{signals_, POLLIN, 0},
                        {mailman_.descriptor(), POLLIN, 0},
                        {starter_.alive() ? starter_.descriptor() : -1, POLLIN, 0},
                        {engine_ ? engine_->descriptor() : -1, POLLIN, 0}};
    ::poll(watched, 4, static_cast<int>(until_next().count()));
    // Before signals: a launcher that sees a rank die ends the others.
    if (engine_) engine_->look();
    if (const auto lost = engine_ ? engine_->lost() : std::nullopt) return lose(*lost);
    take_signals();
    while (const auto answered = mailman_.take()) hear(*answered);
    watch_time();
    reap();
    begin_waiting();
  }
  wire::Exit exit;
  exit.epoch = claimed_ ? claimed_->epoch : 0;
  exit.end = superseded_ ? "superseded" : phase_.end;
  exit.reason = phase_.why;
  if (!claimed_) {
    if (!phase_.draining) {
      exit.end = "unknown";
      exit.reason = "the daemon never answered";
    }
    return exit;
  }
  if (superseded_) {
    say_last(std::nullopt);
    return exit;
  }
  static_cast<void>(directory_.write_exit(exit));
  say_last(exit);
  return exit;
}

/// What is left of the spool, and the exit, as far as the daemon listens. All of it is on disk.
void Loop::say_last(const std::optional<wire::Exit>& exit) {
  const auto until = Clock::now() + kLastWords;
  bool said = false;
  while (Clock::now() < until) {
    if (mailman_.busy()) {
      pollfd watched{mailman_.descriptor(), POLLIN, 0};
      ::poll(&watched, 1, 100);
      const auto answered = mailman_.take();
      if (!answered) continue;
      if (said || answered->reply.what != Reply::What::kOk) return;
      hear(*answered);
    } else if (!spool_.items().empty() && !sealed_) {
      deliver();
    } else if (exit) {
      mailman_.send("exit", wire::write(*exit));
      said = true;
    } else {
      return;
    }
  }
}

bool Loop::is_over() const {
  if (!running_.empty()) return false;
  if (superseded_) return true;
  const auto idle = Clock::now() - idle_since_;
  const bool patient = idle < std::chrono::duration<double>(claimed_ ? claimed_->idle_timeout : 600);
  // What was measured is on disk: with the daemon away for long, it is read from there.
  if (!spool_.items().empty() && patient && !phase_.hurried) return false;
  if (phase_.draining) return true;
  if (!waiting_.empty()) return false;
  // A lease may be on its way.
  if (mailman_.busy()) return false;
  return nothing_left_ || !patient;
}

std::chrono::milliseconds Loop::until_next() const {
  if (is_over()) return 0ms;
  auto next = Clock::now() + kLongestLook;
  for (const auto& [ticket, running] : running_) next = std::min(next, running.work->due());
  if (!mailman_.busy() && !superseded_) {
    auto due = beat_at_;
    if (!phase_.draining) due = std::min(due, lease_at_);
    if (!claimed_ || !spool_.items().empty()) due = speak_at_;
    next = std::min(next, std::max(due, speak_at_));
  }
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()), 0ms);
}

double Loop::time_left() const { return std::chrono::duration<double>(ends_ - options_.drain - Clock::now()).count(); }

/// Without a rank nothing more can be computed, and whoever started it ends us all in a moment.
wire::Exit Loop::lose(const std::string& who) {
  wire::Exit exit;
  exit.epoch = claimed_ ? claimed_->epoch : 0;
  exit.end = "lost_peer";
  exit.reason = who + " is gone";
  if (claimed_ && !superseded_) static_cast<void>(directory_.write_exit(exit));
  for (auto& [ticket, running] : running_)
    if (is_program(running.leased)) running.work->stop(0s);
  if (claimed_ && !superseded_) say_last(exit);
  return exit;
}

void Loop::take_signals() {
  signalfd_siginfo info{};
  while (signals_ >= 0 && ::read(signals_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGUSR1) drain("its time is nearly over");
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) hurry("it was told to end");
  }
}

void Loop::watch_time() {
  if (Clock::now() >= ends_ - options_.drain) drain("its time is nearly over");
  if (Clock::now() >= ends_ - std::min<std::chrono::seconds>(options_.drain / 4, 30s)) hurry("its time is over");
}

void Loop::drain(std::string why) {
  if (phase_.draining) return;
  phase_.draining = true;
  phase_.why = std::move(why);
  phase_.end = "drained";
  for (const wire::Leased& leased : waiting_) give_back(leased);
  waiting_.clear();
  // What may take days keeps its state now, while there is time, and goes on in another job.
  const auto grace = std::max<Clock::duration>(ends_ - options_.drain / 4 - Clock::now(), kGrace);
  for (auto& [ticket, running] : running_)
    if (running.work->goes_on_elsewhere()) running.work->stop(grace);
}

void Loop::hurry(std::string why) {
  drain(std::move(why));
  if (phase_.hurried) return;
  phase_.hurried = true;
  for (auto& [ticket, running] : running_) running.work->stop(kGrace);
}

/// Something is wrong with the worker, its disk or its daemon: it begins nothing more.
void Loop::break_off(std::string why) {
  drain(why);
  phase_.end = "unknown";
  phase_.why = std::move(why);
}

void Loop::reap() {
  starter_.look();
  for (auto at = running_.begin(); at != running_.end();) {
    const auto outcome = at->second.work->poll(Clock::now());
    if (!outcome) {
      ++at;
      continue;
    }
    // Slurm signals every process of a job that is cancelled or preempted: the worker's own signal may come a moment
    // after the program's.
    if (outcome->signal == SIGTERM && !outcome->out_of_time && !at->second.dropped && !phase_.hurried) {
      pollfd watched{signals_, POLLIN, 0};
      ::poll(&watched, 1, static_cast<int>(kMoment.count()));
    }
    if (outcome->signal) take_signals();
    const Running ended = std::move(at->second);
    at = running_.erase(at);
    slots_.give_back(ended.leased.ticket);
    lease_at_ = Clock::now();
    idle_since_ = Clock::now();
    if (ended.dropped) continue;
    if (is_program(ended.leased) && !starter_.alive()) {
      give_back(ended.leased);  // it was killed, through no fault of its own
      continue;
    }
    finish(ended.leased, *outcome);
  }
  if (!starter_.alive()) break_off("the helper that starts programs has ended");
}

void Loop::begin_waiting() {
  // The slots are those of this node.
  const int nodes = std::max(options_.spread, 1);
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    std::vector<std::string> preferred;
    if (engine_ && at->ask)
      for (const int rank : engine_->ranks_with(at->ask->loads))
        if (static_cast<std::size_t>(rank) < options_.gpus.size())
          preferred.push_back(options_.gpus[static_cast<std::size_t>(rank)]);
    const auto gpus = slots_.take(at->ticket, at->gpus / nodes, std::max(at->cpus / nodes, 1), at->memory, preferred);
    if (!gpus && !running_.empty()) {
      ++at;
      continue;
    }
    const wire::Leased leased = std::move(*at);
    at = waiting_.erase(at);
    if (gpus)
      begin(leased, *gpus);
    else  // with all slots free there is no room for it, and never will be
      fail(leased, "load_failed", no_room_for(leased), 0);
  }
}

std::string Loop::no_room_for(const wire::Leased& leased) const {
  std::ostringstream text;
  text << "there is no room for it: it needs " << leased.gpus << " GPUs, " << std::max(leased.cpus, 1) << " CPUs";
  if (leased.memory > 0) text << " and " << format_bytes(static_cast<double>(leased.memory)) << " on each node";
  text << ", and its job sees " << counted(static_cast<int>(options_.gpus.size()), "GPU") << " on "
       << (options_.nodes.empty() ? "its node" : options_.nodes.front()) << " and has " << counted(options_.cpus, "CPU")
       << " on each of " << counted(std::max(options_.spread, 1), "node");
  return std::move(text).str();
}

void Loop::begin(const wire::Leased& leased, const std::vector<std::string>& gpus) {
  const auto folder = directory_.attempt_folder(leased.folder);
  if (!folder) {
    slots_.give_back(leased.ticket);
    return fail(leased, "bad_input", folder.error().what, 0);
  }
  if (!is_program(leased)) {
    auto work = engine_ ? engine_->start(leased, *folder, directory_.path(), ranks_of(gpus))
                        : Result<std::unique_ptr<Work>>(Error{"this worker was built without the native engine"});
    if (work) {
      running_.emplace(leased.ticket, Running{leased, *std::move(work)});
      return;
    }
    slots_.give_back(leased.ticket);
    return fail(leased, "load_failed", work.error().what, 0);
  }
  auto work = start_program(starter_, leased, *folder, gpus, options_.environment);
  if (work) {
    running_.emplace(leased.ticket, Running{leased, *std::move(work)});
    return;
  }
  slots_.give_back(leased.ticket);
  if (!starter_.alive()) return give_back(leased);
  fail(leased, work.error().of_program ? "bad_input" : "unknown", work.error().what, 0);
}

/// One rank a GPU, node by node; a job without GPUs has one rank on each node.
std::vector<int> Loop::ranks_of(const std::vector<std::string>& gpus) const {
  const int nodes = std::max(options_.spread, 1), each = std::max(static_cast<int>(options_.gpus.size()), 1);
  std::vector<int> ranks;
  for (int node = 0; node < nodes; ++node) {
    if (gpus.empty()) ranks.push_back(node);
    for (const std::string& gpu : gpus)
      ranks.push_back(node * each + static_cast<int>(std::ranges::find(options_.gpus, gpu) - options_.gpus.begin()));
  }
  return ranks;
}

void Loop::finish(const wire::Leased& leased, const Outcome& outcome) {
  // We ended it: that says nothing about the cell.
  const bool ended_here = phase_.hurried && outcome.what == Outcome::What::kFailed && !outcome.out_of_time;
  if (ended_here || outcome.what == Outcome::What::kStopped) return give_back(leased);
  if (outcome.what == Outcome::What::kFailed) return fail(leased, outcome.cause, outcome.reason, outcome.seconds);
  wire::Delivered item;
  item.chunk = leased.chunk;
  item.ticket = leased.ticket;
  item.generation = leased.generation;
  item.what = "done";
  item.metrics = outcome.metrics;
  item.figures = outcome.figures;
  item.seconds = outcome.seconds;
  item.gpu_seconds = outcome.seconds * leased.gpus;
  keep(item);
}

void Loop::give_back(const wire::Leased& leased) {
  wire::Delivered item;
  item.chunk = leased.chunk;
  item.ticket = leased.ticket;
  item.generation = leased.generation;
  item.what = "returned";
  keep(item);
}

void Loop::fail(const wire::Leased& leased, std::string cause, std::string reason, double seconds) {
  wire::Delivered item;
  item.chunk = leased.chunk;
  item.ticket = leased.ticket;
  item.generation = leased.generation;
  item.what = "failed";
  item.cause = std::move(cause);
  item.reason = std::move(reason);
  item.seconds = seconds;
  item.gpu_seconds = seconds * leased.gpus;
  keep(item);
}

void Loop::keep(const wire::Delivered& item) {
  // Without a disk nothing that is measured would be safe.
  if (const auto kept = spool_.append(item); !kept) break_off(kept.error().what);
  speak_at_ = std::min(speak_at_, Clock::now() + pause_);
}

void Loop::deliver() {
  wire::Deliver deliver;
  deliver.epoch = claimed_->epoch;
  delivering_ = std::min(spool_.items().size(), kMostDelivered);
  deliver.items.assign(spool_.items().begin(), spool_.items().begin() + static_cast<std::ptrdiff_t>(delivering_));
  mailman_.send("deliver", wire::write(deliver));
}

/// The most urgent message, if none is on its way.
void Loop::speak() {
  const auto now = Clock::now();
  if (mailman_.busy() || superseded_ || now < speak_at_) return;
  if (!claimed_) return claim();
  if (!spool_.items().empty()) {
    return deliver();
  }
  if (now >= beat_at_) {
    wire::Heartbeat beat;
    beat.epoch = claimed_->epoch;
    for (const auto& [ticket, running] : running_)
      beat.held.push_back(
          {running.leased.chunk, true, running.work->done(), running.work->all(), running.work->live()});
    for (const wire::Leased& leased : waiting_) beat.held.push_back({leased.chunk, false, 0, 0, {}});
    mailman_.send("heartbeat", wire::write(beat));
    return;
  }
  if (now < lease_at_ || phase_.draining) return;
  wire::AskLease ask;
  ask.epoch = claimed_->epoch;
  ask.time_left = std::max(time_left(), 0.0);
  if (engine_) ask.loaded = engine_->loaded();
  for (const auto& [ticket, running] : running_) ask.held.push_back(running.leased.chunk);
  for (const wire::Leased& leased : waiting_) ask.held.push_back(leased.chunk);
  mailman_.send("lease", wire::write(ask));
}

void Loop::claim() {
  // An earlier copy may have ended the job before the cluster queued it again, and one that still lived may end it now.
  // A record that cannot be read is one all the same.
  const auto exit = directory_.read_exit();
  if (!exit || *exit) {
    superseded_ = true;
    return hurry(exit ? "the job has ended already: " + (*exit)->end : exit.error().what);
  }
  wire::Claim claim;
  claim.cluster_id = options_.cluster_id;
  claim.restarts = options_.restarts;
  claim.copy = copy_;
  claim.nodes = options_.nodes;
  mailman_.send("claim", wire::write(claim));
}

void Loop::hear(const Mailman::Answered& answered) {
  using What = Reply::What;
  if (answered.reply.what == What::kAway) {
    pause_ = std::min<std::chrono::milliseconds>(pause_ == 0ms ? 500ms : 2 * pause_, kLongestPause);
    speak_at_ = Clock::now() + pause_;
    return;
  }
  pause_ = 0ms;
  speak_at_ = Clock::now();
  if (answered.reply.what == What::kGone) {
    superseded_ = true;
    sealed_ = answered.verb == "deliver";
    hurry("another copy works, or the job is over: " + answered.reply.why);
    return;
  }
  if (answered.reply.what == What::kRefused) {
    break_off("the daemon did not understand " + answered.verb + ": " + answered.reply.why);
    speak_at_ = Clock::now() + kLongestPause;
    return;
  }
  if (answered.verb == "claim") {
    const auto claimed = wire::read<wire::Claimed>(answered.reply.body);
    if (!claimed) return break_off(claimed.error().what);
    claimed_ = *claimed;
    idle_since_ = Clock::now();
    if (claimed->drain) drain("the job was cancelled");
  } else if (answered.verb == "deliver") {
    if (const auto dropped = spool_.drop(delivering_); !dropped) break_off(dropped.error().what);
  } else if (answered.verb == "heartbeat") {
    hear_beat(answered.reply.body);
  } else if (answered.verb == "lease") {
    hear_given(answered.reply.body);
  }
}

void Loop::hear_given(const std::string& body) {
  const auto given = wire::read<wire::Given>(body);
  if (!given) return break_off(given.error().what);
  if (given->drain) return drain("the daemon said so");
  std::set<std::uint64_t> known;
  for (const auto& [ticket, running] : running_) known.insert(ticket);
  for (const wire::Leased& leased : waiting_) known.insert(leased.ticket);
  for (const wire::Leased& leased : given->leased) {
    if (!known.insert(leased.ticket).second) continue;
    take_over(leased.chunk);
    // The question was on its way when it was told to drain.
    if (phase_.draining)
      give_back(leased);
    else
      waiting_.push_back(leased);
  }
  nothing_left_ = given->nothing_left && waiting_.empty() && running_.empty();
  if (!given->leased.empty()) idle_since_ = Clock::now();
  lease_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(std::clamp(given->retry_after, 0.05, 60.0)));
}

/// What is given anew was taken back before, as when a cell is cancelled and tried again between two heartbeats: these
/// speak of chunks, and say nothing of it. A training's next attempt goes on where the one that runs is stopped; else
/// the two would stand one behind the other. What is measured in a while may come to its end.
void Loop::take_over(const wire::Chunk& chunk) {
  std::erase_if(waiting_, [&](const wire::Leased& leased) { return leased.chunk == chunk; });
  for (auto& [ticket, running] : running_) {
    if (running.leased.chunk != chunk || !running.work->goes_on_elsewhere()) continue;
    running.dropped = true;
    running.work->stop(0s);
  }
}

void Loop::hear_beat(const std::string& body) {
  const auto beat = wire::read<wire::Beat>(body);
  if (!beat) return break_off(beat.error().what);
  beat_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(std::clamp(claimed_->heartbeat, 0.05, 600.0)));
  const auto dropped = [&](const wire::Leased& leased) {
    return std::find(beat->drop.begin(), beat->drop.end(), leased.chunk) != beat->drop.end();
  };
  std::erase_if(waiting_, dropped);
  for (auto& [ticket, running] : running_) {
    if (!dropped(running.leased)) continue;
    // Its GPUs are free when it has ended, and not before.
    running.dropped = true;
    running.work->stop(0s);
  }
  if (beat->drain) drain("the daemon said so");
}

}  // namespace orch::worker
