#include "eval/prompt.h"

#include <algorithm>
#include <map>

#include "base/split_mix.h"
#include "base/text.h"
#include "eval/python_random.h"
#include "eval/python_text.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostChoices = 1000;

std::uint64_t mixed(std::uint64_t value) { return SplitMix64(value).next(); }

Error about(const Task& task, std::size_t sample, const Error& error) {
  return Error{"task " + quote(task.name) + ", question " + std::to_string(sample + 1) + ": " + error.what};
}

std::string group_of(const Document& document, const std::string& field) {
  if (field.empty()) return "";
  const auto at = document.find(field);
  return at == document.end() ? "" : printed(*at);
}

/// The answer of a worked example as a text.
Result<std::string> answer_text(const Json& target, const std::optional<std::vector<std::string>>& choices) {
  const Json& first = target.is_array() && !target.empty() ? target[0] : target;
  if (!first.is_number_integer() || !choices) return printed(first);
  const auto index = first.get<std::int64_t>();
  if (index < 0 || index >= static_cast<std::int64_t>(choices->size()))
    return Error{"the target is choice " + std::to_string(index) + " of " + std::to_string(choices->size()) +
                 ", counted from 0"};
  return (*choices)[static_cast<std::size_t>(index)];
}

}  // namespace

Result<Questions> Questions::make(const Task& task, std::vector<Document> documents, std::vector<Document> pool,
                                  AskSettings settings) {
  Questions made;
  made.task_ = task;
  made.kind_ = task.kind;
  made.sampling_ = task.sampling;
  if (settings.temperature) made.sampling_.temperature = *settings.temperature;
  if (settings.max_new_tokens) made.sampling_.max_new_tokens = *settings.max_new_tokens;
  if (settings.repeats) made.sampling_.repeats = *settings.repeats;
  made.settings_ = std::move(settings);
  if (made.settings_.limit && *made.settings_.limit < documents.size())
    documents.resize(static_cast<std::size_t>(*made.settings_.limit));
  if (documents.empty()) return Error{"task " + quote(task.name) + ": there is no question in " + quote(task.data)};
  made.documents_ = std::move(documents);
  made.pool_ = task.shots.examples.empty() ? std::move(pool) : task.shots.examples;
  for (const Document& document : made.documents_) made.groups_.push_back(group_of(document, task.group_by));
  // In lm-evaluation-harness a prompt that is a number says that the choices are contexts.
  if (made.kind_ == Kind::kChoice && task.wording.choices) {
    const auto prompt = task.wording.prompt.target(made.documents_[0], true);
    if (prompt && prompt->is_number_integer()) made.kind_ = Kind::kContexts;
  }
  if (auto error = made.draw_shots()) return *error;
  return made;
}

std::optional<Error> Questions::draw_shots() {
  const auto count = static_cast<std::size_t>(std::max(settings_.shots.value_or(task_.shots.count), 0));
  shots_.resize(documents_.size());
  examples_.resize(pool_.size());
  if (count == 0) return std::nullopt;

  // Each part of a task draws from examples of its own, in the order of its questions.
  struct Part {
    std::vector<std::uint32_t> pool;
    PythonRandom random;
  };
  std::map<std::string, Part> parts;
  const auto part_of = [&](const std::string& group) -> Part& {
    const auto at = parts.find(group);
    if (at != parts.end()) return at->second;
    Part part{{}, PythonRandom(settings_.shot_seed)};
    for (std::uint32_t i = 0; i < pool_.size(); ++i)
      if (task_.group_by.empty() || !pool_[i].contains(task_.group_by) || group_of(pool_[i], task_.group_by) == group)
        part.pool.push_back(i);
    if (task_.shots.order == Shots::Order::kSampled && !task_.shots.indices.empty()) {
      std::vector<std::uint32_t> chosen;
      for (const std::size_t index : task_.shots.indices)
        if (index < part.pool.size()) chosen.push_back(part.pool[index]);
      part.pool = std::move(chosen);
    }
    return parts.emplace(group, std::move(part)).first->second;
  };

  for (std::size_t sample = 0; sample < documents_.size(); ++sample) {
    Part& part = part_of(groups_[sample]);
    const auto is_question = [&](std::uint32_t i) {
      return task_.shots.leaves_out_question && pool_[i] == documents_[sample];
    };
    std::vector<std::uint32_t>& shots = shots_[sample];
    if (task_.shots.order == Shots::Order::kFirst) {
      for (std::size_t i = 0; i < part.pool.size() && shots.size() < count; ++i)
        if (!is_question(part.pool[i])) shots.push_back(part.pool[i]);
    } else {
      // One more is drawn where the question may be among them.
      const std::size_t drawn = count + (task_.shots.leaves_out_question ? 1 : 0);
      if (drawn <= part.pool.size())
        for (const std::size_t i : part.random.sample(part.pool.size(), drawn))
          if (!is_question(part.pool[i]) && shots.size() < count) shots.push_back(part.pool[i]);
      if (shots.size() < count && drawn <= part.pool.size()) {
        std::vector<std::uint32_t> others;
        for (const std::uint32_t i : part.pool)
          if (!is_question(i)) others.push_back(i);
        shots.clear();
        if (count <= others.size())
          for (const std::size_t i : part.random.sample(others.size(), count)) shots.push_back(others[i]);
      }
    }
    if (shots.size() < count)
      return about(
          task_, sample,
          Error{std::to_string(count) + " worked examples are asked for, and there are " +
                std::to_string(part.pool.size()) + (groups_[sample].empty() ? "" : " for " + quote(groups_[sample]))});
    for (const std::uint32_t i : shots) {
      if (!examples_[i].empty()) continue;
      auto turns = shot_turns(pool_[i]);
      if (!turns)
        return Error{"task " + quote(task_.name) + ", worked example " + std::to_string(i + 1) + ": " +
                     turns.error().what};
      examples_[i] = std::move(*turns);
    }
  }
  return std::nullopt;
}

Result<std::vector<Questions::Turn>> Questions::shot_turns(const Document& example) const {
  const Wording& wording = task_.shots.wording ? *task_.shots.wording : task_.wording;
  std::optional<std::vector<std::string>> choices;
  if (wording.choices) {
    auto texts = wording.choices->texts(example);
    if (!texts) return texts.error();
    choices = std::move(*texts);
  }
  std::string question;
  if (kind_ == Kind::kContexts) {
    const auto right = wording.prompt.target(example, true);
    if (!right) return right.error();
    auto text = answer_text(*right, choices);
    if (!text) return text.error();
    question = std::move(*text);
  } else {
    auto text = wording.prompt.text(example);
    if (!text) return text.error();
    question = std::move(*text);
  }
  const auto target = wording.target.target(example, choices.has_value());
  if (!target) return target.error();
  const auto answer = answer_text(*target, kind_ == Kind::kContexts ? std::nullopt : choices);
  if (!answer) return answer.error();
  std::string gen_prefix;
  if (wording.gen_prefix) {
    auto text = wording.gen_prefix->text(example);
    if (!text) return text.error();
    gen_prefix = std::move(*text);
  }
  std::vector<Turn> turns;
  const bool has_answer = !answer->empty();
  const bool needs_blank =
      !gen_prefix.empty() && !question.empty() && !ends_blank(question) && !begins_blank(gen_prefix);
  const bool is_delimited = (has_answer && gen_prefix.empty()) || needs_blank;
  turns.push_back({{"user", std::move(question)}, is_delimited ? wording.target_delimiter : ""});
  if (has_answer)
    turns.push_back({{"assistant", delimited(gen_prefix, *answer, " ")}, wording.shot_delimiter});
  else if (!gen_prefix.empty())
    turns.push_back({{"assistant", gen_prefix}, ""});
  return turns;
}

void Questions::append_question(std::vector<Turn>& turns, std::string question, const std::string& gen_prefix,
                                const std::string& delimiter) {
  const bool needs_blank =
      !gen_prefix.empty() && !question.empty() && !ends_blank(question) && !begins_blank(gen_prefix);
  turns.push_back({{"user", std::move(question)}, needs_blank ? delimiter : ""});
  if (!gen_prefix.empty()) turns.push_back({{"assistant", gen_prefix}, ""});
}

Result<std::vector<Questions::Turn>> Questions::turns_before(std::size_t sample) const {
  std::string description;
  if (const auto own = task_.descriptions.find(groups_[sample]); own != task_.descriptions.end()) {
    description = own->second;
  } else if (task_.description) {
    auto text = task_.description->text(documents_[sample]);
    if (!text) return text.error();
    description = std::move(*text);
  }
  std::vector<Turn> turns;
  std::string system = delimited(settings_.prefix, description, task_.wording.shot_delimiter);
  if (!system.empty()) turns.push_back({{"system", std::move(system)}, ""});
  for (const std::uint32_t i : shots_[sample]) turns.insert(turns.end(), examples_[i].begin(), examples_[i].end());
  return turns;
}

Result<std::string> Questions::written(const std::vector<Turn>& turns, bool goes_on) const {
  if (settings_.chat) {
    std::vector<Message> messages;
    for (const Turn& turn : turns) messages.push_back(turn.message);
    return settings_.chat(messages, goes_on);
  }
  std::string text;
  for (const Turn& turn : turns) {
    text += turn.message.content;
    text += turn.delimiter;
  }
  return text;
}

Result<std::vector<Request>> Questions::choice_requests(std::size_t sample, std::vector<Turn> turns,
                                                        const std::string& gen_prefix) const {
  const Document& document = documents_[sample];
  const Wording& wording = task_.wording;
  const auto choices = wording.choices->texts(document);
  if (!choices) return choices.error();
  if (choices->empty() || choices->size() > kMostChoices)
    return Error{std::to_string(choices->size()) + " choices, from 1 to 1,000 were expected"};
  // What stands between a chat's last mark and the answer is the template's to say.
  const bool has_delimiter = !settings_.chat || (!gen_prefix.empty() && !ends_blank(gen_prefix));
  const std::string delimiter = has_delimiter ? wording.target_delimiter : "";
  std::vector<Request> requests;
  const auto add = [&](std::string context, const std::string& continuation) {
    const RequestId id{sample, static_cast<std::uint32_t>(requests.size())};
    requests.push_back({id, LogLikelihood{std::move(context), delimiter + continuation}});
  };
  if (kind_ == Kind::kContexts) {
    const auto target = wording.target.target(document, true);
    if (!target) return target.error();
    for (const std::string& choice : *choices) {
      std::vector<Turn> all = turns;
      append_question(all, choice, gen_prefix, "");
      auto context = written(all, !gen_prefix.empty());
      if (!context) return context.error();
      add(std::move(*context), printed(*target));
    }
    return requests;
  }
  auto question = wording.prompt.text(document);
  if (!question) return question.error();
  append_question(turns, std::move(*question), gen_prefix, wording.target_delimiter);
  const auto context = written(turns, !gen_prefix.empty());
  if (!context) return context.error();
  for (const std::string& choice : *choices) add(*context, choice);
  return requests;
}

Result<std::vector<Request>> Questions::requests(std::size_t sample) const {
  auto turns = turns_before(sample);
  if (!turns) return about(task_, sample, turns.error());
  const Document& document = documents_[sample];
  std::string gen_prefix;
  if (task_.wording.gen_prefix) {
    auto text = task_.wording.gen_prefix->text(document);
    if (!text) return about(task_, sample, text.error());
    gen_prefix = std::move(*text);
  }
  if (kind_ != Kind::kGenerate) {
    auto requests = choice_requests(sample, std::move(*turns), gen_prefix);
    if (!requests) return about(task_, sample, requests.error());
    return requests;
  }
  auto question = task_.wording.prompt.text(document);
  if (!question) return about(task_, sample, question.error());
  append_question(*turns, std::move(*question), gen_prefix, task_.wording.target_delimiter);
  auto prompt = written(*turns, !gen_prefix.empty());
  if (!prompt) return about(task_, sample, prompt.error());
  std::vector<Request> requests;
  for (std::uint32_t index = 0; index < static_cast<std::uint32_t>(sampling_.repeats); ++index)
    requests.push_back(
        {{sample, index},
         Generation{*prompt, sampling_.stop, sampling_.max_new_tokens, sampling_.temperature, sampling_.top_p,
                    sampling_.top_k, mixed(mixed(mixed(settings_.seed) ^ sample) ^ index)}});
  return requests;
}

}  // namespace orch::eval
