// A comment of a script, which sbatch takes for a line of its own when it begins with #SBATCH.
#pragma once

#include <string>
#include <string_view>

namespace orch::tmpl {

class ShellComment {
 public:
  ShellComment() = default;
  /// After its '#'.
  explicit ShellComment(bool at_line_start) : at_line_start_(at_line_start), text_("#") {}

  void add(char c);
  /// A Fault if no value can be printed here.
  void check_value() const;
  /// How a value is written here.
  std::string value(std::string_view value) const;
  void after_value();

  /// Whether both stand alike in the quotes of a directive.
  bool same_quote(const ShellComment& other) const { return quote_ == other.quote_; }

 private:
  bool is_directive() const;
  std::string argument(std::string_view value) const;

  bool at_line_start_ = false;
  std::string text_;  ///< its beginning
  // As sbatch reads the arguments of a directive:
  char quote_ = '\0';
  bool escape_ = false;
  bool in_argument_ = false;
};

}  // namespace orch::tmpl
