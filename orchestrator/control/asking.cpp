#include "control/asking.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "control/same_work.h"
#include "planner/rooms.h"
#include "planner/script.h"
#include "planner/training.h"

namespace orch::control {
namespace {

/// Seconds until lm-eval begins to load a model: Python, torch and transformers are read from a shared disk. Measured:
/// 20 to 40 on a busy machine; a cold cache of a network disk takes minutes.
constexpr double kHarnessStart = 30, kHarnessStartMost = 300;

/// A cell of the native engine is cut into chunks of so many seconds or so many samples at most, but of no fewer than
/// kChunkLeast: what is lost with a worker is bounded, several can share the work, and what questions have in common is
/// read seldom.
constexpr double kChunk = 300;
constexpr double kChunkSamples = 1000, kChunkLeast = 64;
/// Seconds for which a chunk may get nowhere, at least.
constexpr double kChunkBound = 300;
constexpr double kMostChunks = 1000;

using matrix::kNone;
using nlohmann::ordered_json;

bool is_native(const planner::Need& need) {
  return need.kind != matrix::CellKind::kCommand && need.engine == Engine::kNative;
}

/// A GPU is not shared with another model: the engine fills it with its batch.
planner::Placement unshared(const planner::Placement& place) {
  planner::Placement it = place;
  it.share = 1;
  return it;
}

/// A copy of the model alone: what a place would give to several copies, each of them takes for itself, for other
/// chunks or other cells. The copies of a training learn together, and stay so.
planner::Placement one_copy(const planner::Placement& place) {
  planner::Placement it = unshared(place);
  const int copies = std::max(1, place.layout.dp);
  if (place.layout.gpus() > 0) {
    it.layout.dp = 1;
    it.gpus = place.gpus / copies;
    it.nodes = std::max(1, (place.nodes + copies - 1) / copies);
  }
  return it;
}

/// Why the native engine cannot compute so, or nothing.
std::optional<std::string> why_not_native(const planner::Need& need, const matrix::Settings& settings, DType stored) {
  const bool trains = need.kind == matrix::CellKind::kTrain;
  const auto computes = [](DType dtype) {
    return dtype == DType::kFp32 || dtype == DType::kBf16 || dtype == DType::kFp16;
  };
  const DType weights = settings.dtype("dtype").value_or(stored);
  const DType compute = settings.dtype("compute_dtype").value_or(matrix::default_compute(weights));
  const DType cache = trains ? compute : settings.dtype("kv_dtype").value_or(compute);
  // Weights that are stored in 8 bits are read exactly, and kept in the number format of computation.
  const bool reads = weights == compute || weights == DType::kInt8 || (weights == stored && stored == DType::kFp8);
  if (!computes(compute) || !reads)
    return "the native engine of this version computes in fp32, bf16 or fp16 with weights of the same or in int8, not "
           "in " +
           std::string(name_of(compute)) + " with weights in " + std::string(name_of(weights));
  if (trains && need.full && weights != compute)
    return "the native engine trains all weights in the number format that it computes in, not weights in " +
           std::string(name_of(weights)) + " with computation in " + std::string(name_of(compute));
  if (!computes(cache) && cache != DType::kFp8)
    return "the native engine of this version keeps its cache in fp32, bf16, fp16 or fp8, not in " +
           std::string(name_of(cache));
  return std::nullopt;
}

std::uint16_t chunks_of(double seconds, double samples) {
  const double wanted =
      std::min({std::max(seconds / kChunk, samples / kChunkSamples), samples / kChunkLeast, kMostChunks});
  return static_cast<std::uint16_t>(std::max(1.0, std::floor(wanted)));
}

class Needs {
 public:
  Needs(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site)
      : plan_(plan), expansion_(expansion), site_(site), number_(plan.needs.size(), kNone) {}

  Result<std::uint32_t> number_of(std::uint32_t need) {
    if (number_[need] == kNone) {
      auto made = make(need);
      if (!made) return made.error();
      number_[need] = static_cast<std::uint32_t>(all_.size());
      all_.push_back(*std::move(made));
    }
    return number_[need];
  }
  std::vector<Need> take() { return std::move(all_); }

 private:
  Result<Need> make(std::uint32_t at) const {
    const bool native = is_native(plan_.needs[at]);
    const bool trains = planner::goes_on(plan_.needs[at]);
    const planner::Placement& planned = plan_.sizings[at].chosen;
    const planner::Placement place = trains ? unshared(planned) : native ? one_copy(planned) : planned;
    const Partition& partition = site_.cluster.partitions[place.partition];
    const Profile& profile = site_.catalog.profiles[place.profile];
    const planner::Job job = alone(at, place);
    if (auto why = planner::why_no_script(job, plan_, expansion_, site_)) return Error{*why};
    const ordered_json values = planner::script_values(job, plan_, expansion_, site_);

    Need need;
    need.resources = resources_of(place, profile, partition);
    need.environment = environment_of(values, partition, profile);
    need.profile = profile.name;
    // A program of a user's own loads what it needs each time it starts: that is part of the cell's time.
    if (native) {
      need.loads = "need " + values["job"]["models"].dump() + " " + values["job"]["layout"].dump() + " " +
                   std::string(values["job"]["dtype"]) + " " + std::string(name_of(plan_.needs[at].compute)) + " " +
                   std::string(name_of(plan_.needs[at].kv));
      // A training has other things in memory than an evaluation, and the weights that one has trained are its own.
      if (trains) need.loads = "train " + need.loads;
      if (const std::uint32_t trained = plan_.needs[at].weights_of; trained != kNone)
        need.loads += " of " + to_hex(expansion_.cells[trained].key);
      need.trains = trains;
      need.load = place.load_seconds;
      need.batch = place.batch;
    }
    need.most = planner::most_time(partition, profile);
    for (const planner::Room& room : planner::rooms_of(plan_.needs[at], place, site_))
      need.rooms.push_back(room_of(room, place, partition));
    need.nodes_there = partition.nodes;
    need.whole_nodes = partition.exclusive;
    need.script_values = values.dump();
    return need;
  }

  /// A job for such a cell and no other.
  planner::Job alone(std::uint32_t at, const planner::Placement& place) const {
    planner::Job job;
    job.sizing = at;
    job.profile = place.profile;
    job.layout = place.layout;
    if (plan_.needs[at].model != kNone) job.models.push_back(plan_.needs[at].model);
    job.nodes = place.nodes;
    job.gpus = place.gpus;
    job.cpus = place.cpus;
    job.host_memory = place.host_memory;
    job.ranks = std::max(1, place.gpus);
    return job;
  }

  static Resources resources_of(const planner::Placement& place, const Profile& profile, const Partition& partition) {
    Resources resources;
    resources.nodes = std::max(1, place.nodes);
    const double gpus = place.gpus == 0 ? 0 : place.gpus == 1 ? std::min(place.share, 1.0) : place.gpus;
    resources.gpus = gpus;
    const double on_node = gpus / resources.nodes;
    int cpus = place.cpus > 0 ? place.cpus : std::max(1, static_cast<int>(std::floor(profile.cpus_per_gpu * on_node)));
    // No more than its GPUs' part of the node: all of them can be used at once.
    if (place.cpus == 0 && partition.cpus_per_node > 0 && partition.gpus_per_node > 0 && gpus > 0)
      cpus = std::clamp(static_cast<int>(partition.cpus_per_node * on_node / partition.gpus_per_node), 1, cpus);
    if (partition.cpus_per_node > 0) cpus = std::min(cpus, partition.cpus_per_node);
    resources.cpus = cpus * resources.nodes;
    double memory = place.host_memory > 0
                        ? place.host_memory
                        : profile.memory * std::min(1.0, on_node / std::max(1, profile.gpus_per_node));
    if (partition.memory_per_node > 0) {
      memory = std::min(memory, partition.memory_per_node);
      if (place.host_memory == 0 && partition.gpus_per_node > 0 && gpus > 0)
        memory = std::min(memory, partition.memory_per_node * on_node / partition.gpus_per_node);
    }
    resources.memory = static_cast<std::int64_t>(memory);
    return resources;
  }

  static Resources room_of(const planner::Room& room, const planner::Placement& place, const Partition& partition) {
    Resources resources;
    const bool counts_cpus = place.gpus == 0;
    resources.gpus = counts_cpus ? 0 : room.gpus;
    resources.cpus = counts_cpus ? room.gpus : partition.cpus_per_node;
    return resources;
  }

  /// What jobs must have in common for one to take the other's cells, beyond their size.
  static std::string environment_of(const ordered_json& values, const Partition& partition, const Profile& profile) {
    ordered_json what;
    what["submit"] = values["submit"];
    for (const char* name : {"partition", "account", "qos", "reservation", "constraint", "licenses", "gpu_type"})
      what[name] = values["resources"][name];
    what["engine"] = values["job"]["engine"] == name_of(Engine::kNative) ? "native" : "program";
    what["gpu"] = partition.gpu;
    what["without"] = values["resources"]["gpus"] == 0;
    what["template"] = profile.template_name;
    return to_hex(sha256(what.dump())).substr(0, 16);
  }

  const planner::Plan& plan_;
  const matrix::Expansion& expansion_;
  const planner::Site& site_;
  std::vector<std::uint32_t> number_;
  std::vector<Need> all_;
};

std::string json_of(const std::vector<matrix::Rejection>& rejected) {
  ordered_json rows = ordered_json::array();
  for (const matrix::Rejection& row : rejected)
    rows.push_back(
        {{"model", row.model}, {"task", row.task}, {"rule", row.rule}, {"reason", row.reason}, {"cells", row.count}});
  return rows.dump();
}

std::string json_of(const matrix::Settings& settings) {
  ordered_json json = ordered_json::object();
  for (const auto& [name, value] : settings.values()) json[name] = matrix::to_json(value);
  return json.dump();
}

}  // namespace

Result<Asked> ask_for(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site,
                      Asking asking) {
  Asked asked;
  asked.rejected = plan.rejected;
  event::SubmitSweep& sweep = asked.sweep;
  sweep.name = asking.name.empty() ? expansion.name : std::move(asking.name);
  sweep.user = std::move(asking.user);
  sweep.request_key = std::move(asking.request_key);
  sweep.matrix = std::move(asking.matrix);
  sweep.fresh = asking.fresh;

  Needs needs(plan, expansion, site);
  SameWork same_work(plan, expansion, site);
  std::vector<std::string> settings;  // as text, of the same index as the expansion's
  settings.reserve(expansion.settings.size());
  for (const matrix::Settings& each : expansion.settings) settings.push_back(json_of(each));
  std::vector<std::uint32_t> place(expansion.cells.size(), kNone);  // in the sweep
  std::map<std::string, std::int64_t> not_native;                   // cells, by the reason
  for (std::uint32_t i = 0; i < expansion.cells.size(); ++i) {
    const matrix::Cell& cell = expansion.cells[i];
    if (plan.need_of[i] == kNone) continue;
    const bool native = is_native(plan.needs[plan.need_of[i]]);
    if (native) {
      const Model& model = site.catalog.models[cell.model];
      auto why = why_not_native(plan.needs[plan.need_of[i]], expansion.settings[cell.settings], model.dtype);
      if (!why && cell.kind == matrix::CellKind::kTrain)
        why = planner::why_native_trains_not(model, plan.sizings[plan.need_of[i]].chosen.layout);
      if (why) {
        ++not_native[*why + (cell.kind == matrix::CellKind::kTrain ? "; a command can"
                                                                   : "; say `engine: lm-eval` or give a command")];
        continue;
      }
    }
    event::AskedCell item;
    if (cell.depends != kNone) {
      if (place[cell.depends] == kNone) {
        ++not_native["the training that it needs is not run"];
        continue;
      }
      item.depends = place[cell.depends];
    }
    auto need = needs.number_of(plan.need_of[i]);
    if (!need) return need.error();
    item.need = *need;
    item.key = cell.key;
    if (cell.model != kNone) item.model = site.catalog.models[cell.model].name;
    if (cell.task != kNone) item.task = site.catalog.tasks[cell.task].name;
    // What a command may take is said for all of it; of lm-eval it was estimated without loading.
    const planner::Need& its = plan.needs[plan.need_of[i]];
    const bool harness = its.engine == Engine::kLmEval;
    const double load = harness ? plan.sizings[plan.need_of[i]].chosen.load_seconds : 0;
    item.expected = plan.seconds[i] + static_cast<float>(load + (harness ? kHarnessStart : 0));
    item.bound = plan.bounds[i] + static_cast<float>(load + (harness ? kHarnessStartMost : 0));
    if (native && cell.kind == matrix::CellKind::kTrain) {
      // Each step needs the one before it: it is one chunk, however long.
      item.bound = std::max(item.bound, static_cast<float>(kChunkBound));
    } else if (native) {
      const int copies = std::max(1, plan.sizings[plan.need_of[i]].chosen.layout.dp);
      item.expected *= static_cast<float>(copies);
      item.bound *= static_cast<float>(copies);
      const double limit = static_cast<double>(expansion.settings[cell.settings].integer("limit").value_or(0));
      const double all = site.catalog.tasks[cell.task].samples;
      item.chunks = chunks_of(static_cast<double>(item.expected), limit > 0 ? std::min(limit, all) : all);
      item.bound = std::max(item.bound, static_cast<float>(kChunkBound * item.chunks));
    }
    item.basis = plan.bases[i];
    item.work = same_work.of(i);
    item.score = static_cast<float>(plan.scores[i].total);
    item.content = matrix::canonical_content(expansion, cell, site.catalog);
    item.settings = settings[cell.settings];
    place[i] = static_cast<std::uint32_t>(sweep.cells.size());
    sweep.cells.push_back(std::move(item));
  }
  for (const auto& [why, count] : not_native) asked.rejected.push_back({"*", "*", "engine", why, count});
  sweep.needs = needs.take();
  for (const matrix::Rejection& row : asked.rejected) sweep.rejected_cells += row.count;
  sweep.rejected = json_of(asked.rejected);
  return asked;
}

}  // namespace orch::control
