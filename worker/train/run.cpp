#include "train/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/split_mix.h"
#include "train/deal.h"

namespace orch::train {
namespace {

using Row = Parameters::Row;

std::vector<Lesson> lessons_of(std::span<const Unit> units) {
  std::vector<Lesson> lessons;
  for (const Unit& unit : units) {
    const auto texts = static_cast<std::int64_t>(unit.texts.size());
    for (std::int64_t place = 0; place < texts; ++place)
      lessons.push_back({unit.texts[static_cast<std::size_t>(place)], unit.name * texts + place});
  }
  return lessons;
}

double judge_all(Aim& aim, std::span<const Unit> units, std::span<const Outcome> outcomes,
                 std::span<const std::vector<float>> references, Figures& figures) {
  double loss = 0;
  std::size_t at = 0;
  for (const Unit& unit : units) {
    const std::size_t texts = unit.texts.size();
    loss += aim.judge(unit, outcomes.subspan(at, texts),
                      references.empty() ? references : references.subspan(at, texts), figures);
    at += texts;
  }
  return loss;
}

}  // namespace

Run::Run(const RunRules& rules, Aim& aim, Aim* held_out, Learner& learner, Parameters& parameters,
         comm::Communicator* data, comm::Transport* host)
    : rules_(rules),
      aim_(aim),
      held_out_(held_out),
      learner_(learner),
      parameters_(parameters),
      data_(data),
      host_(host),
      order_(aim.lengths(), rules.order) {}

Result<RunState> Run::state() {
  RunState state = now_;
  for (const auto& [row, numbers] :
       {std::pair(Row::kValues, &state.values), std::pair(Row::kFirst, &state.first),
        std::pair(Row::kSecond, &state.second), std::pair(Row::kAverage, &state.average)}) {
    if (row == Row::kAverage && !parameters_.has_average()) continue;
    auto read = parameters_.read(learner_.stream(), row);
    if (!read) return read.error();
    *numbers = *std::move(read);
  }
  if (is_within_batch(now_)) state.written = aim_.kept();
  return state;
}

Result<bool> Run::go_on_from(const RunState& state) {
  if (is_within_batch(state))
    if (auto whole = aim_.go_on_from(state.written); !whole) return whole;
  for (const auto& [row, numbers] :
       {std::pair(Row::kValues, &state.values), std::pair(Row::kFirst, &state.first),
        std::pair(Row::kSecond, &state.second), std::pair(Row::kAverage, &state.average)}) {
    if (row == Row::kAverage && !parameters_.has_average()) continue;
    if (auto written = parameters_.write(learner_.stream(), row, *numbers); !written) return written.error();
  }
  now_ = state;
  for (std::vector<float>* row : {&now_.values, &now_.first, &now_.second, &now_.average}) row->clear();
  now_.written.clear();
  good_ = state;
  return true;
}

std::vector<std::vector<Unit>> Run::passes_of(std::vector<Unit> units, const Aim& aim) const {
  std::vector<std::int64_t> numbers(units.size()), lengths;
  std::iota(numbers.begin(), numbers.end(), 0);
  for (const Unit& unit : units) lengths.push_back(unit.tokens());
  std::vector<std::vector<Unit>> passes;
  for (const std::vector<std::int64_t>& pass :
       pack(numbers, lengths, {rules_.pass.tokens, std::max<std::int64_t>(1, rules_.pass.texts / aim.texts_each())})) {
    passes.emplace_back();
    for (const std::int64_t number : pass) passes.back().push_back(std::move(units[static_cast<std::size_t>(number)]));
  }
  return passes;
}

Result<bool> Run::sum(std::span<double> numbers) const {
  if (!host_ || host_->ranks() == 1 || numbers.empty()) return true;
  std::vector<double> all(numbers.size() * static_cast<std::size_t>(host_->ranks()));
  if (auto told = host_->gather(std::as_bytes(numbers), std::as_writable_bytes(std::span(all))); !told)
    return told.error();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = 0;
    for (std::size_t at = i; at < all.size(); at += numbers.size()) numbers[i] += all[at];
  }
  return true;
}

Result<bool> Run::agree(const Result<bool>& own) const {
  return host_ && host_->ranks() > 1 ? comm::agree(*host_, own) : own;
}

Result<std::string> Run::join(const std::string& own) const {
  if (!host_) return own;
  std::string all;
  for (int rank = 0; rank < host_->ranks(); ++rank) {
    const auto theirs = comm::share_text(*host_, rank == host_->rank() ? own : "", rank);
    if (!theirs) return theirs.error();
    all += *theirs;
  }
  return all;
}

Result<std::vector<std::vector<float>>> Run::look(const Aim& aim, std::span<const Unit> units) const {
  std::vector<Unit> numbered(units.begin(), units.end());
  for (std::size_t i = 0; i < numbered.size(); ++i) numbered[i].number = static_cast<std::int64_t>(i);
  std::vector<std::vector<float>> logprobs(units.size());
  for (const std::vector<Unit>& pass : passes_of(std::move(numbered), aim)) {
    auto looked = learner_.look(lessons_of(pass), true, aim.temperature());
    if (!looked) return looked.error();
    for (std::size_t i = 0; i < pass.size(); ++i)
      logprobs[static_cast<std::size_t>(pass[i].number)] = std::move((*looked)[i]);
  }
  return logprobs;
}

StepItems Run::items(const Aim& aim, std::span<const std::int64_t> all, std::span<const std::int64_t> own) const {
  StepItems items;
  items.all = all;
  items.own = own;
  items.rank = data_rank();
  items.ranks = data_ranks();
  items.sum = [this](std::span<double> numbers) { return sum(numbers); };
  items.agree = [this](const Result<bool>& outcome) { return agree(outcome); };
  items.join = [this](const std::string& text) { return join(text); };
  items.look = [this, &aim](std::span<const Unit> units) { return look(aim, units); };
  return items;
}

Result<bool> Run::sum(double& loss, Figures& figures) const {
  std::vector<double> numbers = {loss};
  for (const auto& [name, value] : figures) numbers.push_back(value);
  if (auto summed = sum(numbers); !summed) return summed.error();
  std::size_t next = 0;
  loss = numbers[next++];
  for (auto& [name, value] : figures) value = numbers[next++];
  return true;
}

Result<std::vector<Unit>> Run::begin(StepReport& report) {
  report.step = now_.step;
  const std::vector<std::int64_t>& lengths = order_.lengths();
  const std::int64_t number = now_.step / rules_.turns.steps();
  const std::span<const std::int64_t> batch = order_.batch(number);
  for (const std::int64_t item : batch) report.tokens += lengths[static_cast<std::size_t>(item)];
  const std::vector<std::int64_t> own = deal(batch, lengths, data_ranks())[static_cast<std::size_t>(data_rank())];
  StepItems asked = items(aim_, batch, own);
  asked.batch = number;
  asked.turn = now_.step % rules_.turns.steps();
  auto units = aim_.begin(asked);
  if (auto begun = agree(units ? Result<bool>(true) : Result<bool>(units.error())); !begun) return begun.error();
  report.figures = aim_.figures();
  if (const auto own_tokens = aim_.tokens()) {
    auto tokens = static_cast<double>(*own_tokens);
    if (auto summed = sum({&tokens, 1}); !summed) return summed.error();
    report.tokens = static_cast<std::int64_t>(tokens);
  }
  return units;
}

Result<StepReport> Run::step(std::vector<Unit> units, StepReport report) {
  const double scale = rules_.scales_loss ? now_.loss_scale.scale : 1;
  parameters_.clear_gradients(learner_.stream());
  if (auto taught = agree(teach(passes_of(std::move(units), aim_), scale, report)); !taught) return taught.error();
  if (auto summed = sum(report.loss, report.figures); !summed) return summed.error();
  parameters_.sum_gradients(learner_.stream(), data_);
  auto norm = parameters_.gradient_norm(learner_.stream());
  Result<bool> whole = norm ? Result<bool>(true) : Result<bool>(norm.error());
  if (whole && data_) whole = data_->state();
  // A rank whose own sums were well may have been told the sums of one whose were not.
  if (auto agreed = agree(whole); !agreed) return agreed.error();
  report.norm = *norm / scale;

  if (rules_.scales_loss) {
    const LossScale before = now_.loss_scale;
    const bool overflowed = !std::isfinite(report.norm) && std::isfinite(report.loss);
    now_.loss_scale = after_step(before, overflowed);
    if (overflowed && excuses(before)) {
      report.verdict.deed = Deed::kSkip;
      report.verdict.reason = "the gradient is larger than fp16 holds: the loss is scaled less from now on";
      report.verdict.state = now_.stability;
      return report;
    }
  }
  report.verdict = judge(now_.stability, {now_.step, report.loss, report.norm}, rules_.stability);
  if (report.verdict.deed != Deed::kGoOn) return report;
  now_.stability = report.verdict.state;
  report.rate = rate_at(rules_.schedule, now_.step, now_.plateau) * now_.stability.rate_factor;
  AdamRules adam = rules_.adam;
  adam.rate = report.rate;
  const double clipped = rules_.clip > 0 && report.norm > rules_.clip ? rules_.clip / report.norm : 1;
  parameters_.update(learner_.stream(), adam, ++now_.updates, clipped / scale);
  if (parameters_.has_average())
    if (const auto kept = average_keeps(rules_.average, now_.step, rules_.schedule.steps))
      parameters_.update_average(learner_.stream(), *kept);
  // Others read what is trained, in streams of their own.
  if (auto settled = learner_.settle(); !settled) return settled.error();
  return report;
}

Result<bool> Run::teach(std::span<const std::vector<Unit>> passes, double scale, StepReport& report) {
  const std::uint64_t key = SplitMix64(rules_.order.seed, static_cast<std::uint64_t>(report.step)).next();
  for (const std::vector<Unit>& pass : passes) {
    const std::vector<Lesson> lessons = lessons_of(pass);
    std::vector<std::vector<float>> references;
    if (aim_.has_reference()) {
      auto looked = learner_.look(lessons, false, aim_.temperature());
      if (!looked) return looked.error();
      references = *std::move(looked);
    }
    const auto taught = learner_.teach(
        lessons, key, scale,
        [&](std::span<const Outcome> outcomes) {
          report.loss += judge_all(aim_, pass, outcomes, references, report.figures);
        },
        aim_.temperature());
    if (!taught) return taught.error();
  }
  return true;
}

Result<Evaluated> Run::evaluate() {
  Evaluated evaluated;
  const std::vector<std::int64_t> lengths = held_out_->lengths();
  std::vector<std::int64_t> all(lengths.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<std::int64_t> own = deal(all, lengths, data_ranks())[static_cast<std::size_t>(data_rank())];
  auto units = held_out_->begin(items(*held_out_, all, own));
  if (auto begun = agree(units ? Result<bool>(true) : Result<bool>(units.error())); !begun) return begun.error();
  evaluated.figures = held_out_->figures();
  if (auto looked = agree(look(passes_of(*std::move(units), *held_out_), evaluated)); !looked) return looked.error();
  if (auto summed = sum(evaluated.loss, evaluated.figures); !summed) return summed.error();
  evaluated.loss = held_out_->cost(evaluated.loss, evaluated.figures);
  return evaluated;
}

Result<bool> Run::look(std::span<const std::vector<Unit>> passes, Evaluated& evaluated) {
  for (const std::vector<Unit>& pass : passes) {
    const std::vector<Lesson> lessons = lessons_of(pass);
    auto with = learner_.look(lessons, true, held_out_->temperature());
    if (!with) return with.error();
    std::vector<std::vector<float>> references;
    if (held_out_->has_reference()) {
      auto without = learner_.look(lessons, false, held_out_->temperature());
      if (!without) return without.error();
      references = *std::move(without);
    }
    std::vector<std::vector<float>> derivatives;
    std::vector<Outcome> outcomes;
    for (const std::vector<float>& logprobs : *with) derivatives.emplace_back(logprobs.size());
    for (std::size_t i = 0; i < with->size(); ++i) outcomes.push_back({(*with)[i], derivatives[i]});
    evaluated.loss += judge_all(*held_out_, pass, outcomes, references, evaluated.figures);
  }
  return true;
}

Result<RunEnd> Run::go(const RunHooks& hooks) {
  if (order_.samples() == 0) return Error{"there is nothing to learn from"};
  if (!parameters_.adapter() && (aim_.has_reference() || (held_out_ && held_out_->has_reference())))
    return Error{std::string(kNoReference)};
  if (good_.values.empty()) {
    auto begin = state();
    if (!begin) return begin.error();
    good_ = *std::move(begin);
  }
  const auto keep = [&](std::optional<double> held_out) -> Result<bool> {
    auto good = state();
    if (!good) return good.error();
    good_ = *std::move(good);
    return agree(hooks.keep ? hooks.keep(good_, held_out) : Result<bool>(true));
  };
  while (now_.step < rules_.schedule.steps) {
    const auto begun = std::chrono::steady_clock::now();
    StepReport beginning;
    auto units = begin(beginning);
    if (!units) {
      // Nothing of this step is learnt yet. Whatever writes or rewards texts may fail for reasons of its own: what was
      // learnt before is not lost with it.
      if (now_.step > good_.step) static_cast<void>(keep(std::nullopt));
      return units.error();
    }
    auto stepped = step(*std::move(units), std::move(beginning));
    if (!stepped) return stepped.error();
    StepReport& report = *stepped;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    const Verdict& verdict = report.verdict;
    if (verdict.deed == Deed::kStop) {
      if (hooks.report) hooks.report(report);
      return RunEnd{RunEnd::Why::kFailed, verdict.failure, verdict.reason};
    }
    if (verdict.deed == Deed::kRollBack) {
      const StabilityState after = after_rollback(good_.stability, verdict.state);
      if (hooks.report) hooks.report(report);
      const RunState good = good_;
      if (auto back = go_on_from(good); !back) return back.error();
      now_.stability = good_.stability = after;
      continue;
    }
    if (verdict.deed == Deed::kSkip) now_.stability = verdict.state;
    const std::int64_t done = now_.step++;
    if (held_out_ && is_evaluated_after(rules_.schedule, done)) {
      auto evaluated = evaluate();
      if (!evaluated) return evaluated.error();
      now_.plateau = after_evaluation(rules_.schedule, now_.plateau, done, evaluated->loss);
      report.held_out = *std::move(evaluated);
    }
    if (hooks.report) hooks.report(report);
    const bool is_last = now_.step == rules_.schedule.steps;
    const Wish wish = !is_last && hooks.wish ? hooks.wish() : Wish::kNone;
    if (is_last || wish != Wish::kNone || now_.step % std::max<std::int64_t>(1, rules_.keep_every) == 0)
      if (auto kept =
              keep(report.held_out && std::isfinite(report.held_out->loss) ? std::optional(report.held_out->loss)
                                                                           : std::nullopt);
          !kept)
        return kept.error();
    if (wish == Wish::kEnd) return RunEnd{RunEnd::Why::kAsked, Failure::kNone, "it was told to end"};
  }
  return RunEnd{};
}

}  // namespace orch::train
