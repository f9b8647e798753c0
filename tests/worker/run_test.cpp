// How a user's programs are run, and what is read of their results.
#include <gmock/gmock.h>
#include <signal.h>

#include <cerrno>
#include <fstream>

#include "run/metrics.h"
#include "run/program.h"
#include "run/slots.h"
#include "support/temporary.h"
#include "worker/processes.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;
using namespace std::chrono_literals;
using namespace test;

class ProgramTest : public testing::Test {
 protected:
  Order order(const std::vector<std::string>& words,
              const std::vector<std::string>& environment = {"PATH=/usr/bin:/bin"}) const {
    return {words, environment, folder_.path(), folder_ / "log"};
  }
  /// To its end; that is waited for, never guessed.
  Ending end_of(Program& program) const {
    for (;;) {
      if (const auto ending = program.poll(Program::Clock::now())) return *ending;
      can_be_read(starter_.descriptor(), 5ms);
    }
  }
  Ending run(const Order& order, Program::Clock::duration time = kLong) {
    auto program = Program::start(starter_, order, Program::Clock::now() + time);
    if (!program) throw std::runtime_error(program.error().what);
    return end_of(*program);
  }
  Starter starter_ = *Starter::fork();
  TemporaryFolder folder_;
};

TEST_F(ProgramTest, GetsItsWordsAsTheyAreAndOnlyItsEnvironment) {
  EXPECT_EQ(run(order({"sh", "-c", "printf '[%s]' \"$@\"; env; pwd; wc -c", "sh", "a b", "$(id)", "", "'\"\\"},
                      {"PATH=/usr/bin:/bin", "ONLY=this"}))
                .code,
            0);
  const std::string log = text_of(folder_ / "log");
  EXPECT_THAT(log, HasSubstr("[a b][$(id)][]['\"\\]"));
  EXPECT_THAT(log, HasSubstr("ONLY=this"));
  EXPECT_THAT(log, testing::Not(HasSubstr("HOME=")));
  EXPECT_THAT(log, HasSubstr(folder_.path().string() + "\n0\n")) << "in its folder, with nothing to read";
}

TEST_F(ProgramTest, EndsAreToldApart) {
  EXPECT_EQ(run(order({"sh", "-c", "exit 7"})).code, 7);
  EXPECT_EQ(run(order({"sh", "-c", "kill -SEGV $$"})).signal, SIGSEGV);
  const Ending late = run(order({"sleep", "600"}), 50ms);
  EXPECT_TRUE(late.out_of_time);
  EXPECT_EQ(late.signal, SIGTERM);
}

TEST_F(ProgramTest, ThatCannotBeStartedSaysWhy) {
  const auto missing = Program::start(starter_, order({"no-such-program"}), Program::Clock::now() + kLong);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().what, HasSubstr("'no-such-program': No such file"));
  EXPECT_TRUE(missing.error().of_program);
  EXPECT_FALSE(Program::start(starter_, order({}), Program::Clock::now()).ok());
  Order nowhere = order({"true"});
  nowhere.log = folder_ / "no/such/folder/log";
  const auto blind = Program::start(starter_, nowhere, Program::Clock::now() + kLong);
  ASSERT_FALSE(blind.ok());
  EXPECT_FALSE(blind.error().of_program) << "it is the disk's fault: " << blind.error().what;
}

TEST_F(ProgramTest, IsLookedForInThePathThatItIsGiven) {
  std::ofstream(folder_ / "mine") << "#!/bin/sh\necho found\n";
  std::filesystem::permissions(folder_ / "mine", std::filesystem::perms::owner_all);
  EXPECT_EQ(run(order({"mine"}, {"PATH=" + folder_.path().string()})).code, 0);
  EXPECT_EQ(text_of(folder_ / "log"), "found\n");
}

TEST_F(ProgramTest, HasEndedWhenNothingOfItsGroupIsLeft) {
  // The leader ends; a child of it would sleep on.
  EXPECT_EQ(run(order({"sh", "-c", "sleep 600 & echo $! > child; exit 0"})).code, 0);
  const int child = std::stoi(text_of(folder_ / "child"));
  EXPECT_EQ(::kill(child, 0), -1) << "process " << child << " is still there";
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(ProgramTest, ThatIgnoresTheFirstSignalIsKilled) {
  Bell ready(folder_ / "ready");
  auto program = Program::start(starter_, order({"sh", "-c", "trap '' TERM; echo > ready; while :; do sleep 1; done"}),
                                Program::Clock::now() + kLong);
  ASSERT_TRUE(program.ok());
  ready.wait();
  program->stop(20ms);
  EXPECT_EQ(end_of(*program).signal, SIGKILL);
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
