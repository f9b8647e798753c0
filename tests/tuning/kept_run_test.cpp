// A run's state as JSON and back, and what happens to JSON that is none of ours.
#include "tuning/kept_run.h"

#include <gmock/gmock.h>

#include <array>

namespace orch::tuning {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// No two numbers of it are alike, and none is a default.
KeptRun kept() {
  KeptRun it;
  it.identity = {{"rank", 4}, {"model", "org/model"}, {"learning_rate", 0.1}};
  it.pass = {700, 8, 90, true, 0};
  it.tensor = 2;
  it.copies = 3;
  it.seconds = 12.75;
  it.tokens = 123456789012;
  return it;
}

train::RunState state() {
  train::RunState it;
  it.step = 41;
  it.updates = 39;
  it.plateau = {1, 0.8, 2.5, 2};
  it.stability.losses = {3.5, 0.1, 1e-300};
  it.stability.norms = {1, 0.3, 7e30};
  it.stability.skips = 4;
  it.stability.rollbacks = 1;
  it.stability.spiked_at = 17;
  it.stability.rate_factor = 0.5;
  it.loss_scale = {1024, 77};
  return it;
}

/// As a checkpoint has it: through a text.
train::CheckpointState checkpoint(const json& run) {
  train::CheckpointState it;
  it.step = 41;
  it.run = json::parse(run.dump());
  return it;
}

json good() { return json_of(kept(), state()); }

TEST(KeptRun, ComesBackAsItWas) {
  const auto read = read_run(checkpoint(good()));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->state, state());
  EXPECT_EQ(read->kept.identity, kept().identity);
  const train::LearnerBounds pass = read->kept.pass, wanted = kept().pass;
  EXPECT_EQ(std::tuple(pass.tokens, pass.texts, pass.length, pass.again),
            std::tuple(wanted.tokens, wanted.texts, wanted.length, wanted.again));
  EXPECT_EQ(std::pair(read->kept.tensor, read->kept.copies), std::pair(std::int64_t{2}, std::int64_t{3}));
  EXPECT_EQ(read->kept.seconds, 12.75);
  EXPECT_EQ(read->kept.tokens, 123456789012);
}

TEST(KeptRun, ThatHasJustBegunComesBackToo) {
  const auto read = read_run(checkpoint(json_of(KeptRun{json::object(), {}, 1, 1, 0, 0}, {})));
  ASSERT_TRUE(read) << read.error().what;
  train::RunState wanted;
  wanted.step = 41;
  EXPECT_EQ(read->state, wanted);
  EXPECT_EQ(read->state.plateau.best, std::nullopt);
}

/// The places of all values, objects among them.
std::vector<json::json_pointer> places_of(const json& value, const json::json_pointer& at = json::json_pointer()) {
  std::vector<json::json_pointer> places;
  if (value.is_structured())
    for (const auto& [key, each] : value.items()) {
      const auto here = value.is_object() ? at / key : at / static_cast<std::size_t>(std::stoul(key));
      places.push_back(here);
      const auto within = places_of(each, here);
      places.insert(places.end(), within.begin(), within.end());
    }
  return places;
}

TEST(KeptRun, WithoutOneOfItsPartsIsRefused) {
  for (const json::json_pointer& place : places_of(good())) {
    // An identity is another's to judge; a plateau may have no best loss yet, and losses may be fewer with their norms.
    if (place.to_string().starts_with("/identity/") || place.to_string() == "/plateau/best" ||
        place.to_string().starts_with("/stability/losses/") || place.to_string().starts_with("/stability/norms/"))
      continue;
    SCOPED_TRACE(place.to_string());
    json run = good();
    run[place.parent_pointer()].erase(place.back());
    const auto read = read_run(checkpoint(run));
    ASSERT_FALSE(read);
    EXPECT_FALSE(read.error().what.empty());
  }
}

TEST(KeptRun, WithAnythingElseInAPlaceIsReadOrRefusedWithASentence) {
  const std::vector<json> others = {nullptr,
                                    true,
                                    -1,
                                    1.5,
                                    1e300,
                                    "1",
                                    "",
                                    json::array(),
                                    json::array({1, 2}),
                                    json::object(),
                                    {{"a", 1}},
                                    train::kMostSteps + 1,
                                    std::numeric_limits<std::uint64_t>::max()};
  for (const json::json_pointer& place : places_of(good()))
    for (const json& other : others) {
      SCOPED_TRACE(place.to_string() + " = " + other.dump());
      json run = good();
      run[place] = other;
      const auto read = read_run(checkpoint(run));
      if (!read) EXPECT_FALSE(read.error().what.empty());
    }
}

TEST(KeptRun, HasNoCountBelowNothingOrBeyondAllSteps) {
  for (const char* place :
       {"/pass/tokens", "/pass/texts", "/pass/length", "/pass/tensor", "/pass/copies", "/tokens", "/updates"})
    for (const json& wrong : {json(-1), json(1.5), json("1"), json(nullptr), json(train::kMostSteps + 1)}) {
      SCOPED_TRACE(std::string(place) + " = " + wrong.dump());
      json run = good();
      run[json::json_pointer(place)] = wrong;
      const auto read = read_run(checkpoint(run));
      ASSERT_FALSE(read);
      EXPECT_THAT(read.error().what, HasSubstr("cannot be read"));
    }
}

TEST(KeptRun, ThatIsNoObjectIsRefused) {
  for (const json& wrong : {json(nullptr), json(7), json("run"), json::array(), json::object()})
    EXPECT_FALSE(read_run(checkpoint(wrong))) << wrong;
}

}  // namespace
}  // namespace orch::tuning
