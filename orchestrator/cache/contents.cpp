#include "cache/contents.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>

#include "base/text.h"
#include "cache/small_file.h"
#include "cache/whole.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostFiles =
    200'000;  // of a snapshot, of a repository's blobs; the largest repositories have 100,000
constexpr int kDeepest = 24;
constexpr std::string_view kPartialEnd = ".incomplete";
constexpr std::string_view kRemoved = "removed-";

std::optional<struct stat> look_at(const fs::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

Time time_of(const timespec& time) { return Time(std::chrono::seconds(time.tv_sec)); }

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end && entries.size() < kMostFiles;
       at.increment(failed))
    entries.push_back(at->path());
  std::ranges::sort(entries);
  return entries;
}

/// Where a link leads, as folder (without links) and name; nothing where that folder does not exist.
std::optional<fs::path> target_of(const fs::path& link) {
  std::error_code failed;
  fs::path target = fs::read_symlink(link, failed);
  if (failed || !target.has_filename()) return std::nullopt;
  if (target.is_relative()) target = link.parent_path() / target;
  const fs::path folder = fs::canonical(target.parent_path(), failed);
  if (failed || target.filename() == "..") return std::nullopt;
  return folder / target.filename();
}

/// `root/blobs/ab/ab01…`, in the store that the repositories of a cache share.
bool is_shared_place(const fs::path& root, const fs::path& path) {
  const std::string name = path.filename().string();
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos &&
         path.parent_path() == root / "blobs" / name.substr(0, 2) && is_real_folder(root / "blobs") &&
         is_real_folder(path.parent_path());
}

class RepoReader {
 public:
  RepoReader(const fs::path& root, const RepoName& name, Look look) : root_(root), look_(look) {
    repo_.name = name;
    repo_.path = root / folder_of(name);
  }

  Repo read() {
    read_blobs();
    read_refs(repo_.path / "refs", "", 0);
    for (const fs::path& path : folder("snapshots")) {
      if (is_commit(path.filename().string()) && is_real_folder(path))
        read_revision(path);
      else
        problem("snapshots/" + path.filename().string() + " is no folder named after a commit");
    }
    for (const fs::path& path : folder(".orch"))
      if (path.filename().string().starts_with(kRemoved) && is_real_folder(path)) repo_.half_removed.push_back(path);
    finish();
    return std::move(repo_);
  }

 private:
  void problem(const std::string& what) {
    if (repo_.problems.size() < 20) repo_.problems.push_back(shown(what, 300));
  }

  /// What lies in a folder of the repository that is one itself.
  std::vector<fs::path> folder(const char* name) {
    const fs::path path = repo_.path / name;
    if (is_real_folder(path)) return entries_of(path);
    if (look_at(path)) problem(std::string(name) + " is not a folder");
    return {};
  }

  void read_blobs() {
    for (const fs::path& path : folder("blobs")) {
      const std::string name = path.filename().string();
      const auto status = look_at(path);
      if (!status) continue;
      if (S_ISREG(status->st_mode) && name.ends_with(kPartialEnd)) {
        repo_.partials.push_back({name, static_cast<Bytes>(status->st_size), time_of(status->st_mtim)});
      } else if (S_ISREG(status->st_mode)) {
        put(name, *status, {});
      } else if (S_ISLNK(status->st_mode)) {
        const auto target = target_of(path);
        const auto there = target && is_shared_place(root_, *target) ? look_at(*target) : std::nullopt;
        if (there && S_ISREG(there->st_mode))
          put(name, *there, *target);
        else
          problem("blobs/" + name + " is a link that leads out of the cache, or nowhere");
      } else {
        problem("blobs/" + name + " is no file");
      }
    }
  }

  void put(const std::string& name, const struct stat& status, const fs::path& shared) {
    repo_.blobs[name] = {static_cast<Bytes>(status.st_size), time_of(status.st_atim), time_of(status.st_mtim), shared,
                         0};
  }

  void read_refs(const fs::path& at, const std::string& before, int depth) {
    if (!is_real_folder(at) || depth > 4) return;
    for (const fs::path& path : entries_of(at)) {
      const std::string name = before + path.filename().string();
      if (is_real_folder(path)) {
        read_refs(path, name + "/", depth + 1);
        continue;
      }
      const auto text = read_small(path, 1024);
      if (text && is_revision(name) && is_commit(trim(*text)))
        refs_[std::string(trim(*text))].push_back(name);
      else
        problem("refs/" + name + " names no commit");
    }
  }

  void read_revision(const fs::path& path) {
    Revision revision;
    revision.commit = path.filename().string();
    if (const auto refs = refs_.find(revision.commit); refs != refs_.end()) revision.refs = refs->second;
    read_files(revision, path, "", 0);
    std::set<std::string> blobs;
    for (const File& file : revision.files) {
      if (!file.blob.empty() && !blobs.insert(file.blob).second) continue;
      revision.bytes += file.bytes;
      if (!file.blob.empty()) ++repo_.blobs.at(file.blob).uses;
    }
    revision.listed = hub_list(repo_, revision.commit).size();
    for (std::string& lack : what_lacks(repo_, revision, look_)) revision.lacks.push_back(std::move(lack));
    repo_.revisions.push_back(std::move(revision));
  }

  void read_files(Revision& revision, const fs::path& at, const std::string& before, int depth) {
    const auto lacks = [&](const std::string& what) {
      if (revision.lacks.size() < 20) revision.lacks.push_back(what);
    };
    if (depth > kDeepest) return lacks("its folders are deeper than " + std::to_string(kDeepest));
    for (const fs::path& path : entries_of(at)) {
      const std::string name = before + path.filename().string();
      const auto status = look_at(path);
      if (!status) continue;
      if (revision.files.size() >= kMostFiles) return lacks("it has more than 200,000 files");
      if (S_ISDIR(status->st_mode)) {
        read_files(revision, path, name + "/", depth + 1);
      } else if (S_ISREG(status->st_mode)) {
        revision.files.push_back({name, "", path, static_cast<Bytes>(status->st_size)});
      } else if (S_ISLNK(status->st_mode)) {
        const auto target = target_of(path);
        const bool inside = target && target->parent_path() == repo_.path / "blobs";
        const auto blob = inside ? repo_.blobs.find(target->filename().string()) : repo_.blobs.end();
        if (blob != repo_.blobs.end())
          revision.files.push_back(
              {name, blob->first, blob->second.shared.empty() ? *target : blob->second.shared, blob->second.bytes});
        else
          lacks(quote(name) + (target && !inside ? " leads out of the cache" : " is missing"));
      } else {
        lacks(quote(name) + " is no file");
      }
    }
  }

  struct Used {
    Time own;     ///< by what was noted, and by the files that only this revision has
    Time shared;  ///< by those that others have too
  };
  Used last_used(const Revision& revision) const {
    Time noted, own, shared;
    if (const auto status = look_at(repo_.path / ".orch" / "last_used" / revision.commit))
      noted = time_of(status->st_mtim);
    for (const File& file : revision.files) {
      const auto blob = repo_.blobs.find(file.blob);
      const auto status = blob == repo_.blobs.end() ? look_at(file.path) : std::nullopt;
      const Time read = status ? time_of(status->st_atim) : blob != repo_.blobs.end() ? blob->second.read : Time();
      Time& latest = blob != repo_.blobs.end() && blob->second.uses > 1 ? shared : own;
      latest = std::max(latest, read);
    }
    const auto came = look_at(repo_.path / "snapshots" / revision.commit);
    if (own == Time() && came) own = time_of(came->st_mtim);
    return {std::max(noted, own), shared};
  }

  void finish() {
    for (const Partial& partial : repo_.partials) repo_.partial_bytes += partial.bytes;
    repo_.bytes = repo_.partial_bytes;
    for (const auto& [name, blob] : repo_.blobs) repo_.bytes += blob.bytes;
    // A README that changed makes a revision of the same weights. Who reads those uses the newest of the revisions.
    Revision* newest = nullptr;
    Time shared;
    for (Revision& revision : repo_.revisions) {
      const Used used = last_used(revision);
      revision.last_used = used.own;
      shared = std::max(shared, used.shared);
      if (!newest || newest->last_used < used.own) newest = &revision;
      for (const File& file : revision.files)
        if (file.blob.empty()) repo_.bytes += file.bytes;
    }
    if (newest) newest->last_used = std::max(newest->last_used, shared);
  }

  const fs::path& root_;
  Look look_;
  Repo repo_;
  std::map<std::string, std::vector<std::string>> refs_;  ///< of each commit
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Result<fs::path> real_root(const fs::path& root) {
  std::error_code failed;
  fs::path real = fs::canonical(root, failed);
  if (failed) return Error{root.string() + ": cannot be opened (" + failed.message() + ")"};
  if (!is_real_folder(real)) return Error{root.string() + ": is no folder"};
  return real;
}

}  // namespace

const Revision* Repo::find(const std::string& revision) const {
  const auto found = std::ranges::find_if(revisions, [&](const Revision& one) {
    return one.commit == revision || std::ranges::find(one.refs, revision) != one.refs.end();
  });
  return found == revisions.end() ? nullptr : &*found;
}

const Repo* Contents::find(const RepoName& name) const {
  const auto found = std::ranges::find(repos, name, &Repo::name);
  return found == repos.end() ? nullptr : &*found;
}

fs::path usual_root() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string given = environment(name); !given.empty()) return given;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
    return fs::path(cache) / "huggingface" / "hub";
  const std::string home = environment("HOME");
  return fs::path(home.empty() ? "/" : home) / ".cache" / "huggingface" / "hub";
}

Result<Contents> read_cache(const fs::path& given, Look look) {
  Contents contents;
  contents.root = given;
  std::error_code ignored;
  if (!fs::exists(given, ignored) && !fs::is_symlink(given, ignored)) return contents;
  const auto root = real_root(given);
  if (!root) return root.error();
  contents.root = *root;
  std::error_code failed;
  fs::directory_iterator readable(*root, failed);
  if (failed) return Error{given.string() + ": cannot be read (" + failed.message() + ")"};
  std::set<fs::path> shared;
  for (const fs::path& path : entries_of(*root)) {
    const std::string folder = path.filename().string();
    if (!folder.starts_with("models--") && !folder.starts_with("datasets--") && !folder.starts_with("spaces--"))
      continue;
    const auto name = repo_of_folder(folder);
    if (!name || !is_real_folder(path)) {
      contents.problems.push_back(shown(folder, 200) + (name ? " is not a folder itself, and is left alone"
                                                             : " is no name of a repository, and is left alone"));
      continue;
    }
    contents.repos.push_back(RepoReader(*root, *name, look).read());
    contents.bytes += contents.repos.back().bytes;
    for (const auto& [blob, facts] : contents.repos.back().blobs)
      if (!facts.shared.empty() && !shared.insert(facts.shared).second) contents.bytes -= facts.bytes;
  }
  return contents;
}

Result<std::optional<Repo>> read_repo(const fs::path& given, const RepoName& name, Look look) {
  std::error_code ignored;
  if (!fs::exists(given, ignored)) return std::optional<Repo>();
  const auto root = real_root(given);
  if (!root) return root.error();
  const fs::path path = *root / folder_of(name);
  if (!look_at(path)) return std::optional<Repo>();
  if (!is_real_folder(path)) return Error{path.string() + ": is not a folder itself"};
  return std::optional<Repo>(RepoReader(*root, name, look).read());
}

void touch(const Repo& repo, const std::string& commit) {
  if (!is_commit(commit)) return;
  std::error_code ignored;
  const fs::path folder = repo.path / ".orch" / "last_used";
  fs::create_directories(folder, ignored);
  if (!is_real_folder(repo.path / ".orch") || !is_real_folder(folder)) return;
  const int file = open((folder / commit).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file < 0) return;
  // With no times given, whoever may write the file may do this, not its owner alone.
  futimens(file, nullptr);
  close(file);
}

std::optional<Bytes> listed_bytes(const Repo& repo, const std::string& commit) {
  const auto list = hub_list(repo, commit);
  if (list.empty()) return std::nullopt;
  Bytes bytes = 0;
  for (const auto& [name, size] : list) bytes += size;
  return bytes;
}

std::optional<Bytes> free_bytes(const fs::path& folder) {
  std::error_code ignored;
  fs::path at = fs::absolute(folder, ignored);
  while (!fs::exists(at, ignored) && at.has_relative_path()) at = at.parent_path();
  struct statvfs there {};
  if (statvfs(at.c_str(), &there) != 0) return std::nullopt;
  return static_cast<Bytes>(there.f_bavail) * there.f_frsize;
}

}  // namespace orch::cache
