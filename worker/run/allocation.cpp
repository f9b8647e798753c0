#include "run/allocation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/text.h"

namespace orch::worker {
namespace {

constexpr std::size_t kMostNodes = 100'000;
constexpr std::size_t kMostDigits = 18;
constexpr std::int64_t kMostGpus = 1024;  // of a node

const std::string& value_of(const Environment& environment, const std::string& name) {
  static const std::string kNone;
  const auto at = environment.find(name);
  return at == environment.end() ? kNone : at->second;
}

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= kMostDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string padded(std::int64_t number, std::size_t width) {
  std::string digits = std::to_string(number);
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return digits;
}

/// `1-3,07` as its numbers, padded like their first; false: it is no such list.
bool expand_range(std::string_view list, std::vector<std::string>& numbers) {
  for (const std::string_view part : split(list, ',')) {
    const std::size_t dash = part.find('-');
    const auto from = part.substr(0, dash), to = dash == std::string_view::npos ? from : part.substr(dash + 1);
    if (!is_number(from) || !is_number(to)) return false;
    const auto first = *number_of(from), last = *number_of(to);
    if (last < first || last - first >= static_cast<std::int64_t>(kMostNodes)) return false;
    for (std::int64_t number = first; number <= last; ++number) numbers.push_back(padded(number, from.size()));
    if (numbers.size() > kMostNodes) return false;
  }
  return true;
}

/// One entry of a list; its brackets one after another.
bool expand_entry(std::string_view entry, std::vector<std::string>& hosts) {
  std::vector<std::string> done = {""};
  while (!entry.empty()) {
    const std::size_t open = entry.find('[');
    const std::string plain(entry.substr(0, open));
    if (plain.find(']') != std::string::npos) return false;
    for (std::string& host : done) host += plain;
    if (open == std::string_view::npos) break;
    const std::size_t close = entry.find(']', open);
    std::vector<std::string> numbers, longer;
    if (close == std::string_view::npos || !expand_range(entry.substr(open + 1, close - open - 1), numbers))
      return false;
    if (done.size() * numbers.size() > kMostNodes) return false;
    for (const std::string& host : done)
      for (const std::string& number : numbers) longer.push_back(host + number);
    done = std::move(longer);
    entry.remove_prefix(close + 1);
  }
  for (std::string& host : done) {
    if (host.empty()) return false;
    hosts.push_back(std::move(host));
  }
  return hosts.size() <= kMostNodes;
}

std::vector<std::string> first_numbers(std::int64_t count) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < std::min(count, kMostGpus); ++i) names.push_back(std::to_string(i));
  return names;
}

/// As CUDA_VISIBLE_DEVICES names them. A job that asked for none has none, whatever the site's environment says.
std::vector<std::string> gpus_of(const Environment& environment, const wire::JobFile& job) {
  if (job.gpus == 0) return {};
  if (environment.contains("CUDA_VISIBLE_DEVICES")) {
    std::vector<std::string> names;
    for (const std::string_view name : split(value_of(environment, "CUDA_VISIBLE_DEVICES"), ','))
      if (!name.empty() && name != "NoDevFiles") names.emplace_back(name);
    return names;
  }
  const auto on_node = number_of(value_of(environment, "SLURM_GPUS_ON_NODE"));
  return first_numbers(on_node && *on_node > 0 ? *on_node : job.gpus);
}

std::chrono::seconds time_of(const Environment& environment, const wire::JobFile& job,
                             std::chrono::system_clock::time_point now) {
  const auto since_1970 = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  // An end that has passed is another clock's.
  if (const auto end = number_of(value_of(environment, "SLURM_JOB_END_TIME")); end && *end > since_1970)
    return std::chrono::seconds(std::min<std::int64_t>(*end - since_1970, 300'000'000));
  return std::chrono::seconds(static_cast<std::int64_t>(std::clamp(job.time, 0.0, 3e8)));
}

bool starts_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view one) { return name.starts_with(one); });
}

}  // namespace

Environment environment_of(char* const* variables) {
  Environment environment;
  for (; variables && *variables; ++variables) {
    const std::string_view text = *variables;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

Result<std::vector<std::string>> expand_nodes(std::string_view list) {
  const Error wrong{quote(list) + " is no list of nodes such as gpu[1-3,7]"};
  std::vector<std::string> hosts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && list[i] == '[') ++depth;
    if (i < list.size() && list[i] == ']') --depth;
    if (depth < 0 || depth > 1) return wrong;
    if (i < list.size() && (list[i] != ',' || depth > 0)) continue;
    if (!expand_entry(list.substr(begin, i - begin), hosts) || i == begin) return wrong;
    begin = i + 1;
  }
  return hosts;
}

Result<LoopOptions> allocation_of(const Environment& environment, const wire::JobFile& job,
                                  std::chrono::system_clock::time_point now) {
  LoopOptions options;
  options.cluster_id = value_of(environment, "SLURM_JOB_ID");
  if (options.cluster_id.empty())
    return Error{"SLURM_JOB_ID is not set: the worker is started by the job's script, within a job of the cluster"};
  options.restarts = static_cast<int>(
      std::clamp<std::int64_t>(number_of(value_of(environment, "SLURM_RESTART_COUNT")).value_or(0), 0, 1'000'000));
  if (const std::string& list = value_of(environment, "SLURM_JOB_NODELIST"); !list.empty()) {
    auto nodes = expand_nodes(list);
    if (!nodes) return Error{"SLURM_JOB_NODELIST: " + nodes.error().what};
    options.nodes = *std::move(nodes);
  }
  options.spread = std::max(job.nodes, 1);
  options.gpus = gpus_of(environment, job);
  options.cpus = std::max(job.cpus, 1);
  options.memory = job.memory;
  options.time = time_of(environment, job, now);
  options.drain = std::chrono::seconds(static_cast<std::int64_t>(std::clamp(job.drain, 0.0, 3e8)));
  options.environment = for_programs(environment);
  return options;
}

std::vector<std::string> for_programs(const Environment& environment) {
  std::vector<std::string> kept;
  for (const auto& [name, value] : environment) {
    if (starts_with_any(name, {"PMI_", "PMI2_", "PMIX_", "OMPI_", "OPAL_", "ORTE_", "PRTE_", "HYDRA_", "HYDI_"}))
      continue;
    // What is said of the job stays; what is said of its step, its tasks and their ranks goes.
    if (name.starts_with("SLURM_") &&
        !starts_with_any(name, {"SLURM_JOB_", "SLURM_JOBID", "SLURM_ARRAY_", "SLURM_SUBMIT_", "SLURM_CLUSTER_NAME",
                                "SLURM_CONF", "SLURM_RESTART_COUNT", "SLURM_NODELIST", "SLURM_TMPDIR"}))
      continue;
    kept.push_back(std::string(name).append("=").append(value));
  }
  return kept;
}

}  // namespace orch::worker
