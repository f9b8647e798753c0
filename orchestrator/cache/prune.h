// Which revisions of models leave the cache when it is too large or they too old, and how they leave it.
//
// Holds:
//  - Nothing of a kept model goes, nor of one that is being downloaded or staged, nor a dataset, nor what is not
//  understood.
//  - Whole revisions go, the least recently used first: their refs, their snapshot, the blobs that no other revision
//  has.
//  - Broken off at any moment it leaves no revision that looks whole and is not; the next clean-up finishes what it
//  left.
//  - Nothing outside the cache is touched, whatever links lie in it.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cache/contents.h"

namespace orch::cache {

struct PruneAsk {
  std::optional<Bytes> budget;                     ///< of the whole cache
  std::optional<std::chrono::seconds> older_than;  ///< what was not used for so long goes in any case
  Bytes wanted = 0;                                ///< that are about to be written
  Bytes free = std::numeric_limits<Bytes>::max();  ///< on the disk
  std::map<std::string, std::string> keep;         ///< models that stay, by id, each with why
  Time now;
};

struct Removal {
  std::string id;
  std::string commit;
  std::vector<std::string> refs;
  Bytes bytes = 0;  ///< that its going frees
  Time last_used;
};

/// What belongs to no revision and was not written to for a day.
struct Leftover {
  std::string id;
  std::string blob;
  Bytes bytes = 0;
};

struct PrunePlan {
  std::vector<Removal> removals;
  std::vector<Leftover> leftovers;
  std::map<std::string, std::string> kept;  ///< models that would have been considered, with why they stay
  Bytes before = 0, after = 0;              ///< of the cache
  Bytes lacking = 0;                        ///< what it is still short of after all that
};

PrunePlan plan_prune(const Contents& contents, const PruneAsk& ask);

using OnWait = std::function<void(const std::string&)>;

/// Plans and, unless it is a dry run, removes; another clean-up is waited for. The plan that comes back is what was
/// done.
Result<PrunePlan> prune(const std::filesystem::path& root, PruneAsk ask, bool dry_run, const OnWait& on_wait);

/// As prune(), but all or nothing: where the room cannot be made, nothing is removed (`lacking` says so).
Result<PrunePlan> make_room(const std::filesystem::path& root, PruneAsk ask, const OnWait& on_wait);

}  // namespace orch::cache
