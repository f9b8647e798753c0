// A cell's program, from its command line to what it measured.
#pragma once

#include <memory>

#include "base/wire/messages.h"
#include "run/program.h"
#include "run/work.h"

namespace orch::worker {

/// The starter must outlive it. `gpus`: those of its slot; `environment`: of all programs.
Result<std::unique_ptr<Work>, StartError> start_program(Starter& starter, const wire::Leased& leased,
                                                        const std::filesystem::path& folder,
                                                        const std::vector<std::string>& gpus,
                                                        const std::vector<std::string>& environment);

}  // namespace orch::worker
