// Settings of a training: docs/matrix.md says what their names are, what each takes and which of them are part of what
// a training is.
#include "tuning/settings.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "base/text.h"
#include "support/source_dir.h"

namespace orch::tuning {
namespace {

using nlohmann::json;
using testing::HasSubstr, testing::IsEmpty;

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

/// As the page writes numbers: `65536`, `1,000,000`, `10^−12`, `2^53 − 1`.
double number_of(std::string text) {
  text = replaced(replaced(std::move(text), "−", "-"), ",", "");
  const bool less = text.ends_with(" - 1");
  if (less) text.resize(text.size() - 4);
  const std::size_t power = text.find('^');
  const double number = power == std::string::npos
                            ? std::stod(text)
                            : std::pow(std::stod(text.substr(0, power)), std::stod(text.substr(power + 1)));
  return less ? number - 1 : number;
}

struct Described {
  std::string takes;
  bool is_in_key = false;
};

/// The settings of trainings, from the page's table.
std::map<std::string, Described> described() {
  std::ifstream in(test::source_dir() / "docs/matrix.md");
  std::map<std::string, Described> all;
  for (std::string line; std::getline(in, line);) {
    const auto cells = split(line, '|');
    if (cells.size() != 7 || !trim(cells[1]).starts_with('`')) continue;
    const std::string kinds = ", " + std::string(trim(cells[3])) + ",";
    if (kinds.find(", train,") == std::string::npos) continue;
    const std::string_view name = trim(cells[1]);
    all[std::string(name.substr(1, name.size() - 2))] = {std::string(trim(cells[2])), trim(cells[4]) == "yes"};
  }
  return all;
}

/// What a worker is told beside the settings, or is told them by.
const std::set<std::string> kNotOurs = {"dtype", "compute_dtype", "engine", "data", "reward", "tensor", "container"};

std::string why_not(const json& settings) {
  const auto read = read_settings(settings);
  return read ? "" : read.error().what;
}

TEST(Settings, HaveTheMatrixsNames) {
  const auto page = described();
  ASSERT_GT(page.size(), 30U);
  std::set<std::string> there;
  for (const auto& [name, it] : page)
    if (!kNotOurs.contains(name)) there.insert(name);
  const auto ours = setting_names();
  EXPECT_EQ(std::set<std::string>(ours.begin(), ours.end()), there);
}

TEST(Settings, TakeWhatTheMatrixTakesAndNothingBeyond) {
  for (const auto& [name, it] : described()) {
    if (kNotOurs.contains(name)) continue;
    SCOPED_TRACE(name + ": " + it.takes);
    std::vector<json> good, bad = {nullptr, json::array(), json::object()};
    if (it.takes.starts_with("text")) {
      good = {"q_proj", "q_proj,v_proj:16"};
      bad.insert(bad.end(), {7, true});
    } else if (it.takes == "`true`, `false`") {
      good = {true, false};
      bad.insert(bad.end(), {1, 0, "true", "yes"});
    } else if (it.takes.starts_with('`')) {
      for (const std::string_view word : split(it.takes, ',')) {
        const std::string_view trimmed = trim(word);
        good.emplace_back(std::string(trimmed.substr(1, trimmed.size() - 2)));
      }
      bad.insert(bad.end(), {"other", "", 1, true});
    } else {
      const bool is_whole = it.takes.starts_with("whole, ");
      const std::string range = is_whole ? it.takes.substr(7) : it.takes;
      const std::size_t to = range.find(" to ");
      ASSERT_NE(to, std::string::npos);
      const double least = number_of(range.substr(0, to)), most = number_of(range.substr(to + 4));
      if (is_whole) {
        good = {static_cast<std::int64_t>(least), static_cast<std::int64_t>(most), least, most};
        bad.insert(bad.end(), {static_cast<std::int64_t>(least) - 1, static_cast<std::int64_t>(most) + 1, least + 0.5});
      } else {
        good = {least, most, (least + most) / 2};
        bad.insert(bad.end(), {std::nextafter(least, -1), std::nextafter(most, 1e9)});
      }
      bad.insert(bad.end(), {"1", "", true, 1e300, -1e300});
    }
    json others = json::object();
    for (const json& value : good) {
      if (value == "robust") others["label_smoothing"] = 0.1;
      json settings = others;
      settings[name] = value;
      EXPECT_EQ(why_not(settings), "") << value;
    }
    for (const json& value : bad)
      EXPECT_THAT(why_not({{name, value}}), testing::StartsWith(name + " must be ")) << value;
  }
}

TEST(Settings, PassOverWhatAMatrixSaysOfACellBesideThem) {
  for (const std::string& name : kNotOurs) EXPECT_EQ(why_not({{name, "what it likes"}}), "") << name;
  EXPECT_EQ(why_not({{"learning_rat", 1}}),
            "no setting of a training is called 'learning_rat'; did you mean 'learning_rate'?");
  EXPECT_THAT(why_not({{"shots", 1}}), HasSubstr("'shots'"));
  EXPECT_THAT(why_not(json::array()), HasSubstr("object"));
  EXPECT_THAT(why_not("rank"), HasSubstr("object"));
}

TEST(Settings, AreWhatWasSaid) {
  const auto read = read_settings({{"rank", 8},
                                   {"learning_rate", 1},
                                   {"targets", " q_proj , v_proj:16 "},
                                   {"steps", 30.0},
                                   {"loss", "ipo"},
                                   {"aggregation", "dr_grpo"},
                                   {"schedule", "plateau"},
                                   {"checkpointing", false},
                                   {"held_out", 0}});
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->rank, 8);
  EXPECT_EQ(read->learning_rate, 1);
  EXPECT_THAT(read->targets, testing::ElementsAre("q_proj", "v_proj:16"));
  EXPECT_EQ(read->steps, 30);
  EXPECT_EQ(read->loss, train::PreferenceLoss::ipo);
  EXPECT_EQ(read->aggregation, train::Aggregation::dr_grpo);
  EXPECT_EQ(read->schedule, train::Course::kPlateau);
  EXPECT_EQ(read->checkpointing, false);
  EXPECT_EQ(read->held_out, 0);
  EXPECT_EQ(read->epochs, std::nullopt);
  EXPECT_THAT(why_not({{"targets", "q_proj,,v_proj"}}),
              HasSubstr("targets must be all, or names with commas between them"));
  EXPECT_EQ(why_not({{"targets", ""}}), "");
}

TEST(Settings, SayWhichSeedsThereAre) {
  // 2^53 - 1: what JSON's numbers hold everywhere.
  EXPECT_EQ(why_not({{"seed", 9007199254740991}}), "");
  EXPECT_THAT(why_not({{"seed", 9007199254740992}}), HasSubstr("a whole number from 0 to 9007199254740991"));
}

TEST(Settings, RobustNeedsToKnowHowOftenALabelIsWrong) {
  EXPECT_THAT(why_not({{"loss", "robust"}}), HasSubstr("label_smoothing"));
  EXPECT_THAT(why_not({{"loss", "robust"}, {"label_smoothing", 0}}), HasSubstr("label_smoothing"));
  EXPECT_EQ(why_not({{"loss", "robust"}, {"label_smoothing", 0.1}}), "");
}

Settings read_good(const json& settings) { return *read_settings(settings); }

TEST(Settings, OfRewardsAreTrlsWhereNothingIsSaid) {
  const Settings usual = read_good(json::object());
  const auto sampling = sampling_of(usual);
  ASSERT_TRUE(sampling);
  EXPECT_EQ(std::tuple(sampling->temperature, sampling->top_p, sampling->top_k), std::tuple(1.0F, 1.0F, 0));
  EXPECT_EQ(turns_of(usual, true).steps(), 1);
  const auto grpo = grpo_of(usual);
  ASSERT_TRUE(grpo);
  EXPECT_EQ(std::tuple(grpo->epsilon_low, grpo->epsilon_high, grpo->delta, grpo->beta), std::tuple(0.2, 0.2, 0.0, 0.0));
  EXPECT_EQ(scaling_of(usual), train::Scaling::kGroup);
  // Dr. GRPO has none, unless it is said.
  EXPECT_EQ(scaling_of(read_good({{"aggregation", "dr_grpo"}})), train::Scaling::kNone);
  EXPECT_EQ(scaling_of(read_good({{"aggregation", "dr_grpo"}, {"scale_rewards", "group"}})), train::Scaling::kGroup);
}

TEST(Settings, OfRewardsAreHandedOn) {
  const Settings it = read_good({{"temperature", 0.7},
                                 {"top_p", 0.9},
                                 {"top_k", 50},
                                 {"epsilon", 0.1},
                                 {"epsilon_high", 0.28},
                                 {"delta", 4},
                                 {"scale_rewards", "batch"},
                                 {"iterations", 3},
                                 {"steps_per_generation", 4}});
  const auto sampling = sampling_of(it);
  ASSERT_TRUE(sampling);
  EXPECT_EQ(std::tuple(sampling->temperature, sampling->top_p, sampling->top_k), std::tuple(0.7F, 0.9F, 50));
  const auto grpo = grpo_of(it);
  ASSERT_TRUE(grpo);
  EXPECT_EQ(std::tuple(grpo->epsilon_low, grpo->epsilon_high, grpo->delta), std::tuple(0.1, 0.28, 4.0));
  EXPECT_EQ(scaling_of(it), train::Scaling::kBatch);
  EXPECT_EQ(std::pair(turns_of(it, true).parts, turns_of(it, true).rounds),
            std::pair(std::int64_t{4}, std::int64_t{3}));
  EXPECT_EQ(turns_of(it, false).steps(), 1);
  EXPECT_EQ(grpo_of(read_good({{"epsilon", 0.1}}))->epsilon_high, 0.1) << "as epsilon";
}

TEST(Settings, OfRewardsThatMakeNoSenseAreRefused) {
  const auto greedy = sampling_of(read_good({{"temperature", 0}}));
  ASSERT_FALSE(greedy);
  EXPECT_THAT(greedy.error().what, testing::StartsWith("temperature must be above 0 where completions are compared"));
  const auto low = grpo_of(read_good({{"delta", 1.2}}));
  ASSERT_FALSE(low);
  EXPECT_EQ(low.error().what, "grpo: delta is 1.2, expected 0, or a number above 1 + epsilon_high");
}

TEST(Settings, AreReadFromWords) {
  json settings = json::object();
  for (const char* word : {"rank=16", "learning_rate=2e-4", "full=false", "targets=q_proj,v_proj", "loss=hinge"})
    EXPECT_TRUE(add_setting(word, settings)) << word;
  EXPECT_EQ(
      settings,
      json({{"rank", 16}, {"learning_rate", 2e-4}, {"full", false}, {"targets", "q_proj,v_proj"}, {"loss", "hinge"}}));
  const auto why = [&](const std::string& word) {
    const auto added = add_setting(word, settings);
    return added ? "" : added.error().what;
  };
  EXPECT_THAT(why("rank"), HasSubstr("'rank' is no NAME=VALUE"));
  EXPECT_THAT(why("=16"), HasSubstr("'=16' is no NAME=VALUE"));
  EXPECT_EQ(why("rank=8"), "rank is set twice");
  EXPECT_THAT(why("seeed=8"), HasSubstr("did you mean 'seed'?"));
  EXPECT_THAT(why("tensor=2"), HasSubstr("'tensor'"));  // that is --tp
  // What is no number, true or false is a text, whatever JSON would make of it.
  EXPECT_EQ(why("schedule=[1]"), "");
  EXPECT_EQ(settings["schedule"], "[1]");
  EXPECT_EQ(why("clip="), "");
  EXPECT_EQ(settings["clip"], "");
  EXPECT_THAT(why_not(settings), HasSubstr(" must be "));
}

TEST(Settings, MakeABatchAnEpochAndWhatIsHeldOut) {
  Settings it;
  it.batch_size = 6;
  it.accumulation = 2;
  EXPECT_EQ(batch_of(it), 12);
  EXPECT_EQ(steps_of(it, 120), 10);
  EXPECT_EQ(steps_of(it, 121), 11);
  EXPECT_EQ(steps_of(it, 1), 1);
  it.epochs = 3;
  EXPECT_EQ(steps_of(it, 121), 33);
  // Of 3 × 12 prompts that are completed at once each step learns from a third, and all of it comes twice.
  it.steps_per_generation = 3;
  it.iterations = 2;
  EXPECT_EQ(steps_of(it, 121, true), 3 * 4 * 6) << "121 prompts are three times 36 and 13 left over";
  EXPECT_EQ(steps_of(it, 121, false), 33) << "of what nobody writes each batch is one step";
  it.steps = 5;
  EXPECT_EQ(steps_of(it, 121), 5);
  EXPECT_EQ(steps_of(it, 121, true), 5);
  EXPECT_EQ(alpha_of(it), 32);
  it.rank = 4;
  EXPECT_EQ(alpha_of(it), 8);
  it.alpha = 0.5;
  EXPECT_EQ(alpha_of(it), 0.5);
  // One in twenty, at most 128; of prompts at most 16; never all.
  EXPECT_EQ(held_out_of(it, 19, false), 0);
  EXPECT_EQ(held_out_of(it, 20, false), 1);
  EXPECT_EQ(held_out_of(it, 1000, false), 50);
  EXPECT_EQ(held_out_of(it, 1'000'000, false), 128);
  EXPECT_EQ(held_out_of(it, 1'000'000, true), 16);
  it.held_out = 300;
  EXPECT_EQ(held_out_of(it, 1000, true), 300);
  EXPECT_EQ(held_out_of(it, 300, false), 299);
  EXPECT_EQ(held_out_of(it, 1, false), 0);
  it.held_out = 0;
  EXPECT_EQ(held_out_of(it, 1000, false), 0);
}

/// A value that is not the default.
json other_value(const std::string& name, const std::string& takes) {
  if (name == "targets") return "q_proj";
  if (takes == "`true`, `false`") return name != "group_by_length";
  if (name == "loss") return "hinge";
  if (name == "aggregation") return "grpo";
  if (name == "scale_rewards") return "batch";
  if (name == "schedule") return "linear";
  if (name == "sequence") return 64;
  if (takes.starts_with("whole, ")) return 3;
  return 0.25;
}

TEST(Settings, OfTheKeyAreThoseThatMakeAnotherTraining) {
  const json usual = identity_of(*read_settings(json::object()));
  for (const auto& [name, it] : described()) {
    if (kNotOurs.contains(name)) continue;
    SCOPED_TRACE(name);
    const auto read = read_settings({{name, other_value(name, it.takes)}});
    ASSERT_TRUE(read) << read.error().what;
    const std::string differs = difference(usual, identity_of(*read));
    if (it.is_in_key)
      EXPECT_THAT(differs, HasSubstr(" was ")) << "it changes what is computed";
    else
      EXPECT_THAT(differs, IsEmpty());
    // Of one that follows from another the other may be named.
    if (it.is_in_key && name != "rank" && name != "full") EXPECT_THAT(differs, testing::StartsWith(name + " was "));
  }
}

TEST(Settings, AreTheSameTrainingHoweverTheyAreSaid) {
  // Twice the rank is the usual alpha; an alpha or rank of an adapter that is not there is nobody's.
  const auto identity = [](const json& settings) { return identity_of(*read_settings(settings)); };
  EXPECT_EQ(difference(identity({{"rank", 16}, {"alpha", 32}}), identity(json::object())), "");
  EXPECT_EQ(difference(identity({{"steps", 10.0}}), identity({{"steps", 10}})), "");
  EXPECT_EQ(difference(identity({{"full", true}, {"rank", 4}}), identity({{"full", true}})), "");
  EXPECT_EQ(difference(identity({{"learning_rate", 0.5}}), identity({{"learning_rate", 0.25}})),
            "learning_rate was 0.5, and is 0.25");
  EXPECT_EQ(difference(json::object(), {{"rank", 4}}), "rank was not known, and is 4");
  // One that a program before did not know has its default there.
  json before = identity(json::object());
  for (const char* name : {"temperature", "top_p", "top_k", "epsilon_high", "delta", "scale_rewards", "iterations",
                           "steps_per_generation"})
    before.erase(name);
  EXPECT_EQ(difference(before, identity(json::object())), "");
  EXPECT_EQ(difference(before, identity({{"temperature", 1}, {"epsilon_high", 0.2}, {"scale_rewards", "group"}})), "");
  EXPECT_EQ(difference(before, identity({{"iterations", 2}})), "iterations was not known, and is 2");
  EXPECT_EQ(difference(identity({{"iterations", 2}}), identity(json::object())), "iterations was 2, and is not set");
  // As it is read back from a file.
  EXPECT_EQ(difference(json::parse(identity({{"learning_rate", 0.1}}).dump()), identity({{"learning_rate", 0.1}})), "");
}

}  // namespace
}  // namespace orch::tuning
