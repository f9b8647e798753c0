#include "eval/score/code.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace orch::eval {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines = split(text, '\n');
  for (std::string_view& line : lines)
    while (!line.empty() && std::string_view(" \t\r\f\v").find(line.back()) != std::string_view::npos)
      line.remove_suffix(1);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

}  // namespace

std::string humaneval_program(std::string_view prompt, std::string_view completion, std::string_view test,
                              std::string_view entry_point) {
  std::string program(prompt);
  program += completion;
  program += "\n";
  program += test;
  program += "\ncheck(";
  program += entry_point;
  program += ")";
  return program;
}

std::string mbpp_program(std::string_view code, std::span<const std::string> tests, std::string_view setup) {
  std::string program(code);
  program += "\n";
  if (!setup.empty()) (program += setup) += "\n";
  for (const std::string& test : tests) (program += test) += "\n";
  return program;
}

bool same_output(std::string_view printed, std::string_view expected) {
  return std::ranges::equal(lines_of(printed), lines_of(expected));
}

double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k) {
  if (n - c < k) return 1.0;
  // As a product, so that no binomial coefficient overflows.
  double none = 1.0;
  for (std::int64_t i = n - c + 1; i <= n; ++i) none *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - none;
}

}  // namespace orch::eval
