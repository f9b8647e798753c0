// From rows of numbers to panels.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/weight.h"

namespace orch::kernels::cpu {

/// Says how the weight is laid out, and how many bytes that takes (scales included).
void shape_panels(PanelWeight& weight, const WeightShape& shape);
/// Reads and lays out one panel of matrix `index`. `rows` is room that a thread keeps from panel to panel.
void fill_panel(PanelWeight& weight, std::int64_t index, std::int64_t number, const RowReader& reader,
                const Loops& loops, std::vector<float>& rows);

}  // namespace orch::kernels::cpu
