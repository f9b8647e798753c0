#include "tuning/tune.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "comm/host_memory.h"
#include "infer/memory_plan.h"
#include "kernels/cpu/backend.h"
#include "model/chat/chat_template.h"
#include "reward/load_reward.h"
#include "texts/opened_model.h"
#include "train/checkpoints.h"
#include "train/checksum.h"
#include "train/fitting.h"
#include "train/gathering.h"
#include "train/memory_plan.h"
#include "train/reward_aim.h"
#include "tuning/curve.h"
#include "tuning/kept_run.h"
#include "tuning/material.h"

namespace orch::tuning {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kCheckpoints = "checkpoints";
constexpr const char* kCurve = "curve.jsonl";
constexpr const char *kAdapter = "adapter", *kModel = "model";

/// Copies of what is trained, with its moments, that the host has for a while: the state that a spike is gone back to,
/// one that is being kept, and one that is being written.
constexpr double kHostRows = 15;
/// Of the memory that is left beside a model that writes its own completions, their cache's part.
constexpr double kShareOfCache = 0.25;
constexpr std::int64_t kLoggedEvery = 10;  ///< steps

Result<bool> outcome(const auto& result) { return result ? Result<bool>(true) : Result<bool>(result.error()); }

std::string text_of(const Diagnostics& diagnostics) {
  std::ostringstream text;
  diagnostics.print(text);
  return std::string(trim(text.str()));
}

Result<std::uint64_t> checksum_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  train::Checksum sum;
  std::vector<char> bytes(std::size_t{1} << 20);
  while (in) {
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    sum.add(std::as_bytes(std::span(bytes).first(static_cast<std::size_t>(in.gcount()))));
  }
  if (!in.eof()) return Error{"cannot read " + file.string()};
  return sum.value();
}

/// How long what is learnt from is.
struct Extent {
  std::int64_t items = 0;
  std::int64_t tokens = 0;    ///< of all
  std::int64_t longest = 0;   ///< of one text
  std::int64_t texts = 1;     ///< of an item, of which passes are made
  std::int64_t together = 1;  ///< of them judged together

  void add(std::size_t length) {
    tokens += static_cast<std::int64_t>(length);
    longest = std::max(longest, static_cast<std::int64_t>(length));
  }
};

Extent extent_of(const Part& part, const Settings& settings) {
  Extent it;
  it.items = part.items();
  for (const train::Sample& sample : part.samples) it.add(sample.ids.size());
  for (const train::PreferredSample& pair : part.pairs) {
    it.add(pair.chosen.ids.size());
    it.add(pair.rejected.ids.size());
    it.texts = it.together = 2;
  }
  for (const texts::PromptSample& prompt : part.prompts) {
    it.add(prompt.ids.size() + static_cast<std::size_t>(settings.max_tokens));
    it.tokens += (settings.group_size - 1) * static_cast<std::int64_t>(prompt.ids.size() + settings.max_tokens);
    it.texts = settings.group_size;
  }
  return it;
}

std::string number(double value) {
  std::ostringstream text;
  text.precision(4);
  text << value;
  return text.str();
}

class Tuning {
 public:
  Tuning(const TuneRules& rules, comm::Transport& ranks, const TuneHooks& hooks)
      : rules_(rules), settings_(rules.settings), ranks_(ranks), hooks_(hooks) {}

  Result<TuneEnd, Trouble> run() {
    using Step = Result<bool> (Tuning::*)();
    constexpr std::array<std::pair<Step, const char*>, 6> kSteps = {{{&Tuning::read, "bad_input"},
                                                                     {&Tuning::look_back, "unknown"},
                                                                     {&Tuning::lay_out, "bad_input"},
                                                                     {&Tuning::plan, "host_memory"},
                                                                     {&Tuning::load, "load_failed"},
                                                                     {&Tuning::begin, "unknown"}}};
    for (const auto& [step, cause] : kSteps)
      if (auto done = (this->*step)(); !done) return fail({cause, done.error().what});
    auto ended = go();
    if (!ended) return fail(ended.error());
    return ended;
  }

 private:
  bool is_first() const { return ranks_.rank() == 0; }
  bool is_of_prompts() const { return rules_.rows == train::RowKind::kPrompt; }
  Result<bool> agree(const Result<bool>& own) { return comm::agree(ranks_, own); }

  void say(const std::string& what) {
    if (!is_first()) return;
    log_ << what << std::endl;
    if (hooks_.say) hooks_.say(what);
  }
  /// Into the log alone: who called is told by what comes back.
  Trouble fail(Trouble trouble) {
    if (is_first()) log_ << "failed: " << trouble.reason << std::endl;
    return trouble;
  }

  /// Model, data and rewards, as they are in their files.
  Result<bool> read() {
    const bool pulls =
        rules_.rows == train::RowKind::kPreference || (is_of_prompts() && settings_.beta.value_or(0) > 0);
    if (settings_.full && pulls)
      return Error{
          "what pulls towards the model as it was needs it beside the one that is trained, and where all "
          "weights are trained there is none; train an adapter"};
    if (settings_.full && settings_.dropout > 0)
      return Error{"dropout is of an adapter's inputs, and where all weights are trained there is none; leave it out"};
    if (is_of_prompts()) {
      if (auto grpo = grpo_of(settings_); !grpo) return grpo.error();
      if (auto sampling = sampling_of(settings_); !sampling) return sampling.error();
    }
    if (auto made = agree(make_folder()); !made) return made;
    if (rules_.tensor * rules_.copies != ranks_.ranks())
      return Error{"the training is for " + counted(rules_.tensor * rules_.copies, "rank") + ", and " +
                   std::to_string(ranks_.ranks()) + " are there"};
    model::Shard shard;
    shard.rank = ranks_.rank() % rules_.tensor;
    shard.ranks = rules_.tensor;
    auto parts = texts::read_model_parts(rules_.model, shard);
    if (auto agreed = agree(outcome(parts)); !agreed) return agreed;
    parts_ = *std::move(parts);
    if (auto agreed = agree(read_data()); !agreed) return agreed;
    const Extent extent = extent_of(material_.learnt, settings_);
    items_ = extent.items;
    steps_ = steps_of(settings_, items_, is_of_prompts());
    const texts::SampleCounts& counts = material_.counts;
    say(rules_.data.string() + ": " + counted(material_.rows, "row") + ", of which " + std::to_string(extent.items) +
        " with " + counted(extent.tokens, "token") + " are learnt from and " +
        std::to_string(material_.held_out.items()) + " held out" +
        (counts.cut > 0 ? "; " + std::to_string(counts.cut) + " are cut off" : "") +
        (counts.dropped > 0
             ? "; " + std::to_string(counts.dropped) + " are dropped, as nothing to learn is left of them"
             : ""));
    say(counted(steps_, "step") + " of " + counted(batch_of(settings_), "item") + ", over " +
        counted(ranks_.ranks(), "rank"));
    if (const train::Turns turns = turns_of(settings_, is_of_prompts()); turns.steps() > 1)
      say("completions are written for " + counted(batch_of(settings_) * turns.parts, "prompt") + " at once, and " +
          counted(turns.steps(), "step") + " learn from them: " + counted(turns.parts, "part") + ", " +
          counted(turns.rounds, "time"));
    return true;
  }

  Result<bool> make_folder() {
    if (!is_first()) return true;
    std::error_code error;
    fs::create_directories(rules_.out, error);
    if (error) return Error{"cannot make the folder " + rules_.out.string() + ": " + error.message()};
    log_.open(rules_.out / "log", std::ios::app);
    if (!log_) return Error{"cannot write " + (rules_.out / "log").string()};
    return true;
  }

  Result<bool> read_data() {
    const std::int64_t context = parts_->architecture.context;
    if (context > 0 && settings_.sequence > context) {
      say("samples have at most " + counted(context, "token") + ", the model's context, and not " +
          std::to_string(settings_.sequence));
      settings_.sequence = context;
    }
    const bool of_prompts = rules_.rows == train::RowKind::kPrompt;
    if (of_prompts && settings_.max_tokens >= settings_.sequence)
      return Error{"completions of " + counted(settings_.max_tokens, "token") +
                   " leave no room for a prompt: with it " + "they have " + std::to_string(settings_.sequence)};
    // What is wrong with a row is said once, beside what its tokens show to be wrong.
    Diagnostics diagnostics, counting;
    const std::int64_t rows = count_rows(rules_.data, rules_.rows, counting).value_or(0);
    std::optional<model::ChatTemplate> chat;
    if (rules_.rows != train::RowKind::kText) {
      auto found = model::ChatTemplate::find(rules_.model);
      if (!found) return found.error();
      chat = *std::move(found);
      if (!chat) say("the model has no chat template: no text is written as a conversation");
    }
    MaterialRules material;
    material.file = rules_.data;
    material.rows = rules_.rows;
    material.held_out = held_out_of(settings_, rows, of_prompts);
    material.samples = {settings_.sequence, of_prompts ? settings_.sequence - settings_.max_tokens : 0};
    auto read = read_material(material, rows, parts_->tokenizer, chat ? &*chat : nullptr, diagnostics);
    if (!diagnostics.ok()) return Error{text_of(diagnostics)};
    if (!read) return read.error();
    for (const Problem& warning : diagnostics.warnings()) say(to_string(warning.place) + ": " + warning.what);
    material_ = *std::move(read);
    if (of_prompts) return read_reward();
    return true;
  }

  Result<bool> read_reward() {
    if (rules_.reward.empty()) return Error{"prompts are trained on by a reward, and none is given"};
    Diagnostics diagnostics;
    auto file = reward::load_reward(rules_.reward, diagnostics);
    if (!file) return Error{text_of(diagnostics)};
    if (const auto* asked = std::get_if<reward::Rules>(&*file)) {
      const reward::RuleReward by_rules(*asked);
      for (const Part* part : {&material_.learnt, &material_.held_out})
        for (const texts::PromptSample& prompt : part->prompts)
          if (const auto lacks = by_rules.lacks(prompt.other))
            diagnostics.error({rules_.data.string(), prompt.line, 1}, lacks->what);
      if (!diagnostics.ok()) return Error{text_of(diagnostics)};
    }
    auto made = reward::make_reward(*std::move(file), rules_.environment);
    if (!made) return made.error();
    reward_ = *std::move(made);
    return true;
  }

  json identity() const {
    json it = identity_of(settings_);
    it["model"] = rules_.base;
    it["dtype"] = std::string(name_of(rules_.formats.compute));
    it["weights"] = std::string(name_of(rules_.formats.weights));
    it["data"] = checksum_;
    return it;
  }

  /// What is gone on from: the first rank looks, and all read what it found.
  Result<bool> look_back() {
    auto checksum = checksum_of(rules_.data);
    if (auto agreed = agree(outcome(checksum)); !agreed) return agreed;
    checksum_ = *checksum;
    std::string found;
    Result<bool> looked = true;
    if (is_first()) {
      auto folder = newest();
      if (folder)
        found = folder->string();
      else
        looked = folder.error();
    }
    if (auto agreed = agree(looked); !agreed) return agreed;
    const auto shared = comm::share_text(ranks_, found, 0);
    if (!shared) return shared.error();
    if (shared->empty()) return true;
    return agree(read_checkpoint(*shared));
  }

  Result<fs::path> newest() {
    fs::path best;
    std::int64_t step = -1;
    std::vector<fs::path> folders = rules_.before;
    folders.push_back(rules_.out);
    for (const fs::path& folder : folders) {
      const auto there = train::newest_whole(folder / kCheckpoints);
      if (!there) return there.error();
      for (const std::string& passed : there->passed_over) say(passed);
      if (!there->checkpoint || there->checkpoint->state.step < step) continue;
      step = there->checkpoint->state.step;
      best = there->checkpoint->folder;
    }
    return best;
  }

  Result<bool> read_checkpoint(const fs::path& folder) {
    auto read = train::read_checkpoint(folder);
    if (!read) return Error{folder.string() + ": " + read.error().what};
    auto run = read_run(read->state);
    if (!run) return Error{folder.string() + ": " + run.error().what};
    if (const std::string differs = difference(run->kept.identity, identity()); !differs.empty())
      return Error{folder.string() + " is of another training: " + differs + "; give this one a folder of its own"};
    checkpoint_ = *std::move(read);
    kept_ = *std::move(run);
    say("goes on from step " + std::to_string(checkpoint_->state.step) + ", " + folder.string());
    return true;
  }

  bool has_average() const { return settings_.ema_decay > 0; }
  /// Nothing where all weights are trained.
  std::optional<train::AdapterRules> adapter_rules() const {
    if (settings_.full) return std::nullopt;
    return train::AdapterRules{settings_.rank, alpha_of(settings_), settings_.rank_stabilised, settings_.targets,
                               settings_.seed};
  }
  model::PeftAdapter adapter_of(const std::map<std::string, train::Trained>& whole) const {
    const std::optional<model::ExpertsKind>& experts = parts_->architecture.experts;
    return train::adapter_of(whole, has_average(), *adapter_rules(), settings_.dropout, rules_.base,
                             experts ? experts->count : 0);
  }

  /// What is trained: settings that the model has nothing for (other targets, other ranks) are wrong wherever it runs,
  /// and no want of memory.
  Result<bool> lay_out() {
    auto memory =
        train::MemoryPlan::make(parts_->architecture, parts_->shard, rules_.formats, adapter_rules(), has_average());
    if (auto agreed = agree(outcome(memory)); !agreed) return agreed;
    memory_ = *std::move(memory);
    return true;
  }

  /// How much goes through the model at once: the least of what the ranks have room for.
  Result<bool> plan() {
    auto fitting = fitted();
    if (auto agreed = agree(outcome(fitting)); !agreed) return agreed;
    for (const std::string& reason : fitting->reasons) say(reason);
    const train::LearnerBounds& own = fitting->pass;
    const std::array<std::int64_t, 3> mine = {own.tokens, own.texts, own.again ? 1 : 0};
    std::vector<std::int64_t> all(3 * static_cast<std::size_t>(ranks_.ranks()));
    if (auto told = ranks_.gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all))); !told)
      return told.error();
    memory_.reset();
    pass_ = own;
    for (std::size_t at = 0; at < all.size(); at += 3) {
      pass_.tokens = std::min(pass_.tokens, all[at]);
      pass_.texts = std::min(pass_.texts, all[at + 1]);
      pass_.again = pass_.again || all[at + 2] != 0;
    }
    return true;
  }

  Result<train::Fitting> fitted() {
    const train::MemoryPlan& plan = *memory_;
    say("weights take " + format_bytes(plan.weights()) +
        " of each rank, what is trained with its gradients and moments " + format_bytes(plan.trained()));
    train::FittingAsked asked;
    double left = 0;
    if (rules_.memory > 0) {
      left = rules_.memory * rules_.smaller - plan.weights() - plan.trained() - kHostRows * plan.row();
      if (left <= 0)
        return Error{"weights and what is trained take " +
                     format_bytes(plan.weights() + plan.trained() + kHostRows * plan.row()) +
                     " of memory on each rank, and " + format_bytes(rules_.memory * rules_.smaller) +
                     " are left there"};
    }
    const Extent learnt = extent_of(material_.learnt, settings_), judged = extent_of(material_.held_out, settings_);
    const std::int64_t items = std::max<std::int64_t>(1, (batch_of(settings_) + rules_.copies - 1) / rules_.copies);
    asked.batch = static_cast<std::int64_t>(
        std::ceil(static_cast<double>(learnt.tokens) / static_cast<double>(learnt.items) * static_cast<double>(items)));
    asked.longest = std::max(learnt.longest, judged.longest);
    asked.together = learnt.together;
    asked.texts = items * learnt.texts;
    asked.dropout = static_cast<float>(settings_.dropout);
    asked.again = settings_.checkpointing;
    asked.most_texts = settings_.micro_batch;
    if (rules_.rows == train::RowKind::kPrompt) {
      const auto planned = plan_engine(asked, left);
      if (!planned) return planned.error();
      left -= *planned;
      if (rules_.memory > 0 && left <= 0) return Error{"there is no room beside the cache for completions"};
    }
    asked.memory = rules_.memory > 0 ? left : 0;
    const auto bytes = [&](const train::LearnerBounds& pass) { return plan.pass(pass); };
    const bool same_layout = kept_ && kept_->kept.tensor == rules_.tensor && kept_->kept.copies == rules_.copies;
    if (same_layout && (asked.memory <= 0 || bytes(kept_->kept.pass) <= asked.memory)) {
      train::LearnerBounds pass = kept_->kept.pass;
      pass.length = asked.longest;
      pass.dropout = asked.dropout;
      return train::Fitting{pass, bytes(pass), {counted(pass.tokens, "token") + " at once, as before"}};
    }
    if (kept_)
      say(std::string("passes are cut otherwise than before the interruption, ") +
          (same_layout ? "as there is less memory now" : "for other ranks") +
          ": from here on the numbers are those of an uninterrupted run within rounding, not bit for bit");
    return train::fit(asked, bytes);
  }

  /// What the engine takes that writes completions; its rules are set.
  Result<double> plan_engine(const train::FittingAsked& asked, double left) {
    engine_rules_.cache_dtype = rules_.formats.compute;
    engine_rules_.context = settings_.sequence;
    infer::EngineRules unbounded = engine_rules_;
    unbounded.cache_bytes = std::numeric_limits<std::size_t>::max();
    const std::int64_t count = std::min(asked.texts, engine_rules_.step_sequences);
    const auto planned =
        infer::plan_memory(parts_->architecture, parts_->shard, rules_.formats, unbounded, {count, asked.longest});
    if (!planned) return planned.error();
    const auto one =
        infer::plan_memory(parts_->architecture, parts_->shard, rules_.formats, unbounded, {1, asked.longest});
    if (!one) return one.error();
    const double most = rules_.memory > 0 ? std::max(one->cache, left * kShareOfCache) : planned->cache;
    const double cache = std::min(planned->cache, most);
    engine_rules_.cache_bytes = static_cast<std::size_t>(cache);
    return cache + planned->steps;
  }

  /// Weights, what is trained, and room for passes.
  Result<bool> load() {
    backend_ = kernels::make_cpu_backend({rules_.threads, 0, {}});
    const int place = ranks_.rank() % rules_.tensor, copy = ranks_.rank() / rules_.tensor;
    for (auto [color, transport] : {std::pair(copy, &tensor_host_), std::pair(place, &data_host_)}) {
      auto made = ranks_.split(color);
      if (!made) return made.error();
      *transport = *std::move(made);
    }
    for (auto [color, communicator] : {std::pair(copy, &tensor_), std::pair(place, &data_)}) {
      auto made = ranks_.split(color);
      if (!made) return made.error();
      *communicator = comm::make_host_communicator(*backend_, *std::move(made));
    }
    auto decoder = model::Decoder::load(*backend_, parts_->architecture, parts_->sources, parts_->shard, rules_.formats,
                                        tensor_.get());
    if (auto agreed = agree(outcome(decoder)); !agreed) return agreed;
    decoder_ = *std::move(decoder);
    const auto adapter = adapter_rules();
    auto parameters =
        adapter ? train::Parameters::of_adapter(*backend_, *decoder_, parts_->sources, *adapter, has_average())
                : train::Parameters::of_model(*backend_, *decoder_, parts_->sources, has_average());
    if (auto agreed = agree(outcome(parameters)); !agreed) return agreed;
    parameters_ = *std::move(parameters);
    parts_->checkpoint.forget();  // all of it stands in the backend's memory now
    auto learner = train::Learner::make(*backend_, *decoder_, *parameters_, pass_);
    if (auto agreed = agree(outcome(learner)); !agreed) return agreed;
    learner_ = *std::move(learner);
    auto gathering = train::Gathering::make(*tensor_host_, parameters_->pieces());
    if (!gathering) return gathering.error();
    gathering_.emplace(*std::move(gathering));
    say(std::to_string(parameters_->count()) + " numbers are trained on " + (ranks_.ranks() > 1 ? "each rank" : "it") +
        " (" + std::to_string(parameters_->pieces().size()) + " matrices), computing in " +
        std::string(name_of(rules_.formats.compute)));
    if (rules_.rows == train::RowKind::kPrompt) engine_.emplace(*backend_, *decoder_, engine_rules_);
    auto aim = make_aim(material_.learnt, false);
    if (!aim) return aim.error();
    aim_ = *std::move(aim);
    if (material_.held_out.items() > 0) {
      auto judge = make_aim(material_.held_out, true);
      if (!judge) return judge.error();
      judge_ = *std::move(judge);
    }
    return true;
  }

  /// `is_judge`: of what is held out, whose completions are drawn apart from those that are learnt from.
  Result<std::unique_ptr<train::Aim>> make_aim(Part& part, bool is_judge) {
    switch (rules_.rows) {
      case train::RowKind::kText:
      case train::RowKind::kInstruction:
        return train::make_likelihood_aim(std::move(part.samples));
      case train::RowKind::kPreference: {
        train::DpoSettings dpo;
        dpo.loss = settings_.loss;
        dpo.beta = settings_.beta.value_or(dpo.beta);
        dpo.label_smoothing = settings_.label_smoothing;
        const auto whole = train::checked(dpo);
        if (!whole) return whole.error();
        return train::make_preference_aim(std::move(part.pairs), *whole);
      }
      case train::RowKind::kPrompt:
        break;
    }
    train::RewardRules how;
    const auto whole = grpo_of(settings_);
    if (!whole) return whole.error();
    how.grpo = *whole;
    // What is held out is completed in one way whatever the settings: so trainings can be compared by it.
    if (!is_judge) {
      const auto sampling = sampling_of(settings_);
      if (!sampling) return sampling.error();
      how.sampling = *sampling;
      how.turns = turns_of(settings_, true);
    }
    how.completions = static_cast<int>(settings_.group_size);
    how.most = settings_.max_tokens;
    how.scaling = scaling_of(settings_);
    how.ends.assign(parts_->tokenizer.specials().eos.begin(), parts_->tokenizer.specials().eos.end());
    how.seed = settings_.seed + (is_judge ? 1 : 0);
    how.rewards = [this, &part](std::span<const train::Completed> completed) { return rewards(part, completed); };
    std::vector<std::vector<std::int32_t>> prompts;
    for (const texts::PromptSample& prompt : part.prompts) prompts.push_back(prompt.ids);
    return train::make_reward_aim(*engine_, *parameters_, std::move(prompts), std::move(how));
  }

  /// The first of the ranks that share the layers asks; the others are told.
  Result<std::vector<double>> rewards(const Part& part, std::span<const train::Completed> completed) {
    json told;
    if (tensor_host_->rank() == 0) {
      auto given = rewards_here(part, completed);
      told = given ? json{{"rewards", *given}} : json{{"error", given.error().what}};
    }
    const auto text = comm::share_text(*tensor_host_, told.dump(-1, ' ', false, json::error_handler_t::replace), 0);
    if (!text) return text.error();
    const json heard = json::parse(*text);
    if (heard.contains("error")) return Error{heard["error"].get<std::string>()};
    return heard["rewards"].get<std::vector<double>>();
  }

  Result<std::vector<double>> rewards_here(const Part& part, std::span<const train::Completed> completed) {
    const auto decoded = [&](std::span<const std::int32_t> ids, bool skip_special) {
      return parts_->tokenizer.decode(std::vector<tokenizer::TokenId>(ids.begin(), ids.end()), skip_special);
    };
    std::vector<reward::Completion> completions;
    for (const train::Completed& each : completed) {
      const texts::PromptSample& prompt = part.prompts[static_cast<std::size_t>(each.item)];
      const auto said = each.is_ended ? each.tokens.first(each.tokens.size() - 1) : each.tokens;
      auto asked = decoded(prompt.ids, false), text = decoded(said, true);
      if (!asked) return asked.error();
      if (!text) return text.error();
      completions.push_back({*std::move(asked), *std::move(text), static_cast<std::int64_t>(said.size()), each.is_ended,
                             prompt.other, each.item});
    }
    return reward_->of(completions);
  }

  /// The run, where it goes on, and the files that grow with it.
  Result<bool> begin() {
    train::RunRules run;
    run.turns = turns_of(settings_, is_of_prompts());
    run.order = {batch_of(settings_) * run.turns.parts, settings_.seed, settings_.group_by_length};
    run.schedule.course = settings_.schedule;
    run.schedule.rate = settings_.learning_rate;
    run.schedule.warmup = settings_.warmup;
    run.schedule.stages = settings_.stages;
    run.schedule.steps = steps_;
    run.schedule.evaluate_every = settings_.evaluate_every;
    run.average.decay = settings_.ema_decay;
    run.adam.decay = settings_.weight_decay;
    run.clip = run.stability.least_norm = settings_.clip;
    if (is_of_prompts()) run.stability.norm_times = 0;
    run.pass = pass_;
    run.scales_loss = rules_.formats.compute == DType::kFp16;
    run.keep_every = settings_.checkpoint_every;
    if (run.scales_loss) say("fp16: the loss is scaled, so that small gradients do not vanish");
    run_.emplace(run, *aim_, judge_.get(), *learner_, *parameters_, data_.get(), data_host_.get());
    fs::path earlier = rules_.out / kCurve;
    if (checkpoint_) {
      train::RunState state = kept_->state;
      state.written = checkpoint_->written;
      auto took = gathering_->take_part(checkpoint_->trained, has_average(), state);
      if (!took) took = Error{checkpoint_->folder.string() + ": " + took.error().what};
      if (auto agreed = agree(took); !agreed) return agreed;
      if (auto back = agree(run_->go_on_from(state)); !back) return back;
      seconds_ = kept_->kept.seconds;
      tokens_ = kept_->kept.tokens;
      earlier = checkpoint_->folder.parent_path().parent_path() / kCurve;
      state_ = std::move(state);
    }
    return agree(is_first() ? open_files(earlier) : Result<bool>(true));
  }

  /// The checkpoints first: their lock says whether somebody else is at it in this folder, whose curve is not ours.
  Result<bool> open_files(const fs::path& earlier) {
    const std::int64_t from = checkpoint_ ? checkpoint_->state.step : 0;
    train::KeepRules keep;
    keep.best = static_cast<std::size_t>(settings_.keep_checkpoints);
    auto writer = train::CheckpointWriter::open(rules_.out / kCheckpoints, keep);
    if (!writer) return writer.error();
    writer_ = *std::move(writer);
    if (auto forgotten = writer_->forget_after(from); !forgotten) return forgotten.error();
    auto curve = Curve::open(rules_.out / kCurve, earlier, checkpoint_ ? from : -1);
    if (!curve) return curve.error();
    curve_.emplace(*std::move(curve));
    return true;
  }

  Result<TuneEnd, Trouble> go() {
    begun_ = Clock::now();
    if (judge_ && !checkpoint_) {
      const auto before = run_->evaluate();
      if (!before) return lost(before.error());
      train::StepReport report;
      report.step = -1;
      report.held_out = *before;
      if (auto told = agree(tell(report)); !told) return Trouble{"unknown", told.error().what};
    }
    std::optional<Error> untold;
    train::RunHooks hooks;
    hooks.report = [&](const train::StepReport& report) {
      if (auto told = tell(report); !told && !untold) untold = told.error();
    };
    hooks.wish = [&] { return wish(untold.has_value()); };
    hooks.keep = [&](const train::RunState& state, std::optional<double> held_out) { return keep(state, held_out); };
    const auto ended = run_->go(hooks);
    if (!ended) return lost(ended.error());
    if (auto told = agree(untold ? Result<bool>(*untold) : Result<bool>(true)); !told)
      return Trouble{"unknown", told.error().what};
    if (ended->why == train::RunEnd::Why::kFailed) {
      static_cast<void>(finish_writing());
      return Trouble{"nan", std::string(train::name_of(ended->failure)) + ": " + ended->reason};
    }
    if (auto written = agree(finish_writing()); !written) return Trouble{"unknown", written.error().what};
    TuneEnd end;
    end.steps = steps_;
    end.step = state_.step;
    end.is_stopped = ended->why == train::RunEnd::Why::kAsked;
    if (end.is_stopped) {
      say("stopped after step " + std::to_string(end.step) + ", whose state is kept");
      return end;
    }
    return conclude(std::move(end));
  }

  /// A wish of the first rank's is all ranks'.
  train::Wish wish(bool has_trouble) {
    train::Wish own = train::Wish::kNone;
    if (is_first()) own = has_trouble ? train::Wish::kEnd : hooks_.wish ? hooks_.wish() : train::Wish::kNone;
    const auto shared = comm::share_text(ranks_, std::string(1, static_cast<char>('0' + static_cast<int>(own))), 0);
    if (!shared || shared->size() != 1) return train::Wish::kEnd;  // somebody is gone, which the next call says
    return static_cast<train::Wish>(shared->front() - '0');
  }

  Trouble lost(const Error& error) {
    static_cast<void>(finish_writing());
    return {ranks_.ranks() > 1 && !is_unkept_ ? "lost_peer" : "unknown", error.what};
  }

  Result<bool> finish_writing() {
    if (!writer_) return true;
    return outcome(writer_->wait());
  }

  double seconds() const { return seconds_ + std::chrono::duration<double>(Clock::now() - begun_).count(); }

  Result<bool> keep(const train::RunState& state, std::optional<double> held_out) {
    Result<bool> kept = true;
    if (data_host_->rank() == 0) {
      auto whole = gathering_->whole(state);
      if (!whole)
        kept = whole.error();
      else if (is_first())
        kept = write(state, held_out, *std::move(whole));
    }
    state_ = state;
    auto agreed = agree(kept);
    is_unkept_ = !agreed;
    return agreed;
  }

  Result<bool> write(const train::RunState& state, std::optional<double> held_out,
                     std::map<std::string, train::Trained> whole) {
    train::Checkpoint checkpoint;
    checkpoint.step = state.step;
    checkpoint.loss = held_out;
    KeptRun kept{identity(), pass_, rules_.tensor, rules_.copies, seconds(), tokens_};
    checkpoint.run = json_of(kept, state);
    checkpoint.written = state.written;
    if (!settings_.full) checkpoint.adapter = adapter_of(whole);
    checkpoint.trained = std::move(whole);
    return outcome(writer_->write(std::move(checkpoint)));
  }

  /// A line of the curve, and now and then one of the log. Of the first rank.
  Result<bool> tell(const train::StepReport& report) {
    if (!is_first()) return true;
    tokens_ += report.tokens;
    ordered_json line = {{"step", report.step + 1}, {"steps", steps_}};
    if (report.step >= 0) {
      line["loss"] = report.loss;
      line["norm"] = report.norm;
      line["rate"] = report.rate;
      line["tokens"] = report.tokens;
      line["tokens_per_second"] = static_cast<double>(report.tokens) / std::max(report.seconds, 1e-9);
      for (const auto& [name, value] : report.figures) line[name] = value;
    }
    line["seconds"] = seconds();
    line["memory"] = comm::most_memory();
    if (report.held_out) {
      line["held_out"]["loss"] = report.held_out->loss;
      for (const auto& [name, value] : report.held_out->figures) line["held_out"][name] = value;
    }
    if (!report.verdict.reason.empty()) line["note"] = report.verdict.reason;
    if (auto added = curve_->add(line); !added) return added.error();
    if (hooks_.step) hooks_.step(line);
    log_step(report, line);
    return true;
  }

  void log_step(const train::StepReport& report, const ordered_json& line) {
    const bool is_news = report.held_out || !report.verdict.reason.empty();
    if (!is_news && (report.step + 1) % kLoggedEvery != 0 && report.step != 0) return;
    std::string text = "step " + std::to_string(report.step + 1) + " of " + std::to_string(steps_) + ":";
    if (report.step >= 0)
      text += " loss " + number(report.loss) + ", norm " + number(report.norm) + ", rate " + number(report.rate) +
              ", " + number(line["tokens_per_second"].get<double>()) + " tokens/s";
    for (const auto& [name, value] : report.figures) text += ", " + name + " " + number(value);
    if (report.held_out) text += (report.step >= 0 ? "; held out: " : " held out: ") + number(report.held_out->loss);
    if (!report.verdict.reason.empty()) text += "; " + report.verdict.reason;
    say(text);
  }

  /// The result, as it is delivered: judged, and written.
  Result<TuneEnd, Trouble> conclude(TuneEnd end) {
    const auto metric = [&](const std::string& name, double value) {
      end.metrics[name] = {{"value", value}, {"stderr", nullptr}};
    };
    const std::vector<double>& losses = state_.stability.losses;
    if (!losses.empty()) {
      double sum = 0;
      for (const double loss : losses) sum += loss;
      metric("loss", sum / static_cast<double>(losses.size()));
    }
    if (has_average()) parameters_->pack(learner_->stream(), true);
    if (judge_) {
      const auto judged = run_->evaluate();
      if (!judged) return lost(judged.error());
      metric("held_out_loss", judged->loss);
      for (const auto& [name, value] : judged->figures) metric(name, value);
      say("the result" + std::string(has_average() ? ", the average of the weights," : "") +
          " has a held-out loss of " + number(judged->loss));
    }
    Result<bool> written = true;
    if (data_host_->rank() == 0) {
      const auto whole = gathering_->whole(state_);
      if (!whole)
        written = whole.error();
      else if (is_first())
        written = settings_.full ? write_model(*whole)
                                 : outcome(model::write_peft(rules_.out / kAdapter, adapter_of(*whole)));
    }
    if (auto agreed = agree(written); !agreed) return Trouble{"unknown", agreed.error().what};
    const double took = seconds();
    end.figures = {{"steps", steps_},
                   {"samples", items_},
                   {"tokens", tokens_},
                   {"seconds", took},
                   {"tokens_per_second", static_cast<double>(tokens_) / std::max(took, 1e-9)},
                   {"memory", comm::most_memory()},
                   {"rows", material_.rows}};
    say("done: " + counted(steps_, "step") + " in " + format_duration(took));
    return end;
  }

  /// A run that had come to its end before may have written it.
  Result<bool> write_model(const std::map<std::string, train::Trained>& whole) {
    std::error_code error;
    fs::remove_all(rules_.out / kModel, error);
    if (error) return Error{"cannot remove " + (rules_.out / kModel).string() + ": " + error.message()};
    return outcome(model::write_trained(rules_.model, train::tensors_of(whole, has_average()), rules_.out / kModel));
  }

  const TuneRules& rules_;
  Settings settings_;
  comm::Transport& ranks_;
  const TuneHooks& hooks_;
  std::ofstream log_;

  std::unique_ptr<texts::ModelParts> parts_;
  Material material_;
  std::unique_ptr<reward::Reward> reward_;
  std::uint64_t checksum_ = 0;  ///< of the data
  std::int64_t steps_ = 0, items_ = 0;
  std::optional<train::LoadedCheckpoint> checkpoint_;
  std::optional<ReadRun> kept_;
  std::unique_ptr<train::MemoryPlan> memory_;  ///< while it is planned
  train::LearnerBounds pass_;
  infer::EngineRules engine_rules_;

  // Each stands on those above it.
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<comm::Transport> tensor_host_, data_host_;
  std::unique_ptr<comm::Communicator> tensor_, data_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<train::Parameters> parameters_;
  std::unique_ptr<train::Learner> learner_;
  std::optional<train::Gathering> gathering_;
  std::optional<infer::Engine> engine_;
  std::unique_ptr<train::Aim> aim_, judge_;
  std::optional<train::Run> run_;

  std::optional<Curve> curve_;
  std::unique_ptr<train::CheckpointWriter> writer_;
  train::RunState state_;   ///< the last that was kept
  bool is_unkept_ = false;  ///< a state could not be kept: no rank is lost
  double seconds_ = 0;      ///< of earlier attempts
  std::int64_t tokens_ = 0;
  Clock::time_point begun_;
};

}  // namespace

Result<TuneEnd, Trouble> tune(const TuneRules& rules, comm::Transport& ranks, const TuneHooks& hooks) {
  return Tuning(rules, ranks, hooks).run();
}

}  // namespace orch::tuning
