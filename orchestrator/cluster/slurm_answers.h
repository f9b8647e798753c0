// What Slurm's commands print, read into values. Text in, values out.
//
// Holds:
//  - Any bytes give values or an error. A line that was cut, a number that is none, a field too few: an error, never a
//    guess, for a job that is wrongly taken as gone is run twice.
//  - Jobs that are not ours may have any name, with separators and line breaks in it; they are passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/event.h"

namespace orch::cluster {

/// Of a job: letters, digits, `.`, `_`, `-`, a letter first. It needs no quotes and holds no separator.
bool is_job_name(std::string_view name);
inline constexpr std::size_t kLongestJobName = 200;

/// `1234` or `1234;cluster`, of sbatch --parsable.
Result<std::string> read_submitted(std::string_view out);

/// What squeue is to print of each job; read_queue() reads it.
extern const char* const kQueueFormat;
/// The jobs whose names begin with `prefix`.
Result<std::vector<control::event::Seen>> read_queue(std::string_view out, std::string_view prefix);

/// What sacct is to print of each job; read_accounting() reads it.
extern const char* const kAccountingFields;
/// The jobs with one of the names, as sacct -P -n -X prints them with those fields.
Result<std::vector<control::event::Seen>> read_accounting(std::string_view out, std::span<const std::string> names);

/// One job of `scontrol --oneliner show job ID`. None: it has another name, so the id was given out anew.
Result<std::optional<control::event::Seen>> read_job(std::string_view out, std::string_view name);

/// `gpu[1-2,05],cpu1` → the names; none for `(null)` and `None assigned`.
Result<std::vector<std::string>> read_nodes(std::string_view list);

/// `slurm 22.05.8` → `22.05.8`.
std::optional<std::string> read_version(std::string_view out);

}  // namespace orch::cluster
