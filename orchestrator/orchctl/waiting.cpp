#include "orchctl/waiting.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "base/text.h"
#include "http/message.h"
#include "report/status_report.h"

namespace orch::orchctl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr Clock::duration kBetweenLines = 60s;
/// A restart of the daemon takes seconds; one that is away for longer has to be looked after.
constexpr Clock::duration kLongestAway = 5min;

class Progress {
 public:
  explicit Progress(Session& session) : session_(session), terminal_(isatty(STDERR_FILENO) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (shown_) session_.err << "\r\x1b[K" << std::flush;
  }

  void show(const std::string& text) {
    if (terminal_) {
      // A longer line would not be wiped by the next.
      session_.err << "\r\x1b[K" << text.substr(0, orch::utf8_prefix(text.substr(0, width()))) << std::flush;
      shown_ = true;
      return;
    }
    const auto now = Clock::now();
    if (now < next_line_) return;
    next_line_ = now + kBetweenLines;
    session_.err << text << "\n" << std::flush;
  }

 private:
  static std::size_t width() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79u;
  }

  Session& session_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_line_{};  ///< the first is due at once
};

/// While it lives, Control-C ends the program at once, with a word that the sweep does not end with it.
class Goodbye {
 public:
  Goodbye(Session& session, std::string sweep)
      : watcher_([&session, sweep = std::move(sweep)](std::stop_token stop) {
          const sigset_t set = interrupts();
          const timespec tenth{.tv_sec = 0, .tv_nsec = 100'000'000};
          while (!stop.stop_requested()) {
            if (sigtimedwait(&set, nullptr, &tenth) != SIGINT) continue;
            session.err << (isatty(STDERR_FILENO) == 1 ? "\r\x1b[K" : "") << "orchctl: sweep " << sweep
                        << " goes on without this (orchctl status " << sweep << "; orchctl cancel " << sweep
                        << " ends it)" << std::endl;
            std::_Exit(128 + SIGINT);
          }
        }) {}
  Goodbye(const Goodbye&) = delete;
  Goodbye& operator=(const Goodbye&) = delete;
  ~Goodbye() {
    watcher_.request_stop();
    watcher_.join();
    const sigset_t set = interrupts();
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }

 private:
  static sigset_t interrupts() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    return set;
  }
  /// Before there is a second thread: a signal goes to any that does not block it.
  struct Blocked {
    Blocked() {
      const sigset_t set = interrupts();
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
    }
  };

  Blocked blocked_;
  std::jthread watcher_;
};

std::string share_done(const ordered_json& sweep) {
  const ordered_json cells = sweep.value("cells", ordered_json::object());
  const auto count = [&](const char* name) { return cells.is_object() ? cells.value(name, 0.0) : 0.0; };
  const double all = count("total") - count("rejected");
  const double over = count("done") + count("failed") + count("cancelled");
  if (!(all > 0)) return "";
  return std::to_string(static_cast<int>(100 * over / all)) + " %, ";
}

}  // namespace

std::optional<int> exit_of(const ordered_json& sweep) {
  const std::string state = sweep.value("state", "");
  if (state == "done") return kWell;
  if (state == "failed") return kSweepFailed;
  if (state == "cancelled") return kFailed;
  return std::nullopt;
}

Result<ordered_json, Refusal> wait_for(Session& session, const std::string& sweep) {
  const Goodbye goodbye(session, sweep);
  Progress progress(session);
  std::optional<Daemon> daemon;
  std::optional<Clock::time_point> away;
  Clock::duration pause = 100ms;
  while (true) {
    Result<ordered_json, Refusal> status = Refusal{};
    if (!daemon) {  // where it is may have changed
      auto found = Daemon::find(session);
      if (found)
        daemon.emplace(*std::move(found));
      else
        status = found.error();
    }
    if (daemon) status = json_of(daemon->get("/v1/status?sweep=" + http::percent_encode(sweep)));
    if (status) {
      away.reset();
      if (!status->contains("sweeps") || (*status)["sweeps"].size() != 1)
        return Refusal{kFailed, "the daemon does not say how sweep " + quote(sweep) + " stands", "", false, false};
      const ordered_json& row = (*status)["sweeps"][0];
      if (exit_of(row)) return row;
      progress.show(sweep + ": " + share_done(row) + report::progress_of(row));
    } else {
      const auto now = Clock::now();
      if (!away) away = now;
      if (!status.error().may_retry || now - *away > kLongestAway) return status.error();
      progress.show(sweep + ": the daemon is away; what runs goes on, and this waits for it");
      daemon.reset();
    }
    std::this_thread::sleep_for(pause);
    pause = std::min<Clock::duration>(pause * 3 / 2, 2s);
  }
}

}  // namespace orch::orchctl
