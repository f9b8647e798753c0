#include "store/migrations.h"

#include <algorithm>
#include <chrono>

namespace orch::store {
namespace {

/// `orch` in ASCII: in the file's head, so that `file` and we know whose database it is.
constexpr std::int64_t kApplication = 0x6F726368;

void apply(Database& database, const Migration& migration) {
  Transaction writing(database, Transaction::Kind::kWrite);
  if (migration.number == 1)
    database.run("PRAGMA application_id = " + std::to_string(kApplication) +
                 "; CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                 " sha256 BLOB NOT NULL CHECK (length(sha256) = 32), applied INTEGER NOT NULL) STRICT;");
  database.run(std::string(migration.sql));
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  Statement(database, "INSERT INTO migrations (number, name, sha256, applied) VALUES (?, ?, ?, ?)")
      .run(migration.number, migration.name, sha256(migration.sql), control::Utc(now));
  bool dangling = false;
  Statement(database, "PRAGMA foreign_key_check").each([&](Statement&) { dangling = true; });
  if (dangling)
    throw Failure(database.file().string() + ": migration " + std::string(migration.name) +
                  " would leave rows that refer to nothing; nothing of it was done");
  writing.commit();
}

}  // namespace

std::size_t schema_version(Database& database, std::span<const Migration> known) {
  const std::string file = database.file().string();
  if (database.number("SELECT count(*) FROM sqlite_schema") == 0) return 0;
  if (database.number("PRAGMA application_id") != kApplication)
    throw Failure(file + ": this is the database of another program");
  const auto version = static_cast<std::size_t>(database.number("SELECT count(*) FROM migrations"));
  if (version > known.size())
    throw Failure(file + ": its schema is version " + std::to_string(version) + ", and this program knows them up to " +
                  std::to_string(known.size()) +
                  "; start the newer program that wrote it, or give another directory with --state");
  std::size_t at = 0;
  Statement(database, "SELECT number, sha256 FROM migrations ORDER BY number").each([&](Statement& row) {
    const Migration& expected = known[at++];
    const std::int64_t number = row.integer();
    if (number != expected.number || row.digest() != sha256(expected.sql))
      throw Failure(file + ": its migration " + std::to_string(number) + " is not the " + std::string(expected.name) +
                    " of this program; start the program that wrote it, or give another directory with --state");
  });
  return version;
}

void migrate(Database& database, std::span<const Migration> known) {
  // A migration that makes a table anew must not lose the rows that refer to it.
  database.run("PRAGMA foreign_keys = OFF");
  for (std::size_t next = schema_version(database, known); next < known.size(); ++next) apply(database, known[next]);
  database.run("PRAGMA foreign_keys = ON");
}

}  // namespace orch::store
