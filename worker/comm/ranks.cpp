#include "comm/ranks.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "comm/host_memory.h"

#ifdef ORCH_MPI
#include <mpi.h>
#endif

namespace orch::worker {
namespace {

using namespace std::chrono_literals;

/// The first of these variables that is a number; -1: none is.
int number_of(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const value = std::getenv(name);
    if (!value) continue;
    const std::string_view text = value;
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return number;
  }
  return -1;
}

/// As the launcher says it: Open MPI, other MPIs, Slurm. Slurm's variables of the job, not of a step, mean nothing
/// here.
int launched() { return number_of({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}); }

cpu_set_t own_cpus() {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  ::sched_getaffinity(0, sizeof mine, &mine);
  return mine;
}

#ifdef ORCH_MPI
constexpr auto kFirstLook = 1ms, kLongestLook = 250ms;
constexpr auto kLeave = 30s;  // for the others to notice the end

/// MPI's own waiting spins. False: it took too long.
bool wait_for(MPI_Request request, std::chrono::steady_clock::time_point until) {
  auto look = std::chrono::milliseconds(kFirstLook);
  for (int done = 0;;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(look);
    look = std::min(2 * look, std::chrono::milliseconds(kLongestLook));
  }
}
#endif

}  // namespace

#ifdef ORCH_MPI

std::string Ranks::mpi() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string_view all(text.data(), static_cast<std::size_t>(length));
  return std::string(all.substr(0, std::min(all.find('\n'), all.find(','))));
}

Ranks::Ranks() {
  if (launched() <= 1) return;
  int given = 0;
  // One thread computes, and with it calls MPI; another begins and ends MPI when that one does not run.
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &count_);
  started_ = true;
}

Ranks::~Ranks() {
  if (!started_) return;
  if (!told_) {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    // A rank that is stuck must not hold the others: the launcher ends it.
    if (!wait_for(request, std::chrono::steady_clock::now() + kLeave)) return;
  }
  MPI_Finalize();
}

void Ranks::wait() {
  if (!started_) return;
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  told_ = wait_for(request, std::chrono::steady_clock::time_point::max());
}

Ranks::Node Ranks::node() const {
  const cpu_set_t mine = own_cpus();
  if (!started_) return {mine, 1};
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm);
  Node node{mine, 1};
  MPI_Allreduce(&mine, &node.cpus, static_cast<int>(sizeof mine), MPI_BYTE, MPI_BOR, comm);
  MPI_Comm_size(comm, &node.ranks);
  MPI_Comm_free(&comm);
  return node;
}

#else

std::string Ranks::mpi() { return ""; }

Ranks::Ranks() {
  count_ = std::max(launched(), 1);
  if (count_ > 1) rank_ = std::max(number_of({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}), 0);
}

Ranks::~Ranks() = default;

void Ranks::wait() {}

Ranks::Node Ranks::node() const { return {own_cpus(), 1}; }

#endif

double memory_of(const Ranks::Node& node) { return comm::memory_left() / std::max(1, node.ranks); }

int threads_of(const Ranks::Node& node) {
  const int own = [] {
    const cpu_set_t mine = own_cpus();
    return CPU_COUNT(&mine);
  }();
  const int all = CPU_COUNT(&node.cpus);
  return std::max(1, own < all ? own : all / node.ranks);
}

}  // namespace orch::worker
