// How a user's programs are run, and what is read of their results.
#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "run/metrics.h"
#include "run/program.h"
#include "run/slots.h"
#include "support/temporary.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;
using namespace std::chrono_literals;

/// Runs to its end; its end is waited for, never guessed.
Ending run(const TemporaryFolder& folder, const std::vector<std::string>& words, Program::Clock::duration time = 60s,
           const std::vector<std::string>& environment = {"PATH=/usr/bin:/bin"}) {
  auto program = Program::start(words, environment, folder.path(), folder / "log", Program::Clock::now() + time);
  if (!program) throw std::runtime_error(program.error().what);
  for (;;) {
    if (const auto ending = program->poll(Program::Clock::now())) return *ending;
    std::this_thread::sleep_for(1ms);
  }
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(Program, GetsItsWordsAsTheyAreAndOnlyItsEnvironment) {
  const TemporaryFolder folder;
  EXPECT_EQ(run(folder, {"sh", "-c", "printf '[%s]' \"$@\"; env; pwd; wc -c", "sh", "a b", "$(id)", "", "'\"\\"}, 60s,
                {"PATH=/usr/bin:/bin", "ONLY=this"})
                .code,
            0);
  const std::string log = text_of(folder / "log");
  EXPECT_THAT(log, HasSubstr("[a b][$(id)][]['\"\\]"));
  EXPECT_THAT(log, HasSubstr("ONLY=this"));
  EXPECT_THAT(log, testing::Not(HasSubstr("HOME=")));
  EXPECT_THAT(log, HasSubstr(folder.path().string() + "\n0\n")) << "in its folder, with nothing to read";
}

TEST(Program, EndsAreToldApart) {
  const TemporaryFolder folder;
  EXPECT_EQ(run(folder, {"sh", "-c", "exit 7"}).code, 7);
  EXPECT_EQ(run(folder, {"sh", "-c", "kill -SEGV $$"}).signal, SIGSEGV);
  const Ending late = run(folder, {"sleep", "600"}, 50ms);
  EXPECT_TRUE(late.out_of_time);
  EXPECT_EQ(late.signal, SIGTERM);
}

TEST(Program, ThatCannotBeStartedSaysWhy) {
  const TemporaryFolder folder;
  const auto missing =
      Program::start({"no-such-program"}, {"PATH=/usr/bin"}, folder.path(), folder / "log", Program::Clock::now() + 1s);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().what, HasSubstr("'no-such-program': No such file"));
  EXPECT_FALSE(Program::start({}, {}, folder.path(), folder / "log", Program::Clock::now()).ok());
}

TEST(Program, LeavesNothingOfItsGroup) {
  const TemporaryFolder folder;
  // The leader ends; a child of it would sleep on.
  EXPECT_EQ(run(folder, {"sh", "-c", "sleep 600 & echo $! > child; exit 0"}).code, 0);
  const int child = std::stoi(text_of(folder / "child"));
  // Its parent is gone, and whoever reaps it may be slow: it is over when it cannot run any more.
  for (int i = 0; i < 10'000; ++i) {
    const std::string status = text_of("/proc/" + std::to_string(child) + "/stat");
    if (status.empty() || status.find(") Z ") != std::string::npos) return;
    std::this_thread::sleep_for(1ms);
  }
  FAIL() << "process " << child << " still runs";
}

TEST(Program, ThatIgnoresTheFirstSignalIsKilled) {
  const TemporaryFolder folder;
  auto program = Program::start({"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"},
                                {"PATH=/usr/bin:/bin"}, folder.path(), folder / "log", Program::Clock::now() + 60s);
  ASSERT_TRUE(program.ok());
  while (text_of(folder / "log").empty()) std::this_thread::sleep_for(1ms);
  program->stop(20ms);
  std::optional<Ending> ending;
  while (!(ending = program->poll(Program::Clock::now()))) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(ending->signal, SIGKILL);
}

TEST(LastLines, AreWholeOnes) {
  const TemporaryFolder folder;
  std::ofstream(folder / "log") << "first\nsecond line\nthird\n";
  EXPECT_EQ(last_lines(folder / "log", 1000), "first\nsecond line\nthird");
  EXPECT_EQ(last_lines(folder / "log", 10), "third");
  EXPECT_EQ(last_lines(folder / "none", 10), "");
}

TEST(Slots, GiveAWholeGpuToOneAndPartsToSeveral) {
  Slots slots({"0", "1"}, 8, 0);
  EXPECT_THAT(slots.take(1, 0.5, 1, 0), Optional(ElementsAre("0")));
  EXPECT_THAT(slots.take(2, 1, 1, 0), Optional(ElementsAre("1")));
  EXPECT_THAT(slots.take(3, 0.5, 1, 0), Optional(ElementsAre("0")));
  EXPECT_EQ(slots.take(4, 0.25, 1, 0), std::nullopt);
  slots.give_back(3);
  EXPECT_THAT(slots.take(4, 0.25, 1, 0), Optional(ElementsAre("0")));
  slots.give_back(1);
  slots.give_back(4);
  slots.give_back(2);
  EXPECT_THAT(slots.take(5, 2, 1, 0), Optional(ElementsAre("0", "1")));
}

TEST(Slots, CountCpusAndMemory) {
  Slots slots({}, 2, 100);
  EXPECT_THAT(slots.take(1, 0, 1, 60), Optional(testing::IsEmpty()));
  EXPECT_EQ(slots.take(2, 0, 1, 60), std::nullopt);
  EXPECT_TRUE(slots.take(2, 0, 1, 40));
  EXPECT_EQ(slots.take(3, 0, 1, 0), std::nullopt) << "no CPU is left";
  slots.give_back(1);
  slots.give_back(1);
  EXPECT_TRUE(slots.take(3, 0, 1, 60));
  EXPECT_EQ(slots.take(4, 0, 1, 0), std::nullopt) << "given back twice is given back once";
}

TEST(Metrics, AreReadInBothForms) {
  EXPECT_EQ(*metrics_of(R"({"loss": {"value": 1.5, "stderr": 0.25}, "acc": 1, "f1": {"value": 0, "stderr": null}})"),
            R"({"acc":{"value":1},"f1":{"value":0},"loss":{"stderr":0.25,"value":1.5}})");
}

TEST(Metrics, RefusesWhatIsNone) {
  for (const char* text :
       {"", "[]", "{}", "1", "{\"a\": \"b\"}", "{\"a\": {\"value\": 1, \"x\": 2}}", "{\"a\": {}}", "{\"a\": 1e999}",
        "{\"a\": NaN}", "{\"\": 1}", "{\"a\": {\"value\": 1, \"stderr\": -1}}", "{\"a\": {\"value\": true}}"})
    EXPECT_FALSE(metrics_of(text).ok()) << text;
  EXPECT_FALSE(metrics_of(std::string(1'000'000, '[')).ok());
  EXPECT_FALSE(metrics_of("{\"a\": " + std::string(100, '[') + std::string(100, ']') + "}").ok());
}

TEST(Metrics, OfLmEvalKeepFiltersAndTasks) {
  EXPECT_EQ(*lm_eval_metrics_of(R"({"results": {"gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.5,
      "exact_match_stderr,strict-match": 0.1, "exact_match,none": 0.25, "exact_match_stderr,none": "N/A"}}})"),
            R"({"exact_match":{"value":0.25},"exact_match,strict-match":{"stderr":0.1,"value":0.5}})");
  EXPECT_EQ(*lm_eval_metrics_of(R"({"results": {"a": {"acc,none": 1}, "b": {"acc,none": 0}}})"),
            R"({"a/acc":{"value":1},"b/acc":{"value":0}})");
  EXPECT_FALSE(lm_eval_metrics_of(R"({"results": {}})").ok());
  EXPECT_FALSE(lm_eval_metrics_of(R"({"acc": 1})").ok());
}

TEST(Metrics, AreReadFromTheFileOfTheEngine) {
  const TemporaryFolder folder;
  EXPECT_THAT(read_metrics(folder.path(), "command").error().what, HasSubstr("it wrote no result.json"));
  std::ofstream(folder / "result.json") << R"({"acc": 0.5})";
  EXPECT_EQ(*read_metrics(folder.path(), "command"), R"({"acc":{"value":0.5}})");
  std::filesystem::create_directories(folder / "out/model");
  std::ofstream(folder / "out/model/results_2026.json") << R"({"results": {"t": {"acc,none": 0.75}}})";
  EXPECT_EQ(*read_metrics(folder.path(), "lm-eval"), R"({"acc":{"value":0.75}})");
}

}  // namespace
}  // namespace orch::worker
