// orchctl status, jobs, cells: what the daemon does now; while none runs, what its store says.
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <thread>

#include "api/views.h"
#include "base/text.h"
#include "orchctl/source.h"
#include "orchctl/waiting.h"
#include "report/status_report.h"

namespace orch::orchctl {
namespace {

using namespace std::chrono_literals;
using nlohmann::ordered_json;

/// The row of the one sweep that was asked for, if it has ended.
std::optional<int> ended(const ordered_json& status, const std::string& sweep) {
  if (sweep.empty() || !status.contains("sweeps") || status["sweeps"].size() != 1) return std::nullopt;
  return exit_of(status["sweeps"][0]);
}

/// Paints again and again, until the sweep has ended or the reader has had enough.
int watch(Session& session, const std::string& sweep) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  while (true) {
    Source source(session);  // the daemon may have started or ended in between
    const auto status = source.status(sweep);
    if (!status) return refuse(session, status.error());
    std::ostringstream page;
    report::print_status(page, session.style, *status);
    // At once, from the top: the screen never stands empty.
    if (terminal) session.out << "\x1b[H\x1b[2J";
    session.out << page.str() << (terminal ? "" : "\n") << std::flush;
    if (!session.out) return kFailed;
    if (const auto code = ended(*status, sweep)) return *code;
    std::this_thread::sleep_for(terminal ? 2s : 60s);
  }
}

}  // namespace

int status(Session& session, const StatusArguments& arguments) {
  if (arguments.watch && session.json)
    return bad_input(session, "--watch is for people; programs read `orchctl events --follow --json`");
  if (arguments.watch) return watch(session, arguments.sweep);
  Source source(session);
  const auto status = source.status(arguments.sweep);
  if (!status) return refuse(session, status.error());
  if (session.json)
    print_json(session, *status);
  else
    report::print_status(session.out, session.style, *status);
  return kWell;
}

int jobs(Session& session) {
  Source source(session);
  const auto jobs = source.jobs();
  if (!jobs) return refuse(session, jobs.error());
  say_if_down(session, source);
  if (session.json) {
    print_json(session, *jobs);
    return kWell;
  }
  if (jobs->empty()) session.out << "No job was submitted since the daemon's start.\n";
  report::print_job_list(session.out, session.style, *jobs);
  return kWell;
}

int cells(Session& session, const CellsArguments& arguments) {
  std::error_code ignored;
  if (api::cell_state_named(session.state) && !std::filesystem::exists(session.state, ignored))
    return bad_input(session, "--state names the state directory; --only " + session.state +
                                  " shows the cells that are " + session.state);
  Source source(session);
  auto text = source.cells(arguments.sweep, arguments.only);
  if (!text) return refuse(session, text.error());
  say_if_down(session, source);
  if (session.json) {
    session.out << *text << "\n";
    return kWell;
  }
  const auto cells = json_of(std::move(text));
  if (!cells) return refuse(session, cells.error());
  if (cells->empty())
    session.out << "No cell of " << shown(arguments.sweep) << " is "
                << (arguments.only.empty() ? "there" : arguments.only) << ".\n";
  report::print_cell_list(session.out, session.style, *cells);
  return kWell;
}

}  // namespace orch::orchctl
