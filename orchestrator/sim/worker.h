// A simulated worker: one copy of a job's script on the machine, and what it leaves in the job's directory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/action.h"
#include "control/event.h"
#include "sim/clock.h"

namespace orch::sim {

/// What outlives a copy: files in the job's directory.
struct Directory {
  std::string owner;                             ///< the cluster's id, written once by the first script that starts
  std::vector<control::event::Delivered> spool;  ///< not acknowledged yet
  std::optional<control::event::ExitRecord> last_words;
};

/// How a cell behaves when it is run.
struct Behaviour {
  enum class Kind { kOk, kFlaky, kBad, kPoison, kSlow } kind = Kind::kOk;
  int failures = 0;    ///< of kFlaky: so many attempts fail
  double seconds = 0;  ///< it takes, all chunks together and before chance
  int chunks = 1;
};

/// What surrounds a worker.
struct Surroundings {
  Clock& clock;
  Random& random;
  std::function<const Behaviour&(control::CellId)> behaviour;
  /// Sends an event and calls back with the answer, or never.
  std::function<void(control::Event, std::function<void(const control::action::Answer&)>)> call;
  std::function<void(const std::string& cluster_id, bool well)> exit;
};

class Worker : public std::enable_shared_from_this<Worker> {
 public:
  struct Start {
    std::string job, cluster_id;
    int restarts = 0;
    std::vector<std::string> nodes;
    double gpus = 0;
    int cpus = 1;
    Time limit = 0;
  };
  Worker(Start start, Surroundings around, Directory& directory);

  void begin();
  void signal();  ///< drain
  void kill();    ///< no last words
  bool alive() const { return alive_; }

 private:
  struct Held {
    control::action::Answer::Given given;
    bool running = false;
    std::uint64_t run = 0;
  };
  template <class What>
  void later(Time delay, What what);
  /// Asks again and again until there is an answer; an answer to an older question is not listened to.
  void ask(std::uint64_t& question, Time again, std::function<control::Event()> event,
           std::function<void(const control::action::Answer&)> on_answer);
  void claim();
  void lease();
  void take(const control::action::Answer& answer);
  void heartbeat();
  void start_cells();
  void finished(control::Chunk chunk, control::event::Delivered delivered);
  void send_spool();
  void wind_up(control::End end, std::string reason);
  void leave();
  double time_left() const;

  Start start_;
  Surroundings around_;
  Directory& directory_;
  bool alive_ = true, draining_ = false, superseded_ = false, winding_up_ = false;
  control::Epoch epoch_{};
  std::string copy_;
  Time started_at_ = 0, idle_since_ = 0;
  std::map<control::Chunk, Held> held_;
  std::vector<control::Chunk> order_;  ///< in which they are run
  double gpus_used_ = 0;
  int cpus_used_ = 0;
  std::uint64_t asked_claim_ = 0, asked_lease_ = 0, asked_spool_ = 0, asked_exit_ = 0, runs_ = 0;
};

}  // namespace orch::sim
