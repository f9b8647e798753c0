// How fast each op is, by the descriptions of tests/kernels, which give its correctness test too; beside what this
// machine can do at most, measured at the start. Then, per number format, our own products beside oneDNN's.
//
//   orch_bench_kernels [--threads=N] [--quick] [--benchmark_…]
//
// Counters: GB/s of what an op must read and write at least, and its share of what is read from memory by plain
// reading; GFLOP/s, and its share of the best product of its inputs' format that any library here computes.
#include <benchmark/benchmark.h>

#include <charconv>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "bench/ceilings.h"
#include "kernels/cases.h"
#include "kernels/cpu/backend.h"

namespace {

using namespace orch;
using kernels::test::Case;

/// Copies of an op's operands are used in turn until they are together larger than any cache.
constexpr double kBeyondCaches = 128e6;
constexpr int kMostCopies = 8;

struct Ceilings {
  int threads = 1;
  bool quick = false;  ///< only to see that it runs
  double reads = 0;
  std::map<DType, double> products;
};

void run(benchmark::State& state, const Case& it, const Ceilings& ceilings) {
  const auto backend = kernels::make_cpu_backend({ceilings.threads, 0, {}});
  std::vector<std::unique_ptr<kernels::test::Device>> devices;
  std::vector<kernels::test::Prepared> copies;
  // What works long on what it reads has it in the cache anyway.
  const bool reads_most = it.bytes > 0 && it.flops / it.bytes < 8;
  do {
    devices.push_back(std::make_unique<kernels::test::Device>(*backend));
    copies.push_back(it.prepare(*devices.back()));
  } while (reads_most && !ceilings.quick && static_cast<double>(copies.size()) * it.bytes < kBeyondCaches &&
           static_cast<int>(copies.size()) < kMostCopies);
  std::size_t next = 0;
  copies.front().run();
  for ([[maybe_unused]] const auto _ : state) {
    copies[next].run();
    next = (next + 1) % copies.size();
  }
  using benchmark::Counter;
  const auto rate = [](double each) { return Counter(each, Counter::kIsIterationInvariantRate); };
  if (it.bytes > 0) {
    state.counters["GB/s"] = rate(it.bytes / 1e9);
    state.counters["of_reads"] = rate(it.bytes / ceilings.reads);
  }
  if (it.flops > 0) {
    state.counters["GFLOP/s"] = rate(it.flops / 1e9);
    state.counters["of_product"] = rate(it.flops / ceilings.products.at(it.dtype));
  }
}

using Product = double (*)(DType, const bench::ProductShape&, int, int);

void run_product(benchmark::State& state, Product product, DType dtype, const bench::ProductShape& shape,
                 const Ceilings& ceilings) {
  double best = 0;
  for ([[maybe_unused]] const auto _ : state) {
    best = std::max(best, product(dtype, shape, ceilings.threads, ceilings.quick ? 1 : 5));
    state.SetIterationTime(2.0 * static_cast<double>(shape.rows * shape.inner * shape.outputs) / best);
  }
  state.counters["GFLOP/s"] = best / 1e9;
}

}  // namespace

int main(int count, char** words) {
  benchmark::Initialize(&count, words);
  Ceilings ceilings;
  ceilings.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  constexpr std::string_view kThreads = "--threads=";
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--quick") {
      ceilings.quick = true;
      continue;
    }
    const auto* const end = word.data() + word.size();
    if (!word.starts_with(kThreads) ||
        std::from_chars(word.data() + kThreads.size(), end, ceilings.threads).ptr != end || ceilings.threads < 1) {
      fprintf(stderr,
              "orch_bench_kernels: unknown option '%s'; --threads=N, --quick or what begins with --benchmark_\n",
              words[i]);
      return 2;
    }
  }
  ceilings.reads = bench::read_bandwidth(std::size_t{1} << (ceilings.quick ? 22 : 29), ceilings.threads);
  for (const DType dtype : {DType::kFp32, DType::kBf16})
    ceilings.products[dtype] = bench::best_product(dtype, ceilings.threads, ceilings.quick);
  benchmark::AddCustomContext("threads", std::to_string(ceilings.threads));
  benchmark::AddCustomContext("read_gb_s", std::to_string(ceilings.reads / 1e9));
  for (const auto& [dtype, speed] : ceilings.products)
    benchmark::AddCustomContext("product_gflop_s_" + std::string(name_of(dtype)), std::to_string(speed / 1e9));
  benchmark::AddCustomContext("onednn", std::string(bench::onednn_version()));

  for (const auto& family : {kernels::test::linear_speeds, kernels::test::row_speeds, kernels::test::attention_speeds,
                             kernels::test::score_speeds, kernels::test::linear_back_speeds})
    for (const Case& it : family())
      benchmark::RegisterBenchmark(it.name.c_str(), run, it, ceilings)->UseRealTime()->Unit(benchmark::kMicrosecond);
  const std::pair<std::string, Product> libraries[] = {{"own", bench::own_product}, {"onednn", bench::onednn_product}};
  for (const auto& [dtype, name] : {std::pair(DType::kFp32, "fp32"), {DType::kBf16, "bf16"}})
    for (const bench::ProductShape& shape :
         {bench::ProductShape{1, 2048, 16384}, {32, 2048, 8192}, {512, 2048, 8192}, {512, 8192, 2048}})
      for (const auto& [library, product] : libraries) {
        if (library == "onednn" && bench::onednn_version().empty()) continue;
        const std::string title = "Product_" + library + "_" + name + "_" + std::to_string(shape.rows) + "x" +
                                  std::to_string(shape.inner) + "x" + std::to_string(shape.outputs);
        benchmark::RegisterBenchmark(title.c_str(), run_product, product, dtype, shape, ceilings)
            ->UseManualTime()
            ->Iterations(1)
            ->Unit(benchmark::kMicrosecond);
      }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
