// Programs that were written to do harm. Each must fail at it, and end as what it is.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <csignal>

#include "sandbox/boxes.h"
#include "support/source_dir.h"
#include "support/temporary.h"

namespace orch::sandbox::test {
namespace {

using testing::AnyOf;
using testing::Eq;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Lt;

/// Tries each line of Python and prints the name of the exception that stopped it, or that nothing did.
std::string tried(const std::vector<std::string>& lines, const std::string& before = "") {
  std::string code = "import os, sys, socket, ctypes, errno\n" + before +
                     "\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                     "def call(*words):\n"
                     "    if libc.syscall(*words) < 0:\n"
                     "        raise OSError(ctypes.get_errno(), 'refused')\n"
                     "def attempt(line):\n"
                     "    try:\n"
                     "        exec(line)\n"
                     "        print('DONE', line)\n"
                     "    except OSError as e:\n"
                     "        print(errno.errorcode[e.errno])\n";
  for (const std::string& line : lines) code += "attempt(r'''" + line + "''')\n";
  return printed(code);
}

constexpr long kIoUringSetup = 425, kOpenTree = 428, kClone3 = 435, kPidfdGetfd = 438, kMountSetattr = 442,
               kMemfdSecret = 447, kNewer = 463;

/// By its number: Python has no name for it.
std::string call(long number, const std::string& words) {
  return "call(" + std::to_string(number) + (words.empty() ? "" : ", ") + words + ")";
}

TEST(Hostile, AForkBombIsHeldToItsProcessesAndEndsWithItsTime) {
  Limits few = limits();
  few.wall = 1500ms;
  few.processes = 20;
  const Outcome outcome =
      run("import os\n"
          "while True:\n"
          "    try:\n"
          "        os.fork()\n"
          "    except OSError:\n"
          "        pass\n",
          few);
  EXPECT_THAT(outcome.end, AnyOf(End::kTime, End::kProcesses)) << describe(outcome);
  EXPECT_LT(outcome.seconds, 30);
}

TEST(Hostile, ProgramsHaveAsManyProcessesAndThreadsAsTheyMayAndNoMore) {
  Limits few = limits();
  few.processes = 12;
  // Itself is one of the twelve.
  EXPECT_EQ(printed("import os, time\n"
                    "n = 0\n"
                    "try:\n"
                    "    while n < 100:\n"
                    "        if os.fork() == 0: time.sleep(100)\n"
                    "        n += 1\n"
                    "except BlockingIOError:\n"
                    "    print(n)\n",
                    few),
            "11\n");
  EXPECT_EQ(printed("import threading, time\n"
                    "n = 0\n"
                    "try:\n"
                    "    while n < 100:\n"
                    "        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
                    "        n += 1\n"
                    "except RuntimeError:\n"
                    "    print(n)\n",
                    few),
            "11\n");
}

TEST(Hostile, AMemoryBombEndsForItsMemory) {
  Limits little = limits();
  little.memory = 200 << 20;
  const Outcome outcome = run("held = []\nwhile True: held.append(b'x' * (1 << 20))\n", little);
  EXPECT_EQ(outcome.end, End::kMemory) << describe(outcome);
  EXPECT_GT(outcome.memory, little.memory);
  // Between two looks a process fills some tens of MiB; with a busy machine's delays still no multiple of the limit.
  EXPECT_LT(outcome.memory, 10 * little.memory);
}

TEST(Hostile, AMemoryBombOfManyProcessesEndsForTheMemoryOfAll) {
  Limits little = limits();
  little.memory = 200 << 20;
  const Outcome outcome =
      run("import os, time\n"
          "for i in range(10):\n"
          "    if os.fork() == 0:\n"
          "        held = b'x' * (40 << 20)\n"
          "        time.sleep(100)\n"
          "time.sleep(100)\n",
          little);
  EXPECT_EQ(outcome.end, End::kMemory) << describe(outcome);
}

TEST(Hostile, MemoryThatProcessesShareIsCountedOnce) {
  Limits little = limits();
  little.memory = 300 << 20;
  EXPECT_EQ(printed("import os, time\n"
                    "held = b'x' * (100 << 20)\n"
                    "children = []\n"
                    "for i in range(10):\n"
                    "    child = os.fork()\n"
                    "    if child == 0:\n"
                    "        time.sleep(0.5)\n"
                    "        os._exit(0)\n"
                    "    children.append(child)\n"
                    "for child in children: os.waitpid(child, 0)\n"
                    "print('fine')\n",
                    little),
            "fine\n");
}

TEST(Hostile, MemoryInNoProcessCannotBeHad) {
  EXPECT_EQ(tried({"os.memfd_create('x')", call(SYS_shmget, "0, 1 << 30, 0o1600"), call(kMemfdSecret, "0")}),
            "EPERM\nEPERM\nEPERM\n");
  // An address space that nothing could hold is not reserved either.
  const Outcome outcome = run("import mmap\nmmap.mmap(-1, 1 << 40)\n");
  EXPECT_EQ(outcome.end, End::kExited);
  EXPECT_EQ(outcome.code, 1);
}

TEST(Hostile, AnEndlessLoopEndsForItsTimeOnTheProcessor) {
  Limits little = limits();
  little.cpu = 1s;
  const Outcome outcome =
      run("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass\n", little);
  EXPECT_EQ(outcome.end, End::kTime) << describe(outcome);
  EXPECT_THAT(outcome.seconds, Lt(50));
  EXPECT_GE(outcome.cpu_seconds, 1);
}

TEST(Hostile, AProgramThatWaitsForEverAndIgnoresSignalsEndsByTheClock) {
  Limits little = limits();
  little.wall = 700ms;
  const Outcome outcome =
      run("import signal, time\n"
          "for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):\n"
          "    signal.signal(s, signal.SIG_IGN)\n"
          "while True: time.sleep(100)\n",
          little);
  EXPECT_EQ(outcome.end, End::kTime) << describe(outcome);
  EXPECT_GE(outcome.seconds, 0.7);
}

TEST(Hostile, AHugeNumberEndsForItsTimeThoughPythonHearsNoSignal) {
  Limits little = limits();
  little.wall = 1500ms;
  little.cpu = 1s;
  EXPECT_EQ(run("print(len(str(7 ** (7 ** 9))))\n", little).end, End::kTime);
}

TEST(Hostile, EndlessOutputIsDrainedAndItsBeginningKept) {
  Limits little = limits();
  little.kept = 1000;
  little.output = 8 << 20;
  const Outcome outcome = run("import os\nwhile True: os.write(1, b'abcdefghij' * 4096)\n", little);
  EXPECT_EQ(outcome.end, End::kOutput) << describe(outcome);
  EXPECT_EQ(outcome.output.size(), 1000U);
  EXPECT_EQ(outcome.output.substr(0, 12), "abcdefghijab");
  EXPECT_EQ(run("import os\nwhile True: os.write(2, b'abcdefghij' * 4096)\n", little).end, End::kOutput);
  EXPECT_EQ(run("import os\nwhile True: os.write(3, b'abcdefghij' * 4096)\n", little).end, End::kOutput);
}

TEST(Hostile, OutputOfAnyBytesComesAsItIs) {
  EXPECT_EQ(printed("import os\nos.write(1, b'\\xff\\xfe\\x00\\xed\\xa0\\x80\\r\\n')\n"),
            std::string("\xff\xfe\0\xed\xa0\x80\r\n", 8));
}

TEST(Hostile, NothingOfTheMachineCanBeReadButItsPrograms) {
  orch::test::TemporaryFolder folder;
  std::ofstream(folder / "secret") << "secret";
  EXPECT_EQ(tried({"open('/etc/shadow')", "open('/etc/ssh/sshd_config')", "os.listdir('/root')", "os.listdir('/home')",
                   "os.listdir('/var')", "os.listdir('/sys')", "open('" + (folder / "secret").string() + "')",
                   "os.listdir('" + std::string(std::getenv("HOME") ? std::getenv("HOME") : "/home") + "')",
                   "os.listdir('" + orch::test::source_dir().string() + "')"}),
            "ENOENT\nENOENT\nENOENT\nENOENT\nENOENT\nENOENT\nENOENT\nENOENT\nENOENT\n");
  EXPECT_EQ(printed("import os\nprint(sorted(os.listdir('/sandbox')), os.listdir('/tmp'), sorted(os.listdir('/dev')))"),
            "['code.py'] [] ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']\n");
}

TEST(Hostile, NothingCanBeWrittenButItsOwnFolders) {
  EXPECT_EQ(
      tried({"open('/x', 'w')", "open('/usr/x', 'w')", "open('/usr/bin/python3', 'r+')", "open('/etc/passwd', 'w')",
             "open('/dev/x', 'w')", "os.mkdir('/proc/x')", "os.remove('/usr/bin/env')", "open('/lib/x', 'w')"}),
      "EROFS\nEROFS\nEACCES\nEROFS\nEROFS\nENOENT\nEROFS\nEROFS\n");
  EXPECT_EQ(printed("import os\n"
                    "for folder, _, names in os.walk('/proc/sys'):\n"
                    "    for name in names:\n"
                    "        try: os.write(os.open(folder + '/' + name, os.O_WRONLY), b'1'); print('wrote', name)\n"
                    "        except OSError: pass\n"
                    "for place in ('/sandbox/a', '/tmp/b', '/dev/shm/c'): open(place, 'w').write('x')\n"
                    "print('done')"),
            "done\n");
  for (const char* name : {"/x", "/sandbox/a", "/tmp/b", "/dev/shm/c"}) EXPECT_FALSE(fs::exists(name)) << name;
}

TEST(Hostile, TheDiskIsAsLargeAsItMayBe) {
  Limits little = limits();
  little.disk = 4 << 20;
  EXPECT_EQ(printed("import os, errno\n"
                    "written = 0\n"
                    "for folder in ('/sandbox', '/tmp', '/dev/shm'):\n"
                    "    try:\n"
                    "        file = open(folder + '/fill', 'wb', buffering=0)\n"
                    "        while True: written += file.write(b'x' * 65536)\n"
                    "    except OSError as e:\n"
                    "        assert e.errno in (errno.ENOSPC, errno.EFBIG), e\n"
                    "print(3 << 20 <= written <= 4 << 20)\n",
                    little),
            "True\n");
  EXPECT_EQ(printed("import errno\n"
                    "try:\n"
                    "    for n in range(1000000): open(f'/tmp/{n}', 'w').close()\n"
                    "except OSError as e:\n"
                    "    print(errno.errorcode[e.errno], n < 20000)\n",
                    little),
            "ENOSPC True\n");
}

TEST(Hostile, ThereIsNoNetwork) {
  // Somebody listens, by a port and by an abstract name: outside, both can be reached.
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string abstract = "orch-test-" + std::to_string(::getpid());
  abstract.copy(name.sun_path + 1, abstract.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + abstract.size());
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&name), length), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  const int visitor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(visitor, reinterpret_cast<const sockaddr*>(&name), length), 0);
  EXPECT_EQ(tried({"socket.socket(socket.AF_UNIX).connect('\\0" + abstract + "'.encode().decode('unicode_escape'))",
                   "socket.create_connection(('127.0.0.1', 22))", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
                   "socket.socket(socket.AF_INET6)", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
                   "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "socket.socket(40)",  // of virtual machines
                   "socket.socket(38, socket.SOCK_SEQPACKET)"}),                             // of the kernel's ciphers
            "ECONNREFUSED\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\n");
  ::close(visitor);
  ::close(listener);
  EXPECT_EQ(printed("a, b = __import__('socket').socketpair()\na.send(b'x')\nprint(b.recv(1))"), "b'x'\n");
}

TEST(Hostile, OtherProcessesCannotBeSeenNorReached) {
  EXPECT_EQ(
      printed(
          "import os\nprint(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()), os.getpid(), os.getppid())"),
      "[1, 2] 2 1\n");
  const std::string here = std::to_string(::getpid());
  EXPECT_EQ(tried({"os.kill(" + here + ", 9)", call(SYS_ptrace, "16, 1, 0, 0"),
                   call(SYS_process_vm_readv, "1, 0, 0, 0, 0, 0"), "open('/proc/1/mem', 'r+b')",
                   "os.listdir('/proc/1/root')", "os.readlink('/proc/1/exe')", "os.setpriority(os.PRIO_PROCESS, 1, 19)",
                   "os.sched_setaffinity(1, {0})", call(SYS_prlimit64, "1, 7, 0, 0"), call(kPidfdGetfd, "1, 0, 0")}),
            "ESRCH\nEPERM\nEPERM\nEACCES\nEACCES\nEACCES\nEPERM\nEPERM\nEPERM\nEPERM\n");
}

TEST(Hostile, KillingEverybodyKillsNobodyElse) {
  const Outcome outcome =
      run("import os, time\n"
          "if os.fork() == 0: time.sleep(1000)\n"
          "os.kill(1, 9)\nos.kill(1, 15)\nos.kill(-1, 9)\nprint('alone')\n");
  EXPECT_EQ(printed(outcome), "alone\n");
  const Outcome suicide = run("import os\nos.kill(os.getpid(), 9)\n");
  EXPECT_EQ(suicide.end, End::kSignal);
  EXPECT_EQ(suicide.code, SIGKILL);
}

TEST(Hostile, TheRootOfProcLeadsNowhereElse) {
  EXPECT_EQ(tried({"open('/proc/self/root/etc/shadow')", "os.listdir('/proc/self/cwd/../root')",
                   "open('/proc/self/root/../../../etc/shadow')", "os.chroot('/sandbox')",
                   "os.listdir('/proc/2/root/home')"}),
            "ENOENT\nENOENT\nENOENT\nEPERM\nENOENT\n");
}

TEST(Hostile, CallsThatNoTestNeedsAreRefused) {
  EXPECT_EQ(tried({call(SYS_mount, "b'none', b'/sandbox', b'tmpfs', 0, 0"), call(SYS_umount2, "b'/sandbox', 2"),
                   call(SYS_pivot_root, "b'.', b'.'"), call(SYS_unshare, "0x10000000"), call(SYS_unshare, "0x20000"),
                   call(SYS_setns, "3, 0"), call(SYS_clone, "0x10000000 | 17, 0, 0, 0, 0"),
                   call(SYS_keyctl, "0, 0, 0, 0, 0"), call(SYS_add_key, "0, 0, 0, 0, 0"), call(SYS_bpf, "0, 0, 0"),
                   call(SYS_userfaultfd, "0"), call(kIoUringSetup, "8, 0"),
                   call(SYS_perf_event_open, "0, 0, -1, -1, 0"), call(kOpenTree, "-100, b'/', 0"),
                   call(kMountSetattr, "-100, b'/', 0, 0, 0"), call(SYS_open_by_handle_at, "-100, 0, 0"),
                   call(SYS_personality, "0x0040000"), call(SYS_syslog, "3, 0, 0")}),
            "EPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\n"
            "EPERM\nEPERM\nEPERM\n");
  // clone3, calls that are newer than the filter, and the second set of x86-64.
  EXPECT_EQ(tried({call(kClone3, "0, 0"), call(kNewer, "0, 0"), call(0x40000000 + SYS_getpid, "")}),
            "ENOSYS\nENOSYS\nENOSYS\n");
}

TEST(Hostile, ProgramsHaveNoRightsAndCannotGetAny) {
  EXPECT_EQ(
      printed("for line in open('/proc/self/status'):\n"
              "    if line.startswith(('Cap', 'NoNewPrivs', 'Seccomp:', 'Uid', 'Gid')): print(line.split()[:2])\n"),
      "['Uid:', '1000']\n['Gid:', '1000']\n['CapInh:', '0000000000000000']\n['CapPrm:', '0000000000000000']\n"
      "['CapEff:', '0000000000000000']\n['CapBnd:', '0000000000000000']\n['CapAmb:', '0000000000000000']\n"
      "['NoNewPrivs:', '1']\n['Seccomp:', '2']\n");
  EXPECT_EQ(tried({"os.setuid(0)", "os.setgid(0)", "os.setgroups([])"}), "EINVAL\nEINVAL\nEPERM\n");
  EXPECT_EQ(
      printed(
          "import subprocess\n"
          "print(subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True).returncode != 0)\n"
          "flags = [l.split()[5] for l in open('/proc/self/mountinfo') if l.split()[4] in ('/usr', '/sandbox', '/')]\n"
          "print(len(flags), all('nosuid' in f and 'nodev' in f for f in flags))\n"),
      "True\n3 True\n");
}

TEST(Hostile, WhereTheAccountIsRootAProgramIsNobody) {
  // In a folder that is shown it can read what the account can; of root's files, those that anybody can.
  orch::test::TemporaryFolder folder;
  std::ofstream(folder / "secret") << "secret";
  fs::permissions(folder.path(), fs::perms{0755});
  fs::permissions(folder / "secret", fs::perms{0600});
  Program program = python("print(open('" + (folder / "secret").string() + "').read())");
  program.read_only = {folder.path().string()};
  const Outcome outcome = run(program);
  if (::geteuid() == 0)
    EXPECT_THAT(outcome.errors, HasSubstr("PermissionError"));
  else
    EXPECT_EQ(printed(outcome), "secret\n");
}

TEST(Hostile, DaemonsEndWithTheProgramThatLeftThem) {
  const std::string mark = "ORCH_TEST_MARK=" + std::to_string(::getpid()) + "-daemon";
  Program program = python(
      "import os, signal, time\n"
      "for i in range(5):\n"
      "    if os.fork() == 0:\n"
      "        os.setsid()\n"
      "        if os.fork(): os._exit(0)\n"
      "        for s in range(1, 32):\n"
      "            if s not in (9, 19): signal.signal(s, signal.SIG_IGN)\n"
      "        os.closerange(0, 10)\n"
      "        time.sleep(1000)\n"
      "    os.wait()\n"
      "print('gone')\n");
  program.environment = {mark};
  const Outcome outcome = run(program);
  EXPECT_EQ(printed(outcome), "gone\n");
  EXPECT_THAT(processes_with(mark), IsEmpty());
}

TEST(Hostile, RecursionWithoutEndIsAFailureOfTheProgramAlone) {
  Limits little = limits();
  little.memory = 512 << 20;
  const Outcome plain = run("def f(): f()\nf()\n", little);
  EXPECT_EQ(plain.end, End::kExited);
  EXPECT_EQ(plain.code, 1);
  EXPECT_THAT(plain.errors, HasSubstr("RecursionError"));
  // Through C, with Python's own bound taken away, the stack ends.
  const Outcome deep =
      run("import sys\nsys.setrecursionlimit(10 ** 9)\n"
          "class A:\n    def __repr__(self): return repr([self])\n"
          "repr(A())\n",
          little);
  EXPECT_EQ(deep.end, End::kSignal) << describe(deep) << deep.errors;
  EXPECT_EQ(deep.code, SIGSEGV);
}

}  // namespace
}  // namespace orch::sandbox::test
