#include "frame/frame.h"

#include <sys/socket.h>

#include <cerrno>

namespace orch::frame {

Writer& Writer::add(std::string_view text) {
  add(static_cast<std::uint64_t>(text.size()));
  bytes_ += text;
  return *this;
}

Writer& Writer::add(const std::vector<std::string>& list) {
  add(static_cast<std::uint64_t>(list.size()));
  for (const std::string& one : list) add(one);
  return *this;
}

std::string Writer::frame() const { return Writer().add(static_cast<std::uint64_t>(bytes_.size())).bytes_ + bytes_; }

void Reader::get(std::string& text) {
  std::uint64_t length = 0;
  get(length);
  text = take(length);
}

void Reader::get(std::vector<std::string>& list) {
  std::uint64_t length = 0;
  get(length);
  for (; length > 0 && ok_; --length) get(list.emplace_back());
}

std::string_view Reader::take(std::uint64_t length) {
  if (length > bytes_.size()) ok_ = false;
  if (!ok_) return {};
  const std::string_view taken = bytes_.substr(0, length);
  bytes_.remove_prefix(length);
  return taken;
}

bool send(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace orch::frame
