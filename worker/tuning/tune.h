// A training from files to files: a model's folder and a data set go in, and an adapter comes out, with its curve, its
// checkpoints and a log, in the folder of the attempt:
//
//   log            what was chosen, and why; what happened
//   curve.jsonl    curve.h
//   checkpoints/   train/checkpoints.h
//   adapter/       at the end: as PEFT has it; or, where all weights were trained,
//   model/         a checkpoint like the base's
//
// Holds:
//  - Every rank calls tune() with the same rules, and all come to the same end.
//  - A training goes on from the newest whole checkpoint of its own folder or of those before it, and has the bits of
//    one that was never interrupted, on the same layout of ranks and with as much room.
//  - Bad rows are reported before anything is trained, all of them.
//  - It writes into its own folder alone.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/transport.h"
#include "model/formats.h"
#include "train/rows.h"
#include "train/run.h"
#include "tuning/settings.h"
#include "tuning/trouble.h"

namespace orch::tuning {

struct TuneRules {
  std::filesystem::path model;  ///< its folder
  std::string base;             ///< what an adapter says it is for
  std::filesystem::path data;
  train::RowKind rows = train::RowKind::kInstruction;
  std::filesystem::path reward;  ///< of prompts: reward/load_reward.h
  Settings settings;
  std::filesystem::path out;                  ///< the attempt's folder; it is made
  std::vector<std::filesystem::path> before;  ///< folders of earlier attempts, the oldest first
  int tensor = 1, copies = 1;                 ///< tensor × copies ranks
  int threads = 1;                            ///< of each rank
  double memory = 0;                          ///< bytes that each rank may take; 0: not known
  double smaller = 1;                         ///< on `memory`, after it had run out
  model::Formats formats = DType::kFp32;
  std::vector<std::string> environment;  ///< of the reward's program; empty: this process's own
};

/// Of the first rank.
struct TuneHooks {
  std::function<void(const nlohmann::ordered_json& line)> step;  ///< a line of the curve
  std::function<train::Wish()> wish;
  std::function<void(const std::string&)> say;  ///< a line of the log
};

struct TuneEnd {
  bool is_stopped = false;  ///< it was asked to end, and its state is kept
  std::int64_t step = 0, steps = 0;
  nlohmann::ordered_json metrics;  ///< {"loss": {"value": 1.2, "stderr": null}, …}
  nlohmann::ordered_json figures;
};

Result<TuneEnd, Trouble> tune(const TuneRules& rules, comm::Transport& ranks, const TuneHooks& hooks);

}  // namespace orch::tuning
