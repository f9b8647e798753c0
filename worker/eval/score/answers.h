// Answers about pictures, compared with those of people.
//
// Written from the published formats, and unverified on the data sets themselves, which were not at hand.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace orch::eval {

/// DocVQA's average normalised Levenshtein similarity of one answer: 1 − distance / length to the nearest of
/// `references`, in characters, without regard to case and to how many blanks there are; below `threshold` 0. As in the
/// evaluation of the Robust Reading Competition, which keeps the threshold itself.
double anls(std::string_view answer, std::span<const std::string> references, double threshold = 0.5);

/// ChartQA's relaxed accuracy: numbers (`12`, `1.5e3`, `40%`) may be off by a twentieth of the reference, what else
/// there is must be the same but for case.
bool relaxed_match(std::string_view answer, std::string_view reference, double tolerance = 0.05);

/// MMMU's reading of an answer to a question of choice: the letter in brackets, or between blanks, or else, in an
/// answer of more than five words, the option that it names; of several the last. `options`: the texts of A, B, C, …
/// Nothing: there is none; MMMU draws one then.
std::optional<std::size_t> choice_of(std::string_view answer, std::span<const std::string> options);

}  // namespace orch::eval
