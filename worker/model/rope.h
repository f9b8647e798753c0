// The frequencies of rotary positions, with the scalings that published models use.
#pragma once

#include <cstdint>

#include "model/architecture.h"
#include "model/config.h"

namespace orch::model {

/// Of the fields rope_theta, rope_scaling and rope_parameters of a configuration. `dims`: components that are turned;
/// `context`: max_position_embeddings.
Rope read_rope(Config& config, int dims, std::int64_t context, double otherwise_theta);

/// YaRN's factor of what long inputs lose in sharpness.
double yarn_scale(double factor, double weight);

}  // namespace orch::model
