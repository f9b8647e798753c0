// What is removed of a job's folder once it is old enough (Retention of the policy).
//
// Holds:
//  - Only folders of jobs that are over are touched, and in them nothing younger than the policy says.
//  - What lies in a cell's folder stays while another cell, or the next attempt at it, may need it.
//  - What a training has made (its adapter or its model) and its curve stay.
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

/// What of a cell's folders may not go, whatever its age.
enum class Kept { kNothing, kWhatItMade, kAll };

/// `age`: seconds since the job's end.
Removed tidy_job_folder(const std::filesystem::path& folder, double age, const policy::Retention& retention,
                        const std::function<Kept(control::CellId)>& kept);

}  // namespace orch::orchd
