#include "orchd/site.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "base/whole_file.h"
#include "base/yaml.h"
#include "cluster/detect.h"
#include "cluster/process.h"
#include "link/directory.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;

enum class Slurm { kAnswers, kSilent, kNone };

struct Asked {
  Slurm slurm = Slurm::kNone;
  std::string why;  ///< of kSilent, in its own words
};

Asked ask_sinfo() {
  const auto said = cluster::run_program({"sinfo", "--noheader", "--format=%P"}, std::chrono::seconds(10), 1 << 20);
  if (said) return {Slurm::kAnswers, ""};
  if (said.error().kind == cluster::RunFailure::kNotFound) return {Slurm::kNone, ""};
  return {Slurm::kSilent, said.error().what};
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
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
  int gpus = 0;
};

/// A machine on which Slurm is installed is a node of a cluster, whatever hinders Slurm at this moment: to run jobs on
/// it is only for somebody who says so.
Error silent_slurm(const std::string& why) {
  return Error{"Slurm is installed here and does not answer (" + why +
               "). Start the daemon once it does; or say --cluster local, and jobs run on this machine"};
}

Result<Choice> choose(const SiteRequest& request, const Settings& kept, const fs::path& state,
                      const inputs::Sources& sources) {
  const fs::path file = state / "cluster.yaml";
  std::error_code error;
  if (request.cluster.empty() && !kept.cluster.empty() && fs::exists(file, error)) {
    const std::string on = request.on.empty() ? kept.on : request.on;
    if (kept.cluster == "slurm") return Choice{Where::kSlurm, text_of(file), on, "as at its last start"};
    if (request.gpus == 0 || request.gpus == kept.gpus)
      return Choice{Where::kLocal, text_of(file), on, "as at its last start", kept.gpus};
    return Choice{Where::kLocal, local_file(request.gpus), "", "as at its last start, with other GPU slots",
                  request.gpus};
  }
  const bool is_file = !request.cluster.empty() && request.cluster != "slurm" && request.cluster != "local";
  // Its jobs are in Slurm, whether Slurm answers at this moment or not.
  const bool was_slurm = is_file && kept.cluster == "slurm";
  const bool asks = !was_slurm && request.cluster != "slurm" && request.cluster != "local";
  const Asked sinfo = asks ? ask_sinfo() : Asked();
  // That the last start was local says so, too.
  if (sinfo.slurm == Slurm::kSilent && kept.cluster != "local") return silent_slurm(sinfo.why);
  const bool slurm = request.cluster == "slurm" || was_slurm || sinfo.slurm == Slurm::kAnswers;
  if (is_file) {
    Diagnostics diagnostics;
    const auto path = inputs::find_cluster(sources, request.cluster, diagnostics);
    if (!path) return Error{diagnostics.errors().front().what};
    if (!fs::exists(*path, error)) return Error{path->string() + ": no such file"};
    return Choice{slurm ? Where::kSlurm : Where::kLocal, text_of(*path), request.on,
                  was_slurm ? "as at its last start"
                  : slurm   ? "sinfo answers"
                            : "no Slurm answers here, so this machine plays a node of it"};
  }
  if (!slurm && request.cluster.empty() && kept.cluster == "slurm")
    return Error{
        "the jobs of the last start are in Slurm, and sinfo is not to be found; see to the PATH, or say --cluster "
        "local and "
        "they are given up"};
  if (!slurm)
    return Choice{Where::kLocal, local_file(request.gpus), "",
                  request.cluster.empty() ? "no Slurm answers here" : "as asked for", request.gpus};
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

Result<Site> choose_site(const SiteRequest& request, const Settings& kept, const fs::path& state,
                         const inputs::Sources& sources) {
  auto choice = choose(request, kept, state, sources);
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
  return Site{choice->where, found == clusters.end() ? clusters.front() : *found, choice->why, choice->text, choice->on,
              choice->gpus};
}

Result<policy::Ceilings> load_ceilings(const std::filesystem::path& file) {
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return policy::Ceilings{};
    return Error{file.string() + " cannot be looked at: " + std::strerror(errno)};
  }
  if (about.st_uid != 0 || (about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Error{file.string() +
                 " sets the site's ceilings and could have been written by others than root: "
                 "chown root and chmod go-w it, or remove it"};
  Diagnostics diagnostics;
  const auto root = load_yaml(file, diagnostics);
  auto ceilings = root ? policy::read_ceilings(*root, file.string(), diagnostics) : std::nullopt;
  if (ceilings) return *std::move(ceilings);
  std::ostringstream problems;
  diagnostics.print(problems);
  return Error{"the site's ceilings have problems:\n" + problems.str()};
}

Result<std::monostate> keep_site(const Site& site, const fs::path& state, Settings& settings) {
  settings.cluster = name_of(site.where);
  settings.on = site.on;
  settings.gpus = site.gpus;
  return write_whole(state / "cluster.yaml", site.text);
}

}  // namespace orch::orchd
