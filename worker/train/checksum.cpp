#include "train/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace orch::train {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read with the least byte first");

constexpr std::uint64_t kP1 = 0x9e3779b185ebca87U, kP2 = 0xc2b2ae3d27d4eb4fU, kP3 = 0x165667b19e3779f9U,
                        kP4 = 0x85ebca77c2b2ae63U, kP5 = 0x27d4eb2f165667c5U;

template <class Word>
std::uint64_t word(const std::byte* at) {
  Word value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::uint64_t round(std::uint64_t sum, std::uint64_t input) { return std::rotl(sum + input * kP2, 31) * kP1; }

}  // namespace

std::array<std::uint64_t, 4> Checksum::start() { return {kP1 + kP2, kP2, 0, 0 - kP1}; }

void Checksum::add_stripe(const std::byte* stripe) {
  for (std::size_t lane = 0; lane < sums_.size(); ++lane)
    sums_[lane] = round(sums_[lane], word<std::uint64_t>(stripe + 8 * lane));
}

void Checksum::add(std::span<const std::byte> bytes) {
  total_ += bytes.size();
  if (held_ > 0) {
    const std::size_t taken = std::min(kStripe - held_, bytes.size());
    std::copy_n(bytes.begin(), taken, rest_.begin() + static_cast<std::ptrdiff_t>(held_));
    held_ += taken;
    bytes = bytes.subspan(taken);
    if (held_ < kStripe) return;
    add_stripe(rest_.data());
    held_ = 0;
  }
  for (; bytes.size() >= kStripe; bytes = bytes.subspan(kStripe)) add_stripe(bytes.data());
  std::copy(bytes.begin(), bytes.end(), rest_.begin());
  held_ = bytes.size();
}

std::uint64_t Checksum::value() const {
  std::uint64_t sum = kP5;
  if (total_ >= kStripe) {
    sum = std::rotl(sums_[0], 1) + std::rotl(sums_[1], 7) + std::rotl(sums_[2], 12) + std::rotl(sums_[3], 18);
    for (const std::uint64_t lane : sums_) sum = (sum ^ round(0, lane)) * kP1 + kP4;
  }
  sum += total_;
  const std::byte *at = rest_.data(), *end = at + held_;
  for (; end - at >= 8; at += 8) sum = std::rotl(sum ^ round(0, word<std::uint64_t>(at)), 27) * kP1 + kP4;
  for (; end - at >= 4; at += 4) sum = std::rotl(sum ^ word<std::uint32_t>(at) * kP1, 23) * kP2 + kP3;
  for (; at < end; ++at) sum = std::rotl(sum ^ word<std::uint8_t>(at) * kP5, 11) * kP1;
  sum = (sum ^ (sum >> 33)) * kP2;
  sum = (sum ^ (sum >> 29)) * kP3;
  return sum ^ (sum >> 32);
}

}  // namespace orch::train
