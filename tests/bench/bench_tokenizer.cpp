// orch_bench_tokenizer FOLDER TEXTS: encodes the texts of a JSON list, one after the other on one thread, with the
// tokenizer of a model's folder; prints {"bytes", "tokens", "seconds"} of the fastest of five rounds. The texts of a
// round come in the order of the list, so words that come again are met as they are in an evaluation.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/tokenizer/tokenizer.h"

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: orch_bench_tokenizer FOLDER TEXTS\n";
    return 2;
  }
  const auto tokenizer = orch::tokenizer::Tokenizer::open(arguments[1]);
  if (!tokenizer) {
    std::cerr << tokenizer.error().what << "\n";
    return 1;
  }
  std::ifstream file(arguments[2]);
  const auto texts = nlohmann::json::parse(file).get<std::vector<std::string>>();
  std::size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  double best = 1e9;
  std::size_t tokens = 0;
  for (int round = 0; round < 5; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    tokens = 0;
    for (const std::string& text : texts) {
      const auto ids = tokenizer->encode(text);
      if (!ids) {
        std::cerr << ids.error().what << "\n";
        return 1;
      }
      tokens += ids->size();
    }
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::cout << nlohmann::json{{"bytes", bytes}, {"tokens", tokens}, {"seconds", best}} << "\n";
}
