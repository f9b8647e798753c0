// The curves of trainings, in the folders of their attempts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "control/ids.h"
#include "report/curve.h"

namespace orch::api {

/// `12-34`: the folder of an attempt at a cell, below `cells` in a job's; the ticket tells the newer.
std::string attempt_name(control::CellId cell, control::Ticket ticket);

/// The curve of this attempt, if it has one. Looks at the disk, as does the next.
std::optional<std::filesystem::path> curve_of(const std::filesystem::path& job, control::CellId cell,
                                              control::Ticket ticket);

/// The curve of the newest attempt at the cell that has one, in these jobs' folders.
std::optional<std::filesystem::path> newest_curve(const std::vector<std::filesystem::path>& jobs, control::CellId cell);

struct CurveRead {
  report::Curve curve;
  bool whole = true;  ///< nothing of the file was left unread because there is too much of it
};
/// No curve at all where there is no such file, or what is there is none: whoever trains may have put anything there.
CurveRead read_curve_file(const std::filesystem::path& file, std::size_t most);

}  // namespace orch::api
