#include "comm/mpi_transport.h"

#ifdef ORCH_MPI

#include <mpi.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

namespace orch::comm {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// MPI counts in int: longer messages go in pieces.
constexpr std::size_t kPiece = std::size_t{1} << 30;

class MpiTransport : public Transport {
 public:
  MpiTransport(MPI_Comm comm, std::chrono::milliseconds patience) : comm_(comm), patience_(patience) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &ranks_);
  }
  ~MpiTransport() override {
    // A group in which something failed is left to MPI's end: freeing it would wait for ranks that are gone.
    if (!problem_) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  Result<bool> exchange(std::span<const std::byte> to, std::span<std::byte> from) override {
    const std::size_t part = to.size() / static_cast<std::size_t>(ranks_);
    std::vector<MPI_Request> requests;
    for (int other = 0; other < ranks_; ++other) {
      const std::size_t at = static_cast<std::size_t>(other) * part;
      if (auto begun = begin_receive(from.subspan(at, part), other, requests); !begun) return begun;
    }
    for (int other = 0; other < ranks_; ++other) {
      const std::size_t at = static_cast<std::size_t>(other) * part;
      if (auto begun = begin_send(to.subspan(at, part), other, requests); !begun) return begun;
    }
    return finish(requests);
  }
  Result<bool> gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    std::vector<MPI_Request> requests;
    for (int other = 0; other < ranks_; ++other)
      if (auto begun =
              begin_receive(all.subspan(static_cast<std::size_t>(other) * own.size(), own.size()), other, requests);
          !begun)
        return begun;
    for (int other = 0; other < ranks_; ++other)
      if (auto begun = begin_send(own, other, requests); !begun) return begun;
    return finish(requests);
  }
  Result<bool> send(std::span<const std::byte> bytes, int to) override {
    std::vector<MPI_Request> requests;
    if (auto begun = begin_send(bytes, to, requests); !begun) return begun;
    return finish(requests);
  }
  Result<bool> receive(std::span<std::byte> bytes, int from, Wait wait) override {
    std::vector<MPI_Request> requests;
    if (auto begun = begin_receive(bytes, from, requests); !begun) return begun;
    return finish(requests, wait);
  }
  Result<std::unique_ptr<Transport>> split(int color) override {
    MPI_Comm group = MPI_COMM_NULL;
    if (auto made = went(MPI_Comm_split(comm_, color, rank_, &group), "a group of ranks could not be made"); !made)
      return made.error();
    return std::unique_ptr<Transport>(std::make_unique<MpiTransport>(group, patience_));
  }

 private:
  Result<bool> begin_send(std::span<const std::byte> bytes, int to, std::vector<MPI_Request>& requests) {
    for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
      const auto piece = static_cast<int>(std::min(kPiece, bytes.size() - at));
      requests.push_back(MPI_REQUEST_NULL);
      const int code = MPI_Isend(bytes.data() + at, piece, MPI_BYTE, to, 0, comm_, &requests.back());
      if (auto sent = went(code, "nothing could be sent to rank " + std::to_string(to)); !sent) return sent;
    }
    return problem_ ? Result<bool>(*problem_) : Result<bool>(true);
  }
  Result<bool> begin_receive(std::span<std::byte> bytes, int from, std::vector<MPI_Request>& requests) {
    for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
      const auto piece = static_cast<int>(std::min(kPiece, bytes.size() - at));
      requests.push_back(MPI_REQUEST_NULL);
      const int code = MPI_Irecv(bytes.data() + at, piece, MPI_BYTE, from, 0, comm_, &requests.back());
      if (auto got = went(code, "nothing could be received from rank " + std::to_string(from)); !got) return got;
    }
    return problem_ ? Result<bool>(*problem_) : Result<bool>(true);
  }
  /// Until all are done: looked at again and again at first, for that is quickest, then ever less often.
  Result<bool> finish(std::vector<MPI_Request>& requests, Wait wait = Wait::kPatience) {
    const Clock::time_point begun = Clock::now();
    for (int done = 0;;) {
      const int code = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
      if (auto tested = went(code, "a rank is gone"); !tested) return tested;
      if (done) return true;
      const auto waited = Clock::now() - begun;
      if (wait == Wait::kPatience && waited > patience_) return went(MPI_ERR_OTHER, "a rank was silent for too long");
      if (waited > 1s)
        std::this_thread::sleep_for(10ms);
      else if (waited > 10ms)
        std::this_thread::sleep_for(1ms);
      else if (waited > 100us)
        std::this_thread::yield();
    }
  }
  Result<bool> went(int code, const std::string& what) {
    if (code == MPI_SUCCESS) return true;
    if (!problem_) problem_ = Error{what};
    return *problem_;
  }

  MPI_Comm comm_;
  const std::chrono::milliseconds patience_;
  int rank_ = 0, ranks_ = 1;
  std::optional<Error> problem_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_mpi_transport(std::chrono::milliseconds patience) {
  MPI_Comm all = MPI_COMM_NULL;
  if (MPI_Comm_dup(MPI_COMM_WORLD, &all) != MPI_SUCCESS) return Error{"MPI gives no group of all ranks"};
  return std::unique_ptr<Transport>(std::make_unique<MpiTransport>(all, patience));
}

Result<std::unique_ptr<Transport>> make_mpi_group(std::span<const int> ranks, std::uint64_t tag,
                                                  std::chrono::milliseconds patience) {
  // Every MPI has tags up to here.
  constexpr std::uint64_t kTags = 32767;
  MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  const bool made = MPI_Comm_group(MPI_COMM_WORLD, &all) == MPI_SUCCESS &&
                    MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &some) == MPI_SUCCESS &&
                    MPI_Comm_create_group(MPI_COMM_WORLD, some, static_cast<int>(tag % kTags), &comm) == MPI_SUCCESS;
  if (some != MPI_GROUP_NULL) MPI_Group_free(&some);
  if (all != MPI_GROUP_NULL) MPI_Group_free(&all);
  if (!made || comm == MPI_COMM_NULL) return Error{"MPI gives no group of " + std::to_string(ranks.size()) + " ranks"};
  return std::unique_ptr<Transport>(std::make_unique<MpiTransport>(comm, patience));
}

}  // namespace orch::comm

#else

namespace orch::comm {

Result<std::unique_ptr<Transport>> make_mpi_transport(std::chrono::milliseconds) {
  return Error{"this worker was built without MPI: it is one rank"};
}

Result<std::unique_ptr<Transport>> make_mpi_group(std::span<const int>, std::uint64_t, std::chrono::milliseconds) {
  return Error{"this worker was built without MPI: it is one rank"};
}

}  // namespace orch::comm

#endif

namespace orch::comm {

Result<std::unique_ptr<Transport>> make_transport(int ranks, std::chrono::milliseconds patience) {
  if (ranks > 1) return make_mpi_transport(patience);
  return std::move(make_thread_transports(1).front());
}

}  // namespace orch::comm
