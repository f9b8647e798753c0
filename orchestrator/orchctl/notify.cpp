// orchctl notify list, notify test: whom the daemon tells what happens, and whether it reaches them.
#include <unistd.h>

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <ostream>

#include "api/views.h"
#include "base/text.h"
#include "notify/tell.h"
#include "orchctl/daemon.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

std::string own_host() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

std::string kinds_of(const notify::Target& target) {
  std::vector<std::string> names;
  for (const auto kind : target.on) names.emplace_back(control::name_of(kind));
  return join(names, ", ");
}

int each_target(Session& session, bool test) {
  Diagnostics diagnostics;
  const auto state = state_directory(session);
  const auto targets = notify::load_targets(state, &diagnostics);
  if (!targets) return diagnostics.ok() ? bad_input(session, targets.error().what) : bad_input(session, diagnostics);
  if (targets->empty() && !session.json)
    session.out << "nobody is told anything: " << shown((state / "notify.yaml").string(), 200)
                << " names nobody (docs/operations.md says how it looks)\n";
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const notify::Message message{"test", "orchctl notify test: whoever reads this is told", "", own_host(),
                                api::time_json(now).get<std::string>()};
  bool well = true;
  ordered_json list = ordered_json::array();
  for (const notify::Target& target : *targets) {
    ordered_json row = {{"target", target.name()}, {"on", ordered_json::array()}};
    for (const auto kind : target.on) row["on"].push_back(std::string(control::name_of(kind)));
    std::string line = target.name() + " (" + kinds_of(target) + ")";
    if (test) {
      const auto told = notify::tell(target, message);
      row["told"] = static_cast<bool>(told);
      if (!told) row["problem"] = told.error().what;
      line += told ? ": told" : ": not told: " + told.error().what;
      well = well && told;
    }
    if (!session.json) session.out << shown(line, 1000) << "\n";
    list.push_back(std::move(row));
  }
  if (session.json) print_json(session, list);
  return well ? kWell : kFailed;
}

}  // namespace

int notify_targets(Session& session, const NotifyArguments& arguments) { return each_target(session, arguments.test); }

}  // namespace orch::orchctl
