// Two sweeps, cell by cell: which differences are larger than what the standard errors explain.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "report/table.h"

namespace orch::report {

/// So many standard errors of a difference are taken to be chance, where nothing else is said.
inline constexpr double kChance = 2;

/// Whether less of it is better: the name holds loss, ppl, perplexity, error, bits_per, brier or edit_distance, or has
/// one of the words wer, cer, ter, mse, rmse, mae, nll, bpb, bpc.
bool lower_is_better(std::string_view metric);

/// The `sweep_diff` of docs/schemas/output.json, from the results of both. Cells are matched by model, task and
/// settings. A difference counts when it is larger than errors · sqrt(sa² + sb²); a metric without a standard error is
/// taken to be exact.
nlohmann::ordered_json compare_results(const std::string& a, const nlohmann::ordered_json& of_a, const std::string& b,
                                       const nlohmann::ordered_json& of_b, double errors = kChance);

/// The regressions, the improvements and what is in one of them alone; a last line counts all.
void print_sweep_diff(std::ostream& out, const Style& style, const nlohmann::ordered_json& comparison);

}  // namespace orch::report
