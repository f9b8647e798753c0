#include "cache/prune.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "base/text.h"
#include "cache/lock.h"
#include "cache/small_file.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours kLeftoverAge{24};

/// Counts down who still has a blob, as revisions are taken out.
class Uses {
 public:
  explicit Uses(const Contents& contents) {
    for (const Repo& repo : contents.repos)
      for (const auto& [name, blob] : repo.blobs)
        if (!blob.shared.empty()) ++shared_[blob.shared];
  }

  /// Bytes that are freed when this revision goes after those before it.
  Bytes take(const Repo& repo, const Revision& revision) {
    Bytes freed = 0;
    std::set<std::string> seen;
    for (const File& file : revision.files) {
      if (file.blob.empty())
        freed += file.bytes;
      else if (seen.insert(file.blob).second && ++taken_[{repo.name.id, file.blob}] == repo.blobs.at(file.blob).uses)
        freed += drop(repo.blobs.at(file.blob));
    }
    return freed;
  }

  Bytes drop(const Blob& blob) { return blob.shared.empty() || --shared_[blob.shared] == 0 ? blob.bytes : 0; }

 private:
  std::map<std::pair<std::string, std::string>, int> taken_;
  std::map<fs::path, int> shared_;
};

/// What the cache has too much of, or the disk too little.
Bytes shortfall(const PruneAsk& ask, Bytes bytes, Bytes freed) {
  Bytes over = 0;
  if (ask.budget && bytes + ask.wanted > *ask.budget) over = bytes + ask.wanted - *ask.budget;
  if (ask.wanted > freed && ask.wanted - freed > ask.free) over = std::max(over, ask.wanted - freed - ask.free);
  return over;
}

Error failed_to(const char* what, const fs::path& path, const std::error_code& why) {
  return {path.string() + ": cannot be " + what + " (" + why.message() + ")"};
}

/// Bytes in the store that repositories share go with the last link to them, under the store's own lock.
void sweep_shared(const fs::path& root, const fs::path& payload) {
  const int lock = open((payload.string() + ".lock").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (lock < 0) return;
  if (flock(lock, LOCK_EX) == 0) {
    const auto contents = read_cache(root, Look::kNames);
    const bool used = !contents || std::ranges::any_of(contents->repos, [&](const Repo& repo) {
      return std::ranges::any_of(repo.blobs, [&](const auto& blob) { return blob.second.shared == payload; });
    });
    std::error_code ignored;
    if (!used && is_real_file(payload)) {
      fs::remove(payload, ignored);
      fs::remove(payload.string() + ".refs", ignored);
    }
  }
  close(lock);
}

/// Removes the blobs of `names` that no revision has any more.
Result<std::monostate> remove_unused(const fs::path& root, const RepoName& name, const std::set<std::string>& names) {
  const auto repo = read_repo(root, name, Look::kNames);
  if (!repo) return repo.error();
  if (!*repo) return std::monostate{};
  for (const auto& [blob, facts] : (*repo)->blobs) {
    if (facts.uses > 0 || !names.contains(blob)) continue;
    const fs::path path = (*repo)->path / "blobs" / blob;
    std::error_code failed;
    fs::remove(path, failed);
    if (failed) return failed_to("removed", path, failed);
    if (!facts.shared.empty()) sweep_shared(root, facts.shared);
  }
  return std::monostate{};
}

/// An empty repository leaves nothing behind but its locks.
void remove_if_empty(const fs::path& root, const RepoName& name) {
  const auto repo = read_repo(root, name, Look::kNames);
  if (!repo || !*repo || !(*repo)->revisions.empty() || !(*repo)->blobs.empty() || !(*repo)->partials.empty() ||
      !(*repo)->problems.empty())
    return;
  std::error_code ignored;
  fs::remove_all((*repo)->path, ignored);
}

Result<std::monostate> remove_revision(const fs::path& root, const Repo& repo, const Revision& revision) {
  std::error_code failed;
  // The refs first: whoever looks a branch up now finds that it is not here.
  for (const std::string& ref : revision.refs) {
    const fs::path path = repo.path / "refs" / ref;
    fs::remove(path, failed);
    if (failed) return failed_to("removed", path, failed);
  }
  const fs::path snapshot = repo.path / "snapshots" / revision.commit;
  const fs::path aside = repo.path / ".orch" / ("removed-" + revision.commit);
  fs::create_directories(repo.path / ".orch", failed);
  if (failed || !is_real_folder(repo.path / ".orch")) return failed_to("made", repo.path / ".orch", failed);
  fs::remove_all(aside, failed);
  // In one step, so that nobody finds half a snapshot.
  fs::rename(snapshot, aside, failed);
  if (failed) return failed_to("moved aside", snapshot, failed);
  std::set<std::string> blobs;
  for (const File& file : revision.files)
    if (!file.blob.empty()) blobs.insert(file.blob);
  if (const auto removed = remove_unused(root, repo.name, blobs); !removed) return removed.error();
  fs::remove_all(aside, failed);
  if (failed) return failed_to("removed", aside, failed);
  fs::remove(repo.path / ".orch" / "last_used" / revision.commit, failed);
  if (is_real_folder(repo.path / "trees")) fs::remove(repo.path / "trees" / (revision.commit + ".json"), failed);
  if (is_real_folder(repo.path / ".no_exist")) fs::remove_all(repo.path / ".no_exist" / revision.commit, failed);
  remove_if_empty(root, repo.name);
  return std::monostate{};
}

Result<std::monostate> remove_leftovers(const fs::path& root, const Repo& repo, const PrunePlan& plan) {
  std::error_code failed;
  for (const fs::path& path : repo.half_removed) {
    fs::remove_all(path, failed);
    if (failed) return failed_to("removed", path, failed);
  }
  std::set<std::string> blobs;
  for (const Leftover& leftover : plan.leftovers) {
    if (leftover.id != repo.name.id) continue;
    if (repo.blobs.contains(leftover.blob)) {
      blobs.insert(leftover.blob);
      continue;
    }
    fs::remove(repo.path / "blobs" / leftover.blob, failed);
    if (failed) return failed_to("removed", repo.path / "blobs" / leftover.blob, failed);
  }
  const auto removed = remove_unused(root, repo.name, blobs);
  if (removed) remove_if_empty(root, repo.name);
  return removed;
}

/// The models that something is taken from.
std::set<std::string> ids_of(const PrunePlan& plan, const Contents& contents) {
  std::set<std::string> ids;
  for (const Repo& repo : contents.repos)
    if (repo.name.kind == Kind::kModel && !repo.half_removed.empty() && !plan.kept.contains(repo.name.id))
      ids.insert(repo.name.id);
  for (const Removal& removal : plan.removals) ids.insert(removal.id);
  for (const Leftover& leftover : plan.leftovers) ids.insert(leftover.id);
  return ids;
}

RepoName model(const std::string& id) { return {Kind::kModel, id}; }

Result<PrunePlan> run(const fs::path& given, PruneAsk ask, bool dry_run, bool all_or_nothing, const OnWait& on_wait) {
  auto contents = read_cache(given, Look::kNames);
  if (!contents) return contents.error();
  if (all_or_nothing && shortfall(ask, contents->bytes, 0) == 0) {
    PrunePlan nothing;
    nothing.before = nothing.after = contents->bytes;
    return nothing;
  }
  if (contents->repos.empty() || dry_run) return plan_prune(*contents, ask);
  const fs::path root = contents->root;
  const auto turn = Lock::take(prune_lock(root), Lock::Kind::kExclusive, on_wait);
  if (!turn) return turn.error();
  contents = read_cache(root, Look::kNames);
  if (!contents) return contents.error();
  // Whatever is busy is kept, and the plan made anew without it, until all that it names is ours alone.
  std::map<std::string, Lock> locks;
  PrunePlan plan;
  for (bool again = true; again;) {
    again = false;
    plan = plan_prune(*contents, ask);
    for (const std::string& id : ids_of(plan, *contents)) {
      if (locks.contains(id)) continue;
      auto lock = Lock::try_take(repo_lock(root, model(id)), Lock::Kind::kExclusive);
      if (lock && *lock && !hub_is_at_work(root, model(id))) {
        locks.emplace(id, **std::move(lock));
        continue;
      }
      ask.keep.emplace(id, lock ? "it is being downloaded or staged" : lock.error().what);
      again = true;
      break;
    }
  }
  if (all_or_nothing && plan.lacking > 0) return plan;
  for (const Removal& removal : plan.removals) {
    const Repo* repo = contents->find(model(removal.id));
    if (const auto removed = remove_revision(root, *repo, *repo->find(removal.commit)); !removed)
      return removed.error();
  }
  for (const Repo& repo : contents->repos)
    if (locks.contains(repo.name.id) && repo.name.kind == Kind::kModel)
      if (const auto removed = remove_leftovers(root, repo, plan); !removed) return removed.error();
  return plan;
}

}  // namespace

PrunePlan plan_prune(const Contents& contents, const PruneAsk& ask) {
  PrunePlan plan;
  plan.before = plan.after = contents.bytes;
  Uses uses(contents);
  std::vector<std::tuple<Time, std::string, const Repo*, const Revision*>> order;
  for (const Repo& repo : contents.repos) {
    if (repo.name.kind != Kind::kModel) continue;
    if (const auto kept = ask.keep.find(repo.name.id); kept != ask.keep.end()) {
      plan.kept.insert(*kept);
      continue;
    }
    const auto leave = [&](const std::string& blob, Bytes bytes, Time written) {
      if (written + kLeftoverAge > ask.now) return false;
      plan.leftovers.push_back({repo.name.id, blob, bytes});
      return true;
    };
    for (const Partial& partial : repo.partials)
      if (leave(partial.blob, partial.bytes, partial.written)) plan.after -= partial.bytes;
    for (const auto& [name, blob] : repo.blobs)
      if (blob.uses == 0 && leave(name, blob.bytes, blob.written))
        plan.after -= plan.leftovers.back().bytes = uses.drop(blob);
    for (const Revision& revision : repo.revisions)
      order.emplace_back(revision.last_used, revision.commit, &repo, &revision);
  }
  std::ranges::sort(order);
  for (const auto& [last_used, commit, repo, revision] : order) {
    const bool old = ask.older_than && last_used + *ask.older_than < ask.now;
    if (!old && shortfall(ask, plan.after, plan.before - plan.after) == 0) continue;
    const Bytes freed = uses.take(*repo, *revision);
    plan.removals.push_back({repo->name.id, commit, revision->refs, freed, last_used});
    plan.after -= freed;
  }
  plan.lacking = shortfall(ask, plan.after, plan.before - plan.after);
  return plan;
}

Result<PrunePlan> prune(const fs::path& root, PruneAsk ask, bool dry_run, const OnWait& on_wait) {
  return run(root, std::move(ask), dry_run, false, on_wait);
}

Result<PrunePlan> make_room(const fs::path& root, PruneAsk ask, const OnWait& on_wait) {
  return run(root, std::move(ask), false, true, on_wait);
}

}  // namespace orch::cache
