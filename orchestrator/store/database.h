// SQLite as this room uses it: a connection, statements that are prepared once, transactions. Nothing else here knows
// its C interface.
//
// Holds: what goes wrong is a Failure whose text names the file. It leaves the room as a value wherever a function
// returns a Result.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/digest.h"
#include "control/ids.h"
#include "store/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace orch::store {

class Database;

/// A statement and, while it is stepped, the row that it stands on.
///
/// Texts and keys that are bound are not copied: they live until run() returns, or until each() does.
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// Gives how many rows it changed.
  template <class... Values>
  std::int64_t run(const Values&... values) {
    const Reset reset{*this};
    bind_all(values...);
    while (step()) {
    }
    return changed();
  }

  template <class Visit, class... Values>
  void each(Visit&& visit, const Values&... values) {
    const Reset reset{*this};
    bind_all(values...);
    while (step()) {
      column_ = 0;
      visit(*this);
    }
  }

  // The columns of the row, in their order: each call reads the next.
  std::int64_t integer();
  double real();
  std::string text();
  bool flag() { return integer() != 0; }
  bool next_is_null() const;
  Digest digest();
  control::Utc time();
  template <class Number>
  Number number() {
    if constexpr (std::is_enum_v<Number>)
      return Number{static_cast<std::underlying_type_t<Number>>(integer())};
    else
      return static_cast<Number>(integer());
  }
  /// The file holds `what`, which it should not.
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  struct Reset {
    Statement& statement;
    ~Reset();
  };

  template <class... Values>
  void bind_all(const Values&... values) {
    int at = 0;
    (bind(++at, values), ...);
  }
  void bind(int at, std::int64_t value);
  void bind(int at, double value);
  void bind(int at, std::string_view value);
  void bind(int at, const std::string& value) { bind(at, std::string_view(value)); }
  void bind(int at, const char* value) { bind(at, std::string_view(value)); }
  void bind(int at, const Digest& value);
  void bind(int at, std::nullopt_t);
  /// The epoch itself is NULL: no time yet.
  void bind(int at, control::Utc value);
  template <class Value>
  requires(std::is_integral_v<Value> || std::is_enum_v<Value>) void bind(int at, Value value) {
    bind(at, static_cast<std::int64_t>(value));
  }
  template <class Value>
  void bind(int at, const std::optional<Value>& value) {
    if (value)
      bind(at, *value);
    else
      bind(at, std::nullopt);
  }
  bool step();
  std::int64_t changed() const;

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int column_ = 0;
};

class Database {
 public:
  enum class Mode {
    kWrite,       ///< made if it is not there
    kRead,        ///< beside a writer of this process
    kReadShared,  ///< beside a writer of another process: its files are not touched
    kReadStill,   ///< while nobody writes, and nobody may
  };
  Database(const std::filesystem::path& file, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// One or more statements without values.
  void run(const std::string& sql);
  /// Prepared at the first call. `sql` is a literal.
  Statement& prepared(std::string_view sql);
  std::int64_t number(std::string_view sql);

  /// Copies all of it, as it is at this moment, in steps that let others work; then it is on the disk.
  void copy_to(Database& target);

  const std::filesystem::path& file() const { return file_; }
  sqlite3* handle() const { return handle_; }
  /// Throws what SQLite says of its last call.
  [[noreturn]] void fail() const;

 private:
  std::filesystem::path file_;
  sqlite3* handle_ = nullptr;
  std::map<std::string_view, std::unique_ptr<Statement>> statements_;
};

/// Ended at the latest with this object; what it wrote is kept only by commit().
class Transaction {
 public:
  enum class Kind { kWrite, kRead };
  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();
  /// Nothing is kept of what it wrote.
  void end();

 private:
  Database& database_;
  bool over_ = false;
};

}  // namespace orch::store
