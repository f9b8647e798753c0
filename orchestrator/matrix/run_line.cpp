#include "matrix/run_line.h"

#include <charconv>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/dtype.h"
#include "base/model.h"
#include "base/task.h"
#include "base/text.h"
#include "matrix/command.h"
#include "matrix/settings.h"

namespace orch::matrix {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

Error broken(const char* what) { return Error{std::string("the cell as it is stored ") + what}; }

/// The member, if `object` is one and has it.
const json* find(const json* object, std::string_view name) {
  if (!object || !object->is_object()) return nullptr;
  const auto at = object->find(name);
  return at == object->end() ? nullptr : &*at;
}

const std::string* text_of(const json* value) {
  return value && value->is_string() ? value->get_ptr<const json::string_t*>() : nullptr;
}

/// As plain_text() of the setting's value.
void append_plain(std::string& text, const json& value) {
  if (const std::string* word = text_of(&value)) {
    text += *word;
  } else if (value.is_number_integer()) {
    char digits[24];
    const auto end = value.is_number_unsigned()
                         ? std::to_chars(digits, digits + sizeof digits, value.get<std::uint64_t>())
                         : std::to_chars(digits, digits + sizeof digits, value.get<std::int64_t>());
    text.append(digits, end.ptr);
  } else {
    text += canonical_json(value);
  }
}

std::string plain(const json& value) {
  std::string text;
  append_plain(text, value);
  return text;
}

/// A cell as it is stored, with what its placeholders stand for.
class Stored {
 public:
  Stored(json content, json settings, const std::string& model, const std::string& task, const fs::path& out,
         const RunSlot& slot)
      : content_(std::move(content)),
        settings_(std::move(settings)),
        model_name_(model),
        task_name_(task),
        out_(out.string()),
        output_(out.parent_path().string()),
        adapter_(slot.adapter.string()),
        slot_(slot),
        model_(find(&content_, "model")),
        task_(find(&content_, "task")),
        engine_(find(&content_, "engine")) {}

  Result<RunLine> line() const {
    const std::string* engine = text_of(find(engine_, "name"));
    if (!engine) return broken("names no engine");
    RunLine line;
    line.engine = *engine;
    if (const json* gpus = setting("gpus"); gpus && gpus->is_number())
      line.gpus = gpus->get<double>();
    else
      line.gpus = slot_.gpus;
    line.nodes = number<int>("nodes").value_or(1);
    line.cpus = number<int>("cpus").value_or(0);
    line.memory = number<std::int64_t>("memory").value_or(0);
    if (*engine == name_of(Engine::kCommand)) return of_command(std::move(line));
    if (*engine == name_of(Engine::kLmEval)) return of_lm_eval(std::move(line));
    if (*engine == name_of(Engine::kNative)) return of_native(std::move(line));
    return broken("has an engine that is not known");
  }

 private:
  const json* setting(std::string_view name) const { return find(&settings_, name); }

  template <class T>
  std::optional<T> number(std::string_view name) const {
    const json* value = setting(name);
    if (!value || !value->is_number_integer()) return std::nullopt;
    const auto whole = value->get<std::int64_t>();
    if (whole < 0 || whole > std::numeric_limits<T>::max()) return std::nullopt;
    return static_cast<T>(whole);
  }

  bool is(std::string_view name) const {
    const json* value = setting(name);
    return value && value->is_boolean() && value->get<bool>();
  }

  // --- Of a command ---

  Result<RunLine> of_command(RunLine line) const {
    const json* words = find(&content_, "command");
    if (!words || !words->is_array() || words->empty()) return broken("has no command");
    const AppendValue fill = [this](std::string_view name, std::string& text) { return append(name, text); };
    line.run.reserve(words->size());
    for (const json& word : *words) {
      const std::string* argument = text_of(&word);
      if (!argument) return broken("has a command that is no list of words");
      auto filled = fill_argument(*argument, fill);
      if (!filled) return filled.error();
      line.run.push_back(*std::move(filled));
    }
    const json* env = find(&content_, "env");
    if (!env) return line;
    if (!env->is_object()) return broken("has an 'env' that is no map");
    for (const auto& [name, value] : env->get_ref<const json::object_t&>()) {
      const std::string* argument = text_of(&value);
      if (!argument) return broken("has a variable that is no text");
      auto filled = fill_argument(*argument, fill);
      if (!filled) return filled.error();
      line.environment.emplace_hint(line.environment.end(), name, *std::move(filled));
    }
    return line;
  }

  /// What the placeholder stands for. A fact goes before a setting of its name, as in placeholder_values().
  bool append(std::string_view name, std::string& text) const {
    const auto known = [&](bool there, const std::string& value) {
      if (there) text += value;
      return there;
    };
    if (name == "out") return known(true, out_);
    if (name == "output") return known(true, output_);
    if (name == "adapter") return known(!adapter_.empty(), adapter_);
    if (name == "model" && model_) return known(true, model_name_);
    if (name == "task" && task_) return known(true, task_name_);
    if (name == "hf_id" && model_) {
      if (const std::string* id = text_of(find(model_, "hf_id"))) return known(true, *id);
      // A model of the catalog has a revision even without an id; a name of the matrix's own has neither.
      if (find(model_, "revision")) return true;
    }
    constexpr std::string_view kPrefix = "settings.";
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    if (const json* value = setting(name)) {
      append_plain(text, *value);
      return true;
    }
    const std::string* kind = text_of(find(&content_, "kind"));
    const auto off = text_of_off(name, kind ? cell_kind_named(*kind).value_or(CellKind::kCommand) : CellKind::kCommand);
    text += off.value_or("");
    return off.has_value();
  }

  // --- Of the native engine ---

  Result<RunLine> of_native(RunLine line) const {
    wire::Ask& ask = line.ask.emplace();
    const std::string* id = text_of(find(model_, "hf_id"));
    if (!id || id->empty())
      return Error{"the native engine finds models by their Hugging Face id or folder, and this has none"};
    ask.model = *id;
    if (const std::string* revision = text_of(find(model_, "revision"))) ask.revision = *revision;
    // What the cell is of: a branch may have moved on since.
    if (const std::string* weights = text_of(find(engine_, "weights"))) ask.revision = *weights;
    if (const std::string* digest = text_of(find(engine_, "data"))) ask.digest = *digest;
    const std::string *weights = text_of(setting("dtype")), *said = text_of(setting("compute_dtype"));
    const auto format = dtype_named(said ? *said : weights ? *weights : "");
    if (!format) return broken("does not say in which number format it computes");
    ask.dtype = name_of(said ? *format : default_compute(*format));
    const std::string* cache = text_of(setting("kv_dtype"));
    ask.cache_dtype = cache ? *cache : ask.dtype;
    if (weights && dtype_named(*weights) == DType::kInt8) ask.weights = *weights;
    ask.context = number<std::int64_t>("context").value_or(0);
    ask.shots = number<int>("shots").value_or(-1);
    ask.limit = number<std::int64_t>("limit").value_or(0);
    ask.max_tokens = number<std::int64_t>("max_tokens").value_or(0);
    if (const json* temperature = setting("temperature"); temperature && temperature->is_number())
      ask.temperature = temperature->get<double>();
    ask.chat = is("chat_template");
    if (const std::string* prefix = text_of(setting("prefix"))) ask.prefix = *prefix;
    ask.seed = static_cast<std::uint64_t>(number<std::int64_t>("seed").value_or(0));
    if (find(&content_, "adapter") && adapter_.empty())
      return Error{"the folder of the adapter that the cell evaluates is not known"};
    const std::string* kind = text_of(find(&content_, "kind"));
    if (!kind || cell_kind_named(*kind) != CellKind::kTrain) return line;
    const std::string* rows = text_of(find(engine_, "rows"));
    if (!rows || rows->empty()) return broken("does not say what the rows are that it learns from");
    ask.rows = *rows;
    ask.settings = settings_.dump(-1, ' ', false, json::error_handler_t::replace);
    // What only the place knows completes these: where its files are.
    if (const std::string* data = text_of(setting("data"))) ask.data = *data;
    if (const std::string* reward = text_of(setting("reward"))) ask.reward = *reward;
    if (const std::string* data_id = text_of(find(task_, "hf_id"))) line.data_id = *data_id;
    if (const std::string* digest = text_of(find(engine_, "reward"))) ask.digest += " " + *digest;
    return line;
  }

  // --- Of lm-evaluation-harness ---

  Result<RunLine> of_lm_eval(RunLine line) const {
    const std::string* harness_task = text_of(find(engine_, "task"));
    if (!harness_task) return broken("names no task of lm-evaluation-harness");
    const std::string* kind = text_of(find(task_, "kind"));
    if (!kind) return broken("names no kind of task");
    const auto model_args = arguments_of_model();
    if (!model_args) return model_args.error();
    const bool sees = *kind == name_of(TaskKind::kVisionLanguage);
    const bool codes = *kind == name_of(TaskKind::kCode);
    std::vector<std::string>& run = line.run;
    if (const json* words = find(engine_, "run")) {
      if (!append_words(*words, run) || run.empty()) return broken("has a harness that is no list of words");
    } else {
      run = {"lm_eval"};
    }
    for (const std::string& word : {std::string("--model"), std::string(sees ? "hf-multimodal" : "hf"),
                                    std::string("--model_args"), *model_args, std::string("--tasks"), *harness_task,
                                    std::string("--batch_size"), batch(), std::string("--output_path"), output_})
      run.push_back(word);
    if (const std::string* folder = text_of(find(engine_, "include_path"))) {
      run.emplace_back("--include_path");
      run.push_back(*folder);
    }
    if (const auto seed = number<std::int64_t>("seed")) {
      run.emplace_back("--seed");
      run.push_back(seeds(*seed));
    }
    if (const json* shots = setting("shots")) {
      run.emplace_back("--num_fewshot");
      run.push_back(plain(*shots));
    }
    if (const json* limit = setting("limit")) {
      run.emplace_back("--limit");
      run.push_back(plain(*limit));
    }
    // A task that only weighs the choices it gives generates nothing.
    if (const std::string how = generation(); *kind != name_of(TaskKind::kMultipleChoice) && !how.empty()) {
      run.emplace_back("--gen_kwargs");
      run.push_back(how);
    }
    if (is("chat_template")) {
      // Which of the two the harness takes where nothing is said has changed from version to version.
      run.emplace_back("--apply_chat_template");
      run.emplace_back("--fewshot_as_multiturn");
    }
    // In one word: it may begin with a dash.
    if (const std::string* prefix = text_of(setting("prefix")); prefix && !prefix->empty())
      run.push_back("--system_instruction=" + *prefix);
    if (codes && is("run_unsafe_code")) {
      // To measure code is to run it; without these two the harness refuses.
      run.emplace_back("--confirm_run_unsafe_code");
      line.environment["HF_ALLOW_CODE_EVAL"] = "1";
    }
    if (const json* words = find(engine_, "arguments"))
      if (!append_words(*words, run)) return broken("has arguments that are no list of words");
    if (const json* env = find(&content_, "env")) {
      if (!env->is_object()) return broken("has an 'env' that is no map");
      for (const auto& [name, value] : env->items()) {
        const std::string* text = text_of(&value);
        if (!text) return broken("has a variable that is no text");
        line.environment[name] = *text;
      }
    }
    return line;
  }

  static bool append_words(const json& words, std::vector<std::string>& run) {
    if (!words.is_array()) return false;
    for (const json& word : words) {
      const std::string* text = text_of(&word);
      if (!text) return false;
      run.push_back(*text);
    }
    return true;
  }

  /// `pretrained=…,revision=…,dtype=…`
  Result<std::string> arguments_of_model() const {
    const std::string* id = text_of(find(model_, "hf_id"));
    if (!id || id->empty())
      return Error{"lm-evaluation-harness loads models by their Hugging Face id, and this has none"};
    std::string text = "pretrained=" + *id;
    if (const std::string* revision = text_of(find(model_, "revision"))) text += ",revision=" + *revision;
    const auto format = compute();
    if (!format) return broken("does not say in which number format it computes");
    text += ",dtype=";
    text += *format;
    if (const json* context = setting("context")) text += ",max_length=" + plain(*context);
    if (slot_.gpus > 1) text += ",parallelize=True";
    if (const json* more = find(engine_, "model_args"); more && more->is_object())
      for (const auto& [name, value] : more->items())
        if (const std::string* said = text_of(&value)) text.append(",").append(name).append("=").append(*said);
    if (!find(&content_, "adapter")) return text;
    if (adapter_.empty()) return Error{"the folder of the adapter that the cell evaluates is not known"};
    if (adapter_.find_first_of(",\"'[](){}") != std::string::npos)
      return Error{"lm-evaluation-harness cannot be told of the adapter's folder " + quote(adapter_) +
                   ": commas, quotes and brackets mean something to it"};
    return text + ",peft=" + adapter_;
  }

  /// The number format of computation, as PyTorch calls it. Weights of fewer bits say in their own files how they are
  /// widened.
  std::optional<std::string_view> compute() const {
    const std::string* said = text_of(setting("compute_dtype"));
    const std::string* weights = text_of(setting("dtype"));
    auto format = dtype_named(said ? *said : weights ? *weights : "");
    if (format && !said) format = default_compute(*format);
    if (format == DType::kBf16) return "bfloat16";
    if (format == DType::kFp16) return "float16";
    if (format == DType::kFp32) return "float32";
    return std::nullopt;
  }

  std::string batch() const {
    const json* said = setting("batch");
    return said ? plain(*said) : "auto";
  }

  /// One number for Python, NumPy, PyTorch and the choice of examples; NumPy takes 32 bits.
  static std::string seeds(std::int64_t seed) {
    const std::string all = std::to_string(seed);
    if (seed <= 0xFFFFFFFF) return all;
    return all + "," + std::to_string(seed & 0xFFFFFFFF) + "," + all + "," + all;
  }

  /// `do_sample=False,temperature=0,max_gen_toks=512`
  std::string generation() const {
    std::string text;
    const auto add = [&](std::string_view name, std::string_view value) {
      if (!text.empty()) text += ',';
      text.append(name).append("=").append(value);
    };
    if (const json* temperature = setting("temperature"); temperature && temperature->is_number()) {
      add("do_sample", temperature->get<double>() > 0 ? "True" : "False");
      add("temperature", plain(*temperature));
    }
    if (const json* most = setting("max_tokens")) add("max_gen_toks", plain(*most));
    return text;
  }

  const json content_, settings_;
  const std::string &model_name_, &task_name_;
  const std::string out_, output_, adapter_;
  const RunSlot& slot_;
  const json *model_, *task_, *engine_;
};

}  // namespace

Result<RunLine> run_line(std::string_view content, std::string_view settings, const std::string& model,
                         const std::string& task, const fs::path& out, const RunSlot& slot) {
  json of_content = json::parse(content, nullptr, false), of_settings = json::parse(settings, nullptr, false);
  if (!of_content.is_object()) return broken("has a content that is no JSON object");
  if (!of_settings.is_object()) return broken("has settings that are no JSON object");
  return Stored(std::move(of_content), std::move(of_settings), model, task, out, slot).line();
}

}  // namespace orch::matrix
