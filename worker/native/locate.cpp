#include "native/locate.h"

#include <array>
#include <optional>
#include <vector>

#include "base/catalog.h"
#include "base/data_folders.h"
#include "base/text.h"
#include "cache/contents.h"

namespace orch::native {
namespace {

namespace fs = std::filesystem;

Result<fs::path> in_cache(const std::string& id, const std::string& revision) {
  const fs::path root = cache::usual_root();
  const auto repo = cache::read_repo(root, {cache::Kind::kModel, id}, cache::Look::kNames);
  if (!repo) return repo.error();
  const cache::Revision* held = *repo ? (*repo)->find(revision) : nullptr;
  if (!held)
    return Error{"model " + shown(id) + " at " + shown(revision) + " is not in " + root.string() +
                 " (orchctl cache fetch " + shown(id) + " downloads it)"};
  return (*repo)->path / "snapshots" / held->commit;
}

}  // namespace

Result<fs::path> locate_model(const std::string& folder_or_id, const std::string& revision) {
  std::error_code ignored;
  if (!folder_or_id.starts_with('/')) return in_cache(folder_or_id, revision.empty() ? "main" : revision);
  if (fs::is_directory(folder_or_id, ignored)) return fs::path(folder_or_id);
  return Error{"there is no folder " + shown(folder_or_id) + " on this node"};
}

Result<fs::path> find_model(const std::string& named, const fs::path& program) {
  std::error_code ignored;
  if (fs::is_directory(named, ignored)) return fs::path(named);
  if (fs::exists(named, ignored)) return Error{shown(named) + " is a file; a model is a folder with config.json in it"};
  if (named.find('/') != std::string::npos) {
    const std::size_t at = named.find('@');
    const std::string id = named.substr(0, at), revision = at == std::string::npos ? "main" : named.substr(at + 1);
    if (!cache::is_repo_id(id) || !cache::is_revision(revision)) return Error{"there is no folder " + shown(named)};
    return in_cache(id, revision);
  }
  const auto data = find_data(program);
  if (!data) return Error{"there is no folder " + shown(named) + ", and no catalog (ORCH_DATA_DIR names its folder)"};
  Diagnostics diagnostics;
  const std::array<fs::path, 1> sources{data->catalog};
  const Catalog catalog = load_catalog(sources, diagnostics);
  const Model* model = catalog.models.find(named);
  if (!model) {
    return Error{"there is no folder and no model " + quote(named) + hint(named, catalog.models.names()) +
                 "; orchctl models lists them"};
  }
  return locate_model(model->hf_id, model->revision);
}

}  // namespace orch::native
