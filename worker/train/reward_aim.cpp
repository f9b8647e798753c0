#include "train/reward_aim.h"

#include <algorithm>

#include "base/split_mix.h"

namespace orch::train {
namespace {

class RewardAim : public Aim {
 public:
  RewardAim(infer::Engine& engine, const Parameters& parameters, std::vector<std::vector<std::int32_t>> prompts,
            RewardRules rules)
      : engine_(engine), parameters_(parameters), prompts_(std::move(prompts)), rules_(std::move(rules)) {}

  std::vector<std::int64_t> lengths() const override {
    std::vector<std::int64_t> lengths;
    for (const std::vector<std::int32_t>& prompt : prompts_)
      lengths.push_back((static_cast<std::int64_t>(prompt.size()) + rules_.most) * rules_.completions);
    return lengths;
  }
  int texts_each() const override { return 1; }
  bool has_reference() const override { return rules_.grpo.beta > 0; }
  Figures figures() const override {
    Figures figures = {{"clipped", 0}, {"divergence", 0}, {"ended", 0}, {"length", 0}, {"reward", 0}};
    const double all = static_cast<double>(batch_.completions);
    for (const Completion& completion : completions_) {
      figures["reward"] += completion.reward / all;
      figures["ended"] += completion.is_ended ? 1 / all : 0;
      figures["length"] += static_cast<double>(completion.tokens()) / all;
    }
    return figures;
  }

  Result<std::vector<Unit>> begin(const StepItems& items) override {
    if (auto written = items.agree(write(items)); !written) return written.error();
    batch_.completions = static_cast<std::int64_t>(items.all.size()) * rules_.completions;
    double tokens = 0;
    for (const Completion& completion : completions_) tokens += static_cast<double>(completion.tokens());
    if (auto summed = items.sum({&tokens, 1}); !summed) return summed.error();
    // A step is one accumulation step of all ranks.
    batch_.tokens = batch_.step_tokens = static_cast<std::int64_t>(tokens);
    std::vector<Unit> units;
    for (std::size_t i = 0; i < completions_.size(); ++i) {
      const Completion& it = completions_[i];
      // With nothing above or below the others there is nothing to learn, but for the pull towards the reference.
      if (it.advantage == 0 && !has_reference()) continue;
      units.push_back({static_cast<std::int64_t>(i), it.name, {&it.sample}});
    }
    return units;
  }

  double judge(const Unit& unit, std::span<const Outcome> outcomes, std::span<const std::vector<float>> references,
               Figures& figures) override {
    const std::span<const float> reference = references.empty() ? std::span<const float>() : std::span(references[0]);
    const GrpoShare share = grpo_loss(
        rules_.grpo, {outcomes[0].logprobs, {}, reference, at(unit.number).advantage, outcomes[0].derivatives}, batch_);
    figures["divergence"] += share.divergence;
    figures["clipped"] += share.clipped();
    return share.loss;
  }
  /// Where as much is above the mean as below, a loss says little.
  double cost(double, const Figures& figures) const override { return -figures.at("reward"); }

 private:
  struct Completion {
    Sample sample;
    std::int64_t name = 0;
    std::size_t prompt = 0;  ///< tokens of its prompt
    bool is_ended = false;
    double reward = 0, advantage = 0;

    std::int64_t tokens() const { return static_cast<std::int64_t>(sample.ids.size() - prompt); }
  };
  const Completion& at(std::int64_t number) const { return completions_[static_cast<std::size_t>(number)]; }

  bool ends(std::int32_t token) const {
    return std::find(rules_.ends.begin(), rules_.ends.end(), token) != rules_.ends.end();
  }

  Result<bool> write(const StepItems& items) {
    std::vector<infer::WriteRequest> requests;
    for (const std::int64_t item : items.own) {
      const std::vector<std::int32_t>& prompt = prompts_[static_cast<std::size_t>(item)];
      if (prompt.empty())
        return Error{"prompt " + std::to_string(item + 1) + " has no token: there is nothing to complete"};
      for (int i = 0; i < rules_.completions; ++i) {
        const std::uint64_t of_step = SplitMix64(rules_.seed, static_cast<std::uint64_t>(items.step)).next();
        const auto name = static_cast<std::uint64_t>(item * rules_.completions + i);
        requests.push_back({prompt, rules_.most, {1, 1, 0, SplitMix64(of_step, name).next()}});
      }
    }
    engine_.use(parameters_.adapter());
    const auto written =
        engine_.write(requests, [&](std::size_t, std::span<const std::int32_t> tokens) { return ends(tokens.back()); });
    engine_.use(nullptr);
    if (!written) return written.error();

    completions_.clear();
    std::vector<Completed> completed;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const std::int64_t item = items.own[i / static_cast<std::size_t>(rules_.completions)];
      Completion& completion = completions_.emplace_back();
      completion.name = item * rules_.completions + static_cast<std::int64_t>(i) % rules_.completions;
      completion.prompt = requests[i].prompt.size();
      completion.is_ended = (*written)[i].is_over;
      completion.sample.ids = requests[i].prompt;
      completion.sample.trained.assign(requests[i].prompt.size(), 0);
      const std::vector<std::int32_t>& tokens = (*written)[i].tokens;
      completion.sample.ids.insert(completion.sample.ids.end(), tokens.begin(), tokens.end());
      completion.sample.trained.resize(completion.sample.ids.size(), 1);
      completed.push_back({item, tokens, completion.is_ended});
    }
    auto rewards = rules_.rewards(completed);
    if (!rewards) return rewards.error();
    if (rewards->size() != completions_.size())
      return Error{std::to_string(rewards->size()) + " rewards were given for " + std::to_string(completions_.size()) +
                   " completions"};
    const auto each = static_cast<std::size_t>(rules_.completions);
    for (std::size_t from = 0; from < completions_.size(); from += each) {
      const std::vector<double> by = advantages(std::span(*rewards).subspan(from, each), rules_.scaled);
      for (std::size_t i = 0; i < each; ++i) {
        completions_[from + i].reward = (*rewards)[from + i];
        completions_[from + i].advantage = by[i];
      }
    }
    return true;
  }

  infer::Engine& engine_;
  const Parameters& parameters_;
  const std::vector<std::vector<std::int32_t>> prompts_;
  const RewardRules rules_;
  std::vector<Completion> completions_;  ///< of this rank, of the step
  GrpoBatch batch_;
};

}  // namespace

std::unique_ptr<Aim> make_reward_aim(infer::Engine& engine, const Parameters& parameters,
                                     std::vector<std::vector<std::int32_t>> prompts, RewardRules rules) {
  return std::make_unique<RewardAim>(engine, parameters, std::move(prompts), std::move(rules));
}

}  // namespace orch::train
