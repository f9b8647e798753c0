#include <cmath>

#include "base/text.h"
#include "promise.h"
#include "reward/load_reward.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

using namespace reward;

constexpr std::string_view kMark = "\n---8<---\n";
constexpr std::string_view kSaid =
    "<think>6 * 7 = 42, or \\boxed{\\frac12}</think> <answer>$1,200.5</answer> a a a a \xff";

std::string row() {
  return R"({"answer": ["42", 1200.5, true], "solution": "so \\boxed{0.5}", "text": "#### 42", "a": "x"})";
}

void check(RuleReward& reward, const std::string& text) {
  Completion completion;
  completion.text = text;
  completion.tokens = static_cast<std::int64_t>(text.size() / 4);
  completion.other = row();
  const auto lack = reward.lacks(completion.other);
  promise(!lack || (!lack->what.empty() && is_utf8(lack->what)), "an error says what");
  const auto scores = reward.scores(completion);
  const auto rewards = reward.of(std::vector{completion});
  promise(scores.ok() == rewards.ok(), "there are scores where there are rewards");
  if (!rewards) {
    promise(rewards.error().what.starts_with("input.yaml:") && is_utf8(rewards.error().what),
            "an error has its rule's place");
    return;
  }
  promise(!lack, "a row that lacks something is worth nothing");
  promise(scores->size() == reward.rules().rules.size(), "there is a score for each rule");
  for (const double score : *scores) promise(score >= 0 && score <= 1, "a score is from 0 to 1");
  promise(rewards->size() == 1 && std::abs((*rewards)[0]) <= kMostReward, "a reward is finite");
}

}  // namespace

void reward_target(std::string_view bytes) {
  const std::size_t mark = bytes.find(kMark);
  const std::string_view said = mark == std::string_view::npos ? kSaid : bytes.substr(mark + kMark.size());
  Diagnostics diagnostics;
  const auto root = parse(bytes.substr(0, mark), diagnostics);
  auto file = root ? read_reward(*root, "input.yaml", diagnostics) : std::nullopt;
  check_messages(diagnostics);
  promise(file.has_value() == diagnostics.ok(), "there is a reward, or an error");
  if (const auto* program = file ? std::get_if<CommandSettings>(&*file) : nullptr) {  // it is not run
    promise(!program->run.empty() && !program->run.front().empty(), "a program has a name");
    promise(program->limit >= std::chrono::seconds(1) && program->limit <= std::chrono::hours(24), "it has an end");
    return;
  }
  auto* rules = file ? std::get_if<Rules>(&*file) : nullptr;
  // A hundred patterns that take as long as they may are minutes; one input has seconds.
  if (!rules || rules->rules.size() > 5) return;
  RuleReward reward(*std::move(rules));
  check(reward, std::string(said));
}

}  // namespace orch::fuzz
