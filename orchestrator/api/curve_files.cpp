#include "api/curve_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>

#include "base/descriptor.h"

namespace orch::api {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "curve.jsonl";

/// The ticket of an attempt at the cell, whose folder's name begins so.
std::optional<std::uint64_t> ticket_of(const std::string& name, const std::string& prefix) {
  std::uint64_t ticket = 0;
  if (!name.starts_with(prefix)) return std::nullopt;
  const char* const last = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data() + prefix.size(), last, ticket);
  return error == std::errc() && end == last ? std::optional(ticket) : std::nullopt;
}

bool is_file(const fs::path& path) {
  std::error_code absent;
  return fs::is_regular_file(fs::symlink_status(path, absent));
}

}  // namespace

std::string attempt_name(control::CellId cell, control::Ticket ticket) {
  return std::to_string(index(cell)) + "-" + std::to_string(index(ticket));
}

std::optional<fs::path> curve_of(const fs::path& job, control::CellId cell, control::Ticket ticket) {
  fs::path file = job / "cells" / attempt_name(cell, ticket) / kFile;
  return is_file(file) ? std::optional(std::move(file)) : std::nullopt;
}

std::optional<fs::path> newest_curve(const std::vector<fs::path>& jobs, control::CellId cell) {
  const std::string prefix = std::to_string(index(cell)) + "-";
  std::optional<fs::path> newest;
  std::uint64_t best = 0;
  for (const fs::path& job : jobs) {
    std::error_code error;
    for (fs::directory_iterator at(job / "cells", error), end; !error && at != end; at.increment(error)) {
      const auto ticket = ticket_of(at->path().filename().string(), prefix);
      if (!ticket || *ticket < best || !is_file(at->path() / kFile)) continue;
      best = *ticket;
      newest = at->path() / kFile;
    }
  }
  return newest;
}

CurveRead read_curve_file(const fs::path& file, std::size_t most) {
  CurveRead read;
  // A pipe would be waited for, and a link may lead anywhere.
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!in.is_open() || ::fstat(in.get(), &status) != 0 || !S_ISREG(status.st_mode)) return read;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  read.whole = size <= report::kMostCurve;
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(size, report::kMostCurve)), '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t more = ::read(in.get(), text.data() + got, text.size() - got);
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) break;
    got += static_cast<std::size_t>(more);
  }
  text.resize(got);
  read.curve = report::read_curve(text, most);
  return read;
}

}  // namespace orch::api
