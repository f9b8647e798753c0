#include "train/generation.h"

#include <algorithm>
#include <cstring>

namespace orch::train {
namespace {

/// Before a completion's tokens and log-probabilities.
struct Head {
  std::int64_t number = 0, tokens = 0, is_ended = 0;
  double reward = 0, advantage = 0;
};

void append(std::string& to, const void* from, std::size_t bytes) { to.append(static_cast<const char*>(from), bytes); }

}  // namespace

std::string pack_generation(std::span<const Generated> generated) {
  std::string bytes;
  for (const Generated& it : generated) {
    const Head head{it.number, static_cast<std::int64_t>(it.tokens.size()), it.is_ended ? 1 : 0, it.reward,
                    it.advantage};
    append(bytes, &head, sizeof head);
    append(bytes, it.tokens.data(), it.tokens.size() * sizeof(std::int32_t));
    append(bytes, it.old.data(), it.old.size() * sizeof(float));
  }
  return bytes;
}

Result<std::vector<Generated>> unpack_generation(std::string_view bytes) {
  constexpr std::size_t kToken = sizeof(std::int32_t) + sizeof(float);
  const Error broken{"what was written for the steps to come is broken"};
  std::vector<Generated> all;
  while (!bytes.empty()) {
    Head head;
    if (bytes.size() < sizeof head) return broken;
    std::memcpy(&head, bytes.data(), sizeof head);
    bytes.remove_prefix(sizeof head);
    if (head.number < 0 || head.tokens < 0 || (head.is_ended != 0 && head.is_ended != 1) ||
        static_cast<std::uint64_t>(head.tokens) > bytes.size() / kToken)
      return broken;
    const auto count = static_cast<std::size_t>(head.tokens);
    Generated& it = all.emplace_back();
    it.number = head.number;
    it.is_ended = head.is_ended != 0;
    it.reward = head.reward;
    it.advantage = head.advantage;
    it.tokens.resize(count);
    it.old.resize(count);
    if (count == 0) continue;
    std::memcpy(it.tokens.data(), bytes.data(), count * sizeof(std::int32_t));
    std::memcpy(it.old.data(), bytes.data() + count * sizeof(std::int32_t), count * sizeof(float));
    bytes.remove_prefix(count * kToken);
  }
  std::ranges::sort(all, {}, &Generated::number);
  if (std::ranges::adjacent_find(all, {}, &Generated::number) != all.end()) return broken;
  return all;
}

}  // namespace orch::train
