#include "run/loop.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <random>
#include <set>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "run/metrics.h"

namespace orch::worker {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostDelivered = 256;   // items of one message
constexpr std::size_t kMostReason = 2000;     // bytes of a log
constexpr std::size_t kMostSearched = 32768;  // bytes of a log
constexpr auto kLongestPause = 15s;           // between two tries to reach the daemon
constexpr auto kLongestLook = 1s;             // between two looks at the time
constexpr auto kGrace = 10s;                  // between SIGTERM and SIGKILL of a program
constexpr auto kLastWords = 10s;              // to say that it ends
constexpr auto kMoment = 1000ms;              // between the signals that Slurm sends to one job

std::string draw_copy() {
  std::random_device device;
  char text[33];
  std::snprintf(text, sizeof text, "%08x%08x%08x%08x", device(), device(), device(), device());
  return text;
}

/// Sets variables of an environment in which every name is there once: of two getenv would find the first.
void set_variables(std::vector<std::string>& environment, const std::vector<std::string>& variables) {
  for (const std::string& variable : variables) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name); });
    environment.push_back(variable);
  }
}

/// What a program is told of its place; the cell's own environment does not go before it.
std::vector<std::string> variables_of(const wire::Leased& leased, const std::vector<std::string>& gpus) {
  std::vector<std::string> variables = {"CUDA_VISIBLE_DEVICES=" + join(gpus, ","),
                                        "ORCH_GPUS=" + std::to_string(gpus.size())};
  // Only MPS heeds it, where the site runs it: a cell computes on its part of the GPU, as it declared.
  if (leased.gpus > 0 && leased.gpus < 1)
    variables.push_back("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=" +
                        std::to_string(std::max(1L, std::lround(leased.gpus * 100))));
  return variables;
}

/// Of a program that ended badly by itself. `log` is the end of its log.
const char* cause_of(const Ending& ending, const std::string& log) {
  // What PyTorch, the CUDA driver and runtime, cuBLAS and JAX say.
  for (const char* words :
       {"CUDA out of memory", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "CUDA_ERROR_OUT_OF_MEMORY",
        "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED", "RESOURCE_EXHAUSTED: Out of memory"})
    if (log.find(words) != std::string::npos) return "gpu_memory";
  // As a shell says it: a program of it was killed; it cannot be run; it is not there.
  if (ending.code == 128 + SIGKILL) return "host_memory";
  if (ending.code == 126 || ending.code == 127) return "bad_input";
  return "unknown";
}

/// The time, but never one that the clock cannot hold.
Program::Clock::time_point after(double seconds) {
  return Program::Clock::now() + std::chrono::duration_cast<Program::Clock::duration>(
                                     std::chrono::duration<double>(std::clamp(seconds, 0.0, 3e8)));
}

}  // namespace

Loop::Loop(LoopOptions options, const JobDirectory& directory, Spool spool, Transport& transport, Starter& starter)
    : options_(std::move(options)),
      directory_(directory),
      spool_(std::move(spool)),
      mailman_(transport),
      starter_(starter),
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
                        {starter_.alive() ? starter_.descriptor() : -1, POLLIN, 0}};
    ::poll(watched, 3, static_cast<int>(until_next().count()));
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
  for (const auto& [ticket, running] : running_) next = std::min(next, running.program.due());
  if (!mailman_.busy() && !superseded_) {
    auto due = beat_at_;
    if (!phase_.draining) due = std::min(due, lease_at_);
    if (!claimed_ || !spool_.items().empty()) due = speak_at_;
    next = std::min(next, std::max(due, speak_at_));
  }
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()), 0ms);
}

double Loop::time_left() const { return std::chrono::duration<double>(ends_ - options_.drain - Clock::now()).count(); }

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
}

void Loop::hurry(std::string why) {
  drain(std::move(why));
  if (phase_.hurried) return;
  phase_.hurried = true;
  for (auto& [ticket, running] : running_) running.program.stop(kGrace);
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
    const auto ending = at->second.program.poll(Clock::now());
    if (!ending) {
      ++at;
      continue;
    }
    // Slurm signals every process of a job that is cancelled or preempted: the worker's own signal may come a moment
    // after the program's.
    if (ending->signal == SIGTERM && !ending->out_of_time && !at->second.dropped && !phase_.hurried) {
      pollfd watched{signals_, POLLIN, 0};
      ::poll(&watched, 1, static_cast<int>(kMoment.count()));
    }
    if (ending->signal) take_signals();
    const Running ended = std::move(at->second);
    at = running_.erase(at);
    slots_.give_back(ended.leased.ticket);
    lease_at_ = Clock::now();
    idle_since_ = Clock::now();
    if (ended.dropped) continue;
    if (!starter_.alive()) {
      give_back(ended.leased);  // it was killed, through no fault of its own
      continue;
    }
    finish(ended.leased, ended.folder, *ending, std::chrono::duration<double>(Clock::now() - ended.started).count());
  }
  if (!starter_.alive()) break_off("the helper that starts programs has ended");
}

void Loop::begin_waiting() {
  // The slots are those of this node.
  const int nodes = std::max(options_.spread, 1);
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto gpus = slots_.take(at->ticket, at->gpus / nodes, std::max(at->cpus / nodes, 1), at->memory);
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
  // What an earlier start of this attempt left is not what this one measures.
  std::error_code ignored;
  std::filesystem::remove(*folder / "result.json", ignored);
  Order order{leased.run, options_.environment, *folder, *folder / "log"};
  set_variables(order.environment, leased.environment);
  set_variables(order.environment, variables_of(leased, gpus));
  auto program = Program::start(starter_, order, after(leased.time_limit));
  if (program) {
    running_.emplace(leased.ticket, Running{leased, *std::move(program), *folder, Clock::now()});
    return;
  }
  slots_.give_back(leased.ticket);
  if (!starter_.alive()) return give_back(leased);
  fail(leased, program.error().of_program ? "bad_input" : "unknown", program.error().what, 0);
}

void Loop::finish(const wire::Leased& leased, const std::filesystem::path& folder, const Ending& ending,
                  double seconds) {
  // We ended it: that says nothing about the cell.
  if (phase_.hurried && !ending.out_of_time && (ending.signal || ending.code)) return give_back(leased);
  const std::string tail = last_lines(folder / "log", kMostReason);
  const std::string log = tail.empty() ? "" : "; the end of its log: " + tail;
  const auto failed = [&](const char* cause, const std::string& what) { fail(leased, cause, what + log, seconds); };
  if (ending.out_of_time)
    return failed("timeout", "it ran for more than " + std::to_string(static_cast<long>(leased.time_limit)) + " s");
  if (ending.signal == SIGKILL) return failed("host_memory", "it was killed, as for lack of memory");
  if (ending.signal || ending.code) {
    const std::string what = ending.signal ? "signal " + std::to_string(ending.signal) + " ended it"
                                           : "exit code " + std::to_string(ending.code);
    return failed(cause_of(ending, last_lines(folder / "log", kMostSearched)), what);
  }
  const auto metrics = read_metrics(folder, leased.engine);
  if (!metrics) return failed("bad_input", metrics.error().what);
  wire::Delivered item;
  item.chunk = leased.chunk;
  item.ticket = leased.ticket;
  item.generation = leased.generation;
  item.what = "done";
  item.metrics = *metrics;
  item.seconds = seconds;
  item.gpu_seconds = seconds * leased.gpus;
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
    running.program.stop(0s);
  }
  if (beat->drain) drain("the daemon said so");
}

}  // namespace orch::worker
