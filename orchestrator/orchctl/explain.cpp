// orchctl explain: why a model needs what it needs, why a job is where it is, why a cell has its score.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "orchctl/load.h"
#include "report/explain_report.h"
#include "report/plan_report.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

int answer(Session& session, const ordered_json& json,
           void (*print)(std::ostream&, const report::Style&, const ordered_json&)) {
  if (session.json)
    print_json(session, json);
  else
    print(session.out, session.style, json);
  return kWell;
}

/// A model whose architecture is known runs on a whole profile, so a number that no profile has cannot be asked for.
std::optional<std::string> no_such_number(const Model& model, int gpus, const Catalog& catalog) {
  std::set<int> numbers;
  for (const Profile& profile : catalog.profiles.all()) numbers.insert(profile.gpus());
  if (!model.decoder || numbers.contains(gpus)) return std::nullopt;
  std::vector<std::string> known;
  for (const int number : numbers) known.push_back(grouped(number));
  return "no profile has " + counted(gpus, "GPU") + "; those of the catalog have " + join(known, ", ") +
         " (orchctl profiles lists them)";
}

int explain_model(Session& session, const ExplainArguments& arguments, const Catalog& catalog, std::uint32_t index) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, arguments.files.policy, diagnostics);
  const auto cluster = load_cluster(session, arguments.files.cluster, arguments.files.on, catalog, diagnostics);
  if (!policy || !cluster) return bad_input(session, diagnostics);
  diagnostics.print(session.err);
  if (!arguments.part.empty())
    return bad_input(session,
                     quote(arguments.what) + " is a model; " + quote(arguments.part) + " after it means nothing");
  if (!arguments.files.history.empty())
    return bad_input(session, "--history goes with a matrix: what a model needs does not depend on what was measured");
  const Model& model = catalog.models[index];
  if (arguments.gpus)
    if (const auto problem = no_such_number(model, *arguments.gpus, catalog)) return bad_input(session, *problem);
  const planner::Site site{catalog, *cluster, *policy, {}};
  planner::Need need;
  need.model = index;
  need.engine = model.engines.empty() ? Engine::kNative : model.engines.front();
  need.dtype = model.dtype == DType::kFp32 ? DType::kBf16 : model.dtype;
  if (arguments.dtype) need.dtype = *dtype_named(*arguments.dtype);
  need.compute = bytes_of(need.dtype) < 2 ? DType::kBf16 : need.dtype;
  if (arguments.kv_dtype) need.kv = *dtype_named(*arguments.kv_dtype);
  need.tokens = arguments.tokens.value_or(4096);
  if (model.context > 0) need.tokens = std::min(need.tokens, model.context);
  need.gpus = arguments.gpus.value_or(0);
  return answer(session, report::model_json(model, need, site), report::print_model);
}

struct Pair {
  std::string model, task;
};

std::optional<Pair> pair_named(const std::string& part) {
  const std::size_t slash = part.find('/');
  if (slash == std::string::npos) return std::nullopt;
  return Pair{part.substr(0, slash), part.substr(slash + 1)};
}

/// Cells of the pair, or whose key begins with `part`, best first.
std::vector<std::uint32_t> cells_named(const std::string& part, const Planned& planned) {
  const std::string prefix = lower(part);
  const bool key = prefix.size() >= 4 && prefix.find_first_not_of("0123456789abcdef") == std::string::npos;
  const auto pair = pair_named(part);
  std::vector<std::uint32_t> found;
  if (!key && !pair) return found;
  for (std::uint32_t i = 0; i < planned.expansion.cells.size(); ++i) {
    const matrix::Cell& cell = planned.expansion.cells[i];
    if (key ? to_hex(cell.key).starts_with(prefix)
            : report::model_name(planned.catalog, cell.model) == pair->model &&
                  report::task_name(planned.catalog, cell.task) == pair->task)
      found.push_back(i);
  }
  std::ranges::stable_sort(found, [&](std::uint32_t a, std::uint32_t b) {
    return planned.plan.scores[a].total > planned.plan.scores[b].total;
  });
  return found;
}

/// One cell in full; several are many screens, so at most ten.
int explain_cells(Session& session, const std::vector<std::uint32_t>& found, const Planned& planned) {
  const std::size_t count = std::min<std::size_t>(found.size(), 10);
  ordered_json list = ordered_json::array();
  for (std::size_t i = 0; i < count; ++i)
    list.push_back(report::cell_json(found[i], planned.plan, planned.expansion, *planned.site));
  if (session.json) {
    print_json(session, count == 1 ? list[0] : list);
    return kWell;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (i) session.out << "\n";
    report::print_cell(session.out, session.style, list[i]);
  }
  if (found.size() > count)
    session.out << "\n… and " << counted(static_cast<long long>(found.size() - count), "more cell") << "\n";
  return kWell;
}

/// Why the matrix makes no cell of the pair. A row that is about one of the two alone is about every pair of it.
ordered_json rejections_of(const Pair& pair, const Planned& planned) {
  ordered_json found = ordered_json::array();
  for (const matrix::Rejection& row : planned.expansion.rejected) {
    const bool model = row.model == pair.model, task = row.task == pair.task;
    if ((model && task) || (model && row.task == "*") || (task && row.model == "*"))
      found.push_back({{"model", pair.model}, {"task", pair.task}, {"rule", row.rule}, {"reason", row.reason}});
  }
  return found;
}

void print_rejected(std::ostream& out, const report::Style&, const ordered_json& json) {
  for (const auto& row : json["rejected"])
    out << shown(row["model"].get<std::string>()) << "/" << shown(row["task"].get<std::string>()) << " was rejected by "
        << row["rule"].get<std::string>() << ": " << shown(row["reason"].get<std::string>(), 400) << "\n";
}

int explain_pair(Session& session, const Pair& pair, const Planned& planned) {
  if (!planned.catalog.models.find(pair.model))
    return bad_input(session,
                     "no model " + quote(pair.model) + hint_sentence(pair.model, planned.catalog.models.names()));
  if (!planned.catalog.tasks.find(pair.task))
    return bad_input(session, "no task " + quote(pair.task) + hint_sentence(pair.task, planned.catalog.tasks.names()));
  const ordered_json rows = rejections_of(pair, planned);
  if (rows.empty())
    return bad_input(session, "the matrix makes no cell of " + quote(pair.model + "/" + pair.task) +
                                  ": it picks not both, or an exclusion leaves them out");
  return answer(session, {{"rejected", rows}}, print_rejected);
}

/// The job or the cells that `part` names; what it is taken for is decided by what the plan has.
int explain_part(Session& session, const std::string& part, const Planned& planned) {
  const planner::Plan& plan = planned.plan;
  const auto job = std::ranges::find(plan.jobs, part, &planner::Job::id);
  if (job != plan.jobs.end())
    return answer(
        session,
        report::job_json(static_cast<std::uint32_t>(job - plan.jobs.begin()), plan, planned.expansion, *planned.site),
        report::print_job);
  if (const auto found = cells_named(part, planned); !found.empty()) return explain_cells(session, found, planned);
  if (const auto pair = pair_named(part)) return explain_pair(session, *pair, planned);
  return bad_input(session,
                   "the plan has no job or cell " + quote(part) +
                       "; name a job (j1), the beginning of a cell's key (4 characters or more), or MODEL/TASK");
}

}  // namespace

int explain(Session& session, const ExplainArguments& arguments) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  if (const auto index = catalog.models.index_of(arguments.what))
    return explain_model(session, arguments, catalog, *index);
  std::error_code unusable;  // a name that is too long for a file is no file's
  const bool names_file =
      std::filesystem::exists(arguments.what, unusable) || arguments.what.find_first_of("/.") != std::string::npos;
  if (!names_file && looks_like_id(arguments.what)) {
    if (!arguments.part.empty())
      return bad_input(session, quote(arguments.what) + " is the id of a sweep, a job or a cell; " +
                                    quote(arguments.part) + " after it means nothing");
    return explain_id(session, arguments.what);
  }
  if (!names_file) {
    const auto names = catalog.models.names();
    return bad_input(
        session, "no model " + quote(arguments.what) + hint_sentence(arguments.what, names) +
                     " There is no file of that name either; a sweep is named by its id, such as s3 (orchctl status).");
  }
  if (arguments.dtype || arguments.kv_dtype || arguments.tokens || arguments.gpus)
    return bad_input(session,
                     "--dtype, --kv-dtype, --tokens and --gpus go with a model; the jobs of a matrix say their own");
  if (arguments.part.empty())
    return bad_input(session, "say what of the matrix is to be explained: a job (j1), a cell's key, or MODEL/TASK");
  PlanFiles files = arguments.files;
  files.matrix = arguments.what;
  const auto planned = load_and_plan(session, files, diagnostics);
  if (!planned) return bad_input(session, diagnostics);
  diagnostics.print(session.err);
  return explain_part(session, arguments.part, *planned);
}

}  // namespace orch::orchctl
