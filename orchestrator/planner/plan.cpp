#include "planner/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <queue>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/text.h"
#include "base/units.h"
#include "planner/pack.h"
#include "planner/schedule.h"
#include "policy/limits.h"

namespace orch::planner {
namespace {

using matrix::Cell;
using matrix::kNone;

constexpr std::size_t kMostEdges = 1'000'000;  // between the jobs of two stages, one of which waits for the other
constexpr double kSecondsPerHour = 3600;
constexpr std::size_t kMostChoices = 50;  // notes of expansion that a plan repeats

/// Settings that change neither what a cell needs, nor how long it takes, nor its score: cells that differ only in them
/// are alike to the planner.
constexpr std::array<std::string_view, 12> kNoMatter = {
    "seed",   "temperature",  "learning_rate", "alpha", "dropout",          "schedule",
    "warmup", "weight_decay", "clip",          "beta",  "checkpoint_every", "keep_checkpoints"};

/// Cells of equal model, task, stage and settings (less those that do not matter) share all that the planner works out.
struct Combination {
  std::uint32_t first = 0;  ///< its first cell
  std::uint32_t need = kNone;
  std::uint32_t row = kNone;  ///< of the rejection; kNone: accepted
  float expected = 0;         ///< seconds
  float bound = 0;
  std::uint32_t basis = 0;  ///< of the duration, in bases_
  policy::Score score;
  std::uint32_t cells = 0;                              ///< accepted
  std::array<std::uint32_t, 2> group = {kNone, kNone};  ///< of cells without and with a gate
};

struct Key {
  std::uint64_t what = 0;
  std::uint64_t how = 0;
  std::uint32_t adapter = kNone;  ///< what the train cell makes: see adapter_class()
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t x = key.what * 0x9E3779B97F4A7C15u ^ key.how ^ std::uint64_t{key.adapter} << 20;
    x = (x ^ (x >> 31)) * 0xBF58476D1CE4E5B9u;
    return static_cast<std::size_t>(x ^ (x >> 29));
  }
};

/// Rejections as they are counted: one row for one rule and reason.
class Rows {
 public:
  std::uint32_t row(const std::string& rule, const std::string& reason, const std::string& model,
                    const std::string& task) {
    const auto [at, added] = index_.try_emplace({rule, reason}, static_cast<std::uint32_t>(rows_.size()));
    if (added) rows_.push_back({model, task, rule, reason, 0});
    matrix::Rejection& row = rows_[at->second];
    if (row.model != model) row.model = "*";
    if (row.task != task) row.task = "*";
    return at->second;
  }
  matrix::Rejection& operator[](std::uint32_t row) { return rows_[row]; }
  const std::vector<matrix::Rejection>& all() const { return rows_; }

 private:
  std::map<std::pair<std::string, std::string>, std::uint32_t> index_;
  std::vector<matrix::Rejection> rows_;
};

class Planner {
 public:
  Planner(const matrix::Expansion& expansion, const Site& site, const History& history)
      : expansion_(expansion), site_(site), history_(history) {}

  Plan run() {
    prepare();
    note_choices();
    combine();
    for (Combination& combination : combinations_) judge(combination);
    reject();
    rank();
    pack_cells();
    order_jobs();
    hold();
    time_jobs();
    count_naive();
    plan_.rejected = expansion_.rejected;
    for (const matrix::Rejection& row : rows_.all())
      if (row.count > 0) plan_.rejected.push_back(row);
    if (plan_.cells == 0) plan_.notes.push_back("no cell is accepted: there is nothing to run");
    return std::move(plan_);
  }

 private:
  // What is known of the cluster before any cell is looked at.
  void prepare() {
    const policy::Policy& policy = site_.policy;
    rules_ = {policy.planning.backfill, policy.planning.time_margin, policy.planning.time_least, policy.drain_signal};
    double best = 0;
    for (const Partition& partition : site_.cluster.partitions) {
      pools_.push_back({partition.nodes, partition.gpus_per_node, partition.exclusive});
      const Gpu* gpu = site_.catalog.gpus.find(partition.gpu);
      flops_.push_back(gpu ? gpu->flops_for(DType::kBf16) : 0);
      best = std::max(best, flops_.back());
    }
    best_flops_ = best;
    const auto least = [](std::optional<int> a, std::optional<int> b) {
      if (a && b) return std::optional<int>(std::min(*a, *b));
      return a ? a : b;
    };
    caps_.jobs = least(policy.per_user.max_jobs, policy.per_sweep.max_jobs);
    caps_.gpus = least(policy.per_user.max_gpus, policy.per_sweep.max_gpus);
  }

  /// What expansion chose for the user stands before the planner's own notes.
  void note_choices() {
    const std::vector<std::string>& choices = expansion_.notes;
    const std::size_t shown = std::min(choices.size(), kMostChoices);
    plan_.notes.assign(choices.begin(), choices.begin() + static_cast<std::ptrdiff_t>(shown));
    if (shown < choices.size())
      plan_.notes.push_back("… and " + grouped(static_cast<long long>(choices.size() - shown)) + " more");
  }

  // The stages whose cells wait for others: those cells share jobs only with cells of their own stage, so that no two
  // jobs can wait for each other.
  bool gated(const Cell& cell) const {
    if (cell.depends != kNone) return true;
    if (cell.stage >= expansion_.stages.size()) return false;
    const matrix::Stage& stage = expansion_.stages[cell.stage];
    return !stage.after.empty() || !stage.adapter_of.empty();
  }

  /// For each set of settings, the first that differs from it only in what does not matter.
  std::vector<std::uint32_t> classes_of_settings() const {
    std::vector<std::uint32_t> classes(expansion_.settings.size());
    std::unordered_map<std::string, std::uint32_t> known;
    std::string text;
    for (std::uint32_t i = 0; i < expansion_.settings.size(); ++i) {
      text.clear();
      for (const auto& [name, value] : expansion_.settings[i].values()) {
        if (std::find(kNoMatter.begin(), kNoMatter.end(), name) != kNoMatter.end()) continue;
        text += name;
        text += '=';
        matrix::append_value(text, value);
      }
      classes[i] = known.try_emplace(text, i).first->second;
    }
    return classes;
  }

  /// Adapters of one combination are alike to the planner: their ranks are equal. Fully trained models are not: each is
  /// a set of weights of its own, and goes by its cell.
  std::uint32_t adapter_class(const Cell& cell) const {
    if (cell.depends == kNone) return kNone;
    const matrix::Settings& training = expansion_.settings[expansion_.cells[cell.depends].settings];
    constexpr std::uint32_t kOwnWeights = 1u << 31;
    if (training.truth("full").value_or(false)) return kOwnWeights | cell.depends;
    return combination_of_[cell.depends];
  }

  void combine() {
    const std::vector<std::uint32_t> classes = classes_of_settings();
    std::unordered_map<Key, std::uint32_t, KeyHash> known;
    combination_of_.resize(expansion_.cells.size());
    Key last;
    std::uint32_t at = kNone;
    for (std::uint32_t i = 0; i < expansion_.cells.size(); ++i) {
      const Cell& cell = expansion_.cells[i];
      const Key key{
          std::uint64_t{cell.model} << 32 | cell.task,
          std::uint64_t{classes[cell.settings]} << 32 | cell.stage << 2 | static_cast<std::uint32_t>(cell.kind),
          adapter_class(cell)};
      if (at == kNone || !(key == last)) {
        const auto [found, added] = known.try_emplace(key, static_cast<std::uint32_t>(combinations_.size()));
        if (added) combinations_.emplace_back().first = i;
        at = found->second;
        last = key;
      }
      combination_of_[i] = at;
    }
  }

  std::string model_name(const Cell& cell) const {
    return cell.model == kNone ? "-" : site_.catalog.models[cell.model].name;
  }
  std::string task_name(const Cell& cell) const {
    return cell.task == kNone ? "-" : site_.catalog.tasks[cell.task].name;
  }

  std::uint32_t need_index(const Need& need) {
    const auto [at, added] = needs_.try_emplace(need, static_cast<std::uint32_t>(plan_.needs.size()));
    if (added) {
      plan_.needs.push_back(need);
      Result<Sizing> sized = size(need, site_);
      why_not_.push_back(sized.ok() ? std::string() : sized.error().what);
      plan_.sizings.push_back(sized.ok() ? *std::move(sized) : Sizing{});
    }
    return at->second;
  }

  /// The longest limit that may be asked for: of the partition, and of the profile. 0: any.
  double most_time(const Partition& partition, const Profile& profile) const {
    if (partition.max_time <= 0 || profile.time_limit <= 0) return std::max(partition.max_time, profile.time_limit);
    return std::min(partition.max_time, profile.time_limit);
  }
  double most_time(const Placement& place) const {
    return most_time(site_.cluster.partitions[place.partition], site_.catalog.profiles[place.profile]);
  }

  policy::ScoreInput score_input(const Cell& cell, const Need& need, const Placement& place, double seconds) const {
    policy::ScoreInput input;
    const Partition& partition = site_.cluster.partitions[place.partition];
    const Gpu* gpu = site_.catalog.gpus.find(partition.gpu);
    input.task_type =
        cell.task == kNone ? matrix::name_of(cell.kind) : std::string_view(site_.catalog.tasks[cell.task].type);
    if (cell.model != kNone) input.family = site_.catalog.models[cell.model].family;
    input.seconds = seconds;
    input.utilisation = std::min(1.0, place.utilisation / place.share);  // of its part of the GPU
    input.gpus = place.gpus;
    input.node_gpus = partition.gpus_per_node;
    input.native_dtype = gpu && gpu->computes(need.compute);
    input.top_gpu = flops_[place.partition] >= best_flops_;
    input.evidence = history_.evidence(std::string(input.family), std::string(input.task_type));
    return input;
  }

  /// Need, place, duration, score; or the row of why not.
  void judge(Combination& combination) {
    const Cell& cell = expansion_.cells[combination.first];
    const auto refuse = [&](const std::string& rule, const std::string& reason) {
      combination.row = rows_.row(rule, reason, model_name(cell), task_name(cell));
    };
    const Need need = need_of(cell, expansion_, site_.catalog);
    combination.need = need_index(need);
    if (!why_not_[combination.need].empty()) return refuse("size", why_not_[combination.need]);
    const Placement& place = plan_.sizings[combination.need].chosen;
    const Duration duration = duration_of(cell, expansion_.settings[cell.settings], need, place, site_, history_);
    combination.expected = static_cast<float>(duration.expected);
    combination.bound = static_cast<float>(std::max(duration.bound, duration.expected));
    const auto basis = std::find(bases_.begin(), bases_.end(), duration.basis);
    combination.basis = static_cast<std::uint32_t>(basis - bases_.begin());
    if (basis == bases_.end()) bases_.push_back(duration.basis);
    const policy::ScoreInput input = score_input(cell, need, place, duration.expected);
    combination.score = policy::score(site_.policy, input);
    if (const auto refusal = policy::refuse(site_.policy, input, combination.score.total))
      return refuse(refusal->rule, refusal->reason);
    const double most = most_time(place);
    if (!fits_alone(place.load_seconds, static_cast<double>(combination.bound), most, rules_))
      refuse("time_limit", "one cell may take " + format_duration(place.load_seconds * rules_.margin + duration.bound) +
                               " with loading; the longest time limit of profile " +
                               site_.catalog.profiles[place.profile].name + " on partition " +
                               site_.cluster.partitions[place.partition].name + " is " + format_duration(most));
  }

  /// Counts what is rejected, and with it what would evaluate an adapter that is not made.
  void reject() {
    const std::size_t n = expansion_.cells.size();
    std::vector<std::uint32_t> row_of(n, kNone);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t>
        adapter_rows;  // (combination, row of the train cell)
    plan_.job_of.assign(n, kNone);
    plan_.scores.resize(n);
    plan_.seconds.resize(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      const Cell& cell = expansion_.cells[i];
      Combination& combination = combinations_[combination_of_[i]];
      row_of[i] = combination.row;
      if (row_of[i] == kNone && cell.depends < i && row_of[cell.depends] != kNone) {
        const auto [at, added] = adapter_rows.try_emplace({combination_of_[i], row_of[cell.depends]}, kNone);
        if (added) {
          const matrix::Rejection& why = rows_[row_of[cell.depends]];
          at->second = rows_.row("adapter",
                                 "the cell that trains its adapter is rejected (" + why.rule + ": " + why.reason + ")",
                                 model_name(cell), task_name(cell));
        }
        row_of[i] = at->second;
      }
      if (row_of[i] != kNone) {
        ++rows_[row_of[i]].count;
        continue;
      }
      ++combination.cells;
      ++plan_.cells;
      plan_.scores[i] = combination.score;
      plan_.seconds[i] = combination.expected;
      plan_.job_of[i] = 0;  // accepted; which job is known later
    }
  }

  /// All accepted cells, best score first; of equal ones in the order of the matrix.
  void rank() {
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i < combinations_.size(); ++i)
      if (combinations_[i].cells > 0) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      const Combination &x = combinations_[a], &y = combinations_[b];
      const double rank_x = policy::rank(site_.policy, x.score.total, 0),
                   rank_y = policy::rank(site_.policy, y.score.total, 0);
      if (rank_x != rank_y) return rank_x > rank_y;
      return std::tuple(x.need, x.first) < std::tuple(y.need, y.first);
    });
    std::vector<std::uint32_t> next(combinations_.size(), 0);
    std::uint32_t at = 0;
    for (std::uint32_t i : order) {
      next[i] = at;
      at += combinations_[i].cells;
    }
    ranked_.resize(at);
    for (std::uint32_t i = 0; i < expansion_.cells.size(); ++i)
      if (plan_.job_of[i] != kNone) ranked_[next[combination_of_[i]]++] = i;
  }

  std::uint32_t mix_index(const Need& need, const Placement& place, std::uint32_t gate) {
    const Profile& profile = site_.catalog.profiles[place.profile];
    const auto key = std::tuple(place.partition, need.kind, need.engine, need.command_stage, gate, profile.use,
                                profile.partition, place.layout.tp, place.layout.pp, place.gpus);
    const auto [at, added] = mixes_.try_emplace(key, static_cast<std::uint32_t>(mix_.size()));
    if (added) {
      const Partition& partition = site_.cluster.partitions[place.partition];
      Mix mix;
      mix.exclusive = partition.exclusive;
      for (std::uint32_t i : shared_profiles(place.partition)) {
        const Profile& room = site_.catalog.profiles[i];
        mix.rooms.push_back({room.gpus_per_node, most_time(partition, room)});
      }
      mix_.push_back(std::move(mix));
    }
    return at->second;
  }

  /// The profiles of one node that models may share on the partition, by GPUs.
  std::vector<std::uint32_t> shared_profiles(std::uint32_t partition_index) const {
    const Partition& partition = site_.cluster.partitions[partition_index];
    std::vector<std::uint32_t> profiles;
    for (std::uint32_t i = 0; i < site_.catalog.profiles.size(); ++i) {
      const Profile& profile = site_.catalog.profiles[i];
      if (profile.nodes == 1 && profile.use == ProfileUse::kAny && profile.gpus_per_node <= partition.gpus_per_node &&
          (profile.partition.empty() || profile.partition == partition.name))
        profiles.push_back(i);
    }
    std::stable_sort(profiles.begin(), profiles.end(), [&](std::uint32_t a, std::uint32_t b) {
      return site_.catalog.profiles[a].gpus_per_node < site_.catalog.profiles[b].gpus_per_node;
    });
    return profiles;
  }

  std::uint32_t group_index(std::uint32_t need_at, std::uint32_t gate) {
    const auto [at, added] = group_of_.try_emplace({need_at, gate}, static_cast<std::uint32_t>(groups_.size()));
    if (added) {
      const Placement& place = plan_.sizings[need_at].chosen;
      Group group;
      group.nodes = place.nodes;
      group.gpus = place.gpus;
      group.share = place.share;
      group.load = place.load_seconds;
      group.most = most_time(place);
      group.spoils = plan_.needs[need_at].kind == matrix::CellKind::kTrain && plan_.needs[need_at].full;
      group.mixes = mix_index(plan_.needs[need_at], place, gate);
      groups_.push_back(std::move(group));
      need_of_group_.push_back(need_at);
    }
    return at->second;
  }

  void pack_cells() {
    for (std::uint32_t position = 0; position < ranked_.size(); ++position) {
      const std::uint32_t i = ranked_[position];
      const Cell& cell = expansion_.cells[i];
      Combination& combination = combinations_[combination_of_[i]];
      const bool gate = gated(cell);
      std::uint32_t& group = combination.group[gate ? 1 : 0];
      if (group == kNone) group = group_index(combination.need, gate ? cell.stage + 1 : 0);
      groups_[group].items.push_back({i, position, combination.expected, combination.bound});
    }
    rules_.gpus = usable_gpus();
    packed_ = pack(groups_, mix_, rules_);
    for (Group& group : groups_) group.items = {};  // the loads hold the cells now
    for (std::uint32_t job = 0; job < packed_.size(); ++job)
      for (const Load& load : packed_[job].loads)
        for (std::uint32_t cell : load.cells) plan_.job_of[cell] = job;
  }

  /// GPUs of the partitions that jobs go to, as far as they may be had at once.
  double usable_gpus() const {
    std::set<std::uint32_t> used;
    for (std::uint32_t need : need_of_group_) used.insert(plan_.sizings[need].chosen.partition);
    double gpus = 0;
    for (std::uint32_t partition : used)
      gpus += static_cast<double>(pools_[partition].nodes) * pools_[partition].gpus_per_node;
    return caps_.gpus ? std::min(gpus, static_cast<double>(*caps_.gpus)) : gpus;
  }

  /// Which packed jobs each packed job waits for.
  std::vector<std::vector<std::uint32_t>> edges() {
    std::vector<std::vector<std::uint32_t>> after(packed_.size());
    for (std::uint32_t job = 0; job < packed_.size(); ++job)
      for (const Load& load : packed_[job].loads)
        for (std::uint32_t i : load.cells) {
          const std::uint32_t depends = expansion_.cells[i].depends;
          if (depends == kNone || depends >= expansion_.cells.size()) continue;
          const std::uint32_t maker = plan_.job_of[depends];
          if (maker != kNone && maker != job && (after[job].empty() || after[job].back() != maker))
            after[job].push_back(maker);
        }
    if (std::any_of(expansion_.stages.begin(), expansion_.stages.end(),
                    [](const auto& stage) { return !stage.after.empty(); }))
      add_stage_edges(after);
    for (auto& jobs : after) {
      std::sort(jobs.begin(), jobs.end());
      jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
    }
    return after;
  }

  void add_stage_edges(std::vector<std::vector<std::uint32_t>>& after) {
    std::map<std::string, std::uint32_t> stage_named;
    for (std::uint32_t i = 0; i < expansion_.stages.size(); ++i) stage_named.emplace(expansion_.stages[i].name, i);
    std::vector<std::set<std::uint32_t>> jobs_of(expansion_.stages.size());
    for (std::uint32_t position = 0; position < ranked_.size(); ++position) {
      const std::uint32_t stage = expansion_.cells[ranked_[position]].stage;
      if (stage < jobs_of.size()) jobs_of[stage].insert(plan_.job_of[ranked_[position]]);
    }
    // Who waits for a stage waits for the cells too that it shares with another, in whose name they run.
    std::vector<std::set<std::uint32_t>> awaited = jobs_of;
    for (const auto& [stage, cell] : expansion_.also)
      if (stage < awaited.size() && cell < plan_.job_of.size() && plan_.job_of[cell] != kNone)
        awaited[stage].insert(plan_.job_of[cell]);
    for (std::uint32_t i = 0; i < expansion_.stages.size(); ++i)
      for (const std::string& name : expansion_.stages[i].after) {
        const auto before = stage_named.find(name);
        if (before == stage_named.end() || before->second == i) continue;
        const auto &first = awaited[before->second], &then = jobs_of[i];
        if (first.empty() || then.empty()) continue;
        // Very many jobs wait for very many: the first of them waits for all, the others for it.
        const bool chained = first.size() * then.size() > kMostEdges;
        for (std::uint32_t job : then) {
          if (chained && job != *then.begin())
            after[job].push_back(*then.begin());
          else
            for (std::uint32_t other : first)
              if (other != job) after[job].push_back(other);
        }
      }
  }

  /// Gives jobs their numbers: by priority, but each after those it waits for.
  void order_jobs() {
    std::vector<std::vector<std::uint32_t>> after = edges();
    const std::size_t n = packed_.size();
    std::vector<std::vector<std::uint32_t>> followers(n);
    std::vector<std::size_t> waits(n, 0);
    for (std::uint32_t job = 0; job < n; ++job) {
      waits[job] = after[job].size();
      for (std::uint32_t before : after[job]) followers[before].push_back(job);
    }
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ready;
    for (std::uint32_t job = 0; job < n; ++job)
      if (waits[job] == 0) ready.push(job);
    std::vector<std::uint32_t> number(n, kNone), order;
    std::uint32_t next = 0;
    while (order.size() < n) {
      if (ready.empty()) {
        // Stages that wait for each other by way of cells they share: the best of them goes first.
        while (number[next] != kNone) ++next;
        ready.push(next);
        plan_.notes.push_back(
            "jobs wait for each other through cells that several stages ask for; the best of them goes first");
      }
      const std::uint32_t job = ready.top();
      ready.pop();
      if (number[job] != kNone) continue;
      number[job] = static_cast<std::uint32_t>(order.size());
      order.push_back(job);
      for (std::uint32_t follower : followers[job])
        if (--waits[follower] == 0 && number[follower] == kNone) ready.push(follower);
    }
    plan_.jobs.reserve(n);
    for (std::uint32_t job : order) {
      plan_.jobs.push_back(make_job(std::move(packed_[job]), plan_.jobs.size()));
      for (std::uint32_t before : after[job])
        if (number[before] < number[job]) plan_.jobs.back().after.push_back(number[before]);
      std::sort(plan_.jobs.back().after.begin(), plan_.jobs.back().after.end());
    }
    for (std::uint32_t& job : plan_.job_of)
      if (job != kNone) job = number[job];
    packed_ = {};
  }

  Job make_job(PackedJob packed, std::size_t index) {
    Job job;
    job.id = "j" + std::to_string(index + 1);
    job.sizing = need_of_group_[packed.loads.front().group];
    const Placement& place = plan_.sizings[job.sizing].chosen;
    job.profile = packed.lanes > 1 ? shared_profile(place, packed.gpus) : place.profile;
    job.nodes = place.nodes;
    job.gpus = packed.gpus;
    job.lanes = packed.lanes;
    // Lanes are cut alike, see mix_index(); those that share a GPU are one copy.
    job.layout = {place.layout.tp, place.layout.pp, packed.gpus / (place.layout.tp * place.layout.pp)};
    job.gpu_memory = fullest_gpu(packed);
    if (const Gpu* gpu = site_.catalog.gpus.find(site_.cluster.partitions[place.partition].gpu))
      job.utilisation = job.gpu_memory / gpu->memory;
    job.seconds = packed.seconds;
    job.time_limit = packed.time_limit;
    job.gpu_hours = occupied_gpus(pools_[place.partition], job.nodes, job.gpus) * job.seconds / kSecondsPerHour;
    job.reasons = std::move(packed.reasons);
    if (packed.loads.size() == 1) {
      job.cells = std::move(packed.loads.front().cells);
      add_load(job, packed.loads.front(), static_cast<std::int64_t>(job.cells.size()));
    } else {
      for (const Load& load : packed.loads) {
        add_load(job, load, static_cast<std::int64_t>(load.cells.size()));
        job.cells.insert(job.cells.end(), load.cells.begin(), load.cells.end());
      }
      std::sort(job.cells.begin(), job.cells.end(), [&](std::uint32_t a, std::uint32_t b) {
        return std::pair(-plan_.scores[a].total, a) < std::pair(-plan_.scores[b].total, b);
      });
    }
    job.score = plan_.scores[job.cells.front()].total;
    job.reasons.push_back(bases_of(job));
    job.reasons.push_back("time limit " + format_slurm_time(job.time_limit) + ": " + format_duration(job.seconds) +
                          " expected, with a margin and " + format_duration(rules_.drain) + " to stop");
    return job;
  }

  /// Bytes on the fullest GPU: a lane needs what the largest of its loads does, and lanes that share a GPU add up.
  double fullest_gpu(const PackedJob& packed) const {
    std::map<std::pair<int, int>, double> of_lane;  // (GPU, lane)
    for (const Load& load : packed.loads) {
      double& bytes = of_lane[{load.gpu, load.lane}];
      bytes = std::max(bytes, plan_.sizings[need_of_group_[load.group]].chosen.memory.total());
    }
    std::map<int, double> of_gpu;
    double most = 0;
    for (const auto& [at, bytes] : of_lane) most = std::max(most, of_gpu[at.first] += bytes);
    return most;
  }

  /// What the durations of a job's cells rest on.
  std::string bases_of(const Job& job) const {
    constexpr std::size_t kShown = 3;
    std::set<std::uint32_t> all;
    for (std::uint32_t cell : job.cells) all.insert(combinations_[combination_of_[cell]].basis);
    std::string text = "durations: ";
    std::size_t shown = 0;
    for (std::uint32_t basis : all) {
      if (shown == kShown) return text + " and others";
      text += (shown++ ? "; " : "") + bases_[basis];
    }
    return text;
  }

  void add_load(Job& job, const Load& load, std::int64_t cells) {
    const std::uint32_t need = need_of_group_[load.group];
    const std::uint32_t model = plan_.needs[need].model;
    job.loads.push_back({need, model, load.lane, load.seconds, cells});
    if (model == kNone) return;
    job.models.push_back(model);
    ++plan_.totals.model_loads;
  }

  std::uint32_t shared_profile(const Placement& place, int gpus) const {
    if (gpus <= place.gpus) return place.profile;
    for (std::uint32_t i : shared_profiles(place.partition))
      if (site_.catalog.profiles[i].gpus_per_node >= gpus) return i;
    return place.profile;
  }

  /// Finds the jobs that wait: beyond a budget, larger than what may run at once, or behind a job that waits.
  void hold() {
    std::vector<std::optional<std::string>> why(plan_.jobs.size());
    for (const policy::Limits* limits : {&site_.policy.per_sweep, &site_.policy.per_user}) {
      std::vector<policy::Demand> demands;
      std::vector<std::uint32_t> of, index(plan_.jobs.size(), kNone);
      for (std::uint32_t i = 0; i < plan_.jobs.size(); ++i) {
        const Job& job = plan_.jobs[i];
        for (std::uint32_t before : job.after)
          if (why[before] && !why[i]) why[i] = "waits for " + plan_.jobs[before].id + ", which waits";
        if (why[i]) continue;
        policy::Demand demand{job.id, job.gpus, job.gpu_hours, {}};
        for (std::uint32_t before : job.after)
          if (index[before] != kNone) demand.after.push_back(index[before]);
        index[i] = static_cast<std::uint32_t>(of.size());
        of.push_back(i);
        demands.push_back(std::move(demand));
      }
      const auto held =
          policy::hold_back(demands, *limits, 0, limits == &site_.policy.per_user ? "the user" : "the sweep");
      for (std::size_t i = 0; i < of.size() && i < held.size(); ++i)
        if (held[i]) why[of[i]] = *held[i];
    }
    for (std::uint32_t i = 0; i < plan_.jobs.size(); ++i) {
      for (std::uint32_t before : plan_.jobs[i].after)
        if (why[before] && !why[i]) why[i] = "waits for " + plan_.jobs[before].id + ", which waits";
      if (why[i]) plan_.waiting.push_back({i, *why[i]});
    }
  }

  void time_jobs() {
    std::vector<Request> requests;
    requests.reserve(plan_.jobs.size());
    for (const Job& job : plan_.jobs)
      requests.push_back(
          {plan_.sizings[job.sizing].chosen.partition, job.nodes, job.gpus, job.seconds, job.after, false});
    for (const Waiting& waiting : plan_.waiting) requests[waiting.job].held = true;
    const Timetable table = schedule(requests, pools_, caps_);
    for (std::uint32_t i = 0; i < plan_.jobs.size(); ++i) {
      plan_.jobs[i].start = std::max(table.start[i], 0.0);
      plan_.totals.gpu_hours += plan_.jobs[i].gpu_hours;
      if (table.start[i] < 0 && !requests[i].held)
        plan_.waiting.push_back({i, "finds no place on the cluster within what may run at once"});
    }
    std::sort(plan_.waiting.begin(), plan_.waiting.end(),
              [](const Waiting& a, const Waiting& b) { return a.job < b.job; });
    plan_.totals.jobs = static_cast<std::int64_t>(plan_.jobs.size());
    plan_.totals.makespan = table.makespan;
  }

  double naive_seconds(const Combination& combination) const {
    return plan_.sizings[combination.need].chosen.load_seconds + static_cast<double>(combination.expected);
  }

  /// One job for each cell. Its makespan is that of a timetable, or for very many cells a bound that none beats; stages
  /// that wait for others only count in the real plan. Both make the naive way look better, never worse.
  void count_naive() {
    Totals& naive = plan_.naive;
    naive.jobs = plan_.cells;
    std::vector<Batch> batches;
    for (const Combination& combination : combinations_) {
      if (combination.cells == 0) continue;
      const Placement& place = plan_.sizings[combination.need].chosen;
      const double seconds = naive_seconds(combination);
      if (plan_.needs[combination.need].model != kNone) naive.model_loads += combination.cells;
      naive.gpu_hours += seconds * combination.cells * occupied_gpus(pools_[place.partition], place.nodes, place.gpus) /
                         kSecondsPerHour;
      batches.push_back({place.partition, place.nodes, place.gpus, seconds, combination.cells});
    }
    if (plan_.cells <= kMostNaiveJobs) {
      std::vector<std::uint32_t> position(expansion_.cells.size(), kNone);
      for (std::uint32_t i = 0; i < ranked_.size(); ++i) position[ranked_[i]] = i;
      std::vector<Request> requests;
      for (std::uint32_t i : ranked_) {
        const Combination& combination = combinations_[combination_of_[i]];
        const Placement& place = plan_.sizings[combination.need].chosen;
        Request request{place.partition, place.nodes, place.gpus, naive_seconds(combination), {}, false};
        const std::uint32_t depends = expansion_.cells[i].depends;
        if (depends < expansion_.cells.size() && position[depends] != kNone) request.after.push_back(position[depends]);
        requests.push_back(std::move(request));
      }
      naive.makespan = schedule(requests, pools_, caps_).makespan;
      return;
    }
    naive.makespan = makespan_at_least(batches, pools_, caps_);
    for (std::uint32_t i : ranked_) {
      const std::uint32_t depends = expansion_.cells[i].depends;
      if (depends >= expansion_.cells.size() || plan_.job_of[depends] == kNone) continue;
      naive.makespan = std::max(naive.makespan, naive_seconds(combinations_[combination_of_[i]]) +
                                                    naive_seconds(combinations_[combination_of_[depends]]));
    }
  }

  const matrix::Expansion& expansion_;
  const Site& site_;
  const History& history_;
  Plan plan_;
  PackRules rules_;
  Caps caps_;
  std::vector<Pool> pools_;
  std::vector<double> flops_;  // of the partitions' GPUs
  double best_flops_ = 0;
  std::vector<std::string> bases_;
  std::vector<Combination> combinations_;
  std::vector<std::uint32_t> combination_of_;  // of every cell
  std::map<Need, std::uint32_t> needs_;
  std::vector<std::string> why_not_;  // of every need; empty: it was sized
  Rows rows_;
  std::vector<std::uint32_t> ranked_;  // accepted cells, best first
  std::map<std::tuple<std::uint32_t, matrix::CellKind, Engine, std::uint32_t, std::uint32_t, ProfileUse, std::string,
                      int, int, int>,
           std::uint32_t>
      mixes_;
  std::vector<Mix> mix_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> group_of_;  // (need, gate)
  std::vector<Group> groups_;
  std::vector<std::uint32_t> need_of_group_;
  std::vector<PackedJob> packed_;
};

}  // namespace

Plan make_plan(const matrix::Expansion& expansion, const Site& site, const History& history) {
  return Planner(expansion, site, history).run();
}

}  // namespace orch::planner
