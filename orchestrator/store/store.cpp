#include "store/store.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/text.h"
#include "store/disk.h"
#include "store/lock.h"
#include "store/migrations.h"
#include "store/numbers.h"
#include "store/reading.h"
#include "store/writing.h"

namespace orch::store {

namespace fs = std::filesystem;
using namespace control;

namespace {

/// How long a writer waits for readers, and a reader for a writer that is just starting or ending.
constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::chrono::milliseconds kBetweenTries{20};

fs::path file_in(const fs::path& directory) { return directory / "orch.db"; }
fs::path beside(const fs::path& file, const char* suffix) { return file.string() + suffix; }

/// 8 letters and digits of the system's randomness.
std::string draw_instance() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  // Bytes past the last multiple would make some letters likelier.
  constexpr std::size_t kFair = 256 - 256 % kLetters.size();
  std::string instance;
  while (instance.size() < 8) {
    unsigned char byte = 0;
    if (getrandom(&byte, 1, 0) != 1) continue;  // a signal came
    if (byte < kFair) instance += kLetters[byte % kLetters.size()];
  }
  return instance;
}

Utc now() { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

/// How every connection behaves.
void set_up(Database& database) { database.run("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"); }

void prepare_for_writing(Database& database) {
  set_up(database);
  // Before anything is changed: a newer file stays as it is.
  schema_version(database, migrations());
  std::string mode;
  Statement(database, "PRAGMA journal_mode = WAL").each([&](Statement& row) { mode = row.text(); });
  if (mode != "wal")
    throw Failure(database.file().string() + ": its disk cannot hold a write-ahead log (SQLite chose " + mode +
                  "); give a directory on a local disk with --state");
  // FULL syncs the log at every commit. The log is brought home at 16 MiB, and cut to 64 MiB after a large sweep. 64
  // MiB of pages are kept: the index of a million keys.
  database.run(
      "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864;"
      " PRAGMA cache_size = -65536;");
  migrate(database, migrations());
  Transaction writing(database, Transaction::Kind::kWrite);
  Statement(database, "INSERT INTO store (id, instance, made) SELECT 1, ?, ? WHERE NOT EXISTS (SELECT 1 FROM store)")
      .run(draw_instance(), now());
  writing.commit();
}

void prepare_for_reading(Database& database) {
  set_up(database);
  const std::size_t version = schema_version(database, migrations());
  if (version < migrations().size())
    throw Failure(database.file().string() + ": its schema is version " + std::to_string(version) +
                  ", and this program reads version " + std::to_string(migrations().size()) +
                  "; a start of the daemon brings it there");
}

template <class Work>
Result<std::monostate> as_result(Work&& work) {
  try {
    work();
    return std::monostate{};
  } catch (const std::exception& error) {
    return Error{error.what()};
  }
}

}  // namespace

struct Store::Inside {
  // In this order: the connections end before others may write, and the readers before the writer, which as the last
  // brings the log home.
  std::optional<DirectoryLock> lock;
  fs::path file;
  bool read_only = false;
  Database::Mode read_mode = Database::Mode::kRead;
  std::string instance;
  std::unique_ptr<Database> database;
  std::unique_ptr<RowWriter> rows;
  std::mutex committing;
  std::mutex guard;
  std::vector<std::unique_ptr<Database>> idle;  ///< connections that read

  void open_for_writing();
  void open_for_reading(const fs::path& directory);
};

namespace {

/// A connection for one reading function, with a transaction begun.
template <class Inside>
class Reader {
 public:
  explicit Reader(Inside& inside)
      : inside_(inside), database_(take()), reading_(*database_, Transaction::Kind::kRead) {}

  Database& database() { return *database_; }

  ~Reader() {
    reading_.end();
    const std::lock_guard lock(inside_.guard);
    inside_.idle.push_back(std::move(database_));
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

 private:
  std::unique_ptr<Database> take() {
    {
      const std::lock_guard lock(inside_.guard);
      if (!inside_.idle.empty()) {
        auto database = std::move(inside_.idle.back());
        inside_.idle.pop_back();
        return database;
      }
    }
    auto database = std::make_unique<Database>(inside_.file, inside_.read_mode);
    set_up(*database);
    return database;
  }

  Inside& inside_;
  std::unique_ptr<Database> database_;
  Transaction reading_;
};

}  // namespace

void Store::Inside::open_for_writing() {
  // SQLite would make it readable by all; what it makes beside it has the file's mode.
  if (const int made = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); made >= 0) ::close(made);
  database = std::make_unique<Database>(file, Database::Mode::kWrite);
  prepare_for_writing(*database);
  instance = read_instance(*database);
  rows = std::make_unique<RowWriter>(*database);
}

void Store::Inside::open_for_reading(const fs::path& directory) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    if (!fs::exists(file))
      throw Failure(file.string() + " is not there: no daemon has run with this state directory yet");
    ReaderLock found = ReaderLock::of(directory);
    lock = std::move(found.lock);
    std::error_code absent;
    const auto log = fs::file_size(beside(file, "-wal"), absent);
    // Without a log the file is all there is, and while the lock is shared it stays as it is. Otherwise the log is read
    // as well, and nothing of either is written.
    const bool still = !found.writer && (absent || log == 0);
    read_mode = still ? Database::Mode::kReadStill : Database::Mode::kReadShared;
    try {
      auto connection = std::make_unique<Database>(file, read_mode);
      prepare_for_reading(*connection);
      instance = read_instance(*connection);
      idle.push_back(std::move(connection));
      return;
    } catch (const Failure&) {
      // Beside a daemon that is just starting or ending the files come and go.
      if (!found.writer || std::chrono::steady_clock::now() >= until) throw;
      std::this_thread::sleep_for(kBetweenTries);
    }
  }
}

Store::Store(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const fs::path& directory, const Options& options) {
  auto inside = std::make_unique<Inside>();
  inside->file = file_in(directory);
  inside->read_only = options.read_only;
  try {
    if (!options.read_only) {
      std::error_code error;
      fs::create_directories(directory, error);
      if (error) return Error{directory.string() + ": cannot be made (" + error.message() + ")"};
    } else if (!fs::exists(directory)) {
      return Error{directory.string() + " is not there: no daemon has run with this state directory yet"};
    }
    if (!options.allow_network_disk)
      if (auto why = refuse_disk(directory)) return Error{std::move(*why)};
    if (options.read_only) {
      inside->open_for_reading(directory);
    } else {
      auto lock = DirectoryLock::hold(directory, kPatience);
      if (!lock) return lock.error();
      inside->lock = std::move(*lock);
      inside->open_for_writing();
    }
  } catch (const std::exception& error) {
    return Error{error.what()};
  }
  return std::unique_ptr<Store>(new Store(std::move(inside)));
}

const std::string& Store::instance() const { return inside_->instance; }

Result<std::monostate> Store::commit(std::span<const Effects> group) {
  if (inside_->read_only) return Error{inside_->file.string() + ": it was opened for reading only"};
  // Answers that change nothing wait for no disk.
  if (std::ranges::all_of(group, [](const Effects& effects) { return effects.changes.empty(); }))
    return std::monostate{};
  const std::lock_guard lock(inside_->committing);
  auto result = as_result([&] {
    Transaction writing(*inside_->database, Transaction::Kind::kWrite);
    for (const Effects& effects : group)
      for (const Change& change : effects.changes) inside_->rows->put(change);
    writing.commit();
  });
  if (!result) inside_->rows->forget();
  return result;
}

std::optional<std::string> Store::policy_text() const { return read_fact(Reader(*inside_).database(), "policy"); }

State Store::restore(policy::Policy policy, Rules rules) const {
  return read_state(Reader(*inside_).database(), std::move(policy), inside_->instance, rules);
}

CellText Store::cell(CellId cell) const { return read_cell(Reader(*inside_).database(), cell); }

std::vector<CellText> Store::cells(std::span<const CellId> cells) const {
  Reader reader(*inside_);
  std::vector<CellText> texts;
  texts.reserve(cells.size());
  for (const CellId cell : cells) texts.push_back(read_cell(reader.database(), cell));
  return texts;
}

std::optional<CellId> Store::cell_with_key(const std::string& key_prefix) const {
  return find_cell(Reader(*inside_).database(), key_prefix);
}

void Store::each_result(SweepId sweep, const std::function<void(const ResultRow&)>& visit) const {
  read_results(Reader(*inside_).database(), sweep, visit);
}

std::vector<EventRow> Store::events(std::int64_t after, std::size_t most) const {
  return read_events(Reader(*inside_).database(), after, most);
}

std::vector<row::PutFailure> Store::failures(CellId cell) const {
  return read_failures(Reader(*inside_).database(), cell);
}

std::optional<Attempt> Store::accepted(CellId cell) const { return read_accepted(Reader(*inside_).database(), cell); }

std::vector<std::string> Store::jobs_of(CellId cell) const { return read_jobs_of(Reader(*inside_).database(), cell); }

std::string Store::matrix_of(SweepId sweep) const { return read_matrix(Reader(*inside_).database(), sweep); }

std::string Store::rejected_of(SweepId sweep) const { return read_rejected(Reader(*inside_).database(), sweep); }

std::vector<std::string> Store::check() const {
  std::vector<std::string> found;
  const auto add = [&](const std::string& what) { found.push_back(inside_->file.string() + ": " + what); };
  try {
    Reader reader(*inside_);
    Database& database = reader.database();
    Statement(database, "PRAGMA integrity_check(100)").each([&](Statement& row) {
      const std::string what = row.text();
      if (what == "ok") return;
      // A row may hold many faults, a line each, below a headline in asterisks.
      const auto lines = split(what, '\n');
      for (const std::string_view line : lines)
        if (lines.size() == 1 || !line.starts_with("***")) add(std::string(line));
    });
    // What is read from a torn page would only be said twice.
    if (!found.empty()) return found;
    Statement(database,
              "SELECT 'a row of ' || \"table\" || ' refers to one of ' || parent || ' that is not there'"
              " FROM pragma_foreign_key_check LIMIT 100")
        .each([&](Statement& row) { add(row.text()); });
    for (const std::string& what : contradictions(database)) add(what);
  } catch (const std::exception& error) {
    found.push_back(error.what());
  }
  return found;
}

// Backups.

namespace {

/// Copies `source` to a new file, lets `finish` work on it there, and gives it its name once it is whole. A file that
/// stands in its place already is left alone.
void copy_whole(Database& source, const fs::path& target, const std::function<void(Database&)>& finish) {
  if (fs::exists(target)) throw Failure(target.string() + " is there already; nothing was written");
  if (const fs::path folder = fs::absolute(target).parent_path(); !fs::is_directory(folder))
    throw Failure("there is no folder " + folder.string() + " for " + target.string() + "; nothing was written");
  const fs::path half = beside(target, ".half");
  const auto clear = [&] {
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
      std::error_code ignored;
      fs::remove(beside(half, suffix), ignored);
    }
  };
  clear();  // of a copy that was cut off
  try {
    {
      Database copy(half, Database::Mode::kWrite);
      fs::permissions(half,
                      fs::perms::owner_read | fs::perms::owner_write);  // as the store is, before anything is in it
      source.copy_to(copy);
      // One file, complete in itself: no log beside it.
      copy.run("PRAGMA journal_mode = DELETE");
      finish(copy);
    }
    sync_to_disk(half);
    fs::rename(half, target);
    sync_to_disk(fs::absolute(target).parent_path());
  } catch (...) {
    clear();
    throw;
  }
}

/// The copy is another instance: what the first one submitted is not this one's.
void make_another_instance(Database& database) {
  migrate(database, migrations());
  Transaction writing(database, Transaction::Kind::kWrite);
  const std::string before = read_instance(database);
  const std::string reason = "of another instance, " + before + ": this is a backup of it that was brought back";
  Statement(database, "UPDATE store SET instance = ?, made = ?").run(draw_instance(), now());
  Statement(database, "DELETE FROM leases").run();
  RowWriter rows(database);
  std::vector<row::Note> notes;
  Statement(database, "SELECT id, name FROM jobs WHERE state <> ? ORDER BY id")
      .each(
          [&](Statement& row) {
            row::Note note;
            note.at = now();
            note.kind = "job.ended";
            note.job = row.integer();
            note.text = row.text() + ": " + std::string(name_of(End::kAbsent)) + ", " + reason;
            notes.push_back(std::move(note));
          },
          number_of(JobState::kEnded));
  Statement(database, "UPDATE jobs SET state = ?, ended_as = ?, ended = ?, reason = ? WHERE state <> ?")
      .run(number_of(JobState::kEnded), number_of(End::kAbsent), now(), reason, number_of(JobState::kEnded));
  for (row::Note& note : notes) rows.put(Change(std::move(note)));
  writing.commit();
}

}  // namespace

Result<std::monostate> Store::backup(const fs::path& file) const {
  return as_result([&] {
    auto database = std::make_unique<Database>(inside_->file, inside_->read_mode);
    copy_whole(*database, file, [](Database&) {});
  });
}

Result<std::monostate> restore_backup(const fs::path& file, const fs::path& directory) {
  return as_result([&] {
    if (!fs::exists(file)) throw Failure(file.string() + " is not there");
    std::error_code absent;
    if (const auto log = fs::file_size(beside(file, "-wal"), absent); !absent && log > 0)
      throw Failure(file.string() + " has a log beside it (" + beside(file, "-wal").filename().string() +
                    "): it is a database in use, not a backup of one");
    Database source(file, Database::Mode::kReadStill);
    if (schema_version(source, migrations()) == 0) throw Failure(file.string() + ": there is nothing in it");
    fs::create_directories(directory);
    const auto lock = DirectoryLock::hold(directory, kPatience);
    if (!lock) throw Failure(lock.error().what);
    copy_whole(source, file_in(directory), make_another_instance);
  });
}

}  // namespace orch::store
