// The daemon: wires state, store, cluster, planner and API together, and nothing else.
//
// Holds:
//  - One daemon serves one state directory: the store's lock is held as long as it lives.
//  - endpoint.json is written once it serves, so whoever waits for the file finds somebody there.
//  - Jobs outlive it. What a crash leaves undone, the next start finds in the store.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/roles.h"
#include "cluster/cluster.h"
#include "cluster/pace.h"
#include "control/state.h"
#include "inputs/inputs.h"
#include "orchd/job_folder.h"
#include "orchd/site.h"

namespace orch::orchd {

struct Options {
  std::filesystem::path state;     ///< the state directory: endpoint, certificate, tokens, settings
  std::filesystem::path database;  ///< a folder on a local disk, for the store and the socket
  std::filesystem::path data;      ///< a folder that compute nodes see, with the questions of tasks
  std::filesystem::path jobs;      ///< a folder that compute nodes see, for the jobs' directories
  inputs::Sources sources;
  Site site;
  std::string policy;                  ///< path or name; empty: the one set last, else the default
  JobSurroundings around;              ///< of jobs; `endpoint` is filled in here
  std::string listen;                  ///< ADDRESS:PORT for TLS; empty: the Unix socket alone
  std::vector<std::string> addresses;  ///< under which other hosts reach it; empty: its host name
  unsigned socket_mode = 0600;
  api::RoleGroups groups;
  std::filesystem::path ceilings = "/etc/orch/ceilings.yaml";  ///< the site's, root's own; need not be there
  control::Rules rules;
  cluster::LookRules look;
  std::chrono::milliseconds tidy_every = std::chrono::hours(1);  ///< between two looks for files that are too old
  std::string version;
  std::function<void(const std::string&)> log;
  std::function<void()> serving;  ///< called once it serves, before endpoint.json says so
};

class Daemon {
 public:
  /// Serves once this returns. The error is a sentence for the person who started it.
  static Result<std::unique_ptr<Daemon>> start(Options options, std::unique_ptr<cluster::Cluster> cluster);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// Until stop() is called, by anyone. The error is why it cannot go on: its disk failed.
  Result<std::monostate> wait();
  void stop();

 private:
  class Inside;
  explicit Daemon(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

}  // namespace orch::orchd
