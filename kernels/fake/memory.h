// Memory that the host cannot touch: a device's, as far as a process can have one.
//
// Holds:
//  - What is not open faults when it is read or written, and standard error says what was touched.
//  - No address is given twice, so what was given back faults for ever.
//  - Fresh memory is poison: NaN in every format of numbers, an impossible index as an integer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace orch::kernels::fake {

void poison(std::span<std::byte> bytes);
bool is_poison(std::span<const std::byte> bytes);

class Memory {
 public:
  struct Piece {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::size_t whole = 0;  ///< pages of it; behind `bytes` they hold poison
    std::string what;
  };
  enum class Access : std::uint8_t { kNone, kRead, kWrite };

  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Null where no address is left.
  const Piece* take(std::size_t bytes, std::string what);
  void give_back(const Piece& piece);
  /// The piece in which all of these bytes lie; null: there is none.
  const Piece* find(const void* from, std::size_t bytes) const;
  void open(const Piece& piece, Access access) const;

  /// Who touched `address`, in words for the person who reads the message: false if it is none of this memory.
  bool describe(const void* address, std::span<char> text) const;
  /// The op that runs, for such messages; empty: none does.
  std::string_view user;

 private:
  std::byte* begin_ = nullptr;
  std::size_t used_ = 0;
  std::map<const std::byte*, Piece> pieces_;
};

}  // namespace orch::kernels::fake
