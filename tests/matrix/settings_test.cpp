#include "matrix/settings.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty, ::testing::SizeIs;

namespace {

struct Read {
  std::optional<SettingValue> value;
  std::vector<std::string> errors;
};

Yaml yaml(const std::string& text) {
  Diagnostics diagnostics;
  return *parse_yaml(text, "s.yaml", diagnostics);
}

/// One setting, read from YAML.
Read read(const std::string& name, const std::string& text) {
  Diagnostics diagnostics;
  Read read;
  read.value = read_setting(*find_setting(name), yaml(text), "s.yaml", diagnostics);
  for (const Problem& problem : diagnostics.errors()) read.errors.push_back(problem.what);
  return read;
}

std::vector<std::string> axes_errors(const std::string& text, std::vector<CellKind> kinds) {
  Diagnostics diagnostics;
  read_axes(yaml(text), kinds, "s.yaml", diagnostics);
  std::vector<std::string> lines;
  for (const Problem& problem : diagnostics.errors()) lines.push_back(to_string(problem.place) + ": " + problem.what);
  return lines;
}

}  // namespace

TEST(Settings, OfTheTableHaveDistinctNamesAndAKindEach) {
  std::set<std::string_view> names;
  for (const SettingDef& def : setting_defs()) {
    EXPECT_TRUE(names.insert(def.name).second) << def.name;
    EXPECT_FALSE(def.kinds.empty()) << def.name;
    EXPECT_FALSE(def.help.empty()) << def.name;
    if (def.type == SettingType::kInteger || def.type == SettingType::kNumber)
      EXPECT_LT(def.least, def.most) << def.name;
    if (def.type == SettingType::kChoice) EXPECT_GT(def.choices.size(), 1u) << def.name;
  }
}

TEST(Settings, AreBoundedAtBothEndsOfTheirRange) {
  EXPECT_EQ(read("shots", "0").value, SettingValue(std::int64_t{0}));
  EXPECT_EQ(read("shots", "100").value, SettingValue(std::int64_t{100}));
  EXPECT_FALSE(read("shots", "101").value);
  EXPECT_FALSE(read("shots", "-1").value);
  EXPECT_EQ(read("temperature", "5").value, SettingValue(5.0));
  EXPECT_FALSE(read("temperature", "5.01").value);
  EXPECT_FALSE(read("learning_rate", "0").value);
  EXPECT_EQ(read("seed", "9007199254740991").value, SettingValue(std::int64_t{9007199254740991}));
  EXPECT_FALSE(read("seed", "9007199254740992").value);
  EXPECT_FALSE(read("seed", "99999999999999999999999").value);
}

TEST(Settings, RefuseWhatIsNoNumber) {
  for (const char* text : {".nan", ".inf", "-.inf", "nan", "'0.5'", "true", "[1]", "{a: 1}", "~", "1e999"}) {
    const Read got = read("temperature", text);
    EXPECT_FALSE(got.value) << text;
    EXPECT_THAT(got.errors, ElementsAre(HasSubstr("'temperature' must be a number from 0 to 5"))) << text;
  }
}

TEST(Settings, TakeMinusZeroForZero) {
  const Read minus = read("temperature", "-0.0");
  ASSERT_TRUE(minus.value);
  EXPECT_EQ(canonical_json(to_json(*minus.value)), "0");
}

TEST(Settings, WithUnitsBecomeWholeNumbers) {
  EXPECT_EQ(read("limit", "2k").value, SettingValue(std::int64_t{2000}));
  EXPECT_FALSE(read("limit", "0").value);
  EXPECT_FALSE(read("limit", "1.5").value);
  EXPECT_EQ(read("time", "1h30m").value, SettingValue(std::int64_t{5400}));
  EXPECT_EQ(read("time", "1500ms").value, SettingValue(std::int64_t{2}));
  EXPECT_FALSE(read("time", "90").value) << "minutes or seconds?";
  EXPECT_EQ(read("gpu_memory", "20GiB").value, SettingValue(std::int64_t{20} << 30));
  EXPECT_EQ(read("memory", "4G").value, SettingValue(std::int64_t{4} << 30));
  EXPECT_EQ(read("time", "10m").value, SettingValue(std::int64_t{600}));
  EXPECT_FALSE(read("gpu_memory", "1e40GB").value);
}

TEST(Settings, OfGpusAreWholeOrAPartOfOne) {
  EXPECT_EQ(read("gpus", "0").value, SettingValue(std::int64_t{0}));
  EXPECT_EQ(read("gpus", "2.0").value, SettingValue(std::int64_t{2})) << "so that 2 and 2.0 are one value";
  EXPECT_EQ(read("gpus", "0.5").value, SettingValue(0.5));
  EXPECT_EQ(read("gpus", "65536").value, SettingValue(std::int64_t{65536}));
  for (const char* wrong : {"1.5", "-1", "-0.5", "65537", "1e400", "half", "'1'", "[1]"})
    EXPECT_FALSE(read("gpus", wrong).value) << wrong;
}

TEST(Settings, OfOnesOwnAreTruthValuesNumbersAndTexts) {
  const auto own = [](const std::string& text) {
    Diagnostics diagnostics;
    return read_own_setting("x", yaml(text), "s.yaml", diagnostics);
  };
  EXPECT_EQ(own("true"), SettingValue(true));
  EXPECT_EQ(own("12"), SettingValue(std::int64_t{12}));
  EXPECT_EQ(own("1e-4"), SettingValue(1e-4));
  EXPECT_EQ(own("no"), SettingValue(std::string("no")));
  EXPECT_EQ(own("'12'"), SettingValue(std::string("12")));
  EXPECT_FALSE(own("9007199254740993")) << "2^53 + 1 is not kept exactly by every reader of JSON";
  EXPECT_FALSE(own("\"a\\nb\""));
  EXPECT_FALSE(own("{a: 1}"));
  EXPECT_EQ(plain_text(SettingValue(true)), "true");
  EXPECT_EQ(plain_text(SettingValue(std::int64_t{600})), "600");
  EXPECT_EQ(plain_text(SettingValue(0.5)), "0.5");
  EXPECT_EQ(plain_text(SettingValue(std::string("a b"))), "a b");
}

TEST(Settings, ThatAreWordsSuggestTheNearest) {
  EXPECT_EQ(read("dtype", "bf16").value, SettingValue("bf16"));
  EXPECT_THAT(
      read("dtype", "bf61").errors,
      ElementsAre(
          "'dtype' must be one of fp32, bf16, fp16, fp8, int8, int4; found the text 'bf61'; did you mean 'bf16'?"));
  EXPECT_THAT(read("engine", "lmeval").errors, ElementsAre(HasSubstr("did you mean 'lm-eval'?")));
}

TEST(Settings, ThatAreTextsHoldNoControlCharacters) {
  EXPECT_EQ(read("prefix", "'You are terse. $(x) \"'").value, SettingValue("You are terse. $(x) \""));
  EXPECT_FALSE(read("prefix", "\"a\\nb\"").value);
  EXPECT_FALSE(read("prefix", "\"a\\x1bb\"").value);
  EXPECT_FALSE(read("prefix", "\"" + std::string(4097, 'x') + "\"").value);
}

TEST(Settings, ThatAreListsAreAxes) {
  Diagnostics diagnostics;
  const auto values = read_axis(*find_setting("seed"), yaml("[0, 1, 5]"), "s.yaml", diagnostics);
  EXPECT_TRUE(diagnostics.ok());
  EXPECT_THAT(values,
              ElementsAre(SettingValue(std::int64_t{0}), SettingValue(std::int64_t{1}), SettingValue(std::int64_t{5})));
}

TEST(Settings, RefuseAnEmptyAxisAndAValueThatStandsTwice) {
  EXPECT_THAT(axes_errors("{seed: []}", {CellKind::kEval}),
              ElementsAre(HasSubstr("s.yaml:1:8: an empty axis makes no cells")));
  EXPECT_THAT(axes_errors("dtype: [bf16, fp8, \"bf16\"]", {CellKind::kEval}),
              ElementsAre(HasSubstr("s.yaml:1:20: the value 'bf16' stands twice in the axis 'dtype'")));
  EXPECT_THAT(axes_errors("temperature: [0.5, 5e-1]", {CellKind::kEval}),
              ElementsAre(HasSubstr("'5e-1' stands twice")));
  EXPECT_THAT(axes_errors("seed: [[1]]", {CellKind::kEval}), SizeIs(1));
}

TEST(Settings, OfOtherKindsAreRefusedWithTheKindsThatTakeThem) {
  EXPECT_THAT(axes_errors("{rank: 8}", {CellKind::kEval}),
              ElementsAre("s.yaml:1:2: eval cells do not take the setting 'rank'; train cells do"));
  EXPECT_THAT(axes_errors("{gpus: 8}", {CellKind::kTrain}),
              ElementsAre("s.yaml:1:2: train cells do not take the setting 'gpus'; bench and command cells do"));
  for (const char* name : {"time", "memory", "gpu_memory", "cpus"})
    for (const CellKind kind : {CellKind::kEval, CellKind::kTrain, CellKind::kBench})
      EXPECT_THAT(axes_errors(std::string(name) + ": 1", {kind}), ElementsAre(HasSubstr("; command cells do")));
}

TEST(Settings, ThatAreNotKnownSuggestTheNearestThatTheKindTakes) {
  EXPECT_THAT(axes_errors("{shot: 5}", {CellKind::kEval}),
              ElementsAre("s.yaml:1:2: no setting 'shot'; did you mean 'shots'?"));
  EXPECT_THAT(axes_errors("{learning_rat: 5}", {CellKind::kTrain}),
              ElementsAre(HasSubstr("did you mean 'learning_rate'?")));
}

TEST(Settings, ThatSayHowACellIsRunAreContentOnlyOfBenchmarks) {
  const SettingDef& batch = *find_setting("batch");
  EXPECT_FALSE(in_key(batch, CellKind::kEval));
  EXPECT_TRUE(in_key(batch, CellKind::kBench));
  for (const char* name : {"time", "memory", "gpu_memory", "cpus", "gpus", "nodes", "micro_batch", "checkpointing",
                           "tensor", "checkpoint_every", "keep_checkpoints"})
    EXPECT_FALSE(find_setting(name)->in_key) << name;
  for (const char* name : {"dtype",           "kv_dtype",     "seed",
                           "shots",           "rank",         "container",
                           "batch_size",      "accumulation", "targets",
                           "rank_stabilised", "held_out",     "evaluate_every",
                           "group_by_length", "loss",         "label_smoothing",
                           "aggregation",     "epsilon",      "reward",
                           "max_tokens",      "temperature",  "top_p",
                           "top_k",           "epsilon_high", "delta",
                           "scale_rewards",   "iterations",   "steps_per_generation"})
    EXPECT_TRUE(find_setting(name)->in_key) << name;
}

TEST(Settings, AreReadByTypeAndNeverByAnother) {
  Settings settings;
  settings.set("seed", std::int64_t{3});
  settings.set("temperature", 0.5);
  settings.set("dtype", std::string("fp8"));
  settings.set("full", true);
  EXPECT_EQ(settings.integer("seed"), 3);
  EXPECT_EQ(settings.number("seed"), 3.0);
  EXPECT_EQ(settings.integer("temperature"), std::nullopt);
  EXPECT_EQ(settings.dtype("dtype"), DType::kFp8);
  EXPECT_EQ(settings.text("seed"), std::nullopt);
  EXPECT_EQ(settings.truth("full"), true);
  EXPECT_EQ(settings.truth("missing"), std::nullopt);
  EXPECT_EQ(to_string(settings), "dtype=fp8 full=true seed=3 temperature=0.5");
  EXPECT_EQ(to_json(settings).dump(), R"({"dtype":"fp8","full":true,"seed":3,"temperature":0.5})");
  EXPECT_EQ(to_string(Settings()), "-");
}

TEST(Settings, AreShownSoThatAStrangeTextCannotStandForAnother) {
  Settings settings;
  settings.set("prefix", std::string("a seed=1"));
  EXPECT_EQ(to_string(settings), "prefix='a seed=1'");
}

TEST(CellKind, IsFoundByItsName) {
  for (const CellKind kind : {CellKind::kEval, CellKind::kTrain, CellKind::kBench, CellKind::kCommand})
    EXPECT_EQ(cell_kind_named(name_of(kind)), kind);
  EXPECT_EQ(cell_kind_named("Eval"), std::nullopt);
}

// --- What is written about them ---

namespace {

std::string file_text(const std::string& path) {
  Diagnostics diagnostics;
  return read_file(orch::test::source_dir() / path, 1 << 20, diagnostics).value_or("");
}

}  // namespace

TEST(Settings, StandInTheSchemaWithTheirRanges) {
  const auto schema = nlohmann::json::parse(file_text("docs/schemas/matrix.json"));
  const auto& properties = schema.at("$defs").at("settings").at("properties");
  const auto& beside_run = schema.at("$defs").at("command").at("anyOf").at(1).at("properties");
  std::size_t in_settings = 0;
  for (const SettingDef& def : setting_defs()) {
    const std::string name(def.name);
    if (def.beside_run) {
      EXPECT_TRUE(beside_run.contains(name)) << name;
      EXPECT_FALSE(properties.contains(name)) << name;
      continue;
    }
    ++in_settings;
    ASSERT_TRUE(properties.contains(name)) << name;
    const auto& value = properties.at(name).at("anyOf").at(0);
    const auto& axis = properties.at(name).at("anyOf").at(1);
    EXPECT_EQ(axis.at("items"), value) << name;
    EXPECT_EQ(axis.at("minItems"), 1) << name;
    if (def.type == SettingType::kChoice)
      EXPECT_EQ(value.at("enum"), nlohmann::json(std::vector<std::string>(def.choices.begin(), def.choices.end())))
          << name;
    if (def.type == SettingType::kInteger || def.type == SettingType::kNumber || def.type == SettingType::kGpus) {
      EXPECT_EQ(value.at("minimum").get<double>(), def.least) << name;
      EXPECT_EQ(value.at("maximum").get<double>(), def.most) << name;
    }
    for (const char* picked : {"model", "task"})
      EXPECT_TRUE(schema.at("$defs").at(picked).at("anyOf").at(1).at("properties").contains(name)) << name;
  }
  EXPECT_EQ(properties.size(), in_settings);
}

TEST(Settings, StandInTheManualWithTheirKinds) {
  const std::string whole = file_text("docs/matrix.md");
  const std::string manual = whole.substr(std::min(whole.find("\n## Settings"), whole.size()));
  for (const SettingDef& def : setting_defs()) {
    const std::size_t at = manual.find("\n| `" + std::string(def.name) + "` |");
    ASSERT_NE(at, std::string::npos) << def.name;
    const std::string row = manual.substr(at + 1, manual.find('\n', at + 1) - at - 1);
    for (const CellKind kind : def.kinds) EXPECT_THAT(row, HasSubstr(std::string(name_of(kind)))) << def.name;
    EXPECT_THAT(row, HasSubstr(def.in_key ? "| yes |" : "| no |"));
    EXPECT_THAT(row, HasSubstr(std::string(def.help)));
  }
}

TEST(Settings, AreHeldInTheOrderOfTheirNamesHoweverTheyCome) {
  Settings settings;
  settings.set("seed", std::int64_t{1});
  settings.set("dtype", std::string("bf16"));
  settings.set("shots", std::int64_t{5});
  settings.set("seed", std::int64_t{2});
  EXPECT_EQ(to_string(settings), "dtype=bf16 seed=2 shots=5");
  settings.erase("dtype");
  settings.erase("rank");
  EXPECT_EQ(to_string(settings), "seed=2 shots=5");
  EXPECT_FALSE(settings.has("dtype"));
  EXPECT_FALSE(settings.has("zzz"));
  EXPECT_EQ(settings.integer("shots"), 5);
}

TEST(Values, AreToldApartExactly) {
  const auto bytes = [](const std::vector<SettingValue>& values) {
    std::string text;
    for (const SettingValue& value : values) append_value(text, value);
    return text;
  };
  EXPECT_EQ(bytes({0.1}), bytes({0.1}));
  EXPECT_NE(bytes({1e-9}), bytes({2e-9})) << "numbers that 6 decimals do not tell apart";
  EXPECT_NE(bytes({std::int64_t{1}}), bytes({1.0}));
  EXPECT_NE(bytes({std::int64_t{1}}), bytes({true}));
  EXPECT_NE(bytes({std::string("1")}), bytes({std::int64_t{1}}));
  EXPECT_NE(bytes({std::string("a"), std::string("b")}), bytes({std::string("ab"), std::string()}));
  EXPECT_NE(bytes({std::string("3a\n")}), bytes({std::string("3a")}));
}
