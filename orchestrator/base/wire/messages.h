// What workers and the daemon say to each other, over HTTP or as files in the job's directory: the same JSON.
//
// Holds:
//  - Only durations cross the wire, each side on its own clock.
//  - What is read is checked whole: a wrong type, a missing or unknown member, a number out of range is an error with
//  the
//    member's name. Nothing that a worker sends is a path or a program.
//  - Protocol p speaks to p and p - 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::wire {

inline constexpr int kProtocol = 1;

/// A chunk of a cell.
struct Chunk {
  std::uint32_t cell = 0;
  std::uint32_t number = 0;
  bool operator==(const Chunk&) const = default;
};

/// `POST /v1/jobs/{job}/claim`: the worker's first word.
struct Claim {
  int protocol = kProtocol;
  std::string cluster_id;  ///< SLURM_JOB_ID
  int restarts = 0;        ///< SLURM_RESTART_COUNT
  std::string copy;        ///< drawn at its start: the same claim twice is one
  std::vector<std::string> nodes;
};
struct Claimed {
  std::uint32_t epoch = 0;
  double lease_term = 0;    ///< seconds without a word after which its leases go back
  double heartbeat = 0;     ///< seconds between words
  double idle_timeout = 0;  ///< seconds with nothing to do after which it ends
  bool drain = false;
};

/// `…/lease`
struct AskLease {
  std::uint32_t epoch = 0;
  double time_left = 0;  ///< seconds
  std::uint32_t most = 64;
  std::vector<std::string> loaded;
  std::vector<Chunk> held;
};
/// What the native engine needs to know of a cell; the worker's own files say the rest.
struct Ask {
  std::string model;               ///< a folder, or an id of the hub
  std::string revision;            ///< of an id
  std::string loads;               ///< what is loaded for it, as AskLease::loaded names it
  int tensor = 1, pipeline = 1;    ///< ranks that share each layer; stages
  std::string dtype, cache_dtype;  ///< of computation; of keys and values
  std::string weights;             ///< of linear layers; empty: as is computed
  std::int64_t context = 0;        ///< tokens that the model is shown at most; 0: as many as it was made for
  std::string data;                ///< the folder of questions; of a training the file of its data set, a whole path
  /// Of the task and its questions, as they were when the cell was asked for. Of a training `sha256:…` of its data
  /// set's bytes, and, if `reward` is said, a blank and that of its file. Empty: nobody had looked.
  std::string digest;
  std::uint32_t chunks = 1;     ///< that the cell is cut into
  int shots = -1;               ///< worked examples; -1: the task's own
  std::int64_t limit = 0;       ///< the first so many questions; 0: all
  std::int64_t max_tokens = 0;  ///< of an answer; 0: the task's own
  double temperature = -1;      ///< -1: the task's own
  bool chat = false;            ///< questions are put as the model's chat template has it
  std::string prefix;           ///< before every prompt
  std::uint64_t seed = 0;       ///< of sampled answers
  /// Folders of earlier attempts, the oldest first, below that of all jobs. Their logs of samples, or their
  /// checkpoints, are gone on with.
  std::vector<std::string> before;
  std::string rows;      ///< of a training: what a row of its data is: text | instruction | preference | prompt; empty:
                         ///< an evaluation
  std::string settings;  ///< of a training: the cell's settings as a JSON object, by the matrix's names
  int copies = 1;        ///< of a training: of the model, each of which learns from a part of each batch
  std::string reward;    ///< of a training with prompts: the file of rules, or a program (absolute path)
  std::string adapter;   ///< of an evaluation: the folder of the attempt that trained what is evaluated, below that of
                         ///< all jobs; empty: the model as it is
};
/// A chunk to work on, with all that is needed for it.
struct Leased {
  Chunk chunk;
  std::uint64_t ticket = 0;
  std::uint32_t generation = 1;
  int attempt = 1;
  double time_limit = 0;  ///< seconds
  double gpus = 0;        ///< of the job's; a part of one for a cell that shares it
  int cpus = 1;
  std::int64_t memory = 0;  ///< bytes; 0: not said
  double smaller_batch = 1;
  std::string model, task;
  std::string engine;                    ///< command | lm-eval | native
  std::vector<std::string> run;          ///< argument vector; no shell
  std::vector<std::string> environment;  ///< NAME=value
  std::string folder;      ///< of this attempt, relative to the job's directory; holds result.json and log
  std::optional<Ask> ask;  ///< of the native engine
};
struct Given {
  std::vector<Leased> leased;
  bool drain = false;
  bool nothing_left = false;  ///< no cell waits that this worker could take
  double retry_after = 0;     ///< seconds
};

/// `…/heartbeat`
struct Heartbeat {
  struct Held {
    Chunk chunk;
    bool running = false;
    std::int64_t done = 0, all = 0;  ///< samples, or steps of a training; 0 and 0: that is not known
    std::string live = {};           ///< of a training: the last step's line of its curve, JSON; empty: nothing to tell
  };
  std::uint32_t epoch = 0;
  std::vector<Held> held;
};
struct Beat {
  std::vector<Chunk> drop;  ///< leave these: done elsewhere, or wanted no more
  bool drain = false;
};

/// `…/deliver`
struct Delivered {
  Chunk chunk;
  std::uint64_t ticket = 0;
  std::uint32_t generation = 1;
  std::string what;     ///< done | failed | returned
  std::string metrics;  ///< of done: JSON, an object of `name: {value, stderr}`; of the native engine with `parts`
  std::string figures;  ///< of done: JSON, an object of numbers (samples, tokens, memory, …), or empty
  std::string cause;    ///< of failed: a cause of the policy
  std::string reason;   ///< of failed
  double seconds = 0;
  double gpu_seconds = 0;
};
struct Deliver {
  std::uint32_t epoch = 0;
  std::vector<Delivered> items;
};
struct Acknowledged {
  std::uint32_t accepted = 0;  ///< that were news; all were taken note of
};

/// `…/exit`, and the file `exit.json`: the worker's last words.
struct Exit {
  std::uint32_t epoch = 0;
  std::string end;  ///< done | drained | superseded | gpu_memory | nan | lost_peer | bad_input | …
  std::string reason;
};

// Files, of the same form.

/// `endpoint.json` in the daemon's state directory: where it serves. Written whole at each of its starts, so that a
/// worker or a command line that lost it reads it again.
struct Endpoint {
  int protocol = kProtocol;
  std::string version;   ///< of the program
  std::string instance;  ///< of its store
  std::string host;      ///< on which it runs
  std::int64_t pid = 0;
  std::string socket;                  ///< path of its Unix socket, on that host
  std::vector<std::string> addresses;  ///< names or IP addresses for TLS
  int port = 0;                        ///< of TLS; 0: it serves on its own host alone
  std::string certificate;             ///< SHA-256 of the certificate, hexadecimal
};

/// `job.json` in a job's directory: what its worker knows before it has called. The job's token is in the file `token`
/// beside it.
struct JobFile {
  int protocol = kProtocol;
  std::string job;       ///< its name
  std::string endpoint;  ///< path of endpoint.json
  std::string link;      ///< http | files
  double time = 0;       ///< seconds: the job's limit
  double drain = 0;      ///< seconds before it in which nothing is begun
  int nodes = 1;
  int gpus = 0;             ///< on each node
  int cpus = 1;             ///< on each node
  std::int64_t memory = 0;  ///< bytes on each node; 0: not said
};

template <class Message>
Result<Message> read(std::string_view json);
template <class Message>
std::string write(const Message& message);

}  // namespace orch::wire
