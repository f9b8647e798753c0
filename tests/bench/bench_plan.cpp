// What expansion, scoring and planning cost at 1k, 100k and 1M cells. Run by scripts/bench.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <memory>
#include <string>

#include "base/catalog.h"
#include "base/cluster.h"
#include "matrix/expand.h"
#include "planner/plan.h"
#include "planner/training.h"
#include "policy/policy.h"
#include "support/source_dir.h"

namespace {

using namespace orch;

const std::string kRoot = orch::test::source_dir().string();

template <class T>
T must(std::optional<T> value, const Diagnostics& diagnostics) {
  if (value && diagnostics.ok()) return std::move(*value);
  for (const Problem& problem : diagnostics.errors())
    fprintf(stderr, "%s: %s\n", to_string(problem.place).c_str(), problem.what.c_str());
  std::exit(1);
}

struct Setup {
  Diagnostics diagnostics;
  Catalog catalog;
  policy::Policy policy;
  Cluster cluster;
  planner::Site site;

  Setup() : catalog(load()), policy(load_policy()), cluster(load_cluster()), site{catalog, cluster, policy, {}} {}

  Catalog load() {
    const std::filesystem::path folder = kRoot + "/db/catalog";
    return load_catalog({&folder, 1}, diagnostics);
  }
  policy::Policy load_policy() {
    const auto root = load_yaml(kRoot + "/policies/default.yaml", diagnostics);
    return must(policy::read_policy(must(root, diagnostics), "default.yaml", diagnostics), diagnostics);
  }
  Cluster load_cluster() {
    const auto root = load_yaml(kRoot + "/policies/clusters/h100x8.yaml", diagnostics);
    return read_clusters(must(root, diagnostics), "h100x8.yaml", catalog, diagnostics).at(0);
  }
};

const Setup& setup() {
  static const Setup kSetup;
  return kSetup;
}

/// 10 models × 10 tasks × as many seeds as make `cells`: every cell has settings of its own, the hard case for
/// interning.
matrix::Matrix matrix_of(std::int64_t cells) {
  std::string text =
      "name: bench\n"
      "models: [llama31_70b_fp8, llama2_70b, falcon_40b, falcon_180b, mixtral_8x22b, dbrx_instruct, deepseek_v3, "
      "qwen25_72b, "
      "xverse_65b, tinyllama_1b]\n"
      "tasks: [mmlu, arc_challenge, hellaswag, winogrande, piqa, boolq, gsm8k, math, humaneval, mbpp]\n"
      "settings: {seed: [";
  for (std::int64_t seed = 0; seed < cells / 100; ++seed) text += (seed ? ", " : "") + std::to_string(seed);
  text += "]}\n";
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "bench.yaml", diagnostics);
  return must(matrix::read_matrix(must(root, diagnostics), "bench.yaml", setup().catalog, diagnostics), diagnostics);
}

matrix::Expansion expansion_of(const matrix::Matrix& matrix) {
  Diagnostics diagnostics;
  return must(matrix::expand(matrix, setup().catalog, {}, diagnostics), diagnostics);
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void finish(benchmark::State& state) {
  state.counters["cells"] = static_cast<double>(state.range(0));
  state.counters["peak_mib"] = peak_mib();
}

void Expand(benchmark::State& state) {
  const matrix::Matrix matrix = matrix_of(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(expansion_of(matrix).cells.size());
  finish(state);
}

void Score(benchmark::State& state) {
  policy::ScoreInput input;
  input.task_type = "eval_knowledge";
  input.family = "llama";
  for (auto _ : state)
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      input.seconds = static_cast<double>(i % 7200);
      benchmark::DoNotOptimize(policy::score(setup().policy, input).total);
    }
  finish(state);
}

/// Sizing, durations, scores, order and packing of cells that are already expanded.
void Plan(benchmark::State& state) {
  const matrix::Expansion expansion = expansion_of(matrix_of(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(planner::make_plan(expansion, setup().site, {}).jobs.size());
  finish(state);
}

void All(benchmark::State& state) {
  const matrix::Matrix matrix = matrix_of(state.range(0));
  for (auto _ : state) {
    const matrix::Expansion expansion = expansion_of(matrix);
    benchmark::DoNotOptimize(planner::make_plan(expansion, setup().site, {}).jobs.size());
  }
  finish(state);
}

BENCHMARK(Expand)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK(Score)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK(Plan)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK(All)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
