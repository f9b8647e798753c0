// Function calls as models write them: `[weather.get(city="Oslo", days=2)]`, Python's syntax, or JSON.
//
// What is read is what the Berkeley Function Calling Leaderboard reads (bfcl-eval 2026.3.23,
// `default_decode_ast_prompting`), which turns the text into Python's syntax tree and takes values from it:
//  - names are texts (`city=Oslo`, `flag=true`), as are calls without named arguments and what is indexed;
//  - calls with named arguments are maps of one entry; arguments without a name are left out;
//  - sums, products and powers of numbers, and texts put together, are worked out;
//  - a sign before a number, whichever it is, makes it negative.
// What it reads and this does not: integers beyond 64 bits, arguments without a name that are conditions,
// functions or comprehensions, other operators.
// The text is hostile: nesting, and so the stack, is bounded, and nothing is evaluated but numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "eval/score/value.h"

namespace orch::eval {

struct Call {
  std::string name;
  Dict arguments;  ///< by name; every key is a text
};

/// Of a model's answer: one call or several, with or without brackets around them.
Result<std::vector<Call>> read_python_calls(std::string_view answer);

/// `{"name": N, "arguments": {…}}` (or "parameters", or the arguments as a text of JSON), `{N: {…}}`, or a list of
/// these.
Result<std::vector<Call>> read_json_calls(std::string_view answer);

}  // namespace orch::eval
