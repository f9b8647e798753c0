// orch-sandbox: runs one program confined, for orch-worker. A program of its own, because it clones, and changes what a
// process is: neither is safe in a process with threads and MPI. It is small, so that it starts in a millisecond.
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>
#include <string_view>

#include "frame/frame.h"
#include "sandbox/box/watch.h"

namespace orch::sandbox {
namespace {

constexpr std::string_view kHelp = R"(orch-sandbox --probe

Runs programs that are trusted with nothing, one at a time, for orch-worker, which starts it.

  --probe      say whether programs can be confined on this machine, and if not, why. Exit code 0: they can
  --help       print this and stop
  --version    print the version and stop
)";

void print(int descriptor, std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(descriptor, text.data(), text.size());
}

/// The whole way into the box, without a program.
int probe() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
  const auto outcome = run({}, ends[0]);
  const bool can = outcome && outcome->end == End::kExited && outcome->code == 0;
  if (can) {
    print(STDOUT_FILENO, "programs can be confined on this machine\n");
    return 0;
  }
  const std::string why = !outcome || outcome->why.empty() ? "a process of the box was killed" : outcome->why;
  print(STDERR_FILENO, "orch-sandbox: no program can be confined on this machine: " + why + "\n");
  return 1;
}

int serve(int caller) {
  const auto bytes = receive(caller, kMostRequest);
  const auto request = bytes ? read_request(*bytes) : std::nullopt;
  if (!request) {
    print(STDERR_FILENO,
          "orch-sandbox: it is started by orch-worker; orch-sandbox --help says what people can ask of it\n");
    return 2;
  }
  const auto outcome = run(*request, caller);
  return outcome && frame::send(caller, write(*outcome)) ? 0 : 1;
}

}  // namespace
}  // namespace orch::sandbox

int main(int argc, char** argv) {
  using namespace orch::sandbox;
  ::closefrom(STDERR_FILENO + 1);
  ::signal(SIGPIPE, SIG_IGN);
  const std::string_view word = argc == 2 ? argv[1] : "";
  if (argc == 1) return serve(STDIN_FILENO);
  if (word == "--probe") return probe();
  if (word == "--help" || word == "-h") {
    print(STDOUT_FILENO, kHelp);
    return 0;
  }
  if (word == "--version") {
    print(STDOUT_FILENO, "orch-sandbox " ORCH_VERSION "\n");
    return 0;
  }
  print(STDERR_FILENO, "orch-sandbox: no such option; orch-sandbox --help shows them\n");
  return 2;
}
