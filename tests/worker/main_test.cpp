// orch-worker as a program, against a server that speaks the daemon's messages.
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/template/template.h"
#include "base/whole_file.h"
#include "http/server.h"
#include "link/directory.h"
#include "link/spool.h"
#include "support/source_dir.h"
#include "support/temporary.h"
#include "worker/played_daemon.h"
#include "worker/processes.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using namespace std::chrono_literals;
using namespace test;

class MainTest : public testing::Test {
 protected:
  MainTest() {
    serve();
    job_.job = "orch-x-1";
    job_.endpoint = folder_ / "endpoint.json";
    job_.link = "http";
    job_.time = 3600;
    job_.drain = 60;
    job_.gpus = 2;
    job_.cpus = 2;
    std::filesystem::create_directory(job_folder());
    write_private("token", "secret\n");
    write_job();
  }
  ~MainTest() override {
    if (worker_ > 0) {
      ::kill(worker_, SIGKILL);
      ::waitpid(worker_, nullptr, 0);
    }
  }

  void serve() {
    http::ServerOptions options;
    options.unix_socket = http::UnixListen{folder_ / "socket"};
    auto started = http::Server::start(std::move(options), [this](const http::Request& in, const http::Responder& out) {
      const std::string prefix = "/v1/jobs/orch-x-1/";
      if (!in.peer.token.matches("secret") || !in.path.starts_with(prefix))
        return out.send(http::error_response(401, "no"));
      const Reply reply = daemon_.call(in.path.substr(prefix.size()), in.body);
      if (reply.what == Reply::What::kGone) return out.send(http::error_response(410, reply.why));
      if (reply.what != Reply::What::kOk) return out.send(http::error_response(503, reply.why));
      http::Response response;
      response.body = reply.body;
      out.send(response);
    });
    if (!started) throw std::runtime_error(started.error().what);
    server_ = *std::move(started);
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    wire::Endpoint endpoint;
    endpoint.host = host.data();
    endpoint.socket = folder_ / "socket";
    static_cast<void>(write_whole(folder_ / "endpoint.json", wire::write(endpoint)));
  }

  std::filesystem::path job_folder() const { return folder_ / "job"; }
  void write_job() const { std::ofstream(job_folder() / "job.json") << wire::write(job_); }
  void write_private(const std::string& name, const std::string& text) const {
    std::ofstream(job_folder() / name) << text;
    std::filesystem::permissions(job_folder() / name, std::filesystem::perms(0600));
  }
  std::vector<std::string> command() const { return {ORCH_WORKER, "--job", (job_folder() / "job.json").string()}; }

  void start(std::vector<std::string> words, const std::vector<std::string>& more = {}) {
    std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + folder_.path().string(),
                                            "SLURM_JOB_ID=42", "SLURM_JOB_NODELIST=n[1-2]", "TMPDIR=/tmp"};
    for (const std::string& variable : more) {
      std::erase_if(environment, [&](const std::string& other) {
        return other.starts_with(variable.substr(0, variable.find('=') + 1));
      });
      environment.push_back(variable);
    }
    daemon_.meet();
    const auto pointers = [](std::vector<std::string>& list) {
      std::vector<char*> all;
      all.reserve(list.size() + 1);
      for (std::string& one : list) all.push_back(one.data());
      all.push_back(nullptr);
      return all;
    };
    posix_spawn_file_actions_t files{};
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, (folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    const auto arguments = pointers(words), variables = pointers(environment);
    ASSERT_EQ(::posix_spawnp(&worker_, words[0].c_str(), &files, nullptr, arguments.data(), variables.data()), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  /// The exit code; 128 and the signal if one ended it; -1: it did not end.
  int code() {
    if (!ends(worker_)) return -1;
    daemon_.meet();
    int status = 0;
    ::waitpid(worker_, &status, 0);
    worker_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int run(std::vector<std::string> words, const std::vector<std::string>& more = {}) {
    start(std::move(words), more);
    return code();
  }
  std::string output() const { return text_of(folder_ / "out"); }

  TemporaryFolder folder_;
  PlayedDaemon daemon_;
  std::unique_ptr<http::Server> server_;
  wire::JobFile job_;
  pid_t worker_ = -1;
};

TEST_F(MainTest, WorksAloneFromTheClaimToTheExit) {
  daemon_.add(1, "env > said; " + std::string(kWell), 1);
  daemon_.add(2, "exit 3", 1);
  EXPECT_EQ(run(command(), {"OMPI_COMM_WORLD_RANK=0", "SLURM_PROCID=0", "SLURM_STEP_ID=0"}), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 failed"));
  EXPECT_EQ(daemon_.calls.front(), "claim");
  EXPECT_EQ(daemon_.calls.back(), "exit");
  EXPECT_THAT(daemon_.exits, ElementsAre("done"));
  EXPECT_EQ(text_of(job_folder() / "claim"), "42\n");
  EXPECT_EQ((*JobDirectory(job_folder()).read_exit())->end, "done");
  const std::string said = text_of(job_folder() / "cells/1/said");
  EXPECT_THAT(said, AllOf(HasSubstr("CUDA_VISIBLE_DEVICES=0\n"), HasSubstr("SLURM_JOB_ID=42\n")));
  EXPECT_THAT(said, AllOf(Not(HasSubstr("OMPI_")), Not(HasSubstr("SLURM_PROCID")), Not(HasSubstr("SLURM_STEP"))));
}

TEST_F(MainTest, EndsWhatRunsWhenItIsToldToEnd) {
  Bell bell(folder_ / "bell");
  daemon_.add(1, "echo $$ > ../../../bell; sleep 600", 1);
  start(command());
  const pid_t program = std::stoi(bell.wait());
  ::kill(worker_, SIGTERM);
  EXPECT_EQ(code(), 0) << output();
  EXPECT_TRUE(ends(program));
  EXPECT_THAT(daemon_.what(), ElementsAre("1 returned"));
  EXPECT_THAT(daemon_.exits, ElementsAre("drained"));
}

TEST_F(MainTest, DrainsOnTheSignalBeforeTheTimeLimit) {
  Bell bell(folder_ / "bell");
  ASSERT_EQ(::mkfifo((folder_ / "gate").c_str(), 0600), 0);
  job_.gpus = 1;
  write_job();
  daemon_.add(1, "echo > ../../../bell; cat ../../../gate; " + std::string(kWell), 1);
  daemon_.add(2, kWell, 1);
  daemon_.ends = false;
  Bell returned(folder_ / "returned");
  daemon_.on_deliver = [&](const wire::Delivered& item) {
    if (item.what == "returned") std::ofstream(returned.path()) << "\n" << std::flush;
  };
  start(command());
  bell.wait();
  ::kill(worker_, SIGUSR1);
  returned.wait();  // what had not begun; what runs is let go on only now
  std::ofstream(folder_ / "gate") << "";
  EXPECT_EQ(code(), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 returned"));
  EXPECT_THAT(daemon_.exits, ElementsAre("drained"));
}

TEST_F(MainTest, TakesItsProgramsWithItWhenItIsKilledAndItsNextStartDeliversWhatItLeft) {
  Bell bell(folder_ / "bell");
  ASSERT_EQ(::mkfifo((folder_ / "gate").c_str(), 0600), 0);
  daemon_.add(1, "cat ../../../gate; " + std::string(kWell), 1);
  daemon_.add(2, "sleep 600 & echo $! > ../../../bell; wait", 1);
  start(command());
  const pid_t program = std::stoi(bell.wait());
  server_.reset();  // the daemon is away when the first cell ends
  std::ofstream(folder_ / "gate") << "";
  while (read_spool(job_folder() / "spool.0")->empty()) std::this_thread::sleep_for(1ms);
  ::kill(worker_, SIGKILL);
  EXPECT_EQ(code(), 128 + SIGKILL);
  EXPECT_TRUE(ends(program));
  serve();
  EXPECT_EQ(run(command(), {"SLURM_RESTART_COUNT=1"}), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
}

TEST_F(MainTest, FindsADaemonThatStartsLaterThanIt) {
  server_.reset();
  daemon_.add(1, kWell);
  start(command());
  serve();
  EXPECT_EQ(code(), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
}

TEST_F(MainTest, LeavesTheDirectoryToTheJobThatHasIt) {
  std::ofstream(job_folder() / "claim") << "41\n";
  EXPECT_EQ(run(command()), 0);
  EXPECT_THAT(output(), HasSubstr("superseded: job 41 has claimed"));
  EXPECT_THAT(daemon_.calls, SizeIs(0));
}

TEST_F(MainTest, EndsAsSupersededWhenTheDaemonSaysSo) {
  daemon_.gone = true;
  EXPECT_EQ(run(command()), 0);
  EXPECT_FALSE(std::filesystem::exists(job_folder() / "exit.json"));
}

TEST_F(MainTest, SaysWhatKeepsItFromWorking) {
  EXPECT_EQ(run({ORCH_WORKER}), 1);
  EXPECT_EQ(run({ORCH_WORKER, "--jobs"}), 1);
  EXPECT_THAT(output(), AllOf(HasSubstr("--job FILE is missing"), HasSubstr("'--jobs' is no option")));
  EXPECT_EQ(run({ORCH_WORKER, "--job", folder_ / "none"}), 1);
  EXPECT_THAT(output(), HasSubstr("none: No such file"));
  std::filesystem::permissions(job_folder() / "token", std::filesystem::perms(0644));
  EXPECT_EQ(run(command()), 1);
  EXPECT_THAT(output(), HasSubstr("its mode must be 0600"));
  job_.protocol = wire::kProtocol + 1;
  write_job();
  EXPECT_EQ(run(command()), 1);
  EXPECT_THAT(output(), HasSubstr("is of protocol 2, and this worker speaks 1"));
  EXPECT_THAT(daemon_.calls, SizeIs(0));
}

TEST_F(MainTest, SaysWhatItIs) {
  EXPECT_EQ(run({ORCH_WORKER, "--version"}), 0);
  EXPECT_THAT(output(), testing::MatchesRegex("orch-worker [0-9.]+ with.*\n"));
  EXPECT_EQ(run({ORCH_WORKER, "--help"}), 0);
  EXPECT_THAT(output(), HasSubstr("--job FILE"));
}

TEST_F(MainTest, SpeaksThroughFilesWhereThereIsNoRoute) {
  job_.link = "files";
  write_job();
  daemon_.add(1, kWell);
  start(command());
  std::thread postman([&] {
    const std::filesystem::path out = job_folder() / "mail/out";
    for (std::size_t exits = 0; exits == 0; exits = daemon_.exits.size()) {
      std::error_code error;
      for (const auto& file : std::filesystem::directory_iterator(out, error)) {
        const std::string name = file.path().filename();
        if (!name.ends_with(".json")) continue;
        const Reply reply = daemon_.call(name.substr(7, name.size() - 12), text_of(file.path()));
        std::filesystem::remove(file.path());
        static_cast<void>(write_whole(job_folder() / "mail/in" / (name.substr(0, 6) + ".json"),
                                      R"({"status": 200, "body": )" + reply.body + "}"));
      }
      std::this_thread::sleep_for(1ms);
    }
  });
  postman.join();
  EXPECT_EQ(code(), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
}

/// The script's own part, from its templates, with an srun that starts the worker.
TEST_F(MainTest, IsFoundAndNotFencedOffByTheJobsScript) {
  const std::filesystem::path templates = orch::test::source_dir() / "templates";
  const std::string whole = "#!/bin/bash\n{% include \"_prologue.sbatch\" %}\n{% include \"_worker.sbatch\" %}\n";
  auto parsed = tmpl::Template::parse(whole, "job.sbatch", tmpl::shell_options(), [&](const std::string& name) {
    return std::optional(text_of(templates / name));
  });
  ASSERT_TRUE(parsed.ok());
  const auto none = nlohmann::ordered_json::array();
  const auto text = parsed->render(
      {{"resources", {{"cpus_per_task", 1}}},
       {"submit", {{"container", ""}, {"modules", none}, {"conda", ""}, {"environment", none}, {"scratch", none}}}});
  ASSERT_TRUE(text.ok()) << text.error().what;
  std::ofstream(folder_ / "script") << *text;
  std::filesystem::create_directory(folder_ / "bin");
  std::ofstream(folder_ / "bin/srun") << "#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec \"$@\"\n";
  std::filesystem::permissions(folder_ / "bin/srun", std::filesystem::perms::owner_all);
  std::filesystem::create_symlink(ORCH_WORKER, job_folder() / "orch-worker");
  daemon_.add(1, kWell);
  const std::vector<std::string> environment = {"ORCH_JOB_DIR=" + job_folder().string(),
                                                "PATH=" + (folder_ / "bin").string() + ":/usr/bin:/bin"};
  EXPECT_EQ(run({"bash", folder_ / "script"}, environment), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
  // The copy that came second, and the worker started by hand for it.
  std::filesystem::remove(job_folder() / "claim");
  EXPECT_EQ(run(command(), {"SLURM_JOB_ID=43"}), 0);
  EXPECT_EQ(run({"bash", folder_ / "script"}, environment), 0);
  EXPECT_THAT(output(), HasSubstr("superseded: job 43 has claimed"));
}

#ifdef ORCH_MPIRUN

class MpiTest : public MainTest {
 protected:
  static std::vector<std::string> launcher() { return {ORCH_MPIRUN, "--oversubscribe", "-n", "2"}; }
  std::vector<std::string> ranks() const {
    std::vector<std::string> words = launcher();
    for (const std::string& word : command()) words.push_back(word);
    return words;
  }
  // Open MPI keeps some of its memory to the end, and takes its locks in its own ways: that is not ours to mend.
  inline static const std::vector<std::string> kAllowed = {
      "ASAN_OPTIONS=detect_leaks=0", "TSAN_OPTIONS=detect_deadlocks=0 ignore_noninstrumented_modules=1",
      "OMPI_ALLOW_RUN_AS_ROOT=1",    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
      "OMPI_MCA_plm=isolated",       "OMPI_MCA_ras=^slurm"};
};

TEST_F(MpiTest, TheFirstRankWorksAndTheOthersWaitForIt) {
  daemon_.add(1, "env > said; nproc > cpus; " + std::string(kWell), 1);
  EXPECT_EQ(run(ranks(), kAllowed), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done"));
  EXPECT_EQ(std::count(daemon_.calls.begin(), daemon_.calls.end(), "claim"), 1);
  EXPECT_THAT(daemon_.exits, ElementsAre("done"));
  const std::string said = text_of(job_folder() / "cells/1/said");
  EXPECT_THAT(said, AllOf(Not(HasSubstr("PMIX")), Not(HasSubstr("OMPI_")), Not(HasSubstr("OPAL_"))));
}

TEST_F(MpiTest, WaitingRanksLeaveTheCpusAlone) {
  // A rank that spun would use as much CPU time as passes, less its start; starting takes some CPU time as well.
  daemon_.add(1, "sleep 4; " + std::string(kWell), 1);
  rusage before{}, after{};
  const auto begin = std::chrono::steady_clock::now();
  ::getrusage(RUSAGE_CHILDREN, &before);
  EXPECT_EQ(run(ranks(), kAllowed), 0) << output();
  ::getrusage(RUSAGE_CHILDREN, &after);
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  EXPECT_LT(seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime),
            passed / 2);
}

TEST_F(MpiTest, ASignalToTheLauncherDrainsTheJob) {
  Bell bell(folder_ / "bell"), returned(folder_ / "returned");
  ASSERT_EQ(::mkfifo((folder_ / "gate").c_str(), 0600), 0);
  job_.gpus = 1;
  write_job();
  daemon_.add(1, "echo > ../../../bell; cat ../../../gate; " + std::string(kWell), 1);
  daemon_.add(2, kWell, 1);
  daemon_.on_deliver = [&](const wire::Delivered& item) {
    if (item.what == "returned") std::ofstream(returned.path()) << "\n" << std::flush;
  };
  start(ranks(), kAllowed);
  bell.wait();
  ::kill(worker_, SIGUSR1);
  returned.wait();
  std::ofstream(folder_ / "gate") << "";
  EXPECT_EQ(code(), 0) << output();
  EXPECT_THAT(daemon_.what(), ElementsAre("1 done", "2 returned"));
}

TEST_F(MpiTest, TheStatusOfTheFirstRankIsTheJobs) {
  std::filesystem::permissions(job_folder() / "token", std::filesystem::perms(0644));
  EXPECT_EQ(run(ranks(), kAllowed), 1) << output();
}

#endif

}  // namespace
}  // namespace orch::worker
