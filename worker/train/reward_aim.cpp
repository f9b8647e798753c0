#include "train/reward_aim.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/split_mix.h"
#include "base/text.h"
#include "train/deal.h"
#include "train/generation.h"

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
  float temperature() const override { return rules_.sampling.temperature; }
  Figures figures() const override {
    Figures figures = {{"clipped", 0}, {"divergence", 0}, {"ended", 0}, {"length", 0}, {"reward", 0}};
    const double all = static_cast<double>(batch_.completions);
    for (const std::int64_t number : own_) {
      const Completion& completion = at(number);
      figures["reward"] += completion.reward / all;
      figures["ended"] += completion.is_ended ? 1 / all : 0;
      figures["length"] += static_cast<double>(completion.tokens()) / all;
    }
    return figures;
  }

  Result<std::vector<Unit>> begin(const StepItems& items) override {
    const bool comes_again = rules_.turns.steps() > 1;
    if (items.turn == 0) {
      if (auto written = items.agree(write(items)); !written) return written.error();
      if (auto valued = value(items); !valued) return valued.error();
      if (comes_again)
        if (auto joined = join(items); !joined) return joined.error();
    } else if (completions_.empty()) {
      return Error{"a step would learn from what was written before, and nothing is there"};
    }
    if (auto chosen = comes_again ? choose_part(items) : choose_all(items); !chosen) return chosen.error();
    std::vector<Unit> units;
    for (const std::int64_t number : own_) {
      const Completion& it = at(number);
      // With nothing above or below the others there is nothing to learn, but for the pull towards the reference.
      if (it.advantage == 0 && !has_reference()) continue;
      units.push_back({number, it.name, {&it.sample}});
    }
    return units;
  }

  /// How long completions are is known when they are written.
  std::optional<std::int64_t> tokens() const override {
    std::int64_t tokens = 0;
    for (const std::int64_t number : own_) tokens += static_cast<std::int64_t>(at(number).sample.ids.size());
    return tokens;
  }

  double judge(const Unit& unit, std::span<const Outcome> outcomes, std::span<const std::vector<float>> references,
               Figures& figures) override {
    const std::span<const float> reference = references.empty() ? std::span<const float>() : std::span(references[0]);
    const Completion& it = at(unit.number);
    const GrpoShare share = grpo_loss(
        rules_.grpo, {outcomes[0].logprobs, it.old, reference, it.advantage, outcomes[0].derivatives}, batch_);
    figures["divergence"] += share.divergence;
    figures["clipped"] += share.clipped();
    return share.loss;
  }
  /// Where as much is above the mean as below, a loss says little.
  double cost(double, const Figures& figures) const override { return -figures.at("reward"); }

  std::string kept() const override { return kept_; }
  Result<bool> go_on_from(const std::string& kept) override {
    if (kept.empty()) return Error{"it lies between two steps that learn from the same, and lacks what that is"};
    return take(kept);
  }

 private:
  struct Completion {
    Sample sample;
    std::int64_t name = 0;
    std::size_t prompt = 0;  ///< tokens of its prompt
    bool is_ended = false;
    double reward = 0, advantage = 0;
    std::vector<float> old;  ///< empty where there is one step alone: the model is still the same

    std::int64_t tokens() const { return static_cast<std::int64_t>(sample.ids.size() - prompt); }
  };
  const Completion& at(std::int64_t number) const { return completions_[static_cast<std::size_t>(number)]; }

  bool ends(std::int32_t token) const {
    return std::find(rules_.ends.begin(), rules_.ends.end(), token) != rules_.ends.end();
  }

  /// One more, of the prompt that its name says.
  Completion& add(std::int64_t name, std::span<const std::int32_t> tokens) {
    const std::vector<std::int32_t>& prompt = prompts_[static_cast<std::size_t>(name / rules_.completions)];
    Completion& it = completions_.emplace_back();
    it.name = name;
    it.prompt = prompt.size();
    it.sample.ids = prompt;
    it.sample.trained.assign(prompt.size(), 0);
    it.sample.ids.insert(it.sample.ids.end(), tokens.begin(), tokens.end());
    it.sample.trained.resize(it.sample.ids.size(), 1);
    return it;
  }

  /// This rank's completions of the batch, and their rewards.
  Result<bool> write(const StepItems& items) {
    std::vector<infer::WriteRequest> requests;
    for (const std::int64_t item : items.own) {
      const std::vector<std::int32_t>& prompt = prompts_[static_cast<std::size_t>(item)];
      if (prompt.empty())
        return Error{"prompt " + std::to_string(item + 1) + " has no token: there is nothing to complete"};
      for (int i = 0; i < rules_.completions; ++i) {
        const std::uint64_t of_batch = SplitMix64(rules_.seed, static_cast<std::uint64_t>(items.batch)).next();
        const auto name = static_cast<std::uint64_t>(item * rules_.completions + i);
        infer::Sampling sampling = rules_.sampling;
        sampling.seed = SplitMix64(of_batch, name).next();
        requests.push_back({prompt, rules_.most, sampling});
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
      const std::vector<std::int32_t>& tokens = (*written)[i].tokens;
      const std::int64_t own = static_cast<std::int64_t>(i) % rules_.completions;
      add(item * rules_.completions + own, tokens).is_ended = (*written)[i].is_over;
      completed.push_back({item, tokens, (*written)[i].is_over});
    }
    auto rewards = rules_.rewards(completed);
    if (!rewards) return rewards.error();
    if (rewards->size() != completions_.size())
      return Error{std::to_string(rewards->size()) + " rewards were given for " + std::to_string(completions_.size()) +
                   " completions"};
    for (std::size_t i = 0; i < completions_.size(); ++i) completions_[i].reward = (*rewards)[i];
    return rules_.turns.steps() > 1 ? remember(items) : true;
  }

  /// How likely the model holds what it has just written.
  Result<bool> remember(const StepItems& items) {
    std::vector<Unit> units;
    for (const Completion& it : completions_) units.push_back({0, it.name, {&it.sample}});
    auto looked = items.look(units);
    if (!looked) return looked.error();
    for (std::size_t i = 0; i < completions_.size(); ++i) completions_[i].old = std::move((*looked)[i]);
    return true;
  }

  /// By how much each reward is above those of its prompt's others.
  Result<bool> value(const StepItems& items) {
    std::vector<double> rewards;
    for (const Completion& it : completions_) rewards.push_back(it.reward);
    double of_batch = 0;
    if (rules_.scaling == Scaling::kBatch) {
      const auto deviation = deviation_over_ranks(rewards, items);
      if (!deviation) return deviation.error();
      of_batch = *deviation;
    }
    const auto each = static_cast<std::size_t>(rules_.completions);
    for (std::size_t from = 0; from < completions_.size(); from += each) {
      const std::span<const double> group = std::span(rewards).subspan(from, each);
      const std::vector<double> by = rules_.scaling == Scaling::kBatch
                                         ? advantages_in(of_batch, group)
                                         : advantages(group, rules_.scaling == Scaling::kGroup);
      for (std::size_t i = 0; i < each; ++i) completions_[from + i].advantage = by[i];
    }
    return true;
  }

  static Result<double> deviation_over_ranks(std::span<const double> rewards, const StepItems& items) {
    double numbers[] = {static_cast<double>(rewards.size()), std::accumulate(rewards.begin(), rewards.end(), 0.0)};
    if (auto summed = items.sum(numbers); !summed) return summed.error();
    const double mean = numbers[1] / numbers[0];
    double squares = 0;
    for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
    if (auto summed = items.sum({&squares, 1}); !summed) return summed.error();
    return numbers[0] > 1 ? std::sqrt(squares / (numbers[0] - 1)) : 0;
  }

  /// What all ranks have written, on each of them.
  Result<bool> join(const StepItems& items) {
    std::vector<Generated> own;
    for (Completion& it : completions_) {
      const auto tokens = std::span(it.sample.ids).subspan(it.prompt);
      own.push_back({it.name, {tokens.begin(), tokens.end()}, it.is_ended, it.reward, it.advantage, std::move(it.old)});
    }
    const auto all = items.join(pack_generation(own));
    if (!all) return all.error();
    return take(*all);
  }

  Result<bool> take(const std::string& packed) {
    const auto all = unpack_generation(packed);
    if (!all) return all.error();
    completions_.clear();
    for (const Generated& it : *all) {
      if (it.number / rules_.completions >= static_cast<std::int64_t>(prompts_.size()))
        return Error{"what was written is for other prompts: it has number " + std::to_string(it.number) + " of " +
                     counted(static_cast<std::int64_t>(prompts_.size()), "prompt")};
      Completion& completion = add(it.number, it.tokens);
      completion.is_ended = it.is_ended;
      completion.reward = it.reward;
      completion.advantage = it.advantage;
      completion.old = it.old;
    }
    kept_ = pack_generation(*all);  // in an order that says nothing of ranks
    return true;
  }

  /// All that this rank has written is learnt from in this step.
  Result<bool> choose_all(const StepItems& items) {
    own_.resize(completions_.size());
    std::iota(own_.begin(), own_.end(), 0);
    batch_.completions = static_cast<std::int64_t>(items.all.size()) * rules_.completions;
    double tokens = 0;
    for (const Completion& completion : completions_) tokens += static_cast<double>(completion.tokens());
    if (auto summed = items.sum({&tokens, 1}); !summed) return summed.error();
    // A step is one accumulation step of all ranks.
    batch_.tokens = batch_.step_tokens = static_cast<std::int64_t>(tokens);
    return true;
  }

  Result<bool> choose_part(const StepItems& items) {
    std::vector<std::int64_t> shuffled(completions_.size()), lengths;
    std::iota(shuffled.begin(), shuffled.end(), 0);
    std::int64_t tokens = 0;
    for (const Completion& it : completions_) {
      lengths.push_back(static_cast<std::int64_t>(it.sample.ids.size()));
      tokens += it.tokens();
    }
    SplitMix64 random(SplitMix64(rules_.seed, static_cast<std::uint64_t>(items.batch)).next() + 1);
    for (std::size_t left = shuffled.size(); left > 1; --left)
      std::swap(shuffled[left - 1], shuffled[static_cast<std::size_t>(random.below(left))]);
    const std::int64_t parts = rules_.turns.parts, part = items.turn % parts;
    const auto count = static_cast<std::int64_t>(shuffled.size());
    const std::int64_t from = count * part / parts, to = count * (part + 1) / parts;
    const std::span<const std::int64_t> chosen =
        std::span(shuffled).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
    batch_.completions = to - from;
    batch_.tokens = 0;
    for (const std::int64_t number : chosen) batch_.tokens += at(number).tokens();
    batch_.step_tokens = batch_.tokens;
    batch_.mean_tokens = static_cast<double>(tokens) / static_cast<double>(parts);
    own_ = deal(chosen, lengths, items.ranks)[static_cast<std::size_t>(items.rank)];
    return true;
  }

  infer::Engine& engine_;
  const Parameters& parameters_;
  const std::vector<std::vector<std::int32_t>> prompts_;
  const RewardRules rules_;
  std::vector<Completion> completions_;  ///< of the batch: this rank's; where it comes again those of all ranks
  std::vector<std::int64_t> own_;        ///< numbers of those that this rank learns from in this step
  std::string kept_;                     ///< the completions, where they come again
  GrpoBatch batch_;
};

}  // namespace

std::unique_ptr<Aim> make_reward_aim(infer::Engine& engine, const Parameters& parameters,
                                     std::vector<std::vector<std::int32_t>> prompts, RewardRules rules) {
  return std::make_unique<RewardAim>(engine, parameters, std::move(prompts), std::move(rules));
}

}  // namespace orch::train
