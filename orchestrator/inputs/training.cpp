#include "inputs/training.h"

#include <array>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "base/text.h"
#include "base/training_data.h"
#include "inputs/known_digests.h"
#include "matrix/content.h"
#include "train/rows.h"
#ifdef ORCH_EVAL
#include "reward/load_reward.h"
#endif

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;

/// What completions are rewarded by: rules that were read, or a program.
struct Rewards {
#ifdef ORCH_EVAL
  std::optional<reward::RuleReward> rules;
#endif

  /// Nothing, or what a row lacks.
  std::optional<Error> lacks(const train::Row& row) const {
#ifdef ORCH_EVAL
    const auto* prompt = std::get_if<train::Prompt>(&row.what);
    if (rules && prompt) return rules->lacks(prompt->other);
#else
    static_cast<void>(row);
#endif
    return std::nullopt;
  }
};

class Look {
 public:
  Look(const fs::path& data, const fs::path& known, Diagnostics& diagnostics)
      : data_(data), known_(known), diagnostics_(diagnostics) {}

  TrainingFiles at(const Task& task, const std::string& said, const std::string& said_reward) {
    TrainingFiles files;
    const auto missing = [&](std::string why) {
      files.why_not = std::move(why);
      return files;
    };
    const auto kind = train::row_kind_named(task.rows);
    if (!kind) return missing("the catalog does not say what a row of its data is (key 'rows')");
    const auto file = find_training_data(said, task.name, task.hf_id, data_);
    if (!file) return missing(file.error().what);
    Rewards rewards;
    if (!said_reward.empty()) {
      const auto reward = find_reward(said_reward, data_);
      if (!reward) return missing(reward.error().what);
      if (const auto why = read(*reward, rewards)) return missing(*why);
      files.reward = known_.digest_of(*reward);
      if (files.reward.empty()) return missing(reward->string() + " cannot be read");
      files.reward = "sha256:" + files.reward;
    }
    std::int64_t rows = 0;
    train::load_rows(*file, *kind, diagnostics_, [&](const train::Row& row) {
      ++rows;
      if (const auto lack = rewards.lacks(row)) diagnostics_.error({file->string(), row.line}, lack->what);
    });
    files.rows = static_cast<double>(rows);
    files.data = known_.digest_of(*file);
    if (files.data.empty()) return missing(file->string() + " cannot be read");
    files.data = "sha256:" + files.data;
    return files;
  }

  void keep() { known_.keep(); }

 private:
  /// Why it cannot be used; what is wrong in it goes to the diagnostics.
  std::optional<std::string> read(const fs::path& file, Rewards& rewards) {
#ifdef ORCH_EVAL
    auto reward = reward::load_reward(file, diagnostics_);
    if (auto* rules = reward ? std::get_if<reward::Rules>(&*reward) : nullptr) rewards.rules.emplace(std::move(*rules));
    return std::nullopt;
#else
    static_cast<void>(file);
    static_cast<void>(rewards);
    return "this program was built without PCRE2, which rewards need";
#endif
  }

  const fs::path& data_;
  KnownDigests known_;
  Diagnostics& diagnostics_;
};

}  // namespace

std::size_t look_at_training(const matrix::Expansion& expansion, Catalog& catalog, const fs::path& data,
                             const fs::path& known, Diagnostics& diagnostics) {
  std::set<std::pair<std::uint32_t, std::pair<std::string, std::string>>> all;
  for (const matrix::Cell& cell : expansion.cells) {
    if (cell.kind != matrix::CellKind::kTrain || cell.task == matrix::kNone) continue;
    const matrix::Settings& settings = expansion.settings[cell.settings];
    if (matrix::engine_of(settings, cell.kind) != Engine::kNative) continue;
    all.insert({cell.task, {settings.text("data").value_or(""), settings.text("reward").value_or("")}});
  }
  Look look(data, known, diagnostics);
  for (const auto& [number, said] : all) {
    Task& task = catalog.tasks[number];
    // Of a training that writes nothing a reward is a setting that does nothing.
    task.files[said] = look.at(task, said.first, task.type == "grpo" ? said.second : "");
  }
  look.keep();
  return all.size();
}

}  // namespace orch::inputs
