#include "inputs/weights.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "cache/contents.h"

namespace orch::inputs {
namespace {

constexpr std::size_t kMostSentences = 20;

std::string lacks_of(const cache::Repo& repo) {
  for (const cache::Revision& revision : repo.revisions)
    if (!revision.lacks.empty()) return " (it lacks " + shown(revision.lacks.front(), 200) + ")";
  return "";
}

}  // namespace

std::vector<std::string> missing_weights(const Planned& planned, const std::filesystem::path& root) {
  std::set<std::uint32_t> models;
  for (const matrix::Cell& cell : planned.expansion.cells)
    if (cell.model != matrix::kNone && (cell.kind == matrix::CellKind::kEval || cell.kind == matrix::CellKind::kTrain))
      models.insert(cell.model);
  std::vector<std::string> gated, others;
  for (const std::uint32_t number : models) {
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
