#include "cluster/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/descriptor.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::cluster {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  Descriptor read, write;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  Pipe made{Descriptor(ends[0]), Descriptor(ends[1])};
  // A read end in 0, 1 or 2 would be overwritten in the child before it is used there: only a process without standard
  // streams can meet that.
  if (made.read.get() <= STDERR_FILENO || made.write.get() <= STDERR_FILENO) {
    errno = EBADF;
    return std::nullopt;
  }
  return made;
}

std::vector<std::string> clean_environment(const std::vector<std::string>& more) {
  std::vector<std::string> kept = more;
  if (std::ranges::none_of(more, [](const std::string& text) { return text.starts_with("LC_ALL="); }))
    kept.emplace_back("LC_ALL=C");
  for (char** variable = environ; variable && *variable; ++variable) {
    const std::string_view text = *variable;
    const std::string_view name = text.substr(0, text.find('='));
    const auto is_given = [&](const std::string& other) {
      return std::string_view(other).substr(0, other.find('=')) == name;
    };
    if (!shapes_answers(std::string(name)) && std::ranges::none_of(more, is_given)) kept.emplace_back(text);
  }
  return kept;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

RunError system_error(const std::string& program, const char* deed, int code) {
  return {RunFailure::kSystem, 0, quote(program) + " was not run: " + deed + ": " + std::strerror(code), ""};
}

/// A file in memory that holds the text, to be read from its beginning: unlike a pipe it never fills up.
std::optional<Descriptor> file_of(std::string_view text) {
  Descriptor file(memfd_create("input", MFD_CLOEXEC));
  if (!file.is_open()) return std::nullopt;
  if (!write_all(file.get(), text) || lseek(file.get(), 0, SEEK_SET) != 0) return std::nullopt;
  return file;
}

/// Where a program of this name is that may be run; else the last reason why not.
Result<std::string, int> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  int why = ENOENT;
  const char* path = std::getenv("PATH");
  for (const std::string_view folder : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    const std::string file = (folder.empty() ? std::string(".") : std::string(folder)) + "/" + name;
    struct stat about {};
    if (stat(file.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    if (access(file.c_str(), X_OK) == 0) return file;
    why = errno;
  }
  return why;
}

/// All that a child needs, made before it is there: other threads may hold locks at that moment, so it allocates
/// nothing and calls only what is safe after fork().
struct Beginning {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int in, out, err;  ///< in: -1: nothing to read
  int failed;        ///< where the number of an error goes
  pid_t parent;
};

[[noreturn]] void become(const Beginning& it) {
  // A group of its own, so that what the program starts ends with it.
  setpgid(0, 0);
  // It ends with us, too: what nobody waits for any more must do nothing more. We may have ended before that was said.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != it.parent) _exit(127);
  const int in = it.in >= 0 ? it.in : open("/dev/null", O_RDONLY);
  if (in >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(it.out, STDOUT_FILENO) >= 0 && dup2(it.err, STDERR_FILENO) >= 0) {
    // Signals as a fresh process has them.
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(it.program, it.arguments, it.environment);
  }
  const int why = errno;
  static_cast<void>(write(it.failed, &why, sizeof why));
  _exit(127);
}

Result<pid_t, RunError> start(const std::vector<std::string>& argv, const Pipe& out, const Pipe& err,
                              const std::vector<std::string>& variables, std::string_view input) {
  const auto in = input.empty() ? std::nullopt : file_of(input);
  if (!input.empty() && !in) return system_error(argv.front(), "its input could not be kept", errno);
  auto fate = make_pipe();
  if (!fate) return system_error(argv.front(), "no pipe could be made", errno);
  std::vector<std::string> arguments = argv, environment = clean_environment(variables);
  const std::vector<char*> words = pointers_to(arguments), settings = pointers_to(environment);
  const auto program = find_program(argv.front());
  int why = program ? 0 : program.error();
  if (program) {
    const Beginning beginning{program->c_str(), words.data(),    settings.data(),   in ? in->get() : -1,
                              out.write.get(),  err.write.get(), fate->write.get(), getpid()};
    const pid_t child = fork();
    if (child == 0) become(beginning);
    if (child < 0) return system_error(argv.front(), "no process could be started", errno);
    fate->write.close();
    ssize_t got = 0;
    while ((got = read(fate->read.get(), &why, sizeof why)) < 0 && errno == EINTR) {
    }
    if (got != sizeof why) return child;  // the program has taken over
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (why == ENOENT || why == EACCES || why == ENOTDIR || why == ENOEXEC)
    return RunError{RunFailure::kNotFound, 0,
                    quote(argv.front()) + (why == ENOENT || why == ENOTDIR
                                               ? " was not found on the PATH"
                                               : " could not be run: " + std::string(std::strerror(why))),
                    ""};
  return system_error(argv.front(), "no process could be started", why);
}

/// A child that is killed with its group and waited for, whatever happens.
class Child {
 public:
  explicit Child(pid_t id) : id_(id) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (ended_) return;
    kill_group();
    while (waitpid(id_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  /// Its wait status, once it has ended. Until then its id cannot become another process's.
  std::optional<int> ended() {
    int status = 0;
    const pid_t got = waitpid(id_, &status, WNOHANG);
    if (got != id_) return std::nullopt;
    ended_ = true;
    return status;
  }

 private:
  void kill_group() const {
    // The group exists only once the child has made it; the child itself is there in any case.
    if (kill(-id_, SIGKILL) != 0) kill(id_, SIGKILL);
  }
  pid_t id_;
  bool ended_ = false;
};

int left_ms(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 60'000));
}

enum class Reading { kEnded, kTimedOut, kTooMuch };

/// Reads both to their ends.
Reading read_all(Descriptor& out, Descriptor& err, Output& output, Clock::time_point deadline, std::size_t most) {
  const std::array<std::pair<Descriptor*, std::string*>, 2> streams = {{{&out, &output.out}, {&err, &output.err}}};
  std::array<char, 65536> buffer{};
  while (out.is_open() || err.is_open()) {
    std::array<pollfd, 2> waits = {{{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}}};
    const int left = left_ms(deadline);
    const int ready = poll(waits.data(), waits.size(), left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 && left == 0) return Reading::kTimedOut;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      const auto& [descriptor, text] = streams[i];
      const ssize_t got = read(descriptor->get(), buffer.data(), buffer.size());
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) {
        descriptor->close();
        continue;
      }
      if (static_cast<std::size_t>(got) > most - text->size()) return Reading::kTooMuch;
      text->append(buffer.data(), static_cast<std::size_t>(got));
    }
  }
  return Reading::kEnded;
}

/// `: last line of what it said`, or nothing.
std::string said(const std::string& err) {
  const std::string_view text = trim(err);
  if (text.empty()) return "";
  return ": " + shown(trim(text.substr(text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n'))), 300);
}

}  // namespace

bool shapes_answers(const std::string& variable) {
  for (const char* prefix : {"SINFO_", "SQUEUE_", "SACCT_", "SPRIO_", "SSHARE_", "SCONTROL_", "SBATCH_", "SCANCEL_",
                             "SALLOC_", "SRUN_", "LC_"})
    if (variable.starts_with(prefix)) return true;
  if (variable == "LANGUAGE") return true;
  // Those of a job in which we run would be handed on to the jobs that are submitted there, and SLURM_CLUSTERS,
  // SLURM_TIME_FORMAT and their like change the answers. Only where Slurm is found, and by which right, is left.
  for (const char* kept : {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
    if (variable == kept) return false;
  return variable.starts_with("SLURM_");
}

Result<Output, RunError> run_program(const std::vector<std::string>& argv, std::chrono::milliseconds timeout,
                                     std::size_t most_output, const std::vector<std::string>& variables,
                                     std::string_view input) {
  if (argv.empty() || argv.front().empty()) return RunError{RunFailure::kNotFound, 0, "no program was named", ""};
  const std::string& program = argv.front();
  const Clock::time_point deadline = Clock::now() + timeout;
  auto out = make_pipe();
  if (!out) return system_error(program, "no pipe could be made", errno);
  auto err = make_pipe();
  if (!err) return system_error(program, "no pipe could be made", errno);
  const auto started = start(argv, *out, *err, variables, input);
  if (!started) return started.error();
  Child child(*started);
  out->write.close();
  err->write.close();

  Output output;
  const auto too_late = [&] {
    return RunError{RunFailure::kTimedOut, 0,
                    quote(program) + " gave no answer within " +
                        format_duration(std::chrono::duration<double>(timeout).count()) + " and was ended" +
                        said(output.err),
                    output.err};
  };
  switch (read_all(out->read, err->read, output, deadline, most_output)) {
    case Reading::kTimedOut:
      return too_late();
    case Reading::kTooMuch:
      return RunError{
          RunFailure::kTooMuch, 0,
          quote(program) + " printed more than " + format_bytes(static_cast<double>(most_output)) + " and was ended",
          output.err};
    case Reading::kEnded:
      break;
  }
  std::optional<int> status;
  // It has closed its output, so its end is a matter of microseconds; a program that goes on all the same meets the
  // deadline.
  for (int pause_ms = 0; !(status = child.ended()); pause_ms = std::min(pause_ms + 1, 20)) {
    if (left_ms(deadline) == 0) return too_late();
    poll(nullptr, 0, pause_ms);
  }
  if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return output;
  if (WIFEXITED(*status))
    return RunError{RunFailure::kNonZero, WEXITSTATUS(*status),
                    quote(program) + " ended with code " + std::to_string(WEXITSTATUS(*status)) + said(output.err),
                    output.err};
  const int signal = WIFSIGNALED(*status) ? WTERMSIG(*status) : 0;
  return RunError{RunFailure::kNonZero, 128 + signal,
                  quote(program) + " was ended by signal " + std::to_string(signal) + said(output.err), output.err};
}

}  // namespace orch::cluster
