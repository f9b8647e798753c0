#include "link/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/whole_file.h"

#include "link/directory.h"

namespace orch::worker {
namespace {

// A record is a line: the length of its JSON, a check sum of it, the JSON.
//   00000123 9ae0daaf {"epoch":…}\n
constexpr std::size_t kHead = 18;
constexpr std::size_t kMostSpool = std::size_t{1} << 30;  // bytes that are read back

std::uint32_t checksum(std::string_view text) {  // FNV-1a: it finds a torn write, and is no protection from malice
  std::uint32_t sum = 2166136261u;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 16777619u;
  return sum;
}

std::string record_of(const wire::Delivered& item) {
  wire::Deliver one;
  one.items.push_back(item);
  const std::string json = wire::write(one);
  std::array<char, kHead + 1> head{};
  std::snprintf(head.data(), head.size(), "%08zx %08x ", json.size(), checksum(json));
  return head.data() + json + "\n";
}

/// The items of the sound records at the beginning, and how many bytes those are.
std::pair<std::deque<wire::Delivered>, std::size_t> sound_items(std::string_view text) {
  std::deque<wire::Delivered> items;
  std::size_t at = 0;
  while (text.size() - at > kHead) {
    const std::string head(text.substr(at, kHead));
    std::size_t length = 0;
    std::uint32_t sum = 0;
    if (std::sscanf(head.c_str(), "%8zx %8x ", &length, &sum) != 2) break;
    if (text.size() - at - kHead < length + 1 || text[at + kHead + length] != '\n') break;
    const std::string_view json = text.substr(at + kHead, length);
    if (checksum(json) != sum) break;
    auto deliver = wire::read<wire::Deliver>(json);
    if (!deliver || deliver->items.size() != 1) break;
    items.push_back(std::move(deliver->items.front()));
    at += kHead + length + 1;
  }
  return {std::move(items), at};
}

Result<std::string> read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error{"cannot read " + file.string() + ": " + std::strerror(errno)};
  std::error_code error;
  if (std::filesystem::file_size(file, error) > kMostSpool) return Error{file.string() + " is larger than 1 GiB"};
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

}  // namespace

Result<Spool> Spool::open(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (descriptor < 0) return Error{"cannot open " + file.string() + ": " + std::strerror(errno)};
  Spool spool(file, descriptor);
  const auto text = read_text(file);
  if (!text) return text.error();
  auto [items, sound] = sound_items(*text);
  spool.items_ = std::move(items);
  if (sound < text->size() && ::ftruncate(descriptor, static_cast<off_t>(sound)) != 0)
    return Error{"cannot cut the torn end of " + file.string() + ": " + std::strerror(errno)};
  return spool;
}

Spool::Spool(Spool&& other) noexcept
    : file_(std::move(other.file_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      items_(std::move(other.items_)) {}

Spool& Spool::operator=(Spool&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(items_, other.items_);
  return *this;
}

Spool::~Spool() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::monostate> Spool::append(const wire::Delivered& item) {
  const std::string record = record_of(item);
  std::string_view left = record;
  while (!left.empty()) {
    const ssize_t written = ::write(descriptor_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Error{"cannot write " + file_.string() + ": " + std::strerror(errno)};
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fdatasync(descriptor_) != 0) return Error{"cannot write " + file_.string() + ": " + std::strerror(errno)};
  items_.push_back(item);
  return std::monostate{};
}

Result<std::monostate> Spool::drop(std::size_t count) {
  std::deque<wire::Delivered> rest(items_.begin() + static_cast<std::ptrdiff_t>(std::min(count, items_.size())),
                                   items_.end());
  if (rest.empty()) {
    if (::ftruncate(descriptor_, 0) != 0) return Error{"cannot empty " + file_.string() + ": " + std::strerror(errno)};
    items_.clear();
    return std::monostate{};
  }
  std::string text;
  for (const wire::Delivered& item : rest) text += record_of(item);
  if (auto written = write_whole(file_, text); !written) return written;
  auto again = open(file_);
  if (!again) return again.error();
  *this = *std::move(again);
  return std::monostate{};
}

Result<std::vector<wire::Delivered>> read_spool(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return std::vector<wire::Delivered>();
  const auto text = read_text(file);
  if (!text) return text.error();
  auto [items, sound] = sound_items(*text);
  return std::vector<wire::Delivered>(std::make_move_iterator(items.begin()), std::make_move_iterator(items.end()));
}

}  // namespace orch::worker
