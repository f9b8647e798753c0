// One step alone, for people who look for what went wrong: JSON in, JSON out.
#pragma once

#include <filesystem>
#include <span>

namespace orch::hand {

/// `words` begin with the command. Every rank calls it; the first one reads and prints. The exit code: 0; 1: it failed;
/// 2: it was asked wrongly; 3: a training was
/// ended by a signal, and can go on.
int run(std::span<char* const> words, const std::filesystem::path& program);

}  // namespace orch::hand
