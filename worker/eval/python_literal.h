// The literals of Python: lm-evaluation-harness prints lists into text by a template and reads them back so.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace orch::eval {

/// As ast.literal_eval(): texts (joined where several stand side by side), numbers, True, False, None, lists, tuples
/// (as lists) and maps with texts as keys. Nothing for anything else, bytes, complex numbers and integers past 64 bits
/// among it.
std::optional<nlohmann::ordered_json> python_literal(std::string_view text);

}  // namespace orch::eval
