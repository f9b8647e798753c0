#include "policy/ceilings.h"

#include <algorithm>

#include "base/text.h"

namespace orch::policy {
namespace {

class Lowering {
 public:
  explicit Lowering(std::vector<std::string>& lowered) : lowered_(lowered) {}

  template <class Number>
  void lower(std::optional<Number>& limit, const std::optional<Number>& most, const std::string& key) {
    if (!most || (limit && *limit <= *most)) return;
    limit = most;
    lowered_.push_back(key);
  }

  void lower(Limits& limits, const Limits& most, const std::string& key) {
    lower(limits.max_jobs, most.max_jobs, key + ".jobs");
    lower(limits.max_gpus, most.max_gpus, key + ".gpus");
    lower(limits.max_queued, most.max_queued, key + ".queued");
    if (!most.gpu_hours) return;
    lower(limits.gpu_hours, most.gpu_hours, key + ".gpu_hours");
    limits.per = most.per;
  }

 private:
  std::vector<std::string>& lowered_;
};

}  // namespace

Limits read_limits(const Yaml& node, const std::string& file, const std::string& what, bool may_renew,
                   Diagnostics& diagnostics) {
  Limits limits;
  Fields fields(node, file, what, diagnostics);
  const auto whole = [&](std::string_view key) -> std::optional<int> {
    const auto value = fields.integer(key, 1, 1'000'000);
    if (!value) return std::nullopt;
    return static_cast<int>(*value);
  };
  limits.max_jobs = whole("jobs");
  limits.max_gpus = whole("gpus");
  limits.gpu_hours = fields.number("gpu_hours", 0, 1e12);
  limits.max_queued = whole("queued");
  if (const auto per =
          fields.choice<Period>("per", {{"day", Period::kDay}, {"week", Period::kWeek}, {"month", Period::kMonth}})) {
    limits.per = *per;
    if (!limits.gpu_hours) fields.error("per", "'per' says how often 'gpu_hours' is renewed, which is not there");
    if (!may_renew) fields.error("per", "a sweep has one budget for its whole life; 'per' stands in 'per_user'");
  }
  fields.finish();
  return limits;
}

Zone read_zone(Fields& limits) {
  const auto name = limits.text("time_zone");
  if (!name) return {};
  if (const auto zone = Zone::named(*name)) return *zone;
  limits.error("time_zone", "this machine knows no time zone " + quote(*name) +
                                "; its names are those of the files in /usr/share/zoneinfo, such as Europe/Stockholm");
  return {};
}

std::optional<Ceilings> read_ceilings(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  Ceilings ceilings;
  Fields top(root, file, "a file of ceilings", diagnostics);
  if (const Yaml* node = top.require("ceilings")) {
    Fields fields(*node, file, "'ceilings'", diagnostics);
    ceilings.zone = read_zone(fields);
    if (const Yaml* user = fields.get("per_user"))
      ceilings.per_user = read_limits(*user, file, "'per_user'", true, diagnostics);
    if (const Yaml* sweep = fields.get("per_sweep"))
      ceilings.per_sweep = read_limits(*sweep, file, "'per_sweep'", false, diagnostics);
    ceilings.idle_timeout = fields.duration("idle_timeout", 1, 86400);
    fields.finish();
  }
  top.finish();
  if (diagnostics.error_count() != before) return std::nullopt;
  return ceilings;
}

Result<std::vector<std::string>> hold_down(Policy& policy, const Ceilings& ceilings) {
  const Limits &asked = policy.per_user, &most = ceilings.per_user;
  if (asked.gpu_hours && most.gpu_hours && asked.per != most.per) {
    const auto period = [](Period per) {
      return per == Period::kEver ? "without 'per'" : "per " + std::string(name_of(per));
    };
    return Error{"limits.per_user.gpu_hours of the policy " + quote(policy.name) + " is " + period(asked.per) +
                 ", and the site's ceiling is " + period(most.per) + ": only budgets of one period can be compared"};
  }
  std::vector<std::string> lowered;
  Lowering lowering(lowered);
  if (ceilings.per_user.gpu_hours && ceilings.per_user.per != Period::kEver) policy.zone = ceilings.zone;
  lowering.lower(policy.per_user, ceilings.per_user, "limits.per_user");
  lowering.lower(policy.per_sweep, ceilings.per_sweep, "limits.per_sweep");
  if (ceilings.idle_timeout && policy.idle_timeout > *ceilings.idle_timeout) {
    policy.idle_timeout = *ceilings.idle_timeout;
    lowered.emplace_back("idle_timeout");
  }
  return lowered;
}

}  // namespace orch::policy
