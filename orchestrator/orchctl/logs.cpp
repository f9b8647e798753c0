// orchctl logs, events: what programs printed, and what happened; with --follow also what is still to come.
#include <chrono>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "base/text.h"
#include "http/message.h"
#include "orchctl/daemon.h"
#include "report/status_report.h"
#include "report/terminal.h"

namespace orch::orchctl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr std::int64_t kPiece = 1 << 20;       ///< bytes of a log asked for at once
constexpr std::size_t kEvents = 1000;          ///< asked for at once
constexpr Clock::duration kBetweenLooks = 1s;  ///< at a log that may grow
constexpr Clock::duration kLongestAway = 60s;  ///< of a daemon whose events are followed

void print_line(Session& session, const ordered_json& json) {
  session.out << json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n" << std::flush;
}

/// The number of the last event that was printed.
std::int64_t number_of(const ordered_json& event, std::int64_t before) {
  return event.is_object() && event.contains("number") && event["number"].is_number_integer()
             ? event["number"].get<std::int64_t>()
             : before;
}

int list_events(Session& session, std::int64_t after) {
  auto daemon = Daemon::find(session);
  if (!daemon) return refuse(session, daemon.error());
  ordered_json all = ordered_json::array();
  while (true) {
    auto page = json_of(daemon->get("/v1/events?after=" + std::to_string(after) + "&most=" + std::to_string(kEvents)));
    if (!page) return refuse(session, page.error());
    if (!page->is_array() || page->empty()) break;
    for (const ordered_json& event : *page) {
      after = std::max(after, number_of(event, after));
      if (session.json)
        all.push_back(event);
      else
        report::print_event(session.out, event);
    }
    if (page->size() < kEvents) break;
  }
  if (session.json) print_json(session, all);
  return kWell;
}

/// From `after` on, through restarts of the daemon.
int follow_events(Session& session, std::int64_t after) {
  std::optional<Clock::time_point> away;
  bool first = true;
  while (true) {
    Refusal why;
    auto daemon = Daemon::find(session);
    if (daemon) {
      const auto ended = daemon->events("/v1/events?after=" + std::to_string(after), "", [&](const http::Event& sent) {
        away.reset();
        first = false;
        const auto event = ordered_json::parse(sent.data, nullptr, false);
        if (!event.is_object()) return true;
        after = std::max(after, number_of(event, after));
        if (session.json)
          print_line(session, event);
        else
          report::print_event(session.out, event);
        return static_cast<bool>(session.out.flush());
      });
      if (!session.out) return kFailed;
      if (!ended) why = ended.error();
      // A stream that ended well is that of a daemon that was stopped.
      if (ended) why.may_retry = true;
      if (ended) first = false;
    } else {
      why = daemon.error();
    }
    if (!why.what.empty() && (first || !why.may_retry)) return refuse(session, why);
    if (!away) away = Clock::now();
    if (Clock::now() - *away > kLongestAway)
      return refuse(session, why.what.empty()
                                 ? Refusal{kNoDaemon, "the daemon was stopped, and did not come back", "", true, true}
                                 : why);
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

}  // namespace

int events(Session& session, const EventsArguments& arguments) {
  return arguments.follow ? follow_events(session, arguments.after) : list_events(session, arguments.after);
}

int logs(Session& session, const LogsArguments& arguments) {
  auto daemon = Daemon::find(session);
  if (!daemon) return refuse(session, daemon.error());
  std::int64_t offset = 0;
  ordered_json whole;
  while (true) {
    auto piece = json_of(daemon->get("/v1/logs/" + http::percent_encode(arguments.id) +
                                     "?offset=" + std::to_string(offset) + "&most=" + std::to_string(kPiece)));
    if (!piece) return refuse(session, piece.error());
    const std::string text = piece->value("text", "");
    // Bytes that are no UTF-8 arrive as others: where to go on is the daemon's to say.
    offset = piece->value("next", piece->value("offset", offset) + static_cast<std::int64_t>(text.size()));
    if (!session.json) {
      const bool terminal = session.style.width > 0;
      session.out << (terminal ? report::for_terminal(text) : text) << std::flush;
    } else if (arguments.follow) {
      if (!text.empty()) print_line(session, *piece);
    } else if (whole.is_null()) {
      whole = *piece;
    } else {
      whole["text"].get_ref<std::string&>() += text;
      for (const char* const name : {"size", "more", "over"}) whole[name] = piece->value(name, ordered_json());
    }
    if (!session.out) return kFailed;
    const bool more = piece->value("more", false);
    if (more && !text.empty()) continue;
    if (!arguments.follow || piece->value("over", false)) break;
    std::this_thread::sleep_for(kBetweenLooks);
  }
  if (session.json && !arguments.follow) print_json(session, whole);
  return kWell;
}

}  // namespace orch::orchctl
