#include "cache/names.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace orch::cache {
namespace {

constexpr std::size_t kLongestPart = 96;
constexpr std::size_t kLongestRevision = 200;
constexpr std::size_t kLongestPath = 1024;
constexpr std::array<std::string_view, 3> kKinds = {"model", "dataset", "space"};

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool is_part(std::string_view part) {
  return !part.empty() && part.size() <= kLongestPart && std::ranges::all_of(part, is_plain) && part.front() != '-' &&
         part.front() != '.' && part.back() != '-' && part.back() != '.' && part.find("--") == std::string_view::npos &&
         part.find("..") == std::string_view::npos;
}

}  // namespace

std::string_view name_of(Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

bool is_repo_id(std::string_view id) {
  const auto parts = split(id, '/');
  return (parts.size() == 1 || parts.size() == 2) && std::ranges::all_of(parts, is_part);
}

bool is_revision(std::string_view revision) {
  if (revision.empty() || revision.size() > kLongestRevision || revision.front() == '-') return false;
  return std::ranges::all_of(split(revision, '/'), [](std::string_view part) {
    return !part.empty() && part.front() != '.' && std::ranges::all_of(part, is_plain) &&
           part.find("..") == std::string_view::npos;
  });
}

bool is_commit(std::string_view revision) {
  return revision.size() == 40 && revision.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_inner_path(std::string_view path) {
  if (path.empty() || path.size() > kLongestPath || path.find('\0') != std::string_view::npos) return false;
  return std::ranges::all_of(split(path, '/'),
                             [](std::string_view part) { return !part.empty() && part != "." && part != ".."; });
}

std::string folder_of(const RepoName& name) {
  std::string folder = std::string(name_of(name.kind)) + "s--" + name.id;
  if (const std::size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  return folder;
}

std::optional<RepoName> repo_of_folder(std::string_view folder) {
  for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
    const std::string prefix = std::string(kKinds[kind]) + "s--";
    if (!folder.starts_with(prefix)) continue;
    std::string id(folder.substr(prefix.size()));
    if (const std::size_t between = id.find("--"); between != std::string::npos) id.replace(between, 2, "/");
    if (!is_repo_id(id)) return std::nullopt;
    return RepoName{static_cast<Kind>(kind), id};
  }
  return std::nullopt;
}

std::string address_of(const std::string& model_id) { return "https://huggingface.co/" + model_id; }

}  // namespace orch::cache
