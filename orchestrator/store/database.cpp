#include "store/database.h"

#include <sqlite3.h>

#include <cstring>

namespace orch::store {
namespace {

constexpr int kBusyMilliseconds = 5000;
/// Pages between which a copy lets go: 1 MiB.
constexpr int kPagesOfAStep = 256;

/// What SQLite says, in words for whoever runs the daemon.
std::string why(sqlite3* handle) {
  const int code = sqlite3_extended_errcode(handle);
  const int system = sqlite3_system_errno(handle);
  const std::string of_system = system == 0 ? "" : std::string(" (") + std::strerror(system) + ")";
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return "the disk is full";
    case SQLITE_IOERR:
      return "the disk failed" + (system == 0 ? std::string(" (") + sqlite3_errstr(code) + ")" : of_system);
    case SQLITE_CORRUPT:
      return "the file is damaged, bring back a backup of it";
    case SQLITE_NOTADB:
      return "this is no SQLite database";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another program has kept it locked for " + std::to_string(kBusyMilliseconds / 1000) + " s";
    case SQLITE_READONLY:
      return "it may only be read" + of_system;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return "it cannot be opened" + of_system;
    case SQLITE_CONSTRAINT:
      return std::string("a row contradicts what is there already (") + sqlite3_errmsg(handle) + ")";
    default:
      return sqlite3_errmsg(handle);
  }
}

/// SQLite's name for a file with options: what would end the path is escaped.
std::string uri_of(const std::filesystem::path& file, std::string_view options) {
  std::string uri = "file:";
  for (const char letter : std::filesystem::absolute(file).string()) {
    if (letter == '?')
      uri += "%3f";
    else if (letter == '#')
      uri += "%23";
    else if (letter == '%')
      uri += "%25";
    else
      uri += letter;
  }
  return uri + "?" + std::string(options);
}

}  // namespace

// Statement

Statement::Statement(Database& database, std::string_view sql) : database_(database) {
  if (sqlite3_prepare_v3(database.handle(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                         &statement_, nullptr) != SQLITE_OK)
    database.fail();
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement::Reset::~Reset() { sqlite3_reset(statement.statement_); }

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  database_.fail();
}

std::int64_t Statement::changed() const { return sqlite3_changes64(database_.handle()); }

void Statement::bind(int at, std::int64_t value) {
  if (sqlite3_bind_int64(statement_, at, value) != SQLITE_OK) database_.fail();
}
void Statement::bind(int at, double value) {
  if (sqlite3_bind_double(statement_, at, value) != SQLITE_OK) database_.fail();
}
void Statement::bind(int at, std::string_view value) {
  // A text at no address would be NULL.
  const char* const begin = value.data() ? value.data() : "";
  if (sqlite3_bind_text64(statement_, at, begin, value.size(), nullptr, SQLITE_UTF8) != SQLITE_OK) database_.fail();
}
void Statement::bind(int at, const Digest& value) {
  if (sqlite3_bind_blob64(statement_, at, value.bytes.data(), value.bytes.size(), nullptr) != SQLITE_OK)
    database_.fail();
}
void Statement::bind(int at, std::nullopt_t) {
  if (sqlite3_bind_null(statement_, at) != SQLITE_OK) database_.fail();
}
void Statement::bind(int at, control::Utc value) {
  if (value == control::Utc{})
    bind(at, std::nullopt);
  else
    bind(at, static_cast<std::int64_t>(value.time_since_epoch().count()));
}

std::int64_t Statement::integer() { return sqlite3_column_int64(statement_, column_++); }
double Statement::real() { return sqlite3_column_double(statement_, column_++); }
bool Statement::next_is_null() const { return sqlite3_column_type(statement_, column_) == SQLITE_NULL; }
control::Utc Statement::time() { return control::Utc(std::chrono::milliseconds(integer())); }

std::string Statement::text() {
  const unsigned char* const begin = sqlite3_column_text(statement_, column_);
  const int size = sqlite3_column_bytes(statement_, column_++);
  return begin ? std::string(reinterpret_cast<const char*>(begin), static_cast<std::size_t>(size)) : std::string();
}

Digest Statement::digest() {
  Digest digest;
  const void* const begin = sqlite3_column_blob(statement_, column_);
  if (sqlite3_column_bytes(statement_, column_++) != static_cast<int>(digest.bytes.size()))
    refuse("a key that has not 32 bytes");
  std::memcpy(digest.bytes.data(), begin, digest.bytes.size());
  return digest;
}

void Statement::refuse(const std::string& what) const {
  throw Failure(database_.file().string() + ": it holds " + what + "; the file is damaged, bring back a backup of it");
}

// Database

Database::Database(const std::filesystem::path& file, Mode mode) : file_(file) {
  std::string name;
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
  switch (mode) {
    case Mode::kWrite:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
      name = uri_of(file, "mode=rwc");
      break;
    case Mode::kRead:
      flags |= SQLITE_OPEN_READONLY;
      name = uri_of(file, "mode=ro");
      break;
    case Mode::kReadShared:
      flags |= SQLITE_OPEN_READONLY;
      name = uri_of(file, "mode=ro&readonly_shm=1");
      break;
    case Mode::kReadStill:
      flags |= SQLITE_OPEN_READONLY;
      name = uri_of(file, "mode=ro&immutable=1");
      break;
  }
  if (sqlite3_open_v2(name.c_str(), &handle_, flags, nullptr) != SQLITE_OK) {
    const std::string reason = handle_ ? why(handle_) : "there is no memory for it";
    sqlite3_close(handle_);
    throw Failure(file_.string() + ": " + reason);
  }
  sqlite3_busy_timeout(handle_, kBusyMilliseconds);
}

Database::~Database() {
  statements_.clear();
  sqlite3_close(handle_);
}

void Database::fail() const { throw Failure(file_.string() + ": " + why(handle_)); }

void Database::run(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail();
}

Statement& Database::prepared(std::string_view sql) {
  std::unique_ptr<Statement>& known = statements_[sql];
  if (!known) known = std::make_unique<Statement>(*this, sql);
  return *known;
}

std::int64_t Database::number(std::string_view sql) {
  std::int64_t value = 0;
  Statement(*this, sql).each([&](Statement& row) { value = row.integer(); });
  return value;
}

void Database::copy_to(Database& target) {
  // While this transaction reads, the copy is of one state, and no commit makes it begin anew.
  Transaction reading(*this, Transaction::Kind::kRead);
  const auto finish = [](sqlite3_backup* backup) { sqlite3_backup_finish(backup); };
  std::unique_ptr<sqlite3_backup, decltype(finish)> backup(sqlite3_backup_init(target.handle_, "main", handle_, "main"),
                                                           finish);
  if (!backup) target.fail();
  int code = SQLITE_OK;
  while (code == SQLITE_OK) code = sqlite3_backup_step(backup.get(), kPagesOfAStep);
  // What went wrong on either side is told by the target's connection.
  if (sqlite3_backup_finish(backup.release()) != SQLITE_OK || code != SQLITE_DONE)
    throw Failure(target.file_.string() + ": " + file_.string() + " could not be copied there: " + why(target.handle_));
}

// Transaction

Transaction::Transaction(Database& database, Kind kind) : database_(database) {
  database_.prepared(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN").run();
  // A transaction that reads sees the state of its first reading: that is to be this moment.
  if (kind == Kind::kRead) database_.prepared("SELECT count(*) FROM sqlite_schema").run();
}

Transaction::~Transaction() { end(); }

void Transaction::end() {
  // After some errors SQLite has rolled it back itself.
  if (!over_ && !sqlite3_get_autocommit(database_.handle()))
    sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  over_ = true;
}

void Transaction::commit() {
  database_.prepared("COMMIT").run();
  over_ = true;
}

}  // namespace orch::store
