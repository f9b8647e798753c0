// Ranks as threads, with the CPU's memory and with a device's. The same over MPI is tests/comm/mpi_check.cpp.
#include "comm/communicator.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <random>
#include <thread>

#include "kernels/cpu/backend.h"
#include "kernels/device.h"
#include "kernels/fake/backend.h"
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

std::unique_ptr<kernels::Backend> backend_of(const std::string& place) {
  auto cpu = kernels::make_cpu_backend({1, 0, {}});
  return place == "fake" ? kernels::make_fake_backend(std::move(cpu)) : std::move(cpu);
}

struct Rank {
  Rank(const std::string& place, std::unique_ptr<Transport> transport)
      : backend(backend_of(place)),
        device(*backend),
        rank(transport->rank()),
        comm(make_host_communicator(*backend, std::move(transport))) {}

  kernels::Matrix put(const std::vector<float>& values, std::int64_t rows, std::int64_t cols, std::int64_t spare = 0) {
    return device.put({{values.begin(), values.end()}, rows, cols}, DType::kFp32, spare);
  }
  std::vector<float> get(const kernels::Matrix& matrix) {
    const kernels::test::Numbers numbers = device.get(matrix);
    return {numbers.values.begin(), numbers.values.end()};
  }
  kernels::Stream& stream() { return device.stream(); }

  std::unique_ptr<kernels::Backend> backend;
  kernels::test::Device device;
  int rank;
  std::unique_ptr<Communicator> comm;
};

class OnDevice : public testing::TestWithParam<const char*> {};
using Sum = OnDevice;
using Gather = OnDevice;
using Share = OnDevice;
using Groups = OnDevice;
using Messages = OnDevice;
using Ranks = OnDevice;

float number_of(int rank, std::size_t i) {
  std::mt19937 random(static_cast<unsigned>(rank) * 1000 + static_cast<unsigned>(i));
  return static_cast<float>(std::normal_distribution<double>(0, std::pow(10.0, rank))(random));
}

TEST_P(Sum, IsTakenInRankOrderAndIsTheSameOnAllRanks) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    on_threads(ranks, [&](std::unique_ptr<Transport> transport) {
      Rank own(GetParam(), std::move(transport));
      // 3 rows of 7 in rows of 9: what is behind them stays.
      std::vector<float> values(21);
      for (std::size_t i = 0; i < 21; ++i) values[i] = number_of(own.rank, i);
      const kernels::Matrix there = own.put(values, 3, 7, 2);
      own.comm->sum(own.stream(), there, DType::kFp32);
      values = own.get(there);
      for (std::size_t i = 0; i < 21; ++i) {
        float wanted = number_of(0, i);
        for (int rank = 1; rank < ranks; ++rank) wanted += number_of(rank, i);
        EXPECT_EQ(values[i], wanted) << i;
      }
      EXPECT_TRUE(own.device.is_spare_untouched(there));
      EXPECT_TRUE(own.comm->state());
    });
  }
}

TEST_P(Sum, OfRoundedNumbersIsRoundedOnce) {
  on_threads(4, [&](std::unique_ptr<Transport> transport) {
    Rank own(GetParam(), std::move(transport));
    kernels::test::Numbers numbers{{}, 2, 5};
    for (std::size_t i = 0; i < 10; ++i) numbers.values.push_back(static_cast<double>(number_of(own.rank % 2, i)));
    const kernels::Matrix there = own.device.put(numbers, DType::kBf16);
    own.comm->sum(own.stream(), there, DType::kBf16);
    const std::vector<float> values = own.get(there);
    for (std::size_t i = 0; i < 10; ++i) {
      float wanted = 0;
      for (int rank = 0; rank < 4; ++rank)
        wanted += kernels::to_float(kernels::from_float<kernels::Bf16>(number_of(rank % 2, i)));
      EXPECT_EQ(values[i], kernels::to_float(kernels::from_float<kernels::Bf16>(wanted)));
    }
  });
}

TEST_P(Sum, TravelsAsItIsTold) {
  on_threads(2, [&](std::unique_ptr<Transport> transport) {
    Rank own(GetParam(), std::move(transport));
    const kernels::Matrix there = own.put({1.0F + 0x1p-12F}, 1, 1);
    own.comm->sum(own.stream(), there, DType::kBf16);
    EXPECT_EQ(own.get(there), std::vector<float>{2}) << "bf16 has 8 bits";
  });
}

TEST_P(Gather, PutsTheRanksRowsInTheirOrder) {
  on_threads(3, [&](std::unique_ptr<Transport> transport) {
    Rank own(GetParam(), std::move(transport));
    const auto number = static_cast<float>(own.rank);
    const kernels::Matrix mine = own.put({number, number + 0.5F}, 1, 2);
    const kernels::Matrix all = own.device.poisoned(3, 2, DType::kFp32);
    own.comm->gather(own.stream(), mine, all);
    EXPECT_EQ(own.get(all), (std::vector<float>{0, 0.5, 1, 1.5, 2, 2.5}));
    // Its own part may stand where it belongs already.
    std::vector<float> in_place(6);
    in_place[static_cast<std::size_t>(2 * own.rank)] = 10 + number;
    const kernels::Matrix whole = own.put(in_place, 3, 2);
    own.comm->gather(own.stream(), kernels::rows(whole, own.rank, 1), whole);
    EXPECT_EQ(own.get(whole), (std::vector<float>{10, 0, 11, 0, 12, 0}));
  });
}

TEST_P(Share, GivesEveryRankTheSameBits) {
  on_threads(4, [&](std::unique_ptr<Transport> transport) {
    Rank own(GetParam(), std::move(transport));
    // A NaN with a payload, as integers under another name may be.
    constexpr auto kBits = static_cast<std::int32_t>(0xffc12345U);
    const kernels::Ints there = own.device.put({own.rank == 2 ? kBits : 0, 0});
    own.comm->share(own.stream(), {there.data, DType::kFp32, 1, 2, 2}, 2);
    EXPECT_EQ(own.device.get(there), (std::vector<std::int32_t>{kBits, 0}));
  });
}

TEST_P(Groups, AreThoseOfOneColorInTheirOrder) {
  on_threads(6, [&](std::unique_ptr<Transport> transport) {
    const int rank = transport->rank();
    auto split = transport->split(rank % 2);
    ASSERT_TRUE(split);
    EXPECT_EQ((*split)->rank(), rank / 2);
    EXPECT_EQ((*split)->ranks(), 3);
    Rank own(GetParam(), *std::move(split));
    const kernels::Matrix there = own.put({static_cast<float>(rank)}, 1, 1);
    own.comm->sum(own.stream(), there, DType::kFp32);
    EXPECT_EQ(own.get(there), std::vector<float>{rank % 2 == 0 ? 0.0F + 2 + 4 : 1.0F + 3 + 5});
  });
}

TEST_P(Messages, ComeInTheOrderInWhichTheyWereSent) {
  on_threads(2, [&](std::unique_ptr<Transport> transport) {
    Rank own(GetParam(), std::move(transport));
    for (int i = 0; i < 20; ++i) {
      const kernels::Matrix there = own.put({own.rank == 0 ? static_cast<float>(i) : -1.0F}, 1, 1);
      if (own.rank == 0) {
        own.comm->send(own.stream(), there, 1);
      } else {
        own.comm->receive(own.stream(), there, 0);
        EXPECT_EQ(own.get(there), std::vector<float>{static_cast<float>(i)});
      }
    }
  });
}

// Never a hang: whoever waits for a rank that is gone is told.
TEST_P(Ranks, ThatGoAwayFailTheOthersCalls) {
  for (const bool receives : {false, true}) {
    on_threads(3, [&](std::unique_ptr<Transport> transport) {
      if (transport->rank() == 2) return;  // and its transport with it
      Rank own(GetParam(), std::move(transport));
      const kernels::Matrix value = own.put({1}, 1, 1);
      if (receives)
        own.comm->receive(own.stream(), value, 2);
      else
        own.comm->sum(own.stream(), value, DType::kFp32);
      const auto state = own.comm->state();
      ASSERT_FALSE(state);
      EXPECT_THAT(state.error().what, HasSubstr("is gone"));
      // From then on nothing blocks, and nothing is believed.
      own.comm->sum(own.stream(), value, DType::kFp32);
      EXPECT_FALSE(own.comm->state());
    });
  }
}

TEST_P(Ranks, ThatAreSilentForTooLongFailTheOthersCalls) {
  std::atomic<int> waiting = 2;
  on_threads(
      3,
      [&](std::unique_ptr<Transport> transport) {
        Rank own(GetParam(), std::move(transport));
        if (own.rank == 2) {
          while (waiting > 0) std::this_thread::yield();
          return;
        }
        const kernels::Matrix value = own.put({1}, 1, 1);
        own.comm->sum(own.stream(), value, DType::kFp32);
        ASSERT_FALSE(own.comm->state());
        EXPECT_THAT(own.comm->state().error().what, HasSubstr("silent for too long"));
        --waiting;
      },
      50ms);
}

const auto kPlaces = testing::Values("cpu", "fake");
const auto kName = [](const auto& place) { return std::string(place.param); };
INSTANTIATE_TEST_SUITE_P(In, Sum, kPlaces, kName);
INSTANTIATE_TEST_SUITE_P(In, Gather, kPlaces, kName);
INSTANTIATE_TEST_SUITE_P(In, Share, kPlaces, kName);
INSTANTIATE_TEST_SUITE_P(In, Groups, kPlaces, kName);
INSTANTIATE_TEST_SUITE_P(In, Messages, kPlaces, kName);
INSTANTIATE_TEST_SUITE_P(In, Ranks, kPlaces, kName);

}  // namespace
}  // namespace orch::comm
