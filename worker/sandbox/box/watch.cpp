#include "sandbox/box/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "sandbox/box/box.h"
#include "sandbox/box/tree.h"
#include "sandbox/refusal.h"

namespace orch::sandbox {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Between two looks at the memory: a process fills some tens of MiB in that time.
constexpr milliseconds kLook{10};
/// For the kernel to end what was killed. What hangs in a driver or a network's file system is left to it.
constexpr milliseconds kPatience{10'000};

constexpr int kLowest = 16;  // of the descriptors here: above those that programs get

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }
  void close() {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }
  int number() const { return number_; }

 private:
  int number_;
};

struct Pair {
  Descriptor ours, theirs;
};

std::optional<Pair> raised(std::array<int, 2> ends, int ours, bool waits) {
  Pair pair;
  for (Descriptor* end : {&pair.ours, &pair.theirs}) {
    const int number = ends[static_cast<std::size_t>(end == &pair.ours ? ours : 1 - ours)];
    *end = Descriptor(::fcntl(number, F_DUPFD_CLOEXEC, kLowest));
    ::close(number);
    if (end->number() < 0) return std::nullopt;
  }
  if (!waits) ::fcntl(pair.ours.number(), F_SETFL, O_NONBLOCK);
  return pair;
}

std::optional<Pair> pipe_from_box() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return raised(ends, 0, false);
}

std::optional<Pair> pipe_to_box() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return raised(ends, 1, true);
}

std::optional<Pair> socket_to_box() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return std::nullopt;
  return raised(ends, 0, false);
}

/// What comes out of the box by one way: the first of it is kept, and the rest only counted.
class Stream {
 public:
  Stream(Descriptor from, std::uint64_t most) : from_(std::move(from)), most_(most) {}

  /// Reads what is there, up to a bound so that others have their turn. False: there was nothing.
  bool read() {
    char piece[65536];
    for (int turns = 0; from_.number() >= 0 && turns < 16; ++turns) {
      const ssize_t got = ::read(from_.number(), piece, sizeof piece);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return turns > 0;
      if (got <= 0) {
        from_.close();
        return turns > 0;
      }
      const auto bytes = static_cast<std::uint64_t>(got);
      kept_.append(piece,
                   static_cast<std::size_t>(std::min(bytes, most_ - std::min<std::uint64_t>(most_, kept_.size()))));
      count_ += bytes;
    }
    return from_.number() >= 0;
  }
  std::uint64_t count() const { return count_; }
  int descriptor() const { return from_.number(); }
  std::string take() { return std::move(kept_); }

 private:
  Descriptor from_;
  std::uint64_t most_;
  std::uint64_t count_ = 0;
  std::string kept_;
};

class Watch {
 public:
  Watch(const Request& request, pid_t box, Descriptor words, Stream output, Stream errors, Stream report, int ends)
      : limits_(request.limits),
        box_(box),
        words_(std::move(words)),
        output_(std::move(output)),
        errors_(std::move(errors)),
        report_(std::move(report)),
        ends_(ends) {}

  /// False: the caller is gone.
  bool until_over(int caller) {
    const Clock::time_point begin = Clock::now();
    const milliseconds wall = std::min(limits_.wall, milliseconds(std::chrono::hours(24 * 365)));
    Clock::time_point next_look = begin;
    while (!over_) {
      const Clock::time_point now = Clock::now();
      if (now >= begin + wall) {
        finish(End::kTime);
        break;
      }
      if (now >= next_look) {
        look();
        next_look = Clock::now() + kLook;
        continue;
      }
      const auto wait = std::min(next_look, begin + wall) - now;
      std::array<pollfd, 6> watched = {{{caller, POLLIN, 0},
                                        {words_.number(), POLLIN, 0},
                                        {output_.descriptor(), POLLIN, 0},
                                        {errors_.descriptor(), POLLIN, 0},
                                        {report_.descriptor(), POLLIN, 0},
                                        {ends_, POLLIN, 0}}};
      ::poll(watched.data(), watched.size(), static_cast<int>(std::chrono::ceil<milliseconds>(wait).count()));
      if (watched[0].revents != 0) return false;
      read_streams();
      if (!over_ && watched[1].revents != 0) hear();
      if (!over_ && watched[5].revents != 0 && has_died()) finish(End::kSignal, SIGKILL);
    }
    outcome_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    return true;
  }

  /// Kills the box and waits for all of it to be gone.
  void end() {
    if (!died_) ::kill(box_, SIGKILL);
    const Clock::time_point until = Clock::now() + kPatience;
    while (!has_died() && Clock::now() < until) {
      pollfd ended{ends_, POLLIN, 0};
      ::poll(&ended, 1, 100);
      drain_ends();
    }
    while (read_streams_once()) {
    }
  }

  Outcome outcome() {
    outcome_.output = output_.take();
    outcome_.errors = errors_.take();
    outcome_.report = report_.take();
    return std::move(outcome_);
  }

 private:
  void finish(End end, int code = 0) {
    if (over_) return;
    over_ = true;
    outcome_.end = end;
    outcome_.code = code;
  }

  void drain_ends() {
    signalfd_siginfo info{};
    while (::read(ends_, &info, sizeof info) == sizeof info) {
    }
  }

  bool has_died() {
    drain_ends();
    if (!died_) died_ = ::waitpid(box_, nullptr, WNOHANG) != 0;
    return died_;
  }

  void look() {
    const Tree tree = look_at(box_, limits_.memory);
    outcome_.memory = std::max(outcome_.memory, tree.memory);
    if (tree.memory > limits_.memory) finish(End::kMemory);
    // The first process of the box is one of them; it is not the program's.
    if (tree.tasks > limits_.processes + 1) finish(End::kProcesses);
  }

  bool read_streams_once() {
    const bool output = output_.read(), errors = errors_.read(), report = report_.read();
    return output || errors || report;
  }

  void read_streams() {
    read_streams_once();
    if (output_.count() + errors_.count() + report_.count() > limits_.output) finish(End::kOutput);
  }

  void hear() {
    Word word;
    const ssize_t got = ::read(words_.number(), &word, sizeof word);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got != sizeof word) {
      // The first process was killed: by the kernel, which had no memory, or by somebody outside.
      finish(End::kSignal, SIGKILL);
      return;
    }
    if (word.failure.step) {
      finish(End::kRefused);
      outcome_.why = why_refused(word.failure.step, word.failure.error);
      return;
    }
    outcome_.cpu_seconds = word.cpu_seconds;
    if (WIFEXITED(word.status)) finish(End::kExited, WEXITSTATUS(word.status));
    if (!WIFSIGNALED(word.status)) return;
    const int signal = WTERMSIG(word.status);
    const bool used_up = word.cpu_seconds >= std::chrono::duration<double>(limits_.cpu).count();
    if (signal == SIGXCPU || (signal == SIGKILL && used_up))
      finish(End::kTime);
    else
      finish(End::kSignal, signal);
  }

  const Limits& limits_;
  pid_t box_;
  Descriptor words_;
  Stream output_, errors_, report_;
  int ends_;  ///< a signalfd of SIGCHLD
  bool over_ = false, died_ = false;
  Outcome outcome_;
};

Outcome refused(const char* step, int error) {
  Outcome outcome;
  outcome.why = why_refused(step, error);
  return outcome;
}

}  // namespace

std::optional<Outcome> run(const Request& request, int caller) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  const Descriptor ends(::signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC));
  auto gate = pipe_to_box(), words = pipe_from_box(), output = pipe_from_box(), errors = pipe_from_box();
  auto report = socket_to_box();
  if (ends.number() < 0 || !gate || !words || !output || !errors || !report) return refused("open its channels", errno);
  const std::string& secret = request.program.secret;
  if (::send(report->ours.number(), secret.data(), secret.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(secret.size()))
    return refused("hand over the secret", errno);
  ::shutdown(report->ours.number(), SHUT_WR);

  const pid_t box = clone_into_box();
  if (box < 0) return refused(kCloneStep, errno);
  if (box == 0) {
    for (Pair* pair : {&*gate, &*words, &*output, &*errors, &*report}) pair->ours.close();
    live_in_box(request, {gate->theirs.number(), words->theirs.number(), output->theirs.number(),
                          errors->theirs.number(), report->theirs.number()});
  }
  for (Pair* pair : {&*gate, &*words, &*output, &*errors, &*report}) pair->theirs.close();
  Watch watch(request, box, std::move(words->ours), Stream(std::move(output->ours), request.limits.kept),
              Stream(std::move(errors->ours), request.limits.kept), Stream(std::move(report->ours), kMostReport),
              ends.number());
  if (const Failure failure = set_users(box); failure.step) {
    watch.end();
    return refused(failure.step, failure.error);
  }
  [[maybe_unused]] const ssize_t gone = ::write(gate->ours.number(), "g", 1);  // if it is gone, so it will be seen
  const bool awaited = watch.until_over(caller);
  watch.end();
  if (!awaited) return std::nullopt;
  return watch.outcome();
}

}  // namespace orch::sandbox
