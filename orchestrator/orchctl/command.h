// What all commands of orchctl share: where they write, what was asked of every command, how they end; and the commands
// themselves, with their arguments. One file each; main.cpp says how they are typed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "report/table.h"

namespace orch::orchctl {

/// Exit codes.
enum Exit : int { kWell = 0, kFailed = 1, kBadInput = 2 };

/// Where the files that come with the program are: beside the installed program, or in the source tree it was built
/// from.
struct DataFolders {
  std::filesystem::path catalog, policies, templates, schemas, examples;
};

struct Session {
  std::ostream& out;
  std::ostream& err;
  DataFolders data;
  bool json = false;
  std::string color = "auto";
  std::vector<std::string> catalogs;  ///< a site's own files and folders, read after those that ship
  report::Style style;
};

/// Prints what is wrong and ends with kBadInput.
int bad_input(Session& session, const Diagnostics& diagnostics);
int bad_input(Session& session, const std::string& what);

/// One JSON value and a newline; bytes that are not UTF-8 (of a file's name, say) are replaced.
void print_json(Session& session, const nlohmann::ordered_json& value);

/// The `problem`s of docs/schemas/output.json.
nlohmann::ordered_json problems_json(const Diagnostics& diagnostics);

/// The files that a plan is made of, as named on the command line.
struct PlanFiles {
  std::string matrix;
  std::string policy;
  std::string cluster;
  std::string on;  ///< which cluster, of a file with several
  std::string history;
};

struct PlanArguments {
  PlanFiles files;
  bool cells = false;
  std::optional<std::string> script;  ///< of this job; otherwise the plan
  std::string templates;
};
int plan(Session& session, const PlanArguments& arguments);

struct ValidateArguments {
  std::vector<std::string> files;
  std::string kind = "auto";
};
int validate(Session& session, const ValidateArguments& arguments);

struct ExplainArguments {
  PlanFiles files;
  std::string what;  ///< a model, or a matrix
  std::string part;  ///< of a matrix: a job, a cell's key or its beginning, MODEL/TASK
  std::optional<std::string> dtype, kv_dtype;
  std::optional<std::int64_t> tokens;
  std::optional<int> gpus;
};
int explain(Session& session, const ExplainArguments& arguments);

struct CatalogFilter {
  std::string name;  ///< exact or a pattern
  std::string family, category, group, kind;
};
int models(Session& session, const CatalogFilter& filter);
int tasks(Session& session, const CatalogFilter& filter);
int profiles(Session& session);
int categories(Session& session);
int gpus(Session& session);

struct DiffArguments {
  std::string a, b;
  PlanFiles files;  ///< its policy is not used
};
int policy_check(Session& session, const std::string& named);
int policy_show(Session& session, const std::string& named);
int policy_diff(Session& session, const DiffArguments& arguments);

/// `output`: a file that does not exist yet; empty: standard output.
int cluster_detect(Session& session, const std::string& output);

/// `kind`: whose schema; empty: list them.
int schema(Session& session, const std::string& kind);

/// What can be typed after some words.
struct Words {
  std::vector<std::string> commands;
  std::vector<std::string> options;
};
/// `found`: by the words of a command (`policy diff`), the program itself by none.
int completion(Session& session, const std::map<std::string, Words>& found, const std::string& shell);

}  // namespace orch::orchctl
