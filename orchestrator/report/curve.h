// The curve of a training: what its worker wrote, a line of JSON for each optimiser step, made fit to be shown.
//
// Holds:
//  - Whoever trained may have written anything: a line is taken for its finite numbers and its short texts, and for
//    nothing else. What is no line of a curve is left out.
//  - What comes of a file is bounded, however large it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/json_values.h"

namespace orch::report {

inline constexpr std::size_t kMostLine = 2048;             ///< bytes of a line
inline constexpr std::size_t kMostCurve = 64u << 20;       ///< bytes of a curve that are read, from its beginning
inline constexpr std::size_t kMostCurvePoints = 5'000;     ///< that are shown, spread evenly over the steps
inline constexpr std::size_t kMostCurveSteps = 2'000'000;  ///< that are looked at

/// `{"step": 12, "steps": 300, "loss": 1.9, …, "held_out": {"loss": 2.0}, "note": "…"}`: a step from 1 on (0: as the
/// model was before), numbers by name (null where there is none), those of data that was held out, a note. Nothing
/// where the line is none.
std::optional<Json> read_point(std::string_view line);

/// The same as text, for a worker's last word on a training; empty where it is none.
std::string live_line(std::string_view line);

struct Curve {
  std::vector<Json> points;  ///< see read_point(); their steps ascend
  std::int64_t read = 0;     ///< steps that the curve has
  bool thinned = false;      ///< points are fewer than steps
};
/// Of the bytes of a curve's file. A step that comes again begins anew from there: what was after it was gone back
/// from. `most`, at least 2: points; as many again if data was held out at so many steps: those are kept before others.
Curve read_curve(std::string_view text, std::size_t most = kMostCurvePoints);

}  // namespace orch::report
