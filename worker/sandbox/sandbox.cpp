#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <system_error>

#include "base/text.h"
#include "frame/frame.h"
#include "sandbox/wire.h"

namespace orch::sandbox {
namespace {

namespace fs = std::filesystem;

class Socket {
 public:
  explicit Socket(int number) : number_(number) {}
  ~Socket() { close(); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }
  int number() const { return number_; }

 private:
  int number_;
};

class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  /// A signal to this process's group, or one that it has blocked, does not mean orch-sandbox.
  void set(int socket) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    ::posix_spawn_file_actions_adddup2(&actions_, socket, STDIN_FILENO);
    ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

fs::path beside_this_program() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return self.parent_path() / "orch-sandbox";
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

std::optional<Error> wrong_with(const Program& program, const Limits& limits) {
  if (program.run.empty() || program.run.front().empty()) return Error{"there is no program to run"};
  for (const auto* words : {&program.run, &program.environment, &program.read_only})
    if (const auto at = std::ranges::find_if(*words, has_nul); at != words->end())
      return Error{quote(*at) + " has a NUL in it, which no argument can have"};
  for (const File& file : program.files)
    if (file.name.empty() || file.name == "." || file.name == ".." || has_nul(file.name) ||
        file.name.find('/') != std::string::npos)
      return Error{quote(file.name) + " is no name of a file"};
  for (const std::string& path : program.read_only)
    if (!path.starts_with('/') || path == "/" || fs::path(path).lexically_normal().string() != path)
      return Error{quote(path) +
                   " cannot be shown to a program: expected a path from the root, without . and .., and "
                   "not the root itself"};
  if (limits.wall.count() <= 0 || limits.cpu.count() <= 0 || limits.memory == 0 || limits.processes == 0)
    return Error{"a limit of nothing lets no program run"};
  return std::nullopt;
}

}  // namespace

Result<Sandbox> Sandbox::open(fs::path program) {
  if (program.empty()) program = beside_this_program();
  Sandbox sandbox(std::move(program));
  Program nothing;
  nothing.run = {"true"};
  const auto outcome = sandbox.run(nothing, {});
  if (!outcome) return outcome.error();
  if (outcome->end != End::kExited || outcome->code != 0)
    return Error{"programs of a model cannot be confined on this machine, and are not run otherwise: " +
                 describe(*outcome)};
  return sandbox;
}

Result<Outcome> Sandbox::run(const Program& program, const Limits& limits) const {
  if (auto wrong = wrong_with(program, limits)) return *std::move(wrong);
  const std::string request = write(Request{program, limits});
  if (request.size() > kMostRequest) return Error{"a program with its files is larger than 64 MiB"};
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Error{std::string("no socket for orch-sandbox: ") + std::strerror(errno)};
  Socket ours(ends[0]), theirs(ends[1]);
  SpawnSettings settings;
  settings.set(theirs.number());
  std::string name = program_.filename().string();
  char* const words[] = {name.data(), nullptr};
  pid_t pid = -1;
  if (const int error =
          ::posix_spawn(&pid, program_.c_str(), settings.actions(), settings.attributes(), words, environ);
      error != 0)
    return Error{"cannot start " + program_.string() + ": " + std::strerror(error)};
  theirs.close();
  std::optional<Outcome> outcome;
  if (frame::send(ours.number(), request))
    if (const auto bytes = receive(ours.number(), kMostRequest)) outcome = read_outcome(*bytes);
  ours.close();
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!outcome) return Error{program_.string() + " ended before the program that it was to run"};
  return *std::move(outcome);
}

std::string describe(const Outcome& outcome) {
  switch (outcome.end) {
    case End::kExited:
      return "exited with code " + std::to_string(outcome.code);
    case End::kSignal:
      return "killed by signal " + std::to_string(outcome.code);
    case End::kTime:
      return "took too much time";
    case End::kMemory:
      return "took too much memory";
    case End::kOutput:
      return "printed too much";
    case End::kProcesses:
      return "had too many processes";
    case End::kRefused:
      break;
  }
  return outcome.why;
}

}  // namespace orch::sandbox
