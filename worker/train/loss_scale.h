// The factor on the loss of a training in fp16, so that small gradients do not vanish: halved when a gradient
// overflows, whose step is then skipped, and doubled after many steps without (torch's GradScaler begins and grows the
// same way). bf16 and fp32 need none.
//
// Holds: the scale is a power of two within its bounds, so scaling and unscaling change no bit of a gradient but by its
// range. The state is plain data, and goes to JSON and back bit for bit.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/result.h"

namespace orch::train {

struct LossScaleRules {
  std::int64_t grow_after = 2000;  ///< good steps in a row
  double least = 1;
  double most = 16777216;  ///< 2^24: beyond, the loss itself nears fp16's end
};

struct LossScale {
  double scale = 65536;   ///< 2^16
  std::int64_t good = 0;  ///< steps since the last change
  bool operator==(const LossScale&) const = default;
};

/// The state after a step whose gradient overflowed (was Inf or NaN anywhere), or did not.
LossScale after_step(const LossScale& state, bool overflowed, const LossScaleRules& rules = {});

/// Whether an overflow at this scale is the scale's, and is no word on the training. At the least scale it is the
/// training's own, for stability.h to judge.
bool excuses(const LossScale& state, const LossScaleRules& rules = {});

nlohmann::json json_of(const LossScale& state);
Result<LossScale> read_loss_scale(const nlohmann::json& json);

}  // namespace orch::train
