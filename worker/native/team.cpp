#include "native/team.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "base/text.h"

namespace orch::native {

using worker::Outcome;

/// The loop's hold on a chunk that is computed.
class Team::ChunkWork : public worker::Work {
 public:
  ChunkWork(Team& team, const wire::Leased& leased)
      : team_(team), ticket_(leased.ticket), limit_(leased.time_limit), is_training_(!leased.ask->rows.empty()) {}
  ~ChunkWork() override { team_.running_.erase(ticket_); }

  void stop(Clock::duration grace) override {
    const auto at = Clock::now() + grace;
    if (!over_at_) team_.tell(team_.running_.at(ticket_).ranks, Stop{ticket_});
    over_at_ = std::min(over_at_.value_or(at), at);
  }
  std::optional<Outcome> poll(Clock::time_point now) override {
    const Running& running = team_.running_.at(ticket_);
    // Loading is the job's affair, and has no limit of its own. What gets on is not stopped: how fast a model is was
    // only supposed.
    if (running.loaded && (!until_ || running.done != seen_)) {
      until_ = worker::after(limit_);
      seen_ = running.done;
    }
    if (until_ && now >= *until_ && !over_at_) {
      out_of_time_ = true;
      stop(kGrace);
    }
    std::optional<Outcome> outcome = running.outcome;
    if (!outcome && over_at_ && now >= *over_at_) {
      outcome.emplace();
      outcome->what = Outcome::What::kStopped;
    }
    if (outcome && out_of_time_ && outcome->what == Outcome::What::kStopped) {
      outcome->what = Outcome::What::kFailed;
      outcome->out_of_time = true;
      outcome->cause = "timeout";
      const char* const one = is_training_ ? "step" : "sample";
      outcome->reason = std::string("no ") + one + " was done for " + std::to_string(static_cast<long>(limit_)) +
                        " s; " + std::to_string(running.done) + " of " + counted(running.all, one) + " were done";
    }
    return outcome;
  }
  Clock::time_point due() const override { return over_at_.value_or(until_.value_or(Clock::time_point::max())); }
  std::int64_t done() const override { return team_.running_.at(ticket_).done; }
  std::int64_t all() const override { return team_.running_.at(ticket_).all; }
  bool goes_on_elsewhere() const override { return is_training_; }
  std::string live() const override { return team_.running_.at(ticket_).live; }

 private:
  static constexpr auto kGrace = std::chrono::seconds(60);  // for the questions that are asked at this moment

  Team& team_;
  const std::uint64_t ticket_;
  const double limit_;  // seconds without a sample, or a step
  const bool is_training_;
  std::int64_t seen_ = 0;
  std::optional<Clock::time_point> until_, over_at_;
  bool out_of_time_ = false;
};

Team::Team(SeatRules own, std::vector<comm::Lifeline> others) : own_(std::move(own)) {
  auto line = comm::make_lifeline();
  if (!line) throw std::runtime_error(line.error().what);
  lines_.push_back(std::move(line->first));
  for (comm::Lifeline& other : others) lines_.push_back(std::move(other));
  held_.resize(lines_.size());
  watching_ = ::epoll_create1(EPOLL_CLOEXEC);
  for (const comm::Lifeline& each : lines_) {
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(watching_, EPOLL_CTL_ADD, each.descriptor(), &event);
  }
  serving_ = std::thread([this, line = std::move(line->second)]() mutable { own_.serve(std::move(line)); });
}

Team::~Team() {
  for (comm::Lifeline& line : lines_) line.send(write(Command(End{})));
  serving_.join();
  ::close(watching_);
}

void Team::tell(const std::vector<int>& ranks, const Command& command) {
  const std::string text = write(command);
  for (const int rank : ranks) lines_[static_cast<std::size_t>(rank)].send(text);
}

Result<std::unique_ptr<worker::Work>> Team::start(const wire::Leased& leased, const std::filesystem::path& folder,
                                                  const std::filesystem::path& job, std::vector<int> ranks) {
  if (!leased.ask) return Error{"the daemon did not say what is asked"};
  const auto is_there = [&](int rank) { return rank >= 0 && static_cast<std::size_t>(rank) < lines_.size(); };
  if (ranks.empty() || !std::all_of(ranks.begin(), ranks.end(), is_there))
    return Error{"the cell needs " + counted(static_cast<int>(ranks.size()), "rank") + ", and the job has " +
                 counted(static_cast<int>(lines_.size()), "rank")};
  Order order{ranks, false, folder.string(), job.parent_path().string(), leased};
  order.leased.time_limit = std::max(leased.time_limit, 1.0);
  for (const int rank : ranks) {
    Held& held = held_[static_cast<std::size_t>(rank)];
    const bool has_it = held.whole && held.orders.empty() && held.opens == opens(*leased.ask) && held.ranks == ranks &&
                        held.smaller == leased.smaller_batch;
    order.anew = order.anew || !has_it;
  }
  for (const int rank : ranks) {
    Held& held = held_[static_cast<std::size_t>(rank)];
    held.loads = leased.ask->loads;
    held.opens = opens(*leased.ask);
    held.smaller = leased.smaller_batch;
    held.ranks = ranks;
    held.whole = false;
    held.orders.insert(leased.ticket);
  }
  running_[leased.ticket].ranks = ranks;
  tell(ranks, order);
  return std::unique_ptr<worker::Work>(std::make_unique<ChunkWork>(*this, leased));
}

void Team::look() {
  for (std::size_t rank = 0; rank < lines_.size(); ++rank)
    while (const auto text = lines_[rank].take())
      if (const auto report = read_report(*text)) hear(static_cast<int>(rank), *report);
}

void Team::hear(int rank, const Report& report) {
  if (const auto* free = std::get_if<Free>(&report)) {
    Held& held = held_[static_cast<std::size_t>(rank)];
    held.orders.erase(free->ticket);
    held.whole = free->whole && held.orders.empty();
    return;
  }
  const auto running = [&](std::uint64_t ticket) {
    const auto at = running_.find(ticket);
    return at == running_.end() ? nullptr : &at->second;
  };
  if (const auto* loaded = std::get_if<Loaded>(&report)) {
    if (Running* it = running(loaded->ticket)) it->loaded = true;
  } else if (const auto* progress = std::get_if<Progress>(&report)) {
    if (Running* it = running(progress->ticket)) {
      it->done = progress->done;
      it->all = progress->all;
      it->live = progress->live;
    }
  } else if (const auto* over = std::get_if<Over>(&report)) {
    if (Running* it = running(over->ticket)) it->outcome = over->outcome;
  }
}

std::optional<std::string> Team::lost() const {
  for (const comm::Lifeline& line : lines_)
    if (line.gone()) return line.who();
  return std::nullopt;
}

std::vector<std::string> Team::loaded() const {
  std::set<std::string> names;
  for (const Held& held : held_)
    if (!held.loads.empty()) names.insert(held.loads);
  return {names.begin(), names.end()};
}

std::vector<int> Team::ranks_with(const std::string& loads) const {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < held_.size(); ++rank)
    if (held_[rank].whole && held_[rank].loads == loads) ranks.push_back(static_cast<int>(rank));
  return ranks;
}

bool Team::idle() const {
  return std::all_of(held_.begin(), held_.end(), [](const Held& held) { return held.orders.empty(); });
}

}  // namespace orch::native
