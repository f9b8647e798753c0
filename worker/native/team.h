// All ranks of the worker, as its first one sees them: it gives each group its chunks, hears how they get on, and knows
// at once when a rank is gone.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "comm/lifeline.h"
#include "native/order.h"
#include "native/seat.h"
#include "run/model_engine.h"

namespace orch::native {

class Team : public worker::ModelEngine {
 public:
  /// `others`: the lifelines of ranks 1, 2, …
  Team(SeatRules own, std::vector<comm::Lifeline> others);
  /// Tells all that it is over.
  ~Team() override;

  Result<std::unique_ptr<worker::Work>> start(const wire::Leased& leased, const std::filesystem::path& folder,
                                              const std::filesystem::path& job, std::vector<int> ranks) override;
  int descriptor() const override { return watching_; }
  void look() override;
  std::optional<std::string> lost() const override;
  std::vector<std::string> loaded() const override;
  std::vector<int> ranks_with(const std::string& loads) const override;

  /// Whether every rank has ended what it was asked: else they cannot end in order.
  bool idle() const;

 private:
  class ChunkWork;
  /// What a rank has in memory, together with whom.
  struct Held {
    std::string loads;  ///< as the daemon names it
    std::string opens;  ///< see opens()
    double smaller = 1;
    std::vector<int> ranks;
    std::set<std::uint64_t> orders;  ///< that it has not said to be free of
    bool whole = false;
  };
  struct Running {
    std::vector<int> ranks;
    bool loaded = false;
    std::int64_t done = 0, all = 0;
    std::string live;
    std::optional<worker::Outcome> outcome;
  };

  void hear(int rank, const Report& report);
  void tell(const std::vector<int>& ranks, const Command& command);

  Seat own_;
  std::vector<comm::Lifeline> lines_;  ///< of all ranks; that of the own seat is the first
  std::vector<Held> held_;             ///< by rank
  std::map<std::uint64_t, Running> running_;
  int watching_ = -1;  ///< an epoll over all lines
  std::thread serving_;
};

}  // namespace orch::native
