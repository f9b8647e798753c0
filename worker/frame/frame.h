// Numbers and texts as bytes with their length in front: how processes of one build on one machine speak over a socket.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace orch::frame {

template <class T>
concept Number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

/// Bytes of the length in front of a frame, which does not count itself.
inline constexpr std::size_t kLength = sizeof(std::uint64_t);

class Writer {
 public:
  template <Number T>
  Writer& add(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    bytes_.append(bytes, sizeof value);
    return *this;
  }
  Writer& add(std::string_view text);
  Writer& add(const std::vector<std::string>& list);
  /// All of it, with its length in front.
  std::string frame() const;

 private:
  std::string bytes_;
};

/// Of a frame without its length. Gives nothing of the right kind when the bytes end early; ok() tells.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <Number T>
  void get(T& value) {
    const std::string_view taken = take(sizeof value);
    if (taken.size() == sizeof value) std::memcpy(&value, taken.data(), sizeof value);
  }
  void get(std::string& text);
  void get(std::vector<std::string>& list);
  /// Everything was there, and nothing else.
  bool ok() const { return ok_ && bytes_.empty(); }
  /// Everything was there so far.
  bool goes_on() const { return ok_; }

 private:
  std::string_view take(std::uint64_t length);

  std::string_view bytes_;
  bool ok_ = true;
};

/// Sends all of `bytes`; false: the other end is gone.
bool send(int socket, std::string_view bytes);

}  // namespace orch::frame
