// From tokens to the tree of a template.
//
// Holds:
//  - No tree is deeper than the limits allow, however the template is written, so that walking it is safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/template/ast.h"
#include "base/template/template.h"

namespace orch::tmpl {

/// Throws a TemplateError.
std::vector<Node> parse_nodes(std::string_view text, const std::string& file, const Options& options);

}  // namespace orch::tmpl
