// orchctl up and down: start the daemon, see that it serves, end it; and have the machine start it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <thread>

#include "base/text.h"
#include "base/wire/messages.h"
#include "cluster/process.h"
#include "orchctl/daemon.h"

namespace orch::orchctl {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::ordered_json;

constexpr auto kStart = 120s;  // of a daemon with a large database
constexpr auto kEnd = 60s;
constexpr auto kLook = 50ms;
constexpr std::size_t kShownLog = 4000;  // bytes

fs::path own_program() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

/// What the daemon says of itself; nothing while none answers.
std::optional<ordered_json> ask_daemon(const Session& session) {
  auto daemon = Daemon::find(session, Daemon::Time(10));
  if (!daemon) return std::nullopt;
  const auto answer = daemon->get("/v1/daemon");
  if (!answer) return std::nullopt;
  ordered_json json = ordered_json::parse(*answer, nullptr, false);
  return json.is_object() ? std::optional(json) : std::nullopt;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

/// Of the daemon that endpoint.json names; 0: it names none.
pid_t serving_pid(const fs::path& state) {
  const auto endpoint = wire::read<wire::Endpoint>(text_of(state / "endpoint.json"));
  return endpoint ? static_cast<pid_t>(endpoint->pid) : 0;
}

/// Not one that has ended and waits for its parent to take note, as it may for ever in a container.
bool is_alive(pid_t pid) {
  if (pid <= 0 || ::kill(pid, 0) != 0) return false;
  const std::string about = text_of("/proc/" + std::to_string(pid) + "/stat");
  const auto state = about.rfind(") ");
  return state != std::string::npos && about.compare(state + 2, 1, "Z") != 0;
}

/// The process of the daemon, if it runs on this host; else 0.
pid_t own_daemon(const fs::path& state) {
  const auto endpoint = wire::read<wire::Endpoint>(text_of(state / "endpoint.json"));
  std::array<char, 256> host{};
  if (!endpoint || ::gethostname(host.data(), host.size() - 1) != 0 || endpoint->host != host.data()) return 0;
  return static_cast<pid_t>(endpoint->pid);
}

std::string end_of(const fs::path& log, std::int64_t from) {
  std::ifstream file(log, std::ios::binary);
  file.seekg(from);
  std::string text(kShownLog, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

std::int64_t size_of(const fs::path& file) {
  std::error_code absent;
  const auto size = fs::file_size(file, absent);
  return absent ? 0 : static_cast<std::int64_t>(size);
}

bool is_path(const std::string& option) {
  return option == "database" || option == "data" || option == "jobs" || option == "templates" || option == "worker" ||
         option == "catalog";
}

bool is_reset(const std::string& option, const std::string& value) {
  return value == "default" || (value == "none" && option != "listen");
}

/// What orchd keeps, as it will stand there: paths are absolute, for it starts elsewhere.
using Kept = std::map<std::string, std::vector<std::string>>;
Kept kept_options(const Session& session, const UpArguments& arguments) {
  Kept kept = arguments.kept;
  kept["catalog"] = session.catalogs;
  std::erase_if(kept, [](const auto& option) { return option.second.empty(); });
  for (auto& [option, values] : kept)
    for (std::string& value : values)
      if (is_path(option) && !is_reset(option, value)) value = fs::absolute(value).lexically_normal().string();
  return kept;
}

std::vector<std::string> daemon_line(const Session& session, const UpArguments& arguments) {
  std::vector<std::string> line = {(own_program().parent_path() / "orchd").string(), "--state",
                                   fs::absolute(state_directory(session)).string()};
  const auto add = [&](const std::string& option, const std::string& value) {
    if (value.empty()) return;
    line.push_back("--" + option);
    line.push_back(value);
  };
  const auto add_file = [&](const char* option, const std::string& value) {
    std::error_code ignored;
    add(option, fs::exists(value, ignored) ? fs::absolute(value).string() : value);
  };
  add_file("cluster", arguments.cluster);
  add("on", arguments.on);
  if (arguments.gpus > 0) add("gpus", std::to_string(arguments.gpus));
  add_file("policy", arguments.policy);
  for (const auto& [option, values] : kept_options(session, arguments))
    for (const std::string& value : values) add(option, value);
  return line;
}

/// The policy in force; empty when the daemon does not say.
std::string policy_in_force(const Session& session) {
  auto daemon = Daemon::find(session, Daemon::Time(10));
  if (!daemon) return "";
  const auto answer = json_of(daemon->get("/v1/policy"));
  return answer && answer->is_object() ? answer->value("text", "") : "";
}

/// The options given that say something else than what the daemon that runs was started with.
std::vector<std::string> new_options(const Session& session, const UpArguments& arguments) {
  const fs::path state = state_directory(session);
  const auto before = ordered_json::parse(text_of(state / "orchd.json"), nullptr, false);
  const auto kept = [&](const std::string& name) {
    return before.is_object() ? before.value(name, ordered_json()) : ordered_json();
  };
  std::vector<std::string> found;
  Diagnostics unread;
  if (arguments.cluster == "slurm" || arguments.cluster == "local") {
    if (kept("cluster") != arguments.cluster) found.emplace_back("--cluster");
  } else if (!arguments.cluster.empty()) {
    const auto file = inputs::find_cluster({session.data, {}}, arguments.cluster, unread);
    if (!file || text_of(*file) != text_of(state / "cluster.yaml")) found.emplace_back("--cluster");
  }
  if (!arguments.on.empty() && kept("on") != arguments.on) found.emplace_back("--on");
  if (arguments.gpus > 0 && kept("gpus") != arguments.gpus) found.emplace_back("--gpus");
  if (!arguments.policy.empty()) {
    const auto file = inputs::find_policy({session.data, {}}, arguments.policy, unread);
    if (!file || text_of(*file) != policy_in_force(session)) found.emplace_back("--policy");
  }
  for (const auto& [option, values] : kept_options(session, arguments)) {
    const ordered_json was = kept(option);
    const bool reset = values.size() == 1 && is_reset(option, values[0]);
    if (reset ? !was.is_null() : was != ordered_json(values) && was != values.back()) found.push_back("--" + option);
  }
  return found;
}

/// With other options: they wait for a start, which is for whoever gave them to decide on.
int refuse_new(Session& session, const std::vector<std::string>& options) {
  session.err << "orchctl: a daemon runs already, and " << join(options, ", ")
              << (options.size() == 1 ? " takes" : " take")
              << " effect at a start only: orchctl down, then orchctl up with " << (options.size() == 1 ? "it" : "them")
              << " again. Jobs that run go on meanwhile"
              << (std::ranges::find(options, "--policy") == options.end()
                      ? ""
                      : "; orchctl policy set changes the policy of a daemon that runs")
              << "\n";
  return kFailed;
}

/// In a session of its own, with its output in the log: it outlives this program and its terminal.
Result<pid_t> start(const std::vector<std::string>& line, const fs::path& log) {
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out < 0 || in < 0) {
    const Error error{log.string() + " cannot be written: " + std::strerror(errno)};
    if (out >= 0) ::close(out);
    if (in >= 0) ::close(in);
    return error;
  }
  std::vector<char*> argv;
  for (const std::string& word : line) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    if (::chdir("/") != 0) ::_exit(127);
    ::execv(argv[0], argv.data());
    ::dprintf(2, "%s cannot be started: %s\n", argv[0], std::strerror(errno));
    ::_exit(127);
  }
  ::close(out);
  ::close(in);
  if (child < 0) return Error{std::string("no process can be started: ") + std::strerror(errno)};
  return child;
}

int say_up(Session& session, const ordered_json& daemon, bool already) {
  const fs::path state = state_directory(session);
  if (session.json) {
    ordered_json json = daemon;
    json["started"] = !already;
    print_json(session, json);
    return kWell;
  }
  session.out << (already ? "A daemon runs already" : "The daemon runs") << ": "
              << shown(daemon.value("cluster", ""), 200) << ", state directory " << shown(state.string(), 400) << "\n";
  return kWell;
}

/// A word of a unit file's ExecStart, or of a crontab's line.
std::string unit_word(const std::string& word) {
  std::string text = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '%' || c == '$') text += c;
    text += c;
  }
  return text + "\"";
}
std::string shell_word(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

/// The name of the unit: a second daemon has another.
std::string unit_of(const fs::path& state) {
  const std::string usual = fs::path(".local/state/orch").string();
  if (state.string().ends_with(usual)) return "orchd.service";
  return "orchd-" + to_hex(sha256(state.string())).substr(0, 8) + ".service";
}

int install_unit(Session& session, const std::vector<std::string>& line, const fs::path& home) {
  const fs::path folder = home / ".config" / "systemd" / "user";
  const std::string unit = unit_of(fs::absolute(state_directory(session)));
  std::error_code error;
  fs::create_directories(folder, error);
  std::ofstream file(folder / unit);
  std::string words;
  for (const std::string& word : line) words += (words.empty() ? "" : " ") + unit_word(word);
  // Jobs of a local cluster go on without the daemon: only it is ended with the unit.
  file << "[Unit]\nDescription=orchd, the daemon of orch\nAfter=network-online.target\n\n[Service]\nExecStart=" << words
       << "\nRestart=on-failure\nRestartSec=10\nKillMode=process\n\n[Install]\nWantedBy=default.target\n";
  file.flush();
  if (error || !file) {
    session.err << "orchctl: " << (folder / unit).string() << " cannot be written\n";
    return kFailed;
  }
  const std::string path = (folder / unit).string();
  if (session.json)
    print_json(session, {{"way", "systemd"}, {"file", path}});
  else
    session.out << "Wrote " << path << ". To start it now and at every boot:\n  systemctl --user daemon-reload\n"
                << "  systemctl --user enable --now " << unit << "\n  loginctl enable-linger\n";
  return kWell;
}

int install_crontab(Session& session, const std::vector<std::string>& line) {
  std::string entry = "@reboot";
  for (const std::string& word : line) entry += " " + shell_word(word);
  const fs::path log = fs::absolute(state_directory(session)) / "orchd.log";
  entry += " >>" + shell_word(log.string()) + " 2>&1";
  // A % ends a crontab's command.
  std::string escaped;
  for (const char c : entry) escaped += c == '%' ? "\\%" : std::string(1, c);
  std::string table;
  if (const auto before = cluster::run_program({"crontab", "-l"}, 10s, 1 << 20)) table = before->out;
  for (const std::string_view known : split(table, '\n'))
    if (known == escaped) {
      session.out << "The crontab has the line already.\n";
      return kWell;
    }
  if (!table.empty() && !table.ends_with('\n')) table += '\n';
  const fs::path file = fs::absolute(state_directory(session)) / "crontab";
  std::ofstream(file) << table << escaped << "\n";
  const auto set = cluster::run_program({"crontab", file.string()}, 10s, 1 << 20);
  std::error_code ignored;
  fs::remove(file, ignored);
  if (!set) {
    session.err << "orchctl: neither systemd nor cron can be told to start the daemon here: " << set.error().what
                << "\n";
    return kFailed;
  }
  if (session.json)
    print_json(session, {{"way", "crontab"}, {"line", escaped}});
  else
    session.out << "The crontab starts the daemon at every boot of this host:\n  " << shown(escaped, 2000) << "\n";
  return kWell;
}

int install(Session& session, const UpArguments& arguments) {
  const std::vector<std::string> line = daemon_line(session, arguments);
  std::error_code error;
  fs::create_directories(state_directory(session), error);
  const char* home = std::getenv("HOME");
  if (home && cluster::run_program({"systemctl", "--user", "show-environment"}, 10s, 1 << 20).ok())
    return install_unit(session, line, home);
  return install_crontab(session, line);
}

}  // namespace

int up(Session& session, const UpArguments& arguments) {
  if (arguments.install) return install(session, arguments);
  if (const auto daemon = ask_daemon(session)) {
    if (const auto others = new_options(session, arguments); !others.empty()) return refuse_new(session, others);
    return say_up(session, *daemon, true);
  }
  const fs::path state = fs::absolute(state_directory(session)), log = state / "orchd.log";
  std::error_code error;
  fs::create_directories(state, error);
  if (error) {
    session.err << "orchctl: " << state.string() << " cannot be made: " << error.message() << "\n";
    return kFailed;
  }
  const std::int64_t before = size_of(log);
  const auto child = start(daemon_line(session, arguments), log);
  if (!child) {
    session.err << "orchctl: " << child.error().what << "\n";
    return kFailed;
  }
  const auto until = std::chrono::steady_clock::now() + kStart;
  while (std::chrono::steady_clock::now() < until) {
    // It serves before all is written that a later start and other hosts read: its pid stands there last.
    if (serving_pid(state) == *child)
      if (const auto daemon = ask_daemon(session)) return say_up(session, *daemon, false);
    int status = 0;
    if (::waitpid(*child, &status, WNOHANG) == *child) {
      session.err << "orchctl: the daemon ended as it started; it said:\n" << end_of(log, before);
      return kFailed;
    }
    std::this_thread::sleep_for(kLook);
  }
  session.err << "orchctl: the daemon does not answer yet, after " << kStart.count()
              << " s; it goes on starting, and its log is " << log.string() << "\n";
  return kFailed;
}

int down(Session& session) {
  auto daemon = Daemon::find(session, Daemon::Time(60));
  if (!daemon) return refuse(session, daemon.error());
  const auto answer = daemon->post("/v1/daemon/stop", "{}");
  if (!answer) return refuse(session, answer.error());
  const auto until = std::chrono::steady_clock::now() + kEnd;
  // It serves nobody some time before it has let go of its database.
  const pid_t pid = own_daemon(state_directory(session));
  while (is_alive(pid) || ask_daemon(session)) {
    if (std::chrono::steady_clock::now() > until) {
      session.err << "orchctl: the daemon was told to end, and has not ended after " << kEnd.count() << " s\n";
      return kFailed;
    }
    std::this_thread::sleep_for(kLook);
  }
  if (session.json)
    print_json(session, {{"state", "down"}});
  else
    session.out << "The daemon has ended. Jobs that run go on, and deliver when it is back.\n";
  return kWell;
}

}  // namespace orch::orchctl
