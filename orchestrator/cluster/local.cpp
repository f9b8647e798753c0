#include "cluster/local.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "cluster/local_supervisor.h"
#include "cluster/slurm_answers.h"
#include "cluster/slurm_states.h"

namespace orch::cluster {
namespace {

using control::event::Seen;
using Why = control::event::NotSubmitted::Why;

// Stands in for Slurm's: the ranks of one machine. Open MPI must not take the job for Slurm's own and call srun.
constexpr const char* kSrun = R"sh(#!/bin/bash
# srun [--option=value...] COMMAND [ARGUMENT...]: starts SLURM_NTASKS ranks of a command on this machine.
tasks="${SLURM_NTASKS:-1}"
while [[ "${1:-}" == -* ]]; do
  case "$1" in
    --ntasks=*) tasks="${1#*=}" ;;
    -n) tasks="$2" && shift ;;
    --*) ;;
    *) echo "srun: on this machine only options of the form --name=value are understood, not '$1'" >&2 && exit 1 ;;
  esac
  shift
done
if [[ "$tasks" == 1 ]]; then exec "$@"; fi
if ! command -v mpirun >/dev/null; then
  echo "srun: $tasks ranks need mpirun, which is not on the PATH" >&2
  exit 1
fi
export OMPI_MCA_plm=isolated OMPI_MCA_ras=^slurm PRTE_MCA_plm=isolated PRTE_MCA_ras=^slurm
if [[ "$(id -u)" == 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# Ranks have as long to end as a job has, also those that are left when one has died.
export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-30}"
exec mpirun --oversubscribe -np "$tasks" "$@"
)sh";

std::int64_t utc_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

Seen seen_of(const LocalJob& job) {
  const Meaning meaning = meaning_of(job.state);
  Seen seen{job.name, std::to_string(job.id), meaning.phase, meaning.end, job.state, {}};
  if (job.started != 0) seen.nodes = {host_name()};
  if (job.is_pending()) seen.says += " (Resources)";
  if (job.is_over() && job.exit_signal != 0)
    seen.says += " (signal " + std::to_string(job.exit_signal) + ")";
  else if (job.is_over() && job.exit_code != 0)
    seen.says += " (exit code " + std::to_string(job.exit_code) + ")";
  return seen;
}

/// Runs it to its end: it ends as soon as the supervisor that it forks stands.
bool run_to_end(const std::vector<std::string>& argv) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> texts = argv;
  std::vector<char*> arguments;
  for (std::string& text : texts) arguments.push_back(text.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int code = posix_spawnp(&child, arguments.front(), &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return false;
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string slots_text(const Room& room) {
  return counted(room.gpus, "GPU slot") + ", " + counted(room.cpus, "CPU") + " and " +
         format_bytes(static_cast<double>(room.memory)) + " of memory";
}

}  // namespace

Result<std::unique_ptr<Local>> Local::open(LocalRules rules) {
  std::error_code failed;
  rules.folder = std::filesystem::absolute(rules.folder);
  std::filesystem::create_directories(rules.folder / "jobs", failed);
  std::filesystem::create_directories(rules.folder / "bin", failed);
  if (failed) return Error{rules.folder.string() + " cannot be made: " + failed.message()};
  auto lock = FileLock::take(rules.folder / "lock");
  if (!lock) return Error{"another daemon runs jobs on this machine with the folder " + rules.folder.string()};
  const std::filesystem::path srun = rules.folder / "bin" / "srun";
  if (auto wrote = write_file(srun, kSrun); !wrote) return wrote.error();
  chmod(srun.c_str(), 0755);
  if (rules.cpus == 0) rules.cpus = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (rules.memory == 0) rules.memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::unique_ptr<Local> local(new Local(std::move(rules), std::move(*lock)));
  if (auto loaded = local->load(); !loaded) return loaded.error();
  local->thread_ = std::thread([&machine = *local] { machine.serve(); });
  return local;
}

Local::Local(LocalRules rules, FileLock lock)
    : rules_(std::move(rules)),
      lock_(std::move(lock)),
      machine_{static_cast<int>(rules_.slots.size()), rules_.cpus, rules_.memory} {}

Local::~Local() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<std::monostate> Local::load() {
  const std::filesystem::path last = rules_.folder / "last_id";
  if (std::filesystem::exists(last)) {
    std::ifstream file(last);
    if (!(file >> last_id_) || last_id_ < 0) return Error{last.string() + " does not hold the last id that was used"};
  }
  for (const auto& entry : std::filesystem::directory_iterator(rules_.folder / "jobs")) {
    if (entry.path().extension() != ".json") {
      // What a writer left that was killed; one that is at it now takes no hour.
      std::error_code ignored;
      const bool is_old =
          entry.last_write_time(ignored) + std::chrono::hours(1) < decltype(entry.last_write_time())::clock::now();
      if (entry.path().extension() != ".lock" && is_old) std::filesystem::remove(entry.path(), ignored);
      continue;
    }
    auto job = read_job_file(entry.path());
    if (!job) return job.error();
    last_id_ = std::max(last_id_, job->id);
    jobs_.emplace(job->id, std::move(*job));
  }
  return std::monostate{};
}

Result<std::monostate> Local::save(const LocalJob& job) {
  return write_file(job_file(rules_.folder, job.id), to_json(job));
}

LocalJob* Local::find(const std::string& name, const std::string& cluster_id) {
  for (auto& [id, job] : jobs_)
    if (job.name == name && (cluster_id.empty() || cluster_id == std::to_string(id))) return &job;
  return nullptr;
}

Result<std::string, SubmitError> Local::submit(const JobToSubmit& submitted) {
  const std::lock_guard lock(mutex_);
  if (!is_job_name(submitted.name))
    return SubmitError{Why::kMistake, quote(submitted.name) +
                                          " is no name for a job: letters, digits, '.', '_' and "
                                          "'-', a letter first, at most " +
                                          std::to_string(kLongestJobName)};
  if (const LocalJob* known = find(submitted.name, "")) return std::to_string(known->id);
  std::ifstream file(submitted.script, std::ios::binary);
  std::ostringstream script;
  if (!file || !(script << file.rdbuf()))
    return SubmitError{Why::kLater, "the script " + quote(submitted.script.string()) + " cannot be read"};
  auto job = local_job_of(submitted, script.str(), last_id_ + 1);
  if (!job) return job.error();
  // Of ranks with a GPU slot and a CPU each, more than the machine has CPUs take turns: the slots may be pretended.
  if (job->ntasks > 1 && job->ntasks <= job->room.gpus && job->cpus_per_task == 1)
    job->room.cpus = std::min(job->room.cpus, machine_.cpus);
  if (!machine_.holds(job->room))
    return SubmitError{Why::kMistake,
                       "the job asks for " + slots_text(job->room) + "; this machine has " + slots_text(machine_)};
  if (std::ranges::find(submitted.excluded_nodes, host_name()) != submitted.excluded_nodes.end())
    return SubmitError{Why::kLater, "the only machine, " + host_name() + ", is left out for a while"};
  // The number is used up before anything bears it.
  auto wrote = write_file(rules_.folder / "last_id", std::to_string(job->id) + "\n");
  if (wrote) wrote = save(*job);
  if (!wrote) return SubmitError{Why::kLater, wrote.error().what + "; it is tried again later"};
  last_id_ = job->id;
  jobs_.emplace(job->id, *job);
  changed_.notify_all();
  return std::to_string(job->id);
}

Result<std::monostate> Local::cancel(const std::string& name, const std::string& cluster_id) {
  const std::lock_guard lock(mutex_);
  refresh();
  LocalJob* job = find(name, cluster_id);
  if (!job || job->is_over()) return std::monostate{};
  if (job->is_running()) {
    // Its lock is held, as refresh() has just seen: the process is its supervisor, which ends the job in its own time.
    if (kill(job->supervisor, SIGTERM) == 0 || errno == ESRCH) return std::monostate{};
    return Error{"job " + name + " could not be ended: its supervisor takes no signal from us"};
  }
  LocalJob cancelled = *job;
  cancelled.state = "CANCELLED";
  cancelled.ended = utc_now();
  if (auto wrote = save(cancelled); !wrote) return wrote;
  *job = cancelled;
  changed_.notify_all();
  return std::monostate{};
}

Result<std::vector<Seen>> Local::look(const std::string& prefix) {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<Seen> seen;
  for (const auto& [id, job] : jobs_)
    if (job.name.starts_with(prefix) && (!job.is_over() || utc_now() - job.ended <= rules_.shown_for.count()))
      seen.push_back(seen_of(job));
  return seen;
}

Result<std::vector<Seen>> Local::history(std::span<const std::string> names) {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<Seen> seen;
  for (const std::string& name : names)
    if (const LocalJob* job = find(name, "")) seen.push_back(seen_of(*job));
  return seen;
}

std::string Local::describe() const { return "this machine, " + counted(machine_.gpus, "GPU slot"); }

void Local::serve() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    refresh();
    start_jobs();
    forget_old();
    if (std::ranges::any_of(jobs_, [](const auto& job) { return !job.second.is_over(); }))
      changed_.wait_for(lock, rules_.poll);
    else
      changed_.wait(lock);
  }
}

void Local::refresh() {
  for (auto& [id, job] : jobs_) {
    if (!job.is_running()) continue;
    // Asked for first: a supervisor that ends between the two has written how before.
    const auto lock = FileLock::take(lock_file(rules_.folder, id));
    auto now = read_job_file(job_file(rules_.folder, id));
    if (!now) continue;
    job = std::move(*now);
    if (!lock || !job.is_running()) continue;
    kill_leftovers(std::to_string(id), job.directory);
    job.state = "NODE_FAIL";
    job.ended = utc_now();
    if (!save(job)) job.state = "RUNNING";  // tried again with the next look
  }
}

std::vector<std::string> Local::free_slots() const {
  std::vector<std::string> free = rules_.slots;
  for (const auto& [id, job] : jobs_)
    if (job.is_running())
      std::erase_if(free,
                    [&](const std::string& slot) { return std::ranges::find(job.slots, slot) != job.slots.end(); });
  return free;
}

void Local::start_jobs() {
  std::vector<RunningJob> running;
  std::vector<WaitingJob> waiting;
  std::vector<LocalJob*> waiting_jobs;
  for (auto& [id, job] : jobs_) {
    if (job.is_running())
      running.push_back({job.room, job.limit > 0 ? std::optional(job.started + job.limit) : std::nullopt});
    if (!job.is_pending()) continue;
    waiting.push_back({job.room, job.limit > 0 ? std::optional(job.limit) : std::nullopt});
    waiting_jobs.push_back(&job);
  }
  for (const std::size_t i : may_start(machine_, running, waiting, utc_now())) start(*waiting_jobs[i]);
}

void Local::start(LocalJob& job) {
  LocalJob starting = job;
  starting.slots = free_slots();
  if (starting.slots.size() < static_cast<std::size_t>(job.room.gpus)) return;  // an earlier daemon had other slots
  starting.slots.resize(static_cast<std::size_t>(job.room.gpus));
  if (!save(starting)) return;  // a full disk: it waits
  std::vector<std::string> argv = rules_.supervisor;
  argv.insert(argv.end(),
              {kSupervise, rules_.folder.string(), std::to_string(job.id), std::to_string(rules_.kill_wait.count())});
  const bool stands = run_to_end(argv);
  auto now = read_job_file(job_file(rules_.folder, job.id));
  if (now && (stands || !now->is_pending())) {
    job = std::move(*now);
    return;
  }
  // A supervisor that an earlier daemon started is about to write that it runs.
  const auto lock = FileLock::take(lock_file(rules_.folder, job.id));
  if (!lock) return;
  // It never ran; the reason is this machine's, not the job's.
  job = starting;
  job.state = "BOOT_FAIL";
  job.ended = utc_now();
  (void)save(job).ok();
}

void Local::forget_old() {
  std::size_t over = 0;
  for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) over += at->second.is_over();
  for (auto at = jobs_.begin(); at != jobs_.end() && over > rules_.remembered;) {
    if (!at->second.is_over()) {
      ++at;
      continue;
    }
    std::error_code ignored;
    std::filesystem::remove(job_file(rules_.folder, at->first), ignored);
    std::filesystem::remove(lock_file(rules_.folder, at->first), ignored);
    at = jobs_.erase(at);
    --over;
  }
}

}  // namespace orch::cluster
