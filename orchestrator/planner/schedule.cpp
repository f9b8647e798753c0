#include "planner/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace orch::planner {
namespace {

constexpr int kLookAhead = 100;  // requests of one shape that are tried for a gap before a reservation
constexpr double kForever = std::numeric_limits<double>::infinity();

double finite_seconds(double seconds) { return std::isfinite(seconds) ? std::clamp(seconds, 0.0, 1e12) : 1e12; }

/// What a request asks of its pool.
struct Shape {
  std::uint32_t pool = 0;
  int nodes = 1;
  int gpus = 1;
  auto operator<=>(const Shape&) const = default;

  int per_node() const { return (gpus + nodes - 1) / nodes; }
};

/// Whether it takes nodes whole.
bool whole_nodes(const Pool& pool, const Shape& shape) {
  return pool.exclusive || shape.nodes > 1 || shape.per_node() == pool.gpus_per_node;
}

bool possible(const Pool& pool, const Shape& shape) {
  return shape.nodes >= 1 && shape.gpus >= 1 && shape.nodes <= pool.nodes && shape.per_node() <= pool.gpus_per_node;
}

/// The free GPUs of a pool's nodes.
class Room {
 public:
  Room(const Pool& pool, int nodes) : pool_(pool) {
    for (int node = 0; node < nodes; ++node) free_.emplace(pool.gpus_per_node, node);
  }

  bool fits(const Shape& shape) const {
    if (!whole_nodes(pool_, shape)) return free_.lower_bound({shape.per_node(), 0}) != free_.end();
    return free_nodes() >= shape.nodes;
  }

  /// The nodes taken, and how many GPUs of each. The fullest node that has room is taken first, so that whole ones
  /// stay.
  std::vector<std::pair<int, int>> take(const Shape& shape) {
    std::vector<std::pair<int, int>> taken;
    const bool whole = whole_nodes(pool_, shape);
    const int each = whole ? pool_.gpus_per_node : shape.per_node();
    for (int i = 0; i < shape.nodes; ++i) {
      const auto at = free_.lower_bound({each, 0});
      const auto [gpus, node] = *at;
      free_.erase(at);
      if (gpus == pool_.gpus_per_node) ++used_nodes_;
      free_.emplace(gpus - each, node);
      taken.emplace_back(node, each);
      if (static_cast<std::size_t>(node) >= left_.size()) left_.resize(static_cast<std::size_t>(node) + 1, -1);
      left_[static_cast<std::size_t>(node)] = gpus - each;
    }
    return taken;
  }

  void give_back(const std::vector<std::pair<int, int>>& taken) {
    for (const auto& [node, gpus] : taken) {
      int& left = left_[static_cast<std::size_t>(node)];
      free_.erase({left, node});
      left += gpus;
      if (left == pool_.gpus_per_node) --used_nodes_;
      free_.emplace(left, node);
    }
  }

 private:
  int free_nodes() const { return static_cast<int>(free_.size()) - used_nodes_; }

  Pool pool_;
  std::set<std::pair<int, int>> free_;  // (free GPUs, node)
  std::vector<int> left_;               // free GPUs of the nodes that were ever taken
  int used_nodes_ = 0;                  // nodes that are not wholly free
};

struct Running {
  double end = 0;
  std::uint32_t request = 0;
  auto operator<=>(const Running&) const = default;
};

class Scheduler {
 public:
  Scheduler(std::span<const Request> requests, std::span<const Pool> pools, const Caps& caps)
      : requests_(requests), pools_(pools), caps_(caps) {}

  Timetable run() {
    table_.start.assign(requests_.size(), kNever);
    taken_.resize(requests_.size());
    make_rooms();
    make_edges();
    for (std::uint32_t i = 0; i < requests_.size(); ++i)
      if (waits_for_[i] == 0) make_ready(i);
    start_what_fits();
    while (!running_.empty()) {
      now_ = running_.begin()->end;
      while (!running_.empty() && running_.begin()->end <= now_)
        finish(running_.extract(running_.begin()).value().request);
      start_what_fits();
    }
    return std::move(table_);
  }

 private:
  using Queue = std::set<std::uint32_t>;

  struct Reservation {
    std::uint32_t request = 0;
    double from = kForever;
    bool known = false;
  };

  void make_rooms() {
    // No more nodes are kept than the requests together can use: a cluster file may claim any number.
    std::vector<std::int64_t> wanted(pools_.size(), 0);
    for (const Request& request : requests_)
      if (request.pool < pools_.size()) wanted[request.pool] += std::max(request.nodes, 0);
    for (std::size_t i = 0; i < pools_.size(); ++i)
      rooms_.emplace_back(pools_[i], static_cast<int>(std::min<std::int64_t>(std::max(pools_[i].nodes, 0), wanted[i])));
  }

  void make_edges() {
    waits_for_.assign(requests_.size(), 0);
    std::vector<std::uint32_t> count(requests_.size() + 1, 0);
    for (const Request& request : requests_)
      for (std::uint32_t before : request.after)
        if (before < requests_.size()) ++count[before + 1];
    for (std::size_t i = 1; i < count.size(); ++i) count[i] += count[i - 1];
    first_follower_ = count;
    followers_.resize(count.back());
    for (std::uint32_t i = 0; i < requests_.size(); ++i)
      for (std::uint32_t before : requests_[i].after)
        if (before < requests_.size()) {
          followers_[count[before]++] = i;
          ++waits_for_[i];
        }
  }

  static Shape shape_of(const Request& request) { return {request.pool, request.nodes, request.gpus}; }

  /// GPUs that a cap on those in use counts.
  int capped(const Shape& shape) const { return pools_[shape.pool].of_cpus ? 0 : shape.gpus; }

  int occupied(const Shape& shape) const { return occupied_gpus(pools_[shape.pool], shape.nodes, shape.gpus); }

  void make_ready(std::uint32_t i) {
    const Request& request = requests_[i];
    if (request.held || request.pool >= pools_.size()) return;
    const Shape shape = shape_of(request);
    if (!possible(pools_[shape.pool], shape)) return;
    if (caps_.gpus && capped(shape) > *caps_.gpus) return;
    if (caps_.jobs && *caps_.jobs < 1) return;
    ready_[shape].insert(i);
  }

  void finish(std::uint32_t i) {
    rooms_[requests_[i].pool].give_back(taken_[i]);
    taken_[i] = {};
    gpus_ -= capped(shape_of(requests_[i]));
    for (std::uint32_t at = first_follower_[i]; at < first_follower_[i + 1]; ++at)
      if (--waits_for_[followers_[at]] == 0) make_ready(followers_[at]);
  }

  bool below_cap(const Shape& shape, int gpus) const { return !caps_.gpus || gpus + capped(shape) <= *caps_.gpus; }

  /// When the request will find room, if nothing else starts.
  double room_from(const Request& request) const {
    const Shape shape = shape_of(request);
    Room room = rooms_[shape.pool];
    int gpus = gpus_;
    for (const Running& running : running_) {
      const Request& other = requests_[running.request];
      gpus -= capped(shape_of(other));
      if (other.pool == shape.pool) room.give_back(taken_[running.request]);
      if (room.fits(shape) && below_cap(shape, gpus)) return running.end;
    }
    return kForever;
  }

  /// Whether a request may pass the one that has the reservation.
  bool may_pass(std::optional<Reservation>& reservation, double end) {
    if (!reservation) return true;
    if (!reservation->known) {
      // It stays right while the job is first in line: whatever passes it ends before.
      const auto cached = known_reservations_.find(reservation->request);
      reservation->from =
          cached != known_reservations_.end() ? cached->second : room_from(requests_[reservation->request]);
      known_reservations_[reservation->request] = reservation->from;
      reservation->known = true;
    }
    return end <= reservation->from;
  }

  void start_what_fits() {
    std::vector<std::optional<Reservation>> of_pool(pools_.size());
    std::optional<Reservation> of_cap;
    std::vector<std::pair<const Shape*, Queue*>> open;
    for (auto& [shape, queue] : ready_)
      if (!queue.empty()) open.emplace_back(&shape, &queue);
    while (!open.empty() && (!caps_.jobs || static_cast<int>(running_.size()) < *caps_.jobs)) {
      const auto first = std::min_element(open.begin(), open.end(), [](const auto& a, const auto& b) {
        return *a.second->begin() < *b.second->begin();
      });
      const Shape& shape = *first->first;
      const std::uint32_t i = *first->second->begin();
      std::optional<Reservation>& reserved = of_pool[shape.pool];
      const bool room = rooms_[shape.pool].fits(shape);
      const bool cap = below_cap(shape, gpus_);
      if (room && cap && start_one(*first->second, shape, reserved, of_cap)) {
        if (first->second->empty()) open.erase(first);
        continue;
      }
      if (!cap && !of_cap) of_cap = Reservation{i};
      if (cap && !room && !reserved) reserved = Reservation{i};
      open.erase(first);
    }
  }

  /// Starts the first of the queue that keeps to the reservations, if any does.
  bool start_one(Queue& queue, const Shape& shape, std::optional<Reservation>& of_pool,
                 std::optional<Reservation>& of_cap) {
    int tried = 0;
    for (auto at = queue.begin(); at != queue.end() && tried < kLookAhead; ++at, ++tried) {
      const std::uint32_t i = *at;
      const double end = now_ + finite_seconds(requests_[i].seconds);
      if (!may_pass(of_pool, end) || !may_pass(of_cap, end)) continue;
      queue.erase(at);
      start(i, shape, end);
      return true;
    }
    return false;
  }

  void start(std::uint32_t i, const Shape& shape, double end) {
    table_.start[i] = now_;
    table_.makespan = std::max(table_.makespan, end);
    known_reservations_.erase(i);
    taken_[i] = rooms_[shape.pool].take(shape);
    gpus_ += capped(shape);
    running_.insert({end, i});
  }

  std::span<const Request> requests_;
  std::span<const Pool> pools_;
  Caps caps_;
  Timetable table_;
  double now_ = 0;
  int gpus_ = 0;  // of all that runs
  std::vector<Room> rooms_;
  std::vector<std::vector<std::pair<int, int>>> taken_;
  std::vector<std::uint32_t> waits_for_, first_follower_, followers_;
  std::map<Shape, Queue> ready_;  // requests that ask the same: when the first finds no room, none does
  std::map<std::uint32_t, double> known_reservations_;
  std::set<Running> running_;
};

}  // namespace

int occupied_gpus(const Pool& pool, int nodes, int gpus) {
  return pool.exclusive ? static_cast<int>(std::min<std::int64_t>(std::int64_t{nodes} * pool.gpus_per_node, 1 << 30))
                        : gpus;
}

Timetable schedule(std::span<const Request> requests, std::span<const Pool> pools, const Caps& caps) {
  return Scheduler(requests, pools, caps).run();
}

double makespan_at_least(std::span<const Batch> batches, std::span<const Pool> pools, const Caps& caps) {
  std::vector<double> gpu_seconds(pools.size(), 0);
  double all_seconds = 0, all_gpu_seconds = 0, bound = 0;
  for (const Batch& batch : batches) {
    if (batch.pool >= pools.size() || batch.count <= 0) continue;
    const Pool& pool = pools[batch.pool];
    const Shape shape{batch.pool, batch.nodes, batch.gpus};
    if (!possible(pool, shape)) continue;
    const double seconds = finite_seconds(batch.seconds);
    const double total = seconds * static_cast<double>(batch.count);
    const int taken = whole_nodes(pool, shape) ? batch.nodes * pool.gpus_per_node : batch.gpus;
    gpu_seconds[batch.pool] += total * taken;
    all_seconds += total;
    if (!pool.of_cpus) all_gpu_seconds += total * batch.gpus;
    // What is left of a node past the last whole job is of no use to jobs that are alike.
    const double at_once = whole_nodes(pool, shape) ? std::floor(1.0 * pool.nodes / batch.nodes)
                                                    : 1.0 * pool.nodes * (pool.gpus_per_node / shape.per_node());
    bound = std::max({bound, seconds, total / std::max(at_once, 1.0)});
  }
  for (std::size_t i = 0; i < pools.size(); ++i) {
    const double gpus = 1.0 * pools[i].nodes * pools[i].gpus_per_node;
    if (gpus > 0) bound = std::max(bound, gpu_seconds[i] / gpus);
  }
  if (caps.jobs && *caps.jobs > 0) bound = std::max(bound, all_seconds / *caps.jobs);
  if (caps.gpus && *caps.gpus > 0) bound = std::max(bound, all_gpu_seconds / *caps.gpus);
  return bound;
}

}  // namespace orch::planner
