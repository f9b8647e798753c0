// Reward files: rules, a program's words, or the program itself.
#include "reward/load_reward.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/reading.h"
#include "support/temporary.h"

namespace orch::reward {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::SizeIs;
namespace fs = std::filesystem;

std::optional<RewardFile> read(const std::string& text) {
  Diagnostics diagnostics;
  const auto root = parse_yaml(text, "f.yaml", diagnostics);
  auto file = root ? read_reward(*root, "f.yaml", diagnostics) : std::nullopt;
  EXPECT_THAT(test::lines(diagnostics), IsEmpty()) << text;
  return file;
}

std::vector<std::string> problems(const std::string& text) {
  return test::problems(text, [](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    const bool is_read = read_reward(root, file, diagnostics).has_value();
    EXPECT_EQ(is_read, diagnostics.ok());
  });
}

/// Rewards of two completions that are called a and b.
Result<std::vector<double>> rewards(RewardFile file, std::vector<std::string> environment = {}) {
  auto reward = make_reward(std::move(file), std::move(environment));
  if (!reward) return reward.error();
  std::vector<Completion> completions(2);
  completions[0].text = "a";
  completions[1].text = "b";
  return (*reward)->of(completions);
}

TEST(RewardFiles, HaveRulesOrAProgram) {
  const auto rules = read("rules: [{kind: contains, weight: 2, text: b}]");
  ASSERT_TRUE(rules);
  EXPECT_THAT(*rewards(*rules), ElementsAre(0, 2));
  const auto program = read("command: [sh, -c, 'read a; echo 1; echo \"{\\\"reward\\\": 2.5}\"']\nlimit: 90s\n");
  ASSERT_TRUE(program);
  const auto* settings = std::get_if<CommandSettings>(&*program);
  ASSERT_NE(settings, nullptr);
  EXPECT_EQ(settings->limit, 90s);
  EXPECT_THAT(settings->run, SizeIs(3));
  EXPECT_THAT(*rewards(*program), ElementsAre(1, 2.5));
}

TEST(RewardFiles, GiveAProgramFiveMinutesUnlessTheySayOtherwise) {
  const auto limit = [](const std::string& text) { return std::get<CommandSettings>(*read(text)).limit; };
  EXPECT_EQ(limit("command: [a]"), 5min);
  EXPECT_EQ(limit("{command: [a], limit: 2h}"), 2h);
  EXPECT_EQ(limit("{command: [a], limit: 1d}"), 24h);
  EXPECT_EQ(std::get<CommandSettings>(*read("command: /shared/reward")).run,
            std::vector<std::string>{"/shared/reward"});
}

TEST(RewardFiles, SayWhatIsWrongWithAProgram) {
  EXPECT_THAT(problems("command: []"), ElementsAre(HasSubstr("f.yaml:1:10: 'command' must be the program's words")));
  EXPECT_THAT(problems("command: ['', a]"), ElementsAre(HasSubstr("'command' must be the program's words")));
  EXPECT_THAT(problems("command: {run: a}"), ElementsAre(HasSubstr("'command' must be a list of texts")));
  EXPECT_THAT(problems("command: [a]\nlimit: 90"), ElementsAre(HasSubstr("f.yaml:2:8: 'limit' must be a duration")));
  EXPECT_THAT(problems("command: [a]\nlimit: 2d"), ElementsAre(HasSubstr("f.yaml:2:8: 'limit' must be")));
  EXPECT_THAT(problems("command: [a]\nlimit: 0s"), ElementsAre(HasSubstr("f.yaml:2:8: 'limit' must be")));
  EXPECT_THAT(problems("command: [a]\nlimits: 2h"), ElementsAre(HasSubstr("'limits'; did you mean 'limit'?")));
  // It is one or the other.
  EXPECT_THAT(problems("command: [a]\nrules: [{kind: ended, weight: 1}]"), ElementsAre(HasSubstr("no key 'rules'")));
  EXPECT_THAT(problems("rules: [{kind: ended, weight: 1}]\nlimit: 2h"), ElementsAre(HasSubstr("no key 'limit'")));
}

TEST(RewardFiles, MayBeTheProgramItself) {
  const test::TemporaryFolder folder;
  const std::string script = "#!/bin/sh\nread a\nread b\necho \"$1${ORCH_TEST_REWARD:-7}\"\necho 8\n";
  const fs::path program = folder / "judge", rules = folder / "judge.yaml";
  std::ofstream(program) << script;
  std::ofstream(rules) << "rules: [{kind: contains, weight: 3, text: a}]\n";
  for (const fs::path& file : {program, rules}) fs::permissions(file, fs::perms::owner_all);
  Diagnostics diagnostics;
  const auto loaded = load_reward(program, diagnostics);
  ASSERT_TRUE(loaded);
  EXPECT_THAT(*rewards(*loaded), ElementsAre(7, 8));
  EXPECT_THAT(*rewards(*loaded, {"PATH=/usr/bin:/bin", "ORCH_TEST_REWARD=5"}), ElementsAre(5, 8));
  // What is called .yaml is read, whoever may run it.
  const auto by_rules = load_reward(rules, diagnostics);
  ASSERT_TRUE(by_rules);
  EXPECT_THAT(*rewards(*by_rules), ElementsAre(3, 0));
  EXPECT_TRUE(diagnostics.ok());
  // One that may not be run is no program, and no YAML either; a folder is neither.
  fs::permissions(program, fs::perms::owner_read);
  EXPECT_FALSE(load_reward(program, diagnostics));
  EXPECT_FALSE(load_reward(folder.path(), diagnostics));
  EXPECT_FALSE(load_reward(folder / "none.yaml", diagnostics));
  EXPECT_GE(diagnostics.error_count(), 3U);
}

}  // namespace
}  // namespace orch::reward
