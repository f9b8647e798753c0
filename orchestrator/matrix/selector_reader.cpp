#include "matrix/selector_reader.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::matrix {
namespace {

constexpr long long kMostSelectors = 5000;  // in one list
constexpr std::array kTaskKinds = {
    TaskKind::kMultipleChoice, TaskKind::kExactMatch, TaskKind::kCode, TaskKind::kFunctionCalling,
    TaskKind::kVisionLanguage, TaskKind::kTrain,      TaskKind::kBench};
constexpr std::array kModelKinds = {ModelKind::kText, ModelKind::kVisionLanguage, ModelKind::kImage, ModelKind::kOther};

std::string_view one(Picked what) { return what == Picked::kModels ? "model" : "task"; }

std::vector<std::string> groups_of(const Catalog& catalog) {
  std::set<std::string> groups;
  for (const Task& task : catalog.tasks.all())
    if (!task.group.empty()) groups.insert(task.group);
  return {groups.begin(), groups.end()};
}

std::vector<std::string> kinds_of(Picked what) {
  std::vector<std::string> words;
  if (what == Picked::kModels) {
    for (const ModelKind kind : kModelKinds) words.emplace_back(name_of(kind));
  } else {
    words.emplace_back("eval");
    for (const TaskKind kind : kTaskKinds) words.emplace_back(name_of(kind));
  }
  return words;
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

std::size_t count_picked(const Selector& selector, Picked what, const Catalog& catalog) {
  const std::span<const Selector> single(&selector, 1);
  return what == Picked::kModels ? pick_models(single, catalog).size() : pick_tasks(single, catalog).size();
}

}  // namespace

std::vector<Selector> SelectorReader::read_list(const Yaml& node) {
  std::vector<Selector> selectors;
  if (node.is_scalar() || node.is_map()) {
    if (auto selector = read(node)) selectors.push_back(std::move(*selector));
    return selectors;
  }
  const std::string list = std::string(one(what_)) + "s";
  if (!node.is_list()) {
    error(node, list + " must be a list of names, globs and conditions, found " + describe(node));
    return selectors;
  }
  if (node.items.empty()) error(node, "an empty list of " + list + " makes no cells: name some, or '*' for all");
  if (static_cast<long long>(node.items.size()) > kMostSelectors) {
    error(node, "at most " + grouped(kMostSelectors) + " entries, found " +
                    grouped(static_cast<long long>(node.items.size())) + "; a glob or a condition picks many at once");
    return selectors;
  }
  std::map<std::string, Place> named;
  for (const Yaml& item : node.items) {
    auto selector = read(item);
    if (!selector) continue;
    if (selector->is_exact()) {
      const auto [first, added] = named.try_emplace(*selector->name, selector->place);
      if (!added)
        error(item, std::string(one(what_)) + " " + quote(*selector->name) + " is named twice (first at line " +
                        std::to_string(first->second.line) +
                        "): its cells would be asked for twice; for several values of a "
                        "setting give a list, as in {name: " +
                        shown(*selector->name) + ", seed: [0, 1]}");
    }
    selectors.push_back(std::move(*selector));
  }
  return selectors;
}

std::optional<Selector> SelectorReader::read(const Yaml& node) {
  bad_ = false;
  Selector selector;
  selector.place = place_of(node, file_);
  if (node.is_scalar())
    read_name(selector, node);
  else if (node.is_map())
    read_conditions(selector, node);
  else
    error(node, "a " + std::string(one(what_)) + " is picked by a name, a glob or a map of conditions; found " +
                    describe(node));
  if (bad_) return std::nullopt;
  if (selector.own) return selector;
  if (count_picked(selector, what_, catalog_) == 0) {
    const bool only_glob = node.is_scalar();
    error(node, only_glob ? "no " + std::string(one(what_)) + " matches " + quote(*selector.name)
                          : "no " + std::string(one(what_)) + " meets all of these conditions");
    return std::nullopt;
  }
  return selector;
}

void SelectorReader::error(const Place& place, std::string what) {
  bad_ = true;
  diagnostics_.error(place, std::move(what));
}

std::vector<std::string> SelectorReader::condition_names() const {
  if (what_ == Picked::kModels) return {"name", "model", "category", "family", "kind", "min_params", "max_params"};
  return {"name", "task", "category", "group", "kind"};
}

void SelectorReader::read_name(Selector& selector, const Yaml& node) {
  if (!node.is_scalar()) {
    error(node, "the name of a " + std::string(one(what_)) + " must be a text, found " + describe(node));
    return;
  }
  selector.name = node.text == "all" ? "*" : node.text;
  if (is_glob(*selector.name)) return;
  const bool models = what_ == Picked::kModels;
  const bool known = models ? catalog_.models.find(node.text) != nullptr : catalog_.tasks.find(node.text) != nullptr;
  if (known) return;
  if (own_.names.contains(node.text)) return take_own_name(selector, node);
  // Past what is kept, a hint is only work.
  if (diagnostics_.error_count() >= Diagnostics::kMost) return error(node, "no such name");
  const auto names = models ? catalog_.models.names() : catalog_.tasks.names();
  error(node, "no " + std::string(one(what_)) + " " + quote(node.text) + hint(node.text, names) + " (orchctl " +
                  std::string(one(what_)) + "s lists all " + std::to_string(names.size()) + ")");
}

/// A name that means something to the user's program only.
void SelectorReader::take_own_name(Selector& selector, const Yaml& node) {
  constexpr std::size_t kMostBytes = 200;
  const bool control = std::ranges::any_of(node.text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
  if (node.text.empty() || node.text.size() > kMostBytes || control || !is_utf8(node.text))
    return error(node, "the name of a " + std::string(one(what_)) + " of your own is a text of 1 to " +
                           std::to_string(kMostBytes) + " bytes without control characters; found " + describe(node));
  selector.own = true;
}

/// A word that must be one of `known`.
std::optional<std::string> SelectorReader::read_word(const Yaml::Entry& entry, const std::vector<std::string>& known) {
  const Yaml& node = entry.value;
  if (node.is_scalar() && holds(known, node.text)) return node.text;
  if (!node.is_scalar()) {
    error(node, quote(entry.key) + " must be a text, found " + describe(node));
    return std::nullopt;
  }
  const auto near = nearest(node.text, known);
  std::string what = "no " + entry.key + " " + quote(node.text);
  what += near ? "; did you mean " + quote(*near) + "?" : known.empty() ? "" : "; there are " + join(known, ", ");
  error(node, std::move(what));
  return std::nullopt;
}

std::optional<double> SelectorReader::read_params(const Yaml::Entry& entry) {
  if (entry.value.is_scalar())
    if (const auto value = parse_count(entry.value.text)) return value;
  error(entry.value,
        quote(entry.key) + " must be a count of parameters such as 7B or 360M; found " + describe(entry.value));
  return std::nullopt;
}

void SelectorReader::read_conditions(Selector& selector, const Yaml& node) {
  const auto conditions = condition_names();
  if (node.entries.empty()) error(node, "an empty map picks nothing; '*' picks every " + std::string(one(what_)));
  for (const Yaml::Entry& entry : node.entries) {
    const std::string& key = entry.key;
    const Place at{file_, entry.line, entry.column};
    if (!holds(conditions, key)) {
      const auto why = why_not_taken(key, kinds_, conditions);
      if (why && !own_.told.contains(key)) {
        error(at, *why + hint_of_own(key, kinds_));
        continue;
      }
      auto values = why ? read_own_axis(key, entry.value, file_, diagnostics_)
                        : read_axis(*find_setting(key), entry.value, file_, diagnostics_);
      if (values.empty()) bad_ = true;
      selector.settings[key] = std::move(values);
      selector.places[key] = at;
    } else if (key == "name" || key == one(what_)) {
      if (selector.name)
        error(at, "'name' and " + quote(one(what_)) + " say the same: give one of them");
      else
        read_name(selector, entry.value);
    } else if (key == "category") {
      selector.category = read_word(entry, catalog_.categories.names());
    } else if (key == "family") {
      selector.family = read_word(entry, catalog_.families());
    } else if (key == "group") {
      selector.group = read_word(entry, groups_of(catalog_));
    } else if (key == "kind") {
      selector.kind = read_word(entry, kinds_of(what_));
    } else if (key == "min_params") {
      selector.min_params = read_params(entry);
    } else {
      selector.max_params = read_params(entry);
    }
  }
  const bool only_commands = std::ranges::all_of(kinds_, [](CellKind kind) { return kind == CellKind::kCommand; });
  if (auto why = why_not_lengths(selector.settings); why && !only_commands) error(node, std::move(*why));
  const bool conditional = selector.category || selector.family || selector.group || selector.kind ||
                           selector.min_params || selector.max_params;
  if (selector.own && conditional)
    error(node,
          quote(*selector.name) + " is a name of your own, of which the catalog knows nothing: it meets no condition");
  if (selector.min_params && selector.max_params && *selector.min_params > *selector.max_params)
    error(node, "min_params is above max_params: no model can be both");
}

}  // namespace orch::matrix
