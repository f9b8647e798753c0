// Whether Python code passes its own tests.
//
// The code runs as in HumanEval's harness: as one text, in names of its own, so that `__name__` is no "__main__". It
// has passed when its last line was reached: then what runs it writes down a word that was drawn for this run, on a way
// of its own. So `exit(0)`, `os._exit(0)`, an exception of any kind and printed words count as failed. The word is in
// the same interpreter as the code: code that was written to find it there can. docs/sandbox.md says more.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/sandbox.h"

namespace orch::sandbox {

struct Verdict {
  bool passed = false;
  Outcome outcome;
};

struct Python {
  std::string interpreter = "python3";
  std::vector<std::string> read_only;  ///< where it and its modules lie, if not in the system's folders
};

/// `code`: any bytes.
Result<Verdict> run_python(const Sandbox& sandbox, std::string_view code, const Limits& limits,
                           const Python& python = {});

/// Of tasks whose tests are inputs and outputs: runs the code as a program that reads `input` from its standard input.
/// What it printed, as far as `kept` goes, is the caller's to compare.
Result<Outcome> run_python_with_input(const Sandbox& sandbox, std::string_view code, std::string_view input,
                                      const Limits& limits, const Python& python = {});

}  // namespace orch::sandbox
