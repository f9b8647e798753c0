// The frequencies of rotary positions, with the scalings that published models use.
#pragma once

#include <cstdint>

#include "model/architecture.h"
#include "model/config.h"

namespace orch::model {

/// Of the fields rope_theta, rope_scaling and rope_parameters of a configuration. `dims`: components that are turned;
/// `context`: max_position_embeddings.
Rope read_rope(Config& config, int dims, std::int64_t context, double otherwise_theta);

/// Dynamic scaling: what the frequencies' base is multiplied by for a sequence of `length` tokens (kernels::Rotary has
/// it for each token). All tokens of a prompt have that of the prompt's length, each later one that of the length with
/// it; so does transformers while it decodes. 1 where the scaling is not dynamic.
float dynamic_base(const Rope& rope, std::int64_t length);

/// Whether a sequence that will have `length` tokens in all turns by long_frequencies, from its first token on.
bool is_lengthy(const Rope& rope, std::int64_t length);

/// YaRN's factor of what long inputs lose in sharpness.
double yarn_scale(double factor, double weight);

}  // namespace orch::model
