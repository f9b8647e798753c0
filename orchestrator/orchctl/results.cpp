// orchctl results, diff: what was measured, and what differs between two sweeps.
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "orchctl/source.h"
#include "report/diff_report.h"
#include "report/results_report.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

/// The sweep's own id, where a name was given.
std::string id_of(const ordered_json& rows, const std::string& asked) {
  return rows.is_array() && !rows.empty() ? rows[0].value("sweep", asked) : asked;
}

}  // namespace

int results(Session& session, const ResultsArguments& arguments) {
  Source source(session);
  auto text = source.results(arguments.sweep);
  if (!text) return refuse(session, text.error());
  say_if_down(session, source);
  if (session.json || arguments.format == "json") {
    session.out << *text << "\n";
    return kWell;
  }
  const auto rows = json_of(std::move(text));
  if (!rows) return refuse(session, rows.error());
  if (arguments.format == "csv") {
    report::write_results_csv(session.out, *rows);
    return kWell;
  }
  if (rows->empty()) session.out << "The sweep " << shown(arguments.sweep) << " has no cell.\n";
  report::print_results(session.out, session.style, *rows,
                        arguments.format == "md" ? report::Form::kMarkdown : report::Form::kText);
  return kWell;
}

int sweep_diff(Session& session, const SweepDiffArguments& arguments) {
  // Said so that what is no number is none of them.
  if (!(arguments.errors >= 0 && arguments.errors <= 100))
    return bad_input(session, "--errors must be a number from 0 to 100");
  Source source(session);
  ordered_json rows[2];
  const std::string* const asked[] = {&arguments.a, &arguments.b};
  for (int i = 0; i < 2; ++i) {
    auto found = json_of(source.results(*asked[i]));
    if (!found) return refuse(session, found.error());
    rows[i] = *std::move(found);
  }
  say_if_down(session, source);
  const ordered_json comparison = report::compare_results(id_of(rows[0], arguments.a), rows[0],
                                                          id_of(rows[1], arguments.b), rows[1], arguments.errors);
  if (session.json)
    print_json(session, comparison);
  else
    report::print_sweep_diff(session.out, session.style, comparison);
  return arguments.fail_on_regression && comparison["regression"] > 0 ? kFailed : kWell;
}

}  // namespace orch::orchctl
