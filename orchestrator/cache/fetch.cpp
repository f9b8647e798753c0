#include "cache/fetch.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "base/units.h"
#include "cache/lock.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

std::string size_text(Bytes bytes) { return format_bytes(static_cast<double>(bytes)); }

FetchError system_error(const Error& error) { return {"system", error.what}; }

bool has_token() {
  if (!tokens_in_environment().empty()) return true;
  const char* path = std::getenv("HF_TOKEN_PATH");
  const char* home = std::getenv("HF_HOME");
  const char* own = std::getenv("HOME");
  const fs::path file = path   ? fs::path(path)
                        : home ? fs::path(home) / "token"
                               : fs::path(own ? own : "/") / ".cache" / "huggingface" / "token";
  std::error_code ignored;
  return fs::exists(file, ignored);
}

/// Bytes still to come, as far as the hub's list in the cache or the catalog knows.
Bytes still_wanted(const FetchAsk& ask, const std::optional<Repo>& repo) {
  const Revision* revision = repo ? repo->find(ask.revision) : nullptr;
  if (revision)
    if (const auto listed = listed_bytes(*repo, revision->commit)) return *listed - std::min(*listed, revision->bytes);
  if (revision && revision->whole()) return 0;
  // What came of an earlier try lies in blobs and in partial files.
  const Bytes here = repo ? repo->bytes : 0;
  return ask.expected ? *ask.expected - std::min(*ask.expected, here) : 0;
}

/// Removes what must go for it; the error says what is short.
Result<std::vector<Removal>, FetchError> room_for(const FetchAsk& ask, Bytes wanted, const OnWait& on_wait) {
  const auto contents = read_cache(ask.root, Look::kNames);
  if (!contents) return system_error(contents.error());
  const Bytes free = free_bytes(ask.root).value_or(std::numeric_limits<Bytes>::max());
  PruneAsk prune;
  prune.budget = ask.budget;
  prune.wanted = wanted;
  prune.free = free;
  prune.now = ask.now;
  const bool over_budget = ask.budget && contents->bytes + wanted > *ask.budget;
  if (!over_budget && wanted <= free) return std::vector<Removal>();
  const std::string needs = ask.id + " needs " + size_text(wanted) + "; the cache has " + size_text(contents->bytes) +
                            (ask.budget ? " of its budget of " + size_text(*ask.budget) : std::string()) +
                            ", and the disk " + size_text(free) + " free";
  if (ask.in_use) {
    auto in_use = ask.in_use();
    if (!in_use)
      return FetchError{"budget", needs + ". Nothing was removed for it, because what is in use is not known: " +
                                      in_use.error().what};
    prune.keep = *std::move(in_use);
  }
  prune.keep[ask.id] = "it is being fetched";
  const auto plan = make_room(ask.root, prune, on_wait);
  if (!plan) return system_error(plan.error());
  if (plan->lacking == 0) return plan->removals;
  return FetchError{"budget", needs + ". Even without all that may be removed " + size_text(plan->lacking) +
                                  " would be lacking, so nothing was removed and nothing fetched"};
}

/// After the download: a repository may hold more than its catalog says (the same weights in two formats, say).
Bytes over_budget(const FetchAsk& ask) {
  const auto contents = ask.budget ? read_cache(ask.root, Look::kNames) : Error{};
  return contents && contents->bytes > *ask.budget ? contents->bytes - *ask.budget : 0;
}

FetchError not_whole(const FetchAsk& ask, const std::string& what) {
  return {"not_whole", ask.id + ": the download ended well, but " + what};
}

}  // namespace

std::string told(HubFailure failure, const FetchAsk& ask, bool has_token) {
  const std::string& id = ask.id;
  switch (failure) {
    case HubFailure::kGated:
      return id + " is gated: " +
             (has_token
                  ? "the account of your token has not accepted its licence, or waits for its owner's consent, or "
                    "the token may not read gated models. Accept it at " +
                        address_of(id)
                  : "accept its licence at " + address_of(id) +
                        " and say who you are, with HF_TOKEN or `hf auth login`; no token was found") +
             ". Nothing was downloaded.";
    case HubFailure::kNotFound:
      return "the hub has no model " + id +
             (has_token ? " that your token may see" : ", or it is a private one and no token was found");
    case HubFailure::kNoRevision:
      return id + " has no revision " + quote(ask.revision);
    case HubFailure::kOffline:
      return id +
             ": the hub's program was told to stay offline (HF_HUB_OFFLINE); unset it on a machine that may reach "
             "the hub";
    case HubFailure::kNetwork:
      return id +
             ": the hub cannot be reached from here. Compute nodes often cannot; fetch on a login node. What came so "
             "far is kept, and the next fetch goes on from there";
    case HubFailure::kBusy:
      return id +
             ": the hub asks for patience (too many requests); try again in some minutes. What came so far is kept";
    case HubFailure::kDisk:
      return id + ": the cache " + ask.root.string() + " cannot be written: no room, a full quota, or no right to";
    case HubFailure::kOther:
      break;
  }
  return id + ": the download failed; what the program said stands above. What came so far is kept";
}

Result<Fetched, FetchError> fetch(const FetchAsk& ask, const Show& show, const OnWait& on_wait) {
  const auto program = find_hub_program();
  if (!program)
    return FetchError{"no_program",
                      "neither hf nor huggingface-cli is on the PATH; `pip install -U huggingface_hub` brings hf"};
  std::error_code failed;
  fs::create_directories(ask.root, failed);
  if (failed) return FetchError{"system", ask.root.string() + ": cannot be made (" + failed.message() + ")"};
  const RepoName name{Kind::kModel, ask.id};
  const auto turn = Lock::take(fetch_lock(ask.root), Lock::Kind::kExclusive, on_wait);
  if (!turn) return system_error(turn.error());
  const auto before = read_repo(ask.root, name, Look::kSizes);
  if (!before) return system_error(before.error());
  const Bytes wanted = still_wanted(ask, *before);
  const auto removed = room_for(ask, wanted, on_wait);
  if (!removed) return removed.error();
  const auto held = Lock::take(repo_lock(ask.root, name), Lock::Kind::kShared, on_wait);
  if (!held) return system_error(held.error());
  const std::string root = fs::absolute(ask.root).lexically_normal().string();
  std::vector<std::string> variables = {"HF_HUB_CACHE=" + root, "HUGGINGFACE_HUB_CACHE=" + root};
  if (ask.quiet) variables.emplace_back("HF_HUB_DISABLE_PROGRESS_BARS=1");
  const auto run = run_hub(*program, {ask.id, "--revision", ask.revision}, variables, show);
  if (!run) return system_error(run.error());
  if (run->code != 0) {
    const HubFailure why = why_it_failed(run->tail);
    return FetchError{std::string(name_of(why)), told(why, ask, has_token())};
  }
  const auto after = read_repo(ask.root, name, Look::kSizes);
  if (!after) return system_error(after.error());
  const Revision* revision = *after ? (*after)->find(ask.revision) : nullptr;
  if (!revision) return not_whole(ask, "the revision " + quote(ask.revision) + " is not in " + ask.root.string());
  if (!revision->whole()) return not_whole(ask, revision->lacks.front());
  touch(**after, revision->commit);
  const Revision* known = *before ? (*before)->find(ask.revision) : nullptr;
  Fetched fetched;
  fetched.state = known && known->commit == revision->commit && known->whole() && known->bytes == revision->bytes
                      ? FetchState::kUnchanged
                      : FetchState::kFetched;
  fetched.commit = revision->commit;
  fetched.path = (*after)->path / "snapshots" / revision->commit;
  fetched.bytes = revision->bytes;
  fetched.removed = *removed;
  fetched.over_budget = over_budget(ask);
  return fetched;
}

}  // namespace orch::cache
