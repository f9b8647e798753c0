#include "planner/history_file.h"

#include "base/fields.h"
#include "base/text.h"

namespace orch::planner {
namespace {

constexpr long long kMostOutcomes = 1'000'000'000'000;

/// Each item of the list under `key`.
const std::vector<Yaml>& items_of(Fields& fields, std::string_view key) {
  static const std::vector<Yaml> kNothing;
  const Yaml* list = fields.get(key);
  if (!list) return kNothing;
  if (list->is_list()) return list->items;
  fields.error(key, quote(key) + " must be a list, found " + describe(*list));
  return kNothing;
}

template <class T>
void check_known(Fields& fields, std::string_view key, const std::string& name, const Named<T>& known,
                 const char* what) {
  if (known.find(name)) return;
  const std::vector<std::string> names = known.names();
  fields.error(key, std::string("no ") + what + " " + quote(name) + hint(name, names));
}

void read_measurement(const Yaml& item, const std::string& file, const Catalog& catalog, History& history,
                      Diagnostics& diagnostics) {
  Fields fields(item, file, "a measurement", diagnostics);
  for (const char* key : {"model", "task", "profile", "seconds_per_unit"}) fields.require(key);
  const auto model = fields.text("model"), task = fields.text("task"), profile = fields.text("profile");
  if (model) check_known(fields, "model", *model, catalog.models, "model");
  if (task) check_known(fields, "task", *task, catalog.tasks, "task");
  if (profile) check_known(fields, "profile", *profile, catalog.profiles, "profile");
  if (model && task && profile)
    for (const Yaml& value : items_of(fields, "seconds_per_unit")) {
      const auto seconds = value.number();
      if (seconds && *seconds > 0)
        history.add(*model, *task, *profile, *seconds);
      else
        diagnostics.error(place_of(value, file), "'seconds_per_unit' holds numbers above 0, found " + describe(value));
    }
  fields.finish();
}

void read_outcome(const Yaml& item, const std::string& file, History& history, Diagnostics& diagnostics) {
  Fields fields(item, file, "an outcome", diagnostics);
  for (const char* key : {"family", "type"}) fields.require(key);
  const auto family = fields.name("family"), type = fields.name("type");
  const long long succeeded = fields.integer("succeeded", 0, kMostOutcomes).value_or(0);
  const long long failed = fields.integer("failed", 0, kMostOutcomes).value_or(0);
  if (family && type) history.add_outcomes(*family, *type, succeeded, failed);
  fields.finish();
}

}  // namespace

History read_history(const Yaml& root, const std::string& file, const Catalog& catalog, Diagnostics& diagnostics) {
  History history;
  Fields fields(root, file, "a history", diagnostics);
  for (const Yaml& item : items_of(fields, "measurements")) read_measurement(item, file, catalog, history, diagnostics);
  for (const Yaml& item : items_of(fields, "outcomes")) read_outcome(item, file, history, diagnostics);
  fields.finish();
  return history;
}

}  // namespace orch::planner
