#include "orchd/site.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "base/yaml.h"
#include "cluster/detect.h"
#include "cluster/process.h"
#include "link/directory.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

bool slurm_answers() {
  return cluster::run_program({"sinfo", "--noheader", "--format=%P"}, std::chrono::seconds(10), 1 << 20).ok();
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

/// At the last start.
bool said_slurm(const fs::path& settings) {
  const auto json = nlohmann::json::parse(text_of(settings), nullptr, false);
  return json.is_object() && json.contains("cluster") && json["cluster"] == "slurm";
}

/// The devices of NVIDIA's driver.
int gpus_here() {
  int gpus = 0;
  std::error_code error;
  while (fs::exists("/dev/nvidia" + std::to_string(gpus), error)) ++gpus;
  return gpus;
}

/// A cluster file for this machine. One with no GPU pretends one slot: programs that use it find none.
std::string local_file(int pretended) {
  const int found = gpus_here();
  const int gpus = pretended > 0 ? pretended : std::max(1, found);
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  const double memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  std::ostringstream text;
  text << "# This machine, as orchd found it. Change what is wrong; orchd reads it at its next start.\n"
       << "cluster:\n  name: local\n  gres_typed: false\n  partitions:\n    local:\n"
       << "      gpu: h100_80gb" << (found == 0 || pretended > 0 ? "  # pretended" : "  # assumed; say which it is")
       << "\n"
       << "      nodes: 1\n      gpus_per_node: " << gpus << "\n      cpus_per_node: " << std::max(1L, cpus) << "\n"
       << "      memory_per_node: " << static_cast<long long>(memory / kMiB) << "MiB\n      shares_gpus: true\n";
  return text.str();
}

struct Choice {
  Where where = Where::kLocal;
  std::string text, on, why;
};

Result<Choice> choose(const SiteRequest& request, const fs::path& state, const inputs::Sources& sources) {
  const fs::path kept = state / "cluster.yaml", settings = state / "orchd.json";
  std::error_code error;
  if (request.cluster.empty() && fs::exists(kept, error) && fs::exists(settings, error)) {
    const auto json = nlohmann::json::parse(text_of(settings), nullptr, false);
    if (!json.is_object() || !json.contains("cluster") || !json["cluster"].is_string())
      return Error{settings.string() + " is damaged: it should say {\"cluster\": \"slurm\"} or \"local\""};
    const bool slurm = json["cluster"] == "slurm";
    const std::string on = request.on.empty() ? json.value("on", "") : request.on;
    return Choice{slurm ? Where::kSlurm : Where::kLocal, text_of(kept), on, "as at its last start"};
  }
  const bool file = !request.cluster.empty() && request.cluster != "slurm" && request.cluster != "local";
  // Its jobs are in Slurm, whether Slurm answers at this moment or not.
  const bool was_slurm = file && said_slurm(settings);
  const bool slurm = request.cluster == "slurm" || was_slurm || (request.cluster != "local" && slurm_answers());
  if (file) {
    Diagnostics diagnostics;
    const auto path = inputs::find_cluster(sources, request.cluster, diagnostics);
    if (!path) return Error{diagnostics.errors().front().what};
    if (!fs::exists(*path, error)) return Error{path->string() + ": no such file"};
    return Choice{slurm ? Where::kSlurm : Where::kLocal, text_of(*path), request.on,
                  was_slurm ? "as at its last start"
                  : slurm   ? "sinfo answers"
                            : "no Slurm answers here, so this machine plays a node of it"};
  }
  if (!slurm)
    return Choice{Where::kLocal, local_file(request.gpus), "",
                  request.cluster.empty() ? "no Slurm answers here" : "as asked for"};
  const auto answers = cluster::ask_slurm();
  if (!answers) return Error{answers.error().what};
  Diagnostics diagnostics;
  const Catalog catalog = inputs::load_catalog(sources, diagnostics);
  if (!diagnostics.ok())
    return Error{to_string(diagnostics.errors().front().place) + ": " + diagnostics.errors().front().what};
  auto draft = cluster::draft(*answers, catalog);
  if (!draft) return draft.error();
  return Choice{Where::kSlurm, *std::move(draft), "", request.cluster.empty() ? "sinfo answers" : "as asked for"};
}

}  // namespace

std::string_view name_of(Where where) { return where == Where::kSlurm ? "slurm" : "local"; }

Result<Site> choose_site(const SiteRequest& request, const fs::path& state, const inputs::Sources& sources) {
  auto choice = choose(request, state, sources);
  if (!choice) return choice.error();
  const fs::path file = state / "cluster.yaml";
  Diagnostics diagnostics;
  const Catalog catalog = inputs::load_catalog(sources, diagnostics);
  const auto root = parse_yaml(choice->text, file.string(), diagnostics);
  std::vector<Cluster> clusters;
  if (root && diagnostics.ok()) clusters = read_clusters(*root, file.string(), catalog, diagnostics);
  if (!diagnostics.ok()) {
    std::ostringstream problems;
    diagnostics.print(problems);
    return Error{"the description of the cluster has problems:\n" + problems.str()};
  }
  const auto found = std::ranges::find(clusters, choice->on, &Cluster::name);
  if (clusters.empty() || (found == clusters.end() && (clusters.size() > 1 || !choice->on.empty()))) {
    std::vector<std::string> names;
    for (const Cluster& cluster : clusters) names.push_back(cluster.name);
    return Error{"the file describes the clusters " + join(names, ", ") + "; say which with --on NAME"};
  }
  Site site{choice->where, found == clusters.end() ? clusters.front() : *found, choice->why};
  const nlohmann::json settings = {{"cluster", std::string(name_of(site.where))}, {"on", choice->on}};
  for (const auto& [path, text] :
       {std::pair(file, choice->text), std::pair(state / "orchd.json", settings.dump() + "\n")})
    if (const auto written = worker::write_whole(path, text); !written) return written.error();
  return site;
}

}  // namespace orch::orchd
