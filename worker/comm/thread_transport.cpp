#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>

#include "comm/transport.h"

namespace orch::comm {
namespace {

/// What the ranks of one group share: each puts down where its bytes are, all wait for all, each takes what it needs,
/// and nobody goes on before all have.
class Meeting {
 public:
  Meeting(int ranks, std::chrono::milliseconds patience)
      : ranks_(ranks),
        patience_(patience),
        given_(static_cast<std::size_t>(ranks)),
        gone_(static_cast<std::size_t>(ranks)) {}

  int ranks() const { return ranks_; }
  std::chrono::milliseconds patience() const { return patience_; }

  template <class Take>
  Result<bool> together(int rank, const void* given, const Take& take) {
    given_[static_cast<std::size_t>(rank)] = given;
    if (auto met = meet(); !met) return met;
    take([&](int other) { return given_[static_cast<std::size_t>(other)]; });
    return meet();
  }

  Result<bool> send(std::span<const std::byte> bytes, int from, int to) {
    std::unique_lock lock(mutex_);
    letters_[{from, to}].emplace_back(bytes.begin(), bytes.end());
    changed_.notify_all();
    return problem_ ? Result<bool>(*problem_) : Result<bool>(true);
  }
  Result<bool> receive(std::span<std::byte> bytes, int from, int to, Wait wait) {
    std::unique_lock lock(mutex_);
    auto& box = letters_[{from, to}];
    const auto has_come = [&] { return problem_ || !box.empty() || gone_[static_cast<std::size_t>(from)]; };
    if (wait == Wait::kForever)
      changed_.wait(lock, has_come);
    else if (!changed_.wait_for(lock, patience_, has_come))
      fail("rank " + std::to_string(from) + " was silent for too long");
    if (box.empty()) {
      if (!problem_) fail("rank " + std::to_string(from) + " is gone");
      return *problem_;
    }
    const std::vector<std::byte> letter = std::move(box.front());
    box.erase(box.begin());
    if (letter.size() != bytes.size()) {
      fail("rank " + std::to_string(from) + " sent " + std::to_string(letter.size()) + " bytes where " +
           std::to_string(bytes.size()) + " were expected");
      return *problem_;
    }
    std::memcpy(bytes.data(), letter.data(), bytes.size());
    return true;
  }

  void leave(int rank) {
    const std::lock_guard lock(mutex_);
    gone_[static_cast<std::size_t>(rank)] = true;
    if (waiting_ > 0) fail("rank " + std::to_string(rank) + " is gone");
    changed_.notify_all();
  }

  /// The group of a color: the last of the old group to ask makes what all share.
  std::shared_ptr<Meeting> group(int round, int color, int members) {
    const std::lock_guard lock(mutex_);
    auto& group = groups_[{round, color}];
    if (!group) group = std::make_shared<Meeting>(members, patience_);
    return group;
  }

 private:
  void fail(const std::string& why) {
    if (!problem_) problem_ = Error{why};
    changed_.notify_all();
  }

  Result<bool> meet() {
    std::unique_lock lock(mutex_);
    if (const auto gone = std::find(gone_.begin(), gone_.end(), true); gone != gone_.end())
      fail("rank " + std::to_string(gone - gone_.begin()) + " is gone");
    if (problem_) return *problem_;
    const std::uint64_t round = round_;
    if (++waiting_ == ranks_) {
      waiting_ = 0;
      ++round_;
      changed_.notify_all();
      return true;
    }
    const bool came = changed_.wait_for(lock, patience_, [&] { return problem_ || round_ != round; });
    if (!came) fail("a rank was silent for too long");
    if (round_ != round) return true;
    --waiting_;
    return *problem_;
  }

  const int ranks_;
  const std::chrono::milliseconds patience_;
  std::vector<const void*> given_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  std::uint64_t round_ = 0;
  std::vector<bool> gone_;
  std::optional<Error> problem_;
  std::map<std::pair<int, int>, std::vector<std::vector<std::byte>>> letters_;
  std::map<std::pair<int, int>, std::shared_ptr<Meeting>> groups_;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Meeting> meeting, int rank) : meeting_(std::move(meeting)), rank_(rank) {}
  ~ThreadTransport() override { meeting_->leave(rank_); }

  int rank() const override { return rank_; }
  int ranks() const override { return meeting_->ranks(); }

  Result<bool> exchange(std::span<const std::byte> to, std::span<std::byte> from) override {
    const std::size_t part = to.size() / static_cast<std::size_t>(ranks());
    return meeting_->together(rank_, to.data(), [&](const auto& given) {
      for (int other = 0; other < ranks(); ++other)
        if (part > 0)
          std::memcpy(from.data() + static_cast<std::size_t>(other) * part,
                      static_cast<const std::byte*>(given(other)) + static_cast<std::size_t>(rank_) * part, part);
    });
  }
  Result<bool> gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    return meeting_->together(rank_, own.data(), [&](const auto& given) {
      for (int other = 0; other < ranks(); ++other)
        if (!own.empty())
          std::memcpy(all.data() + static_cast<std::size_t>(other) * own.size(), given(other), own.size());
    });
  }
  Result<bool> send(std::span<const std::byte> bytes, int to) override { return meeting_->send(bytes, rank_, to); }
  Result<bool> receive(std::span<std::byte> bytes, int from, Wait wait) override {
    return meeting_->receive(bytes, from, rank_, wait);
  }

  Result<std::unique_ptr<Transport>> split(int color) override {
    std::vector<int> colors(static_cast<std::size_t>(ranks()));
    if (auto told = gather(std::as_bytes(std::span(&color, 1)), std::as_writable_bytes(std::span(colors))); !told)
      return told.error();
    const auto own = colors.begin() + rank_;
    const auto before = static_cast<int>(std::count(colors.begin(), own, color));
    const auto members = static_cast<int>(std::count(colors.begin(), colors.end(), color));
    return std::unique_ptr<Transport>(
        std::make_unique<ThreadTransport>(meeting_->group(splits_++, color, members), before));
  }

 private:
  std::shared_ptr<Meeting> meeting_;
  const int rank_;
  int splits_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> make_thread_transports(int ranks, std::chrono::milliseconds patience) {
  auto meeting = std::make_shared<Meeting>(ranks, patience);
  std::vector<std::unique_ptr<Transport>> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(std::make_unique<ThreadTransport>(meeting, rank));
  return all;
}

}  // namespace orch::comm
