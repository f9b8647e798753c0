// orchd: the daemon. This file says what can be typed, prepares the folders, and waits for the end.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
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
  std::string state, cluster, on, policy;
  int gpus = 0;
  OptionsGiven kept;  ///< what a later start knows without being told
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

/// Words that take an option back which was kept.
bool is_default(const std::string& text) { return text == "none" || text == "default"; }

std::function<std::string(const std::string&)> seconds_or_default(double most) {
  return [range = CLI::Range(1.0, most)](const std::string& text) { return is_default(text) ? "" : range(text); };
}

fs::path own_program() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

/// Beside this program, or in the folder beside its own where a build tree has it.
std::string find_worker(const std::string& named) {
  if (!named.empty()) return named;
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

/// The account's own. Where the socket is for a group or for all, they may pass through to it and to endpoint.json;
/// what else lies there is closed to them by its own mode. A mode within that, and the bit by which files inherit the
/// folder's group, are left as the site set them.
void close_state(const fs::path& state, unsigned socket_mode) {
  struct stat about {};
  if (::stat(state.c_str(), &about) != 0) return;
  const mode_t group = socket_mode & 060 ? 050 : 0, others = socket_mode & 06 ? 05 : 0;
  const mode_t most = S_ISGID | 0700 | group | others, least = 0700 | (group & 010) | (others & 01);
  ::chmod(state.c_str(), (about.st_mode & most) | least);
}

/// Jobs' directories and a local cluster's files, where they lie in the state directory.
void close_inner(const fs::path& folder) {
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  ::chmod(folder.c_str(), 0700);
}

std::chrono::milliseconds seconds_of(const Settings& settings, std::string_view option,
                                     std::chrono::seconds otherwise) {
  const std::string text = settings.text(option);
  if (text.empty()) return otherwise;
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::strtod(text.c_str(), nullptr) * 1000));
}

cluster::LookRules look_rules(const Settings& settings, bool local) {
  cluster::LookRules look;
  look.interval = seconds_of(settings, "look-every", std::chrono::seconds(120));
  look.most = look.interval * 5 / 2;
  // The queue of this machine costs nothing to look at.
  if (local) look = {std::chrono::seconds(2), std::chrono::seconds(5), std::chrono::milliseconds(200), 0.1};
  return look;
}

Result<std::monostate> keep(const Site& site, const fs::path& state, Settings settings) {
  if (auto kept = keep_site(site, state, settings); !kept) return kept;
  return write_settings(state, settings);
}

int run(const Typed& typed) {
  const fs::path state = state_folder(typed.state);
  std::error_code error;
  fs::create_directories(state, error);
  if (error) return fail(state.string() + " cannot be made: " + error.message());
  auto settings = read_settings(state);
  if (!settings) return fail(settings.error().what);
  if (const auto taken = settings->replace(typed.kept); !taken) return fail(taken.error().what);
  const auto socket_mode = read_mode(settings->text("socket-mode", "0600"));
  if (!socket_mode) return fail(socket_mode.error().what);
  close_state(state, *socket_mode);

  Options options;
  options.state = state;
  options.database = settings->text("database", state.string());
  options.data = settings->text("data", (state / "data").string());
  options.jobs = settings->text("jobs", (state / "jobs").string());
  if (options.jobs == state / "jobs") close_inner(options.jobs);
  fs::create_directories(options.jobs, error);
  if (error) return fail(options.jobs.string() + " cannot be made: " + error.message());
  const auto data = find_data(own_program());
  if (!data)
    return fail(
        "the catalog and the templates are not beside this program nor in a source tree above it; name their "
        "folder with ORCH_DATA_DIR");
  options.sources = {*data, settings->list("catalog")};
  auto site = choose_site({typed.cluster, typed.on, typed.gpus}, *settings, state, options.sources);
  if (!site) return fail(site.error().what);
  options.site = *site;
  options.policy = typed.policy;
  const bool local = site->where == Where::kLocal;
  options.around = {
      *data, settings->text("templates"), {}, settings->text("link", "http"), find_worker(settings->text("worker")),
      120};
  options.listen = settings->text("listen", local || options.around.link == "files" ? "" : "0.0.0.0:0");
  if (options.listen == "none") options.listen.clear();
  options.addresses = settings->list("address");
  options.socket_mode = *socket_mode;
  options.groups = {settings->text("read-group"), settings->text("submit-group"), settings->text("admin-group")};
  options.look = look_rules(*settings, local);
  options.tidy_every = seconds_of(*settings, "tidy-every", std::chrono::hours(1));
  options.version = ORCH_VERSION;
  options.log = log_line;
  options.serving = [site = *site, state, settings = *settings] {
    if (const auto kept = keep(site, state, settings); !kept)
      log_line("the next start has to be told its options again: " + kept.error().what);
  };

  if (local) close_inner(options.database / "local");
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
  // Kept in orchd.json; `none`, or `default`, goes back to the default.
  const auto add_kept = [&](const std::string& name, const char* what, const char* type) {
    return app.add_option("--" + name, typed.kept[name], what)->type_name(type)->expected(1);
  };
  add_kept("database", "a folder on a local disk for the database and the socket (the state directory)", "DIR");
  add_kept("data", "a folder that compute nodes see, with the questions of tasks (STATE/data)", "DIR");
  add_kept("jobs", "a folder that compute nodes see, for the jobs' directories (STATE/jobs)", "DIR");
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
  add_kept("catalog", "a site's own catalog file or folder; may be given several times", "PATH")->take_all();
  add_kept("templates", "a folder of job templates that win over those that ship", "DIR");
  add_kept("listen", "ADDRESS:PORT for TLS (with Slurm 0.0.0.0 and any free port; none: nothing)", "A:P");
  add_kept("address", "a name or IP address under which other hosts reach this one", "HOST")->take_all();
  add_kept("link", "how workers reach the daemon: http, or files where they have no route to it", "WAY")
      ->check(CLI::IsMember({"http", "files", "default"}));
  add_kept("worker", "path of orch-worker on the compute nodes (beside this program)", "PATH");
  add_kept("look-every", "seconds between two looks at Slurm's queue (120)", "S")->check(seconds_or_default(3600));
  add_kept("tidy-every", "seconds between two looks for files older than the policy keeps (3600)", "S")
      ->check(seconds_or_default(86400));
  add_kept("socket-mode", "mode of the socket, octal (0600); 0660 for a shared account", "MODE")
      ->check([](const std::string& text) {
        if (is_default(text)) return std::string();
        const auto mode = read_mode(text);
        return mode ? std::string() : mode.error().what;
      });
  add_kept("read-group", "a Unix group whose members may read", "GROUP");
  add_kept("submit-group", "a Unix group whose members may submit", "GROUP");
  add_kept("admin-group", "a Unix group whose members may do everything", "GROUP");
  app.footer(
      "What is given is kept in the state directory for the next start (the policy in the database), except --state.\n"
      "`none` or `default` in place of a value goes back to the default.");
  CLI11_PARSE(app, argc, argv);
  std::erase_if(typed.kept, [](const auto& option) { return option.second.empty(); });
  block_signals();
  return run(typed);
}
