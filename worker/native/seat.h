// One rank's place in whatever is computed: it listens to the first rank and, on a thread of its own, does what it is
// told together with the other ranks of a group. The first rank has one too.
//
// Holds:
//  - The thread computes and calls MPI; the one that listens does neither, so that it always hears.
//  - What one rank cannot do no rank of its group begins: they agree before each step.
//  - A model stays in memory until another is asked for, or what was done with it went wrong.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/lifeline.h"
#include "native/asked_task.h"
#include "native/order.h"
#include "texts/opened_model.h"

namespace orch::native {

struct SeatRules {
  int rank = 0;
  int threads = 1;
  double memory = 0;              ///< bytes that the rank may take; 0: not known
  std::filesystem::path program;  ///< that runs: tasks are found beside it
  /// A transport between some ranks; each of those calls it, with the same tag.
  std::function<Result<std::unique_ptr<comm::Transport>>(const std::vector<int>& ranks, std::uint64_t tag)> make_group;
};

class Seat {
 public:
  explicit Seat(SeatRules rules);
  /// Waits for what is computed, once it was told to stop.
  ~Seat();

  /// Until the first rank says that nothing more will be asked (true), or is gone (false).
  bool serve(comm::Lifeline line);
  /// Nothing is being computed.
  bool idle() const;

 private:
  struct Group {
    std::unique_ptr<comm::Transport> ranks;
    std::unique_ptr<texts::OpenedModel> model;
  };

  void compute();
  void carry_out(const Order& order);
  /// Of the first of the group; the others' means nothing. False of `whole`: memory is not fit for another chunk.
  worker::Outcome evaluate(const Order& order, bool& whole);
  void say(const Report& report);

  const SeatRules rules_;
  Group group_;    ///< the thread's alone
  LastTask last_;  ///< likewise

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Order> orders_;
  std::deque<std::string> said_;
  std::optional<std::uint64_t> current_;  ///< ticket
  bool ending_ = false;
  std::atomic<bool> stopping_ = false;
  int spoke_ = -1;  ///< an eventfd: something was said
  std::thread thread_;
};

}  // namespace orch::native
