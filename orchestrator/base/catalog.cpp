#include "base/catalog.h"

#include <algorithm>
#include <set>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch {
namespace {

// Bounds what checking costs: names are looked up, patterns are tried on every name.
constexpr std::size_t kMostEntries = 10'000;
constexpr std::size_t kMostPatterns = 10'000;

/// Calls read(name, node) for every entry of the section `key`.
template <class Read>
void read_section(Fields& fields, std::string_view key, const std::string& file, Diagnostics& diagnostics, Read read) {
  const Yaml* section = fields.get(key);
  if (!section || section->is_null()) return;  // a section whose entries are all commented out is empty
  if (!section->is_map()) {
    fields.error(key, quote(key) + " must be a map of names, found " + describe(*section));
    return;
  }
  if (section->entries.size() > kMostEntries) {
    fields.error(key, quote(key) + " has " +
                          counted(static_cast<long long>(section->entries.size()), "entry", "entries") + "; at most " +
                          grouped(static_cast<long long>(kMostEntries)) + " are read");
    return;
  }
  for (const Yaml::Entry& entry : section->entries) {
    if (!is_name(entry.key)) {
      diagnostics.error(
          {file, entry.line, entry.column},
          "a name is made of letters, digits and _ . - : / +, at most 200 long; found " + quote(entry.key));
      continue;
    }
    read(entry.key, entry.value, Place{file, entry.line, entry.column});
  }
}

void read_names(Fields& fields, std::string_view key, const std::string& file, Diagnostics& diagnostics,
                std::vector<std::string>& names, std::vector<Place>& places) {
  const Yaml* node = fields.get(key);
  const auto values = fields.texts(key);
  if (!node || !values) return;
  if (values->size() > kMostEntries) {
    fields.error(key, quote(key) + " has more than " + grouped(static_cast<long long>(kMostEntries)) + " names");
    return;
  }
  std::set<std::string_view> seen;
  const auto take = [&](const Yaml& item) {
    if (!item.is_scalar()) return;  // texts() has said so
    names.push_back(item.text);
    places.push_back(place_of(item, file));
    if (!seen.insert(item.text).second) diagnostics.error(places.back(), quote(item.text) + " is listed twice");
  };
  if (node->is_scalar()) take(*node);
  for (const Yaml& item : node->items) take(item);
}

Category read_category(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "the category " + quote(name), diagnostics);
  Category category;
  category.name = name;
  category.source = place_of(node, file);
  category.description = fields.text("description").value_or("");
  read_names(fields, "models", file, diagnostics, category.models, category.model_places);
  read_names(fields, "tasks", file, diagnostics, category.tasks, category.task_places);
  if (fields.is_map() && !fields.has("models") && !fields.has("tasks"))
    diagnostics.error(fields.place(), "the category " + quote(name) + " needs the key 'models' or 'tasks'");
  if (const Yaml* settings = fields.get("settings")) {
    if (!settings->is_map()) fields.error("settings", "'settings' must be a map, found " + describe(*settings));
    for (const Yaml::Entry& entry : settings->entries) category.settings.emplace(entry.key, entry.value);
  }
  fields.finish();
  return category;
}

/// The names that a list of names and patterns stands for, each once.
template <class T>
std::vector<std::string> written_out(const Named<T>& known, const std::vector<std::string>& patterns) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const std::string& pattern : patterns) {
    if (!is_glob(pattern)) {
      if (known.find(pattern) && seen.insert(pattern).second) names.push_back(pattern);
      continue;
    }
    for (const T& entry : known.all())
      if (glob_match(pattern, entry.name) && seen.insert(entry.name).second) names.push_back(entry.name);
  }
  return names;
}

template <class T>
void check_names(const Named<T>& known, const std::vector<std::string>& known_names,
                 const std::vector<std::string>& names, const std::vector<Place>& places, const Place& otherwise,
                 std::string_view what, std::size_t& patterns, Diagnostics& diagnostics) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Place& place = i < places.size() ? places[i] : otherwise;
    const std::string& name = names[i];
    if (!is_glob(name)) {
      if (known.find(name)) continue;
      const bool told = diagnostics.error_count() < Diagnostics::kMost;  // past that a hint is seen by nobody
      diagnostics.error(place, "no " + std::string(what) + " " + quote(name) + (told ? hint(name, known_names) : ""));
      continue;
    }
    if (++patterns > kMostPatterns) {
      diagnostics.error(place,
                        "the catalog has more than " + grouped(static_cast<long long>(kMostPatterns)) + " patterns");
      return;
    }
    if (std::ranges::none_of(known.all(), [&](const T& entry) { return glob_match(name, entry.name); }))
      diagnostics.error(place, "the pattern " + quote(name) + " matches no " + std::string(what) + " of the " +
                                   grouped(static_cast<long long>(known.size())) + " known");
  }
}

template <class T>
std::vector<std::string> holding(const Named<Category>& categories, std::vector<std::string> Category::*list,
                                 const T& name) {
  std::vector<std::string> names;
  for (const Category& category : categories.all()) {
    const auto fits = [&](const std::string& pattern) {
      return pattern == name || (is_glob(pattern) && glob_match(pattern, name));
    };
    if (std::ranges::any_of(category.*list, fits)) names.push_back(category.name);
  }
  return names;
}

/// The files of a folder, by name; of a file, itself.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& source, Diagnostics& diagnostics) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(source, error)) return {source};
  std::vector<fs::path> files;
  fs::directory_iterator at(source, error);
  for (const fs::directory_iterator end; !error && at != end; at.increment(error)) {
    const fs::path& path = at->path();
    const std::string name = path.filename().string();
    if (name.starts_with('.')) continue;  // what editors leave
    if (path.extension() == ".yaml") files.push_back(path);
    if (path.extension() == ".yml") diagnostics.warn({path.string()}, "is not read; catalog files end in .yaml");
  }
  if (error)
    diagnostics.error({source.string()}, "cannot be read: " + error.message());
  else if (files.empty())
    diagnostics.error({source.string()}, "holds no catalog file; *.yaml was expected");
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::vector<std::string> Catalog::models_of(const Category& category) const {
  return written_out(models, category.models);
}
std::vector<std::string> Catalog::tasks_of(const Category& category) const {
  return written_out(tasks, category.tasks);
}

std::vector<std::string> Catalog::categories_of_model(const std::string& model) const {
  return holding(categories, &Category::models, model);
}

std::vector<std::string> Catalog::categories_of_task(const std::string& task) const {
  return holding(categories, &Category::tasks, task);
}

std::vector<std::string> Catalog::families() const {
  std::vector<std::string> families;
  std::set<std::string> seen;
  for (const Model& model : models.all())
    if (seen.insert(model.family).second) families.push_back(model.family);
  return families;
}

void read_catalog_file(Catalog& catalog, const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(root, file, "a catalog file", diagnostics);
  // An entry's place is its name's: the line where a reader looks for it.
  const auto into = [&](auto& named, auto read) {
    return [&named, read, &file, &diagnostics](const std::string& name, const Yaml& node, const Place& place) {
      auto entry = read(name, node, file, diagnostics);
      entry.source = place;
      named.put(std::move(entry));
    };
  };
  read_section(fields, "models", file, diagnostics, into(catalog.models, read_model));
  read_section(fields, "tasks", file, diagnostics, into(catalog.tasks, read_task));
  read_section(fields, "categories", file, diagnostics, into(catalog.categories, read_category));
  read_section(fields, "profiles", file, diagnostics, into(catalog.profiles, read_profile));
  read_section(fields, "gpus", file, diagnostics, into(catalog.gpus, read_gpu));
  fields.finish();
}

void check_catalog(const Catalog& catalog, Diagnostics& diagnostics) {
  const std::vector<std::string> models = catalog.models.names(), tasks = catalog.tasks.names();
  std::size_t patterns = 0;
  for (const Category& category : catalog.categories.all()) {
    check_names(catalog.models, models, category.models, category.model_places, category.source, "model", patterns,
                diagnostics);
    check_names(catalog.tasks, tasks, category.tasks, category.task_places, category.source, "task", patterns,
                diagnostics);
  }
}

Catalog load_catalog(std::span<const std::filesystem::path> sources, Diagnostics& diagnostics) {
  Catalog catalog;
  bool all_read = true;
  for (const std::filesystem::path& source : sources) {
    for (const std::filesystem::path& file : files_of(source, diagnostics)) {
      if (const auto root = load_yaml(file, diagnostics))
        read_catalog_file(catalog, *root, file.string(), diagnostics);
      else
        all_read = false;
    }
  }
  // What a file that could not be read would have named is not missing.
  if (all_read) finish_catalog(catalog, diagnostics);
  return catalog;
}

void finish_catalog(Catalog& catalog, Diagnostics& diagnostics) {
  check_catalog(catalog, diagnostics);
  if (!diagnostics.ok()) return;
  const std::vector<Category> categories(catalog.categories.all().begin(), catalog.categories.all().end());
  for (Category category : categories) {
    category.models = catalog.models_of(category);
    category.tasks = catalog.tasks_of(category);
    category.model_places.clear();
    category.task_places.clear();
    catalog.categories.put(std::move(category));
  }
}

}  // namespace orch
