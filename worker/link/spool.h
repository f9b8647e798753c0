// Results that the daemon has not acknowledged, on disk: nothing that was measured is lost while it is away.
//
// Holds:
//  - append() returns after the item is on disk.
//  - What was appended is read back by open(), in order; a torn end (the machine stopped in the middle) is cut off.
//  - drop(n) takes the first n away only after they were acknowledged.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"

namespace orch::worker {

class Spool {
 public:
  static Result<Spool> open(const std::filesystem::path& file);
  Spool(Spool&& other) noexcept;
  Spool& operator=(Spool&& other) noexcept;
  ~Spool();

  Result<std::monostate> append(const wire::Delivered& item);
  const std::deque<wire::Delivered>& items() const { return items_; }
  Result<std::monostate> drop(std::size_t count);

 private:
  Spool(std::filesystem::path file, int descriptor) : file_(std::move(file)), descriptor_(descriptor) {}

  std::filesystem::path file_;
  int descriptor_ = -1;
  std::deque<wire::Delivered> items_;
};

/// The items of a spool that somebody else writes, or wrote: for a later start of the job, and for the daemon once the
/// job is over.
Result<std::vector<wire::Delivered>> read_spool(const std::filesystem::path& file);

}  // namespace orch::worker
