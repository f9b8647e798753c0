// Reads a bash script along while it is written, to know how a value must be quoted at the place it is printed.
//
// Holds:
//  - A value reaches bash as the very text it is, at the place it is printed: as part of one word between words and in
//    quotes, as a line's text in a here-document, as nothing at all in a comment.
//  - In a #SBATCH line, which sbatch reads and not bash, it is part of one argument.
//  - Where that cannot be had, or where the reader does not follow bash, it is a Fault and not a guess: arithmetic,
//    ${…}, `…`, $'…', subscripts, a here-document's end mark, right after \, $ or $name, the words of eval and let.
// What the word then means is up to the template: a value that begins with '-' is still an option to a command that
// takes it as one, and a command may run what it is given (bash -c, ssh, trap).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/template/here_document.h"
#include "base/template/shell_comment.h"
#include "base/template/shell_words.h"

namespace orch::tmpl {

/// Quotes and expansions are read in shell_reader.cpp, commands in shell_commands.cpp; shell_values.cpp has what is
/// written for a value.
class ShellReader {
 public:
  ShellReader();

  /// Literal text of the script. A Fault is at fault_offset() in it.
  void text(std::string_view literal);
  std::size_t fault_offset() const { return fault_offset_; }

  /// A Fault if no value can be printed here. Reads on as after a value.
  void any_value();
  /// How `value` is written here.
  std::string value(std::string_view value);
  /// Words that are already quoted, with blanks between: only where a word may begin.
  void words(std::string_view quoted);

  /// A Fault if the script cannot end here.
  void end();

  /// Whether both are at the same kind of place, so that what follows is read alike.
  bool same_place(const ShellReader& other) const;
  /// `inside double quotes`, `between commands`.
  std::string place() const { return place_of(top()); }

 private:
  enum class Kind {
    kCommand,
    kSingle,
    kAnsi,
    kDouble,
    kBacktick,
    kParameter,
    kArithmetic,
    kBracket,
    kSubscript,
    kComment,
    kHeredoc
  };

  /// What is open, the outermost first.
  struct Frame {
    Kind kind = Kind::kCommand;
    // Of commands:
    CommandWords words;
    bool closes = false;  ///< by a parenthesis
    bool is_substitution = false;
    std::vector<HereDocument> pending;  ///< their texts begin after this line
    // Of arithmetic and subscripts: brackets still open.
    int open = 0;
    ShellComment comment;
    HereDocument heredoc;
  };

  /// A place in the script, and what is known of the script behind it.
  struct Input {
    std::string_view text;
    std::size_t at = 0;
    bool final = false;  ///< nothing comes after `text`

    char now() const { return text[at]; }
    bool knows(std::size_t count) const { return final || at + count < text.size(); }
    /// NUL past the end.
    char ahead(std::size_t count) const { return at + count < text.size() ? text[at + count] : '\0'; }
    std::size_t after(std::size_t count) const { return at + count; }
  };

  /// What a step returns when it must see more of the script first.
  static constexpr std::size_t kMore = static_cast<std::size_t>(-1);

  // Each reads what begins at a place of the script, and returns where it ends, or kMore.
  std::size_t step(const Input& in);
  std::size_t escape_step(const Input& in);
  std::size_t quoted_step(const Input& in);
  std::size_t bracket_step(const Input& in);
  std::size_t heredoc_step(const Input& in);
  std::size_t dollar_step(const Input& in);
  std::size_t command_step(const Input& in);
  std::size_t command_escape(const Input& in);
  std::size_t separator(const Input& in);
  std::size_t redirection(const Input& in);
  std::size_t here_document(const Input& in);
  std::size_t open_parenthesis(const Input& in);
  std::size_t close_parenthesis(const Input& in);

  void read(std::string_view text, bool final);
  void check_newline() const;
  void end_word() { top().words.end_word(frames_.size() > 1); }
  void newline();
  void begin_heredoc();
  /// One character of the line of a here-document, if there is one around.
  void line_char(char c);
  void push(Kind kind);
  void pop();
  Frame& top() { return frames_.back(); }
  const Frame& top() const { return frames_.back(); }
  static std::string place_of(const Frame& frame);
  HereDocument* heredoc();
  bool inside_double() const;

  void finish_text();
  void check_value_place();
  void check_lines(std::string_view value) const;
  void after_value(std::string_view written);

  std::vector<Frame> frames_;
  std::string carry_;  ///< the end of the text so far, which means nothing before more is read
  bool at_line_start_ = true;
  bool dollar_name_ = false;  ///< what was read last is $name
  bool dangling_ = false;     ///< what was read last is a lone \ or $
  std::size_t fault_offset_ = 0;
};

}  // namespace orch::tmpl
