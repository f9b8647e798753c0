// A run's folder of checkpoints, `step-0000000000123/` each: thirteen digits, so that names sort as their steps do.
//
//   step-….new    is being written. When all of it is on the disk, it gets its name and the folder is synced.
//   step-….old    was replaced: a run that went back comes past the same step again
//   step-….gone   is being removed
//   checkpoints.lock   is held by the one who writes, by flock. On some file systems of several machines a lock is seen
//                      by its own machine alone; who starts a run still has to see to it that it is the only one.
//
// Holds:
//  - At any moment of a crash, of the program or of the machine, the newest whole checkpoint is no older than the last
//    one that was confirmed, unless the disk itself loses what it was given. What a crash leaves behind is cleared when
//    the folder is next opened for writing.
//  - A write that fails takes nothing away: checkpoints are removed only after a newer one is safe.
//  - Cleaning takes neither the last written nor one of a format that this program does not know.
//  - Nothing is touched but folders of the names above.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/descriptor.h"
#include "base/result.h"
#include "train/checkpoint.h"
#include "train/keep.h"

namespace orch::train {

struct NewestWhole {
  std::optional<LoadedCheckpoint> checkpoint;  ///< none: the run begins at its beginning
  std::vector<std::string> passed_over;        ///< a sentence for each that is newer, and not whole
};

/// From the newest to older ones, until one is whole. A folder that is not there has none. One of a newer format than
/// this program's is an error: to go on from an older one would throw its steps away.
Result<NewestWhole> newest_whole(const std::filesystem::path& folder);

std::string checkpoint_name(std::int64_t step);

/// Writes checkpoints while the run goes on. Its functions are for one thread.
class CheckpointWriter {
 public:
  /// The folder is made, and its last part alone. An error says, too, who else writes there.
  static Result<std::unique_ptr<CheckpointWriter>> open(const std::filesystem::path& folder, const KeepRules& keep);
  /// Waits. An error that nobody has asked for by then is lost.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Waits for the write before, begins this one and returns. An error is of the one before: this one is begun all the
  /// same, for there may be room again.
  Result<std::monostate> write(Checkpoint checkpoint);
  /// Until all is written. An error is told once.
  Result<std::monostate> wait();
  /// The step of the last that is safe; none of this writer's yet. Waits for nothing.
  std::optional<std::int64_t> confirmed() const;

  /// The run goes on from `step`, by its newest whole checkpoint or because it went back. Later ones are broken or of a
  /// course that was given up: they are removed, so that nobody goes on from them. Waits. An error is of the removal or
  /// of the write before.
  Result<std::monostate> forget_after(std::int64_t step);

 private:
  CheckpointWriter(std::filesystem::path folder, const KeepRules& keep, Descriptor lock);
  void work();
  Result<std::monostate> put(const Checkpoint& checkpoint) const;
  Result<std::monostate> clean(std::int64_t written) const;

  const std::filesystem::path folder_;
  const KeepRules keep_;
  const Descriptor lock_;

  mutable std::mutex mutex_;  ///< of all that follows
  std::condition_variable changed_;
  std::optional<Checkpoint> next_;
  bool is_busy_ = false;  ///< from write() until it is safe or has failed
  bool is_ending_ = false;
  std::optional<Error> trouble_;  ///< not told yet
  std::optional<std::int64_t> confirmed_;
  std::thread thread_;
};

}  // namespace orch::train
