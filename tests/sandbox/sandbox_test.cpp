#include "sandbox/sandbox.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>
#include <thread>

#include "sandbox/boxes.h"
#include "sandbox/wire.h"
#include "support/temporary.h"

namespace orch::sandbox::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(Sandbox, TellsHowAProgramEndedAndWhatItPrinted) {
  Program program;
  program.run = {"sh", "-c", "echo out; echo error >&2; exit 7"};
  const Outcome outcome = run(program);
  EXPECT_EQ(outcome.end, End::kExited);
  EXPECT_EQ(outcome.code, 7);
  EXPECT_EQ(outcome.output, "out\n");
  EXPECT_EQ(outcome.errors, "error\n");
  EXPECT_GT(outcome.seconds, 0);
  program.run = {"sh", "-c", "kill -SEGV $$"};
  const Outcome killed = run(program);
  EXPECT_EQ(killed.end, End::kSignal);
  EXPECT_EQ(killed.code, SIGSEGV);
}

TEST(Sandbox, SaysWhyAProgramCannotStart) {
  Program program;
  program.run = {"no-such-program"};
  const Outcome outcome = run(program);
  EXPECT_EQ(outcome.end, End::kRefused);
  EXPECT_EQ(outcome.why, "cannot start the program: No such file or directory");
  program.run = {"true"};
  program.read_only = {"/no/such/folder"};
  EXPECT_EQ(run(program).why, "cannot read a folder that was to be shown: No such file or directory");
}

TEST(Sandbox, RefusesWhatItCannotGiveToAProgram) {
  const Sandbox box = sandbox();
  const auto error = [&](Program program, Limits within = limits()) {
    const auto outcome = box.run(program, within);
    return outcome ? "none" : outcome.error().what;
  };
  EXPECT_THAT(error({}), HasSubstr("no program"));
  EXPECT_THAT(error({.run = {"true", std::string("a\0b", 3)}}), HasSubstr("NUL"));
  for (const char* name : {"", ".", "..", "a/b", "/etc/passwd"})
    EXPECT_THAT(error({.run = {"true"}, .files = {{name, ""}}}), HasSubstr("no name of a file")) << name;
  for (const char* path : {"", "/", "usr", "/usr/../etc", "/usr//lib"})
    EXPECT_THAT(error({.run = {"true"}, .read_only = {path}}), HasSubstr("cannot be shown")) << path;
  Limits none = limits();
  none.memory = 0;
  EXPECT_THAT(error({.run = {"true"}}, none), HasSubstr("limit of nothing"));
  EXPECT_THAT(error({.run = {"true"}, .files = {{"large", std::string(65U << 20, 'x')}}}),
              HasSubstr("larger than 64 MiB"));
}

TEST(Sandbox, GivesAProgramAnEmptyInputAndFewNamesInItsEnvironment) {
  ASSERT_EQ(::setenv("ORCH_TEST_SECRET", "secret", 1), 0);
  Program program = python(
      "import os, sys\n"
      "print(repr(sys.stdin.read()), sorted(os.environ), os.getcwd(), os.uname().nodename)\n"
      "print(sorted(os.listdir('/proc/self/fd')))\n");
  program.environment = {"MORE=1"};
  // Descriptor 4 is that of the listing itself.
  EXPECT_EQ(
      printed(run(program)),
      "'' ['HOME', 'LANG', 'MORE', 'OMP_NUM_THREADS', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'TMPDIR'] "
      "/sandbox sandbox\n['0', '1', '2', '3', '4']\n");
  ::unsetenv("ORCH_TEST_SECRET");
}

TEST(Sandbox, GivesTheSameHashesInEachRun) {
  const std::string first = printed("print(hash('a'), list({'b', 'c', 'd', 'e'}))");
  EXPECT_EQ(printed("print(hash('a'), list({'b', 'c', 'd', 'e'}))"), first);
}

TEST(Sandbox, ShowsFoldersThatAreNamedToReadAndNothingBesideThem) {
  orch::test::TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms{0755});
  fs::create_directories(folder / "shown/deep");
  std::ofstream(folder / "shown/deep/file") << "text";
  std::ofstream(folder / "hidden") << "hidden";
  const std::string path = folder.path().string();
  Program program = python("import os\nprint(os.listdir('" + path + "'), open('" + path +
                           "/shown/deep/file').read())\n"
                           "try: open('" +
                           path + "/shown/new', 'w')\nexcept OSError as e: print(e.errno == 30)\n");
  program.read_only = {path + "/shown", "/usr/lib"};
  EXPECT_EQ(printed(run(program)), "['shown'] text\nTrue\n");
}

TEST(Sandbox, LimitsOpenFiles) {
  Limits few = limits();
  few.open_files = 20;
  EXPECT_EQ(printed("files = []\ntry:\n    while True: files.append(open('/dev/null'))\n"
                    "except OSError: print(len(files) + 4)\n",
                    few),
            "20\n");
}

TEST(Sandbox, RunsForManyThreadsAtOnce) {
  const Sandbox box = sandbox();
  std::vector<std::string> answers(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < answers.size(); ++i)
    threads.emplace_back([&, i] {
      const auto outcome = box.run(python("print(" + std::to_string(i) + " ** 2)"), limits());
      answers[i] = outcome ? printed(*outcome) : outcome.error().what;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(answers, testing::ElementsAre("0\n", "1\n", "4\n", "9\n", "16\n", "25\n", "36\n", "49\n"));
}

/// A program that writes something and waits, with `mark` in its environment.
Program waiting(const std::string& mark) {
  Program program = python("import os, time\nos.fork()\ntime.sleep(1000)\n");
  program.environment = {mark};
  return program;
}

/// Whether there are (or no more) processes with the mark, soon.
bool soon(const std::string& mark, bool there) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (processes_with(mark).empty() == there) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

/// orch-sandbox of a process, by its parent.
pid_t child_of(pid_t parent) {
  std::ifstream list("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
  pid_t child = 0;
  list >> child;
  return child;
}

TEST(Sandbox, EndsItsProgramWhenItsCallerIsKilled) {
  const std::string mark = "ORCH_TEST_MARK=" + std::to_string(::getpid()) + "-caller";
  const Sandbox box = sandbox();
  const pid_t caller = ::fork();
  if (caller == 0) {
    const auto outcome = box.run(waiting(mark), limits());
    ::_exit(outcome ? 0 : 1);
  }
  ASSERT_TRUE(soon(mark, true));
  EXPECT_THAT(processes_with(mark), Not(IsEmpty()));
  ::kill(caller, SIGKILL);
  ::waitpid(caller, nullptr, 0);
  EXPECT_TRUE(soon(mark, false));
}

TEST(Sandbox, EndsItsProgramWhenItIsKilledItselfAndSaysSo) {
  const std::string mark = "ORCH_TEST_MARK=" + std::to_string(::getpid()) + "-itself";
  const Sandbox box = sandbox();
  const pid_t caller = ::fork();
  if (caller == 0) {
    const auto outcome = box.run(waiting(mark), limits());
    ::_exit(!outcome && outcome.error().what.find("ended before") != std::string::npos ? 0 : 1);
  }
  ASSERT_TRUE(soon(mark, true));
  ::kill(child_of(caller), SIGKILL);
  int status = -1;
  ::waitpid(caller, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(soon(mark, false));
}

TEST(Sandbox, LeavesNoMountAndNoFile) {
  // Of the places that a box mounts something on: other tests may do so elsewhere meanwhile.
  const auto mounts = [] {
    std::vector<std::string> found;
    std::istringstream lines(read("/proc/self/mountinfo"));
    for (std::string line; std::getline(lines, line);)
      for (const char* place : {" / ", " /tmp", " /sandbox", " /dev/shm", " /proc ", " /usr"})
        if (line.find(place) != std::string::npos) found.push_back(line);
    return found;
  };
  const auto before = mounts();
  const std::string name = "left-" + std::to_string(::getpid());
  EXPECT_EQ(
      printed("for folder in ('/tmp/', '/sandbox/', '/dev/shm/'): open(folder + '" + name + "', 'w')\nprint('left')"),
      "left\n");
  EXPECT_EQ(mounts(), before);
  for (const char* folder : {"/", "/tmp", "/sandbox", "/dev/shm", "."})
    EXPECT_FALSE(fs::exists(fs::path(folder) / name)) << folder;
}

TEST(Sandbox, WorksForAnOrdinaryUser) {
  // The build's folder may be out of an ordinary user's reach.
  orch::test::TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms{0755});
  const fs::path copy = folder / "orch-sandbox";
  fs::copy_file(ORCH_SANDBOX, copy);
  fs::permissions(copy, fs::perms{0755});
  const pid_t user = ::fork();
  if (user == 0) {
    if (::geteuid() == 0 && (::setresgid(54321, 54321, 54321) != 0 || ::setresuid(54321, 54321, 54321) != 0))
      ::_exit(1);
    const auto box = Sandbox::open(copy);
    if (!box) {
      std::fprintf(stderr, "%s\n", box.error().what.c_str());
      ::_exit(2);
    }
    const auto outcome = box->run(python("import os\nprint(os.getuid(), os.listdir('/sandbox'))\n"
                                         "try: open('/etc/shadow')\nexcept FileNotFoundError: print('no')"),
                                  limits());
    const bool right = outcome && printed(*outcome) == "1000 ['code.py']\nno\n";
    if (!right) std::fprintf(stderr, "%s\n", outcome ? printed(*outcome).c_str() : outcome.error().what.c_str());
    ::_exit(right ? 0 : 3);
  }
  int status = -1;
  ::waitpid(user, &status, 0);
  EXPECT_EQ(status, 0);
}

/// What `act` returns in a process that is root of a namespace of its own, as in a container, where a part of /proc is
/// covered.
template <class Act>
int in_container(Act act) {
  const auto put = [](const char* file, const std::string& line) {
    return bool(std::ofstream(file) << line << std::flush);
  };
  const std::string user = "0 " + std::to_string(::geteuid()) + " 1\n",
                    group = "0 " + std::to_string(::getegid()) + " 1\n";
  const pid_t container = ::fork();
  if (container == 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !put("/proc/self/setgroups", "deny") ||
        !put("/proc/self/uid_map", user) || !put("/proc/self/gid_map", group) ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/proc/tty", "tmpfs", 0, nullptr) != 0)
      ::_exit(100);
    ::_exit(act());
  }
  int status = -1;
  ::waitpid(container, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Sandbox, WorksWhereAContainerHasCoveredPartsOfProcAndThenProgramsHaveNone) {
  EXPECT_EQ(in_container([] { return printed("import os\nprint(os.listdir('/proc'))") == "[]\n" ? 0 : 1; }), 0);
}

TEST(Sandbox, EndsProgramsThatHaveTooManyProcessesWhereTheKernelDoesNot) {
  // The kernel exempts root, which in such a container the program is: no other user can be had there.
  const bool exempt = ::geteuid() == 0;
  EXPECT_EQ(in_container([&] {
              Limits few = limits();
              few.processes = 10;
              const Outcome outcome =
                  run("import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(1000)\n", few);
              return outcome.end == (exempt ? End::kProcesses : End::kExited) ? 0 : 1;
            }),
            0);
}

TEST(Sandbox, WhereThereAreNoUserNamespacesIsNotOpenedAndTheReasonNamesTheSetting) {
  // A namespace in which no further one may be made: what a site with them off looks like.
  const std::string command =
      "unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; \"" ORCH_SANDBOX "\" --probe' 2>&1; echo $?";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char text[4096] = {};
  const std::size_t size = std::fread(text, 1, sizeof text - 1, pipe);
  ::pclose(pipe);
  EXPECT_EQ(
      std::string(text, size),
      "orch-sandbox: no program can be confined on this machine: cannot make new namespaces: No space left on device; "
      "user namespaces are off here: an administrator allows them with `sysctl user.max_user_namespaces=15000`\n1\n");
}

TEST(Sandbox, IsNotOpenedWithoutItsProgram) {
  const auto box = Sandbox::open("/no/such/orch-sandbox");
  ASSERT_FALSE(box);
  EXPECT_EQ(box.error().what, "cannot start /no/such/orch-sandbox: No such file or directory");
  const auto other = Sandbox::open("/bin/true");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().what, "/bin/true ended before the program that it was to run");
}

TEST(Wire, TakesNothingThatIsNotWhole) {
  Request request;
  request.program = {.run = {"a", ""},
                     .environment = {"B=1"},
                     .files = {{"f", std::string("\0x", 2)}},
                     .read_only = {"/c"},
                     .secret = "s"};
  request.limits.memory = 12345;
  const std::string bytes = write(request).substr(sizeof(std::uint64_t));
  const auto back = read_request(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->program.run, request.program.run);
  EXPECT_EQ(back->program.files.at(0).content, request.program.files[0].content);
  EXPECT_EQ(back->limits.memory, 12345U);
  EXPECT_EQ(back->limits.wall, request.limits.wall);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(read_request(bytes.substr(0, size))) << size;
  EXPECT_FALSE(read_request(bytes + "x"));
  EXPECT_FALSE(read_outcome(std::string(200, '\xff')));
}

}  // namespace
}  // namespace orch::sandbox::test
