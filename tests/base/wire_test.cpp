#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/wire/messages.h"

namespace orch::wire {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TEST(Wire, ReadsWhatItWrites) {
  Given given;
  Leased leased;
  leased.chunk = {7, 2};
  leased.ticket = std::uint64_t{1} << 40;
  leased.run = {"python3", "eval.py", "a b", ""};
  leased.environment = {"HF_HOME=/x"};
  leased.memory = std::int64_t{1} << 35;
  leased.gpus = 0.5;
  given.leased = {leased, leased};
  Ask& ask = given.leased[1].ask.emplace();
  ask.model = "org/name";
  ask.tensor = 4;
  ask.temperature = 0.5;
  ask.before = {"job/cells/1-2"};
  ask.rows = "prompt";
  ask.settings = R"({"rank":8})";
  ask.copies = 2;
  ask.reward = "/data/rules.yaml";
  ask.adapter = "job/cells/0-1";
  given.nothing_left = true;
  const Result<Given> read_back = read<Given>(write(given));
  ASSERT_TRUE(read_back.ok()) << read_back.error().what;
  ASSERT_THAT(read_back->leased, SizeIs(2));
  EXPECT_FALSE(read_back->leased[0].ask);
  ASSERT_TRUE(read_back->leased[1].ask);
  EXPECT_EQ(read_back->leased[1].ask->model, "org/name");
  EXPECT_EQ(read_back->leased[1].ask->tensor, 4);
  EXPECT_EQ(read_back->leased[1].ask->temperature, 0.5);
  EXPECT_EQ(read_back->leased[1].ask->before, ask.before);
  EXPECT_EQ(read_back->leased[1].ask->rows, "prompt");
  EXPECT_EQ(read_back->leased[1].ask->settings, ask.settings);
  EXPECT_EQ(read_back->leased[1].ask->copies, 2);
  EXPECT_EQ(read_back->leased[1].ask->reward, ask.reward);
  EXPECT_EQ(read_back->leased[1].ask->adapter, ask.adapter);
  EXPECT_EQ(read_back->leased[0].chunk, (Chunk{7, 2}));
  EXPECT_EQ(read_back->leased[0].ticket, leased.ticket);
  EXPECT_EQ(read_back->leased[0].run, leased.run);
  EXPECT_EQ(read_back->leased[0].memory, leased.memory);
  EXPECT_EQ(read_back->leased[0].gpus, 0.5);
  EXPECT_TRUE(read_back->nothing_left);
}

TEST(Wire, WritesTheNamesThatTheApiDescribes) {
  Deliver deliver;
  deliver.epoch = 3;
  deliver.items.push_back({{1, 0}, 9, 1, "done", "{}", R"({"tokens": 5})", "", "", 1.5, 3});
  EXPECT_EQ(nlohmann::json::parse(write(deliver)), nlohmann::json::parse(R"({"epoch": 3, "items": [
    {"cell": 1, "chunk": 0, "ticket": 9, "generation": 1, "what": "done", "metrics": "{}", "figures": "{\"tokens\": 5}", "cause": "", "reason": "",
     "seconds": 1.5, "gpu_seconds": 3.0}]})"));
}

TEST(Wire, CarriesWhatATrainingTellsOfItself) {
  Heartbeat beat;
  beat.epoch = 2;
  beat.held.push_back({{1, 0}, true, 3, 9, R"({"step": 3, "loss": 1.5})"});
  EXPECT_EQ(nlohmann::json::parse(write(beat)), nlohmann::json::parse(R"({"epoch": 2, "held": [
    {"cell": 1, "chunk": 0, "running": true, "done": 3, "all": 9, "live": "{\"step\": 3, \"loss\": 1.5}"}]})"));
  const Result<Heartbeat> read_back = read<Heartbeat>(write(beat));
  ASSERT_TRUE(read_back.ok()) << read_back.error().what;
  EXPECT_EQ(read_back->held.at(0).live, beat.held[0].live);
}

TEST(Wire, UnderstandsAWorkerThatTellsNothingOfTrainings) {
  const std::string before = R"({"epoch": 2, "held": [{"cell": 1, "chunk": 0, "running": true, "done": 3, "all": 9}]})";
  const Result<Heartbeat> read_back = read<Heartbeat>(before);
  ASSERT_TRUE(read_back.ok()) << read_back.error().what;
  EXPECT_EQ(read_back->held.at(0).live, "");
  EXPECT_EQ(nlohmann::json::parse(write(*read_back)), nlohmann::json::parse(before));
}

TEST(Wire, CarriesAnyBytesThatAProgramPrinted) {
  Exit exit;
  exit.reason = "a\xff\x00 b";
  EXPECT_TRUE(read<Exit>(write(exit)).ok());
}

struct Bad {
  const char* json;
  const char* what;
};
class BadMessage : public testing::TestWithParam<Bad> {};
TEST_P(BadMessage, IsRefusedByTheNameOfItsMember) {
  const Result<Heartbeat> read_back = read<Heartbeat>(GetParam().json);
  ASSERT_FALSE(read_back.ok());
  EXPECT_THAT(read_back.error().what, HasSubstr(GetParam().what));
}
INSTANTIATE_TEST_SUITE_P(
    All, BadMessage,
    testing::Values(
        Bad{"", "not JSON"}, Bad{"[]", "must be a JSON object"}, Bad{"{}", "epoch is missing"},
        Bad{R"({"epoch": -1, "held": []})", "epoch must be a whole number"},
        Bad{R"({"epoch": 4294967296, "held": []})", "epoch must be a whole number"},
        Bad{R"({"epoch": 1.5, "held": []})", "epoch must be a whole number"},
        Bad{R"({"epoch": 1, "held": {}})", "held must be a list"},
        Bad{R"({"epoch": 1, "held": [7]})", "held[0] must be an object"},
        Bad{R"({"epoch": 1, "held": [{"cell": 1, "chunk": 0, "running": 1}]})",
            "held[0].running must be true or false"},
        Bad{R"({"epoch": 1, "held": [{"cell": 1, "chunk": 0, "running": true, "done": 0, "all": 0, "x": 1}]})",
            "held[0] has a member that is not known"},
        Bad{R"({"epoch": 1, "held": [{"cell": 1, "chunk": 0, "running": true, "done": 0, "all": 0, "live": {}}]})",
            "held[0].live must be a text"},
        Bad{R"({"epoch": 1, "held": [], "path": "/etc"})", "the message has a member that is not known"}));

}  // namespace
}  // namespace orch::wire
