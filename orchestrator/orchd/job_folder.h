// A job's directory, as the daemon uses it: what it is told before it starts, and what it leaves behind.
//
//   job.sh     the script that the cluster runs          claim       the cluster's id of it: its script ran
//   job.json   what its worker is told (wire::JobFile)   spool.N     results that were not acknowledged
//   token      its bearer token, 0600                    exit.json   its worker's last words
//   orch-worker  a link to the worker
//   cells/     a folder for each attempt                 mail/       messages as files, where there is no route
//
// Holds:
//  - A directory is its owner's alone (0700): tokens and users' results lie in it.
//  - What a worker left is read as hostile: bounded, and checked whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/wire/messages.h"
#include "control/job.h"
#include "inputs/inputs.h"

namespace orch::orchd {

struct JobSurroundings {
  DataFolders data;
  std::filesystem::path templates;  ///< the site's own; empty: none
  std::filesystem::path endpoint;   ///< the file endpoint.json
  std::string link;                 ///< http | files
  std::string worker;               ///< path of orch-worker on the compute nodes
  double drain = 120;               ///< seconds
};

/// Makes it, and returns the script's path. Once it is there, another call writes the same again.
Result<std::filesystem::path> make_job_folder(const std::filesystem::path& folder, const control::Job& job,
                                              const Catalog& catalog, const std::string& token,
                                              const JobSurroundings& around);

/// What a job left that is over.
struct Left {
  bool started = false;  ///< its script ran
  std::vector<wire::Delivered> items;
  std::optional<wire::Exit> exit;
  std::vector<std::string> problems;  ///< what could not be read
};
Left read_job_folder(const std::filesystem::path& folder);

}  // namespace orch::orchd
