// What stands behind `orch-worker tokenize`, `generate`, `score` and `inspect`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "infer/request.h"

namespace orch::hand {

struct Options {
  std::string command, model;
  std::string file;  ///< of JSON; empty: standard input
  bool special = true;
  bool help = false;
  std::int64_t most = 32;  ///< new tokens of a text
  std::vector<std::string> stop;
  infer::Sampling sampling;
  int tensor = 1, pipeline = 1;
  int threads = 0;  ///< of each rank; 0: its share of this machine's CPUs
  DType dtype = DType::kFp32;
};

/// Whether a first word is one of these commands.
bool is_command(std::string_view word);
/// Of the words from the command on.
Result<Options> read_options(std::span<char* const> words);
/// What `COMMAND --help` prints.
std::string help_of(const std::string& command);

}  // namespace orch::hand
