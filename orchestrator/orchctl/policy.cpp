// orchctl policy: check a policy, show it, see what a change would do before it is live, and make it live.
#include "policy/policy.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/daemon.h"
#include "orchctl/load.h"
#include "policy/json.h"
#include "report/policy_report.h"

namespace orch::orchctl {
int policy_check(Session& session, const std::string& named) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, named, diagnostics);
  if (session.json) {
    print_json(session, {{"policy", policy ? nlohmann::ordered_json(policy->name) : nlohmann::ordered_json(nullptr)},
                         {"ok", policy.has_value()},
                         {"error_count", diagnostics.error_count()},
                         {"errors", problems_json(diagnostics)}});
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
  diagnostics.print(session.err);
  if (session.json)
    print_json(session, policy::to_json(*policy));
  else
    report::print_policy(session.out, session.style, *policy);
  return kWell;
}

int policy_diff(Session& session, const DiffArguments& arguments) {
  Diagnostics diagnostics;
  const auto a = load_policy(session, arguments.a, diagnostics), b = load_policy(session, arguments.b, diagnostics);
  if (!a || !b) return bad_input(session, diagnostics);
  nlohmann::ordered_json json;
  json["changes"] = report::changes_json(*a, *b);
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
  diagnostics.print(session.err);
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

int policy_set(Session& session, const std::string& named) {
  Diagnostics diagnostics;
  const auto policy = load_policy(session, named, diagnostics);
  if (!policy) return bad_input(session, diagnostics);
  const std::string file = policy->source.file;
  const auto text = read_file(file, YamlLimits{}.most_bytes, diagnostics);
  if (!text) return bad_input(session, diagnostics);
  diagnostics.print(session.err);
  auto daemon = Daemon::find(session);
  if (!daemon) return refuse(session, daemon.error());
  const nlohmann::ordered_json body = {{"file", file}, {"text", *text}};
  const auto answer = json_of(daemon->put("/v1/policy", body.dump()));
  if (!answer) return refuse(session, answer.error());
  if (session.json) {
    print_json(session, *answer);
    return kWell;
  }
  session.out << "The daemon goes by the policy " << quote(answer->value("name", policy->name)) << " from now on.\n";
  const auto changes = answer->value("changes", nlohmann::ordered_json::array());
  const auto lowered = answer->value("lowered", std::vector<std::string>());
  if (!lowered.empty()) session.out << "The site's ceilings lower " << shown(join(lowered, ", "), 1000) << " of it.\n";
  if (!changes.empty() && changes[0].is_object()) report::print_changes(session.out, session.style, changes);
  return kWell;
}

}  // namespace orch::orchctl
