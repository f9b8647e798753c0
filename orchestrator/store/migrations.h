// The schema and its history: numbered files in db/migrations, which are part of the program.
//
// Holds: a migration is applied once, whole or not at all, and what was applied is recorded with its SHA-256. A file
// that was made by other migrations than these is not touched.
#pragma once

#include <span>
#include <string_view>

#include "store/database.h"

namespace orch::store {

struct Migration {
  int number = 0;         ///< from 1 on, without a gap
  std::string_view name;  ///< of its file
  std::string_view sql;
};

/// Those of this program, in the order of their numbers.
std::span<const Migration> migrations();

/// How many of `known` the database has. Throws Failure where it is not this program's, is newer, or was made by a
/// migration of another text.
std::size_t schema_version(Database& database, std::span<const Migration> known);

/// Applies those that are missing, each in a transaction of its own.
void migrate(Database& database, std::span<const Migration> known);

}  // namespace orch::store
