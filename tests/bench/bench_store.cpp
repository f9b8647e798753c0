// What the database costs: sweeps that are written, groups of changes that are committed, a start with 100k and 1M
// cells. Run by hand: build/release/tests/bench/orch_bench_store.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "policy/read.h"
#include "store/store.h"

namespace {

using namespace orch;
using namespace orch::control;
namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "orch-bench-XXXXXX").string();
    if (!mkdtemp(name.data())) std::exit(1);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::unique_ptr<store::Store> open(const Folder& folder) {
  auto opened = store::Store::open(folder.path(), {.read_only = false, .allow_network_disk = true});
  if (!opened) {
    fprintf(stderr, "%s\n", opened.error().what.c_str());
    std::exit(1);
  }
  return *std::move(opened);
}

void must(const Result<std::monostate>& committed) {
  if (committed) return;
  fprintf(stderr, "%s\n", committed.error().what.c_str());
  std::exit(1);
}

/// A sweep as control/ writes it: 10 models × 10 tasks × seeds, contents of about 400 bytes.
Effects sweep_of(std::uint32_t cells) {
  Effects effects;
  row::PutSweep sweep;
  sweep.name = "bench";
  effects.changes.emplace_back(sweep);
  for (std::uint32_t i = 0; i < 10; ++i) {
    row::PutNeed need;
    need.need.id = NeedId{i};
    effects.changes.emplace_back(need);
  }
  for (std::uint32_t i = 0; i < cells; ++i) {
    row::PutCell cell;
    cell.id = CellId{i};
    cell.key = sha256(std::to_string(i));
    cell.need = NeedId{i % 10};
    cell.model = "model_" + std::to_string(i % 10);
    cell.task = "task_" + std::to_string(i / 10 % 10);
    cell.expected = cell.bound = 100;
    cell.settings = "{\"seed\":" + std::to_string(i / 100) + "}";
    cell.content = "{\"seed\":" + std::to_string(i / 100) + ",\"rest\":\"" + std::string(380, 'r') + "\"}";
    effects.changes.emplace_back(std::move(cell));
    effects.changes.emplace_back(row::PutWanted{SweepId{0}, i, Wanted{CellId{i}, 0.5f, 1}});
  }
  Job job;
  job.id = JobId{1};
  job.name = "job";
  effects.changes.emplace_back(row::PutJob{job});
  return effects;
}

void Submit(benchmark::State& state) {
  const Effects sweep = sweep_of(static_cast<std::uint32_t>(state.range(0)));
  for ([[maybe_unused]] const auto _ : state) {
    state.PauseTiming();
    auto folder = std::make_unique<Folder>();
    auto store = open(*folder);
    state.ResumeTiming();
    must(store->commit({&sweep, 1}));
    state.PauseTiming();
    store.reset();
    folder.reset();
    state.ResumeTiming();
  }
  state.counters["rows/s"] =
      benchmark::Counter(static_cast<double>(sweep.changes.size()), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(Submit)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond)->UseRealTime();

/// Groups of so many cells that are leased, then delivered: 5 rows each, one transaction a group.
void Commit(benchmark::State& state) {
  constexpr std::uint32_t kCells = 100'000;
  const Folder folder;
  const auto store = open(folder);
  const Effects sweep = sweep_of(kCells);
  must(store->commit({&sweep, 1}));
  const auto of_group = static_cast<std::uint32_t>(state.range(0));
  const Utc at{std::chrono::hours(24 * 365 * 50)};
  std::uint32_t next = 0;
  std::uint16_t generation = 1;
  double rows = 0;
  for ([[maybe_unused]] const auto _ : state) {
    state.PauseTiming();
    std::vector<Effects> group(of_group);
    for (Effects& effects : group) {
      // Far from one another, as the cells of several sweeps are.
      const CellId cell{next * 7919 % kCells};
      effects.changes = {row::PutLease{{cell, 0}, JobId{1}, Epoch{1}, Ticket{1}},
                         row::PutResult{{cell, 0}, generation, JobId{1}, std::string(200, 'm'), 1, 1, at},
                         row::DropLease{{cell, 0}}, row::SetCellState{cell, CellState::kDone, NeedId{0}, generation},
                         row::Note{at, "cell.done", -1, 1, 1, "it was done"}};
      rows += static_cast<double>(effects.changes.size());
      if (++next == kCells) next = 0, ++generation;
    }
    state.ResumeTiming();
    must(store->commit(group));
  }
  state.counters["rows/s"] = benchmark::Counter(rows, benchmark::Counter::kIsRate);
}
BENCHMARK(Commit)->Arg(1)->Arg(100)->Arg(1000)->Arg(10'000)->Unit(benchmark::kMillisecond)->UseRealTime();

void Restore(benchmark::State& state) {
  const Folder folder;
  {
    const Effects sweep = sweep_of(static_cast<std::uint32_t>(state.range(0)));
    must(open(folder)->commit({&sweep, 1}));
  }
  const policy::Policy policy = policy::shipped("default");
  for ([[maybe_unused]] const auto _ : state) {
    const auto store = open(folder);
    const State restored = store->restore(policy, {});
    if (restored.cells.size() != static_cast<std::size_t>(state.range(0))) state.SkipWithError("cells are missing");
  }
}
BENCHMARK(Restore)->Arg(1000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
