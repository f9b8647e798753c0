#include "eval/score/scorers.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "base/text.h"
#include "eval/doc_text.h"
#include "eval/score/answers.h"
#include "eval/score/code.h"
#include "eval/score/functions.h"

namespace orch::eval {
namespace {

using namespace std::chrono_literals;

std::string text_of(const Document& document, const char* field) {
  const auto found = document.find(field);
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::vector<std::string> texts_of(const Json& value) {
  std::vector<std::string> texts;
  if (value.is_array())
    for (const Json& each : value) texts.push_back(printed(each));
  else
    texts.push_back(printed(value));
  return texts;
}

sandbox::Limits limits_of(const Document& document) {
  sandbox::Limits limits;
  // What a contest allows is for a compiled language and another machine.
  if (const auto given = document.find("time_limit");
      given != document.end() && given->is_number() && given->get<double>() > 0) {
    const auto most = std::chrono::milliseconds(static_cast<std::int64_t>(std::min(given->get<double>(), 60.0) * 3000));
    limits.wall = std::max(limits.wall, most);
    limits.cpu = std::max(limits.cpu, std::chrono::ceil<std::chrono::seconds>(most));
  }
  return limits;
}

/// A program that reads from its standard input, against what it should print. Each input is a run.
Result<double> by_output(const sandbox::Sandbox& box, const sandbox::Python& python, const std::string& code,
                         const std::vector<std::pair<std::string, std::string>>& tests, const sandbox::Limits& limits) {
  for (const auto& [input, output] : tests) {
    const auto outcome = sandbox::run_python_with_input(box, code, input, limits, python);
    if (!outcome) return outcome.error();
    if (outcome->end != sandbox::End::kExited || outcome->code != 0 || !same_output(outcome->output, output))
      return 0.0;
  }
  return tests.empty() ? 0.0 : 1.0;
}

/// APPS keeps its tests as a text of JSON: inputs and outputs, and where a function is asked for, its name.
Result<double> apps(const sandbox::Sandbox& box, const sandbox::Python& python, const Document& document,
                    const std::string& code) {
  const Json tests = Json::parse(text_of(document, "input_output"), nullptr, false);
  const auto is_list = [&](const char* field) {
    return tests.is_object() && tests.contains(field) && tests[field].is_array();
  };
  if (!is_list("inputs") || !is_list("outputs") || tests["inputs"].size() != tests["outputs"].size())
    return Error{"'input_output' holds no inputs with their outputs"};
  if (tests.contains("fn_name") && tests["fn_name"].is_string()) {
    // The name goes into a program: it must be one.
    const std::string name = tests["fn_name"];
    const bool is_name =
        !name.empty() &&
        name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == std::string::npos;
    if (!is_name) return Error{"'fn_name' is no name of a function: " + shown(name)};
    std::string program = "import json\n" + code + "\n_call = getattr(Solution(), '" + name +
                          "') if 'Solution' in globals() else " + name + "\n";
    for (std::size_t i = 0; i < tests["inputs"].size(); ++i) {
      // As a Python text of JSON: quoted twice.
      program += "_got, _want = _call(*json.loads(" + Json(tests["inputs"][i].dump()).dump() + ")), json.loads(" +
                 Json(tests["outputs"][i].dump()).dump() + ")\n";
      program += "_got = list(_got) if isinstance(_got, tuple) else _got\n";
      program += "assert _got == _want or (isinstance(_want, list) and _want and _got == _want[0])\n";
    }
    const auto verdict = sandbox::run_python(box, program, limits_of(document), python);
    if (!verdict) return verdict.error();
    return verdict->passed ? 1.0 : 0.0;
  }
  std::vector<std::pair<std::string, std::string>> runs;
  for (std::size_t i = 0; i < tests["inputs"].size(); ++i)
    runs.emplace_back(printed(tests["inputs"][i]), printed(tests["outputs"][i]));
  return by_output(box, python, code, runs, limits_of(document));
}

/// By what the question holds: HumanEval's function, MBPP's asserts, programs that are given input.
Result<double> code_passes(const sandbox::Sandbox& box, const sandbox::Python& python, const ScorerInput& it) {
  const Document& document = it.document;
  if (document.contains("libs")) return Error{"BigCodeBench's tests need its own packages, and cannot be run here"};
  if (document.contains("input_output")) return apps(box, python, document, it.answer);
  if (const auto tests = document.find("tests"); tests != document.end() && tests->is_array()) {
    std::vector<std::pair<std::string, std::string>> runs;
    for (const Json& test : *tests)
      if (test.is_object()) runs.emplace_back(text_of(test, "input"), text_of(test, "output"));
    return by_output(box, python, it.answer, runs, limits_of(document));
  }
  std::string program;
  if (const auto asserts = document.find("test_list"); asserts != document.end())
    program = mbpp_program(it.answer, texts_of(*asserts), text_of(document, "test_setup_code"));
  else if (document.contains("entry_point"))
    program = humaneval_program(text_of(document, "prompt"), it.answer, text_of(document, "test"),
                                text_of(document, "entry_point"));
  else
    return Error{
        "it has no tests of a kind that is known: 'test' with 'entry_point', 'test_list', 'input_output' or 'tests'"};
  const auto verdict = sandbox::run_python(box, program, limits_of(document), python);
  if (!verdict) return verdict.error();
  return verdict->passed ? 1.0 : 0.0;
}

Result<double> calls_right(const ScorerInput& it) {
  const auto task = call_task(text_of(it.document, "category"));
  if (!task) return task.error();
  const Json functions = it.document.value("function", Json::array());
  return judge_calls(*task, functions, read_python_calls(it.answer), it.document.value("ground_truth", Json::array()))
                 .right
             ? 1.0
             : 0.0;
}

Result<double> letter_right(const ScorerInput& it) {
  std::vector<std::string> options;
  for (const char* field : {"options", "choices"})
    if (const auto found = it.document.find(field); found != it.document.end()) {
      // MMMU keeps its options as a text.
      const Json given = found->is_string() ? Json::parse(found->get<std::string>(), nullptr, false) : Json(*found);
      if (given.is_array() && options.empty()) options = texts_of(given);
    }
  const std::string target = printed(it.target);
  if (options.empty()) return lower(trim(it.answer)) == lower(trim(target)) ? 1.0 : 0.0;
  const auto chosen = choice_of(it.answer, options);
  return chosen && target.size() == 1 && target[0] == static_cast<char>('A' + *chosen) ? 1.0 : 0.0;
}

}  // namespace

bool runs_programs(const Task& task) { return task.kind == Kind::kGenerate && task.scorer.name == "code"; }

Scorers all_scorers(const sandbox::Sandbox* sandbox, const sandbox::Python& python) {
  Scorers all;
  all["function_call"] = calls_right;
  all["choice_letter"] = letter_right;
  all["anls"] = [](const ScorerInput& it) -> Result<double> { return anls(it.answer, texts_of(it.target)); };
  all["relaxed_accuracy"] = [](const ScorerInput& it) -> Result<double> {
    const std::vector<std::string> targets = texts_of(it.target);
    return std::any_of(targets.begin(), targets.end(),
                       [&](const std::string& target) { return relaxed_match(it.answer, target); })
               ? 1.0
               : 0.0;
  };
  if (sandbox) all["code"] = [sandbox, python](const ScorerInput& it) { return code_passes(*sandbox, python, it); };
  return all;
}

}  // namespace orch::eval
