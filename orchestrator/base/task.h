// A task: a data set with its way of asking and scoring, a kind of training, or a benchmark.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "base/yaml.h"

namespace orch {

enum class TaskKind {
  kMultipleChoice,  ///< log-likelihood of each choice
  kExactMatch,      ///< generation, then comparison
  kCode,            ///< generation, then the tests are run
  kFunctionCalling,
  kVisionLanguage,
  kTrain,
  kBench,
};
std::string_view name_of(TaskKind kind);

/// Of a benchmark of seed 004: training steps of one architecture at a number of GPUs.
struct Bench {
  double params = 0;
  double flops_per_sample = 0;  ///< forward and backward
  int batch_per_gpu = 0;
  double samples = 0;  ///< of the measured part
};

/// The task of EleutherAI's lm-evaluation-harness that measures the same.
struct LmEvalTask {
  std::string name;
  std::optional<int> most_shots;  ///< worked examples that it has; nothing: as many as are asked for
};

/// Files that trainings of the native engine learn from, once they were looked at.
struct TrainingFiles {
  std::string data;       ///< SHA-256 of the data set's bytes; empty: nobody has looked
  std::string reward;     ///< of the file that completions are rewarded by; empty: none is said
  double rows = 0;        ///< of the data set
  std::string why_not{};  ///< what is missing
};

struct Task {
  std::string name;
  TaskKind kind = TaskKind::kMultipleChoice;
  std::string group;  ///< general_knowledge, mathematical_reasoning, …; train; bench
  std::string type;   ///< what the policy weighs: eval, code, …, instruct_text, grpo, dpo, image, bench
  std::string hf_id;
  std::string subset;
  std::string revision = "main";
  bool gated = false;
  std::string metric;
  int shots = 0;             ///< by default
  double samples = 0;        ///< of the split that is scored; of training: of the example data set
  double prompt_tokens = 0;  ///< mean of one question, without shots
  double shot_tokens = 0;    ///< mean of one worked example
  double choices = 1;        ///< continuations scored for a question
  double choice_tokens = 1;  ///< mean of one continuation
  double output_tokens = 0;  ///< mean generated for a question
  int max_output_tokens = 0;
  int repeats = 1;    ///< generations for a question (pass@k, GRPO groups)
  double images = 0;  ///< mean images of a question
  std::optional<Bench> bench;
  std::optional<LmEvalTask> lm_eval;
  /// Of a training: what a row of its data is, text, instruction, preference or prompt; empty: nothing that the native
  /// engine trains on.
  std::string rows;
  std::string notes;
  Place source;
  bool own = false;  ///< a name of a matrix, of which no catalog knows anything
  // Of the native engine, once its own file and data were looked at.
  std::string digest;   ///< of both; empty: nobody has looked
  std::string unasked;  ///< why it cannot be asked
  /// Of a training, by the settings `data` and `reward` of its cells; empty texts where they say none.
  std::map<std::pair<std::string, std::string>, TrainingFiles> files;

  bool is_eval() const { return kind != TaskKind::kTrain && kind != TaskKind::kBench; }
  const TrainingFiles* files_of(std::string_view data, std::string_view reward) const;
  bool needs_vision() const { return kind == TaskKind::kVisionLanguage; }
};

Task read_task(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch
