#include "orchd/messenger.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "api/views.h"
#include "notify/tell.h"

namespace orch::orchd {

namespace event = control::event;

Messenger::Messenger(Options options) : options_(std::move(options)), errands_(options_.log) {}

void Messenger::notify(const control::Notice& notice) {
  errands_.put([this, notice] { begin(notice); });
}

void Messenger::begin(const control::Notice& notice) {
  options_.log(std::string(control::name_of(notice.kind)) + ": " + notice.text);
  Diagnostics diagnostics;
  const auto targets = notify::load_targets(options_.state, diagnostics);
  if (!targets) {
    std::ostringstream problems;
    diagnostics.print(problems);
    return options_.put(event::NoticeTold{notice.id, 0, "nobody was told: " + problems.str()});
  }
  if (std::ranges::none_of(*targets, [&](const notify::Target& target) { return target.wants(notice.kind); }))
    return options_.put(event::NoticeTold{notice.id, 0, ""});
  options_.ask(event::TakeNotice{{}, notice.id}, [this, notice](const control::action::Answer& answer) {
    if (answer.status == control::action::Answer::Status::kOk) errands_.put([this, notice] { tell_all(notice); });
  });
}

void Messenger::tell_all(const control::Notice& notice) {
  Diagnostics diagnostics;
  const auto targets = notify::load_targets(options_.state, diagnostics);
  notify::Message message{std::string(control::name_of(notice.kind)), notice.text, "", options_.host,
                          api::time_json(notice.at).get<std::string>()};
  if (notice.sweep) message.sweep = api::id_of(*notice.sweep);
  event::NoticeTold outcome{notice.id, 0, ""};
  if (targets)
    for (const notify::Target& target : *targets) {
      if (!target.wants(notice.kind)) continue;
      if (const auto told = notify::tell(target, message))
        ++outcome.told;
      else
        outcome.problem += (outcome.problem.empty() ? "" : "; ") + target.name() + ": " + told.error().what;
    }
  if (!outcome.problem.empty()) options_.log("not everybody was told: " + outcome.problem);
  options_.put(std::move(outcome));
}

}  // namespace orch::orchd
