// What a repository of the hub is called: by people, in the cache folder, and to the program that downloads it.
//
// Holds: a name that passes here can stand in a path and in an argument: it leads nowhere else and is no option.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orch::cache {

enum class Kind { kModel, kDataset, kSpace };
std::string_view name_of(Kind kind);

struct RepoName {
  Kind kind = Kind::kModel;
  std::string id;  ///< `org/name`, or `name` of the oldest ones
  auto operator<=>(const RepoName&) const = default;
};

/// `org/name` or `name`, of letters, digits, `-`, `_` and `.`, each part at most 96 long.
bool is_repo_id(std::string_view id);
/// A branch, a tag (`refs/pr/1` among them) or a commit.
bool is_revision(std::string_view revision);
/// 40 hexadecimal digits in lower case.
bool is_commit(std::string_view revision);
/// As the relative path of a file below some folder: no `..`, not absolute.
bool is_inner_path(std::string_view path);

/// `models--org--name`.
std::string folder_of(const RepoName& name);
std::optional<RepoName> repo_of_folder(std::string_view folder);

/// Where a person reads about a model and accepts its licence.
std::string address_of(const std::string& model_id);

}  // namespace orch::cache
