#include "run/loop.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <set>

#include "base/text.h"
#include "run/metrics.h"

namespace orch::worker {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostDelivered = 256;  // items of one message
constexpr std::size_t kMostReason = 2000;    // bytes of a log
constexpr auto kLongestPause = 15s;          // between two tries to reach the daemon
constexpr auto kLook = 50ms;                 // at programs that run, should a signal be missed
constexpr auto kGrace = 10s;                 // between SIGTERM and SIGKILL of a program
constexpr auto kLastWords = 10s;             // to say that it ends

std::string draw_copy() {
  std::random_device device;
  char text[33];
  std::snprintf(text, sizeof text, "%08x%08x%08x%08x", device(), device(), device(), device());
  return text;
}

/// The time, but never one that the clock cannot hold.
Program::Clock::time_point after(double seconds) {
  return Program::Clock::now() + std::chrono::duration_cast<Program::Clock::duration>(
                                     std::chrono::duration<double>(std::clamp(seconds, 0.0, 3e8)));
}

}  // namespace

Loop::Loop(LoopOptions options, const JobDirectory& directory, Spool spool, Transport& transport)
    : options_(std::move(options)),
      directory_(directory),
      spool_(std::move(spool)),
      mailman_(transport),
      slots_(options_.gpus, options_.cpus, options_.memory),
      ends_(Clock::now() + options_.time),
      copy_(draw_copy()),
      speak_at_(Clock::now()),
      beat_at_(Clock::now()),
      lease_at_(Clock::now()),
      idle_since_(Clock::now()) {}

wire::Exit Loop::run(int signals) {
  while (!is_over()) {
    speak();
    pollfd watched[] = {{signals, POLLIN, 0}, {mailman_.descriptor(), POLLIN, 0}};
    ::poll(watched, 2, static_cast<int>(until_next().count()));
    if (signals >= 0 && (watched[0].revents & POLLIN)) take_signals(signals);
    while (const auto answered = mailman_.take()) hear(*answered);
    watch_time();
    reap();
    begin_waiting();
  }
  wire::Exit exit;
  exit.epoch = claimed_ ? claimed_->epoch : 0;
  exit.end = superseded_ ? "superseded" : phase_.end;
  exit.reason = phase_.why;
  // Another copy's last words are not ours to write.
  if (superseded_ || !claimed_) return exit;
  static_cast<void>(directory_.write_exit(exit));
  say_last(exit);
  return exit;
}

/// What is left of the spool, and the exit; as far as the daemon listens. All of it is on disk.
void Loop::say_last(const wire::Exit& exit) {
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
    } else if (!spool_.items().empty()) {
      deliver();
    } else {
      mailman_.send("exit", wire::write(exit));
      said = true;
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
  return nothing_left_ || !patient;
}

std::chrono::milliseconds Loop::until_next() const {
  if (!running_.empty()) return kLook;
  if (mailman_.busy()) return 1000ms;
  const auto next = std::min({std::max(speak_at_, std::min(beat_at_, lease_at_)), ends_});
  return std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()), 1ms, 1000ms);
}

double Loop::time_left() const { return std::chrono::duration<double>(ends_ - options_.drain - Clock::now()).count(); }

void Loop::take_signals(int signals) {
  signalfd_siginfo info{};
  while (::read(signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGUSR1) drain("its time is nearly over");
    if (info.ssi_signo == SIGTERM) hurry("it was told to end");
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
  for (const wire::Leased& leased : waiting_) {
    wire::Delivered item;
    item.chunk = leased.chunk;
    item.ticket = leased.ticket;
    item.generation = leased.generation;
    item.what = "returned";
    keep(std::move(item));
  }
  waiting_.clear();
}

void Loop::hurry(std::string why) {
  drain(std::move(why));
  if (phase_.hurried) return;
  phase_.hurried = true;
  for (auto& [ticket, running] : running_) running.program.stop(kGrace);
}

void Loop::reap() {
  for (auto at = running_.begin(); at != running_.end();) {
    const auto ending = at->second.program.poll(Clock::now());
    if (!ending) {
      ++at;
      continue;
    }
    const Running ended = std::move(at->second);
    at = running_.erase(at);
    slots_.give_back(ended.leased.ticket);
    finish(ended.leased, ended.folder, *ending, std::chrono::duration<double>(Clock::now() - ended.started).count());
    lease_at_ = Clock::now();
    idle_since_ = Clock::now();
  }
}

void Loop::begin_waiting() {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto gpus = slots_.take(at->ticket, at->gpus, std::max(at->cpus, 1), at->memory);
    if (!gpus) {
      ++at;
      continue;
    }
    const wire::Leased leased = std::move(*at);
    at = waiting_.erase(at);
    begin(leased, *gpus);
  }
}

void Loop::begin(const wire::Leased& leased, const std::vector<std::string>& gpus) {
  const auto folder = directory_.attempt_folder(leased.folder);
  if (!folder) {
    slots_.give_back(leased.ticket);
    return fail(leased, "bad_input", folder.error().what, 0);
  }
  std::vector<std::string> environment = options_.environment;
  environment.insert(environment.end(), leased.environment.begin(), leased.environment.end());
  environment.push_back("CUDA_VISIBLE_DEVICES=" + join(gpus, ","));
  environment.push_back("ORCH_GPUS=" + std::to_string(gpus.size()));
  auto program = Program::start(leased.run, environment, *folder, *folder / "log", after(leased.time_limit));
  if (!program) {
    slots_.give_back(leased.ticket);
    return fail(leased, "bad_input", program.error().what, 0);
  }
  running_.emplace(leased.ticket, Running{leased, *std::move(program), *folder, Clock::now()});
}

void Loop::finish(const wire::Leased& leased, const std::filesystem::path& folder, const Ending& ending,
                  double seconds) {
  const std::string tail = last_lines(folder / "log", kMostReason);
  const std::string log = tail.empty() ? "" : "; the end of its log: " + tail;
  if (ending.out_of_time)
    return fail(leased, "timeout",
                "it ran for more than " + std::to_string(static_cast<long>(leased.time_limit)) + " s" + log, seconds);
  if (phase_.hurried && (ending.signal || ending.code)) {
    // We ended it: that says nothing about the cell.
    wire::Delivered item;
    item.chunk = leased.chunk;
    item.ticket = leased.ticket;
    item.generation = leased.generation;
    item.what = "returned";
    return keep(std::move(item));
  }
  if (ending.signal == SIGKILL)
    return fail(leased, "host_memory", "it was killed, as for lack of memory" + log, seconds);
  if (ending.signal)
    return fail(leased, "unknown", "signal " + std::to_string(ending.signal) + " ended it" + log, seconds);
  if (ending.code) return fail(leased, "unknown", "exit code " + std::to_string(ending.code) + log, seconds);
  const auto metrics = read_metrics(folder, leased.engine);
  if (!metrics) return fail(leased, "bad_input", metrics.error().what + log, seconds);
  wire::Delivered item;
  item.chunk = leased.chunk;
  item.ticket = leased.ticket;
  item.generation = leased.generation;
  item.what = "done";
  item.metrics = *metrics;
  item.seconds = seconds;
  item.gpu_seconds = seconds * leased.gpus;
  keep(std::move(item));
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
  keep(std::move(item));
}

void Loop::keep(wire::Delivered item) {
  if (const auto kept = spool_.append(item); !kept && !phase_.draining) {
    // Without a disk nothing that is measured would be safe.
    drain(kept.error().what);
    phase_.end = "unknown";
  }
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
  if (!claimed_) {
    wire::Claim claim;
    claim.cluster_id = options_.cluster_id;
    claim.restarts = options_.restarts;
    claim.copy = copy_;
    claim.nodes = options_.nodes;
    mailman_.send("claim", wire::write(claim));
    return;
  }
  if (!spool_.items().empty()) {
    return deliver();
  }
  if (now >= beat_at_) {
    wire::Heartbeat beat;
    beat.epoch = claimed_->epoch;
    for (const auto& [ticket, running] : running_) beat.held.push_back({running.leased.chunk, true});
    for (const wire::Leased& leased : waiting_) beat.held.push_back({leased.chunk, false});
    mailman_.send("heartbeat", wire::write(beat));
    return;
  }
  if (now < lease_at_ || phase_.draining) return;
  wire::AskLease ask;
  ask.epoch = claimed_->epoch;
  ask.time_left = std::max(time_left(), 0.0);
  for (const auto& [ticket, running] : running_) ask.held.push_back(running.leased.chunk);
  for (const wire::Leased& leased : waiting_) ask.held.push_back(leased.chunk);
  mailman_.send("lease", wire::write(ask));
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
    hurry("another copy works, or the job is over: " + answered.reply.why);
    return;
  }
  if (answered.reply.what == What::kRefused) {
    drain("the daemon did not understand " + answered.verb + ": " + answered.reply.why);
    phase_.end = "unknown";
    speak_at_ = Clock::now() + kLongestPause;
    return;
  }
  if (answered.verb == "claim") {
    const auto claimed = wire::read<wire::Claimed>(answered.reply.body);
    if (!claimed) return drain(claimed.error().what);
    claimed_ = *claimed;
    idle_since_ = Clock::now();
    if (claimed->drain) drain("the job was cancelled");
  } else if (answered.verb == "deliver") {
    if (const auto dropped = spool_.drop(delivering_); !dropped) drain(dropped.error().what);
  } else if (answered.verb == "heartbeat") {
    hear_beat(answered.reply.body);
  } else if (answered.verb == "lease") {
    hear_given(answered.reply.body);
  }
}

void Loop::hear_given(const std::string& body) {
  const auto given = wire::read<wire::Given>(body);
  if (!given) return drain(given.error().what);
  if (given->drain) return drain("the daemon said so");
  std::set<std::uint64_t> known;
  for (const auto& [ticket, running] : running_) known.insert(ticket);
  for (const wire::Leased& leased : waiting_) known.insert(leased.ticket);
  for (const wire::Leased& leased : given->leased)
    if (known.insert(leased.ticket).second) waiting_.push_back(leased);
  nothing_left_ = given->nothing_left && waiting_.empty() && running_.empty();
  if (!given->leased.empty()) idle_since_ = Clock::now();
  lease_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(std::clamp(given->retry_after, 0.05, 60.0)));
}

void Loop::hear_beat(const std::string& body) {
  const auto beat = wire::read<wire::Beat>(body);
  if (!beat) return drain(beat.error().what);
  beat_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(std::clamp(claimed_->heartbeat, 0.05, 600.0)));
  const auto dropped = [&](const wire::Leased& leased) {
    return std::find(beat->drop.begin(), beat->drop.end(), leased.chunk) != beat->drop.end();
  };
  std::erase_if(waiting_, dropped);
  for (auto at = running_.begin(); at != running_.end();) {
    if (!dropped(at->second.leased)) {
      ++at;
      continue;
    }
    slots_.give_back(at->first);
    at = running_.erase(at);  // which ends the program
  }
  if (beat->drain) drain("the daemon said so");
}

}  // namespace orch::worker
