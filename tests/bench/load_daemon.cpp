// Workers that measure nothing: they lease cells of a daemon and deliver a result for each at once, so that what is
// left is what the daemon costs. Each has a job, its token and a TLS connection of its own, and says what orch-worker
// says.
//
// Called as: orch_load_daemon ENDPOINT JOBS --workers N --batch N [--seconds S] < LIST. ENDPOINT is the daemon's
// endpoint.json, JOBS the folder of the jobs' directories, LIST a line `NAME CLUSTER-ID` for each job. Without
// --seconds it goes on until no cell waits. What came of it is printed as JSON; `delivered` are the cells whose
// delivery was acknowledged as news, in `seconds`.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/wire/messages.h"
#include "http/certificate.h"
#include "http/client.h"
#include "link/http_transport.h"

namespace {

using namespace orch;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

struct Job {
  std::string name, cluster_id;
};

struct Settings {
  std::filesystem::path endpoint, jobs;
  std::size_t workers = 1;
  std::uint32_t batch = 64;
  double seconds = 0;  ///< 0: until no cell waits
};

/// What one worker saw.
struct Seen {
  std::uint64_t leased = 0, delivered = 0;
  Clock::time_point last;               ///< its last acknowledgement
  std::vector<float> leases, delivers;  ///< milliseconds of each call
};

http::TlsEndpoint place_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  const auto endpoint = wire::read<wire::Endpoint>(text.str());
  if (!endpoint) throw std::runtime_error(file.string() + ": " + endpoint.error().what);
  const auto certificate = http::read_fingerprint(endpoint->certificate);
  if (!certificate || endpoint->addresses.empty())
    throw std::runtime_error(file.string() + ": the daemon does not listen on TLS");
  return {endpoint->addresses.front(), static_cast<std::uint16_t>(endpoint->port), *certificate};
}

class Worker {
 public:
  Worker(const http::TlsEndpoint& place, const std::filesystem::path& jobs, Job job)
      : job_(std::move(job)), client_(place, options(jobs / job_.name / "token")) {}

  void claim() {
    wire::Claim claim;
    claim.cluster_id = job_.cluster_id;
    claim.copy = "load";  // the same at every call of this program: the same claim again
    claim.nodes = {"bench"};
    epoch_ = say<wire::Claimed>("claim", claim).epoch;
  }

  /// Leases and delivers until `end`, or until no cell waits.
  void work(const Settings& settings, Clock::time_point end) {
    while (Clock::now() < end) {
      wire::AskLease ask;
      ask.epoch = epoch_;
      ask.time_left = 3600;
      ask.most = settings.batch;
      const wire::Given given = timed<wire::Given>("lease", ask, seen_.leases);
      if (given.drain || given.nothing_left) return;
      if (given.leased.empty()) {
        std::this_thread::sleep_for(Seconds(given.retry_after));
        continue;
      }
      seen_.leased += given.leased.size();
      wire::Deliver deliver;
      deliver.epoch = epoch_;
      for (const wire::Leased& cell : given.leased) deliver.items.push_back(result_of(cell));
      const auto taken = timed<wire::Acknowledged>("deliver", deliver, seen_.delivers);
      const auto now = Clock::now();
      // Past the end it is delivered all the same, so that nothing stays leased, and not counted.
      if (now <= end) {
        seen_.delivered += taken.accepted;
        seen_.last = now;
      }
    }
  }

  const Seen& seen() const { return seen_; }

 private:
  static http::ClientOptions options(const std::filesystem::path& token_file) {
    auto token = worker::read_token(token_file);
    if (!token) throw std::runtime_error(token.error().what);
    http::ClientOptions options;
    options.token = *std::move(token);
    return options;
  }

  static wire::Delivered result_of(const wire::Leased& cell) {
    const std::string number = std::to_string(cell.chunk.cell);
    wire::Delivered item;
    item.chunk = cell.chunk;
    item.ticket = cell.ticket;
    item.generation = cell.generation;
    item.what = "done";
    item.metrics = R"({"accuracy":{"value":0.7125,"stderr":0.0113},"cell":{"value":)" + number + "}}";
    item.seconds = 1;
    return item;
  }

  template <class Answer, class Message>
  Answer say(const char* verb, const Message& message) {
    const auto answer = client_.post("/v1/jobs/" + job_.name + "/" + verb, wire::write(message));
    if (!answer) throw std::runtime_error(answer.error().what);
    if (answer->status != 200)
      throw std::runtime_error(job_.name + ": " + verb + " was answered with " + std::to_string(answer->status) + ": " +
                               answer->body);
    auto read = wire::read<Answer>(answer->body);
    if (!read) throw std::runtime_error(read.error().what);
    return *std::move(read);
  }

  template <class Answer, class Message>
  Answer timed(const char* verb, const Message& message, std::vector<float>& times) {
    const auto from = Clock::now();
    Answer answer = say<Answer>(verb, message);
    times.push_back(std::chrono::duration<float, std::milli>(Clock::now() - from).count());
    return answer;
  }

  Job job_;
  http::Client client_;
  std::uint32_t epoch_ = 0;
  Seen seen_;
};

/// The median, the 99th of a hundred and the longest, in milliseconds.
nlohmann::json spread(std::vector<float> times) {
  if (times.empty()) return nullptr;
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) { return times[static_cast<std::size_t>(share * double(times.size() - 1))]; };
  return {{"median", at(0.5)}, {"p99", at(0.99)}, {"longest", times.back()}};
}

nlohmann::json run(const Settings& settings, const std::vector<Job>& jobs) {
  const http::TlsEndpoint place = place_of(settings.endpoint);
  std::vector<Worker> workers;
  workers.reserve(settings.workers);
  for (std::size_t i = 0; i < settings.workers; ++i) workers.emplace_back(place, settings.jobs, jobs[i]);
  for (Worker& worker : workers) worker.claim();

  std::atomic<bool> failed = false;
  const auto from = Clock::now();
  const auto end = settings.seconds > 0 ? from + std::chrono::duration_cast<Clock::duration>(Seconds(settings.seconds))
                                        : Clock::time_point::max();
  std::vector<std::thread> threads;
  for (Worker& worker : workers)
    threads.emplace_back([&] {
      try {
        worker.work(settings, end);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "orch_load_daemon: %s\n", error.what());
        failed = true;
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (failed) throw std::runtime_error("a worker could not go on");

  Seen all;
  all.last = from;
  for (const Worker& worker : workers) {
    const Seen& seen = worker.seen();
    all.leased += seen.leased;
    all.delivered += seen.delivered;
    if (seen.delivered > 0) all.last = std::max(all.last, seen.last);
    all.leases.insert(all.leases.end(), seen.leases.begin(), seen.leases.end());
    all.delivers.insert(all.delivers.end(), seen.delivers.begin(), seen.delivers.end());
  }
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds_of = [](const timeval& time) { return double(time.tv_sec) + double(time.tv_usec) / 1e6; };
  const double seconds = settings.seconds > 0 ? settings.seconds : Seconds(all.last - from).count();
  return {{"workers", settings.workers},
          {"batch", settings.batch},
          {"leased", all.leased},
          {"delivered", all.delivered},
          {"seconds", seconds},
          {"processor_seconds", seconds_of(used.ru_utime) + seconds_of(used.ru_stime)},
          {"cells_per_s", seconds > 0 ? static_cast<double>(all.delivered) / seconds : 0},
          {"lease_ms", spread(std::move(all.leases))},
          {"deliver_ms", spread(std::move(all.delivers))}};
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Workers that lease cells and deliver results at once, as a load for the daemon.");
  app.add_option("ENDPOINT", settings.endpoint, "the daemon's endpoint.json")->required();
  app.add_option("JOBS", settings.jobs, "the folder of the jobs' directories")->required();
  app.add_option("--workers", settings.workers, "how many")->check(CLI::Range(1, 1000));
  app.add_option("--batch", settings.batch, "cells of a lease at most")->check(CLI::Range(1, 1000));
  app.add_option("--seconds", settings.seconds, "for how long; until no cell waits if it is left out");
  CLI11_PARSE(app, argc, argv);
  try {
    std::vector<Job> jobs;
    for (Job job; std::cin >> job.name >> job.cluster_id;) jobs.push_back(job);
    if (jobs.size() < settings.workers)
      throw std::runtime_error("there are " + std::to_string(jobs.size()) + " jobs for " +
                               std::to_string(settings.workers) + " workers");
    std::cout << run(settings, jobs).dump() << std::endl;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "orch_load_daemon: %s\n", error.what());
    return 1;
  }
  return 0;
}
