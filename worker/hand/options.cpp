#include "hand/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <limits>

#include "base/text.h"
#include "model/formats.h"
#include "train/rows.h"
#include "tuning/settings.h"

namespace orch::hand {
namespace {

struct Option {
  const char* name;
  const char* value;     ///< what stands behind it; null: nothing
  const char* commands;  ///< that have it
  const char* text;
  std::function<bool(Options&, const std::string&)> set;  ///< false: it is no such value
};

template <class T>
bool number(const std::string& text, T least, T most, T& to) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Written so that what is no number at all (nan) is refused too.
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most)) return false;
  to = value;
  return true;
}

const std::vector<Option>& options() {
  static const std::vector<Option> kOptions = {
      {"--no-special", nullptr, "tokenize", "without the tokens that the tokenizer puts around a text",
       [](Options& it, const std::string&) {
         it.special = false;
         return true;
       }},
      {"--max-new", "N", "generate eval", "tokens of a text at most (32; of eval as many as the task says)",
       [](Options& it, const std::string& text) { return number(text, 1, 1'000'000, it.most.emplace()); }},
      {"--stop", "TEXT", "generate", "end before this text; may be given several times",
       [](Options& it, const std::string& text) {
         it.stop.push_back(text);
         return !text.empty();
       }},
      {"--temperature", "T", "generate", "0, the default, always takes the likeliest token",
       [](Options& it, const std::string& text) { return number(text, 0.0F, 100.0F, it.sampling.temperature); }},
      {"--top-p", "P", "generate", "draw from the likeliest tokens that hold so much probability (1)",
       [](Options& it, const std::string& text) { return number(text, 0.0F, 1.0F, it.sampling.top_p); }},
      {"--top-k", "K", "generate", "draw from the K likeliest tokens (0: from all)",
       [](Options& it, const std::string& text) { return number(text, 0, 1'000'000'000, it.sampling.top_k); }},
      {"--seed", "S", "generate eval", "of the draws (0); each text has draws of its own",
       [](Options& it, const std::string& text) {
         return number<std::uint64_t>(text, 0, std::numeric_limits<std::uint64_t>::max(), it.sampling.seed);
       }},
      {"--chat", nullptr, "eval", "put questions as the model's chat template has it",
       [](Options& it, const std::string&) {
         it.chat = true;
         return true;
       }},
      {"--data", "FOLDER", "eval", "where scripts/import-data has put the questions; must be given",
       [](Options& it, const std::string& text) {
         it.data = text;
         return !text.empty();
       }},
      {"--shots", "N", "eval", "worked examples (as many as the task says)",
       [](Options& it, const std::string& text) { return number(text, 0, 1000, it.shots.emplace()); }},
      {"--limit", "N", "eval", "only the first N questions",
       [](Options& it, const std::string& text) {
         return number<std::uint64_t>(text, 1, std::uint64_t{1} << 40, it.limit.emplace());
       }},
      {"--samples", "FILE", "eval", "a line of JSON for each question goes there",
       [](Options& it, const std::string& text) {
         it.samples = text;
         return !text.empty();
       }},
      {"--tp", "N", "generate score eval train",
       "ranks that share each layer (1); mpirun starts tp × pp of them, of train tp × dp",
       [](Options& it, const std::string& text) { return number(text, 1, 1024, it.tensor); }},
      {"--pp", "N", "generate score eval", "stages that have the layers one after another (1)",
       [](Options& it, const std::string& text) { return number(text, 1, 1024, it.pipeline); }},
      {"--dtype", "D", "generate score eval", "in which is computed: fp32 (the default), bf16 or fp16",
       [](Options& it, const std::string& text) {
         const auto dtype = model::compute_format(text);
         it.dtype = dtype.value_or(it.dtype);
         return dtype.has_value();
       }},
      {"--out", "FOLDER", "merge train", "for what is made; must be given. Of merge it is a new one",
       [](Options& it, const std::string& text) {
         it.out = text;
         return !text.empty();
       }},
      {"--dtype", "D", "merge", "of the tensors that change: fp32, bf16 or fp16 (as they were)",
       [](Options& it, const std::string& text) {
         it.merged = model::compute_format(text);
         return it.merged.has_value();
       }},
      {"--dtype", "D", "train",
       "in which is computed: fp32, bf16 or fp16 (bf16 where the processor multiplies it, else fp32)",
       [](Options& it, const std::string& text) {
         it.taught = model::compute_format(text);
         return it.taught.has_value();
       }},
      {"--dp", "N", "train", "copies of the model, which learn from a part of each batch each (1)",
       [](Options& it, const std::string& text) { return number(text, 1, 1024, it.copies); }},
      {"--rows", "KIND", "train", "what a row is: text, instruction (the default), preference or prompt",
       [](Options& it, const std::string& text) {
         it.rows = text;
         return train::row_kind_named(text).has_value();
       }},
      {"--reward", "FILE", "train", "of prompts: what completions are worth (docs/rewards.md)",
       [](Options& it, const std::string& text) {
         it.reward = text;
         return !text.empty();
       }},
      {"--set", "NAME=VALUE", "train", "a setting, such as rank=16 or learning_rate=2e-4; may be given several times",
       [](Options& it, const std::string& text) {
         it.set.push_back(text);
         return !text.empty();
       }},
      {"--weights", "D", "generate score eval train", "in which linear layers are kept: int8 (as is computed)",
       [](Options& it, const std::string& text) {
         it.weights = model::smaller_weight_format(text);
         return it.weights.has_value();
       }},
      {"--kv-dtype", "D", "generate score eval", "of the KV cache: fp32, bf16, fp16 or fp8 (as is computed)",
       [](Options& it, const std::string& text) {
         it.cache = model::cache_format(text);
         return it.cache.has_value();
       }},
      {"--adapter", "FOLDER", "generate score eval", "a LoRA adapter as PEFT writes it, on top of the model",
       [](Options& it, const std::string& text) {
         it.adapter = text;
         return !text.empty();
       }},
      {"--threads", "N", "generate score eval train", "of each rank (its share of this machine's CPUs)",
       [](Options& it, const std::string& text) { return number(text, 1, 4096, it.threads); }},
  };
  return kOptions;
}

struct Command {
  const char *name, *usage, *text;
};
constexpr std::array<Command, 7> kCommands = {{
    {"tokenize", "MODEL [FILE] [--no-special]", "A list of strings becomes a list of lists of token ids."},
    {"generate", "MODEL [FILE] [OPTION...]",
     "A list of strings becomes a list of {prompt, ids, text}: the tokens that were written behind each, and their "
     "text."},
    {"score", "MODEL [FILE] [OPTION...]",
     "A list of [context, continuation] becomes a list of {logprob, is_greedy, tokens}: the natural logarithm of the\n"
     "continuation's probability, whether it is what the model would write, and of how many tokens it is."},
    {"eval", "MODEL TASK --data FOLDER [OPTION...]",
     "A task's questions are asked and scored; TASK is a file, or a name such as mmlu (docs/tasks.md)."},
    {"inspect", "MODEL", "What the model's files say: architecture, parameters, memory, how it can be cut over GPUs."},
    {"merge", "MODEL ADAPTER --out FOLDER [--dtype D]",
     "The model with the adapter in its weights, as a checkpoint of its own; ADAPTER is a folder as PEFT writes it\n"
     "(docs/by-hand.md)."},
    {"train", "MODEL DATA --out FOLDER [OPTION...]",
     "The model learns from the rows of DATA, a file of JSON lines, and FOLDER/adapter is what it has learnt\n"
     "(docs/training.md). Called again with the same FOLDER it goes on where it was. SIGUSR1 makes a checkpoint; "
     "SIGINT\n"
     "and SIGTERM make one and end it, with exit code 3."},
}};

bool has(const Option& option, std::string_view command) {
  return std::string_view(option.commands).find(command) != std::string_view::npos;
}

}  // namespace

bool is_command(std::string_view word) {
  return std::any_of(kCommands.begin(), kCommands.end(), [&](const Command& each) { return each.name == word; });
}

std::string help_of(const std::string& command) {
  std::string text;
  for (const Command& each : kCommands)
    if (each.name == command)
      text = "orch-worker " + command + " " + each.usage + "\n\n" + each.text +
             "\n\nMODEL is a folder, org/name[@revision] of the hub's cache, or a name of the catalog." +
             (command == "inspect" || command == "eval" || command == "merge" || command == "train"
                  ? ""
                  : " Without FILE\nthe JSON is read from standard input.") +
             " The answer is JSON.\n\n";
  for (const Option& option : options()) {
    if (!has(option, command)) continue;
    std::string name = std::string("  ") + option.name + (option.value ? std::string(" ") + option.value : "");
    name.resize(std::max<std::size_t>(name.size() + 1, 20), ' ');
    text += name + option.text + "\n";
  }
  text += "  --help            print this and stop\n";
  if (command == "train") text += "\nSettings (docs/matrix.md): " + join(tuning::setting_names(), ", ") + "\n";
  return text;
}

Result<Options> read_options(std::span<char* const> words) {
  Options it;
  it.command = words[0];
  const std::string help = "; orch-worker " + it.command + " --help shows what it takes";
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string word = words[i];
    if (word == "--help" || word == "-h") {
      it.help = true;
      return it;
    }
    if (!word.starts_with("-")) {
      std::string& place = it.model.empty() ? it.model : it.file;
      if (!place.empty() || word.empty() || (!it.model.empty() && &place == &it.file && it.command == "inspect"))
        return Error{quote(word) + " is one word too many" + help};
      place = word;
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const auto option = std::find_if(options().begin(), options().end(),
                                     [&](const Option& each) { return each.name == name && has(each, it.command); });
    if (option == options().end()) return Error{quote(name) + " is no option" + help};
    std::string value;
    if (option->value) {
      if (equals == std::string::npos && i + 1 == words.size()) return Error{name + " needs " + option->value + help};
      value = equals == std::string::npos ? words[++i] : word.substr(equals + 1);
    } else if (equals != std::string::npos) {
      return Error{name + " takes no value" + help};
    }
    if (!option->set(it, value)) return Error{quote(value) + " is no value of " + name + help};
  }
  if (it.model.empty()) return Error{"a model is missing" + help};
  if (it.command == "merge" && it.file.empty()) return Error{"an adapter is missing" + help};
  if (it.command == "train" && it.file.empty()) return Error{"a data set is missing" + help};
  nlohmann::json settings = nlohmann::json::object();
  for (const std::string& word : it.set)
    if (auto added = tuning::add_setting(word, settings); !added) return Error{added.error().what + help};
  auto read = tuning::read_settings(settings);
  if (!read) return Error{read.error().what + help};
  it.settings = *std::move(read);
  if ((it.command == "merge" || it.command == "train") && it.out.empty())
    return Error{"--out FOLDER is missing" + help};
  if (it.command == "eval" && it.file.empty()) return Error{"a task is missing" + help};
  if (it.command == "eval" && it.data.empty()) return Error{"--data FOLDER is missing" + help};
  return it;
}

}  // namespace orch::hand
