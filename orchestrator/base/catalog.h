// Everything that can be named in a matrix: models, tasks, categories, profiles, GPUs.
//
// Holds:
//  - Of two entries with one name the one read later wins, whole; each keeps the place where it stands.
//  - What a category refers to exists. Orders are those of the files, so the same files give the same expansion.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/model.h"
#include "base/profile.h"
#include "base/task.h"

namespace orch {

/// A list kept in the order of the files and found by name.
template <class T>
class Named {
 public:
  /// Adds, or replaces the entry of that name in its old position.
  void put(T entry) {
    const auto [at, added] = index_.try_emplace(entry.name, all_.size());
    if (added)
      all_.push_back(std::move(entry));
    else
      all_[at->second] = std::move(entry);
  }
  const T* find(const std::string& name) const {
    const auto at = index_.find(name);
    return at == index_.end() ? nullptr : &all_[at->second];
  }
  std::optional<std::uint32_t> index_of(const std::string& name) const {
    const auto at = index_.find(name);
    if (at == index_.end()) return std::nullopt;
    return static_cast<std::uint32_t>(at->second);
  }
  const T& operator[](std::size_t at) const { return all_[at]; }
  T& operator[](std::size_t at) { return all_[at]; }
  std::span<const T> all() const { return all_; }
  std::size_t size() const { return all_.size(); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const T& entry : all_) names.push_back(entry.name);
    return names;
  }

 private:
  std::vector<T> all_;
  std::map<std::string, std::size_t> index_;
};

/// A set of models and tasks that belong together, with settings that cells picked through it take as defaults.
struct Category {
  std::string name;
  std::string description;
  std::vector<std::string> models;  ///< names, or patterns of them until load_catalog() has written them out
  std::vector<std::string> tasks;
  std::map<std::string, Yaml> settings;          ///< read by matrix/
  std::vector<Place> model_places, task_places;  ///< where each of `models` and `tasks` stands
  Place source;
};

struct Catalog {
  Named<Model> models;
  Named<Task> tasks;
  Named<Category> categories;
  Named<Profile> profiles;
  Named<Gpu> gpus;

  /// What a category holds, patterns written out, each name once.
  std::vector<std::string> models_of(const Category& category) const;
  std::vector<std::string> tasks_of(const Category& category) const;
  std::vector<std::string> categories_of_model(const std::string& model) const;
  std::vector<std::string> categories_of_task(const std::string& task) const;
  std::vector<std::string> families() const;
};

/// Reads one catalog file into `catalog`. Its top-level keys are any of models, tasks, categories, profiles, gpus.
void read_catalog_file(Catalog& catalog, const Yaml& root, const std::string& file, Diagnostics& diagnostics);

/// Checks what goes between entries: that what categories and profiles refer to exists.
void check_catalog(const Catalog& catalog, Diagnostics& diagnostics);

/// After the last file: checks the whole, and writes out the patterns of categories.
void finish_catalog(Catalog& catalog, Diagnostics& diagnostics);

/// Reads every *.yaml of each folder (in the order of names) or each file, and finishes the
/// catalog.
Catalog load_catalog(std::span<const std::filesystem::path> sources, Diagnostics& diagnostics);

}  // namespace orch
