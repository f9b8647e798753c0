// orchctl policy: check a policy, show it, and see what a change would do before it is live.
#include "policy/policy.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/load.h"
#include "policy/json.h"
#include "report/policy_report.h"

namespace orch::orchctl {
int policy_check(Session& session, const std::string& named) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, named, diagnostics);
  if (session.json) {
    nlohmann::ordered_json errors = nlohmann::ordered_json::array();
    for (const Problem& problem : diagnostics.errors())
      errors.push_back({{"file", problem.place.file},
                        {"line", problem.place.line},
                        {"column", problem.place.column},
                        {"what", problem.what}});
    print_json(session, {{"policy", policy ? nlohmann::ordered_json(policy->name) : nlohmann::ordered_json(nullptr)},
                         {"ok", policy.has_value()},
                         {"error_count", diagnostics.error_count()},
                         {"errors", std::move(errors)}});
  }
  if (!policy) return bad_input(session, diagnostics);
  diagnostics.print(session.err);
  if (!session.json)
    session.out << to_string(policy->source) << ": the policy " << quote(policy->name) << " is well formed\n";
  return kWell;
}

int policy_show(Session& session, const std::string& named) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, named, diagnostics);
  if (!policy) return bad_input(session, diagnostics);
  const auto json = policy::to_json(*policy);
  if (session.json) {
    print_json(session, json);
    return kWell;
  }
  session.out << report::bold(session.style, policy->name) << " (" << to_string(policy->source) << ")\n";
  report::Table table({{"key"}, {"value", report::Align::kLeft, 100}});
  const auto flat = json.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    std::string key = pointer.substr(1);
    std::ranges::replace(key, '/', '.');
    table.add({key, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  table.print(session.out, session.style);
  return kWell;
}

int policy_diff(Session& session, const DiffArguments& arguments) {
  Diagnostics diagnostics;
  const auto a = load_policy(session, arguments.a, diagnostics), b = load_policy(session, arguments.b, diagnostics);
  if (!a || !b) return bad_input(session, diagnostics);
  nlohmann::ordered_json json;
  json["changes"] = nlohmann::ordered_json::array();
  for (const policy::Change& change : policy::changes(*a, *b))
    json["changes"].push_back({{"key", change.key}, {"from", change.from}, {"to", change.to}});
  if (!arguments.files.matrix.empty()) {
    PlanFiles files = arguments.files;
    files.policy = arguments.a;
    const auto before = load_and_plan(session, files, diagnostics);
    if (!before) return bad_input(session, diagnostics);
    files.policy = arguments.b;
    const auto after = load_and_plan(session, files, diagnostics);
    if (!after) return bad_input(session, diagnostics);
    json.update(report::compare_plans({before->plan, before->expansion, *before->site},
                                      {after->plan, after->expansion, *after->site}));
  }
  if (session.json) {
    print_json(session, json);
    return kWell;
  }
  report::print_changes(session.out, session.style, json["changes"]);
  if (!arguments.files.matrix.empty())
    report::print_comparison(session.out, session.style, json);
  else
    session.out << "With --matrix M: what would become of its ranking, rejections, jobs and GPU-hours.\n";
  return kWell;
}

}  // namespace orch::orchctl
