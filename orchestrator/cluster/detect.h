// A draft of a cluster file, from what Slurm's commands say.
//
// Holds:
//  - Slurm is only asked (sinfo, scontrol show config), never told; no shell stands between. Its answers are hostile
//    input: any bytes give a draft that is a valid cluster file, or an error.
//  - What was guessed or could not be found stands in the draft as a comment, for a person to check.
#pragma once

#include <string>
#include <vector>

#include "base/catalog.h"
#include "base/result.h"

namespace orch::cluster {

/// What the commands printed.
struct Answers {
  std::string sinfo;   ///< of `sinfo` with the fields of sinfo_arguments()
  std::string config;  ///< of `scontrol show config`
};

/// The argument vector of the sinfo call, the program first.
std::vector<std::string> sinfo_arguments();

/// Asks the Slurm on this machine. An error says which command did not answer, and what it said.
Result<Answers> ask_slurm();

/// The text of a cluster file: YAML with comments.
Result<std::string> draft(const Answers& answers, const Catalog& catalog);

}  // namespace orch::cluster
