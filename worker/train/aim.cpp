#include "train/aim.h"

#include <algorithm>

namespace orch::train {
namespace {

std::int64_t size_of(const Sample& sample) { return static_cast<std::int64_t>(sample.ids.size()); }

Unit unit_of(std::int64_t item, std::vector<const Sample*> texts) { return {item, item, std::move(texts)}; }

class LikelihoodAim : public Aim {
 public:
  explicit LikelihoodAim(std::vector<Sample> samples) : samples_(std::move(samples)) {}

  std::vector<std::int64_t> lengths() const override {
    std::vector<std::int64_t> lengths;
    for (const Sample& sample : samples_) lengths.push_back(size_of(sample));
    return lengths;
  }
  int texts_each() const override { return 1; }
  bool has_reference() const override { return false; }
  Figures figures() const override { return {}; }

  Result<std::vector<Unit>> begin(const StepItems& items) override {
    tokens_ = 0;
    for (const std::int64_t item : items.all)
      tokens_ += std::count(at(item).trained.begin(), at(item).trained.end(), std::uint8_t{1});
    std::vector<Unit> units;
    for (const std::int64_t item : items.own) units.push_back(unit_of(item, {&at(item)}));
    return units;
  }
  double judge(const Unit&, std::span<const Outcome> outcomes, std::span<const std::vector<float>>, Figures&) override {
    return likelihood_loss(outcomes[0].logprobs, tokens_, outcomes[0].derivatives);
  }

 private:
  const Sample& at(std::int64_t item) const { return samples_[static_cast<std::size_t>(item)]; }

  std::vector<Sample> samples_;
  std::int64_t tokens_ = 0;  ///< of the step, that are trained on
};

class PreferenceAim : public Aim {
 public:
  PreferenceAim(std::vector<PreferredSample> pairs, const DpoSettings& settings)
      : pairs_(std::move(pairs)), settings_(settings) {}

  std::vector<std::int64_t> lengths() const override {
    std::vector<std::int64_t> lengths;
    for (const PreferredSample& pair : pairs_) lengths.push_back(size_of(pair.chosen) + size_of(pair.rejected));
    return lengths;
  }
  int texts_each() const override { return 2; }
  bool has_reference() const override { return true; }
  Figures figures() const override {
    return {{"accuracy", 0}, {"margin", 0}, {"reward_chosen", 0}, {"reward_rejected", 0}};
  }

  Result<std::vector<Unit>> begin(const StepItems& items) override {
    count_ = static_cast<std::int64_t>(items.all.size());
    std::vector<Unit> units;
    for (const std::int64_t item : items.own) {
      const PreferredSample& pair = pairs_[static_cast<std::size_t>(item)];
      units.push_back(unit_of(item, {&pair.chosen, &pair.rejected}));
    }
    return units;
  }
  double judge(const Unit&, std::span<const Outcome> outcomes, std::span<const std::vector<float>> references,
               Figures& figures) override {
    const Pair pair{{outcomes[0].logprobs, summed(references[0]), outcomes[0].derivatives},
                    {outcomes[1].logprobs, summed(references[1]), outcomes[1].derivatives}};
    const DpoShare share = dpo_loss(settings_, pair, count_);
    figures["reward_chosen"] += share.chosen_reward;
    figures["reward_rejected"] += share.rejected_reward;
    figures["margin"] += share.margin;
    figures["accuracy"] += share.accuracy;
    return share.loss;
  }

 private:
  std::vector<PreferredSample> pairs_;
  const DpoSettings settings_;
  std::int64_t count_ = 0;  ///< pairs of the step
};

}  // namespace

std::int64_t Unit::tokens() const {
  std::int64_t tokens = 0;
  for (const Sample* text : texts) tokens += size_of(*text);
  return tokens;
}

std::unique_ptr<Aim> make_likelihood_aim(std::vector<Sample> samples) {
  return std::make_unique<LikelihoodAim>(std::move(samples));
}

std::unique_ptr<Aim> make_preference_aim(std::vector<PreferredSample> pairs, const DpoSettings& settings) {
  return std::make_unique<PreferenceAim>(std::move(pairs), settings);
}

}  // namespace orch::train
