// Something that people outside are to be told: a sweep ended, something is wrong, a budget is nearly used.
//
// Holds: each is told once. It is written with what it tells of, in one transaction; whoever tells it first asks for it
// (event::TakeNotice), and tells it once that is committed. If the daemon ends between the two nobody can know whether
// it was told: it is not told again, and the journal says so.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/ids.h"

namespace orch::control {

enum class NoticeKind : std::uint8_t { kSweepEnded, kAlert, kBudget };
inline constexpr std::array kNoticeKinds = {NoticeKind::kSweepEnded, NoticeKind::kAlert, NoticeKind::kBudget};
std::string_view name_of(NoticeKind kind);

struct Notice {
  NoticeId id{};
  NoticeKind kind = NoticeKind::kAlert;
  std::optional<SweepId> sweep;
  std::string text;
  Utc at{};
  bool taken = false;
};

}  // namespace orch::control
