#include "train/loss_scale.h"

#include <algorithm>
#include <string>

namespace orch::train {

LossScale after_step(const LossScale& state, bool overflowed, const LossScaleRules& rules) {
  if (overflowed) return {std::max(rules.least, state.scale / 2), 0};
  if (state.good + 1 < rules.grow_after) return {state.scale, state.good + 1};
  return {std::min(rules.most, state.scale * 2), 0};
}

bool excuses(const LossScale& state, const LossScaleRules& rules) { return state.scale > rules.least; }

nlohmann::json json_of(const LossScale& state) { return {{"scale", state.scale}, {"good", state.good}}; }

Result<LossScale> read_loss_scale(const nlohmann::json& json) {
  try {
    return LossScale{json.at("scale"), json.at("good")};
  } catch (const nlohmann::json::exception& exception) {
    return Error{std::string("the loss scale's state: ") + exception.what()};
  }
}

}  // namespace orch::train
