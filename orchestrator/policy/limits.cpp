#include "policy/limits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "base/units.h"

namespace orch::policy {
namespace {

/// Demand that is not a number could be anything, so it is taken as more than any budget.
double hours(double value) {
  if (std::isnan(value)) return std::numeric_limits<double>::infinity();
  return std::max(value, 0.0);
}

/// Rounded up to a tenth, so that what exceeds a budget never reads as equal to it.
std::string shown_hours(double value) {
  if (!(value < 1e12)) return "an unknown number";
  // Of less than an hour two digits that say something; else tenths.
  const int decimals = value > 0 && value < 1 ? std::min(6, 1 + static_cast<int>(std::ceil(-std::log10(value)))) : 1;
  const double unit = std::pow(10, decimals);
  std::string text = format_fixed(std::ceil(value * unit - 1e-6) / unit, decimals);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

/// All jobs, each after what it depends on, otherwise as given. A cycle, which a plan does not have, is cut where it
/// closes.
std::vector<std::uint32_t> decided_order(std::span<const Demand> jobs) {
  enum class Mark : std::uint8_t { kNew, kOpen, kDone };
  struct Frame {
    std::uint32_t job;
    std::size_t next;
  };
  std::vector<Mark> marks(jobs.size(), Mark::kNew);
  std::vector<std::uint32_t> order;
  order.reserve(jobs.size());
  std::vector<Frame> open;
  for (std::uint32_t first = 0; first < jobs.size(); ++first) {
    if (marks[first] != Mark::kNew) continue;
    marks[first] = Mark::kOpen;
    open.push_back({first, 0});
    while (!open.empty()) {
      const std::uint32_t job = open.back().job;
      if (open.back().next < jobs[job].after.size()) {
        const std::uint32_t needed = jobs[job].after[open.back().next++];
        if (needed < jobs.size() && marks[needed] == Mark::kNew) {
          marks[needed] = Mark::kOpen;
          open.push_back({needed, 0});
        }
      } else {
        marks[job] = Mark::kDone;
        order.push_back(job);
        open.pop_back();
      }
    }
  }
  return order;
}

}  // namespace

std::vector<std::optional<std::string>> hold_back(std::span<const Demand> jobs, const Limits& limits,
                                                  double used_gpu_hours, std::string_view whose) {
  std::vector<std::optional<std::string>> reasons(jobs.size());
  double used = hours(used_gpu_hours);
  for (std::uint32_t index : decided_order(jobs)) {
    const Demand& job = jobs[index];
    std::optional<std::string>& reason = reasons[index];
    const auto blocker = std::ranges::find_if(
        job.after, [&](std::uint32_t needed) { return needed < jobs.size() && needed != index && reasons[needed]; });
    if (blocker != job.after.end()) {
      reason = "needs what " + shown(jobs[*blocker].id) + " makes, which waits itself";
      continue;
    }
    if (limits.max_gpus && job.gpus > *limits.max_gpus) {
      reason = "needs " + counted(job.gpus, "GPU") + " at once where " + std::string(whose) + " may have " +
               grouped(*limits.max_gpus) + "; waits until the limit is raised";
      continue;
    }
    reason = over_budget(limits, used, job.gpu_hours, whose);
    if (!reason) used += hours(job.gpu_hours);
  }
  return reasons;
}

std::string used_of_budget(const Limits& limits, double used) {
  std::string text = shown_hours(hours(used)) + " of " + shown_hours(limits.gpu_hours.value_or(0)) + " GPU-hours";
  switch (limits.per) {
    case Period::kEver:
      return text;
    case Period::kDay:
      return text + " today";
    case Period::kWeek:
      return text + " this week";
    case Period::kMonth:
      return text + " this month";
  }
  return text;
}

std::optional<std::string> over_budget(const Limits& limits, double used, double more, std::string_view whose) {
  if (!limits.gpu_hours) return std::nullopt;
  const double total = hours(used) + hours(more);
  const double slack = 1e-9 * std::max(1.0, *limits.gpu_hours);
  if (total <= *limits.gpu_hours + slack) return std::nullopt;
  if (hours(more) > *limits.gpu_hours + slack)
    return "may take " + shown_hours(hours(more)) + " GPU-hours, more than all of the budget of " + std::string(whose) +
           " (" + shown_hours(*limits.gpu_hours) + "); waits until the budget is raised";
  return "would bring " + std::string(whose) + " to " + used_of_budget(limits, total) +
         "; waits until the budget is raised or renewed";
}

std::optional<std::string> not_now(const Limits& limits, const InUse& now, int gpus, std::string_view whose) {
  const std::string who(whose);
  if (limits.max_jobs && now.jobs >= *limits.max_jobs)
    return who + " has " + grouped(now.jobs) + " of " + counted(*limits.max_jobs, "job") +
           " at once; waits for one to end";
  if (limits.max_queued && now.queued >= *limits.max_queued)
    return who + " has " + grouped(now.queued) + " of " + counted(*limits.max_queued, "job") +
           " in Slurm's queue; waits for one to start";
  if (limits.max_gpus && gpus > *limits.max_gpus)
    return "needs " + counted(gpus, "GPU") + " at once where " + who + " may have " + grouped(*limits.max_gpus) +
           "; waits until the limit is raised";
  if (limits.max_gpus && static_cast<long long>(now.gpus) + gpus > *limits.max_gpus)
    return who + " has " + grouped(now.gpus) + " of " + counted(*limits.max_gpus, "GPU") + " and this job takes " +
           grouped(gpus) + "; waits for others to end";
  return std::nullopt;
}

}  // namespace orch::policy
