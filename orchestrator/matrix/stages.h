// The order of stages: which waits for which, by `adapter` or `after`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "matrix/matrix.h"

namespace orch::matrix {

/// Whether what the stages say of each other can be: the stages exist, those whose adapters are used train, and none
/// waits for itself.
void check_links(std::span<const Stage> stages, Diagnostics& diagnostics);

/// The indices of the stages, each after those it waits for, else in the order of the file. Stages of a cycle are left
/// out.
std::vector<std::uint32_t> stage_order(std::span<const Stage> stages);

}  // namespace orch::matrix
