// One run of a task: its questions' requests, the score of each from its answers, and the scores of the whole.
//
// Holds:
//  - A sample's score is a function of its answers alone; the whole is a sum of the samples' scores that depends on no
//    order. So a run can be cut into chunks of samples, on any workers, and is put together exactly.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/tally.h"
#include "eval/metrics.h"
#include "eval/prompt.h"

namespace orch::eval {

/// What a scorer is told of one answer.
struct ScorerInput {
  const Document& document;
  const Request& request;     ///< the prompt
  const std::string& answer;  ///< after extraction
  const Json& target;
};
/// The credit of an answer, from 0 to 1; an error when it cannot be scored, which ends the run.
using ScoreAnswer = std::function<Result<double>(const ScorerInput&)>;
/// Beyond exact_match and math: code, function calls, and whatever else is brought along.
using Scorers = std::map<std::string, ScoreAnswer>;

/// What was made of one question.
struct SampleScore {
  std::uint64_t sample = 0;
  std::vector<Answer> answers;                      ///< in the order of the requests
  std::vector<std::vector<std::string>> extracted;  ///< of a generation, for each extraction
  std::vector<double> scores;                       ///< in the order of Evaluation::score_names()
};

/// A metric, and the extraction it was read by (`none` of choices).
struct ScoreName {
  std::string metric;
  std::string extraction;
  bool operator==(const ScoreName&) const = default;
};

/// Some of a run's samples, one after another.
struct SampleRange {
  std::uint64_t first = 0, count = 0;
};
/// Chunk `number` of `chunks` that are as equal as goes.
SampleRange chunk_of(std::uint64_t samples, std::uint32_t number, std::uint32_t chunks);

struct Summary {
  struct Row {
    ScoreName name;
    Tallies parts;
    /// As the daemon and files call it: `acc`, or `exact_match,flexible-extract` where it was extracted.
    std::string key() const;
  };
  std::vector<Row> rows;  ///< the first is the task's score
};

class Evaluation {
 public:
  /// Reads the data of a task below `folder`.
  static Result<Evaluation> open(const Task& task, const std::filesystem::path& folder, AskSettings settings,
                                 Scorers scorers = {});
  /// As open(), of data that is at hand.
  static Result<Evaluation> make(const Task& task, std::vector<Document> documents, std::vector<Document> pool,
                                 AskSettings settings, Scorers scorers = {});

  const Questions& questions() const { return questions_; }
  const std::vector<ScoreName>& score_names() const { return names_; }
  /// SHA-256 of all that says what is asked: the task's file, its data, the settings.
  const std::string& digest() const { return digest_; }

  /// `answers` are those of the sample's requests, in any order.
  Result<SampleScore> score(std::uint64_t sample, std::vector<Answer> answers) const;

  /// Of all samples, or all of a range, each once, in any order.
  Result<Summary> summary(std::span<const SampleScore> samples) const {
    return summary(samples, {0, questions_.size()});
  }
  Result<Summary> summary(std::span<const SampleScore> samples, SampleRange range) const;

 private:
  Evaluation(Questions questions, Scorers scorers);
  Result<std::vector<double>> choice_score(std::uint64_t sample, std::span<const Answer> answers) const;
  Result<std::vector<double>> text_score(SampleScore& made, const std::vector<Request>& requests) const;
  Result<double> credit(const ScorerInput& input) const;

  Questions questions_;
  Scorers scorers_;
  std::vector<ScoreName> names_;
  std::string digest_;
};

}  // namespace orch::eval
