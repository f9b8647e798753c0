// Bringing a model from the hub into the cache, on a machine that reaches the hub: a login node.
//
// Holds:
//  - Downloads into one cache come one after the other, each after room was made for it: two never count the same free
//    bytes, and nothing is removed for a model that would not fit anyway.
//  - What is called fetched is whole.
//  - No token is in an argument, a file or a message.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cache/hub_program.h"
#include "cache/prune.h"

namespace orch::cache {

/// Why models must stay, by id; an error: nobody knows what is in use, so nothing may be removed.
using InUse = std::function<Result<std::map<std::string, std::string>>()>;

struct FetchAsk {
  std::filesystem::path root;
  std::string id;
  std::string revision = "main";
  std::optional<Bytes> expected;  ///< of the whole model, where something is known of it
  std::optional<Bytes> budget;    ///< of the cache
  InUse in_use;
  bool quiet = false;  ///< the program shows no bars
  Time now;
};

enum class FetchState { kFetched, kUnchanged };

struct Fetched {
  FetchState state = FetchState::kFetched;
  std::string commit;
  std::filesystem::path path;  ///< of the snapshot
  Bytes bytes = 0;             ///< of the revision
  std::vector<Removal> removed;
  Bytes over_budget = 0;  ///< it was larger than expected
};

struct FetchError {
  /// `gated`, `not_found`, … of HubFailure; `no_program`, `budget`, `not_whole`, `system`.
  std::string kind;
  std::string what;
};

Result<Fetched, FetchError> fetch(const FetchAsk& ask, const Show& show, const OnWait& on_wait);

/// What a failure of the hub's program means, in our words.
std::string told(HubFailure failure, const FetchAsk& ask, bool has_token);

}  // namespace orch::cache
