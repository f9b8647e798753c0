#include "bench/ceilings.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>

#include "kernels/cpu/backend.h"
#include "kernels/number.h"

namespace orch::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Eight sums at a time, so that no addition waits for the one before it.
std::uint64_t sum_of(const std::uint64_t* from, const std::uint64_t* to) {
  using Lanes = std::uint64_t __attribute__((vector_size(64)));
  Lanes sums[8] = {};
  for (; from + 64 <= to; from += 64)
    for (int i = 0; i < 8; ++i) sums[i] += *reinterpret_cast<const Lanes*>(from + 8 * i);
  std::uint64_t sum = 0;
  for (const Lanes& each : sums)
    for (int i = 0; i < 8; ++i) sum += each[i];
  return sum;
}

double seconds_of(const std::function<void()>& work) {
  const auto begun = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

}  // namespace

double read_bandwidth(std::size_t bytes, int threads, int rounds) {
  const std::size_t each = bytes / static_cast<std::size_t>(threads) / 4096 * 512;  // numbers of a thread
  const auto backend = kernels::make_cpu_backend({threads, 0, {}});
  const auto buffer = backend->allocate(each * static_cast<std::size_t>(threads) * 8, "a buffer to read");
  if (!buffer) throw std::runtime_error(buffer.error().what);
  auto* const numbers = static_cast<std::uint64_t*>((*buffer)->data);
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  const auto by_all = [&](const std::function<void(std::uint64_t*, std::uint64_t*, std::uint64_t&)>& work) {
    std::vector<std::thread> all;
    for (std::size_t t = 0; t < sums.size(); ++t)
      all.emplace_back([&, t] { work(numbers + t * each, numbers + (t + 1) * each, sums[t]); });
    for (std::thread& thread : all) thread.join();
  };
  by_all([](std::uint64_t* from, std::uint64_t* to, std::uint64_t& sum) { std::fill(from, to, ++sum); });
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const double seconds = seconds_of(
        [&] { by_all([](std::uint64_t* from, std::uint64_t* to, std::uint64_t& sum) { sum += sum_of(from, to); }); });
    best = std::max(best, static_cast<double>(each * sums.size() * 8) / seconds);
  }
  // Every number was 1: a reader that was left out by the compiler would be seen.
  if (sums.front() != 1 + static_cast<std::uint64_t>(rounds) * each) throw std::runtime_error("a read was not done");
  return best;
}

double own_product(DType dtype, const ProductShape& shape, int threads, int rounds) {
  const auto backend = kernels::make_cpu_backend({threads, 0, {}});
  const auto stream = backend->make_stream();
  kernels::WeightShape packed;
  packed.rows = shape.outputs;
  packed.cols = shape.inner;
  packed.dtype = dtype;
  struct Numbers : kernels::RowReader {
    explicit Numbers(std::int64_t width) : cols(width) {}
    void read(std::int64_t, std::int64_t first, std::int64_t count, float* out, float* largest) const override {
      for (std::int64_t i = 0; i < count * cols; ++i) out[i] = static_cast<float>((first + i) % 17 - 8);
      if (largest) std::fill_n(largest, count, 8.0F);
    }
    const std::byte* stored(std::int64_t, std::int64_t, DType) const override { return nullptr; }
    const std::int64_t cols;
  };
  auto weight = backend->pack(packed, Numbers(shape.inner), "weights");
  // What int8 is multiplied with is bf16.
  const DType x_type = dtype == DType::kInt8 ? DType::kBf16 : dtype;
  const auto bytes = [&](std::int64_t cols) {
    return static_cast<std::size_t>(shape.rows * cols) * static_cast<std::size_t>(bytes_of(x_type));
  };
  auto x = backend->allocate(bytes(shape.inner), "inputs"), y = backend->allocate(bytes(shape.outputs), "outputs");
  if (!weight || !x || !y) throw std::runtime_error("no memory for a product");
  backend->clear(*stream, (*x)->data, (*x)->bytes);
  kernels::Linear op;
  op.x = {(*x)->data, x_type, shape.rows, shape.inner, shape.inner};
  op.weight = weight->get();
  op.y = {(*y)->data, x_type, shape.rows, shape.outputs, shape.outputs};
  double best = 0;
  for (int round = 0; round <= rounds; ++round) {
    const double seconds = seconds_of([&] { backend->run(*stream, op); });
    best = std::max(best, 2.0 * static_cast<double>(shape.rows * shape.inner * shape.outputs) / seconds);
  }
  return best;
}

double best_product(DType dtype, int threads, bool quick) {
  double best = 0;
  for (const ProductShape& shape : {ProductShape{512, 2048, 8192}, {1024, 4096, 4096}, {2048, 2048, 2048}})
    for (const auto& product : {own_product, onednn_product})
      best = std::max(best, product(dtype, quick ? ProductShape{64, 128, 128} : shape, threads, quick ? 1 : 3));
  return best;
}

}  // namespace orch::bench
