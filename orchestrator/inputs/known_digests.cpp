#include "inputs/known_digests.h"

#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cache/small_file.h"
#include "cache/verify.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMostKnown = std::size_t{16} << 20;  ///< bytes of the file

}  // namespace

KnownDigests::KnownDigests(fs::path file) : file_(std::move(file)) {
  const auto text = file_.empty() ? std::nullopt : cache::read_small(file_, kMostKnown);
  const json read = text ? json::parse(*text, nullptr, false) : json();
  if (read.is_object())
    for (const auto& [path, entry] : read.items())
      if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string())
        entries_[path] = {entry[0], entry[1]};
}

std::string KnownDigests::state_of(const fs::path& path) {
  struct stat it {};
  if (::stat(path.c_str(), &it) != 0 || !S_ISREG(it.st_mode)) return "";
  std::string text;
  for (const long long number : {static_cast<long long>(it.st_size), static_cast<long long>(it.st_ino),
                                 static_cast<long long>(it.st_mtim.tv_sec), static_cast<long long>(it.st_mtim.tv_nsec),
                                 static_cast<long long>(it.st_ctim.tv_sec), static_cast<long long>(it.st_ctim.tv_nsec)})
    text += std::to_string(number) + " ";
  return text;
}

const std::string* KnownDigests::find(const fs::path& path, const std::string& state) const {
  const auto at = entries_.find(path.string());
  return at != entries_.end() && at->second.state == state ? &at->second.digest : nullptr;
}

void KnownDigests::add(const fs::path& path, std::string state, std::string digest) {
  entries_[path.string()] = {std::move(state), std::move(digest)};
  changed_ = true;
}

std::string KnownDigests::digest_of(const fs::path& path) {
  const std::string state = state_of(path);
  if (state.empty()) return "";
  if (const std::string* before = find(path, state)) return *before;
  std::string digest = cache::sha256_of(path).value_or("");
  // What changes while it is read is not known.
  if (digest.empty() || state_of(path) != state) return "";
  add(path, state, digest);
  return digest;
}

void KnownDigests::keep() {
  if (!changed_ || file_.empty()) return;
  std::erase_if(entries_, [](const auto& entry) { return state_of(entry.first) != entry.second.state; });
  json all = json::object();
  for (const auto& [path, entry] : entries_) all[path] = {entry.state, entry.digest};
  const fs::path beside = file_.string() + ".new";
  std::ofstream out(beside, std::ios::trunc);
  out << all.dump(-1, ' ', false, json::error_handler_t::replace);
  out.close();
  std::error_code ignored;
  if (out) fs::rename(beside, file_, ignored);
}

}  // namespace orch::inputs
