// How much memory the processes of one node may still take: what the machine has free, and what the control groups that
// this process is in leave it.
#pragma once

#include <cstdint>
#include <filesystem>

namespace orch::comm {

/// Bytes; 0 where nothing tells. `root`: where /proc and /sys are.
double memory_left(const std::filesystem::path& root = "/");

/// Bytes of host memory that this process had at its fullest.
std::int64_t most_memory();

}  // namespace orch::comm
