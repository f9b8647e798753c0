#include "reward/command.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "support/temporary.h"

namespace orch::reward {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

CommandSettings shell(const std::string& script) {
  CommandSettings settings;
  settings.run = {"sh", "-c", script};
  settings.limit = 60s;
  return settings;
}

Result<std::vector<double>> rewards(CommandSettings settings, std::size_t count = 2) {
  auto command = CommandReward::make(std::move(settings));
  if (!command) return command.error();
  std::vector<Completion> completions(count);
  for (std::size_t i = 0; i < count; ++i) completions[i].text = "c" + std::to_string(i);
  return command->of(completions);
}

std::string error(CommandSettings settings, std::size_t count = 2) {
  const auto given = rewards(std::move(settings), count);
  return given ? "no error" : given.error().what;
}

std::string content(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

/// Once killed it may still be known until the process that adopted it reaps it: then it is gone, or a zombie (Z).
bool runs(long id) {
  std::ifstream stat("/proc/" + std::to_string(id) + "/stat");
  std::string word, letter;
  return stat >> word >> word >> letter && letter != "Z" && letter != "X";
}

bool ends_soon(long id) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (runs(id) && std::chrono::steady_clock::now() < deadline) {
  }
  return !runs(id);
}

TEST(Command, GivesANumberForEachLine) {
  const auto given =
      rewards(shell("cat >/dev/null; printf '1\\n -0.5 \\r\\n{\"reward\": 2e3, \"why\": \"x\"}\\n+3'"), 4);
  ASSERT_TRUE(given) << given.error().what;
  EXPECT_THAT(*given, ElementsAre(1, -0.5, 2000, 3));
}

TEST(Command, IsToldAllOfACompletion) {
  const test::TemporaryFolder folder;
  CommandSettings settings;
  settings.run = {"sh", "-c", "cat > \"$1\"; echo 1; echo 2", "sh", (folder / "in").string()};
  auto command = CommandReward::make(settings);
  ASSERT_TRUE(command);
  const std::vector<Completion> completions{
      {"say\n\"hi\"", "hi\xff\xf0\x9f", 3, true, "{\"answer\":\n [1, 2.5], \"é\": null}", 7},
      {"p", "", 0, false, "", 8}};
  const auto given = command->of(completions);
  ASSERT_TRUE(given) << given.error().what;
  EXPECT_EQ(content(folder / "in"),
            "{\"prompt\":\"say\\n\\\"hi\\\"\",\"completion\":\"hi\uFFFD\uFFFD\uFFFD\",\"tokens\":3,\"ended\":true,"
            "\"group\":7,"
            "\"row\":{\"answer\":[1,2.5],\"é\":null}}\n"
            "{\"prompt\":\"p\",\"completion\":\"\",\"tokens\":0,\"ended\":false,\"group\":8,\"row\":{}}\n");
}

TEST(Command, IsNotStartedForNothing) {
  const test::TemporaryFolder folder;
  CommandSettings settings;
  settings.run = {"touch", (folder / "started").string()};
  const auto given = rewards(settings, 0);
  ASSERT_TRUE(given);
  EXPECT_THAT(*given, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(folder / "started"));
}

TEST(Command, GetsItsWordsThroughNoShell) {
  CommandSettings settings;
  settings.run = {"printf", "%s\\n", "1", "$(echo 2)"};
  EXPECT_THAT(error(settings), HasSubstr("'printf' printed '$(echo 2)' as line 2; expected a number"));
}

TEST(Command, MayLeaveItsInputUnread) {
  // More than a pipe holds.
  auto command = CommandReward::make(shell("echo 1"));
  ASSERT_TRUE(command);
  Completion completion;
  completion.text = std::string(1 << 20, 'x');
  const auto given = command->of(std::vector{completion});
  ASSERT_TRUE(given) << given.error().what;
  EXPECT_THAT(*given, ElementsAre(1));
}

TEST(Command, PrintsALineForEachCompletion) {
  EXPECT_EQ(error(shell("echo 1")), "the reward's command 'sh' printed 1 line for 2 completions");
  EXPECT_EQ(error(shell("echo lost >&2")), "the reward's command 'sh' printed 0 lines for 2 completions: lost");
  EXPECT_EQ(error(shell("echo 1; echo; echo 2")), "the reward's command 'sh' printed 3 lines for 2 completions");
  EXPECT_EQ(error(shell("echo 1; echo 2; echo; echo")), "no error") << "what is empty at the end is no line";
}

TEST(Command, PrintsFiniteNumbers) {
  const auto second = [](const std::string& line) {
    return error(shell("cat >/dev/null; printf '%s\\n' 1 '" + line + "'"));
  };
  const std::string expected = "; expected a number, or a JSON object with a number as \"reward\"";
  for (const char* line : {"nan", "inf", "-inf", "2e9", "{\"reward\": -2e9}"})
    EXPECT_EQ(second(line), "the reward's command 'sh' printed '" + std::string(line) +
                                "' as line 2, which is no number from -1e9 to 1e9");
  for (const char* line : {"one", "1 2", "1e999", "0x10", "{\"reward\": \"1\"}", "{\"score\": 1}", "{\"reward\": 1",
                           "[1]", "{\"reward\": null}", "{\"reward\": NaN}"})
    EXPECT_EQ(second(line), "the reward's command 'sh' printed '" + std::string(line) + "' as line 2" + expected);
  EXPECT_EQ(error(shell("printf '1\\n\\033[31m\\377\\n'")),
            "the reward's command 'sh' printed '\\x1b[31m\uFFFD' as line 2" + expected);
}

TEST(Command, SaysHowItEndedAndWhatItSaidLast) {
  EXPECT_EQ(error(shell("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; echo 1; echo 2; exit 3")),
            "the reward's command 'sh' ended with code 3: line 3 | line 4 | line 5 | line 6 | line 7");
  EXPECT_EQ(error(shell("kill -SEGV $$")), "the reward's command 'sh' was ended by signal 11");
  // What it says may be long; its end is kept.
  EXPECT_THAT(error(shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2; exit 1")),
              EndsWith("| the end"));
}

TEST(Command, IsSaidNotToBeThere) {
  CommandSettings settings;
  settings.run = {"orch-no-such-program"};
  EXPECT_EQ(
      error(settings),
      "the reward's command 'orch-no-such-program' was not run: it could not be started: No such file or directory");
  settings.run = {"/"};
  EXPECT_THAT(error(settings), HasSubstr("it could not be started: Permission denied"));
}

TEST(Command, IsRefusedWhereItCannotBeOne) {
  EXPECT_THAT(error({}), HasSubstr("names no program"));
  CommandSettings settings;
  settings.run = {"sh", std::string("a\0b", 3)};
  EXPECT_THAT(error(settings), HasSubstr("has a NUL in it"));
  settings = shell("echo 1");
  settings.limit = 0ms;
  EXPECT_THAT(error(settings), HasSubstr("a time limit of nothing"));
}

TEST(Command, IsEndedWithWhatItStartedWhenItIsLate) {
  const test::TemporaryFolder folder;
  CommandSettings settings;
  settings.run = {"sh", "-c", "sleep 3600 & echo $! > \"$1\"; echo waiting >&2; wait", "sh", (folder / "id").string()};
  settings.limit = 500ms;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(error(settings), "the reward's command 'sh' gave no answer within 0.5 s and was ended: waiting");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  long id = 0;
  std::ifstream(folder / "id") >> id;
  ASSERT_GT(id, 1);
  EXPECT_TRUE(ends_soon(id));
}

TEST(Command, IsEndedWhenItPrintsOnWithoutEnd) {
  CommandSettings settings;
  settings.run = {"yes"};
  settings.limit = 60s;
  settings.most_output = 1 << 16;
  EXPECT_EQ(error(settings), "the reward's command 'yes' printed more than 64 KiB and was ended");
  settings = shell("exec yes >&2");
  settings.limit = 300ms;
  EXPECT_THAT(error(settings), HasSubstr("gave no answer within 0.3 s and was ended: y | y"));
}

TEST(Command, IsNotWaitedForOnceItHasEnded) {
  // What it leaves behind holds its output open; it is ended, too.
  const test::TemporaryFolder folder;
  CommandSettings settings;
  settings.run = {"sh", "-c", "sleep 3600 & echo $! > \"$1\"; echo 1; echo 2", "sh", (folder / "id").string()};
  settings.limit = 60s;
  const auto begin = std::chrono::steady_clock::now();
  const auto given = rewards(settings);
  ASSERT_TRUE(given) << given.error().what;
  EXPECT_THAT(*given, ElementsAre(1, 2));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
  long id = 0;
  std::ifstream(folder / "id") >> id;
  ASSERT_GT(id, 1);
  EXPECT_TRUE(ends_soon(id));
}

TEST(Command, IsWaitedForWhenItOnlyClosedItsOutput) {
  CommandSettings settings = shell("echo 1; echo 2; exec >&- 2>&-; sleep 3600");
  settings.limit = 300ms;
  EXPECT_THAT(error(settings), HasSubstr("gave no answer within 0.3 s"));
}

TEST(Command, GetsNoDescriptorOfOurs) {
  const int ours = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as libraries open theirs
  ASSERT_GT(ours, 2);
  // The shell opens none for the expansion; a glob's own is closed when its words are there.
  const auto given = rewards(shell("for f in 3 4 5 6 7 8 9 " + std::to_string(ours) +
                                   "; do test -e /proc/$$/fd/$f && echo open; done; echo 1; echo 2"));
  close(ours);
  ASSERT_TRUE(given) << given.error().what;
}

TEST(Command, LeavesNeitherDescriptorsNorChildren) {
  const auto lowest = [] {
    const int free = dup(STDERR_FILENO);
    close(free);
    return free;
  };
  const int before = lowest();
  CommandSettings late = shell("sleep 3600");
  late.limit = 50ms;
  (void)rewards(late);
  (void)rewards(shell("echo 1; echo 2"));
  (void)rewards(shell("exit 1"));
  CommandSettings none;
  none.run = {"orch-no-such-program"};
  (void)rewards(none);
  EXPECT_EQ(lowest(), before);
  errno = 0;
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Command, HasTheSignalsOfAFreshProcess) {
  const auto old = std::signal(SIGPIPE, SIG_IGN);
  // A shell ends with 141 (128 + 13) where a part of a pipe ended by SIGPIPE; where that is ignored yes says so,
  // with 1.
  const auto given = rewards(shell("{ yes; echo $? >&2; } | head -n 1 >/dev/null; echo 1; echo 2"));
  EXPECT_TRUE(given) << given.error().what;
  const std::string status = error(shell("sh -c 'kill -PIPE $$'; echo $? >&2; exit 1"));
  EXPECT_THAT(status, EndsWith("141"));
  std::signal(SIGPIPE, old);
}

TEST(Command, HasTheEnvironmentThatItIsGiven) {
  CommandSettings settings = shell("echo $REWARD_A; echo ${HOME:-5}");
  settings.environment = {"REWARD_A=4"};
  const auto given = rewards(settings);
  ASSERT_TRUE(given) << given.error().what;
  EXPECT_THAT(*given, ElementsAre(4, 5));
}

TEST(Command, IsToldRowsThatAreJson) {
  auto command = CommandReward::make(shell("echo 1"));
  ASSERT_TRUE(command);
  Completion completion;
  completion.other = "{";
  const auto given = command->of(std::vector{completion});
  ASSERT_FALSE(given);
  EXPECT_THAT(given.error().what, StartsWith("the row's fields are not JSON: "));
}

}  // namespace
}  // namespace orch::reward
