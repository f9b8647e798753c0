// What a model is trained on: a data set's rows as token samples, some of them held out to be judged by.
//
// Which rows are held out depends on their number and place alone: spread evenly over the file, which may be sorted.
// So trainings with other seeds or settings are judged by the same rows, and none of these is learnt from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "texts/samples.h"
#include "train/aim.h"
#include "train/rows.h"

namespace orch::tuning {

struct MaterialRules {
  std::filesystem::path file;
  train::RowKind rows = train::RowKind::kInstruction;
  std::int64_t held_out = 0;  ///< rows
  texts::SampleRules samples;
};

/// Of one kind there are some, by what the rows are.
struct Part {
  std::vector<train::Sample> samples;         ///< of text and instruction
  std::vector<train::PreferredSample> pairs;  ///< of preference
  std::vector<texts::PromptSample> prompts;   ///< of prompt

  std::int64_t items() const { return static_cast<std::int64_t>(samples.size() + pairs.size() + prompts.size()); }
};

struct Material {
  Part learnt, held_out;
  std::int64_t rows = 0;
  texts::SampleCounts counts;
};

/// How many rows of the kind the file has. Nothing where one of them is bad.
std::optional<std::int64_t> count_rows(const std::filesystem::path& file, train::RowKind rows,
                                       Diagnostics& diagnostics);

/// `chat`: as SampleMaker takes it. `rows`: of the file.
Result<Material> read_material(const MaterialRules& rules, std::int64_t rows, const tokenizer::Tokenizer& tokenizer,
                               const model::ChatTemplate* chat, Diagnostics& diagnostics);

}  // namespace orch::tuning
