#include "base/diagnostics.h"

#include <algorithm>
#include <ostream>
#include <tuple>

#include "base/text.h"

namespace orch {
namespace {

constexpr std::size_t kLongestPath = 4096;
constexpr std::size_t kLongestMessage = 2000;

}  // namespace

std::string to_string(const Place& place) {
  std::string text = shown(place.file, kLongestPath);
  if (place.line > 0) text += ":" + std::to_string(place.line) + ":" + std::to_string(std::max(place.column, 1));
  return text;
}

void Diagnostics::error(const Place& place, std::string_view what) {
  if (errors_.size() == kMost) {
    ++dropped_;
    return;
  }
  Problem problem{place, shown(what, kLongestMessage)};
  // Two checks may find one fault (a key of the wrong type that is also required); it is told once.
  if (std::ranges::find(errors_, problem) != errors_.end()) return;
  errors_.push_back(std::move(problem));
}

void Diagnostics::warn(const Place& place, std::string_view what) {
  Problem problem{place, shown(what, kLongestMessage)};
  if (warnings_.size() < kMost && std::ranges::find(warnings_, problem) == warnings_.end())
    warnings_.push_back(std::move(problem));
}

std::vector<Problem> Diagnostics::errors() const {
  std::vector<std::string> files;
  for (const Problem& problem : errors_)
    if (std::ranges::find(files, problem.place.file) == files.end()) files.push_back(problem.place.file);
  std::vector<Problem> sorted = errors_;
  std::ranges::stable_sort(sorted, [&](const Problem& a, const Problem& b) {
    const auto rank = [&](const Problem& p) {
      return std::tuple(std::ranges::find(files, p.place.file) - files.begin(), p.place.line, p.place.column);
    };
    return rank(a) < rank(b);
  });
  return sorted;
}

void Diagnostics::print(std::ostream& out) const {
  for (const Problem& problem : errors()) out << to_string(problem.place) << ": " << problem.what << "\n";
  if (dropped_) out << "… and " << counted(static_cast<long long>(dropped_), "more error") << "\n";
  for (const Problem& problem : warnings_) out << to_string(problem.place) << ": note: " << problem.what << "\n";
}

}  // namespace orch
