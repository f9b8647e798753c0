#include <nlohmann/json.hpp>
#include <string>

#include "eval/score/answers.h"
#include "eval/score/functions.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kMark = "\n---8<---\n";

const ordered_json& functions() {
  static const ordered_json kFunctions =
      ordered_json::parse(R"j([{"name": "f.g", "parameters": {"type": "dict", "properties": {
    "a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "float"}}, "c": {"type": "dict"},
    "d": {"type": "array", "items": {"type": "dict"}}, "e": {"type": "string"}, "t": {"type": "tuple", "items": {"type": "any"}}},
    "required": ["a"]}}])j");
  return kFunctions;
}

const ordered_json& answers() {
  static const ordered_json kAnswers = ordered_json::parse(R"j([{"f.g": {"a": [1, ""], "b": [[1.0, 2.5], ""],
    "c": [{"x": [1, ""], "y": ["z"]}], "d": [[{"x": [1]}], ""], "e": ["Oslo", "x, y"], "t": [["p", 1], ""]}}])j");
  return kAnswers;
}

void judge(const ordered_json& described, const Result<std::vector<eval::Call>>& calls, const ordered_json& possible) {
  for (const eval::CallTask task : {eval::CallTask::kSimple, eval::CallTask::kMultiple, eval::CallTask::kParallel,
                                    eval::CallTask::kIrrelevance, eval::CallTask::kRelevance}) {
    const eval::Judged judged = eval::judge_calls(task, described, calls, possible);
    promise(judged.right == judged.why.empty(), "what is wrong is told, and only that");
  }
}

}  // namespace

void calls_target(std::string_view bytes) {
  const std::size_t mark = bytes.find(kMark);
  const std::string_view answer = bytes.substr(0, mark);
  for (const auto& calls : {eval::read_python_calls(answer), eval::read_json_calls(answer)}) {
    if (!calls) promise(!calls.error().what.empty(), "an error says what");
    judge(functions(), calls, answers());
    if (mark == std::string_view::npos) continue;
    // What a task's file holds, in the same form: {"function": …, "possible": …}.
    const auto task = ordered_json::parse(bytes.substr(mark + kMark.size()), nullptr, false);
    if (task.is_object()) judge(task.value("function", ordered_json()), calls, task.value("possible", ordered_json()));
  }
  const std::vector<std::string> references = {std::string(answer.substr(0, 200)), "Oslo", ""};
  const double likeness = eval::anls(answer.substr(0, 1000), references);
  promise(likeness >= 0 && likeness <= 1, "a likeness is a share");
  (void)eval::relaxed_match(answer, "12.5%");
  (void)eval::choice_of(answer, references);
}

}  // namespace orch::fuzz
