#include "sandbox/python.h"

#include <array>
#include <random>

namespace orch::sandbox {
namespace {

// What it needs it takes before the code can put something else in its place.
constexpr const char* kRunner = R"(
def run():
    from os import _exit, read, write
    from sys import argv, stdout, stderr
    with open(argv[1], 'rb') as file:
        code = compile(file.read(), argv[1], 'exec')
    exec(code, {})
    for stream in (stdout, stderr):
        try:
            stream.flush()
        except Exception:
            pass
    write(3, read(3, 64))
    _exit(0)
run()
)";

constexpr const char* kName = "program.py";

std::string drawn_word() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::random_device device;  // the kernel's
  std::string word;
  for (int i = 0; i < 4; ++i)
    for (std::uint32_t bits = device(), digit = 0; digit < 8; ++digit, bits >>= 4) word += kDigits[bits & 15];
  return word;
}

}  // namespace

Result<Verdict> run_python(const Sandbox& sandbox, std::string_view code, const Limits& limits, const Python& python) {
  Program program;
  program.run = {python.interpreter, "-s", "-B", "-c", kRunner, kName};
  program.files = {{kName, std::string(code)}};
  program.read_only = python.read_only;
  program.secret = drawn_word();
  auto outcome = sandbox.run(program, limits);
  if (!outcome) return outcome.error();
  Verdict verdict;
  verdict.passed = outcome->end == End::kExited && outcome->code == 0 && outcome->report == program.secret;
  verdict.outcome = *std::move(outcome);
  return verdict;
}

Result<Outcome> run_python_with_input(const Sandbox& sandbox, std::string_view code, std::string_view input,
                                      const Limits& limits, const Python& python) {
  Program program;
  program.run = {"sh", "-c", "exec \"$0\" -s -B \"$1\" < input", python.interpreter, kName};
  program.files = {{kName, std::string(code)}, {"input", std::string(input)}};
  program.read_only = python.read_only;
  return sandbox.run(program, limits);
}

}  // namespace orch::sandbox
