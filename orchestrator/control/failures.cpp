// A cell's attempt failed: the next rung of the policy's ladder for its cause, until it is given up.
//
// Holds:
//  - Every failure is on a ladder that ends, so nothing is tried for ever.
//  - A remedy that would change what is measured is not taken on this cell (invariant 5).
#include <algorithm>

#include "control/estimate.h"
#include "control/step.h"
#include "policy/remedy.h"

namespace orch::control {
namespace {

using policy::Cause;
using policy::Remedy;

/// The need with other resources: one that is known, or a new one.
NeedId need_like(Step& step, const Need& like, const Resources& resources) {
  for (const Need& known : step.state.needs)
    if (known.resources == resources && known.environment == like.environment && known.loads == like.loads &&
        known.profile == like.profile && known.script_values == like.script_values)
      return known.id;
  Need need = like;
  need.id = NeedId{static_cast<std::uint32_t>(step.state.needs.size())};
  need.like = like.like;
  need.resources = resources;
  need.strikes = 0;
  need.stopped.clear();
  step.put(row::PutNeed{need});
  step.state.needs.push_back(std::move(need));
  step.state.backlog.emplace_back();
  return step.state.needs.back().id;
}

/// What cannot be done for this cell, with the reason. `bound`: what it may take now.
std::map<Remedy, std::string> impossible(double bound, const Need& need, const Trouble& trouble, const Job* job) {
  std::map<Remedy, std::string> not_possible;
  for (const Remedy remedy : policy::kRemedies) {
    switch (remedy) {
      case Remedy::kRetry:
      case Remedy::kGiveUp:
        break;
      case Remedy::kOtherNode: {
        std::set<std::string> without(trouble.excluded_nodes.begin(), trouble.excluded_nodes.end());
        if (job) without.insert(job->nodes.begin(), job->nodes.end());
        if (need.nodes_there > 0 && need.nodes_there - static_cast<int>(without.size()) < need.resources.nodes)
          not_possible[remedy] =
              "it was tried on all nodes but " + std::to_string(need.nodes_there - static_cast<int>(without.size()));
        break;
      }
      case Remedy::kMoreTime:
        if (need.most > 0 && bound * 1.1 + need.load > need.most)
          not_possible[remedy] = "it may take all the time that its partition and profile allow already";
        break;
      case Remedy::kMoreMemory:
        if (need.resources.memory == 0) not_possible[remedy] = "how much memory it needs is not said";
        break;
      case Remedy::kSmallerBatch:
        if (static_cast<double>(need.batch) * trouble.smaller_batch < 2)
          not_possible[remedy] = need.batch == 0 ? "a command has no batch that we could change" : "its batch is 1";
        break;
      case Remedy::kMoreGpus:
      case Remedy::kLessTensorMorePipeline:
        not_possible[remedy] = need.loads.empty() ? "a command says itself on what and how it runs"
                                                  : "on which GPUs it runs was settled when it was asked for";
        break;
      case Remedy::kInt8:
      case Remedy::kLowerRate:
      case Remedy::kOtherEngine:
        not_possible[remedy] = need.loads.empty() ? "a command says itself on what and how it runs"
                                                  : "that would be another cell, which nobody has asked for";
        break;
    }
  }
  return not_possible;
}

void carry_out(Step& step, CellId id, Trouble& trouble, const policy::Step& chosen, const Job* job) {
  switch (chosen.remedy) {
    case Remedy::kOtherNode:
      if (job)
        for (const std::string& node : job->nodes)
          if (std::find(trouble.excluded_nodes.begin(), trouble.excluded_nodes.end(), node) ==
              trouble.excluded_nodes.end())
            trouble.excluded_nodes.push_back(node);
      break;
    case Remedy::kMoreTime:
      trouble.more_time *= chosen.factor;
      break;
    case Remedy::kSmallerBatch:
      trouble.smaller_batch *= chosen.factor;
      break;
    case Remedy::kMoreMemory: {
      const Need like = step.need(step.cell(id).need);
      Resources more = like.resources;
      more.memory = static_cast<std::int64_t>(static_cast<double>(more.memory) * chosen.factor);
      step.set_need(id, need_like(step, like, more));
      break;
    }
    default:
      break;
  }
}

}  // namespace

void fail(Step& step, const Failure& failure) {
  const CellId id = failure.cell;
  if (is_final(step.cell(id).state)) return;
  Trouble& trouble = step.state.troubles[id];
  std::vector<Remedy> tried;
  for (const auto& [cause, remedy] : trouble.tried)
    if (cause == failure.cause) tried.push_back(remedy);
  const Need& need = step.need(step.cell(id).need);
  const policy::Step chosen =
      next_remedy(step.state.policy, failure.cause,
                  {tried, impossible(estimate(step.state, id).bound, need, trouble, failure.job)});

  trouble.tried.emplace_back(failure.cause, chosen.remedy);
  trouble.reason = failure.reason;
  trouble.crashes += failure.crash;
  carry_out(step, id, trouble, chosen, failure.job);
  step.put(row::PutFailure{
      id, step.cell(id).generation, failure.job ? failure.job->id : JobId{0}, failure.cause, chosen.remedy,
      chosen.factor, failure.crash, true,
      chosen.remedy == Remedy::kOtherNode && failure.job ? failure.job->nodes : std::vector<std::string>{},
      failure.reason, step.now.utc});
  step.note_cell("cell.attempt_failed", id,
                 std::string(name_of(failure.cause)) + ": " + failure.reason + "; " + chosen.reason);
  if (chosen.remedy == Remedy::kGiveUp) step.set(id, CellState::kFailed);
}

void suspect(Step& step, const Failure& failure) {
  if (is_final(step.cell(failure.cell).state)) return;
  Trouble& trouble = step.state.troubles[failure.cell];
  ++trouble.crashes;
  trouble.reason = failure.reason;
  step.put(row::PutFailure{failure.cell,
                           step.cell(failure.cell).generation,
                           failure.job ? failure.job->id : JobId{0},
                           failure.cause,
                           Remedy::kRetry,
                           1,
                           true,
                           false,
                           {},
                           failure.reason,
                           step.now.utc});
  step.note_cell("cell.suspect", failure.cell,
                 "its worker died, and other cells ran there too: it runs alone from now on");
}

}  // namespace orch::control
