// A chunk of an evaluation cell, as the rank does it that speaks for its group: the task's questions of that chunk,
// through a model, into a log and a sum.
//
// Holds:
//  - Samples are in the log, on disk, before they count. Those that an earlier attempt has logged are not asked again.
//  - What it measures is the same however often it was interrupted.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/wire/messages.h"
#include "eval/sample_log.h"
#include "native/asked_task.h"
#include "native/order.h"
#include "texts/text_engine.h"
#include "tuning/trouble.h"

namespace orch::native {

using tuning::Trouble;

class Chunk {
 public:
  /// Told how far it is: samples, and all of them.
  using OnProgress = std::function<void(std::int64_t done, std::int64_t all)>;

  /// Before a model is loaded. `model`: its folder. `last`: what the chunk before it asked.
  static Result<std::unique_ptr<Chunk>, Trouble> open(const Order& order, const std::filesystem::path& model,
                                                      const std::filesystem::path& program, LastTask& last);

  /// Until all is asked, or `stopping`.
  worker::Outcome run(texts::TextEngine& engine, const std::atomic<bool>& stopping, const OnProgress& on_progress);

 private:
  Chunk(std::shared_ptr<const AskedTask> task, eval::SampleLog log, eval::SampleRange range)
      : task_(std::move(task)), log_(std::move(log)), range_(range) {}

  std::shared_ptr<const AskedTask> task_;
  eval::SampleLog log_;
  eval::SampleRange range_;
};

}  // namespace orch::native
