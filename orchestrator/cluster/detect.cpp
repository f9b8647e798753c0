#include "cluster/detect.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"
#include "cluster/process.h"

namespace orch::cluster {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::size_t kMostOutput = 16u << 20;
constexpr std::size_t kMostRows = 100'000;
constexpr std::size_t kMostPartitions = 1000;  // what a cluster file may hold
constexpr std::size_t kMostComments = 20;      // of a partition, or of the lines that were not understood
constexpr std::int64_t kMostNodes = 100'000;
constexpr std::int64_t kMostGpus = 64;
constexpr std::int64_t kMostCpus = 100'000;
constexpr std::int64_t kMostMib = 900'000'000;

// The partition comes last: whatever stands in its name, the fields before it are found.
constexpr std::string_view kFormat = "%D|%c|%m|%l|%s|%h|%a|%G|%R";
constexpr std::size_t kFields = 9;

/// GPUs of one type on a node.
struct NodeGpus {
  std::string type;  ///< empty: Slurm does not say
  std::int64_t count = 0;
};

/// Nodes of one configuration in one partition: a line of sinfo.
struct Row {
  std::int64_t nodes = 0;
  std::int64_t cpus = 0;
  std::int64_t mib = 0;
  std::string time, size, oversubscribe, state;
  std::vector<NodeGpus> gpus;
  bool shared = false;  ///< has shards or MPS
  std::string partition;
};

/// `64`, `64+` (at least: nodes that differ were grouped), `1.50K` (of 1,024). Bounded; nothing for anything else.
std::optional<std::int64_t> number_of(std::string_view text) {
  text = trim(text);
  if (text.ends_with('+')) text.remove_suffix(1);
  double scale = 1;
  if (!text.empty())
    if (const std::size_t unit = std::string_view("KMG").find(text.back()); unit != std::string_view::npos) {
      scale = std::pow(1024.0, static_cast<double>(unit + 1));
      text.remove_suffix(1);
    }
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789.") != std::string_view::npos)
    return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  value *= scale;
  if (!(value >= 0 && value < 1e15)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

/// Splits at commas outside brackets: `gpu:h100:8(S:0,2),shard:h100:32`.
std::vector<std::string_view> split_gres(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')' && depth > 0) --depth;
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  return parts;
}

void read_gres(std::string_view text, Row& row) {
  if (text == "(null)" || text == "N/A") return;
  for (std::string_view part : split_gres(text)) {
    part = trim(part.substr(0, part.find('(')));
    const std::vector<std::string_view> words = split(part, ':');
    if (words.front() == "shard" || words.front() == "mps") row.shared = true;
    if (words.front() != "gpu" || words.size() > 3) continue;
    // `gpu`, `gpu:4`, `gpu:h100`, `gpu:h100:4`.
    NodeGpus gpus{"", 1};
    if (words.size() == 3) {
      gpus = {std::string(words[1]), number_of(words[2]).value_or(0)};
    } else if (words.size() == 2) {
      if (const auto count = number_of(words[1]))
        gpus.count = *count;
      else
        gpus.type = words[1];
    }
    if (gpus.count <= 0) continue;
    gpus.count = std::min<std::int64_t>(gpus.count, 1'000'000);
    const auto same = std::ranges::find(row.gpus, gpus.type, &NodeGpus::type);
    if (same == row.gpus.end())
      row.gpus.push_back(std::move(gpus));
    else
      same->count = std::min<std::int64_t>(same->count + gpus.count, 1'000'000);
  }
}

std::optional<Row> read_row(std::string_view line) {
  std::vector<std::string_view> fields;
  while (fields.size() + 1 < kFields) {
    const std::size_t bar = line.find('|');
    if (bar == std::string_view::npos) return std::nullopt;
    fields.push_back(line.substr(0, bar));
    line.remove_prefix(bar + 1);
  }
  Row row;
  const auto nodes = number_of(fields[0]), cpus = number_of(fields[1]), mib = number_of(fields[2]);
  if (!nodes || !cpus || !mib || line.empty()) return std::nullopt;
  row.nodes = *nodes;
  row.cpus = *cpus;
  row.mib = *mib;
  row.time = trim(fields[3]);
  row.size = trim(fields[4]);
  row.oversubscribe = trim(fields[5]);
  row.state = trim(fields[6]);
  read_gres(trim(fields[7]), row);
  row.partition = trim(line);
  return row;
}

/// `Key = value` of `scontrol show config`; the first of that name.
std::string config_value(std::string_view config, std::string_view key) {
  for (std::string_view line : split(config, '\n')) {
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos && trim(line.substr(0, equals)) == key)
      return std::string(trim(line.substr(equals + 1)));
  }
  return "";
}

/// A name for comparing: `NVIDIA_H100-80GB` and `h100_80gb` are one.
std::string folded(std::string_view name) {
  std::string text = lower(name);
  std::ranges::replace(text, '-', '_');
  for (std::string_view prefix : {"nvidia_", "tesla_", "geforce_"})
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  return text;
}

struct Match {
  const Gpu* gpu = nullptr;
  bool typed = false;  ///< the site calls it what scripts will: the first of the catalog's names for it
  std::string doubt;   ///< what a person must check; empty: nothing
};

/// Smallest memory first: planned for it, a job fits whatever the GPU is.
const Gpu* smallest_gpu(const Catalog& catalog) {
  const Gpu* smallest = nullptr;
  for (const Gpu& gpu : catalog.gpus.all())
    if (!smallest || gpu.memory < smallest->memory) smallest = &gpu;
  return smallest;
}

Match match_gpu(const std::string& type, const Catalog& catalog) {
  Match match;
  std::vector<std::string> names;
  std::vector<const Gpu*> of_name;
  for (const Gpu& gpu : catalog.gpus.all()) {
    if (std::ranges::find(gpu.slurm_names, type) != gpu.slurm_names.end() && !match.gpu) {
      match.gpu = &gpu;
      match.typed = gpu.slurm_names.front() == type;
    }
    names.push_back(folded(gpu.name));
    of_name.push_back(&gpu);
    for (const std::string& name : gpu.slurm_names) {
      names.push_back(folded(name));
      of_name.push_back(&gpu);
    }
  }
  if (match.gpu) return match;
  const Gpu* smallest = smallest_gpu(catalog);
  const std::string fallback = "; the one with the least memory is taken, so that what is planned fits";
  if (type.empty()) return {smallest, false, "Slurm does not say which GPUs these are" + fallback};
  const std::string wanted = folded(type);
  auto at = std::ranges::find(names, wanted);
  if (at != names.end()) return {of_name[static_cast<std::size_t>(at - names.begin())], false, ""};
  if (const auto near = nearest(wanted, names)) {
    at = std::ranges::find(names, *near);
    return {of_name[static_cast<std::size_t>(at - names.begin())], false,
            "Slurm calls these GPUs " + quote(type) + "; the nearest in the catalog is taken"};
  }
  return {smallest, false, "Slurm calls these GPUs " + quote(type) + ", and the catalog has none like it" + fallback};
}

/// In double quotes, whatever the text holds.
std::string yaml_text(std::string_view text) {
  std::string out = "\"";
  for (char c : shown(text, 400)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// What a partition of the draft says.
struct Drafted {
  std::string name;
  const Gpu* gpu = nullptr;
  bool typed = false;
  std::int64_t nodes = 0, gpus = 0, cpus = 0, mib = 0, max_nodes = 0;
  std::string max_time;
  bool exclusive = false, shared = false;
  std::vector<std::string> comments;
};

/// The longest run of a job in seconds and as Slurm wrote it; nothing: no limit, or it was not understood.
void read_time(const Row& row, Drafted& drafted) {
  if (row.time == "infinite" || row.time == "UNLIMITED" || row.time.empty() || row.time == "n/a") return;
  const auto seconds = parse_duration(row.time);
  if (!seconds || *seconds < 60 || *seconds > Fields::kLongest) {
    drafted.comments.push_back("the time limit " + quote(row.time) + " was not understood and is left out");
    return;
  }
  drafted.max_time = format_slurm_time(static_cast<std::int64_t>(*seconds));
}

/// `1-infinite`, `1-4`, `4`.
void read_size(const Row& row, Drafted& drafted) {
  const std::size_t dash = row.size.find('-');
  const std::string most = dash == std::string::npos ? row.size : row.size.substr(dash + 1);
  if (most == "infinite" || most.empty()) return;
  if (const auto count = number_of(most); count && *count >= 1)
    drafted.max_nodes = *count;
  else
    drafted.comments.push_back("the limit of nodes " + quote(row.size) + " was not understood and is left out");
}

/// Bounds a figure to what a cluster file may hold, with a comment when that changes it.
void bound(std::int64_t& value, std::int64_t least, std::int64_t most, const char* what, Drafted& drafted) {
  const std::int64_t bounded = std::clamp(value, least, most);
  if (bounded != value)
    drafted.comments.push_back(std::string("Slurm says ") + grouped(value) + " " + what + "; taken as " +
                               grouped(bounded));
  value = bounded;
}

/// One partition from its lines. Nothing when it has no GPUs.
std::optional<Drafted> draft_partition(const std::string& name, const std::vector<Row>& rows, bool whole_nodes,
                                       const Catalog& catalog) {
  // A partition of the file has one kind of GPU: the one of which there are most.
  std::map<std::string, std::int64_t> totals;
  for (const Row& row : rows)
    for (const NodeGpus& gpus : row.gpus)
      totals[gpus.type] += std::min<std::int64_t>(row.nodes, kMostNodes) * gpus.count;
  std::string type;
  std::int64_t most = 0;
  for (const auto& [candidate, total] : totals)
    if (total > most) {
      type = candidate;
      most = total;
    }
  if (most == 0) return std::nullopt;

  Drafted drafted;
  drafted.name = name;
  const Match match = match_gpu(type, catalog);
  drafted.gpu = match.gpu;
  drafted.typed = match.typed && totals.size() == 1;
  if (!match.doubt.empty()) drafted.comments.push_back("CHECK: " + match.doubt);
  if (totals.size() > 1) {
    std::string others;
    for (const auto& [other, total] : totals)
      if (other != type)
        others += (others.empty() ? "" : ", ") + (other.empty() ? std::string("no type") : quote(other));
    drafted.comments.push_back(
        "CHECK: GPUs of other types (" + shown(others, 200) +
        ") are in this partition too and are not described; a constraint must keep jobs off them");
  }

  std::set<std::string> shapes;
  std::int64_t without = 0, most_gpus = 0, most_cpus = 0, most_mib = 0;
  bool first = true, all_shared = true, any_shared = false;
  for (const Row& row : rows) {
    const auto gpus = std::ranges::find(row.gpus, type, &NodeGpus::type);
    if (gpus == row.gpus.end()) {
      without = std::min(without + row.nodes, kMostNodes);
      continue;
    }
    shapes.insert(std::to_string(gpus->count) + "/" + std::to_string(row.cpus) + "/" + std::to_string(row.mib));
    drafted.nodes = std::min(drafted.nodes + row.nodes, 10 * kMostNodes);
    drafted.gpus = first ? gpus->count : std::min(drafted.gpus, gpus->count);
    drafted.cpus = first ? row.cpus : std::min(drafted.cpus, row.cpus);
    drafted.mib = first ? row.mib : std::min(drafted.mib, row.mib);
    most_gpus = std::max(most_gpus, gpus->count);
    most_cpus = std::max(most_cpus, row.cpus);
    most_mib = std::max(most_mib, row.mib);
    any_shared = any_shared || row.shared;
    all_shared = all_shared && row.shared;
    first = false;
  }
  if (shapes.size() > 1)
    drafted.comments.push_back("nodes differ (up to " + counted(most_gpus, "GPU") + ", " + counted(most_cpus, "CPU") +
                               ", " + grouped(most_mib) + " MiB); the smallest of each is taken");
  if (without > 0) drafted.comments.push_back(counted(without, "node") + " without these GPUs left out");
  drafted.shared = all_shared;
  if (any_shared && !all_shared)
    drafted.comments.push_back("only some nodes have shards or MPS; shares_gpus is left out");

  // Limits are the partition's, the same in each of its lines.
  const Row& any = rows.front();
  read_time(any, drafted);
  read_size(any, drafted);
  drafted.exclusive = whole_nodes || lower(any.oversubscribe) == "exclusive";
  if (any.state != "up") drafted.comments.push_back("the partition is " + quote(any.state) + " at the moment");
  bound(drafted.nodes, 1, kMostNodes, "nodes", drafted);
  bound(drafted.gpus, 1, kMostGpus, "GPUs of a node", drafted);
  bound(drafted.cpus, 1, kMostCpus, "CPUs of a node", drafted);
  bound(drafted.mib, 1, kMostMib, "MiB of a node", drafted);
  // A limit that no job can reach is none.
  if (drafted.max_nodes >= drafted.nodes) drafted.max_nodes = 0;
  return drafted;
}

void write_partition(std::string& out, const Drafted& drafted) {
  std::size_t written = 0;
  for (const std::string& comment : drafted.comments)
    if (written++ < kMostComments) out += "    # " + comment + "\n";
  out += "    " + yaml_text(drafted.name) + ":\n";
  const auto line = [&](const char* key, const std::string& value) {
    out += std::string("      ") + key + ": " + value + "\n";
  };
  line("gpu", yaml_text(drafted.gpu->name));
  line("nodes", std::to_string(drafted.nodes));
  line("gpus_per_node", std::to_string(drafted.gpus));
  line("cpus_per_node", std::to_string(drafted.cpus));
  line("memory_per_node", std::to_string(drafted.mib) + "MiB");
  if (!drafted.max_time.empty()) line("max_time", "\"" + drafted.max_time + "\"");
  if (drafted.max_nodes > 0) line("max_nodes", std::to_string(drafted.max_nodes));
  if (drafted.exclusive) line("exclusive", "true");
  if (drafted.shared) line("shares_gpus", "true");
}

Result<std::string> ask(const std::vector<std::string>& argv) {
  auto ran = run_program(argv, kPatience, kMostOutput);
  if (ran) return std::move(ran->out);
  if (ran.error().kind == RunFailure::kNotFound)
    return Error{ran.error().what +
                 ": there is no Slurm here; run this on a login node, or write the cluster file by hand "
                 "(docs/formats.md)"};
  return Error{ran.error().what};
}

}  // namespace

std::vector<std::string> sinfo_arguments() {
  return {"sinfo", "--noheader", "--exact", "--noconvert", "--format", std::string(kFormat)};
}

Result<Answers> ask_slurm() {
  Answers answers;
  auto sinfo = ask(sinfo_arguments());
  if (!sinfo) return sinfo.error();
  answers.sinfo = std::move(*sinfo);
  auto config = ask({"scontrol", "show", "config"});
  if (!config) return config.error();
  answers.config = std::move(*config);
  return answers;
}

Result<std::string> draft(const Answers& answers, const Catalog& catalog) {
  if (catalog.gpus.size() == 0) return Error{"the catalog describes no GPU, so none of the cluster's can be named"};
  std::vector<std::string> order;  // of partitions, as sinfo lists them
  std::map<std::string, std::vector<Row>> partitions;
  std::vector<std::string> remarks;
  const auto remark = [&](const std::string& text) {
    if (remarks.size() < kMostComments) remarks.push_back(text);
  };
  std::size_t rows = 0;
  for (std::string_view line : split(answers.sinfo, '\n')) {
    if (trim(line).empty()) continue;
    if (++rows > kMostRows) {
      remark("sinfo said more than " + grouped(static_cast<long long>(kMostRows)) + " lines; the rest is left out");
      break;
    }
    auto row = read_row(line);
    if (!row) {
      remark("sinfo said " + quote(line) + ", which was not understood and is left out");
      continue;
    }
    if (!is_name(row->partition)) {
      remark("the partition " + quote(row->partition) + " has a name that a cluster file cannot hold, and is left out");
      continue;
    }
    auto [at, added] = partitions.try_emplace(row->partition);
    if (added) order.push_back(row->partition);
    at->second.push_back(std::move(*row));
  }
  // The whole node goes to one job whatever a partition says.
  const bool whole_nodes = config_value(answers.config, "SelectType") == "select/linear";
  std::vector<Drafted> drafted;
  bool typed = true;
  for (const std::string& name : order) {
    auto one = draft_partition(name, partitions[name], whole_nodes, catalog);
    if (!one) {
      remark("the partition " + quote(name) + " has no GPUs and is left out");
      continue;
    }
    if (drafted.size() == kMostPartitions) {
      remark("there are more than " + grouped(static_cast<long long>(kMostPartitions)) +
             " partitions; the rest is left out");
      break;
    }
    typed = typed && one->typed;
    drafted.push_back(std::move(*one));
  }
  if (drafted.empty())
    return Error{"Slurm shows no partition with GPUs (" + counted(static_cast<long long>(order.size()), "partition") +
                 "); are its GPUs in gres.conf, and may you see their partition?" +
                 (remarks.empty() ? std::string() : " " + remarks.front())};

  std::string name = config_value(answers.config, "ClusterName");
  if (!is_name(name)) {
    remark("CHECK: the cluster's name was not found; scontrol show config said " + quote(name));
    name = "cluster";
  }
  const std::string version = config_value(answers.config, "SLURM_VERSION");
  std::string out = "# Drafted from sinfo and scontrol show config";
  if (!version.empty()) out += " (Slurm " + shown(version, 40) + ")";
  out +=
      ".\n# Slurm does not know your account, modules or containers: read this through, and add 'submit' "
      "(docs/formats.md).\n";
  for (const std::string& text : remarks) out += "# " + text + "\n";
  out += "cluster:\n  name: " + yaml_text(name) + "\n  request: gres\n";
  if (!typed)
    out +=
        "  # Slurm's names of the GPUs are not those that scripts would use, so jobs ask for GPUs without naming a "
        "type.\n"
        "  gres_typed: false\n";
  out += "  partitions:\n";
  for (const Drafted& one : drafted) write_partition(out, one);
  return out;
}

}  // namespace orch::cluster
