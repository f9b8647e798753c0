// How a user's programs are run, and what is read of their results.
#include <gmock/gmock.h>
#include <signal.h>

#include <cerrno>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "run/metrics.h"
#include "run/program.h"
#include "run/slots.h"
#include "support/source_dir.h"
#include "support/temporary.h"
#include "worker/processes.h"

namespace orch::worker {
namespace {

using orch::test::TemporaryFolder;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;
using testing::Pair;
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

TEST(LastLines, AreWhatATerminalShowsOfAProgressBar) {
  const TemporaryFolder folder;
  std::ofstream(folder / "log") << "begins\r\n 0%\r 50%\r100%\nCUDA out of memory\n 0%\r 50%";
  EXPECT_EQ(last_lines(folder / "log", 1000), "begins\n100%\nCUDA out of memory\n 50%");
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

/// Its value and its standard error; -1: it has none.
std::pair<double, double> metric(const nlohmann::json& metrics, const std::string& name) {
  if (!metrics.contains(name)) return {-1, -1};
  return {metrics[name]["value"].get<double>(), metrics[name].value("stderr", -1.0)};
}

/// The standard error of a share of `n`, with n - 1 as the harness takes it.
double error_of(double share, int n) { return std::sqrt(share * (1 - share) / (n - 1)); }

nlohmann::json recorded(const std::string& name) {
  std::ifstream file(orch::test::source_dir() / "tests/worker/data/lm_eval_0.4.13" / (name + ".json"));
  std::ostringstream text;
  text << file.rdbuf();
  const auto metrics = lm_eval_metrics_of(text.str());
  return metrics ? nlohmann::json::parse(*metrics) : nlohmann::json(metrics.error().what);
}

// data/lm_eval_0.4.13 holds what lm-eval 0.4.13 wrote of TinyStories-656K, without what it says of the machine. What is
// expected was counted by a Python program in the samples that it kept beside them (--log_samples).

TEST(Metrics, OfARecordedGroupAreThoseOfEachTaskAndOfAll) {
  const nlohmann::json metrics = recorded("group");
  // Of 40 boolean expressions 23 were right, of 40 walks 19; by the length of the choice 23 of the first.
  const auto near = [](double value, double error) { return Pair(DoubleNear(value, 1e-12), DoubleNear(error, 1e-12)); };
  EXPECT_THAT(metric(metrics, "stories_boolean/acc"), near(23.0 / 40, error_of(23.0 / 40, 40)));
  EXPECT_THAT(metric(metrics, "stories_boolean/acc_norm"), near(23.0 / 40, error_of(23.0 / 40, 40)));
  EXPECT_THAT(metric(metrics, "stories_navigate/acc"), near(19.0 / 40, error_of(19.0 / 40, 40)));
  // Of two groups of one size: half the root of the sum of squares.
  EXPECT_THAT(metric(metrics, "stories_bbh/acc"),
              near(42.0 / 80, std::hypot(error_of(23.0 / 40, 40), error_of(19.0 / 40, 40)) / 2));
  EXPECT_EQ(metrics.size(), 4u) << metrics;
}

TEST(Metrics, OfRecordedFiltersKeepTheFilterInTheName) {
  const nlohmann::json metrics = recorded("filters");
  // Of 16 words 4 stood first in the answer, 8 stood first among those of three letters and more.
  const auto near = [](double value) { return Pair(DoubleNear(value, 1e-12), DoubleNear(error_of(value, 16), 1e-12)); };
  EXPECT_THAT(metric(metrics, "exact_match,strict-match"), near(4.0 / 16));
  EXPECT_THAT(metric(metrics, "exact_match,flexible-extract"), near(8.0 / 16));
  EXPECT_EQ(metrics.size(), 2u) << metrics;
}

TEST(Metrics, OfARecordedPerplexityHaveNoStandardError) {
  const nlohmann::json metrics = recorded("perplexity");
  // The logarithms of the samples sum to -905.5104026794434, over 104 words and 446 bytes.
  EXPECT_THAT(metric(metrics, "word_perplexity"), Pair(DoubleNear(std::exp(905.5104026794434 / 104), 1e-6), -1));
  EXPECT_THAT(metric(metrics, "bits_per_byte"), Pair(DoubleNear(905.5104026794434 / 446 / std::log(2), 1e-9), -1));
  EXPECT_EQ(metrics.size(), 2u) << metrics;
}

TEST(Metrics, OfLmEvalLeaveOutWhatIsNotFinite) {
  // As Python's json.dumps writes them; within a text the same letters are letters.
  EXPECT_EQ(*lm_eval_metrics_of(R"({"results": {"a": {"alias": "NaN \" Infinity", "acc,none": 0.5,
      "acc_stderr,none": NaN, "word_perplexity,none": Infinity, "gap,none": -Infinity}}})"),
            R"({"acc":{"value":0.5}})");
  EXPECT_FALSE(lm_eval_metrics_of(R"({"results": {"a": {"acc,none": NaN}}})").ok());
}

TEST(Metrics, OfACommandMayBeThoseThatTheHarnessWrote) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "org__model");
  std::ofstream(folder / "org__model/results_2026.json") << R"({"results": {"t": {"acc,none": 0.75}}})";
  EXPECT_EQ(*read_metrics(folder.path(), "command"), R"({"acc":{"value":0.75}})");
  std::ofstream(folder / "result.json") << R"({"mine": 1})";
  EXPECT_EQ(*read_metrics(folder.path(), "command"), R"({"mine":{"value":1}})") << "its own file goes first";
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
