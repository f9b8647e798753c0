#include "reward/filter.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include "base/descriptor.h"
#include "base/text.h"
#include "base/units.h"
#include "reward/texts.h"

namespace orch::reward {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostSaid = 4096;  // bytes of its standard error that are kept
constexpr std::size_t kLastLines = 5;
constexpr int kLongestPause = 20;  // ms between two looks at whether it has ended

/// Beyond the standard streams, which the program's own are put over.
Descriptor moved_up(Descriptor descriptor) {
  if (!descriptor.is_open() || descriptor.get() > STDERR_FILENO) return descriptor;
  return Descriptor(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

/// A file in memory that holds the text: unlike a pipe it never fills up, and a program may leave it unread.
Descriptor file_of(std::string_view text) {
  Descriptor file = moved_up(Descriptor(::memfd_create("completions", MFD_CLOEXEC)));
  if (!file.is_open() || !write_all(file.get(), text) || ::lseek(file.get(), 0, SEEK_SET) != 0) return {};
  return file;
}

struct Pipe {
  Descriptor read, write;
};

/// What we read of it does not wait, what the program writes to it does.
std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  Descriptor read(ends[0]), write(ends[1]);
  Pipe pipe{moved_up(std::move(read)), moved_up(std::move(write))};
  if (!pipe.read.is_open() || !pipe.write.is_open()) return std::nullopt;
  if (::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) return std::nullopt;
  return pipe;
}

class SpawnSettings {
 public:
  SpawnSettings(int in, int out, int err) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    // Signals as a fresh process has them, and a group of its own: what it starts ends with it.
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    ::posix_spawn_file_actions_adddup2(&actions_, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, err, STDERR_FILENO);
    // Libraries of MPI and of GPUs have descriptors that would stay open over an exec.
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

/// A child whose group is killed, and that is waited for, whatever happens.
class Child {
 public:
  explicit Child(pid_t id) : id_(id) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }

  /// It stays a zombie: until end() neither its id nor its group's can become another's.
  bool has_ended() const {
    siginfo_t about{};
    return ::waitid(P_PID, static_cast<id_t>(id_), &about, WEXITED | WNOHANG | WNOWAIT) != 0 || about.si_pid == id_;
  }
  /// Kills what is left of the group. The status as of waitpid; nothing where somebody else has taken it.
  std::optional<int> end() {
    if (id_ < 0) return std::nullopt;
    ::kill(-id_, SIGKILL);
    int status = 0;
    pid_t got = -1;
    while ((got = ::waitpid(id_, &status, 0)) < 0 && errno == EINTR) {
    }
    const bool is_ours = got == id_;
    id_ = -1;
    return is_ours ? std::optional(status) : std::nullopt;
  }

 private:
  pid_t id_;
};

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Takes in all that is there; closes the stream at its end.
template <class Take>
void drain(Descriptor& stream, const Take& take) {
  std::array<char, 65536> buffer{};
  while (stream.is_open()) {
    const ssize_t got = ::read(stream.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0)
      stream.close();
    else if (!take(std::string_view(buffer.data(), static_cast<std::size_t>(got))))
      return;
  }
}

}  // namespace

std::string last_words(std::string_view said) {
  const std::string whole = as_utf8(trim(said));
  std::string words;
  const auto lines = split(whole, '\n');
  for (std::size_t i = lines.size() - std::min(lines.size(), kLastLines); i < lines.size(); ++i)
    if (const std::string_view line = trim(lines[i]); !line.empty())
      words += (words.empty() ? "" : " | ") + shown(line, 300);
  return words.empty() ? "" : ": " + words;
}

Result<Filtered> filter(const std::vector<std::string>& run, const std::vector<std::string>& environment,
                        std::string_view input, std::chrono::milliseconds limit, std::size_t most_output) {
  const std::string name = quote(run.front());
  const auto not_started = [&](const char* deed, int error) {
    return Error{name + " was not run: " + deed + ": " + std::strerror(error)};
  };
  const Clock::time_point deadline = Clock::now() + limit;
  Descriptor in = file_of(input);
  if (!in.is_open()) return not_started("its input could not be kept", errno);
  auto out = make_pipe();
  if (!out) return not_started("no pipe could be made", errno);
  auto err = make_pipe();
  if (!err) return not_started("no pipe could be made", errno);
  pid_t pid = -1;
  {
    const SpawnSettings settings(in.get(), out->write.get(), err->write.get());
    std::vector<std::string> words = run, variables = environment;
    const std::vector<char*> arguments = pointers_to(words), named = pointers_to(variables);
    if (const int error = ::posix_spawnp(&pid, run.front().c_str(), settings.actions(), settings.attributes(),
                                         arguments.data(), environment.empty() ? environ : named.data());
        error != 0)
      return not_started("it could not be started", error);
  }
  Child child(pid);
  in.close();
  out->write.close();
  err->write.close();

  Filtered filtered;
  bool is_too_much = false;
  const auto take_out = [&](std::string_view part) {
    is_too_much = part.size() > most_output - filtered.out.size();
    if (!is_too_much) filtered.out += part;
    return !is_too_much && Clock::now() < deadline;
  };
  const auto take_err = [&](std::string_view part) {
    filtered.err += part;
    if (filtered.err.size() > kMostSaid) filtered.err.erase(0, filtered.err.size() - kMostSaid);
    return Clock::now() < deadline;
  };
  // What it started may hold the streams open when it has ended itself; that is not waited for.
  for (int pause = 0;; pause = std::min(pause + 1, kLongestPause)) {
    const bool has_ended = child.has_ended();
    drain(err->read, take_err);
    drain(out->read, take_out);
    if (is_too_much)
      return Error{name + " printed more than " + format_bytes(static_cast<double>(most_output)) + " and was ended" +
                   last_words(filtered.err)};
    if (has_ended) break;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0)
      return Error{name + " gave no answer within " + format_duration(std::chrono::duration<double>(limit).count()) +
                   " and was ended" + last_words(filtered.err)};
    std::array<pollfd, 2> streams{{{out->read.get(), POLLIN, 0}, {err->read.get(), POLLIN, 0}}};
    ::poll(streams.data(), streams.size(), static_cast<int>(std::min<long long>(left, pause)));
  }
  const auto status = child.end();
  if (!status) return Error{name + " ended, and how is not known" + last_words(filtered.err)};
  if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return filtered;
  if (WIFSIGNALED(*status))
    return Error{name + " was ended by signal " + std::to_string(WTERMSIG(*status)) + last_words(filtered.err)};
  return Error{name + " ended with code " + std::to_string(WEXITSTATUS(*status)) + last_words(filtered.err)};
}

}  // namespace orch::reward
