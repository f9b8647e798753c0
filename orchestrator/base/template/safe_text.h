// Texts that are marked as safe for HTML, by the filters safe and escape: in a chat template they do what Markup does
// in Python. Nothing escapes what a template prints, but what is joined to a marked text is escaped, and templates that
// were written with that in mind, or without a thought of it, have it in the text that their models were trained on.
#pragma once

#include <string>
#include <string_view>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// & < > ' " as HTML has them.
std::string escaped_text(std::string_view text);

/// What stands for a value in a marked text: its text, escaped unless it is marked itself.
std::string escaped_value(const Value& value, Budget& budget);

/// A method of a marked text: what it gives is marked too, and what goes into it is escaped.
Value safe_text_method(const std::string& text, const std::string& name, const Arguments& given, Budget& budget);

}  // namespace orch::tmpl
