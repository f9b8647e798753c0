// orchctl doctor: what is wrong with this machine, as far as it can be found without changing anything.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "base/wire/messages.h"
#include "cluster/process.h"
#include "orchctl/daemon.h"
#include "orchctl/load.h"
#include "store/disk.h"
#include "store/store.h"

namespace orch::orchctl {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::ordered_json;

constexpr double kLittleSpace = 2 * kGiB;
constexpr double kMuchSkew = 5;  // seconds
constexpr auto kPatience = 20s;
constexpr auto kJob = 120s;  // for a job of a few seconds to be started

enum class State { kWell, kWarning, kProblem, kSkipped };

std::string_view name_of(State state) {
  constexpr std::string_view kNames[] = {"ok", "warning", "problem", "skipped"};
  return kNames[static_cast<std::size_t>(state)];
}

struct Finding {
  std::string check;
  State state = State::kWell;
  std::string what;
  std::string advice;
};

class Doctor {
 public:
  Doctor(Session& session, const DoctorArguments& arguments) : session_(session), arguments_(arguments) {}

  std::vector<Finding> run() {
    look_at_folders();
    look_at_programs();
    look_at_daemon();
    look_at_cluster();
    return std::move(found_);
  }

 private:
  void say(std::string check, State state, std::string what, std::string advice = "") {
    found_.push_back({std::move(check), state, std::move(what), std::move(advice)});
  }

  static std::optional<cluster::Output> run_program(const std::vector<std::string>& argv, std::string& why,
                                                    std::chrono::milliseconds patience = kPatience) {
    auto output = cluster::run_program(argv, patience, 1 << 20);
    if (output) return *std::move(output);
    why = output.error().what;
    return std::nullopt;
  }

  // This host.

  void look_at_folders() {
    const fs::path state = state_directory(session_), database = database_directory(session_);
    std::error_code error;
    if (!fs::exists(state, error)) {
      say("state directory", State::kSkipped, state.string() + " is not there yet; orchctl up makes it");
      return;
    }
    struct stat about {};
    if (::stat(state.c_str(), &about) == 0 && about.st_uid != ::geteuid())
      say("state directory", State::kProblem, state.string() + " belongs to another account",
          "name your own with --state or ORCH_STATE");
    else if (about.st_mode & 077 & ~shared_mode(state))
      say("state directory", State::kWarning, state.string() + " can be looked into by others",
          "chmod 700 " + state.string() + ", or orchctl down and up, which closes it as far as --socket-mode says");
    else
      say("state directory", State::kWell, state.string());
    if (const auto refused = store::refuse_disk(database))
      say("database", State::kProblem, *refused, "give a folder on a local disk with orchctl up --database DIR");
    else
      look_at_database(database);
    for (const auto& [what, folder] :
         {std::pair("disk of the state", state), std::pair("disk of the database", database)}) {
      const auto space = fs::space(folder, error);
      if (error) continue;
      const double free = static_cast<double>(space.available);
      say(what, free < kLittleSpace ? State::kWarning : State::kWell, format_bytes(free) + " free",
          free < kLittleSpace ? "a full disk stops the daemon until there is room" : "");
    }
    look_at_file_clock(state);
  }

  /// The bits by which others pass through to a socket that is for them, as the daemon keeps it.
  static mode_t shared_mode(const fs::path& state) {
    Diagnostics unread;
    const auto text = read_file(state / "orchd.json", 1 << 16, unread);
    const auto kept = text ? ordered_json::parse(*text, nullptr, false) : ordered_json();
    const std::string mode = kept.is_object() && kept.contains("socket-mode") && kept["socket-mode"].is_string()
                                 ? kept["socket-mode"].get<std::string>()
                                 : "";
    const auto bits = static_cast<mode_t>(std::strtoul(mode.c_str(), nullptr, 8));
    return (bits & 060 ? 050 : 0) | (bits & 06 ? 05 : 0);
  }

  /// Reads all of it, beside the daemon if one runs.
  void look_at_database(const fs::path& folder) {
    const fs::path file = folder / "orch.db";
    std::error_code error;
    if (!fs::exists(file, error))
      return say("database", State::kSkipped, file.string() + " is not there yet; the daemon makes it");
    if (::access(file.c_str(), R_OK) != 0)
      return say("database", State::kSkipped, file.string() + " may not be read by this account");
    store::Options options;
    options.read_only = true;
    const auto store = store::Store::open(folder, options);
    const std::string advice =
        "orchctl down, keep the file, and bring a backup back with orchctl restore; docs/operations.md says how, and "
        "what to do without a backup";
    if (!store) return say("database", State::kProblem, store.error().what, "where the file is damaged: " + advice);
    const std::vector<std::string> wrong = (*store)->check();
    if (wrong.empty()) return say("database", State::kWell, file.string() + " is on a local disk, and sound");
    say("database", State::kProblem,
        wrong.front() +
            (wrong.size() == 1 ? "" : " (and " + counted(static_cast<long long>(wrong.size() - 1), "more fault") + ")"),
        advice);
  }

  /// A file server's clock against ours: workers' files are judged by neither, people's eyes are.
  void look_at_file_clock(const fs::path& folder) {
    const fs::path probe = folder / (".doctor-" + std::to_string(::getpid()));
    { std::ofstream(probe) << "x"; }
    struct stat about {};
    const bool there = ::stat(probe.c_str(), &about) == 0;
    std::error_code ignored;
    fs::remove(probe, ignored);
    if (!there) return say("clock", State::kProblem, folder.string() + " cannot be written", "see its mode and quota");
    const double skew = std::abs(static_cast<double>(about.st_mtim.tv_sec - ::time(nullptr)));
    say("clock", skew > kMuchSkew ? State::kWarning : State::kWell,
        skew > kMuchSkew
            ? "the file system of " + folder.string() + " is " + format_duration(skew) + " off this host's clock"
            : "this host and the file system agree",
        skew > kMuchSkew ? "the hosts' clocks should be kept by NTP" : "");
  }

  void look_at_programs() {
    std::error_code error;
    const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
    for (const auto& [name, places] :
         {std::pair(std::string("orchd"), std::vector<fs::path>{here / "orchd"}),
          std::pair(std::string("orch-worker"),
                    std::vector<fs::path>{here / "orch-worker", here.parent_path() / "worker" / "orch-worker"})}) {
      const auto at = std::ranges::find_if(places, [&](const fs::path& place) { return fs::exists(place, error); });
      if (at == places.end()) {
        say(name, State::kProblem, "is not beside orchctl in " + here.string(), "install the whole package");
        continue;
      }
      std::string why;
      const auto version = run_program({at->string(), "--version"}, why);
      if (!version)
        say(name, State::kProblem, why);
      else
        say(name, State::kWell, std::string(trim(version->out)));
    }
  }

  void look_at_daemon() {
    auto daemon = Daemon::find(session_, Daemon::Time(10));
    if (!daemon) return say("daemon", State::kWarning, daemon.error().what);
    const auto answer = daemon->get("/v1/daemon");
    if (!answer) return say("daemon", State::kProblem, answer.error().what);
    const auto body = ordered_json::parse(*answer, nullptr, false);
    say("daemon", State::kWell,
        "serves on " + shown(body.value("host", "?"), 100) + ", " + shown(body.value("cluster", "?"), 200));
    if (body.value("version", "") != ORCH_VERSION)
      say("version", State::kWarning,
          "the daemon is " + shown(body.value("version", "?"), 50) + ", orchctl is " ORCH_VERSION,
          "orchctl down, then up");
  }

  // The cluster.

  void look_at_cluster() {
    std::string why;
    const auto version = cluster::run_program({"sinfo", "--version"}, kPatience, 1 << 20);
    if (!version) {
      // As the daemon takes it at its first start: by itself it runs jobs on this machine only where there is no sinfo.
      if (version.error().kind == cluster::RunFailure::kNotFound)
        say("Slurm", State::kSkipped, "there is none here; jobs run on this machine");
      else
        say("Slurm", State::kWarning, "it is installed here and does not answer: " + version.error().what,
            "see to it; or orchctl up --cluster local, and jobs run on this machine");
      return look_at_gpus();
    }
    const auto partitions = run_program({"sinfo", "--noheader", "--format=%R|%G|%a|%l"}, why);
    if (!partitions)
      return say("Slurm", State::kProblem, why,
                 "is slurmctld up, and does SLURM_CONF (or /etc/slurm) name the right cluster?");
    say("Slurm", State::kWell, std::string(trim(version->out)) + " answers");
    look_at_partitions(partitions->out);
    look_at_accounting();
    look_at_pmix();
    if (arguments_.job) look_from_a_job();
  }

  void look_at_partitions(const std::string& table) {
    struct Row {
      std::string name, gres, state;
    };
    std::vector<Row> rows;
    std::vector<std::string> names;
    for (const std::string_view line : split(table, '\n')) {
      const auto fields = split(line, '|');
      if (fields.size() < 3) continue;
      rows.push_back({std::string(fields[0]), std::string(fields[1]), std::string(fields[2])});
      names.emplace_back(fields[0]);
    }
    Diagnostics diagnostics;
    const Catalog catalog = load_catalog(session_, diagnostics);
    const fs::path kept = state_directory(session_) / "cluster.yaml";
    std::error_code error;
    if (!fs::exists(kept, error))
      return say("partitions", State::kSkipped, "no cluster file yet: orchctl up makes one from what sinfo says");
    const auto cluster = load_cluster(session_, kept.string(), "", catalog, diagnostics);
    if (!cluster)
      return say("partitions", State::kProblem, "the cluster file " + kept.string() + " has problems",
                 "orchctl validate " + kept.string());
    for (const Partition& partition : cluster->partitions) {
      const auto row = std::ranges::find(rows, partition.name, &Row::name);
      if (row == rows.end()) {
        say("partition " + partition.name, State::kProblem, "Slurm has none of that name" + hint(partition.name, names),
            "correct " + kept.string());
        continue;
      }
      if (row->state != "up")
        say("partition " + partition.name, State::kWarning, "is " + shown(row->state, 40) + ": jobs wait there");
      if (partition.gpus_per_node > 0 && row->gres.find(cluster->gres_name + ":") == std::string::npos)
        say("partition " + partition.name, State::kProblem,
            "the cluster file asks for --gres=" + cluster->gres_name + ", Slurm has " + shown(row->gres, 100),
            "correct gres_name in " + kept.string());
      else
        say("partition " + partition.name, State::kWell,
            "is there" + (row->gres.empty() ? "" : ", with " + shown(row->gres, 100)));
    }
  }

  void look_at_accounting() {
    std::string why;
    if (run_program({"sacct", "--noheader", "--format=JobID", "--starttime=now-1minutes"}, why))
      say("accounting", State::kWell, "sacct answers");
    else
      say("accounting", State::kWarning, "sacct does not: " + why,
          "nothing needs it; ends of jobs are told less exactly");
  }

  void look_at_pmix() {
    std::string why;
    const auto list = run_program({"srun", "--mpi=list"}, why);
    if (!list) return say("PMIx", State::kProblem, why);
    const std::string both = list->out + list->err;
    if (both.find("pmix") == std::string::npos)
      say("PMIx", State::kProblem, "srun --mpi=list does not name pmix",
          "Slurm has to be built with PMIx for jobs of several ranks");
    else
      say("PMIx", State::kWell, "srun has it");
  }

  /// From a compute node: whether the daemon can be reached, and what the GPUs' driver is.
  void look_from_a_job() {
    std::string why;
    const fs::path endpoint_file = state_directory(session_) / "endpoint.json";
    Diagnostics diagnostics;
    const auto text = read_file(endpoint_file, 1 << 16, diagnostics);
    const auto endpoint = text ? wire::read<wire::Endpoint>(*text) : Result<wire::Endpoint>(Error{"not there"});
    if (endpoint && endpoint->port > 0) {
      for (const std::string& address : endpoint->addresses) {
        const auto reached = run_program({"srun", "--ntasks=1", "--time=1", "--quiet", "timeout", "10", "bash", "-c",
                                          "exec 3<>\"/dev/tcp/$0/$1\"", address, std::to_string(endpoint->port)},
                                         why, kJob);
        say("from a compute node", reached ? State::kWell : State::kProblem,
            address + " port " + std::to_string(endpoint->port) +
                (reached ? " can be reached" : " cannot be reached: " + why),
            reached ? "" : "open the port, give another --address, or use orchctl up --link files");
      }
    } else {
      say("from a compute node", State::kSkipped, "the daemon does not listen for workers over TLS");
    }
    const auto driver = run_program({"srun", "--ntasks=1", "--time=1", "--quiet", "--gres=gpu:1", "nvidia-smi",
                                     "--query-gpu=name,driver_version", "--format=csv,noheader"},
                                    why, kJob);
    say("CUDA driver", driver ? State::kWell : State::kWarning, driver ? shown(trim(driver->out), 200) : why);
  }

  void look_at_gpus() {
    std::string why;
    const auto driver = run_program({"nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"}, why);
    if (driver)
      say("CUDA driver", State::kWell, shown(trim(driver->out), 400));
    else
      say("CUDA driver", State::kSkipped, "no NVIDIA driver answers here: programs run on CPUs");
  }

  Session& session_;
  const DoctorArguments& arguments_;
  std::vector<Finding> found_;
};

}  // namespace

int doctor(Session& session, const DoctorArguments& arguments) {
  const std::vector<Finding> found = Doctor(session, arguments).run();
  const bool ill = std::ranges::any_of(found, [](const Finding& it) { return it.state == State::kProblem; });
  if (session.json) {
    ordered_json list = ordered_json::array();
    for (const Finding& it : found)
      list.push_back(
          {{"check", it.check}, {"state", std::string(name_of(it.state))}, {"what", it.what}, {"advice", it.advice}});
    print_json(session, list);
    return ill ? kFailed : kWell;
  }
  report::Table table({{"check"}, {"state"}, {"what", report::Align::kLeft, 400}});
  for (const Finding& it : found)
    table.add({it.check, std::string(name_of(it.state)), it.what + (it.advice.empty() ? "" : "; " + it.advice)});
  table.print(session.out, session.style);
  return ill ? kFailed : kWell;
}

}  // namespace orch::orchctl
