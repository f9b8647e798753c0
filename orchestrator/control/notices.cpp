// What people outside are told, once each (control/notice.h).
#include "control/step.h"

namespace orch::control {
namespace {

void journal(Step& step, const Notice& notice, std::string kind, std::string text) {
  const auto sweep = notice.sweep ? static_cast<std::int64_t>(index(*notice.sweep)) : -1;
  step.put(row::Note{step.now.utc, std::move(kind), sweep, -1, -1, std::move(text)});
}

void forget(Step& step, NoticeId id) {
  step.state.notices.erase(id);
  step.put(row::DropNotice{id});
}

}  // namespace

std::string_view name_of(NoticeKind kind) {
  switch (kind) {
    case NoticeKind::kSweepEnded:
      return "sweep_ended";
    case NoticeKind::kAlert:
      return "alert";
    case NoticeKind::kBudget:
      return "budget";
  }
  return "";
}

void Step::notify(NoticeKind kind, std::optional<SweepId> sweep, std::string text) {
  Notice notice{
      NoticeId{std::uint64_t{state.starts} << 32 | state.next_notice++}, kind, sweep, std::move(text), now.utc, false};
  put(row::PutNotice{notice});
  act(action::Notify{notice});
  const NoticeId id = notice.id;
  state.notices.emplace(id, std::move(notice));
}

void take(Step& step, const event::TakeNotice& asked) {
  action::Answer answer;
  answer.request = asked.request;
  const auto at = step.state.notices.find(asked.notice);
  if (at == step.state.notices.end() || at->second.taken) {
    answer.status = action::Answer::Status::kConflict;
    answer.text = "it was told already";
  } else {
    at->second.taken = true;
    step.put(row::PutNotice{at->second});
  }
  step.act(std::move(answer));
}

void told(Step& step, const event::NoticeTold& it) {
  const auto at = step.state.notices.find(it.notice);
  if (at == step.state.notices.end()) return;
  const Notice& notice = at->second;
  const std::string what = std::string(name_of(notice.kind)) + ": " + notice.text;
  if (it.told > 0) journal(step, notice, "notice.told", what);
  if (!it.problem.empty()) journal(step, notice, "notice.failed", it.problem + "; it was to say: " + what);
  forget(step, it.notice);
}

void tell_again(Step& step) {
  std::vector<NoticeId> unclear;
  for (const auto& [id, notice] : step.state.notices)
    if (notice.taken)
      unclear.push_back(id);
    else
      step.act(action::Notify{notice});
  for (const NoticeId id : unclear) {
    const Notice& notice = step.state.notices.at(id);
    journal(step, notice, "notice.unclear",
            "the daemon ended while it told this, and does not tell it twice: " + notice.text);
    forget(step, id);
  }
}

}  // namespace orch::control
