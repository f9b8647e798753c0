#include "orchd/messenger.h"

#include <algorithm>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/views.h"
#include "notify/tell.h"

namespace orch::orchd {

namespace event = control::event;

Messenger::Messenger(Options options) : options_(std::move(options)), errands_(options_.log) {}

void Messenger::stop() {
  stopping_ = true;
  errands_.stop();
}

void Messenger::notify(const control::Notice& notice) {
  errands_.put([this, notice] { begin(notice); });
}

void Messenger::begin(const control::Notice& notice) {
  options_.log(std::string(control::name_of(notice.kind)) + ": " + notice.text);
  const auto targets = notify::load_targets(options_.state);
  if (!targets) return options_.put(event::NoticeTold{notice.id, 0, "nobody was told: " + targets.error().what});
  if (std::ranges::none_of(*targets, [&](const notify::Target& target) { return target.wants(notice.kind); }))
    return options_.put(event::NoticeTold{notice.id, 0, ""});
  if (take(notice)) tell_all(notice, *targets);
}

bool Messenger::take(const control::Notice& notice) {
  const auto answered = std::make_shared<std::promise<bool>>();
  auto agreed = answered->get_future();
  options_.ask(event::TakeNotice{{}, notice.id}, [answered](const control::action::Answer& answer) {
    answered->set_value(answer.status == control::action::Answer::Status::kOk);
  });
  while (agreed.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready)
    if (stopping_) return false;
  return agreed.get();
}

void Messenger::tell_all(const control::Notice& notice, const std::vector<notify::Target>& targets) {
  notify::Message message{std::string(control::name_of(notice.kind)), notice.text, "", options_.host,
                          api::time_json(notice.at).get<std::string>()};
  if (notice.sweep) message.sweep = api::id_of(*notice.sweep);
  event::NoticeTold outcome{notice.id, 0, ""};
  for (const notify::Target& target : targets) {
    if (!target.wants(notice.kind)) continue;
    const auto problem = [&](const std::string& what) {
      outcome.problem += (outcome.problem.empty() ? "" : "; ") + target.name() + ": " + what;
    };
    if (stopping_) {
      problem("the daemon ended before its turn");
    } else if (const auto told = notify::tell(target, message)) {
      ++outcome.told;
    } else {
      problem(told.error().what);
    }
  }
  if (!outcome.problem.empty()) options_.log("not everybody was told: " + outcome.problem);
  options_.put(std::move(outcome));
}

}  // namespace orch::orchd
