#include "eval/evaluation.h"

#include <algorithm>
#include <cmath>

#include "base/digest.h"
#include "base/text.h"
#include "eval/math_answer.h"
#include "eval/score/code.h"

namespace orch::eval {
namespace {

bool is_built_in(const std::string& scorer) { return scorer == "exact_match" || scorer == "math"; }

Error about(std::uint64_t sample, const std::string& what) {
  return Error{"question " + std::to_string(sample + 1) + ": " + what};
}

/// Which of `count` choices a target names: by their places, or by their words.
std::vector<std::size_t> places_of(const Json& target, std::span<const std::string> choices) {
  std::vector<std::size_t> places;
  const auto add = [&](const Json& one) {
    if (one.is_number_integer()) {
      const auto place = one.get<std::int64_t>();
      if (place >= 0 && place < static_cast<std::int64_t>(choices.size()))
        places.push_back(static_cast<std::size_t>(place));
    } else if (one.is_string()) {
      const auto at = std::ranges::find(choices, one.get_ref<const std::string&>());
      if (at != choices.end()) places.push_back(static_cast<std::size_t>(at - choices.begin()));
    }
  };
  if (target.is_array())
    for (const Json& one : target) add(one);
  else
    add(target);
  return places;
}

std::string digest_of(const Task& task, std::span<const Document> documents, std::span<const Document> pool,
                      const AskSettings& settings) {
  const auto given = [](const auto& setting) { return setting ? Json(*setting) : Json(); };
  const Json says{task.name,
                  task.digest,
                  given(settings.shots),
                  given(settings.temperature),
                  given(settings.max_new_tokens),
                  given(settings.repeats),
                  given(settings.limit),
                  settings.seed,
                  settings.shot_seed,
                  settings.prefix,
                  static_cast<bool>(settings.chat)};
  const auto written = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  };
  std::string content = written(says);
  for (const std::span<const Document> part : {documents, pool}) {
    for (const Document& document : part) content += written(document);
    content += "\n";
  }
  return to_hex(sha256(content));
}

}  // namespace

Evaluation::Evaluation(Questions questions, Scorers scorers)
    : questions_(std::move(questions)), scorers_(std::move(scorers)) {
  const Task& task = questions_.task();
  if (questions_.kind() != Kind::kGenerate)
    for (const std::string& metric : task.metrics) names_.push_back({metric, "none"});
  else
    for (const Extraction& extraction : task.extractions)
      for (const std::string& metric : task.metrics) names_.push_back({metric, extraction.name});
}

Result<Evaluation> Evaluation::make(const Task& task, std::vector<Document> documents, std::vector<Document> pool,
                                    AskSettings settings, Scorers scorers) {
  if (task.kind == Kind::kGenerate && !is_built_in(task.scorer.name) && !scorers.contains(task.scorer.name))
    return Error{"task " + quote(task.name) + " is scored by " + quote(task.scorer.name) +
                 ", which is not to be had here"};
  std::string digest = digest_of(task, documents, pool, settings);
  auto questions = Questions::make(task, std::move(documents), std::move(pool), std::move(settings));
  if (!questions) return questions.error();
  const int repeats = questions->sampling().repeats;
  for (const std::string& metric : task.metrics)
    if (const auto k = Task::pass_at(metric); k && *k > repeats)
      return Error{"task " + quote(task.name) + ": " + quote(metric) + " needs " + std::to_string(*k) +
                   " answers to each question, and " + std::to_string(repeats) + " is asked for"};
  Evaluation made(std::move(*questions), std::move(scorers));
  made.digest_ = std::move(digest);
  return made;
}

Result<Evaluation> Evaluation::open(const Task& task, const std::filesystem::path& folder, AskSettings settings,
                                    Scorers scorers) {
  const auto missing = [&](const std::string& file) {
    return Error{"the data of task " + quote(task.name) + " is not there: " + (folder / file).string() +
                 " (scripts/import-data " + task.name + " makes it)"};
  };
  std::error_code ignored;
  if (!std::filesystem::exists(folder / task.data, ignored)) return missing(task.data);
  auto documents = load_documents(folder / task.data);
  if (!documents) return documents.error();
  std::vector<Document> pool;
  if (!task.shots.file.empty() && settings.shots.value_or(task.shots.count) > 0) {
    if (!std::filesystem::exists(folder / task.shots.file, ignored)) return missing(task.shots.file);
    auto loaded = load_documents(folder / task.shots.file);
    if (!loaded) return loaded.error();
    pool = std::move(*loaded);
  }
  return make(task, std::move(*documents), std::move(pool), std::move(settings), std::move(scorers));
}

Result<double> Evaluation::credit(const ScorerInput& input) const {
  const Scorer& scorer = questions_.task().scorer;
  if (!is_built_in(scorer.name)) return scorers_.at(scorer.name)(input);
  const auto matches = [&](const Json& target) {
    const std::string text = printed(target);
    return scorer.name == "math" ? is_answer_of(input.answer, text)
                                 : exact_match(input.answer, text, scorer.exact_match);
  };
  if (!input.target.is_array()) return matches(input.target) ? 1.0 : 0.0;
  return std::ranges::any_of(input.target, matches) ? 1.0 : 0.0;
}

Result<std::vector<double>> Evaluation::choice_score(std::uint64_t sample, std::span<const Answer> answers) const {
  const Task& task = questions_.task();
  const Document& document = questions_.document(sample);
  const auto choices = task.wording.choices->texts(document);
  if (!choices) return choices.error();
  const DocText& says_right = questions_.kind() == Kind::kContexts ? task.wording.prompt : task.wording.target;
  const auto target = says_right.target(document, true);
  if (!target) return target.error();
  std::vector<Likelihood> likelihoods;
  for (const Answer& answer : answers) {
    const auto* likelihood = std::get_if<Likelihood>(&answer.what);
    if (!likelihood) return Error{"a text was given where a likelihood was asked for"};
    likelihoods.push_back(*likelihood);
  }
  const ChoiceScores scored = choice_scores(likelihoods, *choices, places_of(*target, *choices));
  std::vector<double> scores;
  for (const std::string& metric : task.metrics) {
    if (metric == "acc") scores.push_back(scored.acc);
    if (metric == "acc_norm") scores.push_back(scored.acc_norm);
    if (metric == "acc_bytes") scores.push_back(scored.acc_bytes);
    if (metric == "mc2") {
      const auto labels = task.labels->target(document, true);
      if (!labels) return labels.error();
      if (!labels->is_array() || labels->size() != choices->size() ||
          !std::ranges::all_of(*labels, [](const Json& label) { return label.is_number_integer(); }))
        return Error{"'labels' must give a number for each of the " + std::to_string(choices->size()) + " choices"};
      scores.push_back(true_mass(likelihoods, labels->get<std::vector<int>>()));
    }
  }
  return scores;
}

Result<std::vector<double>> Evaluation::text_score(SampleScore& made, const std::vector<Request>& requests) const {
  const Task& task = questions_.task();
  const Document& document = questions_.document(made.sample);
  const auto choices = task.wording.choices ? task.wording.choices->texts(document) : std::vector<std::string>{};
  if (!choices) return choices.error();
  auto target = task.wording.target.target(document, !choices->empty());
  if (!target) return target.error();
  if (target->is_number_integer() && !choices->empty()) {
    const std::vector<std::size_t> places = places_of(*target, *choices);
    if (places.empty()) return Error{"the target is no choice of the question's"};
    *target = Json((*choices)[places[0]]);
  }
  std::vector<std::string> texts;
  for (const Answer& answer : made.answers) {
    const auto* generated = std::get_if<Generated>(&answer.what);
    if (!generated) return Error{"a likelihood was given where a text was asked for"};
    texts.push_back(generated->text);
  }
  std::vector<double> scores;
  for (const Extraction& extraction : task.extractions) {
    made.extracted.push_back(extracted(extraction, texts));
    const std::vector<std::string>& read = made.extracted.back();
    std::vector<double> credits;
    const bool needs_all =
        std::ranges::any_of(task.metrics, [](const std::string& metric) { return Task::pass_at(metric).has_value(); });
    for (std::size_t i = 0; i < (needs_all ? read.size() : std::min<std::size_t>(read.size(), 1)); ++i) {
      auto given = credit({document, requests[std::min(i, requests.size() - 1)], read[i], *target});
      if (!given) return given.error();
      credits.push_back(*given);
    }
    const auto right = static_cast<int>(std::ranges::count(credits, 1.0));
    for (const std::string& metric : task.metrics) {
      const auto k = Task::pass_at(metric);
      if (k && *k > static_cast<int>(credits.size()))
        return Error{quote(metric) + " was left " + counted(static_cast<long long>(credits.size()), "answer") + " by " +
                     quote(extraction.name)};
      if (k)
        scores.push_back(pass_at_k(static_cast<std::int64_t>(credits.size()), right, *k));
      else
        scores.push_back(credits.empty() ? 0 : credits[0]);
    }
  }
  return scores;
}

Result<SampleScore> Evaluation::score(std::uint64_t sample, std::vector<Answer> answers) const {
  if (sample >= questions_.size())
    return about(sample, "there are only " + std::to_string(questions_.size()) + " questions");
  const auto requests = questions_.requests(static_cast<std::size_t>(sample));
  if (!requests) return requests.error();
  std::ranges::sort(answers, {}, &Answer::id);
  const bool fits = std::ranges::equal(answers, *requests, {}, &Answer::id, &Request::id);
  if (!fits)
    return about(sample, counted(static_cast<long long>(requests->size()), "answer") +
                             " of its own were expected, found " + std::to_string(answers.size()));
  SampleScore made{sample, std::move(answers), {}, {}};
  auto scores = questions_.kind() == Kind::kGenerate ? text_score(made, *requests) : choice_score(sample, made.answers);
  if (!scores) return about(sample, scores.error().what);
  if (!std::ranges::all_of(*scores, [](double score) { return std::isfinite(score); }))
    return about(sample, "the model's numbers for it are not finite (NaN)");
  made.scores = std::move(*scores);
  return made;
}

SampleRange chunk_of(std::uint64_t samples, std::uint32_t number, std::uint32_t chunks) {
  const std::uint64_t first = samples * number / chunks;
  return {first, samples * (number + 1ULL) / chunks - first};
}

std::string Summary::Row::key() const {
  return name.extraction == "none" ? name.metric : name.metric + "," + name.extraction;
}

Result<Summary> Evaluation::summary(std::span<const SampleScore> samples, SampleRange range) const {
  std::vector<bool> there(range.count, false);
  Summary summary;
  for (const ScoreName& name : names_) summary.rows.push_back({name, {}});
  for (const SampleScore& sample : samples) {
    const bool is_ours = sample.sample >= range.first && sample.sample - range.first < range.count &&
                         sample.sample < questions_.size() && sample.scores.size() == names_.size();
    if (!is_ours) return about(sample.sample, "its score is not one of this run");
    if (there[sample.sample - range.first]) return about(sample.sample, "it is scored twice");
    there[sample.sample - range.first] = true;
    const std::string& part = questions_.group(static_cast<std::size_t>(sample.sample));
    for (std::size_t row = 0; row < names_.size(); ++row) summary.rows[row].parts[part].add(sample.scores[row]);
  }
  if (const auto gap = std::find(there.begin(), there.end(), false); gap != there.end())
    return about(range.first + static_cast<std::uint64_t>(gap - there.begin()), "it has no score yet");
  return summary;
}

}  // namespace orch::eval
