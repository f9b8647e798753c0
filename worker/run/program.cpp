#include "run/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/text.h"

namespace orch::worker {
namespace {

constexpr auto kGrace = std::chrono::seconds(10);  // between SIGTERM and SIGKILL when the time is over

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  // posix_spawn takes them as they are and changes nothing.
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// posix_spawn's tables, freed.
struct SpawnTables {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};
  SpawnTables() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnTables() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnTables(const SpawnTables&) = delete;
  SpawnTables& operator=(const SpawnTables&) = delete;
};

}  // namespace

Result<Program> Program::start(const std::vector<std::string>& run, const std::vector<std::string>& environment,
                               const std::filesystem::path& folder, const std::filesystem::path& log,
                               Clock::time_point until) {
  if (run.empty() || run.front().empty()) return Error{"there is no program to run"};
  SpawnTables tables;
  posix_spawn_file_actions_addopen(&tables.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&tables.files, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&tables.files, STDOUT_FILENO, STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&tables.files, folder.c_str());
  posix_spawn_file_actions_addclosefrom_np(&tables.files, STDERR_FILENO + 1);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&tables.attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&tables.attributes, 0);
  posix_spawnattr_setsigmask(&tables.attributes, &none);
  posix_spawnattr_setsigdefault(&tables.attributes, &all);

  pid_t pid = -1;
  const auto arguments = pointers(run), variables = pointers(environment);
  const int failed =
      posix_spawnp(&pid, run.front().c_str(), &tables.files, &tables.attributes, arguments.data(), variables.data());
  if (failed) return Error{"cannot start " + quote(run.front()) + ": " + std::strerror(failed)};
  return Program(pid, until);
}

Program::Program(Program&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      until_(other.until_),
      kill_at_(other.kill_at_),
      out_of_time_(other.out_of_time_) {}

Program& Program::operator=(Program&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(until_, other.until_);
  std::swap(kill_at_, other.kill_at_);
  std::swap(out_of_time_, other.out_of_time_);
  return *this;
}

Program::~Program() {
  if (pid_ < 0) return;
  kill_group(SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Program::kill_group(int signal) const { ::kill(-pid_, signal); }

void Program::stop(Clock::duration grace) {
  if (pid_ < 0 || kill_at_) return;
  kill_group(SIGTERM);
  kill_at_ = Clock::now() + grace;
}

std::optional<Ending> Program::poll(Clock::time_point now) {
  if (pid_ < 0) return std::nullopt;
  if (now >= until_ && !kill_at_) {
    out_of_time_ = true;
    stop(kGrace);
  }
  if (kill_at_ && now >= *kill_at_) kill_group(SIGKILL);
  // Its id stays its own until it is reaped, so the group can be killed safely first.
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
    return std::nullopt;
  kill_group(SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  Ending ending;
  ending.out_of_time = out_of_time_;
  if (WIFEXITED(status)) ending.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ending.signal = WTERMSIG(status);
  return ending;
}

std::string last_lines(const std::filesystem::path& log, std::size_t most) {
  std::ifstream in(log, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::size_t>(in.tellg());
  const std::size_t from = size > most ? size - most : 0;
  in.seekg(static_cast<std::streamoff>(from));
  std::string text(size - from, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (from > 0)
    if (const std::size_t line = text.find('\n'); line != std::string::npos && line + 1 < text.size())
      text.erase(0, line + 1);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace orch::worker
