// orchctl results, diff: what was measured, how trainings went, and what differs between two sweeps.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "base/whole_file.h"
#include "orchctl/source.h"
#include "report/curve.h"
#include "report/curve_report.h"
#include "report/diff_report.h"
#include "report/results_report.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

/// The sweep's own id, where a name was given.
std::string id_of(const ordered_json& rows, const std::string& asked) {
  return rows.is_array() && !rows.empty() ? rows[0].value("sweep", asked) : asked;
}

/// Curves of one answer's worth of memory, however many cells train.
constexpr std::size_t kMostPoints = 200'000, kLeastOfCurve = 200;

/// What was not asked right, or nothing.
std::optional<std::string> problem_of(const ResultsArguments& arguments) {
  const bool of_curves = arguments.curves || !arguments.curve.empty();
  if (!arguments.curve.empty() && (!arguments.sweep.empty() || arguments.curves))
    return "--curve names the one cell whose curve is shown; a sweep's are shown by: orchctl results SWEEP --curves";
  if (arguments.sweep.empty() && arguments.curve.empty())
    return "which sweep? orchctl results SWEEP, or of one cell's training: orchctl results --curve CELL";
  if (of_curves && arguments.format == "md") return "curves are shown as table, csv, json, svg or html, not as md";
  if (!of_curves && (arguments.format == "svg" || arguments.format == "html"))
    return "results are shown as table, csv, json or md; " + arguments.format + " is for curves (--curves)";
  return std::nullopt;
}

/// Where what is asked for goes: to standard output, or to a file that is there whole or as it was.
int put(Session& session, const ResultsArguments& arguments, const std::function<void(std::ostream&)>& write) {
  if (arguments.output.empty()) {
    write(session.out);
    return kWell;
  }
  std::ostringstream text;
  write(text);
  const auto written = write_whole(arguments.output, std::move(text).str(), 0644);
  return written ? kWell : bad_input(session, written.error().what);
}

std::string key_of(const ordered_json& row) { return row.is_object() ? row.value("key", "") : ""; }

/// The keys of the sweep's cells that train.
Result<std::vector<std::string>, Refusal> trainings_of(Source& source, const std::string& sweep) {
  const auto rows = json_of(source.results(sweep));
  if (!rows) return rows.error();
  std::vector<std::string> keys;
  for (const ordered_json& row : *rows)
    if (row.is_object() && row.value("kind", "") == "train") keys.push_back(key_of(row));
  return keys;
}

/// What a drawing does not show.
void remark(Session& session, const ordered_json& curve) {
  if (!curve.is_object()) return;
  const std::string who = "orchctl: cell " + shown(key_of(curve).substr(0, 12));
  if (curve.value("points", ordered_json::array()).empty())
    session.err << who << " has no curve: it does not train, has not begun, or its files are gone\n";
  if (!curve.value("whole", true))
    session.err << who << " has a longer curve than is read: its last steps are missing\n";
}

int curves(Session& session, const ResultsArguments& arguments) {
  Source source(session);
  std::vector<std::string> cells{arguments.curve};
  if (arguments.curves) {
    auto found = trainings_of(source, arguments.sweep);
    if (!found) return refuse(session, found.error());
    cells = *std::move(found);
    if (cells.empty()) session.err << "orchctl: no cell of the sweep " << shown(arguments.sweep) << " trains\n";
  }
  const std::size_t most =
      std::clamp(kMostPoints / std::max<std::size_t>(cells.size(), 1), kLeastOfCurve, report::kMostCurvePoints);
  ordered_json list = ordered_json::array();
  for (const std::string& cell : cells) {
    auto curve = source.curve(cell, most);
    if (!curve) return refuse(session, curve.error());
    remark(session, *curve);
    list.push_back(*std::move(curve));
  }
  const std::string title =
      arguments.curves ? "Trainings of " + arguments.sweep : "Training of cell " + key_of(list[0]).substr(0, 12);
  return put(session, arguments, [&](std::ostream& out) {
    if (session.json || arguments.format == "json")
      out << list.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    else if (arguments.format == "csv")
      report::write_curves_csv(out, list);
    else if (arguments.format == "svg")
      out << report::curves_svg(title, list);
    else if (arguments.format == "html")
      out << report::curves_html(title, list);
    else
      report::print_curves(out, arguments.output.empty() ? session.style : report::Style{}, list);
  });
}

}  // namespace

int results(Session& session, const ResultsArguments& arguments) {
  if (const auto problem = problem_of(arguments)) return bad_input(session, *problem);
  if (arguments.curves || !arguments.curve.empty()) return curves(session, arguments);
  Source source(session);
  auto text = source.results(arguments.sweep);
  if (!text) return refuse(session, text.error());
  say_if_down(session, source);
  if (session.json || arguments.format == "json")
    return put(session, arguments, [&](std::ostream& out) { out << *text << "\n"; });
  const auto rows = json_of(std::move(text));
  if (!rows) return refuse(session, rows.error());
  return put(session, arguments, [&](std::ostream& out) {
    if (arguments.format == "csv") return report::write_results_csv(out, *rows);
    if (rows->empty()) out << "The sweep " << shown(arguments.sweep) << " has no cell.\n";
    report::print_results(out, arguments.output.empty() ? session.style : report::Style{}, *rows,
                          arguments.format == "md" ? report::Form::kMarkdown : report::Form::kText);
  });
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
