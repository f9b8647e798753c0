// Which jobs wait for which, and the order in which they are numbered.
#include "planner/draft.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

namespace orch::planner {
namespace {

using matrix::kNone;

constexpr std::size_t kMostEdges = 1'000'000;  // between the jobs of two stages, one of which waits for the other

void add_stage_edges(const Draft& draft, std::vector<std::vector<std::uint32_t>>& after) {
  std::map<std::string, std::uint32_t> stage_named;
  for (std::uint32_t i = 0; i < draft.expansion.stages.size(); ++i)
    stage_named.emplace(draft.expansion.stages[i].name, i);
  std::vector<std::set<std::uint32_t>> jobs_of(draft.expansion.stages.size());
  for (std::uint32_t position = 0; position < draft.ranked.size(); ++position) {
    const std::uint32_t stage = draft.expansion.cells[draft.ranked[position]].stage;
    if (stage < jobs_of.size()) jobs_of[stage].insert(draft.plan.job_of[draft.ranked[position]]);
  }
  // Who waits for a stage waits for the cells too that it shares with another, in whose name they run.
  std::vector<std::set<std::uint32_t>> awaited = jobs_of;
  for (const auto& [stage, cell] : draft.expansion.also)
    if (stage < awaited.size() && cell < draft.plan.job_of.size() && draft.plan.job_of[cell] != kNone)
      awaited[stage].insert(draft.plan.job_of[cell]);
  for (std::uint32_t i = 0; i < draft.expansion.stages.size(); ++i)
    for (const std::string& name : draft.expansion.stages[i].after) {
      const auto before = stage_named.find(name);
      if (before == stage_named.end() || before->second == i) continue;
      const auto &first = awaited[before->second], &then = jobs_of[i];
      if (first.empty() || then.empty()) continue;
      // Very many jobs wait for very many: the first of them waits for all, the others for it.
      const bool chained = first.size() * then.size() > kMostEdges;
      for (std::uint32_t job : then) {
        if (chained && job != *then.begin())
          after[job].push_back(*then.begin());
        else
          for (std::uint32_t other : first)
            if (other != job) after[job].push_back(other);
      }
    }
}

/// Which packed jobs each packed job waits for.
std::vector<std::vector<std::uint32_t>> edges(const Draft& draft) {
  std::vector<std::vector<std::uint32_t>> after(draft.packed.size());
  for (std::uint32_t job = 0; job < draft.packed.size(); ++job)
    for (const Load& load : draft.packed[job].loads)
      for (std::uint32_t i : load.cells) {
        const std::uint32_t depends = draft.expansion.cells[i].depends;
        if (depends == kNone || depends >= draft.expansion.cells.size()) continue;
        const std::uint32_t maker = draft.plan.job_of[depends];
        if (maker != kNone && maker != job && (after[job].empty() || after[job].back() != maker))
          after[job].push_back(maker);
      }
  if (std::any_of(draft.expansion.stages.begin(), draft.expansion.stages.end(),
                  [](const auto& stage) { return !stage.after.empty(); }))
    add_stage_edges(draft, after);
  for (auto& jobs : after) {
    std::sort(jobs.begin(), jobs.end());
    jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
  }
  return after;
}

}  // namespace

/// Gives jobs their numbers: by priority, but each after those it waits for.
void order_jobs(Draft& draft) {
  std::vector<std::vector<std::uint32_t>> after = edges(draft);
  const std::size_t n = draft.packed.size();
  std::vector<std::vector<std::uint32_t>> followers(n);
  std::vector<std::size_t> waits(n, 0);
  for (std::uint32_t job = 0; job < n; ++job) {
    waits[job] = after[job].size();
    for (std::uint32_t before : after[job]) followers[before].push_back(job);
  }
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ready;
  for (std::uint32_t job = 0; job < n; ++job)
    if (waits[job] == 0) ready.push(job);
  std::vector<std::uint32_t> number(n, kNone), order;
  std::uint32_t next = 0;
  while (order.size() < n) {
    if (ready.empty()) {
      // Stages that wait for each other by way of cells they share: the best of them goes first.
      while (number[next] != kNone) ++next;
      ready.push(next);
      draft.plan.notes.push_back(
          "jobs wait for each other through cells that several stages ask for; the best of them goes first");
    }
    const std::uint32_t job = ready.top();
    ready.pop();
    if (number[job] != kNone) continue;
    number[job] = static_cast<std::uint32_t>(order.size());
    order.push_back(job);
    for (std::uint32_t follower : followers[job])
      if (--waits[follower] == 0 && number[follower] == kNone) ready.push(follower);
  }
  draft.plan.jobs.reserve(n);
  for (std::uint32_t job : order) {
    draft.plan.jobs.push_back(make_job(draft, std::move(draft.packed[job])));
    for (std::uint32_t before : after[job])
      if (number[before] < number[job]) draft.plan.jobs.back().after.push_back(number[before]);
    std::sort(draft.plan.jobs.back().after.begin(), draft.plan.jobs.back().after.end());
  }
  for (std::uint32_t& job : draft.plan.job_of)
    if (job != kNone) job = number[job];
  draft.packed = {};
}

}  // namespace orch::planner
