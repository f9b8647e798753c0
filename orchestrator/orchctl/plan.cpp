// orchctl plan: which jobs would run, on how many GPUs, for how long, in what order and why.
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cache/contents.h"
#include "inputs/weights.h"
#include "orchctl/load.h"
#include "planner/script.h"
#include "report/plan_report.h"

namespace orch::orchctl {
namespace {

int print_script(Session& session, const Planned& planned, const PlanArguments& arguments) {
  std::vector<std::string> ids;
  for (const planner::Job& job : planned.plan.jobs) ids.push_back(job.id);
  const auto at = std::ranges::find(ids, *arguments.script);
  if (at == ids.end())
    return bad_input(session, "the plan has no job " + quote(*arguments.script) +
                                  hint_sentence(*arguments.script, ids) + " It has " +
                                  counted(static_cast<long long>(ids.size()), "job") +
                                  (ids.empty() ? "." : ", " + ids.front() + " to " + ids.back() + "."));
  const planner::Job& job = planned.plan.jobs[static_cast<std::size_t>(at - ids.begin())];
  const Profile& profile = planned.catalog.profiles[job.profile];
  const std::filesystem::path own = arguments.templates;
  const auto read = [&](const std::string& name) { return inputs::read_template(name, own, session.data); };
  const auto found = read(profile.template_name);
  if (!found)
    return bad_input(session, to_string(profile.source) + ": the profile " + quote(profile.name) +
                                  " names the template " + quote(profile.template_name) + ", which is not in " +
                                  session.data.templates.string() + (own.empty() ? "" : " or " + own.string()));
  const auto script = planner::render_script(found->second, found->first.string(), job, planned.plan, planned.expansion,
                                             *planned.site, [&](const std::string& name) -> std::optional<std::string> {
                                               auto inner = read(name);
                                               if (!inner) return std::nullopt;
                                               return std::move(inner->second);
                                             });
  if (!script) {
    const tmpl::TemplateError& error = script.error();
    session.err << to_string(Place{error.file, error.line, error.column}) << ": " << error.what << "\n";
    return kBadInput;
  }
  if (session.json)
    print_json(session, {{"job", job.id}, {"template", found->first.string()}, {"script", *script}});
  else
    session.out << *script;
  return kWell;
}

}  // namespace

int plan(Session& session, const PlanArguments& arguments) {
  Diagnostics diagnostics;
  if (!arguments.templates.empty() && !std::filesystem::is_directory(arguments.templates))
    return bad_input(session, "--templates takes a folder; " + quote(arguments.templates) + " is none");
  const auto planned = load_and_plan(session, arguments.files, diagnostics);
  if (!planned) return bad_input(session, diagnostics);
  if (arguments.weights) {
    const auto missing = inputs::missing_weights(*planned, cache::usual_root());
    planned->plan.notes.insert(planned->plan.notes.begin(), missing.begin(), missing.end());
  }
  diagnostics.print(session.err);
  if (arguments.script) return print_script(session, *planned, arguments);
  if (session.json) {
    report::write_plan_json(session.out, planned->plan, planned->expansion, *planned->site, arguments.cells);
    return kWell;
  }
  if (arguments.cells) {
    report::print_cells(session.out, session.style, planned->plan, planned->expansion, *planned->site);
    session.out << "\n";
  }
  report::print_plan(session.out, session.style, planned->plan, planned->expansion, *planned->site);
  return kWell;
}

}  // namespace orch::orchctl
