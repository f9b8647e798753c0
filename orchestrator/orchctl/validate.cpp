// orchctl validate: check a file of any kind, whole, before anything uses it.
#include <array>
#include <nlohmann/json.hpp>

#include "base/fields.h"
#include "base/text.h"
#include "matrix/own_names.h"
#include "notify/target.h"
#include "orchctl/load.h"
#include "planner/history_file.h"
#include "policy/ceilings.h"

namespace orch::orchctl {
namespace {

/// What a file is, told from the keys that only its kind has.
std::string kind_of(const Yaml& root) {
  for (const char* key : {"cluster", "clusters"})
    if (root.find(key)) return "cluster";
  if (root.find("notify")) return "notify";
  if (root.find("ceilings")) return "ceilings";
  for (const char* key : {"measurements", "outcomes"})
    if (root.find(key)) return "history";
  for (const char* key : {"weights", "acceptance", "task_types", "remedies", "ageing"})
    if (root.find(key)) return "policy";
  for (const char* key : {"profiles", "gpus"})
    if (root.find(key)) return "catalog";
  for (const char* key : {"models", "tasks", "categories"})
    if (const Yaml* node = root.find(key); node && node->is_map()) return "catalog";
  return "matrix";
}

/// A matrix is well only if it expands: a cell asked for twice shows there first.
std::int64_t check_matrix(const Session& session, const Yaml& root, const std::string& file, const Catalog& catalog,
                          Diagnostics& diagnostics) {
  const auto matrix = matrix::read_matrix(root, file, catalog, diagnostics);
  if (!matrix) return 0;
  const Catalog whole = matrix::with_own_names(*matrix, catalog);
  const auto policy = load_policy(session, "default", diagnostics);
  const auto cluster = load_cluster(session, "", "", whole, diagnostics);
  std::optional<planner::Site> site;
  if (policy && cluster) site.emplace(planner::Site{whole, *cluster, *policy, matrix->submit});
  const auto expansion =
      matrix::expand(*matrix, whole, site ? expand_options(*site) : matrix::ExpandOptions{}, diagnostics);
  return expansion ? static_cast<std::int64_t>(expansion->cells.size()) : 0;
}

struct Verdict {
  std::string kind;
  std::int64_t cells = 0;
};

Verdict check(const Session& session, const std::string& file, const std::string& wanted, const Catalog& catalog,
              Diagnostics& diagnostics) {
  const auto root = load_yaml(file, diagnostics);
  if (!root) return {wanted == "auto" ? "unknown" : wanted};
  Verdict verdict{wanted == "auto" ? kind_of(*root) : wanted};
  if (verdict.kind == "matrix") {
    verdict.cells = check_matrix(session, *root, file, catalog, diagnostics);
  } else if (verdict.kind == "policy") {
    (void)policy::read_policy(*root, file, diagnostics);
  } else if (verdict.kind == "cluster") {
    (void)read_clusters(*root, file, catalog, diagnostics);
  } else if (verdict.kind == "ceilings") {
    (void)policy::read_ceilings(*root, file, diagnostics);
  } else if (verdict.kind == "notify") {
    (void)notify::read_targets(*root, file, diagnostics);
  } else if (verdict.kind == "history") {
    (void)planner::read_history(*root, file, catalog, diagnostics);
  } else {
    // What it refers to may stand in the files that ship.
    Catalog whole = catalog;
    read_catalog_file(whole, *root, file, diagnostics);
    check_catalog(whole, diagnostics);
    matrix::check_category_settings(whole, diagnostics);
  }
  return verdict;
}

}  // namespace

int validate(Session& session, const ValidateArguments& arguments) {
  Diagnostics of_catalog;
  const Catalog catalog = load_catalog(session, of_catalog);
  if (!of_catalog.ok()) return bad_input(session, of_catalog);
  bool well = true;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& file : arguments.files) {
    Diagnostics diagnostics;
    const Verdict verdict = check(session, file, arguments.kind, catalog, diagnostics);
    well = well && diagnostics.ok();
    diagnostics.print(session.err);
    if (session.json) {
      list.push_back({{"file", file},
                      {"kind", verdict.kind},
                      {"ok", diagnostics.ok()},
                      {"error_count", diagnostics.error_count()},
                      {"errors", problems_json(diagnostics)}});
    } else if (diagnostics.ok()) {
      session.out << shown(file, 400) << ": a " << verdict.kind << " file without errors";
      if (verdict.kind == "matrix") session.out << ", " << counted(verdict.cells, "cell");
      session.out << "\n";
    } else {
      session.err << shown(file, 400) << ": " << counted(static_cast<long long>(diagnostics.error_count()), "error")
                  << "\n";
    }
  }
  if (session.json) print_json(session, list);
  return well ? kWell : kBadInput;
}

}  // namespace orch::orchctl
