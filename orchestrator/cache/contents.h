// What lies in a folder of the hub's cache layout:
//
//   models--org--name/refs/main                    the commit that a branch or tag stood at
//   models--org--name/snapshots/COMMIT/FILE        a link to ../../blobs/ETAG (or the file itself, where there are no
//   links) models--org--name/blobs/ETAG                   the bytes; ETAG is the SHA-256 of a large file, the git SHA-1
//   of a small one models--org--name/blobs/ETAG….incomplete       a download that goes on or was broken off
//   models--org--name/trees/COMMIT.json            the hub's list of the files, with sizes (newer programs write it)
//   blobs/XX/HASH                                  bytes that several repositories share (newer programs): blobs/ETAG
//   is a link
//
// Holds:
//  - Nothing outside the folder is read, counted or followed, wherever its links lead.
//  - Bytes that several files, revisions or repositories share are counted once.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/names.h"

namespace orch::cache {

using Time = std::chrono::sys_seconds;
using Bytes = std::uint64_t;

/// Depth of a look: kSizes also reads the heads of weight files, to see whether they go on to their end.
enum class Look { kNames, kSizes };

struct Blob {
  Bytes bytes = 0;
  Time read;                     ///< when it was last read, as far as the file system says
  Time written;                  ///< when it came
  std::filesystem::path shared;  ///< where its bytes are, if the cache shares them; empty: in the blob itself
  int uses = 0;                  ///< revisions that have it
};

struct File {
  std::string name;            ///< in the snapshot: `config.json`, `unet/model.safetensors`
  std::string blob;            ///< empty: the file itself lies in the snapshot
  std::filesystem::path path;  ///< of its bytes
  Bytes bytes = 0;
};

struct Revision {
  std::string commit;
  std::vector<std::string> refs;
  std::vector<File> files;
  Bytes bytes = 0;
  Time last_used;
  std::vector<std::string> lacks;  ///< what it would need to be whole: for a model, to be loaded
  std::size_t listed = 0;          ///< files that the hub lists; 0: not known
  bool whole() const { return lacks.empty(); }
};

struct Partial {
  std::string blob;  ///< name of its file
  Bytes bytes = 0;
  Time written;
};

struct Repo {
  RepoName name;
  std::filesystem::path path;
  std::vector<Revision> revisions;
  std::map<std::string, Blob> blobs;
  std::vector<Partial> partials;
  std::vector<std::filesystem::path> half_removed;  ///< what an interrupted clean-up left
  Bytes bytes = 0;                                  ///< on disk, partial downloads too
  Bytes partial_bytes = 0;
  std::vector<std::string> problems;  ///< what was not understood, and is left alone

  /// By commit, branch or tag.
  const Revision* find(const std::string& revision) const;
};

struct Contents {
  std::filesystem::path root;
  std::vector<Repo> repos;
  std::vector<std::string> problems;
  Bytes bytes = 0;

  const Repo* find(const RepoName& name) const;
};

/// $HF_HUB_CACHE, $HF_HOME/hub, or ~/.cache/huggingface/hub, as the hub's own programs look for it.
std::filesystem::path usual_root();

/// A folder that does not exist is an empty cache.
Result<Contents> read_cache(const std::filesystem::path& root, Look look);
/// Nothing where it is not in the cache.
Result<std::optional<Repo>> read_repo(const std::filesystem::path& root, const RepoName& name, Look look);

/// Notes that a revision is used now. A cache that only others may write stays as it is.
void touch(const Repo& repo, const std::string& commit);

/// Bytes that the hub's list, if it lies in the cache, gives for a revision.
std::optional<Bytes> listed_bytes(const Repo& repo, const std::string& commit);

/// Bytes that a user may still write there, or in the nearest folder above it that exists.
std::optional<Bytes> free_bytes(const std::filesystem::path& folder);

}  // namespace orch::cache
