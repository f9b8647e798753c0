// How a worker's messages reach the daemon: over HTTP, or as files in the job's directory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace orch::worker {

struct Reply {
  enum class What {
    kOk,
    kAway,     ///< no answer: the same may be said again
    kGone,     ///< another copy works, or the job is over: there is nothing more to say
    kRefused,  ///< the message was not understood: saying it again would not help
  };
  What what = What::kAway;
  std::string body;  ///< JSON of kOk
  std::string why;   ///< of the others
};

/// What an HTTP status means to a worker. `body` is the daemon's answer, or its error.
Reply reply_of(int status, std::string body);

class Transport {
 public:
  virtual ~Transport() = default;
  /// `verb` is claim, lease, heartbeat, deliver or exit. Blocks, for a bounded time.
  virtual Reply call(std::string_view verb, const std::string& body) = 0;
};

/// Messages as files: `mail/out/000012-lease.json` is answered by `mail/in/000012.json`, each written aside and
/// renamed. For clusters whose compute nodes have no route to the daemon, and share a file system with it.
class FileTransport : public Transport {
 public:
  FileTransport(std::filesystem::path directory, std::chrono::milliseconds timeout);
  Reply call(std::string_view verb, const std::string& body) override;

 private:
  std::filesystem::path out_, in_;
  std::chrono::milliseconds timeout_;
  unsigned next_ = 1;
};

/// One call at a time, on a thread of its own, so that a daemon that is away stops no program's clock.
class Mailman {
 public:
  /// `descriptor()` can be read when a reply is there.
  explicit Mailman(Transport& transport);
  /// Waits for the call that is on its way.
  ~Mailman();

  bool busy() const { return busy_; }
  void send(std::string verb, std::string body);
  struct Answered {
    std::string verb;
    Reply reply;
  };
  std::optional<Answered> take();
  int descriptor() const { return ready_; }

 private:
  void run();

  Transport& transport_;
  bool busy_ = false;  ///< as the caller sees it: from send() to take()
  int ready_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<std::pair<std::string, std::string>> letter_;
  std::optional<Answered> answer_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace orch::worker
