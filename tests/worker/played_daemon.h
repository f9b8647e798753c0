// A daemon that is played: it leases what it has, and remembers what it is told.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "base/wire/messages.h"
#include "link/transport.h"

namespace orch::worker::test {

/// Leases what it has, remembers what it is told.
class PlayedDaemon : public Transport {
 public:
  Reply call(std::string_view verb, const std::string& body) override {
    const std::lock_guard lock(mutex_);
    calls.emplace_back(verb);
    if (on_call) on_call();
    if (away > 0 && verb != "claim") {
      --away;
      return {Reply::What::kAway, "", "away"};
    }
    if (absent) return {Reply::What::kAway, "", "away"};
    if (gone && (gone_verb.empty() || gone_verb == verb)) return {Reply::What::kGone, "", "superseded"};
    if (verb == "claim") return ok(wire::Claimed{1, 60, 0.05, idle, false});
    if (verb == "exit") {
      exits.push_back(wire::read<wire::Exit>(body)->end);
      return {Reply::What::kOk, "{}", ""};
    }
    if (verb == "heartbeat") {
      beats.push_back(*wire::read<wire::Heartbeat>(body));
      wire::Beat beat;
      beat.drop = drop;
      beat.drain = drain;
      return ok(beat);
    }
    if (verb == "deliver") {
      const auto deliver = wire::read<wire::Deliver>(body);
      if (on_deliver) std::for_each(deliver->items.begin(), deliver->items.end(), on_deliver);
      delivered.insert(delivered.end(), deliver->items.begin(), deliver->items.end());
      return ok(wire::Acknowledged{});
    }
    wire::Given given;
    const std::size_t count = std::min(most, cells.size());
    given.leased.assign(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(count));
    cells.erase(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(count));
    given.nothing_left = count == 0 && ends;
    given.retry_after = 0.02;
    if (on_lease) on_lease();
    return ok(given);
  }

  void add(std::uint32_t cell, const std::string& script, double gpus = 0, double time = 60) {
    wire::Leased leased;
    leased.chunk = {cell, 0};
    leased.ticket = 100 + cell;
    leased.run = {"sh", "-c", script};
    leased.environment = {"PATH=/usr/bin:/bin"};
    leased.folder = "cells/" + std::to_string(cell);
    leased.time_limit = time;
    leased.gpus = gpus;
    leased.engine = "command";
    cells.push_back(leased);
  }
  std::vector<std::string> what() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> list;
    list.reserve(delivered.size());
    for (const auto& item : delivered) list.push_back(std::to_string(item.chunk.cell) + " " + item.what);
    std::sort(list.begin(), list.end());
    return list;
  }

  /// Through processes alone no thread would be seen to come before another.
  void meet() { const std::lock_guard lock(mutex_); }

  std::deque<wire::Leased> cells;
  std::vector<wire::Delivered> delivered;
  std::vector<wire::Chunk> drop;
  std::vector<std::string> calls, exits;
  std::vector<wire::Heartbeat> beats;
  std::function<void()> on_call, on_lease;
  std::function<void(const wire::Delivered&)> on_deliver;
  std::size_t most = 64;
  int away = 0;
  double idle = 0.3;  ///< seconds
  bool ends = true, drain = false, absent = false;
  std::string gone_verb;  ///< of `gone`: this alone is answered so; empty: all
  std::atomic<bool> gone = false;

 private:
  template <class Message>
  static Reply ok(const Message& message) {
    return {Reply::What::kOk, wire::write(message), ""};
  }
  std::mutex mutex_;
};

inline constexpr const char* kWell = "echo '{\"acc\": 0.5}' > result.json";

}  // namespace orch::worker::test
