#include "policy/json.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "policy/remedy.h"

namespace orch::policy {
namespace {

using Json = nlohmann::ordered_json;

/// The shortest decimal that reads back as the same number, without an exponent, which durations do not take.
std::string seconds(double value) {
  char buffer[512];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  return (error == std::errc() ? std::string(buffer, end) : std::string("0")) + "s";
}

template <class Map>
Json rated(const Map& map, double other) {
  Json json = Json::object();
  for (const auto& [name, value] : map) json[name] = value;
  json["other"] = other;
  return json;
}

Json limits_json(const Limits& limits) {
  Json json = Json::object();
  if (limits.max_jobs) json["jobs"] = *limits.max_jobs;
  if (limits.max_gpus) json["gpus"] = *limits.max_gpus;
  if (limits.gpu_hours) json["gpu_hours"] = *limits.gpu_hours;
  if (limits.per != Period::kEver) json["per"] = std::string(name_of(limits.per));
  if (limits.max_queued) json["queued"] = *limits.max_queued;
  return json;
}

Json ladder_json(const std::vector<Rung>& ladder) {
  Json json = Json::array();
  for (const Rung& rung : ladder) {
    const std::string name(name_of(rung.remedy));
    if (rung.remedy == Remedy::kGiveUp) {
      json.push_back(name);
      continue;
    }
    Json entry = {{name, rung.times}};
    if (factor_range(rung.remedy)) entry["factor"] = rung.factor;
    json.push_back(std::move(entry));
  }
  return json;
}

Json training_json(const Training& training) {
  Json json = {{"sizes", Json::object()}, {"tasks", Json::object()}};
  for (const SizeClass size : kSizeClasses) {
    const AdapterRow& row = training.row(size);
    json["sizes"][std::string(name_of(size))] = {{"rank", row.rank},
                                                 {"alpha", row.alpha},
                                                 {"dropout", row.dropout},
                                                 {"learning_rate", row.learning_rate},
                                                 {"batch_size", row.batch_size},
                                                 {"accumulation", row.accumulation}};
  }
  for (const auto& [type, factors] : training.tasks)
    json["tasks"][type] = {{"rank", factors.rank}, {"learning_rate", factors.learning_rate}};
  json["full_rate"] = training.full_rate;
  json["sequence"] = training.sequence;
  json["ema_decay"] = training.ema_decay;
  return json;
}

/// As it would be written in YAML, on one line.
std::string flow(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  std::string text;
  if (json.is_array()) {
    for (const Json& item : json) text += (text.empty() ? "" : ", ") + flow(item);
    return "[" + text + "]";
  }
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) text += (text.empty() ? "" : ", ") + key + ": " + flow(value);
    return "{" + text + "}";
  }
  return json.dump();
}

using Leaves = std::vector<std::pair<std::string, std::string>>;

void flatten(const Json& json, const std::string& path, Leaves& leaves) {
  if (!json.is_object()) {
    leaves.emplace_back(path, flow(json));
    return;
  }
  for (const auto& [key, value] : json.items()) flatten(value, path.empty() ? key : path + "." + key, leaves);
}

Leaves leaves_of(const Policy& policy) {
  Json json = to_json(policy);
  json.erase("name");
  json.erase("description");
  Leaves leaves;
  flatten(json, "", leaves);
  return leaves;
}

}  // namespace

nlohmann::ordered_json to_json(const Policy& policy) {
  Json json = {{"name", policy.name}};
  if (!policy.description.empty()) json["description"] = policy.description;

  Json& weights = json["weights"] = Json::object();
  for (std::size_t term = 0; term < kTerms; ++term) weights[std::string(kTermNames[term])] = policy.weights[term];
  json["task_types"] = rated(policy.task_types, policy.other_task_type);
  json["families"] = rated(policy.families, policy.other_family);

  Json& success = json["success"] = Json::object();
  if (!policy.success_priors.empty()) {
    success["prior"] = Json::object();
    for (const auto& [name, value] : policy.success_priors) success["prior"][name] = value;
  }
  success["strength"] = policy.prior_strength;
  json["time"] = {{"horizon", seconds(policy.time_horizon)}};

  Json& acceptance = json["acceptance"] = Json::object();
  if (!policy.acceptance.task_types.empty()) acceptance["task_types"] = policy.acceptance.task_types;
  if (!policy.acceptance.families.empty()) acceptance["families"] = policy.acceptance.families;
  if (policy.acceptance.max_duration) acceptance["max_duration"] = seconds(*policy.acceptance.max_duration);
  if (policy.acceptance.min_score) acceptance["min_score"] = *policy.acceptance.min_score;

  json["limits"] = {{"time_zone", policy.zone.name()},
                    {"per_user", limits_json(policy.per_user)},
                    {"per_sweep", limits_json(policy.per_sweep)}};
  Json& retention = json["retention"] = Json::object();
  if (policy.retention.logs) retention["logs"] = seconds(*policy.retention.logs);
  if (policy.retention.checkpoints) retention["checkpoints"] = seconds(*policy.retention.checkpoints);
  if (policy.retention.spools) retention["spools"] = seconds(*policy.retention.spools);
  if (policy.retention.samples) retention["samples"] = seconds(*policy.retention.samples);
  json["ageing"] = {{"per_day", policy.ageing_per_day}, {"most", policy.ageing_most}};

  Json& remedies = json["remedies"] = Json::object();
  for (const auto& [cause, ladder] : policy.remedies) remedies[std::string(name_of(cause))] = ladder_json(ladder);

  if (const auto& rules = policy.tournament)
    json["tournament"] = {{"text_weight", rules->text_weight},         {"image_weight", rules->image_weight},
                          {"bonus_per_entry", rules->bonus_per_entry}, {"bonus_most", rules->bonus_most},
                          {"boss_margin", rules->boss_margin},         {"best_of", rules->best_of}};

  const Planning& planning = policy.planning;
  json["planning"] = {{"prefer", planning.prefer == Planning::Prefer::kSmallest ? "smallest" : "fastest"},
                      {"memory_low", planning.memory_low},
                      {"memory_high", planning.memory_high},
                      {"memory_most", planning.memory_most},
                      {"speedup_worth", planning.speedup_worth},
                      {"time_quantile", planning.time_quantile},
                      {"time_margin", planning.time_margin},
                      {"time_least", seconds(planning.time_least)},
                      {"backfill", seconds(planning.backfill)},
                      {"piece_least", seconds(planning.piece_least)},
                      {"load_worth", planning.load_worth},
                      {"idle_load_worth", planning.idle_load_worth},
                      {"idle_worth", planning.idle_worth},
                      {"small_gpus", planning.small_gpus},
                      {"batch_least", planning.batch_least},
                      {"rate_least", planning.rate_least},
                      {"efficiency_worth", planning.efficiency_worth},
                      {"own_use_worth", planning.own_use_worth},
                      {"command_time", seconds(planning.command_time)}};
  json["training"] = training_json(policy.training);
  json["drain_signal"] = seconds(policy.drain_signal);
  json["idle_timeout"] = seconds(policy.idle_timeout);
  return json;
}

std::vector<Change> changes(const Policy& a, const Policy& b) {
  const Leaves before = leaves_of(a), after = leaves_of(b);
  const auto value_in = [](const Leaves& leaves, const std::string& key) -> const std::string* {
    const auto at = std::ranges::find(leaves, key, &Leaves::value_type::first);
    return at == leaves.end() ? nullptr : &at->second;
  };
  std::vector<Change> found;
  for (const auto& [key, from] : before) {
    const std::string* to = value_in(after, key);
    if (!to || *to != from) found.push_back({key, from, to ? *to : "-"});
  }
  for (const auto& [key, to] : after)
    if (!value_in(before, key)) found.push_back({key, "-", to});
  return found;
}

}  // namespace orch::policy
