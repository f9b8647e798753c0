// The one thread on which the state changes: events come in, effects go to the store, actions leave after their commit.
//
// Holds:
//  - Nobody else touches the state.
//  - An action, answers included, leaves only after all changes up to it are on disk, in the order of the events.
//  - Serving time runs only while the strand does.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <variant>

#include "control/state.h"
#include "store/writer.h"

namespace orch::orchd {

class Strand {
 public:
  using Answered = std::function<void(const control::action::Answer&)>;
  using Look = std::function<void(const control::State&, control::Now)>;
  using Act = std::function<void(const control::Action&)>;

  struct Options {
    std::chrono::milliseconds tick{5'000};
    Act act;                          ///< every action but answers, on the writer's thread: it must not wait
    std::function<void()> committed;  ///< after a group, likewise
    std::function<void(const std::string& why)> failed;  ///< the disk; nothing is committed after it
    std::function<void(std::function<void()>)> answers;  ///< where answers are made into messages
  };

  /// Begins with event::Started.
  Strand(control::State state, store::Store& store, Options options);
  ~Strand();
  /// Applies and commits what was put, and takes nothing more: what is put later is dropped.
  void stop();

  void put(control::Event event);
  void put(control::Event event, Answered answered);
  void look(Look read);
  /// As look(), once all that the state says is on disk: for what is told to others.
  void look_settled(Look read);
  /// As look(), for what brings its derived parts up to date (control::snapshot).
  void look_closely(std::function<void(control::State&, control::Now)> read);

  control::Now now() const;

 private:
  struct Change {
    control::Event event;
  };
  using Errand = std::variant<Change, std::function<void(control::State&, control::Now)>>;

  void add(Errand errand);
  void run();
  void take(Errand& errand);
  void give_memory_back();
  void committed(std::vector<control::Action> actions);

  control::State state_;
  int ticks_to_trim_ = 0;  ///< 0: nothing large was done since
  Options options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Errand> waiting_;
  bool stopping_ = false;

  std::mutex calls_mutex_;
  std::map<control::RequestId, Answered> calls_;
  std::uint64_t next_request_ = 1;

  store::Writer writer_;
  std::thread thread_;
};

}  // namespace orch::orchd
