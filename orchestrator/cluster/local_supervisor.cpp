#include "cluster/local_supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "cluster/local_job.h"
#include "cluster/process.h"

namespace orch::cluster {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> all;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error == std::errc() && end == name.data() + name.size()) all.push_back(id);
  }
  return all;
}

/// 0: it is gone.
pid_t parent_of(pid_t process) {
  const std::string stat = slurp("/proc/" + std::to_string(process) + "/stat");
  const std::size_t name_end = stat.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(stat.substr(name_end + 1));
  std::string state;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

std::vector<pid_t> descendants() {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t process : all_processes()) children.emplace(parent_of(process), process);
  std::vector<pid_t> found = {getpid()};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto [first, last] = children.equal_range(found[i]);
    for (auto at = first; at != last; ++at) found.push_back(at->second);
  }
  found.erase(found.begin());
  return found;
}

void signal_all(int signal) {
  for (const pid_t process : descendants()) kill(process, signal);
}

std::int64_t utc_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<std::string> environment_of(const LocalJob& job, const std::filesystem::path& folder) {
  const std::string id = std::to_string(job.id);
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  const char* path = std::getenv("PATH");
  std::vector<std::string> ours = {
      "PATH=" + (folder / "bin").string() + ":" + (path ? path : "/usr/local/bin:/usr/bin:/bin"),
      "ORCH_JOB_DIR=" + job.directory,
      "SLURM_JOB_ID=" + id,
      "SLURM_JOBID=" + id,
      "SLURM_JOB_NAME=" + job.name,
      "SLURM_JOB_NODELIST=" + std::string(host),
      "SLURM_NODELIST=" + std::string(host),
      "SLURM_SUBMIT_DIR=" + job.directory,
      "SLURM_SUBMIT_HOST=" + std::string(host),
      "SLURM_JOB_START_TIME=" + std::to_string(job.started),
      "SLURM_RESTART_COUNT=0",
      "SLURM_JOB_NUM_NODES=1",
      "SLURM_NNODES=1",
      "SLURM_NODEID=0",
      "SLURM_PROCID=0",
      "SLURM_LOCALID=0",
      "SLURM_NTASKS=" + std::to_string(job.ntasks),
      "SLURM_CPUS_PER_TASK=" + std::to_string(job.cpus_per_task),
      "SLURM_CPUS_ON_NODE=" + std::to_string(job.room.cpus),
      "SLURM_GPUS_ON_NODE=" + std::to_string(job.room.gpus),
      "SLURM_JOB_GPUS=" + join(job.slots, ","),
      "CUDA_VISIBLE_DEVICES=" + join(job.slots, ",")};
  if (job.limit > 0) ours.push_back("SLURM_JOB_END_TIME=" + std::to_string(job.started + job.limit));
  std::vector<std::string> all = ours;
  for (char** variable = environ; variable && *variable; ++variable) {
    const std::string_view text = *variable;
    const std::string name(text.substr(0, text.find('=')));
    const bool of_locale = name.starts_with("LC_") || name == "LANGUAGE";
    const bool is_ours = std::ranges::any_of(ours, [&](const std::string& our) { return our.starts_with(name + "="); });
    if (!is_ours && (of_locale || !shapes_answers(name))) all.emplace_back(text);
  }
  return all;
}

int open_log(const std::string& path) { return open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666); }

/// In the child: becomes the script.
[[noreturn]] void become_script(const LocalJob& job, const std::filesystem::path& folder) {
  setsid();
  // Should the supervisor be killed, the script goes with it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int out = open_log(job.output);
  const int err = job.error.empty() ? out : open_log(job.error);
  if (out >= 0) dup2(out, STDOUT_FILENO);
  if (err >= 0) dup2(err, STDERR_FILENO);
  if (out < 0 || err < 0 || chdir(job.directory.c_str()) != 0) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  std::vector<std::string> environment = environment_of(job, folder);
  std::vector<char*> variables;
  for (std::string& text : environment) variables.push_back(text.data());
  variables.push_back(nullptr);
  std::string script = job.script, bash = "bash";
  char* arguments[] = {bash.data(), script.data(), nullptr};
  execvpe("bash", arguments, variables.data());
  _exit(127);
}

class Supervisor {
 public:
  Supervisor(std::filesystem::path folder, LocalJob job, milliseconds kill_wait)
      : folder_(std::move(folder)), job_(std::move(job)), kill_wait_(kill_wait) {}

  /// Whether the job runs, and stands so on the disk.
  bool start() {
    sigemptyset(&signals_);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals_, signal);
    sigprocmask(SIG_BLOCK, &signals_, nullptr);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    job_.state = "RUNNING";
    job_.started = utc_now();
    job_.supervisor = getpid();
    // Written first: a script that runs must never stand there as waiting.
    if (!write_file(job_file(folder_, job_.id), to_json(job_))) return false;
    begun_ = Clock::now();
    script_ = fork();
    if (script_ == 0) become_script(job_, folder_);
    if (script_ < 0) {
      script_over_ = true;
      job_.exit_code = 1;
    }
    return true;
  }

  void run() {
    while (!(script_over_ && !reap())) {
      const int signal = wait_for_signal();
      if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP) end_as("CANCELLED");
      reap();
      on_time();
    }
    if (job_.is_running()) job_.state = job_.exit_code == 0 && job_.exit_signal == 0 ? "COMPLETED" : "FAILED";
    job_.ended = utc_now();
    // With a full disk there is nobody to tell: the job is found as one whose supervisor died. Nor where the folder was
    // removed, or where somebody wants us to end.
    const std::filesystem::path file = job_file(folder_, job_.id);
    for (int i = 0; i < 60 && !write_file(file, to_json(job_)); ++i)
      if (!std::filesystem::exists(file.parent_path()) || wait_for_end(std::chrono::seconds(1))) return;
  }

 private:
  /// Collects those that ended; whether any child is left.
  bool reap() {
    for (;;) {
      int status = 0;
      const pid_t ended = waitpid(-1, &status, WNOHANG);
      if (ended < 0 && errno == EINTR) continue;
      if (ended <= 0) return ended == 0;
      if (ended != script_) continue;
      script_over_ = true;
      job_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
      job_.exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      begin_ending();  // what the script left behind
    }
  }

  int wait_for_signal() {
    auto until = Clock::now() + std::chrono::hours(1);
    if (kill_at_)
      until = std::min(until, *kill_at_);
    else if (job_.limit > 0)
      until = std::min(until, warned_ ? limit_at() : warning_at());
    const auto left = std::max(milliseconds(0), std::chrono::ceil<milliseconds>(until - Clock::now()));
    const timespec time = {left.count() / 1000, (left.count() % 1000) * 1'000'000};
    return sigtimedwait(&signals_, nullptr, &time);
  }

  /// Whether a signal to end came in this time, or before it.
  bool wait_for_end(std::chrono::seconds patience) const {
    sigset_t ends = signals_;
    sigdelset(&ends, SIGCHLD);
    const timespec time = {patience.count(), 0};
    return sigtimedwait(&ends, nullptr, &time) > 0;
  }

  Clock::time_point limit_at() const { return begun_ + std::chrono::seconds(job_.limit); }
  Clock::time_point warning_at() const {
    return job_.signal == 0 ? limit_at() : limit_at() - std::chrono::seconds(job_.signal_before);
  }

  void on_time() {
    const auto now = Clock::now();
    if (job_.limit > 0 && job_.signal != 0 && !warned_ && now >= warning_at()) {
      warned_ = true;
      if (!script_over_ && !kill_at_) warn();
    }
    if (job_.limit > 0 && now >= limit_at()) end_as("TIMEOUT");
    if (kill_at_ && now >= *kill_at_) {
      signal_all(SIGKILL);
      kill_at_ = now + milliseconds(50);  // what was forked meanwhile
    }
  }

  void warn() {
    if (job_.signal_script_only)
      kill(script_, job_.signal);
    else
      signal_all(job_.signal);
  }

  void end_as(const char* state) {
    if (script_over_ || !job_.is_running()) return;
    job_.state = state;
    begin_ending();
  }

  void begin_ending() {
    if (kill_at_) return;
    signal_all(SIGTERM);
    signal_all(SIGCONT);
    kill_at_ = Clock::now() + kill_wait_;
  }

  std::filesystem::path folder_;
  LocalJob job_;
  milliseconds kill_wait_;
  sigset_t signals_{};
  pid_t script_ = -1;
  bool script_over_ = false;
  bool warned_ = false;
  Clock::time_point begun_;
  std::optional<Clock::time_point> kill_at_;
};

/// Tells by a byte in `ready` that the job runs.
int supervise(const std::filesystem::path& folder, std::int64_t id, milliseconds kill_wait, int ready) {
  const auto lock = FileLock::take(lock_file(folder, id));
  if (!lock) return 1;
  const auto job = read_job_file(job_file(folder, id));
  if (!job || !job->is_pending()) return 1;
  Supervisor supervisor(folder, *job, kill_wait);
  if (!supervisor.start()) return 1;
  if (write(ready, "r", 1) != 1) {
    // Nobody waits for it any more; the job runs all the same.
  }
  close(ready);
  supervisor.run();
  return 0;
}

void close_all_but(int kept) {
  std::vector<int> open_ones;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored))
    open_ones.push_back(std::atoi(entry.path().filename().c_str()));
  for (const int fd : open_ones)
    if (fd > STDERR_FILENO && fd != kept) close(fd);
}

}  // namespace

std::optional<int> supervisor_main(int argc, char** argv) {
  if (argc != 5 || std::string_view(argv[1]) != kSupervise) return std::nullopt;
  const std::filesystem::path folder = argv[2];
  const std::int64_t id = std::atoll(argv[3]);
  const milliseconds kill_wait(std::atoll(argv[4]));
  close_all_but(-1);
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return 1;
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) {
    close(ready[0]);
    setsid();
    return supervise(folder, id, kill_wait, ready[1]);
  }
  // The daemon waits for this process only: the other one has no parent that would have to collect it.
  close(ready[1]);
  char byte = 0;
  ssize_t got = 0;
  while ((got = read(ready[0], &byte, 1)) < 0 && errno == EINTR) {
  }
  return got == 1 ? 0 : 1;
}

void kill_leftovers(const std::string& id, const std::string& directory) {
  const std::string of_id = "SLURM_JOB_ID=" + id, of_directory = "ORCH_JOB_DIR=" + directory;
  // More than once, for what is forked meanwhile.
  for (int round = 0; round < 3; ++round) {
    bool found = false;
    for (const pid_t process : all_processes()) {
      const std::string text = slurp("/proc/" + std::to_string(process) + "/environ");
      const auto variables = split(text, '\0');
      if (process == getpid() || std::ranges::find(variables, of_id) == variables.end() ||
          std::ranges::find(variables, of_directory) == variables.end())
        continue;
      found = true;
      kill(process, SIGKILL);
    }
    if (!found) return;
  }
}

}  // namespace orch::cluster
