#include "comm/communicator.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/number.h"

namespace orch::comm {
namespace {

using kernels::Matrix;
using kernels::Stream;

template <class T>
void widen(const std::byte* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i) {
    T number;
    std::memcpy(&number, from + i * sizeof(T), sizeof number);
    to[i] = kernels::to_float(number);
  }
}
void widen(DType dtype, const std::byte* from, std::size_t count, float* to) {
  if (dtype == DType::kBf16) return widen<kernels::Bf16>(from, count, to);
  if (dtype == DType::kFp16) return widen<kernels::Fp16>(from, count, to);
  widen<float>(from, count, to);
}
template <class T>
void narrow(const float* from, std::size_t count, std::byte* to) {
  for (std::size_t i = 0; i < count; ++i) {
    const T number = kernels::from_float<T>(from[i]);
    std::memcpy(to + i * sizeof(T), &number, sizeof number);
  }
}
void narrow(DType dtype, const float* from, std::size_t count, std::byte* to) {
  if (dtype == DType::kBf16) return narrow<kernels::Bf16>(from, count, to);
  if (dtype == DType::kFp16) return narrow<kernels::Fp16>(from, count, to);
  narrow<float>(from, count, to);
}

std::size_t size_of(DType dtype) { return static_cast<std::size_t>(bytes_of(dtype)); }

class HostCommunicator : public Communicator {
 public:
  HostCommunicator(kernels::Backend& backend, std::unique_ptr<Transport> transport)
      : backend_(backend), transport_(std::move(transport)) {}

  int rank() const override { return transport_->rank(); }
  int ranks() const override { return transport_->ranks(); }
  Result<bool> state() const override { return state_; }

  void sum(Stream& stream, const Matrix& matrix, DType wire) override {
    if (ranks() == 1 || matrix.rows == 0) return;
    fetch(stream, matrix);
    const std::size_t count = numbers(matrix), parts = static_cast<std::size_t>(ranks());
    // Each rank sums one part of all ranks' numbers, then has it told to all.
    const std::size_t part = (count + parts - 1) / parts;
    std::vector<float> wide(part * parts);
    widen(matrix.dtype, host_.data(), count, wide.data());
    std::vector<std::byte> to(part * parts * size_of(wire)), from(to.size());
    narrow(wire, wide.data(), wide.size(), to.data());
    if (!went(transport_->exchange(to, from))) return;
    std::vector<float> total(part), one(part);
    for (std::size_t rank = 0; rank < parts; ++rank) {
      widen(wire, from.data() + rank * part * size_of(wire), part, one.data());
      for (std::size_t i = 0; i < part; ++i) total[i] = rank == 0 ? one[i] : total[i] + one[i];
    }
    std::vector<std::byte> own(part * sizeof(float)), all(own.size() * parts);
    std::memcpy(own.data(), total.data(), own.size());
    if (!went(transport_->gather(own, all))) return;
    std::memcpy(wide.data(), all.data(), all.size());
    narrow(matrix.dtype, wide.data(), count, host_.data());
    put(stream, matrix);
  }

  void gather(Stream& stream, const Matrix& own, const Matrix& all) override {
    fetch(stream, own);
    std::vector<std::byte> everything(host_.size() * static_cast<std::size_t>(ranks()));
    if (!went(transport_->gather(host_, everything))) return;
    host_ = std::move(everything);
    put(stream, all);
  }
  void share(Stream& stream, const Matrix& matrix, int from) override {
    if (ranks() == 1) return;
    if (rank() != from) return receive(stream, matrix, from);
    fetch(stream, matrix);
    for (int other = 0; other < ranks(); ++other)
      if (other != from) went(transport_->send(host_, other));
  }
  void send(Stream& stream, const Matrix& matrix, int to) override {
    fetch(stream, matrix);
    went(transport_->send(host_, to));
  }
  void receive(Stream& stream, const Matrix& matrix, int from) override {
    host_.resize(numbers(matrix) * size_of(matrix.dtype));
    if (went(transport_->receive(host_, from))) put(stream, matrix);
  }

 private:
  static std::size_t numbers(const Matrix& matrix) { return static_cast<std::size_t>(matrix.rows * matrix.cols); }

  bool went(const Result<bool>& how) {
    if (!how && state_) state_ = how.error();
    return how.ok();
  }
  /// host_ ← the matrix's rows, one after another.
  void fetch(Stream& stream, const Matrix& matrix) {
    const std::size_t row = row_bytes(matrix);
    host_.resize(row * static_cast<std::size_t>(matrix.rows));
    for (std::int64_t r = 0; r < matrix.rows; ++r)
      backend_.download(stream, host_.data() + static_cast<std::size_t>(r) * row, kernels::rows(matrix, r, 1).data,
                        row);
    went(backend_.wait(stream));
  }
  void put(Stream& stream, const Matrix& matrix) {
    const std::size_t row = row_bytes(matrix);
    for (std::int64_t r = 0; r < matrix.rows; ++r)
      backend_.upload(stream, kernels::rows(matrix, r, 1).data, host_.data() + static_cast<std::size_t>(r) * row, row);
    // The next call writes host_ again.
    went(backend_.wait(stream));
  }

  kernels::Backend& backend_;
  std::unique_ptr<Transport> transport_;
  std::vector<std::byte> host_;
  Result<bool> state_ = true;
};

class PlannedCommunicator : public Communicator {
 public:
  PlannedCommunicator(int rank, int ranks) : rank_(rank), ranks_(ranks) {}
  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }
  void sum(kernels::Stream&, const kernels::Matrix&, DType) override {}
  void gather(kernels::Stream&, const kernels::Matrix&, const kernels::Matrix&) override {}
  void share(kernels::Stream&, const kernels::Matrix&, int) override {}
  void send(kernels::Stream&, const kernels::Matrix&, int) override {}
  void receive(kernels::Stream&, const kernels::Matrix&, int) override {}
  Result<bool> state() const override { return true; }

 private:
  const int rank_, ranks_;
};

}  // namespace

std::unique_ptr<Communicator> make_host_communicator(kernels::Backend& backend, std::unique_ptr<Transport> transport) {
  return std::make_unique<HostCommunicator>(backend, std::move(transport));
}

std::unique_ptr<Communicator> make_planned_communicator(int rank, int ranks) {
  return std::make_unique<PlannedCommunicator>(rank, ranks);
}

}  // namespace orch::comm
