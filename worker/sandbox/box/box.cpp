#include "sandbox/box/box.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

#include "sandbox/box/filter.h"
#include "sandbox/refusal.h"

namespace orch::sandbox {
namespace {

constexpr unsigned kInside = 1000;   // the user and group of the box, inside
constexpr unsigned kNobody = 65534;  // and outside, where we are root
constexpr int kReport = 3;
constexpr rlim_t kStack = 8U << 20;
constexpr const char* kPath = "PATH=/usr/local/bin:/usr/bin:/bin";

[[noreturn]] void give_up(int words, Failure failure) {
  Word word;
  word.failure = failure;
  const ssize_t written = ::write(words, &word, sizeof word);
  ::_exit(written == sizeof word ? 1 : 2);
}

/// What only root may do is left for good, in this process and in those that come of it.
bool drop_rights() {
  for (int right = 0; right < 64; ++right) ::prctl(PR_CAPBSET_DROP, right, 0, 0, 0);
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return ::syscall(SYS_capset, &header, none) == 0 && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// Since Linux 5.14 the number of processes is that of the namespace; before, that of the user everywhere, and then it
/// is left to the watch.
bool processes_are_counted_here() {
  utsname system{};
  if (::uname(&system) != 0) return false;
  char* rest = nullptr;
  const long major = std::strtol(system.release, &rest, 10);
  const long minor = *rest == '.' ? std::strtol(rest + 1, nullptr, 10) : 0;
  return major > 5 || (major == 5 && minor >= 14);
}

Failure set_limits(const Limits& limits) {
  const auto set = [](auto what, rlim_t soft, rlim_t hard) {
    rlimit now{};
    ::getrlimit(what, &now);
    const rlimit wanted{std::min(soft, now.rlim_max), std::min(hard, now.rlim_max)};
    return ::setrlimit(what, &wanted) == 0;
  };
  const auto cpu = static_cast<rlim_t>(limits.cpu.count());
  // One byte is less than any core file, and the one value at which no program of the system's is given one either.
  const bool done = set(RLIMIT_CORE, 1, 1) && set(RLIMIT_CPU, cpu, cpu + 1) && set(RLIMIT_STACK, kStack, kStack) &&
                    set(RLIMIT_AS, limits.address_space, limits.address_space) &&
                    set(RLIMIT_FSIZE, limits.disk, limits.disk) &&
                    set(RLIMIT_NOFILE, limits.open_files, limits.open_files) && set(RLIMIT_MEMLOCK, 0, 0) &&
                    set(RLIMIT_MSGQUEUE, 0, 0) && set(RLIMIT_SIGPENDING, 256, 256) &&
                    // The first process of the box counts, too.
                    (!processes_are_counted_here() || set(RLIMIT_NPROC, limits.processes + 1, limits.processes + 1));
  return done ? Failure{} : Failure{"set its limits", errno};
}

Failure write_files(const std::vector<File>& files) {
  for (const File& file : files) {
    const int descriptor = ::open(("/sandbox/" + file.name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return {"write its files", errno};
    std::string_view rest = file.content;
    while (!rest.empty()) {
      const ssize_t written = ::write(descriptor, rest.data(), rest.size());
      if (written < 0) return {"write its files", errno};
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
    ::close(descriptor);
  }
  return {};
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Becomes the program; where there is none to become, ends.
Failure become(const Request& request, const Channels& channels) {
  ::setsid();
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(channels.output, STDOUT_FILENO) < 0 ||
      ::dup2(channels.errors, STDERR_FILENO) < 0 || ::dup2(channels.report, kReport) < 0)
    return {"give it its descriptors", errno};
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(0077);
  if (const Failure failure = write_files(request.program.files); failure.step) return failure;
  if (::chdir("/sandbox") != 0) return {"enter /sandbox", errno};
  std::vector<std::string> run = request.program.run;
  std::vector<std::string> environment = {kPath,
                                          "HOME=/sandbox",
                                          "TMPDIR=/tmp",
                                          "LANG=C.UTF-8",
                                          "OMP_NUM_THREADS=1",
                                          "PYTHONHASHSEED=0",
                                          "PYTHONDONTWRITEBYTECODE=1"};
  environment.insert(environment.end(), request.program.environment.begin(), request.program.environment.end());
  auto arguments = pointers(run), variables = pointers(environment);
  environ = variables.data();
  std::vector<sock_filter> rules = filter();
  if (rules.empty()) return {"filter its system calls: those of this processor are not known here", ENOSYS};
  // From here on nothing may need memory: the limit may be below what this process has.
  if (const Failure failure = set_limits(request.limits); failure.step) return failure;
  if (!drop_rights()) return {"drop its rights", errno};
  const sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) return {"filter its system calls", errno};
  if (run.empty()) ::_exit(0);
  ::execvp(arguments[0], arguments.data());
  return {kStartProgram, errno};
}

/// Collects what ends, until the program does.
[[noreturn]] void collect(pid_t program, int words) {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  drop_rights();
  ::dup2(words, 0);
  ::closefrom(1);
  Word word;
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended < 0 && errno == EINTR) continue;
    if (ended != program && ended > 0) continue;
    rusage used{};
    ::getrusage(RUSAGE_CHILDREN, &used);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    word.ended = true;
    word.status = status;
    word.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
    const ssize_t written = ::write(0, &word, sizeof word);
    ::_exit(written == sizeof word ? 0 : 1);
  }
}

/// Where it cannot be done the processes are as likely to be killed for memory as others.
void be_first_to_go() {
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, "1000", 4);
  ::close(file);
}

bool write_line(const std::string& path, const std::string& line) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool written = ::write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int error = errno;
  ::close(file);
  errno = error;
  return written;
}

std::string one_id(unsigned outside) { return std::to_string(kInside) + " " + std::to_string(outside) + " 1\n"; }

}  // namespace

pid_t clone_into_box() {
  constexpr long kFlags =
      SIGCHLD | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  return static_cast<pid_t>(::syscall(SYS_clone, kFlags, 0, 0, 0, 0));
}

Failure set_users(pid_t box) {
  const std::string process = "/proc/" + std::to_string(box);
  if (::geteuid() == 0 && write_line(process + "/uid_map", one_id(kNobody))) {
    if (!write_line(process + "/gid_map", one_id(kNobody))) return {"set the box's group", errno};
    return {};
  }
  if (!write_line(process + "/setgroups", "deny") || !write_line(process + "/uid_map", one_id(::geteuid())) ||
      !write_line(process + "/gid_map", one_id(::getegid())))
    return {"set the box's user", errno};
  return {};
}

void live_in_box(const Request& request, const Channels& channels) {
  be_first_to_go();
  char go = 0;
  if (::read(channels.gate, &go, 1) != 1) ::_exit(1);
  // Groups that we are in are left where that is allowed, which is where root wrote the map.
  ::setgroups(0, nullptr);
  if (::setresgid(kInside, kInside, kInside) != 0 || ::setresuid(kInside, kInside, kInside) != 0)
    give_up(channels.words, {"become the box's user", errno});
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the change of the user, which takes it away
  pollfd parent{channels.gate, 0, 0};
  if (::poll(&parent, 1, 0) > 0) ::_exit(1);  // it was gone before
  constexpr std::string_view kName = "sandbox";
  if (::sethostname(kName.data(), kName.size()) != 0) give_up(channels.words, {"name the box", errno});
  if (const Failure failure = enter_room(request.program.read_only, request.limits.disk); failure.step)
    give_up(channels.words, failure);
  const pid_t program = ::fork();
  if (program < 0) give_up(channels.words, {"start a process", errno});
  if (program > 0) collect(program, channels.words);
  if (const Failure failure = become(request, channels); failure.step) give_up(channels.words, failure);
  ::_exit(1);
}

}  // namespace orch::sandbox
