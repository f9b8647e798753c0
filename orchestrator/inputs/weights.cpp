#include "inputs/weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "cache/contents.h"

namespace orch::inputs {
namespace {

constexpr std::size_t kMostSentences = 20;

/// Where variables say that the hub's cache is; empty: they do not.
std::filesystem::path root_in(const std::map<std::string, std::string>& variables) {
  if (const auto at = variables.find("HF_HUB_CACHE"); at != variables.end()) return at->second;
  if (const auto at = variables.find("HF_HOME"); at != variables.end())
    return std::filesystem::path(at->second) / "hub";
  return {};
}

std::filesystem::path root_of(const Planned& planned, const matrix::Cell& cell, const std::filesystem::path& usual) {
  using Variables = const std::map<std::string, std::string>;
  const matrix::Stage& stage = planned.expansion.stages[cell.stage];
  for (Variables* variables : std::initializer_list<Variables*>{&stage.harness.env, &planned.site->submit.environment,
                                                                &planned.cluster.submit.environment})
    if (auto root = root_in(*variables); !root.empty()) return root;
  return usual;
}

std::string lacks_of(const cache::Repo& repo) {
  for (const cache::Revision& revision : repo.revisions)
    if (!revision.lacks.empty()) return " (it lacks " + shown(revision.lacks.front(), 200) + ")";
  return "";
}

}  // namespace

std::vector<std::string> missing_weights(const Planned& planned, const std::filesystem::path& usual) {
  std::set<std::pair<std::uint32_t, std::filesystem::path>> models;
  for (const matrix::Cell& cell : planned.expansion.cells)
    if (cell.model != matrix::kNone && (cell.kind == matrix::CellKind::kEval || cell.kind == matrix::CellKind::kTrain))
      models.insert({cell.model, root_of(planned, cell, usual)});
  std::vector<std::string> gated, others;
  for (const auto& [number, root] : models) {
    const Model& model = planned.catalog.models[number];
    if (!cache::is_repo_id(model.hf_id)) continue;
    const auto repo = cache::read_repo(root, {cache::Kind::kModel, model.hf_id}, cache::Look::kNames);
    if (repo && *repo && std::ranges::any_of((*repo)->revisions, &cache::Revision::whole)) continue;
    const std::string there = repo && *repo ? "is not whole in " : "is not in ";
    const std::string lacks = repo && *repo ? lacks_of(**repo) : "";
    std::string says = model.name + ": " + model.hf_id + " " + there + shown(root.string(), 200) + lacks;
    if (model.gated)
      gated.push_back(says + ", and it is gated: accept its licence at " + cache::address_of(model.hf_id) +
                      ", then run orchctl cache fetch " + model.name + "; until then its jobs fail");
    else
      others.push_back(says + "; orchctl cache fetch " + model.name +
                       " gets it, or its jobs load it from the hub where they can reach it");
  }
  gated.insert(gated.end(), others.begin(), others.end());
  if (gated.size() > kMostSentences) {
    const std::size_t more = gated.size() - kMostSentences;
    gated.resize(kMostSentences);
    gated.push_back("… and " + counted(static_cast<long long>(more), "more model"));
  }
  return gated;
}

}  // namespace orch::inputs
