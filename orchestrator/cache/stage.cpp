#include "cache/stage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "cache/lock.h"
#include "cache/small_file.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 4 << 20;
/// Files that are copied at once: one stream fills neither a parallel file system's links nor an NVMe disk.
constexpr std::size_t kStreams = 4;

std::string why() { return std::string(" (") + std::strerror(errno) + ")"; }

/// An empty text, or what went wrong.
std::string copy_file(const File& file, const fs::path& to) {
  const OpenFile from = OpenFile::to_read(file.path);
  if (!from) return quote(file.name) + " cannot be read" + why();
  const OpenFile target = OpenFile::to_write_new(to);
  if (!target) return to.string() + ": cannot be written" + why();
  std::string piece(kPiece, '\0');
  Bytes copied = 0;
  for (;;) {
    const ssize_t got = from.read(piece.data(), piece.size());
    if (got < 0) return quote(file.name) + " cannot be read" + why();
    if (got == 0) break;
    for (ssize_t at = 0; at < got;) {
      const ssize_t put = write(target.get(), piece.data() + at, static_cast<std::size_t>(got - at));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return to.string() + ": cannot be written" + why();
      at += put;
    }
    copied += static_cast<Bytes>(got);
  }
  struct stat status {};
  if (copied != file.bytes || fstat(target.get(), &status) != 0 || static_cast<Bytes>(status.st_size) != file.bytes)
    return quote(file.name) + " has " + grouped(static_cast<long long>(copied)) + " bytes where the cache listed " +
           grouped(static_cast<long long>(file.bytes));
  return "";
}

std::string copy_files(const Revision& revision, const fs::path& to) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::string failed;
  const auto work = [&] {
    for (std::size_t at; (at = next++) < revision.files.size();) {
      const std::string wrong = copy_file(revision.files[at], to / revision.files[at].name);
      const std::lock_guard<std::mutex> guard(mutex);
      if (!failed.empty()) return;
      failed = wrong;
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < std::min(kStreams, revision.files.size()); ++i) threads.emplace_back(work);
  threads.clear();
  return failed;
}

/// Whether every file of the revision lies there with its size.
bool is_there(const Revision& revision, const fs::path& at) {
  return is_real_folder(at) && std::ranges::all_of(revision.files, [&](const File& file) {
           std::error_code failed;
           const fs::path path = at / file.name;
           return is_real_file(path) && fs::file_size(path, failed) == file.bytes && !failed;
         });
}

/// A folder of our own: on a disk that others write too, nobody else may have put it there.
Result<std::monostate> own_folder(const fs::path& path) {
  std::error_code failed;
  fs::create_directories(path.parent_path(), failed);
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return Error{path.string() + ": cannot be made" + why()};
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid())
    return Error{path.string() + ": is no folder of yours"};
  return std::monostate{};
}

std::string local_name(const std::string& id) {
  std::string name = id;
  if (const std::size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

/// What stands in the way of copying; an empty text: nothing.
Result<std::monostate> copy_beside(const Revision& revision, const fs::path& partial) {
  std::error_code failed;
  fs::remove_all(partial, failed);
  const auto room = free_bytes(partial.parent_path());
  if (room && *room < revision.bytes)
    return Error{partial.parent_path().string() + ": " + format_bytes(static_cast<double>(revision.bytes)) +
                 " are needed, " + format_bytes(static_cast<double>(*room)) + " are free"};
  for (const File& file : revision.files) {
    if (!is_inner_path(file.name)) return Error{quote(file.name) + " is no name for a file"};
    fs::create_directories((partial / file.name).parent_path(), failed);
    if (failed) return Error{partial.string() + ": cannot be made (" + failed.message() + ")"};
  }
  if (const std::string wrong = copy_files(revision, partial); !wrong.empty()) {
    fs::remove_all(partial, failed);
    return Error{wrong};
  }
  return std::monostate{};
}

}  // namespace

Result<Staged> stage(const StageAsk& ask) {
  const RepoName name{Kind::kModel, ask.id};
  // Against a clean-up. A cache that we may not write has no clean-up of ours.
  const auto reading = Lock::take(repo_lock(ask.root, name), Lock::Kind::kShared, ask.on_wait);
  const auto repo = read_repo(ask.root, name, Look::kSizes);
  if (!repo) return repo.error();
  const Revision* revision = *repo ? (*repo)->find(ask.revision) : nullptr;
  if (!revision)
    return Error{ask.id + (ask.revision == "main" ? "" : " at " + ask.revision) + " is not in the cache " +
                 ask.root.string() + "; orchctl cache fetch " + ask.id + " brings it"};
  if (!revision->whole())
    return Error{ask.id + " is not whole in the cache: " + revision->lacks.front() + "; orchctl cache fetch " + ask.id +
                 " brings what is missing"};
  std::error_code failed;
  const fs::path to = fs::absolute(ask.to, failed).lexically_normal();
  const fs::path parent = to / local_name(ask.id);
  const fs::path real = fs::weakly_canonical(to, failed);
  const fs::path root = (*repo)->path.parent_path();
  if (std::mismatch(root.begin(), root.end(), real.begin(), real.end()).first == root.end())
    return Error{to.string() + " lies in the cache itself"};
  if (const auto made = own_folder(parent); !made) return made.error();
  const auto turn = Lock::take(parent / ".lock", Lock::Kind::kExclusive, ask.on_wait);
  if (!turn) return turn.error();
  const fs::path whole = parent / revision->commit;
  Staged staged{whole, revision->commit, 0, revision->files.size(), false};
  for (const File& file : revision->files) staged.bytes += file.bytes;
  if (!is_there(*revision, whole)) {
    const fs::path partial = parent / ("." + revision->commit + ".partial");
    if (const auto copied = copy_beside(*revision, partial); !copied) return copied.error();
    fs::remove_all(whole, failed);
    fs::rename(partial, whole, failed);
    if (failed) return Error{whole.string() + ": cannot be put there (" + failed.message() + ")"};
    staged.copied = true;
  }
  touch(**repo, revision->commit);
  return staged;
}

}  // namespace orch::cache
