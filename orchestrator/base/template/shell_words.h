// The words of a bash command, as far as they decide what a value among them would mean.
#pragma once

#include <string>
#include <string_view>

namespace orch::tmpl {

/// As much of a word or of a comment's beginning as is ever looked at.
constexpr std::size_t kKeptBytes = 64;
/// Stands for a value in what is kept.
constexpr char kValueMark = '\1';

/// Whether a text can stand bare as a word, or as the part of one that follows `before`.
bool is_plain_word(std::string_view text, char before);

/// With a backslash before every character that is one of `special`.
std::string escaped(std::string_view text, std::string_view special);

/// The command that is being read, up to where the reader is.
struct CommandWords {
  std::string command;     ///< the first word, once read
  std::string word;        ///< the literal beginning of the word that is being read
  bool in_word = false;    ///< false: a word may begin here
  bool is_value = false;   ///< the word so far is one value and nothing else
  bool is_array = false;   ///< these are the words of name=( … )
  bool redirects = false;  ///< the next word names a file
  char last = '\n';

  bool is_test() const { return command == "[["; }

  void add(char c);
  void add_value(std::string_view written);
  void end_word(bool in_parentheses);
  /// The command is over; in [[ ]] a new line or a parenthesis only goes on with it.
  void end_command();
  /// 2> is no word of its own.
  void drop_number();
  /// Whether `[` here begins a subscript, given the character after it.
  bool begins_subscript(char next) const;

  /// A Fault if this command reads its words once more, as bash reads a script.
  void check_rereading() const;
  /// A Fault if this command takes the value that comes next for arithmetic or for a name.
  void take_value();

 private:
  void note_evaluation(std::string_view argument);

  bool has_value_ = false;
  bool evaluates_ = false;  ///< bash takes words of this command for arithmetic or for names
};

}  // namespace orch::tmpl
