// orchd: the daemon. This file says what can be typed, prepares the folders, and waits for the end.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "base/text.h"
#include "cluster/local.h"
#include "cluster/local_supervisor.h"
#include "cluster/slurm.h"
#include "orchd/daemon.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

struct Typed {
  std::string state, database, jobs, cluster, on, policy, templates, listen, link, worker, socket_mode = "0600";
  std::vector<std::string> catalogs, addresses;
  api::RoleGroups groups;
  int gpus = 0;
  double look_every = 120, tick = 5;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path state_folder(const std::string& typed) {
  if (!typed.empty()) return fs::absolute(typed);
  if (const std::string set = environment("ORCH_STATE"); !set.empty()) return fs::absolute(set);
  return fs::absolute(environment("HOME").empty() ? "/tmp" : environment("HOME")) / ".local/state/orch";
}

fs::path own_program() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

/// Beside this program, or in the folder beside its own where a build tree has it.
std::string find_worker(const std::string& typed) {
  if (!typed.empty()) return fs::absolute(typed).string();
  std::error_code error;
  for (const fs::path& path : {own_program().parent_path() / "orch-worker",
                               own_program().parent_path().parent_path() / "worker" / "orch-worker"})
    if (fs::exists(path, error)) return path.string();
  return "orch-worker";
}

void log_line(const std::string& what) {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char time[32];
  std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &utc);
  std::cerr << time << " " << shown(what, 2000) << std::endl;
}

Result<std::unique_ptr<cluster::Cluster>> make_cluster(const Site& site, const fs::path& folder) {
  if (site.where == Where::kSlurm) return std::unique_ptr<cluster::Cluster>(std::make_unique<cluster::Slurm>());
  cluster::LocalRules rules;
  rules.folder = folder;
  int gpus = 0;
  for (const Partition& partition : site.cluster.partitions) {
    gpus = std::max(gpus, partition.gpus_per_node);
    rules.cpus = std::max(rules.cpus, partition.cpus_per_node);
    rules.memory = std::max(rules.memory, static_cast<std::int64_t>(partition.memory_per_node));
  }
  for (int i = 0; i < gpus; ++i) rules.slots.push_back(std::to_string(i));
  rules.supervisor = {own_program().string()};
  auto local = cluster::Local::open(std::move(rules));
  if (!local) return local.error();
  return std::unique_ptr<cluster::Cluster>(*std::move(local));
}

int fail(const std::string& why) {
  std::cerr << "orchd: " << why << std::endl;
  return 1;
}

int run(const Typed& typed) {
  const fs::path state = state_folder(typed.state);
  std::error_code error;
  fs::create_directories(state, error);
  if (error) return fail(state.string() + " cannot be made: " + error.message());
  ::chmod(state.c_str(), 0700);

  Options options;
  options.state = state;
  options.database = typed.database.empty() ? state : fs::absolute(typed.database);
  options.jobs = typed.jobs.empty() ? state / "jobs" : fs::absolute(typed.jobs);
  fs::create_directories(options.jobs, error);
  if (error) return fail(options.jobs.string() + " cannot be made: " + error.message());
  const auto data = inputs::find_data(own_program());
  if (!data)
    return fail(
        "the catalog and the templates are not beside this program nor in a source tree above it; name their "
        "folder with ORCH_DATA_DIR");
  options.sources = {*data, typed.catalogs};
  auto site = choose_site({typed.cluster, typed.on, typed.gpus}, state, options.sources);
  if (!site) return fail(site.error().what);
  options.site = *site;
  options.policy = typed.policy;
  const bool local = site->where == Where::kLocal;
  options.around = {*data,
                    typed.templates.empty() ? fs::path() : fs::absolute(typed.templates),
                    {},
                    typed.link.empty() ? "http" : typed.link,
                    find_worker(typed.worker),
                    120};
  options.listen = !typed.listen.empty() || local || options.around.link == "files" ? typed.listen : "0.0.0.0:0";
  if (options.listen == "none") options.listen.clear();
  options.addresses = typed.addresses;
  options.socket_mode = static_cast<unsigned>(std::strtoul(typed.socket_mode.c_str(), nullptr, 8));
  options.groups = typed.groups;
  options.look.interval = std::chrono::milliseconds(static_cast<std::int64_t>(typed.look_every * 1000));
  options.look.most = options.look.interval * 5 / 2;
  // The queue of this machine costs nothing to look at.
  if (local) options.look = {std::chrono::seconds(2), std::chrono::seconds(5), std::chrono::milliseconds(200), 0.1};
  options.version = ORCH_VERSION;
  options.log = log_line;

  auto cluster = make_cluster(*site, options.database / "local");
  if (!cluster) return fail(cluster.error().what);
  log_line("orchd " + options.version + ": " + (*cluster)->describe() + " (" + site->why + "), state " +
           state.string());
  auto daemon = Daemon::start(std::move(options), *std::move(cluster));
  if (!daemon) return fail(daemon.error().what);
  log_line("serving");

  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
  std::thread listening([&] {
    int signal = 0;
    sigwait(&ends, &signal);
    (*daemon)->stop();
  });
  const auto ended = (*daemon)->wait();
  ::pthread_kill(listening.native_handle(), SIGTERM);
  listening.join();
  daemon->reset();
  if (!ended) return fail(ended.error().what);
  log_line("ended");
  return 0;
}

/// Signals that end the daemon are waited for by one thread: every other has them blocked from the first.
void block_signals() {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&blocked, signal);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace
}  // namespace orch::orchd

int main(int argc, char** argv) {
  using namespace orch::orchd;
  if (const auto code = orch::cluster::supervisor_main(argc, argv)) return *code;
  Typed typed;
  CLI::App app("The daemon: keeps the queue of cells, submits jobs, takes in results. `orchctl up` starts it.");
  app.set_version_flag("--version", "orchd " ORCH_VERSION);
  app.add_option("--state", typed.state, "the state directory ($ORCH_STATE, else ~/.local/state/orch)")
      ->type_name("DIR");
  app.add_option("--database", typed.database,
                 "a folder on a local disk for the database and the socket (the state directory)")
      ->type_name("DIR");
  app.add_option("--jobs", typed.jobs, "a folder that compute nodes see, for the jobs' directories (STATE/jobs)")
      ->type_name("DIR");
  app.add_option("-c,--cluster", typed.cluster,
                 "slurm, local, a cluster file or the name of one that ships; as at the last start if it is left out, "
                 "else Slurm where sinfo answers, else local")
      ->type_name("C");
  app.add_option("--on", typed.on, "which cluster, when the file describes several")->type_name("NAME");
  app.add_option("--gpus", typed.gpus, "GPU slots that a local cluster pretends to have")
      ->check(CLI::Range(1, 64))
      ->type_name("N");
  app.add_option("-p,--policy", typed.policy, "a policy file or the name of one that ships; else the one set last")
      ->type_name("P");
  app.add_option("--catalog", typed.catalogs, "a site's own catalog file or folder; may be given several times")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  app.add_option("--templates", typed.templates, "a folder of job templates that win over those that ship")
      ->type_name("DIR");
  app.add_option("--listen", typed.listen, "ADDRESS:PORT for TLS (with Slurm 0.0.0.0 and any free port; none: nothing)")
      ->type_name("A:P");
  app.add_option("--address", typed.addresses, "a name or IP address under which other hosts reach this one")
      ->expected(1)
      ->take_all()
      ->type_name("HOST");
  app.add_option("--link", typed.link, "how workers reach the daemon: http, or files where they have no route to it")
      ->check(CLI::IsMember({"http", "files"}))
      ->type_name("WAY");
  app.add_option("--worker", typed.worker, "path of orch-worker on the compute nodes (beside this program)")
      ->type_name("PATH");
  app.add_option("--look-every", typed.look_every, "seconds between two looks at Slurm's queue")
      ->check(CLI::Range(1.0, 3600.0))
      ->type_name("S");
  app.add_option("--socket-mode", typed.socket_mode, "mode of the socket, octal; 0660 for a shared account")
      ->type_name("MODE");
  app.add_option("--read-group", typed.groups.read, "a Unix group whose members may read")->type_name("GROUP");
  app.add_option("--submit-group", typed.groups.submit, "a Unix group whose members may submit")->type_name("GROUP");
  app.add_option("--admin-group", typed.groups.admin, "a Unix group whose members may do everything")
      ->type_name("GROUP");
  CLI11_PARSE(app, argc, argv);
  block_signals();
  return run(typed);
}
