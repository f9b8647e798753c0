// A folder in the hub's cache layout, made as the hub's own program makes it: files are relative links to blobs that
// are named after their digests.
#pragma once

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/digest.h"
#include "cache/contents.h"
#include "support/temporary.h"

namespace orch::test {

namespace fs = std::filesystem;

inline const std::string kOne(40, '1'), kTwo(40, '2'), kThree(40, '3');

inline std::string git_sha1(const std::string& text) {
  const std::string object = "blob " + std::to_string(text.size()) + std::string(1, '\0') + text;
  std::array<unsigned char, 20> bytes{};
  EVP_Digest(object.data(), object.size(), bytes.data(), nullptr, EVP_sha1(), nullptr);
  std::string name;
  for (const unsigned char byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

inline void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A safetensors file of one tensor of `size` bytes.
inline std::string safetensors(std::size_t size, char fill = 'w') {
  std::string head = R"({"w":{"dtype":"U8","shape":[)" + std::to_string(size) + R"(],"data_offsets":[0,)" +
                     std::to_string(size) + "]}}";
  std::string text(8, '\0');
  for (std::size_t i = 0, left = head.size(); i < 8; ++i, left >>= 8) text[i] = static_cast<char>(left & 255);
  return text + head + std::string(size, fill);
}

class CacheFolder {
 public:
  CacheFolder() { fs::create_directories(root()); }

  fs::path root() const { return fs::canonical(folder_.path()) / "hub"; }
  fs::path outside() const { return fs::canonical(folder_.path()); }
  fs::path repo(const std::string& id) const { return root() / cache::folder_of({cache::Kind::kModel, id}); }
  fs::path snapshot(const std::string& id, const std::string& commit) const { return repo(id) / "snapshots" / commit; }

  /// As hf does: the blob, then the link. Large files are those of the hub's LFS. Gives the blob's name.
  std::string add(const std::string& id, const std::string& commit, const std::string& name, const std::string& text,
                  bool large = false) {
    const std::string blob = large ? to_hex(sha256(text)) : git_sha1(text);
    write(repo(id) / "blobs" / blob, text);
    link(id, commit, name, blob);
    return blob;
  }

  void link(const std::string& id, const std::string& commit, const std::string& name, const std::string& blob) {
    const fs::path path = snapshot(id, commit) / name;
    fs::create_directories(path.parent_path());
    fs::remove(path);
    fs::create_symlink(fs::relative(repo(id) / "blobs", path.parent_path()) / blob, path);
  }

  void ref(const std::string& id, const std::string& name, const std::string& commit) {
    write(repo(id) / "refs" / name, commit);
  }

  /// A whole model of one weight file, with `size` bytes of weights.
  void add_model(const std::string& id, const std::string& commit, std::size_t size, char fill = 'w') {
    add(id, commit, "config.json", "{\"of\": \"" + id + "\"}");
    add(id, commit, "model.safetensors", safetensors(size, fill), true);
    ref(id, "main", commit);
  }

  /// Makes everything of a revision look as if it was used so many days before `now`.
  void age(const std::string& id, const std::string& commit, int days, cache::Time now) {
    const std::time_t at = std::chrono::system_clock::to_time_t(now) - days * 86400;
    const std::array<timespec, 2> times = {timespec{at, 0}, timespec{at, 0}};
    const auto set = [&](const fs::path& path) { utimensat(AT_FDCWD, path.c_str(), times.data(), 0); };
    for (const auto& entry : fs::recursive_directory_iterator(snapshot(id, commit)))
      if (entry.is_regular_file()) set(fs::canonical(entry.path()));
    const fs::path noted = repo(id) / ".orch" / "last_used" / commit;
    if (fs::exists(noted)) set(noted);
    set(snapshot(id, commit));
  }

  cache::Contents look(cache::Look depth = cache::Look::kSizes) const { return *cache::read_cache(root(), depth); }
  cache::Revision revision(const std::string& id, const std::string& commit) const {
    return *look().find({cache::Kind::kModel, id})->find(commit);
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace orch::test
