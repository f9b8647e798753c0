#include "train/checkpoints.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <span>
#include <string_view>
#include <system_error>

#include "base/text.h"
#include "base/whole_file.h"

namespace orch::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::size_t kDigits = 13;
constexpr const char* kLock = "checkpoints.lock";

enum class Stage { kPlace, kNew, kOld, kGone };
constexpr std::array<std::string_view, 4> kSuffixes = {"", ".new", ".old", ".gone"};

std::string name_of(std::int64_t step, Stage stage) {
  const std::string digits = std::to_string(step);
  return std::string(kPrefix) + std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits +
         std::string(kSuffixes[static_cast<std::size_t>(stage)]);
}

struct Entry {
  std::int64_t step = 0;
  Stage stage = Stage::kPlace;
};

std::optional<Entry> entry_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + kDigits) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size(), kDigits);
  Entry entry;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), entry.step);
  if (error != std::errc() || entry.step < 0 || entry.step > kMostSteps) return std::nullopt;
  for (const Stage stage : {Stage::kPlace, Stage::kNew, Stage::kOld, Stage::kGone}) {
    entry.stage = stage;
    if (name == name_of(entry.step, stage)) return entry;
  }
  return std::nullopt;
}

/// The newest first; of a step that which has its place first. None where there is no folder.
Result<std::vector<Entry>> entries_of(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (const auto entry = entry_of(at->path().filename().string())) entries.push_back(*entry);
  if (error && error != std::errc::no_such_file_or_directory)
    return Error{"the checkpoints in " + folder.string() + " cannot be listed: " + error.message()};
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.step != b.step ? a.step > b.step : a.stage < b.stage; });
  return entries;
}

bool is_there(const fs::path& path) {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0;
}

Result<std::monostate> move(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return system_error("cannot rename " + from.string() + " to " + to.filename().string());
  return std::monostate{};
}

/// All that lies there. Links are removed, not followed.
Result<std::monostate> drop(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return Error{"cannot remove " + path.string() + ": " + error.message()};
  return std::monostate{};
}

/// Renamed all before one of them is removed, so that no half of one ever looks whole.
Result<std::monostate> remove_steps(const fs::path& folder, std::span<const std::int64_t> steps) {
  std::optional<Error> first;
  const auto note = [&](const Result<std::monostate>& done) {
    if (!done && !first) first = done.error();
    return done.ok();
  };
  std::vector<fs::path> gone;
  for (const std::int64_t step : steps) {
    const fs::path aside = folder / name_of(step, Stage::kGone);
    if (note(drop(aside)) && note(move(folder / name_of(step, Stage::kPlace), aside))) gone.push_back(aside);
  }
  if (!gone.empty()) sync_folder(folder);
  for (const fs::path& each : gone) note(drop(each));
  if (first) return *first;
  return std::monostate{};
}

/// What a crash left.
Result<std::monostate> clear_up(const fs::path& folder) {
  const auto entries = entries_of(folder);
  if (!entries) return entries.error();
  for (const auto& [step, stage] : *entries) {
    const fs::path path = folder / name_of(step, stage), place = folder / name_of(step, Stage::kPlace);
    if (stage == Stage::kPlace) continue;
    if (stage == Stage::kOld && !is_there(place)) {
      if (auto back = move(path, place); !back) return back;
    } else if (auto removed = drop(path); !removed) {
      return removed;
    }
  }
  sync_folder(folder);
  return std::monostate{};
}

std::string read_holder(const Descriptor& lock) {
  std::array<char, 256> text{};
  const ssize_t size = ::pread(lock.get(), text.data(), text.size(), 0);
  const std::string_view holder = size > 0 ? trim({text.data(), static_cast<std::size_t>(size)}) : "";
  return holder.empty() ? "another process" : shown(holder);
}

Result<Descriptor> hold(const fs::path& folder) {
  const fs::path path = folder / kLock;
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!lock.is_open()) return system_error("cannot write " + path.string());
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return system_error("cannot lock " + path.string());
    return Error{"the checkpoints in " + folder.string() + " are being written by " + read_holder(lock) +
                 "; two runs cannot share them: end that one first, or give this one another folder"};
  }
  // For people: it says nothing when the disk is full, and the lock holds all the same.
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  const std::string text = "process " + std::to_string(::getpid()) + " on host " + host.data() + "\n";
  if (::ftruncate(lock.get(), 0) != 0 || !write_all(lock.get(), text)) return lock;
  return lock;
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return name_of(step, Stage::kPlace); }

Result<NewestWhole> newest_whole(const fs::path& folder) {
  NewestWhole newest;
  const auto entries = entries_of(folder);
  if (!entries) return entries.error();
  for (const auto& [step, stage] : *entries) {
    if (stage != Stage::kPlace && stage != Stage::kOld) continue;
    const fs::path path = folder / name_of(step, stage);
    auto read = read_checkpoint(path);
    if (!read && read.error().is_newer)
      return Error{"the run cannot go on from " + path.string() + ": " + read.error().what};
    if (read && read->state.step == step) {
      newest.checkpoint = *std::move(read);
      return newest;
    }
    newest.passed_over.push_back(
        path.string() + " is passed over: " +
        (read ? "state.json says that it is of step " + std::to_string(read->state.step) : read.error().what));
  }
  return newest;
}

Result<std::unique_ptr<CheckpointWriter>> CheckpointWriter::open(const fs::path& folder, const KeepRules& keep) {
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    return system_error("cannot make the folder " + folder.string());
  auto lock = hold(folder);
  if (!lock) return lock.error();
  if (auto cleared = clear_up(folder); !cleared) return cleared.error();
  // The folder's own name has to outlive a crash, too.
  sync_folder(folder / "..");
  try {
    return std::unique_ptr<CheckpointWriter>(new CheckpointWriter(folder, keep, *std::move(lock)));
  } catch (const std::system_error& error) {
    return Error{"no thread can be started that writes checkpoints: " + error.code().message()};
  }
}

CheckpointWriter::CheckpointWriter(fs::path folder, const KeepRules& keep, Descriptor lock)
    : folder_(std::move(folder)), keep_(keep), lock_(std::move(lock)), thread_([this] { work(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard guard(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::monostate> CheckpointWriter::write(Checkpoint checkpoint) {
  auto before = wait();
  {
    const std::lock_guard guard(mutex_);
    next_ = std::move(checkpoint);
    is_busy_ = true;
  }
  changed_.notify_all();
  return before;
}

Result<std::monostate> CheckpointWriter::wait() {
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [this] { return !is_busy_; });
  if (!trouble_) return std::monostate{};
  Error error = *std::move(trouble_);
  trouble_.reset();
  return error;
}

std::optional<std::int64_t> CheckpointWriter::confirmed() const {
  const std::lock_guard guard(mutex_);
  return confirmed_;
}

Result<std::monostate> CheckpointWriter::forget_after(std::int64_t step) {
  auto before = wait();
  const auto entries = entries_of(folder_);
  if (!entries) return entries.error();
  std::vector<std::int64_t> later;
  for (const Entry& entry : *entries)
    if (entry.stage == Stage::kPlace && entry.step > step) later.push_back(entry.step);
  if (auto removed = remove_steps(folder_, later); !removed) return removed;
  return before;
}

void CheckpointWriter::work() {
  std::unique_lock guard(mutex_);
  for (;;) {
    changed_.wait(guard, [this] { return next_ || is_ending_; });
    if (!next_) return;
    std::optional<Checkpoint> checkpoint = std::exchange(next_, std::nullopt);
    guard.unlock();
    const std::int64_t step = checkpoint->step;
    std::optional<Error> trouble;
    bool is_safe = false;
    try {
      const auto written = put(*checkpoint);
      checkpoint.reset();  // its memory is free before others wait for the removals
      is_safe = written.ok();
      if (!written) trouble = written.error();
      if (const auto cleaned = is_safe ? clean(step) : written; is_safe && !cleaned)
        trouble = Error{"the checkpoint of step " + std::to_string(step) +
                        " is written, but older ones are left over: " + cleaned.error().what};
    } catch (const std::exception& exception) {
      trouble = Error{"the checkpoint of step " + std::to_string(step) + " cannot be written: " + exception.what()};
    }
    guard.lock();
    trouble_ = std::move(trouble);
    if (is_safe) confirmed_ = step;
    is_busy_ = false;
    changed_.notify_all();
  }
}

Result<std::monostate> CheckpointWriter::put(const Checkpoint& checkpoint) const {
  if (checkpoint.step < 0 || checkpoint.step > kMostSteps)
    return Error{"no checkpoint can be of step " + std::to_string(checkpoint.step)};
  const fs::path place = folder_ / name_of(checkpoint.step, Stage::kPlace),
                 aside = folder_ / name_of(checkpoint.step, Stage::kNew),
                 old = folder_ / name_of(checkpoint.step, Stage::kOld);
  if (auto cleared = drop(aside); !cleared) return cleared;
  // Not the folder above it: when that is gone, somebody has removed the run.
  if (::mkdir(aside.c_str(), 0777) != 0) return system_error("cannot make the folder " + aside.string());
  auto written = write_checkpoint(aside, checkpoint);
  if (written && is_there(place)) {
    written = drop(old);
    if (written) written = move(place, old);
  }
  if (written) written = move(aside, place);
  if (!written) {
    // What is there of it takes room that the next one needs. Whether that succeeds is no news beside the failure.
    if (!is_there(place) && is_there(old)) (void)move(old, place);
    (void)drop(aside);
    return written;
  }
  sync_folder(folder_);
  return std::monostate{};
}

Result<std::monostate> CheckpointWriter::clean(std::int64_t written) const {
  if (auto dropped = drop(folder_ / name_of(written, Stage::kOld)); !dropped) return dropped;
  const auto entries = entries_of(folder_);
  if (!entries) return entries.error();
  std::vector<Kept> there;
  for (const auto& [step, stage] : *entries) {
    if (stage != Stage::kPlace) continue;
    const auto state = look_at_checkpoint(folder_ / name_of(step, stage));
    if (!state && state.error().is_newer) continue;
    // One that is not whole is no result to choose, either.
    there.push_back({step, state ? state->loss : std::nullopt, state.ok()});
  }
  std::vector<std::int64_t> gone = to_remove(there, keep_);
  std::erase(gone, written);
  return remove_steps(folder_, gone);
}

}  // namespace orch::train
