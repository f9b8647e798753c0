// The daemon's JSON as people read it: the texts are written here by hand.
#include "report/status_report.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <sstream>

#include "report/times.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

/// The clock of the reader stands in Berlin: one hour before UTC in winter, two in summer.
class Reports : public testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
  }
  void TearDown() override {
    unsetenv("TZ");
    tzset();
  }
};

template <class Print>
std::string printed(Print print, const char* json) {
  std::ostringstream out;
  print(out, Style{}, ordered_json::parse(json));
  return out.str();
}

std::string sweep_row(int number, const char* state) {
  return R"({"id": "s)" + std::to_string(number) + R"(", "name": "n", "state": ")" + state +
         R"(", "submitted": "2026-11-21T17:00:00Z", "cells": {"total": 1}})";
}

TEST_F(Reports, ShowTimesOfTheReadersClock) {
  EXPECT_EQ(local_time("2026-11-21T17:00:05Z"), "2026-11-21 18:00");
  EXPECT_EQ(local_time("2026-07-31T22:59:59Z", Precision::kSeconds), "2026-08-01 00:59:59");
  EXPECT_EQ(local_time("yesterday"), "yesterday");
  EXPECT_EQ(local_time("2026-11-21T17:00:05Z and more"), "2026-11-21T17:00:05Z and more");
}

TEST_F(Reports, OfAStatusShowDaemonSweepsAndJobs) {
  EXPECT_EQ(
      printed(print_status, R"json({
    "daemon": {"state": "up", "since": "2026-11-21T17:00:00Z", "version": "0.1.0", "host": "login1",
               "instance": "abcdefgh", "cluster": "alpha", "policy": "default"},
    "sweeps": [{"id": "s1", "name": "nightly", "user": "mara", "state": "running",
                "submitted": "2026-11-21T17:05:00Z", "ended": null,
                "cells": {"total": 1210, "waiting": 370, "running": 16, "done": 812, "failed": 2, "rejected": 10,
                          "cancelled": 0},
                "gpu_hours": 41.25, "eta_s": 8040}],
    "jobs": [{"id": "j1", "slurm_job_id": "4711", "name": "orch-abcdefgh-1", "profile": "large", "model": "llama",
              "state": "running", "reason": "", "cells_done": 812, "nodes": ["n1", "n2"], "gpus": 16,
              "time_limit_s": 14400, "started": "2026-11-21T17:10:00Z"},
             {"id": "j2", "slurm_job_id": null, "name": "orch-abcdefgh-2", "profile": "small", "model": "",
              "state": "queued", "reason": "PENDING (Priority)", "cells_done": 0, "nodes": [], "gpus": 0.5,
              "time_limit_s": 3600, "started": null},
             {"id": "j0", "state": "ended", "gpus": 1}]
})json"),
      "The daemon is up since 2026-11-21 18:00 on login1 (cluster alpha, policy default, version 0.1.0).\n"
      "\n"
      "  sweep  name     state    cells  done  running  waiting  failed  GPU-hours        left  submitted\n"
      "  s1     nightly  running  1,200   812       16      370       2       41.2  2 h 14 min  2026-11-21 18:05\n"
      "\n"
      "  job  Slurm job  state    GPUs  profile  model  cells done  limit  started           nodes   reason\n"
      "  j1   4711       running    16  large    llama         812    4 h  2026-11-21 18:10  n1, n2\n"
      "  j2   -          queued   0.50  small    -               0    1 h  -                 -       PENDING "
      "(Priority)\n");
}

TEST_F(Reports, OfADaemonThatIsDownSayHowToStartIt) {
  EXPECT_EQ(printed(print_status, R"({"daemon": {"state": "down", "since": null}, "sweeps": [], "jobs": []})"),
            "The daemon is down; this is what its store holds. orchctl up starts it.\n"
            "\n"
            "No sweep was submitted yet; orchctl submit-matrix FILE submits one.\n");
}

TEST_F(Reports, LeaveOutOldSweepsButNoneThatRuns) {
  std::string sweeps = sweep_row(1, "running") + "," + sweep_row(2, "done");
  for (int i = 3; i <= 13; ++i) sweeps += "," + sweep_row(i, i % 2 ? "failed" : "done");
  const std::string text = printed(print_status, ("{\"sweeps\": [" + sweeps + "]}").c_str());
  EXPECT_THAT(text, HasSubstr("  s1 "));
  EXPECT_THAT(text, Not(HasSubstr("  s3 "))) << "the eleventh of those that ended, from the newest";
  EXPECT_THAT(text, HasSubstr("  s4 "));
  EXPECT_THAT(text, HasSubstr("  … and 2 older sweeps that ended (--json lists all)\n"));
}

TEST_F(Reports, OfAnOlderDaemonShowWhatThereIs) {
  EXPECT_EQ(printed(print_status, R"({"daemon": {"state": "up"}, "sweeps": 7})"),
            "The daemon is up since -.\n\nNo sweep was submitted yet; orchctl submit-matrix FILE submits one.\n");
}

TEST_F(Reports, OfCellsCutTheKey) {
  EXPECT_EQ(printed(print_cell_list, R"([{"key": "0123456789abcdef", "model": "a", "task": "x", "state": "failed",
                     "score": 0.25, "attempts": 3, "job": null, "reason": "exit code 1"}])"),
            "  key           model  task  state   score  attempts  job  reason\n"
            "  0123456789ab  a      x     failed  0.250         3  -    exit code 1\n");
}

TEST_F(Reports, OfASweepPutEqualReasonsTogether) {
  const ordered_json sweep = ordered_json::parse(
      R"({"id": "s3", "name": "core", "state": "failed", "cells": {"total": 4, "done": 1, "failed": 3}})");
  const ordered_json cells = ordered_json::parse(R"([
      {"key": "aa00000000000000", "state": "failed", "reason": "a lone reason"},
      {"key": "bb00000000000000", "state": "failed", "reason": "out of memory"},
      {"key": "cc00000000000000", "state": "failed", "reason": "out of memory"},
      {"key": "dd00000000000000", "state": "done", "reason": "it failed once"}])");
  const ordered_json details = sweep_details(sweep, cells);
  EXPECT_EQ(details["reasons"], ordered_json::parse(R"([
      {"cells": 2, "state": "failed", "example": "bb00000000000000", "reason": "out of memory"},
      {"cells": 1, "state": "failed", "example": "aa00000000000000", "reason": "a lone reason"}])"));
  std::ostringstream out;
  print_sweep_details(out, {}, details);
  EXPECT_EQ(out.str(),
            "sweep s3 core is failed: 1 of 4 cells done, 3 failed.\n"
            "\n"
            "  cells  state   one of them   reason\n"
            "      2  failed  bb0000000000  out of memory\n"
            "      1  failed  aa0000000000  a lone reason\n");
}

TEST_F(Reports, OfAJobTellItsStory) {
  EXPECT_EQ(printed(print_job_details, R"({"id": "j7", "slurm_job_id": "4711", "name": "orch-abcdefgh-7",
      "profile": "small", "model": "a", "state": "ended", "reason": "drained", "cells_done": 1, "nodes": ["n1"],
      "gpus": 1, "time_limit_s": 600, "submitted": "2026-11-21T17:00:00Z", "started": "2026-11-21T17:01:00Z",
      "ended": "2026-11-21T17:10:00Z", "gpu_hours": 0.15, "directory": "/jobs/7", "script": null, "log": "/jobs/7/log",
      "need": {"gpus": 1, "nodes": 1, "cpus": 2, "memory": 1073741824, "profile": "small", "load_s": 0},
      "sweep": "s1", "end": "drained", "leases": [], "excluded_nodes": ["n9"], "restarts": 0, "epoch": 1})"),
            "job j7 is ended: drained\n"
            "  in Slurm:   orch-abcdefgh-7, job 4711\n"
            "  for:        s1, model a\n"
            "  has:        1 GPU, 2 CPUs, 1 GiB a node, profile small, for 10 min\n"
            "  on:         n1\n"
            "  not on:     n9\n"
            "  submitted:  2026-11-21 18:00\n"
            "  started:    2026-11-21 18:01\n"
            "  ended:      2026-11-21 18:10\n"
            "  done:       1 cell, 0.150 GPU-hours\n"
            "  directory:  /jobs/7\n"
            "  log:        /jobs/7/log\n");
}

TEST_F(Reports, OfACellBeginWithTheReason) {
  EXPECT_EQ(
      printed(print_cell_details, R"({"key": "0123456789abcdef", "cell": "c5", "model": "a", "task": "x",
      "adapter": null, "settings": {"seed": 3, "mode": "fast"}, "content": {}, "state": "waiting", "generation": 1,
      "chunks": 1, "score": 0.5, "expected_s": 90, "bound_s": 600,
      "expected_from": "the median of 9 runs of the same work",
      "need": {"gpus": 0.5, "nodes": 1, "cpus": 1, "memory": 0, "profile": "small", "load_s": 0},
      "sweeps": [{"id": "s1", "name": "core", "order": 0, "state": "running"}],
      "failures": [{"cause": "timeout", "remedy": "more_time", "reason": "too long", "job": "j1",
                    "at": "2026-11-21T17:00:00Z"}],
      "metrics": {"acc": {"value": 0.5, "stderr": 0.01}}, "job": null, "position": 3, "why": "it waits",
      "progress": 0.255, "figures": {"samples": 40, "tokens": 1200, "tokens_without_sharing": 5000, "tokens_written": 80,
      "tokens_per_second": 99.6, "memory": 1048576, "experts": [
        {"layer": 0, "experts": 8, "busiest": 0.5, "unused": 1, "evenness": 0.75},
        {"layer": 3, "experts": 8, "busiest": 0.25, "unused": 2, "evenness": 0.5}]}})"),
      "cell 0123456789ab (a/x) is waiting: it waits.\n"
      "  key:        0123456789abcdef = c5\n"
      "  settings:   seed=3, mode=fast\n"
      "  progress:   25.5 %\n"
      "  needs:      0.50 GPUs, 1 CPU, profile small\n"
      "  takes:      about 2 min, at most 10 min (the median of 9 runs of the same work)\n"
      "  score:      0.500, number 3 of its kind\n"
      "  wanted by:  s1 core (running)\n"
      "  counted:    40 samples, 1,200 tokens (5,000 if nothing were shared), 80 of them written, 100 a second, "
      "at most 1 MiB of a process\n"
      "  experts:    3 of 16 never chosen; the busiest has 50.0 % of layer 0; the least even is layer 3 (50.0 %)\n"
      "\n"
      "  metric          value\n"
      "  acc     0.500 ± 0.010\n"
      "\n"
      "  failed            job  cause    then       reason\n"
      "  2026-11-21 18:00  j1   timeout  more_time  too long\n");
}

TEST_F(Reports, OfAnEventTakeOneLine) {
  std::ostringstream out;
  print_event(out, ordered_json::parse(R"({"number": 7, "at": "2026-11-21T17:00:05Z", "kind": "job.ended",
      "sweep": null, "cell": null, "job": "j1", "text": "orch-1: done\n\u001b[2J"})"));
  EXPECT_EQ(out.str(), "2026-11-21 18:00:05  job.ended  j1  orch-1: done | \\x1b[2J\n");
}

TEST(Progress, CountsWhatIsThereAndSaysWhatIsLeft) {
  const auto of = [](const char* json) { return progress_of(ordered_json::parse(json)); };
  EXPECT_EQ(of(R"({"state": "running", "eta_s": 90, "cells": {"total": 12, "rejected": 2, "done": 4, "running": 3,
                   "failed": 1, "waiting": 2, "cancelled": 0}})"),
            "4 of 10 cells done, 3 running, 1 failed, about 2 min left");
  EXPECT_EQ(of(R"({"state": "held", "eta_s": 90, "cells": {"total": 1}})"), "0 of 1 cell done, held");
  EXPECT_EQ(of(R"({"state": "done", "eta_s": 0, "cells": {"total": 1, "done": 1}})"), "1 of 1 cell done");
}

}  // namespace
}  // namespace orch::report
