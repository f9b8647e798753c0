// A model over this process's ranks, from its folder to the engine for text.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "comm/communicator.h"
#include "comm/ranks.h"
#include "hand/options.h"
#include "texts/text_engine.h"

namespace orch::hand {

class OpenedModel {
 public:
  /// Every rank calls it; with options.tensor × options.pipeline ranks.
  static Result<std::unique_ptr<OpenedModel>> open(const Options& options, const std::filesystem::path& folder,
                                                   const worker::Ranks& ranks);

  texts::TextEngine& texts() { return *texts_; }

 private:
  OpenedModel() = default;

  // Each stands on those above it.
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<comm::Transport> all_;
  std::unique_ptr<comm::Communicator> tensor_, pipeline_;
  std::unique_ptr<model::Decoder> decoder_;
  std::optional<infer::Engine> engine_;
  std::optional<texts::TextEngine> texts_;
};

}  // namespace orch::hand
