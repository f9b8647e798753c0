// A small template language, the part of Jinja that Slurm scripts and chat templates use.
//
// Holds:
//  - Any bytes, as template or as values, give a text or an error with its place, within the limits of Options.
//  - With Escape::kShell the template is a bash script, and whatever a value holds, it reaches the shell as literal
//    text at the place it is printed: the script is read along as it is written, and a place that cannot be made safe
//    is an error. Which places: shell_reader.h. It begins with '#!', without which sbatch takes no script.
//
// From text to text: lexer.h and parser.h make the tree (ast.h), script_check.h reads a script's tree along before
// there are values, renderer.h walks it with them. What values are and do: value.h, operators.h, access.h, methods.h,
// filters.h, value_tests.h.
//
// What differs from Jinja: integers have 64 bits and their overflow is an error; lists and maps cannot be changed in
// place; letters beyond Latin, Greek and Cyrillic have no case; `safe` marks nothing, since nothing is escaped. Only
// with Options::chat do range(), items() and filters such as map give what they give in Python, else they give lists;
// only there are the tags call, filter, with and generation, recursive loops, and arguments from lists and maps.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace orch::tmpl {

struct Options {
  bool trim_blocks = false;            ///< the newline after a block tag is dropped
  bool lstrip_blocks = false;          ///< blanks before a block tag that begins its line are dropped
  bool keep_trailing_newline = false;  ///< one newline at the end of the template stays
  bool strict = true;                  ///< printing, joining or looping over an undefined name is an error
  /// `tojson` as Jinja has it (keys sorted; < > & ' and what is not ASCII as escapes); else as chat templates expect.
  bool html_json = true;
  bool chat = false;  ///< the whole of what chat templates use, as the sandbox that transformers renders them in
  enum class Escape { kNone, kShell } escape = Escape::kNone;
  std::size_t most_output = std::size_t{16} << 20;  ///< bytes of the output, and of any one text on the way
  std::size_t most_steps = 5'000'000;               ///< work done by one rendering, roughly in values touched
  int most_depth = 100;  ///< of parentheses, blocks, values, calls and inclusions, at most 200
};

/// For scripts of bash: every value quoted for its place, undefined names are errors, block tags leave no blank lines.
Options shell_options();
/// For chat templates: Jinja as transformers sets it up, with undefined names that print as nothing.
Options chat_options();

struct TemplateError {
  std::string file;
  int line = 0;    ///< from 1
  int column = 0;  ///< from 1, in bytes
  std::string what;
};

/// The template of a name, for {% include %}; nothing when there is none.
using Loader = std::function<std::optional<std::string>(const std::string& name)>;

/// Some bytes of a text, `to` not among them.
struct Span {
  std::size_t from = 0;
  std::size_t to = 0;

  bool operator==(const Span&) const = default;
};

struct Rendered {
  std::string text;
  /// What the blocks {% generation %} printed. Of one in a macro or a set block, which is printed elsewhere or never,
  /// the span begins where the output ended when the block was rendered, as in transformers.
  std::vector<Span> generated;
};

/// A time without its zone, for the function strftime_now(). Without one the function is not defined.
using Now = std::optional<std::chrono::local_seconds>;

class Template {
 public:
  static Result<Template, TemplateError> parse(std::string_view text, std::string file, Options options = {},
                                               Loader loader = {});

  /// The text with `values` (a map) filled in. Never changes the template: safe from several threads at once.
  Result<std::string, TemplateError> render(const nlohmann::ordered_json& values) const;
  Result<Rendered, TemplateError> render_marked(const nlohmann::ordered_json& values, Now now = {}) const;

 private:
  struct Parsed;
  explicit Template(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

/// The text as exactly one word of bash, always in quotes. The caller refuses NUL, which no word can hold.
std::string shell_quote(std::string_view text);

}  // namespace orch::tmpl
