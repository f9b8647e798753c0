// What the state directory lies on: SQLite needs locks and shared memory that network file systems do not give between
// hosts, and a database that two hosts open there is damaged in silence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace orch::store {

/// What the file system with this statfs f_type is called, if it is one of a network, or one behind which a network may
/// be; nothing: a local one.
std::optional<std::string_view> network_file_system(std::uint64_t f_type);

/// Why no database may lie in `directory`, which is on such a file system, as a sentence with the way out; nothing: it
/// may.
std::optional<std::string> refuse_disk(const std::filesystem::path& directory, std::uint64_t f_type);
/// The same of a directory that is there.
std::optional<std::string> refuse_disk(const std::filesystem::path& directory);

/// All of the file (or the folder's list of names) is on the disk when this returns.
void sync_to_disk(const std::filesystem::path& path);

}  // namespace orch::store
