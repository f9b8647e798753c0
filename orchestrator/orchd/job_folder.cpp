#include "orchd/job_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/whole_file.h"
#include "link/directory.h"
#include "link/spool.h"
#include "planner/script.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

int whole_gpus(const control::Resources& resources) { return static_cast<int>(std::ceil(resources.gpus - 1e-6)); }

Result<std::string> script_of(const control::Job& job, const Catalog& catalog, const JobSurroundings& around) {
  auto values = nlohmann::ordered_json::parse(job.script_values, nullptr, false);
  if (!values.is_object()) return Error{"the job's values for its script are damaged"};
  const Profile* profile = catalog.profiles.find(job.profile);
  if (!profile) return Error{"the catalog has no profile " + quote(job.profile) + " any more"};
  planner::reshape(values, {job.name, job.resources.nodes, whole_gpus(job.resources), job.resources.cpus,
                            job.resources.memory, job.time_limit});
  const auto found = inputs::read_template(profile->template_name, around.templates, around.data);
  if (!found) return Error{"there is no template " + quote(profile->template_name)};
  const auto script = planner::render_script(found->second, found->first.string(), values,
                                             [&](const std::string& name) -> std::optional<std::string> {
                                               auto inner = inputs::read_template(name, around.templates, around.data);
                                               if (!inner) return std::nullopt;
                                               return std::move(inner->second);
                                             });
  if (script) return *script;
  const tmpl::TemplateError& error = script.error();
  return Error{to_string(Place{error.file, error.line, error.column}) + ": " + error.what};
}

}  // namespace

Result<fs::path> make_job_folder(const fs::path& folder, const control::Job& job, const Catalog& catalog,
                                 const std::string& token, const JobSurroundings& around) {
  auto script = script_of(job, catalog, around);
  if (!script) return script.error();
  std::error_code error;
  fs::create_directories(folder / "cells", error);
  if (error) return Error{folder.string() + " cannot be made: " + error.message()};
  fs::permissions(folder, fs::perms::owner_all, error);
  if (error) return Error{folder.string() + ": its mode cannot be set: " + error.message()};

  wire::JobFile file;
  file.job = job.name;
  file.endpoint = around.endpoint.string();
  file.link = around.link;
  file.time = static_cast<double>(job.time_limit);
  file.drain = around.drain;
  file.nodes = std::max(1, job.resources.nodes);
  file.gpus = whole_gpus(job.resources) / file.nodes;
  file.cpus = std::max(1, job.resources.cpus / file.nodes);
  file.memory = job.resources.memory;
  const std::pair<const char*, std::string> texts[] = {
      {"token", token}, {"job.json", wire::write(file)}, {"job.sh", *std::move(script)}};
  for (const auto& [name, text] : texts)
    if (auto written = write_whole(folder / name, text); !written) return written.error();
  ::chmod((folder / "job.sh").c_str(), 0700);
  fs::remove(folder / "orch-worker", error);
  fs::create_symlink(around.worker, folder / "orch-worker", error);
  if (error) return Error{folder.string() + ": no link to the worker can be made: " + error.message()};
  return folder / "job.sh";
}

Left read_job_folder(const fs::path& folder) {
  Left left;
  std::error_code ignored;
  left.started = fs::exists(folder / "claim", ignored);
  const auto spools = worker::JobDirectory(folder).spools();
  if (!spools) left.problems.push_back(spools.error().what);
  for (const fs::path& spool : spools ? *spools : std::vector<fs::path>()) {
    auto items = worker::read_spool(spool);
    if (items)
      left.items.insert(left.items.end(), items->begin(), items->end());
    else
      left.problems.push_back(items.error().what);
  }
  auto exit = worker::JobDirectory(folder).read_exit();
  if (exit)
    left.exit = *std::move(exit);
  else
    left.problems.push_back(exit.error().what);
  return left;
}

}  // namespace orch::orchd
