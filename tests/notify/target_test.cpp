// notify.yaml: what it may say, and what is wrong with what it says.
#include "notify/target.h"

#include <gmock/gmock.h>

#include <sstream>

namespace orch::notify {
namespace {

using control::NoticeKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

struct Reading {
  std::optional<std::vector<Target>> targets;
  std::string problems;
};

Reading read(const std::string& text) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "notify.yaml", diagnostics);
  Reading reading;
  if (root) reading.targets = read_targets(*root, "notify.yaml", diagnostics);
  std::ostringstream problems;
  diagnostics.print(problems);
  reading.problems = problems.str();
  return reading;
}

TEST(Targets, AreReadInTheirThreeWays) {
  const Reading reading = read(
      "notify:\n"
      "  - {on: [sweep_ended, budget], mail: mara@example.org}\n"
      "  - {on: alert, webhook: 'https://chat.example.org:8443/hooks/T0?key=secret'}\n"
      "  - command: [/home/mara/bin/page, -v]\n");
  ASSERT_TRUE(reading.targets) << reading.problems;
  ASSERT_THAT(*reading.targets, SizeIs(3));
  const auto& [mail, hook, command] = std::tie((*reading.targets)[0], (*reading.targets)[1], (*reading.targets)[2]);
  EXPECT_THAT(mail.on, ElementsAre(NoticeKind::kSweepEnded, NoticeKind::kBudget));
  EXPECT_EQ(std::get<Mail>(mail.way).address, "mara@example.org");
  EXPECT_TRUE(hook.wants(NoticeKind::kAlert));
  EXPECT_FALSE(hook.wants(NoticeKind::kBudget));
  EXPECT_EQ(hook.name(), "the webhook at chat.example.org:8443") << "what is secret is not shown";
  EXPECT_THAT(std::get<Command>(command.way).argv, ElementsAre("/home/mara/bin/page", "-v"));
  EXPECT_THAT(command.on, SizeIs(3)) << "without 'on' it is everything";
}

TEST(Targets, OfAnEmptyListAreNone) {
  const Reading reading = read("notify: []\n");
  ASSERT_TRUE(reading.targets) << reading.problems;
  EXPECT_THAT(*reading.targets, SizeIs(0));
}

struct Bad {
  std::string text, says;
};
class BadTargets : public testing::TestWithParam<Bad> {};

TEST_P(BadTargets, AreToldWithTheirPlace) {
  const Reading reading = read(GetParam().text);
  EXPECT_FALSE(reading.targets);
  EXPECT_THAT(reading.problems, HasSubstr(GetParam().says));
  EXPECT_THAT(reading.problems, HasSubstr("notify.yaml:"));
}

INSTANTIATE_TEST_SUITE_P(Each, BadTargets,
                         testing::Values(Bad{"notify: 3", "must be a list"}, Bad{"tell: []", "no key 'tell'"},
                                         Bad{"notify: [{on: [alerts], mail: a@b}]", "did you mean 'alert'"},
                                         Bad{"notify: [{on: [], mail: a@b}]", "'on' is empty"},
                                         Bad{"notify: [{mail: a@b, webhook: 'https://x'}]", "has one of"},
                                         Bad{"notify: [{on: alert}]", "has one of"},
                                         Bad{"notify: [{mail: '-oQ/tmp'}]", "one address"},
                                         Bad{"notify: [{mail: 'a@b,c@d'}]", "one address"},
                                         Bad{"notify: [{mail: \"a@b\\nBcc: c\"}]", "one address"},
                                         Bad{"notify: [{webhook: 'file:///etc/passwd'}]", "https://"},
                                         Bad{"notify: [{webhook: 'https://'}]", "https://"},
                                         Bad{"notify: [{webhook: \"https://a\\\" next\"}]", "https://"},
                                         Bad{"notify: [{command: []}]", "program and its arguments"},
                                         Bad{"notify: [{command: [a], when: now}]", "no key 'when'"}));

TEST(Targets, KeepTheSecretOfAWebhookOutOfMessages) {
  EXPECT_THAT(read("notify: [{webhook: 'ftp://chat.example.org/SECRET'}]").problems, Not(HasSubstr("SECRET")));
}

}  // namespace
}  // namespace orch::notify
