// From a plan to what is asked of the daemon: the cells with what each needs of a job.
//
// Holds:
//  - Cells of equal need have one Need, whose script values make a script of any shape (planner::reshape).
//  - Whatever no worker could run is rejected here, with its reason, and counted.
#pragma once

#include <string>
#include <vector>

#include "control/event.h"
#include "planner/plan.h"

namespace orch::control {

struct Asking {
  std::string name, user, request_key;
  std::string matrix;  ///< the file's text
  bool fresh = false;
};

struct Asked {
  event::SubmitSweep sweep;
  std::vector<matrix::Rejection> rejected;  ///< the plan's, and those of this step
};

/// An error: what the site or the matrix says of submission can be in no script.
Result<Asked> ask_for(const planner::Plan& plan, const matrix::Expansion& expansion, const planner::Site& site,
                      Asking asking);

}  // namespace orch::control
