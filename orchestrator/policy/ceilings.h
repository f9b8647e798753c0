// What a site's own file sets above every policy: limits that no policy can raise.
//
//   ceilings:
//     time_zone: Europe/Stockholm
//     per_user: {jobs: 20, gpus: 64, queued: 20, gpu_hours: 500, per: day}
//     per_sweep: {gpu_hours: 2000}
//     idle_timeout: 10min
//
// Holds: hold_down() makes no limit larger. It binds whoever runs this program as it was installed; it is no guard
// against one who brings another program, which Slurm's own limits are.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/fields.h"
#include "base/result.h"
#include "base/yaml.h"
#include "policy/policy.h"

namespace orch::policy {

struct Ceilings {
  Limits per_user, per_sweep;
  Zone zone;  ///< of the periods of `per_user`
  std::optional<double> idle_timeout;
};

/// Nothing is returned when there was an error.
std::optional<Ceilings> read_ceilings(const Yaml& root, const std::string& file, Diagnostics& diagnostics);

/// The policy under the ceilings; which of its keys were lowered, for people: `limits.per_user.jobs`. An error: its
/// budget and the ceiling's are of different periods, and cannot be compared.
Result<std::vector<std::string>> hold_down(Policy& policy, const Ceilings& ceilings);

/// What stands below the key `limits` and its like, for one level. `may_renew`: `per` is understood.
Limits read_limits(const Yaml& node, const std::string& file, const std::string& what, bool may_renew,
                   Diagnostics& diagnostics);
/// Of `time_zone`; UTC where it is not said or not known.
Zone read_zone(Fields& limits);

}  // namespace orch::policy
