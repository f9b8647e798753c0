// orchctl explain: why a model needs what it needs, why a job is where it is, why a cell has its score.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/load.h"
#include "report/explain_report.h"
#include "report/plan_report.h"

namespace orch::orchctl {
namespace {

int explain_model(Session& session, const ExplainArguments& arguments, const Catalog& catalog, std::uint32_t index) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, arguments.files.policy, diagnostics);
  const auto cluster = load_cluster(session, arguments.files.cluster, arguments.files.on, catalog, diagnostics);
  if (!policy || !cluster) return bad_input(session, diagnostics);
  if (!arguments.part.empty())
    return bad_input(session,
                     quote(arguments.what) + " is a model; " + quote(arguments.part) + " after it means nothing");
  const Model& model = catalog.models[index];
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
  const auto json = report::model_json(model, need, site);
  if (session.json)
    print_json(session, json);
  else
    report::print_model(session.out, session.style, json);
  return kWell;
}

/// The job or the cells that `part` names; what it is taken for is decided by what the plan has.
int explain_part(Session& session, const ExplainArguments& arguments, const Planned& planned) {
  const planner::Plan& plan = planned.plan;
  const std::string& part = arguments.part;
  for (std::uint32_t i = 0; i < plan.jobs.size(); ++i) {
    if (plan.jobs[i].id != part) continue;
    const auto json = report::job_json(i, plan, planned.expansion, *planned.site);
    if (session.json)
      print_json(session, json);
    else
      report::print_job(session.out, session.style, json);
    return kWell;
  }
  std::vector<std::uint32_t> found;
  const std::string prefix = lower(part);
  const bool key = prefix.size() >= 4 && prefix.find_first_not_of("0123456789abcdef") == std::string::npos;
  const std::size_t slash = part.find('/');
  for (std::uint32_t i = 0; i < planned.expansion.cells.size(); ++i) {
    const matrix::Cell& cell = planned.expansion.cells[i];
    if (key && to_hex(cell.key).starts_with(prefix)) found.push_back(i);
    if (slash != std::string::npos && report::model_name(planned.catalog, cell.model) == part.substr(0, slash) &&
        report::task_name(planned.catalog, cell.task) == part.substr(slash + 1))
      found.push_back(i);
  }
  if (found.empty()) {
    if (slash != std::string::npos)
      for (const matrix::Rejection& row : plan.rejected)
        if ((row.model == part.substr(0, slash) || row.model == "*") &&
            (row.task == part.substr(slash + 1) || row.task == "*")) {
          if (session.json)
            print_json(session,
                       {{"rejected",
                         {{{"model", row.model}, {"task", row.task}, {"rule", row.rule}, {"reason", row.reason}}}}});
          else
            session.out << part << " was rejected by " << row.rule << ": " << row.reason << "\n";
          return kWell;
        }
    return bad_input(session,
                     "the plan has no job or cell " + quote(part) +
                         "; name a job (j1), the beginning of a cell's key (4 characters or more), or MODEL/TASK");
  }
  // One cell in full; several, best first, are many screens, so at most ten.
  std::ranges::stable_sort(
      found, [&](std::uint32_t a, std::uint32_t b) { return plan.scores[a].total > plan.scores[b].total; });
  const std::size_t count = std::min<std::size_t>(found.size(), 10);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < count; ++i)
    list.push_back(report::cell_json(found[i], plan, planned.expansion, *planned.site));
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

}  // namespace

int explain(Session& session, const ExplainArguments& arguments) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  if (const auto index = catalog.models.index_of(arguments.what))
    return explain_model(session, arguments, catalog, *index);
  if (!std::filesystem::exists(arguments.what) && arguments.what.find_first_of("/.") == std::string::npos) {
    const auto names = catalog.models.names();
    return bad_input(session, "no model " + quote(arguments.what) + hint_sentence(arguments.what, names) +
                                  " There is no file of that name either.");
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
  return explain_part(session, arguments, *planned);
}

}  // namespace orch::orchctl
