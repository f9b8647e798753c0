// What a matrix says to no effect: an error where it cannot be meant, else a note.
#include <gmock/gmock.h>

#include "matrix/expand.h"
#include "matrix/harness_catalog.h"

using namespace orch;
using namespace orch::matrix;
using ::testing::Contains, ::testing::ElementsAre, ::testing::HasSubstr, ::testing::IsEmpty, ::testing::StartsWith,
    ::testing::UnorderedElementsAre;

namespace {

const Catalog kCatalog = orch::test::harness_catalog();

std::vector<std::string> notes(const std::string& text) { return orch::test::expanded(text, kCatalog).notes; }
std::vector<std::string> problems(const std::string& text) { return orch::test::problems(text, kCatalog); }

}  // namespace

// --- Commands ---

TEST(Commands, ThatNoCellRunsAreErrorsThatSayWhatRunsInstead) {
  const std::string base = "name: m\nmodels: [llama31_8b, old_fp32]\ntasks: [mmlu]\n";
  EXPECT_THAT(problems(base + "command: [run]\n"),
              ElementsAre("4:10: this command would never run: the cells beside it run on the engine lm-eval and "
                          "native; say `engine: command` in their settings, or leave the command out"));
  EXPECT_THAT(problems(base + "settings: {engine: native}\ncommand: [run]\n"), ElementsAre(StartsWith("5:10: ")));
  EXPECT_THAT(problems("name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft]\ncommand: [run]\n"),
              ElementsAre(StartsWith("5:10: this command would never run")));
  EXPECT_THAT(problems("name: m\nmodels: [{name: llama31_8b, engine: [native, command]}]\ntasks: [mmlu]\n"
                       "command: [run]\n"),
              IsEmpty());
}

TEST(Commands, ThatStagesInheritMustRunInOneOfThem) {
  const std::string base = "name: m\nmodels: [llama31_8b]\ncommand: [run]\nstages:\n  a: {tasks: [mmlu]}\n";
  EXPECT_THAT(problems(base + "  b: {tasks: [gsm8k]}\n"),
              ElementsAre(StartsWith("3:10: this command would never run")));
  EXPECT_THAT(problems(base + "  b: {tasks: [gsm8k], settings: {engine: command}}\n"), IsEmpty());
  EXPECT_THAT(problems(base + "  b: {kind: command}\n"), IsEmpty());
  EXPECT_THAT(problems(base + "  b: {kind: command}\n  c: {tasks: [gsm8k], command: [own]}\n"),
              ElementsAre(StartsWith("7:32: this command would never run")));
}

TEST(Commands, ThatRunOnlySomeModelsBecauseNoEngineIsSaidAreNoted) {
  const std::string base =
      "name: m\nkind: train\nmodels: [internvl2_76b, flux_dev]\ntasks: ['*']\ncommand: [run, "
      "'{model}', '{task}']\n";
  EXPECT_THAT(
      notes(base),
      ElementsAre("the matrix: no engine is said, so each model runs on its first that can: the command runs some, "
                  "and native the rest (`engine: command` runs the command for all)"));
  EXPECT_THAT(notes(base + "settings: {engine: command}\n"), IsEmpty());
}

TEST(Commands, ThatAreNotToldWhatTheMatrixVariesAreNoted) {
  EXPECT_THAT(notes("name: m\nkind: command\nmodels: [evo2_40b, flux_dev]\ncommand: [run]\nsettings: {seed: [1, 2, 3], "
                    "dtype: fp16, gpus: 2, time: 2h}\n"),
              UnorderedElementsAre("the matrix: the command does not name {model} or {hf_id}, so that the same program "
                                   "runs for each of 2 models",
                                   "the matrix: the command does not name {seed}, so that the same program runs for "
                                   "each of 3 values",
                                   "the matrix: the command does not name {dtype}, so that the program is not told of "
                                   "it"))
      << "GPUs take effect without the program";
  EXPECT_THAT(notes("name: m\nkind: command\nmodels: [evo2_40b, flux_dev]\ncommand: [run, '{hf_id}', '--seed={seed}', "
                    "'{settings.dtype}']\nsettings: {seed: [1, 2, 3], dtype: fp16}\n"),
              IsEmpty());
  EXPECT_THAT(notes("name: m\nmodels: [llama31_8b]\ntasks: [gsm8k]\ncommand: [run, '{model}']\nsettings: {engine: "
                    "[native, command], shots: [0, 5]}\n"),
              ElementsAre("the matrix: the command does not name {shots}, so that the same program runs for "
                          "each of 2 values"));
  EXPECT_THAT(
      notes("name: m\nmodels: [llama31_8b]\nstages:\n  tune: {kind: train, tasks: [sft]}\n  own: {kind: command, "
            "adapter: tune, command: [run, '{model}']}\n"),
      ElementsAre("stage 'own': the command does not name {adapter}, so that the program is not told which "
                  "adapter is meant"));
}

// --- Settings ---

TEST(Remarks, OfAnswersLongerThanTheContextNameTheModel) {
  // tinyllama keeps 2,048 tokens; a question of gsm8k has 100 and 5 examples of 150: 850.
  const std::string base = "name: m\nmodels: [tinyllama, llama31_8b]\ntasks: [gsm8k]\nsettings: ";
  EXPECT_THAT(notes(base + "{max_tokens: [2048, 2049]}\n"),
              UnorderedElementsAre(
                  "tinyllama / *: max_tokens over 2,048 is longer than an answer can be: the model's context has 2,048 "
                  "tokens",
                  "tinyllama / gsm8k: max_tokens over 1,198 is longer than an answer can be: the model's context has "
                  "2,048 tokens, and a prompt about 850"));
  EXPECT_THAT(
      notes(base + "{max_tokens: [1198, 1199]}\n"),
      ElementsAre("tinyllama / gsm8k: max_tokens over 1,198 is longer than an answer can be: the model's context "
                  "has 2,048 tokens, and a prompt about 850"));
  EXPECT_THAT(notes(base + "{max_tokens: 1198}\n"), IsEmpty());
  EXPECT_THAT(notes(base + "{max_tokens: 1199, shots: 0}\n"), IsEmpty());
  EXPECT_THAT(notes(base + "{max_tokens: 2049, context: 1024}\n"), IsEmpty()) << "the oldest tokens are cut off";
}

TEST(Remarks, OfGenerationWhereNothingIsGeneratedNameTheTask) {
  const std::string base = "name: m\nmodels: [tinyllama, llama31_8b]\ntasks: [mmlu, gsm8k]\nsettings: ";
  EXPECT_THAT(notes(base + "{max_tokens: 100, temperature: [0, 0.5]}\n"),
              UnorderedElementsAre("* / mmlu: max_tokens changes nothing: the task scores the choices that it gives, "
                                   "and generates no text",
                                   "* / mmlu: temperature changes nothing: the task scores the choices that it gives, "
                                   "and generates no text"));
  EXPECT_THAT(notes(base + "{temperature: 0}\n"), IsEmpty());
}

TEST(Remarks, OfMoreSamplesThanThereAreNameTheTask) {
  const std::string base = "name: m\nmodels: [tinyllama]\ntasks: [gsm8k]\nsettings: ";
  EXPECT_THAT(notes(base + "{limit: 101}\n"),
              ElementsAre("* / gsm8k: a limit over 100 takes all: the task has no more samples"));
  EXPECT_THAT(notes(base + "{limit: 100}\n"), IsEmpty());
}

TEST(Remarks, OfSettingsThatAnotherTrainingHasNameTheTask) {
  const std::string base = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: [sft, dpo]\nsettings: ";
  EXPECT_THAT(
      notes(base + "{beta: 0.1, group_size: 4}\n"),
      UnorderedElementsAre("* / sft: beta means nothing for a training of type instruct_text; dpo and grpo have "
                           "it",
                           "* / sft: group_size means nothing for a training of type instruct_text; grpo has it",
                           "* / dpo: group_size means nothing for a training of type dpo; grpo has it"));
}

TEST(Remarks, OfWhatOnlyPreferencesOrRewardsHaveNameTheTask) {
  const std::string base = "name: m\nkind: train\nmodels: [llama31_8b]\ntasks: ";
  EXPECT_THAT(notes(base + "[sft]\nsettings: {loss: [sigmoid, ipo], reward: /r.yaml, max_tokens: 64}\n"),
              UnorderedElementsAre("* / sft: loss means nothing for a training of type instruct_text; dpo has it",
                                   "* / sft: reward means nothing for a training of type instruct_text; grpo has it",
                                   "* / sft: max_tokens means nothing for a training of type instruct_text; grpo has "
                                   "it"));
  EXPECT_THAT(notes(base + "[dpo]\nsettings: {temperature: 0.7, iterations: 2, top_p: 0.9}\n"),
              UnorderedElementsAre("* / dpo: temperature means nothing for a training of type dpo; grpo has it",
                                   "* / dpo: iterations means nothing for a training of type dpo; grpo has it",
                                   "* / dpo: top_p means nothing for a training of type dpo; grpo has it"));
  EXPECT_THAT(notes(base + "[dpo]\nsettings: {loss: ipo, label_smoothing: [0, 0.1]}\n"),
              UnorderedElementsAre("* / dpo: label_smoothing means nothing for a loss other than robust"));
  EXPECT_THAT(notes(base + "[dpo]\nsettings: {loss: [ipo, robust], label_smoothing: 0.1}\n"), IsEmpty());
  EXPECT_THAT(notes(base + "[dpo]\nsettings: {held_out: 0, evaluate_every: 5}\n"),
              UnorderedElementsAre("* / dpo: evaluate_every means nothing where no row is held out"));
  EXPECT_THAT(notes(base + "[dpo]\nsettings: {held_out: [0, 9], evaluate_every: 5}\n"), IsEmpty());
}

TEST(Remarks, AreMadeOnlyOfCellsThatAreMade) {
  EXPECT_THAT(notes("name: m\nmodels: [tinyllama]\ntasks: [gsm8k]\nsettings: {max_tokens: [100, 3000]}\nexclude: "
                    "[{max_tokens: 3000}]\n"),
              IsEmpty());
  EXPECT_THAT(notes("name: m\nmodels: [flux_dev]\ntasks: [mmlu]\nsettings: {max_tokens: 3000}\n"), IsEmpty());
  EXPECT_THAT(notes("name: m\nkind: train\nmodels: [old_fp32]\ntasks: [sft]\nsettings: {beta: 1}\n"), IsEmpty());
}

// --- How long training lasts ---

TEST(Lengths, OfTrainingAreSaidOnceWhereverTheyStand) {
  EXPECT_THAT(problems("name: m\nkind: train\nmodels: [{name: llama31_8b, epochs: 2, steps: 5}]\ntasks: [sft]\n"),
              ElementsAre(StartsWith("3:10: 'epochs' and 'steps' both say how long training lasts")));
  const Expansion expansion = orch::test::expanded(
      "name: m\nkind: train\nmodels: [{name: 'llama31_8*', epochs: 2}, {name: llama31_8b, steps: 5}]\ntasks: [sft]\n",
      kCatalog);
  ASSERT_EQ(expansion.cells.size(), 1u);
  EXPECT_FALSE(expansion.settings[0].has("epochs")) << "the name's steps replace the glob's epochs";
  EXPECT_EQ(expansion.settings[0].integer("steps"), 5);
}
