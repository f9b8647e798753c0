// How a stage runs lm-evaluation-harness: its program, task files of the user's own, and what it is told beyond the
// cell.
#include <algorithm>
#include <array>

#include "base/fields.h"
#include "base/text.h"
#include "matrix/stage_reader.h"

namespace orch::matrix {
namespace {

constexpr std::size_t kMostWords = 200;
constexpr std::size_t kMostWord = 4096;  // bytes

/// What a cell says itself, and by which key or setting. The harness takes beginnings of long options too.
struct Told {
  std::string_view option, brief, by;
};
constexpr std::array<Told, 14> kTold = {{
    {"--model", "-M", "the engine: another backend is a command of your own"},
    {"--model_args", "-a", "'model_args'"},
    {"--tasks", "-t", "the task, by 'lm_eval' of the catalog"},
    {"--include_path", "", "'include_path'"},
    {"--num_fewshot", "-f", "the setting 'shots'"},
    {"--batch_size", "-b", "the setting 'batch'"},
    {"--limit", "-L", "the setting 'limit'"},
    {"--seed", "", "the setting 'seed'"},
    {"--gen_kwargs", "", "the settings 'temperature' and 'max_tokens'"},
    {"--apply_chat_template", "", "the setting 'chat_template'"},
    {"--fewshot_as_multiturn", "", "the setting 'chat_template'"},
    {"--system_instruction", "", "the setting 'prefix'"},
    {"--output_path", "-o", "the worker, which reads what is written there"},
    {"--confirm_run_unsafe_code", "", "the setting 'run_unsafe_code', of tasks of kind code"},
}};
/// Arguments of the model that are made of the cell.
constexpr std::array<std::string_view, 6> kToldOfModel = {"pretrained", "revision",    "dtype",
                                                          "max_length", "parallelize", "peft"};

const Told* said_by_cell(std::string_view word) {
  const std::string_view name = word.substr(0, word.find('='));
  const auto says = [&](const Told& each) {
    if (name.starts_with("--")) return name.size() > 2 && each.option.starts_with(name);
    return !each.brief.empty() && word.starts_with(each.brief);
  };
  const auto found = std::ranges::find_if(kTold, says);
  return found == kTold.end() ? nullptr : &*found;
}

bool is_one_line(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

}  // namespace

void StageReader::read_harness(const Section& section, Stage& stage) {
  const Yaml& node = *section.node;
  if (!affordable(node)) return;
  if (stage.kind != CellKind::kEval) {
    if (!section.inherited)
      error(node,
            "only eval cells run on lm-evaluation-harness, and these are of kind " + std::string(name_of(stage.kind)));
    return;
  }
  Fields fields(node, file_, "an 'lm_eval' map", diagnostics_);
  const Yaml* run = fields.get("run");
  const Yaml* include = fields.get("include_path");
  const Yaml* model_args = fields.get("model_args");
  const Yaml* arguments = fields.get("arguments");
  const Yaml* env = fields.get("env");
  fields.finish();
  if (run) {
    stage.harness.run = read_plain_words(*run, "run");
    if (!stage.harness.run.empty())
      if (const auto why = why_not_program(stage.harness.run.front())) error(*run, *why);
  }
  if (include) {
    if (!include->is_scalar() || !include->text.starts_with('/') || include->text.size() > kMostWord ||
        !is_one_line(include->text))
      error(*include,
            "'include_path' must be the whole path of a folder with task files, /…; found " + describe(*include));
    else
      stage.harness.include_path = include->text;
  }
  if (model_args) read_model_args(*model_args, stage.harness);
  if (arguments) read_arguments(*arguments, stage.harness);
  if (!env) return;
  if (!env->is_map()) {
    error(*env, "'env' must be a map of names and values, found " + describe(*env));
    return;
  }
  for (const Yaml::Entry& entry : env->entries)
    if (read_variable(entry)) stage.harness.env[entry.key] = entry.value.is_null() ? "" : entry.value.text;
}

void StageReader::read_model_args(const Yaml& node, Harness& harness) {
  if (!node.is_map()) {
    error(node,
          "'model_args' must be a map of names and values, as {trust_remote_code: true}; found " + describe(node));
    return;
  }
  for (const Yaml::Entry& entry : node.entries) {
    const Yaml& value = entry.value;
    const Place place = {file_, entry.line, entry.column};
    if (!is_setting_name(entry.key))
      diagnostics_.error(place,
                         "an argument of the model has a name of letters, digits and _; found " + quote(entry.key));
    else if (std::ranges::find(kToldOfModel, entry.key) != kToldOfModel.end())
      diagnostics_.error(place, quote(entry.key) + " of the model is made of the cell: its model, settings and place");
    else if (!value.is_scalar() || value.text.empty() || value.text.size() > kMostWord || !is_one_line(value.text) ||
             value.text.find_first_of(",\"'[](){}") != std::string::npos)
      error(value, "the value of " + quote(entry.key) +
                       " must be a text without commas, quotes and brackets, which mean something to the harness; "
                       "found " +
                       describe(value));
    else
      // Python's way of writing them, which the harness reads.
      harness.model_args[entry.key] = value.truth() ? (*value.truth() ? "True" : "False") : value.text;
  }
}

void StageReader::read_arguments(const Yaml& node, Harness& harness) {
  harness.arguments = read_plain_words(node, "arguments");
  for (const Yaml& item : node.items)
    if (const Told* each = item.is_scalar() ? said_by_cell(item.text) : nullptr)
      error(item, quote(item.text) + " is not for 'arguments': " + std::string(each->option) + " is said by " +
                      std::string(each->by));
}

/// A list of words; no shell takes them apart, and braces in them are braces.
std::vector<std::string> StageReader::read_plain_words(const Yaml& node, const char* key) {
  std::vector<std::string> words;
  if (!node.is_list() || node.items.empty() || node.items.size() > kMostWords) {
    error(node, quote(key) + " must be a list of 1 to " + std::to_string(kMostWords) +
                    " words, which no shell takes apart; found " +
                    (node.is_list() ? std::to_string(node.items.size()) : describe(node)));
    return words;
  }
  for (const Yaml& item : node.items) {
    if (!item.is_scalar() || item.text.size() > kMostWord || !is_one_line(item.text) ||
        (words.empty() && item.text.empty()))
      error(item, "a word of " + quote(key) + " must be a text of one line, at most " + std::to_string(kMostWord) +
                      " bytes; found " + describe(item));
    else
      words.push_back(item.text);
  }
  return words;
}

}  // namespace orch::matrix
