// Answers to the problems of MATH: what is taken from a solution, and which answers are the same.
//
// Two normal forms are in use: that of the data set's authors (Hendrycks et al. 2021), and the one of Lewkowycz et al.
// (2022, appendix D), which lm-evaluation-harness uses with the four worked examples of the same paper.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orch::eval {

/// The last `\boxed{…}` (or `\fbox{…}`) of a solution, as it stands there.
std::optional<std::string> last_boxed(std::string_view solution);
/// What is in it.
std::optional<std::string> unboxed(std::string_view boxed);

/// The authors' normal form; nothing where their program stops with an error.
std::optional<std::string> hendrycks_normalized(std::string_view answer);
/// Whether the authors' program takes two answers for the same.
bool hendrycks_equal(std::string_view a, std::string_view b);

/// What stands between the first and the last dollar sign, or all of it.
std::string between_dollars(std::string_view text);

/// What follows `Final Answer: The final answer is`, or `[invalidanswer]`.
std::string minerva_answer(std::string_view text);
std::string minerva_normalized(std::string_view answer);

/// Whether an answer is that of a solution, which has it in a box, or is nothing else: in the normal form of 2022 the
/// same text, or the same by the authors' program. lm-evaluation-harness also asks a computer algebra system, which
/// sees that x+1 and 1+x are the same.
bool is_answer_of(std::string_view answer, std::string_view solution);

}  // namespace orch::eval
