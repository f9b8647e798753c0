// What is removed of a job's folder once it is old enough (Retention of the policy).
//
// Holds:
//  - Only folders of jobs that are over are touched, and in them nothing younger than the policy says.
//  - What lies in a cell's folder stays while another cell may need it.
//  - No link is followed: what it leads to is not ours.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "control/ids.h"
#include "policy/policy.h"

namespace orch::orchd {

struct Removed {
  std::uint64_t files = 0, bytes = 0;
  bool all = false;  ///< nothing of the folder is left
};

/// `age`: seconds since the job's end. `is_needed`: whether what the cell left may not go.
Removed tidy_job_folder(const std::filesystem::path& folder, double age, const policy::Retention& retention,
                        const std::function<bool(control::CellId)>& is_needed);

}  // namespace orch::orchd
