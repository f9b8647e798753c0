// docs/rewards.md: its files are read, and its completions are worth what it says.
#include <gmock/gmock.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/reading.h"
#include "base/text.h"
#include "reward/load_reward.h"
#include "support/source_dir.h"
#include "support/temporary.h"

namespace orch::reward {
namespace {

using testing::DoubleNear;
using testing::IsEmpty;
using testing::Pointwise;

struct Block {
  std::string mark;      ///< of the comment before it; empty: none
  std::string language;  ///< as it stands behind the fence
  std::string text;
};

std::string page() {
  std::ostringstream text;
  text << std::ifstream(test::source_dir() / "docs/rewards.md").rdbuf();
  return text.str();
}

std::vector<Block> blocks() {
  std::vector<Block> blocks;
  std::istringstream lines(page());
  std::string line, mark;
  bool is_open = false;
  while (std::getline(lines, line)) {
    if (is_open && line == "```")
      is_open = false;
    else if (is_open)
      blocks.back().text += line + "\n";
    else if (line.starts_with("```")) {
      blocks.push_back({std::exchange(mark, ""), line.substr(3), ""});
      is_open = true;
    } else if (line.starts_with("<!-- ") && line.ends_with(" -->")) {
      mark = line.substr(5, line.size() - 9);
    } else if (!line.empty()) {
      mark.clear();
    }
  }
  return blocks;
}

std::vector<Completion> completions_of(const std::string& text) {
  std::vector<Completion> completions;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    Completion completion;
    completion.text = json.at("completion").get<std::string>();
    completion.tokens = json.value("tokens", 0);
    completion.is_ended = json.value("ended", false);
    if (json.contains("row")) completion.other = json.at("row").dump();
    completions.push_back(std::move(completion));
  }
  return completions;
}

std::vector<double> numbers_of(const std::string& text) {
  std::istringstream lines(text);
  std::vector<double> numbers;
  for (double number = 0; lines >> number;) numbers.push_back(number);
  return numbers;
}

TEST(RewardsPage, HoldsWhatItSays) {
  const test::TemporaryFolder folder;
  std::unique_ptr<Reward> reward;
  std::vector<Completion> completions;
  int files = 0, programs = 0, commands = 0, checked = 0;
  for (const Block& block : blocks()) {
    if (block.language == "yaml") {
      Diagnostics diagnostics;
      const auto root = parse_yaml(block.text, "page.yaml", diagnostics);
      auto read = root ? read_reward(*root, "page.yaml", diagnostics) : std::nullopt;
      EXPECT_THAT(test::lines(diagnostics), IsEmpty()) << block.text;
      EXPECT_THAT(diagnostics.warnings(), IsEmpty()) << block.text;
      ASSERT_TRUE(read);
      const bool is_program = std::holds_alternative<CommandSettings>(*read);
      EXPECT_EQ(block.mark, is_program ? "file of a command" : "file") << block.text;
      if (is_program) {  // which lies somewhere else
        ++programs;
        continue;
      }
      reward = std::make_unique<RuleReward>(std::get<Rules>(*std::move(read)));
      ++files;
    } else if (block.mark == "command") {
      std::ofstream(folder / "reward.py") << block.text;
      CommandSettings settings;
      settings.run = {"python3", (folder / "reward.py").string()};
      auto command = CommandReward::make(settings);
      ASSERT_TRUE(command);
      reward = std::make_unique<CommandReward>(*std::move(command));
      ++commands;
    } else if (block.mark == "completions") {
      completions = completions_of(block.text);
    } else if (block.mark == "rewards") {
      ASSERT_TRUE(reward);
      const auto rewards = reward->of(completions);
      ASSERT_TRUE(rewards) << rewards.error().what;
      EXPECT_THAT(*rewards, Pointwise(DoubleNear(1e-12), numbers_of(block.text)));
      ++checked;
    } else {
      ADD_FAILURE() << "a block of which nobody knows what it is: " << block.text;
    }
  }
  EXPECT_EQ(files, 4);
  EXPECT_EQ(programs, 1);
  EXPECT_EQ(commands, 1);
  EXPECT_EQ(checked, files + commands);
}

TEST(RewardsPage, HasAllKeysAndWordsOfTheSchema) {
  const std::string whole = page();
  std::ifstream file(test::source_dir() / "docs/schemas/reward.json");
  const auto schema = nlohmann::json::parse(file);
  for (const auto& [key, of] : schema.at("properties").items())
    EXPECT_THAT(whole, testing::HasSubstr("\n| `" + key + "` |"));
  int kinds = 0;
  for (const auto& [name, value] : schema.at("$defs").items()) {
    if (!value.contains("properties")) continue;
    ++kinds;
    const std::size_t at = whole.find("\n| `" + name + "` |");
    ASSERT_NE(at, std::string::npos) << name;
    const std::string row = whole.substr(at + 1, whole.find('\n', at + 1) - at - 1);
    for (const auto& [key, of] : value.at("properties").items()) {
      if (key == "kind" || key == "name" || key == "weight") continue;
      EXPECT_THAT(row, testing::HasSubstr("`" + key + "`")) << name;
      for (const auto& word : of.value("enum", nlohmann::json::array()))
        EXPECT_THAT(whole, testing::HasSubstr(word.get<std::string>())) << name;
    }
  }
  EXPECT_EQ(kinds, 8);
}

}  // namespace
}  // namespace orch::reward
