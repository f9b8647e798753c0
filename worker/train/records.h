// A file of JSON Lines, or of one array, cut into its records: the text of each, and where it stands. A file that
// begins with [ is an array. Nothing is parsed here but what is needed to see where an element ends: strings and
// nesting.
//
// Holds:
//  - Memory is bounded by one record, whatever the file's size: it is read as it is asked for.
//  - Any bytes give records or errors with their places, and an end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include "base/diagnostics.h"

namespace orch::train {

struct Record {
  std::string text;  ///< without white space around it
  Place place;       ///< of its first byte
};

class Records {
 public:
  static constexpr std::size_t kMostBytes = std::size_t{16} << 20;  ///< of a record: many times the longest context

  /// `name` is what the file is called in places. File and diagnostics must outlive this.
  Records(std::istream& file, std::string name, Diagnostics& diagnostics)
      : file_(file), name_(std::move(name)), diagnostics_(diagnostics) {}

  /// The next record; nothing at the end. What is no record is reported, and the next one given.
  std::optional<Record> next();

 private:
  enum class Form { kUnknown, kLines, kArray, kOver };

  void begin();
  std::optional<Record> next_line();
  std::optional<Record> next_element();
  void end_of_array();

  /// The byte that comes next, or kEnd.
  int peek();
  void take();
  void pass_white_space();
  Place here() const;
  /// Bytes of a record; past kMostBytes they are kept no longer.
  void keep(std::string_view bytes);
  /// The record that was kept, if it was not too long.
  std::optional<Record> kept(const Place& place);

  static constexpr int kEnd = -1;

  std::istream& file_;
  std::string name_;
  Diagnostics& diagnostics_;
  Form form_ = Form::kUnknown;
  std::array<char, std::size_t{1} << 16> buffer_;
  std::size_t at_ = 0, size_ = 0;       ///< in the buffer
  std::int64_t line_ = 1, column_ = 1;  ///< of the next byte
  std::string text_;                    ///< of the record so far
  bool too_long_ = false;
  bool first_ = true;  ///< no element was read yet
};

}  // namespace orch::train
