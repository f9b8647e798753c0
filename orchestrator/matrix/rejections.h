// What is refused in a stage: whole pairs, single values of a pair, and the rows in which they are counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "matrix/adapters.h"
#include "matrix/axes.h"
#include "matrix/expand.h"
#include "matrix/reasons.h"

namespace orch::matrix {

/// Counts rejections in rows, one for each model, task, rule and reason until there are too many.
class RejectionRows {
 public:
  explicit RejectionRows(std::vector<Rejection>& rows) : rows_(rows) {}

  void add(const Pair& pair, const Reason& reason, std::int64_t count);

 private:
  std::vector<Rejection>& rows_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// Why no cell of the pair can be, whatever its settings.
std::optional<Reason> why_not_at_all(const Pair& pair, const Stage& stage, const Block& block,
                                     const Adapters& adapters);

/// The adapter would be made by a training that is itself rejected.
Reason not_trained(const Stage& stage);

/// All weights are to be trained in a format that is too coarse for it.
std::optional<Reason> why_not_full(const Settings& settings);

/// The native engine has not all the files that such a training of the task learns from.
std::optional<Reason> why_not_learned(const Task& task, const Settings& settings);

/// Values of one axis, or of several together, that a pair cannot have.
struct Forbidden {
  std::vector<const Axis*> axes;
  std::vector<std::optional<Reason>> reasons;  ///< by the combinations of their values, the last turning fastest

  const std::optional<Reason>& reason(std::size_t combination) const {
    std::size_t at = 0;
    for (const Axis* axis : axes) at = at * axis->values.size() + axis->index(combination);
    return reasons[at];
  }
};
std::vector<Forbidden> forbidden_values(const Pair& pair, const Stage& stage, const Block& block);

}  // namespace orch::matrix
