// A model over the ranks that share it, from its folder to the engine for text.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/dtype.h"
#include "comm/communicator.h"
#include "model/checkpoint.h"
#include "model/peft.h"
#include "model/sources.h"
#include "texts/text_engine.h"

namespace orch::texts {

struct OpenRules {
  int tensor = 1, pipeline = 1;  ///< tensor × pipeline ranks share the model
  int threads = 1;               ///< of each rank
  double memory = 0;             ///< bytes that each rank may take; 0: not known
  model::Formats formats = DType::kFp32;
  DType cache_dtype = DType::kFp32;
  std::int64_t context = 0;         ///< tokens that the model is shown at most; 0: as many as it was made for
  std::filesystem::path adapter{};  ///< a folder as PEFT writes it, on top of the model; empty: none
  double smaller = 1;               ///< on how much is computed at once, after memory had run out
};

/// What a rank reads of a model's folder for itself, before the ranks do anything together.
struct ModelParts {
  model::Architecture architecture;
  model::Shard shard;
  tokenizer::Tokenizer tokenizer;
  model::Checkpoint checkpoint;
  model::Sources sources;  ///< in the checkpoint
};
/// `shard`: which part; its layers are those of its stage.
Result<std::unique_ptr<ModelParts>> read_model_parts(const std::filesystem::path& folder, model::Shard shard);

class OpenedModel {
 public:
  /// Every rank calls it; an error is the same on all of them. Before a weight is read it is planned what the model
  /// will take: what does not fit is an error that says so, and what is left bounds the cache. `ranks` must outlive it.
  static Result<std::unique_ptr<OpenedModel>> open(const OpenRules& rules, const std::filesystem::path& folder,
                                                   comm::Transport& ranks);

  TextEngine& texts() { return *texts_; }

  /// Every rank calls it: from now on another adapter is on top of the model, or none. After an error there is none.
  Result<bool> use(const std::filesystem::path& adapter);

 private:
  explicit OpenedModel(comm::Transport& ranks) : ranks_(ranks) {}
  Result<bool> put_on(const model::PeftAdapter& adapter, const std::filesystem::path& from);

  comm::Transport& ranks_;
  std::filesystem::path folder_, used_;
  model::Architecture architecture_;
  model::Shard shard_;

  // Each stands on those above it.
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<comm::Communicator> tensor_, pipeline_;
  std::unique_ptr<model::Decoder> decoder_;
  std::optional<model::LoadedAdapter> adapter_;
  std::optional<infer::Engine> engine_;
  std::optional<TextEngine> texts_;
};

}  // namespace orch::texts
