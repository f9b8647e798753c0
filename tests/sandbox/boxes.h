// Programs in boxes, for tests: what they print, how they end, and whether anything of them is left.
#pragma once

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "sandbox/python.h"

namespace orch::sandbox::test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A machine on which nothing can be confined fails the tests: they are about nothing else.
inline Sandbox sandbox() {
  auto opened = Sandbox::open(ORCH_SANDBOX);
  if (!opened) throw std::runtime_error(opened.error().what);
  return *std::move(opened);
}

/// Much more time than anything here needs, so that a busy machine changes no end.
inline Limits limits() {
  Limits limits;
  limits.wall = 60s;
  limits.cpu = 30s;
  return limits;
}

inline Outcome run(Program program, const Limits& within = limits()) {
  auto outcome = sandbox().run(program, within);
  if (!outcome) throw std::runtime_error(outcome.error().what);
  return *std::move(outcome);
}

/// Plain Python, without the runner.
inline Program python(const std::string& code) {
  Program program;
  program.run = {"python3", "-B", "-s", "code.py"};
  program.files = {{"code.py", code}};
  return program;
}

inline Outcome run(const std::string& code, const Limits& within = limits()) { return run(python(code), within); }

/// What it printed, if it ended well: otherwise how it ended.
inline std::string printed(const Outcome& outcome) {
  if (outcome.end == End::kExited && outcome.code == 0) return outcome.output;
  return describe(outcome) + ": " + outcome.errors;
}
inline std::string printed(const std::string& code, const Limits& within = limits()) {
  return printed(run(code, within));
}

inline std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Processes with this word in their environment.
inline std::vector<std::string> processes_with(const std::string& mark) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos &&
        read(entry.path() / "environ").find(mark) != std::string::npos)
      found.push_back(name);
  }
  return found;
}

}  // namespace orch::sandbox::test
