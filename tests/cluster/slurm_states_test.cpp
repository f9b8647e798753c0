#include "cluster/slurm_states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "base/text.h"
#include "support/source_dir.h"

namespace orch::cluster {
namespace {

using control::End;
using Phase = control::event::Seen::Phase;

std::string word_of(Phase phase) {
  switch (phase) {
    case Phase::kPending:
      return "pending";
    case Phase::kRunning:
      return "running";
    case Phase::kOver:
      return "over";
    case Phase::kUnknown:
      break;
  }
  return "unknown";
}

/// The rows of docs/slurm.md: state → `over done`.
std::map<std::string, std::string> documented() {
  std::ifstream page(test::source_dir() / "docs/slurm.md");
  std::map<std::string, std::string> rows;
  for (std::string line; std::getline(page, line);) {
    const auto cells = split(line, '|');
    if (cells.size() != 5 || !trim(cells[1]).starts_with('`')) continue;
    const std::string_view state = trim(cells[1]);
    rows[std::string(state.substr(1, state.size() - 2))] =
        std::string(trim(std::string(trim(cells[2])) + " " + std::string(trim(cells[3]))));
  }
  return rows;
}

TEST(SlurmStates, AreThoseOfTheDocumentation) {
  std::map<std::string, std::string> coded;
  for (const SlurmState& state : slurm_states())
    coded[std::string(state.name)] =
        word_of(state.phase) + (state.end ? " " + std::string(control::name_of(*state.end)) : "");
  EXPECT_EQ(coded, documented());
}

// https://slurm.schedmd.com/job_state_codes.html: twelve base states and seventeen flags.
TEST(SlurmStates, HaveARowForEveryStateAndFlagThatSlurmDocuments) {
  const std::vector<std::string> base = {"BOOT_FAIL", "CANCELLED", "COMPLETED",     "DEADLINE",
                                         "FAILED",    "NODE_FAIL", "OUT_OF_MEMORY", "PENDING",
                                         "PREEMPTED", "RUNNING",   "SUSPENDED",     "TIMEOUT"};
  const std::vector<std::string> flags = {
      "COMPLETING", "CONFIGURING",  "EXPEDITING",   "LAUNCH_FAILED", "POWER_UP_NODE", "RECONFIG_FAIL",
      "REQUEUED",   "REQUEUE_FED",  "REQUEUE_HOLD", "RESIZING",      "RESV_DEL_HOLD", "REVOKED",
      "SIGNALING",  "SPECIAL_EXIT", "STAGE_OUT",    "STOPPED",       "UPDATE_DB"};
  std::vector<std::string> coded_base, coded_flags;
  for (const SlurmState& state : slurm_states()) (state.flag ? coded_flags : coded_base).emplace_back(state.name);
  EXPECT_THAT(coded_base, testing::UnorderedElementsAreArray(base));
  EXPECT_THAT(coded_flags, testing::UnorderedElementsAreArray(flags));
}

TEST(SlurmStates, AreOverOnlyWithAnEnd) {
  for (const SlurmState& state : slurm_states())
    EXPECT_EQ(state.phase == Phase::kOver, state.end.has_value()) << state.name;
}

TEST(SlurmStates, TellWhoCancelledAndMeanTheSame) {
  EXPECT_EQ(meaning_of("CANCELLED by 1000").phase, Phase::kOver);
  EXPECT_EQ(meaning_of("CANCELLED by 1000").end, End::kCancelled);
}

TEST(SlurmStates, ThatNobodyKnowsAreStillWatched) {
  for (const char* state : {"", "EXPLODED", "running", "RUNNING ", "COMPLETED+", "CANCELLED by", "CANCELLED by root",
                            "FAILED by 1000", "COMPLETED,EXPLODED", "COMPLETED,", ",", "?"}) {
    EXPECT_EQ(meaning_of(state).phase, Phase::kUnknown) << state;
    EXPECT_FALSE(meaning_of(state).end) << state;
  }
}

TEST(SlurmStates, OfSeveralAtOnceAreAsTheirFlagSays) {
  // A job that failed and is put back into the queue is not over.
  EXPECT_EQ(meaning_of("FAILED,REQUEUED").phase, Phase::kPending);
  EXPECT_EQ(meaning_of("COMPLETED,COMPLETING").phase, Phase::kRunning);
  EXPECT_FALSE(meaning_of("COMPLETED,COMPLETING").end);
  EXPECT_EQ(meaning_of("RUNNING,SIGNALING").phase, Phase::kRunning);
}

}  // namespace
}  // namespace orch::cluster
