#include "eval/score/code.h"

namespace orch::eval {

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

double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k) {
  if (n - c < k) return 1.0;
  // As a product, so that no binomial coefficient overflows.
  double none = 1.0;
  for (std::int64_t i = n - c + 1; i <= n; ++i) none *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - none;
}

}  // namespace orch::eval
