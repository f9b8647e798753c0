// A file descriptor that closes itself, and writing all of a text to one.
//
// Holds: each number is owned once; what was moved from owns none.
#pragma once

#include <string_view>
#include <utility>

namespace orch {

class Descriptor {
 public:
  Descriptor() = default;
  /// As open() and its like gave it: a negative one is none.
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      number_ = other.release();
    }
    return *this;
  }
  ~Descriptor() { close(); }

  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  /// Now, rather than at its end. errno stays as it is.
  void close();
  /// The caller closes it.
  int release() { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

/// Whether all of it was written; if not, errno says why.
bool write_all(int descriptor, std::string_view text);

}  // namespace orch
