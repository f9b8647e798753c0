#include "comm/transport.h"

#include <algorithm>
#include <cstdint>

namespace orch::comm {

Result<std::string> share_text(Transport& transport, const std::string& own, int from, Wait wait) {
  std::uint64_t size = own.size();
  const auto size_bytes = std::as_writable_bytes(std::span(&size, 1));
  if (transport.rank() != from) {
    if (auto got = transport.receive(size_bytes, from, wait); !got) return got.error();
    std::string text(size, '\0');
    if (auto got = transport.receive(std::as_writable_bytes(std::span(text)), from); !got) return got.error();
    return text;
  }
  for (int to = 0; to < transport.ranks(); ++to) {
    if (to == from) continue;
    if (auto sent = transport.send(size_bytes, to); !sent) return sent.error();
    if (auto sent = transport.send(std::as_bytes(std::span(own)), to); !sent) return sent.error();
  }
  return own;
}

Result<bool> agree(Transport& transport, const Result<bool>& own) {
  const std::byte mine{static_cast<unsigned char>(own.ok())};
  std::vector<std::byte> all(static_cast<std::size_t>(transport.ranks()));
  if (auto gathered = transport.gather(std::span(&mine, 1), all); !gathered) return gathered;
  const auto failed = std::find(all.begin(), all.end(), std::byte{0});
  if (failed == all.end()) return true;
  auto what = share_text(transport, own ? "" : own.error().what, static_cast<int>(failed - all.begin()));
  return Error{what ? *std::move(what) : what.error().what};
}

}  // namespace orch::comm
