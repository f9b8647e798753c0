#include "eval/harness_task.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

#include "base/digest.h"
#include "base/fields.h"
#include "base/text.h"
#include "eval/task_parts.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;
constexpr std::size_t kMostIncludes = 16;

/// A file, and those it includes after it: the first that has a key says what it is.
class Layers {
 public:
  Layers(std::span<const std::pair<const Yaml*, std::string>> files, Diagnostics& diagnostics)
      : diagnostics_(diagnostics) {
    for (const auto& [root, file] : files)
      layers_.push_back({Fields(*root, file, "a task file of lm-evaluation-harness", diagnostics), file});
  }

  struct Layer {
    Fields fields;
    std::string file;
  };

  Layer& of(std::string_view key) {
    Layer* first = nullptr;
    for (Layer& layer : layers_)
      if (layer.fields.get(key) && !first) first = &layer;
    return first ? *first : layers_.front();
  }
  /// What stands at a key; a null is nothing.
  const Yaml* get(std::string_view key) {
    const Yaml* node = of(key).fields.get(key);
    return node && !node->is_null() ? node : nullptr;
  }
  std::optional<std::string> text(std::string_view key) { return get(key) ? of(key).fields.text(key) : std::nullopt; }
  std::optional<DocText> doc_text(std::string_view key) {
    return get(key) ? read_doc_text(of(key).fields, key, of(key).file, diagnostics_) : std::nullopt;
  }
  void error(std::string_view key, std::string what) { of(key).fields.error(key, std::move(what)); }
  void finish() {
    for (Layer& layer : layers_) layer.fields.finish();
  }

 private:
  std::vector<Layer> layers_;
  Diagnostics& diagnostics_;
};

constexpr std::array<std::string_view, 10> kSaysNothing{
    "include",       "task_alias",           "tag",
    "metadata",      "should_decontaminate", "doc_to_decontamination_query",
    "unsafe_code",   "process_docs",         "process_results",
    "custom_dataset"};
constexpr std::array<std::string_view, 3> kPython{"process_docs", "process_results", "custom_dataset"};

/// The choices: a list, a template, or a map, of which the values are taken.
std::optional<DocText> choices_of(Fields& fields, std::string_view key, const std::string& file,
                                  Diagnostics& diagnostics) {
  const Yaml* node = fields.get(key);
  if (!node || node->is_null()) return std::nullopt;
  if (!node->is_map()) return read_choices(fields, key, file, diagnostics);
  Json texts = Json::array();
  for (const Yaml::Entry& entry : node->entries) texts.push_back(entry.value.text);
  return DocText::constant(std::move(texts));
}

/// Where the rows of a split lie in the folder of data.
class Splits {
 public:
  Splits(Layers& layers, Diagnostics& diagnostics) {
    const std::string path = layers.text("dataset_path").value_or("");
    const std::string name = layers.text("dataset_name").value_or("");
    const Yaml* kwargs = layers.get("dataset_kwargs");
    if (path.empty()) layers.error("dataset_path", "the key 'dataset_path' is needed");
    folder_ = path + "/" + (name.empty() ? "" : name + "/");
    if (!kwargs) return;
    Fields fields(*kwargs, layers.of("dataset_kwargs").file, "a 'dataset_kwargs' map", diagnostics);
    fields.get("trust_remote_code");
    if (const Yaml* files = fields.get("data_files")) {
      if (files->is_map())
        for (const Yaml::Entry& entry : files->entries)
          files_[entry.key] =
              entry.value.is_list() && entry.value.items.size() == 1 ? entry.value.items[0].text : entry.value.text;
      else
        files_["train"] = files->text;  // what `datasets` calls files without a split
      for (const auto& [split, file] : files_)
        if (file.empty()) fields.error("data_files", "the split " + quote(split) + " must be one file");
    }
    fields.finish();
  }

  std::string file(const std::string& split) const {
    if (const auto at = files_.find(split); at != files_.end()) return at->second;
    return folder_ + split + ".jsonl";
  }

 private:
  std::string folder_;
  std::map<std::string, std::string> files_;
};

std::optional<ExtractStep> filter_of(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a filter", diagnostics);
  fields.require("function");
  const std::string function = fields.text("function").value_or("");
  std::optional<ExtractStep> step;
  if (function == "regex") {
    const std::string pattern = fields.text("regex_pattern").value_or(R"(#### (\-?[0-9\.\,]+))");
    auto compiled = Pattern::compile(pattern);
    if (compiled) {
      TakeMatch match{std::move(*compiled)};
      match.which = static_cast<int>(fields.integer("group_select", -1'000'000, 1'000'000).value_or(0));
      match.otherwise = fields.text("fallback").value_or("[invalid]");
      step = std::move(match);
    } else {
      fields.error("regex_pattern", compiled.error().what);
      fields.get("group_select");
      fields.get("fallback");
    }
  } else if (function == "take_first") {
    step = TakeFirst{1};
  } else if (function == "take_first_k") {
    step = TakeFirst{static_cast<std::size_t>(fields.whole("k", 1, 1'000'000).value_or(1))};
  } else if (function == "majority_vote") {
    step = TakeMajority{};
  } else if (function == "remove_whitespace") {
    step = Change::kStrip;
  } else if (function == "lowercase") {
    step = Change::kLower;
  } else if (function == "uppercase") {
    step = Change::kUpper;
  } else if (function == "map") {
    Replace replace;
    if (const Yaml* map = fields.get("mapping_dict"))
      for (const Yaml::Entry& entry : map->entries) replace.by[entry.key] = entry.value.text;
    replace.otherwise = fields.text("default_value").value_or("None");
    step = std::move(replace);
  } else {
    fields.error("function", "the filter " + quote(function) +
                                 " is not known here; known are regex, take_first, take_first_k, majority_vote, "
                                 "remove_whitespace, lowercase, uppercase and map");
    return std::nullopt;
  }
  fields.finish();
  return step;
}

std::vector<Extraction> filters_of(Layers& layers, Diagnostics& diagnostics) {
  const Yaml* list = layers.get("filter_list");
  if (!list) return {{"none", {TakeFirst{1}}}};
  const std::string& file = layers.of("filter_list").file;
  std::vector<Extraction> extractions;
  if (!list->is_list()) layers.error("filter_list", "'filter_list' must be a list, found " + describe(*list));
  for (const Yaml& item : list->items) {
    Fields fields(item, file, "an entry of 'filter_list'", diagnostics);
    fields.require("name");
    Extraction extraction{fields.text("name").value_or(""), {}};
    if (const Yaml* steps = fields.require("filter"))
      for (const Yaml& step : steps->items)
        if (auto read = filter_of(step, file, diagnostics)) extraction.steps.push_back(std::move(*read));
    fields.finish();
    extractions.push_back(std::move(extraction));
  }
  return extractions;
}

void read_metrics(Layers& layers, Task& task, Diagnostics& diagnostics) {
  const Yaml* list = layers.get("metric_list");
  if (!list || !list->is_list() || list->items.empty()) {
    layers.error("metric_list", "'metric_list' must be a list of metrics");
    return;
  }
  const std::string& file = layers.of("metric_list").file;
  const std::vector<std::string> known = task.kind == Kind::kGenerate
                                             ? std::vector<std::string>{"exact_match"}
                                             : std::vector<std::string>{"acc", "acc_norm", "acc_bytes"};
  for (const Yaml& item : list->items) {
    Fields fields(item, file, "an entry of 'metric_list'", diagnostics);
    fields.require("metric");
    const std::string metric = fields.text("metric").value_or("");
    if (std::ranges::find(known, metric) == known.end())
      fields.error("metric", "the metric " + quote(metric) + " is not known here for this output_type; known are " +
                                 join(known, ", "));
    if (const auto aggregation = fields.text("aggregation"); aggregation && *aggregation != "mean")
      fields.error("aggregation", "only means are taken here, found " + quote(*aggregation));
    fields.get("higher_is_better");
    if (metric == "exact_match") {
      ExactMatch& options = task.scorer.exact_match;
      options.ignore_case = fields.truth("ignore_case").value_or(false);
      options.ignore_punctuation = fields.truth("ignore_punctuation").value_or(false);
      options.ignore_numbers = fields.truth("ignore_numbers").value_or(false);
      options.ignore = read_patterns(fields, "regexes_to_ignore", diagnostics);
    }
    fields.finish();
    task.metrics.push_back(metric);
  }
}

void read_generation(Layers& layers, Task& task, Diagnostics& diagnostics) {
  task.sampling.stop = {task.wording.shot_delimiter};
  if (const Yaml* repeats = layers.get("repeats"))
    task.sampling.repeats = static_cast<int>(std::clamp(repeats->integer().value_or(1), 1LL, 10'000LL));
  const Yaml* node = layers.get("generation_kwargs");
  if (!node) return;
  Fields fields(*node, layers.of("generation_kwargs").file, "a 'generation_kwargs' map", diagnostics);
  if (const auto until = fields.texts("until")) task.sampling.stop = *until;
  std::erase(task.sampling.stop, "");
  task.sampling.max_new_tokens = static_cast<int>(fields.whole("max_gen_toks", 1, 1'000'000).value_or(256));
  task.sampling.temperature = fields.number("temperature", 0, 5).value_or(0);
  if (!fields.truth("do_sample").value_or(true)) task.sampling.temperature = 0;
  task.sampling.top_p = fields.number("top_p", 1e-6, 1).value_or(1);
  task.sampling.top_k = static_cast<int>(fields.whole("top_k", 0, 1'000'000).value_or(0));
  fields.finish();
}

void read_shots(Layers& layers, const Splits& splits, Task& task, Diagnostics& diagnostics) {
  Shots& shots = task.shots;
  const std::string test = layers.text("test_split").value_or("");
  const std::string validation = layers.text("validation_split").value_or("");
  const std::string training = layers.text("training_split").value_or("");
  std::string split = layers.text("fewshot_split").value_or("");
  shots.order = Shots::Order::kSampled;
  if (const Yaml* count = layers.get("num_fewshot")) {
    const auto whole = count->integer();
    if (!whole || *whole < 0 || *whole > 100)
      layers.error("num_fewshot", "'num_fewshot' must be a number from 0 to 100, found " + describe(*count));
    else
      shots.count = static_cast<int>(*whole);
  }
  if (const Yaml* node = layers.get("fewshot_config")) {
    const std::string& file = layers.of("fewshot_config").file;
    Fields fields(*node, file, "a 'fewshot_config' map", diagnostics);
    using Order = Shots::Order;
    shots.order = fields.choice<Order>("sampler", {{"default", Order::kSampled}, {"first_n", Order::kFirst}})
                      .value_or(Order::kSampled);
    split = fields.text("split").value_or(split);
    if (const Yaml* samples = fields.get("samples")) shots.examples = read_examples(*samples, file, diagnostics);
    if (const Yaml* indices = fields.get("fewshot_indices"))
      for (const Yaml& item : indices->items) {
        const auto index = item.integer();
        if (index && *index >= 0)
          shots.indices.push_back(static_cast<std::size_t>(*index));
        else
          diagnostics.error(place_of(item, file), "expected the place of a document, found " + describe(item));
      }
    Wording wording = task.wording;
    if (auto text = read_doc_text(fields, "doc_to_text", file, diagnostics)) wording.prompt = std::move(*text);
    if (auto text = read_doc_text(fields, "doc_to_target", file, diagnostics)) wording.target = std::move(*text);
    if (auto text = choices_of(fields, "doc_to_choice", file, diagnostics)) wording.choices = std::move(*text);
    if (auto text = read_doc_text(fields, "gen_prefix", file, diagnostics)) wording.gen_prefix = std::move(*text);
    wording.target_delimiter = fields.text("target_delimiter").value_or(wording.target_delimiter);
    wording.shot_delimiter = fields.text("fewshot_delimiter").value_or(wording.shot_delimiter);
    shots.wording = std::move(wording);
    fields.finish();
  }
  // lm-evaluation-harness leaves the question out where the two names are equal, both of them missing too.
  shots.leaves_out_question = split == test;
  if (!split.empty()) {
    shots.examples.clear();
    shots.file = splits.file(split);
  } else if (shots.examples.empty()) {
    for (const std::string& candidate : {training, validation, test})
      if (shots.file.empty() && !candidate.empty()) shots.file = splits.file(candidate);
  }
}

}  // namespace

bool is_harness_task(const Yaml& root) {
  constexpr std::array<std::string_view, 7> kTheirs{"doc_to_text", "doc_to_target", "output_type",  "dataset_path",
                                                    "include",     "group",         "fewshot_split"};
  return root.is_map() && std::ranges::any_of(kTheirs, [&](std::string_view key) { return root.find(key) != nullptr; });
}

namespace {

std::optional<Task> read_layers(std::span<const std::pair<const Yaml*, std::string>> files, Diagnostics& diagnostics) {
  const std::size_t errors = diagnostics.error_count();
  for (const auto& [root, file] : files) {
    const Yaml* group = root->find("group");
    const Yaml* tasks = root->find("task");
    const Yaml* found = group ? group : tasks && tasks->is_list() ? tasks : nullptr;
    if (!found) continue;
    diagnostics.error(place_of(*found, file), "this is a group of tasks; name one of its tasks instead");
    return std::nullopt;
  }
  Layers layers(files, diagnostics);
  for (const std::string_view key : kSaysNothing) layers.get(key);
  for (const std::string_view key : kPython)
    if (layers.get(key))
      layers.error(key, quote(key) +
                            " is a Python function, and none are run here: import the data with the fields it "
                            "computes, or write a task file of our own");
  if (layers.get("use_prompt")) layers.error("use_prompt", "'use_prompt' needs promptsource, which is not read here");
  for (const std::string_view key : {"doc_to_image", "doc_to_audio"})
    if (layers.get(key)) layers.error(key, "questions with images or sound are not read here");
  Task task;
  task.name = layers.text("task").value_or("");
  if (!is_name(task.name)) layers.error("task", "the key 'task' must be the task's name");
  task.source = layers.of("task").fields.place("task");
  const std::string output = layers.text("output_type").value_or("generate_until");
  if (output == "generate_until")
    task.kind = Kind::kGenerate;
  else if (output != "multiple_choice")
    layers.error("output_type", "'output_type' can be multiple_choice or generate_until here, found " + quote(output));
  for (const std::string_view key : {"doc_to_text", "doc_to_target"})
    if (!layers.get(key)) layers.error(key, "the key " + quote(key) + " is needed");
  task.description = layers.doc_text("description");
  if (auto text = layers.doc_text("doc_to_text")) task.wording.prompt = std::move(*text);
  if (const Yaml* target = layers.get("doc_to_target"); target && target->is_list()) {
    if (const auto value = read_constant(*target)) task.wording.target = DocText::constant(*value);
  } else if (auto text = layers.doc_text("doc_to_target")) {
    task.wording.target = std::move(*text);
  }
  task.wording.choices =
      choices_of(layers.of("doc_to_choice").fields, "doc_to_choice", layers.of("doc_to_choice").file, diagnostics);
  if (task.kind == Kind::kChoice && !layers.get("doc_to_choice"))
    layers.error("doc_to_choice", "the key 'doc_to_choice' is needed");
  task.wording.gen_prefix = layers.doc_text("gen_prefix");
  task.wording.target_delimiter = layers.text("target_delimiter").value_or(task.wording.target_delimiter);
  task.wording.shot_delimiter = layers.text("fewshot_delimiter").value_or(task.wording.shot_delimiter);

  const Splits splits(layers, diagnostics);
  read_shots(layers, splits, task, diagnostics);
  const std::string split = layers.text("test_split").value_or(layers.text("validation_split").value_or(""));
  if (split.empty()) layers.error("test_split", "one of 'test_split' and 'validation_split' is needed");
  task.data = splits.file(split);
  for (const std::string& file : {task.data, task.shots.file})
    if (!file.empty() && !stays_below(file) && !std::filesystem::path(file).is_absolute())
      layers.error("dataset_kwargs", "a file of data must not be reached by '..', found " + quote(file));

  read_generation(layers, task, diagnostics);
  task.extractions = filters_of(layers, diagnostics);
  read_metrics(layers, task, diagnostics);
  layers.finish();
  if (diagnostics.error_count() != errors) return std::nullopt;
  return task;
}

}  // namespace

std::optional<Task> read_harness_task(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  const std::pair<const Yaml*, std::string> only{&root, file};
  return read_layers({&only, 1}, diagnostics);
}

std::optional<Task> load_harness_task(const std::filesystem::path& file, Diagnostics& diagnostics) {
  namespace fs = std::filesystem;
  std::vector<std::pair<fs::path, Yaml>> loaded;
  std::string content;
  std::vector<fs::path> wanted{file};
  while (!wanted.empty()) {
    const fs::path path = wanted.front();
    wanted.erase(wanted.begin());
    if (loaded.size() == kMostIncludes) {
      diagnostics.error({path.string()}, "more than 16 files include each other");
      return std::nullopt;
    }
    const auto text = read_file(path, kMostBytes, diagnostics);
    auto root = text ? parse_yaml(*text, path.string(), diagnostics) : std::nullopt;
    if (!root) return std::nullopt;
    content += *text;
    // The last of several includes counts first, and a file before what it includes.
    std::vector<fs::path> includes;
    if (const Yaml* include = root->find("include")) {
      if (include->is_scalar()) includes.push_back(path.parent_path() / include->text);
      for (const Yaml& item : include->items) includes.insert(includes.begin(), path.parent_path() / item.text);
    }
    wanted.insert(wanted.begin(), includes.begin(), includes.end());
    loaded.emplace_back(path, std::move(*root));
  }
  std::vector<std::pair<const Yaml*, std::string>> files;
  for (const auto& [path, root] : loaded) files.emplace_back(&root, path.string());
  auto task = read_layers(files, diagnostics);
  if (task) task->digest = to_hex(sha256(content));
  return task;
}

}  // namespace orch::eval
