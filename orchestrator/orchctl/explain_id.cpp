// orchctl explain of what the daemon knows: why a sweep, a job or a cell stands where it stands.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "orchctl/source.h"
#include "report/status_report.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kLeastOfKey = 6;

bool is_numbered(std::string_view text, std::string_view letters) {
  return text.size() > 1 && letters.find(text[0]) != std::string_view::npos &&
         text.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_key(std::string_view text) {
  return text.size() >= kLeastOfKey && lower(text).find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string text_of(const ordered_json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

int explain_sweep(Session& session, Source& source, const std::string& id) {
  const auto status = source.status(id);
  if (!status) return refuse(session, status.error());
  auto cells = json_of(source.cells(id, ""));
  if (!cells) return refuse(session, cells.error());
  // The list has no reasons of cells that wait. Why the first of them does is asked apart, and is told of all: mostly
  // the others wait for the same or behind it, and to ask for each would be a request a cell.
  const auto waits = [](const ordered_json& each) {
    return text_of(each, "state") == "waiting" && !text_of(each, "key").empty();
  };
  const auto first = std::ranges::find_if(*cells, waits);
  if (first != cells->end())
    if (const auto one = source.cell(text_of(*first, "key")))
      for (auto each = first; each != cells->end(); ++each)
        if (waits(*each)) (*each)["reason"] = text_of(*one, "why");
  say_if_down(session, source);
  const ordered_json row =
      status->value("sweeps", ordered_json::array()).empty() ? ordered_json() : (*status)["sweeps"][0];
  const ordered_json details = report::sweep_details(row, *cells);
  if (session.json)
    print_json(session, details);
  else
    report::print_sweep_details(session.out, session.style, details);
  return kWell;
}

}  // namespace

bool looks_like_id(const std::string& what) {
  return is_numbered(what, "sjc") || is_number(what) || is_key(what) || what.starts_with("orch-");
}

int explain_id(Session& session, const std::string& id) {
  Source source(session);
  if (is_numbered(id, "s")) return explain_sweep(session, source, id);
  const bool job_only = is_numbered(id, "j") || id.starts_with("orch-");
  if (job_only || is_number(id)) {
    const auto job = source.job(id);
    if (!job && (job_only || job.error().exit != kBadInput || !is_key(id))) return refuse(session, job.error());
    if (job) {
      say_if_down(session, source);
      if (session.json)
        print_json(session, *job);
      else
        report::print_job_details(session.out, session.style, *job);
      return kWell;
    }
  }
  const auto cell = source.cell(id);
  if (!cell) return refuse(session, cell.error());
  say_if_down(session, source);
  if (session.json)
    print_json(session, *cell);
  else
    report::print_cell_details(session.out, session.style, *cell);
  return kWell;
}

}  // namespace orch::orchctl
