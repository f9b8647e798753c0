#include "base/submit.h"

#include <algorithm>

#include "base/fields.h"
#include "base/text.h"

namespace orch {
namespace {

constexpr std::size_t kMostLine = 1000;

/// Text that stands on one line of a script: no control characters, not endless.
bool one_line(std::string_view text) {
  return text.size() <= kMostLine && std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

bool is_shell_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !text.empty() && text.size() <= 200 && letter(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

/// A path in which only $NAME and ${NAME} mean anything to a shell, as it will stand in double quotes.
bool is_scratch(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '`' || c == '\\' || c == '!') return false;
    if (c != '$') continue;
    const bool braces = i + 1 < text.size() && text[i + 1] == '{';
    const std::size_t begin = i + (braces ? 2 : 1);
    std::size_t end = begin;
    while (end < text.size() && is_shell_name(text.substr(begin, end - begin + 1))) ++end;
    if (end == begin || (braces && (end == text.size() || text[end] != '}'))) return false;
    i = end - 1;
  }
  return !text.empty() && (text.front() == '/' || text.front() == '$');
}

const std::string kOneLine = "a text of one line, at most " + std::to_string(kMostLine) + " bytes";

std::optional<std::string> line_of(Fields& fields, std::string_view key) {
  auto value = fields.text(key);
  if (!value) return std::nullopt;
  if (!trim(*value).empty() && one_line(*value)) return value;
  fields.error(key, quote(key) + " must be " + kOneLine + " and not empty; found " + quote(*value));
  return std::nullopt;
}

/// A word of an sbatch option: blanks would end it.
std::optional<std::string> word_of(Fields& fields, std::string_view key) {
  auto value = line_of(fields, key);
  if (!value || value->find_first_of(" \t") == std::string::npos) return value;
  fields.error(key, quote(key) + " must be one word, without blanks; found " + quote(*value));
  return std::nullopt;
}

std::vector<std::string> lines_of(Fields& fields, std::string_view key, const std::string& file,
                                  Diagnostics& diagnostics, bool (*fits)(std::string_view), std::string_view expected) {
  std::vector<std::string> lines;
  const Yaml* node = fields.get(key);
  if (!node || !fields.texts(key)) return lines;
  const auto take = [&](const Yaml& item) {
    if (!item.is_scalar()) return;  // texts() has said so
    if (one_line(item.text) && fits(item.text))
      lines.push_back(item.text);
    else
      diagnostics.error(place_of(item, file), std::string(expected) + "; found " + quote(item.text));
  };
  if (node->is_scalar()) take(*node);
  for (const Yaml& item : node->items) take(item);
  return lines;
}

/// `--time` of `--time=01:00:00`, `--time 01:00:00`.
std::string_view option_of(std::string_view line) { return line.substr(0, line.find_first_of("= \t")); }

/// Options that the plan works out, that the templates set, or that have a key of their own.
constexpr std::string_view kOurs[] = {"--partition",     "--account",       "--qos",
                                      "--reservation",   "--constraint",    "--licenses",
                                      "--nodes",         "--ntasks",        "--ntasks-per-node",
                                      "--cpus-per-task", "--cpus-per-gpu",  "--mem",
                                      "--mem-per-cpu",   "--mem-per-gpu",   "--gres",
                                      "--gpus",          "--gpus-per-node", "--gpus-per-task",
                                      "--time",          "--time-min",      "--signal",
                                      "--requeue",       "--no-requeue",    "--open-mode",
                                      "--output",        "--error",         "--job-name",
                                      "--array",         "--wrap",          "--exclusive",
                                      "--dependency",    "--chdir",         "--comment",
                                      "--parsable",      "--wait"};

/// Names that belong to Slurm and to the worker: one that a user sets would lead a job astray.
bool is_reserved_variable(std::string_view name) {
  return name.starts_with("SLURM_") || name.starts_with("ORCH_") || name.starts_with("PMIX_") ||
         name.starts_with("OMPI_COMM_");
}

Submit read_submit_fields(Fields& fields, const std::string& file, Diagnostics& diagnostics) {
  Submit submit;
  submit.partition = word_of(fields, "partition");
  submit.account = word_of(fields, "account");
  submit.qos = word_of(fields, "qos");
  submit.reservation = word_of(fields, "reservation");
  submit.constraint = word_of(fields, "constraint");
  submit.licenses = word_of(fields, "licenses");
  if (fields.has("modules"))
    submit.modules = lines_of(
        fields, "modules", file, diagnostics,
        [](std::string_view text) {
          return !text.empty() && text.find_first_of(" \t") == std::string_view::npos && text.front() != '-';
        },
        "a module is one word, such as cuda/12.4");
  submit.conda = line_of(fields, "conda");
  submit.container = line_of(fields, "container");
  submit.container_runtime =
      fields.choice<std::string>("container_runtime", {{"apptainer", "apptainer"}, {"pyxis", "pyxis"}});
  if (fields.has("container_runtime") && !fields.has("container"))
    fields.error("container_runtime", "'container_runtime' needs 'container', the image that it runs");
  if (submit.conda && submit.container)
    fields.error("conda",
                 "'conda' and 'container' exclude each other: the environment of the host is not seen in the image");
  if (const Yaml* environment = fields.get("environment")) {
    if (!environment->is_map())
      fields.error("environment", "'environment' must be a map of names and values, found " + describe(*environment));
    for (const Yaml::Entry& entry : environment->entries) {
      if (const auto why = why_not_variable(entry.key))
        diagnostics.error({file, entry.line, entry.column}, *why);
      else if (!(entry.value.is_scalar() || entry.value.is_null()) || !one_line(entry.value.text))
        diagnostics.error(place_of(entry.value, file), "the value of " + quote(entry.key) + " must be " + kOneLine +
                                                           ", found " + describe(entry.value));
      else
        submit.environment[entry.key] = entry.value.is_null() ? "" : entry.value.text;
    }
  }
  submit.scratch = line_of(fields, "scratch");
  if (submit.scratch && !is_scratch(*submit.scratch)) {
    fields.error(
        "scratch",
        "'scratch' must be a path that begins with / or a $VARIABLE, without quotes, backslashes or commands; found " +
            quote(*submit.scratch));
    submit.scratch.reset();
  }
  submit.sbatch = lines_of(
      fields, "sbatch", file, diagnostics,
      [](std::string_view text) {
        return text.starts_with("--") && text.size() > 2 && text[2] >= 'a' && text[2] <= 'z';
      },
      "an sbatch line is one option that begins with '--', without #SBATCH");
  for (const std::string& line : submit.sbatch)
    if (std::ranges::find(kOurs, option_of(line)) != std::end(kOurs))
      fields.error("sbatch",
                   quote(option_of(line)) + " cannot stand in 'sbatch': the plan sets it, or it has a key of its own");
  return submit;
}

}  // namespace

std::optional<std::string> why_not_variable(std::string_view name) {
  if (!is_shell_name(name))
    return "the name of a variable is made of letters, digits and _ and begins with no digit; found " + quote(name);
  if (is_reserved_variable(name))
    return quote(name) + " cannot be set: names that begin with SLURM_, ORCH_, PMIX_ or OMPI_COMM_ are not the user's";
  return std::nullopt;
}

Submit Submit::over(const Submit& outer) const {
  Submit joined = *this;
  const auto inherit = [](auto& mine, const auto& theirs) {
    if (!mine) mine = theirs;
  };
  inherit(joined.partition, outer.partition);
  inherit(joined.account, outer.account);
  inherit(joined.qos, outer.qos);
  inherit(joined.reservation, outer.reservation);
  inherit(joined.constraint, outer.constraint);
  inherit(joined.licenses, outer.licenses);
  inherit(joined.modules, outer.modules);
  // A conda environment and an image exclude each other: the inner level's choice puts away the outer's other one.
  if (!container) inherit(joined.conda, outer.conda);
  if (!conda) {
    inherit(joined.container, outer.container);
    // An image brings its runtime with it; another image may need another.
    if (!container) inherit(joined.container_runtime, outer.container_runtime);
  }
  inherit(joined.scratch, outer.scratch);
  joined.environment.insert(outer.environment.begin(), outer.environment.end());
  joined.sbatch.clear();
  for (const std::string& line : outer.sbatch) {
    const auto same = [&](const std::string& own) { return option_of(own) == option_of(line); };
    if (std::ranges::none_of(sbatch, same)) joined.sbatch.push_back(line);
  }
  joined.sbatch.insert(joined.sbatch.end(), sbatch.begin(), sbatch.end());
  return joined;
}

Submit read_submit(const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "a 'submit' map", diagnostics);
  Submit submit = read_submit_fields(fields, file, diagnostics);
  fields.finish();
  return submit;
}

Submit read_submit_without_partition(const Yaml& node, const std::string& file, Diagnostics& diagnostics,
                                     std::string_view why) {
  Submit submit = read_submit(node, file, diagnostics);
  if (submit.partition)
    diagnostics.error(place_of(*node.find("partition"), file), "'partition' means nothing here: " + std::string(why));
  submit.partition.reset();
  return submit;
}

}  // namespace orch
