// Cells that one stage asks for twice: one error for each cause, with how often it was met.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "matrix/axes.h"

namespace orch::matrix {

class Repeats {
 public:
  /// Whether the cause is met for the first time: then describe() is due.
  bool add(const std::string& cause) { return repeats_[cause].count++ == 0; }
  void describe(const std::string& cause, Place place, std::string words);
  bool has(const std::string& cause) const { return repeats_.contains(cause); }

  void report(Diagnostics& diagnostics) const;

 private:
  struct Repeat {
    Place place;
    std::string words;
    std::int64_t count = 0;
  };
  std::map<std::string, Repeat> repeats_;
};

/// The axes in which two combinations differ.
std::vector<const Axis*> differing_axes(const Block& block, std::size_t one, std::size_t two);

/// One of two trainings that became equal when they were completed.
struct Completed {
  SettingValue said;               ///< of the axis in which they differ
  std::vector<std::string> notes;  ///< why it was completed as it was
};

/// Why two values of an axis give one training: what they became, and the notes that speak of the axis.
std::string why_equal(const std::string& axis, const Completed& one, const Completed& two, const Settings& became);

}  // namespace orch::matrix
