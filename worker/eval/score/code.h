// Code with tests: the text that is run for an answer, and the share that passes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace orch::eval {

/// HumanEval: prompt, answer, tests, and the call of `check`, as openai/human-eval puts them together.
std::string humaneval_program(std::string_view prompt, std::string_view completion, std::string_view test,
                              std::string_view entry_point);

/// MBPP: the answer, what the tests need (`test_setup_code`), and the asserts of `test_list`.
std::string mbpp_program(std::string_view code, std::span<const std::string> tests, std::string_view setup = {});

/// Whether a program printed what was expected, as APPS and CodeContests compare it: line by line, without blanks at
/// the ends of lines and empty lines at the end. Written from the published formats, unverified on their data.
bool same_output(std::string_view printed, std::string_view expected);

/// The unbiased estimate of the chance that one of `k` answers passes, from `n` answers of which `c` passed:
/// 1 − C(n−c, k) / C(n, k). Needs c ≤ n and 1 ≤ k ≤ n.
double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k);

}  // namespace orch::eval
