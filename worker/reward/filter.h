// Running a program over a text: what it is given on its standard input, and what it prints. command.h says how it is
// started, and what holds.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::reward {

struct Filtered {
  std::string out;
  std::string err;  ///< the end of what it said: at most 4 KiB
};

/// Errors, also of a program that did not end with code 0, name it and end with the last lines that it said.
Result<Filtered> filter(const std::vector<std::string>& run, const std::vector<std::string>& environment,
                        std::string_view input, std::chrono::milliseconds limit, std::size_t most_output);

/// `: ` and the last lines, as they can stand in a message; or nothing.
std::string last_words(std::string_view said);

}  // namespace orch::reward
