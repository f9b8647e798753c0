// ask TASK.yaml [FOLDER]: checks a task file; with the folder of its data prints what it asks, as lines of JSON.
#include <iostream>

#include "eval/evaluation.h"

int main(int argc, char** argv) {
  using namespace orch::eval;
  if (argc < 2 || argc > 3) return 2;
  orch::Diagnostics diagnostics;
  const auto task = load_task(argv[1], diagnostics);
  diagnostics.print(std::cerr);
  if (!task) return 1;
  if (argc == 2) return 0;
  const auto evaluation = Evaluation::open(*task, argv[2], {}, {{task->scorer.name, {}}});
  if (!evaluation) {
    std::cerr << evaluation.error().what << "\n";
    return 1;
  }
  for (std::size_t sample = 0; sample < evaluation->questions().size(); ++sample) {
    const auto requests = evaluation->questions().requests(sample);
    if (!requests) {
      std::cerr << requests.error().what << "\n";
      return 1;
    }
    for (const Request& request : *requests) {
      if (const auto* likelihood = std::get_if<LogLikelihood>(&request.what))
        std::cout << Json{{"context", likelihood->context}, {"continuation", likelihood->continuation}}.dump() << "\n";
      else
        std::cout << Json{{"prompt", std::get<Generation>(request.what).prompt}}.dump() << "\n";
    }
  }
  return 0;
}
