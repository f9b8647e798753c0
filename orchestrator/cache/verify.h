// Whether the bytes in the cache are the hub's: a blob's name is its digest, the SHA-256 of a large file or the git
// SHA-1 of a small one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cache/contents.h"

namespace orch::cache {

enum class BlobState { kRight, kDamaged, kUnreadable, kUnnamed };  ///< kUnnamed: its name is no digest

BlobState check_blob(const std::string& name, const std::filesystem::path& path);

/// Of a regular file, hexadecimal; nothing where it cannot be read to its end.
std::optional<std::string> sha256_of(const std::filesystem::path& path);

struct Verified {
  std::size_t right = 0;
  std::size_t unnamed = 0;           ///< files that nothing says anything about
  std::vector<std::string> damaged;  ///< names of files in the snapshot
  std::vector<std::string> unreadable;
  std::vector<std::string> damaged_blobs;
  bool well() const { return damaged.empty() && unreadable.empty(); }
};

/// Reads every byte of a revision. `done` is called after each file with the bytes read so far.
Verified verify(const Revision& revision, const std::function<void(Bytes)>& done = nullptr);

struct VerifiedRevision {
  Revision revision;
  Verified verified;
};
/// As verify(), of what is there once the repository's lock is held, as others hold it that read: nothing is removed
/// meanwhile. Nothing where the revision has gone by then. `on_wait` is called if a clean-up is waited for.
Result<std::optional<VerifiedRevision>> verify_held(const std::filesystem::path& root, const RepoName& name,
                                                    const std::string& commit,
                                                    const std::function<void(const std::string&)>& on_wait);

/// Removes damaged blobs, so that the next download brings them anew: it keeps what has the right name.
Result<std::monostate> remove_blobs(const std::filesystem::path& root, const RepoName& name,
                                    const std::vector<std::string>& blobs);

}  // namespace orch::cache
