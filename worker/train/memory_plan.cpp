#include "train/memory_plan.h"

#include <limits>

namespace orch::train {

Result<std::unique_ptr<MemoryPlan>> MemoryPlan::make(const model::Architecture& architecture, model::Shard shard,
                                                     model::Formats formats, const std::optional<AdapterRules>& adapter,
                                                     bool average) {
  std::unique_ptr<MemoryPlan> it(new MemoryPlan);
  it->architecture_ = architecture;
  it->backend_ = kernels::make_plan_backend();
  it->tensor_ = comm::make_planned_communicator(shard.rank, shard.ranks);
  const model::Sources shapes = model::shapes_of(it->architecture_, shard);
  auto decoder = model::Decoder::load(*it->backend_, it->architecture_, shapes, shard, formats, it->tensor_.get());
  if (!decoder) return decoder.error();
  it->decoder_ = *std::move(decoder);
  it->weights_ = static_cast<double>(it->backend_->bytes());
  auto parameters = adapter ? Parameters::of_adapter(*it->backend_, *it->decoder_, shapes, *adapter, average)
                            : Parameters::of_model(*it->backend_, *it->decoder_, shapes, average);
  if (!parameters) return parameters.error();
  it->parameters_ = *std::move(parameters);
  it->trained_ = static_cast<double>(it->backend_->bytes()) - it->weights_;
  it->row_ = static_cast<double>(it->parameters_->count()) * sizeof(float);
  return it;
}

double MemoryPlan::pass(const LearnerBounds& bounds) const {
  const auto before = static_cast<double>(backend_->bytes());
  const auto learner = Learner::make(*backend_, *decoder_, *parameters_, bounds);
  if (!learner) return std::numeric_limits<double>::infinity();
  return static_cast<double>(backend_->bytes()) - before;
}

}  // namespace orch::train
