#include "inputs/models.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "cache/contents.h"
#include "cache/verify.h"
#include "inputs/known_digests.h"
#include "matrix/content.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kMostReaders = 8;

/// What the worker reads of a model's folder, other than weights.
bool is_read(const std::string& name) {
  static const std::set<std::string> kNames = {"config.json",
                                               "model.safetensors.index.json",
                                               "tokenizer.json",
                                               "tokenizer_config.json",
                                               "special_tokens_map.json",
                                               "vocab.json",
                                               "merges.txt",
                                               "added_tokens.json",
                                               "chat_template.jinja",
                                               "chat_template.json"};
  return kNames.contains(name) || name.ends_with(".safetensors");
}

/// Nothing where the folder, or a file of it, cannot be read.
std::string digest_of(const fs::path& folder, KnownDigests& known) {
  std::error_code problem;
  std::map<std::string, fs::path> found;  // by the name in the folder, which may be a link to bytes of another name
  for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem))
    if (const std::string name = at->path().filename().string(); is_read(name) && at->is_regular_file(problem))
      found[name] = fs::canonical(*at, problem);
  if (problem || found.empty()) return "";
  std::vector<std::string> names;
  std::vector<fs::path> files;
  for (auto& [name, path] : found) {
    names.push_back(name);
    files.push_back(std::move(path));
  }
  std::vector<std::string> states(files.size()), digests(files.size());
  std::atomic<std::size_t> next = 0;
  {
    std::vector<std::jthread> readers;
    const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1U, kMostReaders);
    for (unsigned i = 0; i < count && i < files.size(); ++i)
      readers.emplace_back([&] {
        for (std::size_t file = next++; file < files.size(); file = next++) {
          states[file] = KnownDigests::state_of(files[file]);
          const std::string* before = known.find(files[file], states[file]);
          digests[file] = before ? *before : cache::sha256_of(files[file]).value_or("");
        }
      });
  }
  std::string all;
  for (std::size_t i = 0; i < files.size(); ++i) {
    // What changes while it is read is not known.
    if (digests[i].empty() || states[i].empty() || KnownDigests::state_of(files[i]) != states[i]) return "";
    if (!known.find(files[i], states[i])) known.add(files[i], states[i], digests[i]);
    all += names[i] + " " + digests[i] + "\n";
  }
  return "sha256:" + to_hex(sha256(all));
}

std::string resolved(const Model& model, const fs::path& root, KnownDigests& known) {
  if (model.hf_id.starts_with('/')) return digest_of(model.hf_id, known);
  if (!cache::is_repo_id(model.hf_id)) return "";
  const auto repo = cache::read_repo(root, {cache::Kind::kModel, model.hf_id}, cache::Look::kNames);
  const cache::Revision* revision = repo && *repo ? (*repo)->find(model.revision) : nullptr;
  return revision ? revision->commit : "";
}

}  // namespace

std::size_t look_at_models(const matrix::Expansion& expansion, Catalog& catalog, const fs::path& cache,
                           const fs::path& known) {
  std::set<std::uint32_t> models;
  for (const matrix::Cell& cell : expansion.cells)
    if (cell.model != matrix::kNone &&
        (cell.kind == matrix::CellKind::kEval || cell.kind == matrix::CellKind::kTrain) &&
        matrix::engine_of(expansion.settings[cell.settings], cell.kind) == Engine::kNative)
      models.insert(cell.model);
  KnownDigests digests(known);
  std::size_t seen = 0;
  for (const std::uint32_t number : models) {
    Model& model = catalog.models[number];
    model.resolved = resolved(model, cache, digests);
    seen += model.resolved.empty() ? 0 : 1;
  }
  digests.keep();
  return seen;
}

}  // namespace orch::inputs
