// HumanEval as published: its own solutions pass in a box, and broken ones do not.
#include <gmock/gmock.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "eval/score/code.h"
#include "sandbox/python.h"
#include "support/test_data.h"

namespace orch::eval {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;

struct Problem {
  std::string id, prompt, solution, test, entry;
};

std::vector<Problem> problems() {
  const std::string command =
      "gzip -dc '" + (orch::test::test_data() / "tasks/humaneval/HumanEval.jsonl.gz").string() + "'";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) throw std::runtime_error("no gzip");
  std::string all;
  char piece[65536];
  for (std::size_t got = 0; (got = std::fread(piece, 1, sizeof piece, pipe)) > 0;) all.append(piece, got);
  ::pclose(pipe);
  std::vector<Problem> problems;
  std::istringstream lines(all);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    problems.push_back({json.at("task_id"), json.at("prompt"), json.at("canonical_solution"), json.at("test"),
                        json.at("entry_point")});
  }
  return problems;
}

sandbox::Sandbox sandbox() {
  auto opened = sandbox::Sandbox::open(ORCH_SANDBOX);
  if (!opened) throw std::runtime_error(opened.error().what);
  return *std::move(opened);
}

/// Those whose program, with this in the place of the solution, ends otherwise than it should.
template <class Change>
std::vector<std::string> otherwise(bool should_pass, std::size_t step, Change change) {
  const sandbox::Sandbox box = sandbox();
  sandbox::Limits limits;
  limits.wall = 60s;
  limits.cpu = 60s;
  std::vector<std::string> wrong;
  const auto all = problems();
  EXPECT_EQ(all.size(), 164U);
  for (std::size_t i = 0; i < all.size(); i += step) {
    const Problem& problem = all[i];
    const auto verdict = sandbox::run_python(
        box, humaneval_program(problem.prompt, change(problem.solution), problem.test, problem.entry), limits);
    if (!verdict || verdict->passed != should_pass)
      wrong.push_back(problem.id + ": " +
                      (verdict ? describe(verdict->outcome) + verdict->outcome.errors : verdict.error().what));
  }
  return wrong;
}

TEST(HumanEval, EachOfItsOwnSolutionsPasses) {
  ORCH_NEEDS_TEST_DATA();
  EXPECT_THAT(otherwise(true, 1, [](const std::string& solution) { return solution; }), IsEmpty());
}

TEST(HumanEval, ABodyThatReturnsNothingOrLeavesPassesNone) {
  ORCH_NEEDS_TEST_DATA();
  EXPECT_THAT(otherwise(false, 3, [](const std::string&) { return "    return None\n"; }), IsEmpty());
  EXPECT_THAT(otherwise(false, 8, [](const std::string&) { return "    import os\n    os._exit(0)\n"; }), IsEmpty());
}

}  // namespace
}  // namespace orch::eval
