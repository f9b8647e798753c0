#include "planner/script.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "base/units.h"

namespace orch::planner {
namespace {

using nlohmann::ordered_json;

/// The levels of settings for the submission, innermost first.
std::array<const Submit*, 4> levels_of(std::uint32_t profile, const Placement& place, const Site& site) {
  return {&site.submit, &site.catalog.profiles[profile].submit, &site.cluster.partitions[place.partition].submit,
          &site.cluster.submit};
}

Submit joined(const std::array<const Submit*, 4>& levels) {
  return levels[0]->over(*levels[1]).over(*levels[2]).over(*levels[3]);
}

bool is_command(const Need& need) { return need.kind == matrix::CellKind::kCommand || need.engine == Engine::kCommand; }

/// Of a command's job, with the image of its cells, which all are in the same.
Submit submit_of(const Job& job, const Plan& plan, const Site& site) {
  const Placement& place = plan.sizings[job.sizing].chosen;
  const auto levels = levels_of(job.profile, place, site);
  Submit submit = joined(levels);
  const Need& need = plan.needs[job.sizing];
  if (!is_command(need)) return submit;
  const std::string image = command_container(need, place, site);
  if (image == submit.container.value_or("")) return submit;
  submit.container.reset();
  submit.container_runtime.reset();
  if (image.empty()) return submit;
  submit.container = image;
  submit.conda.reset();  // the environment of the host is not seen in an image
  // The runtime of the level that names the image, else of the innermost that names one.
  const auto names_it = [&](const Submit* level) { return level->container == image; };
  const auto has_runtime = [](const Submit* level) { return level->container_runtime.has_value(); };
  auto level = std::find_if(levels.begin(), levels.end(), names_it);
  if (level == levels.end()) level = std::find_if(levels.begin(), levels.end(), has_runtime);
  if (level != levels.end()) submit.container_runtime = (*level)->container_runtime;
  return submit;
}

/// Letters, digits and . _ -, so that it can be part of a file's name wherever it comes from.
std::string file_name(std::string_view text) {
  std::string name;
  for (char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    name += plain ? c : '_';
  }
  return name.substr(0, 150);
}

bool is_variable(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

/// The arguments of a line of directives, as sbatch reads them: blanks separate, quotes and backslashes keep together.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool open = false;
  char quote_char = '\0';
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '\\' && i + 1 < line.size()) {
      word += line[++i];
      open = true;
    } else if (quote_char) {
      if (c == quote_char)
        quote_char = '\0';
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote_char = c;
      open = true;
    } else if (c == ' ' || c == '\t') {
      if (open) words.push_back(std::move(word));
      word.clear();
      open = false;
    } else {
      word += c;
      open = true;
    }
  }
  if (open) words.push_back(std::move(word));
  return words;
}

/// A folder in which $NAME and ${NAME} stand for variables of the node's environment; all else is text, `$(…)` too.
ordered_json parts_of(std::string_view folder) {
  ordered_json parts = ordered_json::array();
  std::string text;
  const auto end_text = [&] {
    if (!text.empty()) parts.push_back({{"text", text}, {"variable", ""}});
    text.clear();
  };
  for (std::size_t i = 0; i < folder.size();) {
    if (folder[i] == '$') {
      const bool braced = i + 1 < folder.size() && folder[i + 1] == '{';
      const std::size_t begin = i + (braced ? 2 : 1);
      std::size_t end = begin;
      while (end < folder.size() && is_variable(folder.substr(begin, end - begin + 1))) ++end;
      if (end > begin && (!braced || (end < folder.size() && folder[end] == '}'))) {
        end_text();
        parts.push_back({{"text", ""}, {"variable", std::string(folder.substr(begin, end - begin))}});
        i = end + (braced ? 1 : 0);
        continue;
      }
    }
    text += folder[i++];
  }
  end_text();
  return parts;
}

std::string text_or_empty(const std::optional<std::string>& text) { return text.value_or(""); }

/// What the worker's place in memory is, as `--mem` takes it: the profile's, in proportion to the GPUs, at most the
/// node's. Empty: nothing is known, and Slurm's default holds.
std::string memory_text(const Job& job, const Profile& profile, const Partition& partition) {
  const double share = 1.0 * job.gpus / std::max(1, job.nodes) / std::max(1, profile.gpus_per_node);
  double bytes = job.host_memory > 0 ? job.host_memory : profile.memory * std::min(share, 1.0);
  if (partition.memory_per_node > 0) bytes = std::min(bytes, partition.memory_per_node);
  if (!(bytes >= kMiB)) return "";
  return std::to_string(static_cast<long long>(std::min(bytes, 1e18) / kMiB)) + "M";
}

ordered_json resources_of(const Job& job, const Plan& plan, const Site& site, const Submit& submit) {
  const Placement& place = plan.sizings[job.sizing].chosen;
  const Profile& profile = site.catalog.profiles[job.profile];
  const Partition& partition = site.cluster.partitions[place.partition];
  const Gpu* gpu = site.catalog.gpus.find(partition.gpu);

  const int nodes = std::max(1, job.nodes);
  const int gpus_per_node = job.gpus == 0 ? 0 : std::max(1, job.gpus / nodes);
  const int ntasks_per_node = std::max(gpus_per_node, nodes == 1 ? job.ranks : 1);
  const int cpus = job.cpus > 0 ? job.cpus : std::max(1, profile.cpus_per_gpu) * gpus_per_node;
  const int most_cpus = partition.cpus_per_node > 0 ? std::min(cpus, partition.cpus_per_node) : cpus;

  const std::string type =
      site.cluster.gres_typed && job.gpus > 0 && gpu && !gpu->slurm_names.empty() ? gpu->slurm_names.front() + ":" : "";
  const bool gres = site.cluster.request == GpuRequest::kGres;
  ordered_json resources;
  resources["partition"] = partition.name;
  resources["account"] = text_or_empty(submit.account);
  resources["qos"] = text_or_empty(submit.qos);
  resources["reservation"] = text_or_empty(submit.reservation);
  resources["constraint"] = text_or_empty(submit.constraint);
  resources["licenses"] = text_or_empty(submit.licenses);
  resources["nodes"] = nodes;
  resources["gpus"] = job.gpus;
  resources["gpus_per_node"] = gpus_per_node;
  resources["gpu_type"] = type.empty() ? "" : type.substr(0, type.size() - 1);
  resources["gpu_request"] = gres ? "gres" : "gpus_per_node";
  resources["gpus_text"] = (gres ? site.cluster.gres_name + ":" : "") + type + std::to_string(gpus_per_node);
  resources["ntasks"] = ntasks_per_node * nodes;
  resources["ntasks_per_node"] = ntasks_per_node;
  resources["cpus_per_task"] = std::max(1, most_cpus / ntasks_per_node);
  resources["memory"] = memory_text(job, profile, partition);
  resources["time"] = format_slurm_time(job.time_limit);
  resources["signal"] = std::clamp(static_cast<int>(std::min(site.policy.drain_signal, 65535.0)), 1, 65535);
  resources["exclusive"] = partition.exclusive;
  return resources;
}

ordered_json submit_json(const Submit& submit) {
  ordered_json json;
  json["modules"] = submit.modules.value_or(std::vector<std::string>{});
  json["conda"] = text_or_empty(submit.conda);
  json["container"] = text_or_empty(submit.container);
  json["container_runtime"] = submit.container_runtime.value_or("apptainer");
  json["environment"] = ordered_json::array();
  for (const auto& [name, value] : submit.environment) json["environment"].push_back(name + "=" + value);
  json["scratch"] = parts_of(text_or_empty(submit.scratch));
  json["sbatch"] = ordered_json::array();
  for (const std::string& line : submit.sbatch)
    if (std::vector<std::string> words = words_of(line); !words.empty()) json["sbatch"].push_back(std::move(words));
  return json;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

/// What no script can carry, by the name of its field; or nothing.
std::optional<std::string> refuse(const Submit& submit, const std::string& job_name) {
  const auto directive = [](std::string_view field, const std::string& value) -> std::optional<std::string> {
    if (!has_control(value)) return std::nullopt;
    return std::string(field) + " " + quote(value) +
           " holds a newline or another control character, which no #SBATCH line can hold";
  };
  const auto word = [](std::string_view field, const std::string& value) -> std::optional<std::string> {
    if (value.find('\0') == std::string::npos) return std::nullopt;
    return std::string(field) + " " + quote(value) + " holds a NUL byte, which no script can hold";
  };
  std::vector<std::optional<std::string>> found = {
      directive("the matrix's name", job_name),
      directive("account", text_or_empty(submit.account)),
      directive("qos", text_or_empty(submit.qos)),
      directive("reservation", text_or_empty(submit.reservation)),
      directive("constraint", text_or_empty(submit.constraint)),
      directive("licenses", text_or_empty(submit.licenses)),
      word("conda", text_or_empty(submit.conda)),
      word("container", text_or_empty(submit.container)),
      word("scratch", text_or_empty(submit.scratch)),
  };
  for (const std::string& line : submit.sbatch) found.push_back(directive("sbatch", line));
  for (const std::string& module : submit.modules.value_or(std::vector<std::string>{}))
    found.push_back(word("modules", module));
  for (const auto& [name, value] : submit.environment) {
    if (!is_variable(name))
      found.push_back("environment " + quote(name) +
                      " is not the name of a variable: letters, digits and _, no digit first");
    found.push_back(word("environment " + name, value));
  }
  const auto first = std::find_if(found.begin(), found.end(), [](const auto& problem) { return problem.has_value(); });
  return first == found.end() ? std::nullopt : *first;
}

}  // namespace

std::string command_container(const Need& need, const Placement& place, const Site& site) {
  if (!is_command(need)) return "";
  if (!need.container.empty()) return need.container;
  return text_or_empty(joined(levels_of(place.profile, place, site)).container);
}

ordered_json script_values(const Job& job, const Plan& plan, const matrix::Expansion& expansion, const Site& site) {
  const Need& need = plan.needs[job.sizing];
  const Submit submit = submit_of(job, plan, site);
  ordered_json values;

  ordered_json& of_job = values["job"];
  of_job["id"] = job.id;
  of_job["matrix"] = expansion.name;
  of_job["name"] = "orch-" + expansion.name + "-" + job.id;
  of_job["log"] = file_name("orch-" + expansion.name + "-" + job.id);
  of_job["kind"] = std::string(matrix::name_of(need.kind));
  of_job["engine"] = std::string(name_of(need.engine));
  of_job["dtype"] = std::string(name_of(need.dtype));
  of_job["profile"] = site.catalog.profiles[job.profile].name;
  of_job["models"] = ordered_json::array();
  for (std::uint32_t model : job.models) of_job["models"].push_back(site.catalog.models[model].name);
  of_job["cells"] = job.cells.size();
  of_job["lanes"] = job.lanes;
  of_job["layout"] = {{"tp", job.layout.tp}, {"pp", job.layout.pp}, {"dp", job.layout.dp}};

  values["resources"] = resources_of(job, plan, site, submit);
  values["submit"] = submit_json(submit);
  return values;
}

void reshape(ordered_json& values, const JobShape& shape) {
  ordered_json &job = values["job"], &resources = values["resources"];
  job["id"] = job["name"] = shape.name;
  job["log"] = file_name(shape.name);
  const int nodes = std::max(1, shape.nodes);
  const int gpus = shape.gpus == 0 ? 0 : std::max(1, shape.gpus / nodes);
  const int tasks = job["engine"] == name_of(Engine::kNative) ? std::max(1, gpus) : 1;
  resources["nodes"] = nodes;
  resources["gpus"] = shape.gpus;
  resources["gpus_per_node"] = gpus;
  const std::string request = resources["gpus_text"];  // ends with the number
  resources["gpus_text"] = request.substr(0, request.rfind(':') + 1) + std::to_string(gpus);
  resources["ntasks"] = tasks * nodes;
  resources["ntasks_per_node"] = tasks;
  resources["cpus_per_task"] = std::max(1, shape.cpus / nodes / tasks);
  resources["memory"] = shape.memory >= static_cast<std::int64_t>(kMiB)
                            ? std::to_string(shape.memory / static_cast<std::int64_t>(kMiB)) + "M"
                            : "";
  resources["time"] = format_slurm_time(shape.time_limit);
}

std::optional<std::string> why_no_script(const Job& job, const Plan& plan, const matrix::Expansion& expansion,
                                         const Site& site) {
  return refuse(submit_of(job, plan, site), expansion.name);
}

Result<std::string, tmpl::TemplateError> render_script(const std::string& text, const std::string& file,
                                                       const ordered_json& values, tmpl::Loader loader) {
  auto parsed = tmpl::Template::parse(text, file, tmpl::shell_options(), std::move(loader));
  if (!parsed) return parsed.error();
  return parsed->render(values);
}

Result<std::string, tmpl::TemplateError> render_script(const std::string& text, const std::string& file, const Job& job,
                                                       const Plan& plan, const matrix::Expansion& expansion,
                                                       const Site& site, tmpl::Loader loader) {
  if (auto problem = why_no_script(job, plan, expansion, site))
    return tmpl::TemplateError{file, 1, 1, "job " + job.id + ": " + *problem};
  return render_script(text, file, script_values(job, plan, expansion, site), std::move(loader));
}

}  // namespace orch::planner
