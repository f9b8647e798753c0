#include "run/starter.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/text.h"
#include "frame/frame.h"

namespace orch::worker {
namespace {

using Clock = std::chrono::steady_clock;
using frame::Reader, frame::Writer, frame::kLength;

/// What a frame begins with. Both ends are this program.
enum class Kind : char { kStart, kKill, kCpus, kStarted, kEnded };

/// What a program's start can fail at.
enum Step : int { kFork, kLog, kFolder, kExec };

/// Of a kind.
Writer a(Kind kind) { return Writer().add(kind); }

/// Adds what has come to `bytes`; false: the other end is gone.
bool receive(int socket, std::string& bytes) {
  char piece[65536];
  for (;;) {
    const ssize_t got = ::recv(socket, piece, sizeof piece, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes.append(piece, static_cast<std::size_t>(got));
    return true;
  }
}

/// Takes the first whole frame out of `bytes`, without its length.
std::optional<std::string> take_frame(std::string& bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < kLength) return std::nullopt;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (bytes.size() - kLength < length) return std::nullopt;
  std::string frame = bytes.substr(kLength, length);
  bytes.erase(0, kLength + length);
  return frame;
}

// The helper.

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct Failed {
  int step = kFork;
  int error = 0;
};

/// In the child: becomes the program, or tells through `report` why it cannot.
[[noreturn]] void become(Order& order, pid_t parent, int report) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, signal == SIGUSR1 ? SIG_IGN : SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  auto arguments = pointers(order.run), variables = pointers(order.environment);
  Failed failed;
  const int log = ::open(order.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    failed = {kLog, errno};
  } else if (::chdir(order.folder.c_str()) != 0) {
    failed = {kFolder, errno};
  } else {
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    environ = variables.data();
    ::execvp(arguments[0], arguments.data());
    failed = {kExec, errno};
  }
  const ssize_t written = ::write(report, &failed, sizeof failed);
  ::_exit(written == sizeof failed ? 127 : 126);
}

class Helper {
 public:
  Helper(int socket, int signals) : socket_(socket), signals_(signals) {}

  /// Until the worker is gone.
  void run() {
    for (;;) {
      pollfd watched[] = {{socket_, POLLIN, 0}, {signals_, POLLIN, 0}};
      ::poll(watched, 2, leaving() ? kLook : -1);
      signalfd_siginfo info{};
      while (::read(signals_, &info, sizeof info) == sizeof info) {
      }
      if (!reap()) break;
      if (watched[0].revents == 0) continue;
      if (!receive(socket_, heard_)) break;
      bool sent = true;
      while (const auto frame = take_frame(heard_)) sent = obey(*frame) && sent;
      if (!sent) break;
    }
    kill_all();
  }

 private:
  static constexpr int kLook = 10;  // ms, at groups that are being killed

  struct Running {
    pid_t pid = -1;
    std::optional<int> status;                  ///< of the leader, which is reaped
    std::optional<Clock::time_point> given_up;  ///< set when it was killed, or has ended
  };

  bool leaving() const {
    for (const auto& [number, running] : running_)
      if (running.given_up) return true;
    return false;
  }

  bool obey(const std::string& frame) {
    Reader reader(frame);
    Kind kind{};
    reader.get(kind);
    if (kind == Kind::kStart) return start(reader);
    if (kind == Kind::kCpus) {
      std::string bytes;
      reader.get(bytes);
      cpu_set_t cpus;
      std::memcpy(&cpus, bytes.data(), std::min(sizeof cpus, bytes.size()));
      ::sched_setaffinity(0, bytes.size(), &cpus);
    }
    if (kind == Kind::kKill) {
      std::uint64_t number = 0;
      int signal = 0;
      reader.get(number);
      reader.get(signal);
      const auto at = running_.find(number);
      // Its id is its own until the leader is reaped.
      if (at == running_.end() || at->second.status) return true;
      ::kill(-at->second.pid, signal);
      if (signal == SIGKILL && !at->second.given_up) at->second.given_up = Clock::now() + Starter::kPatience;
    }
    return true;
  }

  bool start(Reader& reader) {
    std::uint64_t number = 0;
    reader.get(number);
    Order order;
    std::string folder, log;
    reader.get(order.run);
    reader.get(order.environment);
    reader.get(folder);
    reader.get(log);
    order.folder = folder;
    order.log = log;
    Failed failed;
    const pid_t pid = spawn(order, failed);
    if (pid > 0) running_.emplace(number, Running{pid, {}, {}});
    return frame::send(socket_, a(Kind::kStarted).add(number).add(pid).add(failed.error).add(failed.step).frame());
  }

  static pid_t spawn(Order& order, Failed& failed) {
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) {
      failed.error = errno;
      return -1;
    }
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become(order, parent, report[1]);
    failed.error = pid < 0 ? errno : 0;
    ::close(report[1]);
    ssize_t got = 0;
    if (pid > 0) {
      ::setpgid(pid, pid);  // whichever of the two is first
      while ((got = ::read(report[0], &failed, sizeof failed)) < 0 && errno == EINTR) {
      }
    }
    ::close(report[0]);
    if (got != sizeof failed) return pid;
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return -1;
  }

  /// Collects those that ended, orphans too, and tells of those whose group is gone. False: the worker is gone.
  bool reap() {
    for (;;) {
      siginfo_t info{};
      // Left as it is at first: as long as a leader is not reaped, its group can be killed safely.
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
      Running* running = find(info.si_pid);
      if (running) ::kill(-running->pid, SIGKILL);
      int status = 0;
      while (::waitpid(info.si_pid, &status, 0) < 0 && errno == EINTR) {
      }
      if (!running) continue;
      running->status = status;
      running->given_up = Clock::now() + Starter::kPatience;
    }
    for (auto at = running_.begin(); at != running_.end();) {
      const Running& running = at->second;
      const bool gone = running.status && ::kill(-running.pid, 0) != 0 && errno == ESRCH;
      if (!gone && !(running.given_up && Clock::now() >= *running.given_up)) {
        ++at;
        continue;
      }
      const bool told =
          frame::send(socket_, a(Kind::kEnded).add(at->first).add(running.status.value_or(int{SIGKILL})).frame());
      at = running_.erase(at);
      if (!told) return false;
    }
    return true;
  }

  Running* find(pid_t pid) {
    for (auto& [number, running] : running_)
      if (running.pid == pid && !running.status) return &running;
    return nullptr;
  }

  /// All groups, and those who left theirs: their parents gone, they became children of this process.
  void kill_all() {
    for (const auto& [number, running] : running_)
      if (!running.status) ::kill(-running.pid, SIGKILL);
    const auto until = Clock::now() + Starter::kPatience;
    const std::string children = "/proc/self/task/" + std::to_string(::getpid()) + "/children";
    while (Clock::now() < until) {
      std::ifstream list(children);
      for (pid_t child = 0; list >> child;) ::kill(child, SIGKILL);
      pid_t reaped = 0;
      while ((reaped = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
      }
      if (reaped < 0 && errno == ECHILD) return;
      pollfd dying{signals_, POLLIN, 0};
      ::poll(&dying, 1, kLook);
    }
  }

  int socket_, signals_;
  std::string heard_;
  std::map<std::uint64_t, Running> running_;
};

/// In the new process, in which all signals are blocked: never returns.
[[noreturn]] void be_helper(int socket) {
  // A launcher that signals the worker's group does not mean the helper: it ends when the worker does.
  ::setpgid(0, 0);
  sigset_t children;
  ::signal(SIGCHLD, SIG_DFL);  // where it is ignored no child can be waited for
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "orch-starter");
  // Nothing of the worker's may be held open: whoever waits for the end of its output would wait for the helper.
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; ++standard) ::dup2(nothing, standard);
  if (socket != STDERR_FILENO + 1) ::dup3(socket, STDERR_FILENO + 1, O_CLOEXEC);
  ::closefrom(STDERR_FILENO + 2);
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  const int signals = ::signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
  Helper(STDERR_FILENO + 1, signals).run();
  ::_exit(0);
}

std::string problem_of(const Order& order, int step, int error) {
  const std::string why = std::strerror(error);
  if (step == kLog) return "cannot write " + order.log.string() + ": " + why;
  if (step == kFolder) return "cannot enter " + order.folder.string() + ": " + why;
  return "cannot start " + quote(order.run.front()) + ": " + why;
}

}  // namespace

Result<Starter> Starter::fork() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Error{std::string("no socket for the helper that starts programs: ") + std::strerror(errno)};
  // A signal that comes at once is for the worker.
  sigset_t all, before;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t helper = ::fork();
  if (helper == 0) be_helper(ends[1]);
  const int error = errno;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::close(ends[1]);
  if (helper > 0) return Starter(helper, ends[0]);
  ::close(ends[0]);
  return Error{std::string("cannot fork the helper that starts programs: ") + std::strerror(error)};
}

Starter::Starter(Starter&& other) noexcept
    : helper_(std::exchange(other.helper_, -1)),
      socket_(std::exchange(other.socket_, -1)),
      alive_(other.alive_),
      next_(other.next_),
      heard_(std::move(other.heard_)),
      answer_(other.answer_),
      running_(std::move(other.running_)),
      ended_(std::move(other.ended_)) {}

Starter::~Starter() {
  if (socket_ >= 0) ::close(socket_);
  if (helper_ < 0) return;
  while (::waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<Starter::Started, StartError> Starter::start(const Order& order) {
  if (order.run.empty() || order.run.front().empty()) return StartError{true, "there is no program to run"};
  const std::uint64_t number = next_++;
  answer_.reset();
  if (alive_ && send(a(Kind::kStart)
                         .add(number)
                         .add(order.run)
                         .add(order.environment)
                         .add(order.folder.string())
                         .add(order.log.string())
                         .frame()))
    listen(number);
  if (!answer_) return StartError{false, "the helper that starts programs has ended"};
  if (answer_->error != 0)
    return StartError{answer_->step == kExec && answer_->error != ENOMEM && answer_->error != EAGAIN,
                      problem_of(order, answer_->step, answer_->error)};
  return Started{number, answer_->pid};
}

void Starter::kill(std::uint64_t number, int signal) {
  if (running_.contains(number)) send(a(Kind::kKill).add(number).add(signal).frame());
}

std::optional<int> Starter::ended(std::uint64_t number) {
  look();
  const auto at = ended_.find(number);
  if (at == ended_.end()) return std::nullopt;
  const int status = at->second;
  ended_.erase(at);
  return status;
}

void Starter::forget(std::uint64_t number) {
  running_.erase(number);
  ended_.erase(number);
}

void Starter::use_cpus(const cpu_set_t& cpus) {
  char bytes[sizeof cpus];
  std::memcpy(bytes, &cpus, sizeof cpus);
  send(a(Kind::kCpus).add(std::string_view(bytes, sizeof bytes)).frame());
}

bool Starter::send(const std::string& frame) {
  if (alive_ && !frame::send(socket_, frame)) lose_helper();
  return alive_;
}

void Starter::listen(std::optional<std::uint64_t> number) {
  while (alive_) {
    pollfd watched{socket_, POLLIN, 0};
    const bool waits = number && !answer_;
    if (::poll(&watched, 1, waits ? -1 : 0) <= 0) {
      if (waits) continue;
      return;
    }
    if (!receive(socket_, heard_)) return lose_helper();
    while (const auto frame = take_frame(heard_)) hear(*frame);
  }
}

void Starter::hear(const std::string& frame) {
  Reader reader(frame);
  Kind kind{};
  std::uint64_t number = 0;
  reader.get(kind);
  reader.get(number);
  if (kind == Kind::kStarted) {
    Answer answer{number};
    reader.get(answer.pid);
    reader.get(answer.error);
    reader.get(answer.step);
    answer_ = answer;
    if (answer_->error == 0) running_.emplace(number, answer_->pid);
  } else if (running_.erase(number) > 0) {
    reader.get(ended_[number]);
  }
}

/// The leaders were killed with the helper; the rest of their groups is left to us.
void Starter::lose_helper() {
  alive_ = false;
  for (const auto& [number, pid] : running_) {
    ::kill(-pid, SIGKILL);
    ended_[number] = SIGKILL;
  }
  running_.clear();
}

}  // namespace orch::worker
