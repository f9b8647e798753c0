#include "orchd/housekeeper.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "orchd/retention.h"

namespace orch::orchd {

Housekeeper::Housekeeper(Options options) : options_(std::move(options)) {
  thread_ = std::thread([this] { run(); });
}

Housekeeper::~Housekeeper() { stop(); }

void Housekeeper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Housekeeper::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, options_.every, [this] { return stopping_; });
    if (stopping_) return;
    lock.unlock();
    options_.look([this](const control::State& state, control::Now now) { begin_round(state, now); });
    lock.lock();
    wake_.wait(lock, [this] { return stopping_ || round_; });
    if (stopping_) return;
    const Round round = *std::move(round_);
    round_.reset();
    lock.unlock();
    tidy(round);
    lock.lock();
  }
}

void Housekeeper::begin_round(const control::State& state, control::Now now) {
  Round round;
  round.retention = state.policy.retention;
  for (const auto& [id, job] : state.jobs)
    if (job.state == control::JobState::kEnded && !gone_.contains(job.name))
      round.jobs.push_back({job.name, std::chrono::duration<double>(now.utc - job.ended).count()});
  // What a cell makes is needed as long as one that builds on it is not over.
  for (const auto& [maker, dependents] : state.dependents)
    if (std::ranges::any_of(dependents, [&](control::CellId cell) {
          return !control::is_final(state.cells[control::index(cell)].state);
        }))
      round.needed.insert(maker);
  for (const auto& [chunk, attempts] : state.begun)
    if (!control::is_final(state.cells[control::index(chunk.cell)].state)) round.needed.insert(chunk.cell);
  for (std::uint32_t i = 0; i < state.cells.size(); ++i)
    if (state.needs[control::index(state.cells[i].need)].trains) round.trained.insert(control::CellId{i});
  {
    const std::lock_guard lock(mutex_);
    round_ = std::move(round);
  }
  wake_.notify_all();
}

void Housekeeper::tidy(const Round& round) {
  Removed all;
  for (const OldJob& job : round.jobs) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) break;
    }
    const Removed removed =
        tidy_job_folder(options_.jobs / job.name, job.age, round.retention, [&](control::CellId cell) {
          if (round.needed.contains(cell)) return Kept::kAll;
          return round.trained.contains(cell) ? Kept::kWhatItMade : Kept::kNothing;
        });
    all.files += removed.files;
    all.bytes += removed.bytes;
    if (removed.all) gone_.insert(job.name);
  }
  if (all.files > 0)
    options_.log("removed " + counted(static_cast<long long>(all.files), "file") + " (" +
                 format_bytes(static_cast<double>(all.bytes)) +
                 ") of jobs that are over, as the policy's retention says");
}

}  // namespace orch::orchd
