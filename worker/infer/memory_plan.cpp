#include "infer/memory_plan.h"

namespace orch::infer {
namespace {

/// Texts that have nothing in common from their first tokens on.
std::vector<std::int32_t> text_of(std::int64_t number, std::int64_t tokens, std::int64_t vocab) {
  std::vector<std::int32_t> text(static_cast<std::size_t>(tokens), 0);
  for (std::size_t i = 0; number > 0 && i < text.size(); ++i, number /= vocab)
    text[i] = static_cast<std::int32_t>(number % vocab);
  return text;
}

}  // namespace

Result<MemoryPlan> plan_memory(const model::Architecture& it, model::Shard shard, model::Formats formats,
                               const EngineRules& rules, const PlannedTexts& texts) {
  if (texts.tokens < 2) return Error{"a text of " + std::to_string(texts.tokens) + " tokens asks for nothing"};
  const auto backend = kernels::make_plan_backend();
  const auto tensor = comm::make_planned_communicator(shard.rank, shard.ranks),
             pipeline = comm::make_planned_communicator(shard.stage, shard.stages);
  auto decoder = model::Decoder::load(*backend, it, model::shapes_of(it, shard), shard, formats, tensor.get());
  if (!decoder) return decoder.error();
  MemoryPlan plan;
  plan.weights = static_cast<double>(backend->bytes());

  Engine engine(*backend, **decoder, rules, shard.stages > 1 ? pipeline.get() : nullptr);
  // Every row of every text is asked; then a token is drawn for all together.
  std::vector<ScoreRequest> scores;
  std::vector<WriteRequest> writes;
  for (std::int64_t i = 0; i < texts.count; ++i) {
    const std::vector<std::int32_t> text = text_of(i, texts.tokens, it.vocab);
    scores.push_back({{text.begin(), text.begin() + 1}, {text.begin() + 1, text.end()}});
    writes.push_back({{text.front()}, 1, {1.0F, 1.0F, 0, static_cast<std::uint64_t>(i)}});
  }
  if (auto scored = engine.score(scores); !scored) return scored.error();
  const IsOver never = [](std::size_t, std::span<const std::int32_t>) { return false; };
  if (auto drawn = engine.write(writes, never); !drawn) return drawn.error();
  plan.cache = static_cast<double>(engine.cache_bytes());
  plan.steps = static_cast<double>(backend->peak()) - plan.weights - plan.cache;
  plan.ops = backend->ops();
  return plan;
}

}  // namespace orch::infer
