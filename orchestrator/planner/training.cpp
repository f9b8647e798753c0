#include "planner/training.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/layout.h"
#include "base/text.h"
#include "base/units.h"
#include "planner/shapes.h"

namespace orch::planner {
namespace {

constexpr std::int64_t kRankStep = 8;

std::int64_t down_to_step(double rank) {
  if (!(rank >= kRankStep)) return kRankStep;
  // The product of a decimal factor may lie a hair below the whole number that was meant.
  return static_cast<std::int64_t>(std::floor(std::min(rank, 1e9) * (1 + 1e-12))) / kRankStep * kRankStep;
}

// A rate as a person would write it: 1.2 × 4e-4 is 0.00048 and not 0.00047999….
double tidy(double rate) {
  const double places = 1e9;
  const double rounded = std::round(rate * places) / places;
  return rounded > 0 ? rounded : rate;
}

// The shape with the most GPU memory that may run the model; without stages a copy of it is on one node.
struct Largest {
  const Profile* profile = nullptr;
  const Gpu* gpu = nullptr;
  double memory() const { return profile ? profile->gpus() * gpu->memory : 0; }
};

Largest largest_shape(const Model& model, const Site& site, bool native) {
  Largest largest;
  for (const Shape& shape : shapes_of(site).usable) {
    const Profile& profile = site.catalog.profiles[shape.profile];
    if (use_rank(profile, model) == 2 || (native && profile.nodes > 1)) continue;
    const Largest found{&profile, site.catalog.gpus.find(site.cluster.partitions[shape.partition].gpu)};
    if (found.memory() > largest.memory()) largest = found;
  }
  return largest;
}

// The greatest rank, by steps, up to `wanted` with which training fits somewhere; nothing if not even the least does.
std::optional<std::int64_t> rank_that_fits(const Model& model, DType weights, std::int64_t sequence, bool ema,
                                           std::int64_t wanted, const Largest& largest, double share, bool native) {
  const std::vector<Layout> legal = layouts_for(model, largest.profile->gpus(), largest.profile->gpus_per_node).legal;
  const auto fits = [&](std::int64_t rank) {
    TrainShape shape;
    shape.weights = weights;
    shape.rank = rank;
    shape.sequence = sequence;
    shape.micro_batch = 1;
    shape.checkpointing = true;
    shape.ema = ema;
    return std::any_of(legal.begin(), legal.end(), [&](const Layout& layout) {
      return layout.dp == 1 && !(native && why_native_trains_not(model, layout)) &&
             training_memory(model, layout, shape).total() <= share * largest.gpu->memory;
    });
  };
  if (fits(wanted)) return wanted;
  std::int64_t least = 1;
  std::int64_t most = wanted / kRankStep;  // in steps; known not to fit
  if (!fits(kRankStep)) return std::nullopt;
  while (most - least > 1) {
    const std::int64_t middle = least + (most - least) / 2;
    (fits(middle * kRankStep) ? least : most) = middle;
  }
  return least * kRankStep;
}

std::string percent(double factor) {
  const double change = (factor - 1) * 100;
  return (change < 0 ? "− " : "+ ") + format_fixed(std::abs(change), 0) + " %";
}

template <class T>
void put(matrix::Settings& settings, const char* name, T value) {
  if (!settings.has(name)) settings.set(name, value);
}

}  // namespace

std::vector<std::string> complete_training(const Model& model, const Task& task, matrix::Settings& settings,
                                           const Site& site) {
  std::vector<std::string> reasons;
  const SizeClass size = size_class(model.params);
  const policy::Training& table = site.policy.training;
  const policy::AdapterRow& row = table.row(size);
  const policy::AdapterFactors adjust = table.factors(task.type);
  const std::string row_name(name_of(size));
  const bool full = settings.truth("full").value_or(false);
  const bool native = settings.text("engine") == name_of(Engine::kNative);
  const Largest largest = largest_shape(model, site, native);
  put(settings, "ema_decay", table.ema_decay);

  if (model.decoder) {
    const std::int64_t sequence = model.context > 0 ? std::min(table.sequence, model.context) : table.sequence;
    if (const auto given = settings.integer("sequence"); given && model.context > 0 && *given > model.context) {
      settings.set("sequence", model.context);
      reasons.push_back("sequence " + std::to_string(*given) + " is longer than the context of " + shown(model.name) +
                        ", " + std::to_string(model.context) + " tokens: that is used");
    } else if (!given) {
      settings.set("sequence", sequence);
      if (sequence < table.sequence)
        reasons.push_back("sequence " + std::to_string(sequence) + ": the context of " + shown(model.name) +
                          " is shorter than " + std::to_string(table.sequence));
    }
  }

  if (full) {
    for (const char* name : {"rank", "alpha", "dropout", "targets", "rank_stabilised"}) {
      if (!settings.has(name)) continue;
      settings.erase(name);
      reasons.push_back(std::string(name) + " means nothing when every parameter is trained: left out");
    }
    if (!settings.has("learning_rate")) {
      const double rate = tidy(row.learning_rate * table.full_rate);
      settings.set("learning_rate", rate);
      reasons.push_back("learning rate " + format_fixed(rate * 1e6, 1) +
                        "e-6: " + format_fixed(table.full_rate * 100, 0) +
                        " % of the adapters' rate, because every parameter is trained");
    }
  } else {
    const auto given = settings.integer("rank");
    const double wanted = given ? static_cast<double>(*given) : static_cast<double>(row.rank) * adjust.rank;
    std::int64_t rank = down_to_step(wanted);
    const std::string origin =
        given ? "rank " + std::to_string(*given) + " of the matrix"
              : "rank " + std::to_string(row.rank) + " of a " + row_name + " model" +
                    (adjust.rank != 1 ? " " + percent(adjust.rank) + " for " + shown(task.type) : "");
    if (static_cast<double>(rank) != wanted)
      reasons.push_back(origin + " is " + (given ? "" : format_fixed(wanted, 1) + ", ") + "made " +
                        std::to_string(rank) +
                        (wanted < kRankStep ? ": the least is 8" : ": ranks are multiples of 8"));
    else if (!given)
      reasons.push_back(origin + " is " + std::to_string(rank));
    const std::int64_t uncapped = rank;

    if (model.decoder) {
      const std::int64_t useful = down_to_step(static_cast<double>(most_useful_rank(*model.decoder)));
      if (rank > useful) {
        reasons.push_back("rank " + std::to_string(rank) + " is capped at " + std::to_string(useful) +
                          ": half the smaller side of the narrowest layer of " + shown(model.name) +
                          ", above which an adapter compresses nothing");
        rank = useful;
      }
      if (largest.profile) {
        const DType weights = settings.dtype("dtype").value_or(model.dtype);
        const std::int64_t sequence = settings.integer("sequence").value_or(table.sequence);
        // The target of every placement, not its bound: a rank is not chosen so that its training is cramped.
        const policy::Planning& planning = site.policy.planning;
        const double share = std::clamp(std::min(planning.memory_high, planning.memory_most), 0.0, 1.0);
        const bool ema = settings.number("ema_decay").value_or(0) > 0;
        const auto fitting = rank_that_fits(model, weights, sequence, ema, rank, largest, share, native);
        if (fitting && *fitting < rank) {
          reasons.push_back("rank " + std::to_string(rank) + " is capped at " + std::to_string(*fitting) +
                            ": more does not fit " + shown(largest.profile->name) + ", the largest profile here (" +
                            counted(largest.profile->gpus(), "GPU") + " of " + format_bytes(largest.gpu->memory) + ")");
          rank = *fitting;
        }
      }
    }
    settings.set("rank", rank);

    if (!settings.has("alpha")) {
      // The seed raises ranks and leaves alpha, so alpha follows the row. A cap keeps alpha / rank, which scales the
      // adapter. Beside a given rank it has the row's part of the rank that is used: equal ranks, equal adapters.
      const auto alpha_of = [&](std::int64_t of) {
        const double base = static_cast<double>(given ? row.rank : uncapped);
        return std::max(1.0, std::round(static_cast<double>(row.alpha) * static_cast<double>(of) / base));
      };
      settings.set("alpha", alpha_of(rank));
      if (rank < uncapped)
        reasons.push_back("alpha " + format_fixed(alpha_of(uncapped), 0) + " becomes " +
                          format_fixed(alpha_of(rank), 0) + ": alpha over rank stays as it was before the cap");
    }
    put(settings, "dropout", row.dropout);
    if (!settings.has("learning_rate")) {
      settings.set("learning_rate", tidy(row.learning_rate * adjust.learning_rate));
      if (adjust.learning_rate != 1)
        reasons.push_back("learning rate " + format_fixed(row.learning_rate * 1e4, 0) + "e-4 of a " + row_name +
                          " model " + percent(adjust.learning_rate) + " for " + shown(task.type));
    }
  }

  // Of the two that make the global batch, one that is given alone stands with the row's other.
  put(settings, "batch_size", row.batch_size);
  put(settings, "accumulation", row.accumulation);
  if (!settings.has("steps")) put(settings, "epochs", std::int64_t{1});
  return reasons;
}

std::optional<std::string> why_native_trains_not(const Model& model, const Layout& layout) {
  const auto number = [](int value) { return std::to_string(value); };
  if (layout.pp > 1) return "pp " + number(layout.pp) + ": the native engine trains without pipeline stages";
  if (model.decoder && !model.decoder->latent && model.decoder->kv_heads % std::max(1, layout.tp) != 0)
    return "tp " + number(layout.tp) + ": the native engine trains no copies of KV heads, and " +
           counted(model.decoder->kv_heads, "KV head") + (model.decoder->kv_heads == 1 ? " does" : " do") +
           " not divide by " + number(layout.tp);
  return std::nullopt;
}

HardwareChoice hardware_choice(const Gpu& gpu) {
  HardwareChoice choice;
  if (gpu.computes(DType::kBf16)) {
    choice.compute = DType::kBf16;
    choice.reasons.push_back("bf16: " + shown(gpu.name) +
                             " computes it, and it has the range of fp32, so that losses need no scaling");
    choice.reasons.push_back("flash attention: GPUs with bf16 have what it needs");
  } else if (gpu.computes(DType::kFp16)) {
    choice.compute = DType::kFp16;
    choice.loss_scaling = true;
    choice.flash_attention = false;
    choice.reasons.push_back("fp16: " + shown(gpu.name) + " does not compute in bf16; the loss is scaled dynamically");
    choice.reasons.push_back("no flash attention: it needs a GPU of the generation that brought bf16");
  } else {
    choice.compute = DType::kFp32;
    choice.flash_attention = false;
    choice.reasons.push_back("fp32: " + shown(gpu.name) + " computes neither in bf16 nor in fp16");
    choice.reasons.push_back("no flash attention: it works in 16 bits");
  }
  // Seed 002 says 8 for an H100 and seed 003 says 16, up from 4 on a smaller card: 8 for each GPU is what a profile has
  // processors for.
  const bool small = gpu.memory < 16 * kGiB;
  choice.loader_workers = small ? 4 : 8;
  choice.reasons.push_back(
      small ? "4 loader workers: a card of " + format_bytes(gpu.memory) + " sits in a small machine"
            : "8 loader workers: seed 002's figure; seed 003's 16 is more than a profile has processors for a GPU");
  return choice;
}

}  // namespace orch::planner
