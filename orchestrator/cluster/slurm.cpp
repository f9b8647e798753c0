#include "cluster/slurm.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "base/text.h"
#include "base/units.h"
#include "cluster/directives.h"
#include "cluster/slurm_answers.h"
#include "cluster/slurm_refusals.h"

namespace orch::cluster {
namespace {

using control::event::Seen;
using Why = control::event::NotSubmitted::Why;
using std::chrono::milliseconds;

constexpr std::size_t kNamesACall = 100;       // 20 kB of arguments; a system takes 128 kB
constexpr std::size_t kMostDetails = 20;       // jobs whose exit codes are asked for in one go
constexpr std::size_t kMostScript = 4u << 20;  // bytes; Slurm's own bound

Moment now() { return std::chrono::duration_cast<Moment>(std::chrono::steady_clock::now().time_since_epoch()); }

std::string local_time(std::chrono::system_clock::time_point when) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return text;
}

Result<std::string> read_script(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostScript + 1, '\0');
  if (!file || !file.read(text.data(), static_cast<std::streamsize>(text.size())).eof())
    return Error{"the script " + quote(path.string()) + " cannot be read" +
                 (file ? ": it has more than " + format_bytes(kMostScript) : "")};
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

/// The user's own locale: run_program gives Slurm's commands another, and sbatch would hand that on to the job.
void keep_locale(std::vector<std::string>& variables) {
  bool all = false;
  for (char** variable = environ; variable && *variable; ++variable) {
    const std::string_view text = *variable;
    if (!text.starts_with("LC_") && !text.starts_with("LANGUAGE=")) continue;
    all = all || text.starts_with("LC_ALL=");
    variables.emplace_back(text);
  }
  if (!all) variables.emplace_back("LC_ALL=");
}

/// Why `whom` is not asked now; nothing: it is.
std::optional<std::string> pausing(const Backoff& pace, std::string_view whom) {
  const Moment at = now();
  if (pace.may_try(at)) return std::nullopt;
  return std::string(whom) + " did not answer " + counted(pace.failures(), "time") +
         " in a row; it is asked again in " + format_duration(std::chrono::duration<double>(pace.again() - at).count());
}

bool means_no_such_job(const RunError& failed) {
  return failed.said.find("Invalid job id specified") != std::string::npos;
}

}  // namespace

std::vector<std::string> submit_arguments(const JobToSubmit& job, std::string_view script) {
  const Directives said = read_directives(script);
  std::vector<std::string> argv = {"sbatch", "--parsable", "--job-name=" + job.name, "--comment=" + job.name,
                                   "--chdir=" + job.directory.string()};
  if (!said.has("open-mode")) argv.emplace_back("--open-mode=append");
  if (!said.has("requeue")) argv.emplace_back("--requeue");
  if (!job.excluded_nodes.empty()) {
    // An option of the command line would replace that of the script.
    std::string nodes = said.has("exclude") ? *said.find("exclude") + "," : "";
    argv.push_back("--exclude=" + nodes + join(job.excluded_nodes, ","));
  }
  // A site that hands on few variables hands on the one by which the script finds its directory.
  if (const std::string* exported = said.find("export"); exported && lower(*exported) != "all") {
    const std::string names = lower(*exported) == "none" || lower(*exported) == "nil" ? "" : *exported + ",";
    argv.push_back("--export=" + names + "ORCH_JOB_DIR");
  }
  argv.push_back(job.script.string());
  return argv;
}

Slurm::Slurm(SlurmRules rules)
    : rules_(rules),
      user_(std::to_string(geteuid())),
      bucket_(rules.commands_at_once, rules.commands_per_second),
      controller_(rules.pause, rules.longest_pause),
      accountant_(rules.pause, rules.longest_pause) {}

Slurm::Answer Slurm::ask(Backoff& pace, const std::vector<std::string>& argv, milliseconds patience,
                         const std::vector<std::string>& variables) const {
  std::this_thread::sleep_for(bucket_.take(now()));
  Answer answer = run_program(argv, patience, rules_.most_output, variables);
  if (answer || !nobody_answered(answer.error()))
    pace.worked();
  else
    pace.failed(now(), std::uniform_real_distribution<>()(random_));
  return answer;
}

Result<std::string, SubmitError> Slurm::submit(const JobToSubmit& given) {
  const std::lock_guard lock(mutex_);
  JobToSubmit job = given;
  job.script = std::filesystem::absolute(job.script);
  job.directory = std::filesystem::absolute(job.directory);
  if (!is_job_name(job.name))
    return SubmitError{Why::kMistake, quote(job.name) +
                                          " is no name for a job: letters, digits, '.', '_' and '-', a letter first, "
                                          "at most " +
                                          std::to_string(kLongestJobName)};
  for (const std::string& node : job.excluded_nodes)
    if (const auto names = read_nodes(node); !names || *names != std::vector{node})
      return SubmitError{Why::kMistake, quote(node) + " is no name of a node"};
  const auto script = read_script(job.script);
  if (!script) return SubmitError{Why::kLater, script.error().what};
  if (const auto why = pausing(controller_, "Slurm")) return SubmitError{Why::kLater, *why};
  std::vector<std::string> variables = {"ORCH_JOB_DIR=" + job.directory.string()};
  keep_locale(variables);
  const Answer answer = ask(controller_, submit_arguments(job, *script), rules_.submit_patience, variables);
  if (!answer) return refused(answer.error());
  auto id = read_submitted(answer->out);
  if (!id) return SubmitError{Why::kUnclear, id.error().what + "; Slurm may have the job, the next look tells"};
  return *id;
}

Result<std::monostate> Slurm::cancel(const std::string& name, const std::string& cluster_id) {
  const std::lock_guard lock(mutex_);
  if (!is_job_name(name)) return Error{quote(name) + " is no name of a job"};
  // The name goes with the id: should Slurm have given the id to another job by now, that one stays.
  std::vector<std::string> argv = {"scancel", "--user=" + user_, "--name=" + name};
  if (!cluster_id.empty()) {
    if (!std::ranges::all_of(cluster_id, [](char c) { return c >= '0' && c <= '9'; }))
      return Error{quote(cluster_id) + " is no job id of Slurm"};
    argv.push_back(cluster_id);
  }
  const Answer answer = ask(controller_, argv, rules_.patience);
  if (answer || means_no_such_job(answer.error()) ||
      answer.error().said.find("Job/step already completing or completed") != std::string::npos)
    return std::monostate{};
  return Error{answer.error().what};
}

Result<Slurm::Jobs> Slurm::ask_queue(const std::string& prefix, std::span<const std::string> names) {
  if (const auto why = pausing(controller_, "Slurm")) return Error{*why};
  // --all: in partitions that are hidden from us, too. --states=all: as long as the controller remembers them.
  std::vector<std::string> argv = {"squeue",       "--noheader",      "--all",
                                   "--states=all", "--user=" + user_, "--format=" + std::string(kQueueFormat)};
  if (!names.empty()) argv.push_back("--name=" + join(names, ","));
  const Answer answer = ask(controller_, argv, rules_.patience);
  if (!answer) return Error{answer.error().what};
  return read_queue(answer->out, prefix);
}

Result<Slurm::Jobs> Slurm::look(const std::string& prefix) {
  const std::lock_guard lock(mutex_);
  return ask_queue(prefix, {});
}

Result<Slurm::Jobs> Slurm::ask_accounting_of(std::span<const std::string> names) {
  if (const auto why = pausing(accountant_, "accounting")) return Error{*why};
  const Answer answer = ask(accountant_,
                            {"sacct", "--parsable2", "--noheader", "--allocations", "--user=" + user_,
                             "--starttime=" + local_time(std::chrono::system_clock::now() - rules_.history_reach),
                             "--name=" + join(names, ","), "--format=" + std::string(kAccountingFields)},
                            rules_.patience);
  accounting_asked_ = now();
  if (answer) {
    accounting_ = Accounting::kWorks;
    return read_accounting(answer->out, names);
  }
  if (answer.error().said.find("accounting storage is disabled") != std::string::npos) {
    accounting_ = Accounting::kOff;
    return Jobs{};
  }
  accounting_ = Accounting::kAway;
  // Whatever its words are: it is not asked again at once.
  accountant_.failed(now(), std::uniform_real_distribution<>()(random_));
  return Error{answer.error().what};
}

Result<Slurm::Jobs> Slurm::ask_accounting(std::span<const std::string> names) {
  Jobs jobs;
  for (std::size_t i = 0; i < names.size(); i += kNamesACall) {
    if (accounting_ == Accounting::kOff && now() - accounting_asked_ < rules_.accounting_again) break;
    auto some = ask_accounting_of(names.subspan(i, std::min(kNamesACall, names.size() - i)));
    if (!some) return some;
    std::ranges::move(*some, std::back_inserter(jobs));
  }
  // A job that accounting takes for alive says no end; the controller's word on it is asked for.
  std::erase_if(jobs, [](const Seen& seen) { return seen.phase != Seen::Phase::kOver; });
  return jobs;
}

Result<Slurm::Jobs> Slurm::ask_controller(std::span<const std::string> names) {
  Jobs jobs;
  std::size_t details = 0;
  for (std::size_t i = 0; i < names.size(); i += kNamesACall) {
    const auto some = names.subspan(i, std::min(kNamesACall, names.size() - i));
    auto queue = ask_queue("", some);
    if (!queue) return queue;
    for (Seen& seen : *queue) {
      if (std::ranges::find(some, seen.name) == some.end()) continue;
      if (seen.phase == Seen::Phase::kOver && details++ < kMostDetails) {
        const Answer answer =
            ask(controller_, {"scontrol", "--all", "--oneliner", "show", "job", seen.cluster_id}, rules_.patience);
        // Without it the end is known all the same, and only its exit code is not.
        if (answer)
          if (auto told = read_job(answer->out, seen.name); told && *told) seen = std::move(**told);
      }
      jobs.push_back(std::move(seen));
    }
  }
  return jobs;
}

Result<Slurm::Jobs> Slurm::history(std::span<const std::string> names) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> asked;
  std::ranges::copy_if(names, std::back_inserter(asked), is_job_name);
  if (asked.empty()) return Jobs{};
  const auto accounting = ask_accounting(asked);
  Jobs jobs = accounting ? *accounting : Jobs{};
  const auto is_known = [&](const std::string& name) {
    return std::ranges::find(jobs, name, &Seen::name) != jobs.end();
  };
  std::erase_if(asked, is_known);
  if (asked.empty()) return jobs;
  auto more = ask_controller(asked);
  if (!more) return more;
  std::ranges::move(*more, std::back_inserter(jobs));
  // Nobody may take for unknown what accounting may still know.
  if (!accounting && !std::ranges::all_of(asked, is_known)) return accounting.error();
  return jobs;
}

std::string Slurm::describe() const {
  const std::lock_guard lock(mutex_);
  if (version_.empty() && !pausing(controller_, "Slurm"))
    if (const Answer answer = ask(controller_, {"scontrol", "--version"}, rules_.patience))
      version_ = read_version(answer->out).value_or("");
  const std::string text = version_.empty() ? "slurm" : "slurm " + version_;
  switch (accounting_) {
    case Accounting::kWorks:
      return text + " (accounting)";
    case Accounting::kOff:
      return text + " (no accounting)";
    case Accounting::kAway:
      return text + " (accounting does not answer)";
    case Accounting::kNotAsked:
      break;
  }
  return text;
}

}  // namespace orch::cluster
