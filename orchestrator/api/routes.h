// The daemon's HTTP API: which path means what, and who may ask for it. docs/openapi.yaml describes it.
//
// Holds:
//  - A handler never waits: the state is looked at on the strand, and what takes time is done elsewhere.
//  - Whoever may not ask is told so before anything of the request is read.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "api/desk.h"
#include "api/roles.h"
#include "http/router.h"

namespace orch::api {

/// Events to those who listen, as they are committed.
class EventFeed {
 public:
  explicit EventFeed(Desk& desk) : desk_(desk) {}

  /// From the first event after `after` on.
  void listen(http::EventStream stream, std::int64_t after);
  /// There may be new ones. Returns at once.
  void wake();

 private:
  struct Listener {
    http::EventStream stream;
    std::int64_t after = 0;
  };
  void send();

  Desk& desk_;
  std::mutex mutex_;
  bool busy_ = false, again_ = false;
  std::vector<Listener> listeners_;
};

/// `desk`, `gate` and `feed` outlive the router.
http::Router make_router(Desk& desk, const Gate& gate, EventFeed& feed);

}  // namespace orch::api
