// Whether a snapshot holds all that a program needs to load it.
//
// A model is whole when its weights are: every shard that an index names (or that `-00001-of-00008` in a name
// promises), no file shorter than the hub's list or its own head says. Programs prefer safetensors, so where a folder
// has them, what else lies there (.bin of the same weights) may be missing: people leave it out on purpose.
#pragma once

#include <string>
#include <vector>

#include "cache/contents.h"

namespace orch::cache {

/// What is missing, a sentence's part each; empty: whole. Of datasets and spaces only broken links can be known.
std::vector<std::string> what_lacks(const Repo& repo, const Revision& revision, Look look);

/// The hub's list of a commit's files: name → bytes. Empty: there is none.
std::map<std::string, Bytes> hub_list(const Repo& repo, const std::string& commit);

}  // namespace orch::cache
