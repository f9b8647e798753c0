// What the views share with each other.
#pragma once

#include <optional>
#include <set>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "control/state.h"

namespace orch::api {

/// As a sweep sees its cell: of an older generation the result is there.
control::CellState state_in(const control::State& state, const control::Wanted& wanted);

/// The jobs that hold chunks of the cell.
std::set<control::JobId> jobs_at(const control::State& state, control::CellId cell);

/// The share of the cell that is done, from 0 to 1; nothing where nobody tells of it.
std::optional<double> progress(const control::State& state, control::CellId cell);

/// Of a training that runs: what its worker said last of it; null where nothing was said.
nlohmann::ordered_json live_json(const control::State& state, control::CellId cell);

/// An object; an empty one where the text is none.
nlohmann::ordered_json settings_json(const std::string& text);

}  // namespace orch::api
