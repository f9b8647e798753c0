#include "policy/policy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"
#include "policy/ceilings.h"
#include "policy/remedy.h"
#include "policy/score.h"

namespace orch::policy {
namespace {

constexpr double kSumSlack = 1e-9;
constexpr double kScoreSlack = 1e-12;
constexpr std::size_t kMostEntries = 1000;
constexpr double kLongest = 365 * 86400.0;
/// Slurm takes a signal at most this many seconds before the limit (sbatch --signal).
constexpr double kMostSignal = 65535;
constexpr double kMostIdle = 24 * 3600;
/// Of files: a zero typed by mistake must not sweep away what was just made.
constexpr double kLeastKept = 3600, kMostKept = 100 * 365.25 * 86400;

/// Enough digits to show a sum that is off by 1e-9, and none that come from rounding.
std::string shown_number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.10g", value);
  return buffer;
}

/// What another kind of file has and a policy has not.
struct OtherKind {
  std::string_view key;
  std::string_view kind;
};
constexpr OtherKind kOtherKinds[] = {{"clusters", "a cluster file"},
                                     {"cluster", "a cluster file"},
                                     {"categories", "a catalog file"},
                                     {"profiles", "a catalog file"},
                                     {"gpus", "a catalog file"},
                                     {"stages", "a matrix"},
                                     {"settings", "a matrix"},
                                     {"exclude", "a matrix"},
                                     {"models", "a matrix or a catalog file"},
                                     {"tasks", "a matrix or a catalog file"}};

class Reader {
 public:
  Reader(const Yaml& root, const std::string& file, Diagnostics& diagnostics)
      : root_(root), file_(file), diagnostics_(diagnostics) {}

  std::optional<Policy> read() {
    const std::size_t before = diagnostics_.error_count();
    if (root_.is_map() && is_something_else()) return std::nullopt;
    if (too_large(root_)) return std::nullopt;
    Fields fields(root_, file_, "a policy", diagnostics_);
    policy_.source = fields.place();
    if (fields.require("name")) policy_.name = fields.name("name").value_or("");
    policy_.description = fields.text("description").value_or("");
    if (const Yaml* node = fields.require("weights")) read_weights(*node);
    if (const Yaml* node = fields.require("task_types"))
      read_rated(*node, "task_types", policy_.task_types, &policy_.other_task_type);
    if (const Yaml* node = fields.require("families"))
      read_rated(*node, "families", policy_.families, &policy_.other_family);
    if (const Yaml* node = fields.require("success")) read_success(*node);
    if (const Yaml* node = fields.require("time")) {
      Fields time(*node, file_, "'time'", diagnostics_);
      policy_.time_horizon = required_duration(time, "horizon");
      time.finish();
    }
    if (const Yaml* node = fields.require("acceptance")) read_acceptance(*node);
    if (const Yaml* node = fields.get("limits")) {
      Fields limits(*node, file_, "'limits'", diagnostics_);
      if (const Yaml* user = limits.get("per_user"))
        policy_.per_user = read_limits(*user, file_, "'per_user'", true, diagnostics_);
      if (const Yaml* sweep = limits.get("per_sweep"))
        policy_.per_sweep = read_limits(*sweep, file_, "'per_sweep'", false, diagnostics_);
      policy_.zone = read_zone(limits);
      limits.finish();
    }
    if (const Yaml* node = fields.get("retention")) read_retention(*node);
    if (const Yaml* node = fields.require("ageing")) {
      Fields ageing(*node, file_, "'ageing'", diagnostics_);
      policy_.ageing_per_day = required(ageing, "per_day", 0, 1);
      policy_.ageing_most = required(ageing, "most", 0, 1);
      ageing.finish();
      if (ageing.is_map() && (policy_.ageing_per_day == 0 || policy_.ageing_most == 0) &&
          diagnostics_.error_count() == before)
        diagnostics_.warn(ageing.place(), "without ageing a cell of low score can wait for ever behind new ones");
    }
    if (const Yaml* node = fields.require("remedies")) read_remedies(*node);
    if (const Yaml* node = fields.get("tournament")) read_tournament(*node);
    if (const Yaml* node = fields.require("planning")) read_planning(*node);
    if (const Yaml* node = fields.get("training")) read_training(*node);
    read_drain_signal(fields);
    read_idle_timeout(fields);
    fields.finish();
    if (diagnostics_.error_count() != before) return std::nullopt;
    warn_of_unreachable_score();
    return std::move(policy_);
  }

 private:
  /// A file of another kind gets one message, not one for each key.
  bool is_something_else() {
    for (std::string_view key : {"weights", "task_types", "families", "acceptance", "remedies", "planning"})
      if (root_.find(key)) return false;
    std::string tail = "; a policy has 'weights', 'task_types', 'families' and more (docs/policy.md)";
    for (const OtherKind& other : kOtherKinds) {
      if (!root_.find(other.key)) continue;
      tail = "; it has " + quote(other.key) + ", so it may be " + std::string(other.kind);
      break;
    }
    diagnostics_.error(place_of(root_, file_), "is not a policy: it has no 'weights'" + tail);
    return true;
  }

  /// Guards every loop below against a file that was made to be slow to check.
  bool too_large(const Yaml& node) {
    const std::size_t size = node.is_map() ? node.entries.size() : node.items.size();
    if (size > kMostEntries) {
      diagnostics_.error(place_of(node, file_), describe(node) + " of " + grouped(static_cast<long long>(size)) +
                                                    " entries; a policy's may have at most " +
                                                    grouped(static_cast<long long>(kMostEntries)));
      return true;
    }
    const auto large = [this](const Yaml& child) { return too_large(child); };
    return std::ranges::any_of(node.items, large) ||
           std::ranges::any_of(node.entries, [&](const Yaml::Entry& entry) { return large(entry.value); });
  }

  void error(const Yaml& node, std::string what) { diagnostics_.error(place_of(node, file_), std::move(what)); }
  void error(const Yaml::Entry& entry, std::string what) {
    diagnostics_.error({file_, entry.line, entry.column}, std::move(what));
  }

  static double required(Fields& fields, std::string_view key, double least, double most) {
    if (!fields.require(key)) return least;
    return fields.number(key, least, most).value_or(least);
  }

  static double required_duration(Fields& fields, std::string_view key) {
    if (!fields.require(key)) return 1;
    const auto value = fields.duration(key);
    if (value && (*value <= 0 || *value > kLongest))
      fields.error(key, quote(key) + " must be longer than 0 s and at most 365 d");
    return value.value_or(1);
  }

  void read_weights(const Yaml& node) {
    Fields fields(node, file_, "'weights'", diagnostics_);
    const std::size_t before = diagnostics_.error_count();
    double sum = 0;
    for (std::size_t term = 0; term < kTerms; ++term) {
      policy_.weights[term] = required(fields, kTermNames[term], 0, 1);
      sum += policy_.weights[term];
    }
    fields.finish();
    if (fields.is_map() && diagnostics_.error_count() == before && std::abs(sum - 1) > kSumSlack)
      error(node, "the weights sum to " + shown_number(sum) + "; they must sum to 1");
  }

  /// `{llama: 0.95, other: 0.5}`. `other`, when asked for, is what a name that is not there gets.
  void read_rated(const Yaml& node, std::string_view what, std::map<std::string, double, std::less<>>& rated,
                  double* other) {
    if (!node.is_map()) {
      error(node, quote(what) + " must be a map of names to numbers from 0 to 1, found " + describe(node));
      return;
    }
    bool has_other = false;
    for (const Yaml::Entry& entry : node.entries) {
      const bool pair_allowed = other == nullptr;
      if (!is_name(entry.key) || (!pair_allowed && entry.key.find('/') != std::string::npos)) {
        error(entry, quote(entry.key) + " must be a name of letters, digits and _ . - : +");
        continue;
      }
      const auto value = entry.value.number();
      if (!value || *value < 0 || *value > 1) {
        error(entry.value, quote(entry.key) + " must be a number from 0 to 1, found " + describe(entry.value));
        // Still a known name: what refers to it gets no message of its own.
        rated.insert_or_assign(entry.key, 0);
        has_other |= entry.key == "other";
        continue;
      }
      if (other && entry.key == "other") {
        *other = *value;
        has_other = true;
      } else {
        rated.insert_or_assign(entry.key, *value);
      }
    }
    if (other && !has_other) error(node, quote(what) + " needs the key 'other': what a name that is not listed gets");
  }

  static std::vector<std::string> names_of(const std::map<std::string, double, std::less<>>& rated) {
    std::vector<std::string> names;
    for (const auto& [name, value] : rated) names.push_back(name);
    return names;
  }

  void read_success(const Yaml& node) {
    Fields fields(node, file_, "'success'", diagnostics_);
    policy_.prior_strength = required(fields, "strength", 0, 1e6);
    const Yaml* priors = fields.get("prior");
    fields.finish();
    if (!priors) return;
    read_rated(*priors, "prior", policy_.success_priors, nullptr);
    if (!priors->is_map()) return;
    for (const Yaml::Entry& entry : priors->entries) {
      const std::size_t slash = entry.key.find('/');
      check_known(entry.key.substr(0, slash), policy_.families, "family", {file_, entry.line, entry.column});
      if (slash != std::string::npos)
        check_known(entry.key.substr(slash + 1), policy_.task_types, "task type", {file_, entry.line, entry.column});
    }
  }

  void check_known(const std::string& name, const std::map<std::string, double, std::less<>>& rated,
                   std::string_view what, const Place& place) {
    if (rated.contains(name) || rated.empty()) return;
    const std::string list = what == "family" ? "'families'" : "'task_types'";
    diagnostics_.error(place, "the " + std::string(what) + " " + quote(name) + " is not rated in " + list +
                                  hint(name, names_of(rated)));
  }

  std::vector<std::string> read_accepted(Fields& fields, std::string_view key, std::string_view what,
                                         const std::map<std::string, double, std::less<>>& rated) {
    const auto names = fields.texts(key);
    const Yaml* node = fields.get(key);
    if (!names || !node) return {};
    if (node->is_list() && node->items.empty())
      error(*node, quote(key) + " is empty and would accept nothing; leave it out to accept all");
    if (node->is_scalar()) check_known(node->text, rated, what, place_of(*node, file_));
    for (const Yaml& item : node->items)
      if (item.is_scalar()) check_known(item.text, rated, what, place_of(item, file_));
    return *names;
  }

  void read_acceptance(const Yaml& node) {
    Fields fields(node, file_, "'acceptance'", diagnostics_);
    Acceptance& accepted = policy_.acceptance;
    accepted.task_types = read_accepted(fields, "task_types", "task type", policy_.task_types);
    accepted.families = read_accepted(fields, "families", "family", policy_.families);
    if (fields.has("max_duration")) accepted.max_duration = required_duration(fields, "max_duration");
    accepted.min_score = fields.number("min_score", 0, 1);
    // Known whether or not it was there.
    fields.get("max_duration");
    fields.finish();
  }

  void read_retention(const Yaml& node) {
    Fields fields(node, file_, "'retention'", diagnostics_);
    policy_.retention.logs = fields.duration("logs", kLeastKept, kMostKept);
    policy_.retention.spools = fields.duration("spools", kLeastKept, kMostKept);
    policy_.retention.samples = fields.duration("samples", kLeastKept, kMostKept);
    policy_.retention.checkpoints = fields.duration("checkpoints", kLeastKept, kMostKept);
    fields.finish();
  }

  void read_remedies(const Yaml& node) {
    if (!node.is_map()) {
      error(node, "'remedies' must be a map of causes to ladders, found " + describe(node));
      return;
    }
    std::vector<std::string> causes;
    for (Cause cause : kCauses) causes.emplace_back(name_of(cause));
    for (const Yaml::Entry& entry : node.entries) {
      const auto cause = cause_named(entry.key);
      if (cause)
        read_ladder(*cause, entry);
      else
        error(entry, "no cause of failure is called " + quote(entry.key) +
                         (nearest(entry.key, causes) ? hint(entry.key, causes) : "; there are " + join(causes, ", ")));
    }
    for (Cause cause : kCauses)
      if (!node.find(name_of(cause)))
        error(node, "'remedies' needs a ladder for " + quote(name_of(cause)) + "; it may be [give_up]");
  }

  void read_ladder(Cause cause, const Yaml::Entry& entry) {
    const Yaml& node = entry.value;
    if (!node.is_list() || node.items.empty()) {
      error(node, quote(entry.key) + " must be a list of remedies that ends with give_up, found " +
                      (node.is_list() ? "an empty list" : describe(node)));
      return;
    }
    std::vector<Rung> ladder;
    bool ended = false, whole = true;
    for (const Yaml& item : node.items) {
      if (ended) {
        error(item, "nothing can come after give_up");
        break;
      }
      const auto rung = read_rung(cause, item);
      whole &= rung.has_value();
      if (!rung) continue;
      ended = rung->remedy == Remedy::kGiveUp;
      if (std::ranges::find(ladder, rung->remedy, &Rung::remedy) != ladder.end())
        error(item,
              quote(name_of(rung->remedy)) + " is in this ladder twice; write it once, with how often it may be tried");
      ladder.push_back(*rung);
    }
    if (!ended && whole) error(node.items.back(), "the ladder of " + quote(entry.key) + " must end with give_up");
    policy_.remedies.insert_or_assign(cause, std::move(ladder));
  }

  /// `give_up`, `retry`, `{more_gpus: 1}`, `{smaller_batch: 2, factor: 0.5}`.
  std::optional<Rung> read_rung(Cause cause, const Yaml& node) {
    if (node.is_scalar()) return checked(cause, node.text, place_of(node, file_), {}, node);
    if (!node.is_map() || node.entries.empty()) {
      error(node, "a rung must be a remedy with how often it may be tried, such as {retry: 3}, found " +
                      (node.is_map() ? "an empty map" : describe(node)));
      return std::nullopt;
    }
    const Yaml::Entry* remedy = nullptr;
    for (const Yaml::Entry& entry : node.entries) {
      if (entry.key == "factor") continue;
      if (remedy) {
        error(entry, "a rung holds one remedy; " + quote(entry.key) + " needs a rung of its own");
        return std::nullopt;
      }
      remedy = &entry;
    }
    if (!remedy) {
      error(node, "a rung needs a remedy beside 'factor', such as {smaller_batch: 2, factor: 0.5}");
      return std::nullopt;
    }
    return checked(cause, remedy->key, {file_, remedy->line, remedy->column}, remedy, node);
  }

  std::optional<Rung> checked(Cause cause, const std::string& name, const Place& place, const Yaml::Entry* entry,
                              const Yaml& node) {
    const auto remedy = remedy_named(name);
    if (!remedy) {
      std::vector<std::string> known;
      for (Remedy each : kRemedies) known.emplace_back(name_of(each));
      diagnostics_.error(place, "no remedy is called " + quote(name) +
                                    (nearest(name, known) ? hint(name, known) : "; there are " + join(known, ", ")));
      return std::nullopt;
    }
    const auto helpful = remedies_for(cause);
    if (std::ranges::find(helpful, *remedy) == helpful.end()) {
      std::vector<std::string> names;
      for (Remedy each : helpful) names.emplace_back(name_of(each));
      diagnostics_.error(place, quote(name) + " does not help against " + quote(name_of(cause)) +
                                    "; its ladder may hold " + join(names, ", "));
      return std::nullopt;
    }
    Rung rung;
    rung.remedy = *remedy;
    if (entry) {
      if (*remedy == Remedy::kGiveUp) {
        diagnostics_.error(place, "give_up stands alone, without a number");
        return std::nullopt;
      }
      const auto times = entry->value.integer();
      if (!times || *times < 1 || *times > 1000) {
        error(entry->value, quote(name) + " must be a whole number from 1 to 1000, how often it may be tried, found " +
                                describe(entry->value));
        return std::nullopt;
      }
      rung.times = static_cast<int>(*times);
    }
    const Yaml* factor = entry ? node.find("factor") : nullptr;
    const auto range = factor_range(*remedy);
    if (!range && factor) {
      error(*factor, quote(name) + " takes no factor");
      return std::nullopt;
    }
    if (range) {
      const std::string bounds = "from " + shown_number(range->least) + " to " + shown_number(range->most);
      if (!factor) {
        diagnostics_.error(place, quote(name) + " needs a factor " + bounds + ", such as {" + name +
                                      ": 2, factor: " + (range->most < 1 ? "0.5" : "1.5") + "}");
        return std::nullopt;
      }
      const auto value = factor->number();
      if (!value || *value < range->least || *value > range->most) {
        error(*factor, "the factor of " + quote(name) + " must be a number " + bounds + ", found " + describe(*factor));
        return std::nullopt;
      }
      rung.factor = *value;
    }
    return rung;
  }

  void read_tournament(const Yaml& node) {
    Fields fields(node, file_, "'tournament'", diagnostics_);
    const std::size_t before = diagnostics_.error_count();
    Tournament rules;
    rules.text_weight = required(fields, "text_weight", 0, 1);
    rules.image_weight = required(fields, "image_weight", 0, 1);
    rules.bonus_per_entry = required(fields, "bonus_per_entry", 0, 1);
    rules.bonus_most = required(fields, "bonus_most", 0, 1);
    rules.boss_margin = required(fields, "boss_margin", 0, 1);
    if (fields.require("best_of")) rules.best_of = static_cast<int>(fields.integer("best_of", 1, 99).value_or(1));
    fields.finish();
    policy_.tournament = rules;
    if (!fields.is_map() || diagnostics_.error_count() != before) return;
    const double sum = rules.text_weight + rules.image_weight;
    if (std::abs(sum - 1) > kSumSlack)
      fields.error("text_weight", "text_weight and image_weight sum to " + shown_number(sum) + "; they must sum to 1");
    if (rules.best_of % 2 == 0)
      fields.error("best_of", "'best_of' must be odd, so that one side wins; found " + std::to_string(rules.best_of));
  }

  void read_planning(const Yaml& node) {
    Fields fields(node, file_, "'planning'", diagnostics_);
    const std::size_t before = diagnostics_.error_count();
    Planning& planning = policy_.planning;
    using Prefer = Planning::Prefer;
    if (fields.require("prefer"))
      planning.prefer =
          fields.choice<Prefer>("prefer", {{"smallest", Prefer::kSmallest}, {"fastest", Prefer::kFastest}})
              .value_or(Prefer::kSmallest);
    planning.memory_low = required(fields, "memory_low", 0.01, 0.90);
    planning.memory_high = required(fields, "memory_high", 0.01, 0.90);
    planning.memory_most = required(fields, "memory_most", 0.01, 0.90);
    planning.speedup_worth = required(fields, "speedup_worth", 0, 1);
    planning.time_quantile = required(fields, "time_quantile", 0, 1);
    planning.time_margin = required(fields, "time_margin", 1, 10);
    planning.time_least = required_duration(fields, "time_least");
    planning.backfill = required_duration(fields, "backfill");
    read_thresholds(fields, planning);
    fields.finish();
    if (!fields.is_map() || diagnostics_.error_count() != before) return;
    planning_read_ = true;
    const auto at_least = [&](std::string_view key, double value, std::string_view other, double least) {
      if (value < least)
        fields.error(key, quote(key) + " is " + shown_number(value) + "; it must be at least " + quote(other) +
                              ", which is " + shown_number(least));
    };
    at_least("memory_high", planning.memory_high, "memory_low", planning.memory_low);
    at_least("memory_most", planning.memory_most, "memory_high", planning.memory_high);
    if (planning.time_quantile <= 0 || planning.time_quantile >= 1)
      fields.error("time_quantile", "'time_quantile' must lie between 0 and 1 and be neither; found " +
                                        shown_number(planning.time_quantile));
    if (planning.backfill < planning.time_least)
      fields.error("backfill", "'backfill' is " + format_duration(planning.backfill) +
                                   "; it must be at least 'time_least', which is " +
                                   format_duration(planning.time_least));
    if (fields.has("idle_load_worth"))
      at_least("idle_load_worth", planning.idle_load_worth, "load_worth", planning.load_worth);
    if (fields.has("piece_least") && planning.backfill < planning.piece_least)
      fields.error("piece_least", "'piece_least' is " + format_duration(planning.piece_least) +
                                      "; it must be at most 'backfill', which is " +
                                      format_duration(planning.backfill));
  }

  /// What `planning` may leave out.
  static void read_thresholds(Fields& fields, Planning& planning) {
    const auto number = [&](std::string_view key, double least, double most, double& value) {
      value = fields.number(key, least, most).value_or(value);
    };
    const auto whole = [&](std::string_view key, long long least, long long most, int& value) {
      value = static_cast<int>(fields.integer(key, least, most).value_or(value));
    };
    const auto duration = [&](std::string_view key, double& value) {
      if (fields.get(key)) value = required_duration(fields, key);
    };
    duration("piece_least", planning.piece_least);
    number("load_worth", 0.01, 0.5, planning.load_worth);
    number("idle_load_worth", 0.01, 0.9, planning.idle_load_worth);
    number("idle_worth", 0, 0.9, planning.idle_worth);
    whole("small_gpus", 1, 4096, planning.small_gpus);
    whole("batch_least", 1, 256, planning.batch_least);
    number("rate_least", 0, 1e6, planning.rate_least);
    number("efficiency_worth", 1, 100, planning.efficiency_worth);
    number("own_use_worth", 1, 100, planning.own_use_worth);
    duration("command_time", planning.command_time);
  }

  void read_training(const Yaml& node) {
    Fields fields(node, file_, "'training'", diagnostics_);
    Training& training = policy_.training;
    if (const Yaml* sizes = fields.get("sizes")) {
      Fields rows(*sizes, file_, "'sizes'", diagnostics_);
      for (const SizeClass size : kSizeClasses)
        if (const Yaml* row = rows.require(name_of(size)))
          training.sizes[static_cast<std::size_t>(size)] = read_row(*row, name_of(size));
      rows.finish();
    }
    if (const Yaml* tasks = fields.get("tasks")) read_factors(*tasks, training);
    training.full_rate = fields.number("full_rate", 1e-6, 1).value_or(training.full_rate);
    training.sequence = fields.integer("sequence", 8, 10'000'000).value_or(training.sequence);
    training.ema_decay = fields.number("ema_decay", 0, 0.9999999).value_or(training.ema_decay);
    fields.finish();
  }

  /// One size's settings, each within what a matrix may say for it.
  AdapterRow read_row(const Yaml& node, std::string_view size) {
    Fields fields(node, file_, quote(size), diagnostics_);
    const auto whole = [&](std::string_view key, long long most) -> std::int64_t {
      return fields.require(key) ? fields.integer(key, 1, most).value_or(1) : 1;
    };
    AdapterRow row;
    row.rank = whole("rank", 65536);
    row.alpha = whole("alpha", 65536);
    row.dropout = required(fields, "dropout", 0, 0.99);
    row.learning_rate = required(fields, "learning_rate", 1e-12, 10);
    row.batch_size = whole("batch_size", 1'000'000);
    row.accumulation = whole("accumulation", 65536);
    fields.finish();
    return row;
  }

  /// `{grpo: {rank: 1.6, learning_rate: 0.85}}`: the types that are listed, and no others.
  void read_factors(const Yaml& node, Training& training) {
    if (!node.is_map()) {
      error(node, "'tasks' must be a map of task types to factors, found " + describe(node));
      return;
    }
    training.tasks.clear();
    for (const Yaml::Entry& entry : node.entries) {
      // No error: how a type is trained has nothing to do with what it is worth. But it may be a slip.
      if (!policy_.task_types.empty() && !policy_.task_types.contains(entry.key))
        diagnostics_.warn({file_, entry.line, entry.column}, "the task type " + quote(entry.key) +
                                                                 " is not rated in 'task_types'" +
                                                                 hint(entry.key, names_of(policy_.task_types)));
      Fields fields(entry.value, file_, quote(entry.key), diagnostics_);
      AdapterFactors factors;
      factors.rank = required(fields, "rank", 0.01, 100);
      factors.learning_rate = required(fields, "learning_rate", 0.01, 100);
      fields.finish();
      training.tasks.insert_or_assign(entry.key, factors);
    }
  }

  void read_drain_signal(Fields& fields) {
    if (!fields.require("drain_signal")) return;
    const auto value = fields.duration("drain_signal");
    if (!value) return;
    if (*value < 1 || *value > kMostSignal) {
      fields.error("drain_signal", "'drain_signal' must be from 1 s to 65535 s, which is the most that Slurm takes");
      return;
    }
    policy_.drain_signal = *value;
    if (planning_read_ && *value >= policy_.planning.time_least)
      fields.error("drain_signal", "'drain_signal' is " + format_duration(*value) + " and 'time_least' " +
                                       format_duration(policy_.planning.time_least) +
                                       ": the shortest jobs would be told to stop as they start");
  }

  void read_idle_timeout(Fields& fields) {
    if (!fields.get("idle_timeout")) return;
    const auto value = fields.duration("idle_timeout");
    if (!value) return;
    if (*value < 1 || *value > kMostIdle)
      fields.error("idle_timeout", "'idle_timeout' must be from 1 s to 1 day");
    else
      policy_.idle_timeout = *value;
  }

  void warn_of_unreachable_score() {
    const double most = greatest_total(policy_);
    const auto& least = policy_.acceptance.min_score;
    if (least && most <= *least + kScoreSlack)
      diagnostics_.warn(place_of(*root_.find("acceptance"), file_),
                        "no cell can be accepted: the most that one can score is " + shown_number(most) +
                            ", and 'min_score' asks for more than " + shown_number(*least));
  }

  const Yaml& root_;
  const std::string& file_;
  Diagnostics& diagnostics_;
  Policy policy_;
  bool planning_read_ = false;  ///< each of its values was there and in its range
};

}  // namespace

std::optional<Policy> read_policy(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  return Reader(root, file, diagnostics).read();
}

}  // namespace orch::policy
