#include "eval/evaluation.h"
#include "eval/harness_task.h"
#include "eval/task.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

constexpr std::string_view kMark = "\n---8<---\n";
constexpr std::string_view kData =
    R"({"question": "2 + 2 = é?", "choices": {"text": ["4", "5"], "label": ["A", "B"]}, "answer": 0, "q": "x", "part": 1}
{"question": "", "choices": ["a", "b"], "answer": "#### 1,000", "q": [1, null], "label": true})";

/// Asks and scores the first questions.
void ask(const eval::Task& task, std::vector<eval::Document> documents) {
  if (documents.size() > 3) documents.resize(3);
  eval::AskSettings settings;
  settings.shots = std::min(task.shots.count, 3);
  settings.repeats = std::min(task.sampling.repeats, 3);
  const auto half = [](const eval::ScorerInput&) -> Result<double> { return 0.5; };
  const auto evaluation = eval::Evaluation::make(task, documents, documents, settings, {{task.scorer.name, half}});
  if (!evaluation) {
    promise(!evaluation.error().what.empty(), "an error says what");
    return;
  }
  for (std::size_t sample = 0; sample < evaluation->questions().size(); ++sample) {
    const auto requests = evaluation->questions().requests(sample);
    if (!requests) {
      promise(!requests.error().what.empty(), "an error says what");
      continue;
    }
    std::vector<eval::Answer> answers;
    for (const eval::Request& request : *requests) {
      promise(request.id.sample == sample && request.id.index == answers.size(), "requests are numbered");
      if (std::holds_alternative<eval::LogLikelihood>(request.what))
        answers.push_back({request.id, eval::Likelihood{-1.5, false, 1}});
      else
        answers.push_back({request.id, eval::Generated{"So the answer is 1,000.\n#### 4 é", 1}});
    }
    const auto score = evaluation->score(sample, std::move(answers));
    promise(!score || score->scores.size() == evaluation->score_names().size(), "there is a score for each name");
    promise(score.ok() || !score.error().what.empty(), "an error says what");
  }
}

}  // namespace

void task_target(std::string_view bytes) {
  const std::size_t mark = bytes.find(kMark);
  const std::string_view data = mark == std::string_view::npos ? kData : bytes.substr(mark + kMark.size());
  Diagnostics diagnostics;
  const auto root = parse(bytes.substr(0, mark), diagnostics);
  std::optional<eval::Task> task;
  if (root && eval::is_harness_task(*root))
    task = eval::read_harness_task(*root, "input.yaml", diagnostics);
  else if (root)
    task = eval::read_task(*root, "input.yaml", "/nowhere", diagnostics);
  check_messages(diagnostics);
  promise(task.has_value() == diagnostics.ok(), "there is a task, or an error");
  auto documents = eval::parse_documents(data, "input.jsonl");
  promise(documents.ok() || !documents.error().what.empty(), "an error says what");
  if (task && documents) ask(*task, std::move(*documents));
}

}  // namespace orch::fuzz
