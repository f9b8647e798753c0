#include "cluster/slurm_answers.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "cluster/slurm_states.h"

namespace orch::cluster {

using control::event::Seen;

// The fields that cannot hold the separator stand first. The first one tells a job's line from the rest of a name that
// has line breaks in it.
const char* const kQueueFormat = "orch|%A|%T|%N|%j|%r";
const char* const kAccountingFields = "JobIDRaw,State,ExitCode,DerivedExitCode,NodeList,JobName";

namespace {

constexpr std::size_t kMostNodes = 100'000;  // of one job

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 10 && std::ranges::all_of(text, is_digit);
}

Error not_read(std::string_view program, std::string_view what, std::string_view line) {
  return Error{"the answer of " + std::string(program) + " was not understood: " + std::string(what) + " in " +
               quote(line)};
}

/// Whole lines: an answer that was cut off does not end with one.
Result<std::vector<std::string_view>> lines_of(std::string_view program, std::string_view out) {
  if (out.empty()) return std::vector<std::string_view>{};
  if (out.back() != '\n') {
    const std::size_t last = out.rfind('\n');
    return not_read(program, "it breaks off", out.substr(last == std::string_view::npos ? 0 : last + 1));
  }
  return split(out.substr(0, out.size() - 1), '\n');
}

/// The next field of `rest`, which is cut from it with its separator.
std::optional<std::string_view> take_field(std::string_view& rest) {
  const std::size_t end = rest.find('|');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return field;
}

struct ExitCode {
  int code = 0;
  int signal = 0;
};

std::optional<ExitCode> read_exit_code(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view parts[] = {text.substr(0, colon), text.substr(colon + 1)};
  int numbers[2] = {};
  for (int i = 0; i < 2; ++i) {
    if (!is_number(parts[i]) || parts[i].size() > 6) return std::nullopt;
    std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), numbers[i]);
  }
  return ExitCode{numbers[0], numbers[1]};
}

/// ` (exit code 1)`, ` (signal 9)`, or nothing.
std::string in_words(const ExitCode& exit) {
  if (exit.signal != 0) return " (signal " + std::to_string(exit.signal) + ")";
  if (exit.code != 0) return " (exit code " + std::to_string(exit.code) + ")";
  return "";
}

/// A state is one or more words of capitals, as Slurm writes them; what else stands there is no state of any release.
bool looks_like_state(std::string_view text) {
  return !text.empty() && text.size() <= 100 && text.front() >= 'A' && text.front() <= 'Z' &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == ',' || c == ' ' || c == 'b' || c == 'y';
         });
}

/// Brackets belong to a name as far as the next comma outside of them.
std::optional<std::vector<std::string_view>> split_outside_brackets(std::string_view list) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  bool inside = false;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i == list.size() || (list[i] == ',' && !inside)) {
      if (inside) return std::nullopt;
      parts.push_back(list.substr(begin, i - begin));
      begin = i + 1;
    } else if (list[i] == '[' || list[i] == ']') {
      if (inside == (list[i] == '[')) return std::nullopt;
      inside = !inside;
    }
  }
  return parts;
}

bool is_node_name_part(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' || c == '_' || c == '-';
  });
}

/// `1-2,05` → `1`, `2`, `05`, each after every one of `heads`.
bool expand_ranges(std::string_view ranges, std::vector<std::string>& heads) {
  std::vector<std::string> numbers;
  for (const std::string_view range : split(ranges, ',')) {
    const std::size_t dash = range.find('-');
    const std::string_view first = range.substr(0, dash);
    const std::string_view last = dash == std::string_view::npos ? first : range.substr(dash + 1);
    if (!is_number(first) || !is_number(last)) return false;
    std::uint64_t from = 0, to = 0;
    std::from_chars(first.data(), first.data() + first.size(), from);
    std::from_chars(last.data(), last.data() + last.size(), to);
    if (to < from || to - from >= kMostNodes || numbers.size() + (to - from) >= kMostNodes) return false;
    for (std::uint64_t n = from; n <= to; ++n) {
      std::string digits = std::to_string(n);
      if (digits.size() < first.size()) digits.insert(0, first.size() - digits.size(), '0');
      numbers.push_back(std::move(digits));
    }
  }
  if (heads.size() * numbers.size() > kMostNodes) return false;
  std::vector<std::string> longer;
  for (const std::string& head : heads)
    for (const std::string& number : numbers) longer.push_back(head + number);
  heads = std::move(longer);
  return true;
}

/// One name with any number of brackets.
bool expand_name(std::string_view pattern, std::vector<std::string>& names) {
  if (pattern.empty() || pattern.front() == '[' || pattern.size() > 10'000) return false;
  std::vector<std::string> heads = {""};
  while (!pattern.empty()) {
    const std::size_t open = pattern.find('[');
    const std::string_view plain = pattern.substr(0, open);
    if (!is_node_name_part(plain)) return false;
    for (std::string& head : heads) head += plain;
    if (open == std::string_view::npos) break;
    const std::size_t close = pattern.find(']', open);
    if (!expand_ranges(pattern.substr(open + 1, close - open - 1), heads)) return false;
    pattern.remove_prefix(close + 1);
  }
  if (names.size() + heads.size() > kMostNodes) return false;
  names.insert(names.end(), heads.begin(), heads.end());
  return true;
}

/// What every command says of a job, checked. None: something in it is not what Slurm writes.
std::optional<Seen> seen_of(std::string_view name, std::string_view id, std::string_view state,
                            std::string_view nodes) {
  if (!is_number(id) || !looks_like_state(state)) return std::nullopt;
  auto names = read_nodes(nodes);
  if (!names) return std::nullopt;
  const Meaning meaning = meaning_of(state);
  return Seen{std::string(name), std::string(id), meaning.phase, meaning.end, std::string(state), std::move(*names)};
}

/// The value of ` key=` in one line of scontrol's, up to the next blank.
std::optional<std::string_view> value_of(std::string_view line, std::string_view key) {
  std::size_t at = 0;
  while ((at = line.find(key, at)) != std::string_view::npos) {
    const std::size_t end = at + key.size();
    if ((at == 0 || line[at - 1] == ' ') && end < line.size() && line[end] == '=') {
      const std::string_view rest = line.substr(end + 1);
      return rest.substr(0, rest.find(' '));
    }
    at = end;
  }
  return std::nullopt;
}

}  // namespace

bool is_job_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !name.empty() && name.size() <= kLongestJobName && letter(name.front()) &&
         std::ranges::all_of(name,
                             [&](char c) { return letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-'; });
}

Result<std::string> read_submitted(std::string_view out) {
  const auto lines = lines_of("sbatch", out);
  if (!lines) return lines.error();
  if (lines->empty()) return Error{"sbatch said nothing"};
  if (lines->size() != 1) return not_read("sbatch", "more than one line", out);
  const std::string_view id = lines->front().substr(0, lines->front().find(';'));
  if (!is_number(id)) return not_read("sbatch", "no job id", lines->front());
  return std::string(id);
}

Result<std::vector<Seen>> read_queue(std::string_view out, std::string_view prefix) {
  const auto lines = lines_of("squeue", out);
  if (!lines) return lines.error();
  std::vector<Seen> jobs;
  bool after_a_stranger = false;
  for (const std::string_view line : *lines) {
    std::string_view rest = line;
    if (take_field(rest) != "orch") {
      if (after_a_stranger) continue;  // the rest of its name
      return not_read("squeue", "a line without a job", line);
    }
    const auto id = take_field(rest), state = take_field(rest), nodes = take_field(rest);
    if (!id || !state || !nodes) return not_read("squeue", "too few fields", line);
    after_a_stranger = !rest.starts_with(prefix);
    if (after_a_stranger) continue;
    const auto name = take_field(rest);
    if (!name || !is_job_name(*name)) {
      // Our names have no such characters: somebody gave a job of his own a name that begins like ours.
      after_a_stranger = true;
      continue;
    }
    auto seen = seen_of(*name, *id, *state, *nodes);
    if (!seen) return not_read("squeue", "no job id, state or list of nodes", line);
    if (!rest.empty() && rest != "None") seen->says += " (" + shown(rest, 200) + ")";
    jobs.push_back(std::move(*seen));
  }
  return jobs;
}

Result<std::vector<Seen>> read_accounting(std::string_view out, std::span<const std::string> names) {
  const auto lines = lines_of("sacct", out);
  if (!lines) return lines.error();
  std::vector<Seen> jobs;
  for (const std::string_view line : *lines) {
    std::string_view rest = line;
    const auto id = take_field(rest), state = take_field(rest), exit = take_field(rest), derived = take_field(rest),
               nodes = take_field(rest);
    if (!id || !state || !exit || !derived || !nodes) return not_read("sacct", "too few fields", line);
    if (std::ranges::find(names, rest) == names.end()) return not_read("sacct", "a job that was not asked for", line);
    auto seen = seen_of(rest, *id, *state, *nodes);
    if (!seen) return not_read("sacct", "no job id, state or list of nodes", line);
    const auto exit_code = read_exit_code(*exit), derived_code = read_exit_code(*derived);
    if (!exit_code || !derived_code) return not_read("sacct", "no exit code", line);
    const std::string said = in_words(*exit_code);
    seen->says += !said.empty() ? said : in_words(*derived_code);
    jobs.push_back(std::move(*seen));
  }
  return jobs;
}

Result<std::optional<Seen>> read_job(std::string_view out, std::string_view name) {
  auto lines = lines_of("scontrol", out);
  if (!lines) return lines.error();
  while (!lines->empty() && trim(lines->back()).empty()) lines->pop_back();
  if (lines->size() != 1) return not_read("scontrol", "not one line", out);
  const std::string_view line = lines->front();
  const auto id = value_of(line, "JobId"), its_name = value_of(line, "JobName"), state = value_of(line, "JobState"),
             exit = value_of(line, "ExitCode");
  if (!line.starts_with("JobId=") || !id || !its_name || !state || !exit)
    return not_read("scontrol", "too few fields", line);
  if (*its_name != name) return std::optional<Seen>{};
  auto seen = seen_of(name, *id, *state, value_of(line, "NodeList").value_or(""));
  const auto code = read_exit_code(*exit);
  if (!seen || !code) return not_read("scontrol", "no job id, state, exit code or list of nodes", line);
  seen->says += in_words(*code);
  const std::string_view reason = value_of(line, "Reason").value_or("None");
  if (in_words(*code).empty() && reason != "None" && !reason.empty()) seen->says += " (" + shown(reason, 200) + ")";
  return std::optional<Seen>(std::move(*seen));
}

Result<std::vector<std::string>> read_nodes(std::string_view list) {
  std::vector<std::string> names;
  if (list.empty() || list == "(null)" || list == "None assigned" || list == "None") return names;
  const auto parts = split_outside_brackets(list);
  if (!parts) return Error{quote(list) + " is no list of nodes: its brackets do not match"};
  for (const std::string_view part : *parts)
    if (!expand_name(part, names)) return Error{quote(list) + " is no list of nodes: " + quote(part)};
  return names;
}

std::optional<std::string> read_version(std::string_view out) {
  std::string_view text = trim(out);
  for (const std::string_view product : {"slurm-wlm ", "slurm "})
    if (text.starts_with(product)) {
      text.remove_prefix(product.size());
      const bool fits = !text.empty() && text.size() <= 30 && is_digit(text.front()) && is_node_name_part(text);
      return fits ? std::optional(std::string(text)) : std::nullopt;
    }
  return std::nullopt;
}

}  // namespace orch::cluster
