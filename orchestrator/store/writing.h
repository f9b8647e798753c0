// Rows into the database, as the transaction of a group of events puts and drops them.
#pragma once

#include <string>
#include <unordered_map>

#include "control/change.h"
#include "store/database.h"

namespace orch::store {

/// Texts that many rows share, by their numbers. What it remembers is a cache of a table.
class Shared {
 public:
  Shared(Database& database, const std::string& table, const std::string& column);
  std::int64_t number(const std::string& text);
  /// The transaction that added some was rolled back.
  void forget() { known_.clear(); }

 private:
  Statement find_, add_;
  std::unordered_map<std::string, std::int64_t> known_;
};

class RowWriter {
 public:
  /// All statements are prepared here, once.
  explicit RowWriter(Database& database);
  void put(const control::Change& change);
  void forget();

 private:
  void put(const control::row::PutFact& row);
  void put(const control::row::PutNeed& row);
  void put(const control::row::PutSweep& row);
  void put(const control::row::SetSweepState& row);
  void put(const control::row::PutCell& row);
  void put(const control::row::SetCellState& row);
  void put(const control::row::PutWanted& row);
  void put(const control::row::PutResult& row);
  void put(const control::row::PutFailure& row);
  void put(const control::row::ForgetFailures& row);
  void put(const control::row::PutJob& row);
  void put(const control::row::PutLease& row);
  void put(const control::row::DropLease& row);
  void put(const control::row::PutBegun& row);
  void put(const control::row::DropBegun& row);
  void put(const control::row::PutNotice& row);
  void put(const control::row::DropNotice& row);
  void put(const control::row::Note& row);
  /// A row that is to be changed must be there.
  void expect_one(std::int64_t changed, const char* what, std::int64_t number) const;

  Database& database_;
  Shared names_, settings_;
  Statement put_fact_, drop_fact_, put_need_, put_sweep_, put_sweep_texts_, set_sweep_, put_cell_, put_cell_texts_,
      set_cell_, put_wanted_, put_result_, put_failure_, forget_failures_, put_job_, put_lease_, drop_lease_,
      put_begun_, drop_begun_, put_notice_, drop_notice_, put_note_;
};

}  // namespace orch::store
