#include "base/model.h"

#include <cmath>

#include "known_models.h"
#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Contains;

namespace {

double total(const Model& model) { return count_params(model).total; }

constexpr const char* kGood = R"(hf_id: mistralai/Mistral-7B-v0.1
family: mistral
params: 7.24B
license: apache-2.0
engines: [native, lm-eval]
context: 32768
decoder: {layers: 32, hidden: 4096, heads: 32, kv_heads: 8, ffn: 14336, vocab: 32000, window: 4096}
)";

std::vector<std::string> errors_of(std::string_view text) {
  return problems(text, [](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    read_model("m", root, file, diagnostics);
  });
}

/// The good entry with one line put in place of the line that begins with `key:`, or added.
std::string with(std::string_view key, std::string_view line) {
  std::string text, found;
  for (std::string_view rest = kGood; !rest.empty();) {
    const std::size_t end = rest.find('\n') + 1;
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(end);
    if (one.starts_with(std::string(key) + ":")) {
      text += std::string(line) + "\n";
      found = one;
    } else {
      text += one;
    }
  }
  return found.empty() ? text + std::string(line) + "\n" : text;
}

}  // namespace

// Each count is that of the published checkpoint; the sums show where it comes from.

// layer: 8192·(8192 + 2·1024) + 8192² = 150,994,944; 3·8192·28672 = 704,643,072; norms 16,384; together 855,654,400.
// ×80 = 68,452,352,000, + 2·32000·8192 + 8192.
TEST(Model, Llama2_70bHasItsPublishedParameters) { EXPECT_EQ(total(llama2_70b()), 68'976'648'192.0); }

// layer: 41,943,040 + 176,160,768 + 8,192 = 218,112,000; ×32 = 6,979,584,000, + 262,144,000 + 4,096.
TEST(Model, Mistral7bHasItsPublishedParameters) { EXPECT_EQ(total(mistral_7b()), 7'241'732'096.0); }

// layer: 150,994,944 + biases 8192 + 2·1024 + 3·8192·29568 = 726,663,168 + 16,384 = 877,684,736; ×80 = 70,214,778,880,
// + 2·152064·8192 + 8192.
TEST(Model, BiasesOfQueriesKeysAndValuesAreCounted) { EXPECT_EQ(total(qwen25_72b()), 72'706'203'648.0); }

// layer: 41,943,040 + 8·176,160,768 + router 8·4096 + 8,192 = 1,451,270,144; ×32 + 262,144,000 + 4,096.
// Active: 41,943,040 + 2·176,160,768 + 32,768 + 8,192 = 394,305,536; ×32 + 262,148,096.
TEST(Model, AMixtureCountsAllExpertsAndOfThemTheActive) {
  EXPECT_EQ(total(mixtral_8x7b()), 46'702'792'704.0);
  EXPECT_EQ(count_params(mixtral_8x7b()).active, 12'879'925'248.0);
}

// Two norms with biases, untied: layer 14848·(14848 + 2·512) + 14848² + 2·14848·59392 + 4·14848 = 2,219,894,784; ×80 =
// 177,591,582,720, + 2·65024·14848 + 2·14848.
TEST(Model, Falcon180bHasItsPublishedParameters) { EXPECT_EQ(total(falcon_180b()), 179'522'565'120.0); }

// layer 7,087,872 with all biases, ×12 = 85,054,464; tied 50257·768; positions 1024·768; last norm 1,536.
TEST(Model, Gpt2CountsItsPositionsAndItsTiedEmbeddingOnce) {
  EXPECT_EQ(total(gpt2()), 124'439'808.0);
  EXPECT_EQ(count_params(gpt2()).embedding, 50257 * 768.0 + 1024 * 768.0);
}

// Attention 187,107,328 ×61; norms 14,336 ×61; 3 dense 396,361,728; 58 × (257·44,040,192 + 256·7168); 2·129280·7168;
// 7,168.
TEST(Model, DeepSeekV3HasItsPublishedParametersWithoutItsPredictionLayer) {
  EXPECT_EQ(total(deepseek_v3()), 671'026'404'352.0);
  Model with_bias = deepseek_v3();
  with_bias.decoder->experts->router_bias = true;
  EXPECT_EQ(total(with_bias) - total(deepseek_v3()), 58 * 256.0);
  Model with_extra = deepseek_v3();
  with_extra.decoder->extra_layers = 1;
  EXPECT_EQ(total(with_extra), total(deepseek_v3()));
  EXPECT_NEAR(count_params(deepseek_v3()).active, 37.5e9, 0.1e9);  // the card says 37B
}

// Queries not compressed: 2048·16·192 + 2048·576 + 512 + 512·16·256 + 16·128·2048 = 13,763,072.
TEST(Model, DeepSeekV2LiteHasUncompressedQueriesAndTwoSharedExperts) {
  EXPECT_EQ(total(deepseek_v2_lite()), 15'706'484'224.0);
}

// Qwen3-8B: 41,943,040 + 2·128 + 3·4096·12288 + 8,192 = 192,946,432; ×36 + 2·151936·4096 + 4,096.
TEST(Model, NormsOfQueriesAndKeysAreCounted) {
  Decoder decoder = llama_like(36, 4096, 32, 8, 12288, 151936);
  decoder.qk_norm = true;
  EXPECT_EQ(total(model_of("qwen3_8b", decoder)), 8'190'735'360.0);
}

TEST(Model, TheVisionTowerIsCountedWithItsPublishedSize) {
  Model model = llama2_7b();
  const double text = total(model);
  model.vision = internvit_6b();
  EXPECT_EQ(total(model), text + 5.54e9);
  EXPECT_EQ(count_params(model).active, text + 5.54e9);
}

TEST(Model, ExpertsStandInEveryNthLayerAfterTheDenseOnes) {
  Decoder decoder = llama_like(8, 64, 4, 4, 128, 100);
  decoder.experts = Experts{.count = 4, .active = 1, .ffn = 64, .first_dense = 2, .every = 3};
  std::vector<int> with_experts;
  for (int i = 0; i < 8; ++i)
    if (decoder.has_experts(i)) with_experts.push_back(i);
  EXPECT_THAT(with_experts, ElementsAre(4, 7));
  decoder.experts->first_dense = 0;
  decoder.experts->every = 2;  // Llama 4 Maverick: 1, 3, 5, …
  EXPECT_FALSE(decoder.has_experts(0));
  EXPECT_TRUE(decoder.has_experts(1));
}

TEST(Model, SizeClassesAreHalfOpen) {
  EXPECT_EQ(size_class(0.36e9), SizeClass::kSmall);
  EXPECT_EQ(size_class(6.85e9), SizeClass::kSmall);
  EXPECT_EQ(size_class(7e9), SizeClass::kMedium);
  EXPECT_EQ(size_class(13e9), SizeClass::kLarge);
  EXPECT_EQ(size_class(68.5e9), SizeClass::kLarge);
  EXPECT_EQ(size_class(70e9), SizeClass::kXLarge);
  // 2 % below a bound: the exact counts of Llama-2-70B, and of Llama-2-7B, which is 3.7 % below.
  EXPECT_EQ(size_class(68'976'648'192.0), SizeClass::kXLarge);
  EXPECT_EQ(size_class(6'738'415'616.0), SizeClass::kSmall);
}

TEST(Model, IsReadWithItsDefaultsAndItsPlace) {
  Diagnostics diagnostics;
  const Yaml root = yaml(kGood);
  const Model model = read_model("mistral_7b", root, "f.yaml", diagnostics);
  EXPECT_THAT(lines(diagnostics), IsEmpty());
  EXPECT_EQ(model.hf_id, "mistralai/Mistral-7B-v0.1");
  EXPECT_EQ(model.revision, "main");
  EXPECT_EQ(model.kind, ModelKind::kText);
  EXPECT_EQ(model.params, 7.24e9);
  EXPECT_EQ(model.active_params, 7.24e9);
  EXPECT_EQ(model.context, 32768);
  EXPECT_EQ(model.dtype, DType::kBf16);
  EXPECT_FALSE(model.gated);
  EXPECT_TRUE(model.runs_on(Engine::kNative));
  EXPECT_FALSE(model.runs_on(Engine::kCommand));
  ASSERT_TRUE(model.decoder);
  EXPECT_EQ(model.decoder->head_dim, 128);  // hidden / heads
  EXPECT_EQ(model.decoder->window, 4096);
  EXPECT_EQ(model.decoder->norms, 2);
  EXPECT_EQ(total(model), 7'241'732'096.0);
}

TEST(Model, SharedExpertsAreAsWideAsTheOthersUnlessItSays) {
  Diagnostics diagnostics;
  const Model model = read_model("m",
                                 yaml(with("decoder",
                                           "decoder: {layers: 4, hidden: 64, heads: 4, vocab: 100, experts: "
                                           "{count: 8, active: 2, ffn: 32, shared: 2}}")),
                                 "f.yaml", diagnostics);
  EXPECT_THAT(lines(diagnostics), IsEmpty());
  EXPECT_EQ(model.decoder->experts->shared_ffn, 64);
  EXPECT_EQ(model.decoder->kv_heads, 4);
}

TEST(Model, TellsEveryProblemOfAnEntryAtOnceWithItsPlace) {
  EXPECT_THAT(
      errors_of("hf_id: a/b\nfamly: x\nparams: lots\nengines: [nativ]\ndecoder: {layers: 0, hidden: 64}\n"),
      testing::UnorderedElementsAre(
          HasSubstr("f.yaml:2:1: the model 'm' has no key 'famly'; did you mean 'family'?"),
          "f.yaml:1:1: the model 'm' needs the key 'family'",
          HasSubstr("f.yaml:3:9: 'params' must be a count such as 70.6B"),
          "f.yaml:1:1: the model 'm' needs the key 'license'",
          "f.yaml:4:11: an engine is one of native, lm-eval, command; found the text 'nativ'; did you mean 'native'?",
          "f.yaml:5:19: 'layers' must be a whole number from 1 to 1000, found the number 0",
          "f.yaml:5:10: a decoder needs the key 'heads'", "f.yaml:5:10: a decoder needs the key 'vocab'",
          HasSubstr("f.yaml:5:10: a decoder needs 'ffn'"),
          "f.yaml:1:1: the model 'm' needs the key 'context', as it has a decoder"));
}

TEST(Model, RefusesFactsThatCannotBeTogether) {
  const auto refuses = [](std::string_view key, std::string_view line, const char* what) {
    EXPECT_THAT(errors_of(with(key, line)), ElementsAre(HasSubstr(what))) << line;
  };
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, kv_heads: 3, ffn: 9, vocab: 9}",
          "must divide 'heads'");
  refuses("decoder", "decoder: {layers: 2, hidden: 65, heads: 8, ffn: 9, vocab: 9}", "needs the key 'head_dim'");
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, vocab: 9}", "needs 'ffn'");
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, ffn: 0, vocab: 9}", "needs 'ffn'");
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, ffn: 9, vocab: 9, full_every: 2}",
          "only with 'window'");
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, ffn: 9, vocab: 9, norm_bias: true}", "layer_norm");
  refuses("decoder", "decoder: {layers: 2, hidden: 1.5, heads: 1, head_dim: 1, ffn: 9, vocab: 9}",
          "'hidden' must be a whole");
  refuses("decoder", "decoder: {layers: 2, hidden: 64, heads: 8, vocab: 9, experts: {count: 2, active: 3, ffn: 4}}",
          "'active' must be at most 'count'");
  refuses("decoder",
          "decoder: {layers: 2, hidden: 64, heads: 8, ffn: 4, vocab: 9, experts: {count: 2, active: 1, ffn: 4, "
          "first_dense: 2}}",
          "'first_dense' must be less than the 2 layers");
  refuses("active_params", "active_params: 8B", "at most 'params'");
  refuses("scales", "scales: channel", "the dtype is bf16");
  refuses("dtype", "dtype: float8", "'dtype' must be one of fp32, bf16, fp16, fp8, int8, int4");
  refuses("engines", "engines: []", "an empty list");
  refuses("engines", "engines: [native, native]", "listed twice");
  refuses("kind", "kind: vision_language", "needs the key 'vision'");
  refuses("vision", "vision: {params: 1B, tokens_per_image: 9}", "only a model of 'kind: vision_language'");
  refuses("context", "context: 0", "'context' must be a whole number");
  refuses("unknown", "unknown: {decoder: it is secret}", "'unknown' says that it is not known");
  refuses("params", "params: .nan", "'params' must be a count");
  refuses("params", "params: -3", "'params' must be a count");
  refuses("params", "params: 1e400", "'params' must be a count");
  refuses("hf_id", "hf_id: 'a b'", "must be a name");
}

TEST(Model, WithoutADecoderSaysWhyAndRunsOnlyByOtherEngines) {
  const std::string evo =
      "hf_id: arcinstitute/evo2_40b\nfamily: evo2\nkind: other\nparams: 40.3B\nlicense: apache-2.0\n";
  EXPECT_THAT(errors_of(evo + "engines: [command]\nunknown: {decoder: a StripedHyena has convolutions}\n"), IsEmpty());
  EXPECT_THAT(errors_of(evo + "engines: [command]\n"), ElementsAre(HasSubstr("needs the key 'decoder', or 'unknown:")));
  EXPECT_THAT(errors_of(evo + "engines: [native]\nunknown: {decoder: a StripedHyena}\n"),
              ElementsAre(HasSubstr("f.yaml:6:10: the native engine runs only models whose 'decoder' is described")));
  EXPECT_THAT(errors_of(evo + "engines: command\nunknown: {decoder: ''}\n"),
              Contains(HasSubstr("say as a text why 'decoder'")));
}

// Whatever an entry holds, what is read from it can be computed with.
TEST(Model, ThatFailedToReadStillHasSoundNumbers) {
  for (const char* text :
       {"3", "[]", "decoder: 3", "decoder: {}", "decoder: {layers: -5, hidden: 0, heads: 0, kv_heads: 0}",
        "decoder: {layers: 99999999999999999999, hidden: 1e300, heads: .inf, experts: {count: 0, active: 0, every: 0}}",
        "decoder: {layers: 1000, hidden: 1000000, heads: 100000, kv_heads: 100000, head_dim: 1000000, vocab: "
        "100000000, "
        "experts: {count: 100000, active: 100000, ffn: 10000000}}",
        "decoder: {latent: {kv_rank: 0}}", "decoder: {experts: [], latent: 7}", "vision: {}"}) {
    Diagnostics diagnostics;
    const Model model = read_model("m", yaml(text), "f.yaml", diagnostics);
    EXPECT_FALSE(diagnostics.ok()) << text;
    EXPECT_TRUE(std::isfinite(count_params(model).total)) << text;
    EXPECT_GE(model.params, 1) << text;
    if (model.decoder) {
      EXPECT_GE(model.decoder->layers, 1) << text;
      EXPECT_GE(model.decoder->heads, 1) << text;
      EXPECT_GE(model.decoder->kv_heads, 1) << text;
      EXPECT_GE(model.decoder->hidden, 1) << text;
      EXPECT_GE(model.context, 1) << text;
    }
  }
}
