// A task as data: what its file says of prompts, worked examples, choices, extraction, scoring and metrics.
//
// Holds:
//  - A file is checked whole: every template and pattern in it is compiled, an unknown key is an error with the nearest
//    known one, and a task that was read can be asked, given its data.
// docs/tasks.md explains the file. harness_task.h reads lm-evaluation-harness's own files into the same struct.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/yaml.h"
#include "eval/doc_text.h"
#include "eval/extract.h"

namespace orch::eval {

enum class Kind {
  kChoice,    ///< the log-likelihood of each choice after the prompt
  kContexts,  ///< the choices are different contexts, and one continuation is scored after each
  kGenerate,
};

enum class Status {
  kUnverified,  ///< written from the published format
  kVerified,    ///< requests and scores were compared with lm-evaluation-harness's on the real data
};

/// How a question is written, be it asked or shown as a worked example.
struct Wording {
  DocText prompt = DocText::constant("");  ///< of kContexts: which of the choices is right
  std::optional<DocText> choices;          ///< a list
  DocText target =
      DocText::constant("");  ///< a text, which of the choices, or a list of those; of kContexts the continuation
  std::optional<DocText> gen_prefix;  ///< begins the answer
  std::string target_delimiter = " ";
  std::string shot_delimiter = "\n\n";
};

/// Worked examples.
struct Shots {
  int count = 0;
  std::vector<Document> examples;  ///< given with the task; else:
  std::string file;                ///< of the data folder
  enum class Order { kFirst, kSampled } order = Order::kFirst;
  std::vector<std::size_t> indices;  ///< kSampled: draw from these alone
  bool leaves_out_question = false;  ///< examples that equal the question are not shown
  std::optional<Wording> wording;    ///< where it differs from the task's
};

struct ExactMatch {
  bool ignore_case = false;
  bool ignore_punctuation = false;
  bool ignore_numbers = false;
  std::vector<Pattern> ignore;  ///< taken out of answer and target first
};

/// What gives an answer its credit.
struct Scorer {
  std::string name = "exact_match";  ///< exact_match and math are known here; others are handed in
  ExactMatch exact_match;
};

struct Sampling {
  std::vector<std::string> stop;
  int max_new_tokens = 256;
  double temperature = 0;
  double top_p = 1;
  int top_k = 0;
  int repeats = 1;  ///< answers to each prompt
};

struct Task {
  std::string name;
  Place source;
  Status status = Status::kUnverified;
  std::string notes;
  Kind kind = Kind::kChoice;
  std::string data;                    ///< a JSONL file of the data folder
  std::string group_by;                ///< the field that says which part of the task a question belongs to, or nothing
  std::optional<DocText> description;  ///< before everything
  std::map<std::string, std::string> descriptions;  ///< by group, where each has its own
  Wording wording;
  std::optional<DocText> labels;  ///< of mc2: 1 for each true choice
  Shots shots;
  Sampling sampling;
  std::vector<Extraction> extractions;  ///< of kGenerate: at least one
  Scorer scorer;
  std::vector<std::string> metrics;  ///< the first is the task's score
  std::string digest;                ///< SHA-256 of what was read
  /// The number after `pass_at_`, or nothing for other metrics.
  static std::optional<int> pass_at(const std::string& metric);
};

/// Reads a task; `beside` finds the files that stand beside its own (worked examples).
std::optional<Task> read_task(const Yaml& root, const std::string& file, const std::filesystem::path& beside,
                              Diagnostics& diagnostics);

/// Reads the task in a file: ours, or lm-evaluation-harness's.
std::optional<Task> load_task(const std::filesystem::path& file, Diagnostics& diagnostics);

/// Whether `name` is a relative path that stays below its folder.
bool stays_below(const std::string& name);

}  // namespace orch::eval
