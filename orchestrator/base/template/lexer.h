// From the bytes of a template to its texts and tokens, with Jinja's rules for the white space around tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/template/template.h"

namespace orch::tmpl {

struct Token {
  enum class Kind {
    kText,         ///< outside of tags, white space already taken away
    kOutputBegin,  ///< {{
    kOutputEnd,
    kBlockBegin,  ///< {%
    kBlockEnd,
    kName,
    kString,  ///< escapes already resolved
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind{};
  std::string text;
  int line = 0;
  int column = 0;
};

/// Throws a TemplateError.
std::vector<Token> tokens_of(std::string_view text, const std::string& file, const Options& options);

}  // namespace orch::tmpl
