#include "cluster/local_job.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"
#include "cluster/directives.h"

namespace orch::cluster {
namespace {

using Json = nlohmann::ordered_json;
using Why = control::event::NotSubmitted::Why;

std::optional<std::int64_t> number_of(std::string_view text, std::int64_t most) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || number < 0 || number > most)
    return std::nullopt;
  return number;
}

/// `gpu`, `gpu:2`, `gpu:h100:2`; of a list, those that begin with gpu. `h100:2` or `2` of --gpus-per-node.
std::optional<int> gpus_of(std::string_view text, bool is_gres) {
  std::int64_t total = 0;
  for (const std::string_view part : split(text, ',')) {
    const auto words = split(part, ':');
    if (is_gres && words.front() != "gpu") return std::nullopt;
    const bool is_bare = words.size() == 1 && is_gres;
    const auto count = is_bare ? std::optional<std::int64_t>(1) : number_of(words.back(), 1000);
    if (!count || words.size() > 3) return std::nullopt;
    total += *count;
  }
  return static_cast<int>(total);
}

/// As Slurm reads --mem: MiB, or with a K, M, G or T.
std::optional<std::int64_t> memory_of(std::string_view text) {
  std::int64_t unit = 1 << 20;
  if (!text.empty()) {
    const std::size_t at = std::string_view("KMGT").find(static_cast<char>(text.back() & ~0x20));
    if (at != std::string_view::npos) {
      unit = std::int64_t{1} << (10 * (at + 1));
      text.remove_suffix(1);
    }
  }
  const auto number = number_of(text, (std::int64_t{1} << 50) / unit);
  return number ? std::optional(*number * unit) : std::nullopt;
}

/// Seconds; 0: none. A bare number is minutes to Slurm.
std::optional<std::int64_t> time_of(std::string_view text) {
  if (lower(text) == "unlimited" || lower(text) == "infinite") return 0;
  if (const auto minutes = number_of(text, 100'000'000)) return *minutes * 60;
  const auto seconds = parse_duration(text);
  if (!seconds || *seconds > 1e10 || text.find_first_of(":-") == std::string_view::npos) return std::nullopt;
  return static_cast<std::int64_t>(*seconds);
}

struct Warning {
  int signal = 0;
  std::int64_t before = 60;
  bool script_only = false;
};

/// `B:USR1@120`, `USR1`, `10@60`.
std::optional<Warning> warning_of(std::string_view text) {
  Warning warning;
  if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    warning.script_only = text.substr(0, colon).find('B') != std::string_view::npos;
    text.remove_prefix(colon + 1);
  }
  const std::size_t at = text.find('@');
  if (at != std::string_view::npos) {
    const auto before = number_of(text.substr(at + 1), 65'535);
    if (!before) return std::nullopt;
    warning.before = *before;
  }
  std::string_view name = text.substr(0, at);
  if (name.starts_with("SIG")) name.remove_prefix(3);
  struct Named {
    std::string_view name;
    int number;
  };
  constexpr std::array kSignals = {Named{"HUP", SIGHUP},   Named{"INT", SIGINT},   Named{"QUIT", SIGQUIT},
                                   Named{"ABRT", SIGABRT}, Named{"KILL", SIGKILL}, Named{"ALRM", SIGALRM},
                                   Named{"TERM", SIGTERM}, Named{"USR1", SIGUSR1}, Named{"USR2", SIGUSR2},
                                   Named{"URG", SIGURG},   Named{"CONT", SIGCONT}, Named{"STOP", SIGSTOP}};
  if (const auto known = std::ranges::find(kSignals, name, &Named::name); known != kSignals.end())
    warning.signal = known->number;
  else if (const auto number = number_of(name, 64); number && *number > 0)
    warning.signal = static_cast<int>(*number);
  else
    return std::nullopt;
  return warning;
}

/// `log-%j.out` of the job's id and name, in its directory.
std::string log_path(std::string_view pattern, const LocalJob& job) {
  std::string path;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char next = pattern[i] == '%' && i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (next == 'j' || next == 'A')
      path += std::to_string(job.id);
    else if (next == 'x')
      path += job.name;
    else if (next == '%')
      path += '%';
    else {
      path += pattern[i];
      continue;
    }
    ++i;
  }
  return (std::filesystem::path(job.directory) / path).string();
}

}  // namespace

Result<LocalJob, SubmitError> local_job_of(const JobToSubmit& submitted, std::string_view script, std::int64_t id) {
  const Directives said = read_directives(script);
  LocalJob job;
  job.id = id;
  job.name = submitted.name;
  job.script = std::filesystem::absolute(submitted.script).string();
  job.directory = std::filesystem::absolute(submitted.directory).string();

  const auto mistake = [&](std::string_view option, const std::string& expected) {
    return SubmitError{Why::kMistake, "#SBATCH --" + std::string(option) + "=" + shown(*said.find(option)) +
                                          " cannot be run on this machine: expected " + expected};
  };
  std::int64_t ntasks = 1, per_node = 1, cpus_per_task = 1, nodes = 1;
  const struct {
    std::string_view option;
    std::int64_t& value;
  } counts[] = {{"nodes", nodes}, {"ntasks", ntasks}, {"ntasks-per-node", per_node}, {"cpus-per-task", cpus_per_task}};
  for (const auto& [option, value] : counts) {
    const std::string* text = said.find(option);
    if (!text) continue;
    const auto number = number_of(*text, 1'000'000);
    if (!number || *number < 1) return mistake(option, "a number from 1");
    value = *number;
  }
  if (nodes != 1) return mistake("nodes", "1, as this is one machine");
  job.ntasks = static_cast<int>(said.has("ntasks") ? ntasks : per_node);
  job.cpus_per_task = static_cast<int>(cpus_per_task);
  if (job.ntasks * cpus_per_task > 1'000'000) return mistake("cpus-per-task", "fewer");
  job.room.cpus = static_cast<int>(job.ntasks * cpus_per_task);

  for (const std::string_view option : {"gres", "gpus-per-node", "gpus"}) {
    const std::string* text = said.find(option);
    if (!text || text->empty()) continue;
    const auto gpus = gpus_of(*text, option == "gres");
    if (!gpus) return mistake(option, option == "gres" ? "gpu:NUMBER or gpu:TYPE:NUMBER" : "NUMBER or TYPE:NUMBER");
    job.room.gpus = std::max(job.room.gpus, *gpus);
  }
  if (const std::string* text = said.find("mem")) {
    const auto memory = memory_of(*text);
    if (!memory) return mistake("mem", "a size such as 64G");
    job.room.memory = *memory;
  }
  if (const std::string* text = said.find("time")) {
    const auto limit = time_of(*text);
    if (!limit) return mistake("time", "a time such as 1-02:03:04");
    job.limit = *limit;
  }
  if (const std::string* text = said.find("signal")) {
    const auto warning = warning_of(*text);
    if (!warning) return mistake("signal", "a signal such as B:USR1@120");
    job.signal = warning->signal;
    job.signal_before = warning->before;
    job.signal_script_only = warning->script_only;
  }
  const std::string* output = said.find("output");
  job.output = log_path(output && !output->empty() ? *output : "slurm-%j.out", job);
  if (const std::string* error = said.find("error"); error && !error->empty()) job.error = log_path(*error, job);
  return job;
}

std::string to_json(const LocalJob& job) {
  const Json json = {{"id", job.id},
                     {"name", job.name},
                     {"script", job.script},
                     {"directory", job.directory},
                     {"gpus", job.room.gpus},
                     {"cpus", job.room.cpus},
                     {"memory", job.room.memory},
                     {"ntasks", job.ntasks},
                     {"cpus_per_task", job.cpus_per_task},
                     {"limit", job.limit},
                     {"signal", job.signal},
                     {"signal_before", job.signal_before},
                     {"signal_script_only", job.signal_script_only},
                     {"output", job.output},
                     {"error", job.error},
                     {"state", job.state},
                     {"slots", job.slots},
                     {"started", job.started},
                     {"ended", job.ended},
                     {"exit_code", job.exit_code},
                     {"exit_signal", job.exit_signal},
                     {"supervisor", job.supervisor}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<LocalJob> local_job_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Error{"it is no JSON object"};
  LocalJob job;
  try {
    json.at("id").get_to(job.id);
    json.at("name").get_to(job.name);
    json.at("script").get_to(job.script);
    json.at("directory").get_to(job.directory);
    json.at("gpus").get_to(job.room.gpus);
    json.at("cpus").get_to(job.room.cpus);
    json.at("memory").get_to(job.room.memory);
    json.at("ntasks").get_to(job.ntasks);
    json.at("cpus_per_task").get_to(job.cpus_per_task);
    json.at("limit").get_to(job.limit);
    json.at("signal").get_to(job.signal);
    json.at("signal_before").get_to(job.signal_before);
    json.at("signal_script_only").get_to(job.signal_script_only);
    json.at("output").get_to(job.output);
    json.at("error").get_to(job.error);
    json.at("state").get_to(job.state);
    json.at("slots").get_to(job.slots);
    json.at("started").get_to(job.started);
    json.at("ended").get_to(job.ended);
    json.at("exit_code").get_to(job.exit_code);
    json.at("exit_signal").get_to(job.exit_signal);
    json.at("supervisor").get_to(job.supervisor);
  } catch (const nlohmann::json::exception& error) {
    return Error{error.what()};
  }
  return job;
}

std::filesystem::path job_file(const std::filesystem::path& folder, std::int64_t id) {
  return folder / "jobs" / (std::to_string(id) + ".json");
}

std::filesystem::path lock_file(const std::filesystem::path& folder, std::int64_t id) {
  return folder / "jobs" / (std::to_string(id) + ".lock");
}

Result<LocalJob> read_job_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return Error{path.string() + " cannot be read"};
  auto job = local_job_from_json(text.str());
  if (!job) return Error{path.string() + " is no job's file: " + job.error().what};
  return job;
}

Result<std::monostate> write_file(const std::filesystem::path& path, std::string_view text) {
  const std::string beside = path.string() + "." + std::to_string(getpid());
  const auto failed = [&](int fd) {
    const int code = errno;
    if (fd >= 0) close(fd);
    unlink(beside.c_str());
    return Error{path.string() + " cannot be written: " + std::strerror(code)};
  };
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed(fd);
  for (std::string_view left = text; !left.empty();) {
    const ssize_t wrote = write(fd, left.data(), left.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return failed(fd);
    left.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (fsync(fd) != 0) return failed(fd);
  close(fd);
  if (rename(beside.c_str(), path.c_str()) != 0) return failed(-1);
  // The name, too, is to be there after a crash.
  const int folder = open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
  return std::monostate{};
}

std::optional<FileLock> FileLock::take(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return std::nullopt;
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return FileLock(fd);
  close(fd);
  return std::nullopt;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace orch::cluster
