#include "matrix/adapters.h"

#include <algorithm>

#include "matrix/counts.h"

namespace orch::matrix {

Adapters::Adapters(std::span<const Stage> stages) : of_(stages.size()) {
  for (std::uint32_t i = 0; i < stages.size(); ++i) stages_.emplace(stages[i].name, i);
}

void Adapters::refuse(std::uint32_t stage, std::uint32_t model, std::int64_t count) {
  if (count == 0) return;
  std::int64_t& refused = of_[stage][model].refused;
  refused = add_capped(refused, count);
}

const Adapters::OfModel* Adapters::find(const Stage& user, std::uint32_t model) const {
  const auto stage = stages_.find(user.adapter_of);
  if (user.adapter_of.empty() || stage == stages_.end()) return nullptr;
  const auto found = of_[stage->second].find(model);
  return found == of_[stage->second].end() ? nullptr : &found->second;
}

std::span<const std::uint32_t> Adapters::made(const Stage& user, std::uint32_t model) const {
  const OfModel* found = find(user, model);
  return found ? std::span<const std::uint32_t>(found->made) : std::span<const std::uint32_t>();
}

std::int64_t Adapters::refused(const Stage& user, std::uint32_t model) const {
  const OfModel* found = find(user, model);
  return found ? found->refused : 0;
}

std::int64_t Adapters::copies(const Stage& user, std::uint32_t model) const {
  if (user.adapter_of.empty()) return 1;
  const auto made_of_it = static_cast<std::int64_t>(made(user, model).size());
  return std::max<std::int64_t>(1, add_capped(made_of_it, refused(user, model)));
}

}  // namespace orch::matrix
