#include "eval/task.h"

#include <algorithm>
#include <charconv>

#include "base/digest.h"
#include "base/fields.h"
#include "base/text.h"
#include "eval/harness_task.h"
#include "eval/task_parts.h"

namespace orch::eval {
namespace {

constexpr int kMostShots = 100;
constexpr int kMostTokens = 1'000'000;
constexpr int kMostRepeats = 10'000;
constexpr std::size_t kMostBytes = std::size_t{16} << 20;

const std::vector<std::string> kChoiceMetrics{"acc", "acc_norm", "acc_bytes", "mc2"};

void read_wording(Fields& fields, const std::string& file, Wording& wording, Diagnostics& diagnostics) {
  if (auto text = read_doc_text(fields, "prompt", file, diagnostics)) wording.prompt = std::move(*text);
  if (auto text = read_choices(fields, "choices", file, diagnostics)) wording.choices = std::move(*text);
  if (auto text = read_doc_text(fields, "target", file, diagnostics)) wording.target = std::move(*text);
  if (auto text = read_doc_text(fields, "gen_prefix", file, diagnostics)) wording.gen_prefix = std::move(*text);
  if (auto text = fields.text("target_delimiter")) wording.target_delimiter = std::move(*text);
  if (auto text = fields.text("shot_delimiter")) wording.shot_delimiter = std::move(*text);
}

std::optional<std::string> read_path(Fields& fields, std::string_view key) {
  auto path = fields.text(key);
  if (!path || stays_below(*path)) return path;
  fields.error(key, quote(key) + " must be a relative path without '..', found " + quote(*path));
  return std::nullopt;
}

Shots read_shots(const Yaml& node, const std::string& file, const std::filesystem::path& beside, const Wording& whole,
                 std::string& content, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'shots' map", diagnostics);
  Shots shots;
  shots.count = static_cast<int>(fields.whole("count", 0, kMostShots).value_or(0));
  if (const auto from = read_path(fields, "from")) shots.file = *from;
  if (const Yaml* examples = fields.get("examples")) {
    if (examples->is_list()) {
      shots.examples = read_examples(*examples, file, diagnostics);
    } else if (const auto path = read_path(fields, "examples")) {
      auto text = read_file(beside / *path, kMostBytes, diagnostics);
      auto read = text ? parse_documents(*text, (beside / *path).string()) : Result<std::vector<Document>>(Error{});
      if (read) {
        content += *text;
        shots.examples = std::move(*read);
      } else if (text) {
        fields.error("examples", read.error().what);
      }
    }
    if (fields.has("from"))
      fields.error("from", "worked examples come 'from' a file of the data or are given as 'examples', not both");
  } else if (shots.count > 0 && shots.file.empty()) {
    fields.error("count", "worked examples need 'from' (a file of the data) or 'examples'");
  }
  using Order = Shots::Order;
  shots.order =
      fields.choice<Order>("order", {{"first", Order::kFirst}, {"sampled", Order::kSampled}}).value_or(Order::kFirst);
  shots.leaves_out_question = fields.truth("leave_out_question").value_or(false);
  Wording wording = whole;
  read_wording(fields, file, wording, diagnostics);
  shots.wording = std::move(wording);
  fields.finish();
  return shots;
}

Sampling read_sampling(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'generation' map", diagnostics);
  Sampling sampling;
  sampling.stop = fields.texts("stop").value_or(std::vector<std::string>{});
  if (std::ranges::find(sampling.stop, "") != sampling.stop.end()) fields.error("stop", "a stop string is empty");
  sampling.max_new_tokens = static_cast<int>(fields.whole("max_new_tokens", 1, kMostTokens).value_or(256));
  sampling.temperature = fields.number("temperature", 0, 5).value_or(0);
  sampling.top_p = fields.number("top_p", 1e-6, 1).value_or(1);
  sampling.top_k = static_cast<int>(fields.whole("top_k", 0, kMostTokens).value_or(0));
  sampling.repeats = static_cast<int>(fields.whole("repeats", 1, kMostRepeats).value_or(1));
  fields.finish();
  return sampling;
}

std::optional<ExtractStep> read_step(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  static const std::vector<std::pair<std::string, ExtractStep>> kWords{{"strip", Change::kStrip},
                                                                       {"lower", Change::kLower},
                                                                       {"upper", Change::kUpper},
                                                                       {"take_first", TakeFirst{1}},
                                                                       {"majority_vote", TakeMajority{}},
                                                                       {"minerva_answer", Change::kMinervaAnswer},
                                                                       {"between_dollars", Change::kBetweenDollars}};
  if (node.is_scalar()) {
    std::vector<std::string> known;
    for (const auto& [word, step] : kWords) {
      if (word == node.text) return step;
      known.push_back(word);
    }
    diagnostics.error(place_of(node, file), "no step of extraction is called " + quote(node.text) +
                                                hint_sentence(node.text, known) + " There are " + join(known, ", ") +
                                                ", and maps with 'regex' or 'take_first'");
    return std::nullopt;
  }
  Fields fields(node, file, "a step of extraction", diagnostics);
  std::optional<ExtractStep> step;
  if (fields.has("take_first")) {
    step = TakeFirst{static_cast<std::size_t>(fields.whole("take_first", 1, kMostRepeats).value_or(1))};
  } else {
    fields.require("regex");
    if (auto pattern = read_pattern(fields, "regex", diagnostics)) {
      TakeMatch match{std::move(*pattern)};
      match.which = static_cast<int>(fields.integer("which", -1'000'000, 1'000'000).value_or(0));
      match.otherwise = fields.text("otherwise").value_or("[invalid]");
      step = std::move(match);
    } else {
      fields.get("which");
      fields.get("otherwise");
    }
  }
  fields.finish();
  return step;
}

std::vector<Extraction> read_extractions(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  std::vector<Extraction> extractions;
  if (!node.is_map() || node.entries.empty()) {
    diagnostics.error(place_of(node, file),
                      "'extract' must be a map from names to lists of steps, found " + describe(node));
    return extractions;
  }
  for (const Yaml::Entry& entry : node.entries) {
    Extraction extraction{entry.key, {}};
    if (!is_name(entry.key))
      diagnostics.error({file, entry.line, entry.column}, quote(entry.key) + " cannot be the name of an extraction");
    if (!entry.value.is_list())
      diagnostics.error(place_of(entry.value, file), "expected a list of steps, found " + describe(entry.value));
    for (const Yaml& item : entry.value.items)
      if (auto step = read_step(item, file, diagnostics)) extraction.steps.push_back(std::move(*step));
    extractions.push_back(std::move(extraction));
  }
  return extractions;
}

Scorer read_scorer(Fields& whole, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Scorer scorer;
  if (!node.is_map()) {
    if (const auto name = whole.name("scorer")) scorer.name = *name;
    return scorer;
  }
  Fields fields(node, file, "a 'scorer' map", diagnostics);
  fields.require("exact_match");
  if (const Yaml* options = fields.get("exact_match")) {
    Fields inner(*options, file, "an 'exact_match' map", diagnostics);
    scorer.exact_match.ignore_case = inner.truth("ignore_case").value_or(false);
    scorer.exact_match.ignore_punctuation = inner.truth("ignore_punctuation").value_or(false);
    scorer.exact_match.ignore_numbers = inner.truth("ignore_numbers").value_or(false);
    scorer.exact_match.ignore = read_patterns(inner, "ignore", diagnostics);
    inner.finish();
  }
  fields.finish();
  return scorer;
}

void read_description(Fields& fields, const std::string& file, Task& task, Diagnostics& diagnostics) {
  const Yaml* node = fields.get("description");
  if (!node || !node->is_map()) {
    task.description = read_doc_text(fields, "description", file, diagnostics);
    return;
  }
  if (task.group_by.empty()) fields.error("description", "a description for each group needs 'group_by'");
  for (const Yaml::Entry& entry : node->entries) {
    if (entry.value.is_scalar())
      task.descriptions[entry.key] = entry.value.text;
    else
      diagnostics.error(place_of(entry.value, file), "a description must be a text, found " + describe(entry.value));
  }
}

void check_metrics(Fields& fields, Task& task) {
  if (task.metrics.empty() && fields.has("metrics")) fields.error("metrics", "'metrics' is an empty list");
  int plain = 0;
  for (const std::string& metric : task.metrics) {
    if (task.kind != Kind::kGenerate) {
      if (std::ranges::find(kChoiceMetrics, metric) == kChoiceMetrics.end())
        fields.error("metrics", "choices are not scored by " + quote(metric) + hint_sentence(metric, kChoiceMetrics) +
                                    " There are " + join(kChoiceMetrics, ", "));
      if (metric == "mc2" && !task.labels) fields.error("metrics", "'mc2' needs the key 'labels'");
      continue;
    }
    if (!is_name(metric)) fields.error("metrics", quote(metric) + " cannot be the name of a metric");
    const auto k = Task::pass_at(metric);
    if (!k)
      ++plain;
    else if (*k > task.sampling.repeats)
      fields.error("metrics",
                   quote(metric) + " needs 'repeats' of at least " + std::to_string(*k) + " in 'generation'");
  }
  if (plain > 1) fields.error("metrics", "one scorer gives one metric, and any number of pass_at_ beside it");
}

}  // namespace

std::optional<int> Task::pass_at(const std::string& metric) {
  constexpr std::string_view kPrefix = "pass_at_";
  if (!metric.starts_with(kPrefix)) return std::nullopt;
  int k = 0;
  const char* const end = metric.data() + metric.size();
  const auto read = std::from_chars(metric.data() + kPrefix.size(), end, k);
  if (read.ec != std::errc() || read.ptr != end || k < 1) return std::nullopt;
  return k;
}

bool stays_below(const std::string& name) {
  const std::filesystem::path path(name);
  if (name.empty() || name.find('\0') != std::string::npos || !path.is_relative()) return false;
  return std::ranges::none_of(path, [](const auto& part) { return part == ".."; });
}

std::optional<Task> read_task(const Yaml& root, const std::string& file, const std::filesystem::path& beside,
                              Diagnostics& diagnostics) {
  const std::size_t errors = diagnostics.error_count();
  Fields fields(root, file, "a task file", diagnostics);
  Task task;
  std::string content;
  for (const std::string_view key : {"task", "kind", "data", "target"}) fields.require(key);
  task.name = fields.name("task").value_or("");
  task.source = fields.place("task");
  task.status = fields.choice<Status>("status", {{"verified", Status::kVerified}, {"unverified", Status::kUnverified}})
                    .value_or(Status::kUnverified);
  task.notes = fields.text("notes").value_or("");
  task.kind = fields
                  .choice<Kind>(
                      "kind", {{"choice", Kind::kChoice}, {"contexts", Kind::kContexts}, {"generate", Kind::kGenerate}})
                  .value_or(Kind::kChoice);
  if (const auto data = read_path(fields, "data")) task.data = *data;
  task.group_by = fields.text("group_by").value_or("");
  read_description(fields, file, task, diagnostics);
  read_wording(fields, file, task.wording, diagnostics);
  if (task.kind == Kind::kContexts) {
    fields.require("right");
    if (auto right = read_doc_text(fields, "right", file, diagnostics)) task.wording.prompt = std::move(*right);
    if (fields.has("prompt")) fields.error("prompt", "a task of 'kind: contexts' has its prompts in 'choices'");
  } else {
    fields.require("prompt");
  }
  if (task.kind != Kind::kGenerate) {
    fields.require("choices");
    task.labels = read_choices(fields, "labels", file, diagnostics);
  }
  if (const Yaml* shots = fields.get("shots"))
    task.shots = read_shots(*shots, file, beside, task.wording, content, diagnostics);
  if (task.kind == Kind::kGenerate) {
    fields.require("generation");
    if (const Yaml* generation = fields.get("generation"))
      task.sampling = read_sampling(*generation, file, diagnostics);
    if (const Yaml* extract = fields.get("extract"))
      task.extractions = read_extractions(*extract, file, diagnostics);
    else
      task.extractions = {{"none", {}}};
    if (const Yaml* scorer = fields.get("scorer")) task.scorer = read_scorer(fields, *scorer, file, diagnostics);
  }
  fields.require("metrics");
  task.metrics = fields.texts("metrics").value_or(std::vector<std::string>{});
  check_metrics(fields, task);
  fields.finish();
  if (diagnostics.error_count() != errors) return std::nullopt;
  task.digest = to_hex(sha256(content));
  return task;
}

std::optional<Task> load_task(const std::filesystem::path& file, Diagnostics& diagnostics) {
  const auto text = read_file(file, kMostBytes, diagnostics);
  if (!text) return std::nullopt;
  const auto root = parse_yaml(*text, file.string(), diagnostics);
  if (!root) return std::nullopt;
  if (is_harness_task(*root)) return load_harness_task(file, diagnostics);
  auto task = read_task(*root, file.string(), file.parent_path(), diagnostics);
  if (task) task->digest = to_hex(sha256(task->digest + *text));
  return task;
}

}  // namespace orch::eval
