// A worker's life: claim, lease, run, deliver, until nothing is left or its time is over.
//
// Holds:
//  - What was measured is in the spool before anything else is done about it.
//  - With the daemon away it goes on with what it has; it leases nothing more until it is back.
//  - Told to drain it begins nothing, gives back what has not begun, ends what another attempt goes on with, and ends
//    when what runs has ended.
//  - Its last act is the exit record. Superseded it leaves none: that is the other copy's to write.
//  - A copy that finds the job's exit record claims nothing: the job is over, whether the daemon is there to say so or
//  not.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/directory.h"
#include "link/spool.h"
#include "link/transport.h"
#include "run/model_engine.h"
#include "run/program_work.h"
#include "run/slots.h"

namespace orch::worker {

struct LoopOptions {
  std::string cluster_id;  ///< SLURM_JOB_ID
  int restarts = 0;
  std::vector<std::string> nodes;
  int spread = 1;                 ///< nodes of the job: GPUs and CPUs are leased over all of them
  std::vector<std::string> gpus;  ///< as CUDA_VISIBLE_DEVICES names them
  int cpus = 1;
  std::int64_t memory = 0;               ///< bytes; 0: not limited
  std::chrono::seconds time{24 * 3600};  ///< from now until it must have ended
  std::chrono::seconds drain{120};       ///< before that it begins nothing
  std::vector<std::string> environment;  ///< of the programs, before the cells' own
};

class Loop {
 public:
  using Clock = std::chrono::steady_clock;

  /// `engine`: runs the cells of the native engine; null: nothing does. All must outlive it.
  Loop(LoopOptions options, const JobDirectory& directory, Spool spool, Transport& transport, Starter& starter,
       ModelEngine* engine = nullptr);

  /// To its end; `signals` is a signalfd, not blocking, for SIGUSR1, SIGTERM and SIGINT, or -1.
  wire::Exit run(int signals);

 private:
  struct Running {
    wire::Leased leased;
    std::unique_ptr<Work> work;
    bool dropped = false;  ///< the daemon wants it no more: it is being ended, and nothing is said of it
  };
  struct Phase {
    bool draining = false;  ///< nothing new is begun
    bool hurried = false;   ///< SIGTERM, or the time is nearly over: what runs is ended too
    std::string why;
    std::string end = "done";
  };

  void take_signals();
  void watch_time();
  void drain(std::string why);
  void hurry(std::string why);
  void break_off(std::string why);
  void reap();
  void begin_waiting();
  std::string no_room_for(const wire::Leased& leased) const;
  void begin(const wire::Leased& leased, const std::vector<std::string>& gpus);
  std::vector<int> ranks_of(const std::vector<std::string>& gpus) const;
  void finish(const wire::Leased& leased, const Outcome& outcome);
  void fail(const wire::Leased& leased, std::string cause, std::string reason, double seconds);
  void give_back(const wire::Leased& leased);
  void keep(const wire::Delivered& item);
  void speak();
  void claim();
  void deliver();
  wire::Exit lose(const std::string& who);
  void say_last(const std::optional<wire::Exit>& exit);
  void hear(const Mailman::Answered& answered);
  void hear_given(const std::string& body);
  void take_over(const wire::Chunk& chunk);
  void hear_beat(const std::string& body);
  bool is_over() const;
  std::chrono::milliseconds until_next() const;
  double time_left() const;

  LoopOptions options_;
  const JobDirectory& directory_;
  Spool spool_;
  Mailman mailman_;
  Starter& starter_;
  ModelEngine* const engine_;
  Slots slots_;
  const Clock::time_point ends_;
  Phase phase_;
  std::string copy_;
  std::optional<wire::Claimed> claimed_;
  bool superseded_ = false, sealed_ = false, nothing_left_ = false;
  int signals_ = -1;
  std::map<std::uint64_t, Running> running_;  ///< by ticket
  std::vector<wire::Leased> waiting_;         ///< leased, and not begun: in the order in which they came
  std::size_t delivering_ = 0;                ///< items of the spool that are on their way
  Clock::time_point speak_at_, beat_at_, lease_at_, idle_since_;
  std::chrono::milliseconds pause_{0};  ///< while the daemon is away; doubles
};

}  // namespace orch::worker
