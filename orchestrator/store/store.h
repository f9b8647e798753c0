// The daemon's memory on disk: a SQLite database in WAL mode, in the state directory. The only room that knows SQL.
//
// Holds:
//  - One writer: the file is locked for as long as a Store is open for writing.
//  - commit() is one transaction with synchronous=FULL: all of its rows are there after a crash, or none.
//  - What restore() gives is the state that wrote the rows (tests/store holds it against sim/tables.h).
//  - An older schema is migrated, a newer one refused, a file on a network file system refused with the reason.
//  - A Store may be used by several threads: each reading function sees one state of the database, and waits for
//  nobody.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/change.h"
#include "control/restore.h"
#include "control/state.h"

namespace orch::store {

/// The disk or the file failed while it was read, as a sentence that names the file. Functions that return no Result
/// throw it: with the file damaged or away there is no answer, and nothing to go on with.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A cell as people and workers see it.
struct CellText {
  std::string model, task;
  std::string content;   ///< canonical JSON
  std::string settings;  ///< JSON
  std::string key;       ///< hexadecimal
};

/// A cell of a sweep with what was measured.
struct ResultRow {
  control::CellId cell{};
  std::uint32_t order = 0;  ///< place in the sweep
  CellText text;
  float score = 0;
  std::uint16_t generation = 1;
  /// One of each chunk that is there, in the order of the chunks: its metrics as JSON.
  std::vector<std::string> metrics;
  std::vector<std::string> figures;  ///< of the same chunks: JSON, or empty
  double gpu_seconds = 0, seconds = 0;
  std::int64_t attempts = 0;                                ///< failures, and the one that succeeded
  std::string last_reason;                                  ///< of the last failure; empty: none
  control::CellState state = control::CellState::kWaiting;  ///< as written: a running cell is waiting here
};

/// An attempt at a cell, in whose folder lies what it made.
struct Attempt {
  std::string job;  ///< its name
  control::Ticket ticket{};
};

struct EventRow {
  std::int64_t number = 0;
  control::row::Note note;
};

struct Options {
  bool read_only = false;           ///< for `status` and `results` while no daemon runs
  bool allow_network_disk = false;  ///< only for those who know that nothing else opens it
};

class Store {
 public:
  /// Opens or creates `directory`/orch.db. The error is a sentence for the person who started the daemon.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& directory, const Options& options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Drawn when the store was made, 8 letters and digits: part of every job's name.
  const std::string& instance() const;

  /// One transaction. An error (a full disk) means that nothing was written.
  Result<std::monostate> commit(std::span<const control::Effects> group);

  /// The text of the policy that was set last; nothing: none was.
  std::optional<std::string> policy_text() const;
  control::State restore(policy::Policy policy, control::Rules rules) const;

  // For reports; each sees one state of the database.
  CellText cell(control::CellId cell) const;
  std::vector<CellText> cells(std::span<const control::CellId> cells) const;
  std::optional<control::CellId> cell_with_key(const std::string& key_prefix) const;
  void each_result(control::SweepId sweep, const std::function<void(const ResultRow&)>& visit) const;
  std::vector<EventRow> events(std::int64_t after, std::size_t most) const;
  std::vector<control::row::PutFailure> failures(control::CellId cell) const;
  /// The attempt whose result the cell has, of the newest generation that has one; nothing: none, or one of before
  /// tickets were kept.
  std::optional<Attempt> accepted(control::CellId cell) const;
  /// The names of the jobs in which it was measured or failed, the oldest first.
  std::vector<std::string> jobs_of(control::CellId cell) const;
  std::string matrix_of(control::SweepId sweep) const;
  std::string rejected_of(control::SweepId sweep) const;

  /// A copy while others read and write; the file is complete when this returns.
  Result<std::monostate> backup(const std::filesystem::path& file) const;
  /// What is wrong with the file, a sentence each; none: nothing is.
  std::vector<std::string> check() const;

 private:
  struct Inside;
  explicit Store(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

/// A backup becomes the database of `directory`, which has none: with a new instance, so that it takes no job for its
/// own that the old one submitted.
Result<std::monostate> restore_backup(const std::filesystem::path& file, const std::filesystem::path& directory);

}  // namespace orch::store
