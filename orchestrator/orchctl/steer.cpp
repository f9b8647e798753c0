// orchctl cancel, retry, hold, release, backup: short orders to the daemon.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "http/message.h"
#include "orchctl/daemon.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

/// Posts, and prints the answer: as it is, or what `say` makes of it.
int order(Session& session, const std::string& target, const ordered_json& body,
          const std::function<std::string(const ordered_json&)>& say) {
  auto daemon = Daemon::find(session, Daemon::Time(600));
  if (!daemon) return refuse(session, daemon.error());
  const auto answer = json_of(daemon->post(target, body.dump(-1, ' ', false, ordered_json::error_handler_t::replace)));
  if (!answer) return refuse(session, answer.error());
  if (session.json)
    print_json(session, *answer);
  else
    session.out << shown(say(*answer), 2000) << "\n";
  return kWell;
}

std::string of_sweep(const std::string& sweep, const char* what) {
  return "/v1/sweeps/" + http::percent_encode(sweep) + "/" + what;
}

std::string cells_of(const ordered_json& answer) { return counted(answer.value("cells", 0LL), "cell"); }

std::string sweep_of(const ordered_json& answer, const std::string& asked) {
  return "sweep " + answer.value("sweep", asked);
}

bool is_job(const std::string& id) {
  return (id.size() > 1 && id[0] == 'j' && id.find_first_not_of("0123456789", 1) == std::string::npos) ||
         id.starts_with("orch-");
}

}  // namespace

int cancel(Session& session, const std::string& id) {
  if (is_job(id))
    return order(session, "/v1/jobs/" + http::percent_encode(id) + "/cancel", ordered_json::object(),
                 [&](const ordered_json& answer) {
                   return "job " + answer.value("job", id) + " is being cancelled; its cells go back to the queue";
                 });
  return order(session, of_sweep(id, "cancel"), ordered_json::object(), [&](const ordered_json& answer) {
    return sweep_of(answer, id) + " is cancelled" +
           (answer.value("cells", 0LL) > 0 ? ", " + cells_of(answer) + " with it" : "") + "; what is done stays";
  });
}

int retry(Session& session, const std::string& sweep) {
  return order(session, of_sweep(sweep, "retry"), ordered_json::object(), [&](const ordered_json& answer) {
    return answer.value("cells", 0LL) == 0 ? sweep_of(answer, sweep) + ": nothing failed, so nothing is tried again"
                                           : sweep_of(answer, sweep) + ": " + cells_of(answer) +
                                                 (answer.value("cells", 0LL) == 1 ? " is" : " are") + " tried again";
  });
}

int hold(Session& session, const HoldArguments& arguments) {
  const char* const verb = arguments.hold ? "hold" : "release";
  if (arguments.sweep.empty() == arguments.model.empty())
    return bad_input(session, std::string(verb) + " takes a sweep or --model M, one of them");
  if (!arguments.model.empty())
    return order(session, "/v1/models/" + http::percent_encode(arguments.model) + "/" + verb, ordered_json::object(),
                 [&](const ordered_json& answer) {
                   const std::string model = "model " + arguments.model;
                   if (!arguments.hold) return model + " is released";
                   if (answer.value("cells", 0LL) == 0)
                     return model + " is held; no sweep has a cell of it that is not over";
                   return model + " is held: its " + cells_of(answer) + " that are not over wait, what runs goes on";
                 });
  return order(session, of_sweep(arguments.sweep, verb), ordered_json::object(), [&](const ordered_json& answer) {
    return sweep_of(answer, arguments.sweep) +
           (arguments.hold ? " is held: its cells wait, what runs goes on" : " is released");
  });
}

int backup(Session& session, const std::string& file) {
  // The daemon has a folder of its own.
  const std::string path = std::filesystem::absolute(file).lexically_normal().string();
  return order(session, "/v1/backup", {{"file", path}}, [&](const ordered_json& answer) {
    return answer.value("file", path) + ": " + format_bytes(answer.value("bytes", 0.0));
  });
}

}  // namespace orch::orchctl
