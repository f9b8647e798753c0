#include "cache/verify.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <array>
#include <map>
#include <memory>

#include "base/text.h"
#include "cache/lock.h"
#include "cache/small_file.h"

namespace orch::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;

std::string hexadecimal(const unsigned char* bytes, unsigned size) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

/// Of `before` and the file's bytes; nothing where they cannot be read.
std::optional<std::string> digest_of(const OpenFile& file, const EVP_MD* kind, const std::string& before) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), kind, nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), before.data(), before.size()) != 1)
    return std::nullopt;
  std::string piece(kPiece, '\0');
  for (;;) {
    const ssize_t got = file.read(piece.data(), piece.size());
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    if (EVP_DigestUpdate(context.get(), piece.data(), static_cast<std::size_t>(got)) != 1) return std::nullopt;
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context.get(), bytes.data(), &size) != 1) return std::nullopt;
  return hexadecimal(bytes.data(), size);
}

}  // namespace

BlobState check_blob(const std::string& name, const fs::path& path) {
  const bool digits = name.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!digits || (name.size() != 64 && name.size() != 40)) return BlobState::kUnnamed;
  const OpenFile file = OpenFile::to_read(path);
  struct stat status {};
  if (!file || fstat(file.get(), &status) != 0) return BlobState::kUnreadable;
  const bool large = name.size() == 64;
  // What git hashes begins with the kind and size of the object, and a zero byte.
  const std::string before = large ? "" : "blob " + std::to_string(status.st_size) + '\0';
  const auto digest = digest_of(file, large ? EVP_sha256() : EVP_sha1(), before);
  if (!digest) return BlobState::kUnreadable;
  return *digest == name ? BlobState::kRight : BlobState::kDamaged;
}

std::optional<std::string> sha256_of(const fs::path& path) {
  const OpenFile file = OpenFile::to_read(path);
  return file ? digest_of(file, EVP_sha256(), "") : std::nullopt;
}

Verified verify(const Revision& revision, const std::function<void(Bytes)>& done) {
  Verified verified;
  std::map<std::string, BlobState> known;
  Bytes read = 0;
  for (const File& file : revision.files) {
    if (file.blob.empty()) {
      ++verified.unnamed;
      continue;
    }
    auto [at, added] = known.try_emplace(file.blob, BlobState::kUnnamed);
    if (added) {
      at->second = check_blob(file.blob, file.path);
      if (at->second == BlobState::kDamaged) verified.damaged_blobs.push_back(file.blob);
      read += file.bytes;
      if (done) done(read);
    }
    switch (at->second) {
      case BlobState::kRight:
        ++verified.right;
        break;
      case BlobState::kUnnamed:
        ++verified.unnamed;
        break;
      case BlobState::kDamaged:
        verified.damaged.push_back(file.name);
        break;
      case BlobState::kUnreadable:
        verified.unreadable.push_back(file.name);
        break;
    }
  }
  return verified;
}

Result<std::optional<VerifiedRevision>> verify_held(const fs::path& root, const RepoName& name,
                                                    const std::string& commit,
                                                    const std::function<void(const std::string&)>& on_wait) {
  // A cache that we may not write has no clean-up of ours.
  const auto reading = Lock::take(repo_lock(root, name), Lock::Kind::kShared, on_wait);
  const auto repo = read_repo(root, name, Look::kSizes);
  if (!repo) return repo.error();
  const Revision* revision = *repo ? (*repo)->find(commit) : nullptr;
  if (!revision) return std::optional<VerifiedRevision>();
  return std::optional<VerifiedRevision>({*revision, verify(*revision)});
}

Result<std::monostate> remove_blobs(const fs::path& root, const RepoName& name, const std::vector<std::string>& blobs) {
  const auto lock = Lock::try_take(repo_lock(root, name), Lock::Kind::kExclusive);
  if (!lock) return lock.error();
  if (!*lock || hub_is_at_work(root, name)) return Error{name.id + " is being downloaded or staged just now"};
  const auto repo = read_repo(root, name, Look::kNames);
  if (!repo) return repo.error();
  if (!*repo) return std::monostate{};
  for (const std::string& blob : blobs) {
    const auto found = (*repo)->blobs.find(blob);
    if (found == (*repo)->blobs.end()) continue;
    // Shared bytes go with it: they are wrong for everybody, and a link to them would only be made again.
    std::error_code failed;
    fs::remove((*repo)->path / "blobs" / blob, failed);
    if (!failed && !found->second.shared.empty()) fs::remove(found->second.shared, failed);
    if (failed) return Error{"blobs/" + blob + " of " + name.id + " cannot be removed (" + failed.message() + ")"};
  }
  return std::monostate{};
}

}  // namespace orch::cache
