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

#include "base/template/value.h"

namespace orch::tmpl {

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
  std::string place() const;

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

  struct Heredoc {
    std::string mark;
    bool quoted = false;
    bool strips_tabs = false;
  };

  struct Frame {
    Kind kind = Kind::kCommand;
    // Of a command frame:
    bool closes = false;  ///< by a parenthesis
    bool is_substitution = false;
    bool is_array = false;
    bool in_word = false;
    bool after_value = false;  ///< the word so far is one value and nothing else
    std::string word;          ///< its literal beginning; \1 stands for a value
    std::string command;       ///< the first word of the command, once read
    bool test_has_value = false;
    bool test_evaluates = false;  ///< bash takes words of this command for arithmetic or for names
    bool redirects = false;       ///< the next word names a file
    char last = '\n';
    std::vector<Heredoc> pending;  ///< here-documents whose text begins after this line
    // Of arithmetic and subscripts: brackets still open.
    int open = 0;
    // Of a comment:
    bool at_line_start = false;
    std::string comment;  ///< its beginning
    char sbatch_quote = '\0';
    bool sbatch_escape = false;
    bool sbatch_in_argument = false;
    // Of a here-document:
    Heredoc heredoc;
    std::string line;  ///< the line so far, as far as it may be the end mark
    bool line_has_value = false;
  };

  void read(std::string_view text, bool final);
  std::size_t step(std::string_view text, std::size_t i, bool final);
  std::size_t command_step(std::string_view text, std::size_t i, bool final);
  std::size_t dollar(std::string_view text, std::size_t i, bool final);
  std::size_t here_document(std::string_view text, std::size_t i, bool final);
  void newline();
  void begin_heredoc();
  void end_word();
  void word_char(char c);
  void comment_char(char c);
  void line_char(char c);
  void line_end();
  void push(Kind kind);
  void pop();
  Frame& top() { return frames_.back(); }
  const Frame& top() const { return frames_.back(); }
  int heredoc_frame() const;
  bool inside_double() const;
  void check_value_place();
  void after_value(std::string_view written);
  std::string sbatch_value(std::string_view value);
  bool is_directive(const Frame& frame) const;

  std::vector<Frame> frames_;
  std::string carry_;  ///< the end of the text so far, which means nothing before more is read
  bool at_line_start_ = true;
  bool dollar_name_ = false;  ///< what was read last is $name
  bool dangling_ = false;     ///< what was read last is a lone \ or $
  std::size_t fault_offset_ = 0;
};

}  // namespace orch::tmpl
