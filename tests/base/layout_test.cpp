#include "base/layout.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "known_models.h"
#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre, testing::HasSubstr, testing::Optional, testing::Contains, testing::IsEmpty, testing::Not;

namespace {

/// Legality told by cutting: heads, columns and experts are dealt out one by one, and each rank must get the same.
/// Shares no code and no rule with why_illegal().
bool can_be_cut(const Model& model, int tp, int pp, int gpus_in_all, int gpus_per_node) {
  const Decoder& d = *model.decoder;
  if (pp > d.layers) return false;
  // GPUs are numbered through the nodes; no group of tp neighbours may hold two nodes.
  for (int first = 0; first < gpus_in_all; first += tp)
    if (first / gpus_per_node != (first + tp - 1) / gpus_per_node) return false;
  const auto deals_evenly = [&](std::int64_t things) {
    std::vector<std::int64_t> hands(static_cast<std::size_t>(tp), things / tp);
    for (std::int64_t left = things - things / tp * tp, rank = 0; left > 0; --left)
      ++hands[static_cast<std::size_t>(rank++)];
    return std::set<std::int64_t>(hands.begin(), hands.end()).size() == 1;
  };
  const auto slices = [&](std::int64_t columns) {
    return deals_evenly(columns) &&
           (model.scales != Scales::kBlock128 || tp == 1 || columns / tp / 128 * 128 * tp == columns);
  };
  if (!deals_evenly(d.heads)) return false;
  if (!d.latent) {
    // Which KV heads the query heads of each rank look at; each rank must keep equally many, and none half.
    std::set<std::size_t> sizes;
    std::multiset<int> keepers;
    for (int rank = 0; rank < tp; ++rank) {
      std::set<int> kept;
      for (int q = rank * d.heads / tp; q < (rank + 1) * d.heads / tp; ++q) kept.insert(q / (d.heads / d.kv_heads));
      sizes.insert(kept.size());
      keepers.insert(kept.begin(), kept.end());
    }
    if (sizes.size() != 1) return false;
    for (int head = 0; head < d.kv_heads; ++head)
      if (keepers.count(head) != keepers.count(0)) return false;
    if (static_cast<int>(*sizes.begin()) != kv_heads_per_rank(d, tp)) return false;
  }
  if (d.ffn > 0 && (!d.experts || d.experts->first_dense > 0 || d.experts->every > 1) && !slices(d.ffn)) return false;
  if (d.experts) {
    if (!deals_evenly(d.experts->count) && !slices(d.experts->ffn)) return false;
    if (d.experts->shared_ffn > 0 && !slices(d.experts->shared_ffn)) return false;
  }
  return true;
}

std::vector<Model> large_models() {
  const auto plain = [](std::string name, Decoder decoder) { return model_of(std::move(name), std::move(decoder)); };
  Model internvl = plain("internvl2_llama3_76b", llama_like(80, 8192, 64, 8, 28672, 128265));
  internvl.vision = internvit_6b();
  return {qwen25_72b(),
          llama31_70b_fp8(),
          mixtral_8x22b(),
          dbrx(),
          deepseek_v3(),
          falcon_180b(),
          granite_34b(),
          llama2_70b(),
          internvl,
          mixtral_8x7b(),
          plain("xverse_65b", llama_like(80, 8192, 64, 64, 22016, 100534)),
          plain("falcon_40b", llama_like(60, 8192, 128, 8, 32768, 65024))};
}

/// What a stage costs, for the test of split_layers.
double costliest(const Decoder& d, const std::vector<int>& split) {
  double worst = 0;
  int layer = 0;
  for (std::size_t stage = 0; stage < split.size(); ++stage) {
    double cost = stage + 1 == split.size() ? static_cast<double>(d.vocab * d.hidden) : 0;
    for (int i = 0; i < split[stage]; ++i, ++layer) {
      const LayerParams p = layer_params(d, layer);
      cost += p.attention + p.dense + p.active_experts;
    }
    worst = std::max(worst, cost);
  }
  return worst;
}

void every_split(int layers, int stages, std::vector<int>& split, const std::function<void()>& visit) {
  if (stages == 1) {
    split.push_back(layers);
    visit();
    split.pop_back();
    return;
  }
  for (int here = 1; here <= layers - stages + 1; ++here) {
    split.push_back(here);
    every_split(layers - here, stages - 1, split, visit);
    split.pop_back();
  }
}

}  // namespace

TEST(Layout, OfEveryLargeModelAtFourSixAndEightGpusAgreesWithAnIndependentCut) {
  for (const Model& model : large_models()) {
    for (const auto& [gpus, per_node] :
         std::vector<std::pair<int, int>>{{4, 8}, {6, 8}, {8, 8}, {6, 6}, {16, 8}, {12, 6}}) {
      const Layouts layouts = layouts_for(model, gpus, per_node);
      std::set<Layout> seen;
      for (const Layout& layout : layouts.legal) {
        EXPECT_TRUE(can_be_cut(model, layout.tp, layout.pp, gpus, per_node)) << model.name << " " << to_string(layout);
        seen.insert(layout);
      }
      for (const auto& [layout, why] : layouts.refused) {
        EXPECT_FALSE(can_be_cut(model, layout.tp, layout.pp, gpus, per_node))
            << model.name << " " << to_string(layout) << ": " << why;
        EXPECT_THAT(why, Not(IsEmpty()));
        seen.insert(layout);
      }
      std::size_t all = 0;
      for (int tp = 1; tp <= gpus; ++tp)
        for (int pp = 1; tp * pp <= gpus; ++pp) {
          if (gpus % (tp * pp) != 0) continue;
          ++all;
          EXPECT_TRUE(seen.contains(Layout{tp, pp, gpus / tp / pp}));
        }
      EXPECT_EQ(seen.size(), all);
      EXPECT_EQ(layouts.legal.size() + layouts.refused.size(), all);
      EXPECT_THAT(layouts.legal, Not(IsEmpty())) << model.name;
      EXPECT_TRUE(std::ranges::is_sorted(
          layouts.legal, [](const Layout& a, const Layout& b) { return a.tp != b.tp ? a.tp > b.tp : a.pp < b.pp; }));
    }
  }
}

TEST(Layout, OfSixtyFourHeadsOnSixGpusIsTwoByThreeAndSaysWhy) {
  const Model model = llama2_70b();
  EXPECT_THAT(why_illegal(model, {6, 1, 1}, 8), Optional(std::string("tp 6: 64 heads do not divide by 6")));
  EXPECT_THAT(why_illegal(model, {3, 2, 1}, 8), Optional(std::string("tp 3: 64 heads do not divide by 3")));
  EXPECT_EQ(why_illegal(model, {2, 3, 1}, 8), std::nullopt);
  EXPECT_EQ(layouts_for(model, 6, 8).legal.front(), (Layout{2, 1, 3}));
  EXPECT_THAT(layouts_for(model, 6, 8).legal, Contains(Layout{2, 3, 1}));
}

TEST(Layout, KeepsTensorParallelismInsideANode) {
  EXPECT_THAT(why_illegal(llama2_70b(), {16, 1, 1}, 8), Optional(std::string("tp 16 would leave the node (8 GPUs)")));
  EXPECT_EQ(why_illegal(llama2_70b(), {8, 2, 1}, 8), std::nullopt);
  // Nodes of 6: the second group of 4 would have two GPUs on each.
  EXPECT_THAT(why_illegal(llama2_70b(), {4, 3, 1}, 6),
              Optional(HasSubstr("groups of 4 would lie across nodes of 6 GPUs")));
  EXPECT_EQ(why_illegal(llama2_70b(), {4, 1, 1}, 6), std::nullopt);
}

TEST(Layout, HasNoMoreStagesThanLayers) {
  EXPECT_THAT(why_illegal(llama2_70b(), {1, 100, 1}, 8), Optional(std::string("pp 100: only 80 layers")));
  EXPECT_EQ(why_illegal(llama2_70b(), {1, 80, 1}, 8), std::nullopt);
}

TEST(Layout, RefusesKvHeadsThatCanBeNeitherDividedNorReplicated) {
  // DBRX: 48 heads divide by 6, its 8 KV heads do not.
  EXPECT_THAT(why_illegal(dbrx(), {6, 1, 1}, 8),
              Optional(HasSubstr("8 KV heads can be neither divided nor replicated over 6")));
  EXPECT_EQ(why_illegal(granite_34b(), {6, 1, 1}, 8), std::nullopt);  // one KV head goes with any
}

TEST(Layout, DoesNotCutThroughABlockOfScaledWeights) {
  Model model = llama2_70b();  // 28672 / 8 = 3584 = 28 · 128
  model.dtype = DType::kFp8;
  model.scales = Scales::kBlock128;
  EXPECT_EQ(why_illegal(model, {8, 1, 1}, 8), std::nullopt);
  model.decoder->ffn = 11008;  // / 8 = 1376 = 10.75 · 128
  EXPECT_THAT(why_illegal(model, {8, 1, 1}, 8),
              Optional(HasSubstr("11008 would be cut into 1376, which is not a multiple of the 128")));
  model.scales = Scales::kChannel;
  EXPECT_EQ(why_illegal(model, {8, 1, 1}, 8), std::nullopt);
}

TEST(Layout, DividesExpertsOrTheirInnerSize) {
  Model model = mixtral_8x7b();
  model.decoder->experts->count = 6;
  EXPECT_EQ(why_illegal(model, {4, 1, 1}, 8), std::nullopt);  // 14336 / 4
  model.decoder->experts->ffn = 14337;
  EXPECT_THAT(why_illegal(model, {4, 1, 1}, 8),
              Optional(HasSubstr("6 experts do not divide by 4, and an expert's feed-forward of 14337")));
  model.decoder->experts->count = 8;
  EXPECT_EQ(why_illegal(model, {4, 1, 1}, 8), std::nullopt);
}

TEST(Layout, OfAModelThatIsNotDescribedIsOneGpuACopy) {
  Model model;
  EXPECT_EQ(why_illegal(model, {1, 1, 4}, 8), std::nullopt);
  EXPECT_THAT(why_illegal(model, {2, 1, 1}, 8),
              Optional(std::string("tp 2: the architecture is not described, so a copy takes 1 GPU")));
  EXPECT_THAT(why_illegal(model, {1, 2, 1}, 8), Optional(HasSubstr("pp 2")));
}

TEST(Layout, RefusesNonsenseWithoutHarm) {
  for (const Layout& layout : {Layout{0, 1, 1}, Layout{1, -3, 1}, Layout{1, 1, 0}})
    EXPECT_TRUE(why_illegal(llama2_70b(), layout, 8).has_value());
  EXPECT_THAT(layouts_for(llama2_70b(), 0, 8).legal, IsEmpty());
  EXPECT_THAT(layouts_for(llama2_70b(), -4, 8).legal, IsEmpty());
  EXPECT_THAT(layouts_for(llama2_70b(), 4, 0).legal, IsEmpty());
  EXPECT_TRUE(why_illegal(llama2_70b(), {2147483647, 2147483647, 2147483647}, 2147483647).has_value());
}

TEST(Layout, IsWrittenWithoutItsOnes) {
  EXPECT_EQ(to_string(Layout{1, 1, 1}), "1 GPU");
  EXPECT_EQ(to_string(Layout{2, 3, 1}), "tp 2 × pp 3");
  EXPECT_EQ(to_string(Layout{4, 1, 2}), "tp 4 × dp 2");
  EXPECT_EQ((Layout{2, 3, 4}.gpus()), 24);
}

TEST(Layout, ReplicatesKvHeadsWhereThereAreFewerThanRanks) {
  const Decoder eight = *llama2_70b().decoder, one = *granite_34b().decoder;
  EXPECT_EQ(kv_heads_per_rank(eight, 1), 8);
  EXPECT_EQ(kv_heads_per_rank(eight, 4), 2);
  EXPECT_EQ(kv_heads_per_rank(eight, 8), 1);
  EXPECT_EQ(kv_heads_per_rank(eight, 16), 1);
  EXPECT_EQ(kv_heads_per_rank(one, 8), 1);
}

TEST(Layout, ReplicatesInternVitsTwentyFiveHeadsAndDoesNotSplitThem) {
  for (int tp : {2, 4, 8}) EXPECT_FALSE(vision_splits(internvit_6b(), tp)) << tp;
  EXPECT_TRUE(vision_splits(internvit_6b(), 5));
  EXPECT_TRUE(vision_splits(internvit_6b(), 1));
  EXPECT_FALSE(vision_splits(Vision{}, 2));  // heads not known
}

TEST(Layout, SplitsEqualLayersEqually) {
  EXPECT_THAT(split_layers(*llama2_70b().decoder, 4), ElementsAre(20, 20, 20, 20));
  EXPECT_THAT(split_layers(*llama2_70b().decoder, 1), ElementsAre(80));
  // 80 over 3: 27 + 27 + 26, the short one where the head is (0.3 of a layer).
  EXPECT_THAT(split_layers(*llama2_70b().decoder, 3), ElementsAre(27, 27, 26));
}

TEST(Layout, GivesTheLastStageFewerLayersForALargeHead) {
  // A layer: 4·64² + 3·64·128 + 2·64 = 41,088; the head 64·2568 = 164,352, four layers. 12 layers and the head over 4
  // stages are 16 / 4 = 4 each, but the last stage needs a layer too: 5 is the least.
  const Decoder decoder = llama_like(12, 64, 4, 4, 128, 2568);
  const std::vector<int> split = split_layers(decoder, 4);
  EXPECT_EQ(split.back(), 1);
  EXPECT_EQ(std::accumulate(split.begin(), split.end(), 0), 12);
  EXPECT_EQ(*std::ranges::max_element(split), 4);  // 4 + 4 + 3, not 5 + 5 + 1
}

TEST(Layout, SplitsNoWorseThanAnyOtherSplit) {
  std::vector<Decoder> decoders = {llama_like(9, 64, 4, 4, 128, 5000), llama_like(10, 64, 4, 4, 128, 10)};
  Decoder mixed = llama_like(10, 64, 4, 4, 1024, 3000);
  mixed.experts = Experts{.count = 8, .active = 2, .ffn = 64, .first_dense = 3};
  decoders.push_back(mixed);
  for (const Decoder& decoder : decoders) {
    for (int pp = 1; pp <= decoder.layers; ++pp) {
      double best = 1e300;
      std::vector<int> trial;
      every_split(decoder.layers, pp, trial, [&] { best = std::min(best, costliest(decoder, trial)); });
      const std::vector<int> split = split_layers(decoder, pp);
      ASSERT_EQ(split.size(), static_cast<std::size_t>(pp));
      EXPECT_GE(*std::ranges::min_element(split), 1);
      EXPECT_EQ(std::accumulate(split.begin(), split.end(), 0), decoder.layers);
      EXPECT_EQ(costliest(decoder, split), best) << "pp " << pp;
    }
  }
}

TEST(Layout, SplitsTheLargestThatAFileMayHold) {
  Decoder decoder = llama_like(1000, 1'000'000, 100'000, 100'000, 10'000'000, 100'000'000);
  for (int pp : {1, 7, 333, 1000, 5000}) {
    const std::vector<int> split = split_layers(decoder, pp);
    EXPECT_EQ(split.size(), static_cast<std::size_t>(std::min(pp, 1000)));
    EXPECT_EQ(std::accumulate(split.begin(), split.end(), 0), 1000);
  }
}
