// orch-worker: what a job runs. The order matters: the helper that starts programs is forked first, then signals are
// blocked, then MPI is started, and threads come last.
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <span>

#include "base/text.h"
#include "comm/lifeline.h"
#include "comm/mpi_transport.h"
#include "comm/ranks.h"
#ifdef ORCH_HAND
#include "hand/hand.h"
#include "hand/options.h"
#include "native/team.h"
#endif
#include "link/directory.h"
#include "link/http_transport.h"
#include "link/spool.h"
#include "run/allocation.h"
#include "run/loop.h"
#include "run/starter.h"

namespace orch::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostJobFile = 64 * 1024;  // bytes
constexpr auto kFileTimeout = std::chrono::seconds(60);
constexpr auto kPatience = std::chrono::minutes(10);  // of ranks with each other

constexpr const char* kHelp = R"(orch-worker --job FILE

Works for one job of orchd: claims it, leases cells, runs their programs, delivers what they measured. It is started by
the job's script, through srun or mpirun, and stands alone where there is no MPI.

  --job FILE   job.json in the job's directory, beside which is the file `token`
  --help       print this and stop
  --version    print the version and which MPI is built in, and stop

By hand, one step alone, with JSON in and out (each has a --help):

  orch-worker tokenize MODEL   strings to token ids
  orch-worker generate MODEL   what a model writes behind prompts
  orch-worker score MODEL      how likely continuations are
  orch-worker eval MODEL TASK  how well a model does a task
  orch-worker inspect MODEL    what a model's files say
  orch-worker merge MODEL ADAPTER --out FOLDER
                               a model with an adapter in its weights
  orch-worker train MODEL DATA --out FOLDER
                               an adapter that has learnt from a data set

SIGUSR1 makes it begin nothing more, give back what has not begun, and end when what runs has ended. SIGTERM makes it
end that too. Exit code 0: the work is done, was given back, or another copy of the job does it; 1: anything else.
)";

void say(const std::string& what) { std::cerr << "orch-worker: " << what << std::endl; }

int refuse(const std::string& what) {
  say(what);
  return 1;
}

struct Options {
  fs::path job;
  bool help = false, version = false;
};

Result<Options> read_options(std::span<char* const> words) {
  Options options;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--help" || word == "-h") {
      options.help = true;
    } else if (word == "--version") {
      options.version = true;
    } else if (word == "--job" && i + 1 < words.size()) {
      options.job = words[++i];
    } else if (word.starts_with("--job=")) {
      options.job = word.substr(std::string_view("--job=").size());
    } else {
      return Error{quote(word) + (word == "--job" ? " needs a file" : " is no option") +
                   "; orch-worker --help shows them"};
    }
  }
  if (options.job.empty() && !options.help && !options.version)
    return Error{"--job FILE is missing; orch-worker --help shows the options"};
  return options;
}

Result<wire::JobFile> read_job(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error{"cannot read " + file.string() + ": " + std::strerror(errno)};
  std::string text(kMostJobFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  auto job = wire::read<wire::JobFile>(text);
  if (!job) return Error{file.string() + ": " + job.error().what};
  if (job->protocol != wire::kProtocol && job->protocol != wire::kProtocol - 1)
    return Error{file.string() + " is of protocol " + std::to_string(job->protocol) + ", and this worker speaks " +
                 std::to_string(wire::kProtocol)};
  if (job->link != "http" && job->link != "files")
    return Error{file.string() + ": link must be http or files, not " + quote(job->link)};
  return job;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

Result<std::unique_ptr<Transport>> transport_of(const wire::JobFile& job, const fs::path& folder) {
  if (job.link == "files") return std::unique_ptr<Transport>(std::make_unique<FileTransport>(folder, kFileTimeout));
  HttpOptions options;
  options.job = job.job;
  options.endpoint = folder / job.endpoint;
  options.host = host_name();
  auto token = read_token(folder / "token");
  if (!token) return token.error();
  options.token = *std::move(token);
  return std::unique_ptr<Transport>(std::make_unique<HttpTransport>(std::move(options)));
}

/// The spool of this start, with what earlier starts of the job have not delivered, or not been seen to: a delivery
/// that comes twice counts once.
Result<Spool> open_spool(const JobDirectory& directory, int restarts) {
  const auto before = directory.spools();
  if (!before) return before.error();
  const fs::path own = directory.spool(restarts);
  auto spool = Spool::open(own);
  if (!spool || !spool->items().empty()) return spool;
  for (const fs::path& file : *before) {
    if (file == own) continue;
    const auto items = read_spool(file);
    if (!items) return items.error();
    for (const wire::Delivered& item : *items)
      if (auto kept = spool->append(item); !kept) return kept.error();
  }
  return spool;
}

int block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int work(const fs::path& job_file, Starter& starter, int signals, ModelEngine* engine) {
  const auto job = read_job(job_file);
  if (!job) return refuse(job.error().what);
  auto options = allocation_of(environment_of(environ), *job, std::chrono::system_clock::now());
  if (!options) return refuse(options.error().what);
  const JobDirectory directory(fs::absolute(job_file).parent_path());
  const auto owner = directory.own(options->cluster_id);
  if (!owner) return refuse(owner.error().what);
  if (*owner) {
    say("superseded: job " + **owner + " has claimed " + directory.path().string());
    return 0;
  }
  if (options->gpus.size() < static_cast<std::size_t>(std::max(job->gpus, 0)))
    say("the job asked for " + counted(job->gpus, "GPU") + " and sees " + std::to_string(options->gpus.size()));
  auto transport = transport_of(*job, directory.path());
  if (!transport) return refuse(transport.error().what);
  auto spool = open_spool(directory, options->restarts);
  if (!spool) return refuse(spool.error().what);
  const wire::Exit exit =
      Loop(*std::move(options), directory, *std::move(spool), **transport, starter, engine).run(signals);
  say(exit.end + (exit.reason.empty() ? "" : ": " + exit.reason));
  return exit.end == "done" || exit.end == "drained" || exit.end == "superseded" ? 0 : 1;
}

#ifdef ORCH_HAND
/// With the native engine over all ranks. A rank that computes with one that is gone would wait for it: then this
/// process ends at once, and not in order.
int work_with_models(const fs::path& job_file, Starter& starter, int signals, Ranks& ranks, const Ranks::Node& node) {
  const auto all = comm::make_transport(ranks.count(), kPatience);
  if (!all) return refuse(all.error().what);
  auto lines = comm::draw_lifelines(**all);
  if (!lines) return refuse(lines.error().what);
  std::error_code ignored;
  native::SeatRules rules{
      ranks.rank(), threads_of(node), memory_of(node), fs::read_symlink("/proc/self/exe", ignored), {}};
  rules.make_group = [](const std::vector<int>& members,
                        std::uint64_t tag) -> Result<std::unique_ptr<comm::Transport>> {
    if (members.size() == 1) return std::move(comm::make_thread_transports(1).front());
    return comm::make_mpi_group(members, tag, kPatience);
  };
  if (!ranks.is_first()) {
    native::Seat seat(std::move(rules));
    if (!seat.serve(std::move(lines->front())) || !seat.idle()) std::_Exit(1);
    return 0;
  }
  native::Team team(std::move(rules), *std::move(lines));
  const int code = work(job_file, starter, signals, &team);
  if (team.lost() || !team.idle()) std::_Exit(code);
  return code;
}
#endif

/// Steps of the engine by hand, where what they need is built in.
std::optional<int> by_hand(std::span<char* const> words) {
  const std::string_view command = words.size() > 1 ? words[1] : "";
#ifdef ORCH_HAND
  std::error_code ignored;
  if (hand::is_command(command)) return hand::run(words.subspan(1), fs::read_symlink("/proc/self/exe", ignored));
#else
  for (const char* each : {"tokenize", "generate", "score", "eval", "inspect", "merge", "train"})
    if (command == each)
      return refuse("this worker was built without PCRE2 and utf8proc, which " + quote(each) + " needs");
#endif
  return std::nullopt;
}

int run(std::span<char* const> words) {
  if (const auto code = by_hand(words)) return *code;
  const auto options = read_options(words);
  if (!options) return refuse(options.error().what);
  if (options->help) {
    std::cout << kHelp;
    return 0;
  }
  if (options->version) {
    const std::string mpi = Ranks::mpi();
    std::cout << "orch-worker " << ORCH_VERSION << (mpi.empty() ? " without MPI" : " with " + mpi) << "\n";
    return 0;
  }
  auto starter = Starter::fork();
  if (!starter) return refuse(starter.error().what);
  const int signals = block_signals();
  Ranks ranks;
  const Ranks::Node node = ranks.node();
  starter->use_cpus(node.cpus);
#ifdef ORCH_HAND
  return work_with_models(options->job, *starter, signals, ranks, node);
#else
  if (ranks.is_first()) return work(options->job, *starter, signals, nullptr);
  ranks.wait();
  return 0;
#endif
}

}  // namespace
}  // namespace orch::worker

int main(int argc, char** argv) { return orch::worker::run({argv, static_cast<std::size_t>(argc)}); }
