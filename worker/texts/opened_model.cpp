#include "texts/opened_model.h"

#include <algorithm>
#include <limits>

#include "base/units.h"
#include "infer/memory_plan.h"
#include "kernels/cpu/backend.h"

namespace orch::texts {
namespace {

constexpr std::int64_t kLeastText = 2048;  ///< tokens: a model that has no room for so many is not loaded
constexpr double kShareOfCache = 0.5;      ///< of the memory that is left beside weights and steps

/// What an adapter takes at most of a rank, with the room that a step of so many tokens then wants. Weights stand in
/// panels of 64 rows.
double adapter_bytes(const model::PeftAdapter& adapter, DType dtype, std::int64_t step_tokens) {
  const auto padded = [](std::int64_t rows) { return static_cast<double>((rows + 63) / 64 * 64); };
  double numbers = 0, rank = 0, widest = 0;
  for (const model::PeftModule& module : adapter.modules) {
    numbers += padded(module.rank) * static_cast<double>(module.inputs) +
               padded(module.outputs) * static_cast<double>(module.rank);
    rank = std::max(rank, static_cast<double>(module.rank));
    widest = std::max(widest, static_cast<double>(module.outputs));
  }
  return (numbers + static_cast<double>(step_tokens) * (rank + 2 * widest)) * bytes_of(dtype);
}

Result<std::optional<model::PeftAdapter>> read_adapter(const std::filesystem::path& folder) {
  if (folder.empty()) return std::optional<model::PeftAdapter>();
  auto adapter = model::read_peft(folder);
  if (!adapter) return adapter.error();
  return std::optional(*std::move(adapter));
}

/// What the engine may do at once, within the memory that there is. An error says what does not fit.
Result<infer::EngineRules> rules_for(const OpenRules& rules, const ModelParts& parts,
                                     const std::optional<model::PeftAdapter>& with) {
  infer::EngineRules engine;
  engine.cache_dtype = rules.cache_dtype;
  engine.context = rules.context;
  const auto smaller = [&](std::int64_t& most) {
    most = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(most) * rules.smaller));
  };
  smaller(engine.step_tokens);
  smaller(engine.step_sequences);
  if (rules.memory <= 0) return engine;

  const std::int64_t context = rules.context > 0 ? rules.context : parts.architecture.context;
  infer::EngineRules planned = engine;
  planned.cache_bytes = std::numeric_limits<std::size_t>::max();
  const auto plan = infer::plan_memory(parts.architecture, parts.shard, rules.formats, planned,
                                       {1, std::clamp<std::int64_t>(context, 2, kLeastText)});
  if (!plan) return plan.error();
  const double adapter = with ? adapter_bytes(*with, rules.formats.compute, engine.step_tokens) : 0;
  if (plan->total() + adapter > rules.memory)
    return Error{"takes " + format_bytes(plan->total() + adapter) + " of memory on each rank (" +
                 format_bytes(plan->weights) + " of weights), and " + format_bytes(rules.memory) + " are left there"};
  const double left = rules.memory - plan->weights - plan->steps - adapter;
  engine.cache_bytes = static_cast<std::size_t>(std::max(plan->cache, left * kShareOfCache));
  return engine;
}

Result<bool> outcome(const auto& result) { return result ? Result<bool>(true) : Result<bool>(result.error()); }

}  // namespace

Result<std::unique_ptr<ModelParts>> read_model_parts(const std::filesystem::path& folder, model::Shard shard) {
  const auto named = [&](const Error& error) { return Error{folder.string() + ": " + error.what}; };
  auto architecture = model::open_architecture(folder);
  if (!architecture) return architecture.error();
  if (auto fits = model::check_shard(*architecture, shard); !fits) return named(fits.error());
  shard.layers = model::stage_layers(*architecture, shard.stage, shard.stages);
  auto tokenizer = tokenizer::Tokenizer::open(folder);
  if (!tokenizer) return tokenizer.error();
  auto checkpoint = model::Checkpoint::open(folder);
  if (!checkpoint) return checkpoint.error();
  auto parts = std::make_unique<ModelParts>(
      ModelParts{*std::move(architecture), shard, *std::move(tokenizer), *std::move(checkpoint), {}});
  auto sources = model::find_sources(parts->architecture, parts->checkpoint, shard);
  if (!sources) return named(sources.error());
  parts->sources = *std::move(sources);
  return parts;
}

Result<std::unique_ptr<OpenedModel>> OpenedModel::open(const OpenRules& rules, const std::filesystem::path& folder,
                                                       comm::Transport& ranks) {
  model::Shard shard;
  shard.rank = ranks.rank() % rules.tensor;
  shard.ranks = rules.tensor;
  shard.stage = ranks.rank() / rules.tensor;
  shard.stages = rules.pipeline;
  auto parts = read_model_parts(folder, shard);
  if (auto agreed = comm::agree(ranks, outcome(parts)); !agreed) return agreed.error();
  const auto adapter = read_adapter(rules.adapter);
  if (auto agreed = comm::agree(ranks, outcome(adapter)); !agreed) return agreed.error();
  auto engine = rules_for(rules, **parts, *adapter);
  if (auto agreed = comm::agree(ranks, outcome(engine)); !agreed)
    return Error{folder.string() + ": " + agreed.error().what};

  std::unique_ptr<OpenedModel> it(new OpenedModel(ranks));
  it->folder_ = folder;
  it->shard_ = (*parts)->shard;
  it->architecture_ = (*parts)->architecture;
  it->backend_ = kernels::make_cpu_backend({rules.threads, 0, {}});
  auto tensor = ranks.split(shard.stage), pipeline = ranks.split(shard.rank);
  if (!tensor) return tensor.error();
  if (!pipeline) return pipeline.error();
  it->tensor_ = comm::make_host_communicator(*it->backend_, *std::move(tensor));
  it->pipeline_ = comm::make_host_communicator(*it->backend_, *std::move(pipeline));
  auto decoder = model::Decoder::load(*it->backend_, (*parts)->architecture, (*parts)->sources, it->shard_,
                                      rules.formats, it->tensor_.get());
  if (auto agreed = comm::agree(ranks, outcome(decoder)); !agreed)
    return Error{folder.string() + ": " + agreed.error().what};
  it->decoder_ = *std::move(decoder);
  it->engine_.emplace(*it->backend_, *it->decoder_, *engine, rules.pipeline > 1 ? it->pipeline_.get() : nullptr);
  it->texts_.emplace(*it->engine_, std::move((*parts)->tokenizer), &ranks);
  if (*adapter)
    if (auto put = it->put_on(**adapter, rules.adapter); !put) return put.error();
  return it;
}

Result<bool> OpenedModel::use(const std::filesystem::path& adapter) {
  if (adapter == used_) return true;
  const auto read = read_adapter(adapter);
  if (auto agreed = comm::agree(ranks_, outcome(read)); !agreed) return agreed.error();
  if (*read) return put_on(**read, adapter);
  engine_->use(nullptr);
  adapter_.reset();
  used_.clear();
  return true;
}

Result<bool> OpenedModel::put_on(const model::PeftAdapter& adapter, const std::filesystem::path& from) {
  engine_->use(nullptr);
  adapter_.reset();
  used_.clear();
  auto loaded = model::LoadedAdapter::load(*backend_, architecture_, model::shapes_of(architecture_, shard_), adapter,
                                           decoder_->dtype());
  if (auto agreed = comm::agree(ranks_, outcome(loaded)); !agreed)
    return Error{from.string() + " on " + folder_.string() + ": " + agreed.error().what};
  adapter_ = *std::move(loaded);
  engine_->use(&adapter_->adapter());
  used_ = from;
  return true;
}

}  // namespace orch::texts
