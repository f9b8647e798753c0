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
#include "inputs/inputs.h"
#include "report/problems.h"
#include "report/table.h"

namespace orch::orchctl {

/// Exit codes.
enum Exit : int {
  kWell = 0,
  kFailed = 1,
  kBadInput = 2,
  kSweepFailed = 3,  ///< a sweep that was waited for ended with failed cells
  kNoDaemon = 4,
};

struct Session {
  std::ostream& out;
  std::ostream& err;
  DataFolders data;
  bool json = false;
  std::string color = "auto";
  std::vector<std::string> catalogs;  ///< a site's own files and folders, read after those that ship
  report::Style style;
  std::string state;  ///< --state: the state directory; empty: $ORCH_STATE or the usual one
};

/// Prints what is wrong and ends with kBadInput.
int bad_input(Session& session, const Diagnostics& diagnostics);
int bad_input(Session& session, const std::string& what);

/// One JSON value and a newline; bytes that are not UTF-8 (of a file's name, say) are replaced.
void print_json(Session& session, const nlohmann::ordered_json& value);

using report::problems_json;

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
  bool weights = false;  ///< say which are missing on this machine
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

// What the daemon is asked. Where it does not run, those that only look read its store.

struct UpArguments {
  std::string cluster, on, policy;  ///< as orchd takes them
  int gpus = 0;
  /// What orchd keeps in orchd.json, by the name of the option without its dashes.
  std::map<std::string, std::vector<std::string>> kept;
  bool install = false;  ///< have the machine start it
};
int up(Session& session, const UpArguments& arguments);
int down(Session& session);

struct DoctorArguments {
  bool job = false;  ///< look from a compute node too
};
int doctor(Session& session, const DoctorArguments& arguments);

struct StatusArguments {
  std::string sweep;  ///< empty: all
  bool watch = false;
};
int status(Session& session, const StatusArguments& arguments);
int jobs(Session& session);

struct CellsArguments {
  std::string sweep;
  std::string only;  ///< a state; empty: all
};
int cells(Session& session, const CellsArguments& arguments);

struct ResultsArguments {
  std::string sweep;  ///< empty: of one cell's curve
  std::string format = "table";
  bool curves = false;  ///< of all its cells that train, in place of what they measured
  std::string curve;    ///< of this cell alone
  std::string output;   ///< the file that is written; empty: standard output
};
int results(Session& session, const ResultsArguments& arguments);

struct SweepDiffArguments {
  std::string a, b;
  double errors = 2;  ///< so many standard errors of a difference are taken to be chance
  bool fail_on_regression = false;
};
int sweep_diff(Session& session, const SweepDiffArguments& arguments);

/// Whether `what` reads as the id of a sweep, a job or a cell.
bool looks_like_id(const std::string& what);
/// `orchctl explain` of one of them.
int explain_id(Session& session, const std::string& id);

struct LogsArguments {
  std::string id;
  bool follow = false;
};
int logs(Session& session, const LogsArguments& arguments);

struct EventsArguments {
  std::int64_t after = 0;
  bool follow = false;
};
int events(Session& session, const EventsArguments& arguments);

int cancel(Session& session, const std::string& id);
int retry(Session& session, const std::string& sweep);
struct HoldArguments {
  std::string sweep, model;  ///< one of them
  bool hold = true;          ///< or release
};
int hold(Session& session, const HoldArguments& arguments);

struct NotifyArguments {
  bool test = false;  ///< tell them something
};
int notify_targets(Session& session, const NotifyArguments& arguments);

int backup(Session& session, const std::string& file);
struct RestoreArguments {
  std::string file;
  std::string database;  ///< the folder on a local disk, as orchd takes it; empty: where the last daemon had it
};
int restore(Session& session, const RestoreArguments& arguments);
int policy_set(Session& session, const std::string& file);

struct SubmitArguments {
  PlanFiles files;  ///< those beside the matrix are for a dry run
  std::string name;
  bool fresh = false;
  bool dry_run = false;
  bool wait = false;
};
int submit_matrix(Session& session, const SubmitArguments& arguments);

/// `output`: a file that does not exist yet; empty: standard output.
int cluster_detect(Session& session, const std::string& output);

struct CacheArguments {
  std::string cache;                ///< the folder; empty: where the hub's own programs have theirs
  std::vector<std::string> models;  ///< names and patterns of the catalog, or org/name; of prune: those to keep
  std::string revision;             ///< empty: the catalog's
  std::string budget, older_than;
  std::string to;
  bool dry_run = false;
  bool force = false;           ///< do not ask what is in use
  bool remove_damaged = false;  ///< of verify
};
int cache_list(Session& session, const CacheArguments& arguments);
int cache_fetch(Session& session, const CacheArguments& arguments);
int cache_verify(Session& session, const CacheArguments& arguments);
int cache_prune(Session& session, const CacheArguments& arguments);
int cache_stage(Session& session, const CacheArguments& arguments);

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
