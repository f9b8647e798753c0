// From what people type to what it names, with a suggestion where it names nothing.
#include <algorithm>
#include <charconv>

#include "api/views.h"
#include "base/text.h"

namespace orch::api {

using namespace control;

namespace {

/// The number after the letter; nothing when the text is no such id.
std::optional<std::uint32_t> number_after(char letter, std::string_view text) {
  if (text.size() < 2 || text[0] != letter) return std::nullopt;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

constexpr std::size_t kLeastOfKey = 6;

bool is_hexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Whether several cells have a key that begins so: the store says of none and of several the same.
bool several_begin(const State& state, std::string_view prefix) {
  const auto begins = [&](const Cell& cell) { return to_hex(cell.key).starts_with(prefix); };
  const auto first = std::find_if(state.cells.begin(), state.cells.end(), begins);
  return first != state.cells.end() && std::any_of(first + 1, state.cells.end(), begins);
}

Error no_cell(const State& state, std::string_view text) {
  if (const auto number = number_after('c', text)) {
    if (state.cells.empty()) return Error{"no cell " + quote(text) + ": there is none yet"};
    return Error{"no cell " + quote(text) + "; the newest is c" + std::to_string(state.cells.size() - 1)};
  }
  const std::string key = lower(text);
  if (!is_hexadecimal(key))
    return Error{"no cell " + quote(text) +
                 ": a cell is named by its key, the beginning of it, or c and its number (orchctl cells SWEEP lists "
                 "them)"};
  if (key.size() < kLeastOfKey)
    return Error{quote(text) + " is too short to name a cell; give " + std::to_string(kLeastOfKey) +
                 " digits of its key or more"};
  if (several_begin(state, key))
    return Error{"several cells have a key that begins with " + quote(text) + "; give more of it"};
  return Error{"no cell has a key that begins with " + quote(text) + " (orchctl cells SWEEP lists them)"};
}

}  // namespace

std::string id_of(SweepId sweep) { return "s" + std::to_string(index(sweep) + 1); }
std::string id_of(JobId job) { return "j" + std::to_string(index(job)); }
std::string id_of(CellId cell) { return "c" + std::to_string(index(cell)); }

Result<SweepId> find_sweep(const State& state, std::string_view text) {
  const auto number = number_after('s', text);
  if (number && *number >= 1 && *number <= state.sweeps.size()) return SweepId{*number - 1};
  const auto named =
      std::find_if(state.sweeps.rbegin(), state.sweeps.rend(), [&](const Sweep& sweep) { return sweep.name == text; });
  if (named != state.sweeps.rend()) return named->id;
  if (state.sweeps.empty()) return Error{"no sweep " + quote(text) + ": none was submitted yet"};
  const std::string newest = id_of(state.sweeps.back().id);
  if (number) return Error{"no sweep " + quote(text) + "; the newest is " + newest};
  std::vector<std::string> names;
  for (const Sweep& sweep : state.sweeps)
    if (std::find(names.begin(), names.end(), sweep.name) == names.end()) names.push_back(sweep.name);
  const std::string meant = hint(text, names);
  return Error{"no sweep " + quote(text) +
               (meant.empty() ? "; the newest is " + newest + " (" + shown(state.sweeps.back().name) + ")" : meant)};
}

Result<JobId> find_job(const State& state, std::string_view text) {
  const auto number = number_after('j', text);
  if (number && state.jobs.contains(JobId{*number})) return JobId{*number};
  if (const auto named = state.by_name.find(text); named != state.by_name.end()) return named->second;
  // Numbers of a cluster come again in the end: the newest is meant.
  const auto of_cluster = std::find_if(state.jobs.rbegin(), state.jobs.rend(),
                                       [&](const auto& job) { return !text.empty() && job.second.cluster_id == text; });
  if (of_cluster != state.jobs.rend()) return of_cluster->first;
  if (state.jobs.empty()) return Error{"no job " + quote(text) + ": none was submitted yet"};
  return Error{"no job " + quote(text) + "; the newest is " + id_of(state.jobs.rbegin()->first)};
}

Result<CellId> find_cell(const State& state, const store::Store& store, std::string_view text) {
  std::optional<CellId> by_number, by_key;
  if (const auto number = number_after('c', text); number && *number < state.cells.size()) by_number = CellId{*number};
  const std::string key = lower(text);
  if (key.size() >= kLeastOfKey && is_hexadecimal(key)) by_key = store.cell_with_key(key);
  // The beginning of a key may look like a number.
  if (by_number && by_key && *by_number != *by_key)
    return Error{quote(text) + " is the number of one cell and the beginning of another's key; give more of the key"};
  if (by_number) return *by_number;
  if (by_key) return *by_key;
  return no_cell(state, text);
}

Result<JobOrCell> find_job_or_cell(const State& state, const store::Store& store, std::string_view text) {
  if (const auto job = find_job(state, text)) return JobOrCell(*job);
  if (number_after('j', text)) return find_job(state, text).error();
  const auto cell = find_cell(state, store, text);
  if (!cell) return cell.error();
  return JobOrCell(*cell);
}

Result<CellState> cell_state_named(std::string_view name) {
  std::vector<std::string> known;
  for (const CellState state : kCellStates) {
    if (name_of(state) == name) return state;
    known.emplace_back(name_of(state));
  }
  return Error{"no state " + quote(name) + " of a cell" + hint_sentence(name, known) + " There are " +
               join(known, ", ") + "."};
}

}  // namespace orch::api
