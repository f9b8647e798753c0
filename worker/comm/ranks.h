// The processes that one worker is: one a GPU, held together by MPI. Only the file behind this header knows MPI, and a
// worker that is alone, or was built without it, never starts it.
//
// Holds:
//  - Of several ranks the first works; the others wait without burning CPU, and end when it ends.
#pragma once

#include <sched.h>

#include <string>

namespace orch::worker {

class Ranks {
 public:
  /// Which MPI is built in, in its own words; empty: none.
  static std::string mpi();

  /// Starts MPI if a launcher (srun, mpirun) started several of us. The process must still have one thread.
  Ranks();
  /// The first rank tells the others that it is over. Waits for them, but not for ever.
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  bool is_first() const { return rank_ == 0; }
  int count() const { return count_; }
  int rank() const { return rank_; }

  /// What the ranks on this rank's node have together.
  struct Node {
    cpu_set_t cpus;  ///< a launcher may have bound each of them to a part
    int ranks = 1;
  };
  /// Every rank must ask.
  Node node() const;
  /// Of the others: until the first is over.
  void wait();

 private:
  int rank_ = 0, count_ = 1;
  bool started_ = false;  ///< MPI runs
  bool told_ = false;     ///< the end was agreed on
};

/// Bytes of host memory that a rank may take, of what its node has left for all of them; 0: not known.
double memory_of(const Ranks::Node& node);

/// Threads for a rank to compute with: of the CPUs that it is bound to, or of those that all ranks of its node share.
int threads_of(const Ranks::Node& node);

}  // namespace orch::worker
