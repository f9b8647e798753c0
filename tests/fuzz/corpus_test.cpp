// corpus_test TARGET FOLDER [FILE]: runs a target over each file of its corpus and over mutations of it, always the
// same ones.
//
// The bytes that are being run lie in corpus_test.TARGET.last, in the working folder, while they run: after a crash
// that file is the finding, and `corpus_test TARGET FOLDER FILE` runs it alone.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "targets.h"

namespace {

namespace fs = std::filesystem;

struct Target {
  std::string_view name;
  void (*run)(std::string_view);
  int mutations;  ///< of each file: as many as a test of some seconds has time for under the sanitizers
};

constexpr std::array kTargets = {
    Target{"yaml", orch::fuzz::yaml_target, 800},
    Target{"catalog", orch::fuzz::catalog_target, 150},
    Target{"matrix", orch::fuzz::matrix_target, 800},
    Target{"policy", orch::fuzz::policy_target, 600},
    Target{"cluster", orch::fuzz::cluster_target, 800},
    Target{"template", orch::fuzz::template_target, 500},
    Target{"chat", orch::fuzz::chat_target, 400},
    Target{"history", orch::fuzz::history_target, 800},
    Target{"detect", orch::fuzz::detect_target, 1500},
    Target{"plan", orch::fuzz::plan_target, 500},
    Target{"notify", orch::fuzz::notify_target, 1500},
    Target{"tokenizer", orch::fuzz::tokenizer_target, 300},
    Target{"safetensors", orch::fuzz::safetensors_target, 4000},
    Target{"config", orch::fuzz::config_target, 800},
    Target{"task", orch::fuzz::task_target, 600},
    Target{"rows", orch::fuzz::rows_target, 800},
    Target{"reward", orch::fuzz::reward_target, 600},
    Target{"curve", orch::fuzz::curve_target, 600},
    Target{"checkpoint", orch::fuzz::checkpoint_target, 2000},
    Target{"calls", orch::fuzz::calls_target, 1500},
    Target{"sandbox", orch::fuzz::sandbox_target, 4000},
};

/// PCG's generator with its usual constants: the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::size_t below(std::size_t most) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>(state_ >> 33) % most;
  }

 private:
  std::uint64_t state_;
};

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What mutations put in: numbers at the edges of their types, syntax, broken UTF-8, units.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {"0",
                                                   "-1",
                                                   "1",
                                                   "9223372036854775807",
                                                   "9223372036854775808",
                                                   "-9223372036854775808",
                                                   "18446744073709551616",
                                                   "1e308",
                                                   "1e309",
                                                   "1e-320",
                                                   ".nan",
                                                   ".inf",
                                                   "0.0",
                                                   "2147483648",
                                                   "1e18",
                                                   "999999999T",
                                                   "1e-320s",
                                                   "99999999d",
                                                   "{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   ": ",
                                                   "- ",
                                                   "\n",
                                                   "\n  ",
                                                   "&a ",
                                                   "*a",
                                                   "!!binary ",
                                                   "|\n",
                                                   "\"",
                                                   "'",
                                                   "#",
                                                   "<<: *a\n",
                                                   "? ",
                                                   "\xff",
                                                   "\xc0\x80",
                                                   "\xed\xa0\x80",
                                                   "\xef\xbb\xbf",
                                                   std::string(1, '\0'),
                                                   "\r",
                                                   "\t",
                                                   "{{",
                                                   "}}",
                                                   "{%",
                                                   "%}",
                                                   "*",
                                                   "null",
                                                   "~",
                                                   "true",
                                                   "",
                                                   "bf16",
                                                   "fp8",
                                                   "int4",
                                                   "GiB",
                                                   "h",
                                                   "B",
                                                   ",",
                                                   "---\n",
                                                   "...\n",
                                                   "%YAML 1.2\n"};
  return kPieces;
}

/// The first word at or behind `at`: letters, digits, _ and dots. Empty, at the end, when there is none.
std::pair<std::size_t, std::size_t> word_at(const std::string& text, std::size_t at) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
  const std::size_t begin = std::min(text.find_first_of(kLetters, at), text.size());
  return {begin, std::min(text.find_first_not_of(kLetters, begin), text.size())};
}

std::string mutated(std::string text, const std::vector<std::string>& corpus, Random& random) {
  for (std::size_t steps = 1 + random.below(2) * random.below(4); steps > 0; --steps) {
    const std::size_t at = random.below(text.size() + 1);
    const std::size_t length = std::min(text.size() - at, random.below(16));
    switch (random.below(11)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, pieces()[random.below(pieces().size())]);
        break;
      case 2:
        text.replace(at, length, pieces()[random.below(pieces().size())]);
        break;
      case 3:
        text.insert(at, text.substr(random.below(text.size() + 1), random.below(64)));
        break;
      case 4:
        if (at < text.size()) text[at] = static_cast<char>(random.below(256));
        break;
      case 5: {  // a run of digits becomes another number
        const std::size_t begin = text.find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
        text.replace(begin, end - begin, pieces()[random.below(18)]);
        break;
      }
      case 6: {  // a line goes, or comes twice
        const std::size_t begin = text.rfind('\n', at) == std::string::npos ? 0 : text.rfind('\n', at);
        const std::string line = text.substr(begin, std::min(text.find('\n', at), text.size()) - std::min(begin, at));
        if (random.below(2) == 0)
          text.erase(begin, line.size());
        else
          text.insert(begin, line);
        break;
      }
      case 7: {  // the head of this file and the tail of another
        const std::string& other = corpus[random.below(corpus.size())];
        text = text.substr(0, at) + other.substr(random.below(other.size() + 1));
        break;
      }
      case 8: {  // a number becomes one that may well be meant
        const std::size_t begin = text.find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
        constexpr std::array kNumbers = {1, 2, 3, 5, 6, 7, 8, 16, 64, 100, 1000, 4096};
        text.replace(begin, end - begin, std::to_string(kNumbers[random.below(kNumbers.size())]));
        break;
      }
      default: {  // a word becomes another word of the corpus: what comes out is often well formed
        const std::string& other = corpus[random.below(corpus.size())];
        const auto [begin, end] = word_at(text, at);
        const auto [from, to] = word_at(other, random.below(other.size() + 1));
        text.replace(begin, end - begin, other.substr(from, to - from));
        break;
      }
    }
    // Mutations that grow mutations must not fill memory.
    if (text.size() > 65536) text.resize(65536);
  }
  return text;
}

int run(const Target& target, const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  if (paths.empty()) {
    std::cerr << "no corpus in " << folder << "\n";
    return EXIT_FAILURE;
  }
  std::vector<std::string> corpus;
  for (const fs::path& path : paths) corpus.push_back(read(path));
  const std::string last = "corpus_test." + std::string(target.name) + ".last";
  std::size_t inputs = 0;
  const auto one = [&](const std::string& bytes) {
    std::ofstream(last, std::ios::binary) << bytes;
    target.run(bytes);
    ++inputs;
  };
  for (const std::string& bytes : corpus) one(bytes);
  Random random(20240607);
  for (const std::string& bytes : corpus)
    for (int i = 0; i < target.mutations; ++i) one(mutated(bytes, corpus, random));
  fs::remove(last, error);
  std::cout << target.name << ": " << inputs << " inputs from " << paths.size() << " files\n";
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 || arguments.size() == 3)
    for (const Target& target : kTargets)
      if (target.name == arguments[0]) {
        if (arguments.size() == 2) return run(target, arguments[1]);
        target.run(read(arguments[2]));
        return EXIT_SUCCESS;
      }
  std::cerr << "usage: corpus_test TARGET FOLDER [FILE]\n";
  return 2;
}
