// What people see of the daemon: each JSON is written here by hand, as the contract of the API says it.
#include "api/views.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "office.h"
#include "support/source_dir.h"

namespace orch::api {
namespace {

using namespace control;
using nlohmann::json;
using test::Office;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kZeros(62, '0');

json rows(const std::function<void(std::ostream&)>& write) {
  std::ostringstream out;
  write(out);
  return json::parse(out.str());
}
json cells_of(const Office& office, SweepId sweep, std::optional<CellState> only = std::nullopt) {
  return rows([&](std::ostream& out) { write_cells(out, office.state, sweep, only); });
}
json results_of(const Office& office, SweepId sweep, bool live = true) {
  return rows([&](std::ostream& out) { write_results(out, *office.store, live ? &office.state : nullptr, sweep); });
}
json cell_of(const Office& office, std::uint32_t cell) {
  return cell_json(office.state, *office.store, CellId{cell}, office.now);
}
std::string why_of(const Office& office, std::uint32_t cell) { return why(office.state, CellId{cell}, office.now); }

/// Three cells on one job that runs: the first is done, the second runs, the third waits.
struct Halfway : Office {
  Halfway() {
    sweep = submit({cell(0xa1, "a", "x", 3), cell(0xa2, "a", "y", 2), cell(0xa3, "b", "x", 1)});
    job = &run_job();
    wait(60);
    deliver(*job, lease(*job, 1).at(0), R"({"acc": {"value": 0.5, "stderr": 0.1}})");
    second = lease(*job, 1).at(0);
    begin(*job, second.chunk);
  }
  SweepId sweep{};
  Job* job = nullptr;
  action::Answer::Given second;
};

TEST(Status, IsAsTheContractSays) {
  Halfway office;
  office.wait(60);
  DaemonView daemon;
  daemon.since = test::kStart;
  daemon.version = "1.2.3";
  daemon.host = "login1";
  daemon.instance = "abcdefgh";
  daemon.cluster = "alpha";
  daemon.policy = "default";
  const json expected = json::parse(R"({
    "daemon": {"state": "up", "since": "2019-12-20T12:00:00Z", "version": "1.2.3", "host": "login1",
               "instance": "abcdefgh", "cluster": "alpha", "policy": "default"},
    "sweeps": [{"id": "s1", "name": "nightly", "user": "mara", "state": "running",
                "submitted": "2019-12-20T12:00:00Z", "ended": null,
                "cells": {"total": 3, "waiting": 1, "running": 1, "done": 1, "failed": 0, "rejected": 0,
                          "cancelled": 0},
                "gpu_hours": 0.03333333333333333, "eta_s": 200.0}],
    "jobs": [{"id": "j1", "slurm_job_id": "4711", "name": "", "profile": "small", "model": "a", "state": "running",
              "reason": "", "cells_done": 1, "nodes": ["n1", "n2"], "gpus": 1.0, "time_limit_s": 0,
              "submitted": "2019-12-20T12:00:00Z", "started": "2019-12-20T12:00:00Z", "ended": null,
              "gpu_hours": 0.03333333333333333}], "trainings": []})");
  json shown = status_json(office.state, daemon, std::nullopt, office.now);
  // Of the store's own drawing, and of the planner's.
  EXPECT_EQ(shown["jobs"][0]["name"], "orch-" + office.store->instance() + "-1");
  EXPECT_GE(shown["jobs"][0]["time_limit_s"], 300);
  shown["jobs"][0]["name"] = "";
  shown["jobs"][0]["time_limit_s"] = 0;
  EXPECT_EQ(shown, expected) << shown.dump(2);
}

TEST(Status, CountsTheCellsThatWereRejectedAmongAll) {
  Office office;
  event::SubmitSweep sweep;
  sweep.needs.resize(1);
  sweep.cells = {Office::cell(1, "a", "x")};
  sweep.rejected_cells = 5;
  office.ask(std::move(sweep));
  const json cells = sweep_json(office.state, SweepId{0}, office.now)["cells"];
  EXPECT_EQ(cells["total"], 6);
  EXPECT_EQ(cells["rejected"], 5);
}

TEST(Status, OfOneSweepShowsItsJobsAlone) {
  Halfway office;
  const SweepId other = office.submit({Office::cell(0xb1, "b", "y")}, "other");
  const json shown = status_json(office.state, {}, other, office.now);
  ASSERT_EQ(shown["sweeps"].size(), 1u);
  EXPECT_EQ(shown["sweeps"][0]["name"], "other");
  for (const json& job : shown["jobs"]) EXPECT_NE(job["id"], "j1");
}

TEST(Status, OfADaemonThatIsDownHasNoStartAndNoJobThatEnded) {
  Halfway office;
  office.ask(event::ExitRecord{{}, office.job->name, office.job->epoch, End::kDrained, "its time was nearly over"});
  office.put(event::DirectoryRead{office.job->id, std::nullopt, true});
  ASSERT_EQ(office.job->state, JobState::kEnded);
  DaemonView daemon;
  daemon.state = "down";
  const json down = status_json(office.state, daemon, std::nullopt, office.now);
  EXPECT_EQ(down["daemon"]["state"], "down");
  EXPECT_EQ(down["daemon"]["since"], nullptr);
  for (const json& job : down["jobs"]) EXPECT_NE(job["state"], "ended");
  daemon.state = "up";
  daemon.since = test::kStart;
  const json up = status_json(office.state, daemon, std::nullopt, office.now);
  EXPECT_EQ(up["jobs"][0]["state"], "ended");
  EXPECT_EQ(up["jobs"][0]["reason"], "drained: its time was nearly over");
  EXPECT_EQ(up["jobs"][0]["ended"], "2019-12-20T12:01:00Z");
  daemon.since += std::chrono::hours(1);
  EXPECT_NE(json(status_json(office.state, daemon, std::nullopt, office.now))["jobs"][0]["id"], "j1")
      << "it ended before the daemon's start";
}

TEST(Status, IsTheSameFromTheStoreAsFromTheDaemon) {
  Halfway office;
  office.submit({Office::cell(0xa1, "a", "x"), Office::cell(0xb1, "b", "y")}, "again", true);
  const State restored = office.store->restore(office.state.policy, {});
  const DaemonView daemon;
  const auto shown = [&](const State& state) {
    json status = status_json(state, daemon, std::nullopt, office.now);
    // A job's row is written when its state changes, not with each of its deliveries.
    for (json& job : status["jobs"]) job.erase("cells_done");
    return status;
  };
  EXPECT_EQ(shown(restored), shown(office.state));
  for (const Sweep& sweep : office.state.sweeps)
    EXPECT_EQ(rows([&](std::ostream& out) { write_cells(out, restored, sweep.id, std::nullopt); }),
              cells_of(office, sweep.id));
}

TEST(Eta, IsTheWorkThatIsLeftOverTheCellsThatRun) {
  Office office;
  std::vector<event::AskedCell> cells;
  for (std::uint8_t i = 1; i <= 6; ++i) cells.push_back(Office::cell(i, "a", "t" + std::to_string(i)));
  const SweepId id = office.submit(cells);
  const Sweep& sweep = office.state.sweeps[index(id)];
  EXPECT_EQ(eta(office.state, sweep), std::nullopt) << "none of them runs";
  const Job& job = office.run_job();
  const auto first = office.lease(job, 1).at(0);
  EXPECT_EQ(eta(office.state, sweep), 600);
  office.deliver(job, first, "{}");
  office.lease(job, 1);
  EXPECT_EQ(eta(office.state, sweep), 500);
  office.ask(event::CancelSweep{{}, id, "mara"});
  EXPECT_EQ(eta(office.state, sweep), 0) << "it has ended";
}

TEST(Eta, FollowsWhatWasMeasured) {
  Office office;
  std::vector<event::AskedCell> cells;
  for (std::uint8_t i = 1; i <= 6; ++i) {
    cells.push_back(Office::cell(i, "a", "t" + std::to_string(i)));
    cells.back().work = Work{1};
    cells.back().basis = planner::Basis::kDeclared;
  }
  const SweepId id = office.submit(cells);
  const Sweep& sweep = office.state.sweeps[index(id)];
  const Job& job = office.run_job();
  for (int i = 0; i < 3; ++i) office.deliver(job, office.lease(job, 1).at(0), "{}");
  office.lease(job, 1);
  EXPECT_EQ(eta(office.state, sweep), 45) << "three more of 15 s each, one after another, and not of 100";
  const auto cell = cell_json(office.state, *office.store, CellId{5}, office.now);
  EXPECT_EQ(cell["expected_s"], 15);
  EXPECT_EQ(cell["bound_s"], 100);
  EXPECT_EQ(cell["expected_from"], "the median of 3 runs of the same work");
  // The next daemon knows it too.
  const State restored = office.store->restore(office.state.policy, {});
  EXPECT_EQ(eta(restored, restored.sweeps[index(id)]), 45);
}

TEST(GpuHours, AreThoseInWhichTheSweepsJobsHadTheirGpus) {
  Halfway office;
  office.job->resources.gpus = 4;
  office.wait(3600 - 60);
  EXPECT_THAT(gpu_hours(office.state, office.now), ElementsAre(4.0));
  office.job->ended = office.now.utc;
  office.wait(3600);
  EXPECT_THAT(gpu_hours(office.state, office.now), ElementsAre(4.0)) << "an hour after its end";
}

TEST(JobRow, NamesTheModelsItWasSubmittedForUntilItHasCells) {
  Office office;
  office.submit({Office::cell(1, "a", "x")});
  const Job& job = office.state.jobs.rbegin()->second;
  EXPECT_EQ(job_json(office.state, job, office.now)["model"], "a + 1 more");
  EXPECT_EQ(job_json(office.state, job, office.now)["slurm_job_id"], nullptr);
}

TEST(JobRow, OfAQueuedJobSaysTheClustersReason) {
  Office office;
  office.submit({Office::cell(1, "a", "x")});
  const JobId id = office.state.jobs.rbegin()->first;
  office.put(event::Submitted{id, "4711"});
  office.wait(1);
  event::Seen seen;
  seen.name = office.state.jobs.at(id).name;
  seen.cluster_id = "4711";
  seen.phase = event::Seen::Phase::kPending;
  seen.says = "PENDING (Priority)";
  office.put(event::Looked{office.now.serving, {seen}});
  EXPECT_EQ(job_json(office.state, office.state.jobs.at(id), office.now)["reason"], "PENDING (Priority)");
}

TEST(JobDetails, SayWhatItHoldsAndWhereItsFilesAre) {
  Halfway office;
  const json job = job_details_json(office.state, *office.job, {"/jobs/1", "/jobs/1/job.sh", ""}, office.now);
  EXPECT_EQ(job["leases"], json({"c1"}));
  EXPECT_EQ(job["sweep"], "s1");
  EXPECT_EQ(job["epoch"], 1);
  EXPECT_EQ(job["end"], nullptr);
  EXPECT_EQ(job["directory"], "/jobs/1");
  EXPECT_EQ(job["log"], nullptr);
  EXPECT_EQ(job["need"]["profile"], "small");
}

TEST(Cells, AreListedInTheSweepsOrderWithTheirState) {
  Halfway office;
  const json cells = cells_of(office, office.sweep);
  const json second = json::parse(R"({"key": "", "cell": "c1", "model": "a", "task": "y", "state": "running",
      "score": 2.0, "attempts": 0, "reason": "", "job": "j1", "progress": null, "live": null,
      "expected_s": 100.0, "expected_from": "as it was asked for"})");
  ASSERT_EQ(cells.size(), 3u);
  EXPECT_EQ(cells[0]["state"], "done");
  EXPECT_EQ(cells[0]["attempts"], 1);
  EXPECT_EQ(cells[0]["key"], "a1" + kZeros);
  json shown = cells[1];
  shown["key"] = "";
  EXPECT_EQ(shown, second) << shown.dump();
  EXPECT_EQ(cells[2]["state"], "waiting");
  EXPECT_EQ(cells_of(office, office.sweep, CellState::kRunning), json::array({cells[1]}));
  EXPECT_EQ(cells_of(office, office.sweep, CellState::kFailed), json::array());
}

TEST(Cells, OfAnOlderGenerationAreDoneWhateverBecomesOfTheNewer) {
  Halfway office;
  const SweepId fresh = office.submit({Office::cell(0xa1, "a", "x")}, "fresh", true);
  EXPECT_EQ(cells_of(office, office.sweep)[0]["state"], "done");
  EXPECT_EQ(cells_of(office, fresh)[0]["state"], "waiting");
  EXPECT_EQ(results_of(office, office.sweep)[0]["metrics"]["acc"]["value"], 0.5);
  EXPECT_EQ(results_of(office, fresh)[0]["metrics"], json::object());
}

TEST(Results, AreAsTheContractSays) {
  Halfway office;
  const json results = results_of(office, office.sweep);
  const json first = json::parse(R"({"key": "", "sweep": "s1", "kind": "", "model": "a", "task": "x", "adapter": null,
      "settings": {}, "metrics": {"acc": {"value": 0.5, "stderr": 0.1}}, "figures": {}, "state": "done", "attempts": 1,
      "gpu_seconds": 30.0, "seconds": 15.0, "score": 3.0, "reason": ""})");
  ASSERT_EQ(results.size(), 3u);
  json shown = results[0];
  EXPECT_EQ(shown["key"], "a1" + kZeros);
  shown["key"] = "";
  EXPECT_EQ(shown, first) << shown.dump();
  EXPECT_EQ(results[1]["state"], "running");
  EXPECT_EQ(results[2]["state"], "waiting");
  EXPECT_EQ(results_of(office, office.sweep, false)[1]["state"], "waiting") << "the store alone knows no better";
}

TEST(Results, NameTheAdapterAndTheSettings) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(1, "a", "train"), Office::cell(2, "a", "x")};
  cells[1].depends = 0;
  cells[1].content = R"({"adapter":"01)" + kZeros + R"(","kind":"eval"})";
  cells[1].settings = R"({"seed": 3})";
  const json results = results_of(office, office.submit(cells));
  EXPECT_EQ(results[0]["adapter"], nullptr);
  EXPECT_EQ(results[1]["adapter"], "01" + kZeros);
  EXPECT_EQ(results[1]["settings"], json({{"seed", 3}}));
  EXPECT_EQ(results[1]["state"], "blocked");
}

TEST(Results, OfAFailedCellSayWhy) {
  Office office;
  const SweepId sweep = office.submit({Office::cell(1, "a", "x")});
  const Job& job = office.run_job();
  // The ladder of a bad input ends at once.
  office.fail(job, office.lease(job, 1).at(0), policy::Cause::kBadInput, "no such file");
  const json result = results_of(office, sweep)[0];
  EXPECT_EQ(result["state"], "failed");
  EXPECT_EQ(result["reason"], "no such file");
  EXPECT_EQ(result["attempts"], 1);
  const json cell = cells_of(office, sweep)[0];
  EXPECT_EQ(cell["reason"], "no such file");
  EXPECT_EQ(cell["attempts"], 1);
}

TEST(Metrics, OfSeveralChunksAreTheirMean) {
  // (0.2 + 0.4) / 2, and sqrt(0.03² + 0.04²) / 2.
  const json merged = merged_metrics(
      {R"({"acc": {"value": 0.2, "stderr": 0.03}, "n": {"value": 5}})", R"({"acc": {"value": 0.4, "stderr": 0.04}})"});
  EXPECT_DOUBLE_EQ(merged["acc"]["value"].get<double>(), 0.3);
  EXPECT_DOUBLE_EQ(merged["acc"]["stderr"].get<double>(), 0.025);
  EXPECT_EQ(merged["n"], json({{"value", 5.0}, {"stderr", nullptr}})) << "of the chunk that has it";
}

TEST(Metrics, WithWeightsAreTheWeightedMean) {
  // (30 · 0.2 + 10 · 0.6) / 40, and sqrt((30 · 0.04)² + (10 · 0.16)²) / 40.
  const json merged = merged_metrics({R"({"acc": {"value": 0.2, "stderr": 0.04, "weight": 30}})",
                                      R"({"acc": {"value": 0.6, "stderr": 0.16, "weight": 10}})"});
  EXPECT_DOUBLE_EQ(merged["acc"]["value"].get<double>(), 0.3);
  EXPECT_DOUBLE_EQ(merged["acc"]["stderr"].get<double>(), 0.05);
  const json half = merged_metrics({R"({"acc": {"value": 0.2, "weight": 30}})", R"({"acc": {"value": 0.6}})"});
  EXPECT_DOUBLE_EQ(half["acc"]["value"].get<double>(), 0.4) << "one says none: all count the same";
}

TEST(Metrics, OfSamplesAreThoseOfAllChunksExactly) {
  // 3 of 4 and 1 of 6 are right: in units of 2^-36 a one is 68719476736.
  const auto chunk = [](const std::string& parts) {
    return R"({"acc": {"value": 0.1, "stderr": 9, "parts": {)" + parts + "}}}";
  };
  const std::string four = R"("": [4, 206158430208, 206158430208])", six = R"("": [6, 68719476736, 68719476736])";
  const json merged = merged_metrics({chunk(four), chunk(six)});
  EXPECT_EQ(merged["acc"]["value"], 0.4);
  EXPECT_EQ(merged["acc"]["samples"], 10);
  EXPECT_DOUBLE_EQ(merged["acc"]["stderr"].get<double>(), std::sqrt(0.4 * 0.6 * 10 / 9 / 10));
  EXPECT_FALSE(merged["acc"].contains("parts"));
  const json parts = merged_metrics(
      {chunk(R"("a": [4, 206158430208, 206158430208])"), chunk(R"("b": [6, 68719476736, 68719476736])")});
  EXPECT_EQ(parts["acc"]["value"], 0.4);
  EXPECT_EQ(parts["acc"]["parts"]["a"]["value"], 0.75);
  EXPECT_EQ(parts["acc"]["parts"]["b"]["samples"], 6);
  EXPECT_EQ(merged_metrics({chunk(R"("": [0, 0, 0])")})["acc"]["value"], nullptr) << "nobody was asked";
  for (const char* damaged :
       {R"("": 3)", R"("": [1, 2])", R"("": [-1, 0, 0])", R"("": [1, "x", 0])", R"("": [99999999999, 0, 0])"})
    EXPECT_EQ(merged_metrics({chunk(damaged)})["acc"]["value"], 0.1) << damaged << ": then what the chunk says itself";
}

TEST(Figures, AddUpAndOfMemoryTheMostCounts) {
  const json merged =
      merged_figures({R"({"tokens": 30, "memory": 5})", "", R"({"tokens": 10, "memory": 7, "x": "no"})"}, 4);
  EXPECT_EQ(merged, json({{"tokens", 40}, {"memory", 7}, {"tokens_per_second", 10.0}}));
  EXPECT_EQ(merged_figures({"", "[]"}, 1), json::object());
}

TEST(Figures, OfExpertsSayHowEvenlyTheyWereChosen) {
  const std::vector<std::string> chunks = {R"({"experts": {"1": [6, 2, 0, 0], "3": [1, 1, 1, 1]}})",
                                           R"({"experts": {"1": [6, 2, 0, 0], "x": [1], "-2": [1], "5": "no"}})"};
  const json layers = merged_figures(chunks, 1)["experts"];
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0]["layer"], 1);
  EXPECT_EQ(layers[0]["experts"], 4);
  EXPECT_EQ(layers[0]["busiest"], 0.75);
  EXPECT_EQ(layers[0]["unused"], 2);
  // Shares of 3/4 and 1/4: exp(-(3/4 ln 3/4 + 1/4 ln 1/4)) = 4 / 3^(3/4) of 4.
  EXPECT_NEAR(layers[0]["evenness"].get<double>(), std::pow(3, -0.75), 1e-12);
  EXPECT_FALSE(layers[0].contains("chosen"));
  EXPECT_EQ(layers[1]["evenness"], 1.0);
  EXPECT_EQ(merged_figures(chunks, 1, true)["experts"][0]["chosen"], json({12, 4, 0, 0}));
  const json idle = merged_figures({R"({"experts": {"0": [0, -3]}})"}, 1)["experts"][0];
  EXPECT_EQ(idle["evenness"], 0.0) << "nothing was chosen";
}

TEST(Cells, SayHowFarTheyAreWhereTheirWorkerDoes) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(1, "a", "x")};
  cells[0].chunks = 4;
  const SweepId sweep = office.submit(cells);
  const Job& job = office.run_job();
  EXPECT_EQ(cells_of(office, sweep)[0]["progress"], 0.0);
  const Chunk chunk = office.lease(job, 1).at(0).chunk;
  office.ask(event::Heartbeat{{}, job.name, job.epoch, {{chunk, true, 30, 40}}});
  EXPECT_EQ(cells_of(office, sweep)[0]["progress"], 0.1875) << "three quarters of one of four";
  EXPECT_THAT(cell_of(office, 0)["why"].get<std::string>(), testing::HasSubstr("18.8 % of it is done"));
}

TEST(Trainings, ShowWhatTheirWorkerSaidLast) {
  Halfway office;
  const auto beat = [&](const std::string& live) {
    office.ask(event::Heartbeat{{}, office.job->name, office.job->epoch, {{office.second.chunk, true, 12, 300, live}}});
  };
  beat(R"({"step": 11})");
  beat(R"({"step": 12, "steps": 300, "loss": 1.5})");
  const json live = {{"step", 12}, {"steps", 300}, {"loss", 1.5}};
  const json status = status_json(office.state, {}, std::nullopt, office.now);
  EXPECT_EQ(
      status["trainings"],
      json::array(
          {{{"cell", "c1"}, {"key", "a2" + kZeros}, {"model", "a"}, {"task", "y"}, {"job", "j1"}, {"live", live}}}));
  EXPECT_EQ(cells_of(office, office.sweep)[1]["live"], live);
  EXPECT_EQ(cells_of(office, office.sweep)[1]["progress"], 0.04);
  EXPECT_EQ(cell_of(office, 1)["live"], live);
  const SweepId other = office.submit({Office::cell(0xb1, "b", "y")}, "other");
  EXPECT_EQ(status_json(office.state, {}, other, office.now)["trainings"], json::array()) << "it is not of that sweep";
  EXPECT_EQ(status_json(office.state, {}, office.sweep, office.now)["trainings"].size(), 1u);

  office.deliver(*office.job, office.second, "{}");
  EXPECT_EQ(status_json(office.state, {}, std::nullopt, office.now)["trainings"], json::array());
  EXPECT_EQ(cell_of(office, 1)["live"], nullptr) << "it went with the lease";
}

TEST(Trainings, AreToldOfNeitherByTheStoreNorByAWorkerThatSaysNothing) {
  Halfway office;
  office.ask(
      event::Heartbeat{{}, office.job->name, office.job->epoch, {{office.second.chunk, true, 1, 2, R"({"step": 1})"}}});
  const State restored = office.store->restore(office.state.policy, {});
  EXPECT_EQ(status_json(restored, {}, std::nullopt, office.now)["trainings"], json::array());
  office.begin(*office.job, office.second.chunk);
  EXPECT_EQ(status_json(office.state, {}, std::nullopt, office.now)["trainings"], json::array());
}

TEST(Results, NameTheKindOfTheirCell) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(1, "a", "x"), Office::cell(2, "a", "y"),
                                         Office::cell(3, "a", "z")};
  cells[0].content =
      R"({"command":["\"kind\":\"train\""],"env":{"kind":"train"},"kind":"command","task":{"kind":"train"}})";
  cells[1].content = R"({"kind":"train","version":1})";
  cells[2].content = "no JSON";
  const json results = results_of(office, office.submit(cells));
  EXPECT_EQ(results[0]["kind"], "command");
  EXPECT_EQ(results[1]["kind"], "train");
  EXPECT_EQ(results[2]["kind"], "");
}

TEST(Metrics, ThatAreNoMetricsAreLeftOut) {
  EXPECT_EQ(merged_metrics({"", "[1]", R"({"acc": 3, "b": {"stderr": 1}})"}), json::object());
}

TEST(Explanation, OfACellIsAsTheContractSays) {
  Halfway office;
  const json expected = json::parse(R"({"key": "", "cell": "c0", "model": "a", "task": "x", "adapter": null,
      "settings": {}, "content": {}, "state": "done", "generation": 1, "chunks": 1, "score": 3.0,
      "expected_s": 100.0, "bound_s": 100.0,
      "need": {"gpus": 1.0, "nodes": 1, "cpus": 2, "memory": 1073741824, "profile": "small", "load_s": 0.0},
      "sweeps": [{"id": "s1", "name": "nightly", "order": 0, "state": "running"}], "failures": [],
      "metrics": {"acc": {"value": 0.5, "stderr": 0.1}}, "figures": {}, "progress": null, "live": null, "job": null, "position": null, "why": "it is done",
      "expected_from": "as it was asked for"})");
  json shown = cell_of(office, 0);
  EXPECT_EQ(shown["key"], "a1" + kZeros);
  shown["key"] = "";
  EXPECT_EQ(shown, expected) << shown.dump(2);
}

TEST(Explanation, NamesTheFailuresAndWhatWasDone) {
  Halfway office;
  office.fail(*office.job, office.second, policy::Cause::kTimeout, "it took longer than 100 s");
  const json cell = cell_of(office, 1);
  ASSERT_EQ(cell["failures"].size(), 1u);
  EXPECT_EQ(cell["failures"][0]["cause"], "timeout");
  EXPECT_EQ(cell["failures"][0]["reason"], "it took longer than 100 s");
  EXPECT_EQ(cell["failures"][0]["job"], "j1");
  EXPECT_EQ(cell["failures"][0]["at"], "2019-12-20T12:01:00Z");
  EXPECT_THAT(why_of(office, 1), HasSubstr("1 attempt failed before, the last because it took longer than 100 s"));
}

TEST(Why, OfARunningCellNamesTheJobAndItsNodes) {
  Halfway office;
  EXPECT_EQ(why_of(office, 1), "it runs in job j1 on n1, n2");
  EXPECT_EQ(cell_of(office, 1)["job"], "j1");
}

TEST(Why, OfALeasedCellThatHasNotBegunSaysSo) {
  Office office;
  office.submit({Office::cell(1, "a", "x")});
  const Job& job = office.run_job("1", {"n1"});
  office.lease(job, 1);
  EXPECT_EQ(why_of(office, 0), "it is with job j1 on n1, and has not begun yet");
}

TEST(Why, OfACellInChunksCountsThem) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(1, "a", "x")};
  cells[0].chunks = 4;
  office.submit(cells);
  const Job& job = office.run_job("1", {"n1"});
  office.deliver(job, office.lease(job, 1).at(0), "{}");
  office.lease(job, 1);
  EXPECT_EQ(why_of(office, 0), "1 of its 4 chunks are done, 1 are with job j1 on n1");
}

TEST(Why, OfABlockedCellNamesTheCellItWaitsFor) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(0xab, "a", "train"), Office::cell(2, "a", "x")};
  cells[1].depends = 0;
  office.submit(cells);
  EXPECT_EQ(why_of(office, 1), "it needs the adapter that cell ab0000000000 (a/train) makes, which is waiting");
}

TEST(Why, OfAWaitingCellSaysBehindHowManyAndWhatWillTakeIt) {
  Halfway office;
  office.submit({Office::cell(0xb1, "b", "y", 9)}, "other");
  EXPECT_EQ(position(office.state, CellId{2}, office.now), 2u);
  EXPECT_EQ(position(office.state, CellId{3}, office.now), 1u);
  EXPECT_EQ(cell_of(office, 2)["position"], 2);
  EXPECT_THAT(why_of(office, 2), StartsWith("it waits behind 1 cell of its kind with a better score; 1 job that can "
                                            "take it runs (j1)"));
  EXPECT_THAT(why_of(office, 3), StartsWith("it is the next of its kind"));
}

TEST(Why, OfACellWithoutAJobSaysWhatTheClusterSays) {
  Office office;
  office.submit({Office::cell(1, "a", "x")});
  const JobId job = office.state.jobs.rbegin()->first;
  EXPECT_EQ(why_of(office, 0), "it is the next of its kind; for such cells 1 job stands in the cluster's queue (j1)");
  office.put(event::NotSubmitted{job, event::NotSubmitted::Why::kLater, "the controller is away"});
  EXPECT_EQ(why_of(office, 0),
            "it is the next of its kind; the cluster took no job a moment ago, the next try is in 30 s");
}

TEST(Why, OfAHeldModelOrSweepSaysHowToReleaseIt) {
  Halfway office;
  office.ask(event::HoldSweep{{}, office.sweep, true, "root"});
  EXPECT_EQ(why_of(office, 2), "its sweep s1 is held (orchctl release s1)");
  EXPECT_EQ(cell_of(office, 2)["position"], nullptr);
  office.ask(event::HoldSweep{{}, office.sweep, false, "root"});
  office.ask(event::HoldModel{{}, "b", true, "root"});
  EXPECT_EQ(why_of(office, 2), "its model b is held (orchctl release --model b)");
  EXPECT_EQ(position(office.state, CellId{2}, office.now), std::nullopt);
}

TEST(Why, OfACellWhoseNeedIsStoppedSaysWhy) {
  Office office;
  office.submit({Office::cell(1, "a", "x")});
  office.put(event::NotSubmitted{office.state.jobs.rbegin()->first, event::NotSubmitted::Why::kMistake,
                                 "Slurm knows no partition gpuu"});
  EXPECT_EQ(why_of(office, 0),
            "it failed because no job is submitted for its kind any more: Slurm knows no partition gpuu");
}

TEST(Why, OfAFailedAndOfACancelledCellSaysHowItEnded) {
  Halfway office;
  office.fail(*office.job, office.second, policy::Cause::kBadInput, "exit code 1");
  EXPECT_EQ(why_of(office, 1), "it failed after 1 attempt: exit code 1");
  office.ask(event::CancelSweep{{}, office.sweep, "mara"});
  EXPECT_EQ(why_of(office, 2), "it was cancelled: no sweep wants it any more");
}

TEST(Position, CountsACellOfSeveralSweepsOnceAndByItsBest) {
  Office office;
  office.submit({Office::cell(1, "a", "x", 1), Office::cell(2, "a", "y", 2)}, "first");
  office.submit({Office::cell(1, "a", "x", 3), Office::cell(3, "a", "z", 2.5F)}, "second");
  EXPECT_EQ(position(office.state, CellId{0}, office.now), 1u) << "3 in the second";
  EXPECT_EQ(position(office.state, CellId{2}, office.now), 2u);
  EXPECT_EQ(position(office.state, CellId{1}, office.now), 3u);
}

TEST(Events, NameWhatTheyAreAboutByItsId) {
  store::EventRow row;
  row.number = 7;
  row.note = {test::kStart, "cell.failed", -1, 0, 12, "it failed"};
  EXPECT_EQ(json(event_json(row)), json::parse(R"({"number": 7, "at": "2019-12-20T12:00:00Z", "kind": "cell.failed",
      "sweep": null, "cell": "c0", "job": "j12", "text": "it failed"})"));
  row.note.sweep = 0;
  EXPECT_EQ(event_json(row)["sweep"], "s1");
}

TEST(Time, IsUtcToTheSecondAndNullForNone) {
  // 951,782,400 s are 2000-02-29, a leap day.
  EXPECT_EQ(time_json(Utc(std::chrono::milliseconds(951'782'400'999))), "2000-02-29T00:00:00Z");
  EXPECT_EQ(time_json(Utc{}), nullptr);
}

template <class States>
std::vector<json> names_of(const States& states) {
  std::vector<json> names;
  for (const auto state : states) names.emplace_back(name_of(state));
  return names;
}

TEST(Schema, ListsTheValuesOfEveryState) {
  std::ifstream file(orch::test::source_dir() / "docs" / "schemas" / "output.json");
  const json defs = json::parse(file)["$defs"];
  const auto of = [&](const std::string& name, const std::string& member) {
    return defs[name]["properties"][member]["enum"].get<std::vector<json>>();
  };
  EXPECT_EQ(of("sweep", "state"), names_of(kSweepStates));
  EXPECT_EQ(of("running_job", "state"), names_of(kJobStates));
  EXPECT_EQ(defs["cell_state"]["enum"].get<std::vector<json>>(), names_of(kCellStates));
  std::vector<json> ends = names_of(kEnds);
  ends.emplace_back(nullptr);
  EXPECT_EQ(of("explain_running_job", "end"), ends);
}

// Ids.

template <class Id>
std::string problem(const Result<Id>& found) {
  return found ? "found " + id_of(*found) : found.error().what;
}

TEST(SweepIds, AreNumbersFromOneOrTheNewestOfAName) {
  Office office;
  EXPECT_EQ(problem(find_sweep(office.state, "s1")), "no sweep 's1': none was submitted yet");
  office.submit({Office::cell(1, "a", "x")}, "nightly-core");
  office.submit({Office::cell(2, "a", "x")}, "weekly");
  office.submit({Office::cell(3, "a", "x")}, "nightly-core");
  EXPECT_EQ(problem(find_sweep(office.state, "s1")), "found s1");
  EXPECT_EQ(problem(find_sweep(office.state, "nightly-core")), "found s3");
  EXPECT_EQ(problem(find_sweep(office.state, "weekly")), "found s2");
  EXPECT_EQ(problem(find_sweep(office.state, "s9")), "no sweep 's9'; the newest is s3");
  EXPECT_EQ(problem(find_sweep(office.state, "s0")), "no sweep 's0'; the newest is s3");
  EXPECT_EQ(problem(find_sweep(office.state, "nightly-cor")), "no sweep 'nightly-cor'; did you mean 'nightly-core'?");
  EXPECT_EQ(problem(find_sweep(office.state, "quite another thing")),
            "no sweep 'quite another thing'; the newest is s3 (nightly-core)");
  EXPECT_EQ(problem(find_sweep(office.state, "")), "no sweep ''; the newest is s3 (nightly-core)");
}

TEST(JobIds, AreTheirNumberNameOrTheClustersId) {
  Halfway office;
  EXPECT_EQ(problem(find_job(office.state, "j1")), "found j1");
  EXPECT_EQ(problem(find_job(office.state, office.job->name)), "found j1");
  EXPECT_EQ(problem(find_job(office.state, "4711")), "found j1");
  EXPECT_EQ(problem(find_job(office.state, "j77")), "no job 'j77'; the newest is j1");
  EXPECT_EQ(problem(find_job(office.state, "j99999999999999999999")),
            "no job 'j99999999999999999999'; the newest is j1");
  EXPECT_EQ(problem(find_job(Office().state, "j1")), "no job 'j1': none was submitted yet");
}

TEST(CellIds, AreANumberAKeyOrItsBeginning) {
  Office office;
  std::vector<event::AskedCell> cells = {Office::cell(0xab, "a", "x"), Office::cell(0xc1, "a", "y"),
                                         Office::cell(0xc1, "a", "z")};
  cells[2].key.bytes[31] = 5;
  office.submit(cells);
  const auto find = [&](const std::string& text) { return problem(find_cell(office.state, *office.store, text)); };
  EXPECT_EQ(find("c1"), "found c1");
  EXPECT_EQ(find("ab0000"), "found c0");
  EXPECT_EQ(find("AB0000"), "found c0");
  EXPECT_EQ(find("ab" + kZeros), "found c0");
  EXPECT_EQ(find("c1" + kZeros), "found c1");
  EXPECT_EQ(find("ab00"), "'ab00' is too short to name a cell; give 6 digits of its key or more");
  EXPECT_EQ(find("c100000"), "no cell 'c100000'; the newest is c2") << "as a number; several keys begin so";
  EXPECT_EQ(find("C100000"), "several cells have a key that begins with 'C100000'; give more of it");
  EXPECT_THAT(find("abc123"), StartsWith("no cell has a key that begins with 'abc123'"));
  EXPECT_THAT(find("llama"), StartsWith("no cell 'llama': a cell is named by its key"));
}

TEST(CellIds, ThatAreAlsoTheBeginningOfAnotherKeyAreRefused) {
  Office office;
  std::vector<event::AskedCell> cells;
  for (int i = 0; i < 2; ++i) cells.push_back(Office::cell(0xc0, "a", "t" + std::to_string(i)));
  cells[0].key.bytes = {0xc0, 0x00, 0x00, 0x1f};
  cells[1].key.bytes = {0xdd};
  office.submit(cells);
  // c000001 is the number 1, and the beginning of the key of number 0.
  EXPECT_EQ(problem(find_cell(office.state, *office.store, "c000001")),
            "'c000001' is the number of one cell and the beginning of another's key; give more of the key");
}

TEST(LogIds, AreOfAJobOrOfACell) {
  Halfway office;
  EXPECT_EQ(std::get<JobId>(*find_job_or_cell(office.state, *office.store, "j1")), JobId{1});
  EXPECT_EQ(std::get<CellId>(*find_job_or_cell(office.state, *office.store, "c2")), CellId{2});
  EXPECT_EQ(find_job_or_cell(office.state, *office.store, "j7").error().what, "no job 'j7'; the newest is j1");
}

TEST(CellStates, AreKnownByTheirNames) {
  EXPECT_EQ(*cell_state_named("failed"), CellState::kFailed);
  EXPECT_EQ(cell_state_named("faild").error().what,
            "no state 'faild' of a cell; did you mean 'failed'? There are blocked, waiting, running, done, failed, "
            "cancelled.");
}

}  // namespace
}  // namespace orch::api
