// Ranks as threads. The same over MPI is tests/comm/mpi_check.cpp.
#include "comm/communicator.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "kernels/cpu/backend.h"
#include "kernels/number.h"

namespace orch::comm {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

void on_threads(int ranks, const std::function<void(std::unique_ptr<Transport>)>& work,
                std::chrono::milliseconds patience = 60s) {
  auto transports = make_thread_transports(ranks, patience);
  std::vector<std::jthread> threads;
  for (auto& transport : transports)
    threads.emplace_back([&work, own = std::move(transport)]() mutable { work(std::move(own)); });
}

struct Rank {
  explicit Rank(std::unique_ptr<Transport> transport)
      : backend(kernels::make_cpu_backend({1, 0, {}})),
        stream(backend->make_stream()),
        rank(transport->rank()),
        comm(make_host_communicator(*backend, std::move(transport))) {}
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<kernels::Stream> stream;
  int rank;
  std::unique_ptr<Communicator> comm;
};

kernels::Matrix view(std::vector<float>& values, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  return {values.data(), DType::kFp32, rows, cols, stride};
}

float number_of(int rank, std::size_t i) {
  std::mt19937 random(static_cast<unsigned>(rank) * 1000 + static_cast<unsigned>(i));
  return static_cast<float>(std::normal_distribution<double>(0, std::pow(10.0, rank))(random));
}

TEST(Sum, IsTakenInRankOrderAndIsTheSameOnAllRanks) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    on_threads(ranks, [&](std::unique_ptr<Transport> transport) {
      Rank own(std::move(transport));
      // 3 rows of 7 in rows of 9: what is behind them stays.
      std::vector<float> values(27, -1);
      for (std::size_t i = 0; i < 27; ++i)
        if (i % 9 < 7) values[i] = number_of(own.rank, i);
      own.comm->sum(*own.stream, view(values, 3, 7, 9), DType::kFp32);
      for (std::size_t i = 0; i < 27; ++i) {
        float wanted = number_of(0, i);
        for (int rank = 1; rank < ranks; ++rank) wanted += number_of(rank, i);
        EXPECT_EQ(values[i], i % 9 < 7 ? wanted : -1.0F) << i;
      }
      EXPECT_TRUE(own.comm->state());
    });
  }
}

TEST(Sum, OfRoundedNumbersIsRoundedOnce) {
  on_threads(4, [&](std::unique_ptr<Transport> transport) {
    Rank own(std::move(transport));
    std::vector<kernels::Bf16> values;
    for (std::size_t i = 0; i < 10; ++i)
      values.push_back(kernels::from_float<kernels::Bf16>(number_of(own.rank % 2, i)));
    own.comm->sum(*own.stream, {values.data(), DType::kBf16, 2, 5, 5}, DType::kBf16);
    for (std::size_t i = 0; i < 10; ++i) {
      float wanted = 0;
      for (int rank = 0; rank < 4; ++rank)
        wanted += kernels::to_float(kernels::from_float<kernels::Bf16>(number_of(rank % 2, i)));
      EXPECT_EQ(kernels::to_float(values[i]), kernels::to_float(kernels::from_float<kernels::Bf16>(wanted)));
    }
  });
}

TEST(Sum, TravelsAsItIsTold) {
  on_threads(2, [&](std::unique_ptr<Transport> transport) {
    Rank own(std::move(transport));
    std::vector<float> values{1.0F + 0x1p-12F};
    own.comm->sum(*own.stream, view(values, 1, 1, 1), DType::kBf16);
    EXPECT_EQ(values[0], 2.0F) << "bf16 has 8 bits";
  });
}

TEST(Gather, PutsTheRanksRowsInTheirOrder) {
  on_threads(3, [&](std::unique_ptr<Transport> transport) {
    Rank own(std::move(transport));
    std::vector<float> mine{static_cast<float>(own.rank), static_cast<float>(own.rank) + 0.5F}, all(6);
    own.comm->gather(*own.stream, view(mine, 1, 2, 2), view(all, 3, 2, 2));
    EXPECT_EQ(all, (std::vector<float>{0, 0.5, 1, 1.5, 2, 2.5}));
    // Its own part may stand where it belongs already.
    std::vector<float> in_place(6);
    in_place[static_cast<std::size_t>(2 * own.rank)] = static_cast<float>(10 + own.rank);
    kernels::Matrix whole = view(in_place, 3, 2, 2);
    own.comm->gather(*own.stream, kernels::rows(whole, own.rank, 1), whole);
    EXPECT_EQ(in_place, (std::vector<float>{10, 0, 11, 0, 12, 0}));
  });
}

TEST(Share, GivesEveryRankTheSameBits) {
  on_threads(4, [&](std::unique_ptr<Transport> transport) {
    Rank own(std::move(transport));
    // A NaN with a payload, as integers under another name may be.
    std::vector<float> values(2);
    const std::uint32_t bits = own.rank == 2 ? 0xffc12345U : 0;
    std::memcpy(values.data(), &bits, sizeof bits);
    own.comm->share(*own.stream, view(values, 1, 2, 2), 2);
    std::uint32_t got = 0;
    std::memcpy(&got, values.data(), sizeof got);
    EXPECT_EQ(got, 0xffc12345U);
  });
}

TEST(Groups, AreThoseOfOneColorInTheirOrder) {
  on_threads(6, [&](std::unique_ptr<Transport> transport) {
    const int rank = transport->rank();
    auto split = transport->split(rank % 2);
    ASSERT_TRUE(split);
    EXPECT_EQ((*split)->rank(), rank / 2);
    EXPECT_EQ((*split)->ranks(), 3);
    Rank own(*std::move(split));
    std::vector<float> values{static_cast<float>(rank)};
    own.comm->sum(*own.stream, view(values, 1, 1, 1), DType::kFp32);
    EXPECT_EQ(values[0], rank % 2 == 0 ? 0 + 2 + 4 : 1 + 3 + 5);
  });
}

TEST(Messages, ComeInTheOrderInWhichTheyWereSent) {
  on_threads(2, [&](std::unique_ptr<Transport> transport) {
    Rank own(std::move(transport));
    for (int i = 0; i < 20; ++i) {
      std::vector<float> value{own.rank == 0 ? static_cast<float>(i) : -1.0F};
      if (own.rank == 0) {
        own.comm->send(*own.stream, view(value, 1, 1, 1), 1);
      } else {
        own.comm->receive(*own.stream, view(value, 1, 1, 1), 0);
        EXPECT_EQ(value[0], static_cast<float>(i));
      }
    }
  });
}

// Never a hang: whoever waits for a rank that is gone is told.
TEST(Ranks, ThatGoAwayFailTheOthersCalls) {
  for (const bool receives : {false, true}) {
    on_threads(3, [&](std::unique_ptr<Transport> transport) {
      if (transport->rank() == 2) return;  // and its transport with it
      Rank own(std::move(transport));
      std::vector<float> value{1};
      if (receives)
        own.comm->receive(*own.stream, view(value, 1, 1, 1), 2);
      else
        own.comm->sum(*own.stream, view(value, 1, 1, 1), DType::kFp32);
      const auto state = own.comm->state();
      ASSERT_FALSE(state);
      EXPECT_THAT(state.error().what, HasSubstr("is gone"));
      // From then on nothing blocks, and nothing is believed.
      own.comm->sum(*own.stream, view(value, 1, 1, 1), DType::kFp32);
      EXPECT_FALSE(own.comm->state());
    });
  }
}

TEST(Ranks, ThatAreSilentForTooLongFailTheOthersCalls) {
  std::atomic<int> waiting = 2;
  on_threads(
      3,
      [&](std::unique_ptr<Transport> transport) {
        Rank own(std::move(transport));
        if (own.rank == 2) {
          while (waiting > 0) std::this_thread::yield();
          return;
        }
        std::vector<float> value{1};
        own.comm->sum(*own.stream, view(value, 1, 1, 1), DType::kFp32);
        ASSERT_FALSE(own.comm->state());
        EXPECT_THAT(own.comm->state().error().what, HasSubstr("silent for too long"));
        --waiting;
      },
      50ms);
}

}  // namespace
}  // namespace orch::comm
