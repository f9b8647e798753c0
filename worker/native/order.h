// What the first rank says to the ranks that compute, and what they say back, over lifelines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"
#include "run/work.h"

namespace orch::native {

/// Evaluate a chunk of a cell, or train, together with the other ranks that are named; the first of them speaks for
/// all.
struct Order {
  std::vector<int> ranks;
  bool anew = false;   ///< the group, and the model in it, are made anew by all of them
  std::string folder;  ///< of the attempt
  std::string jobs;    ///< the folder that the directories of all jobs are in
  wire::Leased leased;
};
struct Stop {
  std::uint64_t ticket = 0;
};
/// Nothing more will be asked.
struct End {};
using Command = std::variant<Order, Stop, End>;

/// The model is in memory, and the questions begin.
struct Loaded {
  std::uint64_t ticket = 0;
};
struct Progress {
  std::uint64_t ticket = 0;
  std::int64_t done = 0, all = 0;  ///< samples, or steps of a training
  std::string live = {};           ///< of a training: see worker::Work::live()
};
struct Over {
  std::uint64_t ticket = 0;
  worker::Outcome outcome;
};
/// The rank can be asked again. `whole`: what it has in memory is fit for use.
struct Free {
  std::uint64_t ticket = 0;
  bool whole = false;
};
using Report = std::variant<Loaded, Progress, Over, Free>;

/// A folder below that of all jobs, as the daemon names it (`JOB/cells/12-34`); nothing of what leads elsewhere.
std::optional<std::filesystem::path> below_jobs(const Order& order, const std::string& relative);
/// The folders of earlier attempts, the oldest first.
std::vector<std::filesystem::path> earlier_attempts(const Order& order);

/// What a group keeps between the chunks that it is asked for: of two asks with the same text the second can use it.
std::string opens(const wire::Ask& ask);

std::string write(const Command& command);
std::string write(const Report& report);
Result<Command> read_command(std::string_view text);
Result<Report> read_report(std::string_view text);

}  // namespace orch::native
