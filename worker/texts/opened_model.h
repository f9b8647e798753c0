// A model over the ranks that share it, from its folder to the engine for text.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/dtype.h"
#include "comm/communicator.h"
#include "model/peft.h"
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

class OpenedModel {
 public:
  /// Every rank calls it; an error is the same on all of them. Before a weight is read it is planned what the model
  /// will take: what does not fit is an error that says so, and what is left bounds the cache. `ranks` must outlive it.
  static Result<std::unique_ptr<OpenedModel>> open(const OpenRules& rules, const std::filesystem::path& folder,
                                                   comm::Transport& ranks);

  TextEngine& texts() { return *texts_; }

 private:
  OpenedModel() = default;

  // Each stands on those above it.
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<comm::Communicator> tensor_, pipeline_;
  std::unique_ptr<model::Decoder> decoder_;
  std::optional<model::LoadedAdapter> adapter_;
  std::optional<infer::Engine> engine_;
  std::optional<TextEngine> texts_;
};

}  // namespace orch::texts
