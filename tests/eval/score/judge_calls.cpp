// judge_calls < cases > answers: what scripts/check-function-calls compares with the leaderboard's own program.
//
// A case a line: {"category", "function": […], "answer": text, "possible": […], "dots": bool}. An answer a line:
// {"calls": […], "right": bool, "why": text}; "calls" is null where none could be read.
#include <iostream>
#include <string>

#include "eval/score/functions.h"
#include "shown_calls.h"

int main() {
  using namespace orch::eval;
  using Json = nlohmann::ordered_json;
  for (std::string line; std::getline(std::cin, line);) {
    const Json one = Json::parse(line);
    const auto calls = read_python_calls(one.at("answer").get<std::string>());
    const auto task = call_task(one.at("category").get<std::string>());
    if (!task) {
      std::cerr << task.error().what << "\n";
      return 1;
    }
    const Judged judged = judge_calls(*task, one.at("function"), calls, one.at("possible"), one.value("dots", false));
    std::cout << Json{{"calls", calls ? test::shown(*calls) : Json()},
                      {"right", judged.right},
                      {"why", calls ? judged.why : calls.error().what}}
                     .dump()
              << "\n";
  }
}
