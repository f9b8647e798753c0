// The trainings whose adapters other stages evaluate: the cells that make one, and how many are refused.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "matrix/expand.h"

namespace orch::matrix {

class Adapters {
 public:
  explicit Adapters(std::span<const Stage> stages);

  void make(std::uint32_t stage, std::uint32_t model, std::uint32_t cell) { of_[stage][model].made.push_back(cell); }
  void refuse(std::uint32_t stage, std::uint32_t model, std::int64_t count);

  /// The train cells of the model whose adapters the stage uses.
  std::span<const std::uint32_t> made(const Stage& user, std::uint32_t model) const;
  /// How many trainings of the model were refused whose adapters the stage asks for.
  std::int64_t refused(const Stage& user, std::uint32_t model) const;
  /// Adapters of the model that the stage asks for, those that will not be made included; 1 where it asks for none.
  std::int64_t copies(const Stage& user, std::uint32_t model) const;

 private:
  struct OfModel {
    std::vector<std::uint32_t> made;
    std::int64_t refused = 0;
  };
  const OfModel* find(const Stage& user, std::uint32_t model) const;

  std::map<std::string, std::uint32_t> stages_;
  std::vector<std::map<std::uint32_t, OfModel>> of_;  // by stage: model → its trainings
};

}  // namespace orch::matrix
