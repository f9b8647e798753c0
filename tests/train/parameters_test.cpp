// Models that are trained in full: their gradients against torch, their steps against the formula, and what comes of
// them over ranks, again from a state, and as a folder that is loaded again.
#include "train/parameters.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "kernels/plan/backend.h"
#include "model/projections.h"
#include "model/trained.h"
#include "support/families.h"
#include "support/temporary.h"
#include "train/ranks.h"
#include "train/run.h"

namespace orch::train {
namespace {

using nlohmann::json;
using testing::HasSubstr, testing::SizeIs;
namespace fs = std::filesystem;

using Row = Parameters::Row;

/// A row of all tensor ranks as the checkpoint's tensors. Ranks add to it one after another.
void collect(const std::vector<Piece>& pieces, const std::vector<float>& row, model::Tensors& whole) {
  for (const Piece& piece : pieces) {
    std::vector<float>& tensor = whole[piece.name];
    const bool is_new = tensor.empty();
    tensor.resize(static_cast<std::size_t>(piece.all_rows * piece.all_cols));
    if (!is_new && (piece.is_alike || piece.is_summed)) {
      std::vector<float> again = tensor;
      put_in_whole(piece, row, again);
      EXPECT_EQ(again, tensor) << piece.name << " is not alike on all ranks";
    }
    put_in_whole(piece, row, tensor);
  }
}

bool can_be_cut(const model::Architecture& it, int ranks) {
  model::Shard shard;
  shard.ranks = ranks;
  return model::check_shard(it, shard).ok() && (it.attention.latent || it.attention.kv_heads >= ranks);
}

/// Those whose weights are not in fp8.
std::vector<std::string> trainable_families() {
  std::vector<std::string> names = test::families();
  std::erase_if(names, [](const std::string& name) { return name.find("fp8") != std::string::npos; });
  return names;
}

class FullGradients : public testing::TestWithParam<std::string> {};

TEST_P(FullGradients, AreThoseOfTorchUnderTheCheckpointsNamesOverRanks) {
  const fs::path folder = test::family_folder(GetParam());
  std::ifstream in(folder / "gradients.json");
  const json root = json::parse(in);
  std::vector<Sample> samples;
  std::vector<std::vector<float>> coefficients;
  LearnerBounds bounds;
  for (const json& sequence : root.at("sequences")) {
    Sample& sample = samples.emplace_back();
    sample.ids = sequence.at("ids").get<std::vector<std::int32_t>>();
    sample.trained.assign(sample.ids.size(), 1);
    coefficients.push_back(sequence.at("coefficients").get<std::vector<float>>());
    bounds.tokens += static_cast<std::int64_t>(sample.ids.size());
    bounds.length = std::max(bounds.length, static_cast<std::int64_t>(sample.ids.size()));
  }
  bounds.texts = static_cast<std::int64_t>(samples.size());
  double all = 0;
  for (const auto& [name, of] : root.at("tensors").items()) all += std::pow(of.at("norm").get<double>(), 2);

  for (const int ranks : {1, 2, 4}) {
    if (!can_be_cut(take(model::open_architecture(folder)), ranks)) continue;
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    model::Tensors gradients;
    std::mutex mutex;
    on_ranks(folder, {1, ranks}, [&](const AtRank& at) {
      const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, false));
      const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, bounds));
      std::vector<Lesson> lessons;
      for (const Sample& sample : samples) lessons.push_back({&sample, 0});
      take(learner->teach(lessons, 0, 1, [&](std::span<const Outcome> outcomes) {
        for (std::size_t i = 0; i < outcomes.size(); ++i)
          for (std::size_t t = 1; t < coefficients[i].size(); ++t) outcomes[i].derivatives[t - 1] = -coefficients[i][t];
      }));
      parameters->sum_gradients(learner->stream(), nullptr);
      EXPECT_NEAR(take(parameters->gradient_norm(learner->stream())), std::sqrt(all), 1e-4 * std::sqrt(all));
      // Without memory of earlier ones the first moment is the gradient.
      parameters->update(learner->stream(), {0, 0, 0.999, 1e-8, 0}, 1, 1);
      const std::vector<float> row = take(parameters->read(learner->stream(), Row::kFirst));
      const std::lock_guard lock(mutex);
      collect(parameters->pieces(), row, gradients);
    });
    for (const auto& [name, of] : root.at("tensors").items()) {
      SCOPED_TRACE(name);
      const double norm = of.at("norm");
      const auto found = gradients.find(name);
      if (found == gradients.end()) {
        EXPECT_EQ(norm, 0) << "it is not trained";
        continue;
      }
      EXPECT_NEAR(test::norm_of(found->second), norm, 1e-4 * norm + 1e-9);
      for (std::uint64_t k = 0; k < 3; ++k)
        EXPECT_NEAR(test::projected(found->second, name, k), of.at("projections").at(k).get<double>(),
                    1e-4 * norm + 1e-9);
    }
    for (const auto& [name, numbers] : gradients) EXPECT_TRUE(root.at("tensors").contains(name)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, FullGradients, testing::ValuesIn(trainable_families()),
                         [](const auto& family) { return family.param; });

/// Texts over a small alphabet that follow a rule.
std::vector<Sample> texts(int from, int to, std::int64_t vocab) {
  std::vector<Sample> samples;
  for (int i = from; i < to; ++i) {
    Sample& sample = samples.emplace_back();
    for (int t = 0; t < 8 + i % 7; ++t) {
      sample.ids.push_back(static_cast<std::int32_t>((3 + 7 * i + 5 * t) % vocab));
      sample.trained.push_back(t > 2 ? 1 : 0);
    }
  }
  return samples;
}

struct Course {
  std::string family = "llama3";
  fs::path folder{};  ///< in place of the family's
  RanksSetting ranks{};
  std::int64_t steps = 60;
  double rate = 0.002;
  bool again = false;              ///< layers are computed again
  std::int64_t end_after = -1;     ///< step behind which it is told to end
  std::map<int, RunState> from{};  ///< of each rank
  bool prefers = false;
  float dropout = 0;
  bool packs_average = false;  ///< at the end
};

struct Ran {
  std::vector<StepReport> reports;  ///< of the first rank
  std::map<int, RunState> states;   ///< of each rank
  model::Tensors values, average;
  std::vector<float> looked;  ///< log-probabilities of a text, at the end

  double first() const { return reports.front().loss; }
  double last() const { return reports.back().loss; }
};

Ran train(const Course& course) {
  Ran trained;
  std::mutex mutex;
  const fs::path folder = course.folder.empty() ? test::family_folder(course.family) : course.folder;
  on_ranks(folder, course.ranks, [&](const AtRank& at) {
    const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, true));
    RunRules rules;
    rules.order = {6, 3, true};
    rules.schedule.rate = course.rate;
    rules.schedule.warmup = 0.1;
    rules.schedule.steps = course.steps;
    rules.schedule.evaluate_every = 1000;
    rules.clip = 1;
    rules.adam.decay = 0.01;
    rules.pass = {64, 8, 32, course.again, course.dropout};
    rules.keep_every = 10;
    const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, rules.pass));
    const std::int64_t vocab = at.architecture.vocab;
    std::unique_ptr<Aim> aim = make_likelihood_aim(texts(0, 20, vocab));
    if (course.prefers) {
      std::vector<PreferredSample> pairs;
      for (const Sample& sample : texts(0, 20, vocab)) pairs.push_back({sample, sample});
      aim = make_preference_aim(std::move(pairs), {});
    }
    Run run(rules, *aim, nullptr, *learner, *parameters, &at.data, &at.host);
    if (course.from.contains(at.rank)) take(run.go_on_from(course.from.at(at.rank)));
    RunHooks hooks;
    std::int64_t done = -1;
    hooks.report = [&](const StepReport& report) {
      done = report.step;
      const std::lock_guard lock(mutex);
      if (at.rank == 0) trained.reports.push_back(report);
    };
    hooks.wish = [&] { return course.end_after >= 0 && done >= course.end_after ? Wish::kEnd : Wish::kNone; };
    if (course.steps > 0) take(run.go(hooks));
    RunState state = take(run.state());
    if (course.packs_average) parameters->pack(learner->stream(), true);
    const Sample text = texts(30, 31, vocab).front();
    const std::vector<Lesson> lessons = {{&text, 0}};
    const auto looked = take(learner->look(lessons, true));
    const std::lock_guard lock(mutex);
    if (at.rank < course.ranks.tensor) {
      collect(parameters->pieces(), state.values, trained.values);
      collect(parameters->pieces(), state.average, trained.average);
    }
    trained.states[at.rank] = std::move(state);
    if (at.rank == 0) trained.looked = looked.front();
  });
  return trained;
}

model::WholeTensors whole(const model::Tensors& tensors) { return {tensors.begin(), tensors.end()}; }

void expect_near(const Ran& got, const Ran& wanted, double apart) {
  ASSERT_EQ(got.reports.size(), wanted.reports.size());
  for (std::size_t i = 0; i < got.reports.size(); ++i)
    ASSERT_NEAR(got.reports[i].loss, wanted.reports[i].loss, apart) << "step " << i;
}

void expect_near(const std::vector<float>& got, const std::vector<float>& wanted, float apart) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], apart);
}

/// Of the gradients that are there, as one row.
std::vector<float> gradient_row(const AtRank& at, Parameters& parameters, Learner& learner) {
  const auto& pieces = parameters.pieces();
  const auto norm =
      std::find_if(pieces.begin(), pieces.end(), [](const Piece& piece) { return piece.name == "model.norm.weight"; });
  std::vector<float> row(static_cast<std::size_t>(parameters.count()));
  const float* begin = static_cast<const float*>(parameters.gradients().norm.data) - norm->at;
  at.backend.download(learner.stream(), row.data(), begin, row.size() * sizeof(float));
  take(at.backend.wait(learner.stream()));
  return row;
}

// AdamW as its paper has it, in doubles, from the numbers of the checkpoint itself; what does not decay is chosen by
// names as transformers' Trainer chooses.
TEST(FullTraining, StepsAsAdamWByHandAndDecaysNoNormAndNoBias) {
  const fs::path folder = test::family_folder("llama_biases");
  on_ranks(folder, {}, [&](const AtRank& at) {
    const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, false));
    const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, {64, 8, 32}));
    const std::vector<Sample> samples = texts(0, 5, at.architecture.vocab);
    std::vector<Lesson> lessons;
    for (const Sample& sample : samples) lessons.push_back({&sample, 0});
    std::vector<std::vector<float>> gradients;
    const double scale = 0.5, rate = 0.01, beta1 = 0.8, beta2 = 0.95, epsilon = 1e-6, decay = 0.3;
    for (int step = 1; step <= 3; ++step) {
      parameters->clear_gradients(learner->stream());
      take(learner->teach(lessons, 0, 1, [&](std::span<const Outcome> outcomes) {
        for (const Outcome& outcome : outcomes) std::fill(outcome.derivatives.begin(), outcome.derivatives.end(), -1.F);
      }));
      gradients.push_back(gradient_row(at, *parameters, *learner));
      parameters->update(learner->stream(), {rate, beta1, beta2, epsilon, decay}, step, scale);
    }
    const std::vector<float> values = take(parameters->read(learner->stream(), Row::kValues));

    const model::Checkpoint checkpoint = take(model::Checkpoint::open(folder));
    std::size_t seen = 0, plain = 0;
    for (const Piece& piece : parameters->pieces()) {
      const model::Tensor& tensor = *checkpoint.find(piece.name);
      std::vector<float> begin(static_cast<std::size_t>(tensor.count()));
      model::read_numbers(tensor, 0, tensor.count(), begin.data());
      ASSERT_EQ(piece.rows * piece.cols, tensor.count()) << "one rank has all of it";
      const bool decays = piece.name.find("norm") == std::string::npos && piece.name.find("bias") == std::string::npos;
      EXPECT_EQ(piece.decays, decays) << piece.name;
      plain += decays ? 0 : 1;
      for (std::size_t i = 0; i < begin.size(); ++i, ++seen) {
        double value = static_cast<double>(begin[i]), first = 0, second = 0;
        for (int step = 1; step <= 3; ++step) {
          const double gradient =
              scale * static_cast<double>(
                          gradients[static_cast<std::size_t>(step) - 1][static_cast<std::size_t>(piece.at) + i]);
          first = beta1 * first + (1 - beta1) * gradient;
          second = beta2 * second + (1 - beta2) * gradient * gradient;
          if (decays) value -= rate * decay * value;
          value -= rate * (first / (1 - std::pow(beta1, step))) /
                   (std::sqrt(second / (1 - std::pow(beta2, step))) + epsilon);
        }
        ASSERT_NEAR(values[static_cast<std::size_t>(piece.at) + i], value, 2e-6) << piece.name << " " << i;
      }
    }
    EXPECT_EQ(seen, static_cast<std::size_t>(parameters->count()));
    EXPECT_EQ(plain, 2 * 9 + 1U) << "two norms and seven biases a layer, and the last norm";
  });
}

TEST(FullTraining, LearnsInEveryKindOfLayer) {
  for (const char* family : {"llama3", "gpt2", "gemma2", "qwen3", "falcon_40b", "phi3", "mixtral", "dbrx", "qwen3_moe",
                             "deepseek_v3", "deepseek_v3_no_q_rank"}) {
    const Ran trained = train({.family = family});
    EXPECT_LT(trained.last(), 0.6 * trained.first()) << family;
  }
}

// 200 steps, whichever ranks share samples or layers.
TEST(FullTraining, HasTheSameLossOverRanks) {
  for (const char* family : {"llama3", "gpt2"}) {
    const Course course{.family = family, .steps = 200, .rate = 0.001};
    const Ran alone = train(course);
    EXPECT_LT(alone.last(), 0.6 * alone.first()) << family;
    for (const RanksSetting& ranks : {RanksSetting{2, 1}, {4, 1}, {1, 2}, {2, 2}}) {
      SCOPED_TRACE(std::string(family) + ", " + std::to_string(ranks.data) + " × " + std::to_string(ranks.tensor));
      Course over = course;
      over.ranks = ranks;
      expect_near(train(over), alone, 1e-4);
    }
  }
}

// Each kind of layer has its own way of being shared.
TEST(FullTraining, HasTheSameLossOverRanksInEveryKindOfLayer) {
  for (const char* family : {"falcon_40b", "gemma2", "deepseek_v3", "deepseek_v3_no_q_rank", "phi3", "mixtral", "dbrx",
                             "gpt_bigcode_heads", "qwen3", "llama_biases"}) {
    SCOPED_TRACE(family);
    const Course course{.family = family, .steps = 30, .rate = 0.001};
    Course over = course;
    over.ranks = {1, 2};
    const Ran alone = train(course), shared = train(over);
    expect_near(shared, alone, 1e-4);
    EXPECT_NEAR(shared.reports.front().norm, alone.reports.front().norm, 1e-4 * alone.reports.front().norm);
  }
}

TEST(FullTraining, GivesTheSameBitsAgain) {
  const Ran once = train({.steps = 12});
  EXPECT_EQ(train({.steps = 12}).states, once.states);
  EXPECT_EQ(train({.steps = 12, .again = true}).states, once.states) << "with layers computed again";
  EXPECT_EQ(train({.ranks = {.fake = 3}, .steps = 12}).states, once.states) << "on a device";
}

TEST(FullTraining, GoesOnFromAStateWithTheSameBits) {
  for (const RanksSetting& ranks : {RanksSetting{}, RanksSetting{2, 2}}) {
    const Course course{.family = "qwen3", .ranks = ranks, .steps = 20};
    const Ran whole_run = train(course);
    Course cut = course;
    cut.end_after = 8;
    const Ran begun = train(cut);
    EXPECT_THAT(begun.reports, SizeIs(9));
    cut.end_after = -1;
    cut.from = begun.states;
    const Ran resumed = train(cut);
    EXPECT_EQ(resumed.states, whole_run.states);
    EXPECT_EQ(resumed.looked, whole_run.looked);
  }
}

TEST(FullTraining, GivesAFolderThatIsThatModel) {
  for (const char* family : {"llama3", "gpt2", "gpt2_bare", "gemma2", "falcon_40b", "phi3", "mixtral", "dbrx",
                             "deepseek_v3", "gpt_bigcode_heads"}) {
    SCOPED_TRACE(family);
    test::TemporaryFolder folder;
    const fs::path base = test::family_folder(family);
    const Ran trained = train({.family = family, .steps = 5});
    take(model::write_trained(base, whole(trained.values), folder / "model", DType::kFp32));
    EXPECT_EQ(train({.folder = folder / "model", .steps = 0}).looked, trained.looked) << "bit for bit";
    EXPECT_NE(train({.family = family, .steps = 0}).looked, trained.looked);

    const Ran shared = train({.family = family, .ranks = {1, 2}, .steps = 5});
    take(model::write_trained(base, whole(shared.values), folder / "shared", DType::kFp32));
    expect_near(train({.folder = folder / "shared", .steps = 0}).looked, shared.looked, 1e-4F);

    take(model::write_trained(base, whole(trained.values), folder / "as stored"));
    expect_near(train({.folder = folder / "as stored", .steps = 0}).looked, trained.looked, 0.2F);
  }
}

TEST(FullTraining, ComputesWithTheAverageWhereItIsPacked) {
  test::TemporaryFolder folder;
  const Ran trained = train({.steps = 30, .packs_average = true});
  EXPECT_NE(trained.average, trained.values);
  take(model::write_trained(test::family_folder("llama3"), whole(trained.average), folder / "model", DType::kFp32));
  EXPECT_EQ(train({.folder = folder / "model", .steps = 0}).looked, trained.looked);
}

TEST(FullTraining, HasMastersInFp32WhereTheModelComputesInBf16) {
  RanksSetting ranks;
  ranks.formats = DType::kBf16;
  const Ran trained = train({.ranks = ranks, .steps = 60});
  EXPECT_LT(trained.last(), 0.6 * trained.first());
  // Steps of 1e-5 are less than a hundredth of bf16's for numbers of about 0.5; in masters they are not lost.
  const Ran slow = train({.ranks = ranks, .steps = 10, .rate = 1e-5}), begin = train({.ranks = ranks, .steps = 0});
  std::size_t moved = 0, all = 0;
  for (const auto& [name, numbers] : begin.values)
    for (std::size_t i = 0; i < numbers.size(); ++i, ++all) moved += slow.values.at(name)[i] != numbers[i] ? 1 : 0;
  EXPECT_GT(moved, all / 2);
}

TEST(FullTraining, BeginsWithTheCheckpointWhateverTheDecoderWasTrainedToBefore) {
  on_ranks(test::family_folder("llama_biases"), {}, [&](const AtRank& at) {
    const Sample text = texts(0, 1, at.architecture.vocab).front();
    const std::vector<Lesson> lessons = {{&text, 0}};
    std::vector<std::vector<std::vector<float>>> looked;
    for (int time = 0; time < 2; ++time) {
      const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, false));
      const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, {64, 8, 32}));
      looked.push_back(take(learner->look(lessons, true)));
      take(learner->teach(lessons, 0, 1, [&](std::span<const Outcome> outcomes) {
        std::fill(outcomes[0].derivatives.begin(), outcomes[0].derivatives.end(), -1.F);
      }));
      parameters->update(learner->stream(), {.rate = 0.1}, 1, 1);
      EXPECT_NE(take(learner->look(lessons, true)), looked.back());
    }
    EXPECT_EQ(looked[0], looked[1]);
  });
}

// A model of 70 billion numbers, of which a plan has the shapes alone: values, gradient, two moments and an average.
TEST(FullTraining, IsPlannedWithoutAModel) {
  model::Architecture it = take(model::open_architecture(test::family_folder("llama3")));
  it.hidden = 8192;
  it.layers.assign(80, it.layers.front());
  it.attention.heads = 64;
  it.attention.kv_heads = 8;
  it.attention.head_dim = 128;
  it.feed_forward.inner = 28672;
  it.vocab = 128256;
  const auto backend = kernels::make_plan_backend();
  const model::Sources shapes = model::shapes_of(it, {});
  const auto decoder = take(model::Decoder::load(*backend, it, shapes, {}, DType::kBf16));
  const auto before = static_cast<double>(backend->bytes());
  const auto parameters = take(Parameters::of_model(*backend, *decoder, shapes, true));
  // As Meta counts Llama 3 70B.
  EXPECT_EQ(parameters->count(), 70'553'706'496);
  EXPECT_NEAR(static_cast<double>(backend->bytes()) - before, 5 * 4 * 70'553'706'496.0, 1e6);
}

TEST(FullTraining, PutsIntoTheWholeWhatItTakesFromIt) {
  on_ranks(test::family_folder("deepseek_v3"), {1, 2}, [&](const AtRank& at) {
    const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, false));
    std::vector<float> row(static_cast<std::size_t>(parameters->count()));
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i + 1);
    std::vector<float> back(row.size());
    for (const Piece& piece : parameters->pieces()) {
      std::vector<float> all(static_cast<std::size_t>(piece.all_rows * piece.all_cols));
      put_in_whole(piece, row, all);
      take_from_whole(piece, all, back);
    }
    EXPECT_EQ(back, row);
  });
}

/// Why a model is not trained.
std::string why_not(const Course& course) {
  try {
    train(course);
  } catch (const std::runtime_error& problem) {
    return problem.what();
  }
  return "it was trained";
}

TEST(FullTraining, RefusesWhatItCannotDo) {
  RanksSetting int8;
  int8.formats = {DType::kFp32, DType::kInt8};
  EXPECT_EQ(why_not({.ranks = int8}),
            "a model whose weights are kept in int8 cannot be trained in full; an adapter on top of it can");
  EXPECT_EQ(why_not({.family = "llama_linear", .ranks = {1, 2}}),
            "a model cannot be trained in full over 2 ranks: it has 1 head of keys and values");
  EXPECT_THAT(why_not({.family = "llama_fp8_tensor"}),
              HasSubstr("is stored as F8_E4M3, where what was trained has no"));
  EXPECT_THAT(why_not({.prefers = true}), HasSubstr("nothing is left of it to be a reference"));
  EXPECT_THAT(why_not({.dropout = 0.1F}), HasSubstr("dropout is of an adapter's inputs"));
}

TEST(FullTraining, HasNoReferenceToLookAt) {
  const Sample text = texts(0, 1, 90).front();
  on_ranks(test::family_folder("llama3"), {}, [&](const AtRank& at) {
    const auto parameters = take(Parameters::of_model(at.backend, at.decoder, at.sources, false));
    const auto learner = take(Learner::make(at.backend, at.decoder, *parameters, {64, 8, 32}));
    EXPECT_TRUE(learner->look(std::vector<Lesson>{{&text, 0}}, true));
    EXPECT_FALSE(learner->look(std::vector<Lesson>{{&text, 0}}, false));
    EXPECT_EQ(parameters->adapter(), nullptr);
  });
}

}  // namespace
}  // namespace orch::train
