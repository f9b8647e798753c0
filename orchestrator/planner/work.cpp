#include "planner/work.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "matrix/content.h"
#include "planner/roofline.h"

namespace orch::planner {
namespace {

// Seconds of one processor to run the tests of one generated program.
constexpr double kTestSeconds = 1;
// Patches that the vision tower sees for each token that it hands to the decoder.
constexpr double kPatchesPerToken = 4;
// Longest time that is reckoned with: a hundred years. What is beyond it will not run, and sums stay finite.
constexpr double kLongest = 100 * 365.0 * 86400;
// Latent tokens of one training image of 1024 × 1024 (8 × 8 pixels a latent, 2 × 2 latents a token).
constexpr double kImageTokens = 4096;

double bounded(double seconds) { return std::isfinite(seconds) ? std::clamp(seconds, 0.0, kLongest) : kLongest; }

const Task* task_of(const matrix::Cell& cell, const Catalog& catalog) {
  return cell.task < catalog.tasks.size() ? &catalog.tasks[cell.task] : nullptr;
}

const Model* model_of(const matrix::Cell& cell, const Catalog& catalog) {
  return cell.model < catalog.models.size() ? &catalog.models[cell.model] : nullptr;
}

double samples_of(const Task& task, const matrix::Settings& settings) {
  double samples = std::clamp(task.samples, 0.0, 1e15);
  // Of a data set that was looked at the rows are known.
  if (const TrainingFiles* files = task.kind == TaskKind::kTrain ? matrix::files_of(task, settings) : nullptr;
      files && files->rows > 0)
    samples = files->rows;
  if (const auto limit = settings.number("limit"); limit && *limit >= 0) samples = std::min(samples, *limit);
  return samples;
}

double repeats_of(const Task& task, const matrix::Settings& settings) {
  return static_cast<double>(std::max<std::int64_t>(1, settings.integer("group_size").value_or(task.repeats)));
}

bool generates(const Task& task) {
  return task.kind == TaskKind::kExactMatch || task.kind == TaskKind::kCode ||
         task.kind == TaskKind::kFunctionCalling || task.kind == TaskKind::kVisionLanguage;
}

// The setting `time`, in seconds.
std::optional<double> declared_time(const matrix::Settings& settings) {
  const auto seconds = settings.number("time");
  return seconds && *seconds > 0 ? seconds : std::nullopt;
}

double global_batch(const matrix::Settings& settings) {
  const double batch = settings.number("batch_size").value_or(1);
  const double accumulation = settings.number("accumulation").value_or(1);
  return std::max(1.0, batch * accumulation);
}

double training_steps(const Task& task, const matrix::Settings& settings) {
  if (const auto steps = settings.number("steps"); steps && *steps > 0) return *steps;
  const double epochs = std::max(0.0, settings.number("epochs").value_or(1));
  const double samples = samples_of(task, settings) * epochs;
  if (task.type != "grpo") return std::ceil(samples / global_batch(settings));
  const double parts = settings.number("steps_per_generation").value_or(1);
  return std::ceil(samples / (global_batch(settings) * parts)) * parts * settings.number("iterations").value_or(1);
}

// Seconds of an evaluation on its placement.
double eval_seconds(const Task& task, const Model& model, const matrix::Settings& settings, const Need& need,
                    const Placement& placement, const Machine& machine, const Profile& profile) {
  const Costs costs = costs_of(model, need.dtype, need.kv);
  const Cut cut = cut_of(costs, placement.layout);
  const double samples = samples_of(task, settings);
  if (!(samples > 0)) return 0;
  const double shots = static_cast<double>(std::max<std::int64_t>(0, settings.integer("shots").value_or(task.shots)));
  const double copies = std::max(1, placement.layout.dp);
  const double batch = static_cast<double>(std::max<std::int64_t>(1, placement.batch));
  const double prefix = shots * std::max(0.0, task.shot_tokens);
  const double image_tokens = model.vision ? std::max(0.0, task.images) * model.vision->tokens_per_image : 0;
  const double question = std::max(0.0, task.prompt_tokens) + image_tokens;
  const bool writes = generates(task);
  const double answers = writes ? 0 : std::max(1.0, task.choices) * std::max(1.0, task.choice_tokens);

  // The few-shot prefix is read once for each batch, although more reuse than that is possible.
  const double own = std::ceil(samples / copies);
  const double tokens = own * (question + answers) + std::ceil(own / batch) * prefix;
  double seconds = prefill_seconds(costs, cut, machine, tokens, prefix + (question + answers) / 2);
  if (model.vision && image_tokens > 0) {
    const double flops = 2 * model.vision->params * own * image_tokens * kPatchesPerToken;
    if (machine.flops > 0) seconds += flops / (machine.flops * kPrefillShare);
  }
  if (writes) {
    const double repeats = repeats_of(task, settings);
    const double most =
        static_cast<double>(std::max<std::int64_t>(1, settings.integer("max_tokens").value_or(1'000'000)));
    const double output = std::clamp(task.output_tokens, 1.0, most);
    const double sequences = own * repeats;
    const double at_once = std::min(batch, sequences);
    const double step = decode_step_seconds(costs, cut, machine, at_once, prefix + question + output / 2);
    // A place that becomes free is filled at once, so the batch is full but for the end.
    seconds += std::max(output, sequences * output / at_once) * step;
    if (task.kind == TaskKind::kCode) {
      const double processors = std::max(1.0, static_cast<double>(profile.cpus_per_gpu) * placement.gpus);
      seconds += samples * repeats * kTestSeconds / processors;
    }
  }
  return seconds;
}

// Seconds of one optimiser step on its placement; `usable`: bytes of each GPU that may be filled.
double step_seconds(const Task& task, const Model& model, const matrix::Settings& settings, const Need& need,
                    const Placement& placement, const Machine& machine, double usable) {
  const Costs costs = costs_of(model, need.dtype, need.kv);
  const Cut cut = cut_of(costs, placement.layout);
  TrainWork work;
  work.sequences = global_batch(settings);
  const double mean = std::max(0.0, task.prompt_tokens) + std::max(0.0, task.output_tokens);
  const double most = need.sequence > 0 ? static_cast<double>(need.sequence) : 2048;
  work.length = mean > 0 ? std::min(mean, most) : most;
  if (!model.decoder) work.length = kImageTokens;
  work.micro_batch = static_cast<double>(std::max<std::int64_t>(1, placement.batch));
  work.full = need.full;
  work.checkpointing = placement.checkpointing;
  work.reference = need.reference;
  if (need.full)
    work.trained = model.params;
  else if (model.decoder && need.rank > 0)
    work.trained = adapter_params(*model.decoder, need.rank);
  double generating = 0;
  if (task.type == "grpo") {
    // Each prompt of the batch is answered by a group, and the whole group is learned from.
    work.sequences *= repeats_of(task, settings);
    const double output =
        settings.number("max_tokens")
            .value_or(std::max({1.0, static_cast<double>(task.max_output_tokens), task.output_tokens}));
    const double sequences = std::ceil(work.sequences / std::max(1, placement.layout.dp));
    const double prompt = std::max(0.0, task.prompt_tokens);
    // Their cache lives where the backward pass will keep activations.
    double at_once = sequences;
    if (model.decoder) {
      const double room = usable - (placement.memory.total() - placement.memory.activations);
      const double each = kv_bytes_per_gpu(*model.decoder, placement.layout, need.kv, prompt + output, 1);
      if (each > 0) at_once = std::clamp(std::floor(room / each), 1.0, std::max(1.0, sequences));
    }
    generating = prefill_seconds(costs, cut, machine, sequences * prompt, prompt / 2) +
                 std::max(1.0, sequences / at_once) * output *
                     decode_step_seconds(costs, cut, machine, at_once, prompt + output / 2);
    // What was written is learnt from so often.
    generating /= settings.number("iterations").value_or(1);
  } else if (task.type == "dpo") {
    work.sequences *= 2;  // the chosen and the rejected answer
  }
  return generating + train_step_seconds(costs, cut, machine, work);
}

double bench_batch(const Task& task, const matrix::Settings& settings) {
  return static_cast<double>(std::max<std::int64_t>(1, settings.integer("batch").value_or(task.bench->batch_per_gpu)));
}

double bench_step_seconds(const Task& task, const matrix::Settings& settings, const Placement& placement,
                          const Machine& machine) {
  if (!task.bench || !(machine.flops > 0)) return 0;
  const double batch = bench_batch(task, settings);
  const double gradients = std::max(0.0, task.bench->params) * 2;  // bytes, in 16 bits
  const bool leaves_node = placement.gpus > machine.gpus_per_node;
  return std::max(0.0, task.bench->flops_per_sample) * batch / (machine.flops * kTrainShare) +
         all_reduce_seconds(gradients, placement.gpus, leaves_node ? machine.network : machine.link);
}

}  // namespace

std::string_view name_of(Basis basis) {
  switch (basis) {
    case Basis::kUnknown:
      return "unknown";
    case Basis::kDeclared:
      return "declared";
    case Basis::kAssumed:
      return "assumed";
    case Basis::kRoofline:
      return "roofline";
    case Basis::kHistory:
      return "history";
    case Basis::kHistoryAndLimit:
      return "history and limit";
  }
  return "";
}

double units_of_work(const matrix::Cell& cell, const matrix::Settings& settings, const Site& site) {
  const Task* task = task_of(cell, site.catalog);
  if (!task) return 1;
  switch (cell.kind) {
    case matrix::CellKind::kCommand:
      return 1;
    case matrix::CellKind::kEval:
      return std::max(1.0, samples_of(*task, settings) * (generates(*task) ? repeats_of(*task, settings) : 1));
    case matrix::CellKind::kTrain:
      return std::max(1.0, training_steps(*task, settings));
    case matrix::CellKind::kBench: {
      if (!task->bench) return 1;
      if (const auto steps = settings.number("steps"); steps && *steps > 0) return *steps;
      const double gpus = static_cast<double>(std::max<std::int64_t>(1, settings.integer("gpus").value_or(1)));
      return std::max(1.0, std::ceil(task->bench->samples / (bench_batch(*task, settings) * gpus)));
    }
  }
  return 1;
}

Duration duration_of(const matrix::Cell& cell, const matrix::Settings& settings, const Need& need,
                     const Placement& placement, const Site& site, const History& history) {
  const policy::Planning& planning = site.policy.planning;
  const Task* task = task_of(cell, site.catalog);
  const Model* model = model_of(cell, site.catalog);
  Duration duration;

  const auto declared = declared_time(settings);
  const double units = units_of_work(cell, settings, site);
  const bool placed =
      placement.profile < site.catalog.profiles.size() && placement.partition < site.cluster.partitions.size();
  const Profile profile = placed ? site.catalog.profiles[placement.profile] : Profile{};
  // Commands that name no task would all be one.
  if (placed && task) {
    const std::string model_name = model ? model->name : "";
    const auto median = history.quantile(model_name, task->name, profile.name, 0.5);
    const auto late = history.quantile(model_name, task->name, profile.name, planning.time_quantile);
    if (median && late) {
      duration.expected = bounded(*median * units);
      duration.bound = std::max(duration.expected, bounded(*late * units));
      if (declared) {
        // What is declared is the longest that a command may take.
        duration.bound = bounded(*declared);
        duration.expected = std::min(duration.expected, duration.bound);
      }
      const auto* entry = history.find(model_name, task->name, profile.name);
      duration.basis = counted(static_cast<long long>(entry->seconds_per_unit.size()), "measurement");
      duration.from = declared ? Basis::kHistoryAndLimit : Basis::kHistory;
      return duration;
    }
  }

  if (cell.kind == matrix::CellKind::kCommand || (!task && !model)) {
    duration.from = declared ? Basis::kDeclared : Basis::kAssumed;
    duration.bound = bounded(declared.value_or(planning.command_time));
    duration.expected = duration.bound / 2;
    duration.basis = declared ? "half of the time declared" : "assumed: no time was declared";
    return duration;
  }

  double seconds = kLongest;
  if (placed) {
    const Partition& partition = site.cluster.partitions[placement.partition];
    if (const Gpu* gpu = site.catalog.gpus.find(partition.gpu)) {
      const Machine machine = machine_of(*gpu, partition, profile.gpus_per_node, need.compute);
      if (cell.kind == matrix::CellKind::kBench && task)
        seconds = units * bench_step_seconds(*task, settings, placement, machine);
      else if (cell.kind == matrix::CellKind::kTrain && task && model)
        seconds = units * step_seconds(*task, *model, settings, need, placement, machine,
                                       gpu->memory * placement.share * planning.memory_high);
      else if (task && model)
        seconds = eval_seconds(*task, *model, settings, need, placement, machine, profile);
      // A share of a GPU is a share of its speed.
      if (placement.share > 0 && placement.share < 1) seconds /= placement.share;
    }
  }
  duration.expected = bounded(seconds);
  duration.bound = bounded(duration.expected * std::max(1.0, planning.time_margin));
  duration.basis = "roofline";
  duration.from = Basis::kRoofline;
  return duration;
}

}  // namespace orch::planner
