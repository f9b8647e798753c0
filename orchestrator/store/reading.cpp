#include "store/reading.h"

#include <algorithm>

#include "store/lists.h"
#include "store/numbers.h"

namespace orch::store {

using namespace control;

namespace {

std::string first_text(Statement& statement, std::int64_t of) {
  std::string text;
  statement.each([&](Statement& row) { text = row.text(); }, of);
  return text;
}

CellText text_of(Statement& row) {
  CellText text;
  text.model = row.text();
  text.task = row.text();
  text.content = row.text();
  text.settings = row.text();
  text.key = to_hex(row.digest());
  return text;
}

/// The 32 bytes whose first letters are these, filled up with one more; nothing where a letter is none.
std::optional<Digest> key_from(const std::string& prefix, char fill) {
  Digest key;
  for (std::size_t i = 0; i < 2 * key.bytes.size(); ++i) {
    const char letter = i < prefix.size() ? prefix[i] : fill;
    int value = 0;
    if (letter >= '0' && letter <= '9')
      value = letter - '0';
    else if (letter >= 'a' && letter <= 'f')
      value = letter - 'a' + 10;
    else if (letter >= 'A' && letter <= 'F')
      value = letter - 'A' + 10;
    else
      return std::nullopt;
    std::uint8_t& byte = key.bytes[i / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | value);
  }
  return key;
}

}  // namespace

std::optional<std::string> read_fact(Database& database, std::string_view name) {
  std::optional<std::string> value;
  database.prepared("SELECT value FROM facts WHERE name = ?").each([&](Statement& row) { value = row.text(); }, name);
  return value;
}

std::string read_instance(Database& database) {
  std::string instance;
  database.prepared("SELECT instance FROM store").each([&](Statement& row) { instance = row.text(); });
  return instance;
}

CellText read_cell(Database& database, CellId cell) {
  CellText text;
  database
      .prepared(
          "SELECT m.name, t.name, x.content, s.text, c.key FROM cells c JOIN names m ON m.id = c.model"
          " JOIN names t ON t.id = c.task JOIN cell_texts x ON x.cell = c.id JOIN settings s ON s.id = x.settings"
          " WHERE c.id = ?")
      .each([&](Statement& row) { text = text_of(row); }, cell);
  return text;
}

std::optional<CellId> find_cell(Database& database, const std::string& key_prefix) {
  const auto least = key_from(key_prefix, '0'), most = key_from(key_prefix, 'f');
  if (!least || !most || key_prefix.empty() || key_prefix.size() > 2 * least->bytes.size()) return std::nullopt;
  std::vector<CellId> found;
  database.prepared("SELECT id FROM cells WHERE key BETWEEN ? AND ? LIMIT 2")
      .each([&](Statement& row) { found.push_back(row.number<CellId>()); }, *least, *most);
  return found.size() == 1 ? std::optional(found[0]) : std::nullopt;
}

void read_results(Database& database, SweepId sweep, const std::function<void(const ResultRow&)>& visit) {
  Statement& results = database.prepared(
      "SELECT metrics, gpu_seconds, seconds, figures FROM results WHERE cell = ? AND generation = ? ORDER BY chunk");
  Statement& failures =
      database.prepared("SELECT counts, reason FROM failures WHERE cell = ? AND generation = ? ORDER BY id");
  database
      .prepared(
          "SELECT m.name, t.name, x.content, s.text, c.key, w.place, w.cell, w.score, w.generation, c.state,"
          " c.generation FROM wanted w CROSS JOIN cells c ON c.id = w.cell JOIN names m ON m.id = c.model"
          " JOIN names t ON t.id = c.task JOIN cell_texts x ON x.cell = c.id JOIN settings s ON s.id = x.settings"
          " WHERE w.sweep = ? ORDER BY w.place")
      .each(
          [&](Statement& row) {
            ResultRow cell;
            cell.text = text_of(row);
            cell.order = row.number<std::uint32_t>();
            cell.cell = row.number<CellId>();
            cell.score = static_cast<float>(row.real());
            cell.generation = row.number<std::uint16_t>();
            cell.state = value_of<CellState>(row);
            // Somebody asked for it afresh since: what this sweep wanted is there.
            if (row.number<std::uint16_t>() > cell.generation) cell.state = CellState::kDone;
            results.each(
                [&](Statement& result) {
                  cell.metrics.push_back(result.text());
                  cell.gpu_seconds += result.real();
                  cell.seconds += result.real();
                  cell.figures.push_back(result.text());
                },
                cell.cell, cell.generation);
            failures.each(
                [&](Statement& failure) {
                  cell.attempts += static_cast<std::int64_t>(failure.flag());
                  cell.last_reason = failure.text();
                },
                cell.cell, cell.generation);
            cell.attempts += static_cast<std::int64_t>(cell.state == CellState::kDone);
            visit(cell);
          },
          sweep);
}

std::vector<EventRow> read_events(Database& database, std::int64_t after, std::size_t most) {
  std::vector<EventRow> events;
  const auto limit = static_cast<std::int64_t>(std::min<std::size_t>(most, std::numeric_limits<std::int32_t>::max()));
  database
      .prepared(
          "SELECT e.id, e.at, n.name, coalesce(e.sweep, -1), coalesce(e.cell, -1), coalesce(e.job, -1), e.text"
          " FROM events e JOIN names n ON n.id = e.kind WHERE e.id > ? ORDER BY e.id LIMIT ?")
      .each(
          [&](Statement& row) {
            EventRow event;
            event.number = row.integer();
            event.note.at = row.time();
            event.note.kind = row.text();
            event.note.sweep = row.integer();
            event.note.cell = row.integer();
            event.note.job = row.integer();
            event.note.text = row.text();
            events.push_back(std::move(event));
          },
          after, limit);
  return events;
}

row::PutFailure failure_of(Statement& row) {
  row::PutFailure failure;
  failure.cell = row.number<CellId>();
  failure.generation = row.number<std::uint16_t>();
  failure.job = row.number<JobId>();
  failure.cause = value_of<policy::Cause>(row);
  failure.remedy = value_of<policy::Remedy>(row);
  failure.factor = row.real();
  failure.crash = row.flag();
  failure.counts = row.flag();
  failure.nodes = texts_of(row);
  failure.at = row.time();
  failure.reason = row.text();
  return failure;
}

std::vector<row::PutFailure> read_failures(Database& database, CellId cell) {
  std::vector<row::PutFailure> failures;
  database
      .prepared(
          "SELECT cell, generation, job, cause, remedy, factor, crash, counts, nodes, at, reason FROM failures"
          " WHERE cell = ? ORDER BY id")
      .each([&](Statement& row) { failures.push_back(failure_of(row)); }, cell);
  return failures;
}

std::optional<Attempt> read_accepted(Database& database, CellId cell) {
  std::optional<Attempt> found;
  database
      .prepared(
          "SELECT j.name, r.ticket FROM results r JOIN jobs j ON j.id = r.job WHERE r.cell = ?"
          " ORDER BY r.generation DESC, r.chunk LIMIT 1")
      .each(
          [&](Statement& row) {
            Attempt attempt;
            attempt.job = row.text();
            attempt.ticket = row.number<control::Ticket>();
            if (attempt.ticket != control::Ticket{}) found = std::move(attempt);
          },
          cell);
  return found;
}

std::vector<std::string> read_jobs_of(Database& database, CellId cell) {
  std::vector<std::string> names;
  database
      .prepared(
          "SELECT name FROM jobs WHERE id IN (SELECT job FROM results WHERE cell = ?1"
          " UNION SELECT job FROM failures WHERE cell = ?1) ORDER BY id")
      .each([&](Statement& row) { names.push_back(row.text()); }, cell);
  return names;
}

std::string read_matrix(Database& database, SweepId sweep) {
  return first_text(database.prepared("SELECT matrix FROM sweep_texts WHERE sweep = ?"),
                    static_cast<std::int64_t>(index(sweep)));
}

std::string read_rejected(Database& database, SweepId sweep) {
  return first_text(database.prepared("SELECT rejected FROM sweep_texts WHERE sweep = ?"),
                    static_cast<std::int64_t>(index(sweep)));
}

std::vector<std::string> contradictions(Database& database) {
  // Each gives the sentences themselves, so that a new rule is one more row here.
  constexpr std::string_view kRules[] = {
      "SELECT 'cell ' || id || ' is done, and ' || (chunks - there) || ' of its ' || chunks || ' results are missing'"
      " FROM (SELECT c.id, c.chunks, (SELECT count(*) FROM results r WHERE r.cell = c.id AND r.generation ="
      " c.generation AND r.chunk < c.chunks) AS there FROM cells c WHERE c.state = 3) WHERE there < chunks",
      "SELECT 'cell ' || l.cell || ' is ' || CASE c.state WHEN 3 THEN 'done' WHEN 4 THEN 'failed' ELSE 'cancelled' END"
      " || ', and its chunk ' || l.chunk || ' is leased to job ' || l.job"
      " FROM leases l JOIN cells c ON c.id = l.cell WHERE c.state >= 3",
      "SELECT 'chunk ' || l.chunk || ' of cell ' || l.cell || ' is leased, and has its result'"
      " FROM leases l JOIN cells c ON c.id = l.cell JOIN results r ON r.cell = l.cell AND r.chunk = l.chunk"
      " AND r.generation = c.generation",
      "SELECT 'chunk ' || l.chunk || ' of cell ' || l.cell || ' is leased, and the cell has ' || c.chunks"
      " FROM leases l JOIN cells c ON c.id = l.cell WHERE l.chunk >= c.chunks",
      "SELECT 'cell ' || l.cell || ' is leased to job ' || j.name || ', which has ended'"
      " FROM leases l JOIN jobs j ON j.id = l.job WHERE j.state = 6",
      "SELECT 'job ' || name || ' has ended, and nothing says how' FROM jobs WHERE state = 6 AND ended_as IS NULL",
      "SELECT 'cell ' || c.id || ' is wanted by no sweep' FROM cells c"
      " WHERE NOT EXISTS (SELECT 1 FROM wanted w WHERE w.cell = c.id)",
      "SELECT 'sweep ' || w.sweep || ' wants generation ' || w.generation || ' of cell ' || w.cell ||"
      " ', which is not there' FROM wanted w JOIN cells c ON c.id = w.cell WHERE w.generation > c.generation",
      "SELECT 'cell ' || id || ' needs cell ' || depends || ', which was made after it' FROM cells"
      " WHERE depends >= id",
      "SELECT 'there are ' || number || ' cells, and the last is ' || last"
      " FROM (SELECT count(*) AS number, max(id) AS last FROM cells) WHERE last <> number - 1",
      "SELECT 'cell ' || c.id || ' has no content' FROM cells c"
      " WHERE NOT EXISTS (SELECT 1 FROM cell_texts x WHERE x.cell = c.id)",
      "SELECT 'there is no instance' WHERE NOT EXISTS (SELECT 1 FROM store)",
  };
  // A damaged file may break every row of a table: nobody reads more than these.
  constexpr std::size_t kMost = 100;
  std::vector<std::string> found;
  for (const std::string_view rule : kRules)
    Statement(database, rule).each([&](Statement& row) {
      if (found.size() < kMost) found.push_back(row.text());
    });
  return found;
}

}  // namespace orch::store
