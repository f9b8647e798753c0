#include "tuning/settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "base/text.h"

namespace orch::tuning {
namespace {

using nlohmann::json;

struct Setting {
  const char* name;
  const char* takes;
  std::function<bool(Settings&, const json&)> set;  ///< false: it takes no such value
  std::function<json(const Settings&)> value;       ///< of what changes the numbers; none: it does not
};

template <class T>
bool whole(const json& value, std::int64_t least, std::int64_t most, T& to) {
  // A number that was written 8.0 is one that a matrix has read as 8.
  if (!value.is_number_integer() &&
      !(value.is_number_float() && value.get<double>() == std::floor(value.get<double>())))
    return false;
  const auto number = value.get<double>();
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most))) return false;
  to = static_cast<T>(value.get<std::int64_t>());
  return true;
}

template <class T>
bool number(const json& value, double least, double most, T& to) {
  if (!value.is_number()) return false;
  const auto it = value.get<double>();
  if (!(it >= least && it <= most)) return false;
  to = it;
  return true;
}

template <class T>
bool truth(const json& value, T& to) {
  if (!value.is_boolean()) return false;
  to = value.get<bool>();
  return true;
}

template <class T, std::size_t kCount>
using Choices = std::array<std::pair<const char*, T>, kCount>;

constexpr Choices<train::PreferenceLoss, 4> kLosses = {{{"sigmoid", train::PreferenceLoss::sigmoid},
                                                        {"robust", train::PreferenceLoss::robust},
                                                        {"hinge", train::PreferenceLoss::hinge},
                                                        {"ipo", train::PreferenceLoss::ipo}}};
constexpr Choices<train::Aggregation, 4> kAggregations = {{{"grpo", train::Aggregation::grpo},
                                                           {"bnpo", train::Aggregation::bnpo},
                                                           {"dr_grpo", train::Aggregation::dr_grpo},
                                                           {"dapo", train::Aggregation::dapo}}};
constexpr Choices<train::Scaling, 3> kScalings = {
    {{"group", train::Scaling::kGroup}, {"batch", train::Scaling::kBatch}, {"none", train::Scaling::kNone}}};
constexpr Choices<train::Course, 4> kCourses = {{{"cosine", train::Course::kCosine},
                                                 {"linear", train::Course::kLinear},
                                                 {"constant", train::Course::kConstant},
                                                 {"plateau", train::Course::kPlateau}}};

template <class T, std::size_t kCount>
bool choice(const Choices<T, kCount>& choices, const json& value, T& to) {
  if (!value.is_string()) return false;
  for (const auto& [name, each] : choices)
    if (value.get_ref<const std::string&>() == name) {
      to = each;
      return true;
    }
  return false;
}

template <class T, std::size_t kCount>
json name_of(const Choices<T, kCount>& choices, T of) {
  for (const auto& [name, each] : choices)
    if (each == of) return name;
  return nullptr;
}

bool targets(const json& value, std::vector<std::string>& to) {
  if (!value.is_string()) return false;
  to.clear();
  const std::string& text = value.get_ref<const std::string&>();
  if (trim(text).empty() || trim(text) == "all") return true;
  for (const std::string_view each : split(text, ',')) to.emplace_back(trim(each));
  return std::none_of(to.begin(), to.end(), [](const std::string& each) { return each.empty(); });
}

json optional(const auto& value) { return value ? json(*value) : json(); }
/// Null where it is as it was before there was such a setting.
json unless(auto usual, const auto& value) { return value == usual ? json() : json(value); }

constexpr std::int64_t kMany = 1'000'000'000;
constexpr double kMostExact = 9007199254740991;  // 2^53 - 1

// One line a setting, in the order of docs/matrix.md.
const std::vector<Setting>& all_settings() {
  using S = Settings;
  static const std::vector<Setting> kAll = {
      {"seed", "a whole number from 0 to 9007199254740991",
       [](S& it, const json& v) { return whole(v, 0, static_cast<std::int64_t>(kMostExact), it.seed); },
       [](const S& it) { return json(it.seed); }},
      {"full", "true or false", [](S& it, const json& v) { return truth(v, it.full); },
       [](const S& it) { return json(it.full); }},
      {"rank", "a whole number from 1 to 65536", [](S& it, const json& v) { return whole(v, 1, 65536, it.rank); },
       [](const S& it) { return it.full ? json() : json(it.rank); }},
      {"alpha", "a number from 0 to 65536",
       [](S& it, const json& v) { return number(v, 0, 65536, it.alpha.emplace()); },
       [](const S& it) { return it.full ? json() : json(alpha_of(it)); }},
      {"dropout", "a number from 0 to 0.99", [](S& it, const json& v) { return number(v, 0, 0.99, it.dropout); },
       [](const S& it) { return it.full ? json() : json(it.dropout); }},
      {"rank_stabilised", "true or false", [](S& it, const json& v) { return truth(v, it.rank_stabilised); },
       [](const S& it) { return json(it.rank_stabilised); }},
      {"targets", "all, or names with commas between them, such as q_proj,v_proj:16",
       [](S& it, const json& v) { return targets(v, it.targets); }, [](const S& it) { return json(it.targets); }},
      {"learning_rate", "a number from 1e-12 to 10",
       [](S& it, const json& v) { return number(v, 1e-12, 10, it.learning_rate); },
       [](const S& it) { return json(it.learning_rate); }},
      {"batch_size", "a whole number from 1 to 1000000",
       [](S& it, const json& v) { return whole(v, 1, 1'000'000, it.batch_size); },
       [](const S& it) { return json(it.batch_size); }},
      {"accumulation", "a whole number from 1 to 65536",
       [](S& it, const json& v) { return whole(v, 1, 65536, it.accumulation); },
       [](const S& it) { return json(it.accumulation); }},
      {"micro_batch", "a whole number from 1 to 65536",
       [](S& it, const json& v) { return whole(v, 1, 65536, it.micro_batch); }, nullptr},
      {"epochs", "a whole number from 1 to 1000",
       [](S& it, const json& v) { return whole(v, 1, 1000, it.epochs.emplace()); },
       [](const S& it) { return optional(it.epochs); }},
      {"steps", "a whole number from 1 to 10^9",
       [](S& it, const json& v) { return whole(v, 1, kMany, it.steps.emplace()); },
       [](const S& it) { return optional(it.steps); }},
      {"sequence", "a whole number from 8 to 10^7",
       [](S& it, const json& v) { return whole(v, 8, 10'000'000, it.sequence); },
       [](const S& it) { return json(it.sequence); }},
      {"beta", "a number from 0 to 100", [](S& it, const json& v) { return number(v, 0, 100, it.beta.emplace()); },
       [](const S& it) { return optional(it.beta); }},
      {"loss", "sigmoid, robust, hinge or ipo", [](S& it, const json& v) { return choice(kLosses, v, it.loss); },
       [](const S& it) { return name_of(kLosses, it.loss); }},
      {"label_smoothing", "a number from 0 to 0.49",
       [](S& it, const json& v) { return number(v, 0, 0.49, it.label_smoothing); },
       [](const S& it) { return json(it.label_smoothing); }},
      {"group_size", "a whole number from 2 to 1024",
       [](S& it, const json& v) { return whole(v, 2, 1024, it.group_size); },
       [](const S& it) { return json(it.group_size); }},
      {"temperature", "a number from 0 to 5", [](S& it, const json& v) { return number(v, 0, 5, it.temperature); },
       [](const S& it) { return unless(1.0, it.temperature); }},
      {"top_p", "a number from 1e-6 to 1", [](S& it, const json& v) { return number(v, 1e-6, 1, it.top_p); },
       [](const S& it) { return unless(1.0, it.top_p); }},
      {"top_k", "a whole number from 0 to 10^6", [](S& it, const json& v) { return whole(v, 0, 1'000'000, it.top_k); },
       [](const S& it) { return unless(0, it.top_k); }},
      {"max_tokens", "a whole number from 1 to 10^6",
       [](S& it, const json& v) { return whole(v, 1, 1'000'000, it.max_tokens); },
       [](const S& it) { return json(it.max_tokens); }},
      {"aggregation", "grpo, bnpo, dr_grpo or dapo",
       [](S& it, const json& v) { return choice(kAggregations, v, it.aggregation); },
       [](const S& it) { return name_of(kAggregations, it.aggregation); }},
      {"epsilon", "a number from 0 to 1", [](S& it, const json& v) { return number(v, 0, 1, it.epsilon); },
       [](const S& it) { return json(it.epsilon); }},
      {"epsilon_high", "a number from 0 to 100",
       [](S& it, const json& v) { return number(v, 0, 100, it.epsilon_high.emplace()); },
       [](const S& it) { return unless(it.epsilon, it.epsilon_high.value_or(it.epsilon)); }},
      {"delta", "a number from 0 to 1000", [](S& it, const json& v) { return number(v, 0, 1000, it.delta); },
       [](const S& it) { return unless(0.0, it.delta); }},
      {"scale_rewards", "group, batch or none",
       [](S& it, const json& v) { return choice(kScalings, v, it.scale_rewards.emplace()); },
       [](const S& it) {
         S usual = it;
         usual.scale_rewards.reset();
         return scaling_of(it) == scaling_of(usual) ? json() : name_of(kScalings, scaling_of(it));
       }},
      {"iterations", "a whole number from 1 to 1024",
       [](S& it, const json& v) { return whole(v, 1, 1024, it.iterations); },
       [](const S& it) { return unless(1, it.iterations); }},
      {"steps_per_generation", "a whole number from 1 to 65536",
       [](S& it, const json& v) { return whole(v, 1, 65536, it.steps_per_generation); },
       [](const S& it) { return unless(1, it.steps_per_generation); }},
      {"schedule", "cosine, linear, constant or plateau",
       [](S& it, const json& v) { return choice(kCourses, v, it.schedule); },
       [](const S& it) { return name_of(kCourses, it.schedule); }},
      {"warmup", "a number from 0 to 1", [](S& it, const json& v) { return number(v, 0, 1, it.warmup); },
       [](const S& it) { return json(it.warmup); }},
      {"stages", "1, 2 or 3", [](S& it, const json& v) { return whole(v, 1, 3, it.stages); },
       [](const S& it) { return json(it.stages); }},
      {"weight_decay", "a number from 0 to 1", [](S& it, const json& v) { return number(v, 0, 1, it.weight_decay); },
       [](const S& it) { return json(it.weight_decay); }},
      {"clip", "a number from 0 to 1000", [](S& it, const json& v) { return number(v, 0, 1000, it.clip); },
       [](const S& it) { return json(it.clip); }},
      {"ema_decay", "a number from 0 to 0.9999999",
       [](S& it, const json& v) { return number(v, 0, 0.9999999, it.ema_decay); },
       [](const S& it) { return json(it.ema_decay); }},
      {"held_out", "a whole number from 0 to 10^6",
       [](S& it, const json& v) { return whole(v, 0, 1'000'000, it.held_out.emplace()); },
       [](const S& it) { return optional(it.held_out); }},
      {"evaluate_every", "a whole number from 1 to 10^9",
       [](S& it, const json& v) { return whole(v, 1, kMany, it.evaluate_every); },
       [](const S& it) { return json(it.evaluate_every); }},
      {"group_by_length", "true or false", [](S& it, const json& v) { return truth(v, it.group_by_length); },
       [](const S& it) { return json(it.group_by_length); }},
      {"checkpointing", "true or false", [](S& it, const json& v) { return truth(v, it.checkpointing.emplace()); },
       nullptr},
      {"checkpoint_every", "a whole number from 1 to 10^9",
       [](S& it, const json& v) { return whole(v, 1, kMany, it.checkpoint_every); }, nullptr},
      {"keep_checkpoints", "a whole number from 1 to 1000",
       [](S& it, const json& v) { return whole(v, 1, 1000, it.keep_checkpoints); }, nullptr},
  };
  return kAll;
}

/// What a matrix says of a train cell too, for others to use.
constexpr std::array<std::string_view, 7> kOthers = {"dtype",  "compute_dtype", "engine",   "data",
                                                     "tensor", "reward",        "container"};

const Setting* find(std::string_view name) {
  const auto& all = all_settings();
  const auto at = std::find_if(all.begin(), all.end(), [&](const Setting& each) { return each.name == name; });
  return at == all.end() ? nullptr : &*at;
}

}  // namespace

std::int64_t batch_of(const Settings& settings) { return settings.batch_size * settings.accumulation; }

train::Turns turns_of(const Settings& settings, bool of_prompts) {
  if (!of_prompts) return {};
  return {settings.steps_per_generation, settings.iterations};
}

train::Scaling scaling_of(const Settings& settings) {
  const bool is_usual = settings.aggregation != train::Aggregation::dr_grpo;
  return settings.scale_rewards.value_or(is_usual ? train::Scaling::kGroup : train::Scaling::kNone);
}

Result<train::GrpoSettings> grpo_of(const Settings& settings) {
  train::GrpoSettings grpo;
  grpo.aggregation = settings.aggregation;
  grpo.beta = settings.beta.value_or(0);
  grpo.epsilon_low = settings.epsilon;
  grpo.epsilon_high = settings.epsilon_high.value_or(settings.epsilon);
  grpo.delta = settings.delta;
  grpo.max_completion_tokens = settings.max_tokens;
  return train::checked(grpo);
}

Result<infer::Sampling> sampling_of(const Settings& settings) {
  if (!(settings.temperature > 0))
    return Error{
        "temperature must be above 0 where completions are compared: at 0 the likeliest token is always taken, and all "
        "completions of a prompt are the same"};
  return infer::Sampling{static_cast<float>(settings.temperature), static_cast<float>(settings.top_p),
                         static_cast<std::int32_t>(settings.top_k), 0};
}

double alpha_of(const Settings& settings) { return settings.alpha.value_or(2 * static_cast<double>(settings.rank)); }

std::int64_t held_out_of(const Settings& settings, std::int64_t rows, bool of_prompts) {
  const std::int64_t usual = std::min(rows / 20, of_prompts ? kMostPromptsHeldOut : kMostHeldOut);
  const std::int64_t wanted = settings.held_out.value_or(usual);
  return std::clamp<std::int64_t>(wanted, 0, std::max<std::int64_t>(rows - 1, 0));
}

std::int64_t steps_of(const Settings& settings, std::int64_t samples, bool of_prompts) {
  if (settings.steps) return *settings.steps;
  const train::Turns turns = turns_of(settings, of_prompts);
  const std::int64_t batch = batch_of(settings) * turns.parts;
  return settings.epochs.value_or(1) * ((samples + batch - 1) / batch) * turns.steps();
}

Result<Settings> read_settings(const json& from) {
  if (!from.is_object()) return Error{"settings must be an object"};
  Settings settings;
  for (const auto& [name, value] : from.items()) {
    if (std::find(kOthers.begin(), kOthers.end(), name) != kOthers.end()) continue;
    const Setting* setting = find(name);
    if (!setting) return Error{"no setting of a training is called " + quote(name) + hint(name, setting_names())};
    if (!setting->set(settings, value))
      return Error{std::string(setting->name) + " must be " + setting->takes + ", not " +
                   quote(value.dump(-1, ' ', false, json::error_handler_t::replace))};
  }
  if (settings.loss == train::PreferenceLoss::robust && settings.label_smoothing == 0)
    return Error{"loss robust needs label_smoothing: how probable it is that a label is wrong"};
  return settings;
}

Result<bool> add_setting(const std::string& word, json& to) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0)
    return Error{quote(word) + " is no NAME=VALUE, such as rank=16 or learning_rate=2e-4"};
  const std::string name = word.substr(0, equals), text = word.substr(equals + 1);
  if (!find(name)) return Error{"no setting of a training is called " + quote(name) + hint(name, setting_names())};
  if (to.contains(name)) return Error{name + " is set twice"};
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded() || value.is_structured()) value = text;
  to[name] = std::move(value);
  return true;
}

std::vector<std::string> setting_names() {
  std::vector<std::string> names;
  for (const Setting& each : all_settings()) names.emplace_back(each.name);
  return names;
}

json identity_of(const Settings& settings) {
  json it = json::object();
  for (const Setting& each : all_settings())
    if (each.value) it[each.name] = each.value(settings);
  return it;
}

std::string difference(const json& a, const json& b) {
  const auto text = [](const json& value) { return value.is_null() ? "not set" : shown(value.dump()); };
  for (const auto& [name, value] : b.items())
    if (a.contains(name) ? a[name] != value : !value.is_null())
      return name + " was " + (a.contains(name) ? text(a[name]) : "not known") + ", and is " + text(value);
  return "";
}

}  // namespace orch::tuning
