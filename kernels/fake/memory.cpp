#include "kernels/fake/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>

namespace orch::kernels::fake {
namespace {

constexpr std::size_t kAddresses = std::size_t{64} << 30;
constexpr std::size_t kPage = 4096;
/// fp32 0x7fffffff, bf16 and fp16 0x7fff and 0xffff, fp8 0x7f and 0xff: all of them NaN. As an index it is behind
/// everything.
constexpr std::uint32_t kPoison = 0x7fffffff;

/// All that live: a signal's handler has nothing but an address to go by.
std::array<std::atomic<const Memory*>, 256> g_all{};
struct sigaction g_before {};

void on_fault(int, siginfo_t* info, void*) {
  for (const auto& each : g_all) {
    const Memory* const memory = each.load();
    std::array<char, 512> text{};
    if (!memory || !memory->describe(info->si_addr, text)) continue;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), std::strlen(text.data()));
    break;
  }
  // The access is tried again and ends the process, or whoever watched for faults before this says more about it.
  ::sigaction(SIGSEGV, &g_before, nullptr);
}

void watch_faults() {
  [[maybe_unused]] static const bool kWatched = [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    return ::sigaction(SIGSEGV, &action, &g_before) == 0;
  }();
}

}  // namespace

void poison(std::span<std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof kPoison)
    std::memcpy(bytes.data() + i, &kPoison, std::min(sizeof kPoison, bytes.size() - i));
}

bool is_poison(std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof kPoison)
    if (std::memcmp(bytes.data() + i, &kPoison, std::min(sizeof kPoison, bytes.size() - i)) != 0) return false;
  return true;
}

Memory::Memory() {
  void* const at = ::mmap(nullptr, kAddresses, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  begin_ = static_cast<std::byte*>(at);
  watch_faults();
  for (auto& each : g_all) {
    const Memory* free = nullptr;
    if (each.compare_exchange_strong(free, this)) break;
  }
}

Memory::~Memory() {
  for (auto& each : g_all) {
    const Memory* own = this;
    if (each.compare_exchange_strong(own, nullptr)) break;
  }
  ::munmap(begin_, kAddresses);
}

const Memory::Piece* Memory::take(std::size_t bytes, std::string what) {
  const std::size_t whole = (bytes + kPage - 1) / kPage * kPage;
  // A page that is never open stands behind every piece.
  if (whole < bytes || whole + kPage > kAddresses - used_) return nullptr;
  Piece piece{begin_ + used_, bytes, whole, std::move(what)};
  used_ += whole + kPage;
  if (::mprotect(piece.data, whole, PROT_READ | PROT_WRITE) != 0) return nullptr;
  poison({piece.data, bytes});
  poison({piece.data + bytes, whole - bytes});
  open(piece, Access::kNone);
  return &pieces_.emplace(piece.data, std::move(piece)).first->second;
}

void Memory::give_back(const Piece& piece) {
  // Its addresses stay taken, its pages go. It is closed already, should they not.
  static_cast<void>(
      ::mmap(piece.data, piece.whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
  pieces_.erase(piece.data);
}

const Memory::Piece* Memory::find(const void* from, std::size_t bytes) const {
  const auto* const data = static_cast<const std::byte*>(from);
  auto after = pieces_.upper_bound(data);
  if (after == pieces_.begin()) return nullptr;
  const Piece& piece = std::prev(after)->second;
  const auto offset = static_cast<std::size_t>(data - piece.data);
  return offset <= piece.bytes && bytes <= piece.bytes - offset ? &piece : nullptr;
}

void Memory::open(const Piece& piece, Access access) const {
  const int how = access == Access::kWrite ? PROT_READ | PROT_WRITE : access == Access::kRead ? PROT_READ : PROT_NONE;
  if (::mprotect(piece.data, piece.whole, how) != 0) throw std::bad_alloc();
}

bool Memory::describe(const void* address, std::span<char> text) const {
  const auto* const data = static_cast<const std::byte*>(address);
  if (data < begin_ || data >= begin_ + kAddresses) return false;
  auto after = pieces_.upper_bound(data);
  const Piece* const piece = after == pieces_.begin() ? nullptr : &std::prev(after)->second;
  const std::size_t offset = piece ? static_cast<std::size_t>(data - piece->data) : 0;
  const std::string who = user.empty() ? "the host" : std::string(user);
  if (!piece || offset >= piece->whole + kPage)
    std::snprintf(text.data(), text.size(), "fake device: %s touched memory that was given back\n", who.c_str());
  else
    std::snprintf(text.data(), text.size(), "fake device: %s touched byte %zu of the %zu of %s%s\n", who.c_str(),
                  offset, piece->bytes, piece->what.c_str(),
                  user.empty() ? "" : ", which it was not given, or was to read only");
  return true;
}

}  // namespace orch::kernels::fake
