// A conversation that ends in the middle of its last message, for a model to go on with: where in the rendered text
// that message ends is found by a mark that is put behind it before rendering, as transformers does it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/template/template.h"

namespace orch::model {

/// Puts the mark behind the content of the last message, and says what that was.
Result<std::string> mark_final_message(nlohmann::ordered_json& messages, std::string_view template_text);

/// Cuts the text where the mark stands. An error where the template left the mark or the message out.
Result<bool> cut_at_mark(tmpl::Rendered& rendered, const std::string& final_text);

}  // namespace orch::model
